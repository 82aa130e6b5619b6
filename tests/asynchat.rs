//! What asynchat's own test suite demands of its framing, demanded of `framing`.
//!
//! Each test stands for one of Python 3.11's `test_asynchat`; `docs/asyncore-tests.md` says which. At the
//! end are four that had no counterpart there and should have had.

mod util;

#[path = "util/family.rs"]
mod family;

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::rc::Rc;

use family::{Family, Peer, over_all_families, read_to_end};
use slabloop::framing::{Framed, Framing, Handler, Terminator};
use slabloop::testing::Bits;
use slabloop::{Context, Reactor};
use util::*;

over_all_families! {
    one_byte_terminator_in_small_pieces
    two_byte_terminator_in_small_pieces
    three_byte_terminator_in_small_pieces
    length_one_frames_once_then_collects
    length_six_frames_once_then_collects
    no_terminator_collects_everything
    producer_is_drained_chunk_by_chunk
    bytes_serve_as_a_producer
    empty_record_is_delivered
    close_when_done_sends_all_and_reads_no_more
    would_block_in_handle_read_is_no_error
    false_terminator_prefix_is_given_back
    terminator_changed_in_found_terminator_holds_at_once
    overlong_record_is_invalid_data
    push_before_connect_is_queued
}

/// What a handler has been told, as the test sees it.
#[derive(Clone, Debug, Default)]
struct Book {
    records: Rc<RefCell<Vec<Vec<u8>>>>,
    /// What was left unfinished at the end of the stream.
    rest: Rc<RefCell<Vec<u8>>>,
    /// `eof`, `error Kind` and `close`.
    ends: Rc<RefCell<Vec<String>>>,
}

impl Book {
    fn records(&self) -> Vec<Vec<u8>> {
        self.records.borrow().clone()
    }

    fn ends(&self) -> Vec<String> {
        self.ends.borrow().clone()
    }

    fn is_closed(&self) -> bool {
        self.ends.borrow().iter().any(|end| end == "close")
    }
}

type Act = Box<dyn FnMut(&mut Context<'_>, &mut Framing, &[u8]) -> io::Result<()>>;

/// Writes records down, and may do something with each.
struct Writing {
    book: Book,
    act: Option<Act>,
    on_connect: Option<fn(&mut Context<'_>, &mut Framing) -> io::Result<()>>,
}

impl Writing {
    fn new(book: &Book) -> Writing {
        Writing {
            book: book.clone(),
            act: None,
            on_connect: None,
        }
    }

    fn doing(
        book: &Book,
        act: impl FnMut(&mut Context<'_>, &mut Framing, &[u8]) -> io::Result<()> + 'static,
    ) -> Writing {
        Writing {
            act: Some(Box::new(act)),
            ..Writing::new(book)
        }
    }
}

impl Handler for Writing {
    fn found_terminator(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
        record: &[u8],
    ) -> io::Result<()> {
        self.book.records.borrow_mut().push(record.to_vec());
        self.act
            .as_mut()
            .map_or(Ok(()), |act| act(cx, framing, record))
    }

    fn handle_connect(&mut self, cx: &mut Context<'_>, framing: &mut Framing) -> io::Result<()> {
        self.on_connect.map_or(Ok(()), |act| act(cx, framing))
    }

    fn handle_eof(&mut self, cx: &mut Context<'_>, framing: &mut Framing) -> io::Result<()> {
        self.book.ends.borrow_mut().push("eof".to_owned());
        *self.book.rest.borrow_mut() = framing.unfinished().to_vec();
        framing.close_when_done(cx);
        Ok(())
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        let text = format!("error {:?}", error.kind());
        self.book.ends.borrow_mut().push(text);
        cx.close();
    }

    fn handle_close(&mut self, _: &mut Context<'_>) {
        self.book.ends.borrow_mut().push("close".to_owned());
    }
}

/// A framed connection, and its peer.
fn framed(family: Family, terminator: Terminator, handler: Writing) -> (Reactor, Peer) {
    let mut reactor = Reactor::new().unwrap();
    let framed = Framed::new(terminator, handler).unwrap();
    let (_id, peer) = family.added(&mut reactor, framed);
    (reactor, peer)
}

/// Sends `bytes` in pieces of `size`, each read before the next is sent.
fn send_in_pieces(reactor: &mut Reactor, mut peer: &Peer, bytes: &[u8], size: usize) {
    let mut expected = reactor.counters().bytes_in;
    for piece in bytes.chunks(size) {
        peer.write_all(piece).unwrap();
        expected += piece.len() as u64;
        turn_until(reactor, "a piece", |reactor| {
            reactor.counters().bytes_in == expected
        });
    }
}

fn until_closed(reactor: &mut Reactor) {
    turn_until(reactor, "the close", |reactor| reactor.count() == 0);
}

const HELLO: &[u8] = b"hello world";
const NOT_DEAD: &[u8] = b"I'm not dead yet!";

// ---- Terminators ----

fn terminator_in_small_pieces(family: Family, terminator: &[u8]) {
    for size in 1..=3 {
        let book = Book::default();
        let bytes = Terminator::Bytes(terminator.to_vec());
        let (mut reactor, peer) = framed(family, bytes, Writing::new(&book));
        let stream = [HELLO, terminator, NOT_DEAD, terminator].concat();
        send_in_pieces(&mut reactor, &peer, &stream, size);
        peer.shutdown(Shutdown::Write).unwrap();
        turn_until(&mut reactor, "the end", |_| !book.ends().is_empty());
        drop(peer);
        until_closed(&mut reactor);
        assert_eq!(book.records(), [HELLO, NOT_DEAD], "in pieces of {size}");
        assert!(book.rest.borrow().is_empty(), "nothing else");
        assert_eq!(book.ends(), ["eof", "close"]);
    }
}

fn one_byte_terminator_in_small_pieces(family: Family) {
    terminator_in_small_pieces(family, b"\n");
}

fn two_byte_terminator_in_small_pieces(family: Family) {
    terminator_in_small_pieces(family, b"\r\n");
}

/// Three equal bytes: each is the beginning of the terminator and its end.
fn three_byte_terminator_in_small_pieces(family: Family) {
    terminator_in_small_pieces(family, b"qqq");
}

fn length_frames_once(family: Family, length: usize) {
    let stream = b"hello world, I'm not dead yet!\n";
    let book = Book::default();
    let handler = Writing::doing(&book, |_, framing, _| {
        assert_eq!(framing.terminator(), Terminator::None, "it is used up");
        Ok(())
    });
    let (mut reactor, mut peer) = framed(family, Terminator::Length(length), handler);
    peer.write_all(stream).unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    drop(peer);
    until_closed(&mut reactor);
    assert_eq!(book.records(), [&stream[..length]]);
    assert_eq!(*book.rest.borrow(), stream[length..]);
}

fn length_one_frames_once_then_collects(family: Family) {
    length_frames_once(family, 1);
}

fn length_six_frames_once_then_collects(family: Family) {
    length_frames_once(family, 6);
}

fn no_terminator_collects_everything(family: Family) {
    let book = Book::default();
    let (mut reactor, mut peer) = framed(family, Terminator::None, Writing::new(&book));
    let stream = [HELLO, b"\n", NOT_DEAD, b"\n"].concat();
    peer.write_all(&stream).unwrap();
    drop(peer);
    until_closed(&mut reactor);
    assert!(book.records().is_empty());
    assert_eq!(*book.rest.borrow(), stream);
}

fn empty_record_is_delivered(family: Family) {
    let book = Book::default();
    let newline = Terminator::Bytes(b"\n".to_vec());
    let (mut reactor, mut peer) = framed(family, newline, Writing::new(&book));
    peer.write_all(&[HELLO, b"\n\n", NOT_DEAD, b"\n"].concat())
        .unwrap();
    drop(peer);
    until_closed(&mut reactor);
    assert_eq!(book.records(), [HELLO, b"", NOT_DEAD]);
}

// ---- Producers ----

/// Gives eight bytes at a time.
struct Eights {
    left: Vec<u8>,
    reads: Rc<RefCell<usize>>,
}

impl Read for Eights {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        *self.reads.borrow_mut() += 1;
        let count = self.left.len().min(8).min(buffer.len());
        buffer[..count].copy_from_slice(&self.left[..count]);
        self.left.drain(..count);
        Ok(count)
    }
}

fn producer_is_drained_chunk_by_chunk(family: Family) {
    let output = pattern(1, 1000);
    let reads: Rc<RefCell<usize>> = Rc::default();
    let mut reactor = Reactor::builder()
        .low_mark(8)
        .high_mark(64)
        .build()
        .unwrap();
    let book = Book::default();
    let (left, counted) = (output.clone(), Rc::clone(&reads));
    let handler = Writing::doing(&book, move |cx, framing, _| {
        let producer = Eights {
            left: left.clone(),
            reads: Rc::clone(&counted),
        };
        framing.push_producer(cx, producer);
        framing.close_when_done(cx);
        Ok(())
    });
    let framed = Framed::new(Terminator::Line, handler).unwrap();
    let (_id, mut peer) = family.added(&mut reactor, framed);
    peer.write_all(b"go\n").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    turn_until(&mut reactor, "the producer's end", |reactor| {
        assert!(reactor.memory().0 <= 8, "drawn only when there is room");
        *reads.borrow() == 1000 / 8 + 1
    });
    assert!(reactor.counters().writes >= 1000 / 8);
    until_closed(&mut reactor);
    assert_eq!(read_to_end(&peer), output);
}

fn bytes_serve_as_a_producer(family: Family) {
    let book = Book::default();
    let handler = Writing::doing(&book, |cx, framing, _| {
        framing.push_producer(cx, &b"hello "[..]);
        framing.push_producer(cx, io::empty());
        framing.push_producer(cx, io::Cursor::new(b"world".to_vec()));
        framing.close_when_done(cx);
        Ok(())
    });
    let (mut reactor, mut peer) = framed(family, Terminator::Line, handler);
    peer.write_all(b"go\n").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    until_closed(&mut reactor);
    assert_eq!(read_to_end(&peer), HELLO, "an empty one loses nobody");
}

/// What was still queued when an `async_chat` saw its peer's end was thrown away; what the peer had sent
/// was handed out after the close.
fn close_when_done_sends_all_and_reads_no_more(family: Family) {
    let answer = pattern(2, 200_000);
    let book = Book::default();
    let given = answer.clone();
    let handler = Writing::doing(&book, move |cx, framing, _| {
        framing.push(cx, b"answer:")?;
        framing.push_producer(cx, io::Cursor::new(given.clone()));
        framing.push(cx, b":end")?;
        framing.close_when_done(cx);
        Ok(())
    });
    let (mut reactor, mut peer) = framed(family, Terminator::Line, handler);
    peer.write_all(b"one\ntwo\nthree\n").unwrap();
    let reading = std::thread::spawn(move || {
        let all = read_to_end(&peer);
        peer.write_all(b"four\n").unwrap();
        all
    });
    until_closed(&mut reactor);
    assert_eq!(
        reading.join().unwrap(),
        [b"answer:", &answer[..], b":end"].concat()
    );
    assert_eq!(book.records(), [b"one"]);
    assert_eq!(book.ends(), ["close"]);
}

/// CPython bpo-12523: `push` took text as well as bytes, and failed only later, in the
/// middle of sending, where nobody could tell who had pushed it. Here the compiler refuses it.
#[test]
fn push_takes_arrays_slices_and_vectors() {
    let book = Book::default();
    let handler = Writing::doing(&book, |cx, framing, record| {
        framing.push(cx, b"array ")?;
        framing.push(cx, &b"slice "[..])?;
        let vector = Vec::from(*b"vector ");
        framing.push(cx, &vector)?;
        framing.push(cx, "text as bytes ".as_bytes())?;
        framing.push(cx, record)?;
        framing.close_when_done(cx);
        Ok(())
    });
    let (mut reactor, mut peer) = framed(Family::V4, Terminator::Line, handler);
    peer.write_all(b"record\n").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    until_closed(&mut reactor);
    assert_eq!(
        read_to_end(&peer),
        b"array slice vector text as bytes record"
    );
}

// ---- Errors ----

/// CPython bpo-16133: an `async_chat` that was woken for nothing let the would-block error
/// of its `recv` out, as an uncaught exception, and closed a healthy connection for it.
fn would_block_in_handle_read_is_no_error(family: Family) {
    let mut reactor = Reactor::new().unwrap();
    let book = Book::default();
    let framed = Framed::new(Terminator::Line, Writing::new(&book)).unwrap();
    let (id, mut peer) = family.added(&mut reactor, framed);
    for _ in 0..3 {
        let callbacks = reactor.counters().callbacks;
        reactor.inject(id, Bits::READABLE);
        turn(&mut reactor);
        assert_eq!(reactor.counters().callbacks, callbacks + 1);
    }
    assert!(book.ends().is_empty());
    peer.write_all(b"data\n").unwrap();
    turn_until(&mut reactor, "the record", |_| book.records() == [b"data"]);
}

/// CPython bpo-11259: a negative length as terminator sent `handle_read` into a loop that
/// never ended. A length here cannot be negative, but it can be zero; and an empty terminator would be
/// found everywhere.
#[test]
fn zero_length_is_a_record_and_cannot_loop() {
    let book = Book::default();
    let refused = Framed::new(Terminator::Bytes(Vec::new()), Writing::new(&book));
    assert_eq!(
        refused.err().unwrap().kind(),
        io::ErrorKind::InvalidInput,
        "an empty terminator"
    );

    // A body of length zero, as a header may announce it: an empty record, without another byte.
    let handler = Writing::doing(&book, |_, framing, record| {
        framing.set_terminator(match record {
            b"0" => Terminator::Length(0),
            _ => Terminator::Line,
        })
    });
    let (mut reactor, mut peer) = framed(Family::V4, Terminator::Line, handler);
    peer.write_all(b"0\n").unwrap();
    turn_until(&mut reactor, "both", |_| book.records().len() == 2);
    peer.write_all(b"next\n").unwrap();
    turn_until(&mut reactor, "the next", |_| book.records().len() == 3);
    assert_eq!(book.records(), [&b"0"[..], b"", b"next"]);

    // One after another, with no byte between them: an error, not a loop.
    let book = Book::default();
    let handler = Writing::doing(&book, |_, framing, _| {
        framing.set_terminator(Terminator::Length(0))
    });
    let (mut reactor, mut peer) = framed(Family::V4, Terminator::Line, handler);
    peer.write_all(b"go\n").unwrap();
    turn_until(&mut reactor, "the error", |_| !book.ends().is_empty());
    assert!(book.records().len() <= 3, "{:?}", book.records());
    drop(peer);
    until_closed(&mut reactor);
    assert_eq!(book.ends(), ["error InvalidData", "close"]);
}

// ---- Without a counterpart ----

/// The beginning of a terminator that turns out to be none is data, however the stream is cut.
fn false_terminator_prefix_is_given_back(family: Family) {
    let stream = b"\r\r\na\rb\r\n\r\n";
    for size in 1..=stream.len() {
        let book = Book::default();
        let crlf = Terminator::Bytes(b"\r\n".to_vec());
        let (mut reactor, peer) = framed(family, crlf, Writing::new(&book));
        send_in_pieces(&mut reactor, &peer, stream, size);
        drop(peer);
        until_closed(&mut reactor);
        let expected = [&b"\r"[..], b"a\rb", b""];
        assert_eq!(book.records(), expected, "in pieces of {size}");
        assert!(book.rest.borrow().is_empty());
    }
}

/// Header, then a body of the length that it told: all in one segment.
fn terminator_changed_in_found_terminator_holds_at_once(family: Family) {
    let book = Book::default();
    let mut in_body = false;
    let handler = Writing::doing(&book, move |_, framing, record| {
        in_body = !in_body;
        framing.set_terminator(if in_body {
            let length = std::str::from_utf8(record).unwrap().parse().unwrap();
            Terminator::Length(length)
        } else {
            Terminator::Bytes(b"\r\n".to_vec())
        })
    });
    let (mut reactor, mut peer) = framed(family, Terminator::Line, handler);
    peer.write_all(b"5\nhello6\r\n\r\nyet!3\r\nend").unwrap();
    drop(peer);
    until_closed(&mut reactor);
    let expected = [&b"5"[..], b"hello", b"6", b"\r\nyet!", b"3", b"end"];
    assert_eq!(book.records(), expected);
}

/// asynchat gathered for as long as the peer had patience.
fn overlong_record_is_invalid_data(family: Family) {
    let mut reactor = Reactor::new().unwrap();
    let book = Book::default();
    let framed = Framed::new(Terminator::Line, Writing::new(&book)).unwrap();
    let (_id, mut peer) = family.added(&mut reactor, framed.max_record(100));
    peer.write_all(&[&[b'x'; 100][..], b"\n", &[b'y'; 101]].concat())
        .unwrap();
    turn_until(&mut reactor, "the error", |_| !book.ends().is_empty());
    drop(peer);
    until_closed(&mut reactor);
    assert_eq!(book.records(), [[b'x'; 100]], "just as long as it may be");
    assert_eq!(book.ends(), ["error InvalidData", "close"]);

    // A length that is too long is refused before a byte of it comes.
    let handler = Writing::doing(&book, |_, framing, _| {
        let refused = framing.set_terminator(Terminator::Length(101));
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        Ok(())
    });
    let framed = Framed::new(Terminator::Line, handler).unwrap();
    let (_id, mut peer) = family.added(&mut reactor, framed.max_record(100));
    peer.write_all(b"101\n").unwrap();
    turn_until(&mut reactor, "the header", |_| book.records().len() == 2);
}

/// asyncore's `send` before the connection stood ended in `EPIPE`.
fn push_before_connect_is_queued(family: Family) {
    let mut reactor = Reactor::new().unwrap();
    let (served, client) = (Book::default(), Book::default());
    let server = served.clone();
    let place = family.serve(&mut reactor, move || {
        Framed::new(Terminator::Line, Writing::new(&server)).unwrap()
    });
    let handler = Writing {
        on_connect: Some(|cx, framing| framing.push(cx, b"second\n")),
        ..Writing::new(&client)
    };
    let framed = Framed::new(Terminator::Line, handler).unwrap();
    let id = place.connect(&mut reactor, framed).unwrap();
    reactor
        .with(id, |framed, cx| framed.framing().push(cx, b"first\n"))
        .unwrap()
        .unwrap();
    assert_eq!(reactor.at(id).unwrap().queued(), 6);
    turn_until(&mut reactor, "both", |_| served.records().len() == 2);
    assert_eq!(served.records(), [&b"first"[..], b"second"]);
    assert!(client.ends().is_empty());
    assert!(!served.is_closed());
}
