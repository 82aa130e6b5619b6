//! Reaching the loop from other threads.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::context::Context;
use crate::reactor::Reactor;
use crate::world::mailbox::{Mailbox, Refusal};

/// A closure on its way to the reactor's thread.
pub(crate) type Job = Box<dyn FnOnce(&mut Reactor) + Send>;

/// Reaches a reactor from any thread: [`post`](Handle::post) a closure to it, or [`stop`](Handle::stop)
/// it. Cheap to clone.
///
/// While a handle lives, [`run`](Reactor::run) does not return for want of work: something may still be
/// posted. Dropping the last one wakes the loop so that it can see. A handle made by
/// [`unref`](Handle::unref) does not count.
pub struct Handle {
    mailbox: Arc<Mailbox<Job>>,
    /// Whether it keeps `run` going.
    counts: bool,
}

impl Handle {
    fn new(mailbox: &Arc<Mailbox<Job>>) -> Handle {
        mailbox.retain();
        Handle {
            mailbox: Arc::clone(mailbox),
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
        let refused = self.mailbox.post(job, |job| Box::new(job));
        refused.map_err(|(refusal, job)| match refusal {
            Refusal::Full => PostError::Full(job),
            Refusal::Gone => PostError::Gone(job),
        })
    }

    /// Has [`run`](Reactor::run) return after the turn in hand, or at once if it is not running yet.
    /// On a reactor that is gone it does nothing.
    pub fn stop(&self) {
        self.mailbox.stop();
    }

    /// The same handle, but one that does not keep `run` from returning when nothing is left to do.
    /// For those that only ever `stop`.
    #[must_use]
    pub fn unref(mut self) -> Handle {
        if std::mem::take(&mut self.counts) {
            self.mailbox.release();
        }
        self
    }
}

impl Reactor {
    /// A handle by which other threads reach this reactor.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::new(self.mailbox())
    }
}

impl Context<'_> {
    /// A handle by which other threads reach this reactor.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::new(&self.queue())
    }

    /// How many posts found the queue full.
    pub(crate) fn posts_refused(&self) -> u64 {
        self.queue().refused()
    }

    /// How many posts wait in the queue.
    pub(crate) fn posts_waiting(&self) -> usize {
        self.queue().waiting()
    }

    fn queue(&self) -> Arc<Mailbox<Job>> {
        let Ok(mailbox) = self.mailbox().downcast() else {
            unreachable!("every reactor has a mailbox of this type");
        };
        mailbox
    }
}

impl Clone for Handle {
    fn clone(&self) -> Handle {
        if self.counts {
            return Handle::new(&self.mailbox);
        }
        Handle {
            mailbox: Arc::clone(&self.mailbox),
            counts: false,
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.counts {
            self.mailbox.release();
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("waiting", &self.mailbox.waiting())
            .field("gone", &self.mailbox.is_closed())
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
