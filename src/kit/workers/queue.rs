//! What the loop and the threads share: the queue of jobs, and what each thread is doing.
//!
//! One lock guards both. A thread takes one job at a time, in the order of spawning: one that took several would
//! keep the later ones waiting behind the first, although another thread is idle. What makes it cheap is how
//! threads are woken: one at a time. While one is on its way, new jobs wake no other; when it has taken its job it
//! wakes the next, if there is more to do. A burst of short jobs is done by a thread or two, and wakes no more.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::error::{FullQueue, drop_contained};
use crate::{AnyId, Permit};

/// The work of a job, and the posting of its result.
pub(super) type Work = Box<dyn FnOnce(Permit, &Stint<'_>) + Send>;

/// A thread's time with one job.
pub(super) struct Stint<'a> {
    began: Instant,
    in_work: &'a AtomicBool,
}

impl Stint<'_> {
    /// The work has ended: how long it took. From here on the thread is held up by nothing of the user's.
    pub(super) fn end(&self) -> Duration {
        self.in_work.store(false, Ordering::Release);
        self.began.elapsed()
    }

    /// Drops something of the user's.
    pub(super) fn drop<T>(&self, value: T) {
        self.in_work.store(true, Ordering::Release);
        drop_contained(value);
    }
}

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
    /// It looks for a job, or sleeps until there is one.
    Free,
    /// It has a job, since then. Whether it is still in the work says a flag, for it posts the result without the lock.
    Running(Name, Instant),
    /// The thread has ended.
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
    /// Notifies a thread that there is a job, or that there will be none any more.
    work: Condvar,
    /// Notifies the loop that a thread has become free or has ended, once the queue is closed.
    ended: Condvar,
    /// For each seat, whether code of the user's runs there.
    in_work: Vec<AtomicBool>,
    capacity: usize,
}

impl Shared {
    pub(super) fn new(threads: usize, capacity: usize) -> Shared {
        Shared {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                cancelled: 0,
                // Whose thread has not begun yet will look for a job as well.
                seats: vec![Seat::Free; threads],
                asleep: 0,
                woken: false,
                closed: false,
            }),
            work: Condvar::new(),
            ended: Condvar::new(),
            in_work: (0..threads).map(|_| AtomicBool::new(false)).collect(),
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
        let running = self.running(&state).map(|(_, since)| since);
        (state.queued(), oldest, running.min())
    }

    /// The jobs that threads are in, and since when.
    fn running<'a>(&'a self, state: &'a State) -> impl Iterator<Item = (Name, Instant)> + 'a {
        let seats = state.seats.iter().zip(&self.in_work);
        seats.filter_map(|(seat, in_work)| match seat {
            Seat::Running(name, since) if in_work.load(Ordering::Acquire) => Some((*name, *since)),
            _ => None,
        })
    }

    /// Waits until every thread has ended, those excepted that are still in a job at `deadline`. Which seats are empty
    /// then, and the jobs of the others. To be called when the queue is closed and empty.
    pub(super) fn wait_for_threads(&self, deadline: Option<Instant>) -> (Vec<bool>, Vec<Name>) {
        let mut state = self.lock();
        loop {
            let ended: Vec<bool> = state
                .seats
                .iter()
                .map(|seat| matches!(seat, Seat::Ended))
                .collect();
            let running: Vec<Name> = self.running(&state).map(|(name, _)| name).collect();
            let present = ended.iter().filter(|ended| !**ended).count();
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if present == 0 || (present == running.len() && left == Some(Duration::ZERO)) {
                return (ended, running);
            }
            // A thread that is in no job ends by itself at once, and is waited for in any case.
            state = match left {
                Some(left) if present == running.len() => {
                    let woken = self.ended.wait_timeout(state, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                _ => {
                    let woken = self.ended.wait(state);
                    woken.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }

    /// A thread has ended.
    fn unseat(&self, index: usize) {
        self.lock().seats[index] = Seat::Ended;
        self.ended.notify_all();
    }

    /// The next job for a thread that has done its last one; none if it has to end.
    fn next(&self, index: usize) -> Option<(Body, Stint<'_>)> {
        let mut state = self.lock();
        state.seats[index] = Seat::Free;
        if state.closed {
            self.ended.notify_all();
        }
        loop {
            if let Some(job) = state.waiting.pop_front() {
                state.sweep_front();
                if let Some(body) = job.body {
                    let stint = Stint {
                        began: Instant::now(),
                        in_work: &self.in_work[index],
                    };
                    stint.in_work.store(true, Ordering::Release);
                    state.seats[index] = Seat::Running(job.name, stint.began);
                    self.wake_one(state);
                    return Some((body, stint));
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
    while let Some((Body { permit, work }, stint)) = shared.next(index) {
        work(permit, &stint);
    }
    shared.unseat(index);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dispatcher, Reactor};

    struct Idle;

    impl Dispatcher for Idle {}

    /// A queue without threads: what is called here is what one of them would do.
    struct Bench {
        reactor: Reactor,
        dispatcher: AnyId,
        shared: Shared,
    }

    impl Bench {
        fn new(capacity: usize) -> Bench {
            let mut reactor = Reactor::new().expect("a poller");
            let dispatcher = reactor.add_service(Idle).expect("room").any();
            Bench {
                reactor,
                dispatcher,
                shared: Shared::new(1, capacity),
            }
        }

        fn push(&self, number: u64) {
            let permit = self.reactor.handle().reserve().expect("room");
            let pushed = self.shared.push(permit, |permit| Waiting {
                name: Name {
                    number,
                    dispatcher: self.dispatcher,
                },
                key: 0,
                since: Instant::now(),
                body: Some(Body {
                    permit,
                    work: Box::new(|_, _| ()),
                }),
            });
            assert!(pushed.is_ok(), "there is room");
        }

        fn cancel(&self, number: u64) {
            assert!(self.shared.cancel(number).is_some());
        }

        /// How many jobs wait, and how many take memory there.
        fn queued(&self) -> (usize, usize) {
            (self.shared.look().0, self.shared.lock().waiting.len())
        }
    }

    #[test]
    fn cancelled_jobs_behind_one_that_waits_take_no_memory() {
        let bench = Bench::new(2);
        bench.push(0);
        for number in 1..1_000 {
            bench.push(number);
            bench.cancel(number);
            assert!(bench.queued().1 <= 3);
        }
    }

    #[test]
    fn cancelled_jobs_are_taken_out_when_they_are_the_most() {
        let bench = Bench::new(10);
        (0..10).for_each(|number| bench.push(number));
        for number in (5..10).rev() {
            bench.cancel(number);
        }
        assert_eq!(bench.queued(), (5, 10), "as many are alive");
        bench.cancel(4);
        assert_eq!(bench.queued(), (4, 4));
    }

    #[test]
    fn a_thread_passes_over_cancelled_jobs_and_they_are_counted_no_more() {
        let bench = Bench::new(10);
        (0..6).for_each(|number| bench.push(number));
        bench.cancel(1);
        bench.cancel(2);
        assert_eq!(bench.queued(), (4, 6));
        assert!(bench.shared.next(0).is_some());
        assert_eq!(bench.queued(), (3, 3));
        assert!(bench.shared.next(0).is_some());
        assert_eq!(bench.queued(), (2, 2));
    }

    #[test]
    fn a_job_runs_from_when_a_thread_takes_it_until_its_work_has_ended() {
        let bench = Bench::new(1);
        bench.push(0);
        assert_eq!(bench.shared.look().2, None);
        let (_, stint) = bench.shared.next(0).expect("it waits");
        assert_eq!(bench.shared.look().2, Some(stint.began));
        // The thread has not yet looked for the next one.
        stint.end();
        assert_eq!(bench.shared.look().2, None);
    }

    #[test]
    fn a_result_that_nobody_takes_is_dropped_as_a_part_of_the_job_and_may_panic() {
        struct Bomb<'a>(&'a AtomicBool);

        impl Drop for Bomb<'_> {
            fn drop(&mut self) {
                assert!(!self.0.load(Ordering::Acquire), "this is seen in the job");
            }
        }

        let in_work = AtomicBool::new(true);
        let stint = Stint {
            began: Instant::now(),
            in_work: &in_work,
        };
        stint.end();
        // It panics, and this test goes on.
        stint.drop(Bomb(&in_work));
        assert!(in_work.load(Ordering::Acquire));
    }
}
