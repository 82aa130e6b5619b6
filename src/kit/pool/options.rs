//! The limits and times of a pool.

use std::io;
use std::time::Duration;

/// The limits of a [`Pool`](super::Pool). Checked by [`Pool::new`](super::Pool::new).
///
/// ```
/// use slabloop::kit::pool::PoolOptions;
/// use std::time::Duration;
///
/// let mut options = PoolOptions::new();
/// options.max_connections(200).max_per_destination(20).idle_timeout(Duration::from_secs(30));
/// ```
#[derive(Clone, Debug)]
pub struct PoolOptions {
    pub(super) max_connections: usize,
    pub(super) max_per_destination: usize,
    pub(super) max_waiting: usize,
    pub(super) wait_timeout: Option<Duration>,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) max_age: Option<Duration>,
    pub(super) probe: bool,
}

impl Default for PoolOptions {
    fn default() -> PoolOptions {
        PoolOptions {
            max_connections: 100,
            max_per_destination: 10,
            max_waiting: 1024,
            wait_timeout: Some(Duration::from_secs(30)),
            idle_timeout: Some(Duration::from_secs(60)),
            max_age: Some(Duration::from_secs(30 * 60)),
            probe: true,
        }
    }
}

impl PoolOptions {
    /// The defaults, which each method names.
    #[must_use]
    pub fn new() -> PoolOptions {
        PoolOptions::default()
    }

    /// The most connections in total; default 100, at least 1. Connections that are being opened count, and so do
    /// closing ones until their descriptor is closed.
    pub fn max_connections(&mut self, connections: usize) -> &mut Self {
        self.max_connections = connections;
        self
    }

    /// The most connections to one destination; default 10, at least 1.
    pub fn max_per_destination(&mut self, connections: usize) -> &mut Self {
        self.max_per_destination = connections;
        self
    }

    /// The most requests that wait at one time, for all destinations together; default 1,024, from 1 to 2^28. Further
    /// requests are [refused](super::Reason::TooManyWaiting) at once. Each one takes about 200 bytes and its closure.
    pub fn max_waiting(&mut self, waiting: usize) -> &mut Self {
        self.max_waiting = waiting;
        self
    }

    /// How long a request waits for a connection; default 30 s. `None` waits without end. With zero a request does
    /// not wait: if no connection is idle, it is refused, and no connection is opened.
    /// [`Pool::acquire_within`](super::Pool::acquire_within) sets the limit of one request.
    pub fn wait_timeout(&mut self, limit: impl Into<Option<Duration>>) -> &mut Self {
        self.wait_timeout = limit.into();
        self
    }

    /// How long a connection stays idle before it is closed; default 60 s, `None` for no limit. For each connection
    /// up to 10 % are subtracted at random, so that connections do not all end at once. Choose less than the server's
    /// idle timeout: when a server closes a connection while a request is on its way, the request has failed.
    pub fn idle_timeout(&mut self, limit: impl Into<Option<Duration>>) -> &mut Self {
        self.idle_timeout = limit.into();
        self
    }

    /// The maximum age of a connection, counted from when it was ready; default 30 min, `None` for no limit. For each
    /// connection up to 10 % are subtracted at random. A connection that is leased at that time is closed when it
    /// returns. So connections follow when a name gets another address, or a load balancer another server.
    ///
    /// ```
    /// use slabloop::kit::pool::PoolOptions;
    /// use std::time::Duration;
    ///
    /// let mut options = PoolOptions::new();
    /// options
    ///     .idle_timeout(Duration::from_secs(20)) // the server closes after 30 s
    ///     .max_age(None)
    ///     .wait_timeout(Duration::from_secs(2));
    /// ```
    pub fn max_age(&mut self, limit: impl Into<Option<Duration>>) -> &mut Self {
        self.max_age = limit.into();
        self
    }

    /// Whether to check an idle connection by a system call before it is lent, to detect an end of the connection
    /// that no event has reported yet. Default on. Reported events are always checked.
    pub fn probe(&mut self, on: bool) -> &mut Self {
        self.probe = on;
        self
    }

    pub(super) fn check(&self) -> io::Result<()> {
        let limits = [
            ("max_connections", self.max_connections),
            ("max_per_destination", self.max_per_destination),
            ("max_waiting", self.max_waiting),
        ];
        for (name, value) in limits {
            if !(1..=MOST).contains(&value) {
                let text = format!("pool: {name} is {value}, and has to be from 1 to {MOST}");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
        }
        Ok(())
    }
}

/// A place has to go into a timer's tag.
const MOST: usize = 1 << 28;
