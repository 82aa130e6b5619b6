//! Buffers and the peers that would fill them: the hard cap whoever sends, writes that the kernel takes
//! in part, resets in the middle, two who wait for each other, and pauses that must neither flutter nor
//! be forgotten.
//!
//! Where it matters how much is taken and when, the streams are simulated; elsewhere they are real, with
//! small kernel buffers, so that a peer cannot hide behind them. Deadlines run on a simulated clock.

#[cfg_attr(feature = "tls", path = "util/tls.rs")]
#[cfg_attr(not(feature = "tls"), path = "util/plain.rs")]
mod over;
mod util;
#[path = "util/wire.rs"]
mod wire;

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use over::{Ours, Peer, join_both, reset, secured, serve, tcp_pair, unix_pair};
use proptest::prelude::*;
use slabloop::framing::{Framed, Framing, Handler, Terminator};
use slabloop::testing::{Bits, SimClock};
use slabloop::{AnyId, Context, Dispatcher, Id, Reactor, TimerId};
use util::*;
use wire::Wire;

const SECOND: Duration = Duration::from_secs(1);
const NANOSECOND: Duration = Duration::from_nanos(1);
const SMALL_BUFFER: usize = 4096;

fn look(reactor: &mut Reactor) {
    turn_for(reactor, Duration::ZERO);
}

/// A Unix pair whose kernel buffers are small.
fn narrow_sockets() -> (UnixStream, UnixStream) {
    let (one, other) = UnixStream::pair().expect("descriptors");
    for end in [&one, &other] {
        let end = socket2::SockRef::from(end);
        end.set_send_buffer_size(SMALL_BUFFER).expect("a socket");
        end.set_recv_buffer_size(SMALL_BUFFER).expect("a socket");
    }
    (one, other)
}

/// Of such a pair one end for the reactor, and one for the test.
fn narrow_pair() -> (Ours<UnixStream>, Peer<UnixStream>) {
    secured(narrow_sockets())
}

// ---------------------------------------------------------------------------------------------------
// The reader that does not read.

/// A handler that tells the diary its end, as a spy does.
struct Told(Diary);

impl Handler for Told {
    fn found_terminator(
        &mut self,
        _: &mut Context<'_>,
        _: &mut Framing,
        _: &[u8],
    ) -> io::Result<()> {
        Ok(())
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        let text = format!("error {:?}", error.kind());
        self.0.note("target", cx.any_id(), text);
        cx.close();
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        self.0.note("target", cx.any_id(), "close");
    }
}

const MESSAGE: [u8; 7_000] = [b'm'; 7_000];

/// Has one more message sent to the target.
type Push = Box<dyn FnMut(&mut Reactor)>;

/// Adds a target that takes nothing, and says how to send to it.
type Way = fn(&mut Reactor, &Wire, Spy) -> (AnyId, Push);

fn framed_target(reactor: &mut Reactor, wire: &Wire, spy: &Spy) -> Id<Framed<Told>> {
    let framed = Framed::new(Terminator::Line, Told(spy.diary.clone())).expect("a good terminator");
    reactor.add(wire.socket(), framed).expect("a stream")
}

const WAYS: [(&str, Way); 9] = [
    ("send in its own callback", |reactor, wire, spy| {
        let spy = spy.on_read(|cx| {
            cx.recv(&mut [0; 1])?;
            cx.send(&MESSAGE)
        });
        let id = reactor.add(wire.socket(), spy).expect("a stream").any();
        reactor.at(id).expect("open").feeds_nobody();
        let wire = wire.clone();
        (id, Box::new(move |reactor| wire.input(reactor, id, b"x")))
    }),
    (
        "at(id).send in a sibling's callback",
        |reactor, wire, spy| {
            let id = reactor.add(wire.socket(), spy).expect("a stream").any();
            let sibling_wire = Wire::open();
            let sibling = Spy::new("sibling", &Diary::default()).on_read(move |cx| {
                cx.recv(&mut [0; 1])?;
                // Passed on, it must not harm the one whose callback this is.
                cx.at(id).map_or(Ok(()), |mut target| target.send(&MESSAGE))
            });
            let sibling = reactor
                .add(sibling_wire.socket(), sibling)
                .expect("a stream");
            (
                id,
                Box::new(move |reactor| {
                    assert!(reactor.at(sibling).is_some(), "the sender is not harmed");
                    sibling_wire.input(reactor, sibling, b"x");
                }),
            )
        },
    ),
    ("at(id).send of the reactor", |reactor, wire, spy| {
        let id = reactor.add(wire.socket(), spy).expect("a stream").any();
        let push = move |reactor: &mut Reactor| {
            if let Err(error) = reactor.at(id).expect("open").send(&MESSAGE) {
                assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
                assert!(error.to_string().contains(&format!("Spy {id}")), "{error}");
            }
        };
        (id, Box::new(push))
    }),
    ("broadcast", |reactor, wire, spy| {
        let id = reactor.add(wire.socket(), spy).expect("a stream").any();
        let push = move |reactor: &mut Reactor| {
            reactor.at(id).expect("open").broadcast([id], &MESSAGE);
        };
        (id, Box::new(push))
    }),
    ("send in a closure of with", |reactor, wire, spy| {
        let id = reactor.add(wire.socket(), spy).expect("a stream");
        let push = move |reactor: &mut Reactor| {
            // The refusal is ignored: the connection ends all the same.
            let _ = reactor.with(id, |_, cx| cx.send(&MESSAGE));
        };
        (id.any(), Box::new(push))
    }),
    ("send in a posted closure", |reactor, wire, spy| {
        let id = reactor.add(wire.socket(), spy).expect("a stream").any();
        let push = move |reactor: &mut Reactor| {
            let job = move |reactor: &mut Reactor| {
                let _ = reactor.at(id).expect("open").send(&MESSAGE);
            };
            assert!(reactor.handle().post(job).is_ok());
        };
        (id, Box::new(push))
    }),
    ("push of the framing layer", |reactor, wire, spy| {
        let id = framed_target(reactor, wire, &spy);
        let push = move |reactor: &mut Reactor| {
            let _ = reactor.with(id, |framed, cx| framed.framing().push(cx, &MESSAGE));
        };
        (id.any(), Box::new(push))
    }),
    ("push_record of the framing layer", |reactor, wire, spy| {
        let id = framed_target(reactor, wire, &spy);
        let push = move |reactor: &mut Reactor| {
            let _ = reactor.with(id, |framed, cx| framed.framing().push_record(cx, &MESSAGE));
        };
        (id.any(), Box::new(push))
    }),
    ("push behind a producer", |reactor, wire, spy| {
        let id = framed_target(reactor, wire, &spy);
        reactor.with(id, |framed, cx| {
            framed.framing().push_producer(cx, io::repeat(b'p'));
        });
        let push = move |reactor: &mut Reactor| {
            let _ = reactor.with(id, |framed, cx| framed.framing().push(cx, &MESSAGE));
        };
        (id.any(), Box::new(push))
    }),
];

/// CVE-2024-12254: one of asyncio's ways into the write buffer forgot to look at its limit, and a peer
/// that did not read could have it grow until the process died. So every way is tried here.
#[test]
fn whoever_reads_nothing_is_closed_at_the_hard_cap_whichever_call_it_was() {
    const CAP: usize = 200_000;
    for (name, way) in WAYS {
        let mut reactor = Reactor::builder().hard_cap(CAP).build().expect("marks");
        let diary = Diary::default();
        let bystander = Wire::open();
        let bystander_id = reactor.add(bystander.socket(), Echo).expect("a stream");
        let (id, mut push) = way(&mut reactor, &Wire::new(0), Spy::new("target", &diary));
        let mut pushed = 0;
        while reactor.at(id).is_some() {
            push(&mut reactor);
            pushed += MESSAGE.len();
            look(&mut reactor);
            // That the outbox is within its cap is an invariant, checked after each turn.
            assert!(
                pushed <= CAP + MESSAGE.len(),
                "{name}: {pushed} bytes taken"
            );
        }
        assert!(pushed > CAP - HIGH, "{name}: closed too early, at {pushed}");
        let mut ends = diary.of("target");
        ends.retain(|note| note != "read");
        assert_eq!(ends, ["error QuotaExceeded", "close"], "{name}");
        assert_eq!(reactor.memory().0, 0, "{name}: nothing is kept for it");
        assert_eq!(reactor.counters().over_cap, 1, "{name}");
        bystander.input(&mut reactor, bystander_id, b"hello");
        look(&mut reactor);
        assert_eq!(bystander.output(), b"hello", "{name}");
    }
}

const HIGH: usize = 64 * 1024;

/// A hundred readers on real sockets, of whom one reads nothing.
#[test]
fn one_of_a_hundred_that_reads_nothing_is_closed_and_the_others_get_every_byte() {
    let mut reactor = Reactor::new().expect("a poller");
    let diary = Diary::default();
    let mut readers = Vec::new();
    let mut ids = Vec::new();
    for i in 0..100 {
        let (ours, reader) = narrow_pair();
        reader.set_nonblocking(true).expect("a socket");
        let who = if i == 42 { "silent" } else { "reader" };
        ids.push(over::add(&mut reactor, ours, Spy::new(who, &diary)));
        readers.push((reader, 0));
    }
    let message = pattern(9, 10_000);
    let endless = message.repeat(3);
    let mut buffer = vec![0; 2 * message.len()];
    for round in 0..200 {
        reactor
            .at(ids[0])
            .expect("open")
            .broadcast(ids.iter().copied(), &message);
        let sent = (round + 1) * message.len();
        let everybody_has_it = |readers: &mut [(Peer<UnixStream>, usize)], buffer: &mut [u8]| {
            for (i, (reader, position)) in readers.iter_mut().enumerate() {
                while i != 42 && *position < sent {
                    let Ok(count) = reader.read(buffer) else {
                        break;
                    };
                    let place = *position % message.len();
                    assert!(buffer[..count] == endless[place..place + count]);
                    *position += count;
                }
            }
            readers
                .iter()
                .enumerate()
                .all(|(i, (_, p))| i == 42 || *p == sent)
        };
        turn_until(&mut reactor, "the message", |_| {
            everybody_has_it(&mut readers, &mut buffer)
        });
    }
    assert_eq!(diary.of("silent"), ["error QuotaExceeded", "close"]);
    assert!(diary.of("reader").is_empty(), "nobody else noticed");
    assert_eq!(reactor.memory().0, 0);
}

/// Each within its own bound is not enough: Envoy stops accepting when all of it together is too much.
#[test]
fn over_the_bound_of_all_outboxes_nobody_with_output_is_read_and_nobody_new_is_accepted() {
    const TOTAL: usize = 100_000;
    const EACH: usize = 60_000;
    for they_die in [false, true] {
        let mut reactor = Reactor::builder()
            .max_queued(TOTAL)
            .build()
            .expect("good limits");
        let stalled: Vec<(Wire, _)> = (0..10)
            .map(|i| {
                let wire = Wire::new(0);
                let id = reactor.add(wire.socket(), Echo).expect("a stream");
                wire.input(&mut reactor, id, &pattern(i, EACH));
                (wire, id)
            })
            .collect();
        let honest = Wire::open();
        let honest_id = reactor.add(honest.socket(), Echo).expect("a stream");
        let (_, address) = serve(&mut reactor, || Echo);
        // Below its own high mark, every one of them would be read to the end.
        for _ in 0..30 {
            look(&mut reactor);
            let queued = reactor.memory().0;
            assert!(
                queued <= TOTAL + 10 * 4096,
                "{queued}: a turn's worth above"
            );
        }
        assert_eq!(reactor.counters().over_total, 1);
        assert_eq!(reactor.counters().accept_over_total, 0, "nobody has come");
        let unread: usize = stalled.iter().map(|(wire, _)| wire.unread()).sum();
        assert!(unread >= 10 * EACH - TOTAL - 10 * 4096);

        let client = TcpStream::connect(address).expect("the queue takes it");
        client.set_read_timeout(Some(DEADLINE)).expect("positive");
        let mut client = over::client(client);
        let client = std::thread::spawn(move || {
            let mut answer = [0; 5];
            client.write_all(b"hello").expect("room");
            client.read_exact(&mut answer).expect("an echo");
            answer
        });
        honest.input(&mut reactor, honest_id, b"still served");
        settle(&mut reactor);
        assert_eq!(reactor.counters().accepted, 0, "nobody new");
        assert_eq!(reactor.counters().accept_over_total, 1);
        assert_eq!(honest.output(), b"still served", "whoever reads is served");

        for (wire, id) in &stalled {
            if they_die {
                reactor.at(*id).expect("open").abort();
            } else {
                wire.make_room(&mut reactor, *id, usize::MAX);
            }
        }
        turn_until(&mut reactor, "the newcomer", |reactor| {
            reactor.counters().accepted == 1
        });
        turn_until(&mut reactor, "its answer", |_| client.is_finished());
        assert_eq!(client.join().expect("no panic"), *b"hello");
        settle(&mut reactor);
        for (i, (wire, _)) in (0..10).zip(&stalled) {
            assert!(they_die || wire.output() == pattern(i, EACH), "all of it");
        }
        assert_eq!(reactor.memory().0, 0);
    }
}

#[test]
fn a_bound_of_zero_on_all_outboxes_is_refused() {
    let error = Reactor::builder().max_queued(0).build().expect_err("zero");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("max_queued"), "{error}");
}

// ---------------------------------------------------------------------------------------------------
// The slow trickle.

/// A line has to be whole five seconds after the one before it, however much traffic there is.
struct Impatient {
    diary: Diary,
    who: &'static str,
    timer: Option<TimerId>,
}

const LINE_LIMIT: Duration = Duration::from_secs(5);

impl Impatient {
    fn expect_a_line(&mut self, cx: &mut Context<'_>) {
        if let Some(timer) = self.timer.take() {
            cx.cancel_timer(timer);
        }
        self.timer = Some(cx.set_timer(LINE_LIMIT));
    }
}

impl Handler for Impatient {
    fn found_terminator(
        &mut self,
        cx: &mut Context<'_>,
        _: &mut Framing,
        _: &[u8],
    ) -> io::Result<()> {
        self.expect_a_line(cx);
        Ok(())
    }

    fn handle_timer(&mut self, _: &mut Context<'_>, _: &mut Framing, _: TimerId) -> io::Result<()> {
        Err(io::ErrorKind::TimedOut.into())
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        self.diary
            .note(self.who, cx.any_id(), format!("{:?}", error.kind()));
        cx.abort();
    }
}

/// One byte a second resets an idle timer for ever (HAProxy's time limit for a whole request is there
/// for that). A timer of one's own for each line is what ends it.
#[test]
fn a_byte_a_second_keeps_the_idle_timer_quiet_but_not_the_deadline_of_a_line() {
    let clock = SimClock::new();
    let mut reactor = Reactor::builder()
        .clock(clock.clone())
        .build()
        .expect("a poller");
    let diary = Diary::default();
    let mut add = |who: &'static str| {
        let wire = Wire::open();
        let handler = Impatient {
            diary: diary.clone(),
            who,
            timer: None,
        };
        let framed = Framed::new(Terminator::Line, handler).expect("a good terminator");
        let id = reactor.add(wire.socket(), framed).expect("a stream");
        reactor.with(id, |framed, cx| {
            framed.handler().expect_a_line(cx);
            cx.set_idle_timeout(2 * SECOND);
        });
        (id, wire)
    };
    let trickles: Vec<_> = (0..2000).map(|_| add("trickle")).collect();
    let honest = add("honest");
    let silent = add("silent");
    for second in 1..=8 {
        clock.advance(SECOND - NANOSECOND);
        look(&mut reactor);
        let expected = if second <= 5 { 0 } else { 2000 };
        assert_eq!(diary.count("trickle", "TimedOut"), expected, "never early");
        clock.advance(NANOSECOND);
        look(&mut reactor);
        assert_eq!(diary.count("silent", "TimedOut"), usize::from(second >= 2));
        assert_eq!(
            diary.count("trickle", "TimedOut"),
            if second < 5 { 0 } else { 2000 }
        );
        for (id, wire) in &trickles {
            wire.input(&mut reactor, *id, b"x");
        }
        honest.1.input(&mut reactor, honest.0, b"a line\n");
        look(&mut reactor);
    }
    assert!(reactor.at(silent.0).is_none());
    assert!(reactor.at(honest.0).is_some(), "who sends lines stays");
    assert_eq!(diary.count("honest", ""), 0);
    assert_eq!(reactor.count(), 1);
}

// ---------------------------------------------------------------------------------------------------
// The partial write.

/// What happens between two sends.
#[derive(Clone, Debug)]
enum Step {
    Send(usize),
    /// So much room, and a turn.
    Take(usize),
    /// Interrupted so often, and a turn.
    Interrupt(usize),
}

fn steps(longest: usize, most: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..longest).prop_map(Step::Send),
        1 => Just(Step::Send(0)),
        2 => (0..4 * longest).prop_map(Step::Take),
        1 => (1..40usize).prop_map(Step::Take),
        1 => (1..3usize).prop_map(Step::Interrupt),
    ];
    prop::collection::vec(step, 0..most)
}

/// The kernel takes any number of bytes, ending anywhere in a chunk: gnet once gave it more pieces than
/// it takes in a call (58a6ae9d), and message-io span when it took none (#177).
fn partial_writes_keep_every_byte(steps: &[Step]) -> Result<(), TestCaseError> {
    const CAP: usize = 64 << 20;
    let mut reactor = Reactor::builder()
        .high_mark(CAP)
        .hard_cap(CAP)
        .build()
        .expect("good marks");
    let wire = Wire::new(0);
    let id = reactor.add(wire.socket(), Echo).expect("a stream");
    let mut sent = Vec::new();
    let queued = |reactor: &mut Reactor| reactor.at(id).map(|open| open.queued());
    for (i, step) in steps.iter().enumerate() {
        match *step {
            Step::Send(length) => {
                let chunk = pattern(u8::try_from(i % 251).expect("small"), length);
                reactor.at(id).expect("open").send(&chunk)?;
                sent.extend(chunk);
            }
            Step::Take(room) => {
                wire.make_room(&mut reactor, id, room);
                look(&mut reactor);
            }
            Step::Interrupt(count) => {
                wire.interrupt(count);
                look(&mut reactor);
            }
        }
        prop_assert_eq!(queued(&mut reactor), Some(sent.len() - wire.taken()));
    }
    wire.make_room(&mut reactor, id, usize::MAX);
    // 64 pieces of up to 16 KiB a write, and none takes two turns, interruptions excepted.
    let mut turns = 4 + sent.len() / 256 / 64;
    while queued(&mut reactor) != Some(0) {
        prop_assert!(turns > 0, "it makes progress every turn");
        turns -= 1;
        look(&mut reactor);
    }
    prop_assert!(wire.output() == sent, "byte for byte");
    let writes = wire.writes();
    reactor.at(id).expect("open").send(b"")?;
    settle(&mut reactor);
    prop_assert_eq!(wire.writes(), writes, "nothing queued, nothing written");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn partial_writes_of_many_small_chunks_keep_every_byte(steps in steps(200, 3000)) {
        partial_writes_keep_every_byte(&steps)?;
    }

    #[test]
    fn partial_writes_of_large_chunks_keep_every_byte(steps in steps(100_000, 40)) {
        partial_writes_keep_every_byte(&steps)?;
    }

    /// The same through a real kernel, which takes what its small buffers hold.
    #[test]
    fn a_real_kernel_gets_every_byte_however_little_the_peer_reads_at_a_time(
        chunks in prop::collection::vec(0..30_000usize, 1..30),
        reads in prop::collection::vec(200..10_000usize, 1..10),
    ) {
        let mut reactor = Reactor::new().expect("a poller");
        let (ours, mut peer) = narrow_pair();
        peer.set_nonblocking(true)?;
        let id = over::add(&mut reactor, ours, Echo);
        let mut sent = Vec::new();
        for (i, length) in chunks.iter().enumerate() {
            let chunk = pattern(u8::try_from(i).expect("few"), *length);
            reactor.at(id).expect("open").send(&chunk)?;
            sent.extend(chunk);
        }
        let mut received = Vec::new();
        let mut sizes = reads.iter().cycle();
        let mut turns = 0;
        while received.len() < sent.len() {
            let mut buffer = vec![0; *sizes.next().expect("it repeats")];
            if let Ok(count) = peer.read(&mut buffer) {
                received.extend_from_slice(&buffer[..count]);
            }
            look(&mut reactor);
            turns += 1;
            prop_assert!(turns < 20 + 2 * sent.len() / 200, "it goes on");
        }
        prop_assert!(received == sent);
    }
}

// ---------------------------------------------------------------------------------------------------
// Queued and forgotten, wanted and unneeded.

/// redis once queued acknowledgements in a place from which nobody wrote them (0150c70b2). Here every
/// callback sends, and so do a timer, a post and somebody else's close.
#[test]
fn what_is_sent_from_any_callback_leaves_in_that_turn_and_then_there_is_nothing_to_do() {
    let mut reactor = Reactor::new().expect("a poller");
    let diary = Diary::default();
    let (ours, mut sink) = narrow_pair();
    let target = over::add(&mut reactor, ours, Spy::new("target", &diary)).any();
    fn say(target: AnyId, word: &'static str) -> impl FnMut(&mut Context<'_>) -> io::Result<()> {
        move |cx| cx.at(target).expect("it stays").send(word.as_bytes())
    }
    sink.set_nonblocking(true).expect("a socket");
    let mut expect = |reactor: &mut Reactor, word: &str| {
        let mut heard = [0; 16];
        turn_until(reactor, word, |_| {
            sink.read(&mut heard)
                .is_ok_and(|count| heard[..count] == *word.as_bytes())
        });
        settle(reactor);
        let writes = reactor.counters().writes;
        reactor.take_waits();
        turn_for(reactor, Duration::from_millis(3));
        assert_eq!(
            reactor.take_waits(),
            [Some(Duration::from_millis(3))],
            "after {word} the loop sleeps"
        );
        assert_eq!(reactor.counters().writes, writes, "after {word}");
    };
    let wire = Wire::open();
    let mut speaking = say(target, "read");
    let spy = Spy::new("source", &diary)
        .on_read(move |cx| {
            let mut chunk = [0; 8];
            let count = cx.recv(&mut chunk)?;
            match &chunk[..count] {
                b"fault" => Err(io::ErrorKind::InvalidData.into()),
                _ => speaking(cx),
            }
        })
        .on_write({
            let mut say = say(target, "write");
            move |cx| {
                cx.stop_writing();
                say(cx)
            }
        })
        .on_priority(say(target, "priority"))
        .on_timer(say(target, "timer"))
        .on_error(say(target, "error"))
        .on_close(say(target, "close"));
    let source = reactor.add(wire.socket(), spy).expect("a stream");
    wire.input(&mut reactor, source, b"x");
    expect(&mut reactor, "read");
    reactor.at(source).expect("open").start_writing();
    expect(&mut reactor, "write");
    reactor.at(source).expect("open").watch_priority();
    reactor.inject(source, Bits::URGENT);
    expect(&mut reactor, "priority");
    reactor.at(source).expect("open").set_timer(Duration::ZERO);
    expect(&mut reactor, "timer");
    wire.input(&mut reactor, source, b"fault");
    expect(&mut reactor, "error");
    reactor.at(source).expect("open").abort();
    expect(&mut reactor, "close");
    let job = move |reactor: &mut Reactor| {
        let sent = reactor.at(target).expect("it stays").send(b"post");
        assert!(sent.is_ok());
    };
    assert!(reactor.handle().post(job).is_ok());
    expect(&mut reactor, "post");
    reactor.call_later(Duration::ZERO, move |reactor| {
        let sent = reactor.at(target).expect("it stays").send(b"later");
        assert!(sent.is_ok());
    });
    expect(&mut reactor, "later");
    let (ours, peer) = unix_pair();
    let spy = Spy::new("eof", &diary).on_eof(say(target, "eof"));
    over::add(&mut reactor, ours, spy);
    drop(peer);
    expect(&mut reactor, "eof");
    let (_, address) = serve(&mut reactor, || Echo);
    let spy = Spy::new("client", &diary).on_connect(say(target, "connect"));
    over::connect(&mut reactor, address, spy).expect("loopback");
    expect(&mut reactor, "connect");
}

// ---------------------------------------------------------------------------------------------------
// A reset in the middle of it.

/// libuv has half a dozen tests for the ways in which a reset meets a write.
#[test]
fn a_reset_in_mid_write_is_one_close_and_frees_the_outbox_in_that_turn() {
    const QUEUED: usize = 20_000_000;
    for pending in ["a producer's callback", "the flush", "paused"] {
        let mut reactor = Reactor::builder()
            .hard_cap(2 * QUEUED)
            .build()
            .expect("good marks");
        let diary = Diary::default();
        let (ours, mut peer) = tcp_pair();
        let spy = Spy::new("sender", &diary).on_write(|cx| cx.send(&[b'p'; 16 * 1024]));
        let id = over::add(&mut reactor, ours, spy);
        {
            let mut sender = reactor.at(id).expect("open");
            match pending {
                "a producer's callback" => sender.start_writing(),
                _ => sender.send(&vec![b'x'; QUEUED]).expect("below the cap"),
            }
            if pending == "paused" {
                sender.pause_reading();
            }
        }
        let mut read = 0;
        let mut buffer = [0; 64 * 1024];
        while read < 1_000_000 {
            turn_for(&mut reactor, Duration::ZERO);
            read += peer.read(&mut buffer).expect("there is more to come");
        }
        reset(peer);
        turn_until(&mut reactor, "the close", |reactor| {
            let over = diary.count("sender", "close") > 0;
            assert!(!over || reactor.memory().0 == 0, "freed in that turn");
            over
        });
        settle(&mut reactor);
        let mut notes = diary.of("sender");
        notes.retain(|note| note != "write" && note != "read");
        assert_eq!(notes, ["close"], "{pending}");
        assert_eq!(diary.of("sender").last().map(String::as_str), Some("close"));
        assert_eq!(reactor.count(), 0);
    }
}

/// A write to a peer that is gone must not raise SIGPIPE, which kills a process that has not asked to
/// ignore it. The child counts the signal instead of dying of it.
#[test]
fn a_write_to_a_peer_that_is_gone_raises_no_signal() {
    let child = Command::new(std::env::current_exe().expect("it runs"))
        .args([
            "--exact",
            "child_counts_sigpipe",
            "--ignored",
            "--nocapture",
        ])
        .output()
        .expect("it starts again");
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{child:?}");
    assert!(output.contains("broken pipes and no signal"), "{output}");
}

#[test]
#[ignore = "started by a_write_to_a_peer_that_is_gone_raises_no_signal"]
fn child_counts_sigpipe() {
    let signalled = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGPIPE, Arc::clone(&signalled))
        .expect("a signal that may be handled");
    let mut reactor = Reactor::new().expect("a poller");
    let diary = Diary::default();
    // One large piece is written at once, ten that share no chunk are one vectored write.
    for (pieces, size) in [(1, 20_000), (10, 10_000)] {
        let (ours, peer) = unix_pair();
        let unix = over::add(&mut reactor, ours, Spy::new("gone", &diary));
        let (ours, tcp_peer) = tcp_pair();
        let tcp = over::add(&mut reactor, ours, Spy::new("gone", &diary));
        drop(peer);
        reset(tcp_peer);
        for id in [unix, tcp] {
            for _ in 0..pieces {
                let mut connection = reactor.at(id).expect("open");
                connection.send(&vec![b'x'; size]).expect("room");
            }
        }
        turn_until(&mut reactor, "the ends", |reactor| reactor.count() == 0);
    }
    assert_eq!(diary.count("gone", "close"), 4);
    assert_eq!(diary.count("gone", "error"), 0);
    assert!(!signalled.load(Ordering::SeqCst), "SIGPIPE was raised");
    // And the counting works.
    signal_hook::low_level::raise(signal_hook::consts::SIGPIPE).expect("it is handled");
    assert!(signalled.load(Ordering::SeqCst));
    println!("broken pipes and no signal");
}

// ---------------------------------------------------------------------------------------------------
// Two who wait for each other.

/// Reads and counts; sends `left` bytes as a producer, if it is one.
struct Half {
    left: usize,
    received: Rc<Cell<usize>>,
}

impl Dispatcher for Half {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let count = cx.recv(&mut [0; 16 * 1024])?;
        self.received.set(self.received.get() + count);
        Ok(())
    }

    fn handle_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let count = self.left.min(16 * 1024);
        self.left -= count;
        if count == 0 {
            cx.stop_writing();
        }
        cx.send(&[b'h'; 16 * 1024][..count])
    }
}

const BULK: usize = 16 << 20;

fn two_halves(reactor: &mut Reactor) -> [(Id<Half>, Rc<Cell<usize>>); 2] {
    let counts: [Rc<Cell<usize>>; 2] = Default::default();
    let [one, other] = counts.each_ref().map(|received| Half {
        left: BULK,
        received: Rc::clone(received),
    });
    let (one, other) = join_both(reactor, narrow_sockets(), one, other);
    let [first, second] = counts;
    [(one, first), (other, second)]
}

/// rustls#2556: each side stops reading until its own output has drained, and neither ever does. A
/// producer's outbox stays below the high mark, so it never stops its own reading.
#[test]
fn bulk_both_ways_by_producers_completes() {
    let mut reactor = Reactor::new().expect("a poller");
    let halves = two_halves(&mut reactor);
    for (id, _) in &halves {
        reactor.at(*id).expect("open").start_writing();
    }
    turn_until(&mut reactor, "both", |_| {
        halves.iter().all(|(_, received)| received.get() == BULK)
    });
}

#[test]
fn bulk_both_ways_in_one_send_completes_if_neither_feeds_itself() {
    let mut reactor = Reactor::builder()
        .hard_cap(BULK)
        .build()
        .expect("good marks");
    let halves = two_halves(&mut reactor);
    for (id, _) in &halves {
        let mut half = reactor.at(*id).expect("open");
        half.feeds_nobody();
        half.send(&vec![b'x'; BULK]).expect("just the cap");
    }
    turn_until(&mut reactor, "both", |_| {
        halves.iter().all(|(_, received)| received.get() == BULK)
    });
}

#[test]
fn two_who_wait_for_each_other_end_at_the_stall_deadline_with_a_named_error() {
    const LIMIT: Duration = Duration::from_secs(60);
    let clock = SimClock::new();
    let mut reactor = Reactor::builder()
        .hard_cap(BULK)
        .stall_timeout(LIMIT)
        .clock(clock.clone())
        .build()
        .expect("good marks");
    let errors: Rc<RefCell<Vec<String>>> = Rc::default();
    struct Bulky(Rc<RefCell<Vec<String>>>);
    impl Dispatcher for Bulky {
        fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            self.0
                .borrow_mut()
                .push(format!("{} | {error}", cx.any_id()));
        }
    }
    let (one, other) = [(), ()].map(|()| Bulky(Rc::clone(&errors))).into();
    let (one, other) = join_both(&mut reactor, narrow_sockets(), one, other);
    let ids = [one, other];
    for id in ids {
        let mut bulky = reactor.at(id).expect("open");
        bulky.send(&vec![b'x'; BULK]).expect("just the cap");
    }
    // Until both kernels are full.
    for _ in 0..20 {
        look(&mut reactor);
    }
    assert!(
        ids.iter()
            .all(|id| !reactor.at(*id).expect("open").is_reading())
    );
    clock.advance(LIMIT - NANOSECOND);
    settle(&mut reactor);
    assert!(errors.borrow().is_empty(), "not a moment early");
    clock.advance(NANOSECOND);
    turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
    let errors = errors.borrow();
    assert!(!errors.is_empty(), "never in silence");
    for error in errors.iter() {
        let (id, text) = error.split_once(" | ").expect("as written above");
        assert!(text.contains(&format!("Bulky {id}")), "{error}");
        assert!(text.contains("stalled"), "{error}");
    }
    assert_eq!(reactor.memory().0, 0);
}

// ---------------------------------------------------------------------------------------------------
// At the mark.

/// Passes what it reads on to a sink, while there is one.
struct Source {
    sink: AnyId,
    chunk: usize,
}

impl Dispatcher for Source {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut chunk = vec![0; self.chunk];
        let count = cx.recv(&mut chunk)?;
        if let Some(mut sink) = cx.at(self.sink) {
            return sink.send(&chunk[..count]);
        }
        Ok(())
    }
}

fn source(reactor: &mut Reactor, sink: AnyId, chunk: usize, input: usize) -> (Id<Source>, Wire) {
    let wire = Wire::open();
    let id = reactor
        .add(wire.socket(), Source { sink, chunk })
        .expect("a stream");
    reactor.at(id).expect("open").feeds(sink);
    wire.input(reactor, id, &pattern(1, input));
    (id, wire)
}

#[test]
fn a_sink_that_drains_a_byte_a_turn_switches_its_source_once_per_distance_of_the_marks() {
    const LOW: usize = 100;
    const HIGH: usize = 200;
    let mut reactor = Reactor::builder()
        .low_mark(LOW)
        .high_mark(HIGH)
        .hard_cap(1000)
        .build()
        .expect("good marks");
    let sink_wire = Wire::new(0);
    let sink = reactor
        .add(sink_wire.socket(), Echo)
        .expect("a stream")
        .any();
    let (source, source_wire) = source(&mut reactor, sink, 10, 3000);
    let mut was_reading = true;
    let mut pauses = 0;
    let mut turns = 0;
    while sink_wire.taken() < 3000 {
        sink_wire.make_room(&mut reactor, sink, 1);
        look(&mut reactor);
        turns += 1;
        assert!(turns < 3200, "a byte a turn, and none is lost");
        let is_reading = reactor.at(source).expect("open").is_reading();
        let queued = reactor.at(sink).expect("open").queued();
        assert!(queued <= HIGH + 10, "{queued}");
        if was_reading && !is_reading {
            pauses += 1;
            assert!(queued > HIGH - 1, "paused at {queued}");
        }
        if !was_reading && is_reading {
            assert!(queued < LOW, "resumed at {queued}");
        }
        was_reading = is_reading;
    }
    assert!(pauses >= 10, "it was paused and resumed again and again");
    assert!(
        pauses <= 1 + 3000 / (HIGH - LOW),
        "{pauses} pauses for 3,000 bytes"
    );
    assert!(sink_wire.output() == pattern(1, 3000));
    assert_eq!(source_wire.unread(), 0);
}

/// lori#306: whoever was paused for a sink that died was never resumed.
#[test]
fn ten_sources_held_for_one_sink_all_go_on_when_it_dies() {
    type Death = fn(&mut Reactor, &SimClock, AnyId, &Wire);
    let deaths: [(&str, Death); 6] = [
        ("abort", |reactor, _, sink, _| {
            reactor.at(sink).expect("open").abort();
        }),
        ("a reset", |reactor, _, sink, wire| {
            wire.break_with(reactor, sink, io::ErrorKind::ConnectionReset);
            reactor.inject(sink, Bits::ERROR | Bits::HUNG_UP);
        }),
        ("a failed write", |reactor, _, sink, wire| {
            wire.break_with(reactor, sink, io::ErrorKind::BrokenPipe);
        }),
        ("over its cap", |reactor, _, sink, _| {
            let error = reactor.at(sink).expect("open").send(&[0; 2_000_000]);
            assert!(error.is_err());
        }),
        ("the stall deadline", |_, clock, _, _| {
            clock.advance(Duration::from_secs(300));
        }),
        ("a close that nobody takes", |reactor, clock, sink, _| {
            reactor.at(sink).expect("open").close();
            look(reactor);
            clock.advance(Duration::from_secs(10));
        }),
    ];
    for (name, die) in deaths {
        let clock = SimClock::new();
        let mut reactor = Reactor::builder()
            .clock(clock.clone())
            .build()
            .expect("a poller");
        let wire = Wire::new(0);
        let sink = reactor.add(wire.socket(), Echo).expect("a stream").any();
        let sources: Vec<_> = (0..10)
            .map(|_| source(&mut reactor, sink, 1000, 50_000))
            .collect();
        for _ in 0..60 {
            look(&mut reactor);
        }
        for (id, wire) in &sources {
            assert!(!reactor.at(*id).expect("open").is_reading(), "{name}: held");
            assert!(wire.unread() > 0);
        }
        die(&mut reactor, &clock, sink, &wire);
        for _ in 0..60 {
            look(&mut reactor);
        }
        assert!(reactor.at(sink).is_none(), "{name}: the sink is gone");
        for (id, wire) in &sources {
            assert!(
                reactor.at(*id).expect("open").is_reading(),
                "{name}: goes on"
            );
            assert_eq!(wire.unread(), 0, "{name}: and was served");
        }
        assert_eq!(reactor.memory().0, 0, "{name}");
    }
}

/// The peer is as late with what came first as it was, whatever comes behind that.
#[test]
fn what_is_sent_to_a_peer_that_takes_nothing_does_not_put_off_the_stall_deadline() {
    let send_bytes = |cx: &mut Context<'_>| cx.send(b"more");
    let send_file = |cx: &mut Context<'_>| {
        let file = File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))?;
        cx.send_file(file, ..)
    };
    let sends: [fn(&mut Context<'_>) -> io::Result<()>; 2] = [send_bytes, send_file];
    for send in sends {
        let clock = SimClock::new();
        let mut builder = Reactor::builder();
        builder.clock(clock.clone()).stall_timeout(10 * SECOND);
        let mut reactor = builder.build().expect("a poller");
        let diary = Diary::default();
        let spy = Spy::new("server", &diary);
        let id = reactor.add(Wire::new(0).socket(), spy).expect("a stream");
        for _ in 0..10 {
            send(&mut reactor.at(id).expect("open")).expect("room");
            look(&mut reactor);
            assert_eq!(diary.all(), [""; 0]);
            clock.advance(SECOND);
        }
        look(&mut reactor);
        assert_eq!(diary.all(), ["server error TimedOut", "server close"]);
    }
}

#[test]
fn a_source_may_change_its_sink_while_it_is_held_and_may_name_one_that_is_gone() {
    let mut reactor = Reactor::new().expect("a poller");
    let (full_wire, free_wire) = (Wire::new(0), Wire::open());
    let full = reactor
        .add(full_wire.socket(), Echo)
        .expect("a stream")
        .any();
    let free = reactor
        .add(free_wire.socket(), Echo)
        .expect("a stream")
        .any();
    let (id, wire) = source(&mut reactor, full, 16 * 1024, 200_000);
    for _ in 0..20 {
        look(&mut reactor);
    }
    assert!(!reactor.at(id).expect("open").is_reading());
    reactor.at(id).expect("open").feeds(free);
    look(&mut reactor);
    assert!(
        reactor.at(id).expect("open").is_reading(),
        "a new sink with room"
    );
    reactor.at(id).expect("open").feeds(full);
    look(&mut reactor);
    assert!(
        !reactor.at(id).expect("open").is_reading(),
        "held from the start"
    );
    reactor.at(full).expect("open").abort();
    look(&mut reactor);
    reactor.at(id).expect("open").feeds(full);
    for _ in 0..20 {
        look(&mut reactor);
    }
    assert_eq!(wire.unread(), 0, "nobody is fed, nobody holds");
    reactor.at(id).expect("open").feeds(free);
    reactor.at(id).expect("open").abort();
    look(&mut reactor);
    reactor
        .at(free)
        .expect("open")
        .send(&[0; 100_000])
        .expect("room");
    look(&mut reactor);
}

/// What `max_queued` bounds would otherwise be held for nobody, and nothing accepted until somebody else sends.
#[test]
fn what_was_sent_after_the_flush_and_thrown_away_in_the_same_turn_is_held_no_longer() {
    struct LastWords;
    impl Dispatcher for LastWords {
        fn handle_sent(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            cx.send(&[7; 3_000])?;
            cx.abort();
            Ok(())
        }
    }
    let mut reactor = Reactor::new().expect("a poller");
    let (ours, _peer) = unix_pair();
    let id = reactor.add(ours, LastWords).expect("a stream");
    let mut cx = reactor.at(id).expect("open");
    cx.notify_when_sent().expect("open");
    turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
    assert_eq!(reactor.held_memory(), 0);
}
