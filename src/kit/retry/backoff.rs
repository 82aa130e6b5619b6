//! How long to wait before the next attempt.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::kit::random::SplitMix64;

/// The delays between attempts: exponential, with *full jitter*.
///
/// Each delay is a random one between zero and a limit. The limit is `base` at first, is multiplied by `factor` after
/// each attempt, and stays at `cap` when it has reached that. Full jitter, in place of a small random part added to a
/// fixed delay, spreads clients that all failed at the same moment as far as possible ([AWS, "Exponential Backoff and
/// Jitter"](https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/)). Its price is that a delay
/// can be almost zero; a [`Budget`](super::Budget) bounds how many retries come at once.
///
/// It is an iterator: [`next`](Iterator::next) returns the delay before the next attempt, and `None` when the
/// [limit](BackoffBuilder::limit) is reached.
///
/// ```
/// use slabloop::kit::retry::Backoff;
/// use std::time::Duration;
///
/// let mut backoff = Backoff::builder()
///     .base(Duration::from_millis(200))
///     .cap(Duration::from_secs(10))
///     .limit(3)
///     .build()?;
/// assert!(backoff.next().is_some_and(|delay| delay <= Duration::from_millis(200)));
/// assert!(backoff.next().is_some_and(|delay| delay <= Duration::from_millis(400)));
/// assert!(backoff.next().is_some_and(|delay| delay <= Duration::from_millis(800)));
/// assert_eq!(backoff.next(), None);
/// // It worked: the next trouble begins anew.
/// backoff.reset();
/// assert_eq!(backoff.attempts(), 0);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Backoff {
    settings: BackoffBuilder,
    random: SplitMix64,
    /// The limit of the next delay, in nanoseconds.
    window: u64,
    attempts: u32,
}

impl Backoff {
    /// A builder with the [defaults](BackoffBuilder).
    ///
    /// ```
    /// use slabloop::kit::retry::Backoff;
    /// use std::time::Duration;
    ///
    /// let mut backoff = Backoff::builder()
    ///     .base(Duration::from_millis(50))
    ///     .cap(Duration::from_secs(5))
    ///     .limit(3)
    ///     .build()?;
    /// assert!(backoff.next().unwrap() <= Duration::from_millis(50));
    /// assert!(backoff.next().unwrap() <= Duration::from_millis(100));
    /// assert!(backoff.next().unwrap() <= Duration::from_millis(200));
    /// assert_eq!(backoff.next(), None);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn builder() -> BackoffBuilder {
        BackoffBuilder::default()
    }

    /// The number of delays since the start or the last reset.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// To be called when an attempt has succeeded: the limit is `base` again, and the attempts count from 0.
    ///
    /// ```
    /// use slabloop::kit::retry::Backoff;
    ///
    /// let mut backoff = Backoff::default();
    /// backoff.next();
    /// backoff.next();
    /// assert_eq!(backoff.attempts(), 2);
    /// backoff.reset(); // the attempt succeeded
    /// assert_eq!(backoff.attempts(), 0);
    /// ```
    pub fn reset(&mut self) {
        self.window = nanos(self.settings.base);
        self.attempts = 0;
    }

    /// The same without a limit on attempts, from the beginning.
    pub(super) fn without_limit(&mut self) -> Backoff {
        let settings = BackoffBuilder {
            limit: None,
            ..self.settings
        };
        Backoff {
            settings,
            random: SplitMix64::new(self.random.up_to(u64::MAX)),
            window: nanos(settings.base),
            attempts: 0,
        }
    }
}

impl Iterator for Backoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if self
            .settings
            .limit
            .is_some_and(|limit| self.attempts >= limit)
        {
            return None;
        }
        self.attempts = self.attempts.saturating_add(1);
        let delay = self.random.up_to(self.window);
        let cap = nanos(self.settings.cap);
        self.window = grown(self.window, self.settings.factor).min(cap);
        Some(Duration::from_nanos(delay))
    }
}

impl Default for Backoff {
    /// With the [defaults](BackoffBuilder).
    fn default() -> Backoff {
        BackoffBuilder::default().start()
    }
}

impl fmt::Debug for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backoff")
            .field("attempts", &self.attempts)
            .field("up_to", &Duration::from_nanos(self.window))
            .finish_non_exhaustive()
    }
}

/// The settings of a [`Backoff`].
///
/// | | default |
/// |---|---|
/// | [`base`](BackoffBuilder::base) | 100 ms |
/// | [`cap`](BackoffBuilder::cap) | 30 s |
/// | [`factor`](BackoffBuilder::factor) | 2 |
/// | [`limit`](BackoffBuilder::limit) | none |
/// | [`seed`](BackoffBuilder::seed) | a different one each time |
#[derive(Clone, Copy, Debug)]
pub struct BackoffBuilder {
    base: Duration,
    cap: Duration,
    factor: f64,
    limit: Option<u32>,
    seed: Option<u64>,
}

impl BackoffBuilder {
    /// The upper limit of the first delay; above zero, and no more than the cap.
    #[must_use]
    pub fn base(mut self, base: Duration) -> BackoffBuilder {
        self.base = base;
        self
    }

    /// The upper limit of all delays. Clients that have failed for long wait half of it on average.
    #[must_use]
    pub fn cap(mut self, cap: Duration) -> BackoffBuilder {
        self.cap = cap;
        self
    }

    /// The factor by which the upper limit grows with each attempt; at least 1.
    #[must_use]
    pub fn factor(mut self, factor: f64) -> BackoffBuilder {
        self.factor = factor;
        self
    }

    /// How many delays there are before the iterator returns `None`. With 0, nothing is retried. Default: no limit.
    #[must_use]
    pub fn limit(mut self, attempts: u32) -> BackoffBuilder {
        self.limit = Some(attempts);
        self
    }

    /// Makes the delays the same in each run, for tests.
    ///
    /// ```
    /// use slabloop::kit::retry::Backoff;
    ///
    /// let delays = |seed| {
    ///     let backoff = Backoff::builder().seed(seed).limit(5).build()?;
    ///     Ok::<Vec<_>, std::io::Error>(backoff.collect())
    /// };
    /// assert_eq!(delays(7)?, delays(7)?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn seed(mut self, seed: u64) -> BackoffBuilder {
        self.seed = Some(seed);
        self
    }

    /// Makes the backoff.
    ///
    /// # Errors
    ///
    /// `InvalidInput`, with the name of the setting that is out of range.
    pub fn build(self) -> io::Result<Backoff> {
        let BackoffBuilder {
            base, cap, factor, ..
        } = self;
        if base.is_zero() || base > cap {
            return Err(invalid(format!(
                "backoff: a base of {base:?} with a cap of {cap:?}: it must be above 0 and at most the cap"
            )));
        }
        if !factor.is_finite() || factor < 1.0 {
            return Err(invalid(format!(
                "backoff: a factor of {factor}: it must be at least 1, and finite"
            )));
        }
        Ok(self.start())
    }

    fn start(self) -> Backoff {
        Backoff {
            random: self
                .seed
                .map_or_else(SplitMix64::unpredictable, SplitMix64::new),
            window: nanos(self.base),
            attempts: 0,
            settings: self,
        }
    }
}

impl Default for BackoffBuilder {
    fn default() -> BackoffBuilder {
        BackoffBuilder {
            base: Duration::from_millis(100),
            cap: Duration::from_secs(30),
            factor: 2.0,
            limit: None,
            seed: None,
        }
    }
}

pub(super) fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// What is longer than 584 years counts as that.
fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// A conversion from a float saturates, and rounding does not matter in a limit for random numbers.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "see above"
)]
fn grown(window: u64, factor: f64) -> u64 {
    (window as f64 * factor) as u64
}
