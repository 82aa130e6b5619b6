//! A stream in use gets a layer, as STARTTLS wants it: what came and went before stays in the clear, and is never
//! taken for what came through the layer.

#[path = "util/records.rs"]
mod records;
mod util;
#[path = "util/wire.rs"]
mod wire;

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, UdpSocket};
use std::rc::Rc;
use std::time::Duration;

use records::{HELLO, Records, decoded, record};
use slabloop::framing::{Framed, Framing, Handler, Terminator};
use slabloop::testing::SimClock;
use slabloop::{Context, Dispatcher, Id, Rate, Reactor};
use util::*;
use wire::Wire;

type Notes = Rc<RefCell<Vec<String>>>;

fn last(notes: &Notes) -> String {
    notes.borrow().last().cloned().unwrap_or_default()
}

/// Speaks lines. `STARTTLS` gets an answer and a layer.
struct Mail {
    notes: Notes,
    says: &'static [u8],
}

impl Mail {
    fn note(&self, note: impl Into<String>) {
        self.notes.borrow_mut().push(note.into());
    }
}

impl Handler for Mail {
    fn found_terminator(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
        line: &[u8],
    ) -> io::Result<()> {
        let line = String::from_utf8_lossy(line).into_owned();
        let how = if cx.layer().is_some() {
            "hidden"
        } else {
            "plain"
        };
        self.note(format!("{how}: {line}"));
        if line != "STARTTLS" {
            return framing.push(cx, format!("you said {line}\n").as_bytes());
        }
        framing.push(cx, self.says)?;
        cx.start_layer(Records::default())
    }

    fn handle_handshake(&mut self, cx: &mut Context<'_>, _: &mut Framing) -> io::Result<()> {
        assert!(cx.layer().is_some_and(is_records));
        self.note("handshake");
        Ok(())
    }

    fn handle_connect(&mut self, _: &mut Context<'_>, _: &mut Framing) -> io::Result<()> {
        self.note("connect");
        Ok(())
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        self.note(format!("{:?}", error.kind()));
        cx.log_fault(&error);
        cx.abort_when_sent();
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        self.note(format!("{:?}", cx.end_cause().expect("it has ended")));
    }
}

fn is_records(layer: &dyn slabloop::Layer) -> bool {
    (layer as &dyn std::any::Any).is::<Records>()
}

const GO_AHEAD: &[u8] = b"220 go ahead\n";

struct Room {
    reactor: Reactor,
    wire: Wire,
    id: Id<Framed<Mail>>,
    notes: Notes,
}

impl Room {
    fn with(mut reactor: Reactor, wire: Wire, terminator: Terminator) -> Room {
        let notes = Notes::default();
        let mail = Mail {
            notes: Rc::clone(&notes),
            says: GO_AHEAD,
        };
        let framed = Framed::new(terminator, mail).expect("a terminator");
        let id = reactor.add(wire.socket(), framed).expect("a stream");
        Room {
            reactor,
            wire,
            id,
            notes,
        }
    }

    fn new() -> Room {
        let reactor = Reactor::new().expect("a reactor");
        Room::with(reactor, Wire::open(), Terminator::Line)
    }

    fn input(&mut self, bytes: &[u8]) {
        self.wire.input(&mut self.reactor, self.id, bytes);
        settle(&mut self.reactor);
    }

    fn context(&mut self) -> Context<'_> {
        self.reactor.at(self.id).expect("it is there")
    }

    fn notes(&self) -> Vec<String> {
        self.notes.borrow().clone()
    }
}

/// What the peer has got when all is said.
fn conversation(hidden: &[u8]) -> Vec<u8> {
    [GO_AHEAD, HELLO, &record(hidden)].concat()
}

#[test]
fn the_answer_leaves_in_the_clear_then_comes_the_handshake_and_then_the_rest_through_the_layer() {
    let mut room = Room::new();
    room.input(b"STARTTLS\n");
    assert_eq!(room.wire.output(), [GO_AHEAD, HELLO].concat());
    assert_eq!(room.notes(), ["plain: STARTTLS"]);
    room.input(HELLO);
    assert_eq!(room.notes(), ["plain: STARTTLS", "handshake"]);
    room.input(&record(b"hello\n"));
    assert_eq!(last(&room.notes), "hidden: hello");
    assert_eq!(room.wire.output(), conversation(b"you said hello\n"));
}

#[test]
fn every_split_of_what_comes_and_every_room_for_what_leaves_gives_the_same() {
    let said = [b"STARTTLS\n", HELLO, &record(b"hello\n")].concat();
    let expected = conversation(b"you said hello\n");
    for split in 0..=said.len() {
        for room_first in [0, 1, 5, GO_AHEAD.len(), GO_AHEAD.len() + 2] {
            let reactor = Reactor::new().expect("a reactor");
            let mut room = Room::with(reactor, Wire::new(room_first), Terminator::Line);
            room.input(&said[..split]);
            room.input(&said[split..]);
            room.wire.make_room(&mut room.reactor, room.id, usize::MAX);
            settle(&mut room.reactor);
            assert_eq!(room.wire.output(), expected, "{split} {room_first}");
            let notes = ["plain: STARTTLS", "handshake", "hidden: hello"];
            assert_eq!(room.notes(), notes, "{split} {room_first}");
        }
    }
}

#[test]
fn a_command_injected_behind_starttls_is_never_carried_out() {
    let mut room = Room::new();
    room.input(b"STARTTLS\nDELETE everything\n");
    assert_eq!(
        room.notes(),
        [
            "plain: STARTTLS",
            "InvalidData",
            "HandshakeFailed(InvalidData)"
        ]
    );
    assert_eq!(room.wire.output(), [GO_AHEAD, HELLO].concat());
    // Nor in pieces: the greeting of the layer is whole, and the command came before it.
    let mut room = Room::new();
    room.input(b"STARTTLS\nDE");
    room.input(b"LETE\n");
    assert_eq!(last(&room.notes), "HandshakeFailed(InvalidData)");
}

#[test]
fn a_layer_begun_in_the_middle_of_a_record_gets_the_beginning_of_it() {
    let terminators = [Terminator::Length(20), Terminator::Bytes(b"!?".to_vec())];
    for terminator in terminators {
        let reactor = Reactor::new().expect("a reactor");
        let mut room = Room::with(reactor, Wire::open(), terminator.clone());
        // The peer was quicker than its partner: what it says is the layer's greeting.
        room.input(HELLO);
        let records = Records::default();
        room.context().start_layer(records).expect("open");
        settle(&mut room.reactor);
        assert_eq!(room.notes(), ["handshake"], "{terminator:?}");
        let look = |framed: &mut Framed<Mail>, _: &mut Context<'_>| framed.framing().terminator();
        let now = room.reactor.with(room.id, look).expect("open");
        assert_eq!(now, terminator, "nothing of a record has come");
    }
}

#[test]
fn what_was_put_back_is_the_layers() {
    struct Reads(Notes);
    impl Dispatcher for Reads {
        fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            let mut buffer = [0; 100];
            let count = cx.recv(&mut buffer)?;
            let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
            self.0.borrow_mut().push(text);
            if cx.layer().is_none() {
                cx.unread(&buffer[1..count])?;
                cx.start_layer(Records::default())?;
                assert_eq!(
                    cx.recv(&mut buffer).expect_err("not now").kind(),
                    ErrorKind::WouldBlock
                );
                assert!(
                    cx.unread(b"more").is_err(),
                    "it would come as if through the layer"
                );
            }
            Ok(())
        }
    }
    let mut reactor = Reactor::new().expect("a reactor");
    let wire = Wire::open();
    let notes = Notes::default();
    let id = reactor
        .add(wire.socket(), Reads(Rc::clone(&notes)))
        .expect("a stream");
    let said = [b"S", HELLO, &record(b"hello")].concat();
    wire.input(&mut reactor, id, &said);
    settle(&mut reactor);
    assert_eq!(notes.borrow()[1..], ["hello"]);
}

#[test]
fn with_a_successor_in_the_same_callback_the_layer_gets_what_the_old_one_had_read() {
    struct Old {
        layer_first: bool,
        notes: Notes,
        unread: Vec<u8>,
    }
    impl Dispatcher for Old {
        fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            let mut buffer = [0; 100];
            let count = cx.recv(&mut buffer)?;
            self.unread = buffer[1..count].to_vec();
            let new = New(Rc::clone(&self.notes));
            if self.layer_first {
                cx.start_layer(Records::default())?;
                cx.replace(new)?;
            } else {
                cx.replace(new)?;
                cx.start_layer(Records::default())?;
            }
            Ok(())
        }
        fn take_unread(&mut self) -> Vec<u8> {
            std::mem::take(&mut self.unread)
        }
    }
    struct New(Notes);
    impl Dispatcher for New {
        fn handle_handshake(&mut self, _: &mut Context<'_>) -> io::Result<()> {
            self.0.borrow_mut().push("handshake".to_owned());
            Ok(())
        }
        fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            let mut buffer = [0; 100];
            let count = cx.recv(&mut buffer)?;
            let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
            self.0.borrow_mut().push(text);
            Ok(())
        }
    }
    for layer_first in [false, true] {
        let mut reactor = Reactor::new().expect("a reactor");
        let wire = Wire::open();
        let notes = Notes::default();
        let old = Old {
            layer_first,
            notes: Rc::clone(&notes),
            unread: Vec::new(),
        };
        let id = reactor.add(wire.socket(), old).expect("a stream");
        let said = [b"S", HELLO, &record(b"hello")].concat();
        wire.input(&mut reactor, id, &said);
        settle(&mut reactor);
        assert_eq!(*notes.borrow(), ["handshake", "hello"], "{layer_first}");
    }
}

#[test]
fn another_dispatcher_or_the_program_may_begin_it() {
    let mut room = Room::new();
    room.context().send(b"before").expect("room");
    room.context()
        .start_layer(Records::default())
        .expect("open");
    room.context().send(b"behind").expect("room");
    room.context().pause_reading();
    room.input(HELLO);
    assert_eq!(room.notes(), ["handshake"], "no pause holds it up");
    let expected = [b"before", HELLO, &record(b"behind")].concat();
    assert_eq!(room.wire.output(), expected);
}

#[test]
fn a_producer_waits_for_the_handshake() {
    struct Produces(Notes);
    impl Dispatcher for Produces {
        fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            cx.recv(&mut [0])?;
            cx.start_writing();
            cx.start_layer(Records::default())
        }
        fn handle_handshake(&mut self, _: &mut Context<'_>) -> io::Result<()> {
            self.0.borrow_mut().push("handshake".to_owned());
            Ok(())
        }
        fn handle_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            self.0.borrow_mut().push("write".to_owned());
            cx.stop_writing();
            Ok(())
        }
    }
    let mut reactor = Reactor::new().expect("a reactor");
    let (wire, notes) = (Wire::open(), Notes::default());
    let produces = Produces(Rc::clone(&notes));
    let id = reactor.add(wire.socket(), produces).expect("a stream");
    wire.input(&mut reactor, id, b"S");
    settle(&mut reactor);
    assert!(notes.borrow().is_empty(), "{notes:?}");
    wire.input(&mut reactor, id, HELLO);
    settle(&mut reactor);
    assert_eq!(*notes.borrow(), ["handshake", "write"]);
}

#[test]
fn what_feeds_it_is_read_again_when_the_layer_has_taken_what_was_queued() {
    let mut reactor = Reactor::new().expect("a reactor");
    let sink = reactor.add(Wire::new(0).socket(), Idle).expect("a stream");
    let wire = Wire::open();
    let source = reactor.add(wire.socket(), Idle).expect("a stream");
    reactor.at(source).expect("open").feeds(sink);
    let mut cx = reactor.at(sink).expect("open");
    cx.set_marks(1, 2, 1000).expect("marks");
    cx.send(b"over the high mark").expect("room");
    wire.input(&mut reactor, source, b"input");
    settle(&mut reactor);
    assert_eq!(wire.unread(), 5, "it is held");
    let mut cx = reactor.at(sink).expect("open");
    cx.start_layer(Records::default()).expect("open");
    settle(&mut reactor);
    assert_eq!(wire.unread(), 0);
}

#[test]
fn what_was_sent_before_leaves_also_if_the_connection_is_closed_at_once() {
    let mut room = Room::new();
    room.context().send(b"before").expect("room");
    let mut cx = room.context();
    cx.start_layer(Records::default()).expect("open");
    cx.close();
    settle(&mut room.reactor);
    assert_eq!(room.wire.output(), [b"before", HELLO].concat());
    room.input(HELLO);
    assert_eq!(room.wire.output(), [b"before", HELLO, &[0][..]].concat());
    assert_eq!(last(&room.notes), "Finished");
}

#[test]
fn bytes_from_before_the_layer_that_cannot_leave_end_in_a_reset() {
    let clock = SimClock::new();
    let mut builder = Reactor::builder();
    let mut reactor = builder.clock(clock.clone()).build().expect("a reactor");
    let (ours, mut peer) = tcp_pair();
    let id = reactor.add(ours, Idle).expect("a stream");
    // So that the kernel has no room for what follows.
    let filled = fill(&mut reactor, id);
    let mut cx = reactor.at(id).expect("open");
    assert!(
        cx.queued() > 0 && cx.queued() <= 64 * 1024,
        "{}",
        cx.queued()
    );
    cx.start_layer(Records::default()).expect("open");
    assert_eq!(cx.queued(), 0, "it is no part of the outbox any more");
    turn(&mut reactor);
    clock.advance(Duration::from_secs(11));
    turn_until(&mut reactor, "its end", |reactor| reactor.count() == 0);
    let mut got = Vec::new();
    let error = peer
        .read_to_end(&mut got)
        .expect_err("a part is not the whole");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(got.len() < filled);
}

/// Does nothing.
struct Idle;

impl Dispatcher for Idle {}

/// Sends until some of it stays in the outbox. How many bytes that were.
fn fill(reactor: &mut Reactor, id: Id<Idle>) -> usize {
    let mut sent = 0;
    loop {
        let mut cx = reactor.at(id).expect("open");
        if cx.queued() > 0 {
            return sent;
        }
        cx.send(&[7; 32 * 1024]).expect("room");
        sent += 32 * 1024;
        turn_for(reactor, Duration::ZERO);
    }
}

#[test]
fn a_handshake_that_fails_after_queueing_lets_the_peer_read_why() {
    /// Refuses, and says so.
    struct Refuses;
    impl slabloop::Layer for Refuses {
        fn handshake(&mut self, below: &mut slabloop::Below<'_>) -> io::Result<()> {
            below.write_all(b"alert")?;
            Err(ErrorKind::InvalidData.into())
        }
        fn recv(&mut self, _: &mut slabloop::Below<'_>, _: &mut [u8]) -> io::Result<usize> {
            unreachable!("not before the handshake")
        }
        fn send(&mut self, _: &mut slabloop::Below<'_>, _: &[u8]) -> io::Result<usize> {
            unreachable!("not before the handshake")
        }
        fn finish(&mut self, _: &mut slabloop::Below<'_>) -> io::Result<()> {
            unreachable!("not before the handshake")
        }
    }
    let mut reactor = Reactor::new().expect("a reactor");
    let (ours, mut peer) = tcp_pair();
    let id = reactor.add(ours, Idle).expect("a stream");
    let mut cx = reactor.at(id).expect("open");
    cx.start_layer(Refuses).expect("open");
    cx.send(b"secret").expect("room");
    turn_until(&mut reactor, "its end", |reactor| reactor.count() == 0);
    let mut got = Vec::new();
    peer.read_to_end(&mut got)
        .expect("no reset overtakes the alert");
    assert_eq!(got, b"alert");
}

#[test]
fn an_urgent_byte_is_no_part_of_what_the_layer_gets() {
    let mut reactor = Reactor::new().expect("a reactor");
    let (ours, mut peer) = tcp_pair();
    let notes = Notes::default();
    let mail = Mail {
        notes: Rc::clone(&notes),
        says: GO_AHEAD,
    };
    let framed = Framed::new(Terminator::Line, mail).expect("a terminator");
    let id = reactor.add(ours, framed).expect("a stream");
    let mut cx = reactor.at(id).expect("open");
    cx.urgent_inline(true).expect("a stream");
    let layer = Records::default();
    cx.start_layer(layer).expect("open");
    let refused = cx.urgent_inline(true).expect_err("not with a layer");
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    peer.write_all(HELLO).expect("room");
    let urgent = socket2::SockRef::from(&peer).send_out_of_band(b"!");
    assert_eq!(urgent.expect("room"), 1);
    peer.write_all(&record(b"hello\n")).expect("room");
    turn_until(&mut reactor, "the line", |_| {
        last(&notes) == "hidden: hello"
    });
}

#[test]
fn a_stream_that_cannot_have_a_layer_now_says_why_and_stays_as_it_is() {
    fn refused(cx: &mut Context<'_>, kind: ErrorKind, why: &str) {
        let before = cx.queued();
        let error = cx.start_layer(Records::default()).expect_err(why);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(cx.queued(), before);
    }
    let mut room = Room::with(
        Reactor::new().expect("a reactor"),
        Wire::new(0),
        Terminator::Line,
    );
    room.context()
        .send(&pattern(1, 64 * 1024 + 1))
        .expect("room");
    refused(
        &mut room.context(),
        ErrorKind::InvalidInput,
        "65537 bytes are queued",
    );
    room.wire.make_room(&mut room.reactor, room.id, usize::MAX);
    settle(&mut room.reactor);
    let mut full = Room::with(
        Reactor::new().expect("a reactor"),
        Wire::new(0),
        Terminator::Line,
    );
    let mut cx = full.context();
    cx.send(&pattern(1, 64 * 1024)).expect("room");
    cx.start_layer(Records::default()).expect("just so much");
    let queues = |framed: &mut Framed<Mail>, cx: &mut Context<'_>| {
        framed.framing().push_producer(cx, io::repeat(7));
    };
    room.reactor.with(room.id, queues).expect("open");
    refused(&mut room.context(), ErrorKind::InvalidInput, "a producer");

    let mut room = Room::new();
    room.context()
        .start_layer(Records::default())
        .expect("open");
    refused(
        &mut room.context(),
        ErrorKind::NotConnected,
        "not an open connection",
    );
    room.input(HELLO);
    refused(&mut room.context(), ErrorKind::Unsupported, "a layer");
    assert_eq!(room.notes(), ["handshake"]);

    let mut room = Room::new();
    room.context().shutdown_write();
    refused(
        &mut room.context(),
        ErrorKind::NotConnected,
        "one direction",
    );
    let mut room = Room::new();
    room.context().close();
    refused(
        &mut room.context(),
        ErrorKind::NotConnected,
        "not an open connection",
    );

    let mut reactor = Reactor::new().expect("a reactor");
    let (ours, _peer) = tcp_pair();
    let id = reactor.add(ours, Idle).expect("a stream");
    let mut cx = reactor.at(id).expect("open");
    cx.send_file(File::open("Cargo.toml").expect("it is there"), ..)
        .expect("a file");
    refused(&mut cx, ErrorKind::InvalidInput, "a file");
    let datagrams = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let id = reactor.add(datagrams, Idle).expect("a socket");
    let mut cx = reactor.at(id).expect("open");
    refused(&mut cx, ErrorKind::Unsupported, "a layer");
}

#[test]
fn a_stream_whose_end_was_seen_gets_no_layer() {
    struct Stays;
    impl Dispatcher for Stays {
        fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            let error = cx
                .start_layer(Records::default())
                .expect_err("nobody answers");
            assert_eq!(error.kind(), ErrorKind::NotConnected);
            cx.close();
            Ok(())
        }
    }
    let mut reactor = Reactor::new().expect("a reactor");
    let (ours, peer) = tcp_pair();
    reactor.add(ours, Stays).expect("a stream");
    peer.shutdown(Shutdown::Write).expect("connected");
    drop(peer);
    turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
}

#[test]
fn a_rate_limit_holds_below_a_layer_and_nothing_is_lost() {
    const BYTES: usize = 40_000;
    for limited_first in [false, true] {
        let clock = SimClock::new();
        let mut builder = Reactor::builder();
        let mut reactor = builder.clock(clock.clone()).build().expect("a reactor");
        let (ours, mut peer) = tcp_pair();
        let id = reactor.add(ours, Idle).expect("a stream");
        let rate = Rate::per_second(10_000).burst(100);
        let mut cx = reactor.at(id).expect("open");
        if !limited_first {
            cx.start_layer(Records::default()).expect("open");
        }
        cx.set_write_rate(rate).expect("a stream");
        cx.set_read_rate(rate).expect("a stream");
        if limited_first {
            cx.start_layer(Records::default()).expect("open");
        }
        cx.send(&pattern(1, BYTES)).expect("room");
        peer.write_all(HELLO).expect("room");
        let reader = std::thread::spawn(move || {
            let mut got = Vec::new();
            peer.read_to_end(&mut got).map(|_| got)
        });
        let started = clock.now();
        loop {
            let mut writes = None;
            while writes != Some(reactor.counters().writes) {
                writes = Some(reactor.counters().writes);
                turn_for(&mut reactor, Duration::ZERO);
            }
            if reactor.at(id).expect("open").queued() == 0 {
                break;
            }
            clock.advance(Duration::from_millis(10));
        }
        let took = clock.now() - started;
        assert!(took >= Duration::from_millis(3_900), "{took:?}");
        assert!(took <= Duration::from_millis(4_500), "{took:?}");
        let mut cx = reactor.at(id).expect("open");
        cx.set_write_rate(None).expect("a stream");
        cx.close();
        turn_until(&mut reactor, "its end", |reactor| reactor.count() == 0);
        let got = reader.join().expect("no panic").expect("a clean end");
        let rest = got.strip_prefix(HELLO).expect("a greeting");
        assert!(decoded(rest) == pattern(1, BYTES));
        assert_eq!(rest.last(), Some(&0), "the closing message");
    }
}
