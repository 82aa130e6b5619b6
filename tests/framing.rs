//! The framing layer over real sockets: records put together however the stream was cut, bounds on what
//! a peer can make us hold, no record after a close or during a pause, and output drawn from producers
//! only when there is room.
//!
//! Unix sockets stand in for TCP wherever TCP adds nothing but delay: what is written is there at once. With the
//! feature `tls` all of it runs over TLS.

#[cfg_attr(feature = "tls", path = "util/tls.rs")]
#[cfg_attr(not(feature = "tls"), path = "util/plain.rs")]
mod over;
mod util;
#[path = "util/wire.rs"]
mod wire;

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use over::{Peer, join, join_both};
use proptest::prelude::*;
use slabloop::framing::{Framed, Framing, Handler, LengthPrefix, Terminator};
use slabloop::{AnyId, Cause, Context, Id, Reactor};
use util::*;
use wire::Wire;

/// What a recorder has been told.
#[derive(Clone, Debug, Default)]
struct Seen {
    records: Rc<RefCell<Vec<Vec<u8>>>>,
    /// `eof`, `error Kind`, `close`, in order.
    events: Rc<RefCell<Vec<String>>>,
    /// What was left of an unfinished record at the end.
    unfinished: Rc<RefCell<Vec<u8>>>,
}

impl Seen {
    fn records(&self) -> Vec<Vec<u8>> {
        self.records.borrow().clone()
    }

    fn count(&self) -> usize {
        self.records.borrow().len()
    }

    fn events(&self) -> Vec<String> {
        self.events.borrow().clone()
    }

    fn has_closed(&self) -> bool {
        self.events
            .borrow()
            .last()
            .is_some_and(|event| event == "close")
    }
}

type OnRecord = Box<dyn FnMut(&mut Context<'_>, &mut Framing, &[u8]) -> io::Result<()>>;

/// A handler that writes down what it is told, and may do something with each record.
struct Recorder {
    seen: Seen,
    on_record: OnRecord,
    /// Whether `handle_error` leaves the connection alone.
    forgiving: bool,
}

impl Recorder {
    fn new(seen: &Seen) -> Recorder {
        Recorder::doing(seen, |_, _, _| Ok(()))
    }

    fn doing(
        seen: &Seen,
        on_record: impl FnMut(&mut Context<'_>, &mut Framing, &[u8]) -> io::Result<()> + 'static,
    ) -> Recorder {
        Recorder {
            seen: seen.clone(),
            on_record: Box::new(on_record),
            forgiving: false,
        }
    }

    fn forgiving(mut self) -> Recorder {
        self.forgiving = true;
        self
    }
}

impl Handler for Recorder {
    fn found_terminator(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
        record: &[u8],
    ) -> io::Result<()> {
        assert!(
            !self.seen.has_closed(),
            "no record comes after handle_close"
        );
        self.seen.records.borrow_mut().push(record.to_vec());
        (self.on_record)(cx, framing, record)
    }

    fn handle_eof(&mut self, cx: &mut Context<'_>, framing: &mut Framing) -> io::Result<()> {
        self.seen.events.borrow_mut().push("eof".to_owned());
        *self.seen.unfinished.borrow_mut() = framing.unfinished().to_vec();
        framing.close_when_done(cx);
        Ok(())
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        let text = format!("error {:?}", error.kind());
        self.seen.events.borrow_mut().push(text);
        if !self.forgiving {
            cx.close();
        }
    }

    fn handle_close(&mut self, _: &mut Context<'_>) {
        self.seen.events.borrow_mut().push("close".to_owned());
    }
}

fn framed(terminator: Terminator, recorder: Recorder) -> Framed<Recorder> {
    Framed::new(terminator, recorder).expect("a terminator that ends something")
}

/// A reactor with one framed connection, and its peer.
fn connection(framed: Framed<Recorder>) -> (Reactor, Id<Framed<Recorder>>, Peer<UnixStream>) {
    let mut reactor = Reactor::new().expect("a poller");
    let (id, peer) = join(&mut reactor, unix_pair(), framed);
    (reactor, id, peer)
}

fn lines(count: usize) -> Vec<u8> {
    (0..count)
        .flat_map(|i| format!("line {i}\n").into_bytes())
        .collect()
}

fn line(i: usize) -> Vec<u8> {
    format!("line {i}").into_bytes()
}

// ---------------------------------------------------------------------------------------------------
// Where records end.

/// The stream that carries `records` under `terminator`.
fn encoded(terminator: &Terminator, records: &[Vec<u8>]) -> Vec<u8> {
    let mut stream = Vec::new();
    for record in records {
        let length = record.len();
        match terminator {
            Terminator::Netstring => stream.extend(format!("{length}:").bytes()),
            Terminator::Prefixed(prefix) => {
                let width = match prefix {
                    LengthPrefix::One => 1,
                    LengthPrefix::Two => 2,
                    LengthPrefix::Four => 4,
                };
                stream.extend(&u32::try_from(length).expect("short").to_be_bytes()[4 - width..]);
            }
            _ => {}
        }
        stream.extend(record);
        match terminator {
            Terminator::Bytes(end) => stream.extend(end),
            Terminator::Line => stream.push(b'\n'),
            Terminator::Netstring => stream.push(b','),
            _ => {}
        }
    }
    stream
}

#[test]
fn every_terminator_finds_its_records_over_tcp_and_over_unix_sockets() {
    let words: Vec<Vec<u8>> = vec![b"one".to_vec(), Vec::new(), b"t,w:o\x01".to_vec()];
    // Terminator, stream, records, and what is left unfinished.
    type Case = (Terminator, Vec<u8>, Vec<Vec<u8>>, Vec<u8>);
    let mut cases: Vec<Case> = [
        Terminator::Bytes(b"!".to_vec()),
        Terminator::Bytes(b"\r\n\r\n".to_vec()),
        Terminator::Line,
        Terminator::Netstring,
        Terminator::Prefixed(LengthPrefix::One),
        Terminator::Prefixed(LengthPrefix::Two),
        Terminator::Prefixed(LengthPrefix::Four),
    ]
    .into_iter()
    .map(|terminator| {
        let stream = encoded(&terminator, &words);
        (terminator, stream, words.clone(), Vec::new())
    })
    .collect();
    cases.push((
        Terminator::Length(5),
        b"hello world".to_vec(),
        vec![b"hello".to_vec()],
        b" world".to_vec(),
    ));
    cases.push((
        Terminator::Length(0),
        b"rest".to_vec(),
        vec![Vec::new()],
        b"rest".to_vec(),
    ));
    cases.push((
        Terminator::None,
        b"just bytes\n".to_vec(),
        Vec::new(),
        b"just bytes\n".to_vec(),
    ));
    for (terminator, stream, records, unfinished) in cases {
        for over_tcp in [false, true] {
            for piece in [1, 3, stream.len()] {
                let what = format!("{terminator:?}, tcp {over_tcp}, in pieces of {piece}");
                let mut reactor = Reactor::new().expect("a poller");
                let seen = Seen::default();
                let framed = framed(terminator.clone(), Recorder::new(&seen));
                let mut peer: Box<dyn Write> = if over_tcp {
                    Box::new(join(&mut reactor, tcp_pair(), framed).1)
                } else {
                    Box::new(join(&mut reactor, unix_pair(), framed).1)
                };
                for piece in stream.chunks(piece) {
                    peer.write_all(piece).expect("room in the kernel");
                    turn_for(&mut reactor, Duration::ZERO);
                }
                drop(peer);
                turn_until(&mut reactor, &what, |_| seen.has_closed());
                assert_eq!(seen.records(), records, "{what}");
                assert_eq!(*seen.unfinished.borrow(), unfinished, "{what}");
                assert_eq!(seen.events(), ["eof", "close"], "{what}");
            }
        }
    }
}

/// A stream whose bytes are likely to be, or to look like, ends of records.
fn tricky_bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(b"ab\r\n".to_vec()), 0..most)
}

/// The plain way: split the whole at each first occurrence of what ends a record.
fn split_plainly(terminator: &Terminator, stream: &[u8]) -> Vec<Vec<u8>> {
    let end: &[u8] = match terminator {
        Terminator::Bytes(end) => end,
        _ => b"\n",
    };
    let (mut records, mut rest) = (Vec::new(), stream);
    while let Some(at) = rest.windows(end.len()).position(|window| window == end) {
        let mut record = rest[..at].to_vec();
        if *terminator == Terminator::Line && record.ends_with(b"\r") {
            record.pop();
        }
        records.push(record);
        rest = &rest[at + end.len()..];
    }
    records
}

/// Writes `stream` in pieces of the sizes given, over and over, a turn after each, and then closes.
fn feed(
    reactor: &mut Reactor,
    mut peer: Peer<UnixStream>,
    stream: &[u8],
    cuts: &[usize],
    seen: &Seen,
) {
    let mut rest = stream;
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() {
        let size = (*cuts.next().expect("it repeats")).min(rest.len());
        peer.write_all(&rest[..size]).expect("room in the kernel");
        rest = &rest[size..];
        turn_for(reactor, Duration::ZERO);
    }
    drop(peer);
    turn_until(reactor, "the end of the stream", |_| seen.has_closed());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn delimited_records_come_out_the_same_however_the_stream_is_cut(
        stream in tricky_bytes(400),
        end in prop::option::of(prop::collection::vec(prop::sample::select(b"ab\r\n".to_vec()), 1..6)),
        cuts in prop::collection::vec(1..40usize, 1..10),
        records_per_turn in 1..20usize,
    ) {
        let terminator = end.map_or(Terminator::Line, Terminator::Bytes);
        let seen = Seen::default();
        let framed = framed(terminator.clone(), Recorder::new(&seen)).records_per_turn(records_per_turn);
        let (mut reactor, _, peer) = connection(framed);
        feed(&mut reactor, peer, &stream, &cuts, &seen);
        prop_assert_eq!(seen.records(), split_plainly(&terminator, &stream));
        prop_assert_eq!(seen.events(), ["eof", "close"]);
    }

    #[test]
    fn counted_records_come_out_the_same_however_the_stream_is_cut(
        records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20),
        which in 0..4usize,
        cuts in prop::collection::vec(1..60usize, 1..10),
        records_per_turn in 1..20usize,
    ) {
        let terminator = [
            Terminator::Netstring,
            Terminator::Prefixed(LengthPrefix::One),
            Terminator::Prefixed(LengthPrefix::Two),
            Terminator::Prefixed(LengthPrefix::Four),
        ][which].clone();
        let seen = Seen::default();
        let framed = framed(terminator.clone(), Recorder::new(&seen)).records_per_turn(records_per_turn);
        let (mut reactor, _, peer) = connection(framed);
        feed(&mut reactor, peer, &encoded(&terminator, &records), &cuts, &seen);
        prop_assert_eq!(seen.records(), records);
        prop_assert_eq!(seen.events(), ["eof", "close"]);
    }

    #[test]
    fn what_push_record_sends_is_read_back_as_the_same_record(
        records in prop::collection::vec(tricky_bytes(60), 1..20),
        which in 0..6usize,
    ) {
        let terminator = [
            Terminator::Line,
            Terminator::Bytes(b"\r\n".to_vec()),
            Terminator::Bytes(b"abab".to_vec()),
            Terminator::Netstring,
            Terminator::Prefixed(LengthPrefix::One),
            Terminator::Prefixed(LengthPrefix::Four),
        ][which].clone();
        let (sender, receiver) = (Seen::default(), Seen::default());
        let mut reactor = Reactor::new().expect("a poller");
        let (id, _) = join_both(
            &mut reactor,
            unix_pair(),
            framed(terminator.clone(), Recorder::new(&sender)),
            framed(terminator.clone(), Recorder::new(&receiver)),
        );
        let mut accepted = Vec::new();
        for record in &records {
            let pushed = reactor
                .with(id, |framed, cx| framed.framing().push_record(cx, record))
                .expect("it is there");
            match pushed {
                Ok(()) => accepted.push(record.clone()),
                Err(error) => {
                    prop_assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
                    // Refused only for a reason: alone on a stream it would not be read back.
                    let alone = encoded(&terminator, std::slice::from_ref(record));
                    prop_assert_ne!(split_plainly(&terminator, &alone), vec![record.clone()]);
                }
            }
        }
        reactor.at(id).expect("open").close();
        turn_until(&mut reactor, "the end of the stream", |_| receiver.has_closed());
        prop_assert_eq!(receiver.records(), accepted);
    }
}

#[test]
fn a_record_too_long_for_its_prefix_is_refused_and_harms_nobody() {
    let seen = Seen::default();
    let prefixed = Terminator::Prefixed(LengthPrefix::One);
    let (mut reactor, id, mut peer) = connection(framed(prefixed, Recorder::new(&seen)));
    let refused = reactor.with(id, |framed, cx| {
        framed.framing().push_record(cx, &[7; 256])?;
        Ok::<_, io::Error>(())
    });
    let error = refused.expect("it is there").expect_err("255 is the most");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    reactor
        .with(id, |framed, cx| framed.framing().push_record(cx, &[7; 255]))
        .expect("it is there")
        .expect("it fits");
    turn(&mut reactor);
    let mut received = [0; 256];
    peer.read_exact(&mut received).expect("one record");
    assert_eq!(received[0], 255);
    assert!(seen.events().is_empty());
}

#[test]
fn a_terminator_set_in_found_terminator_holds_from_the_very_next_byte() {
    let stream = b"5\nhello0\n3\na\nb7\nthe end";
    let expected: [&[u8]; 8] = [b"5", b"hello", b"0", b"", b"3", b"a\nb", b"7", b"the end"];
    for first in 1..stream.len() {
        for second in [1, stream.len()] {
            let seen = Seen::default();
            let mut in_body = false;
            let recorder = Recorder::doing(&seen, move |_, framing, record| {
                in_body = !in_body;
                if in_body {
                    assert_eq!(framing.terminator(), Terminator::Line);
                    let length = String::from_utf8_lossy(record).parse().expect("a number");
                    framing.set_terminator(Terminator::Length(length))
                } else {
                    framing.set_terminator(Terminator::Line)
                }
            });
            let (mut reactor, _, peer) = connection(framed(Terminator::Line, recorder));
            feed(&mut reactor, peer, stream, &[first, second], &seen);
            assert_eq!(seen.records(), expected, "cut at {first}, then {second}");
            assert_eq!(seen.events(), ["eof", "close"]);
        }
    }
}

/// What had come of the old end is input like any other under the new one. asynchat keeps it in its
/// buffer; here it was dropped, and the bytes were lost.
#[test]
fn a_terminator_changed_in_the_middle_of_a_record_loses_no_byte() {
    let bytes = |end: &[u8]| Terminator::Bytes(end.to_vec());
    // What comes before the change, what after it, the records, and what is left unfinished.
    type Case = (
        Terminator,
        &'static [u8],
        Vec<Terminator>,
        &'static [u8],
        Vec<&'static [u8]>,
        &'static [u8],
    );
    #[rustfmt::skip]
    let cases: Vec<Case> = vec![
        (bytes(b"\r\n\r\n"), b"abc\r\n\r", vec![bytes(b"!")], b"def!g", vec![b"abc\r\n\rdef"], b"g"),
        (bytes(b"\r\n"), b"abc\r", vec![Terminator::Line], b"\ndef\n", vec![b"abc", b"def"], b""),
        (Terminator::Line, b"abc\r", vec![Terminator::Line], b"def\n", vec![b"abc\rdef"], b""),
        (Terminator::Line, b"abc\r", vec![Terminator::Length(5)], b"defgh", vec![b"abc\rdefg"], b"h"),
        (Terminator::Line, b"abc\r", vec![Terminator::None], b"", vec![], b"abc\r"),
        (Terminator::Line, b"abc\r", vec![bytes(b"!"), bytes(b"?")], b"d?", vec![b"abc\rd"], b""),
        (Terminator::Netstring, b"12", vec![Terminator::Line], b"3\n", vec![b"123"], b""),
        (Terminator::Netstring, b"5:hel", vec![Terminator::Line], b"lo\n", vec![b"hello"], b""),
        (Terminator::Prefixed(LengthPrefix::Four), b"\0\x01", vec![Terminator::Line], b"x\n", vec![b"\0\x01x"], b""),
    ];
    for (old, before, changes, after, records, unfinished) in cases {
        let what = format!("{old:?}, {before:?}, then {changes:?}, {after:?}");
        let seen = Seen::default();
        let (mut reactor, id, mut peer) = connection(framed(old, Recorder::new(&seen)));
        peer.write_all(before).expect("room");
        settle(&mut reactor);
        assert!(seen.records().is_empty(), "{what}");
        for terminator in changes {
            reactor
                .with(id, |framed, _| framed.framing().set_terminator(terminator))
                .expect("open")
                .expect("a good terminator");
        }
        peer.write_all(after).expect("room");
        drop(peer);
        turn_until(&mut reactor, &what, |_| seen.has_closed());
        assert_eq!(seen.records(), records, "{what}");
        assert_eq!(*seen.unfinished.borrow(), unfinished, "{what}");
        assert_eq!(seen.events(), ["eof", "close"], "{what}");
    }
}

/// Takes the pieces itself, and changes the terminator with the first of them.
struct Collecting {
    pieces: Rc<RefCell<Vec<u8>>>,
    records: Rc<RefCell<Vec<Vec<u8>>>>,
    next: Option<Terminator>,
}

impl Handler for Collecting {
    fn collect_incoming(
        &mut self,
        _: &mut Context<'_>,
        framing: &mut Framing,
        piece: &[u8],
    ) -> io::Result<()> {
        self.pieces.borrow_mut().extend(piece);
        self.next
            .take()
            .map_or(Ok(()), |terminator| framing.set_terminator(terminator))
    }

    fn found_terminator(
        &mut self,
        _: &mut Context<'_>,
        _: &mut Framing,
        record: &[u8],
    ) -> io::Result<()> {
        assert!(record.is_empty(), "the handler has taken the pieces");
        let record = self.pieces.take();
        self.records.borrow_mut().push(record);
        Ok(())
    }
}

/// Of `ababa` the first two are data under `ababc`, and the other three may still be its beginning.
#[test]
fn a_terminator_changed_with_a_piece_loses_no_byte_that_was_held_back() {
    let (pieces, records) = (Rc::default(), Rc::default());
    let collecting = Collecting {
        pieces: Rc::clone(&pieces),
        records: Rc::clone(&records),
        next: Some(Terminator::Bytes(b"!".to_vec())),
    };
    let mut reactor = Reactor::new().expect("a poller");
    let framed = Framed::new(Terminator::Bytes(b"ababc".to_vec()), collecting).expect("it ends");
    let (_, mut peer) = join(&mut reactor, unix_pair(), framed);
    for piece in [&b"abab"[..], b"a", b"x!"] {
        peer.write_all(piece).expect("room");
        settle(&mut reactor);
    }
    assert_eq!(*records.borrow(), [b"ababax"]);
    assert!(pieces.borrow().is_empty());
}

#[test]
fn terminators_that_end_nothing_or_too_late_are_refused() {
    for terminator in [
        Terminator::Bytes(Vec::new()),
        Terminator::Length(64 * 1024 + 1),
    ] {
        let refused = Framed::new(terminator, Recorder::new(&Seen::default())).map(|_| ());
        assert_eq!(
            refused.expect_err("no good").kind(),
            io::ErrorKind::InvalidInput
        );
    }
    let longest = Terminator::Length(64 * 1024);
    assert!(Framed::new(longest, Recorder::new(&Seen::default())).is_ok());
}

#[test]
fn a_terminator_is_made_of_a_string_of_bytes_or_of_a_number() {
    assert_eq!(
        Terminator::from("\r\n"),
        Terminator::Bytes(b"\r\n".to_vec())
    );
    assert_eq!(
        Terminator::from(&b"\0!"[..]),
        Terminator::Bytes(b"\0!".to_vec())
    );
    assert_eq!(Terminator::from(12), Terminator::Length(12));
}

// ---------------------------------------------------------------------------------------------------
// Bounds on what a peer can make us hold.

#[test]
fn an_overlong_record_is_one_error_and_the_end_whatever_the_handler_does() {
    let long_line = [&[b'x'; 200][..], b"\nshort\n"].concat();
    let cases: [(Terminator, Vec<u8>); 8] = [
        (Terminator::Line, long_line.clone()),
        (Terminator::Bytes(b"\n".to_vec()), long_line),
        // Never ended: closed when the limit is passed, not when the end comes.
        (Terminator::Line, vec![b'x'; 101]),
        (Terminator::Netstring, b"101:".to_vec()),
        (Terminator::Netstring, b"3:abcd1:a,".to_vec()),
        (Terminator::Netstring, b"one:".to_vec()),
        (Terminator::Prefixed(LengthPrefix::One), b"\x65abc".to_vec()),
        // No records and no maximum, but what is gathered of it has one.
        (Terminator::None, vec![b'x'; 101]),
    ];
    for (terminator, stream) in cases {
        for forgiving in [false, true] {
            let what = format!("{terminator:?}, {stream:?}, forgiving {forgiving}");
            let seen = Seen::default();
            let mut recorder = Recorder::new(&seen);
            if forgiving {
                recorder = recorder.forgiving();
            }
            let framed = framed(terminator.clone(), recorder).max_record(100);
            let (mut reactor, _, mut peer) = connection(framed);
            peer.write_all(&stream).expect("room");
            turn_until(&mut reactor, &what, |_| !seen.events().is_empty());
            // What comes behind it is thrown away by the close, whatever it is.
            peer.write_all(b"\nmore\n1:a,\x01a\n").expect("room");
            drop(peer);
            turn_until(&mut reactor, &what, |_| seen.has_closed());
            assert_eq!(seen.events(), ["error InvalidData", "close"], "{what}");
            assert!(seen.records().is_empty(), "{what}: {:?}", seen.records());
        }
    }
}

/// The pieces go to a handler that keeps none of them: what has come of the record is counted all the same.
#[test]
fn the_maximum_holds_for_a_handler_that_takes_the_pieces_itself() {
    for (terminator, is_too_long) in [(Terminator::Line, true), (Terminator::None, false)] {
        let pieces = Rc::default();
        let collecting = Collecting {
            pieces: Rc::clone(&pieces),
            records: Rc::default(),
            next: None,
        };
        let framed = Framed::new(terminator, collecting).expect("it ends");
        let mut reactor = Reactor::new().expect("a poller");
        let framed = framed.max_record(100);
        let (id, mut peer) = join(&mut reactor, unix_pair(), framed);
        for expected in [60, 100] {
            peer.write_all(&vec![b'x'; expected - pieces.borrow().len()])
                .expect("room");
            turn_until(&mut reactor, "the piece", |_| {
                pieces.borrow().len() == expected
            });
        }
        peer.write_all(b"x").expect("room");
        turn_until(&mut reactor, "one byte more", |reactor| {
            pieces.borrow().len() == 101 || reactor.at(id).is_none_or(|cx| cx.is_closing())
        });
        let taken = if is_too_long { 100 } else { 101 };
        assert_eq!(pieces.borrow().len(), taken);
    }
}

/// asynchat had no limit: a line that never ended grew until the process died.
#[test]
fn an_endless_line_never_has_more_memory_than_the_longest_record() {
    const MAX: usize = 20_000;
    let seen = Seen::default();
    let framed = framed(Terminator::Line, Recorder::new(&seen)).max_record(MAX);
    let (mut reactor, id, mut peer) = connection(framed);
    let piece = [b'x'; 1000];
    for sent in (1000..).step_by(1000) {
        peer.write_all(&piece).expect("room");
        turn(&mut reactor);
        let Some(memory) = reactor.with(id, |framed, _| framed.input_memory()) else {
            break;
        };
        assert!(memory <= 2 * MAX, "{memory} bytes for a record of {MAX}");
        if !seen.events().is_empty() {
            assert_eq!(sent, MAX + 1000, "ended as soon as it was too long");
            break;
        }
    }
    assert_eq!(seen.events()[0], "error InvalidData");
}

/// A record whose length is told as zero needs no byte to be complete. A handler that asks for another,
/// and another, would never give the loop back.
#[test]
fn records_of_length_zero_cannot_keep_the_loop() {
    for records_per_turn in [1, 2, 256] {
        let seen = Seen::default();
        let recorder = Recorder::doing(&seen, |_, framing, _| {
            framing.set_terminator(Terminator::Length(0))
        });
        let framed = framed(Terminator::Line, recorder).records_per_turn(records_per_turn);
        let (mut reactor, _, mut peer) = connection(framed);
        peer.write_all(b"start\nrest").expect("room");
        turn_until(&mut reactor, "an end of it", |_| !seen.events().is_empty());
        assert_eq!(seen.events()[0], "error InvalidData");
        assert!(seen.count() <= 4, "{} records of five bytes", seen.count());
    }
}

#[test]
fn empty_records_that_cost_the_peer_bytes_are_records_like_others() {
    let seen = Seen::default();
    let (mut reactor, _, peer) = connection(framed(Terminator::Line, Recorder::new(&seen)));
    feed(&mut reactor, peer, &[b'\n'; 3000], &[3000], &seen);
    assert_eq!(seen.count(), 3000);
    let seen = Seen::default();
    let zeros = Terminator::Prefixed(LengthPrefix::Two);
    let (mut reactor, _, peer) = connection(framed(zeros, Recorder::new(&seen)));
    feed(&mut reactor, peer, &[0; 3000], &[3000], &seen);
    assert_eq!(seen.count(), 1500);
}

/// The last record of a turn's budget may leave one behind that needs no byte: it comes although no
/// input does.
#[test]
fn a_record_that_is_complete_without_input_comes_without_input() {
    let seen = Seen::default();
    let recorder = Recorder::doing(&seen, |_, framing, record| match record {
        b"0" => framing.set_terminator(Terminator::Length(0)),
        _ => framing.set_terminator(Terminator::Line),
    });
    let framed = framed(Terminator::Line, recorder).records_per_turn(1);
    let (mut reactor, _, mut peer) = connection(framed);
    peer.write_all(b"0\n").expect("room");
    turn_until(&mut reactor, "both records", |_| seen.count() == 2);
    peer.write_all(b"next\n").expect("room");
    turn_until(&mut reactor, "the line", |_| seen.count() == 3);
    assert_eq!(seen.records(), [&b"0"[..], b"", b"next"]);
}

#[test]
fn an_idle_framed_connection_holds_no_buffer() {
    let seen = Seen::default();
    let recorder = Recorder::doing(&seen, |cx, framing, record| {
        framing.push(cx, record)?;
        framing.push(cx, b"\n")
    });
    let (mut reactor, id, mut peer) =
        connection(framed(Terminator::Line, recorder).records_per_turn(3));
    let stream = [&[b'x'; 9000][..], b"\n", &lines(100)].concat();
    peer.write_all(&stream).expect("room");
    let mut back = vec![0; stream.len()];
    turn_until(&mut reactor, "all lines", |_| seen.count() == 101);
    settle(&mut reactor);
    peer.read_exact(&mut back).expect("the echo");
    assert!(back == stream, "every line comes back");
    let memory = reactor.with(id, |framed, _| framed.input_memory());
    assert_eq!(memory, Some(0));
    assert_eq!(reactor.memory().0, 0, "and nothing is queued");
    peer.write_all(b"half a line").expect("room");
    settle(&mut reactor);
    let memory = reactor.with(id, |framed, _| framed.input_memory());
    assert!(memory >= Some(11), "what has come of a line is kept");
}

// ---------------------------------------------------------------------------------------------------
// Held above the socket: what no event announces any more.

/// pyftpdlib (#191, #347, #613) and secure-smtpd (#36) lost or repeated what a layer held back. Here all
/// of the input, and its end, are in one segment: after that the kernel has nothing more to say.
#[test]
fn a_thousand_lines_and_the_end_in_one_segment_come_ten_a_turn_and_then_one_eof() {
    let seen = Seen::default();
    let framed = framed(Terminator::Line, Recorder::new(&seen)).records_per_turn(10);
    let mut reactor = Reactor::new().expect("a poller");
    let (_, mut peer) = join(&mut reactor, tcp_pair(), framed);
    peer.write_all(&lines(1000)).expect("room");
    peer.shutdown(Shutdown::Write).expect("connected");
    turn_until(&mut reactor, "the first lines", |_| seen.count() > 0);
    assert!(seen.count() <= 10, "ten in the first turn");
    let mut turns = 0;
    while seen.count() < 1000 {
        let before = seen.count();
        turn(&mut reactor);
        turns += 1;
        assert!(seen.count() - before <= 10, "ten a turn");
        assert!(turns < 300, "it goes on without a new event");
    }
    turn_until(&mut reactor, "the end", |_| !seen.events().is_empty());
    drop(peer);
    turn_until(&mut reactor, "the close", |_| seen.has_closed());
    assert_eq!(seen.events(), ["eof", "close"]);
    assert_eq!(seen.records(), (0..1000).map(line).collect::<Vec<_>>());
}

/// asynchat goes on handing out what it has received after the channel was closed.
#[test]
fn no_record_comes_after_a_close_an_abort_or_a_close_when_done() {
    let enders: [fn(&mut Context<'_>, &mut Framing); 4] = [
        |cx, _| cx.close(),
        |cx, _| cx.abort(),
        |cx, framing| framing.close_when_done(cx),
        // With a producer still sending the close itself comes later; and reading stays off, even if
        // somebody switches it on.
        |cx, framing| {
            framing.push_producer(cx, io::repeat(b'x').take(3_000_000));
            framing.close_when_done(cx);
            cx.resume_reading();
        },
    ];
    for (which, end) in enders.into_iter().enumerate() {
        for records_per_turn in [1, 2, 10, 256] {
            let seen = Seen::default();
            let counted = seen.clone();
            let recorder = Recorder::doing(&seen, move |cx, framing, _| {
                if counted.count() == 3 {
                    end(cx, framing);
                }
                Ok(())
            });
            let framed = framed(Terminator::Line, recorder).records_per_turn(records_per_turn);
            let (mut reactor, _, mut peer) = connection(framed);
            peer.write_all(&lines(1000)).expect("room");
            peer.shutdown(Shutdown::Write).expect("connected");
            let drain = std::thread::spawn(move || {
                let mut output = Vec::new();
                // An abort may be a reset.
                let _ = peer.read_to_end(&mut output);
                output
            });
            turn_until(&mut reactor, "the close", |_| seen.has_closed());
            let output = drain.join().expect("no panic");
            assert_eq!(seen.count(), 3, "ender {which}, {records_per_turn} a turn");
            assert_eq!(seen.events(), ["close"], "ender {which}");
            assert_eq!(output.len(), if which == 3 { 3_000_000 } else { 0 });
        }
    }
}

#[test]
fn a_pause_in_the_middle_holds_the_other_records_and_the_end() {
    let seen = Seen::default();
    let counted = seen.clone();
    let recorder = Recorder::doing(&seen, move |cx, _, _| {
        if counted.count() % 3 == 0 {
            cx.pause_reading();
        }
        Ok(())
    });
    let (mut reactor, id, mut peer) = connection(framed(Terminator::Line, recorder));
    peer.write_all(&lines(10)).expect("room");
    peer.shutdown(Shutdown::Write).expect("connected");
    for paused_at in [3, 6, 9] {
        turn_until(&mut reactor, "the lines", |_| seen.count() == paused_at);
        settle(&mut reactor);
        assert_eq!(seen.count(), paused_at, "none during the pause");
        assert!(seen.events().is_empty(), "the end waits as well");
        reactor.at(id).expect("open").resume_reading();
    }
    drop(peer);
    turn_until(&mut reactor, "the close", |_| seen.has_closed());
    assert_eq!(seen.records(), (0..10).map(line).collect::<Vec<_>>());
    assert_eq!(seen.events(), ["eof", "close"]);
}

#[test]
fn the_terminator_may_change_in_the_middle_of_what_was_received() {
    for records_per_turn in [1, 3, 10] {
        let seen = Seen::default();
        let counted = seen.clone();
        let recorder = Recorder::doing(&seen, move |_, framing, _| match counted.count() {
            3 => framing.set_terminator(Terminator::Bytes(b"ne ".to_vec())),
            _ => Ok(()),
        });
        let framed = framed(Terminator::Line, recorder).records_per_turn(records_per_turn);
        let (mut reactor, _, peer) = connection(framed);
        feed(&mut reactor, peer, &lines(6), &[1000], &seen);
        let expected: [&[u8]; 6] = [b"line 0", b"line 1", b"line 2", b"li", b"3\nli", b"4\nli"];
        assert_eq!(seen.records(), expected);
        assert_eq!(*seen.unfinished.borrow(), b"5\n");
        assert_eq!(seen.events(), ["eof", "close"]);
    }
}

/// A callback that fails does not cost the connection the records behind it: "not now" is no error, an
/// error about somebody else is not this one's, and a fault that the handler forgives is forgiven.
#[test]
fn an_error_that_the_connection_survives_loses_no_record() {
    let errors: [fn(&mut Context<'_>) -> io::Error; 3] = [
        |_| io::ErrorKind::WouldBlock.into(),
        |_| io::ErrorKind::InvalidInput.into(),
        |cx| {
            let (theirs, _peer) = unix_pair();
            let other = cx.add(theirs, Echo).expect("a stream");
            let mut other = cx.at(other).expect("just added");
            other.close();
            other.send(b"too late").expect_err("it is closing")
        },
    ];
    for (which, make) in errors.into_iter().enumerate() {
        let seen = Seen::default();
        let counted = seen.clone();
        let recorder = Recorder::doing(&seen, move |cx, _, _| match counted.count() {
            3 | 5 => Err(make(cx)),
            _ => Ok(()),
        });
        let framed = framed(Terminator::Line, recorder.forgiving()).records_per_turn(4);
        let (mut reactor, _, peer) = connection(framed);
        feed(&mut reactor, peer, &lines(10), &[1000], &seen);
        assert_eq!(seen.records(), (0..10).map(line).collect::<Vec<_>>());
        let faults = if which == 1 { 2 } else { 0 };
        let mut expected = vec!["error InvalidInput"; faults];
        expected.extend(["eof", "close"]);
        assert_eq!(seen.events(), expected);
    }
}

/// The default echo of a framed stream is held by its own full outbox in the middle of what it has
/// received, and goes on where it was.
#[test]
fn records_wait_while_the_answers_to_those_before_them_are_not_taken() {
    let seen = Seen::default();
    let recorder = Recorder::doing(&seen, |cx, framing, _| framing.push(cx, &[b'x'; 4000]));
    let (mut reactor, _, mut peer) = connection(framed(Terminator::Line, recorder));
    socket2::SockRef::from(&peer)
        .set_recv_buffer_size(4096)
        .expect("a socket");
    peer.write_all(&lines(1000)).expect("room");
    peer.shutdown(Shutdown::Write).expect("connected");
    settle(&mut reactor);
    let held_at = seen.count();
    assert!(
        held_at < 200,
        "{held_at} answers of 4,000 bytes were queued"
    );
    assert!(reactor.memory().0 <= 64 * 1024 + 4000);
    let reading = std::thread::spawn(move || {
        let mut output = Vec::new();
        peer.read_to_end(&mut output).map(|_| output.len())
    });
    turn_until(&mut reactor, "the close", |_| seen.has_closed());
    assert_eq!(seen.records(), (0..1000).map(line).collect::<Vec<_>>());
    assert_eq!(seen.events(), ["eof", "close"]);
    assert_eq!(
        reading.join().expect("no panic").expect("a clean end"),
        4_000_000
    );
}

// ---------------------------------------------------------------------------------------------------
// Producers.

/// Counts what is drawn from it.
struct Counting {
    left: usize,
    drawn: Rc<Cell<usize>>,
    dropped: Rc<Cell<usize>>,
}

impl Counting {
    fn new(bytes: usize) -> (Counting, Rc<Cell<usize>>, Rc<Cell<usize>>) {
        let (drawn, dropped) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let producer = Counting {
            left: bytes,
            drawn: Rc::clone(&drawn),
            dropped: Rc::clone(&dropped),
        };
        (producer, drawn, dropped)
    }
}

impl Read for Counting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = buffer.len().min(self.left);
        buffer[..count].fill(b'p');
        self.left -= count;
        self.drawn.set(self.drawn.get() + count);
        Ok(count)
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.dropped.set(self.dropped.get() + 1);
    }
}

#[test]
fn a_producer_is_asked_only_when_there_is_room_and_all_of_it_arrives() {
    const TOTAL: usize = 4_000_000;
    let seen = Seen::default();
    let (mut reactor, id, mut peer) = connection(framed(Terminator::Line, Recorder::new(&seen)));
    let (producer, drawn, dropped) = Counting::new(TOTAL);
    reactor.with(id, |framed, cx| {
        framed.framing().push_producer(cx, producer);
        framed.framing().close_when_done(cx);
    });
    settle(&mut reactor);
    let taken = usize::try_from(reactor.counters().bytes_out).expect("small");
    let ahead = drawn.get() - taken;
    assert_eq!(ahead, reactor.memory().0, "what is drawn is queued or gone");
    assert!(ahead <= 64 * 1024, "{ahead} bytes drawn that nobody took");
    assert!(drawn.get() < TOTAL, "the peer has not read yet");
    assert!(seen.events().is_empty(), "closed when done, not before");
    let reading = std::thread::spawn(move || {
        let mut output = Vec::new();
        peer.read_to_end(&mut output).map(|_| output.len())
    });
    turn_until(&mut reactor, "the close", |_| seen.has_closed());
    assert_eq!(
        reading.join().expect("no panic").expect("a clean end"),
        TOTAL
    );
    assert_eq!((drawn.get(), dropped.get()), (TOTAL, 1));
}

#[test]
fn what_is_pushed_behind_a_producer_comes_behind_it_and_all_of_it_before_the_close() {
    let seen = Seen::default();
    let (mut reactor, id, mut peer) = connection(framed(Terminator::Line, Recorder::new(&seen)));
    let expected = reactor.with(id, |framed, cx| {
        let framing = framed.framing();
        let mut expected = Vec::new();
        framing.push(cx, b"first ").expect("room");
        expected.extend(b"first ");
        for round in 0..4u8 {
            let body = pattern(round, 100_000);
            expected.extend(&body);
            framing.push_producer(cx, io::Cursor::new(body));
            for small in 0..50 {
                let piece = format!("{round}.{small} ");
                framing.push(cx, piece.as_bytes()).expect("room");
                expected.extend(piece.bytes());
            }
            framing.push_record(cx, b"a record").expect("room");
            expected.extend(b"a record\n");
        }
        framing.close_when_done(cx);
        let error = framing.push(cx, b"late").expect_err("it is closing");
        assert_eq!(error.kind(), io::ErrorKind::NotConnected);
        framing.push_producer(cx, io::repeat(b'!').take(1000));
        expected
    });
    let reading = std::thread::spawn(move || {
        let mut output = Vec::new();
        peer.read_to_end(&mut output).map(|_| output)
    });
    turn_until(&mut reactor, "the close", |_| seen.has_closed());
    let output = reading.join().expect("no panic").expect("a clean end");
    assert!(
        Some(output) == expected,
        "every byte, in the order of the calls"
    );
    assert_eq!(seen.events(), ["close"]);
}

/// What waits behind a producer is queued like any other output. It was counted, but the producer's own
/// bytes were taken off the count as they left: a peer that kept one running could pile up any amount.
#[test]
fn what_waits_behind_a_producer_is_within_the_hard_cap_however_much_the_producer_gives() {
    const CAP: usize = 100_000;
    let mut reactor = Reactor::builder()
        .hard_cap(CAP)
        .build()
        .expect("good marks");
    let seen = Seen::default();
    let framed = framed(Terminator::Line, Recorder::new(&seen));
    let (id, mut peer) = join(&mut reactor, unix_pair(), framed);
    reactor.with(id, |framed, cx| {
        framed.framing().push_producer(cx, io::repeat(b'p'));
    });
    let mut pushed = 0;
    let mut discarded = vec![0; 1 << 20];
    let error = loop {
        turn(&mut reactor);
        // The peer takes what the producer gives; nothing that was pushed can leave.
        let _ = peer.read(&mut discarded).expect("the producer gives");
        let outcome = reactor
            .with(id, |framed, cx| framed.framing().push(cx, &[b'x'; 1000]))
            .expect("open");
        match outcome {
            Ok(()) => pushed += 1000,
            Err(error) => break error,
        }
        assert!(pushed <= CAP, "{pushed} bytes wait");
    };
    assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
    let label = format!("{id}");
    assert!(error.to_string().contains(&label), "it names it: {error}");
    turn(&mut reactor);
    assert_eq!(seen.events(), ["error QuotaExceeded", "close"]);
    assert_eq!(reactor.counters().over_cap, 1);
}

/// A framed connection with marks of 1,000 and 2,000 bytes and a cap of 3,000, and somebody who feeds it.
struct Fed {
    reactor: Reactor,
    sink: Id<Framed<Recorder>>,
    wire: Wire,
    source: AnyId,
    seen: Seen,
}

impl Fed {
    fn new() -> Fed {
        let mut builder = Reactor::builder();
        let builder = builder.low_mark(1000).high_mark(2000).hard_cap(3000);
        let mut reactor = builder.build().expect("good marks");
        let (seen, wire) = (Seen::default(), Wire::open());
        let framed = framed(Terminator::Line, Recorder::new(&seen));
        let sink = reactor.add(wire.socket(), framed).expect("a stream");
        let source = reactor.add(Wire::open().socket(), Echo).expect("a stream");
        reactor.at(source).expect("open").feeds(sink);
        Fed {
            reactor,
            sink,
            wire,
            source: source.any(),
            seen,
        }
    }

    /// Has the connection do something between two turns.
    fn act<R>(&mut self, act: impl FnOnce(&mut Framing, &mut Context<'_>) -> R) -> R {
        self.reactor
            .with(self.sink, |framed, cx| act(framed.framing(), cx))
            .expect("open")
    }

    fn push(&mut self, bytes: usize) -> io::Result<()> {
        self.act(|framing, cx| framing.push(cx, &vec![b'x'; bytes]))
    }

    fn is_held(&mut self) -> bool {
        let source = self.reactor.at(self.source).expect("open");
        !source.is_reading()
    }
}

#[test]
fn what_waits_behind_a_producer_counts_to_the_byte_and_no_longer_than_it_waits() {
    let mut fed = Fed::new();
    for round in 1..=2 {
        fed.act(|framing, cx| framing.push_producer(cx, io::repeat(b'p').take(10)));
        fed.push(2000).expect("room");
        assert!(!fed.is_held(), "at the high mark");
        fed.push(1).expect("room");
        assert!(fed.is_held(), "over it");
        fed.push(999).expect("room up to the cap");
        let wire = fed.wire.clone();
        turn_until(&mut fed.reactor, "all of it", |_| {
            wire.taken() == round * 3010
        });
        settle(&mut fed.reactor);
        assert!(!fed.is_held(), "nothing waits any more");
    }
    fed.act(|framing, cx| framing.push_producer(cx, io::repeat(b'p').take(10)));
    fed.push(3000).expect("room up to the cap");
    let error = fed.push(1).expect_err("over the cap");
    assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
}

#[test]
fn more_than_sixteen_producers_hold_who_feeds_them_until_eight_are_left() {
    let mut fed = Fed::new();
    let dropped = Rc::new(Cell::new(0));
    for count in 1..=17 {
        let (mut producer, ..) = Counting::new(1000);
        producer.dropped = Rc::clone(&dropped);
        fed.act(|framing, cx| framing.push_producer(cx, producer));
        assert_eq!(fed.is_held(), count > 16, "{count} producers");
    }
    let mut left = 17;
    while left > 0 {
        // One gives as much as the outbox takes at a time.
        turn(&mut fed.reactor);
        assert!(left - (17 - dropped.get()) <= 1, "one in a turn");
        left = 17 - dropped.get();
        assert_eq!(fed.is_held(), left > 8, "{left} producers are left");
    }
    assert_eq!(fed.wire.taken(), 17_000);
}

/// Little things that wait behind a producer are no reason to read no more.
#[test]
fn many_small_pieces_and_empty_files_behind_a_producer_hold_nobody() {
    let mut fed = Fed::new();
    let file =
        || File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).expect("it is there");
    fed.act(|framing, cx| framing.push_producer(cx, io::repeat(b'p').take(10)));
    for _ in 0..100 {
        fed.push(1).expect("room");
        fed.act(|framing, cx| framing.push_file(cx, file(), 5..5))
            .expect("a file");
        assert!(!fed.is_held());
    }
    settle(&mut fed.reactor);
    assert_eq!(fed.wire.taken(), 110);
}

/// Each file that waits is an open descriptor.
#[test]
fn a_file_behind_256_that_wait_is_refused_and_has_room_when_they_have_gone() {
    let mut fed = Fed::new();
    let file =
        || File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).expect("it is there");
    for _ in 0..256 {
        fed.act(|framing, cx| framing.push_producer(cx, io::repeat(b'p').take(1)));
    }
    let refused = fed.act(|framing, cx| framing.push_file(cx, file(), ..10));
    let error = refused.expect_err("256 are waiting");
    assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
    assert!(error.to_string().contains("256"), "{error}");
    settle(&mut fed.reactor);
    assert_eq!(fed.wire.taken(), 256);
    fed.act(|framing, cx| framing.push_file(cx, file(), ..10))
        .expect("nobody waits any more");
    settle(&mut fed.reactor);
    assert_eq!(fed.wire.taken(), 266);
    assert!(fed.seen.events().is_empty());
}

#[test]
fn a_producer_that_is_interrupted_is_asked_again() {
    struct Interrupted {
        before: usize,
        left: usize,
    }
    impl Read for Interrupted {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.before > 0 {
                self.before -= 1;
                return Err(io::ErrorKind::Interrupted.into());
            }
            let count = buffer.len().min(self.left);
            self.left -= count;
            self.before = 3;
            Ok(count)
        }
    }
    let mut fed = Fed::new();
    let producer = Interrupted {
        before: 1,
        left: 5000,
    };
    fed.act(|framing, cx| framing.push_producer(cx, producer));
    settle(&mut fed.reactor);
    assert_eq!(fed.wire.taken(), 5000);
    assert!(fed.seen.events().is_empty());
}

/// A close that did not come through the framing lets the producers finish that are there, and takes nothing more.
#[test]
fn nothing_can_be_pushed_after_a_close_however_many_producers_are_left() {
    let mut fed = Fed::new();
    let file = File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).expect("it is there");
    let (late, drawn, dropped) = Counting::new(1000);
    let refused = fed.act(|framing, cx| {
        framing.push_producer(cx, io::repeat(b'p').take(10));
        cx.close();
        framing.push_producer(cx, late);
        [
            framing.push(cx, b"late").expect_err("closing").kind(),
            framing.push_file(cx, file, ..).expect_err("closing").kind(),
        ]
    });
    assert_eq!(refused, [io::ErrorKind::NotConnected; 2]);
    assert_eq!((drawn.get(), dropped.get()), (0, 1));
    settle(&mut fed.reactor);
    assert_eq!(fed.wire.taken(), 10);
}

/// A peer that asks for files without end and reads none of them: each answer is a producer, which puts
/// nothing into the outbox until it is asked. Before they counted, each request opened another file.
#[test]
fn a_peer_that_asks_for_producers_and_reads_nothing_is_not_read_any_more() {
    let seen = Seen::default();
    let dropped = Rc::new(Cell::new(0));
    let drops = Rc::clone(&dropped);
    let recorder = Recorder::doing(&seen, move |cx, framing, _| {
        let (mut producer, ..) = Counting::new(50_000);
        producer.dropped = Rc::clone(&drops);
        framing.push_producer(cx, producer);
        framing.push(cx, b"\n")
    });
    let (mut reactor, _, mut peer) = connection(framed(Terminator::Line, recorder));
    peer.write_all(&lines(500)).expect("room");
    peer.shutdown(Shutdown::Write).expect("connected");
    settle(&mut reactor);
    let open = seen.count() - dropped.get();
    assert!(
        open <= 20,
        "{open} producers wait for a peer that reads nothing"
    );
    let reading = std::thread::spawn(move || {
        let mut output = Vec::new();
        peer.read_to_end(&mut output).map(|_| output.len())
    });
    turn_until(&mut reactor, "the close", |_| seen.has_closed());
    assert_eq!(seen.count(), 500, "every request is answered in the end");
    assert_eq!(seen.events(), ["eof", "close"]);
    let length = reading.join().expect("no panic").expect("a clean end");
    assert_eq!(length, 500 * 50_001);
    assert_eq!(dropped.get(), 500);
}

/// The held connection of a peer that resets is let go, and ends.
#[test]
fn a_reset_ends_a_connection_that_its_producers_hold() {
    let seen = Seen::default();
    let recorder = Recorder::doing(&seen, move |cx, framing, _| {
        framing.push_producer(cx, io::repeat(b'p').take(1_000_000));
        Ok(())
    });
    let mut reactor = Reactor::new().expect("a poller");
    let framed = framed(Terminator::Line, recorder);
    let (_, mut peer) = join(&mut reactor, tcp_pair(), framed);
    peer.write_all(&lines(100)).expect("room");
    turn_until(&mut reactor, "the hold", |_| seen.count() > 10);
    settle(&mut reactor);
    assert!(seen.count() < 50, "held");
    over::reset(peer);
    turn_until(&mut reactor, "the close", |_| seen.has_closed());
    assert_eq!(reactor.memory().0, 0);
    assert_eq!(seen.events(), ["close"]);
}

/// With marks below a producer's usual piece the pieces are smaller: they neither break the cap nor go
/// over the high mark, which would stop the reading of the very connection that they answer on.
#[test]
fn a_producers_pieces_stay_below_the_high_mark() {
    let mut reactor = Reactor::builder()
        .low_mark(1000)
        .high_mark(2000)
        .hard_cap(3000)
        .build()
        .expect("good marks");
    let seen = Seen::default();
    let framed = framed(Terminator::Line, Recorder::new(&seen));
    let (id, mut peer) = join(&mut reactor, unix_pair(), framed);
    reactor.with(id, |framed, cx| {
        framed
            .framing()
            .push_producer(cx, io::repeat(b'p').take(1_000_000));
    });
    settle(&mut reactor);
    assert!(reactor.memory().0 <= 2000);
    peer.write_all(b"still read\n").expect("room");
    turn_until(&mut reactor, "the line", |_| seen.count() == 1);
    let mut output = vec![0; 1_000_000];
    peer.set_nonblocking(true).expect("a socket");
    let mut have = 0;
    turn_until(&mut reactor, "all of it", |reactor| {
        assert!(reactor.memory().0 <= 2000, "never over the high mark");
        if let Ok(count) = peer.read(&mut output[have..]) {
            have += count;
        }
        have == output.len()
    });
    assert!(seen.events().is_empty());
}

/// Gives a few bytes, then fails whenever it is asked.
struct Failing(usize);

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let count = buffer.len().min(self.0);
        self.0 -= count;
        Ok(count)
    }
}

#[test]
fn a_producer_that_fails_is_one_error_and_the_next_goes_on_if_that_is_forgiven() {
    for forgiving in [false, true] {
        let seen = Seen::default();
        let mut recorder = Recorder::new(&seen);
        if forgiving {
            recorder = recorder.forgiving();
        }
        let (mut reactor, id, mut peer) = connection(framed(Terminator::Line, recorder));
        reactor.with(id, |framed, cx| {
            framed.framing().push_producer(cx, Failing(10));
            framed.framing().push(cx, b"next").expect("room");
            framed.framing().close_when_done(cx);
        });
        turn_until(&mut reactor, "the failure", |_| !seen.events().is_empty());
        settle(&mut reactor);
        let mut output = Vec::new();
        peer.read_to_end(&mut output).expect("a clean end");
        drop(peer);
        turn_until(&mut reactor, "the close", |_| seen.has_closed());
        assert_eq!(seen.events(), ["error UnexpectedEof", "close"]);
        assert_eq!(output.len(), if forgiving { 14 } else { 10 });
    }
}

/// Shut for writing, nothing more can be sent: a producer that comes later is dropped, not asked without
/// end. One that was accepted before is sent first.
#[test]
fn a_producer_on_a_connection_shut_for_writing_is_dropped_and_nothing_spins() {
    let seen = Seen::default();
    let (mut reactor, id, mut peer) = connection(framed(Terminator::Line, Recorder::new(&seen)));
    let (early, _, _) = Counting::new(1000);
    let (late, drawn, dropped) = Counting::new(1000);
    reactor.with(id, |framed, cx| {
        framed.framing().push_producer(cx, early);
        cx.shutdown_write();
        framed.framing().push_producer(cx, late);
        cx.start_writing();
        let file = File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        let (framing, file) = (framed.framing(), file.expect("it is there"));
        let refused = [framing.push(cx, b"late"), framing.push_file(cx, file, ..)];
        for refusal in refused {
            let kind = refusal.expect_err("shut").kind();
            assert_eq!(kind, io::ErrorKind::BrokenPipe);
        }
    });
    assert_eq!((drawn.get(), dropped.get()), (0, 1));
    settle(&mut reactor);
    let mut received = Vec::new();
    peer.read_to_end(&mut received).expect("a clean end");
    assert_eq!(received.len(), 1000);
    drop(peer);
    turn_until(&mut reactor, "the close", |_| seen.has_closed());
    assert_eq!(seen.events(), ["eof", "close"]);
}

/// What waits in producers holds the sources that feed the connection. A close lets the producers finish;
/// an abort drops them, and with them the hold.
#[test]
fn a_close_waits_for_the_producers_and_an_abort_drops_them_and_their_hold() {
    let seen = Seen::default();
    let (mut reactor, sink, _peer) = connection(framed(Terminator::Line, Recorder::new(&seen)));
    let (ours, _other_peer) = unix_pair();
    let source = reactor.add(ours, Echo).expect("a stream");
    let is_reading = |reactor: &mut Reactor| reactor.at(source).expect("open").is_reading();
    reactor.at(source).expect("open").feeds(sink);
    let (producer, _, dropped) = Counting::new(1000);
    reactor.with(sink, |framed, cx| {
        framed.framing().push_producer(cx, producer);
        for _ in 0..30 {
            framed.framing().push_producer(cx, io::repeat(b'p'));
        }
    });
    assert!(!is_reading(&mut reactor), "many producers wait");
    reactor.at(sink).expect("open").close();
    turn(&mut reactor);
    assert!(!is_reading(&mut reactor), "they are still to be sent");
    assert_eq!(reactor.count(), 2, "it closes when they are done");
    assert_eq!(dropped.get(), 1, "the first one is");
    reactor.at(sink).expect("it goes on").abort();
    turn(&mut reactor);
    assert!(is_reading(&mut reactor), "nothing is left to wait for");
    assert_eq!(reactor.count(), 1);
}

#[test]
fn a_record_of_the_largest_size_is_one_and_a_byte_more_is_not() {
    let cases = [
        (Terminator::Line, b"\n".to_vec()),
        (Terminator::Netstring, b",".to_vec()),
        (Terminator::Prefixed(LengthPrefix::One), Vec::new()),
    ];
    for (terminator, end) in cases {
        for length in [100_u8, 101] {
            let mut stream = match terminator {
                Terminator::Netstring => format!("{length}:").into_bytes(),
                Terminator::Prefixed(_) => vec![length],
                _ => Vec::new(),
            };
            stream.extend(vec![b'x'; length.into()]);
            stream.extend(&end);
            let seen = Seen::default();
            let framed = framed(terminator.clone(), Recorder::new(&seen)).max_record(100);
            let (mut reactor, _, mut peer) = connection(framed);
            peer.write_all(&stream).expect("room");
            turn_until(&mut reactor, "a record or an error", |_| {
                !seen.events().is_empty() || !seen.records().is_empty()
            });
            let expected = if length == 100 { 1 } else { 0 };
            assert_eq!(seen.records().len(), expected, "{terminator:?}, {length}");
        }
    }
}

/// A handler has all callbacks of a dispatcher that are about its connection.
#[test]
fn a_handler_is_told_that_all_is_sent() {
    struct Asks(Rc<Cell<usize>>);
    impl Handler for Asks {
        fn found_terminator(
            &mut self,
            cx: &mut Context<'_>,
            _: &mut Framing,
            record: &[u8],
        ) -> io::Result<()> {
            cx.send(record)?;
            cx.notify_when_sent()
        }

        fn handle_sent(&mut self, _: &mut Context<'_>, _: &mut Framing) -> io::Result<()> {
            self.0.set(self.0.get() + 1);
            Ok(())
        }
    }
    let told = Rc::new(Cell::new(0));
    let asks = Framed::new(Terminator::Line, Asks(told.clone())).expect("a terminator");
    let mut reactor = Reactor::new().expect("a poller");
    let (_, mut peer) = join(&mut reactor, unix_pair(), asks);
    peer.write_all(b"all of it\n").expect("room");
    turn_until(&mut reactor, "the callback", |_| told.get() == 1);
    let mut answer = [0; 9];
    peer.read_exact(&mut answer).expect("it was sent");
    assert_eq!(&answer, b"all of it");
}

#[test]
fn a_handler_is_told_who_of_those_that_it_watches_has_gone() {
    struct Watches(Rc<RefCell<Vec<(AnyId, Cause)>>>);
    impl Handler for Watches {
        fn found_terminator(
            &mut self,
            _: &mut Context<'_>,
            _: &mut Framing,
            _: &[u8],
        ) -> io::Result<()> {
            Ok(())
        }

        fn handle_gone(
            &mut self,
            _: &mut Context<'_>,
            _: &mut Framing,
            id: AnyId,
            cause: Cause,
        ) -> io::Result<()> {
            self.0.borrow_mut().push((id, cause));
            Ok(())
        }
    }
    let gone = Rc::default();
    let watches = Framed::new(Terminator::Line, Watches(Rc::clone(&gone))).expect("a terminator");
    let mut reactor = Reactor::new().expect("a poller");
    let (id, _peer) = join(&mut reactor, unix_pair(), watches);
    let other = reactor.add_service(Echo).expect("room");
    assert!(reactor.at(id).expect("open").watch(other));
    reactor.at(other).expect("there").abort();
    turn_until(&mut reactor, "the callback", |_| !gone.borrow().is_empty());
    assert_eq!(*gone.borrow(), [(other.any(), Cause::Aborted)]);
}
