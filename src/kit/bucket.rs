//! Token buckets for things that are counted: requests, connections, retries.
//!
//! The bytes of a connection need none of this: see [`Context::set_read_rate`](crate::Context::set_read_rate)
//! and [`rate_group`](crate::Context::rate_group).
//!
//! # One number for a bucket
//!
//! A bucket is kept as the time at which it will be full (the *generic cell rate algorithm*, GCRA, of ATM
//! networks). Taking a token moves that time by what one token takes to come back. A bucket whose time has passed
//! is full, and the same as a fresh one: so it can be forgotten. Times are counted in units in which a token is a
//! whole number of them, so that nothing is rounded and no rate drifts.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

/// How many at once, and how many in the long run.
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
    /// So many a second, at least 1. The burst is the same number.
    #[must_use]
    pub const fn per_second(count: u32) -> Quota {
        Quota::per(count, Duration::from_secs(1))
    }

    /// So many in each `period`, at least 1 in at least a nanosecond. The burst is the same number.
    #[must_use]
    pub const fn per(count: u32, period: Duration) -> Quota {
        Quota {
            count,
            period,
            burst: count,
        }
    }

    /// How many at once after a quiet time, at least 1.
    #[must_use]
    pub const fn burst(mut self, count: u32) -> Quota {
        self.burst = count;
        self
    }
}

/// A token bucket: so many requests at once, and so many a second in the long run.
///
/// In any span of time it gives no more than the burst and what the rate brings in that span, exactly. The time is
/// given in each call, [`Context::now`](crate::Context::now) as a rule; a time that is earlier than the latest one
/// counts as that, and after 584 years time stands still. It takes 64 bytes.
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
    /// `InvalidInput` for a count, a period or a burst of 0, and for a period of more than a century.
    pub fn new(quota: Quota) -> io::Result<TokenBucket> {
        Ok(TokenBucket {
            scale: Scale::new(quota)?,
            full_at: Mark::default(),
        })
    }

    /// Takes `count` tokens, or none if there are not so many.
    ///
    /// # Errors
    ///
    /// [`Exhausted`], which says how long it is until there are so many: `Duration::MAX` if the bucket never
    /// holds them.
    pub fn take(&mut self, now: Instant, count: u32) -> Result<(), Exhausted> {
        let now = self.scale.mark(now);
        self.full_at = self.scale.take(self.full_at, now, count)?;
        Ok(())
    }

    /// How many tokens there are.
    #[must_use]
    pub fn available(&mut self, now: Instant) -> u32 {
        let now = self.scale.mark(now);
        self.scale.available(self.full_at, now)
    }

    /// Puts tokens back that were taken for nothing. More than a full bucket it never is.
    pub fn give_back(&mut self, count: u32) {
        let back = self.scale.units(count);
        self.full_at = Mark(self.full_at.0.saturating_sub(back));
    }
}

/// There are not enough tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// After how long there are, if nobody takes any before. `Duration::MAX` means never.
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

/// A point in time in the units of a [`Scale`], from the first time that it was told.
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

    /// The units of `now`, or of the latest time that was told if that is later.
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
