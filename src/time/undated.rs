//! Timers that were set in a turn and have no due time yet.
//!
//! When a timer is due takes a reading of the clock, which costs more than all the rest of setting it. So those
//! that are set in a turn share one. It must not be an older one: a timer of 10 ms that is set 50 ms after the
//! reading would be due before it was set. It is taken afterwards, when the turn ends, or when so many wait for
//! it as is worth a reading; it is then no earlier than any of the calls that it serves, and no timer is early.
//! Each is later by what its turn still took at most, and before the next turn none could have fired.
//!
//! ```text
//!   set 10 ms    set 10 ms   the turn ends: the clock is read      both are due
//!  ─────┴────────────┴─────────────────┴───────────────────────────────┴──────► time
//!                                      │◄─────────── 10 ms ───────────►│
//! ```
//!
//! Between turns it is not known when the clock will be read next, and each timer has a reading of its own.

use crate::time::heap::Due;

/// So many share a reading at most: it costs each little then, and in a long turn they wait for few others.
const MOST: usize = 32;

/// What waits for a reading of the clock. `at` of each is how long after the reading it is due.
#[derive(Debug, Default)]
pub(super) struct Undated {
    dues: Vec<Due>,
    in_use: bool,
}

impl Undated {
    pub(super) fn begin(&mut self) {
        self.in_use = true;
    }

    pub(super) fn end(&mut self) {
        self.in_use = false;
    }

    /// Whether there will be a reading.
    pub(super) fn is_in_use(&self) -> bool {
        self.in_use
    }

    pub(super) fn is_empty(&self) -> bool {
        self.dues.is_empty()
    }

    /// True if it is time for the reading.
    pub(super) fn push(&mut self, due: Due) -> bool {
        self.dues.push(due);
        self.dues.len() >= MOST
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = Due> + '_ {
        self.dues.drain(..)
    }
}
