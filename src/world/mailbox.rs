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

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use mio::Waker;

use crate::world::topics;

/// What a reactor and its handles share. `J` is what is posted: a job whose meaning is known above.
pub(crate) struct Mailbox<J> {
    queue: Mutex<Queue<J>>,
    /// Most jobs that may wait.
    capacity: usize,
    /// Set by the thread that wakes the loop, cleared by the loop before it takes the queue.
    woken: AtomicBool,
    /// A state, not an event: it holds before `run` as well.
    stop: AtomicBool,
    /// Handles that may still post.
    handles: AtomicUsize,
    waker: Waker,
    /// The loop's own thread.
    owner: ThreadId,
    /// The loop runs: it looks at the flag before it sleeps. Matters to its own thread only.
    awake: AtomicBool,
}

struct Queue<J> {
    jobs: VecDeque<J>,
    /// Posts that found it full.
    refused: u64,
    /// Set when the reactor is dropped; nothing is taken after that.
    closed: bool,
}

/// Why a post was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// As many jobs are waiting as may.
    Full,
    /// The reactor has been dropped.
    Gone,
}

impl<J> Mailbox<J> {
    pub(crate) fn new(waker: Waker, capacity: usize) -> Mailbox<J> {
        Mailbox {
            queue: Mutex::new(Queue {
                jobs: VecDeque::new(),
                refused: 0,
                closed: false,
            }),
            capacity,
            woken: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            handles: AtomicUsize::new(0),
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
    pub(crate) fn post<F>(&self, job: F, pack: impl FnOnce(F) -> J) -> Result<(), (Refusal, F)> {
        {
            let mut queue = self.lock();
            if queue.closed {
                return Err((Refusal::Gone, job));
            }
            if queue.jobs.len() >= self.capacity {
                queue.refused += 1;
                return Err((Refusal::Full, job));
            }
            queue.jobs.push_back(pack(job));
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

    /// Moves up to `most` waiting jobs to `batch`; how many are left.
    pub(crate) fn take_jobs(&self, most: usize, left_over: bool, batch: &mut VecDeque<J>) -> usize {
        if !left_over && !self.woken.load(Ordering::Acquire) {
            return 0;
        }
        // A swap, for it reads what it overwrites: a thread that set the flag and therefore did not wake
        // the loop has its `stop`, or the end of its handle, seen by the loop after this. A store would
        // order nothing but the queue, which has its lock.
        self.woken.swap(false, Ordering::AcqRel);
        let mut queue = self.lock();
        let count = most.min(queue.jobs.len());
        batch.extend(queue.jobs.drain(..count));
        queue.jobs.len()
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

    /// Whether the reactor has been dropped.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// How many posts found the queue full.
    pub(crate) fn refused(&self) -> u64 {
        self.lock().refused
    }

    /// The reactor is going: refuses everything from now on, and gives back what was waiting, which
    /// dies on the reactor's thread.
    pub(crate) fn close(&self) -> VecDeque<J> {
        let mut queue = self.lock();
        queue.closed = true;
        std::mem::take(&mut queue.jobs)
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
