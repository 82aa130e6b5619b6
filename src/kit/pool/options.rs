//! What a pool may hold, and for how long.

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
    /// The defaults, which stand at each method.
    #[must_use]
    pub fn new() -> PoolOptions {
        PoolOptions::default()
    }

    /// Most connections in all; default 100, at least 1. Those that are being made and those that are closing count,
    /// until their descriptor is closed.
    pub fn max_connections(&mut self, connections: usize) -> &mut Self {
        self.max_connections = connections;
        self
    }

    /// Most connections to one destination; default 10, at least 1.
    pub fn max_per_destination(&mut self, connections: usize) -> &mut Self {
        self.max_per_destination = connections;
        self
    }

    /// Most that wait at one time, for all destinations together; default 1,024, from 1 to 2^28. Whoever comes when so
    /// many wait is [refused](super::Reason::TooManyWaiting) at once. Each costs some 200 bytes and its closure.
    pub fn max_waiting(&mut self, waiting: usize) -> &mut Self {
        self.max_waiting = waiting;
        self
    }

    /// How long one waits for a connection; default 30 s. `None` waits without end; zero does not wait at all: who
    /// finds no idle connection is refused, and none is made for it.
    /// [`Pool::acquire_within`](super::Pool::acquire_within) says it for one time.
    pub fn wait_timeout(&mut self, limit: impl Into<Option<Duration>>) -> &mut Self {
        self.wait_timeout = limit.into();
        self
    }

    /// How long a connection stays idle before it is closed; default 60 s, `None` for ever. Each connection has up to
    /// 10 % less, by chance, so that they do not end all at once. Choose it shorter than the server's: a
    /// connection that the server ends while a request is on its way is a failed request.
    pub fn idle_timeout(&mut self, limit: impl Into<Option<Duration>>) -> &mut Self {
        self.idle_timeout = limit.into();
        self
    }

    /// How old a connection gets, counted from when it was ready; default 30 min, `None` without limit. Each
    /// connection has up to 10 % less, by chance. One that is leased when its time comes is closed when it comes
    /// back. So the connections follow when a name gets another address or a balancer another server.
    pub fn max_age(&mut self, limit: impl Into<Option<Duration>>) -> &mut Self {
        self.max_age = limit.into();
        self
    }

    /// Whether the kernel is asked before an idle connection is handed out: one system call, by which an end is noticed
    /// that no event has told of yet. Default on. What events have told is always looked at.
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
