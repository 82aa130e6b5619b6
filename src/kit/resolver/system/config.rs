//! What the resolver that asks the C library is told.

use std::time::Duration;

use super::super::config::Family;

/// What a [`SystemResolver`](super::SystemResolver) is told.
///
/// ```
/// use slabloop::kit::resolver::SystemConfig;
/// use std::time::Duration;
///
/// let mut config = SystemConfig::new();
/// config.threads(8).ttl(Duration::from_secs(10), Duration::ZERO);
/// ```
#[derive(Clone, Debug)]
pub struct SystemConfig {
    pub(super) threads: usize,
    pub(super) ttl: Duration,
    pub(super) negative_ttl: Duration,
    pub(super) cache_entries: usize,
    pub(super) family: Family,
    pub(super) deadline: Duration,
    pub(super) max_lookups: usize,
}

impl Default for SystemConfig {
    fn default() -> SystemConfig {
        SystemConfig {
            threads: 4,
            ttl: Duration::from_secs(30),
            negative_ttl: Duration::from_secs(5),
            cache_entries: 1024,
            family: Family::Any,
            deadline: Duration::from_secs(30),
            max_lookups: 1024,
        }
    }
}

impl SystemConfig {
    /// The defaults that each method names.
    #[must_use]
    pub fn new() -> SystemConfig {
        SystemConfig::default()
    }

    /// How many threads, 1 to 4,096; 4 at first. So many names are looked up at a time; others wait.
    pub fn threads(&mut self, threads: usize) -> &mut Self {
        self.threads = threads;
        self
    }

    /// How long an answer is kept, and how long it is that a name has none. 30 s and 5 s at first; zero keeps nothing.
    /// (The C library does not tell how long its answers hold.)
    pub fn ttl(&mut self, positive: Duration, negative: Duration) -> &mut Self {
        (self.ttl, self.negative_ttl) = (positive, negative);
        self
    }

    /// Most names in the cache; 1,024 at first. 0 turns it off.
    pub fn cache_entries(&mut self, names: usize) -> &mut Self {
        self.cache_entries = names;
        self
    }

    /// Which addresses are given out. Both families at first.
    pub fn family(&mut self, family: Family) -> &mut Self {
        self.family = family;
        self
    }

    /// How long a lookup may take, if the call does not say. 30 s at first; `Duration::MAX` is no limit. The thread
    /// goes on after it, for nothing can stop the C library: what it finds goes to the cache.
    pub fn deadline(&mut self, limit: Duration) -> &mut Self {
        self.deadline = limit;
        self
    }

    /// Most lookups that wait at a time; more are refused. 1,024 at first; at least 1.
    pub fn max_lookups(&mut self, lookups: usize) -> &mut Self {
        self.max_lookups = lookups.max(1);
        self
    }
}
