//! What the loop measures of itself, on a clock that stands still but where a test moves it: so each duration is known
//! beforehand, to the nanosecond.

#[path = "../util/mod.rs"]
mod util;

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Duration;

use slabloop::metrics::{self, Durations, Metrics, Snapshot, Value};
use slabloop::mio::Token;
use slabloop::observe::{Callback, Step};
use slabloop::testing::{SimClock, SimKernel};
use slabloop::{Builder, Context, Reactor};
use util::*;

const MILLISECOND: Duration = Duration::from_millis(1);

/// A builder for a reactor that measures, on a clock that the test moves.
fn measured(clock: &SimClock) -> Builder {
    let mut builder = Reactor::builder();
    builder.clock(clock.clone()).observer(Metrics::new);
    builder
}

fn look(reactor: &mut Reactor) {
    turn_for(reactor, Duration::ZERO);
}

/// How often one callback occurred, and how long all of these took.
fn of(snapshot: &Snapshot, callback: Callback) -> (u64, Duration) {
    let durations = snapshot.callback(callback);
    durations.map_or((0, Duration::ZERO), |all| (all.count(), all.total()))
}

/// The only figure of a name, or that with a label's value.
#[track_caller]
fn figure(snapshot: &Snapshot, name: &str, label: &str) -> f64 {
    let families = snapshot.families();
    let family = families.iter().find(|family| family.name == name);
    let samples = &family.unwrap_or_else(|| panic!("no {name}")).samples;
    let of_label = |(_, value): (&str, &str)| value == label;
    let sample = samples
        .iter()
        .find(|sample| label.is_empty() || sample.label.is_some_and(of_label));
    match &sample.unwrap_or_else(|| panic!("no {label}")).value {
        Value::Count(count) => *count as f64,
        Value::Amount(amount) => *amount,
        other => panic!("{name} is {other:?}"),
    }
}

// ---------------------------------------------------------------------------------------------------
// How long things take.

#[test]
fn each_kind_of_callback_has_its_durations() {
    let clock = SimClock::new();
    let mut reactor = measured(&clock).build().unwrap();
    let handle = reactor.handle();
    for _ in 0..3 {
        let clock = clock.clone();
        handle
            .post(move |_| clock.advance(2 * MILLISECOND))
            .unwrap();
    }
    let diary = Diary::default();
    let in_read = clock.clone();
    let spy = Spy::new("spy", &diary).on_read(move |cx| {
        in_read.advance(7 * MILLISECOND);
        cx.recv(&mut [0; 16])?;
        Err(io::Error::other("no good"))
    });
    let (_, mut peer) = spied_pair(&mut reactor, spy);
    peer.write_all(b"x").unwrap();
    drop(peer);
    turn_until(&mut reactor, "the end", |_| {
        diary.count("spy", "close") == 1
    });

    let snapshot = reactor.metrics();
    assert_eq!(of(&snapshot, Callback::Post), (3, 6 * MILLISECOND));
    assert_eq!(of(&snapshot, Callback::Read), (1, 7 * MILLISECOND));
    assert_eq!(of(&snapshot, Callback::Error), (1, Duration::ZERO));
    assert_eq!(of(&snapshot, Callback::Close), (1, Duration::ZERO));
    assert_eq!(
        snapshot.callback(Callback::Write).map(Durations::count),
        None
    );
    let kinds: u64 = snapshot.callbacks.iter().map(|(_, all)| all.count()).sum();
    assert_eq!(kinds, 6, "and no others: {:?}", snapshot.callbacks);
}

#[test]
fn the_one_that_waits_for_the_other_was_queued() {
    let clock = SimClock::new();
    let mut reactor = measured(&clock).build().unwrap();
    let diary = Diary::default();
    let mut peers = Vec::new();
    for who in ["first", "second"] {
        let clock = clock.clone();
        let spy = Spy::new(who, &diary).on_read(move |cx| {
            clock.advance(40 * MILLISECOND);
            cx.recv(&mut [0; 16]).map(drop)
        });
        let (_, peer) = spied_pair(&mut reactor, spy);
        peers.push(peer);
    }
    settle(&mut reactor);
    let before = reactor.metrics();
    for peer in &mut peers {
        peer.write_all(b"x").unwrap();
    }
    turn_until(&mut reactor, "both", |_| {
        diary.count("second", "read") == 1 && diary.count("first", "read") == 1
    });
    let queued = reactor.metrics().queued.since(&before.queued);
    assert_eq!(queued.count(), 2);
    // If the kernel reported them in two turns, neither waited for the other; nothing delays loopback that long.
    assert_eq!(queued.total(), 40 * MILLISECOND);
}

#[test]
fn a_timer_waits_for_nobody_in_the_list() {
    let clock = SimClock::new();
    let mut reactor = measured(&clock).build().unwrap();
    let diary = Diary::default();
    let (id, _peer) = spied_pair(&mut reactor, Spy::new("spy", &diary));
    settle(&mut reactor);
    let before = reactor.metrics();
    reactor.at(id).unwrap().set_timer(MILLISECOND);
    clock.advance(MILLISECOND);
    turn_until(&mut reactor, "the timer", |_| {
        diary.count("spy", "timer") == 1
    });
    assert_eq!(reactor.metrics().queued.since(&before.queued).count(), 0);
}

#[test]
fn lag_is_how_late_a_timer_fires() {
    let clock = SimClock::new();
    let mut reactor = measured(&clock).build().unwrap();
    let diary = Diary::default();
    let (id, _peer) = spied_pair(&mut reactor, Spy::new("spy", &diary));
    reactor.at(id).unwrap().set_timer(10 * MILLISECOND);
    reactor.call_later(20 * MILLISECOND, |_| {});
    clock.advance(25 * MILLISECOND);
    look(&mut reactor);
    let lag = reactor.metrics().timer_lag;
    assert_eq!((lag.count(), lag.total()), (2, 20 * MILLISECOND));
    assert!(lag.max() >= 15 * MILLISECOND && lag.max() < 16 * MILLISECOND);
}

/// A kernel without events, in whose wait time passes.
struct Dozing(SimClock, Duration);

impl SimKernel for Dozing {
    fn wait(&mut self, _: Option<Duration>, _: &mut Vec<(Token, u32)>) -> io::Result<()> {
        self.0.advance(self.1);
        Ok(())
    }
}

#[test]
fn waiting_and_working_are_told_apart() {
    let clock = SimClock::new();
    let mut reactor = measured(&clock).build().unwrap();
    reactor.set_kernel(Box::new(Dozing(clock.clone(), 30 * MILLISECOND)));
    for _ in 0..2 {
        let clock = clock.clone();
        let work = move |_: &mut Reactor| clock.advance(10 * MILLISECOND);
        reactor.handle().post(work).unwrap();
        look(&mut reactor);
    }
    let snapshot = reactor.metrics();
    assert_eq!(snapshot.waited(), 60 * MILLISECOND);
    assert_eq!(snapshot.worked(), 20 * MILLISECOND);
    assert_eq!(snapshot.step(Step::Posts), 20 * MILLISECOND);
    assert_eq!(snapshot.measured, 80 * MILLISECOND);
    assert!((snapshot.utilization() - 0.25).abs() < 1e-9);
    let work = &snapshot.turn_work;
    assert_eq!((work.count(), work.total()), (2, 20 * MILLISECOND));
    assert_eq!(
        (
            snapshot.events_per_turn.count(),
            snapshot.events_per_turn.max()
        ),
        (2, 0)
    );
}

#[test]
fn a_panic_in_the_middle_of_a_turn_leaves_the_times_in_order() {
    let clock = SimClock::new();
    let mut builder = measured(&clock);
    let mut reactor = builder
        .panic_policy(slabloop::PanicPolicy::Propagate)
        .build()
        .unwrap();
    let in_post = clock.clone();
    let post = move |_: &mut Reactor| {
        in_post.advance(5 * MILLISECOND);
        panic!("on purpose");
    };
    reactor.handle().post(post).unwrap();
    let turn = std::panic::AssertUnwindSafe(|| reactor.turn(Duration::ZERO));
    assert!(std::panic::catch_unwind(turn).is_err());
    clock.advance(1000 * MILLISECOND);
    look(&mut reactor);
    let snapshot = reactor.metrics();
    assert_eq!(
        snapshot.worked(),
        5 * MILLISECOND,
        "what lies between the turns is neither"
    );
    assert_eq!(snapshot.counters.panics, 1);
    assert_eq!(of(&snapshot, Callback::Post), (1, 5 * MILLISECOND));
}

// ---------------------------------------------------------------------------------------------------
// What is opened, refused and closed, and why.

#[test]
fn a_listener_that_is_full_counts_its_pauses_by_reason() {
    let clock = SimClock::new();
    let mut reactor = measured(&clock).max_connections(1).build().unwrap();
    let (_, address) = serve(&mut reactor, || Echo);
    let mut clients: Vec<_> = (0..2)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    turn_until(&mut reactor, "a pause", |reactor| {
        reactor.gauges().accept_paused == 1
    });
    let snapshot = reactor.metrics();
    assert_eq!(snapshot.accept_pauses.limit, 1);
    assert_eq!(
        figure(&snapshot, "slabloop_accept_pauses_total", "limit"),
        1.0
    );
    assert_eq!(
        figure(&snapshot, "slabloop_accept_pauses_total", "shortage"),
        0.0
    );
    assert_eq!(figure(&snapshot, "slabloop_listeners_paused", ""), 1.0);
    assert_eq!((snapshot.opened.streams, snapshot.opened.listeners), (1, 1));

    clients.remove(0);
    turn_until(&mut reactor, "the second", |reactor| {
        reactor.counters().accepted == 2
    });
    assert_eq!(reactor.metrics().opened.streams, 2);
}

#[test]
fn ends_have_their_causes() {
    let clock = SimClock::new();
    let mut reactor = measured(&clock).build().unwrap();
    let diary = Diary::default();
    let (_, politely) = spied_pair(&mut reactor, Spy::new("politely", &diary));
    let (_, rudely) = spied_pair(&mut reactor, Spy::new("rudely", &diary));
    let (idle, _peer) = spied_pair(&mut reactor, Spy::new("idle", &diary));
    reactor.at(idle).unwrap().set_idle_timeout(MILLISECOND);
    drop(politely);
    reset(rudely);
    clock.advance(2 * MILLISECOND);
    turn_until(&mut reactor, "all ends", |reactor| reactor.count() == 0);
    let snapshot = reactor.metrics();
    for (cause, count) in [
        ("finished", 1.0),
        ("reset", 1.0),
        ("idle", 1.0),
        ("panic", 0.0),
    ] {
        let found = figure(&snapshot, "slabloop_dispatchers_closed_total", cause);
        assert_eq!(found, count, "{cause}");
    }
}

#[test]
fn a_peer_that_does_not_read_is_seen_in_the_outboxes() {
    let clock = SimClock::new();
    let mut builder = measured(&clock);
    let mut reactor = builder.high_mark(64 * 1024).build().unwrap();
    let diary = Diary::default();
    let (sink, _never_reads) = spied_pair(&mut reactor, Spy::new("sink", &diary));
    let (small, _peer) = spied_pair(&mut reactor, Spy::new("small", &diary));
    let (source, mut peer) = spied_pair(&mut reactor, Spy::new("source", &diary));
    reactor.narrow(sink, 4096).unwrap();
    reactor.at(sink).unwrap().feeds_nobody();
    reactor.at(source).unwrap().feeds(sink);
    reactor
        .at(sink)
        .unwrap()
        .send(&vec![0; 512 * 1024])
        .unwrap();
    reactor.at(small).unwrap().send(b"a little").unwrap();
    peer.write_all(b"more").unwrap();
    turn_until(&mut reactor, "the source is held", |reactor| {
        reactor.gauges().held == 1
    });
    look(&mut reactor);
    let snapshot = reactor.metrics();
    assert_eq!((snapshot.over_high_mark, snapshot.held), (1, 1));
    let queued = snapshot.gauges.queued_bytes;
    assert!(queued > 64 * 1024);
    assert_eq!(snapshot.gauges.largest_outbox, queued, "all of it is one's");
    assert_eq!(
        figure(&snapshot, "slabloop_outbox_largest_bytes", ""),
        queued as f64
    );
}

#[test]
fn slow_callbacks_and_refused_posts_are_counted() {
    let clock = SimClock::new();
    let mut builder = measured(&clock);
    let builder = builder.slow_callback(10 * MILLISECOND).post_capacity(2);
    let mut reactor = builder.build().unwrap();
    let handle = reactor.handle();
    for _ in 0..2 {
        let clock = clock.clone();
        handle
            .post(move |_| clock.advance(20 * MILLISECOND))
            .unwrap();
    }
    assert!(handle.post(|_| {}).is_err());
    look(&mut reactor);
    let snapshot = reactor.metrics();
    assert_eq!(figure(&snapshot, "slabloop_slow_callbacks_total", ""), 2.0);
    assert_eq!(figure(&snapshot, "slabloop_posts_refused_total", ""), 1.0);
    assert_eq!(figure(&snapshot, "slabloop_posts_total", ""), 2.0);
}

// ---------------------------------------------------------------------------------------------------
// Getting at it.

#[test]
fn asking_begins_to_measure_where_nobody_has() {
    let clock = SimClock::new();
    let mut reactor = Reactor::builder().clock(clock.clone()).build().unwrap();
    assert!(reactor.observer::<Metrics>().is_none());
    let work = clock.clone();
    reactor
        .handle()
        .post(move |_| work.advance(MILLISECOND))
        .unwrap();
    look(&mut reactor);

    let empty = reactor.metrics();
    assert!(empty.callbacks.is_empty());
    assert_eq!(empty.counters.posts, 1, "counters count from the beginning");
    let work = clock.clone();
    reactor
        .handle()
        .post(move |_| work.advance(MILLISECOND))
        .unwrap();
    look(&mut reactor);
    assert_eq!(of(&reactor.metrics(), Callback::Post), (1, MILLISECOND));
}

#[test]
fn a_callback_can_ask_and_asks_one_observer_however_often() {
    let clock = SimClock::new();
    let mut reactor = Reactor::builder().clock(clock.clone()).build().unwrap();
    let diary = Diary::default();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let (noted, in_read) = (Rc::clone(&seen), clock.clone());
    let spy = Spy::new("spy", &diary).on_read(move |cx: &mut Context<'_>| {
        in_read.advance(MILLISECOND);
        noted.borrow_mut().push(cx.metrics());
        noted.borrow_mut().push(cx.metrics());
        cx.recv(&mut [0; 1]).map(drop)
    });
    let (_, mut peer) = spied_pair(&mut reactor, spy);
    for round in 1..=3 {
        peer.write_all(b"x").unwrap();
        turn_until(&mut reactor, "a read", |_| {
            diary.count("spy", "read") == round
        });
    }
    let reads: Vec<_> = seen
        .borrow()
        .iter()
        .map(|seen| of(seen, Callback::Read).0)
        .collect();
    assert_eq!(
        reads,
        [0, 0, 0, 0, 1, 1],
        "the first call began it, from the next turn on"
    );
    assert!(reactor.unobserve::<Metrics>().is_some());
    assert!(reactor.unobserve::<Metrics>().is_none(), "there was one");
}

/// A kernel for a loop that has no reason to wait.
struct Sleepless;

impl SimKernel for Sleepless {
    fn wait(&mut self, timeout: Option<Duration>, _: &mut Vec<(Token, u32)>) -> io::Result<()> {
        assert_eq!(timeout, Some(Duration::ZERO), "it waits");
        Ok(())
    }
}

#[test]
fn the_hook_comes_every_period_and_lets_the_program_end() {
    let clock = SimClock::new();
    let mut reactor = measured(&clock).build().unwrap();
    let calls = Rc::new(Cell::new(0));
    let noted = Rc::clone(&calls);
    let period = Duration::from_secs(10);
    let timer = metrics::every(&mut reactor, period, move |reactor, snapshot| {
        noted.set(noted.get() + 1);
        assert_eq!(snapshot.counters.turns, reactor.counters().turns);
        assert_eq!(
            snapshot.timer_lag.count(),
            noted.get(),
            "its own timer is one"
        );
    });
    for call in 1..=3 {
        clock.advance(period);
        look(&mut reactor);
        assert_eq!(calls.get(), call);
    }
    reactor.set_kernel(Box::new(Sleepless));
    reactor.run().expect("it returns: nothing else is there");
    assert!(reactor.cancel_timer(timer));
    clock.advance(period);
    look(&mut reactor);
    assert_eq!(calls.get(), 3);
}

#[test]
fn a_difference_is_what_the_last_interval_brought() {
    let clock = SimClock::new();
    let mut reactor = measured(&clock).build().unwrap();
    let mut work = |took: Duration| {
        let in_post = clock.clone();
        reactor
            .handle()
            .post(move |_| in_post.advance(took))
            .unwrap();
        look(&mut reactor);
        reactor.metrics()
    };
    let before = work(500 * MILLISECOND);
    let after = work(MILLISECOND);
    let posts = |snapshot: &Snapshot| snapshot.callback(Callback::Post).unwrap().clone();
    let between = posts(&after).since(&posts(&before));
    assert_eq!((between.count(), between.total()), (1, MILLISECOND));
    assert!(between.quantile(0.99) < 2 * MILLISECOND);
    assert!(posts(&after).max() >= 500 * MILLISECOND);
}

#[test]
fn a_hostile_amount_of_turns_takes_no_more_memory() {
    let clock = SimClock::new();
    let mut reactor = measured(&clock).build().unwrap();
    let mut sizes = Vec::new();
    for round in 0..20_000_u64 {
        let in_post = clock.clone();
        let took = Duration::from_nanos(1 + round * 977 % 1_000_000);
        reactor
            .handle()
            .post(move |_| in_post.advance(took))
            .unwrap();
        look(&mut reactor);
        if round % 10_000 == 9_999 {
            let posts = reactor.metrics().callback(Callback::Post).unwrap().clone();
            sizes.push(posts.histogram().distinct_values());
        }
    }
    assert_eq!(sizes[0], sizes[1]);
    assert!(sizes[0] * 8 < 40_000, "{sizes:?}");
}

#[test]
fn the_peer_gets_its_bytes_while_all_is_measured() {
    let mut reactor = Reactor::builder().observer(Metrics::new).build().unwrap();
    let (_, address) = serve(&mut reactor, || Echo);
    let client = std::thread::spawn(move || {
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(&pattern(1, 300_000)).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut back = Vec::new();
        client.read_to_end(&mut back).unwrap();
        back
    });
    turn_until(&mut reactor, "the echo", |reactor| {
        reactor.counters().ends.finished == 1
    });
    assert_eq!(client.join().unwrap(), pattern(1, 300_000));
    let snapshot = reactor.metrics();
    assert_eq!(snapshot.counters.bytes_in, 300_000);
    assert_eq!(snapshot.events_per_turn.total(), snapshot.counters.events);
    assert_eq!(
        snapshot.callbacks_per_turn.total(),
        snapshot.counters.callbacks
    );
    assert_eq!(snapshot.turn_work.count(), snapshot.counters.turns);
}
