//! What a debug build says of a program that spins, or that keeps connections whose peers have finished: one sentence, a
//! second apart, and nothing of programs that are right.

#![cfg(debug_assertions)]

#[path = "util/log_lines.rs"]
mod log_lines;
mod util;
#[path = "util/wire.rs"]
mod wire;

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use log_lines::{keep_log, take_log};
use slabloop::testing::SimClock;
use slabloop::{Context, Dispatcher, Id, Reactor};
use util::{tcp_pair, turn, turn_for, turn_until};
use wire::Wire;

const SECOND: Duration = Duration::from_secs(1);

/// The warnings since the last time.
fn warnings() -> Vec<String> {
    let lines = take_log().into_iter();
    let warned = lines.filter(|(level, _)| *level == log::Level::Warn);
    warned.map(|(_, line)| line).collect()
}

/// Takes as many bytes as it says in each callback.
struct Takes(fn(&mut Reader, &mut Context<'_>) -> io::Result<()>);

struct Reader {
    calls: u32,
    takes: Takes,
}

impl Dispatcher for Reader {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.calls += 1;
        let Takes(takes) = self.takes;
        takes(self, cx)
    }
}

/// A reader with `input` waiting, on a reactor whose lines are kept.
fn reader(input: &[u8], takes: Takes) -> (Reactor, Id<Reader>, TcpStream) {
    keep_log();
    let mut reactor = Reactor::new().unwrap();
    let (ours, mut theirs) = tcp_pair();
    let id = reactor.add(ours, Reader { calls: 0, takes }).unwrap();
    theirs.write_all(input).unwrap();
    (reactor, id, theirs)
}

fn calls(reactor: &mut Reactor, id: Id<Reader>) -> u32 {
    reactor.with(id, |reader, _| reader.calls).unwrap()
}

#[test]
fn reader_that_never_reads_is_named_once_a_second_at_most() {
    let (mut reactor, id, _theirs) = reader(b"input", Takes(|_, _| Ok(())));
    turn_until(&mut reactor, "999 calls", |reactor| {
        calls(reactor, id) == 999
    });
    assert_eq!(warnings(), <[String; 0]>::default());
    turn_until(&mut reactor, "more calls", |reactor| {
        calls(reactor, id) == 1001
    });
    let lines = warnings();
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in ["Reader", &id.to_string(), "1000 times", "pause_reading"] {
        assert!(lines[0].contains(part), "{part} in {:?}", lines[0]);
    }
}

#[test]
fn second_reader_that_never_reads_is_counted_when_the_reactor_is_dropped() {
    keep_log();
    let clock = SimClock::new();
    let mut reactor = Reactor::builder().clock(clock.clone()).build().unwrap();
    let all = [(); 2].map(|()| {
        let (ours, mut theirs) = tcp_pair();
        theirs.write_all(b"input").unwrap();
        let takes = Takes(|_, _| Ok(()));
        let reader = reactor.add(ours, Reader { calls: 0, takes }).unwrap();
        (reader, theirs)
    });
    turn_until(&mut reactor, "a thousand calls of both", |reactor| {
        clock.advance(Duration::from_micros(10));
        all.iter().all(|(id, _)| calls(reactor, *id) > 1000)
    });
    assert_eq!(warnings().len(), 1);
    drop(reactor);
    let expected = "input that is not read: 1 more were not logged";
    assert_eq!(warnings(), [expected]);
}

#[test]
fn reader_that_takes_a_byte_a_call_is_not_named() {
    let takes = Takes(|_, cx| cx.recv(&mut [0]).map(|_| ()));
    let (mut reactor, id, _theirs) = reader(&[7; 3000], takes);
    turn_until(&mut reactor, "2,500 calls", |reactor| {
        calls(reactor, id) == 2500
    });
    assert_eq!(warnings(), <[String; 0]>::default());
}

#[test]
fn reader_that_needs_two_calls_for_each_piece_is_not_named() {
    let takes = Takes(|me, cx| match me.calls % 2 {
        1 => Ok(()),
        _ => cx.recv(&mut [0; 16]).map(|_| ()),
    });
    let (mut reactor, id, mut theirs) = reader(b"first", takes);
    for piece in 1..1200 {
        turn_until(&mut reactor, "two calls", |reactor| {
            calls(reactor, id) == 2 * piece
        });
        theirs.write_all(b"next").unwrap();
    }
    assert_eq!(warnings(), <[String; 0]>::default());
}

#[test]
fn writer_that_is_called_all_the_time_and_has_nothing_to_read_is_not_named() {
    struct Writer(u32);
    impl Dispatcher for Writer {
        fn handle_write(&mut self, _: &mut Context<'_>) -> io::Result<()> {
            self.0 += 1;
            Ok(())
        }
    }
    keep_log();
    let mut reactor = Reactor::new().unwrap();
    let id = reactor.add(Wire::open().socket(), Writer(0)).unwrap();
    reactor.at(id).unwrap().start_writing();
    turn_until(&mut reactor, "2,500 calls", |reactor| {
        reactor.with(id, |writer, _| writer.0).unwrap() == 2500
    });
    assert_eq!(warnings(), <[String; 0]>::default());
}

/// Keeps its connection when its peer has finished, unless it is the other kind.
struct Keeps(bool);

impl Dispatcher for Keeps {
    fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !self.0 {
            cx.close();
        }
        Ok(())
    }
}

/// So many connections whose peers have finished sending, and that is known.
fn finished(count: usize, keeps: bool) -> (Reactor, SimClock, Vec<Id<Keeps>>, Vec<TcpStream>) {
    keep_log();
    let clock = SimClock::new();
    let mut builder = Reactor::builder();
    builder.clock(clock.clone());
    let mut reactor = builder.build().unwrap();
    let (mut ids, mut peers) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let (ours, theirs) = tcp_pair();
        ids.push(reactor.add(ours, Keeps(keeps)).unwrap());
        theirs.shutdown(Shutdown::Write).unwrap();
        peers.push(theirs);
    }
    let told = count as u64;
    turn_until(&mut reactor, "all ends", |reactor| {
        reactor.counters().callbacks >= told
    });
    turn(&mut reactor);
    (reactor, clock, ids, peers)
}

#[test]
fn dispatchers_that_outlive_the_end_of_their_input_are_one_line() {
    let (mut reactor, clock, _ids, _peers) = finished(3, true);
    clock.advance(10 * SECOND - Duration::from_nanos(1));
    turn_for(&mut reactor, Duration::ZERO);
    assert_eq!(warnings(), <[String; 0]>::default());
    clock.advance(Duration::from_nanos(1));
    turn_for(&mut reactor, Duration::ZERO);
    let lines = warnings();
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in ["Keeps", "10s", "handle_eof"] {
        assert!(lines[0].contains(part), "{part} in {:?}", lines[0]);
    }
    clock.advance(100 * SECOND);
    turn_for(&mut reactor, Duration::ZERO);
    assert_eq!(warnings(), <[String; 0]>::default());
}

#[test]
fn dispatcher_that_goes_on_sending_is_named_when_it_has_stopped() {
    let (mut reactor, clock, ids, _peers) = finished(1, true);
    for _ in 0..5 {
        clock.advance(6 * SECOND);
        turn_for(&mut reactor, Duration::ZERO);
        reactor.at(ids[0]).unwrap().send(b"more").unwrap();
        turn_for(&mut reactor, Duration::ZERO);
    }
    assert_eq!(warnings(), <[String; 0]>::default());
    for _ in 0..2 {
        clock.advance(10 * SECOND);
        turn_for(&mut reactor, Duration::ZERO);
    }
    assert_eq!(warnings().len(), 1);
}

/// What its peer does not take, or what is still to come of it, keeps it open.
#[test]
fn dispatcher_that_still_has_something_to_send_is_not_named() {
    struct Answers(fn(&mut Context<'_>) -> io::Result<()>);
    impl Dispatcher for Answers {
        fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            let Answers(answer) = self;
            answer(cx)
        }
    }
    let waits: [fn(&mut Context<'_>) -> io::Result<()>; 2] = [
        |cx| cx.send(b"an answer"),
        |cx| {
            cx.has_more_output(true);
            cx.close();
            Ok(())
        },
    ];
    keep_log();
    for answer in waits {
        let clock = SimClock::new();
        let mut builder = Reactor::builder();
        builder.clock(clock.clone()).close_timeout(100 * SECOND);
        let mut reactor = builder.build().unwrap();
        let wire = Wire::new(0);
        let id = reactor.add(wire.socket(), Answers(answer)).unwrap();
        wire.end_input(&mut reactor, id);
        for _ in 0..5 {
            turn_for(&mut reactor, Duration::ZERO);
            clock.advance(10 * SECOND);
        }
        turn_for(&mut reactor, Duration::ZERO);
        assert_eq!(reactor.count(), 1);
        assert_eq!(warnings(), <[String; 0]>::default());
    }
}

#[test]
fn of_many_that_outlive_the_end_of_their_input_a_thousand_and_twenty_four_are_watched() {
    keep_log();
    let clock = SimClock::new();
    let mut builder = Reactor::builder();
    builder.clock(clock.clone());
    let mut reactor = builder.build().unwrap();
    for _ in 0..1030 {
        let wire = Wire::open();
        let id = reactor.add(wire.socket(), Keeps(true)).unwrap();
        wire.end_input(&mut reactor, id);
    }
    turn_for(&mut reactor, Duration::ZERO);
    turn_for(&mut reactor, Duration::ZERO);
    clock.advance(10 * SECOND);
    turn_for(&mut reactor, Duration::ZERO);
    assert_eq!(warnings().len(), 1);
    // The next line tells how many were passed over.
    let wire = Wire::open();
    let id = reactor.add(wire.socket(), Keeps(true)).unwrap();
    wire.end_input(&mut reactor, id);
    turn_for(&mut reactor, Duration::ZERO);
    clock.advance(10 * SECOND);
    turn_for(&mut reactor, Duration::ZERO);
    let lines = warnings();
    assert!(
        lines.len() == 1 && lines[0].contains("1023 more"),
        "{lines:?}"
    );
}

#[test]
fn dispatchers_that_close_at_the_end_are_not_named() {
    let (mut reactor, clock, _ids, _peers) = finished(3, false);
    clock.advance(60 * SECOND);
    turn_for(&mut reactor, Duration::ZERO);
    assert_eq!(warnings(), <[String; 0]>::default());
}

/// The last lines of a reactor: what it has held back, if there is any, and what panicked as it was dropped.
#[test]
fn a_reactor_that_is_dropped_says_what_is_left_to_say() {
    keep_log();
    let mut reactor = Reactor::new().unwrap();
    let (ours, _peer) = tcp_pair();
    let id = reactor.add(ours, Nothing).unwrap();
    let fault = io::Error::other("on purpose");
    reactor.at(id).unwrap().log_fault(&fault);
    assert_eq!(warnings().len(), 1);
    drop(reactor);
    assert_eq!(warnings(), [""; 0], "nothing was held back");

    let mut reactor = Reactor::new().unwrap();
    let (ours, _peer) = tcp_pair();
    let id = reactor.add(ours, Nothing).unwrap();
    for _ in 0..3 {
        reactor.at(id).unwrap().log_fault(&fault);
    }
    assert_eq!(warnings().len(), 1);
    drop(reactor);
    let left = warnings();
    assert!(
        left.len() == 1 && left[0].ends_with("2 more were not logged"),
        "{left:?}"
    );

    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("on purpose, in a destructor");
        }
    }
    let mut reactor = Reactor::new().unwrap();
    let (timed, deferred) = (Panics, Panics);
    reactor.call_later(SECOND, move |_| std::mem::forget(timed));
    let service = reactor.add_service(Nothing).unwrap();
    let mut context = reactor.at(service).unwrap();
    context.defer(move |_| std::mem::forget(deferred));
    drop(reactor);
    let errors: Vec<_> = take_log()
        .into_iter()
        .filter(|(level, _)| *level == log::Level::Error)
        .collect();
    let [(_, line)] = &errors[..] else {
        panic!("{errors:?}");
    };
    assert!(line.contains("2 closures panicked"), "{line}");
}

struct Nothing;

impl Dispatcher for Nothing {}

/// Each kind of fault has its lines up to a bound; what comes beyond it is counted together.
#[test]
fn faults_of_more_kinds_than_there_is_room_for_are_counted_at_the_end() {
    use io::ErrorKind::*;
    struct More;
    impl Dispatcher for More {}
    const KINDS: [io::ErrorKind; 17] = [
        AddrInUse,
        AddrNotAvailable,
        AlreadyExists,
        BrokenPipe,
        ConnectionAborted,
        ConnectionRefused,
        ConnectionReset,
        InvalidData,
        InvalidInput,
        NotConnected,
        NotFound,
        OutOfMemory,
        PermissionDenied,
        TimedOut,
        UnexpectedEof,
        Unsupported,
        WriteZero,
    ];
    keep_log();
    let mut reactor = Reactor::builder().clock(SimClock::new()).build().unwrap();
    let ids = [
        reactor.add_service(Nothing).unwrap().any(),
        reactor.add_service(More).unwrap().any(),
    ];
    for id in ids {
        for kind in KINDS {
            reactor.at(id).unwrap().log_fault(&kind.into());
        }
    }
    assert_eq!(warnings().len(), 32 + 1, "of 34 kinds the last two share");
    drop(reactor);
    assert_eq!(warnings(), ["other faults: 1 more were not logged"]);
}
