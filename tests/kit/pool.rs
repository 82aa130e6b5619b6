//! The pool: who gets which connection, when, and how long it is kept.

#[path = "../util/pooling.rs"]
mod pooling;
#[path = "../util/mod.rs"]
mod util;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use pooling::*;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use slabloop::framing::{Framed, Framing, Handler, Terminator};
use slabloop::kit::pool::{
    Acquired, AfterFailure, Lease, Pool, PoolOptions, Reason, Refused, Reusable, ReusableHandler,
    Seat,
};
use slabloop::testing::SimClock;
use slabloop::tls::Acceptor;
use slabloop::tls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use slabloop::tls::rustls::{self, ClientConfig, RootCertStore, ServerConfig};
use slabloop::{Accepted, Context, Dispatcher, Id, Reactor, Socket};
use util::*;

const SECOND: Duration = Duration::from_secs(1);

/// A reactor, an echo server in it, and a pool of the given limits.
fn with_echo(options: &PoolOptions) -> (Reactor, Where, Id<TestPool>, Id<Holder>, Shared) {
    let mut reactor = Reactor::new().expect("a poller");
    let (_, address) = serve(&mut reactor, || Echo);
    let shared = Shared::default();
    let pool = pool_of(&mut reactor, options, &shared);
    let holder = holder(&mut reactor);
    (reactor, Where::Tcp(address), pool, holder, shared)
}

fn limits(connections: usize, per_destination: usize) -> PoolOptions {
    let mut options = PoolOptions::new();
    options
        .max_connections(connections)
        .max_per_destination(per_destination);
    options
}

/// A connection to nobody in particular: it is in the kernel's queue of this listener.
fn silent_server() -> (TcpListener, Where) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it has one");
    (listener, Where::Tcp(address))
}

#[test]
fn a_connection_that_was_given_back_is_lent_again_at_once() {
    let (mut reactor, place, pool, holder, _) = with_echo(&limits(4, 4));
    let first = get(&mut reactor, pool, holder, &place, 1);
    release(&mut reactor, holder, 1);
    assert_eq!(gauges(&mut reactor, pool).idle, 1);
    assert_eq!(ask(&mut reactor, pool, holder, &place, 2), None, "no wait");
    assert_eq!(take(&mut reactor, holder, 2).id(), first);
    let gauges = gauges(&mut reactor, pool);
    assert_eq!((gauges.made, gauges.reused), (1, 1));
}

#[test]
fn the_one_that_was_used_last_is_lent_first() {
    let (mut reactor, place, pool, holder, _) = with_echo(&limits(4, 4));
    let ids: Vec<_> = (0..3)
        .map(|tag| get(&mut reactor, pool, holder, &place, tag))
        .collect();
    for tag in [1, 0, 2] {
        release(&mut reactor, holder, tag);
    }
    let again: Vec<_> = (3..6)
        .map(|tag| get(&mut reactor, pool, holder, &place, tag))
        .collect();
    assert_eq!(again, [ids[2], ids[0], ids[1]]);
}

#[test]
fn ten_thousand_leases_on_four_connections_come_in_order() {
    const LEASES: u32 = 10_000;
    let mut options = limits(4, 4);
    // Without deadlines: all timers are looked at after each turn.
    options.max_waiting(LEASES as usize).wait_timeout(None);
    let (mut reactor, place, pool, holder, shared) = with_echo(&options);
    reactor.with(holder, |this, _| this.is_busy = true);
    for tag in 0..LEASES {
        ask(&mut reactor, pool, holder, &place, tag);
    }
    let deadline = Instant::now() + DEADLINE;
    while reactor.with(holder, |this, _| this.answers) != Some(LEASES as usize) {
        assert!(
            Instant::now() < deadline,
            "{:?}",
            gauges(&mut reactor, pool)
        );
        checked_turn(&mut reactor, pool, &shared, 4);
    }
    let order = reactor
        .with(holder, |this, _| this.order.clone())
        .expect("there");
    assert!(order.iter().copied().eq(0..LEASES), "nobody is overtaken");
    let gauges = gauges(&mut reactor, pool);
    assert_eq!((gauges.made, gauges.reused), (4, u64::from(LEASES) - 4));
    assert_eq!(gauges.discarded.total() + gauges.refused.total(), 0);
}

#[test]
fn who_comes_does_not_overtake_those_that_wait() {
    let (mut reactor, place, pool, holder, _) = with_echo(&limits(1, 1));
    get(&mut reactor, pool, holder, &place, 1);
    ask(&mut reactor, pool, holder, &place, 2).expect("it waits");
    // In one callback: given back, and asked for again.
    release(&mut reactor, holder, 1);
    ask(&mut reactor, pool, holder, &place, 3).expect("it waits");
    turn(&mut reactor);
    assert!(has(&mut reactor, holder, 2) && !has(&mut reactor, holder, 3));
}

#[test]
fn a_waiter_has_the_connection_in_the_turn_in_which_it_came_back() {
    let (mut reactor, place, pool, holder, _) = with_echo(&limits(1, 1));
    get(&mut reactor, pool, holder, &place, 1);
    for tag in 2..5 {
        ask(&mut reactor, pool, holder, &place, tag).expect("it waits");
    }
    // By a release, outside of a turn.
    release(&mut reactor, holder, 1);
    turn(&mut reactor);
    assert!(has(&mut reactor, holder, 2));
    // By a drop: the post is run in this turn, what it defers in the next.
    drop(take(&mut reactor, holder, 2));
    turn(&mut reactor);
    turn(&mut reactor);
    assert!(has(&mut reactor, holder, 3));
}

#[test]
fn a_lease_that_another_dispatchers_callback_drops_comes_back() {
    /// Drops what it was given when it is asked to.
    struct Keeper(Option<TestLease>);
    impl Dispatcher for Keeper {
        fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            cx.recv(&mut [0; 8])?;
            self.0 = None;
            Ok(())
        }
    }
    let (mut reactor, place, pool, holder, _) = with_echo(&limits(1, 1));
    get(&mut reactor, pool, holder, &place, 1);
    let lease = take(&mut reactor, holder, 1);
    let (ours, mut peer) = tcp_pair();
    reactor.add(ours, Keeper(Some(lease))).expect("a stream");
    ask(&mut reactor, pool, holder, &place, 2).expect("it waits");
    peer.write_all(b"drop").expect("room");
    turn_until(&mut reactor, "the lease", |reactor| has(reactor, holder, 2));
}

/// How a holder may end.
#[derive(Clone, Copy, Debug)]
enum End {
    Closes,
    Panics,
    IsReplaced,
    Returns,
}

struct Doomed(Option<TestLease>, End);

impl Dispatcher for Doomed {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        struct Successor;
        impl Dispatcher for Successor {}
        cx.recv(&mut [0; 8])?;
        assert!(self.0.is_some());
        match self.1 {
            End::Closes => cx.abort(),
            End::Panics => panic!("on purpose"),
            End::IsReplaced => {
                cx.replace(Successor)?;
            }
            End::Returns => return Err(io::Error::other("on purpose")),
        }
        Ok(())
    }
}

#[test]
fn the_lease_of_a_holder_that_ends_comes_back_although_posts_are_full() {
    for end in [End::Closes, End::Panics, End::IsReplaced, End::Returns] {
        let mut reactor = Reactor::builder()
            .post_capacity(8)
            .build()
            .expect("a poller");
        let (_, address) = serve(&mut reactor, || Echo);
        let (place, shared) = (Where::Tcp(address), Shared::default());
        let pool = pool_of(&mut reactor, &limits(1, 1), &shared);
        let holder = holder(&mut reactor);
        let id = get(&mut reactor, pool, holder, &place, 1);
        let (ours, mut peer) = tcp_pair();
        let lease = take(&mut reactor, holder, 1);
        reactor
            .add(ours, Doomed(Some(lease), end))
            .expect("a stream");
        ask(&mut reactor, pool, holder, &place, 2).expect("it waits");
        let handle = reactor.handle();
        let permits: Vec<_> = (0..6).map(|_| handle.reserve().expect("room")).collect();
        let mut posted = 0;
        while handle.post(|_| ()).is_ok() {
            posted += 1;
        }
        assert_eq!(posted, 1, "one place is the lease's, and now none is left");
        peer.write_all(b"die").expect("room");
        // The waiter's own lease needs a place as well: the one that has come free.
        turn_until(&mut reactor, "the lease", |reactor| has(reactor, holder, 2));
        assert_eq!(take(&mut reactor, holder, 2).id(), id, "{end:?}");
        drop(permits);
    }
}

#[test]
fn a_lease_that_another_thread_drops_comes_back() {
    let (mut reactor, place, pool, holder, _) = with_echo(&limits(1, 1));
    get(&mut reactor, pool, holder, &place, 1);
    let lease = take(&mut reactor, holder, 1);
    ask(&mut reactor, pool, holder, &place, 2).expect("it waits");
    let worker = thread::spawn(move || drop(lease));
    turn_until(&mut reactor, "the lease", |reactor| has(reactor, holder, 2));
    worker.join().expect("it does not panic");
}

#[test]
fn without_a_place_for_its_return_a_lease_is_not_made() {
    let mut reactor = Reactor::builder()
        .post_capacity(1)
        .build()
        .expect("a poller");
    let (_, address) = serve(&mut reactor, || Echo);
    let (place, shared) = (Where::Tcp(address), Shared::default());
    let pool = pool_of(&mut reactor, &limits(2, 2), &shared);
    let holder = holder(&mut reactor);
    let permit = reactor.handle().reserve().expect("room");
    ask(&mut reactor, pool, holder, &place, 1);
    turn_until(&mut reactor, "the refusal", |reactor| {
        !refusals(reactor, holder).is_empty()
    });
    // And the connection, which is idle now, is refused at once.
    ask(&mut reactor, pool, holder, &place, 2);
    let told = refusals(&mut reactor, holder);
    assert_eq!(told.len(), 2);
    assert!(told[1].1.contains("queue of posts"), "{told:?}");
    assert_eq!(gauges(&mut reactor, pool).idle, 1);
    drop(permit);
    assert_eq!(ask(&mut reactor, pool, holder, &place, 3), None);
    assert!(has(&mut reactor, holder, 3));
    assert_eq!(gauges(&mut reactor, pool).refused.no_place, 2);
}

#[test]
fn the_total_holds_over_several_destinations_and_all_are_served() {
    let mut reactor = Reactor::new().expect("a poller");
    let places: Vec<_> = (0..5)
        .map(|_| Where::Tcp(serve(&mut reactor, || Echo).1))
        .collect();
    let shared = Shared::default();
    let pool = pool_of(&mut reactor, &limits(3, 2), &shared);
    let holders: Vec<_> = places.iter().map(|_| holder(&mut reactor)).collect();
    const EACH: u32 = 60;
    for &holder in &holders {
        reactor.with(holder, |this, _| this.is_busy = true);
    }
    for tag in 0..EACH {
        for (place, &holder) in places.iter().zip(&holders) {
            ask(&mut reactor, pool, holder, place, tag);
        }
    }
    let deadline = Instant::now() + DEADLINE;
    let mut left = holders.clone();
    while !left.is_empty() {
        assert!(
            Instant::now() < deadline,
            "{:?}",
            gauges(&mut reactor, pool)
        );
        checked_turn(&mut reactor, pool, &shared, 3);
        left.retain(|&holder| reactor.with(holder, |this, _| this.answers) != Some(EACH as usize));
    }
    for holder in holders {
        let order = reactor
            .with(holder, |this, _| this.order.clone())
            .expect("there");
        assert!(order.iter().copied().eq(0..EACH), "{order:?}");
    }
    assert_eq!(gauges(&mut reactor, pool).refused.total(), 0);
}

#[test]
fn the_connection_that_has_been_idle_longest_makes_room_for_another_destination() {
    let mut reactor = Reactor::new().expect("a poller");
    let places: Vec<_> = (0..3)
        .map(|_| Where::Tcp(serve(&mut reactor, || Echo).1))
        .collect();
    let shared = Shared::default();
    let pool = pool_of(&mut reactor, &limits(2, 2), &shared);
    let holder = holder(&mut reactor);
    let ids: Vec<_> = (0..2)
        .map(|tag| get(&mut reactor, pool, holder, &places[tag as usize], tag))
        .collect();
    release(&mut reactor, holder, 1);
    release(&mut reactor, holder, 0);
    ask(&mut reactor, pool, holder, &places[2], 2);
    while !has(&mut reactor, holder, 2) {
        checked_turn(&mut reactor, pool, &shared, 2);
    }
    assert!(reactor.at(ids[1]).is_none() && reactor.at(ids[0]).is_some());
    assert_eq!(gauges(&mut reactor, pool).discarded.evicted, 1);
}

#[test]
fn a_busy_destination_gives_way_to_one_that_has_waited_longer_and_has_none() {
    let mut reactor = Reactor::new().expect("a poller");
    let [busy, other] = [(); 2].map(|()| Where::Tcp(serve(&mut reactor, || Echo).1));
    let shared = Shared::default();
    let pool = pool_of(&mut reactor, &limits(1, 1), &shared);
    let holder = holder(&mut reactor);
    get(&mut reactor, pool, holder, &busy, 0);
    ask(&mut reactor, pool, holder, &busy, 1);
    ask(&mut reactor, pool, holder, &other, 2);
    ask(&mut reactor, pool, holder, &busy, 3);
    for tag in 0..4 {
        turn_until(&mut reactor, "its turn", |reactor| {
            has(reactor, holder, tag)
        });
        checked_turn(&mut reactor, pool, &shared, 1);
        release(&mut reactor, holder, tag);
    }
    let order = reactor
        .with(holder, |this, _| this.order.clone())
        .expect("there");
    assert_eq!(order, [0, 1, 2, 3]);
    assert_eq!(gauges(&mut reactor, pool).made, 3);
}

#[test]
fn of_several_that_come_back_one_makes_room_for_one_that_starves() {
    let mut reactor = Reactor::new().expect("a poller");
    let [busy, other] = [(); 2].map(|()| Where::Tcp(serve(&mut reactor, || Echo).1));
    let shared = Shared::default();
    let pool = pool_of(&mut reactor, &limits(2, 2), &shared);
    let holder = holder(&mut reactor);
    get(&mut reactor, pool, holder, &busy, 0);
    get(&mut reactor, pool, holder, &busy, 1);
    ask(&mut reactor, pool, holder, &other, 2).expect("it waits");
    ask(&mut reactor, pool, holder, &busy, 3).expect("it waits");
    ask(&mut reactor, pool, holder, &busy, 4).expect("it waits");
    // In one go: the first one is not closed yet when the second comes.
    release(&mut reactor, holder, 0);
    release(&mut reactor, holder, 1);
    while !(has(&mut reactor, holder, 2) && has(&mut reactor, holder, 3)) {
        checked_turn(&mut reactor, pool, &shared, 2);
    }
    let now = gauges(&mut reactor, pool);
    assert_eq!((now.discarded.evicted, now.made), (1, 3));
}

/// As `with_echo`, but nothing passes unless the test says so, and nobody answers.
fn with_clock(
    options: &PoolOptions,
) -> (
    Reactor,
    SimClock,
    TcpListener,
    Where,
    Id<TestPool>,
    Id<Holder>,
    Shared,
) {
    let clock = SimClock::new();
    let mut reactor = Reactor::builder()
        .clock(clock.clone())
        .build()
        .expect("a poller");
    let (listener, place) = silent_server();
    let shared = Shared::default();
    let pool = pool_of(&mut reactor, options, &shared);
    let holder = holder(&mut reactor);
    (reactor, clock, listener, place, pool, holder, shared)
}

#[test]
fn who_has_waited_long_enough_is_told_and_the_others_wait_on() {
    let mut options = limits(1, 1);
    options.wait_timeout(5 * SECOND);
    let (mut reactor, clock, _listener, place, pool, holder, _) = with_clock(&options);
    get(&mut reactor, pool, holder, &place, 1);
    ask(&mut reactor, pool, holder, &place, 2).expect("it waits");
    clock.advance(3 * SECOND);
    turn(&mut reactor);
    ask(&mut reactor, pool, holder, &place, 3).expect("it waits");
    clock.advance(3 * SECOND);
    turn(&mut reactor);
    turn(&mut reactor);
    let Where::Tcp(address) = &place else {
        unreachable!()
    };
    let text = format!("pool: Tcp({address}): no connection was free in time");
    assert_eq!(refusals(&mut reactor, holder), [(2, text)]);
    let now = gauges(&mut reactor, pool);
    assert_eq!(
        (now.waiting, now.oldest_wait, now.longest_wait),
        (1, 3 * SECOND, 6 * SECOND)
    );
    release(&mut reactor, holder, 1);
    turn(&mut reactor);
    assert!(has(&mut reactor, holder, 3));
    assert_eq!(gauges(&mut reactor, pool).refused.deadline, 1);
}

#[test]
fn all_that_have_waited_long_enough_are_told() {
    let mut options = limits(1, 1);
    options.wait_timeout(5 * SECOND);
    let (mut reactor, clock, _listener, place, pool, holder, _) = with_clock(&options);
    get(&mut reactor, pool, holder, &place, 0);
    for tag in 1..=8 {
        ask(&mut reactor, pool, holder, &place, tag).expect("it waits");
    }
    clock.advance(3 * SECOND);
    turn(&mut reactor);
    // None of them has been served or refused yet.
    let now = gauges(&mut reactor, pool);
    assert_eq!(
        (now.waiting, now.oldest_wait, now.longest_wait),
        (8, 3 * SECOND, 3 * SECOND)
    );
    clock.advance(2 * SECOND);
    turn(&mut reactor);
    turn(&mut reactor);
    let told = refusals(&mut reactor, holder).into_iter();
    assert!(told.map(|(tag, _)| tag).eq(1..=8));
    assert_eq!(gauges(&mut reactor, pool).refused.deadline, 8);
}

#[test]
fn a_destination_has_no_more_than_its_own_limit() {
    let (mut reactor, place, pool, holder, _) = with_echo(&limits(4, 2));
    for tag in 0..3 {
        ask(&mut reactor, pool, holder, &place, tag).expect("it waits");
    }
    settle(&mut reactor);
    let now = gauges(&mut reactor, pool);
    assert_eq!((now.open, now.connecting, now.waiting), (2, 0, 1));
    release(&mut reactor, holder, 0);
    turn(&mut reactor);
    assert!(has(&mut reactor, holder, 2));
    assert_eq!(gauges(&mut reactor, pool).made, 2);
}

#[test]
fn a_connection_that_its_own_callback_gives_back_counts_as_leased_until_that_returns() {
    let (mut reactor, place, pool, holder, _) = with_echo(&limits(1, 1));
    let id = get(&mut reactor, pool, holder, &place, 1);
    let lease = take(&mut reactor, holder, 1);
    let within = reactor.with(id, |_, cx| {
        lease.release(cx);
        Pool::gauges(cx, pool)
    });
    let now = within.flatten().expect("both are there");
    assert_eq!((now.open, now.leased, now.idle), (1, 1, 0));
    turn(&mut reactor);
    let now = gauges(&mut reactor, pool);
    assert_eq!((now.open, now.leased, now.idle), (1, 0, 1));
}

#[test]
fn from_inside_of_its_own_closure_a_pool_is_busy() {
    let mut reactor = Reactor::new().expect("a poller");
    let holder = holder(&mut reactor);
    let own: Rc<Cell<Option<Id<TestPool>>>> = Rc::default();
    let told = Rc::new(Cell::new(None));
    let (within, noted) = (Rc::clone(&own), Rc::clone(&told));
    let connect = move |cx: &mut Context<'_>, place: &Where, _: Seat<Where, Client>| {
        let pool = within.get().expect("it is added before it is asked");
        assert!(Pool::gauges(cx, pool).is_none());
        let asked = Pool::acquire(cx, pool, place, holder, |_, _, _| Ok(()));
        if let Acquired::Now(Err(refused)) = asked {
            noted.set(Some(refused.reason()));
        }
        Err(io::ErrorKind::Unsupported.into())
    };
    let pool = Pool::new(&limits(1, 1), connect).expect("good limits");
    let pool = reactor.add_service(pool).expect("room");
    own.set(Some(pool));
    ask(&mut reactor, pool, holder, &nowhere(), 1);
    assert_eq!(told.get(), Some(Reason::Busy));
    // The attempt has failed, and takes no place.
    turn_until(&mut reactor, "the refusal", |reactor| {
        refusals(reactor, holder).len() == 1
    });
    let now = gauges(&mut reactor, pool);
    assert_eq!((now.failed, now.connecting, now.open), (1, 0, 0));
}

#[test]
fn who_does_not_want_to_wait_gets_an_idle_connection_or_a_refusal() {
    let (mut reactor, place, pool, holder, shared) = with_echo(&limits(1, 1));
    let at_once = |reactor: &mut Reactor| {
        let cx = &mut reactor.at(holder).expect("there");
        let acquired =
            Pool::acquire_within(cx, pool, &place, holder, Duration::ZERO, |_, _, _| Ok(()));
        match acquired {
            Acquired::Now(outcome) => outcome.map_err(|refused| refused.reason()),
            Acquired::Later(_) => unreachable!("it does not wait"),
        }
    };
    assert_eq!(at_once(&mut reactor).map(|_| ()), Err(Reason::Deadline));
    assert_eq!(shared.alive.get(), 0, "no connection is made for it");
    get(&mut reactor, pool, holder, &place, 1);
    release(&mut reactor, holder, 1);
    assert!(at_once(&mut reactor).is_ok());
}

#[test]
fn a_wait_that_is_cancelled_is_never_told() {
    let (mut reactor, place, pool, holder, _) = with_echo(&limits(1, 1));
    get(&mut reactor, pool, holder, &place, 1);
    let second = ask(&mut reactor, pool, holder, &place, 2).expect("it waits");
    let third = ask(&mut reactor, pool, holder, &place, 3).expect("it waits");
    let cancel = |reactor: &mut Reactor, ticket| {
        Pool::cancel(&mut reactor.at(holder).expect("there"), pool, ticket)
    };
    assert!(cancel(&mut reactor, second) && !cancel(&mut reactor, second));
    release(&mut reactor, holder, 1);
    assert!(!cancel(&mut reactor, third), "its lease is on its way");
    turn(&mut reactor);
    assert!(has(&mut reactor, holder, 3));
    let order = reactor
        .with(holder, |this, _| this.order.clone())
        .expect("there");
    assert_eq!(order, [1, 3]);
    let gauges = gauges(&mut reactor, pool);
    assert_eq!((gauges.cancelled, gauges.waiting), (1, 0));
}

#[test]
fn more_than_may_wait_are_refused_and_those_whose_holders_have_ended_do_not_count() {
    let mut options = limits(1, 1);
    options.max_waiting(2);
    let (mut reactor, place, pool, first, _) = with_echo(&options);
    let dying = holder(&mut reactor);
    get(&mut reactor, pool, first, &place, 1);
    ask(&mut reactor, pool, dying, &place, 2).expect("it waits");
    ask(&mut reactor, pool, first, &place, 3).expect("it waits");
    assert_eq!(ask(&mut reactor, pool, first, &place, 4), None);
    let told = refusals(&mut reactor, first);
    assert!(
        told[0]
            .1
            .ends_with("too many requests are waiting for connections"),
        "{told:?}"
    );
    reactor.at(dying).expect("there").close();
    turn(&mut reactor);
    ask(&mut reactor, pool, first, &place, 5).expect("there is room now");
    let now = gauges(&mut reactor, pool);
    assert_eq!(
        (now.waiting, now.cancelled, now.refused.too_many_waiting),
        (2, 1, 1)
    );
}

#[test]
fn idle_connections_end_after_their_time_and_not_all_at_once() {
    const COUNT: u32 = 40;
    let mut options = limits(COUNT as usize, COUNT as usize);
    options.idle_timeout(100 * SECOND).max_age(None);
    let (mut reactor, clock, _listener, place, pool, holder, shared) = with_clock(&options);
    for tag in 0..COUNT {
        get(&mut reactor, pool, holder, &place, tag);
    }
    for tag in 0..COUNT {
        release(&mut reactor, holder, tag);
    }
    clock.advance(Duration::from_millis(89_900));
    turn(&mut reactor);
    turn(&mut reactor);
    assert_eq!(shared.alive.get(), COUNT as usize, "not before 90 %");
    let mut times = BTreeSet::new();
    let mut before = shared.alive.get();
    for tenth in 0..102 {
        clock.advance(SECOND / 10);
        turn(&mut reactor);
        turn(&mut reactor);
        if shared.alive.get() < before {
            before = shared.alive.get();
            times.insert(tenth);
        }
    }
    assert_eq!(shared.alive.get(), 0, "all after 100 %");
    assert!(times.len() > 10, "they end at different times: {times:?}");
    assert_eq!(gauges(&mut reactor, pool).discarded.idle, u64::from(COUNT));
}

#[test]
fn a_connection_in_use_does_not_grow_idle_but_old() {
    let mut options = limits(1, 1);
    options.idle_timeout(10 * SECOND).max_age(100 * SECOND);
    let (mut reactor, clock, _listener, place, pool, holder, _) = with_clock(&options);
    let first = get(&mut reactor, pool, holder, &place, 0);
    for tag in 1..12 {
        clock.advance(8 * SECOND);
        turn(&mut reactor);
        release(&mut reactor, holder, tag - 1);
        assert_eq!(get(&mut reactor, pool, holder, &place, tag), first);
    }
    // 88 seconds are no age; 101 are.
    clock.advance(13 * SECOND);
    turn(&mut reactor);
    assert!(reactor.at(first).is_some(), "it is leased");
    release(&mut reactor, holder, 11);
    turn(&mut reactor);
    assert!(reactor.at(first).is_none());
    assert_eq!(gauges(&mut reactor, pool).discarded.age, 1);
    // And an idle one goes by itself.
    options.idle_timeout(None);
    let pool = pool_of(&mut reactor, &options, &Shared::default());
    let second = get(&mut reactor, pool, holder, &place, 20);
    release(&mut reactor, holder, 20);
    clock.advance(101 * SECOND);
    turn(&mut reactor);
    assert!(reactor.at(second).is_none());
    assert_eq!(gauges(&mut reactor, pool).discarded.age, 1);
}

#[test]
fn a_clock_that_jumps_ends_what_is_idle_and_nothing_else() {
    let mut options = limits(3, 2);
    options.wait_timeout(None);
    let (mut reactor, clock, _listener, place, pool, holder, shared) = with_clock(&options);
    let leased = get(&mut reactor, pool, holder, &place, 1);
    get(&mut reactor, pool, holder, &place, 2);
    release(&mut reactor, holder, 2);
    for _ in 0..3 {
        clock.advance(Duration::from_secs(400 * 24 * 3600));
        turn(&mut reactor);
        turn(&mut reactor);
    }
    assert_eq!(shared.alive.get(), 1);
    assert!(reactor.at(leased).is_some());
    get(&mut reactor, pool, holder, &place, 3);
    ask(&mut reactor, pool, holder, &place, 4).expect("it waits");
    clock.advance(Duration::from_secs(400 * 24 * 3600));
    turn(&mut reactor);
    release(&mut reactor, holder, 3);
    turn_until(&mut reactor, "a lease", |reactor| has(reactor, holder, 4));
}

#[test]
fn the_longest_times_there_are_mean_never() {
    let mut options = limits(2, 2);
    options
        .wait_timeout(Duration::MAX)
        .idle_timeout(Duration::MAX)
        .max_age(Duration::MAX);
    let (mut reactor, clock, _listener, place, pool, holder, shared) = with_clock(&options);
    get(&mut reactor, pool, holder, &place, 1);
    release(&mut reactor, holder, 1);
    clock.advance(Duration::from_secs(400 * 24 * 3600));
    turn(&mut reactor);
    assert_eq!(shared.alive.get(), 1);
}

#[test]
fn a_connection_that_is_discarded_is_reset_and_its_place_taken() {
    let (mut reactor, place, pool, holder, shared) = with_echo(&limits(1, 1));
    let first = get(&mut reactor, pool, holder, &place, 1);
    ask(&mut reactor, pool, holder, &place, 2).expect("it waits");
    let lease = take(&mut reactor, holder, 1);
    lease.discard(&mut reactor.at(holder).expect("there"));
    turn_until(&mut reactor, "another", |reactor| has(reactor, holder, 2));
    assert_ne!(take(&mut reactor, holder, 2).id(), first);
    assert_eq!(*shared.notes.borrow(), ["close Aborted"]);
    let gauges = gauges(&mut reactor, pool);
    assert_eq!((gauges.discarded.broken, gauges.discarded.total()), (1, 1));
}

#[test]
fn a_connection_that_is_taken_lives_on_outside_of_the_pool() {
    let (mut reactor, place, pool, holder, shared) = with_echo(&limits(1, 1));
    let first = get(&mut reactor, pool, holder, &place, 1);
    ask(&mut reactor, pool, holder, &place, 2).expect("it waits");
    let lease = take(&mut reactor, holder, 1);
    let taken = lease
        .take(&mut reactor.at(holder).expect("there"))
        .expect("it is there");
    assert_eq!(taken, first);
    turn_until(&mut reactor, "another", |reactor| has(reactor, holder, 2));
    reactor.with(first, |client, cx| {
        client.ask(cx, Some((holder, 1))).expect("room")
    });
    turn_until(&mut reactor, "the answer", |reactor| {
        reactor.with(holder, |this, _| this.answers) == Some(1)
    });
    let now = gauges(&mut reactor, pool);
    assert_eq!((now.taken, now.open, shared.alive.get()), (1, 1, 2));
    reactor.at(first).expect("there").close();
    turn_until(&mut reactor, "its end", |_| shared.alive.get() == 1);
    assert_eq!(gauges(&mut reactor, pool).discarded.total(), 0);
}

#[test]
fn a_connection_whose_dispatcher_was_replaced_is_none_of_the_pools_any_more() {
    struct Other;
    impl Dispatcher for Other {}
    let (mut reactor, place, pool, holder, shared) = with_echo(&limits(1, 1));
    for (tag, is_leased) in [(0, true), (10, false)] {
        let id = get(&mut reactor, pool, holder, &place, tag);
        if !is_leased {
            release(&mut reactor, holder, tag);
        }
        reactor
            .at(id)
            .expect("there")
            .replace(Other)
            .expect("it is open");
        if is_leased {
            release(&mut reactor, holder, tag);
        }
        let next = get(&mut reactor, pool, holder, &place, tag + 1);
        assert_ne!(next, id);
        assert!(reactor.at(id).is_some());
        assert_eq!(shared.alive.get(), 1);
        let lease = take(&mut reactor, holder, tag + 1);
        lease.discard(&mut reactor.at(holder).expect("there"));
        turn_until(&mut reactor, "its end", |_| shared.alive.get() == 0);
    }
}

#[test]
fn a_connection_counts_as_connecting_until_it_is_ready() {
    let (mut reactor, _clock, listener, place, pool, holder, shared) = with_clock(&limits(1, 1));
    shared.greeting.set(true);
    ask(&mut reactor, pool, holder, &place, 1).expect("it waits");
    settle(&mut reactor);
    let now = gauges(&mut reactor, pool);
    assert_eq!((now.connecting, now.open), (1, 0));
    let (mut peer, _) = listener.accept().expect("it is in the queue");
    peer.write_all(b"welcome").expect("room");
    turn_until(&mut reactor, "the lease", |reactor| has(reactor, holder, 1));
    // One that ends before has failed.
    ask(&mut reactor, pool, holder, &place, 2).expect("it waits");
    let lease = take(&mut reactor, holder, 1);
    lease.discard(&mut reactor.at(holder).expect("there"));
    turn(&mut reactor);
    drop(listener.accept().expect("it is in the queue"));
    turn_until(&mut reactor, "the refusal", |reactor| {
        !refusals(reactor, holder).is_empty()
    });
    assert!(
        refusals(&mut reactor, holder)[0]
            .1
            .contains("cannot connect")
    );
}

/// A port where nobody listens.
fn nowhere() -> Where {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    Where::Tcp(listener.local_addr().expect("it has one"))
}

#[test]
fn a_failed_attempt_is_told_to_all_that_wait_for_it_and_names_the_destination() {
    let mut reactor = Reactor::new().expect("a poller");
    let pool = pool_of(&mut reactor, &limits(2, 2), &Shared::default());
    let holder = holder(&mut reactor);
    let place = nowhere();
    for tag in 0..5 {
        ask(&mut reactor, pool, holder, &place, tag);
    }
    turn_until(&mut reactor, "the refusals", |reactor| {
        refusals(reactor, holder).len() == 5
    });
    settle(&mut reactor);
    let Where::Tcp(address) = place else {
        unreachable!()
    };
    for (_, text) in refusals(&mut reactor, holder) {
        assert!(
            text.contains(&address.to_string()) && text.contains("cannot connect"),
            "{text}"
        );
    }
    let now = gauges(&mut reactor, pool);
    assert_eq!((now.refused.connect, now.failed, now.connecting), (5, 2, 0));
}

#[test]
fn what_follows_a_failure_is_the_hooks_decision() {
    for follows in [
        AfterFailure::Tell,
        AfterFailure::Pause(SECOND),
        AfterFailure::Retry(SECOND),
    ] {
        let clock = SimClock::new();
        let mut reactor = Reactor::builder()
            .clock(clock.clone())
            .build()
            .expect("a poller");
        let failures = Rc::new(Cell::new(0));
        let counted = Rc::clone(&failures);
        let pool = new_pool(&limits(2, 2), &Shared::default()).after_failure(move |_, _, count| {
            counted.set(count);
            follows
        });
        let pool = reactor.add_service(pool).expect("room");
        let holder = holder(&mut reactor);
        let place = nowhere();
        ask(&mut reactor, pool, holder, &place, 1);
        turn_until(&mut reactor, "the failure", |_| failures.get() == 1);
        settle(&mut reactor);
        ask(&mut reactor, pool, holder, &place, 2);
        settle(&mut reactor);
        let reasons = |reactor: &mut Reactor| {
            let reasons = reactor.with(holder, |this, _| {
                let reasons = this.refusals.iter().map(|(_, refused)| refused.reason());
                reasons.collect::<Vec<_>>()
            });
            reasons.expect("there")
        };
        let failed = Reason::Connect(io::ErrorKind::ConnectionRefused);
        let (expected, attempts) = match follows {
            AfterFailure::Pause(_) => (vec![failed, Reason::Paused], 1),
            AfterFailure::Retry(_) => (vec![], 1),
            _ => (vec![failed, failed], 2),
        };
        assert_eq!(reasons(&mut reactor), expected, "{follows:?}");
        assert_eq!(failures.get(), attempts);
        // After the pause, attempts are made again.
        clock.advance(SECOND);
        settle(&mut reactor);
        ask(&mut reactor, pool, holder, &place, 3);
        settle(&mut reactor);
        assert!(failures.get() > attempts, "{follows:?}");
        let is_waited_for = matches!(follows, AfterFailure::Retry(_));
        assert_eq!(
            gauges(&mut reactor, pool).waiting,
            if is_waited_for { 3 } else { 0 }
        );
    }
}

#[test]
fn where_a_connection_is_left_a_failed_attempt_is_told_to_one_and_the_others_wait_for_it() {
    let (mut reactor, _clock, listener, place, _, holder, shared) = with_clock(&limits(2, 2));
    let pool = new_pool(&limits(2, 2), &shared);
    let pool = pool.after_failure(|_, _, _| AfterFailure::Pause(SECOND));
    let pool = reactor.add_service(pool).expect("room");
    get(&mut reactor, pool, holder, &place, 1);
    let _peer = listener.accept().expect("it is in the queue");
    drop(listener);
    ask(&mut reactor, pool, holder, &place, 2).expect("it waits");
    ask(&mut reactor, pool, holder, &place, 3).expect("it waits");
    turn_until(&mut reactor, "the refusal", |reactor| {
        !refusals(reactor, holder).is_empty()
    });
    settle(&mut reactor);
    let told = refusals(&mut reactor, holder);
    assert!(told.len() == 1 && told[0].0 == 2, "{told:?}");
    release(&mut reactor, holder, 1);
    turn(&mut reactor);
    assert!(has(&mut reactor, holder, 3));
}

#[test]
fn after_a_failure_one_attempt_at_a_time_is_made_and_each_outage_is_counted_once() {
    let clock = SimClock::new();
    let builder = &mut Reactor::builder();
    let mut reactor = builder.clock(clock.clone()).build().expect("a poller");
    let counts = Rc::new(RefCell::new(Vec::new()));
    let counted = Rc::clone(&counts);
    let pool = new_pool(&limits(4, 4), &Shared::default()).after_failure(move |_, _, count| {
        counted.borrow_mut().push(count);
        AfterFailure::Retry(SECOND)
    });
    let pool = reactor.add_service(pool).expect("room");
    let (holder, place) = (holder(&mut reactor), nowhere());
    for tag in 0..4 {
        ask(&mut reactor, pool, holder, &place, tag);
    }
    turn_until(&mut reactor, "the failures", |reactor| {
        gauges(reactor, pool).failed == 4
    });
    assert_eq!(*counts.borrow(), [1], "four attempts were one outage");
    for round in 2..5 {
        clock.advance(SECOND);
        turn_until(&mut reactor, "another failure", |_| {
            counts.borrow().len() == round
        });
        assert_eq!(gauges(&mut reactor, pool).failed, 3 + round as u64);
    }
    assert_eq!(*counts.borrow(), [1, 2, 3, 4]);
    let Where::Tcp(address) = place else {
        unreachable!()
    };
    let _listener = TcpListener::bind(address).expect("it was ours");
    clock.advance(SECOND);
    turn_until(&mut reactor, "all", |reactor| {
        gauges(reactor, pool).leased == 4
    });
}

#[test]
fn shut_down_closes_the_idle_refuses_those_that_wait_and_lets_leased_ones_finish() {
    let (mut reactor, place, pool, holder, shared) = with_echo(&limits(2, 2));
    get(&mut reactor, pool, holder, &place, 1);
    get(&mut reactor, pool, holder, &place, 2);
    release(&mut reactor, holder, 2);
    let other = Where::Tcp(serve(&mut reactor, || Echo).1);
    ask(&mut reactor, pool, holder, &other, 3);
    ask(&mut reactor, pool, holder, &other, 4);
    Pool::shut_down(&mut reactor.at(holder).expect("there"), pool);
    turn(&mut reactor);
    turn(&mut reactor);
    assert_eq!(shared.alive.get(), 1, "the leased one");
    ask(&mut reactor, pool, holder, &place, 5);
    let told = refusals(&mut reactor, holder);
    assert_eq!(told.len(), 3);
    assert!(
        told.iter()
            .all(|(_, text)| text.ends_with("the pool is shutting down")),
        "{told:?}"
    );
    let asked = reactor.with(holder, |this, cx| {
        this.leases[&1].with(cx, |client, cx| client.ask(cx, Some((holder, 1))))
    });
    asked.expect("there").expect("there").expect("room");
    turn_until(&mut reactor, "its end", |reactor| {
        reactor.at(pool).is_none()
    });
    assert_eq!(shared.alive.get(), 0);
    assert_eq!(reactor.with(holder, |this, _| this.answers), Some(1));
    ask(&mut reactor, pool, holder, &place, 6);
    let told = refusals(&mut reactor, holder);
    assert!(told[3].1.ends_with("the pool is gone"), "{told:?}");
}

#[test]
fn the_shutdown_of_the_reactor_waits_for_what_is_leased() {
    let mut reactor = Reactor::new().expect("a poller");
    let (_listener, place) = silent_server();
    let shared = Shared::default();
    let pool = pool_of(&mut reactor, &limits(3, 3), &shared);
    // A holder that stays for its answer.
    struct Staying(Option<TestLease>);
    impl Dispatcher for Staying {
        fn handle_shutdown(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            cx.set_timer(Duration::from_millis(1));
            Ok(())
        }

        fn handle_timer(&mut self, cx: &mut Context<'_>, _: slabloop::TimerId) -> io::Result<()> {
            // Nobody has closed it meanwhile.
            let connection = self.0.as_ref().and_then(|lease| lease.at(cx));
            assert!(connection.is_some_and(|connection| !connection.is_closing()));
            cx.close_when_sent();
            self.0 = None;
            Ok(())
        }
    }
    let keeper = holder(&mut reactor);
    get(&mut reactor, pool, keeper, &place, 1);
    get(&mut reactor, pool, keeper, &place, 2);
    release(&mut reactor, keeper, 2);
    let lease = take(&mut reactor, keeper, 1);
    let (ours, _peer) = tcp_pair();
    reactor.add(ours, Staying(Some(lease))).expect("a stream");
    let aborted = reactor.shutdown(DEADLINE).expect("the loop works");
    assert_eq!(aborted, []);
    assert_eq!((shared.alive.get(), reactor.count()), (0, 0));
    assert_eq!(reactor.counters().panics, 0, "it was there until the end");
    let notes = shared.notes.borrow();
    assert_eq!(*notes, ["close Finished", "close Finished"], "none was cut");
}

#[test]
fn a_shutdown_does_not_wait_for_the_servers_of_idle_connections() {
    // One that waited for its server's end would be there until the deadline.
    let mut builder = Reactor::builder();
    let mut reactor = builder.close_timeout(10 * DEADLINE).build().unwrap();
    let (_listener, place) = silent_server();
    let before = holder(&mut reactor);
    let shared = Shared::default();
    let pool = pool_of(&mut reactor, &limits(2, 2), &shared);
    let holder = holder(&mut reactor);
    // The first connection has its place before the pool's, the second one behind.
    reactor.at(before).unwrap().close();
    turn(&mut reactor);
    for tag in 0..2 {
        get(&mut reactor, pool, holder, &place, tag);
    }
    for tag in 0..2 {
        release(&mut reactor, holder, tag);
    }
    assert_eq!(gauges(&mut reactor, pool).idle, 2);
    assert_eq!(reactor.shutdown(DEADLINE).unwrap(), []);
    assert_eq!(shared.alive.get(), 0);
}

#[test]
fn a_connection_that_its_closure_has_made_and_given_up_does_not_hold_up_the_shutdown() {
    let mut reactor = Reactor::new().expect("a poller");
    let (_listener, place) = silent_server();
    let shared = Shared::default();
    // Established, and never ready.
    shared.greeting.set(true);
    let made = shared.clone();
    let connect = move |cx: &mut Context<'_>, place: &Where, seat: Seat<Where, Client>| {
        let Where::Tcp(address) = place else {
            unreachable!("it is on TCP")
        };
        cx.connect(*address, seat.hold(Client::new(&made, place)))?;
        Err(io::Error::other("it has thought better of it"))
    };
    let pool = Pool::new(&limits(1, 1), connect).expect("good limits");
    let pool = reactor.add_service(pool).expect("room");
    let holder = holder(&mut reactor);
    ask(&mut reactor, pool, holder, &place, 1);
    settle(&mut reactor);
    assert_eq!(refusals(&mut reactor, holder).len(), 1);
    assert_eq!(shared.alive.get(), 1);
    assert_eq!(reactor.shutdown(DEADLINE).expect("the loop works"), []);
    assert_eq!(shared.alive.get(), 0);
}

#[test]
fn leases_outlive_their_pool_and_their_connections_close_when_they_come_back() {
    for dropped in [true, false] {
        let (mut reactor, place, pool, holder, shared) = with_echo(&limits(3, 3));
        get(&mut reactor, pool, holder, &place, 1);
        get(&mut reactor, pool, holder, &place, 2);
        get(&mut reactor, pool, holder, &place, 3);
        release(&mut reactor, holder, 2);
        ask(&mut reactor, pool, holder, &place, 4);
        ask(&mut reactor, pool, holder, &place, 5).expect("it waits");
        reactor.at(pool).expect("there").close();
        turn(&mut reactor);
        turn(&mut reactor);
        turn(&mut reactor);
        assert_eq!(shared.alive.get(), 3, "all are leased");
        assert!(
            refusals(&mut reactor, holder)[0]
                .1
                .ends_with("the pool is gone")
        );
        let lease = take(&mut reactor, holder, 1);
        assert!(
            lease.at(&mut reactor.at(holder).expect("there")).is_some(),
            "it is good"
        );
        if dropped {
            drop(lease);
        } else {
            lease.release(&mut reactor.at(holder).expect("there"));
        }
        turn_until(&mut reactor, "its end", |_| shared.alive.get() == 2);
        // The reactor goes with leases out.
        drop(reactor);
        assert_eq!(shared.alive.get(), 0);
    }
}

#[test]
fn a_panic_in_is_reusable_ends_that_connection_and_the_pool_but_no_lease_is_lost() {
    let (mut reactor, place, pool, holder, shared) = with_echo(&limits(3, 3));
    get(&mut reactor, pool, holder, &place, 1);
    get(&mut reactor, pool, holder, &place, 2);
    shared.panics.set(true);
    drop(take(&mut reactor, holder, 1));
    turn(&mut reactor);
    turn(&mut reactor);
    assert_eq!(reactor.counters().panics, 1);
    assert!(reactor.at(pool).is_none(), "its state may be torn");
    shared.panics.set(false);
    drop(take(&mut reactor, holder, 2));
    turn_until(&mut reactor, "their end", |_| shared.alive.get() == 0);
}

#[test]
fn run_returns_when_the_last_idle_connection_has_ended() {
    let mut options = limits(2, 2);
    options.idle_timeout(Duration::from_millis(20));
    let mut reactor = Reactor::new().expect("a poller");
    let (_listener, place) = silent_server();
    let shared = Shared::default();
    let pool = pool_of(&mut reactor, &options, &shared);
    let holder = holder(&mut reactor);
    get(&mut reactor, pool, holder, &place, 1);
    release(&mut reactor, holder, 1);
    assert_eq!(shared.alive.get(), 1);
    reactor.run().expect("the loop works");
    assert_eq!(shared.alive.get(), 0);
    assert!(reactor.at(pool).is_some());
}

#[test]
fn limits_of_zero_are_refused_by_name() {
    for (options, name) in [
        (
            PoolOptions::new().max_connections(0).clone(),
            "max_connections",
        ),
        (
            PoolOptions::new().max_per_destination(0).clone(),
            "max_per_destination",
        ),
        (PoolOptions::new().max_waiting(0).clone(), "max_waiting"),
    ] {
        let pool = Pool::<Where, Client>::new(&options, |_, _, _| unreachable!());
        let error = pool.expect_err("it is zero");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains(name), "{error}");
    }
}

/// Leases, asks, gives back and leases again, a hundred times over two connections.
fn exercise(reactor: &mut Reactor, place: &Where, shared: &Shared) {
    let pool = pool_of(reactor, &limits(2, 2), shared);
    let holder = holder(reactor);
    reactor.with(holder, |this, _| this.is_busy = true);
    for tag in 0..100 {
        ask(reactor, pool, holder, place, tag);
    }
    turn_until(reactor, "the answers", |reactor| {
        reactor.with(holder, |this, _| this.answers) == Some(100)
    });
    let now = gauges(reactor, pool);
    assert_eq!((now.made, now.reused, now.discarded.total()), (2, 98, 0));
    // Both are still there: what a layer has to say by itself is no input.
    settle(reactor);
    assert_eq!(gauges(reactor, pool).idle, 2);
}

#[test]
fn connections_over_unix_sockets_are_pooled() {
    let mut reactor = Reactor::new().expect("a poller");
    let folder = std::env::temp_dir().join(format!("slabloop-pool-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("echo");
    let _ = std::fs::remove_file(&path);
    reactor
        .listen_unix(&path, Accepting(|| Echo))
        .expect("a socket");
    exercise(&mut reactor, &Where::Unix(path), &Shared::default());
    // And one where nobody is.
    let pool = pool_of(&mut reactor, &limits(1, 1), &Shared::default());
    let holder = holder(&mut reactor);
    ask(
        &mut reactor,
        pool,
        holder,
        &Where::Unix(folder.join("nobody")),
        1,
    );
    turn_until(&mut reactor, "the refusal", |reactor| {
        !refusals(reactor, holder).is_empty()
    });
    assert!(refusals(&mut reactor, holder)[0].1.contains("nobody"));
    std::fs::remove_dir_all(folder).expect("it is ours");
}

struct TlsListener(Acceptor);

impl Dispatcher for TlsListener {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        cx.add(Socket::from(accepted).layered(self.0.session()?), Echo)?;
        Ok(())
    }
}

fn configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .expect("they belong together");
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).expect("a certificate");
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

#[test]
fn connections_over_tls_are_pooled_and_ready_when_the_handshake_is_done() {
    let mut reactor = Reactor::new().expect("a poller");
    let (server, client) = configs();
    let listener = TlsListener(Acceptor::new(server));
    let listener = reactor
        .listen("127.0.0.1:0", listener)
        .expect("a free port");
    let address = reactor.local_addr(listener).expect("it has one");
    let shared = Shared {
        tls: Some(client),
        ..Shared::default()
    };
    exercise(&mut reactor, &Where::Tls(address), &shared);
    assert_eq!(*shared.notes.borrow(), ["handshake", "handshake"]);
    // A server that speaks no TLS: the attempt has failed.
    let (_, plain) = serve(&mut reactor, || Echo);
    let pool = pool_of(&mut reactor, &limits(1, 1), &shared);
    let holder = holder(&mut reactor);
    ask(&mut reactor, pool, holder, &Where::Tls(plain), 1);
    turn_until(&mut reactor, "the refusal", |reactor| {
        !refusals(reactor, holder).is_empty()
    });
    let told = refusals(&mut reactor, holder);
    assert!(told[0].1.contains("handshake failed"), "{told:?}");
    assert_eq!(gauges(&mut reactor, pool).failed, 1);
}

/// A client of records.
struct Lines {
    outstanding: usize,
}

impl Handler for Lines {
    fn found_terminator(
        &mut self,
        _: &mut Context<'_>,
        _: &mut Framing,
        _: &[u8],
    ) -> io::Result<()> {
        self.outstanding -= 1;
        Ok(())
    }
}

impl ReusableHandler for Lines {
    fn is_reusable(&mut self, _: &mut Context<'_>, _: &mut Framing) -> bool {
        self.outstanding == 0
    }
}

#[test]
fn framed_connections_are_pooled_and_one_with_half_a_record_is_not_used_again() {
    let mut reactor = Reactor::new().expect("a poller");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it has one");
    type Framers = Pool<SocketAddr, Framed<Lines>>;
    let pool = Framers::new(&PoolOptions::new(), |cx, address, seat: Seat<_, _>| {
        let lines = Framed::new(Terminator::Line, Lines { outstanding: 0 })?;
        cx.connect(*address, seat.hold(lines))
    });
    let pool = reactor
        .add_service(pool.expect("good limits"))
        .expect("room");
    let (mut before, mut peer) = (None, None);
    // A whole record, and half of one.
    for (round, answer) in ["one\n", "two\nhal"].into_iter().enumerate() {
        let lease = Rc::new(Cell::new(None));
        let slot = Rc::clone(&lease);
        let cx = &mut reactor.at(pool).expect("there");
        struct Nobody;
        impl Dispatcher for Nobody {}
        let nobody = cx.add_service(Nobody).expect("room");
        match Pool::acquire(cx, pool, &address, nobody, move |_, _, outcome| {
            slot.set(Some(outcome));
            Ok(())
        }) {
            Acquired::Now(outcome) => lease.set(Some(outcome)),
            Acquired::Later(_) => {}
        }
        let mut got = None;
        turn_until(&mut reactor, "a lease", |_| {
            got = lease.take();
            got.is_some()
        });
        let lease = got.expect("it is there").expect("somebody listens");
        if round == 1 {
            assert_eq!(Some(lease.id()), before, "the same");
        }
        let id = lease.id();
        before = Some(id);
        reactor.with(id, |framed, cx| {
            let (handler, framing) = framed.parts();
            handler.outstanding += 1;
            framing.push(cx, b"question\n").expect("room");
        });
        turn(&mut reactor);
        let peer = peer.get_or_insert_with(|| listener.accept().expect("in the queue").0);
        peer.read_exact(&mut [0; 9]).expect("the question");
        peer.write_all(answer.as_bytes()).expect("room");
        turn_until(&mut reactor, "the answer", |reactor| {
            reactor.with(id, |framed, _| framed.handler().outstanding) == Some(0)
        });
        lease.release(&mut reactor.at(pool).expect("there"));
        turn(&mut reactor);
        assert_eq!(reactor.at(id).is_some(), round == 0);
    }
    let mut cx = reactor.at(pool).expect("there");
    assert_eq!(
        Pool::gauges(&mut cx, pool)
            .expect("there")
            .discarded
            .unusable,
        1
    );
}

/// The line is full of those who have ended, and with the last of them goes all that the pool knew of their
/// destination: the next request is for the same one.
#[test]
fn the_last_who_waited_for_a_destination_may_go_with_it() {
    let mut reactor = Reactor::new().unwrap();
    let shared = Shared::default();
    let mut options = PoolOptions::new();
    options.max_connections(1).max_waiting(1);
    let pool = pool_of(&mut reactor, &options, &shared);
    let (_listener, server) = silent_server();
    let (_other_listener, other) = silent_server();
    let (one, two) = (holder(&mut reactor), holder(&mut reactor));
    get(&mut reactor, pool, one, &server, 1);
    assert!(ask(&mut reactor, pool, two, &other, 2).is_some());
    reactor.at(two).unwrap().abort();
    turn(&mut reactor);
    assert!(
        ask(&mut reactor, pool, one, &other, 3).is_some(),
        "{:?}",
        refusals(&mut reactor, one)
    );
    assert_eq!(gauges(&mut reactor, pool).waiting, 1);
}

#[test]
fn of_destinations_that_fail_the_last_1024_are_remembered() {
    let mut reactor = Reactor::new().unwrap();
    let pool = pool_of(&mut reactor, &PoolOptions::new(), &Shared::default());
    let holder = holder(&mut reactor);
    for number in 0..1_100 {
        let place = Where::Unix(format!("/nonexistent/{number}").into());
        ask(&mut reactor, pool, holder, &place, number);
        turn(&mut reactor);
    }
    assert_eq!(refusals(&mut reactor, holder).len(), 1_100);
    let text = reactor.with(pool, |pool, _| format!("{pool:?}")).unwrap();
    assert!(text.contains("destinations: 1024"), "{text}");
}

#[test]
fn what_has_ended_cannot_be_taken() {
    let (mut reactor, place, pool, holder, shared) = with_echo(&PoolOptions::new());
    let id = get(&mut reactor, pool, holder, &place, 1);
    let lease = take(&mut reactor, holder, 1);
    reactor.at(id).unwrap().abort();
    checked_turn(&mut reactor, pool, &shared, 1);
    let error = lease.take(&mut reactor.at(holder).unwrap()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotConnected);
    assert!(error.to_string().ends_with("has ended"), "{error}");
    assert_eq!(gauges(&mut reactor, pool).taken, 0);
}

/// A refusal that a callback returns must not be taken for the state of the holder's own socket.
#[test]
fn a_refusal_is_an_error_of_a_kind_that_says_nothing_of_the_holders_socket() {
    let mut reactor = Reactor::new().unwrap();
    let mut options = PoolOptions::new();
    options.wait_timeout(Duration::ZERO);
    let pool = pool_of(&mut reactor, &options, &Shared::default());
    let holder = holder(&mut reactor);
    let place = Where::Unix("/nonexistent/1".into());
    ask(&mut reactor, pool, holder, &place, 1);
    Pool::shut_down(&mut reactor.at(holder).unwrap(), pool);
    ask(&mut reactor, pool, holder, &place, 2);
    let refusals = reactor.with(holder, |this, _| std::mem::take(&mut this.refusals));
    let kinds = refusals.unwrap().into_iter().map(|(_, refused)| {
        assert_eq!(refused.destination(), format!("{place:?}"));
        io::Error::from(refused).kind()
    });
    let expected = [io::ErrorKind::TimedOut, io::ErrorKind::Other];
    assert_eq!(kinds.collect::<Vec<_>>(), expected);

    let mut options = PoolOptions::new();
    options.max_connections(1);
    let pool = pool_of(&mut reactor, &options, &Shared::default());
    ask(&mut reactor, pool, holder, &place, 3);
    turn_until(&mut reactor, "the failure", |reactor| {
        let failed = reactor.with(holder, |this, _| !this.refusals.is_empty());
        failed.unwrap()
    });
    let refused = reactor.with(holder, |this, _| this.refusals.remove(0).1);
    assert_eq!(
        io::Error::from(refused.unwrap()).kind(),
        io::ErrorKind::NotFound
    );
}

/// What a connection was told of the rarer things.
type Told = Rc<RefCell<BTreeSet<&'static str>>>;

/// Notes its callbacks that are rarer.
struct Rare(Told);

impl Rare {
    fn note(&mut self, what: &'static str) -> io::Result<()> {
        self.0.borrow_mut().insert(what);
        Ok(())
    }
}

impl Dispatcher for Rare {
    fn handle_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.stop_writing();
        self.note("write")
    }

    fn handle_sent(&mut self, _: &mut Context<'_>) -> io::Result<()> {
        self.note("sent")
    }

    fn handle_gone(
        &mut self,
        _: &mut Context<'_>,
        _: slabloop::AnyId,
        _: slabloop::Cause,
    ) -> io::Result<()> {
        self.note("gone")
    }

    fn handle_priority(&mut self, _: &mut Context<'_>) -> io::Result<()> {
        self.note("priority")
    }
}

impl Reusable for Rare {
    fn is_reusable(&mut self, _: &mut Context<'_>) -> bool {
        true
    }
}

/// Keeps the one lease that it gets.
struct Lender<D: Reusable>(Option<Lease<SocketAddr, D>>);

impl<D: Reusable> Dispatcher for Lender<D> {}

/// A holder that asks a pool of such connections, and a listener that does nothing by itself.
fn lender<D: Reusable>(
    reactor: &mut Reactor,
    mut make: impl FnMut() -> D + 'static,
) -> (Id<Lender<D>>, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let server = listener.local_addr().expect("it has one");
    let connect = move |cx: &mut Context<'_>, server: &SocketAddr, seat: Seat<SocketAddr, D>| {
        cx.connect(*server, seat.hold(make()))
    };
    let pool = Pool::new(&PoolOptions::new(), connect).expect("good limits");
    let pool = reactor.add_service(pool).expect("room");
    let lender = reactor.add_service(Lender(None)).expect("room");
    let mut cx = reactor.at(lender).expect("there");
    let keep = |this: &mut Lender<D>, _: &mut Context<'_>, got: Result<_, Refused>| {
        this.0 = Some(got?);
        Ok(())
    };
    let asked = Pool::acquire(&mut cx, pool, &server, lender, keep);
    assert!(matches!(asked, Acquired::Later(_)));
    (lender, listener)
}

fn has_lent<D: Reusable>(reactor: &mut Reactor, lender: Id<Lender<D>>) -> bool {
    let has = reactor.with(lender, |this, _| this.0.is_some());
    has.expect("there")
}

#[test]
fn a_leased_connection_is_told_what_any_other_is() {
    let mut reactor = Reactor::new().unwrap();
    let told = Told::default();
    let noted = Rc::clone(&told);
    let (lender, listener) = lender(&mut reactor, move || Rare(Rc::clone(&noted)));
    turn_until(&mut reactor, "the lease", |reactor| {
        has_lent(reactor, lender)
    });
    let other = reactor.add_service(Holder::default()).unwrap();
    let used = reactor.with(lender, |this, cx| {
        let lease = this.0.as_ref().expect("it has come");
        lease.with(cx, |_, cx| {
            cx.watch(other);
            cx.watch_priority();
            cx.start_writing();
            cx.send(b"hello").expect("room");
            cx.notify_when_sent().expect("it is open");
        })
    });
    used.unwrap().unwrap();
    reactor.at(other).unwrap().close();
    let (peer, _) = listener.accept().expect("it is in the queue");
    let peer = socket2::Socket::from(peer);
    peer.send_out_of_band(b"!").expect("room");
    let all = BTreeSet::from(["gone", "priority", "sent", "write"]);
    turn_until(&mut reactor, "all of it", |_| *told.borrow() == all);
}

/// A client of records that is ready when it has had one.
struct Greeted(bool);

impl Handler for Greeted {
    fn found_terminator(
        &mut self,
        _: &mut Context<'_>,
        _: &mut Framing,
        _: &[u8],
    ) -> io::Result<()> {
        self.0 = true;
        Ok(())
    }
}

impl ReusableHandler for Greeted {
    fn is_reusable(&mut self, _: &mut Context<'_>, _: &mut Framing) -> bool {
        true
    }

    fn is_ready(&mut self) -> bool {
        self.0
    }
}

#[test]
fn a_framed_connection_is_lent_after_its_greeting_and_leaves_the_loop_with_what_it_has_read() {
    let mut reactor = Reactor::new().unwrap();
    let make = || Framed::new(Terminator::Line, Greeted(false)).expect("a good terminator");
    let (lender, listener) = lender(&mut reactor, make);
    settle(&mut reactor);
    let (mut peer, _) = listener.accept().expect("it is in the queue");
    assert!(!has_lent(&mut reactor, lender), "it has not been greeted");
    peer.write_all(b"welcome\nhal").expect("room");
    turn_until(&mut reactor, "the lease", |reactor| {
        has_lent(reactor, lender)
    });
    let lease = reactor.with(lender, |this, _| this.0.take()).flatten();
    let id = lease.as_ref().expect("it has come").id();
    turn_until(&mut reactor, "half a record", |reactor| {
        let half = reactor.with(id, |framed, _| framed.parts().1.unfinished() == b"hal");
        half.expect("there")
    });
    let mut detached = reactor.detach(id).expect("it is open");
    assert_eq!(detached.take_unread(), b"hal");
}
