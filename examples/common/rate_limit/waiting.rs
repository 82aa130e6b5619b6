//! Who waits for an answer of Redis, in the order of the questions. All wait equally long, so that is the order of their
//! deadlines as well, and one timer is enough.

use std::collections::VecDeque;
use std::time::Instant;

use slabloop::Context;
use slabloop::kit::limits::Prefix;
use slabloop::kit::retry::Permit;

use super::Verdict;

pub(crate) type Then = Box<dyn FnOnce(&mut Context<'_>, Verdict)>;

pub(crate) struct Waiter {
    pub(crate) client: Prefix,
    pub(crate) deadline: Instant,
    pub(crate) permit: Permit,
    /// None for a question that only tries whether Redis answers.
    pub(crate) then: Option<Then>,
}

/// A queue from which anyone may leave, by the number that was given at the end of the queue.
#[derive(Default)]
pub(crate) struct Waiting {
    /// `None` has left. The first has not.
    queue: VecDeque<Option<Waiter>>,
    /// The number of the first.
    first: u64,
}

impl Waiting {
    pub(crate) fn join(&mut self, waiter: Waiter) -> u64 {
        self.queue.push_back(Some(waiter));
        self.first + self.queue.len() as u64 - 1
    }

    /// `None` if it has left before.
    pub(crate) fn leave(&mut self, number: u64) -> Option<Waiter> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let waiter = self.queue.get_mut(at)?.take();
        while let Some(None) = self.queue.front() {
            self.queue.pop_front();
            self.first += 1;
        }
        waiter
    }

    /// Of one that has not left.
    pub(crate) fn client(&self, number: u64) -> Option<Prefix> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let waiter = self.queue.get(at)?.as_ref()?;
        Some(waiter.client)
    }

    /// The first, if its time is over.
    pub(crate) fn leave_first(&mut self, now: Instant) -> Option<Waiter> {
        if self.next_deadline()? > now {
            return None;
        }
        self.leave(self.first)
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let first = self.queue.front()?.as_ref();
        first.map(|first| first.deadline)
    }

    /// All leave.
    pub(crate) fn leave_all(&mut self) -> Vec<Waiter> {
        self.first += self.queue.len() as u64;
        self.queue.drain(..).flatten().collect()
    }
}
