//! A clock that a test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A clock that moves only when the test moves it. Clones are the same clock; it may be moved from any thread.
///
/// A reactor that was built on it ([`Builder::clock`](crate::Builder::clock)) takes all its times from it: timers,
/// time-outs, [`Context::now`](crate::Context::now). Waiting does not make it pass, so timers do not end a wait:
/// move the clock and run a turn, or have [`run_for`](crate::test::run_for) do both. (For the same reason
/// [`Reactor::run`](crate::Reactor::run) is not for such a reactor: it would wait for ever for a timer.)
///
/// ```
/// use std::time::Duration;
///
/// use slabloop::Reactor;
/// use slabloop::test::{Clock, run_until_quiet};
///
/// # fn main() -> std::io::Result<()> {
/// let clock = Clock::new();
/// let mut reactor = Reactor::builder().clock(clock.clone()).build()?;
/// reactor.call_later(Duration::from_secs(3600), |reactor| reactor.stop());
///
/// run_until_quiet(&mut reactor, 10);
/// assert_eq!(reactor.counters().timers, 0);
/// clock.advance(Duration::from_secs(3600));
/// run_until_quiet(&mut reactor, 10);
/// assert_eq!(reactor.counters().timers, 1);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Clock(Arc<SimTime>);

#[derive(Debug)]
struct SimTime {
    start: Instant,
    nanos: AtomicU64,
    reads: AtomicU64,
    passes: AtomicBool,
}

impl Default for SimTime {
    fn default() -> SimTime {
        SimTime {
            start: Instant::now(),
            nanos: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            passes: AtomicBool::new(false),
        }
    }
}

impl Clock {
    /// A clock at zero.
    #[must_use]
    pub fn new() -> Clock {
        Clock::default()
    }

    /// The time since the clock was made.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.0.reads.fetch_add(1, Ordering::Relaxed);
        Duration::from_nanos(self.0.nanos.load(Ordering::Relaxed))
    }

    /// How often it has been read.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.0.reads.load(Ordering::Relaxed)
    }

    /// From now on timers bound the wait, as on a real clock: the test's kernel moves this one by the
    /// timeout of each wait.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    pub fn passes_while_waiting(&self) {
        self.0.passes.store(true, Ordering::Relaxed);
    }

    /// The instant that counts as the clock's zero.
    pub(crate) fn start(&self) -> Instant {
        self.0.start
    }

    pub(crate) fn passes(&self) -> bool {
        self.0.passes.load(Ordering::Relaxed)
    }

    /// Moves it on.
    ///
    /// # Panics
    ///
    /// If it were moved past 584 years.
    pub fn advance(&self, by: Duration) {
        let by =
            u64::try_from(by.as_nanos()).expect("a simulated clock moves by less than 584 years");
        self.0.nanos.fetch_add(by, Ordering::Relaxed);
    }
}
