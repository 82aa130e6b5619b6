//! Closing: half-close, the reply that a close must not eat, stopping the whole, and the many roads
//! that all lead to exactly one `handle_close`.
//!
//! Deadlines run on a simulated clock. Where a peer must not be able to hide behind the kernel's
//! buffers, which swallow megabytes on loopback, they are cut to 4 KiB.

#[cfg_attr(feature = "tls", path = "util/tls.rs")]
#[cfg_attr(not(feature = "tls"), path = "util/plain.rs")]
mod over;
mod util;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use over::{Accepting, Peer, exchange_in_background, reset, serve, spied_pair, tcp_pair};
use slabloop::test::{connecting, connection, run_until_quiet};
use slabloop::testing::{Bits, SimClock, SimKind, SimSocket};
use slabloop::{
    Accepted, AnyId, Cause, Context, Dispatcher, PanicPolicy, Reactor, Socket, SocketOptions,
};
use util::*;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const NANOSECOND: Duration = Duration::from_nanos(1);
const SMALL_BUFFER: usize = 4096;
/// Small enough that any window of an emptied `SMALL_BUFFER` has room for a whole one.
const SMALL_SEGMENT: u32 = 512;

fn narrow(stream: &impl AsFd) {
    let socket = socket2::SockRef::from(stream);
    socket.set_send_buffer_size(SMALL_BUFFER).expect("tcp");
    socket.set_recv_buffer_size(SMALL_BUFFER).expect("tcp");
}

/// A client whose receive buffer is small from the start, so that no large window was ever offered.
///
/// Its segments are small as well. By default one may be half as long as the buffer, and then the stream can fall into
/// a trickle. Once the window has room for a little less than a segment (the 22 bytes around a TLS record are enough),
/// the sender holds back until there is room for a whole one; and the receiver, which rounds its window down to the
/// length of what came last, never offers more. From then on only the probes of the window carry data, five a second.
fn narrow_client(address: SocketAddr) -> Peer<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
        .expect("a descriptor");
    socket.set_recv_buffer_size(SMALL_BUFFER).expect("tcp");
    socket.set_tcp_mss(SMALL_SEGMENT).expect("tcp");
    socket.connect(&address.into()).expect("loopback connects");
    let stream = TcpStream::from(socket);
    stream
        .set_read_timeout(Some(DEADLINE))
        .expect("a positive time");
    stream
        .set_write_timeout(Some(DEADLINE))
        .expect("a positive time");
    over::client(stream)
}

/// What a peer reads until its end of stream, in the background.
fn read_all_in_background(
    mut peer: Peer<TcpStream>,
) -> std::thread::JoinHandle<(Vec<u8>, io::Result<usize>)> {
    std::thread::spawn(move || {
        let mut received = Vec::new();
        let end = peer.read_to_end(&mut received);
        (received, end)
    })
}

// ---------------------------------------------------------------------------------------------------
// The peer shuts its half and waits for the answer.

/// In asyncore an end of stream was the close (CPython issue 80094, turned down as by design): a client
/// that sent its request, shut its writing side and waited for the answer never got one.
#[test]
fn half_close_with_queued_output_delivers_all_then_eof() {
    let mut reactor = Reactor::new().unwrap();
    let (_, address) = serve(&mut reactor, || Echo);
    let peer = TcpStream::connect(address).unwrap();
    half_closed_echo(&mut reactor, over::client(peer), 10_000_000);
}

#[test]
fn half_close_with_small_buffers_delivers_all_then_eof_once_and_closes_once() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let noted = diary.clone();
    let mut options = SocketOptions::new();
    options
        .send_buffer(SMALL_BUFFER)
        .receive_buffer(SMALL_BUFFER);
    let echo = move || {
        Spy::new("server", &noted).on_read(|cx| {
            let mut chunk = [0; 4096];
            let n = cx.recv(&mut chunk)?;
            cx.send(&chunk[..n])
        })
    };
    let id = reactor
        .listen_with("127.0.0.1:0", &options, Accepting(echo))
        .unwrap();
    let address = reactor.local_addr(id).unwrap();
    // Many times the buffers, and not more: where they are full the kernel drops segments now and then, and sends
    // them again only 200 ms later.
    half_closed_echo(&mut reactor, narrow_client(address), 1_000_000);
    assert_eq!(diary.count("server", "eof"), 1);
    assert_eq!(diary.count("server", "close"), 1);
    assert_eq!(diary.of("server").last().unwrap(), "close");
    assert_eq!(diary.count("server", "error"), 0);
}

fn half_closed_echo(reactor: &mut Reactor, peer: Peer<TcpStream>, length: usize) {
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    let sent = pattern(1, length);
    let client = exchange_in_background(peer, sent.clone(), true);
    turn_until(reactor, "the client to have it all", |_| {
        client.is_finished()
    });
    assert!(
        client.join().unwrap() == sent,
        "bytes come back as they were sent"
    );
    turn_until(reactor, "the connection to close", |reactor| {
        reactor.count() == 1
    });
}

#[test]
fn dispatcher_that_does_not_close_at_eof_may_go_on_writing() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let spy = Spy::new("server", &diary)
        .on_eof(|cx| {
            cx.set_timer(Duration::ZERO);
            Ok(())
        })
        .on_timer(|cx| {
            cx.send(b"the answer")?;
            cx.close();
            Ok(())
        });
    let (_, mut peer) = spied_pair(&mut reactor, spy);
    peer.write_all(b"the question").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    turn_until(&mut reactor, "the connection to close", |reactor| {
        reactor.count() == 0
    });
    let mut answer = Vec::new();
    peer.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"the answer");
    assert_eq!(
        diary.of("server"),
        ["read", "read", "eof", "timer", "close"]
    );
}

// ---------------------------------------------------------------------------------------------------
// The close that eats the reply.

/// A spy that answers the first byte with `reply` and closes, without having read the request.
fn hasty(diary: &Diary, reply: Vec<u8>) -> Spy {
    Spy::new("server", diary).on_read(move |cx| {
        cx.send(&reply)?;
        cx.close();
        Ok(())
    })
}

fn closing_within_ten_seconds(clock: &SimClock) -> Reactor {
    Reactor::builder()
        .close_timeout(10 * SECOND)
        .clock(clock.clone())
        .build()
        .unwrap()
}

fn roomy_reactor(clock: &SimClock) -> Reactor {
    Reactor::builder()
        .hard_cap(16 * 1024 * 1024)
        .clock(clock.clone())
        .build()
        .unwrap()
}

/// nginx lost replies this way until it lingered on every kind of connection (its commits 829c9d598 for
/// HTTP/2 and 248568130 for pipelining). Linux answers the closing of a socket that has unread input
/// with a reset, and the reset discards what the peer has not read of the reply.
#[test]
fn reply_of_4_megabytes_arrives_in_full_though_the_request_was_not_read() {
    let mut reactor = roomy_reactor(&SimClock::new());
    let diary = Diary::default();
    let reply = pattern(2, 4 * 1024 * 1024);
    let (_, mut peer) = spied_pair(&mut reactor, hasty(&diary, reply.clone()));
    peer.write_all(b"6bytes").unwrap();
    // As far as the kernel takes it before the peer begins to read.
    settle(&mut reactor);
    let client = read_all_in_background(peer);
    turn_until(&mut reactor, "the client to have it all", |_| {
        client.is_finished()
    });
    let (received, end) = client.join().unwrap();
    end.expect("an end of stream, no reset");
    assert!(received == reply, "the reply is complete");
    turn_until(&mut reactor, "the connection to close", |reactor| {
        reactor.count() == 0
    });
    assert_eq!(diary.of("server"), ["read", "close"]);
}

#[test]
fn reply_arrives_in_full_though_the_peer_sends_on_after_the_close() {
    let mut reactor = roomy_reactor(&SimClock::new());
    let diary = Diary::default();
    let reply = pattern(3, 4 * 1024 * 1024);
    let (id, mut peer) = spied_pair(&mut reactor, hasty(&diary, reply.clone()));
    peer.write_all(b"6bytes").unwrap();
    turn_until(&mut reactor, "the reply to be sent", |reactor| {
        reactor.counters().bytes_out > 0
    });
    // A thread sends 2 MB more, nobody will read them, and only then turns to the reply.
    let client = std::thread::spawn(move || {
        peer.write_all(&pattern(4, 2 * 1024 * 1024))
            .expect("it is drained");
        let mut received = Vec::new();
        peer.read_to_end(&mut received)
            .expect("an end of stream, no reset");
        received
    });
    turn_until(&mut reactor, "the client to have it all", |_| {
        client.is_finished()
    });
    assert!(client.join().unwrap() == reply, "the reply is complete");
    turn_until(&mut reactor, "the connection to close", |reactor| {
        reactor.at(id).is_none()
    });
    assert_eq!(diary.of("server"), ["read", "close"]);
}

/// With both halves shut the kernel reports a hang-up; but that the peer has finished sending does not
/// mean that it has finished reading, nor that its last bytes have been read here.
#[test]
fn close_after_both_halves_are_shut_still_reads_the_input_that_would_cause_a_reset() {
    let mut reactor = roomy_reactor(&SimClock::new());
    let diary = Diary::default();
    let reply = pattern(5, 4 * 1024 * 1024);
    let (id, mut peer) = spied_pair(&mut reactor, Spy::new("server", &diary));
    let mut server = reactor.at(id).unwrap();
    server.pause_reading();
    server.send(&reply).unwrap();
    server.shutdown_write();
    peer.write_all(b"6bytes").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    // The peer reads until less is left than the kernel takes at once, so that the shut happens.
    let mut received = vec![0; 2 * 1024 * 1024];
    let reader = std::thread::spawn(move || {
        peer.read_exact(&mut received).expect("the server sends");
        (peer, received)
    });
    turn_until(&mut reactor, "half to be read, and all to be sent", |r| {
        reader.is_finished() && r.at(id).is_some_and(|server| server.queued() == 0)
    });
    let (peer, mut received) = reader.join().unwrap();
    settle(&mut reactor);
    reactor.at(id).unwrap().close();
    settle(&mut reactor);
    let client = read_all_in_background(peer);
    turn_until(&mut reactor, "the client to have it all", |_| {
        client.is_finished()
    });
    let (rest, end) = client.join().unwrap();
    end.expect("an end of stream, no reset");
    received.extend_from_slice(&rest);
    assert!(received == reply, "the reply is complete");
    turn_until(&mut reactor, "the connection to close", |reactor| {
        reactor.count() == 0
    });
    assert_eq!(diary.of("server"), ["close"]);
}

#[test]
fn every_closing_connection_ends_at_its_deadline_and_not_before() {
    // A handshake takes milliseconds in a debug build.
    const EACH: usize = if cfg!(feature = "tls") { 33 } else { 333 };
    let clock = SimClock::new();
    let mut reactor = closing_within_ten_seconds(&clock);
    let diary = Diary::default();
    let (mut peers, mut ids) = (Vec::new(), Vec::new());
    for (who, queued) in [
        // Reads nothing: the queue never leaves.
        ("stops reading", 256 * 1024),
        // Has everything, but keeps its own half open.
        ("never closes", 0),
        // The same, and goes on sending.
        ("sends on", 0),
    ] {
        for _ in 0..EACH {
            let (ours, peer) = tcp_pair();
            narrow(&ours);
            narrow(&peer);
            peer.set_nonblocking(true).unwrap();
            let id = over::add(&mut reactor, ours, Spy::new(who, &diary));
            let mut server = reactor.at(id).unwrap();
            server.send(&vec![0; queued]).unwrap();
            server.close();
            peers.push((who, peer));
            ids.push(id);
        }
    }
    settle(&mut reactor);
    for _ in 0..20 {
        for (who, peer) in &mut peers {
            if *who == "sends on" {
                let _ = peer.write(&[0; 16 * 1024]);
            }
        }
        turn(&mut reactor);
    }
    clock.advance(10 * SECOND - NANOSECOND);
    settle(&mut reactor);
    assert_eq!(
        diary.all(),
        <[String; 0]>::default(),
        "nothing before the deadline"
    );
    assert_eq!(reactor.count(), 3 * EACH);

    clock.advance(NANOSECOND);
    turn(&mut reactor);
    assert_eq!(reactor.count(), 0, "one turn after it all are gone");
    assert_eq!(reactor.counters().deadlines, 3 * EACH as u64);
    // Output that was not sent is an error, a peer that just stays is none.
    assert_eq!(diary.count("stops reading", "error TimedOut"), EACH);
    for who in ["stops reading", "never closes", "sends on"] {
        assert_eq!(diary.count(who, "close"), EACH, "{who}");
    }
    assert_eq!(diary.all().len(), 4 * EACH);
    assert!(ids.iter().all(|&id| reactor.at(id).is_none()));
    assert_eq!(
        (reactor.timer_count(), reactor.memory().0),
        (0, 0),
        "no timer and no byte is left behind"
    );
}

#[test]
fn closing_goes_on_for_as_long_as_the_peer_takes_some_and_ends_when_it_stops() {
    let clock = SimClock::new();
    let mut reactor = Reactor::builder()
        .hard_cap(16 * 1024 * 1024)
        .close_timeout(10 * SECOND)
        .clock(clock.clone())
        .build()
        .unwrap();
    let diary = Diary::default();
    let (id, mut peer) = spied_pair(&mut reactor, Spy::new("server", &diary));
    peer.set_nonblocking(true).unwrap();
    let mut server = reactor.at(id).unwrap();
    server.send(&pattern(6, 12 * 1024 * 1024)).unwrap();
    server.close();
    settle(&mut reactor);
    for _ in 0..5 {
        let before = reactor.counters().bytes_out;
        turn_until(&mut reactor, "the peer to take some", |reactor| {
            let _ = peer.read(&mut [0; 64 * 1024]);
            reactor.counters().bytes_out > before
        });
        settle(&mut reactor);
        clock.advance(9 * SECOND);
        turn(&mut reactor);
        assert_eq!(diary.all(), <[String; 0]>::default(), "it moves");
    }
    clock.advance(SECOND - NANOSECOND);
    turn(&mut reactor);
    assert!(reactor.at(id).is_some(), "not before its time");
    clock.advance(NANOSECOND);
    turn(&mut reactor);
    assert_eq!(diary.of("server"), ["error TimedOut", "close"]);
}

#[test]
fn the_deadline_of_a_close_counts_from_when_the_peer_has_last_taken_something() {
    let clock = SimClock::new();
    let mut reactor = closing_within_ten_seconds(&clock);
    let diary = Diary::default();
    let (peer, socket) = connection();
    let id = reactor.add(socket, Spy::new("server", &diary)).unwrap();
    peer.set_room(3);
    let mut server = reactor.at(id).unwrap();
    server.send(b"123456789").unwrap();
    server.close();
    run_until_quiet(&mut reactor, 100);
    clock.advance(6 * SECOND);
    assert_eq!(peer.take_received(), b"123");
    run_until_quiet(&mut reactor, 100);
    clock.advance(10 * SECOND - NANOSECOND);
    run_until_quiet(&mut reactor, 100);
    assert_eq!(diary.all(), <[String; 0]>::default(), "it moved after 6 s");
    clock.advance(NANOSECOND);
    run_until_quiet(&mut reactor, 100);
    assert_eq!(diary.of("server"), ["error TimedOut", "close"]);
    assert_eq!(peer.take_received(), b"456");
}

#[test]
fn closing_a_connection_that_is_stuck_already_has_its_deadline_too() {
    let clock = SimClock::new();
    let mut reactor = Reactor::builder()
        .close_timeout(10 * SECOND)
        .stall_timeout(None)
        .clock(clock.clone())
        .build()
        .unwrap();
    let diary = Diary::default();
    let (id, _peer) = full_pair(&mut reactor, Spy::new("server", &diary));
    clock.advance(HOUR);
    turn(&mut reactor);
    reactor.at(id).unwrap().close();
    clock.advance(10 * SECOND - NANOSECOND);
    settle(&mut reactor);
    assert_eq!(diary.all(), <[String; 0]>::default(), "nothing before it");
    clock.advance(NANOSECOND);
    turn(&mut reactor);
    assert_eq!(diary.of("server"), ["error TimedOut", "close"]);
}

/// A connection whose outbox is stuck: the kernel's buffers are full and the peer reads nothing. (They
/// are left as large as they are. Through small ones it would take seconds to empty it again.)
fn full_pair(reactor: &mut Reactor, spy: Spy) -> (AnyId, Peer<TcpStream>) {
    let (id, peer) = spied_pair(reactor, spy);
    let piece = pattern(7, 512 * 1024);
    while reactor.at(id).expect("open").queued() <= 64 * 1024 {
        let mut server = reactor.at(id).expect("open");
        server.send(&piece).expect("below the hard cap");
        settle(reactor);
    }
    (id.any(), peer)
}

/// A simulated stream, as its far end sees it. Clones are the same stream.
#[derive(Clone, Default)]
struct Wire(Rc<Wired>);

#[derive(Default)]
struct Wired {
    /// Whether a connection attempt has succeeded, and the error it ended in.
    stands: Cell<bool>,
    refusal: Cell<Option<i32>>,
    input: Cell<Input>,
    reads: Cell<usize>,
    discarded: Cell<usize>,
}

/// What a simulated stream has to read.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Input {
    #[default]
    Nothing,
    Endless,
    End,
    /// One interrupted read, then the end.
    InterruptedThenEnd,
}

impl SimSocket for Wire {
    fn kind(&self) -> SimKind {
        SimKind::Stream
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.reads.set(self.0.reads.get() + 1);
        match self.0.input.get() {
            Input::Nothing => Err(io::ErrorKind::WouldBlock.into()),
            Input::Endless => {
                self.0.discarded.set(self.0.discarded.get() + buffer.len());
                Ok(buffer.len())
            }
            Input::End => Ok(0),
            Input::InterruptedThenEnd => {
                self.0.input.set(Input::End);
                Err(io::ErrorKind::Interrupted.into())
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn take_error(&mut self) -> io::Result<Option<io::Error>> {
        Ok(self.0.refusal.take().map(io::Error::from_raw_os_error))
    }

    fn check_connected(&mut self) -> io::Result<()> {
        match self.0.stands.get() {
            true => Ok(()),
            false => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

fn simulated(wire: &Wire) -> Socket {
    let socket: Box<dyn SimSocket> = Box::new(wire.clone());
    Socket::from(socket)
}

#[test]
fn draining_discards_a_bounded_amount_per_turn_and_ends_at_its_deadline() {
    let clock = SimClock::new();
    let mut reactor = closing_within_ten_seconds(&clock);
    let diary = Diary::default();
    let wire = Wire::default();
    let id = reactor
        .add(simulated(&wire), Spy::new("server", &diary))
        .unwrap();
    reactor.at(id).unwrap().close();
    wire.0.input.set(Input::Endless);
    reactor.inject(id, Bits::READABLE);
    turn(&mut reactor);
    for _ in 0..1000 {
        let before = (wire.0.reads.get(), wire.0.discarded.get());
        turn(&mut reactor);
        assert_eq!(wire.0.reads.get() - before.0, 4, "four reads a turn");
        assert_eq!(wire.0.discarded.get() - before.1, 64 * 1024);
    }
    clock.advance(10 * SECOND - NANOSECOND);
    turn(&mut reactor);
    assert!(reactor.at(id).is_some(), "not before its time");
    clock.advance(NANOSECOND);
    turn(&mut reactor);
    assert_eq!(diary.of("server"), ["close"]);
}

#[test]
fn interrupted_read_while_draining_is_tried_again() {
    let clock = SimClock::new();
    let mut reactor = Reactor::builder().clock(clock).build().unwrap();
    let diary = Diary::default();
    let wire = Wire::default();
    let id = reactor
        .add(simulated(&wire), Spy::new("server", &diary))
        .unwrap();
    reactor.at(id).unwrap().close();
    turn(&mut reactor);
    wire.0.input.set(Input::InterruptedThenEnd);
    reactor.inject(id, Bits::READABLE | Bits::READ_CLOSED);
    for _ in 0..3 {
        turn(&mut reactor);
    }
    assert_eq!(diary.of("server"), ["close"], "it ends with no other event");
    assert_eq!(reactor.end_of(id), Some(Cause::Finished));
}

// ---------------------------------------------------------------------------------------------------
// Closing what is not established yet, or closing already; and what ends one that is closing.

fn quiet(reactor: &mut Reactor) {
    run_until_quiet(reactor, 100);
    reactor.check_invariants();
}

#[test]
fn an_attempt_with_nothing_to_send_is_given_up_at_once_however_it_is_closed() {
    let ways: [fn(&mut Context<'_>); 4] = [
        |cx| cx.close(),
        |cx| cx.close_when_done(),
        |cx| cx.close_when_sent(),
        |cx| cx.abort_when_sent(),
    ];
    for (way, close) in ways.into_iter().enumerate() {
        let mut reactor = Reactor::new().unwrap();
        let diary = Diary::default();
        let (peer, socket) = connecting();
        let id = reactor.add(socket, Spy::new("client", &diary)).unwrap();
        close(&mut reactor.at(id).unwrap());
        quiet(&mut reactor);
        assert_eq!(diary.of("client"), ["close"], "{way}");
        assert!(peer.is_closed(), "{way}");
    }
}

#[test]
fn an_attempt_that_was_shut_for_writing_ends_its_stream_once_it_is_established() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (peer, socket) = connecting();
    let id = reactor.add(socket, Spy::new("client", &diary)).unwrap();
    reactor.at(id).unwrap().shutdown_write();
    quiet(&mut reactor);
    assert!(!peer.is_ended());
    peer.establish();
    quiet(&mut reactor);
    assert!(peer.is_ended() && !peer.is_closed(), "only that");
    assert_eq!(diary.of("client"), ["connect"]);
}

#[test]
fn abort_when_sent_after_close_sends_what_is_queued_and_ends_in_a_reset() {
    for is_connecting in [true, false] {
        let mut reactor = Reactor::new().unwrap();
        let (peer, socket) = if is_connecting {
            connecting()
        } else {
            connection()
        };
        let id = reactor
            .add(socket, Spy::new("one", &Diary::default()))
            .unwrap();
        peer.set_room(0);
        let mut one = reactor.at(id).unwrap();
        one.send(b"all of it").unwrap();
        one.close();
        quiet(&mut reactor);
        reactor.at(id).expect("closing").abort_when_sent();
        quiet(&mut reactor);
        assert!(!peer.is_closed(), "it has something to send");
        peer.establish();
        peer.set_room(usize::MAX);
        quiet(&mut reactor);
        assert_eq!(peer.take_received(), b"all of it");
        assert!(peer.is_reset(), "connecting: {is_connecting}");
        assert_eq!(reactor.end_of(id), Some(Cause::Aborted));
    }
}

#[test]
fn close_when_sent_does_not_wait_for_the_peers_end_wherever_the_connection_stands() {
    type Bring = fn(&mut Context<'_>);
    let stands: [(&str, Bring); 3] = [
        ("open", |_| ()),
        ("with input put back", |cx| cx.unread(b"again").unwrap()),
        ("with a producer that finishes first", |cx| {
            cx.start_writing();
            cx.close_when_done();
        }),
    ];
    for (stand, bring) in stands {
        let mut reactor = Reactor::new().unwrap();
        let (peer, socket) = connection();
        let id = reactor
            .add(socket, Spy::new("one", &Diary::default()))
            .unwrap();
        peer.set_room(0);
        let mut one = reactor.at(id).unwrap();
        one.pause_reading();
        one.send(b"answer").unwrap();
        bring(&mut one);
        one.close_when_sent();
        quiet(&mut reactor);
        assert!(!peer.is_closed(), "{stand}");
        peer.set_room(usize::MAX);
        quiet(&mut reactor);
        assert_eq!(peer.take_received(), b"answer");
        assert!(peer.is_closed() && !peer.is_reset(), "{stand}");
    }
    let mut reactor = Reactor::new().unwrap();
    let (peer, socket) = connecting();
    let id = reactor
        .add(socket, Spy::new("one", &Diary::default()))
        .unwrap();
    let mut one = reactor.at(id).unwrap();
    one.send(b"question").unwrap();
    one.close_when_sent();
    peer.establish();
    quiet(&mut reactor);
    assert_eq!(peer.take_received(), b"question");
    assert!(peer.is_closed() && !peer.is_reset(), "connecting");
}

/// One that has had to wait long before its output left has its whole time for the peer's end.
#[test]
fn draining_has_a_deadline_of_its_own() {
    let clock = SimClock::new();
    let mut reactor = closing_within_ten_seconds(&clock);
    let diary = Diary::default();
    let (peer, socket) = connection();
    let id = reactor.add(socket, Spy::new("server", &diary)).unwrap();
    peer.set_room(0);
    let mut server = reactor.at(id).unwrap();
    server.send(b"answer").unwrap();
    server.close();
    quiet(&mut reactor);
    clock.advance(9 * SECOND);
    peer.set_room(usize::MAX);
    quiet(&mut reactor);
    assert!(peer.is_ended(), "all has left");
    clock.advance(10 * SECOND - NANOSECOND);
    quiet(&mut reactor);
    assert_eq!(diary.of("server"), [""; 0], "not before its time");
    clock.advance(NANOSECOND);
    quiet(&mut reactor);
    assert_eq!(diary.of("server"), ["close"]);
}

#[test]
fn reset_while_draining_ends_it_at_once_and_is_its_cause() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (peer, socket) = connection();
    let id = reactor.add(socket, Spy::new("server", &diary)).unwrap();
    reactor.at(id).unwrap().close();
    quiet(&mut reactor);
    assert!(peer.is_ended() && !peer.is_closed());
    peer.reset();
    quiet(&mut reactor);
    assert_eq!(diary.of("server"), ["close"]);
    assert_eq!(reactor.end_of(id), Some(Cause::Reset));
}

/// The end was told and the write side is shut: nothing more can come, and no read is made for it.
#[test]
fn connection_whose_both_sides_have_finished_is_not_read_again() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let wire = Wire::default();
    let spy = Spy::new("server", &diary).on_eof(|_| Ok(()));
    let id = reactor.add(simulated(&wire), spy).unwrap();
    wire.0.input.set(Input::End);
    reactor.inject(id, Bits::READABLE | Bits::READ_CLOSED);
    settle(&mut reactor);
    assert_eq!(diary.of("server"), ["read", "eof"]);
    let reads = wire.0.reads.get();
    reactor.at(id).unwrap().shutdown_write();
    turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
    assert_eq!(diary.of("server"), ["read", "eof", "close"]);
    assert_eq!(reactor.end_of(id), Some(Cause::Finished));
    assert_eq!(wire.0.reads.get(), reads);
}

/// Nobody reads it, so the reactor does, to learn what the kernel has to say.
#[test]
fn error_of_a_paused_connection_is_reported_as_the_kernel_names_it() {
    let timed_out = Cause::Error(io::ErrorKind::TimedOut);
    let cases: [(&[Answer], &[&str], Cause); 4] = [
        (
            &[Answer::Fails(110)],
            &["error TimedOut", "close"],
            timed_out,
        ),
        (
            &[Answer::Bytes, Answer::Fails(EINTR), Answer::Fails(110)],
            &["error TimedOut", "close"],
            timed_out,
        ),
        (&[Answer::Fails(104)], &["close"], Cause::Reset),
        // It has been told already, to whoever.
        (&[], &["close"], Cause::Reset),
    ];
    for (answers, expected, cause) in cases {
        let mut reactor = Reactor::new().unwrap();
        let diary = Diary::default();
        let socket: Box<dyn SimSocket> = Box::new(Answering(answers.iter()));
        let id = reactor
            .add(Socket::from(socket), Spy::new("paused", &diary))
            .unwrap();
        reactor.at(id).unwrap().pause_reading();
        settle(&mut reactor);
        reactor.inject(id, Bits::READABLE | Bits::ERROR | Bits::HUNG_UP);
        settle(&mut reactor);
        assert_eq!(diary.of("paused"), expected, "{answers:?}");
        assert_eq!(reactor.end_of(id), Some(cause), "{answers:?}");
    }
}

const EINTR: i32 = 4;

#[derive(Debug)]
enum Answer {
    Bytes,
    /// With this errno.
    Fails(i32),
}

/// A stream whose reads have these answers, and then nothing.
struct Answering(std::slice::Iter<'static, Answer>);

impl SimSocket for Answering {
    fn kind(&self) -> SimKind {
        SimKind::Stream
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.next() {
            None => Err(io::ErrorKind::WouldBlock.into()),
            Some(Answer::Bytes) => Ok(buffer.len()),
            Some(Answer::Fails(errno)) => Err(io::Error::from_raw_os_error(*errno)),
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }
}

/// A goodbye that was said in good order is one, whatever led to it; an answer that broke off is none.
#[test]
fn fault_ends_in_a_reset_unless_the_dispatcher_says_goodbye() {
    // Whether a callback or the socket fails, and whether the peer's end is waited for.
    for (breaks, finishes) in [(false, true), (false, false), (true, false)] {
        let clock = SimClock::new();
        let mut builder = Reactor::builder();
        let mut reactor = builder.clock(clock.clone()).build().unwrap();
        let diary = Diary::default();
        let spy = Spy::new("server", &diary).on_timer(|_| Err(io::Error::other("wanted")));
        let (peer, socket) = connection();
        let id = reactor.add(socket, spy).unwrap();
        if breaks {
            peer.fail_read(io::ErrorKind::TimedOut);
        } else {
            reactor.at(id).unwrap().set_timer(Duration::ZERO);
        }
        quiet(&mut reactor);
        assert_eq!(peer.is_ended(), !breaks);
        if finishes {
            peer.half_close();
        } else {
            clock.advance(HOUR);
        }
        quiet(&mut reactor);
        let kind = reactor.end_of(id);
        assert!(matches!(kind, Some(Cause::Error(_))), "{kind:?}");
        assert!(peer.is_closed());
        assert_eq!(peer.is_reset(), breaks, "the peer finishes: {finishes}");
    }
}

// ---------------------------------------------------------------------------------------------------
// Stopping the whole.

/// nginx got its shutdown deadline late (1.11.11) and repaired it three times. Each of the steps, stop
/// listening, let the running finish, cut what is left, has been forgotten by somebody.
#[test]
fn shutdown_refuses_newcomers_finishes_what_fits_and_cuts_the_rest_at_its_deadline() {
    const HALF: usize = if cfg!(feature = "tls") { 25 } else { 250 };
    const LENGTH: usize = 128 * 1024;
    let clock = SimClock::new();
    let mut reactor = Reactor::builder()
        .close_timeout(HOUR)
        .stall_timeout(None)
        .clock(clock.clone())
        .build()
        .unwrap();
    let diary = Diary::default();
    let mut options = SocketOptions::new();
    options.send_buffer(SMALL_BUFFER).backlog(1024);
    let listener = Sending {
        diary: diary.clone(),
        payload: pattern(8, LENGTH),
    };
    let id = reactor
        .listen_with("127.0.0.1:0", &options, listener)
        .unwrap();
    let address = reactor.local_addr(id).unwrap();
    let mut quick: Vec<_> = (0..HALF).map(|_| narrow_client(address)).collect();
    let mut slow: Vec<_> = (0..HALF).map(|_| narrow_client(address)).collect();
    turn_until(&mut reactor, "all to be connected", |reactor| {
        reactor.count() == 2 * HALF + 1
    });
    over::greet(&mut reactor, &mut quick);
    over::greet(&mut reactor, &mut slow);
    settle(&mut reactor);

    // The clock is in the hands of a thread: it moves when the quick ones are done.
    let handle = reactor.handle();
    let seen_just_before = std::thread::spawn(move || {
        let expected = pattern(8, LENGTH);
        for peer in &mut quick {
            let mut received = Vec::new();
            peer.read_to_end(&mut received)
                .expect("an end of stream, no reset");
            assert!(received == expected, "those that fit are intact");
        }
        TcpStream::connect(address).expect_err("new connections are refused");
        drop(quick);
        // Until the last of them is seen to have gone, which the slow half will not be.
        let count = || {
            let (tell, told) = mpsc::channel();
            let post = handle.post(move |reactor| tell.send(reactor.count()).expect("waited for"));
            assert!(post.is_ok(), "the queue has room");
            told.recv_timeout(DEADLINE).expect("posts run meanwhile")
        };
        while count() > HALF {}
        clock.advance(2 * SECOND - NANOSECOND);
        let (first, second) = (count(), count());
        clock.advance(NANOSECOND);
        assert!(handle.post(|_| {}).is_ok(), "wakes the loop");
        (first, second)
    });
    let aborted = reactor.shutdown(2 * SECOND).unwrap();
    assert_eq!(
        seen_just_before.join().unwrap(),
        (HALF, HALF),
        "nobody is cut off before the deadline"
    );
    assert_eq!(aborted.len(), HALF);
    assert!(aborted.iter().all(|aborted| aborted.unsent > 0));
    assert_eq!(reactor.counters().aborted, HALF as u64);
    assert_eq!(diary.count("transfer", "close"), 2 * HALF);
    assert_eq!(diary.count("transfer", "error"), 0);
    assert_eq!(diary.count("listener", "close"), 1);
    assert_eq!(
        diary.all()[0],
        "listener close",
        "listeners close first of all"
    );
    reactor.check_invariants();
    assert_eq!((reactor.count(), reactor.timer_count()), (0, 0));
    for mut peer in slow {
        let error = peer.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
    // It is empty, and can be used again.
    let (_, address) = serve(&mut reactor, || Echo);
    TcpStream::connect(address).unwrap();
    turn_until(&mut reactor, "a new connection", |reactor| {
        reactor.counters().accepted == 2 * HALF as u64 + 1
    });
}

/// Sends every newcomer the same.
struct Sending {
    diary: Diary,
    payload: Vec<u8>,
}

impl Dispatcher for Sending {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let id = cx.add(
            over::accepted_as(accepted),
            Spy::new("transfer", &self.diary),
        )?;
        match cx.at(id) {
            Some(mut transfer) => transfer.send(&self.payload),
            None => Ok(()),
        }
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        self.diary.note("listener", cx.any_id(), "close");
    }
}

#[test]
fn shutdown_does_not_wait_when_everybody_has_left_and_lets_nothing_be_added() {
    let clock = SimClock::new();
    let mut reactor = Reactor::builder().clock(clock.clone()).build().unwrap();
    let diary = Diary::default();
    let refused = Rc::new(Cell::new(0));
    let count = Rc::clone(&refused);
    let spy = Spy::new("server", &diary).on_close(move |cx| {
        let (ours, _) = tcp_pair();
        count.set(count.get() + usize::from(cx.add(ours, Echo).is_err()));
        Ok(())
    });
    let (_, peer) = spied_pair(&mut reactor, spy);
    drop(peer);
    let aborted = reactor.shutdown(HOUR).unwrap();
    assert!(aborted.is_empty());
    assert_eq!(diary.of("server"), ["close"]);
    assert_eq!(refused.get(), 1, "nothing can be added meanwhile");
    assert_eq!(clock.now(), Duration::ZERO);
}

/// Ten spies, the fourth of which panics when it reads.
fn ten_of_whom_one_panics(reactor: &mut Reactor, diary: &Diary) -> Vec<Peer<TcpStream>> {
    let mut peers = Vec::new();
    for i in 0..10 {
        let mut spy = Spy::new("server", diary);
        if i == 3 {
            spy = spy.on_read(|_| panic!("told to"));
        }
        peers.push(spied_pair(reactor, spy).1);
    }
    peers
}

#[test]
fn dropping_the_reactor_between_turns_closes_everybody_once() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let mut peers = ten_of_whom_one_panics(&mut reactor, &diary);
    settle(&mut reactor);
    drop(reactor);
    assert_eq!(diary.of("server"), vec!["close"; 10]);
    for peer in &mut peers {
        match peer.read(&mut [0]) {
            Err(error) if over::SILENCE_IS_A_CUT => {
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
            }
            outcome => assert_eq!(outcome.unwrap(), 0, "the socket is closed"),
        }
    }
}

#[test]
fn panic_let_through_that_drops_the_reactor_closes_everybody_once() {
    let mut reactor = Reactor::builder()
        .panic_policy(PanicPolicy::Propagate)
        .build()
        .unwrap();
    let diary = Diary::default();
    let mut peers = ten_of_whom_one_panics(&mut reactor, &diary);
    settle(&mut reactor);
    peers[3].write_all(b"now").unwrap();
    let unwound = catch_unwind(AssertUnwindSafe(move || reactor.run()));
    assert!(unwound.is_err(), "the panic comes through");
    assert_eq!(diary.count("server", "close"), 10);
    assert_eq!(diary.all().len(), 11, "and one read");
}

#[test]
fn panic_let_through_ends_a_shutdown_and_leaves_a_reactor_that_can_be_used() {
    let mut reactor = Reactor::builder()
        .panic_policy(PanicPolicy::Propagate)
        .build()
        .unwrap();
    let diary = Diary::default();
    let spy = Spy::new("first", &diary).on_close(|_| panic!("told to"));
    let (_, first) = spied_pair(&mut reactor, spy);
    let (_, second) = spied_pair(&mut reactor, Spy::new("second", &diary));
    settle(&mut reactor);
    drop(first);
    let unwound = catch_unwind(AssertUnwindSafe(|| reactor.shutdown(HOUR)));
    assert!(unwound.is_err(), "the panic comes through");
    drop(second);
    turn_until(&mut reactor, "the other to close", |reactor| {
        reactor.count() == 0
    });
    assert_eq!(diary.count("first", "close"), 1);
    assert_eq!(diary.count("second", "close"), 1);
    let (_, address) = serve(&mut reactor, || Echo);
    TcpStream::connect(address).unwrap();
    turn_until(&mut reactor, "a new connection", |reactor| {
        reactor.counters().accepted == 1
    });

    // The same where the panic comes from those whom the deadline cuts off.
    let spy = Spy::new("third", &diary).on_close(|_| panic!("told to"));
    let (_, _peer) = spied_pair(&mut reactor, spy);
    let unwound = catch_unwind(AssertUnwindSafe(|| reactor.shutdown(Duration::ZERO)));
    assert!(unwound.is_err(), "the panic comes through");
    assert_eq!(reactor.count(), 0);
    serve(&mut reactor, || Echo);
}

// ---------------------------------------------------------------------------------------------------
// Many roads, one end.

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Road {
    Eof,
    Reset,
    Error,
    Panic,
    Cap,
    Deadline,
    Close,
    Abort,
    Sibling,
    Post,
    Stop,
    Drop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    /// A connection attempt that has had no answer.
    Connecting,
    /// Open, with nothing to do.
    Idle,
    /// Its peer reads nothing: outbox over the high mark, kernel full, so not read either.
    Full,
    /// Reading switched off by the user, with input waiting.
    Paused,
    /// Closed by the user; all is sent, the peer's end of stream is awaited.
    Draining,
}

use Road as R;
use State as S;

/// What the dispatcher hears, from the moment at which it is sent down the road.
#[rustfmt::skip]
const ROADS: [(Road, State, &[&str]); 60] = [
    // With a connection attempt an end of stream can only come together with success.
    (R::Eof, S::Connecting, &["connect", "read", "eof", "close"]),
    (R::Eof, S::Idle, &["read", "eof", "close"]),
    (R::Eof, S::Full, &["read", "eof", "close"]),
    (R::Eof, S::Paused, &["read", "read", "eof", "close"]),
    (R::Eof, S::Draining, &["close"]),
    // The result of a connection attempt is an error whatever its errno; afterwards it is a disconnect.
    (R::Reset, S::Connecting, &["error ConnectionReset", "close"]),
    (R::Reset, S::Idle, &["read", "close"]),
    (R::Reset, S::Full, &["read", "close"]),
    (R::Reset, S::Paused, &["close"]),
    (R::Reset, S::Draining, &["close"]),
    // A callback returns a fault. Whoever is draining gets no callback that could.
    (R::Error, S::Connecting, &["connect", "error Other", "close"]),
    (R::Error, S::Idle, &["timer", "error Other", "close"]),
    (R::Error, S::Full, &["timer", "error Other", "close"]),
    (R::Error, S::Paused, &["timer", "error Other", "close"]),
    (R::Error, S::Draining, &["close"]),
    // A callback panics; while draining the only one left is handle_close itself.
    (R::Panic, S::Connecting, &["connect", "close"]),
    (R::Panic, S::Idle, &["timer", "close"]),
    (R::Panic, S::Full, &["timer", "close"]),
    (R::Panic, S::Paused, &["timer", "close"]),
    (R::Panic, S::Draining, &["close"]),
    // A send over the hard cap; while draining it is refused without consequences.
    (R::Cap, S::Connecting, &["error QuotaExceeded", "close"]),
    (R::Cap, S::Idle, &["error QuotaExceeded", "close"]),
    (R::Cap, S::Full, &["error QuotaExceeded", "close"]),
    (R::Cap, S::Paused, &["error QuotaExceeded", "close"]),
    (R::Cap, S::Draining, &["close"]),
    // That of connecting, of idling, of stalled output, of idling again, of closing.
    (R::Deadline, S::Connecting, &["error TimedOut", "close"]),
    (R::Deadline, S::Idle, &["error TimedOut", "close"]),
    (R::Deadline, S::Full, &["error TimedOut", "close"]),
    (R::Deadline, S::Paused, &["error TimedOut", "close"]),
    (R::Deadline, S::Draining, &["close"]),
    (R::Close, S::Connecting, &["close"]),
    (R::Close, S::Idle, &["close"]),
    (R::Close, S::Full, &["close"]),
    (R::Close, S::Paused, &["close"]),
    (R::Close, S::Draining, &["close"]),
    (R::Abort, S::Connecting, &["close"]),
    (R::Abort, S::Idle, &["close"]),
    (R::Abort, S::Full, &["close"]),
    (R::Abort, S::Paused, &["close"]),
    (R::Abort, S::Draining, &["close"]),
    (R::Sibling, S::Connecting, &["close"]),
    (R::Sibling, S::Idle, &["close"]),
    (R::Sibling, S::Full, &["close"]),
    (R::Sibling, S::Paused, &["close"]),
    (R::Sibling, S::Draining, &["close"]),
    (R::Post, S::Connecting, &["close"]),
    (R::Post, S::Idle, &["close"]),
    (R::Post, S::Full, &["close"]),
    (R::Post, S::Paused, &["close"]),
    (R::Post, S::Draining, &["close"]),
    (R::Stop, S::Connecting, &["close"]),
    (R::Stop, S::Idle, &["close"]),
    (R::Stop, S::Full, &["close"]),
    (R::Stop, S::Paused, &["close"]),
    (R::Stop, S::Draining, &["close"]),
    (R::Drop, S::Connecting, &["close"]),
    (R::Drop, S::Idle, &["close"]),
    (R::Drop, S::Full, &["close"]),
    (R::Drop, S::Paused, &["close"]),
    (R::Drop, S::Draining, &["close"]),
];

/// asyncore called `handle_close` twice, or never, depending on how a connection died (CPython issue
/// 75168, kept because programs had come to rely on it). Each way to die had code of its own.
#[test]
fn every_road_from_every_state_ends_in_one_handle_close_and_nothing_after_it() {
    let cells: HashSet<_> = ROADS
        .iter()
        .map(|&(road, state, _)| (road, state))
        .collect();
    assert_eq!(cells.len(), 12 * 5, "each cell of the matrix once");
    let mut wrong = Vec::new();
    for (road, state, expected) in ROADS {
        let heard = Journey::begin(road, state).travel();
        if heard != expected {
            wrong.push(format!(
                "{road:?} from {state:?}: {heard:?} where {expected:?} is due"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// One cell of the matrix.
struct Journey {
    road: Road,
    state: State,
    clock: SimClock,
    reactor: Reactor,
    diary: Diary,
    id: AnyId,
    far: Far,
}

/// The other end of the connection that travels.
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
enum Far {
    Peer(Option<Peer<TcpStream>>),
    Wire(Wire),
}

const LIMIT: Duration = SECOND;

impl Journey {
    /// Brings a connection into the state.
    fn begin(road: Road, state: State) -> Journey {
        let clock = SimClock::new();
        let mut reactor = Reactor::builder()
            .connect_timeout(LIMIT)
            .stall_timeout(LIMIT)
            .close_timeout(LIMIT)
            .clock(clock.clone())
            .build()
            .unwrap();
        let diary = Diary::default();
        let spy = traveller(road, state, &diary);
        let (id, mut far) = match state {
            State::Connecting => {
                let wire = Wire::default();
                let id = reactor.connect_simulated(Box::new(wire.clone()), spy);
                (id.unwrap().any(), Far::Wire(wire))
            }
            State::Full => {
                let (id, peer) = full_pair(&mut reactor, spy);
                (id, Far::Peer(Some(peer)))
            }
            State::Idle | State::Paused | State::Draining => {
                let (id, peer) = spied_pair(&mut reactor, spy);
                (id.any(), Far::Peer(Some(peer)))
            }
        };
        // A timer that must die with its owner.
        reactor.at(id).unwrap().set_timer(HOUR);
        let mut near = reactor.at(id).unwrap();
        match state {
            State::Paused => near.pause_reading(),
            State::Draining => near.close(),
            State::Connecting | State::Idle | State::Full => {}
        }
        if let Far::Peer(Some(peer)) = &mut far {
            peer.set_nonblocking(true).unwrap();
            if state == State::Paused {
                peer.write_all(b"unread").unwrap();
            }
        }
        settle(&mut reactor);
        assert_eq!(diary.all(), <[String; 0]>::default(), "{road:?}, {state:?}");
        Journey {
            road,
            state,
            clock,
            reactor,
            diary,
            id,
            far,
        }
    }

    /// Goes down the road, and gives what the dispatcher heard on the way.
    fn travel(mut self) -> Vec<String> {
        self.depart();
        if self.road == Road::Drop {
            let diary = self.diary.clone();
            drop(self);
            return diary.of("traveller");
        }
        self.arrive();
        self.stay_dead();
        self.diary.of("traveller")
    }

    fn depart(&mut self) {
        let id = self.id;
        let connecting = self.state == State::Connecting;
        match self.road {
            Road::Eof => {
                match &mut self.far {
                    Far::Peer(peer) => {
                        let peer = peer.as_mut().expect("not closed yet");
                        peer.shutdown(Shutdown::Write).unwrap();
                    }
                    Far::Wire(wire) => {
                        wire.0.stands.set(true);
                        wire.0.input.set(Input::End);
                        let bits = Bits::READABLE | Bits::WRITABLE | Bits::READ_CLOSED;
                        self.reactor.inject(id, bits);
                    }
                }
                self.reactor.at(id).unwrap().resume_reading();
            }
            Road::Reset => match &mut self.far {
                Far::Peer(peer) => reset(peer.take().expect("not closed yet")),
                Far::Wire(wire) => {
                    wire.0.refusal.set(Some(104));
                    self.reactor.inject(id, Bits::ERROR | Bits::HUNG_UP);
                }
            },
            Road::Error | Road::Panic if connecting => {
                if let Far::Wire(wire) = &self.far {
                    wire.0.stands.set(true);
                }
                self.reactor.inject(id, Bits::WRITABLE);
            }
            Road::Error | Road::Panic => {
                self.reactor.at(id).unwrap().set_timer(Duration::ZERO);
            }
            Road::Cap => {
                let sent = self.reactor.at(id).unwrap().send(&[0; 1024 * 1024 + 1]);
                let kind = sent.unwrap_err().kind();
                match self.state {
                    State::Draining => assert_eq!(kind, io::ErrorKind::NotConnected),
                    _ => assert_eq!(kind, io::ErrorKind::QuotaExceeded),
                }
            }
            Road::Deadline => {
                if matches!(self.state, State::Idle | State::Paused) {
                    self.reactor.at(id).unwrap().set_idle_timeout(LIMIT);
                }
                self.clock.advance(LIMIT - NANOSECOND);
                turn(&mut self.reactor);
                assert_eq!(self.diary.all(), <[String; 0]>::default(), "not before it");
                self.clock.advance(NANOSECOND);
            }
            Road::Close => {
                self.reactor.at(id).unwrap().close();
                if let Some(mut near) = self.reactor.at(id) {
                    near.close();
                }
            }
            Road::Abort => self.reactor.at(id).unwrap().abort(),
            Road::Sibling => {
                let sibling = Spy::new("sibling", &self.diary).on_timer(move |cx| {
                    for _ in 0..2 {
                        if let Some(mut other) = cx.at(id) {
                            other.abort();
                        }
                    }
                    assert!(cx.at(id).is_none(), "it is over at once");
                    cx.abort();
                    Ok(())
                });
                let (ours, _) = tcp_pair();
                let sibling = self.reactor.add(ours, sibling).unwrap();
                self.reactor.at(sibling).unwrap().pause_reading();
                self.reactor.at(sibling).unwrap().set_timer(Duration::ZERO);
            }
            Road::Post => {
                let handle = self.reactor.handle();
                let post = handle.post(move |reactor| {
                    reactor.at(id).expect("it is there").abort();
                });
                assert!(post.is_ok());
            }
            Road::Stop => {
                self.reactor.call_later(Duration::ZERO, Reactor::stop);
                self.reactor.run().unwrap();
                assert!(self.reactor.at(id).is_some(), "stopping closes nobody");
                let aborted = self.reactor.shutdown(Duration::ZERO).unwrap();
                // One that connects has nothing to be cut off, and is gone at its `close`.
                assert_eq!(aborted.len(), usize::from(!connecting));
            }
            Road::Drop => {}
        }
    }

    /// Turns until it is over. The peer helps only where the road says that the end waits for it.
    fn arrive(&mut self) {
        let peer_helps = matches!(self.road, Road::Eof | Road::Error | Road::Close)
            || self.state == State::Draining && matches!(self.road, Road::Panic | Road::Cap);
        let (far, id) = (&mut self.far, self.id);
        let mut turns = 0;
        turn_until(&mut self.reactor, "the end of the road", |reactor| {
            turns += 1;
            if peer_helps {
                far.help(reactor, id);
            } else {
                assert!(turns <= 10, "{:?} needs no help", self.road);
            }
            reactor.at(id).is_none()
        });
        turn(&mut self.reactor);
        assert_eq!(self.reactor.count(), 0, "its place is free");
    }

    /// Neither its timers nor its id reach anybody, not even the one who now has its place.
    fn stay_dead(&mut self) {
        let newcomer = Spy::new("newcomer", &self.diary);
        let (_, _peer) = spied_pair(&mut self.reactor, newcomer);
        self.clock.advance(2 * HOUR);
        self.reactor.inject(self.id, Bits::READABLE | Bits::ERROR);
        settle(&mut self.reactor);
        assert!(self.reactor.at(self.id).is_none());
        assert_eq!(self.diary.of("newcomer"), <[String; 0]>::default());
        assert_eq!(self.reactor.timer_count(), 0);
    }
}

impl Far {
    /// Reads what comes, and closes when the end of the stream has.
    fn help(&mut self, reactor: &mut Reactor, id: AnyId) {
        match self {
            Far::Peer(place) => {
                if let Some(peer) = place {
                    if peer.read(&mut [0; 64 * 1024]).is_ok_and(|n| n == 0) {
                        *place = None;
                    }
                }
            }
            Far::Wire(wire) => {
                if wire.0.input.replace(Input::End) != Input::End {
                    reactor.inject(id, Bits::READABLE | Bits::READ_CLOSED);
                }
            }
        }
    }
}

/// The dispatcher that goes down the road.
fn traveller(road: Road, state: State, diary: &Diary) -> Spy {
    let spy = Spy::new("traveller", diary);
    match road {
        Road::Error => spy
            .on_connect(|_| Err(io::Error::other("told to")))
            .on_timer(|_| Err(io::Error::other("told to"))),
        Road::Panic if state == State::Draining => spy.on_close(|_| panic!("told to")),
        Road::Panic => spy
            .on_connect(|_| panic!("told to"))
            .on_timer(|_| panic!("told to")),
        _ => spy,
    }
}

#[test]
fn closing_again_and_again_in_every_callback_is_one_handle_close() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let again = |cx: &mut Context<'_>| {
        cx.close();
        cx.close();
        cx.abort();
        cx.abort();
        cx.close_all();
        Err(io::Error::other("what it returns changes nothing"))
    };
    let spy = Spy::new("server", &diary).on_read(again).on_close(|cx| {
        cx.close();
        cx.abort();
        cx.close_all();
        assert!(cx.at(cx.any_id()).is_none());
        let sent = cx.send(b"x").unwrap_err();
        assert_eq!(sent.kind(), io::ErrorKind::NotConnected);
        let read = cx.recv(&mut [0]).unwrap_err();
        assert_eq!(read.kind(), io::ErrorKind::NotConnected);
        Ok(())
    });
    let (_, mut peer) = spied_pair(&mut reactor, spy);
    peer.write_all(b"x").unwrap();
    turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
    turn(&mut reactor);
    assert_eq!(diary.of("server"), ["read", "close"]);
    assert_eq!(reactor.counters().panics, 0);
}

#[test]
fn whoever_is_ended_by_another_s_handle_close_is_closed_in_the_same_step() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let next: Rc<RefCell<Vec<AnyId>>> = Rc::default();
    let mut peers = Vec::new();
    for _ in 0..100 {
        let next = Rc::clone(&next);
        let spy = Spy::new("chain", &diary).on_close(move |cx| {
            let id = next.borrow_mut().pop();
            if let Some(mut other) = id.and_then(|id| cx.at(id)) {
                other.abort();
            }
            Ok(())
        });
        peers.push(spied_pair(&mut reactor, spy));
    }
    settle(&mut reactor);
    let ids: Vec<AnyId> = peers.iter().map(|(id, _)| id.any()).collect();
    next.borrow_mut().extend(ids[1..].iter().rev());
    reactor.at(ids[0]).unwrap().abort();
    turn(&mut reactor);
    assert_eq!(diary.of("chain"), vec!["close"; 100]);
    assert_eq!(reactor.count(), 0);
}

#[test]
fn what_a_handle_close_sends_to_another_arrives_though_nothing_else_happens() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (peer, socket) = connection();
    let staying = reactor.add(socket, Spy::new("staying", &diary)).unwrap();
    let (_leaving_peer, socket) = connection();
    let spy = Spy::new("leaving", &diary).on_close(move |cx| {
        let mut other = cx.at(staying).expect("it stays");
        other.send(b"it has left")
    });
    let leaving = reactor.add(socket, spy).unwrap();
    settle(&mut reactor);
    reactor.at(leaving).unwrap().abort();
    settle(&mut reactor);
    turn(&mut reactor);
    assert_eq!(peer.take_received(), b"it has left");
    assert_eq!(diary.all(), ["leaving close"]);
}
