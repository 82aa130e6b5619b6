//! What waits in a mailbox, and the places that are left.
//!
//! A place is free, or held by a permit, or taken by a job. Only how many are free is counted: a post
//! and a permit each take one away, the loop gives back as many as it takes jobs off, and a job that is
//! posted with a permit inherits the permit's.

use std::collections::VecDeque;

use crate::world::mailbox::Refusal;

/// Which of the two queues a job stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Runs before all that is ordinary.
    Urgent,
    Ordinary,
}

/// Jobs that have not run, each lane in the order of posting.
pub(crate) struct Jobs<J> {
    urgent: VecDeque<J>,
    ordinary: VecDeque<J>,
}

impl<J> Jobs<J> {
    pub(crate) const fn new() -> Jobs<J> {
        Jobs {
            urgent: VecDeque::new(),
            ordinary: VecDeque::new(),
        }
    }

    #[inline]
    pub(crate) fn lane(&mut self, lane: Lane) -> &mut VecDeque<J> {
        match lane {
            Lane::Urgent => &mut self.urgent,
            Lane::Ordinary => &mut self.ordinary,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.urgent.len() + self.ordinary.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.ordinary.is_empty()
    }

    /// All of them, in the order in which they would run.
    pub(crate) fn into_all(mut self) -> VecDeque<J> {
        self.urgent.append(&mut self.ordinary);
        self.urgent
    }

    /// Moves jobs here until there are `most`; how many were moved. Ordinary ones that are here keep no
    /// urgent one out.
    fn fill_from(&mut self, waiting: &mut Jobs<J>, most: usize) -> usize {
        let room = most.saturating_sub(self.urgent.len());
        let urgent = shift(&mut waiting.urgent, &mut self.urgent, room);
        let room = most.saturating_sub(self.len());
        urgent + shift(&mut waiting.ordinary, &mut self.ordinary, room)
    }
}

/// Moves up to `most` from the front of one queue to the back of the other; how many.
fn shift<J>(from: &mut VecDeque<J>, to: &mut VecDeque<J>, most: usize) -> usize {
    // The common case, and it costs the same for one as for a thousand.
    if to.is_empty() && from.len() <= most {
        std::mem::swap(from, to);
        return to.len();
    }
    let count = most.min(from.len());
    to.extend(from.drain(..count));
    count
}

/// What the lock of a mailbox guards.
pub(super) struct Queue<J> {
    pub(super) jobs: Jobs<J>,
    /// Places that are neither held nor taken.
    free: usize,
    /// Threads that wait for a place, those included that have been woken and do not run yet.
    pub(super) waiters: usize,
    /// Posts, and permits asked for, that found no place.
    pub(super) refused: u64,
    /// Set when the reactor is dropped; nothing is taken after that.
    pub(super) closed: bool,
}

impl<J> Queue<J> {
    pub(super) fn new(capacity: usize) -> Queue<J> {
        Queue {
            jobs: Jobs::new(),
            free: capacity,
            waiters: 0,
            refused: 0,
            closed: false,
        }
    }

    #[inline]
    pub(super) fn take_place(&mut self) -> Result<(), Refusal> {
        if self.closed {
            return Err(Refusal::Gone);
        }
        if self.free == 0 {
            self.refused += 1;
            return Err(Refusal::Full);
        }
        self.free -= 1;
        Ok(())
    }

    /// Whether a thread that asks for a place now has to wait for it.
    pub(super) fn is_full(&self) -> bool {
        self.free == 0 && !self.closed
    }

    pub(super) fn give_back(&mut self, places: usize) {
        self.free += places;
    }

    /// Fills `batch` up to `most` jobs; how many places are free thereby.
    pub(super) fn take_off(&mut self, most: usize, batch: &mut Jobs<J>) -> usize {
        let places = batch.fill_from(&mut self.jobs, most);
        self.give_back(places);
        places
    }

    pub(super) fn close(&mut self) -> Jobs<J> {
        self.closed = true;
        std::mem::replace(&mut self.jobs, Jobs::new())
    }
}
