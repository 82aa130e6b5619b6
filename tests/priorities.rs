//! Priorities, and a turn of limited time: who is served first, how long, and that nobody is forgotten.
//!
//! The clock is simulated and moved by the callbacks themselves: each takes exactly as long as it says.

mod util;

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use slabloop::observe::{CallbackBegin, Observer, TurnEnd};
use slabloop::testing::SimClock;
use slabloop::{
    Accepted, AnyId, Builder, Context, Dispatcher, PanicPolicy, Priority, Reactor, TimerId,
};
use util::*;

const MS: Duration = Duration::from_millis(1);

/// Who was called, in order.
type Log = Rc<RefCell<Vec<String>>>;

type Act = Box<dyn FnMut(&mut Context<'_>) -> io::Result<()>>;

/// Reads a byte a call, which takes its time.
struct Worker {
    name: String,
    log: Log,
    clock: SimClock,
    takes: Duration,
    act: Option<Act>,
}

impl Worker {
    fn work(&mut self, cx: &mut Context<'_>, what: &str) -> io::Result<()> {
        self.log.borrow_mut().push(format!("{}{what}", self.name));
        self.clock.advance(self.takes);
        self.act.as_mut().map_or(Ok(()), |act| act(cx))
    }
}

impl Dispatcher for Worker {
    fn handle_accept(&mut self, cx: &mut Context<'_>, _: Accepted) -> io::Result<()> {
        self.work(cx, " accepts")
    }

    fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.work(cx, " connects")
    }

    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv(&mut [0])?;
        self.work(cx, "")
    }

    fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        self.work(cx, " times")
    }
}

/// A reactor on a simulated clock, its workers, and their peers.
struct Shop {
    reactor: Reactor,
    clock: SimClock,
    log: Log,
    peers: Vec<UnixStream>,
}

impl Shop {
    fn new(choose: impl FnOnce(&mut Builder) -> &mut Builder) -> Shop {
        let clock = SimClock::new();
        let mut builder = Reactor::builder();
        choose(&mut builder).clock(clock.clone());
        Shop {
            reactor: builder.build().unwrap(),
            clock,
            log: Log::default(),
            peers: Vec::new(),
        }
    }

    /// With a turn of so many milliseconds.
    fn limited(millis: u32) -> Shop {
        Shop::new(|builder| builder.turn_time(millis * MS))
    }

    /// Takes a millisecond a call.
    fn worker(&self, name: &str) -> Worker {
        Worker {
            name: name.to_owned(),
            log: Rc::clone(&self.log),
            clock: self.clock.clone(),
            takes: MS,
            act: None,
        }
    }

    /// A worker with so many bytes to read, one a call.
    fn hire(&mut self, worker: Worker, priority: Priority, bytes: usize) -> AnyId {
        let (ours, mut peer) = unix_pair();
        peer.write_all(&vec![b'x'; bytes]).unwrap();
        self.peers.push(peer);
        let id = self.reactor.add(ours, worker).unwrap().any();
        self.reactor.at(id).unwrap().set_priority(priority);
        id
    }

    /// A worker that always has something to read.
    fn busy(&mut self, name: &str, priority: Priority) -> AnyId {
        self.hire(self.worker(name), priority, 10_000)
    }

    /// A class of them, of one name.
    fn crowd(&mut self, name: &str, priority: Priority, count: usize) {
        for _ in 0..count {
            self.busy(name, priority);
        }
    }

    /// Who is called in a turn.
    fn turn(&mut self) -> Vec<String> {
        turn(&mut self.reactor);
        std::mem::take(&mut self.log.borrow_mut())
    }

    /// How many of each of the names are called in a turn.
    fn counts<const N: usize>(&mut self, names: [&str; N]) -> [usize; N] {
        let called = self.turn();
        names.map(|name| called.iter().filter(|called| *called == name).count())
    }
}

use Priority::{High, Low, Normal};

// ---------------------------------------------------------------------------------------------------
// Order.

#[test]
fn the_ready_of_a_turn_are_served_in_order_of_class_and_within_one_as_they_became_ready() {
    let mut shop = Shop::new(|builder| builder);
    for (name, priority) in [
        ("low 1", Low),
        ("normal 1", Normal),
        ("high 1", High),
        ("normal 2", Normal),
        ("low 2", Low),
        ("high 2", High),
    ] {
        shop.busy(name, priority);
    }
    for _ in 0..3 {
        // Without a limit each is served in each turn: no class can starve.
        let expected = ["high 1", "high 2", "normal 1", "normal 2", "low 1", "low 2"];
        assert_eq!(shop.turn(), expected);
    }
}

#[test]
fn priorities_alone_read_no_clock() {
    let mut shop = Shop::new(|builder| builder);
    shop.crowd("high", High, 5);
    shop.crowd("low", Low, 5);
    shop.turn();
    let before = shop.clock.reads();
    assert_eq!(shop.counts(["high", "low"]), [5, 5]);
    assert_eq!(shop.clock.reads() - before, 1, "once after the wait");
}

#[test]
fn a_class_is_normal_until_it_is_set_from_inside_or_through_at() {
    let mut shop = Shop::new(|builder| builder);
    let first = shop.busy("first", Normal);
    let mut second = shop.worker("second");
    second.act = Some(Box::new(move |cx| {
        assert_eq!(cx.priority(), Normal);
        cx.set_priority(High);
        assert_eq!(cx.priority(), High);
        let mut first = cx.at(first).expect("it is there");
        assert_eq!(first.priority(), Normal, "its own, not the caller's");
        first.set_priority(Low);
        Ok(())
    }));
    let (ours, mut peer) = unix_pair();
    peer.write_all(b"xx").unwrap();
    let second = shop.reactor.add(ours, second).unwrap();
    assert_eq!(shop.reactor.at(second).unwrap().priority(), Normal);
    assert_eq!(shop.turn(), ["first", "second"]);
    assert_eq!(shop.reactor.at(first).unwrap().priority(), Low);
    shop.reactor.with(second, |second, _| second.act = None);
    assert_eq!(shop.turn(), ["second", "first"]);
}

#[test]
fn a_connection_that_is_not_established_has_its_class_already() {
    let mut shop = Shop::new(|builder| builder);
    shop.busy("normal", Normal);
    let (ours, _peer) = unix_pair();
    let dialing = shop.worker("high");
    let pending = Err(io::ErrorKind::Interrupted.into());
    let reactor = &mut shop.reactor;
    let id = reactor.connect_prepared(ours, pending, dialing).unwrap();
    reactor.at(id).unwrap().set_priority(High);
    assert_eq!(shop.turn(), ["high connects", "normal"]);
}

#[test]
fn a_listener_accepts_when_its_class_is_served_and_only_as_long_as_it_may() {
    let mut shop = Shop::limited(3);
    let listener = shop.worker("low");
    let id = shop.reactor.listen("127.0.0.1:0", listener).unwrap();
    shop.reactor.at(id).unwrap().set_priority(Low);
    let address = shop.reactor.local_addr(id).unwrap();
    let clients = [(); 5].map(|()| std::net::TcpStream::connect(address).unwrap());
    shop.busy("normal", Normal);
    // One for the newcomers' class at least; what is left is theirs as well.
    let expected = ["normal", "low accepts", "low accepts"];
    assert_eq!(shop.turn(), expected);
    assert_eq!(shop.turn(), expected);
    assert_eq!(shop.turn(), ["normal", "low accepts"], "the queue is empty");
    drop(clients);
}

#[test]
fn what_the_high_class_sends_is_written_before_the_others_are_served() {
    let mut shop = Shop::new(|builder| builder);
    let mut echo = shop.worker("echo");
    echo.act = Some(Box::new(|cx| cx.send(b"!")));
    let (ours, mut peer) = unix_pair();
    peer.write_all(b"?").unwrap();
    peer.set_nonblocking(true).unwrap();
    let mut slow = shop.worker("slow");
    let answered = Rc::new(Cell::new(false));
    let seen = Rc::clone(&answered);
    slow.act = Some(Box::new(move |_| {
        seen.set(peer.read(&mut [0]).is_ok());
        Ok(())
    }));
    shop.hire(slow, Normal, 1);
    let id = shop.reactor.add(ours, echo).unwrap();
    shop.reactor.at(id).unwrap().set_priority(High);
    assert_eq!(shop.turn(), ["echo", "slow"]);
    assert!(answered.get(), "it is there when the next class is served");
    assert_eq!(shop.reactor.counters().writes, 1);
}

/// Nobody else is kept waiting by its output: it leaves with what comes later in the turn.
#[test]
fn what_the_high_class_sends_alone_is_written_once_at_the_end_of_the_turn() {
    let mut shop = Shop::new(|builder| builder);
    let mut echo = shop.worker("echo");
    echo.act = Some(Box::new(|cx| cx.send(b"1")));
    let id = shop.hire(echo, High, 1);
    let post = move |reactor: &mut Reactor| {
        let mut cx = reactor.at(id).expect("open");
        cx.send(b"2").expect("room");
    };
    shop.reactor.handle().post(post).unwrap();
    assert_eq!(shop.turn(), ["echo"]);
    assert_eq!(shop.reactor.counters().writes, 1);
    let mut got = [0; 2];
    shop.peers[0].read_exact(&mut got).unwrap();
    assert_eq!(&got, b"12");
}

// ---------------------------------------------------------------------------------------------------
// A limit to the turn's time.

/// How many waited when a callback began, and how many at the end of the turn.
#[derive(Clone, Default)]
struct Waiting(Rc<RefCell<Vec<usize>>>);

impl Observer for Waiting {
    fn callback_began(&mut self, _: Duration, begin: &CallbackBegin) {
        self.0.borrow_mut().push(begin.waiting);
    }

    fn turn_ended(&mut self, _: Duration, end: &TurnEnd) {
        self.0.borrow_mut().push(end.ready);
    }
}

#[test]
fn those_for_whom_there_was_no_time_are_seen_to_wait() {
    let mut shop = Shop::limited(1);
    let waiting = Waiting::default();
    shop.reactor.observe(waiting.clone());
    for name in ["a", "b", "c", "d"] {
        shop.busy(name, Normal);
    }
    for name in ["a", "b", "c"] {
        assert_eq!(shop.turn(), [name]);
        // Three beside the one that is called, which is ready again afterwards.
        assert_eq!(waiting.0.take(), [3, 4]);
        assert_eq!(shop.reactor.gauges().ready, 4);
    }
}

#[test]
fn a_limited_turn_serves_the_rest_in_the_next_ones_before_those_who_come_later() {
    let mut shop = Shop::limited(3);
    for name in ["a", "b", "c", "d", "e"] {
        shop.busy(name, Normal);
    }
    shop.reactor.take_waits();
    assert_eq!(shop.turn(), ["a", "b", "c"]);
    shop.busy("newcomer", Normal);
    assert_eq!(shop.turn(), ["d", "e", "a"]);
    assert_eq!(shop.turn(), ["b", "c", "newcomer"]);
    assert_eq!(shop.turn(), ["d", "e", "a"]);
    let waits = shop.reactor.take_waits();
    assert_eq!(waits[1..], [Some(Duration::ZERO); 3], "work is left");
    assert_eq!(shop.reactor.counters().turns, 4);
}

#[test]
fn the_quick_one_waits_for_one_limited_turn_and_not_for_all_the_slow_ones() {
    let mut shop = Shop::limited(2);
    let (ours, mut peer) = unix_pair();
    let mut asking = shop.worker("slow");
    let asked = Cell::new(false);
    asking.act = Some(Box::new(move |_| {
        if !asked.replace(true) {
            peer.write_all(b"?")?;
        }
        Ok(())
    }));
    shop.hire(asking, Normal, 10_000);
    shop.crowd("slow", Normal, 200);
    let mut quick = shop.worker("quick");
    quick.takes = Duration::ZERO;
    let quick = shop.reactor.add(ours, quick).unwrap();
    shop.reactor.at(quick).unwrap().set_priority(High);
    assert_eq!(shop.turn(), ["slow", "slow"], "it is asked in this turn");
    assert_eq!(shop.turn(), ["quick", "slow", "slow"]);
}

#[test]
fn each_class_has_its_share_and_what_others_leave() {
    let mut shop = Shop::new(|builder| {
        let builder = builder.turn_time(10 * MS);
        builder.normal_share(30).low_share(20)
    });
    let names = ["high", "normal", "low"];
    shop.crowd("low", Low, 20);
    assert_eq!(shop.counts(names), [0, 0, 10], "nobody else wants anything");
    shop.crowd("high", High, 20);
    assert_eq!(shop.counts(names), [8, 0, 2]);
    shop.crowd("normal", Normal, 20);
    for _ in 0..20 {
        assert_eq!(shop.counts(names), [5, 3, 2]);
    }
}

#[test]
fn one_that_takes_too_long_does_not_take_the_share_of_the_lower_classes() {
    let mut shop = Shop::new(|builder| {
        let builder = builder.turn_time(10 * MS);
        builder.normal_share(30).low_share(20)
    });
    let mut hog = shop.worker("high");
    hog.takes = Duration::from_secs(1);
    shop.hire(hog, High, 1000);
    shop.crowd("high", High, 1);
    shop.crowd("normal", Normal, 20);
    shop.crowd("low", Low, 20);
    let names = ["high", "normal", "low"];
    assert_eq!(shop.counts(names), [1, 3, 2]);
    assert_eq!(shop.counts(names), [2, 3, 2], "it comes second now");
}

#[test]
fn a_class_without_a_share_is_served_once_a_turn_whatever_the_others_take() {
    let mut shop = Shop::new(|builder| {
        let builder = builder.turn_time(10 * MS);
        builder.normal_share(0).low_share(0)
    });
    for name in ["high 1", "high 2"] {
        let mut hog = shop.worker(name);
        hog.takes = Duration::from_secs(1);
        shop.hire(hog, High, 1000);
    }
    for name in ["low 1", "low 2"] {
        shop.busy(name, Low);
    }
    shop.busy("normal", Normal);
    assert_eq!(shop.turn(), ["high 1", "normal", "low 1"]);
    assert_eq!(shop.turn(), ["high 2", "normal", "low 2"]);
    assert_eq!(shop.turn(), ["high 1", "normal", "low 1"]);
}

#[test]
fn one_that_has_nothing_to_do_any_more_takes_nobodys_place() {
    let mut shop = Shop::new(|builder| builder.turn_time(Duration::ZERO));
    shop.busy("a", Normal);
    let paused = shop.busy("paused", Normal);
    shop.busy("b", Normal);
    assert_eq!(shop.turn(), ["a"], "one of a class in no time");
    shop.reactor.at(paused).unwrap().pause_reading();
    assert_eq!(shop.turn(), ["b"]);
    assert_eq!(shop.turn(), ["a"]);
    shop.reactor.at(paused).unwrap().resume_reading();
    let rest: Vec<_> = (0..3).flat_map(|_| shop.turn()).collect();
    assert_eq!(rest, ["b", "a", "paused"], "at the back");
}

#[test]
fn one_that_waits_and_gets_another_class_changes_the_queue_and_goes_to_its_back() {
    let mut shop = Shop::limited(1);
    let mut ids = Vec::new();
    for name in ["a", "b", "c", "d"] {
        ids.push(shop.busy(name, Normal));
    }
    assert_eq!(shop.turn(), ["a"]);
    shop.reactor.at(ids[3]).unwrap().set_priority(High);
    shop.reactor.at(ids[1]).unwrap().set_priority(Low);
    let order = ["d", "c", "b"];
    assert_eq!(shop.turn(), order, "one of each class");
    shop.reactor.at(ids[1]).unwrap().set_priority(Normal);
    shop.reactor.at(ids[3]).unwrap().set_priority(Normal);
    let rest: Vec<_> = (0..4).flat_map(|_| shop.turn()).collect();
    assert_eq!(rest, ["a", "d", "c", "b"], "all in one queue again");
}

#[test]
fn one_that_changes_into_a_class_in_which_others_wait_overtakes_none_of_them() {
    let mut shop = Shop::limited(1);
    for name in ["a", "b", "c"] {
        shop.busy(name, High);
    }
    for name in ["x", "y"] {
        shop.busy(name, Normal);
    }
    let raised = shop.busy("z", Normal);
    assert_eq!(shop.turn(), ["a", "x"]);
    shop.reactor.at(raised).unwrap().set_priority(High);
    let turns: Vec<_> = (0..4).flat_map(|_| shop.turn()).collect();
    assert_eq!(turns, ["b", "y", "c", "x", "z", "y", "a", "x"]);
}

#[test]
fn the_loop_does_not_sleep_while_only_those_are_left_that_there_was_no_time_for() {
    let mut shop = Shop::limited(1);
    for name in ["a", "b", "c"] {
        let mut worker = shop.worker(name);
        worker.act = Some(Box::new(|cx| {
            cx.pause_reading();
            Ok(())
        }));
        shop.hire(worker, Normal, 10);
    }
    assert_eq!(shop.turn(), ["a"]);
    shop.reactor.take_waits();
    assert_eq!(shop.turn(), ["b"]);
    assert_eq!(shop.turn(), ["c"]);
    assert_eq!(shop.reactor.take_waits(), [Some(Duration::ZERO); 2]);
    assert_asleep(&mut shop.reactor, "when none is left");
}

#[test]
fn those_that_wait_at_the_back_and_close_leave_nothing_behind() {
    let mut shop = Shop::limited(1);
    let ids = ["a", "b", "c", "d"].map(|name| shop.busy(name, Normal));
    assert_eq!(shop.turn(), ["a"]);
    shop.reactor.at(ids[2]).unwrap().abort();
    shop.reactor.at(ids[3]).unwrap().abort();
    // Which has no time to come to those that have ended.
    assert_eq!(shop.turn(), ["b"]);
    assert_eq!(shop.reactor.count(), 2);
    assert_eq!(shop.turn(), ["a"]);
}

#[test]
fn those_that_wait_and_close_leave_nothing_behind() {
    let mut shop = Shop::limited(1);
    let first = shop.busy("a", Normal);
    let others = [
        shop.busy("b", High),
        shop.busy("c", High),
        shop.busy("d", Low),
    ];
    assert_eq!(shop.turn(), ["b", "a", "d"]);
    for id in others {
        shop.reactor.at(id).unwrap().abort();
    }
    assert_eq!(shop.turn(), ["a"]);
    let counters = shop.reactor.counters();
    assert_eq!((counters.closed, counters.stale), (3, 0));
    shop.reactor.at(first).unwrap().pause_reading();
    assert_asleep(&mut shop.reactor, "when the last one is paused");
}

// ---------------------------------------------------------------------------------------------------
// Timers and posts.

#[test]
fn due_timers_that_there_was_no_time_for_fire_first_in_the_next_turn_in_order() {
    let mut shop = Shop::limited(2);
    let (log, clock) = (Rc::clone(&shop.log), shop.clock.clone());
    let timer = |name: &str| {
        let (name, log, clock) = (name.to_owned(), Rc::clone(&log), clock.clone());
        move |reactor: &mut Reactor| {
            log.borrow_mut().push(name.clone());
            clock.advance(MS);
            if name == "b" {
                let log = Rc::clone(&log);
                reactor.call_later(Duration::ZERO, move |_| {
                    log.borrow_mut().push("late".to_owned());
                });
            }
        }
    };
    let mut ids = Vec::new();
    for (place, name) in ["a", "b", "c", "d", "e", "f"].into_iter().enumerate() {
        let after = Duration::from_secs(1) + Duration::from_nanos(place as u64);
        ids.push(shop.reactor.call_later(after, timer(name)));
    }
    shop.reactor
        .call_later(Duration::from_secs(2), timer("early"));
    assert_eq!(shop.turn(), [""; 0]);
    shop.clock.advance(Duration::from_secs(1) + MS);
    shop.reactor.take_waits();
    assert_eq!(shop.turn(), ["a", "b"]);
    assert!(
        shop.reactor.cancel_timer(ids[3]),
        "it waits, and is still set"
    );
    assert_eq!(shop.turn(), ["c", "e"], "what is cancelled does not fire");
    assert_eq!(shop.turn(), ["f", "late"]);
    let waits = shop.reactor.take_waits();
    assert_eq!(waits[1..], [Some(Duration::ZERO); 2], "due timers are work");
    assert_asleep(&mut shop.reactor, "until the last timer");
    shop.clock.advance(Duration::from_secs(1));
    assert_eq!(shop.turn(), ["early"]);
}

#[test]
fn an_interval_that_waits_for_its_time_stays_on_its_grid() {
    let mut shop = Shop::limited(1);
    let id = shop.hire(shop.worker("w"), Normal, 0);
    let mut at = shop.reactor.at(id).unwrap();
    at.set_interval(10 * MS);
    at.set_interval(10 * MS);
    at.set_interval(10 * MS);
    let mut fired = 0;
    for _ in 0..10 {
        // Three calls of a millisecond each in ten milliseconds.
        shop.clock.advance(7 * MS);
        for _ in 0..3 {
            fired += shop.counts(["w times"])[0];
        }
        assert_eq!(shop.turn(), [""; 0], "no more than three a period");
    }
    // The first period began at zero, and the tenth has just not ended.
    assert_eq!(fired, 27 + usize::from(shop.clock.now() >= 100 * MS) * 3);
}

#[test]
fn timers_and_posts_have_a_quarter_of_the_turn_however_busy_the_sockets_are() {
    let mut shop = Shop::new(|builder| builder.turn_time(8 * MS).posts_time(3 * MS));
    shop.crowd("normal", Normal, 20);
    let id = shop.hire(shop.worker("w"), Low, 0);
    let handle = shop.reactor.handle();
    for _ in 0..10 {
        shop.reactor.at(id).unwrap().set_timer(Duration::ZERO);
        let clock = shop.clock.clone();
        handle.post(move |_| clock.advance(MS)).unwrap();
    }
    for turns in 1..=5 {
        assert_eq!(shop.counts(["normal", "w times"]), [8, 2]);
        assert_eq!(shop.reactor.counters().posts, 2 * turns);
    }
    assert_eq!(shop.counts(["normal", "w times"]), [8, 0]);
}

// ---------------------------------------------------------------------------------------------------
// Panics.

#[test]
fn a_panic_that_is_contained_neither_loses_the_rest_nor_begins_the_turn_anew() {
    let mut shop = Shop::limited(4);
    shop.crowd("high", High, 1);
    shop.busy("a", Normal);
    let mut torn = shop.worker("torn");
    torn.act = Some(Box::new(|_| panic!("on purpose")));
    shop.hire(torn, Normal, 10);
    for name in ["b", "c", "d"] {
        shop.busy(name, Normal);
    }
    assert_eq!(shop.turn(), ["high", "a", "torn", "b"]);
    assert_eq!(shop.turn(), ["high", "c", "d", "a"]);
    assert_eq!(shop.turn(), ["high", "b", "c", "d"]);
    assert_eq!(shop.reactor.counters().panics, 1);
}

#[test]
fn after_a_panic_that_is_let_through_the_rest_comes_before_newcomers() {
    let mut shop = Shop::new(|builder| {
        let builder = builder.turn_time(3 * MS);
        builder.panic_policy(PanicPolicy::Propagate)
    });
    let mut torn = shop.worker("torn");
    torn.act = Some(Box::new(|_| panic!("on purpose")));
    shop.busy("a", Normal);
    shop.hire(torn, Normal, 10);
    shop.busy("b", Normal);
    shop.busy("low", Low);
    shop.crowd("high", High, 1);
    let reactor = &mut shop.reactor;
    let turn = std::panic::AssertUnwindSafe(|| reactor.turn(Duration::ZERO));
    assert!(std::panic::catch_unwind(turn).is_err());
    assert_eq!(
        std::mem::take(&mut *shop.log.borrow_mut()),
        ["high", "a", "torn"]
    );
    shop.busy("newcomer", Normal);
    assert_eq!(shop.turn(), ["high", "b", "a", "low"]);
    assert_eq!(shop.turn(), ["high", "newcomer", "b", "low"]);
}

/// What was left in the queues is served although nobody has a class any more, and turns have no limit.
#[test]
fn after_a_panic_that_is_let_through_the_queues_are_emptied_even_if_they_are_needed_no_more() {
    let mut shop = Shop::new(|builder| builder.panic_policy(PanicPolicy::Propagate));
    let mut torn = shop.worker("torn");
    torn.act = Some(Box::new(|cx| {
        cx.set_priority(Normal);
        panic!("on purpose")
    }));
    shop.hire(torn, High, 10);
    shop.busy("a", Normal);
    shop.busy("b", Normal);
    let reactor = &mut shop.reactor;
    let turn = std::panic::AssertUnwindSafe(|| reactor.turn(Duration::ZERO));
    assert!(std::panic::catch_unwind(turn).is_err());
    assert_eq!(std::mem::take(&mut *shop.log.borrow_mut()), ["torn"]);
    assert_eq!(shop.turn(), ["a", "b"]);
    assert_eq!(shop.turn(), ["a", "b"]);
}

#[test]
fn due_timers_survive_a_panic_and_a_limit() {
    let mut shop = Shop::limited(2);
    let log = Rc::clone(&shop.log);
    for name in ["a", "b", "c", "d"] {
        let (log, clock) = (Rc::clone(&log), shop.clock.clone());
        shop.reactor.call_later(MS, move |_| {
            log.borrow_mut().push(name.to_owned());
            clock.advance(MS);
            assert_ne!(name, "a", "on purpose");
        });
    }
    shop.clock.advance(MS);
    assert_eq!(shop.turn(), ["a", "b"]);
    assert_eq!(shop.turn(), ["c", "d"]);
}

// ---------------------------------------------------------------------------------------------------

#[test]
fn shares_that_are_more_than_the_whole_are_refused_by_name() {
    let mut builder = Reactor::builder();
    let error = builder.normal_share(60).low_share(41).build().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    let text = error.to_string();
    assert!(
        text.contains("normal_share") && text.contains("low_share"),
        "{text}"
    );
    assert!(builder.normal_share(59).build().is_ok());
}
