//! Which of the frequent reports an observer gets.

use std::ops::{BitOr, Sub};

/// The reports that come again and again in each turn. An observer that has no use for some of them says so in
/// [`Observer::wants`](super::observer::Observer::wants), and is not called for them: each call is some 50 instructions,
/// and a turn with one event makes eleven. All other reports are rare, and every observer gets them.
///
#[cfg_attr(feature = "observer", doc = "```")]
#[cfg_attr(not(feature = "observer"), doc = "```ignore")]
/// use slabloop::observe::{Observer, Reports, TurnEnd};
/// use std::time::Duration;
///
/// struct Turns(u64);
/// impl Observer for Turns {
///     fn wants(&self) -> Reports {
///         Reports::NONE
///     }
///     fn turn_ended(&mut self, _: Duration, _: &TurnEnd) {
///         self.0 += 1;
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reports(u8);

impl Reports {
    /// None of them.
    pub const NONE: Reports = Reports(0);
    /// [`turn_began`](super::observer::Observer::turn_began).
    pub const TURN_BEGAN: Reports = Reports(1);
    /// [`step_began`](super::observer::Observer::step_began) and [`wait_ended`](super::observer::Observer::wait_ended).
    pub const STEPS: Reports = Reports(1 << 1);
    /// [`event_merged`](super::observer::Observer::event_merged).
    pub const EVENTS: Reports = Reports(1 << 2);
    /// [`callback_began`](super::observer::Observer::callback_began).
    pub const CALLBACK_BEGAN: Reports = Reports(1 << 3);
    /// [`callback_ended`](super::observer::Observer::callback_ended).
    pub const CALLBACK_ENDED: Reports = Reports(1 << 4);
    /// [`interest_changed`](super::observer::Observer::interest_changed).
    pub const INTEREST: Reports = Reports(1 << 5);
    /// [`flushed`](super::observer::Observer::flushed).
    pub const FLUSHES: Reports = Reports(1 << 6);
    /// All of them.
    pub const ALL: Reports = Reports(0x7f);

    /// Whether all of `others` are among these.
    #[inline]
    #[must_use]
    pub const fn contain(self, others: Reports) -> bool {
        self.0 & others.0 == others.0
    }
}

/// These and those.
impl BitOr for Reports {
    type Output = Reports;

    fn bitor(self, others: Reports) -> Reports {
        Reports(self.0 | others.0)
    }
}

/// These without those.
impl Sub for Reports {
    type Output = Reports;

    fn sub(self, others: Reports) -> Reports {
        Reports(self.0 & !others.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_report_is_one_of_its_own() {
        let each = [
            Reports::TURN_BEGAN,
            Reports::STEPS,
            Reports::EVENTS,
            Reports::CALLBACK_BEGAN,
            Reports::CALLBACK_ENDED,
            Reports::INTEREST,
            Reports::FLUSHES,
        ];
        for (place, report) in each.into_iter().enumerate() {
            assert_eq!(report.0.count_ones(), 1);
            assert!(each[..place].iter().all(|before| *before != report));
            assert!(Reports::ALL.contain(report));
        }
    }

    #[test]
    fn sets_are_joined_and_cut() {
        let some = Reports::EVENTS | Reports::FLUSHES;
        assert!(some.contain(Reports::EVENTS) && !some.contain(Reports::STEPS));
        assert_eq!(some - Reports::EVENTS, Reports::FLUSHES);
        assert!(Reports::ALL.contain(some) && some.contain(Reports::NONE));
        assert!(!Reports::NONE.contain(some));
    }
}
