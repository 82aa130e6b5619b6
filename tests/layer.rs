//! Layers between a stream and its outbox: the bytes change on their way, and nothing else does.
//!
//! The layer here cuts what is sent into records, greets first and says when it ends, as TLS does. It runs on
//! simulated streams, which take and give exactly what a test lets them.

#[path = "util/noting.rs"]
mod noting;
#[path = "util/records.rs"]
mod records;
mod util;
#[path = "util/wire.rs"]
mod wire;

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::rc::Rc;
use std::time::Duration;

use noting::{Notes, Noting};
use records::{HELLO, Records, decoded, record};
use slabloop::test::run_until_quiet;
use slabloop::testing::SimClock;
use slabloop::{Below, Context, Dispatcher, Id, Layer, Reactor, Socket, Timeout};
use util::*;
use wire::Wire;

/// One that reads in small pieces.
fn slow_noting() -> Noting {
    Noting {
        few: Some(10),
        ..Noting::default()
    }
}

struct Room {
    reactor: Reactor,
    wire: Wire,
    id: Id<Noting>,
    notes: Notes,
    got: Rc<RefCell<Vec<u8>>>,
}

/// A connection whose kernel takes so many bytes, before any handshake.
fn room(taken: usize) -> Room {
    let wire = Wire::new(taken);
    let mut reactor = Reactor::new().expect("a reactor");
    let noting = slow_noting();
    let (notes, got) = (Rc::clone(&noting.notes), Rc::clone(&noting.got));
    let socket = wire.socket().layered(Records::default());
    let id = reactor.add(socket, noting).expect("a stream");
    Room {
        reactor,
        wire,
        id,
        notes,
        got,
    }
}

/// The same, and both sides have greeted.
fn greeted(taken: usize) -> Room {
    let mut room = room(HELLO.len() + taken);
    room.wire.input(&mut room.reactor, room.id, HELLO);
    settle(&mut room.reactor);
    assert_eq!(room.wire.output(), HELLO);
    room
}

impl Room {
    fn context(&mut self) -> Context<'_> {
        self.reactor.at(self.id).expect("it is there")
    }

    /// What was written behind the greeting.
    fn sent(&self) -> Vec<u8> {
        self.wire.output().split_off(HELLO.len())
    }
}

#[test]
fn a_handshake_goes_on_with_whatever_comes_and_holds_back_what_is_sent() {
    let mut room = room(1);
    room.context().send(b"first").expect("it waits");
    // Neither a pause nor what the handshake cannot use stops it.
    room.context().pause_reading();
    settle(&mut room.reactor);
    assert_eq!(room.wire.output(), b"h");
    room.wire.input(&mut room.reactor, room.id, b"h");
    settle(&mut room.reactor);
    room.wire.make_room(&mut room.reactor, room.id, 2);
    settle(&mut room.reactor);
    assert_eq!(room.wire.output(), b"hi!");
    room.wire.input(&mut room.reactor, room.id, b"i");
    settle(&mut room.reactor);
    assert!(room.notes.borrow().is_empty(), "not through yet");
    room.wire.input(&mut room.reactor, room.id, b"!");
    room.wire.make_room(&mut room.reactor, room.id, 100);
    settle(&mut room.reactor);
    assert_eq!(room.sent(), record(b"first"));
    assert!(room.notes.borrow().is_empty(), "it was not dialled");
    assert_eq!(room.context().queued(), 0);
}

#[test]
fn what_the_kernel_takes_in_part_is_queued_as_the_program_sent_it_and_arrives_whole() {
    let message = pattern(1, 250);
    let pieces = [&message[..100], &message[100..200], &message[200..]];
    let encoded: Vec<u8> = pieces.iter().flat_map(|piece| record(piece)).collect();
    for at_a_time in [1, 7, 100, 101, 102, 1000] {
        let mut room = greeted(0);
        room.context().send(&message).expect("room");
        turn(&mut room.reactor);
        assert_eq!(room.context().queued(), 250, "nothing is with the kernel");
        let mut taken = 0;
        while room.context().queued() > 0 {
            room.wire.make_room(&mut room.reactor, room.id, at_a_time);
            settle(&mut room.reactor);
            let sent = room.sent();
            assert!(sent.len() > taken, "each time something is taken");
            taken = sent.len();
            assert_eq!(sent, encoded[..taken]);
            // A record counts when all of it is with the kernel.
            let whole = [0, 101, 202, 253].iter().rposition(|&end| taken >= end);
            let expected = 250 - [0, 100, 200, 250][whole.expect("zero is there")];
            assert_eq!(room.context().queued(), expected, "{taken} bytes taken");
        }
        assert_eq!(room.sent(), encoded);
    }
}

#[test]
fn what_a_layer_holds_is_handed_out_without_another_event() {
    let mut room = greeted(100);
    let mut input = record(b"twelve bytes");
    input.extend(record(b"and some more of them"));
    let half = record(b"in two halves");
    input.extend(&half[..5]);
    room.wire.input(&mut room.reactor, room.id, &input);
    settle(&mut room.reactor);
    assert_eq!(*room.got.borrow(), b"twelve bytesand some more of them");
    assert_asleep(&mut room.reactor, "half a record wakes nobody");
    room.wire.input(&mut room.reactor, room.id, &half[5..]);
    settle(&mut room.reactor);
    assert!(room.got.borrow().ends_with(b"in two halves"));
    room.wire.input(&mut room.reactor, room.id, &record(b""));
    settle(&mut room.reactor);
    assert_eq!(*room.notes.borrow(), ["eof"]);
}

#[test]
fn an_end_that_comes_with_the_last_bytes_is_told_without_another_event() {
    let mut room = greeted(100);
    let input = [record(b"last"), record(b"")].concat();
    room.wire.input(&mut room.reactor, room.id, &input);
    settle(&mut room.reactor);
    assert_eq!(*room.got.borrow(), b"last");
    assert_eq!(*room.notes.borrow(), ["eof"]);
}

#[test]
fn what_comes_while_a_layer_still_holds_something_is_read_too() {
    let mut room = greeted(100);
    room.wire
        .input(&mut room.reactor, room.id, &record(b"fifteen bytes 1"));
    turn(&mut room.reactor);
    assert_eq!(*room.got.borrow(), b"fifteen by", "the layer has the rest");
    // The one event of these bytes comes before what the layer holds is handed out.
    room.wire
        .input(&mut room.reactor, room.id, &record(b"and more"));
    settle(&mut room.reactor);
    assert_eq!(*room.got.borrow(), b"fifteen bytes 1and more");
}

#[test]
fn a_layer_that_takes_little_at_a_time_keeps_the_order_of_what_is_queued() {
    let mut room = greeted(0);
    let message = pattern(1, 50_000);
    for piece in message.chunks(5_000) {
        room.context().send(piece).expect("room");
    }
    turn(&mut room.reactor);
    room.wire.make_room(&mut room.reactor, room.id, 1_000_000);
    turn_until(&mut room.reactor, "all is sent", |reactor| {
        reactor.at(room.id).expect("open").queued() == 0
    });
    assert!(decoded(&room.sent()) == message);
}

/// Was reported to make way for a layer, and has read more than that.
struct Plain(Vec<u8>);

impl Dispatcher for Plain {
    fn take_unread(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

#[test]
fn a_connection_gets_its_layer_in_the_middle_and_what_was_read_before_is_no_input_of_the_program() {
    let (ours, mut peer) = tcp_pair();
    let mut reactor = Reactor::new().expect("a reactor");
    let mut early = HELLO.to_vec();
    early.extend(record(b"hello"));
    let id = reactor.add(ours, Plain(early)).expect("a stream");
    let mut cx = reactor.at(id).expect("open");
    cx.send(b"go ahead\n").expect("room");
    let detached = reactor.detach(id).expect("open");
    let noting = slow_noting();
    let (notes, got) = (Rc::clone(&noting.notes), Rc::clone(&noting.got));
    let socket = Socket::from(detached).layered(Records::default());
    let id = reactor.add(socket, noting).expect("a stream");
    let mut cx = reactor.at(id).expect("open");
    cx.send(b"welcome").expect("room");
    settle(&mut reactor);
    assert_eq!(*got.borrow(), b"hello", "{notes:?}");
    let mut expected = b"go ahead\nhi!".to_vec();
    expected.extend(record(b"welcome"));
    let mut answer = vec![0; expected.len()];
    peer.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer, expected);
}

/// Panics in one of its methods.
struct Torn(&'static str);

impl Torn {
    fn step(&self, step: &str) -> io::Result<()> {
        assert!(self.0 != step, "torn");
        Ok(())
    }
}

impl Layer for Torn {
    fn handshake(&mut self, _: &mut Below<'_>) -> io::Result<()> {
        self.step("handshake")
    }

    fn recv(&mut self, below: &mut Below<'_>, buffer: &mut [u8]) -> io::Result<usize> {
        self.step("recv")?;
        below.read(buffer)
    }

    fn send(&mut self, below: &mut Below<'_>, bytes: &[u8]) -> io::Result<usize> {
        self.step("send")?;
        below.write(bytes)
    }

    fn finish(&mut self, _: &mut Below<'_>) -> io::Result<()> {
        self.step("finish")
    }
}

#[test]
fn a_panic_in_a_layer_ends_its_connection_and_no_other() {
    for step in ["handshake", "recv", "send", "finish"] {
        let mut other = greeted(1000);
        let wire = Wire::open();
        let noting = slow_noting();
        let notes = Rc::clone(&noting.notes);
        let socket = wire.socket().layered(Torn(step));
        let id = other.reactor.add(socket, noting).expect("a stream");
        let mut cx = other.reactor.at(id).expect("it is there");
        cx.send(b"bytes").expect("room");
        other.context().send(b"others").expect("room");
        settle(&mut other.reactor);
        wire.input(&mut other.reactor, id, b"input");
        turn(&mut other.reactor);
        if let Some(mut cx) = other.reactor.at(id).filter(|_| step == "finish") {
            cx.close();
        }
        settle(&mut other.reactor);
        let last = notes.borrow().last().cloned();
        let expected = match step {
            "handshake" => "HandshakeFailed(Other)",
            "finish" => "Finished",
            _ => "Error(Other)",
        };
        assert_eq!(last.as_deref(), Some(expected), "{step}");
        assert_eq!(other.sent(), record(b"others"), "{step}");
        assert!(other.notes.borrow().is_empty(), "{step}");
    }
}

#[test]
fn a_layer_that_fails_while_its_connection_closes_leaves_no_clean_end() {
    let mut reactor = Reactor::new().expect("a reactor");
    let (ours, mut peer) = tcp_pair();
    let noting = slow_noting();
    let notes = Rc::clone(&noting.notes);
    let socket = Socket::from(ours).layered(Torn("send"));
    let id = reactor.add(socket, noting).expect("a stream");
    settle(&mut reactor);
    let mut cx = reactor.at(id).expect("open");
    cx.send(b"all of it").expect("room");
    cx.close();
    turn_until(&mut reactor, "its end", |reactor| reactor.count() == 0);
    let error = peer.read(&mut [0; 10]).expect_err("not a clean end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(*notes.borrow(), ["Error(Other)"]);
}

/// Finds that its peer is gone when it is to say its closing message.
struct Parting;

impl Layer for Parting {
    fn handshake(&mut self, _: &mut Below<'_>) -> io::Result<()> {
        Ok(())
    }

    fn recv(&mut self, below: &mut Below<'_>, buffer: &mut [u8]) -> io::Result<usize> {
        below.read(buffer)
    }

    fn send(&mut self, below: &mut Below<'_>, bytes: &[u8]) -> io::Result<usize> {
        below.write(bytes)
    }

    fn finish(&mut self, _: &mut Below<'_>) -> io::Result<()> {
        Err(ErrorKind::BrokenPipe.into())
    }
}

#[test]
fn a_closing_message_that_fails_when_all_was_sent_takes_nothing_back_from_the_peer() {
    let mut reactor = Reactor::new().expect("a reactor");
    let (ours, mut peer) = tcp_pair();
    let noting = slow_noting();
    let notes = Rc::clone(&noting.notes);
    let socket = Socket::from(ours).layered(Parting);
    let id = reactor.add(socket, noting).expect("a stream");
    settle(&mut reactor);
    let mut cx = reactor.at(id).expect("open");
    cx.send(b"all of it").expect("room");
    cx.shutdown_write();
    turn_until(&mut reactor, "its end", |reactor| reactor.count() == 0);
    let mut got = Vec::new();
    peer.read_to_end(&mut got).expect("an end and no reset");
    assert_eq!(got, b"all of it");
    assert_eq!(*notes.borrow(), ["Reset"]);
}

#[test]
fn closing_sends_its_closing_message_when_there_is_room_and_then_throws_away_what_comes() {
    for shut_first in [false, true] {
        let mut room = greeted(4);
        room.context().send(b"bye").expect("room");
        if shut_first {
            room.context().shutdown_write();
        } else {
            room.context().close();
        }
        settle(&mut room.reactor);
        assert_eq!(room.sent(), record(b"bye"), "no room for more");
        assert!(room.notes.borrow().is_empty(), "it waits for room");
        assert_asleep(&mut room.reactor, "and sleeps meanwhile");
        room.wire.make_room(&mut room.reactor, room.id, 1);
        settle(&mut room.reactor);
        assert_eq!(room.sent().last(), Some(&0), "the closing message");
        if shut_first {
            // The other direction goes on.
            room.wire.input(&mut room.reactor, room.id, &record(b""));
            settle(&mut room.reactor);
            assert_eq!(*room.notes.borrow(), ["eof", "Finished"]);
        } else {
            // These are no records. Nobody reads them any more.
            room.wire.input(&mut room.reactor, room.id, &[9, 9, 9]);
            room.wire.end_input(&mut room.reactor, room.id);
            settle(&mut room.reactor);
            assert_eq!(*room.notes.borrow(), ["Finished"]);
        }
    }
}

#[test]
fn an_answer_to_a_peer_that_has_ended_still_gets_its_closing_message() {
    let mut room = greeted(100);
    room.wire.input(&mut room.reactor, room.id, &record(b""));
    settle(&mut room.reactor);
    room.context().send(b"answer").expect("room");
    room.context().close();
    settle(&mut room.reactor);
    let mut expected = record(b"answer");
    expected.push(0);
    assert_eq!(room.sent(), expected);
    assert_eq!(*room.notes.borrow(), ["eof", "Finished"]);
}

/// Understands nothing that comes, and may say so to the peer.
struct Refuses {
    tells: bool,
}

impl Layer for Refuses {
    fn handshake(&mut self, _: &mut Below<'_>) -> io::Result<()> {
        Ok(())
    }

    fn recv(&mut self, below: &mut Below<'_>, buffer: &mut [u8]) -> io::Result<usize> {
        let _ = below.read(buffer)?;
        if self.tells {
            // There may be no room for it.
            let _ = below.write(b"alert");
        }
        Err(ErrorKind::InvalidData.into())
    }

    fn send(&mut self, below: &mut Below<'_>, bytes: &[u8]) -> io::Result<usize> {
        below.write(bytes)
    }

    fn finish(&mut self, below: &mut Below<'_>) -> io::Result<()> {
        below.write_all(b"the end")
    }

    fn has_told_failure(&self) -> bool {
        self.tells
    }
}

/// What stands before the layer refuses what comes, and whether it tells the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Nothing,
    /// The layer does not tell.
    Silence,
    /// An answer waits for room.
    Queued,
    /// Somebody was about to send more.
    Producing,
}

#[test]
fn the_peer_can_read_why_it_was_refused_and_takes_no_part_for_the_whole() {
    for before in [
        Before::Nothing,
        Before::Silence,
        Before::Queued,
        Before::Producing,
    ] {
        let mut reactor = Reactor::builder().clock(SimClock::new()).build();
        let reactor = reactor.as_mut().expect("a reactor");
        let noting = slow_noting();
        let notes = Rc::clone(&noting.notes);
        let (peer, socket) = slabloop::test::connection();
        let tells = before != Before::Silence;
        let id = reactor
            .add(socket.layered(Refuses { tells }), noting)
            .expect("a stream");
        run_until_quiet(reactor, 100);
        let mut cx = reactor.at(id).expect("open");
        match before {
            Before::Nothing | Before::Silence => {}
            Before::Queued => {
                peer.set_room(0);
                cx.send(b"half an answer").expect("room");
            }
            Before::Producing => cx.start_writing(),
        }
        peer.send("what is this");
        run_until_quiet(reactor, 100);
        reactor.check_invariants();
        let error = "InvalidData: invalid data";
        if before == Before::Nothing {
            assert_eq!(peer.take_received(), b"alert", "and no closing message");
            assert!(peer.is_ended() && !peer.is_closed(), "it may read it");
            assert_eq!(*notes.borrow(), [error]);
            peer.half_close();
            run_until_quiet(reactor, 100);
        }
        assert!(peer.is_closed(), "{before:?}");
        assert_eq!(peer.is_reset(), before != Before::Nothing, "{before:?}");
        assert_eq!(*notes.borrow(), [error, "Error(InvalidData)"], "{before:?}");
    }
}

#[test]
fn a_stream_that_is_cut_below_its_layer_is_an_error() {
    let mut room = greeted(100);
    let half = record(b"in two halves");
    room.wire.input(&mut room.reactor, room.id, &half[..5]);
    room.wire.end_input(&mut room.reactor, room.id);
    settle(&mut room.reactor);
    let notes = room.notes.borrow();
    assert!(notes[0].starts_with("UnexpectedEof"), "{notes:?}");
    assert_eq!(notes[1], "Error(UnexpectedEof)");
}

/// The kernel tells a reset once. Told to the write, it lets the read find an end, which the layer takes for a cut.
#[test]
fn a_reset_that_a_write_was_told_is_no_cut_for_the_read_that_follows() {
    let mut room = greeted(0);
    let (wire, id) = (room.wire.clone(), room.id);
    wire.break_silently(ErrorKind::ConnectionReset);
    room.context().send(b"into the void").expect("it is queued");
    // The flush comes after the reads: what it is told takes effect with the next one.
    turn(&mut room.reactor);
    wire.input(&mut room.reactor, id, &record(b"before"));
    wire.end_input(&mut room.reactor, id);
    settle(&mut room.reactor);
    assert_eq!(*room.got.borrow(), b"before");
    assert_eq!(*room.notes.borrow(), ["Reset"]);
}

#[test]
fn a_handshake_that_fails_says_why_and_one_that_hangs_ends_at_its_deadline() {
    let mut wrong = room(100);
    wrong.wire.input(&mut wrong.reactor, wrong.id, b"bye");
    settle(&mut wrong.reactor);
    let notes = wrong.notes.borrow();
    assert!(
        notes[0].contains("the handshake failed: no greeting"),
        "{notes:?}"
    );
    assert_eq!(notes[1..], ["HandshakeFailed(InvalidData)"]);

    let clock = SimClock::new();
    let limit = Duration::from_secs(3);
    let mut builder = Reactor::builder();
    let mut reactor = builder
        .clock(clock.clone())
        .handshake_timeout(limit)
        .build()
        .expect("a reactor");
    let wire = Wire::open();
    let noting = slow_noting();
    let notes = Rc::clone(&noting.notes);
    let socket = wire.socket().layered(Records::default());
    reactor.add(socket, noting).expect("a stream");
    settle(&mut reactor);
    clock.advance(limit - Duration::from_nanos(1));
    settle(&mut reactor);
    assert!(notes.borrow().is_empty());
    clock.advance(Duration::from_nanos(1));
    settle(&mut reactor);
    let notes = notes.borrow();
    assert!(notes[0].starts_with("TimedOut"), "{notes:?}");
    assert_eq!(notes[1..], ["HandshakeTimeout"]);
    assert_eq!(reactor.counters().deadlines, 1);
}

/// Has a handshake that a signal interrupts so many times.
struct Interrupted(u32);

impl Layer for Interrupted {
    fn handshake(&mut self, below: &mut Below<'_>) -> io::Result<()> {
        if self.0 > 0 {
            self.0 -= 1;
            return Err(ErrorKind::Interrupted.into());
        }
        below.write_all(HELLO)
    }

    fn recv(&mut self, below: &mut Below<'_>, buffer: &mut [u8]) -> io::Result<usize> {
        below.read(buffer)
    }

    fn send(&mut self, below: &mut Below<'_>, bytes: &[u8]) -> io::Result<usize> {
        below.write(bytes)
    }

    fn finish(&mut self, _: &mut Below<'_>) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_handshake_that_a_signal_interrupts_goes_on() {
    let mut reactor = Reactor::new().expect("a reactor");
    let wire = Wire::open();
    let noting = slow_noting();
    let notes = Rc::clone(&noting.notes);
    let socket = wire.socket().layered(Interrupted(2));
    let id = reactor.add(socket, noting).expect("a stream");
    wire.input(&mut reactor, id, b"anything");
    turn_until(&mut reactor, "the handshake", |_| wire.output() == HELLO);
    assert_eq!(*notes.borrow(), [""; 0]);
}

#[test]
fn a_connection_that_was_dialled_is_told_of_its_handshake_and_then_that_it_is_connected() {
    /// Notes what it is told, and closes in `handle_handshake` if it is to.
    struct Dialling(Notes, bool);
    impl Dispatcher for Dialling {
        fn handle_handshake(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            self.0.borrow_mut().push("handshake".to_owned());
            if self.1 {
                cx.abort();
            }
            Ok(())
        }
        fn handle_connect(&mut self, _: &mut Context<'_>) -> io::Result<()> {
            self.0.borrow_mut().push("connect".to_owned());
            Ok(())
        }
        fn handle_close(&mut self, _: &mut Context<'_>) {
            self.0.borrow_mut().push("close".to_owned());
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    for (closes, expected) in [(false, "connect"), (true, "close")] {
        let mut reactor = Reactor::new().expect("a reactor");
        let socket = Socket::dial(address).expect("loopback");
        let notes = Notes::default();
        let dialling = Dialling(Rc::clone(&notes), closes);
        let socket = socket.layered(Interrupted(0));
        reactor.add(socket, dialling).expect("a stream");
        let (mut peer, _) = listener.accept().expect("it was dialled");
        turn_until(&mut reactor, "two notes", |_| notes.borrow().len() >= 2);
        assert_eq!(*notes.borrow(), ["handshake", expected]);
        let mut hello = [0; HELLO.len()];
        let got = peer.read(&mut hello);
        assert!(closes || got.is_ok_and(|_| hello == HELLO));
    }
}

#[test]
fn what_a_layer_cannot_be_on_and_what_it_cannot_do_is_refused() {
    let mut reactor = Reactor::new().expect("a reactor");
    let datagrams = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let socket = Socket::from(datagrams).layered(Records::default());
    let error = reactor.add(socket, slow_noting()).expect_err("no stream");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    let socket = Wire::open().socket().layered(Records::default());
    let socket = socket.layered(Records::default());
    let error = reactor.add(socket, slow_noting());
    let error = error.expect_err("it has a layer already");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    let mut room = greeted(100);
    let error = room.reactor.detach(room.id).expect_err("it has a layer");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
}

/// A port of the ephemeral range that was closed, and is given to the socket that connects to it.
#[test]
fn a_stream_that_is_connected_to_itself_is_refused_below_a_layer_too() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a descriptor");
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().expect("an address");
    socket.bind(&any.into()).expect("a port");
    let own = socket.local_addr().expect("it is bound");
    socket.connect(&own).expect("this kernel does it");
    let mut reactor = Reactor::new().expect("a reactor");
    let noting = slow_noting();
    let notes = Rc::clone(&noting.notes);
    let socket = Socket::connecting(std::net::TcpStream::from(socket));
    let socket = socket.layered(Records::default());
    reactor.add(socket, noting).expect("a stream");
    turn_until(&mut reactor, "its end", |reactor| reactor.count() == 0);
    let notes = notes.borrow();
    assert!(notes[0].starts_with("ConnectionRefused"), "{notes:?}");
    assert_eq!(notes[1..], ["ConnectFailed(ConnectionRefused)"]);
}

#[test]
fn an_abort_in_the_middle_of_a_handshake_is_a_reset_too() {
    let aborts: [fn(&mut Context<'_>); 2] = [|cx| cx.abort(), |cx| cx.abort_when_sent()];
    for abort in aborts {
        let mut reactor = Reactor::new().expect("a reactor");
        let (ours, mut peer) = tcp_pair();
        let noting = slow_noting();
        let notes = Rc::clone(&noting.notes);
        let socket = Socket::from(ours).layered(Records::default());
        let id = reactor.add(socket, noting).expect("a stream");
        let mut hello = [0; 3];
        turn(&mut reactor);
        peer.read_exact(&mut hello).expect("its greeting");
        abort(&mut reactor.at(id).expect("it is there"));
        turn(&mut reactor);
        assert_eq!(*notes.borrow(), ["Aborted"]);
        let error = peer.read(&mut hello).expect_err("a reset, no end");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}

#[test]
fn a_closing_message_that_finds_no_room_waits_no_longer_than_the_stall_timeout() {
    let clock = SimClock::new();
    let limit = Duration::from_secs(5);
    let mut builder = Reactor::builder();
    builder.clock(clock.clone()).stall_timeout(limit);
    let mut reactor = builder.build().expect("a reactor");
    let wire = Wire::new(HELLO.len());
    let noting = slow_noting();
    let notes = Rc::clone(&noting.notes);
    let socket = wire.socket().layered(Records::default());
    let id = reactor.add(socket, noting).expect("a stream");
    wire.input(&mut reactor, id, HELLO);
    settle(&mut reactor);
    reactor.at(id).expect("open").shutdown_write();
    settle(&mut reactor);
    clock.advance(limit - Duration::from_nanos(1));
    settle(&mut reactor);
    assert!(notes.borrow().is_empty(), "{notes:?}");
    clock.advance(Duration::from_nanos(1));
    settle(&mut reactor);
    assert_eq!(notes.borrow().len(), 2);
    assert!(
        notes.borrow()[0].contains("no room to end the stream"),
        "{notes:?}"
    );
    assert_eq!(notes.borrow()[1], "Stalled { unsent: 0 }");
}

/// Not the peer is late then, but the loop.
#[test]
fn room_that_comes_with_the_deadline_of_a_close_is_used_for_the_closing_message() {
    let clock = SimClock::new();
    let limit = Duration::from_secs(5);
    let mut builder = Reactor::builder();
    builder.clock(clock.clone()).close_timeout(limit);
    let mut reactor = builder.build().expect("a reactor");
    let wire = Wire::new(HELLO.len());
    let noting = slow_noting();
    let notes = Rc::clone(&noting.notes);
    let socket = wire.socket().layered(Records::default());
    let id = reactor.add(socket, noting).expect("a stream");
    wire.input(&mut reactor, id, HELLO);
    settle(&mut reactor);
    reactor.at(id).expect("open").close();
    settle(&mut reactor);
    clock.advance(limit);
    wire.make_room(&mut reactor, id, 1);
    settle(&mut reactor);
    assert_eq!(wire.output().split_off(HELLO.len()), [0]);
    wire.end_input(&mut reactor, id);
    settle(&mut reactor);
    assert_eq!(*notes.borrow(), ["Finished"]);
}

#[test]
fn a_connection_has_a_handshake_timeout_of_its_own_if_it_was_given_one() {
    let clock = SimClock::new();
    let mut builder = Reactor::builder();
    let mut reactor = builder.clock(clock.clone()).build().expect("a reactor");
    let noting = slow_noting();
    let notes = Rc::clone(&noting.notes);
    let socket = Wire::open().socket().layered(Records::default());
    let id = reactor.add(socket, noting).expect("a stream");
    let own = Duration::from_secs(2);
    let mut cx = reactor.at(id).expect("it is there");
    cx.set_timeout(Timeout::Handshake, own);
    settle(&mut reactor);
    clock.advance(own - Duration::from_nanos(1));
    settle(&mut reactor);
    assert!(notes.borrow().is_empty(), "{notes:?}");
    clock.advance(Duration::from_nanos(1));
    settle(&mut reactor);
    assert!(
        notes.borrow()[0].contains("the handshake timed out"),
        "{notes:?}"
    );
    assert_eq!(notes.borrow()[1], "HandshakeTimeout");
}
