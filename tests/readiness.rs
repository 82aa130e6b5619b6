//! Readiness: what the kernel says once is served until it is used up, and never longer.
//!
//! Each test puts the kernel, real or pretended, into one of the states that event loops have mistaken
//! for another: an event that was a rumour, input left in the buffer, an end that came with the data,
//! an error that came alone, an urgent byte, an empty datagram, a wait cut short by a signal. The states
//! themselves are kernel facts; `kernel_probes.rs` holds a probe for each.
//!
//! Where a test counts turns, all that the peer does has reached the kernel before the counting begins.
//! Linux only: urgent data, error-only events and the clean cuts of a reset are as Linux has them.

#![cfg(target_os = "linux")]

#[cfg_attr(feature = "tls", path = "util/tls.rs")]
#[cfg_attr(not(feature = "tls"), path = "util/plain.rs")]
mod over;
mod util;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::unix::{SourceFd, pipe};
use mio::{Events, Interest, Poll, Registry, Token};
use over::{Ours, Peer, below, length_below, reset, serve, spied_pair};
use slabloop::testing::{Bits, SimKind, SimSocket};
use slabloop::{AnyId, Context, Dispatcher, Id, Reactor, Socket};
use socket2::SockRef;
use util::*;

/// The two kinds of stream that most tests run over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Tcp,
    Unix,
}

const FAMILIES: [Family; 2] = [Family::Tcp, Family::Unix];

impl Family {
    /// A connected pair: ours, and the peer's, which blocks with a deadline.
    fn pair(self) -> (Ours<socket2::Socket>, Peer<socket2::Socket>) {
        over::secured(self.bare_pair())
    }

    /// A pair that is never anything but sockets.
    fn bare_pair(self) -> (socket2::Socket, socket2::Socket) {
        let (ours, peer): (socket2::Socket, socket2::Socket) = match self {
            Family::Tcp => {
                let (ours, peer) = tcp_pair();
                (ours.into(), peer.into())
            }
            Family::Unix => {
                let (ours, peer) = UnixStream::pair().expect("a pair of sockets");
                (ours.into(), peer.into())
            }
        };
        peer.set_read_timeout(Some(DEADLINE)).expect("a time");
        peer.set_write_timeout(Some(DEADLINE)).expect("a time");
        (ours, peer)
    }

    fn socket(self, ours: Ours<socket2::Socket>) -> Socket {
        over::socket_of(ours, |ours| self.bare_socket(ours))
    }

    fn bare_socket(self, ours: socket2::Socket) -> Socket {
        match self {
            Family::Tcp => TcpStream::from(ours).into(),
            Family::Unix => UnixStream::from(ours).into(),
        }
    }
}

/// Closes the peer's end so that ours sees a reset and not an end of stream.
fn break_off(family: Family, peer: Peer<socket2::Socket>) {
    match family {
        Family::Tcp => reset(peer),
        // A Unix socket resets by itself if it is closed with something unread; `prepare_to_break_off`.
        Family::Unix => over::vanish(peer),
    }
}

/// Whatever our end must have done beforehand for `break_off` to be a reset.
fn prepare_to_break_off(family: Family, ours: &Ours<socket2::Socket>) {
    if family == Family::Unix {
        let mut ours = below(ours);
        ours.write_all(b"never read").expect("room");
    }
}

/// Waits, beside any reactor, until the kernel says this of a socket. Registering anew reports the
/// present state, so that nothing can be missed.
fn until_kernel_says(socket: &impl AsRawFd, what: &str, says: impl Fn(&mio::event::Event) -> bool) {
    let deadline = Instant::now() + DEADLINE;
    let all = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
    loop {
        let mut poll = Poll::new().expect("a poller");
        let mut events = Events::with_capacity(4);
        poll.registry()
            .register(&mut SourceFd(&socket.as_raw_fd()), Token(0), all)
            .expect("a socket can be polled");
        poll.poll(&mut events, Some(Duration::from_millis(5)))
            .expect("the wait does not fail");
        if events.iter().any(&says) {
            return;
        }
        assert!(Instant::now() < deadline, "the kernel never says: {what}");
    }
}

/// Waits until this many bytes are in the socket's receive buffer.
fn until_arrived(socket: &socket2::Socket, bytes: usize) {
    let deadline = Instant::now() + DEADLINE;
    let mut place = vec![std::mem::MaybeUninit::new(0); bytes];
    // One peek tells how much lies there as far as it is one piece, which it is here.
    while !matches!(socket.peek(&mut place), Ok(seen) if seen == bytes) {
        assert!(Instant::now() < deadline, "{bytes} bytes do not arrive");
        std::thread::yield_now();
    }
}

/// Turns at most `limit` times until `done`; how many it took, or `None`.
fn turns_until(
    reactor: &mut Reactor,
    limit: usize,
    mut done: impl FnMut(&mut Reactor) -> bool,
) -> Option<usize> {
    for turns in 0..=limit {
        if done(reactor) {
            return Some(turns);
        }
        turn(reactor);
    }
    None
}

/// Enough for anything on loopback; what hangs runs into it. Each turn waits up to 10 ms.
const MANY_TURNS: usize = 300;

/// A spy that reads `chunk` bytes at a time, notes what each `recv` said, and keeps what it got.
fn reader(who: &'static str, diary: &Diary, chunk: usize) -> (Spy, Rc<RefCell<Vec<u8>>>) {
    let received: Rc<RefCell<Vec<u8>>> = Rc::default();
    let (kept, notes) = (Rc::clone(&received), diary.clone());
    let spy = Spy::new(who, diary).on_read(move |cx| {
        let mut buffer = vec![0; chunk];
        match cx.recv(&mut buffer) {
            Ok(length) => {
                notes.note(who, cx.any_id(), format!("got {length}"));
                kept.borrow_mut().extend_from_slice(&buffer[..length]);
                Ok(())
            }
            Err(error) => {
                notes.note(who, cx.any_id(), format!("refused {:?}", error.kind()));
                Err(error)
            }
        }
    });
    (spy, received)
}

/// What the spy has been told of the end of its connection, in order.
fn ends(diary: &Diary, who: &str) -> Vec<String> {
    let mut ends = diary.of(who);
    ends.retain(|noted| {
        ["eof", "close", "error"]
            .iter()
            .any(|end| noted.starts_with(end))
    });
    ends
}

/// Fails with all the cells of a table that went wrong, not just with the first.
#[track_caller]
fn assert_table(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

// ---------------------------------------------------------------------------------- Rumours

/// corosio #200 took a writable event for a finished connect though the event was spurious; others
/// treat the `WouldBlock` that answers a rumour as a failure. Here every socket is told "readable,
/// writable" a thousand times over.
#[test]
fn a_thousand_rumours_of_readiness_cost_no_byte_and_no_error_and_leave_no_spin() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (listener, address) = serve(&mut reactor, || Echo);
    let mut ids = vec![listener];
    let mut peers = Vec::new();
    for family in FAMILIES {
        let (ours, peer) = family.pair();
        let (spy, received) = reader("stream", &diary, 64);
        ids.push(reactor.add(family.socket(ours), spy).unwrap().any());
        peers.push((peer, received));
    }
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (spy, _) = reader("datagrams", &diary, 64);
    ids.push(reactor.add(datagrams, spy).unwrap().any());
    let (pipe_out, pipe_in) = pipe::new().unwrap();
    let (spy, _) = reader("pipe in", &diary, 64);
    ids.push(reactor.add(pipe_in, spy).unwrap().any());
    ids.push(
        reactor
            .add(pipe_out, Spy::new("pipe out", &diary))
            .unwrap()
            .any(),
    );

    let sent = pattern(3, 1000);
    for byte in &sent {
        for id in &ids {
            reactor.inject(*id, Bits::READABLE | Bits::WRITABLE);
        }
        for (peer, _) in &mut peers {
            peer.write_all(&[*byte]).unwrap();
        }
        turn(&mut reactor);
    }
    turn_until(&mut reactor, "the last bytes", |_| {
        peers
            .iter()
            .all(|(_, received)| received.borrow().len() == sent.len())
    });
    for (_, received) in &peers {
        assert!(*received.borrow() == sent, "bytes arrive as they were sent");
    }
    assert_eq!(reactor.counters().errors, 0);
    assert_eq!(reactor.count(), ids.len(), "nobody was closed");
    assert_asleep(&mut reactor, "after the last rumour");

    // And the listener still listens.
    let client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut client = [over::client(client)];
    over::greet(&mut reactor, &mut client);
    let [mut client] = client;
    client.write_all(b"still there?").unwrap();
    turn_until(&mut reactor, "the echo", |reactor| {
        reactor.counters().bytes_out == 12
    });
    let mut back = [0; 12];
    client.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"still there?");
}

// ------------------------------------------------------------------------------ Half a read

/// mio #45 and #1076: on edges, a handler that reads one chunk per event never hears of the rest. The
/// peer's one write is all that the kernel reports; the rest of the calls must come from the ready list.
#[test]
fn a_handler_that_reads_one_chunk_a_call_gets_every_byte_with_no_new_event() {
    for family in FAMILIES {
        for (chunk, length) in [(1, 8 << 10), (7, 32 << 10), (4096, 32 << 10)] {
            let cell = format!("{family:?}, {chunk} bytes a call");
            let mut reactor = Reactor::new().unwrap();
            let diary = Diary::default();
            let (ours, mut peer) = family.pair();
            let sent = pattern(1, length);
            peer.write_all(&sent).unwrap();
            if family == Family::Tcp {
                until_arrived(below(&ours), length_below(length));
            }
            let (spy, received) = reader("reader", &diary, chunk);
            reactor.add(family.socket(ours), spy).unwrap();
            let calls = length.div_ceil(chunk);
            let turns = turns_until(&mut reactor, calls + 5, |_| {
                received.borrow().len() == length
            });
            assert!(
                turns.is_some_and(|turns| turns <= calls + 1),
                "{cell}: {turns:?} turns for {calls} calls, {} of {length} bytes",
                received.borrow().len()
            );
            assert!(*received.borrow() == sent, "{cell}: bytes out of order");
            assert_eq!(reactor.counters().events, 1, "{cell}: one event was enough");
            let waits = reactor.take_waits();
            assert!(
                waits
                    .iter()
                    .skip(1)
                    .all(|wait| *wait == Some(Duration::ZERO)),
                "{cell}: the loop does not sleep while the slot is ready"
            );
            assert_asleep(&mut reactor, &cell);
        }
    }
}

/// The same with more than a socket buffer holds, so that the peer's writes and our reads interleave.
#[test]
fn a_mebibyte_read_in_pieces_arrives_whole() {
    for family in FAMILIES {
        let mut reactor = Reactor::new().unwrap();
        let (ours, mut peer) = family.pair();
        let (spy, received) = reader("reader", &Diary::default(), 4096);
        reactor.add(family.socket(ours), spy).unwrap();
        let sent = pattern(2, 1 << 20);
        let writer = std::thread::spawn(move || {
            peer.write_all(&sent).expect("the reader reads");
            (peer, sent)
        });
        turn_until(&mut reactor, "a mebibyte", |_| {
            received.borrow().len() == 1 << 20
        });
        let (_peer, sent) = writer.join().unwrap();
        assert!(*received.borrow() == sent, "{family:?}: bytes out of order");
        assert_asleep(&mut reactor, "after the last byte");
    }
}

// -------------------------------------------------------------------------- The end with the data

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    None,
    Fin,
    Rst,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    SameEvent,
    LaterEvent,
}

/// One cell of the table below; a sentence if it went wrong.
fn data_then(family: Family, ending: Ending, when: When, chunk: usize) -> Result<(), String> {
    const LENGTH: usize = 24;
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (ours, mut peer) = family.pair();
    if ending == Ending::Rst {
        prepare_to_break_off(family, &ours);
    }
    let sent = pattern(1, LENGTH);
    let (spy, received) = reader("reader", &diary, chunk);
    peer.write_all(&sent).unwrap();
    until_arrived(below(&ours), length_below(LENGTH));

    let mut spy = Some(spy);
    let mut add = |reactor: &mut Reactor, ours| {
        reactor
            .add(family.socket(ours), spy.take().expect("added once"))
            .unwrap();
    };
    let mut ours = Some(ours);
    if when == When::LaterEvent {
        add(&mut reactor, ours.take().expect("added once"));
        if turns_until(&mut reactor, MANY_TURNS, |_| {
            received.borrow().len() == LENGTH
        })
        .is_none()
        {
            return Err(format!("{} of {LENGTH} bytes", received.borrow().len()));
        }
        settle(&mut reactor);
    }
    let mut kept = None;
    match ending {
        Ending::None => kept = Some(peer),
        Ending::Fin => {
            peer.shutdown(Shutdown::Write).unwrap();
            kept = Some(peer);
        }
        Ending::Rst => break_off(family, peer),
    }
    if let Some(ours) = ours.take() {
        match ending {
            Ending::None => {}
            Ending::Fin => until_kernel_says(below(&ours), "end of stream", |e| e.is_read_closed()),
            Ending::Rst => until_kernel_says(below(&ours), "reset", |e| e.is_error()),
        }
        add(&mut reactor, ours);
    }
    let over = |reactor: &mut Reactor| match ending {
        Ending::None => received.borrow().len() == LENGTH,
        Ending::Fin | Ending::Rst => reactor.count() == 0,
    };
    let ended = turns_until(&mut reactor, MANY_TURNS, over);
    settle(&mut reactor);
    drop(kept);
    let story = format!("{:?}", diary.of("reader"));
    if ended.is_none() {
        return Err(format!("it hangs: {story}"));
    }
    let received = received.borrow();
    let all_came = match ending {
        Ending::None | Ending::Fin => *received == sent,
        // The kernel may throw away what lies before a reset.
        Ending::Rst => sent.starts_with(&received),
    };
    if !all_came {
        return Err(format!("other bytes than were sent: {story}"));
    }
    let expected: &[&str] = match ending {
        Ending::None => &[],
        Ending::Fin => &["eof", "close"],
        Ending::Rst => &["close"],
    };
    if ends(&diary, "reader") != expected {
        return Err(format!("ends with {expected:?}: {story}"));
    }
    Ok(())
}

/// nginx 39b84d7a5, netty #6199 and tokio #5866: data and end of stream came in one event, the read
/// was short, the loop took that for "drained", and no other event ever came. Eighteen cells, over two
/// kinds of stream; in each, every byte and then exactly one end, if there was one.
#[test]
fn data_with_its_end_in_the_same_event_or_later_is_read_whole_and_ends_once() {
    let mut wrong = Vec::new();
    for family in FAMILIES {
        for ending in [Ending::None, Ending::Fin, Ending::Rst] {
            for when in [When::SameEvent, When::LaterEvent] {
                for (buffer, chunk) in [("larger", 4096), ("equal", 24), ("smaller", 7)] {
                    if let Err(sentence) = data_then(family, ending, when, chunk) {
                        wrong.push(format!(
                            "{family:?}: data and {ending:?}, {when:?}, {buffer} buffer: {sentence}"
                        ));
                    }
                }
            }
        }
    }
    assert_table(&wrong);
}

// -------------------------------------------------------------------- Errors and hang-ups alone

/// What a pretended socket does once its input is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Nothing,
    /// The peer has finished sending and still reads.
    Fin,
    /// Both halves are shut: reads say 0, writes fail.
    HangUp,
    /// A pending error, which the kernel tells once, to whichever call comes first.
    Error,
}

#[derive(Debug)]
struct Pretence {
    input: VecDeque<u8>,
    after: After,
    told: bool,
    room: bool,
    /// The most that one `recv` gives.
    piece: usize,
    sent: Vec<u8>,
}

/// A stream that behaves as its `Pretence` says; events for it are injected.
struct Pretended(Rc<RefCell<Pretence>>);

impl SimSocket for Pretended {
    fn kind(&self) -> SimKind {
        SimKind::Stream
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut pretence = self.0.borrow_mut();
        if !pretence.input.is_empty() {
            let most = pretence.piece.min(buffer.len());
            return pretence.input.read(&mut buffer[..most]);
        }
        let after = pretence.after;
        match after {
            After::Nothing => Err(io::ErrorKind::WouldBlock.into()),
            After::Error if !std::mem::replace(&mut pretence.told, true) => {
                Err(io::ErrorKind::ConnectionReset.into())
            }
            After::Fin | After::HangUp | After::Error => Ok(0),
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut pretence = self.0.borrow_mut();
        let after = pretence.after;
        match after {
            After::Error if !std::mem::replace(&mut pretence.told, true) => {
                Err(io::ErrorKind::ConnectionReset.into())
            }
            After::Error | After::HangUp => Err(io::ErrorKind::BrokenPipe.into()),
            After::Nothing | After::Fin if !pretence.room => Err(io::ErrorKind::WouldBlock.into()),
            After::Nothing | After::Fin => {
                pretence.sent.extend_from_slice(bytes);
                Ok(bytes.len())
            }
        }
    }
}

/// An epoll mask, for the five bits that matter here.
#[derive(Clone, Copy)]
struct Mask(u32);

impl Mask {
    const IN: u32 = 1;
    const OUT: u32 = 2;
    const ERR: u32 = 4;
    const HUP: u32 = 8;
    const RDHUP: u32 = 16;

    fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }

    /// What mio makes of it: hints that depend on one another.
    fn bits(self) -> u32 {
        let both = |one, other| self.has(one) && self.has(other);
        let mut bits = 0;
        let mut set = |bit, on: bool| bits |= if on { bit } else { 0 };
        set(Bits::READABLE, self.has(Mask::IN));
        set(Bits::WRITABLE, self.has(Mask::OUT));
        set(Bits::ERROR, self.has(Mask::ERR));
        set(
            Bits::READ_CLOSED,
            self.has(Mask::HUP) || both(Mask::IN, Mask::RDHUP),
        );
        set(
            Bits::HUNG_UP,
            self.has(Mask::HUP) || both(Mask::OUT, Mask::ERR) || self.0 == Mask::ERR,
        );
        bits
    }

    /// The state of a socket that would make the kernel say this.
    fn after(self) -> After {
        if self.has(Mask::ERR) {
            After::Error
        } else if self.has(Mask::HUP) {
            After::HangUp
        } else if self.has(Mask::RDHUP) {
            After::Fin
        } else {
            After::Nothing
        }
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Mask::IN, "IN"),
            (Mask::OUT, "OUT"),
            (Mask::ERR, "ERR"),
            (Mask::HUP, "HUP"),
            (Mask::RDHUP, "RDHUP"),
        ];
        let named: Vec<_> = names.iter().filter(|(bit, _)| self.has(*bit)).collect();
        write!(
            f,
            "{}",
            named
                .iter()
                .map(|(_, name)| *name)
                .collect::<Vec<_>>()
                .join("|")
        )
    }
}

/// One cell: the event `mask` comes for a socket in the state that it describes.
fn one_mask(mask: Mask, pending: bool, queued: bool) -> Result<(), String> {
    const TURNS: usize = 3;
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let pretence = Rc::new(RefCell::new(Pretence {
        input: if pending {
            b"input".iter().copied().collect()
        } else {
            VecDeque::new()
        },
        after: After::Nothing,
        told: false,
        room: false,
        piece: usize::MAX,
        sent: Vec::new(),
    }));
    let (spy, received) = reader("it", &diary, 64);
    let socket: Box<dyn SimSocket> = Box::new(Pretended(Rc::clone(&pretence)));
    let id = reactor.add(socket, spy).unwrap();
    if queued {
        reactor.at(id).expect("added").send(b"output").unwrap();
        turn_for(&mut reactor, Duration::ZERO);
        assert_eq!(
            reactor.at(id).expect("alive").queued(),
            6,
            "there was no room"
        );
    }
    diary.clear();

    let after = mask.after();
    pretence.borrow_mut().after = after;
    pretence.borrow_mut().room = mask.has(Mask::OUT);
    reactor.inject(id, mask.bits());
    for _ in 0..TURNS {
        turn_for(&mut reactor, Duration::ZERO);
    }
    let story = || format!("{:?}", diary.of("it"));
    if !(mask.has(Mask::IN) || mask.has(Mask::ERR) || mask.has(Mask::HUP)) {
        // Nothing was said about reading: so nothing is read, and nothing may be lost either.
        if diary.count("it", "read") + ends(&diary, "it").len() > 0 {
            return Err(format!("called for nothing: {}", story()));
        }
        reactor.inject(id, Mask(Mask::IN | mask.0).bits());
        for _ in 0..TURNS {
            turn_for(&mut reactor, Duration::ZERO);
        }
    }
    let mut waits_for_room = queued && !mask.has(Mask::OUT) && after == After::Fin;
    if waits_for_room {
        if ends(&diary, "it") != ["eof"] {
            return Err(format!(
                "the end is told, and the output waits: {}",
                story()
            ));
        }
        pretence.borrow_mut().room = true;
        reactor.inject(id, Bits::WRITABLE);
        for _ in 0..TURNS {
            turn_for(&mut reactor, Duration::ZERO);
        }
        waits_for_room = false;
    }
    if pending && *received.borrow() != b"input" {
        return Err(format!("input was not delivered: {}", story()));
    }
    let noted = diary.of("it");
    let first_end = noted.iter().position(|n| ["eof", "close"].contains(&&**n));
    let last_input = noted.iter().rposition(|n| n == "got 5");
    if first_end < last_input && first_end.is_some() {
        return Err(format!("input comes before the end: {}", story()));
    }
    let end = ends(&diary, "it");
    let closes = end.iter().filter(|n| *n == "close").count();
    let eofs = end.iter().filter(|n| *n == "eof").count();
    let expected = match after {
        After::Nothing => (0, 0),
        After::Fin => (1, 1),
        // Whether the read met the end or the write the break first, there is one close; a break is
        // never an end of stream.
        After::HangUp => (usize::from(!(queued && pending)), 1),
        After::Error => (0, 1),
    };
    if (eofs, closes) != expected || end.len() != eofs + closes {
        return Err(format!(
            "not exactly one end within {TURNS} turns: {}",
            story()
        ));
    }
    if reactor.count() != usize::from(after == After::Nothing) {
        return Err(format!("{} left: {}", reactor.count(), story()));
    }
    let output_leaves =
        matches!(after, After::Fin) || after == After::Nothing && mask.has(Mask::OUT);
    let sent = pretence.borrow().sent.clone();
    if queued && output_leaves && !waits_for_room && sent != b"output" {
        return Err(format!("output was not sent: {}", story()));
    }
    settle(&mut reactor);
    if diary.of("it").len() != noted.len() {
        return Err(format!("it goes on: {}", story()));
    }
    Ok(())
}

/// libuv 12210fe57, HAProxy 5a9c637bf: an error or a hang-up can come with neither readable nor
/// writable set, and is the only event there will be. asyncore closed on a hang-up with input unread.
#[test]
fn every_combination_of_epoll_bits_gives_input_first_and_then_one_end() {
    let mut wrong = Vec::new();
    for mask in (0..32).map(Mask) {
        for pending in [false, true] {
            for queued in [false, true] {
                if let Err(sentence) = one_mask(mask, pending, queued) {
                    wrong.push(format!(
                        "{mask:?}, input pending: {pending}, output queued: {queued}: {sentence}"
                    ));
                }
            }
        }
    }
    assert_table(&wrong);
}

/// That the peer has finished, hung up or reset is said once. What comes after it, an event that does
/// not repeat it, a short read, a `WouldBlock`, must not make the slot forget, or the next short read
/// is taken for "drained" and the end is lost.
#[test]
fn closed_and_error_bits_outlast_later_events_and_short_reads_and_would_block() {
    let mut wrong = Vec::new();
    for said in [
        Mask::IN | Mask::RDHUP,
        Mask::IN | Mask::HUP,
        Mask::IN | Mask::ERR,
    ]
    .map(Mask)
    {
        for (name, piece, between, rumour) in [
            ("an event of room between two reads", 2, Mask::OUT, false),
            ("an event of input between two reads", 2, Mask::IN, false),
            ("several short reads", 2, 0, false),
            ("a WouldBlock before the input", 64, 0, true),
        ] {
            let mut reactor = Reactor::new().unwrap();
            let diary = Diary::default();
            let pretence = Rc::new(RefCell::new(Pretence {
                input: VecDeque::new(),
                after: After::Nothing,
                told: false,
                room: true,
                piece,
                sent: Vec::new(),
            }));
            let (spy, received) = reader("it", &diary, 64);
            let socket: Box<dyn SimSocket> = Box::new(Pretended(Rc::clone(&pretence)));
            let id = reactor.add(socket, spy).unwrap();
            if rumour {
                reactor.inject(id, said.bits());
                turn_for(&mut reactor, Duration::ZERO);
            }
            pretence.borrow_mut().input.extend(b"input");
            pretence.borrow_mut().after = said.after();
            reactor.inject(id, if rumour { Bits::READABLE } else { said.bits() });
            turn_for(&mut reactor, Duration::ZERO);
            if between != 0 {
                reactor.inject(id, Mask(between).bits());
            }
            for _ in 0..5 {
                turn_for(&mut reactor, Duration::ZERO);
            }
            let expected: &[&str] = if said.has(Mask::ERR) {
                &["close"]
            } else {
                &["eof", "close"]
            };
            if *received.borrow() != b"input" || ends(&diary, "it") != expected {
                wrong.push(format!("{said:?}, {name}: {:?}", diary.of("it")));
            }
        }
    }
    assert_table(&wrong);
}

/// Real sockets for the two events that carry neither IN nor OUT: a hang-up from an empty pipe whose
/// writer has gone, an error from a full pipe whose reader has.
#[test]
fn a_pipe_whose_other_end_goes_away_ends_on_a_hang_up_or_an_error_alone() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (theirs, ours) = pipe::new().unwrap();
    let (spy, _) = reader("in", &diary, 64);
    reactor.add(ours, spy).unwrap();
    settle(&mut reactor);
    drop(theirs);
    let turns = turns_until(&mut reactor, MANY_TURNS, |reactor| reactor.count() == 0);
    assert!(
        turns.is_some(),
        "the reading end hangs: {:?}",
        diary.of("in")
    );
    assert_eq!(ends(&diary, "in"), ["eof", "close"]);

    for queued in [false, true] {
        diary.clear();
        let (mut ours, theirs) = pipe::new().unwrap();
        while ours.write(&[0; 4096]).is_ok() {}
        let id = reactor.add(ours, Spy::new("out", &diary)).unwrap();
        if queued {
            reactor
                .at(id)
                .expect("added")
                .send(b"no room for this")
                .unwrap();
        }
        settle(&mut reactor);
        drop(theirs);
        let turns = turns_until(&mut reactor, MANY_TURNS, |reactor| reactor.count() == 0);
        assert!(turns.is_some(), "the writing end hangs, queued: {queued}");
        assert_eq!(diary.of("out"), ["close"], "queued: {queued}");
    }
}

/// Bytes through both ends of a pipe, and an end of stream that comes after them.
#[test]
fn a_pipe_carries_bytes_and_its_end() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (out, input) = pipe::new().unwrap();
    let (spy, received) = reader("in", &diary, 1000);
    reactor.add(input, spy).unwrap();
    let writer = reactor.add(out, Spy::new("out", &diary)).unwrap();
    let sent = pattern(5, 300_000);
    reactor.at(writer).expect("added").send(&sent).unwrap();
    assert_eq!(
        reactor
            .at(writer)
            .expect("alive")
            .recv(&mut [0; 8])
            .unwrap_err()
            .kind(),
        io::ErrorKind::WouldBlock,
        "the writing end has nothing to read"
    );
    reactor.at(writer).expect("alive").close();
    turn_until(&mut reactor, "the end of the pipe", |reactor| {
        reactor.count() == 0
    });
    assert!(*received.borrow() == sent, "bytes arrive as they were sent");
    assert_eq!(ends(&diary, "in"), ["eof", "close"]);
    assert_eq!(diary.of("out"), ["close"]);
}

// ------------------------------------------------------------------------------- Half-closed

/// netty #4317 and nbio close on RDHUP and lose what the peer still wanted to read.
#[test]
fn a_peer_that_has_finished_sending_gets_its_whole_answer() {
    const LENGTH: usize = 10_000_000;
    let mut builder = Reactor::builder();
    builder.hard_cap(2 * LENGTH);
    for family in FAMILIES {
        let mut reactor = builder.build().unwrap();
        let diary = Diary::default();
        let (ours, mut peer) = family.pair();
        let (spy, received) = reader("server", &diary, 64 << 10);
        let answer = pattern(7, LENGTH);
        let reply = answer.clone();
        let spy = spy.on_eof(move |cx| {
            cx.send(&reply)?;
            cx.close();
            Ok(())
        });
        reactor.add(family.socket(ours), spy).unwrap();
        let question = pattern(6, LENGTH);
        let sent = question.clone();
        let client = std::thread::spawn(move || {
            peer.write_all(&sent).expect("the server reads");
            peer.shutdown(Shutdown::Write).expect("connected");
            let mut back = Vec::new();
            peer.read_to_end(&mut back).expect("the answer ends");
            back
        });
        turn_until(&mut reactor, "the answer to be read", |_| {
            client.is_finished()
        });
        assert!(
            client.join().unwrap() == answer,
            "{family:?}: the answer is whole"
        );
        assert!(
            *received.borrow() == question,
            "{family:?}: the question is whole"
        );
        turn_until(&mut reactor, "the close", |reactor| reactor.count() == 0);
        assert_eq!(ends(&diary, "server"), ["eof", "close"], "{family:?}");
    }
}

/// tokio #449 and mio #933: a half-closed connection that is kept open was reported again and again,
/// and the loop spun on it.
#[test]
fn a_thousand_half_closed_connections_kept_open_cost_nothing() {
    const CONNECTIONS: usize = 1000;
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (ids, mut peers): (Vec<_>, Vec<_>) = (0..CONNECTIONS)
        .map(|i| {
            let (ours, peer) = FAMILIES[i % 2].pair();
            let (spy, _) = reader("half-closed", &diary, 64);
            let id = reactor
                .add(FAMILIES[i % 2].socket(ours), spy.on_eof(|_| Ok(())))
                .unwrap();
            (id, peer)
        })
        .unzip();
    for peer in &mut peers {
        peer.shutdown(Shutdown::Write).unwrap();
    }
    turn_until(&mut reactor, "every end of stream", |_| {
        diary.count("half-closed", "eof") >= CONNECTIONS
    });
    assert_asleep(&mut reactor, "while they are half-closed");
    assert_eq!(
        diary.count("half-closed", "eof"),
        CONNECTIONS,
        "each end is told once"
    );
    assert_eq!(reactor.count(), CONNECTIONS, "nobody was closed");

    for id in &ids {
        reactor.at(*id).expect("alive").send(b"news").unwrap();
    }
    turn(&mut reactor);
    for peer in &mut peers {
        let mut news = [0; 4];
        peer.read_exact(&mut news).unwrap();
        assert_eq!(&news, b"news");
    }
    assert_asleep(&mut reactor, "after writing to them");
    for id in ids {
        reactor.at(id).expect("alive").close();
    }
    turn_until(&mut reactor, "the closes", |reactor| reactor.count() == 0);
    assert_eq!(diary.count("half-closed", "close"), CONNECTIONS);
}

// ------------------------------------------------------------------- A reset is not an end

/// Asking a live socket for its pending error clears it, and the next read then says 0: half an upload
/// would look complete. So a reset must surface as one, whichever call meets it first.
#[test]
fn half_a_record_and_a_reset_never_look_like_an_end_of_stream() {
    for family in FAMILIES {
        for queued in [false, true] {
            for before_the_first_turn in [false, true] {
                let cell = format!("{family:?}, queued: {queued}, early: {before_the_first_turn}");
                let mut reactor = Reactor::new().unwrap();
                let diary = Diary::default();
                let (ours, mut peer) = family.pair();
                let sockets = [SockRef::from(&ours), SockRef::from(&peer)];
                sockets[0].set_send_buffer_size(4096).unwrap();
                sockets[1].set_recv_buffer_size(4096).unwrap();
                prepare_to_break_off(family, &ours);
                let probe = below(&ours).try_clone().unwrap();
                let (spy, received) = reader("server", &diary, 64);
                let id = reactor.add(family.socket(ours), spy).unwrap();
                // Fed by nobody: full or not, it is read.
                reactor.at(id).expect("added").feeds_nobody();
                if queued {
                    reactor.at(id).expect("added").send(&[0; 1 << 20]).unwrap();
                }
                if !before_the_first_turn {
                    settle(&mut reactor);
                }
                peer.write_all(b"half a rec").unwrap();
                if family == Family::Tcp {
                    until_arrived(&probe, length_below(10));
                }
                break_off(family, peer);
                until_kernel_says(&probe, "reset", |event| event.is_error());
                drop(probe);
                let turns = turns_until(&mut reactor, MANY_TURNS, |reactor| reactor.count() == 0);
                let story = diary.of("server");
                assert!(
                    turns.is_some_and(|t| t <= 4),
                    "{cell}: {turns:?} turns: {story:?}"
                );
                assert_eq!(ends(&diary, "server"), ["close"], "{cell}: {story:?}");
                assert!(b"half a rec".starts_with(&received.borrow()[..]), "{cell}");
                let refusals = ["refused ConnectionReset", "refused BrokenPipe"];
                assert!(
                    story.iter().any(|noted| refusals.contains(&&**noted)),
                    "{cell}: the handler was told of the break: {story:?}"
                );
            }
        }
    }
}

// --------------------------------------------------------------- Nothing, the end, and empty

/// asyncore's `recv` answered the end and an error with the same empty bytes; pyftpdlib #104 and #255
/// took one for the other. On a stream each has an answer of its own.
#[test]
fn nothing_and_the_end_and_an_empty_buffer_are_three_answers_on_a_stream() {
    for family in FAMILIES {
        let mut reactor = Reactor::new().unwrap();
        let answers: Rc<RefCell<Vec<String>>> = Rc::default();
        let diary = Diary::default();
        let (ours, mut peer) = family.pair();
        let kept = Rc::clone(&answers);
        let say = move |cx: &mut Context<'_>| {
            let answer = |name: &str, outcome: io::Result<usize>| {
                let text = match outcome {
                    Ok(length) => format!("{name}: {length}"),
                    Err(error) => format!("{name}: {:?}", error.kind()),
                };
                kept.borrow_mut().push(text);
            };
            answer("no buffer", cx.recv(&mut []));
            answer("first", cx.recv(&mut [0; 64]));
            answer("second", cx.recv(&mut [0; 64]));
            Ok(())
        };
        let at_eof = say.clone();
        let at_close = say.clone();
        let spy = Spy::new("it", &diary)
            .on_read(say)
            .on_eof(move |cx| {
                at_eof(cx)?;
                cx.close();
                at_eof(cx)
            })
            .on_close(move |cx| at_close(cx));
        let id = reactor.add(family.socket(ours), spy).unwrap();
        let expect = |when: &str, expected: &[&str]| {
            assert_eq!(*answers.borrow(), expected, "{family:?}, {when}");
            answers.borrow_mut().clear();
        };
        reactor.inject(id, Bits::READABLE);
        turn(&mut reactor);
        expect(
            "with nothing there",
            &[
                "no buffer: InvalidInput",
                "first: WouldBlock",
                "second: WouldBlock",
            ],
        );
        peer.write_all(b"bytes").unwrap();
        turn_until(&mut reactor, "bytes", |_| diary.count("it", "read") == 2);
        expect(
            "with five bytes there",
            &["no buffer: InvalidInput", "first: 5", "second: WouldBlock"],
        );
        peer.shutdown(Shutdown::Write).unwrap();
        turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
        expect(
            "at the end, in handle_eof, after close, in handle_close",
            &[
                "no buffer: InvalidInput",
                "first: 0",
                "second: 0",
                "no buffer: InvalidInput",
                "first: 0",
                "second: 0",
                "no buffer: InvalidInput",
                "first: NotConnected",
                "second: NotConnected",
                "no buffer: InvalidInput",
                "first: NotConnected",
                "second: NotConnected",
            ],
        );
        assert_eq!(
            diary.of("it"),
            ["read", "read", "read", "eof", "close"],
            "{family:?}"
        );
        assert_eq!(reactor.counters().errors, 0);
    }
}

/// Somebody else's `recv`, from outside any callback, may be the one that meets the end.
#[test]
fn an_end_met_by_a_recv_from_outside_is_told_in_the_next_turn() {
    for family in FAMILIES {
        let mut reactor = Reactor::new().unwrap();
        let diary = Diary::default();
        let (ours, mut peer) = family.pair();
        let id = reactor
            .add(family.socket(ours), Spy::new("it", &diary))
            .unwrap();
        reactor.at(id).expect("added").pause_reading();
        peer.write_all(b"bytes").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        let mut buffer = [0; 64];
        let mut answers = Vec::new();
        turn_until(&mut reactor, "five bytes and the end", |reactor| {
            match reactor.at(id).expect("alive").recv(&mut buffer) {
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                Ok(length) => answers.push(length),
            }
            answers.len() == 2
        });
        assert_eq!(answers, [5, 0], "{family:?}");
        assert!(diary.of("it").is_empty(), "recv calls nothing");
        turn(&mut reactor);
        assert_eq!(diary.of("it"), ["eof", "close"], "{family:?}");
    }
}

/// What is due besides does not wait for another turn.
#[test]
fn an_end_that_somebody_else_has_read_and_room_to_write_are_told_in_one_turn() {
    for family in FAMILIES {
        for closes in [false, true] {
            let mut reactor = Reactor::new().unwrap();
            let diary = Diary::default();
            let (ours, mut peer) = family.pair();
            let spy = Spy::new("it", &diary)
                .on_eof(move |cx| {
                    if closes {
                        cx.close_when_done();
                    }
                    Ok(())
                })
                .on_write(|cx| {
                    cx.stop_writing();
                    Ok(())
                });
            let id = reactor.add(family.socket(ours), spy).unwrap();
            reactor.at(id).expect("added").pause_reading();
            peer.write_all(b"bytes").unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
            turn_until(&mut reactor, "the end", |reactor| {
                let end = reactor.at(id).expect("alive").recv(&mut [0; 64]);
                end.is_ok_and(|length| length == 0)
            });
            reactor.at(id).expect("alive").start_writing();
            turn(&mut reactor);
            let expected: &[&str] = if closes { &["eof"] } else { &["eof", "write"] };
            assert_eq!(diary.of("it")[..expected.len()], *expected, "{family:?}");
            settle(&mut reactor);
            assert_eq!(diary.count("it", "write"), 1, "{family:?}");
        }
    }
}

// ------------------------------------------------------------------------------ Urgent data

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Urgency {
    Ignored,
    Watched,
    Inline,
    InlineAndWatched,
}

const URGENCIES: [Urgency; 4] = [
    Urgency::Ignored,
    Urgency::Watched,
    Urgency::Inline,
    Urgency::InlineAndWatched,
];

impl Urgency {
    fn is_inline(self) -> bool {
        matches!(self, Urgency::Inline | Urgency::InlineAndWatched)
    }

    fn is_watched(self) -> bool {
        matches!(self, Urgency::Watched | Urgency::InlineAndWatched)
    }

    fn choose(self, reactor: &mut Reactor, id: impl Into<AnyId>) {
        let mut at = reactor.at(id).expect("added");
        if self.is_watched() {
            at.watch_priority();
        }
        if self.is_inline() {
            at.urgent_inline(true).expect("a stream socket");
        }
    }
}

/// How much of `ab`, urgent `!`, `cd` is in the kernel before the reactor looks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrival {
    AllBeforeTheFirstTurn,
    AllBetweenTwoTurns,
    PieceByPiece,
}

fn urgent(urgency: Urgency, arrival: Arrival, chunk: usize) -> Result<(), String> {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (ours, mut peer) = Family::Tcp.bare_pair();
    let probe = ours.try_clone().unwrap();
    let (spy, received) = reader("it", &diary, chunk);
    let id = reactor.add(Family::Tcp.bare_socket(ours), spy).unwrap();
    urgency.choose(&mut reactor, id);
    if arrival != Arrival::AllBeforeTheFirstTurn {
        settle(&mut reactor);
    }
    let inline = urgency.is_inline();
    let pause = |reactor: &mut Reactor, so_far: usize| {
        if arrival == Arrival::PieceByPiece {
            turns_until(reactor, MANY_TURNS, |_| received.borrow().len() >= so_far);
            settle(reactor);
        }
    };
    peer.write_all(b"ab").unwrap();
    pause(&mut reactor, 2);
    peer.send_out_of_band(b"!").unwrap();
    if arrival == Arrival::PieceByPiece {
        until_kernel_says_urgent_or_read(&probe, &mut reactor, &diary, inline);
    }
    pause(&mut reactor, 2 + usize::from(inline));
    peer.write_all(b"cd").unwrap();
    if arrival != Arrival::PieceByPiece {
        until_kernel_says(&probe, "urgent data", |event| event.is_priority());
        // The last two bytes were written after the urgent one; loopback keeps the order, and gives
        // them over in the write itself. A peek stops at the mark and could not tell.
    }
    drop(probe);

    let expected: &[u8] = if inline { b"ab!cd" } else { b"abcd" };
    let came = turns_until(&mut reactor, MANY_TURNS, |_| {
        received.borrow().len() >= expected.len()
    });
    settle(&mut reactor);
    let story = format!("{:?}", diary.of("it"));
    if came.is_none() {
        return Err(format!("stalls at {:?}: {story}", text(&received.borrow())));
    }
    if *received.borrow() != expected {
        return Err(format!("got {:?}: {story}", text(&received.borrow())));
    }
    let told = diary.count("it", "priority");
    if told != usize::from(urgency.is_watched()) {
        return Err(format!("{told} calls of handle_priority: {story}"));
    }
    if !ends(&diary, "it").is_empty() {
        return Err(format!("it ended: {story}"));
    }
    assert_asleep(&mut reactor, "after urgent data");

    // And the end is still found, behind it all.
    drop(peer);
    if turns_until(&mut reactor, MANY_TURNS, |reactor| reactor.count() == 0).is_none() {
        return Err(format!("the end is lost: {story}"));
    }
    Ok(())
}

/// Lets the loop turn until it has heard of the urgent byte, by whatever sign there is.
fn until_kernel_says_urgent_or_read(
    probe: &socket2::Socket,
    reactor: &mut Reactor,
    diary: &Diary,
    inline: bool,
) {
    if !inline {
        // Once the loop has read past it the kernel forgets it, so ask before the loop turns.
        until_kernel_says(probe, "urgent data", |event| event.is_priority());
    }
    let reads = diary.count("it", "read");
    turns_until(reactor, MANY_TURNS, |_| diary.count("it", "read") > reads);
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An urgent byte splits the reads around it, so a read that stops short there does not mean that the
/// socket is drained; a loop that thinks so never reads what lies behind. All that was sent may be in
/// the kernel before the loop's first turn, and then one event has told it all.
#[test]
fn urgent_data_in_any_mode_neither_stalls_nor_spins_nor_ends_the_stream() {
    let mut wrong = Vec::new();
    for urgency in URGENCIES {
        for arrival in [
            Arrival::AllBeforeTheFirstTurn,
            Arrival::AllBetweenTwoTurns,
            Arrival::PieceByPiece,
        ] {
            for chunk in [1, 2, 3, 4096] {
                if let Err(sentence) = urgent(urgency, arrival, chunk) {
                    wrong.push(format!(
                        "{urgency:?}, {arrival:?}, {chunk} a read: {sentence}"
                    ));
                }
            }
        }
    }
    assert_table(&wrong);
}

/// Two urgent bytes: the kernel knows one mark only, and the older byte falls back into the stream.
#[test]
fn a_second_urgent_byte_does_not_stall_what_follows_it() {
    for urgency in URGENCIES {
        let mut reactor = Reactor::new().unwrap();
        let diary = Diary::default();
        let (ours, mut peer) = Family::Tcp.bare_pair();
        let probe = ours.try_clone().unwrap();
        let (spy, received) = reader("it", &diary, 4096);
        let id = reactor.add(Family::Tcp.bare_socket(ours), spy).unwrap();
        urgency.choose(&mut reactor, id);
        for piece in [&b"ab"[..], b"cd", b"ef"] {
            peer.write_all(piece).unwrap();
            peer.send_out_of_band(b"!").unwrap();
        }
        peer.write_all(b"gh").unwrap();
        until_kernel_says(&probe, "urgent data", |event| event.is_priority());
        drop(probe);
        turns_until(&mut reactor, MANY_TURNS, |_| {
            received.borrow().ends_with(b"gh")
        });
        let received = received.borrow();
        let plain: Vec<u8> = received
            .iter()
            .copied()
            .filter(|byte| *byte != b'!')
            .collect();
        assert_eq!(
            text(&plain),
            "abcdefgh",
            "{urgency:?}: {:?}",
            diary.of("it")
        );
        let told = diary.count("it", "priority");
        assert_eq!(
            told >= 1,
            urgency.is_watched(),
            "{urgency:?}: told {told} times"
        );
        assert_asleep(&mut reactor, "after urgent data");
    }
}

/// Unix streams carry an urgent byte on recent Linux, marked in the stream as on TCP.
#[test]
fn urgent_data_on_a_unix_stream_does_not_stall_either() {
    for urgency in URGENCIES {
        for chunk in [1, 2, 3, 4096] {
            let cell = format!("{urgency:?}, {chunk} a read");
            let mut reactor = Reactor::new().unwrap();
            let diary = Diary::default();
            let (ours, mut peer) = Family::Unix.bare_pair();
            peer.write_all(b"ab").unwrap();
            if peer.send_out_of_band(b"!").is_err() {
                // A kernel built without it.
                return;
            }
            peer.write_all(b"cd").unwrap();
            let (spy, received) = reader("it", &diary, chunk);
            let id = reactor.add(Family::Unix.bare_socket(ours), spy).unwrap();
            urgency.choose(&mut reactor, id);
            turns_until(&mut reactor, MANY_TURNS, |_| {
                received.borrow().ends_with(b"cd")
            });
            let expected = if urgency.is_inline() { "ab!cd" } else { "abcd" };
            assert_eq!(
                text(&received.borrow()),
                expected,
                "{cell}: {:?}",
                diary.of("it")
            );
            assert_asleep(&mut reactor, &cell);
            drop(peer);
            turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
            assert_eq!(ends(&diary, "it"), ["eof", "close"], "{cell}");
        }
    }
}

/// Urgent data is told while reading is paused, once, and the bytes around it wait.
#[test]
fn urgent_data_is_told_while_reading_is_paused() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (ours, mut peer) = Family::Tcp.bare_pair();
    let (spy, received) = reader("it", &diary, 4096);
    let id = reactor.add(Family::Tcp.bare_socket(ours), spy).unwrap();
    reactor.at(id).expect("added").pause_reading();
    reactor.at(id).expect("added").watch_priority();
    peer.write_all(b"ab").unwrap();
    peer.send_out_of_band(b"!").unwrap();
    turn_until(&mut reactor, "the urgent byte", |_| {
        diary.count("it", "priority") == 1
    });
    assert_asleep(&mut reactor, "while paused");
    assert_eq!(diary.of("it"), ["priority"]);
    reactor.at(id).expect("alive").resume_reading();
    turn_until(&mut reactor, "the bytes", |_| *received.borrow() == b"ab");
}

// -------------------------------------------------------------------------------- Datagrams

/// Reads one datagram a call, notes its length and whether it was cut; stays open whatever happens.
fn datagram_spy(who: &'static str, diary: &Diary, room: usize) -> Spy {
    let notes = diary.clone();
    Spy::new(who, diary)
        .on_read(move |cx| {
            let mut buffer = vec![0; room];
            let length = cx.recv(&mut buffer)?;
            let cut = if cx.truncated() { ", cut" } else { "" };
            notes.note(who, cx.any_id(), format!("got {length}{cut}"));
            Ok(())
        })
        .on_error(|_| Ok(()))
}

fn got(diary: &Diary, who: &str) -> Vec<String> {
    let mut all = diary.of(who);
    all.retain(|noted| noted.starts_with("got"));
    all
}

/// An empty datagram reads as 0 and is no end of stream; one that does not fit is cut by the kernel
/// without a word, and has to be reported. libuv marks partial datagrams for that.
#[test]
fn empty_and_oversized_and_normal_datagrams_each_arrive_as_what_they_are() {
    let expected = ["got 0", "got 10, cut", "got 6", "got 10", "got 0"];
    let send_all = |send: &dyn Fn(&[u8])| {
        for length in [0, 100, 6, 10, 0] {
            send(&[7; 100][..length]);
        }
    };

    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let id = reactor
        .bind_udp("127.0.0.1:0", datagram_spy("udp", &diary, 10))
        .unwrap();
    let address = reactor.local_addr(id).unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    send_all(&|bytes| assert_eq!(sender.send_to(bytes, address).unwrap(), bytes.len()));
    turn_until(&mut reactor, "five UDP datagrams", |_| {
        got(&diary, "udp").len() == 5
    });
    assert_eq!(got(&diary, "udp"), expected);

    let (ours, theirs) = UnixDatagram::pair().unwrap();
    reactor.add(ours, datagram_spy("unix", &diary, 10)).unwrap();
    send_all(&|bytes| assert_eq!(theirs.send(bytes).unwrap(), bytes.len()));
    turn_until(&mut reactor, "five Unix datagrams", |_| {
        got(&diary, "unix").len() == 5
    });
    assert_eq!(got(&diary, "unix"), expected);

    assert_asleep(&mut reactor, "after the last datagram");
    for who in ["udp", "unix"] {
        assert!(
            ends(&diary, who).is_empty(),
            "an empty datagram is no end: {:?}",
            diary.of(who)
        );
    }
    assert_eq!(reactor.count(), 2);
}

/// What a `recv` says on a datagram socket when there is nothing, or no room.
#[test]
fn nothing_and_an_empty_datagram_and_an_empty_buffer_are_three_answers_on_a_datagram_socket() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    let id = reactor
        .add(ours, Spy::new("it", &diary).on_read(|_| Ok(())))
        .unwrap();
    let kind = |outcome: io::Result<usize>| outcome.map_err(|error| error.kind());
    reactor.inject(id, Bits::READABLE);
    turn(&mut reactor);
    let mut at = reactor.at(id).expect("added");
    assert_eq!(kind(at.recv(&mut [])), Err(io::ErrorKind::InvalidInput));
    assert_eq!(kind(at.recv(&mut [0; 8])), Err(io::ErrorKind::WouldBlock));
    assert_eq!(kind(at.recv(&mut [0; 8])), Err(io::ErrorKind::WouldBlock));
    theirs.send(&[]).unwrap();
    theirs.send(b"a").unwrap();
    turn_until(&mut reactor, "a call", |_| diary.count("it", "read") > 1);
    let mut at = reactor.at(id).expect("alive");
    assert_eq!(kind(at.recv(&mut [])), Err(io::ErrorKind::InvalidInput));
    assert_eq!(kind(at.recv(&mut [0; 8])), Ok(0));
    assert_eq!(
        kind(at.recv(&mut [0; 8])),
        Ok(1),
        "an empty datagram hides nothing"
    );
    assert_eq!(kind(at.recv(&mut [0; 8])), Err(io::ErrorKind::WouldBlock));
    at.close();
    assert!(
        reactor.at(id).is_none(),
        "a datagram socket is closed at once"
    );
    turn(&mut reactor);
    assert_eq!(ends(&diary, "it"), ["close"]);
}

/// libuv 84305d856: the refusal of a datagram comes as an event of its own, an error and nothing else,
/// on a socket that is none the worse for it.
#[test]
fn a_refused_destination_is_one_error_and_the_datagram_socket_goes_on() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    // A socket that listens to somebody else only: its port refuses us, and nobody else can get it.
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.connect(peer.local_addr().unwrap()).unwrap();
    let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
    ours.connect(peer.local_addr().unwrap()).unwrap();
    let address = ours.local_addr().unwrap();
    let id = reactor.add(ours, datagram_spy("it", &diary, 64)).unwrap();
    settle(&mut reactor);
    reactor.at(id).expect("added").send(b"anybody?").unwrap();
    turn_until(&mut reactor, "the refusal", |_| {
        diary.count("it", "error") > 0
    });
    settle(&mut reactor);
    assert_eq!(ends(&diary, "it"), ["error ConnectionRefused"]);
    assert_asleep(&mut reactor, "after the refusal");

    // It turns to us, and all is well.
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    peer.connect(address).unwrap();
    peer.send(b"yes").unwrap();
    turn_until(&mut reactor, "the answer", |_| {
        got(&diary, "it") == ["got 3"]
    });
    reactor.at(id).expect("alive").send(b"good").unwrap();
    let mut buffer = [0; 8];
    assert_eq!(peer.recv(&mut buffer).unwrap(), 4);
    assert_eq!(
        ends(&diary, "it"),
        ["error ConnectionRefused"],
        "one error, no more"
    );
}

/// The default `handle_error` closes a connection, but a datagram socket has none to lose.
#[test]
fn a_datagram_socket_with_default_callbacks_survives_a_refusal() {
    struct Default;
    impl Dispatcher for Default {}
    let mut reactor = Reactor::new().unwrap();
    let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
    let refusing = UdpSocket::bind("127.0.0.1:0").unwrap();
    refusing.connect(refusing.local_addr().unwrap()).unwrap();
    ours.connect(refusing.local_addr().unwrap()).unwrap();
    let id = reactor.add(ours, Default).unwrap();
    reactor.at(id).expect("added").send(b"anybody?").unwrap();
    turn_until(&mut reactor, "the refusal", |reactor| {
        reactor.counters().errors == 1
    });
    assert_asleep(&mut reactor, "after the refusal");
    assert_eq!(reactor.count(), 1);
}

/// A connected Unix datagram socket is told of its peer's going away as a reset; that is an error of
/// one datagram, not the end of the socket.
#[test]
fn a_unix_datagram_socket_survives_its_peer() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    let id = reactor.add(ours, datagram_spy("it", &diary, 64)).unwrap();
    theirs.send(b"last words").unwrap();
    reactor.at(id).expect("added").send(b"never read").unwrap();
    drop(theirs);
    turn_until(&mut reactor, "the last words", |_| {
        got(&diary, "it") == ["got 10"]
    });
    assert_asleep(&mut reactor, "after the peer has gone");
    assert_eq!(reactor.count(), 1, "{:?}", diary.of("it"));
    assert!(reactor.at(id).expect("alive").send(b"anybody?").is_err());
    assert_asleep(&mut reactor, "after a refused send");
    assert_eq!(diary.count("it", "close"), 0);
}

// -------------------------------------------------------------------------- Foreign sources

/// A source that the crate knows nothing of: counts how often it is read.
struct Foreign {
    stream: mio::net::UnixStream,
    reads: usize,
}

impl Source for Foreign {
    fn register(&mut self, registry: &Registry, token: Token, of: Interest) -> io::Result<()> {
        self.stream.register(registry, token, of)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, of: Interest) -> io::Result<()> {
        self.stream.reregister(registry, token, of)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.stream.deregister(registry)
    }
}

fn foreign_pair() -> (Socket, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_read_timeout(Some(DEADLINE)).unwrap();
    let stream = mio::net::UnixStream::from_std(ours);
    (Socket::foreign(Foreign { stream, reads: 0 }), theirs)
}

/// Level semantics hold for foreign sources as well: until the closure says `WouldBlock` there is
/// another `handle_read` in every turn, and after it none.
#[test]
fn a_foreign_source_is_read_until_it_says_would_block_and_then_left_alone() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let received: Rc<RefCell<Vec<u8>>> = Rc::default();
    let kept = Rc::clone(&received);
    let (source, mut peer) = foreign_pair();
    let spy = Spy::new("it", &diary).on_read(move |cx| {
        let mut buffer = [0; 7];
        let length = cx.read_with(|foreign: &mut Foreign| {
            foreign.reads += 1;
            foreign.stream.read(&mut buffer)
        })?;
        if length == 0 {
            cx.close();
        }
        kept.borrow_mut().extend_from_slice(&buffer[..length]);
        Ok(())
    });
    let id = reactor.add(source, spy).unwrap();
    assert_asleep(&mut reactor, "while nothing is there");
    assert!(diary.of("it").is_empty());

    let sent = pattern(9, 100);
    peer.write_all(&sent).unwrap();
    turn_until(&mut reactor, "all bytes", |_| {
        received.borrow().len() == 100
    });
    assert!(*received.borrow() == sent);
    assert_asleep(&mut reactor, "when it is drained");
    let reads = diary.count("it", "read");
    assert_eq!(
        reads,
        100usize.div_ceil(7) + 1,
        "one call a chunk, and one for WouldBlock"
    );
    let again = reactor
        .at(id)
        .expect("alive")
        .read_with(|foreign: &mut Foreign| -> io::Result<usize> { panic!("{}", foreign.reads) });
    assert_eq!(
        again.unwrap_err().kind(),
        io::ErrorKind::WouldBlock,
        "and nobody was asked"
    );

    drop(peer);
    turn_until(&mut reactor, "the hang-up", |reactor| reactor.count() == 0);
    assert_eq!(
        ends(&diary, "it"),
        ["close"],
        "only its dispatcher knows what an end is"
    );
}

/// Writing to a foreign source: a turn of `handle_write` while it takes more, none while it is full,
/// and another when there is room again.
#[test]
fn a_foreign_source_is_written_while_it_takes_more() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (source, mut peer) = foreign_pair();
    let written = Rc::new(RefCell::new(0));
    let count = Rc::clone(&written);
    let spy = Spy::new("it", &diary).on_write(move |cx| {
        let length = cx.write_with(|foreign: &mut Foreign| foreign.stream.write(&[1; 10_000]))?;
        *count.borrow_mut() += length;
        Ok(())
    });
    let id = reactor.add(source, spy).unwrap();
    assert_asleep(&mut reactor, "while writing is not asked for");
    reactor.at(id).expect("added").start_writing();
    settle(&mut reactor);
    assert_asleep(&mut reactor, "when it is full");
    let first = *written.borrow();
    assert!(first > 0);
    let mut back = vec![0; first];
    peer.read_exact(&mut back).unwrap();
    turn_until(&mut reactor, "more to be written", |_| {
        *written.borrow() > first
    });
    reactor.at(id).expect("alive").stop_writing();
    let second = *written.borrow() - first;
    peer.read_exact(&mut vec![0; second]).unwrap();
    assert_asleep(&mut reactor, "when writing is no longer asked for");
    assert_eq!(*written.borrow(), first + second);
}

#[test]
fn a_foreign_source_answers_only_to_its_own_type_and_verbs() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (source, mut peer) = foreign_pair();
    let foreign = reactor
        .add(source, Spy::new("foreign", &diary).on_read(|_| Ok(())))
        .unwrap();
    let (ours, _tcp_peer) = Family::Tcp.pair();
    let stream = reactor
        .add(Family::Tcp.socket(ours), Spy::new("stream", &diary))
        .unwrap();
    peer.write_all(b"x").unwrap();
    turn_until(&mut reactor, "input", |_| {
        diary.count("foreign", "read") > 0
    });
    let kind = |outcome: io::Result<usize>| outcome.unwrap_err().kind();
    let mut at = reactor.at(foreign).expect("added");
    let wrong_type = at.read_with(|other: &mut pipe::Receiver| other.read(&mut [0; 8]));
    let wrong_type = wrong_type.unwrap_err();
    assert_eq!(wrong_type.kind(), io::ErrorKind::Unsupported);
    let text = wrong_type.to_string();
    assert!(text.contains("a source of another type"), "{text}");
    assert_eq!(kind(at.recv(&mut [0; 8])), io::ErrorKind::Unsupported);
    assert_eq!(kind(at.send(b"x").map(|()| 1)), io::ErrorKind::Unsupported);
    assert_eq!(
        kind(at.urgent_inline(true).map(|()| 1)),
        io::ErrorKind::Unsupported
    );
    let mut at = reactor.at(stream).expect("added");
    let no_foreign = at.read_with(|foreign: &mut Foreign| foreign.stream.read(&mut [0; 8]));
    assert_eq!(kind(no_foreign), io::ErrorKind::Unsupported);

    // After the close it is out of reach, also for closures.
    let closing = Spy::new("closing", &diary).on_close(|cx| {
        let late = cx.read_with(|foreign: &mut Foreign| foreign.stream.read(&mut [0; 8]));
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::NotConnected);
        Ok(())
    });
    let notes = diary.clone();
    let closing = closing.on_read(move |cx| {
        cx.close();
        let late = cx.read_with(|foreign: &mut Foreign| foreign.stream.read(&mut [0; 8]));
        notes.note(
            "closing",
            cx.any_id(),
            format!("{:?}", late.map_err(|e| e.kind())),
        );
        Ok(())
    });
    let (source, mut peer) = foreign_pair();
    reactor.add(source, closing).unwrap();
    peer.write_all(b"x").unwrap();
    turn_until(&mut reactor, "the close", |_| {
        diary.count("closing", "close") > 0
    });
    assert_eq!(diary.of("closing"), ["read", "Err(NotConnected)", "close"]);
    assert_eq!(reactor.counters().panics, 0);
}

/// Nobody but its dispatcher can read a foreign source, so a dispatcher that does not must not be asked
/// in every turn for ever.
#[test]
fn a_foreign_source_that_nobody_reads_does_not_keep_the_loop_awake() {
    struct Default;
    impl Dispatcher for Default {}
    let mut reactor = Reactor::new().unwrap();
    let (source, mut peer) = foreign_pair();
    reactor.add(source, Default).unwrap();
    peer.write_all(b"unread").unwrap();
    turn_until(&mut reactor, "the event", |reactor| {
        reactor.counters().callbacks > 0
    });
    assert_asleep(&mut reactor, "with input that nobody reads");
    drop(peer);
    assert_asleep(&mut reactor, "with a hang-up that nobody notices");
    assert_eq!(reactor.count(), 1);
}

// ----------------------------------------------------------------------------- Paused readers

/// One cell: paused, the peer sends and ends as `ending` says, resumed after so many turns.
fn paused(family: Family, ending: Ending, resume_after: Option<usize>) -> Result<(), String> {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (ours, mut peer) = family.pair();
    prepare_to_break_off(family, &ours);
    let probe = below(&ours).try_clone().unwrap();
    let (spy, received) = reader("it", &diary, 7);
    let id = reactor.add(family.socket(ours), spy).unwrap();
    reactor.at(id).expect("added").pause_reading();
    settle(&mut reactor);
    let sent = pattern(4, 100);
    peer.write_all(&sent).unwrap();
    until_arrived(&probe, length_below(sent.len()));
    let mut kept = None;
    match ending {
        Ending::None => kept = Some(peer),
        Ending::Fin => {
            peer.shutdown(Shutdown::Write).unwrap();
            until_kernel_says(&probe, "end of stream", |event| event.is_read_closed());
            kept = Some(peer);
        }
        Ending::Rst => {
            break_off(family, peer);
            until_kernel_says(&probe, "reset", |event| event.is_error());
        }
    }
    drop(probe);
    let story = || format!("{:?}", diary.of("it"));
    if ending == Ending::Rst {
        // An error pierces the pause, resumed or not.
        let turns = turns_until(&mut reactor, 10, |reactor| reactor.count() == 0);
        drop(kept);
        return match (turns, &diary.of("it")[..]) {
            (Some(..=2), [close]) if close == "close" => Ok(()),
            _ => Err(format!("closed within two turns, {turns:?}: {}", story())),
        };
    }
    for _ in 0..resume_after.unwrap_or(20) {
        turn_for(&mut reactor, Duration::from_millis(1));
    }
    if !diary.of("it").is_empty() {
        return Err(format!("called while paused: {}", story()));
    }
    reactor.take_waits();
    let before = reactor.counters().events;
    if resume_after.is_none() {
        assert_asleep(&mut reactor, "while paused");
        return Ok(());
    }
    // No event may be needed from here on: whatever the kernel had to say it has said.
    reactor.at(id).expect("alive").resume_reading();
    let limit = sent.len().div_ceil(7) + 3;
    let done = turns_until(&mut reactor, limit, |reactor| match ending {
        Ending::None => received.borrow().len() == sent.len(),
        Ending::Fin | Ending::Rst => reactor.count() == 0,
    });
    drop(kept);
    if done.is_none() || *received.borrow() != sent {
        return Err(format!(
            "{} bytes of 100: {}",
            received.borrow().len(),
            story()
        ));
    }
    if ending == Ending::None && reactor.counters().events != before {
        return Err("it took a new event".to_owned());
    }
    let expected: &[&str] = if ending == Ending::Fin {
        &["eof", "close"]
    } else {
        &[]
    };
    if ends(&diary, "it") != expected {
        return Err(format!("exactly one end: {}", story()));
    }
    Ok(())
}

/// gnirehtet #208 and fuse-backend-rs #62 could not express "not now" on edges; lori #306 lost an event
/// that came while reads were muted.
#[test]
fn what_arrives_during_a_pause_is_delivered_after_it_and_a_reset_ends_it() {
    let mut wrong = Vec::new();
    for family in FAMILIES {
        for ending in [Ending::None, Ending::Fin, Ending::Rst] {
            for resume_after in [Some(1), Some(100), None] {
                if let Err(sentence) = paused(family, ending, resume_after) {
                    wrong.push(format!(
                        "{family:?}: data and {ending:?}, resumed after {resume_after:?}: {sentence}"
                    ));
                }
            }
        }
    }
    assert_table(&wrong);
}

/// Under a pause that flow control made, what has arrived is delivered first, when the sink has room:
/// the data of a source that was reset meanwhile must not vanish with it.
#[test]
fn input_held_by_flow_control_is_delivered_before_the_reset_that_came_meanwhile() {
    for family in FAMILIES {
        for ending in [Ending::Fin, Ending::Rst] {
            let cell = format!("{family:?}, {ending:?}");
            let mut reactor = Reactor::new().unwrap();
            let diary = Diary::default();
            let (ours, mut sink_peer) = family.pair();
            let sink = reactor
                .add(family.socket(ours), Spy::new("sink", &diary))
                .unwrap();
            let (ours, mut source_peer) = family.pair();
            if ending == Ending::Rst {
                prepare_to_break_off(family, &ours);
            }
            let probe = below(&ours).try_clone().unwrap();
            let (spy, received) = reader("source", &diary, 7);
            let source = reactor.add(family.socket(ours), spy).unwrap();
            reactor.at(source).expect("added").feeds(sink);
            // The kernel's buffers first, then the sink's own, until it is over its high mark.
            let mut filled = 0;
            while reactor.at(sink).expect("added").queued() <= 64 << 10 {
                reactor
                    .at(sink)
                    .expect("added")
                    .send(&[0; 32 << 10])
                    .unwrap();
                filled += 32 << 10;
                settle(&mut reactor);
            }
            // Over TLS it has looked for what came with the handshake.
            diary.clear();

            let sent = pattern(4, 100);
            source_peer.write_all(&sent).unwrap();
            until_arrived(&probe, length_below(sent.len()));
            match ending {
                Ending::Rst => {
                    break_off(family, source_peer);
                    until_kernel_says(&probe, "reset", |event| event.is_error());
                }
                Ending::Fin | Ending::None => {
                    drop(source_peer);
                    until_kernel_says(&probe, "the end", |event| event.is_read_closed());
                }
            }
            drop(probe);
            assert_asleep(&mut reactor, "while the source is held");
            assert!(
                diary.of("source").is_empty(),
                "{cell}: {:?}",
                diary.of("source")
            );
            assert_eq!(reactor.count(), 2, "{cell}");

            let reading = std::thread::spawn(move || {
                sink_peer
                    .read_exact(&mut vec![0; filled])
                    .expect("the sink sends it all");
                sink_peer
            });
            turn_until(&mut reactor, "the source to end", |reactor| {
                reactor.count() == 1
            });
            assert!(
                *received.borrow() == sent,
                "{cell}: {:?}",
                diary.of("source")
            );
            let expected: &[&str] = if ending == Ending::Fin {
                &["eof", "close"]
            } else {
                &["close"]
            };
            assert_eq!(ends(&diary, "source"), expected, "{cell}");
            turn_until(&mut reactor, "the sink's reader", |_| reading.is_finished());
            reading.join().unwrap();
        }
    }
}

// -------------------------------------------------------------------------------- Interrupted

const CHILD: &str = "SLABLOOP_INTERRUPTED_CHILD";

/// The other half of `signals_and_a_stop_lose_no_byte_and_make_no_timer_early`: echoes to itself until
/// it is told to stop, and fails if anything goes wrong meanwhile.
#[test]
#[ignore = "the child process of another test"]
fn interrupted_child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let mut signals = 0;
    let stop = Arc::new(AtomicBool::new(false));
    let rounds = Arc::new(AtomicU32::new(0));
    // Just the handler's presence makes the wait come back with EINTR; the count shows that it ran.
    let flag = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::clone(&flag)).unwrap();
    let mut reactor = Reactor::new().unwrap();
    let (_, address) = serve(&mut reactor, || Echo);
    let early = Rc::new(RefCell::new(Vec::new()));
    arm(&mut reactor, Rc::clone(&early));

    let client = {
        let (stop, rounds) = (Arc::clone(&stop), Arc::clone(&rounds));
        std::thread::spawn(move || {
            let stream = TcpStream::connect(address).expect("loopback connects");
            stream.set_read_timeout(Some(DEADLINE)).expect("a time");
            let mut stream = over::client(stream);
            while !stop.load(Ordering::Relaxed) {
                let sent = rounds.load(Ordering::Relaxed).to_le_bytes();
                stream.write_all(&sent).expect("the echo reads");
                let mut back = [0; 4];
                stream.read_exact(&mut back).expect("the echo answers");
                assert_eq!(back, sent);
                rounds.fetch_add(1, Ordering::Relaxed);
                // Leaves the loop asleep for a while, so that signals find it in its wait.
                std::thread::sleep(Duration::from_micros(500));
            }
        })
    };
    let ended = Arc::clone(&stop);
    std::thread::spawn(move || {
        let mut line = String::new();
        io::stdin()
            .read_line(&mut line)
            .expect("the parent says when");
        ended.store(true, Ordering::Relaxed);
    });
    // Where the signals go: to the thread that waits.
    let thread = std::fs::read_link("/proc/thread-self").unwrap();
    println!(
        "\nwaiting in {}",
        thread.file_name().unwrap().to_str().unwrap()
    );
    let mut has_had_enough = false;
    while !stop.load(Ordering::Relaxed) {
        turn_for(&mut reactor, Duration::from_millis(50));
        signals += usize::from(flag.swap(false, Ordering::Relaxed));
        let are_many = signals >= 100 && rounds.load(Ordering::Relaxed) >= 100;
        if are_many && early.borrow().len() >= 10 && !has_had_enough {
            has_had_enough = true;
            println!("\nenough");
        }
    }
    let deadline = Instant::now() + DEADLINE;
    while !client.is_finished() {
        assert!(Instant::now() < deadline, "the client ends");
        turn(&mut reactor);
    }
    client.join().expect("every byte comes back");
    let rounds = rounds.load(Ordering::Relaxed);
    let counters = reactor.counters();
    assert_eq!(counters.errors, 0);
    assert_eq!(counters.bytes_out, u64::from(rounds) * 4);
    let early = early.borrow();
    assert!(
        early.iter().all(|left| *left == Duration::ZERO),
        "a timer was early: {early:?}"
    );
    println!(
        "\nended with {signals} interrupted turns, {} timers, {rounds} rounds",
        early.len()
    );
}

/// A timer of 100 ms that sets itself again; how much too early each firing was.
fn arm(reactor: &mut Reactor, early: Rc<RefCell<Vec<Duration>>>) {
    const PERIOD: Duration = Duration::from_millis(100);
    let armed = Instant::now();
    reactor.call_later(PERIOD, move |reactor| {
        early
            .borrow_mut()
            .push(PERIOD.saturating_sub(armed.elapsed()));
        arm(reactor, early);
    });
}

/// redis a8b6596d2 retried every error of the wait; others let EINTR end the loop, or waited for the
/// full time again. A thousand signals a second, until a hundred have found the loop; then the whole process stopped and
/// continued.
#[test]
fn signals_and_a_stop_lose_no_byte_and_make_no_timer_early() {
    let mut child = OwnChild(
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "interrupted_child", "--nocapture", "--ignored"])
            .env(CHILD, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut lines = BufReader::new(child.0.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let thread = lines
        .find_map(|line| line.strip_prefix("waiting in ").map(str::to_owned))
        .expect("the child starts");

    // One signal for each line; the shell's own `kill`, since that needs no process of its own.
    let mut shell = OwnChild(
        Command::new("sh")
            .args([
                "-c",
                "while read _; do kill -USR1 \"$0\" || exit 1; done",
                &thread,
            ])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut orders = shell.0.stdin.take().unwrap();
    // A busy machine delivers fewer than it was asked for, several at once.
    let enough = std::thread::spawn(move || {
        lines.find(|line| line == "enough");
        lines
    });
    let deadline = Instant::now() + DEADLINE;
    while !enough.is_finished() {
        assert!(Instant::now() < deadline, "signals do not arrive");
        orders.write_all(b"\n").expect("the child lives");
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(orders);
    let mut lines = enough.join().expect("lines of text");
    assert!(
        shell.0.wait().unwrap().success(),
        "every signal found the child"
    );

    for signal in ["-STOP", "-CONT"] {
        let sent = Command::new("sh")
            .args([
                "-c",
                "kill \"$0\" \"$1\"",
                signal,
                &child.0.id().to_string(),
            ])
            .status()
            .unwrap();
        assert!(sent.success());
        std::thread::sleep(Duration::from_millis(200));
    }
    child.0.stdin.take().unwrap().write_all(b"end\n").unwrap();
    let report = lines
        .find(|line| line.starts_with("ended with "))
        .expect("the child got through it; its own message is above");
    lines.for_each(drop);
    assert!(child.0.wait().unwrap().success(), "{report}");
}

/// A process that does not outlive its test.
struct OwnChild(Child);

impl Drop for OwnChild {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the poller does with an interrupted wait is seen from outside above; that other failures are
/// not taken for one is seen here.
#[test]
fn any_other_failure_of_the_wait_ends_the_loop_with_that_error() {
    struct Failing(Rc<RefCell<usize>>);
    impl slabloop::testing::SimKernel for Failing {
        fn wait(&mut self, _: Option<Duration>, _: &mut Vec<(Token, u32)>) -> io::Result<()> {
            *self.0.borrow_mut() += 1;
            Err(io::Error::from_raw_os_error(9))
        }
    }
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (_, _peer): (Id<Spy>, _) = spied_pair(&mut reactor, Spy::new("it", &diary));
    let waits = Rc::new(RefCell::new(0));
    reactor.set_kernel(Box::new(Failing(Rc::clone(&waits))));
    let error = reactor.run().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(9), "{error}");
    assert_eq!(*waits.borrow(), 1, "it was not tried again");
    drop(reactor);
    assert_eq!(diary.of("it"), ["close"]);
}

/// What `recv_now` finds. Not even on loopback is what was sent always there when `write` returns: the kernel may deliver it
/// a moment later.
fn found_now(reactor: &mut Reactor, id: impl Into<AnyId>) -> io::Result<usize> {
    let (id, deadline) = (id.into(), Instant::now() + DEADLINE);
    loop {
        match reactor.at(id).unwrap().recv_now(&mut [0; 8]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                assert!(Instant::now() < deadline, "nothing arrives");
                std::thread::yield_now();
            }
            outcome => return outcome,
        }
    }
}

/// Without an event `recv` says "not now", and does not ask; `recv_now` asks. In both families: bytes, the end of the
/// stream, and bytes that do not fit, whose rest is served as ever.
#[test]
fn recv_now_finds_what_no_event_has_told_of_yet() {
    for family in [Family::Tcp, Family::Unix] {
        let mut reactor = Reactor::new().unwrap();
        let spy = Spy::new("it", &Diary::default());
        let received = spy.received();
        let (ours, mut peer) = family.pair();
        let id = reactor.add(family.socket(ours), spy).unwrap();
        settle(&mut reactor);
        let mut buffer = [0; 8];
        let mut cx = reactor.at(id).unwrap();
        for outcome in [cx.recv(&mut buffer), cx.recv_now(&mut buffer)] {
            assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        }
        peer.write_all(b"more than eight").unwrap();
        assert_eq!(
            cx.recv(&mut buffer).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        assert_eq!(found_now(&mut reactor, id).unwrap(), 8);
        turn_until(&mut reactor, "the rest", |_| received.borrow().len() == 7);
        settle(&mut reactor);
        drop(peer);
        assert_eq!(found_now(&mut reactor, id).unwrap(), 0, "{family:?}");
        turn_until(&mut reactor, "its close", |reactor| reactor.count() == 0);
    }
}

/// The last callback of the turn before was the connection's own, which has nothing to do with who reads now.
#[test]
fn a_reset_that_is_found_between_two_turns_ends_the_connection() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (id, mut peer) = spied_pair(&mut reactor, Spy::new("it", &diary));
    peer.write_all(b"x").unwrap();
    turn_until(&mut reactor, "its callback", |_| {
        diary.count("it", "read") == 1
    });
    reset(peer);
    let error = found_now(&mut reactor, id).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    reactor.check_invariants();
    turn_until(&mut reactor, "its close", |reactor| reactor.count() == 0);
}
