//! What an observer is told, and what it may cost: the order of turns, steps and callbacks, what is measured of each,
//! and that nothing is told, and no clock read, when nobody observes.

#[path = "util/log_lines.rs"]
mod log_lines;
#[path = "util/scripted.rs"]
mod scripted;
mod util;

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

use log_lines::{keep_log, take_log};
use scripted::Script;
use slabloop::observe::{
    Added, Callback, CallbackBegin, CallbackEnd, Crossing, Event, Interest, Kind, Observer,
    Outcome, Refusal, Reports, Ring, Shortage, Step, TurnEnd, What,
};
use slabloop::testing::{Bits, SimClock};
use slabloop::{AnyId, Cause, Context, Dispatcher, Id, PanicPolicy, Reactor, TimerId};
use util::*;

/// As [`Told`], but wants few of the frequent reports.
struct Frugal(Told);

impl Observer for Frugal {
    fn wants(&self) -> Reports {
        Reports::EVENTS | Reports::CALLBACK_ENDED
    }

    fn turn_began(&mut self, _: Duration, _: u64) {
        self.0.line("turn");
    }

    fn step_began(&mut self, _: Duration, step: Step) {
        self.0.line(format!("step {step}"));
    }

    fn wait_ended(&mut self, _: Duration, _: usize) {
        self.0.line("waited");
    }

    fn turn_ended(&mut self, _: Duration, end: &TurnEnd) {
        let (began, waited) = (end.began, end.waited);
        self.0
            .line(format!("end, began {began:?}, waited {waited:?}"));
    }

    fn event_merged(&mut self, _: Duration, id: AnyId, _: Event) {
        self.0.line(format!("event {id}"));
    }

    fn callback_began(&mut self, _: Duration, _: &CallbackBegin) {
        self.0.line("begin");
    }

    fn callback_ended(&mut self, _: Duration, end: &CallbackEnd<'_>) {
        self.0.line(format!("end {}", end.begin.callback));
    }

    fn interest_changed(&mut self, _: Duration, _: AnyId, _: Interest) {
        self.0.line("interest");
    }

    fn flushed(&mut self, _: Duration, _: AnyId, _: usize, _: usize) {
        self.0.line("flushed");
    }

    fn closed(&mut self, _: Duration, id: AnyId, _: Cause) {
        self.0.line(format!("closed {id}"));
    }
}

const MILLISECOND: Duration = Duration::from_millis(1);

/// Writes down what it is told, a line each. Clones are the same one.
#[derive(Clone, Default)]
struct Told(Rc<RefCell<Vec<String>>>);

impl Told {
    fn line(&self, line: impl Into<String>) {
        self.0.borrow_mut().push(line.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.borrow_mut())
    }

    /// The lines that begin with one of these words.
    fn take_of(&self, words: &[&str]) -> Vec<String> {
        let mut lines = self.take();
        lines.retain(|line| words.iter().any(|word| line.starts_with(word)));
        lines
    }
}

impl Observer for Told {
    fn turn_began(&mut self, at: Duration, turn: u64) {
        self.line(format!("turn {turn} at {at:?}"));
    }

    fn step_began(&mut self, _: Duration, step: Step) {
        self.line(format!("step {step}"));
    }

    fn wait_ended(&mut self, at: Duration, events: usize) {
        self.line(format!("waited, {events} events, at {at:?}"));
    }

    fn turn_ended(&mut self, _: Duration, end: &TurnEnd) {
        self.line(format!(
            "end of turn {}, {} events, {} callbacks, {} ready, {} dispatchers",
            end.turn, end.events, end.callbacks, end.ready, end.dispatchers
        ));
    }

    fn event_merged(&mut self, _: Duration, id: AnyId, event: Event) {
        self.line(format!("event {id} {}", bits(event)));
    }

    fn event_dropped(&mut self, _: Duration, id: AnyId) {
        self.line(format!("dropped {id}"));
    }

    fn callback_began(&mut self, at: Duration, begin: &CallbackBegin) {
        let CallbackBegin {
            id,
            callback,
            queued,
            waiting,
            ..
        } = begin;
        self.line(format!(
            "begin {callback} {id} at {at:?}, queued {queued:?}, {waiting} waiting"
        ));
    }

    fn callback_ended(&mut self, _: Duration, end: &CallbackEnd<'_>) {
        let outcome = match end.outcome {
            Outcome::Failed(error) => format!("failed: {:?}", error.kind()),
            other => format!("{other:?}"),
        };
        self.line(format!(
            "end {} {}, {outcome}, took {:?}, {} in, {} out",
            end.begin.callback, end.begin.id, end.took, end.bytes_in, end.bytes_out
        ));
    }

    fn added(&mut self, _: Duration, added: &Added<'_>) {
        self.line(format!(
            "added {} {} {:?} by {} ({})",
            added.type_name, added.id, added.kind, added.by, added.address
        ));
    }

    fn replaced(&mut self, _: Duration, replaced: &Added<'_>) {
        self.line(format!("replaced {} {}", replaced.type_name, replaced.id));
    }

    fn interest_changed(&mut self, _: Duration, id: AnyId, interest: Interest) {
        let Interest {
            reading, writing, ..
        } = interest;
        self.line(format!("interest {id} reading {reading} writing {writing}"));
    }

    fn mark_crossed(&mut self, _: Duration, id: AnyId, crossing: Crossing, queued: usize) {
        self.line(format!("mark {id} {crossing:?} {queued}"));
    }

    fn held(&mut self, _: Duration, id: AnyId, sink: AnyId) {
        self.line(format!("held {id} by {sink}"));
    }

    fn released(&mut self, _: Duration, id: AnyId) {
        self.line(format!("released {id}"));
    }

    fn flushed(&mut self, _: Duration, id: AnyId, written: usize, queued: usize) {
        self.line(format!("flushed {id} {written}, {queued} left"));
    }

    fn timer_fired(&mut self, _: Duration, id: AnyId, late: Duration) {
        self.line(format!("timer {id} late {late:?}"));
    }

    fn accepting_paused(&mut self, _: Duration, id: AnyId, reason: Refusal<'_>) {
        let reason = match reason {
            Refusal::Shortage(error) => format!("shortage {error:?}"),
            Refusal::Fault(error) => format!("fault {error:?}"),
            other => format!("{other:?}"),
        };
        self.line(format!("paused {id} {reason}"));
    }

    fn accepting_resumed(&mut self, _: Duration, id: AnyId) {
        self.line(format!("resumed {id}"));
    }

    fn closed(&mut self, _: Duration, id: AnyId, cause: Cause) {
        self.line(format!("closed {id} {cause}"));
    }
}

fn bits(event: Event) -> String {
    let Event {
        readable,
        writable,
        read_closed,
        hung_up,
        error,
        urgent,
        ..
    } = event;
    let all = [
        (readable, 'r'),
        (writable, 'w'),
        (read_closed, 'c'),
        (hung_up, 'h'),
        (error, 'e'),
        (urgent, 'u'),
    ];
    let set = all.into_iter().filter(|(is_set, _)| *is_set);
    set.map(|(_, letter)| letter).collect()
}

/// A reactor on a simulated clock, and what it tells.
fn observed() -> (Reactor, SimClock, Told) {
    let (mut reactor, clock) = clocked(&mut Reactor::builder());
    let told = Told::default();
    reactor.observe(told.clone());
    (reactor, clock, told)
}

fn clocked(builder: &mut slabloop::Builder) -> (Reactor, SimClock) {
    let clock = SimClock::new();
    let reactor = builder.clock(clock.clone()).build().expect("a poller");
    (reactor, clock)
}

/// Adds one end of a Unix pair; the other is the peer's.
fn add<D: Dispatcher>(reactor: &mut Reactor, dispatcher: D) -> (Id<D>, UnixStream) {
    let (ours, peer) = unix_pair();
    (reactor.add(ours, dispatcher).expect("room"), peer)
}

/// Turns that do not wait, so many.
fn turns(reactor: &mut Reactor, count: usize) {
    for _ in 0..count {
        turn_for(reactor, Duration::ZERO);
    }
}

// ---------------------------------------------------------------------------------------------------
// The order of an exchange.

/// Takes a millisecond for each message that it answers.
struct SlowEcho(SimClock);

impl Dispatcher for SlowEcho {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.0.advance(MILLISECOND);
        cx.recv_with(|bytes, cx| cx.send(bytes))
    }
}

#[test]
fn exchange_is_told_in_order_with_its_times_and_bytes() {
    let (mut reactor, clock, told) = observed();
    let (id, mut peer) = add(&mut reactor, SlowEcho(clock.clone()));
    assert_eq!(
        told.take(),
        [format!(
            "added SlowEcho {id} Stream by none (unnamed)",
            id = id.any()
        )]
    );
    clock.advance(5 * MILLISECOND);
    peer.write_all(b"hello").unwrap();
    turns(&mut reactor, 1);
    let id = id.any();
    let expected = [
        "turn 1 at 5ms".to_owned(),
        "step wait".to_owned(),
        "waited, 1 events, at 5ms".to_owned(),
        "step merge".to_owned(),
        format!("event {id} r"),
        "step dispatch".to_owned(),
        format!("begin handle_read {id} at 5ms, queued 0ns, 0 waiting"),
        format!("end handle_read {id}, Done, took 1ms, 5 in, 5 out"),
        "step flush".to_owned(),
        format!("flushed {id} 5, 0 left"),
        "end of turn 1, 1 events, 1 callbacks, 0 ready, 1 dispatchers".to_owned(),
    ];
    assert_eq!(told.take(), expected);
    peer.read_exact(&mut [0; 5]).unwrap();
    drop(peer);
    turns(&mut reactor, 1);
    let expected = [
        "turn 2 at 6ms".to_owned(),
        "step wait".to_owned(),
        "waited, 1 events, at 6ms".to_owned(),
        "step merge".to_owned(),
        format!("event {id} rch"),
        "step dispatch".to_owned(),
        format!("begin handle_read {id} at 6ms, queued 0ns, 0 waiting"),
        format!("end handle_read {id}, Done, took 1ms, 0 in, 0 out"),
        format!("begin handle_eof {id} at 7ms, queued 0ns, 0 waiting"),
        format!("end handle_eof {id}, Done, took 0ns, 0 in, 0 out"),
        "step flush".to_owned(),
        format!("closed {id} finished"),
        "step close".to_owned(),
        format!("begin handle_close {id} at 7ms, queued 0ns, 0 waiting"),
        format!("end handle_close {id}, Done, took 0ns, 0 in, 0 out"),
        "end of turn 2, 1 events, 3 callbacks, 0 ready, 0 dispatchers".to_owned(),
    ];
    assert_eq!(told.take(), expected);
}

#[test]
fn one_that_wants_few_reports_is_told_those_and_what_is_rare_and_others_are_told_all() {
    let (mut reactor, clock, told) = observed();
    let (id, mut peer) = add(&mut reactor, SlowEcho(clock.clone()));
    let id = id.any();
    let frugal = Told::default();
    reactor.observe(Frugal(frugal.clone()));
    told.take();
    clock.advance(5 * MILLISECOND);
    peer.write_all(b"hello").unwrap();
    turns(&mut reactor, 1);
    let expected = [
        format!("event {id}"),
        "end handle_read".to_owned(),
        "end, began 5ms, waited 0ns".to_owned(),
    ];
    assert_eq!(frugal.take(), expected);
    assert_eq!(told.take().len(), 11);

    // Alone as well: what nobody wants is not told.
    let _: Option<Told> = reactor.unobserve();
    peer.read_exact(&mut [0; 5]).unwrap();
    drop(peer);
    turns(&mut reactor, 1);
    let expected = [
        format!("event {id}"),
        "end handle_read".to_owned(),
        "end handle_eof".to_owned(),
        format!("closed {id}"),
        "end handle_close".to_owned(),
        "end, began 6ms, waited 0ns".to_owned(),
    ];
    assert_eq!(frugal.take(), expected);
    assert_eq!(told.take(), <[String; 0]>::default());
}

/// Wants the ends of callbacks alone, and accepts that they come late.
#[derive(Clone, Default)]
struct Patient(Told);

impl Observer for Patient {
    fn wants(&self) -> Reports {
        Reports::CALLBACK_ENDED
    }

    fn accepts_delay(&self) -> bool {
        true
    }

    fn turn_ended(&mut self, at: Duration, _: &TurnEnd) {
        self.0.line(format!("end at {at:?}"));
    }

    fn callback_ended(&mut self, at: Duration, end: &CallbackEnd<'_>) {
        let (queued, took) = (end.begin.queued, end.took);
        let callback = end.begin.callback;
        self.0.line(format!(
            "{callback} until {at:?}, queued {queued:?}, took {took:?}"
        ));
    }
}

#[test]
fn a_turns_only_event_is_measured_as_others_are_and_its_time_is_the_dispatchs() {
    let (mut reactor, clock) = clocked(&mut Reactor::builder());
    let patient = Patient::default();
    reactor.observe(patient.clone());
    let (id, mut peer) = add(&mut reactor, SlowEcho(clock.clone()));
    clock.advance(5 * MILLISECOND);
    peer.write_all(b"hello").unwrap();
    turns(&mut reactor, 1);
    let expected = ["handle_read until 6ms, queued 0ns, took 1ms", "end at 6ms"];
    assert_eq!(patient.0.take(), expected);
    let steps = reactor.at(id).expect("open").turn_times().steps;
    let mut expected = [0; Step::ALL.len()];
    expected[Step::Dispatch as usize] = 1_000_000;
    assert_eq!(steps, expected);
}

/// Sends what it gets to the other end of its pair, which is one of these as well.
struct Ping {
    read: Rc<Cell<usize>>,
    told: Told,
}

impl Ping {
    fn reads_told(told: &Told) -> usize {
        let lines = told.0.borrow();
        lines.iter().filter(|line| line.contains("read")).count()
    }
}

impl Dispatcher for Ping {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.read.set(self.read.get() + 1);
        match self.read.get() {
            10 => {
                assert!(Ping::reads_told(&self.told) < 9, "they are late");
                let told = self.told.clone();
                cx.defer(move |_| assert_eq!(Ping::reads_told(&told), 10));
            }
            20 => cx.stop(),
            _ => {}
        }
        cx.recv_with(|bytes, cx| cx.send(bytes))
    }
}

#[test]
fn what_is_told_late_is_told_before_a_closure_runs_and_before_run_returns() {
    let mut reactor = Reactor::new().unwrap();
    let (told, read) = (Told::default(), Rc::new(Cell::new(0)));
    reactor.observe(Patient(told.clone()));
    let (one, other) = unix_pair();
    let ids = [one, other].map(|end| {
        let ping = Ping {
            read: Rc::clone(&read),
            told: told.clone(),
        };
        reactor.add(end, ping).expect("room")
    });
    // Of the first turn observers are told at once.
    turns(&mut reactor, 1);
    reactor.at(ids[0]).unwrap().send(b"x").unwrap();
    reactor.run().unwrap();
    assert_eq!(Ping::reads_told(&told), 20);
}

#[test]
fn turn_in_which_nothing_happens_is_a_wait_and_nothing_else() {
    let (mut reactor, _, told) = observed();
    turns(&mut reactor, 1);
    let expected = [
        "turn 1 at 0ns",
        "step wait",
        "waited, 0 events, at 0ns",
        "end of turn 1, 0 events, 0 callbacks, 0 ready, 0 dispatchers",
    ];
    assert_eq!(told.take(), expected);
}

#[test]
fn second_of_two_that_are_ready_has_been_queued_while_the_first_ran() {
    let (mut reactor, clock, told) = observed();
    let (one, mut to_one) = add(&mut reactor, SlowEcho(clock.clone()));
    let (other, mut to_other) = add(&mut reactor, SlowEcho(clock.clone()));
    to_one.write_all(b"1").unwrap();
    turns(&mut reactor, 1);
    // Both are ready in the next turn, in the order of the events.
    to_other.write_all(b"2").unwrap();
    to_one.write_all(b"1").unwrap();
    told.take();
    turns(&mut reactor, 1);
    let mut begins = told.take_of(&["begin"]);
    let (one, other) = (one.any(), other.any());
    begins.sort();
    let first_queued = begins
        .iter()
        .filter(|line| line.contains("queued 0ns, 1 waiting"));
    assert_eq!(first_queued.count(), 1, "{begins:?}");
    let second = begins
        .iter()
        .filter(|line| line.contains("queued 1ms, 0 waiting"));
    assert_eq!(second.count(), 1, "{begins:?}");
    for id in [one, other] {
        assert!(
            begins
                .iter()
                .any(|line| line.contains(&format!("handle_read {id} ")))
        );
    }
}

#[test]
fn what_is_left_over_is_queued_from_the_end_of_the_callback_that_left_it() {
    let (mut reactor, clock, told) = observed();
    let in_read = clock.clone();
    let diary = Diary::default();
    let spy = Spy::new("reader", &diary).on_read(move |cx| {
        in_read.advance(2 * MILLISECOND);
        cx.recv(&mut [0; 1]).map(|_| ())
    });
    let (id, mut peer) = add(&mut reactor, spy);
    peer.write_all(b"ab").unwrap();
    turns(&mut reactor, 1);
    clock.advance(7 * MILLISECOND);
    told.take();
    turns(&mut reactor, 1);
    let id = id.any();
    let begins = told.take_of(&["begin"]);
    let expected = [format!(
        "begin handle_read {id} at 9ms, queued 7ms, 0 waiting"
    )];
    assert_eq!(begins, expected);
}

#[test]
fn slow_callback_is_warned_of_with_its_cost_to_others() {
    let clock = SimClock::new();
    let mut builder = Reactor::builder();
    builder
        .slow_callback(500 * MILLISECOND)
        .clock(clock.clone());
    let mut reactor = builder.build().expect("a poller");
    keep_log();
    struct Worker(SimClock, Duration);
    impl Dispatcher for Worker {
        fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            self.0.advance(self.1);
            cx.recv(&mut [0; 8]).map(|_| ())
        }
    }
    let mut add = |takes| {
        let script = Script::default();
        let worker = Worker(clock.clone(), takes);
        reactor.add(script.stream(), worker).expect("room").any()
    };
    let all = [3, 812, 1, 1].map(|takes| add(takes * MILLISECOND));
    for id in all {
        reactor.inject(id, Bits::READABLE);
    }
    turns(&mut reactor, 1);
    let mut lines = take_log();
    lines.retain(|(level, _)| *level == log::Level::Warn);
    let expected = format!(
        "Worker {} (a simulated socket) kept the loop for 812ms in handle_read; its event had waited 3ms, and 2 other \
         dispatchers waited meanwhile",
        all[1]
    );
    assert_eq!(lines, [(log::Level::Warn, expected)]);
}

#[test]
fn time_between_two_callbacks_is_no_part_of_the_second() {
    let clock = SimClock::new();
    let mut builder = Reactor::builder();
    builder.slow_callback(MILLISECOND).clock(clock.clone());
    let mut reactor = builder.build().expect("a poller");
    let (_, mut peer) = add(&mut reactor, Echo);
    for _ in 0..3 {
        clock.advance(100 * MILLISECOND);
        peer.write_all(b"x").unwrap();
        turns(&mut reactor, 1);
    }
    let counters = reactor.counters();
    assert_eq!((counters.callbacks, counters.slowest_us), (3, 0));
}

// ---------------------------------------------------------------------------------------------------
// Events, interest, flow control.

#[test]
fn event_for_a_dispatcher_that_is_gone_is_told_as_dropped() {
    let (mut reactor, _, told) = observed();
    let (id, _peer) = add(&mut reactor, Echo);
    reactor.at(id).unwrap().abort();
    turns(&mut reactor, 1);
    told.take();
    reactor.inject(id, Bits::READABLE);
    turns(&mut reactor, 1);
    assert_eq!(
        told.take_of(&["event", "dropped"]),
        [format!("dropped {}", id.any())]
    );
}

#[test]
fn change_of_interest_is_told_and_one_that_changes_nothing_is_not() {
    let (mut reactor, _, told) = observed();
    let (id, _peer) = add(&mut reactor, Echo);
    told.take();
    let mut cx = reactor.at(id).unwrap();
    cx.pause_reading();
    cx.pause_reading();
    cx.start_writing();
    cx.stop_writing();
    cx.resume_reading();
    cx.resume_reading();
    let id = id.any();
    let expected = [(false, false), (false, true), (false, false), (true, false)]
        .map(|(reading, writing)| format!("interest {id} reading {reading} writing {writing}"));
    assert_eq!(told.take(), expected);
}

#[test]
fn marks_holds_and_releases_are_told_once_each_way() {
    let (mut reactor, _, told) = observed();
    let diary = Diary::default();
    let (source, _feeding) = add(&mut reactor, Spy::new("source", &diary));
    let script = Script::default();
    script.with(|state| state.send.push_back(Err(libc_would_block())));
    let sink = reactor.add(script.stream(), Echo).expect("room");
    let (source, sink) = (source.any(), sink.any());
    reactor.at(source).unwrap().feeds(sink);
    let mut cx = reactor.at(sink).unwrap();
    cx.set_marks(10, 20, 100).expect("they are in order");
    told.take();
    cx.send(&[0; 25]).unwrap();
    let mut lines = told.take();
    lines.sort();
    let held = format!("held {source} by {sink}");
    let own = format!("held {sink} by {sink}");
    let mut expected = [held, own, format!("mark {sink} OverHigh 25")];
    expected.sort();
    assert_eq!(lines, expected);
    turns(&mut reactor, 1);
    assert_eq!(
        told.take_of(&["mark", "held", "released", "flushed"]),
        <[String; 0]>::default()
    );
    reactor.inject(sink, Bits::WRITABLE);
    turns(&mut reactor, 1);
    let mut lines = told.take_of(&["mark", "held", "released", "flushed"]);
    assert_eq!(lines.remove(0), format!("flushed {sink} 25, 0 left"));
    lines.sort();
    let mut expected = [
        format!("mark {sink} BelowLow 0"),
        format!("released {source}"),
        format!("released {sink}"),
    ];
    expected.sort();
    assert_eq!(lines, expected);
}

#[test]
fn who_is_held_for_two_reasons_is_told_of_once() {
    let (mut reactor, _, told) = observed();
    let mut full = || {
        let script = Script::default();
        script.with(|state| state.send.push_back(Err(libc_would_block())));
        let id = reactor.add(script.stream(), Echo).expect("room").any();
        let mut cx = reactor.at(id).unwrap();
        cx.feeds_nobody();
        cx.set_marks(10, 20, 100).expect("they are in order");
        id
    };
    let receivers = [full(), full()];
    let diary = Diary::default();
    let spy = Spy::new("sender", &diary).on_read(move |cx| {
        cx.recv(&mut [0; 8])?;
        cx.broadcast(receivers, &[0; 25]);
        Ok(())
    });
    let (sender, mut peer) = add(&mut reactor, spy);
    peer.write_all(b"x").unwrap();
    told.take();
    turns(&mut reactor, 1);
    let sender = sender.any();
    let held = format!("held {sender} by {}", receivers[0]);
    assert_eq!(told.take_of(&["held", "released"]), [held]);
    for receiver in receivers {
        reactor.inject(receiver, Bits::WRITABLE);
    }
    turns(&mut reactor, 1);
    let released = format!("released {sender}");
    assert_eq!(told.take_of(&["held", "released"]), [released]);
}

fn libc_would_block() -> i32 {
    11
}

#[test]
fn bytes_of_a_callback_are_those_that_it_had_accepted_for_whomever() {
    let (mut reactor, _, told) = observed();
    let diary = Diary::default();
    let (other, mut receiving) = add(&mut reactor, Spy::new("other", &diary));
    let spy = Spy::new("sender", &diary).on_read(move |cx| {
        cx.recv(&mut [0; 3])?;
        cx.send(b"1234")?;
        let mut other = cx.at(other).expect("it is there");
        other.send(&[7; 900_000])?;
        // What is thrown away had been accepted.
        other.abort();
        Ok(())
    });
    let (id, mut peer) = add(&mut reactor, spy);
    peer.write_all(b"abc").unwrap();
    told.take();
    turns(&mut reactor, 1);
    let id = id.any();
    let ends = told.take_of(&["end handle_read"]);
    assert_eq!(
        ends,
        [format!(
            "end handle_read {id}, Done, took 0ns, 3 in, 900004 out"
        )]
    );
    let mut all = Vec::new();
    let _ = receiving.read_to_end(&mut all);
}

// ---------------------------------------------------------------------------------------------------
// Timers, posts and closures.

#[test]
fn timer_tells_how_late_it_fired() {
    let (mut reactor, clock, told) = observed();
    let diary = Diary::default();
    let (id, _peer) = add(&mut reactor, Spy::new("timed", &diary));
    reactor.at(id).unwrap().set_timer(10 * MILLISECOND);
    reactor.call_later(20 * MILLISECOND, |_| {});
    clock.advance(25 * MILLISECOND);
    told.take();
    turns(&mut reactor, 1);
    let id = id.any();
    let expected = [
        "step timers".to_owned(),
        format!("timer {id} late 15ms"),
        format!("begin handle_timer {id} at 25ms, queued 0ns, 0 waiting"),
        format!("end handle_timer {id}, Done, took 0ns, 0 in, 0 out"),
        "timer none late 5ms".to_owned(),
        "begin a timer's closure none at 25ms, queued 0ns, 0 waiting".to_owned(),
        "end a timer's closure none, Done, took 0ns, 0 in, 0 out".to_owned(),
    ];
    assert_eq!(
        told.take_of(&["step timers", "timer", "begin", "end handle", "end a"]),
        expected
    );
}

#[test]
fn deferred_and_posted_closures_are_told_in_one_step() {
    let (mut reactor, clock, told) = observed();
    let in_post = clock.clone();
    let post = move |_: &mut Reactor| in_post.advance(3 * MILLISECOND);
    reactor.handle().post(post).expect("room");
    let diary = Diary::default();
    let (id, _peer) = add(&mut reactor, Spy::new("deferring", &diary));
    reactor.at(id).unwrap().defer(|_| {});
    told.take();
    turns(&mut reactor, 1);
    let expected = [
        "step posts",
        "begin a deferred closure none at 0ns, queued 0ns, 0 waiting",
        "end a deferred closure none, Done, took 0ns, 0 in, 0 out",
        "begin a posted closure none at 0ns, queued 0ns, 0 waiting",
        "end a posted closure none, Done, took 3ms, 0 in, 0 out",
    ];
    let lines = told.take_of(&["step posts", "begin", "end a"]);
    assert_eq!(lines, expected);
}

/// On the real clock, for it is that by which other threads post.
#[test]
fn post_tells_how_long_it_has_waited_however_the_observer_was_added() {
    struct Waits(Rc<RefCell<Vec<Duration>>>);
    impl Observer for Waits {
        fn callback_began(&mut self, _: Duration, begin: &CallbackBegin) {
            if begin.callback == Callback::Post {
                self.0.borrow_mut().push(begin.queued);
            }
        }
    }
    for through_a_context in [false, true] {
        let mut reactor = Reactor::new().expect("a poller");
        let waits = Rc::default();
        let observer = Waits(Rc::clone(&waits));
        if through_a_context {
            let service = reactor.add_service(Echo).expect("room");
            reactor.at(service).expect("there").observe(observer);
            turns(&mut reactor, 1);
        } else {
            reactor.observe(observer);
        }
        reactor.handle().post(|_| {}).expect("room");
        let posted = Instant::now();
        while posted.elapsed() < MILLISECOND {
            std::hint::spin_loop();
        }
        turns(&mut reactor, 1);
        let waits = waits.borrow();
        assert!(waits.len() == 1 && waits[0] >= MILLISECOND, "{waits:?}");
    }
}

#[test]
fn who_is_called_is_not_among_those_that_wait_though_it_is_ready_itself() {
    let (mut reactor, clock, told) = observed();
    let diary = Diary::default();
    let spy = Spy::new("reader", &diary).on_read(|cx| cx.recv(&mut [0; 1]).map(|_| ()));
    let (id, mut peer) = add(&mut reactor, spy);
    peer.write_all(b"abcd").unwrap();
    reactor.at(id).unwrap().set_timer(10 * MILLISECOND);
    turns(&mut reactor, 1);
    told.take();
    clock.advance(10 * MILLISECOND);
    turns(&mut reactor, 1);
    let id = id.any();
    let expected = [format!(
        "begin handle_timer {id} at 10ms, queued 0ns, 0 waiting"
    )];
    assert_eq!(told.take_of(&["begin handle_timer"]), expected);
}

#[test]
fn dispatch_that_only_goes_on_with_what_a_panic_left_is_told_as_a_step() {
    let mut builder = Reactor::builder();
    let (mut reactor, _) = clocked(builder.panic_policy(PanicPolicy::Propagate));
    let told = Told::default();
    reactor.observe(told.clone());
    let diary = Diary::default();
    let mut peers = Vec::new();
    let has_panicked = Rc::new(Cell::new(false));
    for _ in 0..3 {
        let has_panicked = Rc::clone(&has_panicked);
        let spy = Spy::new("reader", &diary).on_read(move |cx| {
            assert!(has_panicked.replace(true), "on purpose");
            cx.recv(&mut [0; 8]).map(|_| ())
        });
        let (_, mut peer) = add(&mut reactor, spy);
        peer.write_all(b"x").unwrap();
        peers.push(peer);
    }
    let turn = AssertUnwindSafe(|| reactor.turn(Duration::ZERO));
    assert!(catch_unwind(turn).is_err());
    told.take();
    turns(&mut reactor, 1);
    let steps = told.take_of(&["step dispatch", "begin handle_read"]);
    assert_eq!(steps[0], "step dispatch");
    assert_eq!(steps.len(), 3, "and the two that were left: {steps:?}");
}

// ---------------------------------------------------------------------------------------------------
// Coming and going.

#[test]
fn newcomers_are_told_with_whose_callback_added_them_and_a_pause_with_its_reason() {
    let clock = SimClock::new();
    let mut builder = Reactor::builder();
    builder.max_connections(1).clock(clock);
    let told = Told::default();
    let mut reactor = builder.build().expect("a poller");
    reactor.observe(told.clone());
    let (first, second) = (Script::default(), Script::default());
    let listener = Script::accepting([Ok(first), Ok(second), Err(11)]);
    let accepting = Accepting(|| Echo);
    let listener = reactor
        .add(listener.listener(), accepting)
        .expect("room")
        .any();
    reactor.inject(listener, Bits::READABLE);
    told.take();
    turns(&mut reactor, 1);
    let lines = told.take_of(&["added", "paused", "resumed"]);
    let [added, paused] = &lines[..] else {
        panic!("{lines:?}");
    };
    assert!(added.contains(&format!("Stream by {listener} ")), "{added}");
    assert_eq!(*paused, format!("paused {listener} Limit"));
    let id = reactor
        .ids()
        .into_iter()
        .find(|id| *id != listener)
        .unwrap();
    reactor.at(id).unwrap().abort();
    turns(&mut reactor, 1);
    let lines = told.take_of(&["closed", "resumed"]);
    assert_eq!(
        lines,
        [
            format!("closed {id} aborted"),
            format!("resumed {listener}")
        ]
    );
}

#[test]
fn shortage_and_a_fault_while_accepting_are_told_with_the_error() {
    const EMFILE: i32 = 24;
    const EACCES: i32 = 13;
    /// Keeps its listener, whatever happens.
    struct Patient;
    impl Dispatcher for Patient {
        fn handle_error(&mut self, _: &mut Context<'_>, _: io::Error) {}
    }
    let (mut reactor, _, told) = observed();
    for (errno, word) in [(EMFILE, "shortage"), (EACCES, "fault")] {
        let listener = Script::accepting([Err(errno)]).listener();
        let id = reactor.add(listener, Patient).expect("room").any();
        reactor.inject(id, Bits::READABLE);
        told.take();
        turns(&mut reactor, 1);
        let lines = told.take_of(&["paused"]);
        let expected = format!("paused {id} {word} Os {{ code: {errno}");
        assert!(
            lines.len() == 1 && lines[0].starts_with(&expected),
            "{lines:?}"
        );
    }
}

#[test]
fn cause_of_an_end_is_told_once_whatever_it_was() {
    let (mut reactor, clock, told) = observed();
    let diary = Diary::default();
    let failing = Spy::new("failing", &diary).on_read(|_| Err(io::ErrorKind::InvalidData.into()));
    let (failing, mut to_failing) = add(&mut reactor, failing);
    let (idle, _to_idle) = add(&mut reactor, Spy::new("idle", &diary));
    reactor.at(idle).unwrap().set_idle_timeout(MILLISECOND);
    to_failing.write_all(b"x").unwrap();
    clock.advance(2 * MILLISECOND);
    turns(&mut reactor, 1);
    drop(to_failing);
    turns(&mut reactor, 2);
    let (failing, idle) = (failing.any(), idle.any());
    let mut lines = told.take_of(&["closed"]);
    lines.sort();
    let mut expected = [
        format!("closed {failing} failed: invalid data"),
        format!("closed {idle} idle timeout"),
    ];
    expected.sort();
    assert_eq!(lines, expected);
}

#[test]
fn successor_is_told_under_the_old_id() {
    struct Greeting;
    impl Dispatcher for Greeting {
        fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            cx.recv(&mut [0; 8])?;
            cx.replace(Echo).map(|_| ())
        }
    }
    let (mut reactor, _, told) = observed();
    let (id, mut peer) = add(&mut reactor, Greeting);
    peer.write_all(b"x").unwrap();
    turns(&mut reactor, 1);
    assert_eq!(
        told.take_of(&["replaced"]),
        [format!("replaced Echo {}", id.any())]
    );
}

// ---------------------------------------------------------------------------------------------------
// Panics.

#[test]
fn callback_that_panics_is_told_to_have_ended() {
    for policy in [PanicPolicy::Contain, PanicPolicy::Propagate] {
        let (mut reactor, clock) = clocked(Reactor::builder().panic_policy(policy));
        let told = Told::default();
        reactor.observe(told.clone());
        let diary = Diary::default();
        let in_read = clock.clone();
        let spy = Spy::new("panicking", &diary).on_read(move |_| {
            in_read.advance(4 * MILLISECOND);
            panic!("wanted: panic in a callback")
        });
        let (id, mut peer) = add(&mut reactor, spy);
        peer.write_all(b"x").unwrap();
        told.take();
        let turn = AssertUnwindSafe(|| reactor.turn(Duration::ZERO));
        let outcome = catch_unwind(turn);
        assert_eq!(outcome.is_err(), policy == PanicPolicy::Propagate);
        let id = id.any();
        let lines = told.take_of(&["end", "closed"]);
        assert_eq!(
            lines[..2],
            [
                format!("end handle_read {id}, Panicked, took 4ms, 0 in, 0 out"),
                format!("closed {id} panic in a callback"),
            ]
        );
        // A turn that is cut short has ended as well.
        assert!(
            lines.last().unwrap().starts_with("end of turn 1"),
            "{lines:?}"
        );
    }
}

#[test]
fn panic_in_a_closure_of_call_is_no_end_of_the_callback_that_called() {
    let (mut reactor, _, told) = observed();
    let diary = Diary::default();
    let (other, _keep) = add(&mut reactor, Spy::new("other", &diary));
    let spy = Spy::new("caller", &diary).on_read(move |cx| {
        cx.recv(&mut [0; 8])?;
        let outcome = cx.call(other, |_, _| panic!("wanted: panic in a closure"));
        assert!(outcome.is_err());
        cx.send(b"still here")
    });
    let (id, mut peer) = add(&mut reactor, spy);
    peer.write_all(b"x").unwrap();
    told.take();
    turns(&mut reactor, 1);
    let id = id.any();
    let expected = [format!(
        "end handle_read {id}, Done, took 0ns, 1 in, 10 out"
    )];
    assert_eq!(told.take_of(&["end handle_read"]), expected);
}

#[test]
fn observer_that_panics_is_removed_and_the_others_and_the_loop_go_on() {
    struct Fragile;
    impl Observer for Fragile {
        fn callback_began(&mut self, _: Duration, _: &CallbackBegin) {
            panic!("wanted: panic in an observer");
        }
    }
    let (mut reactor, _) = clocked(&mut Reactor::builder());
    let told = Told::default();
    reactor.observe(Fragile);
    reactor.observe(told.clone());
    assert!(reactor.observer::<Fragile>().is_some());
    let (id, mut peer) = add(&mut reactor, Echo);
    keep_log();
    peer.write_all(b"x").unwrap();
    turns(&mut reactor, 1);
    assert!(reactor.observer::<Fragile>().is_none());
    let id = id.any();
    let lines = told.take_of(&["begin", "end handle"]);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[1].contains(&format!("handle_read {id}, Done")));
    let mut errors = take_log();
    errors.retain(|(level, _)| *level == log::Level::Error);
    assert_eq!(errors.len(), 1, "{errors:?}");
    for part in ["Fragile", "wanted: panic in an observer"] {
        assert!(errors[0].1.contains(part), "{errors:?}");
    }
    assert_eq!(reactor.counters().panics, 0, "it is no callback");
    let mut answer = [0; 1];
    peer.read_exact(&mut answer).unwrap();
}

// ---------------------------------------------------------------------------------------------------
// At run time.

#[test]
fn late_observer_is_told_who_is_there_and_then_everything() {
    let (mut reactor, _) = clocked(&mut Reactor::builder());
    let (id, mut peer) = add(&mut reactor, Echo);
    let told = Told::default();
    reactor.observe(told.clone());
    let id = id.any();
    assert_eq!(
        told.take(),
        [format!("added Echo {id} Stream by none (unnamed)")]
    );
    peer.write_all(b"x").unwrap();
    turns(&mut reactor, 1);
    assert_eq!(told.take_of(&["turn", "begin"]).len(), 2);
}

/// While nobody observed nothing was noted, and what had been noted before is long out of date.
#[test]
fn observer_that_comes_back_sees_those_wait_that_are_ready_from_then_on() {
    let (mut reactor, clock, told) = observed();
    let diary = Diary::default();
    let spy = Spy::new("reader", &diary).on_read(|cx| cx.recv(&mut [0; 1]).map(|_| ()));
    let (id, mut peer) = add(&mut reactor, spy);
    peer.write_all(b"abcd").unwrap();
    turns(&mut reactor, 1);
    assert!(reactor.unobserve::<Told>().is_some());
    clock.advance(10 * MILLISECOND);
    turns(&mut reactor, 1);
    reactor.observe(told.clone());
    clock.advance(2 * MILLISECOND);
    told.take();
    turns(&mut reactor, 1);
    let id = id.any();
    let expected = [format!(
        "begin handle_read {id} at 12ms, queued 2ms, 0 waiting"
    )];
    assert_eq!(told.take_of(&["begin"]), expected);
}

#[test]
fn observer_added_in_a_callback_begins_with_the_next_turn() {
    let (mut reactor, clock) = clocked(&mut Reactor::builder());
    let told = Told::default();
    let new = told.clone();
    let diary = Diary::default();
    let spy = Spy::new("adding", &diary).on_read(move |cx| {
        cx.recv(&mut [0; 1])?;
        if cx.observer::<Told>().is_none() {
            cx.observe(new.clone());
        }
        assert!(cx.observer::<Told>().is_some());
        cx.observer_mut::<Told>()
            .expect("it is there")
            .line("found");
        cx.add_service(Echo)?;
        Ok(())
    });
    let (id, mut peer) = add(&mut reactor, spy);
    peer.write_all(b"ab").unwrap();
    turns(&mut reactor, 1);
    assert_eq!(told.take(), ["found"]);
    clock.advance(2 * MILLISECOND);
    turns(&mut reactor, 1);
    let id = id.any();
    let lines = told.take();
    assert!(
        lines[0].starts_with("added ") && lines[1].starts_with("added "),
        "{lines:?}"
    );
    assert_eq!(lines[2], "turn 2 at 2ms");
    // Nobody had noted when it became ready: it counts from when somebody looks.
    let begin = format!("begin handle_read {id} at 2ms, queued 0ns, 0 waiting");
    assert!(lines.contains(&begin), "{lines:?}");
}

#[test]
fn nothing_is_told_after_unobserve_even_of_a_callback_that_began_before() {
    let (mut reactor, clock, told) = observed();
    let diary = Diary::default();
    let spy = Spy::new("leaving", &diary).on_read(|cx| {
        cx.recv(&mut [0; 8])?;
        if cx.unobserve::<Told>().is_some() {
            assert!(cx.unobserve::<Told>().is_none());
        }
        Ok(())
    });
    let (_, mut peer) = add(&mut reactor, spy);
    peer.write_all(b"x").unwrap();
    turns(&mut reactor, 1);
    let lines = told.take();
    assert!(
        lines.last().unwrap().starts_with("begin handle_read"),
        "{lines:?}"
    );
    peer.write_all(b"y").unwrap();
    let before = clock.reads();
    turns(&mut reactor, 1);
    assert_eq!(told.take(), <[String; 0]>::default());
    assert_eq!(clock.reads() - before, 1, "the wait's");
    // A panic now is no end of that callback.
    let (id, mut peer) = add(
        &mut reactor,
        Spy::new("p", &diary).on_read(|_| panic!("wanted")),
    );
    peer.write_all(b"x").unwrap();
    turns(&mut reactor, 1);
    assert_eq!(reactor.end_of(id), Some(Cause::Panic));
}

#[test]
fn builder_makes_an_observer_for_each_reactor() {
    let mut builder = Reactor::builder();
    builder.observer(|| Ring::new(7)).observer(|| Ring::new(8));
    for _ in 0..2 {
        let mut reactor = builder.build().expect("a poller");
        turns(&mut reactor, 1);
        let ring = reactor.unobserve::<Ring>().expect("the first");
        assert!(!ring.is_empty());
        assert!(reactor.unobserve::<Ring>().is_some());
        assert!(reactor.unobserve::<Ring>().is_none());
    }
}

#[test]
fn without_an_observer_a_turn_reads_the_clock_once() {
    let (mut reactor, clock) = clocked(&mut Reactor::builder());
    let (_, mut peer) = add(&mut reactor, Echo);
    turns(&mut reactor, 1);
    for observed in [false, true, false] {
        if observed {
            reactor.observe(Told::default());
        } else {
            reactor.unobserve::<Told>();
        }
        peer.write_all(b"x").unwrap();
        let before = clock.reads();
        turns(&mut reactor, 1);
        let reads = clock.reads() - before;
        // The turn's begin and end, the end of the wait, where the callback begins, and the end of the callback.
        assert_eq!(reads, if observed { 4 } else { 1 });
    }
}

#[test]
fn the_first_of_few_callbacks_begins_when_the_wait_ends() {
    for (ready, read_at_its_beginning) in [(4, 0), (5, 1)] {
        let (mut reactor, clock) = clocked(&mut Reactor::builder());
        reactor.observe(Told::default());
        let mut peers: Vec<_> = (0..ready).map(|_| add(&mut reactor, Echo).1).collect();
        turns(&mut reactor, 1);
        for peer in &mut peers {
            peer.write_all(b"x").unwrap();
        }
        let before = (clock.reads(), reactor.counters().callbacks);
        turns(&mut reactor, 1);
        let callbacks = reactor.counters().callbacks - before.1;
        assert_eq!(callbacks, ready, "all in one turn");
        // The turn's begin and end, the end of the wait, and the ends of the callbacks.
        let expected = 3 + ready + read_at_its_beginning;
        assert_eq!(clock.reads() - before.0, expected, "{ready} ready");
    }
}

// ---------------------------------------------------------------------------------------------------
// What begins also ends.

/// Panics if turns, steps and callbacks are not told in good order.
#[derive(Default)]
struct Nesting {
    turn: Option<u64>,
    step: Option<Step>,
    callback: Option<CallbackBegin>,
    at: Duration,
    callbacks: u64,
    turns: u64,
}

impl Nesting {
    fn pass(&mut self, at: Duration) {
        assert!(at >= self.at, "time goes on");
        self.at = at;
    }
}

impl Observer for Nesting {
    fn turn_began(&mut self, at: Duration, turn: u64) {
        self.pass(at);
        assert_eq!(
            (self.turn.replace(turn), self.step, self.callback),
            (None, None, None)
        );
    }

    fn step_began(&mut self, at: Duration, step: Step) {
        self.pass(at);
        assert!(self.turn.is_some() && self.callback.is_none());
        let before = self.step.replace(step);
        assert!(before < Some(step), "{step} after {before:?}");
    }

    fn wait_ended(&mut self, at: Duration, _: usize) {
        self.pass(at);
        assert_eq!(self.step, Some(Step::Wait));
    }

    fn turn_ended(&mut self, at: Duration, end: &TurnEnd) {
        self.pass(at);
        assert_eq!(self.turn.take(), Some(end.turn));
        assert_eq!(self.callback, None);
        self.step = None;
        self.turns += 1;
    }

    fn callback_began(&mut self, at: Duration, begin: &CallbackBegin) {
        self.pass(at);
        assert_eq!(self.callback.replace(*begin), None);
        let step = match begin.callback {
            Callback::Timer | Callback::Closure => Step::Timers,
            Callback::Deferred | Callback::Post => Step::Posts,
            Callback::Sent | Callback::Gone => Step::Flush,
            Callback::Close => Step::Close,
            Callback::Read | Callback::Accept | Callback::Connect => Step::Dispatch,
            _ => self.step.expect("in a step"),
        };
        assert_eq!(self.step, Some(step), "{begin:?}");
    }

    fn callback_ended(&mut self, at: Duration, end: &CallbackEnd<'_>) {
        self.pass(at);
        assert_eq!(self.callback.take(), Some(end.begin));
        self.callbacks += 1;
    }

    fn added(&mut self, at: Duration, added: &Added<'_>) {
        self.pass(at);
        if added.by != AnyId::NONE {
            assert_eq!(self.callback.map(|begin| begin.id), Some(added.by));
        }
    }

    fn closed(&mut self, at: Duration, _: AnyId, _: Cause) {
        self.pass(at);
    }
}

/// Does something else in each callback: the next of its list.
struct Busy {
    steps: Vec<u8>,
    clock: SimClock,
}

impl Busy {
    fn act(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.clock.advance(MILLISECOND);
        match self.steps.pop().unwrap_or(u8::MAX) % 14 {
            0 => cx.send(&[1; 100]),
            1 => cx.send(&[1; 100_000]),
            2 => {
                cx.set_timer(MILLISECOND);
                Ok(())
            }
            3 => Err(io::ErrorKind::InvalidData.into()),
            4 => panic!("wanted: panic in a callback"),
            5 => {
                let _ = cx.notify_when_sent();
                cx.send(b"x")
            }
            6 => {
                cx.defer(|reactor| reactor.handle().post(|_| {}).expect("room"));
                Ok(())
            }
            7 => {
                cx.close();
                Ok(())
            }
            8 => {
                cx.call_later(MILLISECOND, |_| panic!("wanted: panic in a closure"));
                Ok(())
            }
            9 => {
                let (ours, mut peer) = unix_pair();
                peer.write_all(b"go")?;
                let steps = self.steps.clone();
                let clock = self.clock.clone();
                cx.add(ours, Busy { steps, clock })?;
                Ok(())
            }
            10 => {
                cx.start_writing();
                Ok(())
            }
            11 => cx.replace(Echo).map(|_| ()),
            _ => {
                cx.recv(&mut [0; 4096])?;
                Ok(())
            }
        }
    }
}

impl Dispatcher for Busy {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.act(cx)
    }

    fn handle_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.stop_writing();
        self.act(cx)
    }

    fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        self.act(cx)
    }

    fn handle_sent(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.act(cx)
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_callbacks_do_what_begins_also_ends_in_its_place(
        programs in proptest::collection::vec(proptest::collection::vec(0u8..14, 0..12), 1..5)
    ) {
        let (mut reactor, clock) = clocked(&mut Reactor::builder());
        reactor.observe(Nesting::default());
        let mut peers = Vec::new();
        for steps in programs {
            let (_, mut peer) = add(&mut reactor, Busy { steps, clock: clock.clone() });
            peer.write_all(b"some input").unwrap();
            peers.push(peer);
        }
        for round in 0..20 {
            turns(&mut reactor, 1);
            clock.advance(MILLISECOND);
            if round == 15 {
                peers.clear();
            }
        }
        let counters = reactor.counters();
        let nesting = reactor.unobserve::<Nesting>().expect("it has not panicked");
        assert_eq!(nesting.turns, counters.turns);
        assert!(nesting.callbacks >= counters.callbacks, "closures count as well");
    }
}

// ---------------------------------------------------------------------------------------------------
// The ring.

#[test]
fn ring_keeps_the_last_records_and_counts_the_others() {
    let (mut reactor, _) = clocked(&mut Reactor::builder());
    reactor.observe(Ring::new(8).keep_events(false).keep_flushes(false));
    let (id, mut peer) = add(&mut reactor, Echo);
    let id = id.any();
    for _ in 0..2 {
        peer.write_all(b"x").unwrap();
        turns(&mut reactor, 1);
    }
    let ring = reactor.observer::<Ring>().expect("it was added");
    // One for the newcomer, and for each turn begin, four steps, the end of the wait, a callback and the end.
    assert_eq!((ring.next_number(), ring.len(), ring.lost()), (17, 8, 9));
    assert_eq!(ring.first_number(), 9);
    let first = ring.iter().next().map(|record| record.what);
    assert_eq!(first, Some(What::TurnBegan(2)));
    assert_eq!(ring.since(16).len(), 1);
    assert_eq!(ring.since(3).len(), 8, "there is a gap");
    assert_eq!(ring.since(99).len(), 0);
    let callbacks = ring.iter().filter_map(|record| match record.what {
        What::Callback {
            begin,
            bytes_in,
            bytes_out,
            ..
        } => Some((begin.id, bytes_in, bytes_out)),
        _ => None,
    });
    assert_eq!(callbacks.collect::<Vec<_>>(), [(id, 1, 1)]);
    let label = ring
        .labels()
        .get(id)
        .expect("it lives, though its arrival is lost");
    assert_eq!((&*label.type_name, label.kind), ("Echo", Kind::Stream));
}

#[test]
fn ring_forgets_a_name_with_the_record_of_its_end() {
    let (mut reactor, _) = clocked(&mut Reactor::builder());
    reactor.observe(Ring::new(100));
    let (id, _peer) = add(&mut reactor, Echo);
    let id = id.any();
    reactor.at(id).unwrap().abort();
    turns(&mut reactor, 1);
    let ring = reactor.observer_mut::<Ring>().expect("it was added");
    assert!(ring.labels().get(id).is_some());
    let mut seen = Vec::new();
    ring.drain(|record, labels| {
        if let What::Closed { id, cause } = record.what {
            seen.push((labels.get(id).map(|label| label.type_name.clone()), cause));
        }
    });
    assert_eq!(seen, [(Some("Echo".to_owned()), Cause::Aborted)]);
    assert!(ring.is_empty() && ring.labels().is_empty() && ring.lost() == 0);
    assert_eq!(ring.first_number(), ring.next_number());
    for _ in 0..300 {
        let (id, _peer) = add(&mut reactor, Echo);
        reactor.at(id).unwrap().abort();
        turns(&mut reactor, 1);
    }
    let ring = reactor.observer::<Ring>().expect("it was added");
    assert!(ring.labels().len() <= 100, "as many as there are records");
    assert_eq!(ring.len(), 100);
}

/// Each report is a record of its own, with what it said.
#[test]
fn a_ring_keeps_the_rarer_reports_as_they_came() {
    let mut reactor = Reactor::new().expect("a poller");
    let mut add = || reactor.add_service(Idle).expect("room").any();
    let (one, two) = (add(), add());
    let at = Duration::from_millis(7);
    let error = io::Error::from(io::ErrorKind::OutOfMemory);
    let mut ring = Ring::new(100);
    ring.mark_crossed(at, one, Crossing::OverHigh, 9_000);
    ring.held(at, one, two);
    ring.released(at, one);
    ring.flushed(at, two, 5, 6);
    ring.timer_fired(at, one, Duration::from_millis(2));
    for reason in [
        Refusal::Limit,
        Refusal::Shortage(&error),
        Refusal::Fault(&error),
        Refusal::OverTotal,
    ] {
        ring.accepting_paused(at, two, reason);
    }
    ring.accepting_resumed(at, two);
    ring.event_dropped(at, one);
    let paused = |reason| What::AcceptingPaused { id: two, reason };
    let expected = [
        What::Mark {
            id: one,
            crossing: Crossing::OverHigh,
            queued: 9_000,
        },
        What::Held { id: one, sink: two },
        What::Released { id: one },
        What::Flushed {
            id: two,
            written: 5,
            queued: 6,
        },
        What::Timer {
            id: one,
            late: Duration::from_millis(2),
        },
        paused(Shortage::Limit),
        paused(Shortage::Shortage(io::ErrorKind::OutOfMemory)),
        paused(Shortage::Fault(io::ErrorKind::OutOfMemory)),
        paused(Shortage::OverTotal),
        What::AcceptingResumed { id: two },
        What::Dropped { id: one },
    ];
    let kept: Vec<What> = ring.iter().map(|record| record.what).collect();
    assert_eq!(kept, expected);
    assert!(ring.iter().all(|record| record.at == at));
}

struct Idle;

impl Dispatcher for Idle {}

/// Also what comes seldom. Each report is handed over as the reactor does it, and has to be in the record as it was.
#[test]
fn ring_has_a_record_of_each_kind_of_report() {
    let (mut reactor, _) = clocked(&mut Reactor::builder());
    let (one, _peer) = add(&mut reactor, Echo);
    let (other, _peer) = add(&mut reactor, Echo);
    let (id, sink) = (one.any(), other.any());
    let at = Duration::from_secs(3);
    let mut ring = Ring::new(100);
    let error = io::Error::from(io::ErrorKind::OutOfMemory);
    ring.event_dropped(at, id);
    ring.mark_crossed(at, id, Crossing::OverHigh, 70);
    ring.held(at, id, sink);
    ring.released(at, id);
    ring.flushed(at, id, 60, 10);
    ring.timer_fired(at, id, Duration::from_millis(5));
    ring.accepting_paused(at, id, Refusal::Limit);
    ring.accepting_paused(at, id, Refusal::OverTotal);
    ring.accepting_paused(at, id, Refusal::Shortage(&error));
    ring.accepting_paused(at, id, Refusal::Fault(&error));
    ring.accepting_resumed(at, id);
    ring.closed(at, id, Cause::Aborted);
    let paused = |reason| What::AcceptingPaused { id, reason };
    let kept: Vec<_> = ring.iter().map(|record| (record.at, record.what)).collect();
    let expected = [
        What::Dropped { id },
        What::Mark {
            id,
            crossing: Crossing::OverHigh,
            queued: 70,
        },
        What::Held { id, sink },
        What::Released { id },
        What::Flushed {
            id,
            written: 60,
            queued: 10,
        },
        What::Timer {
            id,
            late: Duration::from_millis(5),
        },
        paused(Shortage::Limit),
        paused(Shortage::OverTotal),
        paused(Shortage::Shortage(io::ErrorKind::OutOfMemory)),
        paused(Shortage::Fault(io::ErrorKind::OutOfMemory)),
        What::AcceptingResumed { id },
        What::Closed {
            id,
            cause: Cause::Aborted,
        },
    ];
    assert_eq!(kept, expected.map(|what| (at, what)));
}

/// What a reactor reports of a callback, of interest and of a successor; and the names of all.
#[test]
fn ring_knows_who_runs_who_is_there_and_what_they_want() {
    let (mut reactor, _) = clocked(&mut Reactor::builder());
    reactor.observe(Ring::new(100));
    let (one, mut peer) = add(&mut reactor, Echo);
    let (other, _other_peer) = add(&mut reactor, Echo);
    reactor.at(one).unwrap().start_writing();
    reactor.at(one).unwrap().stop_writing();
    peer.write_all(b"x").unwrap();
    turns(&mut reactor, 1);
    let ring = reactor.observer_mut::<Ring>().expect("it was added");
    let interests = ring
        .iter()
        .filter(|record| matches!(record.what, What::Interest { id, .. } if id == one.any()));
    assert_eq!(interests.count(), 2);
    assert_eq!(ring.labels().len(), 2);
    let mut ids: Vec<_> = ring.labels().iter().map(|(id, _)| id).collect();
    ids.sort();
    let mut expected = [one.any(), other.any()];
    expected.sort();
    assert_eq!(ids, expected);
    let begin = ring.iter().find_map(|record| match record.what {
        What::Callback { begin, .. } => Some(begin),
        _ => None,
    });
    let begin = begin.expect("the byte was read");
    assert_eq!(ring.running(), None, "between two turns");
    ring.callback_began(Duration::ZERO, &begin);
    assert_eq!(ring.running(), Some(begin));
}
