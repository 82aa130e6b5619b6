//! The queue between other threads and the loop.
//!
//! A post is put on a queue, and the loop is woken if no thread has woken it since it last looked. The
//! order of the two sides is what keeps a wake-up from getting lost:
//!
//! ```text
//!   poster                                 loop
//!   1 push the job                         1 clear the flag
//!   2 set the flag; if it was clear, wake  2 take the queue
//! ```
//!
//! A job pushed after the loop took the queue finds the flag clear and wakes it again; one pushed before
//! is taken, at the worst with a wake-up to spare. Jobs are promised, wake-ups are not: a thousand posts
//! to a busy loop cost one wake-up. With the loop's two steps the other way round, a job pushed between
//! them would find the flag set, and wait until something else woke the loop.
//!
//! The other way round, a thread may wait for a place in the queue. It sees under the lock that there is
//! none, and is counted there; a thread that frees places does so under the lock, too, and then wakes as many
//! threads as there are places. While none waits, that costs a look at a number.

mod queue;

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use mio::Waker;

use self::queue::Queue;
use crate::world::topics;

pub(crate) use self::queue::{Jobs, Lane};

/// What a reactor and its handles share. `J` is what is posted: a job whose meaning is known above.
pub(crate) struct Mailbox<J> {
    queue: Mutex<Queue<J>>,
    /// How many places the queue has.
    capacity: usize,
    /// Tells threads that wait for a place that there is one, or never will be.
    room: Condvar,
    /// Set by the thread that wakes the loop, cleared by the loop before it takes the queue.
    woken: AtomicBool,
    /// A state, not an event: it holds before `run` as well.
    stop: AtomicBool,
    /// Handles that may still post.
    handles: AtomicUsize,
    /// Posts carry the time when they were made.
    #[cfg(feature = "observer")]
    timed: AtomicBool,
    waker: Waker,
    /// The loop's own thread.
    owner: ThreadId,
    /// The loop runs: it looks at the flag before it sleeps. Matters to its own thread only.
    awake: AtomicBool,
}

/// Why a post was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Every place is taken or held.
    Full,
    /// The reactor has been dropped.
    Gone,
}

impl<J> Mailbox<J> {
    pub(crate) fn new(waker: Waker, capacity: usize) -> Mailbox<J> {
        Mailbox {
            queue: Mutex::new(Queue::new(capacity)),
            capacity,
            room: Condvar::new(),
            woken: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            handles: AtomicUsize::new(0),
            #[cfg(feature = "observer")]
            timed: AtomicBool::new(false),
            waker,
            owner: thread::current().id(),
            awake: AtomicBool::new(false),
        }
    }

    /// No user code runs under the lock, so it cannot be poisoned by a panic of theirs.
    fn lock(&self) -> MutexGuard<'_, Queue<J>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues what `pack` makes of `job`, and wakes the loop. A job that is refused is given back
    /// unpacked.
    pub(crate) fn post<F>(
        &self,
        job: F,
        lane: Lane,
        pack: impl FnOnce(F) -> J,
    ) -> Result<(), (Refusal, F)> {
        {
            let mut queue = self.lock();
            if let Err(refusal) = queue.take_place() {
                return Err((refusal, job));
            }
            queue.jobs.lane(lane).push_back(pack(job));
        }
        self.wake();
        Ok(())
    }

    /// As `post`, but waits for a place for at most `timeout`. The loop's own thread does not wait: it
    /// would wait for itself.
    pub(crate) fn post_wait<F>(
        &self,
        job: F,
        timeout: Duration,
        pack: impl FnOnce(F) -> J,
    ) -> Result<(), (Refusal, F)> {
        {
            let mut queue = self.lock();
            if queue.is_full() && thread::current().id() != self.owner {
                queue = self.wait_for_room(queue, timeout);
            }
            if let Err(refusal) = queue.take_place() {
                return Err((refusal, job));
            }
            queue.jobs.lane(Lane::Ordinary).push_back(pack(job));
        }
        self.wake();
        Ok(())
    }

    /// Sleeps until the queue is no longer full, or the time is up: the caller looks which.
    fn wait_for_room<'q>(
        &self,
        mut queue: MutexGuard<'q, Queue<J>>,
        timeout: Duration,
    ) -> MutexGuard<'q, Queue<J>> {
        // No deadline is one that no clock will reach.
        let deadline = Instant::now().checked_add(timeout);
        queue.waiters += 1;
        while queue.is_full() {
            let left = deadline.map_or(timeout, |at| at.saturating_duration_since(Instant::now()));
            if left == Duration::ZERO {
                break;
            }
            let woken = self.room.wait_timeout(queue, left);
            queue = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        queue.waiters -= 1;
        queue
    }

    /// Unlocks the queue, in which `places` have been freed, and wakes threads for them.
    fn tell_of_room(&self, queue: MutexGuard<'_, Queue<J>>, places: usize) {
        let waiters = queue.waiters;
        drop(queue);
        if places >= waiters {
            if waiters > 0 {
                self.room.notify_all();
            }
            return;
        }
        for _ in 0..places {
            self.room.notify_one();
        }
    }

    /// Takes a place for a job that is posted later.
    pub(crate) fn reserve(&self) -> Result<(), Refusal> {
        self.lock().take_place()
    }

    /// Gives a place back that `reserve` took, unused.
    pub(crate) fn give_back(&self) {
        let mut queue = self.lock();
        queue.give_back(1);
        self.tell_of_room(queue, 1);
    }

    /// Queues a job for which `reserve` took the place; gives it back if the reactor is gone.
    pub(crate) fn post_reserved<F>(
        &self,
        job: F,
        lane: Lane,
        pack: impl FnOnce(F) -> J,
    ) -> Result<(), F> {
        {
            let mut queue = self.lock();
            if queue.closed {
                return Err(job);
            }
            queue.jobs.lane(lane).push_back(pack(job));
        }
        self.wake();
        Ok(())
    }

    /// Asks the loop to stop.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) && !self.is_posting_to_itself() {
            self.ring();
        }
    }

    fn ring(&self) {
        if let Err(error) = self.waker.wake() {
            // The flag must not claim a wake-up that did not happen.
            self.woken.store(false, Ordering::Release);
            log::error!(target: topics::POLL, "cannot wake the reactor: {error}");
        }
    }

    /// Whether this is the loop's thread, while it runs: it would only wake itself.
    fn is_posting_to_itself(&self) -> bool {
        self.awake.load(Ordering::Relaxed) && thread::current().id() == self.owner
    }

    /// The loop begins or ends to run turn after turn.
    pub(crate) fn set_awake(&self, awake: bool) {
        self.awake.store(awake, Ordering::Relaxed);
    }

    /// Whether the loop has been woken since it last took the queue, and so must not sleep.
    pub(crate) fn is_woken(&self) -> bool {
        self.woken.load(Ordering::Acquire)
    }

    /// A handle more may post.
    pub(crate) fn retain(&self) {
        self.handles.fetch_add(1, Ordering::Relaxed);
    }

    /// A handle less may post; without the last one the loop has to see that.
    pub(crate) fn release(&self) {
        if self.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.wake();
        }
    }

    /// Fills `batch` up to `most` jobs from those that wait; how many still do.
    pub(crate) fn take_jobs(&self, most: usize, left_over: bool, batch: &mut Jobs<J>) -> usize {
        if !left_over && !self.woken.load(Ordering::Acquire) {
            return 0;
        }
        // A swap, for it reads what it overwrites: a thread that set the flag and therefore did not wake
        // the loop has its `stop`, or the end of its handle, seen by the loop after this. A store would
        // order nothing but the queue, which has its lock.
        self.woken.swap(false, Ordering::AcqRel);
        let mut queue = self.lock();
        let places = queue.take_off(most, batch);
        let left = queue.jobs.len();
        self.tell_of_room(queue, places);
        left
    }

    /// Whether `stop` was called since this was last asked.
    pub(crate) fn take_stop(&self) -> bool {
        self.stop.load(Ordering::Acquire) && self.stop.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn has_handles(&self) -> bool {
        self.handles.load(Ordering::Acquire) > 0
    }

    pub(crate) fn has_jobs(&self) -> bool {
        !self.lock().jobs.is_empty()
    }

    /// How many jobs wait.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().jobs.len()
    }

    /// Whether somebody wants to know how long posts wait.
    #[cfg(feature = "observer")]
    pub(crate) fn time_posts(&self, timed: bool) {
        self.timed.store(timed, Ordering::Relaxed);
    }

    #[cfg(feature = "observer")]
    pub(crate) fn are_posts_timed(&self) -> bool {
        self.timed.load(Ordering::Relaxed)
    }

    /// How many places there are.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many threads wait for a place.
    pub(crate) fn waiters(&self) -> usize {
        self.lock().waiters
    }

    /// Whether the reactor has been dropped.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// How many posts and permits asked for found the queue full.
    pub(crate) fn refused(&self) -> u64 {
        self.lock().refused
    }

    /// The reactor is going: refuses everything from now on, and gives back what was waiting, which
    /// dies on the reactor's thread.
    pub(crate) fn close(&self) -> VecDeque<J> {
        let jobs = self.lock().close();
        self.room.notify_all();
        jobs.into_all()
    }
}

impl<J> fmt::Debug for Mailbox<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox")
            .field("waiting", &self.waiting())
            .field("woken", &self.woken)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use mio::{Poll, Token};

    use super::*;

    fn mailbox(capacity: usize) -> (Poll, Mailbox<u32>) {
        let poll = Poll::new().expect("a poller");
        let waker = Waker::new(poll.registry(), Token(0)).expect("a descriptor");
        (poll, Mailbox::new(waker, capacity))
    }

    #[test]
    fn a_batch_takes_what_fits_and_leaves_the_rest_in_order() {
        let (_poll, mailbox) = mailbox(5);
        for job in 0..5 {
            let posted = mailbox.post(job, Lane::Ordinary, |job| job);
            posted.expect("there is a place");
        }
        let refused = mailbox.post(5, Lane::Ordinary, |job| job);
        assert_eq!(refused, Err((Refusal::Full, 5)));
        let mut batch = Jobs::new();
        assert_eq!(mailbox.take_jobs(2, false, &mut batch), 3);
        assert_eq!(*batch.lane(Lane::Ordinary), [0, 1]);
        let mut batch = Jobs::new();
        assert_eq!(mailbox.take_jobs(3, true, &mut batch), 0);
        assert_eq!(*batch.lane(Lane::Ordinary), [2, 3, 4]);
    }

    #[test]
    fn it_is_closed_once_the_reactor_is_gone() {
        let (_poll, mailbox) = mailbox(2);
        assert!(!mailbox.is_closed());
        let posted = mailbox.post(7, Lane::Ordinary, |job| job);
        posted.expect("there is a place");
        assert_eq!(mailbox.close(), [7]);
        assert!(mailbox.is_closed());
        let refused = mailbox.post(8, Lane::Ordinary, |job| job);
        assert_eq!(refused, Err((Refusal::Gone, 8)));
    }

    #[test]
    #[cfg(feature = "observer")]
    fn posts_carry_their_times_while_somebody_wants_to_know() {
        let (_poll, mailbox) = mailbox(1);
        assert!(!mailbox.are_posts_timed());
        mailbox.time_posts(true);
        assert!(mailbox.are_posts_timed());
        mailbox.time_posts(false);
        assert!(!mailbox.are_posts_timed());
    }
}
