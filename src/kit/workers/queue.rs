//! What the loop and the threads share: the queue of jobs, and what each thread is doing.
//!
//! One lock guards both. A thread takes one job at a time, in the order of spawning: one that took several would
//! keep the later ones waiting behind the first, although another thread is idle. What makes it cheap is that
//! a thread is woken only if one sleeps and is not being woken already: a thousand jobs for two threads cost
//! two wake-ups, and a busy thread looks for its next job before it sleeps.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::error::{FullQueue, drop_contained};
use crate::{AnyId, Permit};

/// The work of a job, and the posting of its result.
pub(super) type Work = Box<dyn FnOnce(Permit, Instant) + Send>;

/// Why a job is not taken.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refusal {
    Full(FullQueue),
    Closed,
}

/// Names a job: where it stands in the order of all, and for whom it is done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name {
    pub(super) number: u64,
    pub(super) dispatcher: AnyId,
}

/// A job that no thread has taken.
pub(super) struct Waiting {
    pub(super) name: Name,
    /// Where the loop keeps what follows.
    pub(super) key: usize,
    pub(super) since: Instant,
    /// None if it was cancelled.
    pub(super) body: Option<Body>,
}

pub(super) struct Body {
    pub(super) permit: Permit,
    pub(super) work: Work,
}

/// What a thread is doing.
#[derive(Clone, Copy, Debug)]
pub(super) enum Seat {
    /// Nothing of the user's runs: it looks for a job, or sleeps until there is one.
    Free,
    Running(Name, Instant),
    /// The thread has ended, or never began.
    Ended,
}

/// What the lock guards.
struct State {
    /// Ascending in number. The first one, if there is any, was not cancelled.
    waiting: VecDeque<Waiting>,
    /// How many in `waiting` were cancelled.
    cancelled: usize,
    seats: Vec<Seat>,
    /// Threads that sleep, those included that have been woken and do not run yet.
    asleep: usize,
    /// One of them has been woken.
    woken: bool,
    /// No job is taken any more; threads end when none waits.
    closed: bool,
}

pub(super) struct Shared {
    state: Mutex<State>,
    /// Tells a thread that there is a job, or never will be.
    work: Condvar,
    /// Tells the loop that a thread has become free or has ended, once the queue is closed.
    ended: Condvar,
    capacity: usize,
}

impl Shared {
    pub(super) fn new(threads: usize, capacity: usize) -> Shared {
        Shared {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                cancelled: 0,
                seats: vec![Seat::Ended; threads],
                asleep: 0,
                woken: false,
                closed: false,
            }),
            work: Condvar::new(),
            ended: Condvar::new(),
            capacity,
        }
    }

    /// No code of the user's runs under the lock, so none of theirs can poison it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues what `pack` makes of `parts`, or gives them back unpacked.
    pub(super) fn push<P>(
        &self,
        parts: P,
        pack: impl FnOnce(P) -> Waiting,
    ) -> Result<(), (Refusal, P)> {
        let mut state = self.lock();
        if state.closed {
            return Err((Refusal::Closed, parts));
        }
        if state.queued() >= self.capacity {
            return Err((Refusal::Full(FullQueue::Jobs), parts));
        }
        state.waiting.push_back(pack(parts));
        self.wake_one(state);
        Ok(())
    }

    /// Wakes a thread if a job waits for one, and none is on its way already.
    fn wake_one(&self, mut state: MutexGuard<'_, State>) {
        if state.asleep > 0 && !state.woken && !state.waiting.is_empty() {
            state.woken = true;
            drop(state);
            self.work.notify_one();
        }
    }

    /// Takes a job out that no thread has taken.
    pub(super) fn cancel(&self, number: u64) -> Option<Body> {
        let mut state = self.lock();
        let index = state
            .waiting
            .binary_search_by_key(&number, |job| job.name.number);
        let body = state.waiting[index.ok()?].body.take()?;
        state.cancelled += 1;
        state.sweep();
        Some(body)
    }

    /// Takes every job out that no thread has taken.
    pub(super) fn take_all(&self) -> VecDeque<Waiting> {
        let mut state = self.lock();
        state.cancelled = 0;
        let mut all = std::mem::take(&mut state.waiting);
        drop(state);
        all.retain(|job| job.body.is_some());
        all
    }

    /// Takes no more jobs. Threads end when they have done those that wait.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.work.notify_all();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// How many jobs wait, since when the first of them does, and since when the longest runs.
    pub(super) fn look(&self) -> (usize, Option<Instant>, Option<Instant>) {
        let state = self.lock();
        let oldest = state.waiting.front().map(|job| job.since);
        let running = state.seats.iter().filter_map(|seat| match seat {
            Seat::Running(_, since) => Some(*since),
            Seat::Free | Seat::Ended => None,
        });
        (state.queued(), oldest, running.min())
    }

    /// Waits until every thread has ended, those excepted that are still in a job at `deadline`. What each is
    /// doing then. To be called when the queue is closed and empty.
    pub(super) fn wait_for_threads(&self, deadline: Option<Instant>) -> Vec<Seat> {
        let mut state = self.lock();
        loop {
            let free = state.seats.iter().any(|seat| matches!(seat, Seat::Free));
            let running = state
                .seats
                .iter()
                .any(|seat| matches!(seat, Seat::Running(..)));
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if !free && (!running || left.is_some_and(|left| left.is_zero())) {
                return state.seats.clone();
            }
            // A free thread ends by itself at once: it is waited for in any case.
            state = match left {
                Some(left) if !free => {
                    let woken = self.ended.wait_timeout(state, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                _ => self
                    .ended
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// A thread is about to begin.
    pub(super) fn seat(&self, index: usize) {
        self.lock().seats[index] = Seat::Free;
    }

    /// A thread could not be started, or has ended.
    pub(super) fn unseat(&self, index: usize) {
        self.lock().seats[index] = Seat::Ended;
        self.ended.notify_all();
    }

    /// The next job for a thread that has done its last one; none if it has to end.
    fn next(&self, index: usize) -> Option<(Body, Instant)> {
        let mut state = self.lock();
        state.seats[index] = Seat::Free;
        if state.closed {
            self.ended.notify_all();
        }
        loop {
            if let Some(job) = state.waiting.pop_front() {
                state.sweep_front();
                if let Some(body) = job.body {
                    let now = Instant::now();
                    state.seats[index] = Seat::Running(job.name, now);
                    self.wake_one(state);
                    return Some((body, now));
                }
            } else if state.closed {
                return None;
            } else {
                state.asleep += 1;
                state = self
                    .work
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                state.asleep -= 1;
                // One that wakes for no reason may take another's place here: then there is a wake-up to spare.
                state.woken = false;
            }
        }
    }
}

impl State {
    fn queued(&self) -> usize {
        self.waiting.len() - self.cancelled
    }

    /// Keeps the memory of cancelled jobs below that of waiting ones, at a constant cost for each.
    fn sweep(&mut self) {
        self.sweep_front();
        if self.cancelled > self.waiting.len() / 2 {
            self.waiting.retain(|job| job.body.is_some());
            self.cancelled = 0;
        }
    }

    fn sweep_front(&mut self) {
        while self.waiting.front().is_some_and(|job| job.body.is_none()) {
            self.waiting.pop_front();
            self.cancelled -= 1;
        }
    }
}

/// What a thread does from beginning to end.
pub(super) fn work(shared: &Arc<Shared>, index: usize) {
    while let Some((Body { permit, work }, began)) = shared.next(index) {
        // The work's own panic is caught inside. This is for the drop of a result that the loop does not take,
        // because it is gone.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| work(permit, began))) {
            drop_contained(payload);
        }
    }
    shared.unseat(index);
}
