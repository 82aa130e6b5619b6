//! A pool of connections for clients (feature `pool`). A connection is opened when it is needed, lent to one holder
//! at a time, and kept for the next one.
//!
//! The pool is a dispatcher without a socket (a service), and any callback can reach it by its id. Its connections
//! are ordinary dispatchers of one type; a method of theirs decides whether they can be used again ([`Reusable`]).
//!
//! ```
//! use std::io;
//! use std::net::SocketAddr;
//!
//! use slabloop::kit::pool::{Acquired, Lease, Pool, PoolOptions, Refused, Reusable, Seat};
//! use slabloop::{Accepted, Context, Dispatcher, Id, Reactor};
//!
//! /// A connection to a server that answers each line with a line.
//! #[derive(Default)]
//! struct Connection {
//!     answer: Vec<u8>,
//!     asker: Option<Id<Asker>>,
//! }
//!
//! impl Connection {
//!     fn ask(&mut self, cx: &mut Context<'_>, asker: Id<Asker>, question: &str) -> io::Result<()> {
//!         self.asker = Some(asker);
//!         cx.send(question.as_bytes())
//!     }
//! }
//!
//! impl Dispatcher for Connection {
//!     fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
//!         cx.recv_with(|bytes, cx| {
//!             self.answer.extend(bytes);
//!             if self.answer.ends_with(b"\n") {
//!                 let answer = std::mem::take(&mut self.answer);
//!                 if let Some(asker) = self.asker.take() {
//!                     let _ = cx.call(asker, |asker, cx| asker.answered(cx, &answer));
//!                 }
//!             }
//!             Ok(())
//!         })
//!     }
//! }
//!
//! impl Reusable for Connection {
//!     fn is_reusable(&mut self, _: &mut Context<'_>) -> bool {
//!         // No answer is outstanding.
//!         self.asker.is_none()
//!     }
//! }
//!
//! struct Asker {
//!     pool: Id<Pool<SocketAddr, Connection>>,
//!     lease: Option<Lease<SocketAddr, Connection>>,
//! }
//!
//! impl Asker {
//!     fn begin(&mut self, cx: &mut Context<'_>, server: SocketAddr) -> io::Result<()> {
//!         match Pool::acquire(cx, self.pool, &server, cx.id::<Asker>(), Asker::acquired) {
//!             Acquired::Now(outcome) => self.acquired(cx, outcome),
//!             Acquired::Later(_) => Ok(()),
//!         }
//!     }
//!
//!     fn acquired(
//!         &mut self,
//!         cx: &mut Context<'_>,
//!         outcome: Result<Lease<SocketAddr, Connection>, Refused>,
//!     ) -> io::Result<()> {
//!         let (lease, me) = (outcome?, cx.id::<Asker>());
//!         let asked = lease.with(cx, |connection, cx| connection.ask(cx, me, "hello\n"));
//!         self.lease = Some(lease);
//!         asked.map_err(io::Error::other)?
//!     }
//!
//!     fn answered(&mut self, cx: &mut Context<'_>, answer: &[u8]) -> io::Result<()> {
//!         assert_eq!(answer, b"hello\n");
//!         if let Some(lease) = self.lease.take() {
//!             lease.release(cx);
//!         }
//!         cx.stop();
//!         Ok(())
//!     }
//! }
//!
//! impl Dispatcher for Asker {}
//! # struct Listener;
//! # impl Dispatcher for Listener {
//! #     fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
//! #         cx.add(accepted, Echo).map(drop)
//! #     }
//! # }
//! # struct Echo;
//! # impl Dispatcher for Echo {
//! #     fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
//! #         cx.recv_with(|bytes, cx| cx.send(bytes))
//! #     }
//! # }
//!
//! let mut reactor = Reactor::new()?;
//! # let listener = reactor.listen("127.0.0.1:0", Listener)?;
//! # let server = reactor.local_addr(listener)?;
//! let pool = Pool::new(
//!     &PoolOptions::new(),
//!     |cx: &mut Context<'_>, server: &SocketAddr, seat: Seat<SocketAddr, Connection>| {
//!         cx.connect(*server, seat.hold(Connection::default()))
//!     },
//! )?;
//! let pool = reactor.add_service(pool)?;
//! let asker = reactor.add_service(Asker { pool, lease: None })?;
//! reactor.with(asker, |asker, cx| asker.begin(cx, server)).expect("it is there")?;
//! reactor.run()?;
//! # assert_eq!(Pool::gauges(&mut reactor.at(pool).unwrap(), pool).unwrap().idle, 1);
//! # Ok::<(), io::Error>(())
//! ```
//!
//! # The order of service
//!
//! Requests for one destination are served first in, first out: a new request gets an idle connection only if no
//! request waits. Of the idle connections, the one that was used last is lent first.
//!
//! When the pool is at its limit of [`max_connections`](PoolOptions::max_connections), destinations take turns. A
//! destination without connections comes first. To make room for it, the connection that has been idle longest is
//! closed. If no connection is idle, the next one that is released is closed, provided that the request for the other
//! destination has waited for longer than those for its own.
//!
//! # When a holder is called
//!
//! The pool calls no holder while it runs itself. If [`Pool::acquire`] has no result at once, the holder's closure is
//! called later in the same turn or in the next one: after the callbacks, with the deferred closures of the
//! [turn](crate#one-turn). A lease that is dropped returns with the posted closures of the turn; one that is released
//! returns inside that call. No timer is involved.
//!
//! # Shutting down
//!
//! After [`Pool::shut_down`], and when the reactor [shuts down](crate::Reactor::shutdown), idle connections and
//! attempts are closed at once, waiting requests are refused, and leased connections are closed when they return.
//! Then the pool's own dispatcher ends. If it ends earlier, by `close` or a panic, leases remain valid, and their
//! connections are closed when they return.

mod connection;
mod gauges;
mod lease;
mod lists;
mod options;
mod refused;
mod stock;
mod supply;
mod waiting;

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::io;
use std::time::{Duration, Instant};

use self::gauges::Why;
use self::lists::{Items, List};
use self::stock::{Entry, STANDS, Stand};
use self::supply::Destination;
use self::waiting::{Limit, Waiter};
use crate::kit::random::SplitMix64;
use crate::{Context, Dispatcher, Handle, Id, TimerId, Unreached};

pub use self::connection::{Pooled, Reusable, ReusableHandler, Seat};
pub use self::gauges::{Discarded, PoolGauges, RefusedCounts};
pub use self::lease::Lease;
pub use self::options::PoolOptions;
pub use self::refused::{Reason, Refused};
pub use self::supply::AfterFailure;
pub use self::waiting::{Acquired, Ticket};

/// A type that can name a destination: a `SocketAddr`, the path of a Unix socket, a name and a port. Every type with
/// these traits is a key. Errors and log lines show the destination by its `Debug`.
pub trait Key: Hash + Eq + Clone + fmt::Debug + 'static {}

impl<K: Hash + Eq + Clone + fmt::Debug + 'static> Key for K {}

type Connect<K, D> =
    Box<dyn FnMut(&mut Context<'_>, &K, Seat<K, D>) -> io::Result<Id<Pooled<K, D>>>>;

type Decide<K> = Box<dyn FnMut(&K, &io::Error, u32) -> AfterFailure>;

/// A pool of connections, each a dispatcher of type `D`, to destinations that a `K` names. Add it with
/// [`Reactor::add_service`](crate::Reactor::add_service); see the [module](self).
pub struct Pool<K: Key, D: Reusable> {
    options: PoolOptions,
    connect: Connect<K, D>,
    after_failure: Option<Decide<K>>,
    /// Its own; known from the first call on.
    id: Option<Id<Pool<K, D>>>,
    /// By it leases reserve their return. It does not keep the loop running: the connections do.
    handle: Option<Handle>,
    connections: Items<Entry<K, D>, 2>,
    /// All idle connections, in the order of their return.
    idle: List,
    /// How many there are of each [`Stand`].
    counts: [usize; STANDS],
    destinations: Items<Destination<K>, 3>,
    by_key: HashMap<K, usize>,
    /// Destinations with a waiting request for which no attempt is in progress, and that may have one more
    /// connection.
    wanting: List,
    /// Those of them that have no connection at all.
    starved: List,
    /// Destinations that are kept for their failures alone.
    remembered: List,
    waiters: Items<Waiter<K, D>, 2>,
    /// All waiting requests, in the order in which they came.
    waiting: List,
    /// When those were looked for last whose holders have ended.
    orphans_dropped: Option<Instant>,
    sweep: Option<TimerId>,
    is_shutting_down: bool,
    last_number: u64,
    random: SplitMix64,
    /// What is counted; the rest is filled in when it is asked for.
    gauges: PoolGauges,
}

impl<K: Key, D: Reusable> Pool<K, D> {
    /// A pool whose connections `connect` opens. The closure is called when a connection is needed, with the pool's
    /// context, the destination and a seat. It adds a dispatcher with a connecting socket, which is made by
    /// [`Seat::hold`]:
    ///
    /// - `cx.connect(*address, seat.hold(..))`, `cx.connect_with(..)` with options such as the connect timeout,
    ///   `cx.connect_unix(path, seat.hold(..))`;
    /// - with TLS `cx.add(Socket::dial(*address)?.layered(connector.session(name)?), seat.hold(..))`: the connection
    ///   is ready when the handshake is done;
    /// - `cx.add(Socket::connecting(stream), seat.hold(..))` for a stream whose `connect` was called elsewhere, and
    ///   for one that is connected.
    ///
    /// The timeout of an attempt is the reactor's ([`connect_timeout`](crate::Builder::connect_timeout)). The closure
    /// cannot reach the pool. If it returns an error, the attempt has failed. If it panics, the pool ends.
    ///
    /// # Errors
    ///
    /// `InvalidInput`, with the name of the option, if a limit is out of its range.
    ///
    /// # Example
    ///
    /// ```
    /// use slabloop::kit::pool::{Pool, PoolOptions, Reusable, Seat};
    /// use slabloop::{Context, Dispatcher, Reactor};
    /// use std::net::SocketAddr;
    ///
    /// #[derive(Default)]
    /// struct Connection { outstanding: u32 }
    /// impl Dispatcher for Connection {}
    /// impl Reusable for Connection {
    ///     fn is_reusable(&mut self, _: &mut Context<'_>) -> bool {
    ///         self.outstanding == 0
    ///     }
    /// }
    ///
    /// let mut reactor = Reactor::new()?;
    /// let pool = Pool::new(
    ///     PoolOptions::new().max_per_destination(4),
    ///     |cx: &mut Context<'_>, server: &SocketAddr, seat: Seat<SocketAddr, Connection>| {
    ///         cx.connect(*server, seat.hold(Connection::default()))
    ///     },
    /// )?;
    /// let pool = reactor.add_service(pool)?; // nothing is opened yet
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new(
        options: &PoolOptions,
        connect: impl FnMut(&mut Context<'_>, &K, Seat<K, D>) -> io::Result<Id<Pooled<K, D>>> + 'static,
    ) -> io::Result<Pool<K, D>> {
        options.check()?;
        Ok(Pool {
            options: options.clone(),
            connect: Box::new(connect),
            after_failure: None,
            id: None,
            handle: None,
            connections: Items::new(),
            idle: List::new(1),
            counts: [0; STANDS],
            destinations: Items::new(),
            by_key: HashMap::new(),
            wanting: List::new(0),
            starved: List::new(1),
            remembered: List::new(2),
            waiters: Items::new(),
            waiting: List::new(1),
            orphans_dropped: None,
            sweep: None,
            is_shutting_down: false,
            last_number: 0,
            random: SplitMix64::unpredictable(),
            gauges: PoolGauges::default(),
        })
    }

    /// Sets what follows when an attempt to connect has failed, for example a backoff. `decide` is called with the
    /// destination, the error, and the number of attempts that have failed in a row there, at least 1. If it decides
    /// on a pause, it is not called again for attempts that were in progress at the same time. It cannot reach the
    /// pool; if it panics, the pool ends. The default is [`AfterFailure::Tell`].
    ///
    /// The number of failures is kept for the 1,024 destinations that failed last and have nothing else in the pool.
    ///
    /// ```
    /// use slabloop::kit::pool::{AfterFailure, Pool, Reusable};
    /// use std::net::SocketAddr;
    /// use std::time::Duration;
    ///
    /// /// Refuses at once for 100 ms, 200 ms, 400 ms and so on up to 6.4 s.
    /// fn with_backoff<D: Reusable>(pool: Pool<SocketAddr, D>) -> Pool<SocketAddr, D> {
    ///     pool.after_failure(|_, _, failures| {
    ///         AfterFailure::Pause(Duration::from_millis(50 << failures.min(7)))
    ///     })
    /// }
    /// ```
    #[must_use]
    pub fn after_failure(
        mut self,
        decide: impl FnMut(&K, &io::Error, u32) -> AfterFailure + 'static,
    ) -> Pool<K, D> {
        self.after_failure = Some(Box::new(decide));
        self
    }

    /// Has the random parts of times follow from a seed, for a run that can be repeated.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Pool<K, D> {
        self.random = SplitMix64::new(seed);
        self
    }

    /// Asks for a connection to the destination `key`, for the dispatcher `holder`, which is usually the calling one.
    /// An idle connection is returned at once. Otherwise `deliver` is called later, as a callback of `holder`, with a
    /// connection or with the reason why there is none. What it returns follows [the
    /// table](Dispatcher#what-a-returned-error-does). It is called once, unless the wait is [cancelled](Pool::cancel)
    /// or the holder has ended.
    ///
    /// The wait ends after [`wait_timeout`](PoolOptions::wait_timeout). `cx` may be the context of any dispatcher.
    pub fn acquire<H: Dispatcher>(
        cx: &mut Context<'_>,
        pool: Id<Pool<K, D>>,
        key: &K,
        holder: Id<H>,
        deliver: impl FnOnce(&mut H, &mut Context<'_>, Result<Lease<K, D>, Refused>) -> io::Result<()>
        + 'static,
    ) -> Acquired<K, D> {
        Pool::acquire_by(cx, pool, key, holder, Limit::Usual, deliver)
    }

    /// Like [`acquire`](Pool::acquire), with a limit for this wait: `None` waits without end, zero does not wait.
    /// (With zero only an idle connection is returned, and no connection is opened.)
    ///
    /// ```
    /// use slabloop::kit::pool::{Acquired, Lease, Pool, Reusable};
    /// use slabloop::{Context, Dispatcher, Id};
    /// use std::io;
    /// use std::net::SocketAddr;
    /// use std::time::Duration;
    ///
    /// struct Holder<D: Reusable> { pool: Id<Pool<SocketAddr, D>>, lease: Option<Lease<SocketAddr, D>> }
    /// impl<D: Reusable> Dispatcher for Holder<D> {}
    ///
    /// impl<D: Reusable> Holder<D> {
    ///     fn ask(&mut self, cx: &mut Context<'_>, server: SocketAddr) -> io::Result<()> {
    ///         let (pool, me, limit) = (self.pool, cx.id::<Self>(), Duration::from_secs(1));
    ///         let asked = Pool::acquire_within(cx, pool, &server, me, limit, |holder: &mut Self, _, got| {
    ///             holder.lease = Some(got?);
    ///             Ok(())
    ///         });
    ///         if let Acquired::Now(outcome) = asked {
    ///             self.lease = Some(outcome?);
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// ```
    pub fn acquire_within<H: Dispatcher>(
        cx: &mut Context<'_>,
        pool: Id<Pool<K, D>>,
        key: &K,
        holder: Id<H>,
        limit: impl Into<Option<Duration>>,
        deliver: impl FnOnce(&mut H, &mut Context<'_>, Result<Lease<K, D>, Refused>) -> io::Result<()>
        + 'static,
    ) -> Acquired<K, D> {
        Pool::acquire_by(cx, pool, key, holder, Limit::Own(limit.into()), deliver)
    }

    fn acquire_by<H: Dispatcher>(
        cx: &mut Context<'_>,
        pool: Id<Pool<K, D>>,
        key: &K,
        holder: Id<H>,
        limit: Limit,
        deliver: impl FnOnce(&mut H, &mut Context<'_>, Result<Lease<K, D>, Refused>) -> io::Result<()>
        + 'static,
    ) -> Acquired<K, D> {
        let asked = cx.try_with(pool, |pool, cx| pool.ask(cx, key, holder, limit, deliver));
        asked.unwrap_or_else(|unreached| {
            let reason = match unreached {
                Unreached::Busy => Reason::Busy,
                _ => Reason::Gone,
            };
            Acquired::Now(Err(Refused::new(reason, key)))
        })
    }

    /// Ends a wait: the closure is dropped and is not called. Returns `false` if the outcome was delivered or is
    /// about to be; if it is a lease, the holder receives it and has to release it.
    pub fn cancel(cx: &mut Context<'_>, pool: Id<Pool<K, D>>, ticket: Ticket) -> bool {
        let withdrawn = cx.with(pool, |pool, cx| pool.withdraw(cx, ticket));
        withdrawn.flatten().is_some()
    }

    /// Shuts the pool down: see the [module](self#shutting-down). A second call does nothing.
    pub fn shut_down(cx: &mut Context<'_>, pool: Id<Pool<K, D>>) {
        cx.with(pool, |pool, cx| pool.begin_to_end(cx));
    }

    /// What the pool contains now, and its counters. `None` if the pool is gone, or is itself running.
    #[must_use]
    pub fn gauges(cx: &mut Context<'_>, pool: Id<Pool<K, D>>) -> Option<PoolGauges> {
        cx.with(pool, |pool, cx| {
            let count = |stand: Stand| pool.counts[stand as usize];
            let oldest_wait = pool.oldest_wait(cx.now());
            PoolGauges {
                open: count(Stand::Idle) + count(Stand::Leased) + count(Stand::Returning),
                idle: count(Stand::Idle),
                leased: count(Stand::Leased) + count(Stand::Returning),
                connecting: count(Stand::Connecting),
                closing: count(Stand::Closing),
                waiting: pool.waiting.len(),
                oldest_wait,
                longest_wait: pool.gauges.longest_wait.max(oldest_wait),
                ..pool.gauges
            }
        })
    }

    fn begin_to_end(&mut self, cx: &mut Context<'_>) {
        if self.is_shutting_down {
            return;
        }
        self.is_shutting_down = true;
        self.refuse_all(cx, Reason::ShutDown);
        self.close_unleased(cx);
        if self.connections.is_empty() {
            cx.close();
        }
    }

    fn close_unleased(&mut self, cx: &mut Context<'_>) {
        for place in self.connections.places() {
            let stand = self.connections[place].stand;
            // A returning connection is closed when it is checked, unless it will not be checked any more.
            let is_to_go = matches!(stand, Stand::Connecting | Stand::Idle)
                || stand == Stand::Returning && cx.is_closing();
            if is_to_go {
                self.give_up(cx, place, Why::ShutDown);
            }
        }
    }

    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// A number from 0 to 1.
    fn chance(&mut self) -> f64 {
        let drawn = self.random.up_to(u32::MAX.into());
        u32::try_from(drawn).map_or(1.0, f64::from) / f64::from(u32::MAX)
    }

    fn set_timer(
        &mut self,
        cx: &mut Context<'_>,
        after: Duration,
        tag: Tag,
        place: usize,
    ) -> TimerId {
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        cx.set_tagged_timer(after, place << TAG_BITS | tag as u32)
    }
}

/// What a timer is for. Its tag says that, and the place that it concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tag {
    /// Idle connections.
    Sweep,
    /// The age of a connection.
    Age,
    /// The deadline of one who waits.
    Deadline,
    /// The pause of a destination.
    Pause,
}

const TAG_BITS: u32 = 2;

impl<K: Key, D: Reusable> Dispatcher for Pool<K, D> {
    fn handle_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) -> io::Result<()> {
        let place = (timer.tag() >> TAG_BITS) as usize;
        match timer.tag() & ((1 << TAG_BITS) - 1) {
            tag if tag == Tag::Sweep as u32 => self.sweep(cx),
            tag if tag == Tag::Age as u32 => self.ages(cx, place, timer),
            tag if tag == Tag::Deadline as u32 => self.gives_up_waiting(cx, place, timer),
            _ => self.resume(cx, place, timer),
        }
        Ok(())
    }

    fn handle_shutdown(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.begin_to_end(cx);
        Ok(())
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        self.is_shutting_down = true;
        self.refuse_all(cx, Reason::Gone);
        self.close_unleased(cx);
    }
}

impl<K: Key, D: Reusable> fmt::Debug for Pool<K, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("connections", &self.connections.len())
            .field("idle", &self.idle.len())
            .field("waiting", &self.waiting.len())
            .field("destinations", &self.destinations.len())
            .finish_non_exhaustive()
    }
}
