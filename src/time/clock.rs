//! Time as the reactor sees it: nanoseconds since it was built, monotonic, read at one place.
//!
//! A turn reads the clock once, after the wait, and everything in it happens at that instant. Timers that
//! are armed in it count from a later reading, lest one armed late in a slow callback should be early
//! (`undated.rs`).
//!
//! Counting in `u64` nanoseconds keeps a time in one register, makes `Duration::MAX` saturate to
//! [`Tick::NEVER`] in place of overflowing, and lasts 584 years.

use std::time::{Duration, Instant};

/// A point in time: nanoseconds since the reactor was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(u64);

impl Tick {
    /// Later than any time that the clock can show.
    pub(crate) const NEVER: Tick = Tick(u64::MAX);

    pub(crate) fn after(self, span: Duration) -> Tick {
        Tick(self.0.saturating_add(nanos(span)))
    }

    pub(super) fn nanos(self) -> u64 {
        self.0
    }

    /// The same time after `start` as this one is after the beginning.
    pub(super) fn counted_from(self, start: Tick) -> Tick {
        Tick(self.0.saturating_add(start.0))
    }

    /// How long it is from `earlier` to here; zero if `earlier` is later.
    pub(crate) fn since(self, earlier: Tick) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// As [`since`](Tick::since), in nanoseconds.
    pub(crate) fn nanos_since(self, earlier: Tick) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The first point of the grid `self`, `self + period`, … that lies after `now`. The period is in nanoseconds.
    ///
    /// A repeat that missed several of its times fires once and then is back on its old grid: counting
    /// from `now` would make it drift, firing for each missed one would make a storm of it.
    pub(super) fn next_on_grid(self, period: u64, now: Tick) -> Tick {
        if period == 0 {
            return now.max(self);
        }
        let missed = now.0.saturating_sub(self.0) / period;
        Tick(self.0.saturating_add(period.saturating_mul(missed + 1)))
    }
}

/// A span in nanoseconds; what is longer than 584 years is never over.
pub(super) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// Where time comes from.
#[derive(Debug)]
pub(crate) enum Clock {
    /// The operating system's monotonic clock, counted from this instant.
    Monotonic(Instant),
    /// A clock that a test moves.
    #[cfg(feature = "test")]
    Simulated(crate::world::simulated::clock::Clock),
}

impl Clock {
    pub(crate) fn monotonic() -> Clock {
        Clock::Monotonic(Instant::now())
    }

    pub(crate) fn now(&self) -> Tick {
        match self {
            Clock::Monotonic(start) => Tick(nanos(start.elapsed())),
            #[cfg(feature = "test")]
            Clock::Simulated(clock) => Tick(nanos(clock.now())),
        }
    }

    /// When that was on this clock; `None` if it is a simulated one.
    #[cfg(feature = "observer")]
    pub(crate) fn tick(&self, instant: Instant) -> Option<Tick> {
        match self {
            Clock::Monotonic(start) => Some(Tick(nanos(instant.saturating_duration_since(*start)))),
            #[cfg(feature = "test")]
            Clock::Simulated(_) => None,
        }
    }

    /// The same point in time on the standard library's clock.
    pub(crate) fn instant(&self, tick: Tick) -> Instant {
        let start = match self {
            Clock::Monotonic(start) => *start,
            #[cfg(feature = "test")]
            Clock::Simulated(clock) => clock.start(),
        };
        start + Duration::from_nanos(tick.0)
    }

    /// Whether waiting makes time pass. On a simulated clock it does not, unless the test says so:
    /// there timers do not bound the wait, the test moves the clock.
    pub(crate) fn runs(&self) -> bool {
        match self {
            Clock::Monotonic(_) => true,
            #[cfg(feature = "test")]
            Clock::Simulated(clock) => clock.passes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_duration_saturates_to_never() {
        assert_eq!(Tick(5).after(Duration::MAX), Tick::NEVER);
        assert_eq!(
            Tick::NEVER.next_on_grid(1_000_000_000, Tick(3)),
            Tick::NEVER
        );
    }

    #[test]
    fn spans_count_from_the_earlier_and_are_never_negative() {
        assert_eq!(Tick(137).nanos_since(Tick(100)), 37);
        assert_eq!(Tick(137).since(Tick(100)), Duration::from_nanos(37));
        assert_eq!(Tick(100).nanos_since(Tick(137)), 0);
    }

    #[test]
    #[cfg(feature = "observer")]
    fn an_instant_is_found_again_on_the_clock() {
        let clock = Clock::monotonic();
        let tick = Tick(5_000_000);
        assert_eq!(clock.tick(clock.instant(tick)), Some(tick));
    }

    #[test]
    #[cfg(feature = "test")]
    fn a_clock_that_a_test_moves_stands_while_the_loop_waits() {
        let simulated = crate::world::simulated::clock::Clock::new();
        let clock = Clock::Simulated(simulated.clone());
        assert!(!clock.runs() && Clock::monotonic().runs());
        simulated.advance(Duration::from_nanos(7));
        assert_eq!(clock.now(), Tick(7));
        #[cfg(feature = "observer")]
        assert_eq!(clock.tick(Instant::now()), None);
    }

    #[test]
    fn a_repeat_that_missed_periods_returns_to_its_grid() {
        assert_eq!(Tick(100).next_on_grid(10, Tick(100)), Tick(110));
        assert_eq!(Tick(100).next_on_grid(10, Tick(109)), Tick(110));
        assert_eq!(Tick(100).next_on_grid(10, Tick(137)), Tick(140));
        assert_eq!(Tick(100).next_on_grid(0, Tick(137)), Tick(137));
    }
}
