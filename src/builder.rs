//! Limits and policies, chosen once and validated when the reactor is built.

use std::io;
use std::time::Duration;

use crate::reactor::Reactor;
use crate::slot::outbox::Marks;
use crate::state::config::{Config, PanicPolicy};
use crate::time::clock::Clock;
use crate::world::errors::invalid;

/// The settings of a reactor, each with its default.
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

/// A debug build says of itself what a loop does not like. (The crate's own tests are about the way that callbacks go
/// in a release build, where none is measured.)
const SLOW_CALLBACK: Option<Duration> = if cfg!(all(debug_assertions, not(feature = "testing"))) {
    Some(Duration::from_millis(100))
} else {
    None
};

/// Their list takes twelve bytes each, from the start.
const MOST_EVENTS: usize = 1 << 20;

/// # Creating a reactor
impl Reactor {
    /// Creates a reactor with the default limits; see [`Builder`] for others.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let mut reactor = slabloop::Reactor::new()?;
    /// reactor.run()?; // Returns at once: there is nothing to wait for.
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The system's error if it cannot create a poller, usually because no descriptor is left.
    pub fn new() -> io::Result<Reactor> {
        Builder::default().build()
    }

    /// A builder, to set limits and policies.
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
    /// The high mark: while more bytes than this are queued on a connection, the sources that feed it are not read
    /// (backpressure). Default: 64 KiB. [`Context::set_marks`](crate::Context::set_marks) sets it for one dispatcher.
    ///
    /// ```
    /// # use slabloop::Reactor;
    /// # fn main() -> std::io::Result<()> {
    /// // Few connections with large messages.
    /// let reactor = Reactor::builder()
    ///     .low_mark(512 * 1024)
    ///     .high_mark(1024 * 1024)
    ///     .hard_cap(16 * 1024 * 1024)
    ///     .build()?;
    /// # Ok(()) }
    /// ```
    pub fn high_mark(&mut self, bytes: usize) -> &mut Self {
        self.high_mark = Some(bytes);
        self
    }

    /// The low mark: when fewer bytes than this are queued, the sources are read again, and `handle_write` is called.
    /// Default: 32 KiB. A distance between the two marks keeps a connection from being paused and resumed for each
    /// byte.
    pub fn low_mark(&mut self, bytes: usize) -> &mut Self {
        self.low_mark = Some(bytes);
        self
    }

    /// The largest number of bytes that may be queued for one connection. Default: 1 MiB. A `send` that would go over
    /// it is refused as a whole and ends the connection. Marks that are not set and would be above the cap are lowered.
    pub fn hard_cap(&mut self, bytes: usize) -> &mut Self {
        self.hard_cap = bytes;
        self
    }

    /// A limit, in bytes, on the memory that the outboxes of all connections together hold. While it is exceeded,
    /// listeners stop accepting, and the sources of every connection with queued output are not read, until less than
    /// half of it is held. Default: no limit.
    ///
    /// It is checked once a turn, so one turn's callbacks can exceed it. Bytes that were pushed after
    /// a [producer](crate::framing::Framing::push_producer) are counted only when they reach the outbox. It closes no
    /// connection; connections whose peers take nothing are ended by the [stall timeout](Builder::stall_timeout).
    pub fn max_queued(&mut self, bytes: usize) -> &mut Self {
        self.max_queued = Some(bytes);
        self
    }

    /// The largest number of connections that one listener accepts in a turn. Default: 64. With a smaller number
    /// clients wait longer in the kernel's queue; with a larger one a burst of new connections delays existing ones.
    pub fn accept_batch(&mut self, connections: usize) -> &mut Self {
        self.accept_batch = connections;
        self
    }

    /// How long a listener waits after it ran out of descriptors or memory, unless a socket of this
    /// reactor closes before. Default: 100 ms.
    pub fn accept_retry(&mut self, after: Duration) -> &mut Self {
        self.accept_retry = after;
        self
    }

    /// The largest number of open streams. Listeners stop accepting when it is reached, and accept waiting clients as
    /// connections end. Default: no limit. Streams added by `connect` and `add` count too but are never refused.
    /// Set it below the limit on descriptors.
    pub fn max_connections(&mut self, limit: usize) -> &mut Self {
        self.max_connections = Some(limit);
        self
    }

    /// How long a connection attempt may take before it ends in `TimedOut`. Default: 30 s. `None` leaves
    /// it to the system, whose timeout is minutes.
    ///
    /// ```
    /// # use slabloop::Reactor;
    /// # use std::time::Duration;
    /// # fn main() -> std::io::Result<()> {
    /// let reactor = Reactor::builder()
    ///     .connect_timeout(Duration::from_secs(5))
    ///     .idle_timeout(Duration::from_secs(60))
    ///     .build()?;
    /// # Ok(()) }
    /// ```
    pub fn connect_timeout(&mut self, limit: impl Into<Option<Duration>>) -> &mut Self {
        self.connect_timeout = limit.into();
        self
    }

    /// How long a connection may be without a byte in either direction before it ends in `TimedOut`. Default: `None`,
    /// no limit. It applies to every stream that is accepted, connected or added;
    /// [`Context::set_idle_timeout`](crate::Context::set_idle_timeout) changes it for one.
    pub fn idle_timeout(&mut self, limit: impl Into<Option<Duration>>) -> &mut Self {
        self.idle_timeout = limit.into();
        self
    }

    /// How long a closing connection may be without its peer taking any output, and then how long it
    /// waits for the peer's end of stream. Default: 10 s. It cannot be turned off: every closing connection has to end.
    pub fn close_timeout(&mut self, limit: Duration) -> &mut Self {
        self.close_timeout = limit;
        self
    }

    /// How long output may wait without the peer taking any of it before the connection ends in
    /// `TimedOut`. Default: 5 minutes. `None` means no limit.
    pub fn stall_timeout(&mut self, limit: impl Into<Option<Duration>>) -> &mut Self {
        self.stall_timeout = limit.into();
        self
    }

    /// How long the handshake of a [layer](crate::Layer) may take, counted from when the connection is established,
    /// before the connection ends. Default: 10 s.
    pub fn handshake_timeout(&mut self, limit: Duration) -> &mut Self {
        self.handshake_timeout = limit;
        self
    }

    /// How long a receiver of a [broadcast](crate::Context::broadcast) that takes nothing at all may delay
    /// the sender. Default: 250 ms. After that it does not delay any sender until it takes something,
    /// and its queue grows towards the hard cap.
    pub fn broadcast_patience(&mut self, limit: Duration) -> &mut Self {
        self.broadcast_patience = limit;
        self
    }

    /// Logs a warning, at most once a second, of a callback that took longer than this, with the dispatcher, the
    /// callback, its duration, how long its event had waited before, and how many other dispatchers were waiting.
    ///
    /// Default: 100 ms in a debug build, `None` in a release build. While it is `None` and the reactor has no observer,
    /// the clock is not read for each callback.
    pub fn slow_callback(&mut self, threshold: impl Into<Option<Duration>>) -> &mut Self {
        self.slow_callback = threshold.into();
        self
    }

    /// Adds an [observer](crate::observe) to each reactor that is built: `make` creates it. Each call of this method
    /// adds one more.
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

    /// What happens after a panic in a callback. Default: [`PanicPolicy::Contain`].
    pub fn panic_policy(&mut self, policy: PanicPolicy) -> &mut Self {
        self.panic_policy = policy;
        self
    }

    /// The largest number of posted closures that may wait to be run. Default: 65,536. Further posts are refused. Each
    /// [`Permit`](crate::Permit) counts as a waiting closure.
    pub fn post_capacity(&mut self, closures: usize) -> &mut Self {
        self.post_capacity = closures;
        self
    }

    /// The largest number of posted closures that one turn runs, so that posting cannot starve sockets. Default: 1,024.
    pub fn posts_per_turn(&mut self, closures: usize) -> &mut Self {
        self.posts_per_turn = closures;
        self
    }

    /// The longest time that one turn spends on posted closures. Default: 1 ms. The others run in the next turn,
    /// after sockets and timers. At least 32 closures run in each turn, and one that takes long is not
    /// interrupted.
    pub fn posts_time(&mut self, limit: Duration) -> &mut Self {
        self.posts_time = limit;
        self
    }

    /// The longest time that one turn spends in callbacks before output is written and the kernel is asked for new
    /// events. Default: `None`, all ready dispatchers are served in each turn. Dispatchers that are left are served in
    /// the next turn, before those of their class that become ready later.
    ///
    /// It is for programs whose callbacks take long: a turn over many connections takes long, too, and a dispatcher
    /// that becomes ready meanwhile waits for its end. With a [priority](crate::Context::set_priority) it waits no
    /// longer than this limit. A turn itself costs some microseconds, so a limit of less than 100 µs slows everything
    /// down. With a limit, the clock is read after each callback.
    ///
    /// Ready dispatchers may use all of the time, class by class. Expired timers and then posted closures get what is
    /// left of it, and at least a quarter each (posts no more than [`posts_time`](Builder::posts_time)). A callback
    /// that takes long is not interrupted: each class, the timers and the posts may exceed their time by one callback,
    /// and even with `Duration::ZERO` one of each is served in a turn. Flushing and closing are not limited.
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

    /// The part of the [turn's time](Builder::turn_time), in per cent, that is reserved for ready dispatchers of
    /// [`Priority::Normal`](crate::Priority::Normal), however much the high class has to do. Default: 25. Time that a
    /// class does not need goes to the classes after it.
    pub fn normal_share(&mut self, per_cent: u32) -> &mut Self {
        self.normal_share = per_cent;
        self
    }

    /// The part that is reserved for [`Priority::Low`](crate::Priority::Low), in per cent; see
    /// [`normal_share`](Builder::normal_share). Default: 10.
    pub fn low_share(&mut self, per_cent: u32) -> &mut Self {
        self.low_share = per_cent;
        self
    }

    /// The largest number of events that one wait takes from the kernel. Default: 1,024; at most
    /// 1,048,576. Further events are taken in the next turn.
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

    /// Builds the reactor. A builder can build several.
    ///
    /// # Errors
    ///
    /// `InvalidInput`, naming the setting, if one is out of range: marks must satisfy
    /// 0 < low <= high <= cap <= 4 GiB, every count and the total must be at least 1, the accept retry at least a
    /// millisecond, and both shares together at most 100. The system's error if it cannot create a poller.
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
                "events_per_wait is {}; it must be at most {MOST_EVENTS}",
                self.events_per_wait
            )));
        }
        if self.accept_retry < Duration::from_millis(1) {
            return Err(invalid(format!(
                "accept_retry of {:?} is too short; it must be at least 1 ms",
                self.accept_retry
            )));
        }
        if self.normal_share.saturating_add(self.low_share) > 100 {
            return Err(invalid(format!(
                "normal_share of {} and low_share of {} exceed 100 per cent together",
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
