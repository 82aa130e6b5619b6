//! Peers that die at every point of a pooled connection's life, by the end of the stream and by a reset.

#[path = "../util/pooling.rs"]
mod pooling;
#[path = "../util/mod.rs"]
mod util;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use pooling::*;
use slabloop::kit::pool::{AfterFailure, Pool, PoolOptions, Reason};
use slabloop::testing::SimClock;
use slabloop::{Cause, Context, Dispatcher, Id, Reactor, Unreached};
use util::*;

/// How a peer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    Fin,
    Rst,
}

const BOTH: [Death; 2] = [Death::Fin, Death::Rst];

fn kill(peer: TcpStream, death: Death) {
    match death {
        Death::Fin => drop(peer),
        Death::Rst => reset(peer),
    }
}

/// A server that is the test itself, and a pool with room for one connection.
struct Bench {
    reactor: Reactor,
    listener: TcpListener,
    place: Where,
    pool: Id<TestPool>,
    holder: Id<Holder>,
    shared: Shared,
}

impl Bench {
    fn new() -> Bench {
        Bench::with(|pool| pool)
    }

    fn with(change: impl FnOnce(TestPool) -> TestPool) -> Bench {
        Bench::of(&mut PoolOptions::new(), change)
    }

    fn of(options: &mut PoolOptions, change: impl FnOnce(TestPool) -> TestPool) -> Bench {
        let mut reactor = Reactor::new().expect("a poller");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let place = Where::Tcp(listener.local_addr().expect("it has one"));
        let shared = Shared::default();
        let pool = change(new_pool(options.max_connections(1), &shared));
        let pool = reactor.add_service(pool).expect("room");
        let holder = holder(&mut reactor);
        Bench {
            reactor,
            listener,
            place,
            pool,
            holder,
            shared,
        }
    }

    fn ask(&mut self, tag: u32) {
        ask(&mut self.reactor, self.pool, self.holder, &self.place, tag);
    }

    /// A lease, and the server's end of its connection.
    fn lease(&mut self, tag: u32) -> (Id<Client>, TcpStream) {
        let id = get(&mut self.reactor, self.pool, self.holder, &self.place, tag);
        (id, self.accept())
    }

    fn accept(&self) -> TcpStream {
        let (peer, _) = self.listener.accept().expect("it is in the queue");
        peer.set_read_timeout(Some(DEADLINE)).expect("positive");
        peer
    }

    fn release(&mut self, tag: u32) {
        release(&mut self.reactor, self.holder, tag);
    }

    /// The holder of this lease sends a question.
    fn question(&mut self, tag: u32) {
        let asked = self.reactor.with(self.holder, |this, cx| {
            this.leases[&tag].with(cx, |client, cx| client.ask(cx, None))
        });
        asked.expect("there").expect("there").expect("room");
    }

    fn has(&mut self, tag: u32) -> bool {
        has(&mut self.reactor, self.holder, tag)
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Bench) -> bool) {
        let deadline = std::time::Instant::now() + DEADLINE;
        while !done(self) {
            assert!(
                std::time::Instant::now() < deadline,
                "{what}: {:?}",
                self.gauges()
            );
            checked_turn(&mut self.reactor, self.pool, &self.shared, 1);
        }
    }

    fn gauges(&mut self) -> slabloop::kit::pool::PoolGauges {
        gauges(&mut self.reactor, self.pool)
    }

    /// In the end another one can be made, and all is counted.
    fn goes_on(mut self, tag: u32, what: &str) {
        self.ask(tag);
        self.until(what, |bench| bench.has(tag));
        let now = self.gauges();
        assert_eq!(
            (now.open, now.leased, now.waiting),
            (1, 1, 0),
            "{what}: {now:?}"
        );
        let gone = now.discarded.total() + now.taken;
        assert_eq!(now.made, gone + now.open as u64, "{what}: {now:?}");
    }
}

#[test]
fn before_the_connection_is_made() {
    let mut bench = Bench::new();
    let Where::Tcp(address) = bench.place else {
        unreachable!()
    };
    // Nobody listens, for a while.
    let other = TcpListener::bind("127.0.0.1:0").expect("a free port");
    drop(std::mem::replace(&mut bench.listener, other));
    bench.ask(1);
    let (pool_holder, mut told) = (bench.holder, Vec::new());
    bench.until("the refusal", |bench| {
        told = refusals(&mut bench.reactor, pool_holder);
        !told.is_empty()
    });
    assert!(
        told[0]
            .1
            .starts_with(&format!("pool: Tcp({address}): cannot connect: ")),
        "{told:?}"
    );
    bench.listener = TcpListener::bind(address).expect("it was ours");
    bench.goes_on(2, "before");
}

#[test]
fn with_a_back_off_those_that_wait_outlast_a_server_that_is_away() {
    let mut bench = Bench::with(|pool| {
        pool.after_failure(|_, _, _| AfterFailure::Retry(Duration::from_millis(1)))
    });
    let Where::Tcp(address) = bench.place else {
        unreachable!()
    };
    let other = TcpListener::bind("127.0.0.1:0").expect("a free port");
    drop(std::mem::replace(&mut bench.listener, other));
    bench.ask(1);
    bench.until("some failures", |bench| bench.gauges().failed >= 3);
    bench.listener = TcpListener::bind(address).expect("it was ours");
    bench.until("the lease", |bench| bench.has(1));
    assert_eq!(bench.gauges().refused.total(), 0);
}

#[test]
fn while_it_is_being_made() {
    // A greeting that never comes: the connection is established, and not ready.
    for death in BOTH {
        let mut bench = Bench::new();
        bench.shared.greeting.set(true);
        bench.ask(1);
        bench.ask(2);
        bench.until("the attempt", |bench| bench.gauges().connecting == 1);
        settle(&mut bench.reactor);
        kill(bench.accept(), death);
        let holder = bench.holder;
        bench.until("the refusals", |bench| {
            refusals(&mut bench.reactor, holder).len() == 2
        });
        assert_eq!(bench.gauges().failed, 1, "{death:?}");
        assert!(
            !bench
                .shared
                .notes
                .borrow()
                .iter()
                .any(|note| note.starts_with("error"))
        );
        bench.shared.greeting.set(false);
        bench.goes_on(3, "in the greeting");
    }
}

#[test]
fn the_connect_deadline_of_the_reactor_is_told_to_those_that_wait() {
    let clock = SimClock::new();
    let mut builder = Reactor::builder();
    builder
        .clock(clock.clone())
        .connect_timeout(Duration::from_secs(3));
    let mut reactor = builder.build().expect("a poller");
    let shared = Shared::default();
    let pool = pool_of(&mut reactor, &PoolOptions::new(), &shared);
    let holder = holder(&mut reactor);
    // A queue that is full lets nobody in.
    let listener =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("tcp");
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().expect("an address");
    listener.bind(&any.into()).expect("a free port");
    listener.listen(0).expect("bound");
    let address = listener
        .local_addr()
        .expect("it has one")
        .as_socket()
        .expect("inet");
    let filling: Vec<_> = (0..8)
        .map(|_| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
                .expect("tcp");
            socket.set_nonblocking(true).expect("ours");
            let _ = socket.connect(&address.into());
            socket
        })
        .collect();
    ask(&mut reactor, pool, holder, &Where::Tcp(address), 1);
    for _ in 0..5 {
        turn(&mut reactor);
    }
    clock.advance(Duration::from_secs(4));
    turn_until(&mut reactor, "the refusal", |reactor| {
        !refusals(reactor, holder).is_empty()
    });
    let reason = reactor.with(holder, |this, _| this.refusals[0].1.reason());
    assert_eq!(reason, Some(Reason::Connect(std::io::ErrorKind::TimedOut)));
    assert_eq!(shared.alive.get(), 0);
    drop(filling);
}

#[test]
fn while_it_is_idle() {
    for death in BOTH {
        let mut bench = Bench::new();
        let (_, peer) = bench.lease(1);
        bench.release(1);
        settle(&mut bench.reactor);
        kill(peer, death);
        bench.until("its end", |bench| bench.gauges().open == 0);
        let now = bench.gauges();
        assert_eq!(
            (now.discarded.ended, now.discarded.total()),
            (1, 1),
            "{death:?}"
        );
        // It is no fault of anybody's.
        assert!(
            !bench
                .shared
                .notes
                .borrow()
                .iter()
                .any(|note| note.starts_with("error"))
        );
        bench.goes_on(2, "idle");
    }
}

#[test]
fn while_it_is_idle_and_the_loop_has_not_heard_of_it() {
    for death in BOTH {
        let mut bench = Bench::new();
        let (first, peer) = bench.lease(1);
        bench.release(1);
        settle(&mut bench.reactor);
        kill(peer, death);
        // No turn: only the kernel knows. It is not lent.
        bench.ask(2);
        assert!(!bench.has(2), "{death:?}");
        bench.until("another", |bench| bench.has(2));
        let second = take(&mut bench.reactor, bench.holder, 2);
        assert_ne!(second.id(), first);
        assert_eq!(bench.gauges().discarded.ended, 1, "{death:?}");
        second.release(&mut bench.reactor.at(bench.holder).expect("there"));
        bench.goes_on(3, "unheard");
    }
}

#[test]
fn without_the_probe_the_kernel_is_not_asked() {
    for is_awaited in [false, true] {
        let mut bench = Bench::of(PoolOptions::new().probe(false), |pool| pool);
        let (_, peer) = bench.lease(1);
        if is_awaited {
            bench.ask(2);
            kill(peer, Death::Fin);
            bench.release(1);
        } else {
            bench.release(1);
            settle(&mut bench.reactor);
            kill(peer, Death::Fin);
            bench.ask(2);
            assert!(bench.has(2), "at once");
        }
        // It has been lent, although it is dead.
        assert_eq!(bench.gauges().discarded.total(), 0);
        bench.until("its end", |bench| bench.gauges().discarded.died == 1);
        bench.goes_on(3, "without the probe");
    }
}

#[test]
fn something_unasked_for_arrives_while_it_is_idle() {
    for is_heard in [true, false] {
        let mut bench = Bench::new();
        let (first, mut peer) = bench.lease(1);
        bench.release(1);
        settle(&mut bench.reactor);
        peer.write_all(b"408 Request Timeout").expect("room");
        if is_heard {
            bench.until("its end", |bench| bench.gauges().open == 0);
        }
        bench.ask(2);
        bench.until("another", |bench| bench.has(2));
        assert!(bench.reactor.at(first).is_none());
        assert_eq!(bench.gauges().discarded.input, 1);
        bench.release(2);
        bench.goes_on(3, "input");
    }
}

#[test]
fn leased_and_before_the_request() {
    for death in BOTH {
        let mut bench = Bench::new();
        let (id, peer) = bench.lease(1);
        bench.ask(2);
        kill(peer, death);
        // A waiter has another one, although the first lease is still held.
        bench.until("another", |bench| bench.has(2));
        let (lease, holder) = (take(&mut bench.reactor, bench.holder, 1), bench.holder);
        let mut cx = bench.reactor.at(holder).expect("there");
        let used = lease.with(&mut cx, |client, cx| client.ask(cx, None));
        assert_eq!(used.expect_err("it is gone"), Unreached::Gone);
        assert!(lease.at(&mut cx).is_none() && cx.at(id).is_none());
        lease.release(&mut cx);
        let now = bench.gauges();
        assert_eq!((now.discarded.died, now.leased), (1, 1), "{death:?}");
        bench.release(2);
        bench.goes_on(3, "leased");
    }
}

#[test]
fn midway_through_a_request_and_the_holder_that_watches_is_told() {
    struct Watching {
        lease: Option<TestLease>,
        gone: Option<Cause>,
    }
    impl Dispatcher for Watching {
        fn handle_gone(
            &mut self,
            _: &mut Context<'_>,
            id: slabloop::AnyId,
            cause: Cause,
        ) -> std::io::Result<()> {
            assert_eq!(self.lease.take().expect("one").id().any(), id);
            self.gone = Some(cause);
            Ok(())
        }
    }
    for death in BOTH {
        let mut bench = Bench::new();
        let (_, mut peer) = bench.lease(1);
        bench.question(1);
        let lease = take(&mut bench.reactor, bench.holder, 1);
        let id = lease.id();
        let watching = Watching {
            lease: Some(lease),
            gone: None,
        };
        let watching = bench.reactor.add_service(watching).expect("room");
        assert!(bench.reactor.at(watching).expect("there").watch(id));
        bench.until("the question", |_| {
            peer.set_nonblocking(true).expect("ours");
            peer.read(&mut [0; 1]).is_ok()
        });
        kill(peer, death);
        bench.until("the word", |bench| {
            bench.reactor.with(watching, |this, _| this.gone.is_some()) == Some(true)
        });
        let cause = bench.reactor.with(watching, |this, _| this.gone).flatten();
        let expected = match death {
            Death::Fin => Cause::Finished,
            Death::Rst => Cause::Reset,
        };
        assert_eq!(cause, Some(expected));
        bench.goes_on(2, "midway");
    }
}

#[test]
fn after_the_answer_and_before_the_release() {
    for death in BOTH {
        for is_heard in [true, false] {
            let mut bench = Bench::new();
            let (_, mut peer) = bench.lease(1);
            bench.question(1);
            bench.until("the question", |_| {
                peer.set_nonblocking(true).expect("ours");
                peer.read(&mut [0; 1]).is_ok()
            });
            peer.write_all(b"!").expect("room");
            settle(&mut bench.reactor);
            kill(peer, death);
            if is_heard {
                bench.until("its end", |bench| bench.gauges().open == 0);
            }
            bench.ask(2);
            bench.release(1);
            bench.until("another", |bench| bench.has(2));
            assert_eq!(bench.gauges().made, 2, "{death:?}");
            bench.release(2);
            bench.goes_on(3, "answered");
        }
    }
}

#[test]
fn an_answer_that_is_outstanding_never_gets_to_the_next_holder() {
    let mut bench = Bench::new();
    let (first, mut peer) = bench.lease(1);
    bench.question(1);
    bench.ask(2);
    // The holder ends in the middle of it.
    drop(take(&mut bench.reactor, bench.holder, 1));
    bench.until("another", |bench| bench.has(2));
    assert!(bench.reactor.at(first).is_none());
    assert_eq!(bench.gauges().discarded.unusable, 1);
    // The server sees a reset: nobody waits for its answer.
    let mut bytes = Vec::new();
    let ended = peer.read_to_end(&mut bytes);
    assert!(ended.is_err(), "{ended:?}");
    bench.release(2);
    bench.goes_on(3, "outstanding");
}

#[test]
fn during_the_health_check() {
    /// Its server ends while it is looked at.
    struct Fragile(std::rc::Rc<std::cell::RefCell<Option<(TcpStream, Death)>>>);
    impl Dispatcher for Fragile {}
    impl slabloop::kit::pool::Reusable for Fragile {
        fn is_reusable(&mut self, _: &mut Context<'_>) -> bool {
            if let Some((peer, death)) = self.0.take() {
                kill(peer, death);
            }
            true
        }
    }
    struct Keeper(Option<slabloop::kit::pool::Lease<std::net::SocketAddr, Fragile>>);
    impl Dispatcher for Keeper {}
    for death in BOTH {
        let mut reactor = Reactor::new().expect("a poller");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it has one");
        let victim = std::rc::Rc::new(std::cell::RefCell::new(None));
        let given = std::rc::Rc::clone(&victim);
        let pool = Pool::new(
            &PoolOptions::new(),
            move |cx, address: &std::net::SocketAddr, seat| {
                cx.connect(
                    *address,
                    slabloop::kit::pool::Seat::hold(seat, Fragile(given.clone())),
                )
            },
        );
        let pool = reactor
            .add_service(pool.expect("good limits"))
            .expect("room");
        let keeper = reactor.add_service(Keeper(None)).expect("room");
        let lease = |reactor: &mut Reactor| {
            let mut cx = reactor.at(keeper).expect("there");
            let asked = Pool::acquire(
                &mut cx,
                pool,
                &address,
                keeper,
                |keeper: &mut Keeper, _, outcome| {
                    keeper.0 = outcome.ok();
                    Ok(())
                },
            );
            if let slabloop::kit::pool::Acquired::Now(outcome) = asked {
                return outcome.expect("there");
            }
            let mut lease = None;
            turn_until(reactor, "a lease", |reactor| {
                lease = reactor.with(keeper, |keeper, _| keeper.0.take()).flatten();
                lease.is_some()
            });
            lease.expect("there")
        };
        let first = lease(&mut reactor);
        let id = first.id();
        let (peer, _) = listener.accept().expect("in the queue");
        first.release(&mut reactor.at(keeper).expect("there"));
        settle(&mut reactor);
        *victim.borrow_mut() = Some((peer, death));
        let second = lease(&mut reactor);
        assert_ne!(second.id(), id, "{death:?}");
        let now = Pool::gauges(&mut reactor.at(pool).expect("there"), pool).expect("there");
        assert_eq!((now.discarded.ended, now.made), (1, 2), "{death:?}");
    }
}

#[test]
fn a_server_that_dies_under_a_full_pool_and_comes_back() {
    let mut bench = Bench::new();
    let (_, peer) = bench.lease(1);
    for tag in 2..6 {
        bench.ask(tag);
    }
    let Where::Tcp(address) = bench.place else {
        unreachable!()
    };
    let other = TcpListener::bind("127.0.0.1:0").expect("a free port");
    drop(std::mem::replace(&mut bench.listener, other));
    kill(peer, Death::Rst);
    let holder = bench.holder;
    bench.until("the refusals", |bench| {
        refusals(&mut bench.reactor, holder).len() == 4
    });
    bench.listener = TcpListener::bind(address).expect("it was ours");
    bench.goes_on(9, "back");
}
