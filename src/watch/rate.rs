//! A rate and a burst: what a rate limit allows.

use std::io;
use std::time::Duration;

use crate::world::errors::invalid;

/// A rate limit in bytes a second, with a burst: a token bucket. See
/// [`Context::set_read_rate`](crate::Context::set_read_rate).
///
/// ```
/// use slabloop::Rate;
///
/// // Two megabytes a second; after an idle time up to 64 KiB at once.
/// let rate = Rate::per_second(2_000_000).burst(64 * 1024);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    per_second: u64,
    burst: Option<usize>,
}

/// A bucket has to hold what comes in between two looks at it, or a late look would lose some.
const DEFAULT_BURST: Duration = Duration::from_millis(50);

/// A smaller default would make a system call of each handful of bytes.
const SMALLEST_DEFAULT_BURST: usize = 4096;

impl Rate {
    /// A limit of `bytes` a second, at least 1. The default burst is the amount of 50 ms, but at least 4 KiB.
    #[must_use]
    pub fn per_second(bytes: u64) -> Rate {
        Rate {
            per_second: bytes,
            burst: None,
        }
    }

    /// Sets how many bytes may move at once after an idle time, at least 1. If the burst is smaller than the amount of
    /// the longest turn of the loop, the average rate is lower than the limit.
    #[must_use]
    pub fn burst(mut self, bytes: usize) -> Rate {
        self.burst = Some(bytes);
        self
    }

    pub(crate) fn bytes_per_second(self) -> u64 {
        self.per_second
    }

    pub(crate) fn burst_bytes(self) -> u64 {
        let default = || {
            let bytes = u128::from(self.per_second) * DEFAULT_BURST.as_millis() / 1000;
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            bytes.max(SMALLEST_DEFAULT_BURST)
        };
        self.burst.unwrap_or_else(default) as u64
    }

    pub(crate) fn check(self) -> io::Result<Rate> {
        if self.per_second == 0 || self.burst == Some(0) {
            return Err(invalid(format!(
                "a rate of {} bytes a second with a burst of {:?}: both must be at least 1 (to stop, pause reading)",
                self.per_second, self.burst
            )));
        }
        Ok(self)
    }
}
