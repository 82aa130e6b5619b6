//! Refusing calls while they would fail.

mod counts;

use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use self::counts::{Counts, Trip};
use super::backoff::invalid;

/// A circuit breaker: when too many calls fail, it refuses further calls at once, and allows trials after a while.
///
/// ```text
///            too many failures
///   Closed ────────────────────► Open ◄────────────┐
///     ▲                            │ open_for      │ a trial fails
///     │  all trials succeed        ▼               │
///     └──────────────────────── HalfOpen ──────────┘
/// ```
///
/// *Closed*: every call is allowed, and its outcome is counted. *Open*: no call is allowed, so callers fail fast and
/// the server gets time to recover. *Half-open*: a few trials are allowed. (M. Nygard, "Release It!".)
///
/// Call [`allow`](Breaker::allow) before each call, and report the outcome to the [`Permit`]. Clones are the same
/// breaker; use one for each thing that can fail by itself, such as a server. A breaker belongs to one thread.
///
/// ```
/// use slabloop::kit::retry::Breaker;
/// use std::time::{Duration, Instant};
///
/// let breaker = Breaker::builder().consecutive(3).open_for(Duration::from_secs(5)).build()?;
/// let now = Instant::now();
/// for _ in 0..3 {
///     breaker.allow(now)?.failure(now);
/// }
/// let refused = breaker.allow(now).unwrap_err();
/// assert_eq!(refused.until, Some(now + Duration::from_secs(5)));
///
/// let later = now + Duration::from_secs(5);
/// let trial = breaker.allow(later)?;
/// assert!(breaker.allow(later).is_err(), "one trial at a time");
/// trial.success(later);
/// assert!(breaker.allow(later).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Breaker(Rc<RefCell<Circuit>>);

/// The settings of a [`Breaker`].
///
/// | | default |
/// |---|---|
/// | [`consecutive`](BreakerBuilder::consecutive) or [`rate`](BreakerBuilder::rate) | 5 failures in a row |
/// | [`open_for`](BreakerBuilder::open_for) | 10 s |
/// | [`trials`](BreakerBuilder::trials) | 1 |
#[derive(Clone, Copy, Debug)]
pub struct BreakerBuilder {
    trip: Trip,
    open_for: Duration,
    trials: u32,
}

/// The state of a [`Breaker`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Every call is allowed.
    Closed,
    /// No call is allowed until this time.
    Open {
        /// When trials begin.
        until: Instant,
    },
    /// Some trials are allowed.
    HalfOpen,
}

/// The breaker refuses a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// When to ask again. `None` if the breaker is half-open and all its trials are in progress.
    pub until: Option<Instant>,
}

/// The counters of a [`Breaker`], since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerGauges {
    /// Calls that were allowed.
    pub allowed: u64,
    /// Calls that were refused.
    pub refused: u64,
    /// Calls that succeeded.
    pub successes: u64,
    /// Calls that failed, including permits that were dropped.
    pub failures: u64,
    /// Permits that were dropped without an outcome.
    pub dropped: u64,
    /// How often the breaker opened.
    pub opened: u64,
}

/// The permission for one call. Its outcome has to be reported to it.
///
/// A permit that is dropped without an outcome counts as a failure: its holder has panicked, or has ended before an
/// answer came. The breaker counts that failure at the next call that passes a time. If a call ended for a reason
/// that has nothing to do with the server, report that by [`cancel`](Permit::cancel).
///
/// ```
/// use slabloop::kit::retry::Breaker;
/// use std::time::Instant;
///
/// let breaker = Breaker::builder().consecutive(2).build()?;
/// let now = Instant::now();
/// breaker.allow(now)?.success(now);
/// breaker.allow(now)?.failure(now);
/// drop(breaker.allow(now)?); // the second failure
/// assert!(breaker.allow(now).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a permit that is dropped counts as a failure"]
pub struct Permit {
    circuit: Option<Rc<RefCell<Circuit>>>,
    epoch: u64,
}

struct Circuit {
    settings: BreakerBuilder,
    state: State,
    counts: Counts,
    /// Grows with each change of the state: outcomes for permits of an earlier state are ignored.
    epoch: u64,
    /// In the half-open state: trials in progress, and those that have succeeded.
    trying: u32,
    succeeded: u32,
    /// Permits of this epoch that were dropped, whose failure is not booked yet.
    dropped: u32,
    gauges: BreakerGauges,
}

impl Breaker {
    /// A builder with the [defaults](BreakerBuilder).
    ///
    /// ```
    /// use slabloop::kit::retry::Breaker;
    /// use std::time::Duration;
    ///
    /// // Opens at 50 % failures within 10 s, but not before there were 20 calls.
    /// let breaker = Breaker::builder()
    ///     .rate(50, Duration::from_secs(10), 20)
    ///     .open_for(Duration::from_secs(5))
    ///     .trials(2)
    ///     .build()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn builder() -> BreakerBuilder {
        BreakerBuilder {
            trip: Trip::Consecutive(5),
            open_for: Duration::from_secs(10),
            trials: 1,
        }
    }

    /// Asks whether a call may be made now.
    ///
    /// # Errors
    ///
    /// [`Open`] if not, with the time at which to ask again.
    pub fn allow(&self, now: Instant) -> Result<Permit, Open> {
        let circuit = &mut *self.0.borrow_mut();
        circuit.review(now);
        let allowed = match circuit.state {
            State::Closed => Ok(()),
            State::Open { until } => Err(Open { until: Some(until) }),
            State::HalfOpen if circuit.trying + circuit.succeeded < circuit.settings.trials => {
                circuit.trying += 1;
                Ok(())
            }
            State::HalfOpen => Err(Open { until: None }),
        };
        match allowed {
            Ok(()) => circuit.gauges.allowed += 1,
            Err(_) => circuit.gauges.refused += 1,
        }
        allowed.map(|()| Permit {
            circuit: Some(Rc::clone(&self.0)),
            epoch: circuit.epoch,
        })
    }

    /// The present state.
    #[must_use]
    pub fn state(&self, now: Instant) -> State {
        let circuit = &mut *self.0.borrow_mut();
        circuit.review(now);
        circuit.state
    }

    /// The counters.
    #[must_use]
    pub fn gauges(&self) -> BreakerGauges {
        self.0.borrow().gauges
    }
}

impl Circuit {
    /// What follows from the time alone, and from the permits that were dropped.
    fn review(&mut self, now: Instant) {
        while self.dropped > 0 {
            self.dropped -= 1;
            self.fail(now);
        }
        if matches!(self.state, State::Open { until } if now >= until) {
            self.enter(State::HalfOpen);
        }
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.epoch += 1;
        self.counts.clear();
        self.trying = 0;
        self.succeeded = 0;
        self.dropped = 0;
        self.gauges.opened += u64::from(matches!(state, State::Open { .. }));
    }

    fn open(&mut self, now: Instant) {
        // A time that the clock cannot show is never reached.
        let longest = Duration::from_secs(100 * 366 * 24 * 3600);
        let open_for = self.settings.open_for.min(longest);
        self.enter(State::Open {
            until: now + open_for,
        });
    }

    /// A call of this epoch has failed.
    fn fail(&mut self, now: Instant) {
        match self.state {
            State::Closed => {
                if self.counts.failure(&self.settings.trip, now) {
                    self.open(now);
                }
            }
            State::HalfOpen => self.open(now),
            State::Open { .. } => {}
        }
    }

    /// A call of this epoch has succeeded.
    fn succeed(&mut self, now: Instant) {
        match self.state {
            State::Closed => self.counts.success(&self.settings.trip, now),
            State::HalfOpen => {
                self.trying -= 1;
                self.succeeded += 1;
                if self.succeeded >= self.settings.trials {
                    self.enter(State::Closed);
                }
            }
            State::Open { .. } => {}
        }
    }
}

impl Permit {
    /// Reports that the call has succeeded.
    pub fn success(mut self, now: Instant) {
        self.settle(|circuit, epoch| {
            circuit.review(now);
            circuit.gauges.successes += 1;
            if circuit.epoch == epoch {
                circuit.succeed(now);
            }
        });
    }

    /// Reports that the call has failed.
    pub fn failure(mut self, now: Instant) {
        self.settle(|circuit, epoch| {
            circuit.review(now);
            circuit.gauges.failures += 1;
            if circuit.epoch == epoch {
                circuit.fail(now);
            }
        });
    }

    /// Reports that the call was not made, or that its outcome says nothing about the server. It then counts as never
    /// allowed.
    pub fn cancel(mut self) {
        self.settle(|circuit, epoch| {
            if circuit.epoch == epoch && circuit.state == State::HalfOpen {
                circuit.trying -= 1;
            }
        });
    }

    /// Only the first time: a permit with an outcome is dropped as well.
    fn settle(&mut self, book: impl FnOnce(&mut Circuit, u64)) {
        if let Some(circuit) = self.circuit.take() {
            book(&mut circuit.borrow_mut(), self.epoch);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.settle(|circuit, epoch| {
            circuit.gauges.failures += 1;
            circuit.gauges.dropped += 1;
            if circuit.epoch == epoch {
                circuit.dropped += 1;
            }
        });
    }
}

impl BreakerBuilder {
    /// Opens after this number of failures in a row; at least 1.
    #[must_use]
    pub fn consecutive(mut self, failures: u32) -> BreakerBuilder {
        self.trip = Trip::Consecutive(failures);
        self
    }

    /// Opens when, of the calls that ended within `window`, `percent` (1 to 100) or more failed, but not before there
    /// were `at_least` outcomes. The window moves in steps of a tenth of its length.
    #[must_use]
    pub fn rate(mut self, percent: u32, window: Duration, at_least: u32) -> BreakerBuilder {
        self.trip = Trip::Rate {
            percent,
            window,
            at_least,
        };
        self
    }

    /// How long the breaker stays open before trials begin.
    #[must_use]
    pub fn open_for(mut self, time: Duration) -> BreakerBuilder {
        self.open_for = time;
        self
    }

    /// How many trials have to succeed to close the breaker; at least 1. That many may be in progress at the same
    /// time.
    #[must_use]
    pub fn trials(mut self, count: u32) -> BreakerBuilder {
        self.trials = count;
        self
    }

    /// Makes the breaker.
    ///
    /// # Errors
    ///
    /// `InvalidInput`, with the name of the setting that is out of range.
    pub fn build(self) -> io::Result<Breaker> {
        self.trip.check()?;
        if self.trials == 0 || self.open_for.is_zero() {
            return Err(invalid(format!(
                "circuit breaker: {} trials after {:?}: expected at least 1, and a time above 0",
                self.trials, self.open_for
            )));
        }
        Ok(Breaker(Rc::new(RefCell::new(Circuit {
            settings: self,
            state: State::Closed,
            counts: Counts::default(),
            epoch: 0,
            trying: 0,
            succeeded: 0,
            dropped: 0,
            gauges: BreakerGauges::default(),
        }))))
    }
}

impl fmt::Display for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.until {
            Some(_) => "the circuit breaker is open",
            None => "the circuit breaker is half-open, and its trials are in progress",
        })
    }
}

impl Error for Open {}

/// Of kind `Other`.
impl From<Open> for io::Error {
    fn from(open: Open) -> io::Error {
        io::Error::other(open)
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let circuit = self.0.borrow();
        f.debug_struct("Breaker")
            .field("state", &circuit.state)
            .field("gauges", &circuit.gauges)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}
