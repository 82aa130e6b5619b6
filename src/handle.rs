//! Reaching the loop from other threads.
//!
//! A post is put on a queue, and the loop is woken if nobody has woken it since it last looked. The
//! order of the two sides is what keeps a wake-up from getting lost:
//!
//! ```text
//!   poster                                 loop
//!   1 push the closure                     1 clear the flag
//!   2 set the flag; if it was clear, wake  2 take the queue
//! ```
//!
//! A closure pushed after the loop took the queue finds the flag clear and wakes it again; one pushed
//! before is taken, at the worst with a wake-up to spare. Closures are promised, wake-ups are not: a
//! thousand posts to a busy loop cost one. The other order on the loop's side has lost wake-ups in
//! better libraries than this.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mio::Waker;

use crate::reactor::Reactor;

/// A closure on its way to the reactor's thread.
pub(crate) type Job = Box<dyn FnOnce(&mut Reactor) + Send>;

/// Reaches a reactor from any thread: [`post`](Handle::post) a closure to it, or [`stop`](Handle::stop)
/// it. Cheap to clone.
///
/// While a handle lives, [`run`](Reactor::run) does not return for want of work: something may still be
/// posted. Dropping the last one wakes the loop so that it can see. A handle made by
/// [`unref`](Handle::unref) does not count.
pub struct Handle {
    shared: Arc<Shared>,
    counts: bool,
}

impl Handle {
    pub(crate) fn new(shared: &Arc<Shared>) -> Handle {
        shared.handles.fetch_add(1, Ordering::Relaxed);
        Handle {
            shared: Arc::clone(shared),
            counts: true,
        }
    }

    /// Has the reactor run `job` on its own thread, after the timers of the turn that takes it. Jobs of
    /// one thread run in the order of their posting. Never blocks. Works before `run`, too.
    ///
    /// # Errors
    ///
    /// [`PostError::Full`] if [`post_capacity`](crate::Builder::post_capacity) jobs are waiting,
    /// [`PostError::Gone`] if the reactor has been dropped. Either gives the job back.
    pub fn post<F>(&self, job: F) -> Result<(), PostError<F>>
    where
        F: FnOnce(&mut Reactor) + Send + 'static,
    {
        {
            let mut queue = self.shared.lock();
            if queue.closed {
                return Err(PostError::Gone(job));
            }
            if queue.jobs.len() >= self.shared.capacity {
                queue.refused += 1;
                return Err(PostError::Full(job));
            }
            queue.jobs.push_back(Box::new(job));
        }
        self.shared.wake();
        Ok(())
    }

    /// Has [`run`](Reactor::run) return after the turn in hand, or at once if it is not running yet.
    /// On a reactor that is gone it does nothing.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.wake();
    }

    /// The same handle, but one that does not keep `run` from returning when nothing is left to do.
    /// For those that only ever `stop`.
    #[must_use]
    pub fn unref(mut self) -> Handle {
        if std::mem::take(&mut self.counts) {
            self.shared.release();
        }
        self
    }
}

impl Clone for Handle {
    fn clone(&self) -> Handle {
        if self.counts {
            return Handle::new(&self.shared);
        }
        Handle {
            shared: Arc::clone(&self.shared),
            counts: false,
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.counts {
            self.shared.release();
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queue = self.shared.lock();
        f.debug_struct("Handle")
            .field("waiting", &queue.jobs.len())
            .field("gone", &queue.closed)
            .finish_non_exhaustive()
    }
}

/// Why a post was refused; gives the closure back.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PostError<F> {
    /// As many jobs are waiting as may.
    Full(F),
    /// The reactor has been dropped.
    Gone(F),
}

impl<F> PostError<F> {
    /// The closure that was not taken.
    pub fn into_inner(self) -> F {
        match self {
            PostError::Full(job) | PostError::Gone(job) => job,
        }
    }

    /// Whether the reactor is gone, so that trying again is no use.
    pub fn is_gone(&self) -> bool {
        matches!(self, PostError::Gone(_))
    }
}

impl<F> fmt::Debug for PostError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_gone() {
            "Gone(..)"
        } else {
            "Full(..)"
        })
    }
}

impl<F> fmt::Display for PostError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_gone() {
            "post refused: the reactor has been dropped"
        } else {
            "post refused: the reactor's queue is full"
        })
    }
}

impl<F> Error for PostError<F> {}

/// What a reactor and its handles have in common.
pub(crate) struct Shared {
    queue: Mutex<Queue>,
    /// Most jobs that may wait.
    capacity: usize,
    /// Set by whoever has woken the loop, cleared by the loop before it takes the queue.
    woken: AtomicBool,
    /// A state, not an event: it holds before `run` as well.
    stop: AtomicBool,
    /// Handles that may still post.
    handles: AtomicUsize,
    waker: Waker,
}

struct Queue {
    jobs: VecDeque<Job>,
    /// Posts that found it full.
    refused: u64,
    /// Set when the reactor is dropped; nothing is taken after that.
    closed: bool,
}

impl Shared {
    pub(crate) fn new(waker: Waker, capacity: usize) -> Shared {
        Shared {
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
        }
    }

    /// No user code runs under the lock, so it cannot be poisoned by a panic of theirs.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            if let Err(error) = self.waker.wake() {
                // The flag must not claim a wake-up that did not happen.
                self.woken.store(false, Ordering::Release);
                log::error!("cannot wake the reactor: {error}");
            }
        }
    }

    fn release(&self) {
        if self.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.wake();
        }
    }

    /// Moves up to `most` waiting jobs to `batch`; whether some are left.
    pub(crate) fn take_jobs(
        &self,
        most: usize,
        left_over: bool,
        batch: &mut VecDeque<Job>,
    ) -> bool {
        if !left_over && !self.woken.load(Ordering::Acquire) {
            return false;
        }
        // A swap, for it reads what it overwrites: whoever set the flag and therefore did not wake the
        // loop has its `stop`, or the end of its handle, seen by the loop after this. A store would
        // order nothing but the queue, which has its lock.
        self.woken.swap(false, Ordering::AcqRel);
        let mut queue = self.lock();
        let count = most.min(queue.jobs.len());
        batch.extend(queue.jobs.drain(..count));
        !queue.jobs.is_empty()
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

    /// How many posts found the queue full.
    pub(crate) fn refused(&self) -> u64 {
        self.lock().refused
    }

    /// The reactor is going: refuses everything from now on, and gives back what was waiting, which
    /// dies on the reactor's thread.
    pub(crate) fn close(&self) -> VecDeque<Job> {
        let mut queue = self.lock();
        queue.closed = true;
        std::mem::take(&mut queue.jobs)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("waiting", &self.lock().jobs.len())
            .field("woken", &self.woken)
            .finish_non_exhaustive()
    }
}
