//! Time: timers that are never early and ask for no more waits than they need, jumps of the clock,
//! timers cancelled while they are due, and the reactor's own deadlines.
//!
//! All but two tests run on a simulated clock. Where waits are counted, a kernel of the test's own
//! moves it by the time-out it is given, rounded as epoll rounds: up to the next millisecond.

mod util;

use std::cell::{Cell, RefCell};
use std::io::{self, BufRead, BufReader, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use mio::Token;
use slabloop::testing::{Bits, SimClock, SimKernel, SimKind, SimSocket};
use slabloop::{
    AnyId, Context, Dispatcher, Id, PanicPolicy, Reactor, Socket, SocketOptions, TimerId,
};
use util::*;

const NANOSECOND: Duration = Duration::from_nanos(1);
const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// A reactor whose clock stands still until the test moves it.
fn still(clock: &SimClock) -> Reactor {
    Reactor::builder().clock(clock.clone()).build().unwrap()
}

/// A kernel without events, in which waiting moves the clock: for whole milliseconds, up to the longest
/// that epoll takes, and then `late` more.
struct Sleeping {
    clock: SimClock,
    late: Box<dyn FnMut() -> Duration>,
}

impl SimKernel for Sleeping {
    fn wait(&mut self, timeout: Option<Duration>, _: &mut Vec<(Token, u32)>) -> io::Result<()> {
        let timeout = timeout.expect("nothing would ever end this wait");
        let longest = Duration::from_millis(i32::MAX.unsigned_abs().into());
        let millis = timeout.min(longest).as_nanos().div_ceil(1_000_000);
        let millis = u64::try_from(millis).expect("at most the longest");
        self.clock.advance(Duration::from_millis(millis));
        if timeout > Duration::ZERO {
            self.clock.advance((self.late)());
        }
        Ok(())
    }
}

/// A reactor for which time passes while it waits.
fn sleeping(clock: &SimClock, late: impl FnMut() -> Duration + 'static) -> Reactor {
    clock.passes_while_waiting();
    let mut reactor = still(clock);
    reactor.set_kernel(Box::new(Sleeping {
        clock: clock.clone(),
        late: Box::new(late),
    }));
    reactor
}

/// A pair without traffic, for the sake of the dispatcher's timers.
fn spied(reactor: &mut Reactor, spy: Spy) -> (Id<Spy>, std::net::TcpStream) {
    let (id, peer) = spied_pair(reactor, spy);
    settle(reactor);
    (id, peer)
}

/// A small generator, so that each run is the same.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

// ---------------------------------------------------------------------------------------------------
// Neither early, nor late, nor drifting, nor overflowing.

/// Redis waited for zero when a timer was more than 35 minutes away, its milliseconds having overflowed
/// (24187ed8e), and spun; a truncated time-out made mio users wait 50,000 times a second (mio #1614).
#[test]
fn timer_of_any_length_is_never_early_and_costs_at_most_two_waits() {
    let micros = Duration::from_micros;
    for after in [
        Duration::ZERO,
        NANOSECOND,
        micros(1),
        micros(999),
        MILLISECOND,
        MILLISECOND + NANOSECOND,
        100 * MILLISECOND,
        36 * 60 * SECOND,
        24 * HOUR,
    ] {
        let (fired, waits) = fire_after(after);
        assert!(fired >= after, "{after:?} fired after {fired:?}");
        assert!(fired < after + MILLISECOND, "{after:?} came at {fired:?}");
        assert!(waits <= 2, "{after:?} took {waits} waits");
    }
    // More than epoll can wait for at once: one more turn for each time that it was cut short.
    let days = 24 * HOUR;
    let (fired, waits) = fire_after(50 * days);
    assert!(fired >= 50 * days && fired < 50 * days + MILLISECOND);
    assert!(waits <= 3, "50 days took {waits} waits");
}

/// mio let a wait of more than 24.8 days wrap around on Linux, up to and including its 1.2.0: it could
/// come back at once, or never.
#[test]
fn no_wait_is_longer_than_the_poller_can_count() {
    let clock = SimClock::new();
    let mut reactor = sleeping(&clock, || Duration::ZERO);
    reactor.call_later(365 * 24 * HOUR, |_| {});
    while reactor.timer_count() > 0 {
        reactor.turn(None).unwrap();
    }
    assert_eq!(clock.now(), 365 * 24 * HOUR);
    let waits = reactor.take_waits();
    let longest = Duration::from_millis(i32::MAX.unsigned_abs().into());
    assert!(waits.iter().all(|wait| wait.unwrap() < longest));
    assert!(waits.len() < 20, "{} turns in a year", waits.len());
}

/// When a timer of this length has fired, and how many waits that took.
fn fire_after(after: Duration) -> (Duration, usize) {
    let clock = SimClock::new();
    clock.advance(Duration::from_nanos(123_456_789));
    let mut reactor = sleeping(&clock, || Duration::ZERO);
    let start = clock.now();
    let fired: Rc<Cell<Option<Duration>>> = Rc::default();
    let (seen, at) = (Rc::clone(&fired), clock.clone());
    reactor.call_later(after, move |_| seen.set(Some(at.now())));
    for _ in 0..10 {
        if fired.get().is_some() {
            break;
        }
        reactor.turn(None).unwrap();
        reactor.check_invariants();
    }
    let waits = reactor.take_waits();
    (fired.get().expect("it fired") - start, waits.len())
}

#[test]
fn timer_on_the_real_clock_is_never_early_and_costs_at_most_two_waits() {
    let mut reactor = Reactor::new().unwrap();
    for micros in [0, 1, 999, 1_000, 30_000] {
        let after = Duration::from_micros(micros);
        let fired: Rc<Cell<Option<Instant>>> = Rc::default();
        let seen = Rc::clone(&fired);
        reactor.take_waits();
        let start = Instant::now();
        reactor.call_later(after, move |_| seen.set(Some(Instant::now())));
        while fired.get().is_none() {
            reactor.turn(DEADLINE).unwrap();
        }
        let took = fired.get().unwrap() - start;
        assert!(took >= after, "{after:?} fired after {took:?}");
        let waits = reactor.take_waits();
        assert!(waits.len() <= 2, "{after:?} took the waits {waits:?}");
    }
}

/// HAProxy added a millisecond to each wait for nineteen years (55744154b); loops that count a repeat
/// from the moment of its firing lose that much each time.
#[test]
fn thousand_repeats_of_10_ms_end_at_10_s_however_late_each_of_them_is() {
    let clock = SimClock::new();
    let mut seeded = Seeded(7);
    let mut reactor = sleeping(&clock, move || Duration::from_micros(seeded.below(9_000)));
    let (count, at) = (Rc::new(Cell::new(0u32)), clock.clone());
    let counted = Rc::clone(&count);
    reactor.call_every(10 * MILLISECOND, move |_| {
        counted.set(counted.get() + 1);
        let due = 10 * MILLISECOND * counted.get();
        let late = at.now().checked_sub(due).expect("never early");
        assert!(late < 10 * MILLISECOND, "the grid is kept");
    });
    while count.get() < 999 {
        reactor.turn(None).unwrap();
    }
    let left = reactor.next_timer().expect("it repeats");
    assert_eq!(
        clock.now() + left,
        10 * SECOND,
        "the 1000th is due exactly then"
    );
    assert!(reactor.take_waits().len() <= 2 * 999);
}

#[test]
fn timer_of_the_longest_duration_neither_fires_nor_spins_nor_keeps_run_waiting() {
    let clock = SimClock::new();
    let mut reactor = still(&clock);
    reactor.call_later(Duration::MAX, |_| panic!("never"));
    reactor.call_every(Duration::MAX, |_| panic!("never"));
    // On a kernel of its own, lest it should wait for ever: there is nothing to wait for.
    reactor.run().unwrap();
    assert!(reactor.take_waits().is_empty(), "run returns at once");

    let diary = Diary::default();
    let (id, _peer) = spied(&mut reactor, Spy::new("server", &diary));
    let mut server = reactor.at(id).unwrap();
    server.set_timer(Duration::MAX);
    server.set_interval(Duration::MAX);
    server.set_idle_timeout(Duration::MAX);
    clock.passes_while_waiting();
    reactor.take_waits();
    turn(&mut reactor);
    clock.advance(100_000 * HOUR);
    turn(&mut reactor);
    let as_long_as_the_turn_may = Some(10 * MILLISECOND);
    assert_eq!(reactor.take_waits(), [as_long_as_the_turn_may; 2]);
    assert_eq!(diary.all(), <[String; 0]>::default());
}

/// libev and others count from the loop's idea of the time, which a slow callback has left behind.
#[test]
fn timer_set_late_in_a_slow_callback_counts_from_when_it_was_set() {
    let clock = SimClock::new();
    let mut reactor = still(&clock);
    let slow = clock.clone();
    let fired: Rc<Cell<Option<Duration>>> = Rc::default();
    let (seen, at) = (Rc::clone(&fired), clock.clone());
    reactor.call_later(Duration::ZERO, move |reactor| {
        slow.advance(5 * SECOND);
        reactor.call_later(SECOND, move |_| seen.set(Some(at.now())));
    });
    turn(&mut reactor);
    assert_eq!(reactor.next_timer(), Some(SECOND));
    clock.advance(SECOND - NANOSECOND);
    turn(&mut reactor);
    assert_eq!(fired.get(), None);
    clock.advance(NANOSECOND);
    turn(&mut reactor);
    assert_eq!(fired.get(), Some(6 * SECOND));
}

/// Runs `body` in a turn, with the reactor.
fn in_a_turn(reactor: &mut Reactor, body: impl FnOnce(&mut Reactor) + 'static) {
    reactor.call_later(Duration::ZERO, body);
    turn(reactor);
    reactor.check_invariants();
}

/// What a closure notes when it fires: its number, and the time.
type Fired = Rc<RefCell<Vec<(u32, Duration)>>>;

fn note(clock: &SimClock, fired: &Fired, number: u32) -> impl FnOnce(&mut Reactor) + 'static {
    let (clock, fired) = (clock.clone(), Rc::clone(fired));
    move |_| fired.borrow_mut().push((number, clock.now()))
}

#[test]
fn timers_set_in_a_turn_count_from_its_end_and_are_not_early_after_a_slow_callback() {
    let clock = SimClock::new();
    let mut reactor = still(&clock);
    let (slow, fired) = (clock.clone(), Fired::default());
    let [first, second] = [1, 2].map(|number| note(&clock, &fired, number));
    in_a_turn(&mut reactor, move |reactor| {
        reactor.call_later(10 * MILLISECOND, first);
        slow.advance(50 * MILLISECOND);
        reactor.call_later(10 * MILLISECOND, second);
        slow.advance(5 * MILLISECOND);
    });
    assert_eq!(reactor.next_timer(), Some(10 * MILLISECOND));
    clock.advance(10 * MILLISECOND - NANOSECOND);
    turn(&mut reactor);
    assert_eq!(*fired.borrow(), []);
    clock.advance(NANOSECOND);
    turn(&mut reactor);
    let end = 65 * MILLISECOND;
    assert_eq!(*fired.borrow(), [(1, end), (2, end)]);
}

#[test]
fn timers_set_while_time_passes_fire_in_order_and_each_after_its_whole_time() {
    const AFTER: Duration = Duration::from_micros(500);
    let micro = Duration::from_micros(1);
    let clock = SimClock::new();
    let mut reactor = still(&clock);
    let (passing, fired) = (clock.clone(), Fired::default());
    let set_at: Fired = Rc::default();
    let (noted, count) = (Rc::clone(&set_at), 200);
    let fires: Vec<_> = (0..count)
        .map(|number| note(&clock, &fired, number))
        .collect();
    in_a_turn(&mut reactor, move |reactor| {
        for (number, fires) in (0..).zip(fires) {
            passing.advance(micro);
            noted.borrow_mut().push((number, passing.now()));
            reactor.call_later(AFTER, fires);
        }
    });
    let first_reading = 32 * micro;
    assert_eq!(
        reactor.next_timer(),
        Some(first_reading + AFTER - clock.now()),
        "the first have not waited for the end of the turn"
    );
    while reactor.timer_count() > 0 {
        clock.advance(micro);
        turn(&mut reactor);
    }
    for (set, fired) in set_at.borrow().iter().zip(&*fired.borrow()) {
        assert_eq!(set.0, fired.0, "in the order of setting");
        assert!(fired.1 >= set.1 + AFTER, "timer {} was early", set.0);
        assert!(
            fired.1 < set.1 + AFTER + 32 * micro,
            "timer {} was late",
            set.0
        );
    }
    assert_eq!(fired.borrow().len(), set_at.borrow().len());
}

#[test]
fn timers_set_in_a_turn_share_a_reading_of_the_clock() {
    let clock = SimClock::new();
    let mut reactor = still(&clock);
    let mut reads = |set: u32| {
        let before = clock.reads();
        in_a_turn(&mut reactor, move |reactor| {
            for _ in 0..set {
                reactor.call_later(HOUR, |_| {});
            }
        });
        clock.reads() - before
    };
    let none = reads(0);
    assert_eq!(reads(1) - none, 1);
    assert_eq!(reads(31) - none, 1);
    assert_eq!(reads(32 + 31) - none, 2);
}

#[test]
fn timer_set_in_a_turn_can_be_cancelled_or_set_anew_before_it_ends() {
    let clock = SimClock::new();
    let mut reactor = still(&clock);
    let fired = Fired::default();
    let [cancelled, newcomer, earlier, later] = [1, 2, 3, 4].map(|n| note(&clock, &fired, n));
    in_a_turn(&mut reactor, move |reactor| {
        let old = reactor.call_later(SECOND, cancelled);
        assert!(reactor.cancel_timer(old));
        assert!(!reactor.cancel_timer(old) && !reactor.reset_timer(old, SECOND));
        reactor.call_later(2 * SECOND, newcomer);
        let earlier = reactor.call_later(HOUR, earlier);
        assert!(reactor.reset_timer(earlier, SECOND));
        let later = reactor.call_later(SECOND, later);
        assert!(reactor.reset_timer(later, HOUR) && reactor.reset_timer(later, 3 * SECOND));
        assert!(reactor.unref_timer(later));
        assert_eq!(reactor.timer_count(), 3);
        assert_eq!(
            reactor.next_timer(),
            Some(SECOND),
            "also when asked in the turn"
        );
    });
    assert_eq!(reactor.next_timer(), Some(SECOND));
    for _ in 0..4 {
        clock.advance(SECOND);
        turn(&mut reactor);
    }
    let expected = [(3, SECOND), (2, 2 * SECOND), (4, 3 * SECOND)];
    assert_eq!(*fired.borrow(), expected);
    assert_eq!((reactor.timer_count(), reactor.next_timer()), (0, None));
}

#[test]
fn timers_set_in_a_turn_that_a_panic_ends_fire_and_later_ones_count_from_the_call() {
    let clock = SimClock::new();
    let mut reactor = Reactor::builder()
        .clock(clock.clone())
        .panic_policy(PanicPolicy::Propagate)
        .build()
        .unwrap();
    let fired = Fired::default();
    let [inside, outside] = [1, 2].map(|number| note(&clock, &fired, number));
    reactor.call_later(Duration::ZERO, move |reactor| {
        reactor.call_later(SECOND, inside);
        panic!("on purpose");
    });
    let unwound = catch_unwind(AssertUnwindSafe(|| turn(&mut reactor)));
    assert!(unwound.is_err());
    assert_eq!(reactor.next_timer(), Some(SECOND));
    clock.advance(SECOND);
    reactor.call_later(SECOND, outside);
    clock.advance(SECOND);
    turn(&mut reactor);
    let end = 2 * SECOND;
    assert_eq!(*fired.borrow(), [(1, end), (2, end)]);
}

#[test]
fn what_a_timer_arms_waits_for_the_next_turn_even_at_zero() {
    let clock = SimClock::new();
    let mut reactor = still(&clock);
    let diary = Diary::default();
    let spy = Spy::new("server", &diary).on_timer(|cx| {
        cx.set_timer(Duration::ZERO);
        Ok(())
    });
    let (id, _peer) = spied(&mut reactor, spy);
    reactor.at(id).unwrap().set_timer(Duration::ZERO);
    reactor.take_waits();
    for turns in 1..=100 {
        turn(&mut reactor);
        assert_eq!(diary.count("server", "timer"), turns);
    }
    assert_eq!(reactor.take_waits(), [Some(Duration::ZERO); 100]);
}

#[test]
fn timers_fire_by_due_time_and_ties_in_the_order_of_setting() {
    let clock = SimClock::new();
    let mut reactor = still(&clock);
    let order: Rc<RefCell<Vec<u32>>> = Rc::default();
    for (name, after) in [(3, 30), (1, 10), (2, 10), (0, 5), (4, 30)] {
        let order = Rc::clone(&order);
        reactor.call_later(after * SECOND, move |_| order.borrow_mut().push(name));
    }
    clock.advance(HOUR);
    turn(&mut reactor);
    assert_eq!(*order.borrow(), [0, 1, 2, 3, 4]);
}

// ---------------------------------------------------------------------------------------------------
// The clock jumps.

/// libevent caught up with every repeat that a suspend had swallowed (cured in dfd808c).
#[test]
fn repeat_that_slept_through_an_hour_fires_once_and_returns_to_its_old_grid() {
    let clock = SimClock::new();
    let mut reactor = still(&clock);
    let diary = Diary::default();
    let (id, _peer) = spied(&mut reactor, Spy::new("server", &diary));
    reactor.at(id).unwrap().set_interval(10 * SECOND);
    let closures = Rc::new(Cell::new(0));
    let count = Rc::clone(&closures);
    reactor.call_every(10 * SECOND, move |_| count.set(count.get() + 1));
    clock.advance(10 * SECOND);
    turn(&mut reactor);
    assert_eq!((diary.count("server", "timer"), closures.get()), (1, 1));

    clock.advance(HOUR + 3 * SECOND);
    for _ in 0..5 {
        turn(&mut reactor);
    }
    assert_eq!((diary.count("server", "timer"), closures.get()), (2, 2));
    assert_eq!(reactor.next_timer(), Some(7 * SECOND), "the old grid");
    clock.advance(7 * SECOND - NANOSECOND);
    turn(&mut reactor);
    assert_eq!((diary.count("server", "timer"), closures.get()), (2, 2));
    clock.advance(NANOSECOND);
    turn(&mut reactor);
    assert_eq!((diary.count("server", "timer"), closures.get()), (3, 3));
}

#[test]
fn idle_timeouts_see_a_jump_of_the_clock_and_act_once_each() {
    let clock = SimClock::new();
    let mut reactor = still(&clock);
    let diary = Diary::default();
    let mut peers = Vec::new();
    for _ in 0..10 {
        let (id, peer) = spied_pair(&mut reactor, Spy::new("server", &diary));
        reactor.at(id).unwrap().set_idle_timeout(60 * SECOND);
        peers.push(peer);
    }
    settle(&mut reactor);
    clock.advance(HOUR);
    for _ in 0..5 {
        turn(&mut reactor);
    }
    assert_eq!(diary.count("server", "error TimedOut"), 10);
    assert_eq!(diary.count("server", "close"), 10);
    assert_eq!(diary.all().len(), 20);
    assert_eq!((reactor.timer_count(), reactor.count()), (0, 0));
}

const CHILD: &str = "SLABLOOP_TEST_CHILD";

/// A process that is stopped for three seconds and continued: the thirty repeats that it missed come as
/// one. The child runs the test below and says how many it had.
#[test]
fn repeat_in_a_process_that_was_stopped_and_continued_fires_once_for_all_it_missed() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_repeats_until_after_a_gap"])
        .args(["--nocapture", "--include-ignored"])
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut heard = |what: &str| loop {
        let line = lines.next().expect("the child goes on").unwrap();
        if line.contains(what) {
            return line;
        }
    };
    heard("ticking");
    let signal = |name: &str| {
        let command = format!("kill {name} {}", child.id());
        let status = Command::new("sh").args(["-c", &command]).status().unwrap();
        assert!(status.success(), "kill {name}");
    };
    signal("-STOP");
    std::thread::sleep(3 * SECOND);
    signal("-CONT");
    let line = heard("fired");
    assert!(child.wait().unwrap().success(), "{line}");
    let numbers: Vec<u64> = line
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let [fired, possible, most_in_a_turn] = numbers[..] else {
        panic!("three numbers in: {line}");
    };
    assert_eq!(most_in_a_turn, 1, "{line}");
    assert!(
        fired + 25 <= possible,
        "what was missed is not made up for: {line}"
    );
}

#[test]
#[ignore = "the child of the test above"]
fn child_that_repeats_until_after_a_gap() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let period = 100 * MILLISECOND;
    let mut reactor = Reactor::new().unwrap();
    let start = Instant::now();
    let times: Rc<RefCell<Vec<Duration>>> = Rc::default();
    let noted = Rc::clone(&times);
    reactor.call_every(period, move |_| noted.borrow_mut().push(start.elapsed()));
    let (mut most_in_a_turn, mut after_the_gap) = (0, None);
    loop {
        let before = reactor.counters().timers;
        reactor.turn(None).unwrap();
        reactor.check_invariants();
        most_in_a_turn = most_in_a_turn.max(reactor.counters().timers - before);
        let times = times.borrow();
        if times.len() == 2 {
            println!("ticking");
            io::stdout().flush().unwrap();
        }
        if let [.., last_but_one, last] = times[..] {
            if last - last_but_one > 2 * SECOND {
                after_the_gap = Some(times.len());
            }
        }
        if after_the_gap.is_some_and(|count| times.len() > count + 3) {
            break;
        }
        assert!(start.elapsed() < DEADLINE, "the gap comes");
    }
    let times = times.borrow();
    for (number, time) in (1..).zip(times.iter()) {
        assert!(*time >= period * number, "number {number} came at {time:?}");
    }
    let possible = times.last().unwrap().as_millis() / period.as_millis();
    println!(
        "fired {} of {possible} , {most_in_a_turn} a turn",
        times.len()
    );
}

// ---------------------------------------------------------------------------------------------------
// Cancelled while due.

#[test]
fn timer_that_cancels_itself_while_it_runs_does_not_come_again() {
    let clock = SimClock::new();
    let mut reactor = still(&clock);
    let diary = Diary::default();
    let own: Rc<Cell<Option<TimerId>>> = Rc::default();
    let cell = Rc::clone(&own);
    let spy = Spy::new("server", &diary).on_timer(move |cx| {
        assert!(cx.cancel_timer(cell.get().unwrap()), "it would repeat");
        assert!(!cx.cancel_timer(cell.get().unwrap()), "it is gone");
        Ok(())
    });
    let (id, _peer) = spied(&mut reactor, spy);
    own.set(Some(reactor.at(id).unwrap().set_interval(SECOND)));
    let closure: Rc<Cell<Option<TimerId>>> = Rc::default();
    let (cell, runs) = (Rc::clone(&closure), Rc::new(Cell::new(0)));
    let count = Rc::clone(&runs);
    closure.set(Some(reactor.call_every(SECOND, move |reactor| {
        count.set(count.get() + 1);
        assert!(reactor.cancel_timer(cell.get().unwrap()));
    })));
    for _ in 0..5 {
        clock.advance(SECOND);
        turn(&mut reactor);
    }
    assert_eq!((diary.count("server", "timer"), runs.get()), (1, 1));
    assert_eq!((reactor.timer_count(), reactor.next_timer()), (0, None));
}

/// libuv, libev and muduo carry machinery for it; redis would have crashed if every timer of its list
/// had been deleted while it ran (since 7be86177a).
#[test]
fn what_a_cancelled_closure_had_captured_is_dropped_at_the_end_of_the_turn() {
    let mut reactor = still(&SimClock::new());
    let captured = Rc::new(());
    let (once, again) = (Rc::clone(&captured), Rc::clone(&captured));
    let timers = [
        reactor.call_later(SECOND, move |_| drop(once)),
        reactor.call_every(SECOND, move |_| drop(Rc::clone(&again))),
    ];
    assert_eq!(Rc::strong_count(&captured), 3);
    assert!(timers.map(|timer| reactor.cancel_timer(timer)) == [true; 2]);
    turn(&mut reactor);
    assert_eq!(Rc::strong_count(&captured), 1);
}

#[test]
fn timer_cancelled_by_an_earlier_one_of_its_batch_does_not_fire_nor_does_a_newcomer_in_its_place() {
    let clock = SimClock::new();
    let mut reactor = still(&clock);
    let diary = Diary::default();
    let (id, _peer) = spied(&mut reactor, Spy::new("victim", &diary));
    let victim: Rc<Cell<Option<TimerId>>> = Rc::default();
    let (cell, fresh) = (Rc::clone(&victim), Rc::new(Cell::new(0)));
    let count = Rc::clone(&fresh);
    reactor.call_later(SECOND, move |reactor| {
        assert!(reactor.cancel_timer(cell.get().unwrap()), "still set");
        // Takes the place that has just become free.
        reactor.call_later(Duration::ZERO, move |_| count.set(count.get() + 1));
    });
    victim.set(Some(reactor.at(id).unwrap().set_timer(SECOND)));
    clock.advance(SECOND);
    turn(&mut reactor);
    assert_eq!(diary.all(), <[String; 0]>::default(), "cancelled");
    assert_eq!(fresh.get(), 0, "the newcomer waits for the next turn");
    turn(&mut reactor);
    assert_eq!(diary.all(), <[String; 0]>::default());
    assert_eq!(fresh.get(), 1);
    assert_eq!(reactor.timer_count(), 0);
}

#[test]
fn timer_cancelled_and_set_again_in_its_batch_fires_at_its_new_time_only() {
    let clock = SimClock::new();
    let mut reactor = still(&clock);
    let diary = Diary::default();
    let (id, _peer) = spied(&mut reactor, Spy::new("server", &diary));
    let timer: Rc<Cell<Option<TimerId>>> = Rc::default();
    let cell = Rc::clone(&timer);
    reactor.call_later(SECOND, move |reactor| {
        assert!(reactor.cancel_timer(cell.get().unwrap()));
        reactor.at(id).unwrap().set_timer(SECOND);
    });
    timer.set(Some(reactor.at(id).unwrap().set_timer(SECOND)));
    clock.advance(SECOND);
    turn(&mut reactor);
    turn(&mut reactor);
    assert_eq!(diary.count("server", "timer"), 0);
    clock.advance(SECOND);
    turn(&mut reactor);
    assert_eq!(diary.count("server", "timer"), 1);
    assert_eq!(reactor.timer_count(), 0);
}

type Go = fn(&mut Context<'_>);

/// The ways of going away that a due timer must not survive.
const GOING: [(&str, Go); 3] = [
    ("close", |cx| cx.close()),
    ("abort", |cx| cx.abort()),
    ("close_all", |cx| cx.close_all()),
];

#[test]
fn owner_that_goes_in_dispatch_gets_no_timer_in_the_same_turn() {
    for (what, go) in GOING {
        let clock = SimClock::new();
        let mut reactor = still(&clock);
        let diary = Diary::default();
        let spy = Spy::new("server", &diary).on_read(move |cx| {
            go(cx);
            Ok(())
        });
        let (id, mut peer) = spied(&mut reactor, spy);
        let mut server = reactor.at(id).unwrap();
        server.set_timer(SECOND);
        server.set_interval(SECOND);
        server.set_idle_timeout(SECOND);
        peer.write_all(b"go").unwrap();
        clock.advance(SECOND);
        turn_until(&mut reactor, "it to be told", |_| {
            diary.count("server", "read") == 1
        });
        drop(peer);
        turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
        assert_eq!(diary.of("server"), ["read", "close"], "{what}");
        assert_eq!(reactor.timer_count(), 0, "{what}");
    }
}

#[test]
fn owner_that_an_earlier_timer_of_the_batch_ends_gets_none_of_its_own() {
    for (what, go) in GOING {
        let clock = SimClock::new();
        let mut reactor = still(&clock);
        let diary = Diary::default();
        let first = Spy::new("first", &diary).on_timer(move |cx| {
            go(cx);
            Ok(())
        });
        let (first, one) = spied(&mut reactor, first);
        let (second, two) = spied(&mut reactor, Spy::new("second", &diary));
        let (own, other) = (first, second);
        reactor.call_later(SECOND, move |reactor| {
            go(&mut reactor.at(other).unwrap());
        });
        let mut server = reactor.at(own).unwrap();
        server.set_timer(SECOND);
        server.set_timer(SECOND);
        server.set_interval(SECOND);
        server.set_idle_timeout(SECOND);
        let expected: &[&str] = match what {
            // The closure has ended everybody.
            "close_all" => &["close"],
            _ => &["timer", "close"],
        };
        let mut server = reactor.at(second).unwrap();
        server.set_timer(SECOND);
        server.set_idle_timeout(SECOND);
        clock.advance(SECOND);
        turn(&mut reactor);
        drop((one, two));
        turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
        assert_eq!(diary.of("first"), expected, "{what}");
        assert_eq!(diary.of("second"), ["close"], "{what}");
        assert_eq!(reactor.timer_count(), 0, "{what}");
    }
}

#[test]
fn what_a_panic_let_through_left_of_a_batch_is_checked_again_before_it_runs() {
    let clock = SimClock::new();
    let mut reactor = Reactor::builder()
        .panic_policy(PanicPolicy::Propagate)
        .clock(clock.clone())
        .build()
        .unwrap();
    let diary = Diary::default();
    let spy = Spy::new("panics", &diary).on_timer(|_| panic!("told to"));
    let (panics, _one) = spied(&mut reactor, spy);
    let (cancelled, _two) = spied(&mut reactor, Spy::new("cancelled", &diary));
    let (gone, _three) = spied(&mut reactor, Spy::new("gone", &diary));
    let (stays, _four) = spied(&mut reactor, Spy::new("stays", &diary));
    let mut timers = Vec::new();
    for id in [panics, cancelled, gone, stays] {
        timers.push(reactor.at(id).unwrap().set_timer(SECOND));
    }
    clock.advance(SECOND);
    let unwound = catch_unwind(AssertUnwindSafe(|| reactor.turn(Duration::ZERO)));
    assert!(unwound.is_err(), "the panic comes through");
    assert!(reactor.cancel_timer(timers[1]), "collected, but still set");
    reactor.at(gone).unwrap().abort();
    // Both places have new tenants by the time that the rest of the batch runs.
    let fresh = reactor.at(cancelled).unwrap().set_timer(HOUR);
    turn(&mut reactor);
    assert_eq!(diary.of("stays"), ["timer"]);
    assert_eq!(diary.of("gone"), ["close"]);
    assert_eq!(diary.of("cancelled"), <[String; 0]>::default());
    assert!(reactor.cancel_timer(fresh));
}

#[test]
fn old_timer_id_reaches_neither_a_newcomer_s_timer_nor_anything_else() {
    let clock = SimClock::new();
    let mut reactor = still(&clock);
    let diary = Diary::default();
    let (id, peer) = spied(&mut reactor, Spy::new("old", &diary));
    let old = reactor.at(id).unwrap().set_timer(SECOND);
    drop(peer);
    turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
    let (id, _peer) = spied(&mut reactor, Spy::new("new", &diary));
    reactor.at(id).unwrap().set_timer(SECOND);
    assert!(!reactor.cancel_timer(old));
    clock.advance(SECOND);
    turn(&mut reactor);
    assert_eq!(diary.count("old", "timer"), 0);
    assert_eq!(diary.of("new"), ["timer"]);
}

// ---------------------------------------------------------------------------------------------------
// Churn.

/// calloop #238 and niri #3439: tombstones of cancelled timers piled up in the queue until sweeping
/// them took 93 % of a processor.
#[test]
fn million_timers_armed_cancelled_and_fired_leave_a_queue_no_longer_than_the_living() {
    let clock = SimClock::new();
    let mut reactor = still(&clock);
    let mut seeded = Seeded(11);
    let fired = Rc::new(Cell::new(0u64));
    let mut living = Vec::new();
    let (mut armed, mut cancelled) = (0, 0);
    while armed < 1_000_000 {
        match seeded.below(100) {
            0 => {
                clock.advance(Duration::from_micros(seeded.below(500)));
                reactor.turn(Duration::ZERO).unwrap();
                if armed % 64 == 0 {
                    // The bound on dead entries is one of the invariants.
                    reactor.check_invariants();
                }
            }
            1..=50 if living.len() > 500 => {
                let at = usize::try_from(seeded.below(living.len() as u64)).unwrap();
                cancelled += u64::from(reactor.cancel_timer(living.swap_remove(at)));
            }
            _ => {
                let count = Rc::clone(&fired);
                let after = Duration::from_micros(seeded.below(100_000));
                let id = reactor.call_later(after, move |_| count.set(count.get() + 1));
                living.push(id);
                armed += 1;
            }
        }
    }
    reactor.check_invariants();
    assert!(fired.get() > 10_000 && cancelled > 100_000, "both happen");
    clock.advance(HOUR);
    turn(&mut reactor);
    assert_eq!(fired.get() + cancelled, armed, "each ends in one way");
    assert_eq!(reactor.timer_count(), 0);
}

/// A simulated stream that always has 64 bytes.
struct Chatty;

impl SimSocket for Chatty {
    fn kind(&self) -> SimKind {
        SimKind::Stream
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(buffer.len().min(64))
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }
}

/// Reads its 64 bytes.
struct Reader;

impl Dispatcher for Reader {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv(&mut [0; 64]).map(|_| ())
    }
}

#[test]
fn ten_thousand_idle_timeouts_touched_a_million_times_arm_nothing() {
    const CONNECTIONS: usize = 10_000;
    const ROUNDS: u32 = 100;
    let clock = SimClock::new();
    let mut reactor = still(&clock);
    let mut ids: Vec<AnyId> = Vec::new();
    for _ in 0..CONNECTIONS {
        let socket: Box<dyn SimSocket> = Box::new(Chatty);
        let id = reactor.add(Socket::from(socket), Reader).unwrap();
        reactor.at(id).unwrap().set_idle_timeout(10 * SECOND);
        ids.push(id.any());
        reactor.inject(id, Bits::READABLE);
    }
    let armed = reactor.timers_armed();
    assert_eq!(armed, CONNECTIONS as u64);
    for _ in 0..ROUNDS {
        clock.advance(90 * MILLISECOND);
        reactor.turn(Duration::ZERO).unwrap();
    }
    reactor.check_invariants();
    let touches = reactor.counters().bytes_in / 64;
    assert_eq!(touches, CONNECTIONS as u64 * u64::from(ROUNDS));
    assert_eq!(reactor.timers_armed(), armed, "a touch is one store");
    assert_eq!(reactor.timer_count(), CONNECTIONS);

    // The check on expiry arms once more, and the time-out is counted from the last touch.
    for &id in &ids {
        reactor.at(id).unwrap().pause_reading();
    }
    clock.advance(SECOND);
    reactor.turn(Duration::ZERO).unwrap();
    assert_eq!(reactor.timers_armed(), 2 * armed);
    clock.advance(9 * SECOND - NANOSECOND);
    reactor.turn(Duration::ZERO).unwrap();
    assert_eq!(reactor.count(), CONNECTIONS, "not before its time");
    clock.advance(NANOSECOND);
    reactor.turn(Duration::ZERO).unwrap();
    assert_eq!((reactor.count(), reactor.timer_count()), (0, 0));
    assert_eq!(reactor.counters().deadlines, CONNECTIONS as u64);
}

// ---------------------------------------------------------------------------------------------------
// The reactor's own deadlines.

#[test]
fn idle_timeout_is_put_off_by_traffic_in_either_direction_and_can_be_taken_back() {
    let clock = SimClock::new();
    let mut reactor = still(&clock);
    let diary = Diary::default();
    let (id, mut peer) = spied(&mut reactor, Spy::new("server", &diary));
    reactor.at(id).unwrap().set_idle_timeout(10 * SECOND);
    for round in 0..6 {
        clock.advance(9 * SECOND);
        let before = reactor.counters();
        if round % 2 == 0 {
            peer.write_all(b"in").unwrap();
        } else {
            reactor.at(id).unwrap().send(b"out").unwrap();
        }
        turn_until(&mut reactor, "it to arrive", |reactor| {
            let after = reactor.counters();
            (before.bytes_in, before.bytes_out) != (after.bytes_in, after.bytes_out)
        });
    }
    assert_eq!(diary.count("server", "error"), 0);
    reactor.at(id).unwrap().set_idle_timeout(None);
    assert_eq!(reactor.timer_count(), 0);
    clock.advance(HOUR);
    turn(&mut reactor);
    assert_eq!(diary.count("server", "close"), 0);
    reactor.at(id).unwrap().set_idle_timeout(10 * SECOND);
    clock.advance(10 * SECOND - NANOSECOND);
    turn(&mut reactor);
    assert_eq!(diary.count("server", "close"), 0, "not before its time");
    clock.advance(NANOSECOND);
    turn(&mut reactor);
    let heard = diary.of("server");
    assert_eq!(heard[heard.len() - 2..], ["error TimedOut", "close"]);
}

/// A client socket that is never answered: it connects to a listener whose queue is full.
#[test]
fn connection_attempt_ends_at_its_deadline_and_not_before() {
    let clock = SimClock::new();
    let mut reactor = Reactor::builder()
        .connect_timeout(30 * SECOND)
        .clock(clock.clone())
        .build()
        .unwrap();
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let listener = listener.unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    listener.bind(&any.into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let diary = Diary::default();
    let mut ids = Vec::new();
    for _ in 0..4 {
        let options = SocketOptions::new();
        let spy = Spy::new("client", &diary);
        ids.push(reactor.connect_with(address, &options, spy).unwrap());
    }
    settle(&mut reactor);
    let stand = diary.count("client", "connect");
    assert!(stand < 4, "the queue is full");
    clock.advance(30 * SECOND - NANOSECOND);
    settle(&mut reactor);
    assert_eq!(diary.count("client", "error"), 0, "not before its time");
    clock.advance(NANOSECOND);
    turn(&mut reactor);
    assert_eq!(diary.count("client", "error TimedOut"), 4 - stand);
    assert_eq!(diary.count("client", "close"), 4 - stand);
    assert_eq!(reactor.count(), stand, "those that stand have no deadline");
    assert_eq!(reactor.counters().deadlines, 4 - stand as u64);
    assert_eq!(reactor.timer_count(), 0);
    assert_eq!(
        ids.iter().filter(|&&id| reactor.at(id).is_some()).count(),
        stand
    );
}

#[test]
fn output_that_is_stalled_ends_at_its_deadline_counted_from_the_last_byte_taken() {
    let clock = SimClock::new();
    let mut reactor = Reactor::builder()
        .hard_cap(16 * 1024 * 1024)
        .stall_timeout(300 * SECOND)
        .clock(clock.clone())
        .build()
        .unwrap();
    let diary = Diary::default();
    let (id, mut peer) = spied(&mut reactor, Spy::new("server", &diary));
    let (control, _other) = spied(&mut reactor, Spy::new("control", &diary));
    peer.set_nonblocking(true).unwrap();
    reactor
        .at(id)
        .unwrap()
        .send(&[0; 12 * 1024 * 1024])
        .unwrap();
    reactor.at(control).unwrap().send(b"taken at once").unwrap();
    settle(&mut reactor);
    for _ in 0..4 {
        clock.advance(299 * SECOND);
        turn(&mut reactor);
        let before = reactor.counters().bytes_out;
        turn_until(&mut reactor, "the peer to take some", |reactor| {
            use std::io::Read;
            let _ = peer.read(&mut [0; 64 * 1024]);
            reactor.counters().bytes_out > before
        });
        settle(&mut reactor);
    }
    clock.advance(300 * SECOND - NANOSECOND);
    settle(&mut reactor);
    assert_eq!(diary.all(), <[String; 0]>::default(), "not before its time");
    assert!(reactor.at(id).unwrap().queued() > 0);
    clock.advance(NANOSECOND);
    turn(&mut reactor);
    assert_eq!(diary.of("server"), ["error TimedOut", "close"]);
    assert_eq!(diary.of("control"), <[String; 0]>::default());
    assert_eq!(reactor.memory().0, 0, "its outbox is freed");
    assert_eq!(reactor.timer_count(), 0);
}

#[test]
fn closing_connection_ends_at_its_deadline_and_its_timers_do_not_outlive_the_close() {
    let clock = SimClock::new();
    let mut reactor = Reactor::builder()
        .close_timeout(10 * SECOND)
        .clock(clock.clone())
        .build()
        .unwrap();
    let diary = Diary::default();
    let (id, _peer) = spied(&mut reactor, Spy::new("server", &diary));
    let mut server = reactor.at(id).unwrap();
    server.set_timer(SECOND);
    server.set_interval(SECOND);
    server.set_idle_timeout(SECOND);
    server.close();
    let late = server.set_timer(Duration::ZERO);
    assert!(!reactor.cancel_timer(late), "whoever closes gets no timers");
    turn(&mut reactor);
    assert_eq!(reactor.timer_count(), 1, "only the deadline");
    clock.advance(10 * SECOND - NANOSECOND);
    turn(&mut reactor);
    assert_eq!(diary.all(), <[String; 0]>::default(), "not before its time");
    clock.advance(NANOSECOND);
    turn(&mut reactor);
    assert_eq!(diary.of("server"), ["close"]);
}

#[test]
fn a_timer_that_is_due_when_the_outbox_has_gone_over_its_cap_does_not_fire() {
    let diary = Diary::default();
    let clock = SimClock::new();
    let mut reactor = Reactor::builder()
        .clock(clock.clone())
        .hard_cap(1_000)
        .build()
        .expect("a poller");
    let (id, _peer) = spied_pair(&mut reactor, Spy::new("flooded", &diary));
    let mut cx = reactor.at(id).expect("open");
    cx.set_timer(Duration::from_millis(1));
    let refused = cx.send(&[0; 2_000]);
    assert!(refused.is_err() && cx.is_closing());
    clock.advance(Duration::from_millis(1));
    turn(&mut reactor);
    assert_eq!(
        diary.all(),
        ["flooded error QuotaExceeded", "flooded close"]
    );
    assert_eq!(reactor.timer_count(), 0);
}

/// Its timers fire when the test moves it, however long that takes in real time.
#[test]
fn on_a_clock_that_stands_still_a_timer_shortens_no_wait() {
    let clock = SimClock::new();
    let mut reactor = still(&clock);
    let diary = Diary::default();
    let (id, _peer) = spied(&mut reactor, Spy::new("spy", &diary));
    reactor.call_later(MILLISECOND, |_| {});
    reactor.take_waits();
    reactor.turn(20 * MILLISECOND).unwrap();
    assert_eq!(reactor.take_waits(), [Some(20 * MILLISECOND)]);
    assert!(!reactor.at(id).unwrap().time_passes());

    let mut reactor = Reactor::new().unwrap();
    let (id, _peer) = spied(&mut reactor, Spy::new("spy", &diary));
    assert!(reactor.at(id).unwrap().time_passes());
}
