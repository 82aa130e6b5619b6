//! The configuration of the resolver that calls the C library.

use std::time::Duration;

use super::super::config::Family;

/// The configuration of a [`SystemResolver`](super::SystemResolver).
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
    /// The defaults, which each method names.
    #[must_use]
    pub fn new() -> SystemConfig {
        SystemConfig::default()
    }

    /// The number of threads, 1 to 4,096, and so of names that are looked up at a time; others wait. Default: 4.
    pub fn threads(&mut self, threads: usize) -> &mut Self {
        self.threads = threads;
        self
    }

    /// How long an answer is cached, and how long a negative answer. Default: 30 s and 5 s; zero turns caching off.
    /// (The C library does not report how long its answers are valid.)
    pub fn ttl(&mut self, positive: Duration, negative: Duration) -> &mut Self {
        (self.ttl, self.negative_ttl) = (positive, negative);
        self
    }

    /// The most names in the cache. Default: 1,024; 0 turns the cache off.
    pub fn cache_entries(&mut self, names: usize) -> &mut Self {
        self.cache_entries = names;
        self
    }

    /// Which address families are returned. Default: both.
    pub fn family(&mut self, family: Family) -> &mut Self {
        self.family = family;
        self
    }

    /// The deadline of a lookup, if the call has none of its own. Default: 30 s; `Duration::MAX` means no limit. The
    /// thread continues after it, because a call of the C library cannot be interrupted: its result is stored in the
    /// cache.
    pub fn deadline(&mut self, limit: Duration) -> &mut Self {
        self.deadline = limit;
        self
    }

    /// The most lookups that wait at a time; further ones are refused. Default: 1,024; at least 1.
    pub fn max_lookups(&mut self, lookups: usize) -> &mut Self {
        self.max_lookups = lookups.max(1);
        self
    }
}
