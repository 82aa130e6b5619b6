//! Backoff, retry budgets, circuit breakers and reconnecting.

#[path = "../util/mod.rs"]
mod util;

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use slabloop::kit::bucket::Quota;
use slabloop::kit::retry::{Backoff, BackoffBuilder, Breaker, Budget, Event, Reconnect, State};
use slabloop::testing::SimClock;
use slabloop::{AnyId, Cause, Context, Dispatcher, Id, Reactor, TimerId};
use util::*;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn backoff(base: Duration, cap: Duration) -> BackoffBuilder {
    Backoff::builder().base(base).cap(cap).seed(1)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_delay_is_within_its_window_and_the_window_within_the_cap(
        base in 1..u64::MAX,
        cap in 1..u64::MAX,
        factor in 1.0..100.0f64,
        seed in any::<u64>(),
        attempts in 1..200usize,
    ) {
        let (base, cap) = (base.min(cap), base.max(cap));
        let mut backoff = Backoff::builder()
            .base(Duration::from_nanos(base))
            .cap(Duration::from_nanos(cap))
            .factor(factor)
            .seed(seed)
            .build()
            .unwrap();
        let mut window = base as f64;
        for attempt in 0..attempts {
            prop_assert_eq!(backoff.attempts() as usize, attempt);
            let delay = backoff.next().unwrap().as_nanos() as f64;
            prop_assert!(delay <= window * 1.000_001 && delay <= cap as f64, "{} {}", delay, window);
            window = (window * factor).min(cap as f64);
        }
        backoff.reset();
        prop_assert!(backoff.next().unwrap() <= Duration::from_nanos(base));
    }
}

#[test]
fn delays_are_spread_over_the_whole_window_and_the_same_for_the_same_seed() {
    let delays = |seed| -> Vec<Duration> {
        let mut backoff = backoff(SECOND, SECOND).seed(seed).build().unwrap();
        (0..1000).map(|_| backoff.next().unwrap()).collect()
    };
    let first = delays(7);
    assert_eq!(first, delays(7));
    assert_ne!(first, delays(8));
    for tenth in 0..10 {
        let range = SECOND * tenth / 10..=SECOND * (tenth + 1) / 10;
        let count = first.iter().filter(|delay| range.contains(*delay)).count();
        assert!((60..140).contains(&count), "{count} in tenth {tenth}");
    }
    let (mut one, mut other) = (Backoff::default(), Backoff::default());
    let differ = (0..20).any(|_| one.next() != other.next());
    assert!(differ, "two of one program have different seeds");
}

#[test]
fn each_window_is_the_one_before_times_the_factor_up_to_the_cap() {
    let windows = [1, 3, 9, 27, 60, 60].map(|seconds| seconds * SECOND);
    for (attempt, window) in windows.into_iter().enumerate() {
        let delays = (0..1000).map(|seed| {
            let builder = backoff(SECOND, 60 * SECOND).factor(3.0).seed(seed);
            let mut backoff = builder.build().unwrap();
            backoff.nth(attempt).unwrap()
        });
        // The longest of so many is nearly the window itself.
        let longest = delays.max().unwrap();
        let range = window * 9 / 10..=window;
        assert!(range.contains(&longest), "{attempt}: {longest:?}");
    }
}

#[test]
fn a_limit_ends_the_delays_until_a_reset_and_bad_settings_are_named() {
    let mut backoff = backoff(MS, SECOND).limit(2).build().unwrap();
    for _ in 0..2 {
        assert!(backoff.next().is_some() && backoff.next().is_some());
        assert_eq!((backoff.next(), backoff.next()), (None, None));
        assert_eq!(backoff.attempts(), 2);
        backoff.reset();
    }
    let bad = [
        (Backoff::builder().base(Duration::ZERO), "base"),
        (Backoff::builder().base(SECOND).cap(MS), "cap"),
        (Backoff::builder().factor(0.5), "factor"),
        (Backoff::builder().factor(f64::NAN), "factor"),
        (Backoff::builder().factor(f64::INFINITY), "factor"),
    ];
    for (builder, name) in bad {
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains(name), "{error}");
    }
    assert!(Backoff::builder().factor(1.0).build().is_ok(), "no growth");
    let longest = Backoff::builder().base(Duration::MAX).cap(Duration::MAX);
    let mut longest = longest.factor(1e300).build().unwrap();
    assert!((0..100).all(|_| longest.next().is_some()));
}

#[test]
fn a_budget_gives_what_was_earned_up_to_its_limit_and_the_floor() {
    let budget = Budget::new(20, 3, Quota::per_second(2).burst(1)).unwrap();
    let start = Instant::now();
    let spend = |now| {
        let answers = std::iter::repeat_with(|| budget.spend(now));
        answers.take_while(|&paid| paid).count()
    };
    assert_eq!(spend(start), 1, "the floor's burst");
    for _ in 0..9 {
        budget.earn();
    }
    assert_eq!(budget.gauges().saved, 1, "nine successes earn 1.8");
    assert_eq!(spend(start), 1);
    budget.earn();
    assert_eq!(spend(start), 1, "the rest was not lost");
    for _ in 0..1_000_000 {
        budget.clone().earn();
    }
    assert_eq!(spend(start), 3);
    // The floor comes with time alone, and not with a clock that goes back.
    assert_eq!(spend(start + SECOND / 2), 1);
    assert_eq!(spend(start), 0);
    let gauges = budget.gauges();
    assert_eq!((gauges.spent, gauges.refused), (7, 6));
    let floor = Quota::per_second(1);
    assert!(Budget::new(1001, 1, floor).is_err() && Budget::new(1, 1, floor.burst(0)).is_err());
}

fn consecutive(failures: u32, trials: u32) -> Breaker {
    let builder = Breaker::builder().consecutive(failures).trials(trials);
    builder.open_for(SECOND).build().unwrap()
}

#[test]
fn a_breaker_opens_after_failures_in_a_row_and_closes_after_its_trials() {
    let breaker = consecutive(3, 2);
    let start = Instant::now();
    for failed in [true, true, false, true, true] {
        let permit = breaker.allow(start).unwrap();
        if failed {
            permit.failure(start);
        } else {
            permit.success(start);
        }
    }
    assert_eq!(breaker.state(start), State::Closed);
    breaker.allow(start).unwrap().failure(start);
    let until = start + SECOND;
    assert_eq!(breaker.state(start), State::Open { until });
    let just_before = until - Duration::from_nanos(1);
    assert_eq!(breaker.allow(just_before).unwrap_err().until, Some(until));

    let trials = [breaker.allow(until).unwrap(), breaker.allow(until).unwrap()];
    assert_eq!(breaker.allow(until).unwrap_err().until, None);
    let [first, second] = trials;
    first.success(until);
    assert_eq!(breaker.state(until), State::HalfOpen);
    assert!(breaker.allow(until).is_err(), "two trials, not three");
    second.success(until);
    assert_eq!(breaker.state(until), State::Closed);
    let gauges = breaker.gauges();
    assert_eq!((gauges.opened, gauges.refused, gauges.failures), (1, 3, 5));
    assert_eq!((gauges.allowed, gauges.successes), (8, 3));
    // What failed before is forgotten: it takes three again.
    for _ in 0..2 {
        breaker.allow(until).unwrap().failure(until);
    }
    assert_eq!(breaker.state(until), State::Closed);
}

#[test]
fn trials_may_come_one_after_the_other() {
    let breaker = consecutive(1, 3);
    let start = Instant::now();
    breaker.allow(start).unwrap().failure(start);
    let until = start + SECOND;
    for _ in 0..3 {
        assert_eq!(breaker.state(until), State::HalfOpen);
        breaker.allow(until).unwrap().success(until);
    }
    assert_eq!(breaker.state(until), State::Closed);
}

#[test]
fn a_failed_trial_opens_again_and_a_late_outcome_of_an_earlier_state_changes_nothing() {
    let breaker = consecutive(1, 1);
    let start = Instant::now();
    let late = [(); 3].map(|()| breaker.allow(start).unwrap());
    breaker.allow(start).unwrap().failure(start);
    let until = start + SECOND;
    let trial = breaker.allow(until).unwrap();
    let [success, failure, dropped] = late;
    success.success(until);
    failure.failure(until);
    drop(dropped);
    assert_eq!(breaker.state(until), State::HalfOpen, "the trial decides");
    trial.failure(until);
    let again = until + SECOND;
    assert_eq!(breaker.state(until), State::Open { until: again });
    // A clock that goes back closes nothing and prolongs nothing.
    assert_eq!(breaker.state(start), State::Open { until: again });
    assert_eq!(breaker.state(again), State::HalfOpen);
}

#[test]
fn a_dropped_permit_is_a_failure_and_a_cancelled_one_is_nothing() {
    let breaker = consecutive(2, 1);
    let start = Instant::now();
    drop(breaker.allow(start).unwrap());
    breaker.allow(start).unwrap().cancel();
    assert_eq!(breaker.state(start), State::Closed);
    drop(breaker.allow(start).unwrap());
    // It is open from when it is next told a time, not from when the permit was given.
    let later = start + 10 * SECOND;
    let until = later + SECOND;
    assert_eq!(breaker.state(later), State::Open { until });
    // In the half-open state a cancelled trial leaves its place to another.
    breaker.allow(until).unwrap().cancel();
    drop(breaker.allow(until).unwrap());
    assert!(matches!(breaker.state(until), State::Open { .. }));
    let gauges = breaker.gauges();
    assert_eq!((gauges.dropped, gauges.failures), (3, 3));
}

#[test]
fn a_breaker_by_rate_forgets_what_is_older_than_its_window() {
    let builder = Breaker::builder().rate(50, SECOND, 4).open_for(SECOND);
    let breaker = builder.build().unwrap();
    let start = Instant::now();
    let tell = |at: Duration, failed: bool| {
        let now = start + at;
        let permit = breaker.allow(now).unwrap();
        if failed {
            permit.failure(now);
        } else {
            permit.success(now);
        }
        breaker.state(now)
    };
    for at in [0, 100, 200] {
        assert_eq!(tell(at * MS, true), State::Closed, "fewer than four");
    }
    // The first three are forgotten.
    for at in [1300, 1310, 1320, 1330] {
        assert_eq!(tell(at * MS, false), State::Closed);
    }
    for at in [1400, 1410, 1420] {
        assert_eq!(tell(at * MS, true), State::Closed, "three of seven");
    }
    assert!(matches!(tell(1430 * MS, true), State::Open { .. }));
    for bad in [
        Breaker::builder().rate(0, SECOND, 1),
        Breaker::builder().rate(101, SECOND, 1),
        Breaker::builder().rate(50, Duration::ZERO, 1),
        Breaker::builder().rate(50, SECOND, 0),
        Breaker::builder().consecutive(0),
        Breaker::builder().trials(0),
        Breaker::builder().open_for(Duration::ZERO),
    ] {
        assert_eq!(bad.build().unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
    assert!(Breaker::builder().rate(50, MS, 1).build().is_ok());
}

#[test]
fn a_breaker_by_rate_counts_the_failures_of_its_whole_window_however_old_it_is() {
    let breaker = Breaker::builder().rate(100, SECOND, 4).build().unwrap();
    let start = Instant::now();
    breaker.allow(start).unwrap().success(start);
    // The success was long ago. The failures are in four different parts of the window.
    let hour = start + Duration::from_secs(3600);
    for at in [0, 250, 500, 750] {
        let now = hour + at * MS;
        assert_eq!(breaker.state(now), State::Closed);
        breaker.allow(now).unwrap().failure(now);
    }
    assert!(matches!(breaker.state(hour + 750 * MS), State::Open { .. }));
}

#[test]
fn a_breaker_may_be_open_for_decades_and_for_ever() {
    let start = Instant::now();
    let opened = |open_for| {
        let breaker = Breaker::builder().consecutive(1).open_for(open_for);
        let breaker = breaker.build().unwrap();
        breaker.allow(start).unwrap().failure(start);
        breaker.state(start)
    };
    let decades = Duration::from_secs(50 * 365 * 24 * 3600);
    let until = start + decades;
    assert_eq!(opened(decades), State::Open { until });
    assert!(matches!(
        opened(Duration::MAX),
        State::Open { until: later } if later > until
    ));
}

/// What a reconnecting client has reported.
type Log = Rc<RefCell<Vec<String>>>;

fn logging(log: &Log) -> impl FnMut(&mut Context<'_>, Event<'_>) + 'static {
    let log = Rc::clone(log);
    move |_, event| log.borrow_mut().push(short(event))
}

fn short(event: Event<'_>) -> String {
    match event {
        Event::Trying { attempt } => format!("try {attempt}"),
        Event::Failed { .. } => "failed".to_owned(),
        Event::Ended { cause, retry_in } => {
            assert_eq!(event.is_last(), retry_in.is_none());
            let end = if event.is_last() { "; over" } else { "" };
            format!("{cause}{end}")
        }
        Event::Stable => "stable".to_owned(),
        Event::Held { .. } => "held".to_owned(),
        other => format!("{other:?}"),
    }
}

fn simulated() -> (Reactor, SimClock) {
    let clock = SimClock::new();
    let reactor = Reactor::builder().clock(clock.clone()).build();
    (reactor.expect("a poller"), clock)
}

/// Goes through so much simulated time in steps.
fn pass(reactor: &mut Reactor, clock: &SimClock, time: Duration, step: Duration) {
    let mut passed = Duration::ZERO;
    while passed < time {
        clock.advance(step);
        passed += step;
        turn_for(reactor, Duration::ZERO);
    }
    turn_for(reactor, Duration::ZERO);
}

/// Stands in for a connection: established at once.
struct Fake;
impl Dispatcher for Fake {}

/// A client whose connections are fakes.
fn fake(dials: &Rc<Cell<u32>>) -> Reconnect<Fake> {
    let dials = Rc::clone(dials);
    Reconnect::new(move |cx: &mut Context<'_>| {
        dials.set(dials.get() + 1);
        cx.add_service(Fake)
    })
}

fn link<D: Dispatcher>(reactor: &mut Reactor, id: Id<Reconnect<D>>) -> Option<AnyId> {
    let link = reactor.with(id, |this, _| this.link());
    link.flatten().map(Id::any)
}

#[test]
fn a_connection_comes_back_after_the_server_has_restarted() {
    let mut reactor = Reactor::new().unwrap();
    let (server, address) = serve(&mut reactor, || Echo);
    let diary = Diary::default();
    let log = Log::default();
    let told = diary.clone();
    let client =
        Reconnect::new(move |cx: &mut Context<'_>| cx.connect(address, Spy::new("client", &told)));
    let client = client
        .backoff(backoff(MS, 5 * MS).build().unwrap())
        .report(logging(&log));
    client.start(&mut reactor).unwrap();
    assert!(log.borrow().is_empty(), "no callback from inside start");
    turn_until(&mut reactor, "the connection", |_| {
        diary.count("client", "connect") == 1
    });
    // The server goes: the listener and its connection.
    reactor.at(server).unwrap().close();
    for id in reactor.ids() {
        if let Some(mut context) = reactor.at(id) {
            if context.typed::<Echo>().is_some() {
                context.abort();
            }
        }
    }
    turn_until(&mut reactor, "attempts that fail", |_| {
        log.borrow()
            .iter()
            .filter(|line| line.contains("try"))
            .count()
            > 4
    });
    assert_eq!(diary.count("client", "connect"), 1);
    let listener = TcpListener::bind(address).unwrap();
    reactor
        .add(mio_listener(listener), Accepting(|| Echo))
        .unwrap();
    turn_until(&mut reactor, "the next connection", |_| {
        diary.count("client", "connect") == 2
    });
    let log = log.borrow();
    assert_eq!(log[..3], ["try 1", "reset by peer", "try 2"], "{log:?}");
    assert!(log.iter().any(|line| line.contains("refused")), "{log:?}");
}

fn mio_listener(listener: TcpListener) -> mio::net::TcpListener {
    listener.set_nonblocking(true).unwrap();
    mio::net::TcpListener::from_std(listener)
}

#[test]
fn the_backoff_begins_anew_only_after_the_connection_was_up_for_long_enough() {
    let (mut reactor, clock) = simulated();
    let log = Log::default();
    let dials = Rc::default();
    let client = fake(&dials)
        .backoff(backoff(MS, MS).build().unwrap())
        .stable_after(SECOND)
        .report(logging(&log));
    let client = client.start(&mut reactor).unwrap();
    // It ends too soon, twice.
    for time in [0, 900] {
        pass(&mut reactor, &clock, time * MS, 50 * MS);
        let id = link(&mut reactor, client).expect("connected");
        reactor.at(id).unwrap().abort();
        // It is told in the turn after the one in which that ends.
        pass(&mut reactor, &clock, 6 * MS, 2 * MS);
    }
    pass(&mut reactor, &clock, 3 * SECOND, 50 * MS);
    let id = link(&mut reactor, client).expect("connected");
    reactor.at(id).unwrap().abort();
    pass(&mut reactor, &clock, 6 * MS, 2 * MS);
    assert_eq!(
        *log.borrow(),
        [
            "try 1", "aborted", "try 2", "aborted", "try 3", "stable", "aborted", "try 2"
        ]
    );
}

#[test]
fn a_connection_that_is_never_established_is_never_stable() {
    let (mut reactor, clock) = simulated();
    // A queue that is full: further attempts get no answer.
    let listener =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    listener.bind(&any.into()).unwrap();
    listener.listen(1).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let _fillers: Vec<_> = (0..4)
        .map(|_| {
            let socket = mio::net::TcpStream::connect(address);
            socket.unwrap()
        })
        .collect();
    let log = Log::default();
    let mut options = slabloop::SocketOptions::new();
    options.connect_timeout(Some(20 * SECOND));
    let client =
        Reconnect::new(move |cx: &mut Context<'_>| cx.connect_with(address, &options, Fake));
    client
        .stable_after(SECOND)
        .report(logging(&log))
        .start(&mut reactor)
        .unwrap();
    pass(&mut reactor, &clock, 19 * SECOND, 100 * MS);
    assert_eq!(*log.borrow(), ["try 1"]);
    pass(&mut reactor, &clock, 2 * SECOND, 100 * MS);
    assert_eq!(log.borrow()[1], "connecting timed out");
}

#[test]
fn a_client_that_a_callback_starts_dials_after_that_callback() {
    let mut reactor = Reactor::new().unwrap();
    let dials = Rc::new(Cell::new(0));
    let starter = reactor.add_service(Fake).unwrap();
    let client = reactor.with(starter, |_, cx| {
        let client = fake(&dials).start_in(cx);
        assert_eq!(dials.get(), 0, "no callback from inside start_in");
        client
    });
    let client = client.unwrap().unwrap();
    turn_until(&mut reactor, "the attempt", |_| dials.get() == 1);
    assert!(link(&mut reactor, client).is_some());
}

#[test]
fn at_the_limit_it_ends_and_run_returns() {
    let mut reactor = Reactor::new().unwrap();
    let log = Log::default();
    let client: Reconnect<Fake> = Reconnect::new(|_| Err(io::ErrorKind::ConnectionRefused.into()));
    let client = client
        .backoff(backoff(MS, MS).limit(3).build().unwrap())
        .report(logging(&log));
    client.start(&mut reactor).unwrap();
    reactor.run().unwrap();
    assert_eq!(reactor.count(), 0);
    let tries = log
        .borrow()
        .iter()
        .filter(|line| line.contains("try"))
        .count();
    assert_eq!(tries, 4, "the first, and three more");
}

#[test]
fn run_goes_on_while_an_attempt_is_waited_for() {
    let mut reactor = Reactor::new().unwrap();
    let dials = Rc::default();
    let counted: Rc<Cell<u32>> = Rc::clone(&dials);
    let client = fake(&dials)
        .backoff(backoff(MS, MS).build().unwrap())
        .report(move |cx, event| {
            if matches!(event, Event::Ended { .. }) && counted.get() == 3 {
                cx.close();
            }
        });
    let client = client.start(&mut reactor).unwrap();
    reactor.call_every(MS, move |reactor| {
        let link = link(reactor, client);
        if let Some(mut link) = link.and_then(|id| reactor.at(id)) {
            link.close();
        }
        if reactor.count() == 0 {
            reactor.stop();
        }
    });
    reactor.run().unwrap();
    assert_eq!(dials.get(), 3, "closing its context ended it");
}

/// A connection that stays for a few turns of a shutdown.
struct Lingering(u32);
impl Dispatcher for Lingering {
    fn handle_shutdown(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.set_timer(MS);
        Ok(())
    }

    fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        self.0 -= 1;
        if self.0 > 0 {
            cx.set_timer(MS);
        } else {
            cx.abort();
        }
        Ok(())
    }
}

#[test]
fn shutdown_ends_it_while_connected_and_while_waiting() {
    for connected in [true, false] {
        let mut reactor = Reactor::new().unwrap();
        let (ours, _peer) = tcp_pair();
        reactor.add(ours, Lingering(5)).unwrap();
        let dials: Rc<Cell<u32>> = Rc::default();
        let (_, address) = serve(&mut reactor, || Echo);
        let diary = Diary::default();
        let (told, count) = (diary.clone(), Rc::clone(&dials));
        let client = Reconnect::new(move |cx: &mut Context<'_>| {
            count.set(count.get() + 1);
            if connected {
                cx.connect(address, Spy::new("client", &told))
            } else {
                Err(io::ErrorKind::NotFound.into())
            }
        });
        let log = Log::default();
        let client = client
            .backoff(backoff(60 * SECOND, 60 * SECOND).build().unwrap())
            .report(logging(&log));
        client.start(&mut reactor).unwrap();
        turn_until(&mut reactor, "the first attempt", |_| {
            dials.get() == 1 && (!connected || diary.count("client", "connect") == 1)
        });
        let aborted = reactor.shutdown(DEADLINE).unwrap();
        assert!(aborted.is_empty());
        assert_eq!((dials.get(), reactor.count()), (1, 0));
        // It has ended first: the end of its connection is none to it.
        let expected: &[&str] = if connected {
            &["try 1"]
        } else {
            &["try 1", "failed"]
        };
        assert_eq!(*log.borrow(), expected);
    }
}

#[test]
fn a_detached_connection_is_not_replaced() {
    let mut reactor = Reactor::new().unwrap();
    let (_, address) = serve(&mut reactor, || Echo);
    let diary = Diary::default();
    let log = Log::default();
    let told = diary.clone();
    let client =
        Reconnect::new(move |cx: &mut Context<'_>| cx.connect(address, Spy::new("client", &told)));
    let client = client.report(logging(&log)).start(&mut reactor).unwrap();
    turn_until(&mut reactor, "the connection", |_| {
        diary.count("client", "connect") == 1
    });
    let id = link(&mut reactor, client).unwrap();
    let _detached = reactor.detach(id).unwrap();
    turn_until(&mut reactor, "its end", |reactor| {
        reactor.end_of(client).is_some()
    });
    assert_eq!(*log.borrow(), ["try 1", "detached; over"]);
}

#[test]
fn a_panic_of_the_dialler_ends_it_alone() {
    let mut reactor = Reactor::new().unwrap();
    let other = reactor.add_service(Fake).unwrap();
    let client: Reconnect<Fake> = Reconnect::new(|_| panic!("a dialler that panics"));
    let client = client.start(&mut reactor).unwrap();
    turn_until(&mut reactor, "its end", |reactor| {
        reactor.end_of(client) == Some(Cause::Panic)
    });
    assert!(reactor.at(other).is_some());
}

#[test]
fn a_breaker_holds_attempts_until_it_is_half_open_and_stability_closes_it() {
    let (mut reactor, clock) = simulated();
    let breaker = consecutive(2, 1);
    let up = Rc::new(Cell::new(false));
    let log = Log::default();
    let is_up = Rc::clone(&up);
    let client = Reconnect::new(move |cx: &mut Context<'_>| {
        if is_up.get() {
            cx.add_service(Fake)
        } else {
            Err(io::ErrorKind::ConnectionRefused.into())
        }
    });
    let client = client
        .backoff(backoff(MS, MS).build().unwrap())
        .breaker(breaker.clone())
        .stable_after(SECOND)
        .report(logging(&log));
    let client = client.start(&mut reactor).unwrap();
    pass(&mut reactor, &clock, SECOND / 2, 10 * MS);
    assert_eq!(
        *log.borrow(),
        ["try 1", "failed", "try 2", "failed", "held"]
    );
    up.set(true);
    pass(&mut reactor, &clock, SECOND, 10 * MS);
    assert_eq!(log.borrow()[5..], ["try 3"]);
    let now = |reactor: &mut Reactor| reactor.at(client).unwrap().now();
    assert_eq!(breaker.state(now(&mut reactor)), State::HalfOpen);
    pass(&mut reactor, &clock, SECOND, 10 * MS);
    assert_eq!(log.borrow()[6..], ["stable"]);
    assert_eq!(breaker.state(now(&mut reactor)), State::Closed);

    // What the breaker has lent it comes back when the client ends by itself.
    let id = link(&mut reactor, client).unwrap();
    reactor.at(id).unwrap().abort();
    pass(&mut reactor, &clock, 30 * MS, 5 * MS);
    assert!(link(&mut reactor, client).is_some(), "connected again");
    reactor.at(client).unwrap().close();
    turn_for(&mut reactor, Duration::ZERO);
    assert_eq!(breaker.gauges().dropped, 0);
}

/// How long a client that cannot connect was told to wait because it was held.
fn held(client: impl FnOnce(Reconnect<Fake>) -> Reconnect<Fake>) -> Vec<Duration> {
    let (mut reactor, clock) = simulated();
    let refused = |_: &mut Context<'_>| Err(io::ErrorKind::ConnectionRefused.into());
    let holds = Rc::new(RefCell::new(Vec::new()));
    let noted = Rc::clone(&holds);
    let client = client(Reconnect::new(refused)).report(move |_, event| {
        if let Event::Held { retry_in } = event {
            noted.borrow_mut().push(retry_in);
        }
    });
    client.start(&mut reactor).unwrap();
    pass(&mut reactor, &clock, 100 * SECOND, 100 * MS);
    holds.take()
}

#[test]
fn who_has_no_budget_asks_again_after_delays_of_the_backoff_and_without_its_limit() {
    // The one retry of this hour is for the second attempt.
    let budget = Budget::new(0, 0, Quota::per(1, 3600 * SECOND)).unwrap();
    let backoff = backoff(10 * SECOND, 10 * SECOND).limit(2).build().unwrap();
    let holds = held(|client| client.backoff(backoff).budget(budget));
    assert!(holds.len() > 4, "{holds:?}");
    let range = MS..=10 * SECOND;
    assert!(holds.iter().all(|delay| range.contains(delay)), "{holds:?}");
    // The default begins with a tenth of a second.
    assert!(holds[..3].iter().any(|delay| *delay > SECOND), "{holds:?}");
}

#[test]
fn who_is_held_by_an_open_breaker_does_not_ask_before_its_trials_begin() {
    let breaker = consecutive(1, 1);
    let asked = breaker.clone();
    let backoff = backoff(500 * MS, 500 * MS).build().unwrap();
    let holds = held(|client| client.backoff(backoff).breaker(breaker));
    let (count, gauges) = (holds.len() as u64, asked.gauges());
    assert!(count > 10, "{holds:?}");
    assert_eq!(gauges.refused, count);
    assert!(gauges.opened >= count, "once while it is open: {gauges:?}");
}

/// A server with ten thousand clients restarts.
#[test]
fn ten_thousand_clients_come_back_no_faster_than_their_budget() {
    const CLIENTS: u32 = 10_000;
    const FLOOR: u32 = 100;
    const BURST: u32 = 50;
    let (mut reactor, clock) = simulated();
    let budget = Budget::new(10, 200, Quota::per_second(FLOOR).burst(BURST)).unwrap();
    let up = Rc::new(Cell::new(true));
    let dials = Rc::new(Cell::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (up, dials) = (Rc::clone(&up), Rc::clone(&dials));
            let client = Reconnect::new(move |cx: &mut Context<'_>| {
                dials.set(dials.get() + 1);
                if up.get() {
                    cx.add_service(Fake)
                } else {
                    Err(io::ErrorKind::ConnectionRefused.into())
                }
            });
            let backoff = backoff(100 * MS, 10 * SECOND).seed(u64::from(number));
            client
                .backoff(backoff.build().unwrap())
                .budget(budget.clone())
                .stable_after(SECOND)
                .start(&mut reactor)
                .unwrap()
        })
        .collect();
    let connected = |reactor: &mut Reactor| {
        let links = clients.iter().filter(|&&id| link(reactor, id).is_some());
        links.count()
    };
    // Turns without the check of every invariant: twenty thousand dispatchers have many.
    let pass = |reactor: &mut Reactor, time: Duration, step: Duration| {
        let mut passed = Duration::ZERO;
        while passed < time {
            clock.advance(step);
            passed += step;
            reactor.turn(Duration::ZERO).unwrap();
        }
    };
    pass(&mut reactor, 2 * SECOND, 100 * MS);
    assert_eq!(dials.get(), CLIENTS, "the first attempts are free");
    assert_eq!(budget.gauges().saved, 200, "many successes, and a limit");

    // The server goes.
    up.set(false);
    for &id in &clients {
        let id = link(&mut reactor, id).expect("connected");
        reactor.at(id).unwrap().abort();
    }
    reactor.turn(Duration::ZERO).unwrap();
    dials.set(0);
    pass(&mut reactor, SECOND, 10 * MS);
    let most = 200 + BURST + FLOOR;
    assert!(dials.get() <= most, "{} attempts in a second", dials.get());
    assert!(dials.get() > FLOOR, "but it is tried: {}", dials.get());
    dials.set(0);
    pass(&mut reactor, 10 * SECOND, 20 * MS);
    assert!(dials.get() <= 10 * FLOOR, "then it is the floor alone");

    // It is back, and everybody comes back in the end.
    up.set(true);
    dials.set(0);
    pass(&mut reactor, SECOND, 10 * MS);
    assert!(dials.get() <= BURST + FLOOR, "{}", dials.get());
    pass(&mut reactor, 300 * SECOND, 100 * MS);
    assert_eq!(connected(&mut reactor), CLIENTS as usize);
}

#[test]
fn an_open_breaker_is_an_error_that_says_nothing_of_the_callers_socket() {
    let now = Instant::now();
    let breaker = Breaker::builder().consecutive(1).build().unwrap();
    breaker.allow(now).unwrap().failure(now);
    let error = io::Error::from(breaker.allow(now).unwrap_err());
    assert_eq!(error.kind(), io::ErrorKind::Other);
    assert_eq!(error.to_string(), "the circuit breaker is open");
}
