//! Not trying at all while what is tried fails.

mod counts;

use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use self::counts::{Counts, Trip};
use super::backoff::invalid;

/// A circuit breaker: when too many calls fail it refuses further ones at once, and tries again after a while.
///
/// ```text
///            too many failures
///   Closed ────────────────────► Open ◄────────────┐
///     ▲                            │ open_for      │ a trial fails
///     │  all trials succeed        ▼               │
///     └──────────────────────── HalfOpen ──────────┘
/// ```
///
/// *Closed*: everything is allowed, and counted. *Open*: nothing is, so that callers fail in no time and what is
/// called gets some rest. *Half-open*: a few trials are allowed. (M. Nygard, "Release It!".)
///
/// Ask with [`allow`](Breaker::allow) before each call, and tell the [`Permit`] how it went. Clones are the same
/// breaker; use one for each thing that can fail by itself, such as a server. It belongs to one thread.
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

/// In which state a [`Breaker`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Everything is allowed.
    Closed,
    /// Nothing is allowed until this time.
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
    /// When to ask again; `None` if it is half-open and all its trials are under way.
    pub until: Option<Instant>,
}

/// What a [`Breaker`] has seen since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerGauges {
    /// Calls that were allowed.
    pub allowed: u64,
    /// Calls that were refused.
    pub refused: u64,
    /// Calls that succeeded.
    pub successes: u64,
    /// Calls that failed; permits that were dropped among them.
    pub failures: u64,
    /// Permits that were dropped without an outcome.
    pub dropped: u64,
    /// How often it opened.
    pub opened: u64,
}

/// Leave for one call, whose outcome it is to be told.
///
/// A permit that is dropped without one counts as a failure: whoever held it has panicked, or has ended before an
/// answer came. The failure is booked when the breaker is next told a time. What ended for a reason that has nothing
/// to do with what was called is given back by [`cancel`](Permit::cancel).
#[must_use = "dropped it counts as a failure"]
pub struct Permit {
    circuit: Option<Rc<RefCell<Circuit>>>,
    epoch: u64,
}

struct Circuit {
    settings: BreakerBuilder,
    state: State,
    counts: Counts,
    /// Grows with each change of the state: what a permit of an earlier one tells is of no concern any more.
    epoch: u64,
    /// In the half-open state: trials under way, and those that have succeeded.
    trying: u32,
    succeeded: u32,
    /// Permits of this epoch that were dropped, whose failure is not booked yet.
    dropped: u32,
    gauges: BreakerGauges,
}

impl Breaker {
    /// For setting what differs from the [defaults](BreakerBuilder).
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
    /// [`Open`] if not; it says until when.
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

    /// In which state it is now.
    #[must_use]
    pub fn state(&self, now: Instant) -> State {
        let circuit = &mut *self.0.borrow_mut();
        circuit.review(now);
        circuit.state
    }

    /// What it has seen.
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
    /// The call has succeeded.
    pub fn success(mut self, now: Instant) {
        self.settle(|circuit, epoch| {
            circuit.review(now);
            circuit.gauges.successes += 1;
            if circuit.epoch == epoch {
                circuit.succeed(now);
            }
        });
    }

    /// The call has failed.
    pub fn failure(mut self, now: Instant) {
        self.settle(|circuit, epoch| {
            circuit.review(now);
            circuit.gauges.failures += 1;
            if circuit.epoch == epoch {
                circuit.fail(now);
            }
        });
    }

    /// The call was not made, or its outcome says nothing: as if it had not been allowed.
    pub fn cancel(mut self) {
        self.settle(|circuit, epoch| {
            if circuit.epoch == epoch && circuit.state == State::HalfOpen {
                circuit.trying -= 1;
            }
        });
    }

    /// Only the first time: a permit that has been told its outcome is dropped as well.
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
    /// Opens after so many failures in a row, at least 1.
    #[must_use]
    pub fn consecutive(mut self, failures: u32) -> BreakerBuilder {
        self.trip = Trip::Consecutive(failures);
        self
    }

    /// Opens when, of the calls whose outcome came within `window`, `percent` or more failed, from 1 to 100; and
    /// not before there were `at_least` outcomes. The window moves on in tenths of its length.
    #[must_use]
    pub fn rate(mut self, percent: u32, window: Duration, at_least: u32) -> BreakerBuilder {
        self.trip = Trip::Rate {
            percent,
            window,
            at_least,
        };
        self
    }

    /// How long it stays open before trials begin.
    #[must_use]
    pub fn open_for(mut self, time: Duration) -> BreakerBuilder {
        self.open_for = time;
        self
    }

    /// How many trials have to succeed to close it, at least 1. So many may be under way at once.
    #[must_use]
    pub fn trials(mut self, count: u32) -> BreakerBuilder {
        self.trials = count;
        self
    }

    /// The breaker.
    ///
    /// # Errors
    ///
    /// `InvalidInput`, naming the setting that is out of its range.
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
            None => "the circuit breaker is half-open, and its trials are under way",
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
