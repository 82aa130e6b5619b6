//! Random pauses.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::ops::RangeInclusive;
use std::time::Duration;

/// Xorshift (Marsaglia 2003): enough to keep ten thousand connections from asking all at once.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Seeded by what the standard library has from the system.
    pub(crate) fn new() -> Random {
        Random(RandomState::new().build_hasher().finish() | 1)
    }

    /// Evenly from `range`.
    pub(crate) fn within(&mut self, range: &RangeInclusive<Duration>) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let span = range.end().saturating_sub(*range.start());
        let wide = u128::from(self.0) * (span.as_nanos() + 1);
        let nanos = u64::try_from(wide >> 64).unwrap_or(u64::MAX);
        *range.start() + Duration::from_nanos(nanos)
    }
}
