//! A heap of due times that gives away all that have come in one go.
//!
//! It is a tree in a vector: the one at place *p* has up to four children, from place 4*p* + 1 on, and
//! none of them is earlier than it. Four and not two, because such a tree is half as deep, and the four
//! that have to be compared lie side by side: in a large heap each level is a wait for memory.
//!
//! As no child is earlier than its parent, what is due hangs together at the top:
//!
//! ```text
//! place  0            3               due at 9 are 3, 5, 8, 9, 6 and 9
//! places 1 to 4       5  12   8  30
//! places 5 to 8       9  15   6  40   below the 5
//! places 9 to 12     13  20  12  31   below the 12, so they need no look
//! places 13 to 16    11  10  25   9   below the 8
//! ```
//!
//! It is found by walking down until something is later, taken out from the last place to the first,
//! and then sorted. To take out the earliest, again and again, would each time bring one up from the
//! end to the top, to sink through the whole tree.

use std::cmp::Ordering;
use std::ops::Range;

use crate::time::clock::Tick;

/// When a timer is due, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(super) at: Tick,
    pub(super) serial: u64,
    /// Where the timer is found.
    pub(super) index: u32,
}

impl Due {
    /// When.
    pub(crate) fn at(self) -> Tick {
        self.at
    }

    /// By what timers fire in order: by time, and those of one time as they were set. (As one number, because
    /// it can be compared without a jump.)
    fn key(&self) -> u128 {
        u128::from(self.at.nanos()) << 64 | u128::from(self.serial)
    }

    /// The same, if `at` so far is how long after `start` it is due.
    pub(super) fn counted_from(self, start: Tick) -> Due {
        Due {
            at: self.at.counted_from(start),
            ..self
        }
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Due) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Due) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// All due times; the first is the earliest.
#[derive(Debug, Default)]
pub(super) struct Heap {
    dues: Vec<Due>,
    /// Where [`Heap::take_due`] found what it takes; empty in between, and kept for its memory.
    due_places: Vec<usize>,
}

impl Heap {
    const CHILDREN: usize = 4;

    #[inline]
    pub(super) fn push(&mut self, due: Due) {
        let mut place = self.dues.len();
        self.dues.push(due);
        while place > 0 {
            let parent = (place - 1) / Self::CHILDREN;
            if self.dues[parent] < due {
                break;
            }
            self.dues[place] = self.dues[parent];
            place = parent;
        }
        self.dues[place] = due;
    }

    /// Drops the earliest.
    pub(super) fn pop(&mut self) {
        self.remove(0);
    }

    /// Moves to `batch`, in order, all that `is_due`. Below one that is not none is looked for.
    pub(super) fn take_due(&mut self, is_due: impl Fn(&Due) -> bool, batch: &mut Vec<Due>) {
        let start = batch.len();
        let mut places = std::mem::take(&mut self.due_places);
        // The walk begins as if the root were an only child.
        let mut children = 0..self.dues.len().min(1);
        let mut walked = 0;
        loop {
            for place in children {
                let due = self.dues[place];
                if is_due(&due) {
                    places.push(place);
                    batch.push(due);
                }
            }
            let Some(&place) = places.get(walked) else {
                break;
            };
            children = self.children(place);
            walked += 1;
        }
        // The walk went level by level, so the places ascend. They are emptied from the last on: what
        // fills a gap from the end is then none that is to go, and what is below the gap is in order.
        for place in places.drain(..).rev() {
            self.remove(place);
        }
        self.due_places = places;
        batch[start..].sort_unstable();
    }

    /// Drops all but those that `keep` picks.
    pub(super) fn retain(&mut self, keep: impl Fn(&Due) -> bool) {
        self.dues.retain(keep);
        for place in (0..self.dues.len().div_ceil(Self::CHILDREN)).rev() {
            self.sift_down(place);
        }
    }

    /// Drops one and fills the gap with the last one, which sinks from there to where it belongs. So
    /// whatever is above the gap must not be later than that one, or be about to go itself.
    fn remove(&mut self, place: usize) {
        self.dues.swap_remove(place);
        if place < self.dues.len() {
            self.sift_down(place);
        }
    }

    fn sift_down(&mut self, mut place: usize) {
        let sinking = self.dues[place];
        loop {
            let children = self.children(place);
            let Some(earliest) = children.min_by_key(|&child| self.dues[child].key()) else {
                break;
            };
            if sinking < self.dues[earliest] {
                break;
            }
            self.dues[place] = self.dues[earliest];
            place = earliest;
        }
        self.dues[place] = sinking;
    }

    /// The places of the children of `place`; there may be none.
    fn children(&self, place: usize) -> Range<usize> {
        let first = place * Self::CHILDREN + 1;
        first..self.dues.len().min(first + Self::CHILDREN)
    }

    pub(super) fn first(&self) -> Option<&Due> {
        self.dues.first()
    }

    /// All, in no order but that the first comes first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Due> {
        self.dues.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.dues.len()
    }

    /// All of them, in no order, after a look whether each is where it may be.
    #[cfg(feature = "testing")]
    pub(super) fn checked(&self) -> impl Iterator<Item = &Due> {
        for (place, due) in self.dues.iter().enumerate() {
            assert!(
                self.children(place).all(|child| *due < self.dues[child]),
                "no child is earlier than its parent"
            );
        }
        self.dues.iter()
    }
}
