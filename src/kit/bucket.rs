//! Token buckets for things that are counted: requests, connections, retries.
//!
//! To limit the bytes of a connection, use [`Context::set_read_rate`](crate::Context::set_read_rate) and
//! [`rate_group`](crate::Context::rate_group) instead.
//!
//! # How a bucket is stored
//!
//! A bucket stores one number: the time at which it will be full (the *generic cell rate algorithm*, GCRA, of ATM
//! networks). Taking a token moves that time forward by the time that one token needs to come back. A bucket whose
//! time has passed is full and equals a new one, so it need not be stored. Times are counted in units of which a
//! token takes a whole number, so nothing is rounded and no rate drifts.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

/// A rate and a burst: how many in the long run, and how many at once.
///
/// ```
/// use slabloop::kit::bucket::Quota;
/// use std::time::Duration;
///
/// // Ten a second, after a quiet time ten at once.
/// let requests = Quota::per_second(10);
/// // Three a minute, one at a time.
/// let logins = Quota::per(3, Duration::from_secs(60)).burst(1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    count: u32,
    period: Duration,
    burst: u32,
}

impl Quota {
    /// `count` per second; at least 1. The burst is the same number.
    #[must_use]
    pub const fn per_second(count: u32) -> Quota {
        Quota::per(count, Duration::from_secs(1))
    }

    /// `count` in each `period`; at least 1, and at least a nanosecond. The burst is the same number.
    #[must_use]
    pub const fn per(count: u32, period: Duration) -> Quota {
        Quota {
            count,
            period,
            burst: count,
        }
    }

    /// How many at once after a quiet time; at least 1.
    #[must_use]
    pub const fn burst(mut self, count: u32) -> Quota {
        self.burst = count;
        self
    }
}

/// A token bucket: a number of requests at once, and a number per second in the long run.
///
/// In any span of time it gives exactly the burst and what the rate adds in that span, and no more. The time is a
/// parameter of each call, usually [`Context::now`](crate::Context::now). A time that is earlier than the latest one
/// counts as the latest one; after 584 years the bucket's clock stops. A bucket takes 64 bytes.
///
/// ```
/// use slabloop::kit::bucket::{Quota, TokenBucket};
/// use slabloop::{Context, Dispatcher};
/// use std::io;
///
/// struct Client { requests: TokenBucket }
///
/// impl Client {
///     fn request(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
///         match self.requests.take(cx.now(), 1) {
///             Ok(()) => cx.send(b"here you are\n"),
///             Err(refused) => cx.send(format!("busy: {refused}\n").as_bytes()),
///         }
///     }
/// }
/// # impl Dispatcher for Client {}
/// # fn main() -> io::Result<()> {
/// let client = Client { requests: TokenBucket::new(Quota::per_second(10).burst(20))? };
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct TokenBucket {
    scale: Scale,
    full_at: Mark,
}

impl TokenBucket {
    /// A full bucket.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the count, the period or the burst is 0, or if the period is longer than a century.
    ///
    /// # Example
    ///
    /// ```
    /// use slabloop::kit::bucket::{Quota, TokenBucket};
    ///
    /// assert!(TokenBucket::new(Quota::per_second(10)).is_ok());
    /// let error = TokenBucket::new(Quota::per_second(0)).unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    /// ```
    pub fn new(quota: Quota) -> io::Result<TokenBucket> {
        Ok(TokenBucket {
            scale: Scale::new(quota)?,
            full_at: Mark::default(),
        })
    }

    /// Takes `count` tokens. If fewer are left, it takes none.
    ///
    /// # Errors
    ///
    /// [`Exhausted`], which contains the time until there are enough tokens: `Duration::MAX` if `count` is more than
    /// the burst.
    ///
    /// # Example
    ///
    /// ```
    /// use slabloop::kit::bucket::{Quota, TokenBucket};
    /// use std::time::{Duration, Instant};
    ///
    /// let mut bucket = TokenBucket::new(Quota::per_second(10).burst(2))?;
    /// let now = Instant::now();
    /// bucket.take(now, 2)?;
    /// let refused = bucket.take(now, 1).unwrap_err();
    /// assert_eq!(refused.retry_after, Duration::from_millis(100));
    /// // A tenth of a second later one token has come back.
    /// bucket.take(now + refused.retry_after, 1)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn take(&mut self, now: Instant, count: u32) -> Result<(), Exhausted> {
        let now = self.scale.mark(now);
        self.full_at = self.scale.take(self.full_at, now, count)?;
        Ok(())
    }

    /// How many tokens are left.
    #[must_use]
    pub fn available(&mut self, now: Instant) -> u32 {
        let now = self.scale.mark(now);
        self.scale.available(self.full_at, now)
    }

    /// Returns tokens that were taken but not used. The bucket never holds more than its burst.
    ///
    /// ```
    /// use slabloop::kit::bucket::{Quota, TokenBucket};
    /// use std::time::Instant;
    ///
    /// let mut bucket = TokenBucket::new(Quota::per_second(5))?;
    /// let now = Instant::now();
    /// bucket.take(now, 3)?;
    /// // The request turned out to be invalid: it costs nothing.
    /// bucket.give_back(3);
    /// assert_eq!(bucket.available(now), 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn give_back(&mut self, count: u32) {
        let back = self.scale.units(count);
        self.full_at = Mark(self.full_at.0.saturating_sub(back));
    }
}

/// The bucket has too few tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// The time until there are enough, if no other call takes any before. `Duration::MAX` means never.
    pub retry_after: Duration,
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.retry_after == Duration::MAX {
            f.write_str("more than the rate limit ever allows at once")
        } else {
            write!(f, "rate limit; try again in {:?}", self.retry_after)
        }
    }
}

impl Error for Exhausted {}

/// Of kind `QuotaExceeded`.
impl From<Exhausted> for io::Error {
    fn from(exhausted: Exhausted) -> io::Error {
        io::Error::new(io::ErrorKind::QuotaExceeded, exhausted)
    }
}

/// A point in time in the units of a [`Scale`], counted from the first time that it was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark(u128);

/// How one quota measures time: a nanosecond is `count` units, a token `period` of them, in nanoseconds.
#[derive(Clone, Debug)]
pub(super) struct Scale {
    /// Units in a nanosecond: tokens in a period.
    count: u32,
    /// Units that a token takes: the nanoseconds of a period.
    token: u64,
    burst: u32,
    origin: Option<Instant>,
    /// Time does not go back here, or what was taken would come back a second time.
    latest: Mark,
}

/// A century: nanoseconds of it fit into 64 bits, and no product below overflows 128.
const LONGEST_PERIOD: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

impl Scale {
    pub(super) fn new(quota: Quota) -> io::Result<Scale> {
        let Quota {
            count,
            period,
            burst,
        } = quota;
        if count == 0 || burst == 0 || period.is_zero() || period > LONGEST_PERIOD {
            let text = format!(
                "a quota of {count} in {period:?} with a burst of {burst}: numbers must be at least 1, \
                 the period above 0 and at most a century"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(Scale {
            count,
            token: u64::try_from(period.as_nanos()).unwrap_or(u64::MAX),
            burst,
            origin: None,
            latest: Mark::default(),
        })
    }

    /// The units of `now`, or of the latest time that was given if that is later.
    pub(super) fn mark(&mut self, now: Instant) -> Mark {
        let origin = *self.origin.get_or_insert(now);
        let nanos = now.saturating_duration_since(origin).as_nanos();
        let now = Mark(nanos.min(u128::from(u64::MAX)) * u128::from(self.count));
        self.latest = self.latest.max(now);
        self.latest
    }

    /// When a bucket is full that was to be full at `full_at` and gives `count` now.
    pub(super) fn take(&self, full_at: Mark, now: Mark, count: u32) -> Result<Mark, Exhausted> {
        if count > self.burst {
            return Err(Exhausted {
                retry_after: Duration::MAX,
            });
        }
        let full_at = full_at.0.max(now.0) + self.units(count);
        let earliest = full_at.saturating_sub(self.units(self.burst));
        if earliest > now.0 {
            let nanos = (earliest - now.0).div_ceil(u128::from(self.count));
            let retry_after = duration(nanos);
            return Err(Exhausted { retry_after });
        }
        Ok(Mark(full_at))
    }

    /// What so many tokens take.
    fn units(&self, tokens: u32) -> u128 {
        u128::from(tokens) * u128::from(self.token)
    }

    pub(super) fn available(&self, full_at: Mark, now: Mark) -> u32 {
        let missing = full_at
            .0
            .saturating_sub(now.0)
            .div_ceil(u128::from(self.token));
        self.burst
            .saturating_sub(u32::try_from(missing).unwrap_or(u32::MAX))
    }
}

fn duration(nanos: u128) -> Duration {
    const SECOND: u128 = 1_000_000_000;
    match (u64::try_from(nanos / SECOND), u32::try_from(nanos % SECOND)) {
        (Ok(seconds), Ok(nanos)) => Duration::new(seconds, nanos),
        _ => Duration::MAX,
    }
}
