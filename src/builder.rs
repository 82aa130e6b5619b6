//! Limits and policies, chosen once and validated when the reactor is built.

use std::io;
use std::time::Duration;

use crate::reactor::Reactor;
use crate::slot::outbox::Marks;
use crate::state::config::{Config, PanicPolicy};
use crate::time::clock::Clock;
use crate::world::errors::invalid;

/// Everything about a reactor that can be chosen, with its default.
///
/// ```
/// use slabloop::Reactor;
/// use std::time::Duration;
///
/// # fn main() -> std::io::Result<()> {
/// let reactor = Reactor::builder()
///     .max_connections(1_000)
///     .hard_cap(4 * 1024 * 1024)
///     .slow_callback(Duration::from_millis(50))
///     .build()?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Builder {
    low_mark: Option<usize>,
    high_mark: Option<usize>,
    hard_cap: usize,
    max_queued: Option<usize>,
    accept_batch: usize,
    accept_retry: Duration,
    max_connections: Option<usize>,
    connect_timeout: Option<Duration>,
    handshake_timeout: Duration,
    idle_timeout: Option<Duration>,
    close_timeout: Duration,
    stall_timeout: Option<Duration>,
    broadcast_patience: Duration,
    slow_callback: Option<Duration>,
    panic_policy: PanicPolicy,
    post_capacity: usize,
    posts_per_turn: usize,
    posts_time: Duration,
    turn_time: Option<Duration>,
    normal_share: u32,
    low_share: u32,
    events_per_wait: usize,
    #[cfg(feature = "observer")]
    observers: crate::watch::observers::Makers,
    #[cfg(feature = "test")]
    clock: Option<crate::world::simulated::clock::Clock>,
}

/// A debug build says of itself what a loop does not like. (The crate's own tests are about the way that callbacks go in
/// a release build, where none is measured.)
const SLOW_CALLBACK: Option<Duration> = if cfg!(all(debug_assertions, not(feature = "testing"))) {
    Some(Duration::from_millis(100))
} else {
    None
};

/// Their list takes twelve bytes each, from the start.
const MOST_EVENTS: usize = 1 << 20;

impl Reactor {
    /// A reactor with the default limits; see [`Builder`].
    ///
    /// # Errors
    ///
    /// What the system reports when it makes a poller: usually that descriptors ran out.
    pub fn new() -> io::Result<Reactor> {
        Builder::default().build()
    }

    /// Chooses limits and policies.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl Default for Builder {
    fn default() -> Builder {
        let marks = Marks::default();
        Builder {
            low_mark: None,
            high_mark: None,
            hard_cap: marks.cap as usize,
            max_queued: None,
            accept_batch: 64,
            accept_retry: Duration::from_millis(100),
            max_connections: None,
            connect_timeout: Some(Duration::from_secs(30)),
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: None,
            close_timeout: Duration::from_secs(10),
            stall_timeout: Some(Duration::from_secs(300)),
            broadcast_patience: Duration::from_millis(250),
            slow_callback: SLOW_CALLBACK,
            panic_policy: PanicPolicy::Contain,
            post_capacity: 65_536,
            posts_per_turn: 1024,
            posts_time: Duration::from_millis(1),
            turn_time: None,
            normal_share: 25,
            low_share: 10,
            events_per_wait: 1024,
            #[cfg(feature = "observer")]
            observers: Default::default(),
            #[cfg(feature = "test")]
            clock: None,
        }
    }
}

impl Builder {
    /// Above this many queued bytes, the sources that feed a connection are not read; default 64 KiB. A single
    /// dispatcher's marks are set with [`Context::set_marks`](crate::Context::set_marks).
    pub fn high_mark(&mut self, bytes: usize) -> &mut Self {
        self.high_mark = Some(bytes);
        self
    }

    /// Below this many queued bytes they are read again, and `handle_write` is called; default 32 KiB.
    /// Half of the high mark keeps a connection from stopping and starting at each byte.
    pub fn low_mark(&mut self, bytes: usize) -> &mut Self {
        self.low_mark = Some(bytes);
        self
    }

    /// Most bytes that may be queued for one connection; default 1 MiB. A `send` that would go over it
    /// is refused whole and closes the connection. Marks that are not set and would be above it are lowered.
    pub fn hard_cap(&mut self, bytes: usize) -> &mut Self {
        self.hard_cap = bytes;
        self
    }

    /// When the outboxes of all connections together hold more memory than this, listeners stop accepting, and the
    /// sources of every connection with anything queued are not read, until it is less than half. Default:
    /// no limit.
    ///
    /// Looked at once a turn: what one turn's callbacks send comes on top. What was pushed and waits
    /// behind a [producer](crate::framing::Framing::push_producer) is not counted, only what has come
    /// into an outbox. It closes no connection; those that take nothing end by the
    /// [stall timeout](Builder::stall_timeout).
    pub fn max_queued(&mut self, bytes: usize) -> &mut Self {
        self.max_queued = Some(bytes);
        self
    }

    /// Most connections that one listener accepts in a turn; default 64. Fewer strand clients in the
    /// kernel's queue for a turn, more let a flood of newcomers delay those already served.
    pub fn accept_batch(&mut self, connections: usize) -> &mut Self {
        self.accept_batch = connections;
        self
    }

    /// How long a listener waits after it ran out of descriptors or memory, unless a socket of this
    /// reactor closes before; default 100 ms.
    pub fn accept_retry(&mut self, after: Duration) -> &mut Self {
        self.accept_retry = after;
        self
    }

    /// Most streams open at once before listeners stop accepting; those waiting are accepted as others
    /// leave. Default: no limit. Streams made by `connect` and `add` count too but are never refused.
    /// Set it below the descriptor limit.
    pub fn max_connections(&mut self, limit: usize) -> &mut Self {
        self.max_connections = Some(limit);
        self
    }

    /// How long a connection attempt may take before it ends in `TimedOut`; default 30 s, `None` leaves
    /// it to the system, which takes minutes.
    pub fn connect_timeout(&mut self, limit: impl Into<Option<Duration>>) -> &mut Self {
        self.connect_timeout = limit.into();
        self
    }

    /// How long a connection may go without a byte in either direction, before it ends in `TimedOut`; default
    /// `None`, for ever. Holds for every stream that is accepted, connected or added from then on;
    /// [`Context::set_idle_timeout`](crate::Context::set_idle_timeout) changes it for one.
    pub fn idle_timeout(&mut self, limit: impl Into<Option<Duration>>) -> &mut Self {
        self.idle_timeout = limit.into();
        self
    }

    /// How long a closing connection may go without its peer taking any output, and then how long it
    /// waits for the peer's end of stream; default 10 s. Every closing connection has an end.
    pub fn close_timeout(&mut self, limit: Duration) -> &mut Self {
        self.close_timeout = limit;
        self
    }

    /// How long output may wait without the peer taking any of it, before the connection ends in
    /// `TimedOut`; default 5 minutes, `None` never.
    pub fn stall_timeout(&mut self, limit: impl Into<Option<Duration>>) -> &mut Self {
        self.stall_timeout = limit.into();
        self
    }

    /// How long the handshake of a [layer](crate::Layer) may take, from the established connection on; default
    /// 10 s. Then the connection ends.
    pub fn handshake_timeout(&mut self, limit: Duration) -> &mut Self {
        self.handshake_timeout = limit;
        self
    }

    /// How long a receiver of a [broadcast](crate::Context::broadcast) that takes nothing at all may hold
    /// up the sender; default 250 ms. After that it holds up no sender until it takes something,
    /// and what is queued for it grows towards the hard cap.
    pub fn broadcast_patience(&mut self, limit: Duration) -> &mut Self {
        self.broadcast_patience = limit;
        self
    }

    /// Warns, once a second at most, of a callback that took longer than this: dispatcher, callback, duration, how
    /// long its event had waited before, and how many other dispatchers were waiting.
    ///
    /// Default: 100 ms in a debug build, `None` in a release build. While it is `None`, and nothing observes the
    /// reactor, no clock is read per callback.
    pub fn slow_callback(&mut self, threshold: impl Into<Option<Duration>>) -> &mut Self {
        self.slow_callback = threshold.into();
        self
    }

    /// Has each reactor that is built [observed](crate::observe) from the start, by what `make` makes for it. Called
    /// several times it adds one observer more each time.
    ///
    /// ```
    /// use slabloop::Reactor;
    /// use slabloop::observe::Ring;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let reactor = Reactor::builder().observer(|| Ring::new(10_000)).build()?;
    /// assert!(reactor.observer::<Ring>().is_some());
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "observer")]
    pub fn observer<O: crate::observe::Observer>(
        &mut self,
        make: impl Fn() -> O + Send + Sync + 'static,
    ) -> &mut Self {
        self.observers.add(make);
        self
    }

    /// Whether a panic in a callback is contained; default [`PanicPolicy::Contain`].
    pub fn panic_policy(&mut self, policy: PanicPolicy) -> &mut Self {
        self.panic_policy = policy;
        self
    }

    /// Most posted closures that may wait to be run; default 65,536. A post beyond is refused. Each
    /// [`Permit`](crate::Permit) counts as one that waits.
    pub fn post_capacity(&mut self, closures: usize) -> &mut Self {
        self.post_capacity = closures;
        self
    }

    /// Most posted closures that one turn runs; default 1,024, so that posting cannot starve sockets.
    pub fn posts_per_turn(&mut self, closures: usize) -> &mut Self {
        self.posts_per_turn = closures;
        self
    }

    /// Longest time that one turn spends on posted closures; default 1 ms. The rest is run in the next turn,
    /// after timers and sockets had theirs. At least 32 are run, and one that takes long is not
    /// interrupted.
    pub fn posts_time(&mut self, limit: Duration) -> &mut Self {
        self.posts_time = limit;
        self
    }

    /// Longest time that one turn spends in callbacks before what was sent is written and the kernel is asked
    /// again; default `None`: all that are ready are served in each turn. What is left is served in the next turn,
    /// before those of its class that become ready later.
    ///
    /// It is for programs whose callbacks take long: there a turn over many connections does, too, and whoever
    /// becomes ready meanwhile waits for its end. With a [priority](crate::Context::set_priority) it waits no longer
    /// than this. A turn has a cost of its own, of some microseconds, so a limit of less than 100 µs slows down
    /// all. While there is one, the clock is read after each callback.
    ///
    /// The ready have all of it, class by class. Timers that are due, and then posted closures, get what is left
    /// of it, and a quarter each in any case (posts no more than [`posts_time`](Builder::posts_time)). A callback
    /// that takes long is not interrupted: each class, the timers and the posts may go over their time by one, and
    /// even with `Duration::ZERO` one of each is served in a turn. Flushing and closing are not limited.
    ///
    /// ```
    /// use slabloop::Reactor;
    /// use std::time::Duration;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let reactor = Reactor::builder().turn_time(Duration::from_millis(1)).build()?;
    /// # Ok(()) }
    /// ```
    pub fn turn_time(&mut self, limit: impl Into<Option<Duration>>) -> &mut Self {
        self.turn_time = limit.into();
        self
    }

    /// What part of the [turn's time](Builder::turn_time), in per cent, is kept for dispatchers of
    /// [`Priority::Normal`](crate::Priority::Normal) that are ready, however much the high class has to do; default
    /// 25. What a class does not need, those after it get.
    pub fn normal_share(&mut self, per_cent: u32) -> &mut Self {
        self.normal_share = per_cent;
        self
    }

    /// As [`normal_share`](Builder::normal_share), for [`Priority::Low`](crate::Priority::Low); default 10.
    pub fn low_share(&mut self, per_cent: u32) -> &mut Self {
        self.low_share = per_cent;
        self
    }

    /// Most events that one wait takes from the kernel; default 1,024, at most
    /// 1,048,576. More are taken in the next turn.
    pub fn events_per_wait(&mut self, events: usize) -> &mut Self {
        self.events_per_wait = events;
        self
    }

    /// Runs the reactor on a clock that a test moves, in place of the system's: timers, timeouts and
    /// [`Context::now`](crate::Context::now) go by it. [`Clock`](crate::test::Clock) has an example.
    #[cfg(feature = "test")]
    #[cfg_attr(docsrs, doc(cfg(feature = "test")))]
    pub fn clock(&mut self, clock: crate::world::simulated::clock::Clock) -> &mut Self {
        self.clock = Some(clock);
        self
    }

    /// The marks that were chosen; those that were not follow from the others.
    fn marks(&self) -> io::Result<Marks> {
        let usual = Marks::default();
        let high = match (self.high_mark, self.low_mark) {
            (Some(high), _) => high,
            (None, Some(low)) => (usual.high as usize).max(low).min(self.hard_cap),
            (None, None) => (usual.high as usize).min(self.hard_cap),
        };
        let low = self
            .low_mark
            .unwrap_or((usual.low as usize).min(high.div_ceil(2)));
        Marks::new(low, high, self.hard_cap)
    }

    /// Builds the reactor.
    ///
    /// # Errors
    ///
    /// `InvalidInput`, naming the setting, if one is out of range: marks must satisfy
    /// 0 < low <= high <= cap <= 4 GiB, every count and the total must be at least 1, the accept retry at least a
    /// millisecond, and both shares together at most 100. Otherwise what the system says when it makes a poller.
    pub fn build(&self) -> io::Result<Reactor> {
        for (name, value) in [
            ("accept_batch", self.accept_batch),
            ("max_queued", self.max_queued.unwrap_or(1)),
            ("max_connections", self.max_connections.unwrap_or(1)),
            ("post_capacity", self.post_capacity),
            ("posts_per_turn", self.posts_per_turn),
            ("events_per_wait", self.events_per_wait),
        ] {
            if value == 0 {
                return Err(invalid(format!("{name} is 0; it must be at least 1")));
            }
        }
        if self.events_per_wait > MOST_EVENTS {
            return Err(invalid(format!(
                "events_per_wait of {} is over {MOST_EVENTS}",
                self.events_per_wait
            )));
        }
        if self.accept_retry < Duration::from_millis(1) {
            return Err(invalid(format!(
                "accept_retry of {:?} would spin",
                self.accept_retry
            )));
        }
        if self.normal_share.saturating_add(self.low_share) > 100 {
            return Err(invalid(format!(
                "normal_share of {} and low_share of {} are together over 100 per cent",
                self.normal_share, self.low_share
            )));
        }
        let config = Config {
            marks: self.marks()?,
            max_queued: self.max_queued.unwrap_or(usize::MAX),
            accept_batch: self.accept_batch,
            accept_retry: self.accept_retry,
            max_connections: self.max_connections.unwrap_or(usize::MAX),
            connect_timeout: self.connect_timeout,
            handshake_timeout: self.handshake_timeout,
            idle_timeout: self.idle_timeout,
            close_timeout: self.close_timeout,
            stall_timeout: self.stall_timeout,
            broadcast_patience: self.broadcast_patience,
            slow_callback: self.slow_callback,
            panic_policy: self.panic_policy,
            posts_per_turn: self.posts_per_turn,
            posts_time: self.posts_time,
            turn_time: self.turn_time,
            shares: [0, self.normal_share, self.low_share],
        };
        #[cfg(not(feature = "test"))]
        let clock = Clock::monotonic();
        #[cfg(feature = "test")]
        let clock = self
            .clock
            .clone()
            .map_or_else(Clock::monotonic, Clock::Simulated);
        let reactor = Reactor::assemble(config, clock, self.events_per_wait, self.post_capacity)?;
        #[cfg(feature = "observer")]
        let reactor = reactor.observed_by(&self.observers);
        Ok(reactor)
    }
}
