//! What the timeline shows: callbacks, and the waits between them. Both have fixed places, and what does not fit is
//! counted.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::AnyId;
use crate::observe::{Callback, CallbackEnd, Outcome};

use super::watch::nanos;

/// Callbacks that a beat shows at most: the last ones,
const MOST_LAST: usize = 100;
/// and of those before as many that were slow.
const MOST_SLOW: usize = 40;
/// Waits that a beat shows at most: the longest.
const MOST_WAITS: usize = 40;

/// One callback. Times in nanoseconds since the reactor was built.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Slice {
    pub(super) id: AnyId,
    pub(super) callback: Callback,
    pub(super) began: u64,
    pub(super) took: u64,
    pub(super) queued: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) outcome: &'static str,
}

impl Slice {
    #[inline]
    pub(super) fn new(end: &CallbackEnd<'_>, ended: u64, took: u64) -> Slice {
        Slice {
            id: end.begin.id,
            callback: end.begin.callback,
            began: ended.saturating_sub(took),
            took,
            queued: nanos(end.begin.queued),
            bytes_in: end.bytes_in,
            bytes_out: end.bytes_out,
            outcome: match end.outcome {
                Outcome::Done => "ok",
                Outcome::WouldBlock => "would_block",
                Outcome::Panicked => "panicked",
                _ => "failed",
            },
        }
    }
}

/// The callbacks of one beat.
#[derive(Debug, Default)]
pub(super) struct Slices {
    /// A ring: once it is full, `next` is the oldest.
    last: Vec<Slice>,
    next: usize,
    slow: Vec<Slice>,
    dropped: u64,
}

impl Slices {
    /// `threshold` is what a slow one is longer than.
    #[inline]
    pub(super) fn push(&mut self, slice: Slice, threshold: u64) {
        if self.last.len() < MOST_LAST {
            self.last.push(slice);
            return;
        }
        let oldest = &mut self.last[self.next];
        if oldest.took > threshold && self.slow.len() < MOST_SLOW {
            self.slow.push(*oldest);
        } else {
            self.dropped += 1;
        }
        *oldest = slice;
        self.next = if self.next + 1 == MOST_LAST {
            0
        } else {
            self.next + 1
        };
    }

    /// In the order of time.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Slice> {
        let (newer, older) = self.last.split_at(self.next);
        self.slow.iter().chain(older).chain(newer)
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(super) fn clear(&mut self) {
        self.last.clear();
        self.slow.clear();
        self.next = 0;
        self.dropped = 0;
    }
}

/// The waits of one beat, as far as they are among the longest.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// Length and beginning; the shortest is the first to go.
    longest: BinaryHeap<Reverse<(u64, u64)>>,
}

impl Waits {
    pub(super) fn push(&mut self, began: u64, took: u64) {
        if self.longest.len() < MOST_WAITS {
            self.longest.push(Reverse((took, began)));
            return;
        }
        if self
            .longest
            .peek()
            .is_some_and(|shortest| shortest.0.0 < took)
        {
            self.longest.pop();
            self.longest.push(Reverse((took, began)));
        }
    }

    /// Beginning and length, in the order of time.
    pub(super) fn sorted(&self) -> Vec<(u64, u64)> {
        let waits = self.longest.iter();
        let mut waits: Vec<_> = waits
            .map(|Reverse((took, began))| (*began, *took))
            .collect();
        waits.sort_unstable();
        waits
    }

    pub(super) fn clear(&mut self) {
        self.longest.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a slow one is longer than.
    const THRESHOLD: u64 = 50;

    fn slice(began: u64, took: u64) -> Slice {
        Slice {
            id: AnyId::NONE,
            callback: Callback::Post,
            began,
            took,
            queued: 0,
            bytes_in: 0,
            bytes_out: 0,
            outcome: "ok",
        }
    }

    /// When those that are shown began.
    fn shown(slices: &Slices) -> Vec<u64> {
        slices.iter().map(|slice| slice.began).collect()
    }

    #[test]
    fn the_last_callbacks_are_shown_and_of_those_before_the_slow_ones() {
        let mut slices = Slices::default();
        for began in 0..100 {
            let took = match began {
                3 | 5 => THRESHOLD + 1,
                4 => THRESHOLD,
                _ => 1,
            };
            slices.push(slice(began, took), THRESHOLD);
        }
        assert_eq!(shown(&slices), Vec::from_iter(0..100));
        assert_eq!(slices.dropped(), 0);
        for began in 100..250 {
            slices.push(slice(began, 1), THRESHOLD);
        }
        assert_eq!(
            shown(&slices),
            Vec::from_iter([3, 5].into_iter().chain(150..250))
        );
        assert_eq!(slices.dropped(), 148);
        slices.clear();
        slices.push(slice(250, 1), THRESHOLD);
        assert_eq!((shown(&slices), slices.dropped()), (vec![250], 0));
    }

    #[test]
    fn of_many_slow_callbacks_the_first_and_the_last_are_shown() {
        let mut slices = Slices::default();
        for began in 0..200 {
            slices.push(slice(began, 2 * THRESHOLD), THRESHOLD);
        }
        assert_eq!(shown(&slices), Vec::from_iter((0..40).chain(100..200)));
        assert_eq!(slices.dropped(), 60);
    }

    #[test]
    fn the_longest_waits_are_shown_in_the_order_of_time() {
        let mut waits = Waits::default();
        for wait in 0..40 {
            waits.push(wait, 100 - wait);
        }
        let all: Vec<_> = (0..40).map(|wait| (wait, 100 - wait)).collect();
        assert_eq!(waits.sorted(), all);
        // As long as the shortest one, which stays, and shorter.
        waits.push(40, 61);
        waits.push(41, 60);
        assert_eq!(waits.sorted(), all);
        waits.push(42, 62);
        let longest = all[..39].iter().chain([&(42, 62)]);
        assert_eq!(waits.sorted(), Vec::from_iter(longest.copied()));
        waits.clear();
        assert_eq!(waits.sorted(), []);
    }
}
