//! Connections per peer, request rates, concurrency with load shedding.

#[path = "../util/mod.rs"]
mod util;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use slabloop::kit::limits::{
    Buckets, Concurrency, ConcurrencyBuilder, Order, PerPeer, Place, Prefix, PrefixLengths, Quota,
    Shed, Slot, TokenBucket,
};
use slabloop::testing::SimClock;
use slabloop::{Accepted, Context, Dispatcher, Id, Reactor};
use util::*;

const NS: Duration = Duration::from_nanos(1);
const SECOND: Duration = Duration::from_secs(1);

/// Three years, in nanoseconds.
const LONGEST_JUMP: u64 = 100_000_000_000_000_000;

fn any_quota() -> impl Strategy<Value = (u32, u64, u32)> {
    let counts = prop_oneof![1..20u32, 1..=u32::MAX];
    let periods = prop_oneof![1..2000u64, 1..=3_000_000_000_000_000_000u64];
    let bursts = prop_oneof![1..20u32, 1..=u32::MAX];
    (counts, periods, bursts)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// In each span from one call to another it gives no more than the burst and what comes in that span, with a
    /// clock that jumps both ways; and it refuses nothing that it could give.
    #[test]
    fn a_bucket_gives_exactly_the_burst_and_what_time_brings(
        (count, period, burst) in any_quota(),
        calls in prop::collection::vec((0..4u8, any::<u64>(), 1..=u32::MAX), 1..60),
    ) {
        let quota = Quota::per(count, Duration::from_nanos(period)).burst(burst);
        let mut bucket = TokenBucket::new(quota).unwrap();
        let start = Instant::now() + Duration::from_secs(100);
        bucket.take(start, 0).unwrap();
        let (mut now, mut latest) = (0u64, 0u64);
        // In units of a token's period-th part, as integers.
        let mut level = u128::from(burst) * u128::from(period);
        let full = level;
        for (kind, jump, size) in calls {
            now = match kind {
                0 => now,
                1 => now.saturating_sub(jump % 5_000_000_000),
                // All together stay below the 584 years that a bucket can tell apart.
                2 => now + jump % ((period / u64::from(count)).min(LONGEST_JUMP) + 2),
                _ => now + jump % (period.min(1_000_000_000_000) + 2),
            };
            // For calls of the past time stands still.
            if now > latest {
                level = full.min(level + u128::from(now - latest) * u128::from(count));
                latest = now;
            }
            let size = if kind == 3 { size } else { size % 7 };
            let wanted = u128::from(size) * u128::from(period);
            let at = start + Duration::from_nanos(now);
            match bucket.take(at, size) {
                Ok(()) => {
                    prop_assert!(wanted <= level, "{} of {}", wanted, level);
                    level -= wanted;
                }
                Err(refused) => {
                    prop_assert!(wanted > level);
                    if size > burst {
                        prop_assert_eq!(refused.retry_after, Duration::MAX);
                    } else if refused.retry_after < Duration::from_secs(1 << 33) {
                        let at = start + Duration::from_nanos(latest) + refused.retry_after;
                        prop_assert!(bucket.clone().take(at - NS, size).is_err());
                        prop_assert!(bucket.clone().take(at, size).is_ok());
                    }
                }
            }
            prop_assert_eq!(u128::from(bucket.available(at)), level / u128::from(period));
        }
    }

    /// A forgotten bucket equals a fresh one: with room for all keys, each is a bucket of its own.
    #[test]
    fn buckets_that_are_forgotten_make_no_difference(
        (count, period, burst) in (1..5u32, 1..50u64, 1..5u32),
        calls in prop::collection::vec((0..8u8, 0..40u64, 1..4u32), 1..200),
    ) {
        let quota = Quota::per(count, Duration::from_nanos(period)).burst(burst);
        let mut buckets = Buckets::new(quota, 8).unwrap();
        let mut each: HashMap<u8, TokenBucket> = HashMap::new();
        let mut now = Instant::now();
        for bucket in 0..8 {
            let mut fresh = TokenBucket::new(quota).unwrap();
            fresh.take(now, 0).unwrap();
            each.insert(bucket, fresh);
        }
        for (key, passed, size) in calls {
            now += Duration::from_nanos(passed);
            let expected = each.get_mut(&key).unwrap().take(now, size);
            prop_assert_eq!(buckets.take(now, key, size), expected);
            prop_assert!(buckets.gauges().keys <= 8);
        }
        prop_assert_eq!(buckets.gauges().shared, 0);
    }
}

#[test]
fn a_rate_that_divides_no_second_does_not_drift() {
    // A third of a token in a nanosecond is none that a nanosecond could be rounded to.
    let mut bucket = TokenBucket::new(Quota::per(3, 7 * NS).burst(2)).unwrap();
    let start = Instant::now();
    let taken = (0..=700_000u32).filter(|&at| bucket.take(start + at * NS, 1).is_ok());
    assert_eq!(taken.count(), 300_002);
}

#[test]
fn bad_quotas_are_named_and_the_largest_do_not_overflow() {
    let century = Duration::from_secs(100 * 366 * 24 * 3600);
    for quota in [
        Quota::per_second(0),
        Quota::per_second(1).burst(0),
        Quota::per(1, Duration::ZERO),
        Quota::per(1, century + NS),
    ] {
        let error = TokenBucket::new(quota).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(Buckets::<u8>::new(quota, 1).is_err());
    }
    assert!(Buckets::<u8>::new(Quota::per_second(1), 0).is_err());
    assert!(PerPeer::new(0, PrefixLengths::default()).is_err());
    assert!(PrefixLengths::new(33, 64).is_err() && PrefixLengths::new(32, 129).is_err());

    let start = Instant::now();
    for period in [NS, century] {
        let quota = Quota::per(u32::MAX, period).burst(u32::MAX);
        let mut bucket = TokenBucket::new(quota).unwrap();
        bucket.take(start, u32::MAX).unwrap();
        let refused = bucket.take(start, u32::MAX).unwrap_err();
        assert_eq!(refused.retry_after, period);
        for years in [1, 50, 99, 400] {
            let now = start + Duration::from_secs(years * 366 * 24 * 3600);
            let _ = bucket.take(now, u32::MAX);
        }
    }
    let mut slow = TokenBucket::new(Quota::per(1, century).burst(u32::MAX)).unwrap();
    slow.take(start, u32::MAX).unwrap();
    let refused = slow.take(start, u32::MAX).unwrap_err();
    assert!(refused.retry_after > Duration::from_secs(500 * 366 * 24 * 3600));
    slow.give_back(u32::MAX);
    slow.give_back(u32::MAX);
    assert_eq!(slow.available(start), u32::MAX, "no more than full");
    assert_eq!(size_of::<TokenBucket>(), 64);
}

#[test]
fn a_flood_of_keys_is_bounded_in_memory_and_in_rate_and_washes_nothing_off() {
    const MOST: u32 = 1000;
    let mut buckets = Buckets::new(Quota::per_second(1).burst(2), MOST as usize).unwrap();
    let start = Instant::now();
    let prefix = |number: u32| {
        let address = Ipv4Addr::from_bits(number);
        Prefix::of(address.into(), PrefixLengths::default())
    };
    for _ in 0..2 {
        buckets.take(start, prefix(0), 1).unwrap();
    }
    let given = (1..100_000).filter(|&number| buckets.take(start, prefix(number), 1).is_ok());
    assert_eq!(
        given.count(),
        MOST as usize - 1 + 2,
        "what is known, and one shared bucket"
    );
    assert_eq!(buckets.gauges().keys, MOST as usize);
    assert_eq!(buckets.gauges().shared, 100_000 - u64::from(MOST));
    assert!(buckets.take(start, prefix(0), 1).is_err(), "not forgotten");
    assert_eq!(buckets.gauges().refused, 100_000 - u64::from(MOST) - 1);
    // When they have become full there is room again, and they go.
    let later = start + 2 * SECOND;
    for number in 0..MOST {
        buckets.take(later, prefix(1_000_000 + number), 2).unwrap();
    }
    assert_eq!(buckets.gauges().keys, MOST as usize);
    for at in 0..MOST {
        let _ = buckets.take(later + SECOND * 9, prefix(at % 2), 1);
    }
    assert_eq!(buckets.gauges().keys, 2, "no sweep, no timer: calls do it");
}

#[test]
fn each_call_forgets_two_keys_whose_buckets_are_full_and_no_more() {
    let mut buckets = Buckets::new(Quota::per_second(1), 100).unwrap();
    let start = Instant::now();
    for key in 0..10 {
        buckets.take(start, key, 1).unwrap();
    }
    // Each call adds one.
    for (key, left) in [(10, 9), (11, 8), (12, 7)] {
        buckets.take(start + 10 * SECOND, key, 1).unwrap();
        assert_eq!(buckets.gauges().keys, left);
    }
}

#[test]
fn keys_that_are_used_again_are_kept_and_do_not_stand_before_one_that_may_go() {
    let mut buckets = Buckets::new(Quota::per_second(1).burst(10), 3).unwrap();
    let start = Instant::now();
    for (key, tokens) in [("a", 1), ("b", 1), ("c", 2)] {
        buckets.take(start, key, tokens).unwrap();
    }
    for key in ["a", "b"] {
        buckets.take(start + SECOND / 2, key, 9).unwrap();
    }
    // "a" and "b" were to be full first; "c" is.
    let later = start + 2 * SECOND;
    buckets.take(later, "d", 10).unwrap();
    assert_eq!(buckets.gauges().keys, 3);
    assert_eq!(buckets.gauges().shared, 0, "there was room");
    for key in ["a", "b"] {
        assert!(buckets.take(later, key, 3).is_err(), "{key} is not fresh");
        buckets.take(later, key, 2).unwrap();
    }
}

#[test]
fn prefixes_put_together_what_is_one_peer() {
    let prefix = |text: &str, v4, v6| {
        let lengths = PrefixLengths::new(v4, v6).unwrap();
        Prefix::of(text.parse().unwrap(), lengths).to_string()
    };
    for (text, v4, v6, expected) in [
        ("192.0.2.77", 32, 64, "192.0.2.77"),
        ("192.0.2.77", 24, 64, "192.0.2.0/24"),
        ("192.0.2.77", 0, 64, "0.0.0.0/0"),
        ("::ffff:192.0.2.77", 24, 64, "192.0.2.0/24"),
        ("2001:db8:1:2:3:4:5:6", 24, 64, "2001:db8:1:2::/64"),
        ("2001:db8:1:2:3:4:5:6", 24, 48, "2001:db8:1::/48"),
        ("2001:db8:1:2:3:4:5:6", 24, 128, "2001:db8:1:2:3:4:5:6"),
        ("2001:db8:1:2:3:4:5:6", 24, 0, "::/0"),
    ] {
        assert_eq!(prefix(text, v4, v6), expected);
    }
}

#[test]
fn each_peer_has_its_places_and_a_flood_of_peers_leaves_no_memory_behind() {
    let limit = PerPeer::new(2, PrefixLengths::default()).unwrap();
    let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
    let plain: IpAddr = "192.0.2.1".parse().unwrap();
    let first = limit.admit(plain).unwrap();
    let second = limit.clone().admit(mapped).unwrap();
    let refused = limit.admit(plain).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "192.0.2.1 has 2 connections, which is the limit for one peer"
    );
    assert_eq!(
        io::Error::from(refused).kind(),
        io::ErrorKind::QuotaExceeded
    );
    assert_eq!(first.prefix(), second.prefix());
    drop(first);
    let again = limit.admit(mapped).unwrap();
    drop((second, again));
    assert_eq!((limit.gauges().open, limit.gauges().peers), (0, 0));
    assert_eq!(limit.gauges().refused, 1);

    let address = |number: u128| IpAddr::from(Ipv6Addr::from_bits((1 << 125) | number << 64));
    for number in 0..100_000 {
        drop(limit.admit(address(number)).unwrap());
    }
    assert!(
        limit.capacity() < 200,
        "one at a time: {}",
        limit.capacity()
    );
    let places: Vec<Place> = (0..100_000)
        .map(|n| limit.admit(address(n)).unwrap())
        .collect();
    assert_eq!(limit.gauges().peers, 100_000);
    assert!((100_000..300_000).contains(&limit.capacity()));
    // On the way down there is always room for twice as many, so that it is not taken and given back by turns.
    let mut places = places;
    for left in [10_000, 1_000, 100] {
        places.truncate(left);
        let capacity = limit.capacity();
        assert!(
            (2 * left..8 * left).contains(&capacity),
            "{left} of {capacity}"
        );
    }
    drop(places);
    assert!(limit.capacity() < 200, "{} are left", limit.capacity());
}

struct Door {
    per_peer: PerPeer,
    errors: Rc<RefCell<Vec<String>>>,
}

impl Dispatcher for Door {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let peer = accepted.peer().expect("TCP");
        let place = self.per_peer.admit(peer.ip())?;
        cx.add(accepted, Guest { _place: place })?;
        Ok(())
    }

    fn handle_error(&mut self, _: &mut Context<'_>, error: io::Error) {
        self.errors.borrow_mut().push(error.to_string());
    }
}

/// Panics when it is told to.
struct Guest {
    _place: Place,
}

impl Dispatcher for Guest {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_with(|bytes, cx| {
            assert_ne!(bytes, b"panic");
            cx.send(bytes)
        })
    }
}

#[test]
fn a_refused_connection_is_closed_and_a_place_comes_back_from_close_reset_and_panic() {
    let mut reactor = Reactor::new().unwrap();
    let per_peer = PerPeer::new(1, PrefixLengths::default()).unwrap();
    let errors = Rc::new(RefCell::new(Vec::new()));
    let door = Door {
        per_peer: per_peer.clone(),
        errors: Rc::clone(&errors),
    };
    let door = reactor.listen("127.0.0.1:0", door).unwrap();
    let address = reactor.local_addr(door).unwrap();
    for end in ["close", "reset", "panic"] {
        let mut peer = TcpStream::connect(address).unwrap();
        turn_until(&mut reactor, "the first", |_| per_peer.gauges().open == 1);
        let mut refused = TcpStream::connect(address).unwrap();
        turn_until(&mut reactor, "the refusal", |_| !errors.borrow().is_empty());
        refused.set_read_timeout(Some(DEADLINE)).unwrap();
        assert_eq!(refused.read(&mut [0]).unwrap(), 0);
        let error = errors.borrow_mut().pop().unwrap();
        assert!(error.contains("127.0.0.1 has 1 connections"), "{error}");
        match end {
            "close" => drop(peer),
            "reset" => reset(peer),
            _ => peer.write_all(b"panic").unwrap(),
        }
        turn_until(&mut reactor, end, |_| per_peer.gauges().open == 0);
    }
    assert_eq!(per_peer.gauges().peers, 0);
}

/// What requests have been told: their name, and how it went.
type Told = Rc<RefCell<Vec<(u32, String)>>>;

/// A dispatcher with requests; keeps its slots until told otherwise.
#[derive(Default)]
struct Worker {
    told: Told,
    slots: Vec<Slot>,
}

impl Dispatcher for Worker {}

impl Worker {
    fn note(&mut self, name: u32, result: Result<Slot, Shed>) {
        let text = match &result {
            Ok(_) => "slot".to_owned(),
            Err(shed) => format!("{shed:?}"),
        };
        self.told.borrow_mut().push((name, text));
        self.slots.extend(result);
    }
}

struct Scene {
    reactor: Reactor,
    clock: SimClock,
    limit: Concurrency,
    told: Told,
}

impl Scene {
    fn new(settings: ConcurrencyBuilder) -> Scene {
        Scene::on(Reactor::builder(), settings)
    }

    fn on(mut builder: slabloop::Builder, settings: ConcurrencyBuilder) -> Scene {
        let clock = SimClock::new();
        let mut reactor = builder.clock(clock.clone()).build().unwrap();
        let limit = settings.build(&mut reactor).unwrap();
        let told = Told::default();
        Scene {
            reactor,
            clock,
            limit,
            told,
        }
    }

    fn worker(&mut self) -> Id<Worker> {
        let worker = Worker {
            told: Rc::clone(&self.told),
            slots: Vec::new(),
        };
        self.reactor.add_service(worker).unwrap()
    }

    fn ask(&mut self, worker: Id<Worker>, name: u32) {
        let limit = self.limit.clone();
        let asked = self.reactor.with(worker, |_, cx| {
            limit.acquire(cx, worker, move |worker, _, result| {
                worker.note(name, result);
                Ok(())
            });
        });
        asked.expect("the worker lives");
    }

    fn turns(&mut self) {
        for _ in 0..4 {
            turn_for(&mut self.reactor, Duration::ZERO);
        }
    }

    /// What was told since the last look.
    fn told(&mut self) -> Vec<(u32, String)> {
        self.turns();
        self.told.take()
    }

    fn finish(&mut self, worker: Id<Worker>, count: usize) {
        let slots = self.reactor.with(worker, |worker, _| {
            let slots = worker.slots.drain(..count);
            slots.collect::<Vec<_>>()
        });
        drop(slots);
    }
}

fn told(names: &[(u32, &str)]) -> Vec<(u32, String)> {
    let told = names.iter().map(|&(name, text)| (name, text.to_owned()));
    told.collect()
}

#[test]
fn what_waits_is_served_in_the_order_that_was_asked_for() {
    for (order, expected) in [(Order::Fifo, [3, 4, 5]), (Order::Lifo, [5, 4, 3])] {
        let mut scene = Scene::new(Concurrency::builder().limit(2).queue(3).order(order));
        let worker = scene.worker();
        for name in 1..=5 {
            scene.ask(worker, name);
        }
        assert!(scene.told.borrow().is_empty(), "never from inside acquire");
        assert_eq!(scene.told(), told(&[(1, "slot"), (2, "slot")]));
        assert!(scene.limit.try_acquire().is_none());
        for name in expected {
            scene.finish(worker, 1);
            assert_eq!(scene.told(), told(&[(name, "slot")]));
        }
        let gauges = scene.limit.gauges();
        assert_eq!((gauges.in_use, gauges.waiting, gauges.granted), (2, 0, 5));
        scene.finish(worker, 2);
        let slot = scene.limit.try_acquire().expect("free");
        assert_eq!(scene.limit.gauges().in_use, 1);
        drop(slot);
        assert_eq!(scene.limit.gauges().in_use, 0);
    }
}

#[test]
fn a_full_queue_sheds_the_newest_or_the_oldest() {
    let settings = Concurrency::builder().limit(1).queue(2);
    let mut scene = Scene::new(settings);
    let worker = scene.worker();
    (1..=5).for_each(|name| scene.ask(worker, name));
    let expected = told(&[(1, "slot"), (4, "QueueFull"), (5, "QueueFull")]);
    assert_eq!(scene.told(), expected);
    assert_eq!(scene.limit.gauges().shed, 2);

    let mut scene = Scene::new(settings.shed_oldest());
    let worker = scene.worker();
    (1..=5).for_each(|name| scene.ask(worker, name));
    let expected = told(&[(1, "slot"), (2, "Displaced"), (3, "Displaced")]);
    assert_eq!(scene.told(), expected);
    scene.finish(worker, 1);
    assert_eq!(scene.told(), told(&[(4, "slot")]));

    for settings in [settings.queue(0), settings.queue(0).shed_oldest()] {
        let mut scene = Scene::new(settings);
        let worker = scene.worker();
        (1..=2).for_each(|name| scene.ask(worker, name));
        assert_eq!(scene.told(), told(&[(1, "slot"), (2, "QueueFull")]));
    }
    let mut reactor = Reactor::new().unwrap();
    for bad in [settings.limit(0), settings.deadline(Duration::ZERO)] {
        let error = bad.build(&mut reactor).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}

#[test]
fn who_waits_too_long_is_told_and_a_clock_that_jumps_expires_all_at_once() {
    let settings = Concurrency::builder().limit(1).queue(10);
    let mut scene = Scene::new(settings.deadline(SECOND).order(Order::Lifo));
    let worker = scene.worker();
    for name in 1..=3 {
        scene.ask(worker, name);
        scene.clock.advance(SECOND / 4);
        scene.turns();
    }
    assert_eq!(scene.told(), told(&[(1, "slot")]));
    scene.clock.advance(SECOND / 2);
    assert_eq!(scene.told(), told(&[(2, "Deadline { waited: 1s }")]));
    scene.clock.advance(SECOND / 4);
    assert_eq!(scene.told(), told(&[(3, "Deadline { waited: 1s }")]));
    assert_eq!(scene.limit.gauges().expired, 2);

    (4..=6).for_each(|name| scene.ask(worker, name));
    scene.turns();
    scene.clock.advance(Duration::from_secs(3600));
    let expired = scene.told();
    assert_eq!(expired.len(), 3, "{expired:?}");
    assert_eq!(scene.limit.gauges().waiting, 0);

    // None is left for whom a timer could be set: `run` returns.
    scene.finish(worker, 1);
    scene.reactor.run().unwrap();
}

#[test]
fn a_slot_comes_back_when_its_holder_dies_and_those_that_died_waiting_are_passed_over() {
    let mut scene = Scene::new(Concurrency::builder().limit(1).queue(3));
    let [holder, dead, alive] = [(); 3].map(|()| scene.worker());
    scene.ask(holder, 1);
    scene.ask(dead, 2);
    scene.ask(dead, 3);
    scene.ask(alive, 4);
    assert_eq!(scene.told(), told(&[(1, "slot")]));
    scene.reactor.at(dead).unwrap().abort();
    scene.turns();
    let gauges = scene.limit.gauges();
    assert_eq!(
        (gauges.gone, gauges.waiting),
        (2, 1),
        "no place is lost to the dead"
    );
    // It panics with the slot in hand.
    let _ = scene.reactor.call(holder, |_, _| panic!("with a slot"));
    assert_eq!(scene.told(), told(&[(4, "slot")]));
    scene.reactor.at(alive).unwrap().abort();
    scene.turns();
    assert_eq!(scene.limit.gauges().in_use, 0);

    // Dead before the queue has heard of it, and before its answer.
    let [holder, dead, alive] = [(); 3].map(|()| scene.worker());
    scene.ask(holder, 5);
    scene.turns();
    scene.ask(dead, 6);
    scene.ask(alive, 7);
    scene.reactor.at(dead).unwrap().abort();
    scene.finish(holder, 1);
    assert_eq!(scene.told(), told(&[(5, "slot"), (7, "slot")]));
    let gauges = scene.limit.gauges();
    assert_eq!((gauges.gone, gauges.granted), (3, 4));
}

#[test]
fn while_requests_wait_the_loop_has_one_timer_for_all_and_without_a_deadline_none() {
    for (deadline, timers) in [(60 * SECOND, 1), (Duration::MAX, 0)] {
        let settings = Concurrency::builder().limit(1).queue(8);
        let mut scene = Scene::new(settings.deadline(deadline));
        let worker = scene.worker();
        (1..=6).for_each(|name| scene.ask(worker, name));
        for waiting in (1..=5).rev() {
            scene.turns();
            assert_eq!(scene.limit.gauges().waiting, waiting);
            assert_eq!(scene.reactor.gauges().timers, timers);
            // It is for the deadline, and nothing is looked at before.
            scene.clock.advance(SECOND);
            assert_asleep(&mut scene.reactor, "while they wait");
            scene.finish(worker, 1);
        }
    }
}

#[test]
fn a_panic_of_the_answer_gives_the_slot_to_the_next() {
    let mut scene = Scene::new(Concurrency::builder().limit(1));
    let [torn, next] = [(); 2].map(|()| scene.worker());
    let limit = scene.limit.clone();
    scene.reactor.with(torn, |_, cx| {
        limit.acquire(cx, torn, |_, _, _| panic!("with its slot"));
    });
    scene.ask(next, 1);
    assert_eq!(scene.told(), told(&[(1, "slot")]));
    assert!(scene.reactor.at(torn).is_none());
}

#[test]
fn closures_that_hold_slots_may_be_dropped_anywhere() {
    let mut scene = Scene::new(Concurrency::builder().limit(1).queue(3));
    let [first, second] = [(); 2].map(|()| scene.worker());
    let slot = scene.limit.try_acquire();
    let limit = scene.limit.clone();
    scene.reactor.with(first, |_, cx| {
        limit.acquire(cx, first, move |_, _, _| {
            drop(slot);
            Ok(())
        });
    });
    scene.ask(second, 1);
    scene.turns();
    scene.reactor.at(first).unwrap().abort();
    assert_eq!(
        scene.told(),
        told(&[(1, "slot")]),
        "the slot in the queue came back"
    );

    // And with the reactor.
    let limit = scene.limit.clone();
    scene.ask(second, 2);
    drop(scene);
    assert_eq!(limit.gauges().in_use, 0);
}

#[test]
fn who_asks_again_and_again_does_not_keep_the_turn() {
    let mut scene = Scene::new(Concurrency::builder().limit(1));
    fn again(limit: Concurrency, cx: &mut Context<'_>, worker: Id<Worker>) {
        let next = limit.clone();
        limit.acquire(cx, worker, move |asking, cx, result| {
            asking.told.borrow_mut().push((0, String::new()));
            again(next, cx, worker);
            drop(result);
            Ok(())
        });
    }
    let worker = scene.worker();
    let limit = scene.limit.clone();
    scene.reactor.with(worker, |_, cx| again(limit, cx, worker));
    for turn in 1..=20 {
        turn_for(&mut scene.reactor, Duration::ZERO);
        let count = scene.told.borrow().len();
        assert!(count <= 2 * turn, "{count} answers in {turn} turns");
        assert!(count * 3 >= turn, "but it goes on: {count} in {turn}");
    }
}

#[test]
fn a_full_queue_of_posts_does_not_lose_the_wake_up() {
    let mut builder = Reactor::builder();
    builder.post_capacity(2);
    let mut scene = Scene::on(builder, Concurrency::builder().limit(1));
    let worker = scene.worker();
    (1..=4).for_each(|name| scene.ask(worker, name));
    assert_eq!(scene.told(), told(&[(1, "slot")]));
    // Both places are free while their jobs run, and the first of these takes both for good.
    let handle = scene.reactor.handle();
    let thief = handle.clone();
    let stolen = Arc::new(Mutex::new(Vec::new()));
    let loot = Arc::clone(&stolen);
    let steal = move |_: &mut Reactor| {
        let mut loot = loot.lock().unwrap();
        loot.extend(std::iter::from_fn(|| thief.reserve().ok()));
    };
    assert!(handle.post(steal).is_ok(), "one place is left");
    assert!(handle.post(|_| ()).is_err(), "the other is the limit's");
    scene.finish(worker, 1);
    assert_eq!(scene.told(), told(&[(2, "slot")]));
    assert_eq!(stolen.lock().unwrap().len(), 2);
    for name in 3..=4 {
        scene.finish(worker, 1);
        assert_eq!(scene.told(), told(&[]), "nobody is woken");
        scene.clock.advance(Duration::from_millis(20));
        assert_eq!(scene.told(), told(&[(name, "slot")]));
    }
    // When there is room again it has its place again.
    stolen.lock().unwrap().clear();
    (5..=6).for_each(|name| scene.ask(worker, name));
    scene.clock.advance(Duration::from_millis(20));
    scene.turns();
    scene.finish(worker, 1);
    assert_eq!(scene.told(), told(&[(5, "slot")]));
}

#[test]
fn when_its_dispatcher_ends_all_are_turned_away() {
    let mut scene = Scene::new(Concurrency::builder().limit(1));
    let service = scene.reactor.ids();
    let worker = scene.worker();
    (1..=2).for_each(|name| scene.ask(worker, name));
    assert_eq!(scene.told(), told(&[(1, "slot")]));
    assert_eq!(service.len(), 1, "its own");
    scene.reactor.at(service[0]).unwrap().close();
    assert_eq!(scene.told(), told(&[(2, "Closed")]));
    scene.ask(worker, 3);
    assert_eq!(scene.told(), told(&[(3, "Closed")]));
    scene.finish(worker, 1);
}

#[test]
fn a_shutdown_lets_those_that_wait_have_their_turn() {
    /// Answers each byte in a slot that it keeps for a moment.
    struct Answering(Concurrency);
    impl Dispatcher for Answering {
        fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            let id = cx.id::<Answering>();
            let limit = self.0.clone();
            cx.recv_with(|bytes, cx| {
                let bytes = bytes.to_vec();
                limit.acquire(cx, id, move |_, cx, slot| {
                    cx.send(&bytes)?;
                    cx.call_later(Duration::from_millis(5), move |_| drop(slot));
                    cx.close();
                    Ok(())
                });
                Ok(())
            })
        }
        fn handle_shutdown(&mut self, _: &mut Context<'_>) -> io::Result<()> {
            Ok(())
        }
    }
    let mut reactor = Reactor::new().unwrap();
    let limit = Concurrency::builder().limit(1).build(&mut reactor).unwrap();
    let mut peers = Vec::new();
    for _ in 0..3 {
        let (ours, mut peer) = tcp_pair();
        reactor.add(ours, Answering(limit.clone())).unwrap();
        peer.write_all(b"x").unwrap();
        peers.push(peer);
    }
    turn_until(&mut reactor, "the requests", |_| {
        limit.gauges().waiting >= 1
    });
    let readers: Vec<_> = peers
        .into_iter()
        .map(|mut peer| {
            std::thread::spawn(move || {
                let mut answer = Vec::new();
                peer.read_to_end(&mut answer).map(|_| answer)
            })
        })
        .collect();
    let aborted = reactor.shutdown(DEADLINE).unwrap();
    assert!(aborted.is_empty(), "{aborted:?}");
    for reader in readers {
        assert_eq!(reader.join().unwrap().unwrap(), b"x");
    }
}
