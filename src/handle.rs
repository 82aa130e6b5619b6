//! Reaching the loop from other threads.

mod permit;

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::context::Context;
use crate::reactor::Reactor;
use crate::world::mailbox::{Lane, Mailbox, Refusal};

pub use self::permit::Permit;

/// A closure on its way to the reactor's thread.
pub(crate) type Job = Box<dyn FnOnce(&mut Reactor) + Send>;

fn pack<F: FnOnce(&mut Reactor) + Send + 'static>(job: F) -> Job {
    Box::new(job)
}

/// Reaches a reactor from any thread: [`post`](Handle::post) a closure to it, or [`stop`](Handle::stop)
/// it. Cheap to clone.
///
/// While a handle lives, [`run`](Reactor::run) does not return for want of work: something may still be
/// posted. Dropping the last one wakes the loop so that it can see. A handle made by
/// [`unref`](Handle::unref) does not count.
///
/// The queue has [`post_capacity`](crate::Builder::post_capacity) places. What to do when all are taken
/// depends on who posts:
///
/// | | when the queue is full |
/// |---|---|
/// | [`post`](Handle::post), [`post_urgent`](Handle::post_urgent) | gives the closure back at once |
/// | [`post_wait`](Handle::post_wait) | waits, for a thread that has nothing else to do |
/// | [`reserve`](Handle::reserve), then [`Permit::post`] | is sure of its place: it was taken before |
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
    /// [`PostError::Full`] if no place is left in the queue: jobs that wait and [`Permit`]s together are
    /// as many as [`post_capacity`](crate::Builder::post_capacity). [`PostError::Gone`] if the reactor
    /// has been dropped. Either gives the job back.
    pub fn post<F>(&self, job: F) -> Result<(), PostError<F>>
    where
        F: FnOnce(&mut Reactor) + Send + 'static,
    {
        let refused = self.mailbox.post(job, Lane::Ordinary, pack);
        refused.map_err(PostError::new)
    }

    /// As [`post`](Handle::post), but the job runs before all that wait and are not urgent, also those
    /// that an earlier turn had no time for. Urgent jobs of one thread run in the order of their posting.
    ///
    /// It is for what must not wait behind a long queue: to cancel, to ask how things stand. It runs
    /// when the loop next comes to its posts, and does not interrupt them: jobs that the turn in hand has
    /// begun to run may come first. Urgent jobs count against
    /// [`posts_per_turn`](crate::Builder::posts_per_turn) like all others; who posts so many that they
    /// fill every turn keeps ordinary jobs from running at all.
    ///
    /// # Errors
    ///
    /// As `post`: urgent jobs take places in the same queue, and none is set aside for them. To be sure
    /// of one, [`reserve`](Handle::reserve) it, and use [`Permit::post_urgent`].
    ///
    /// ```
    /// let mut reactor = slabloop::Reactor::new()?;
    /// let handle = reactor.handle();
    /// handle.post(|_| println!("second"))?;
    /// handle.post_urgent(|_| println!("first"))?;
    /// drop(handle);
    /// reactor.run()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn post_urgent<F>(&self, job: F) -> Result<(), PostError<F>>
    where
        F: FnOnce(&mut Reactor) + Send + 'static,
    {
        let refused = self.mailbox.post(job, Lane::Urgent, pack);
        refused.map_err(PostError::new)
    }

    /// As [`post`](Handle::post), but if the queue is full this thread sleeps until there is a place, at
    /// most for `timeout` of real time. `Duration::ZERO` does not wait, `Duration::MAX` waits without end.
    ///
    /// A place is free again when the loop takes a job off the queue, and when a [`Permit`] is dropped.
    /// Threads that wait are not served in any order, and one that comes at the right moment may be
    /// served before them; jobs of one thread keep their order.
    ///
    /// The reactor's own thread, in a callback or outside, does not wait, for it would wait for itself:
    /// there this is `post`. Beware of a second reactor's thread: it serves nothing while it waits.
    ///
    /// # Errors
    ///
    /// [`PostError::Full`] if there was no place in time. [`PostError::Gone`] if the reactor has been
    /// dropped, also while this thread waited. Either gives the job back.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let mut reactor = slabloop::Reactor::builder().post_capacity(1).build()?;
    /// let handle = reactor.handle();
    /// let worker = std::thread::spawn(move || {
    ///     for number in 0..3 {
    ///         let answer = move |_: &mut slabloop::Reactor| println!("{number}");
    ///         handle.post_wait(answer, Duration::from_secs(10)).expect("the loop runs");
    ///     }
    /// });
    /// reactor.run()?;
    /// worker.join().expect("it does not panic");
    /// assert_eq!(reactor.counters().posts, 3);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn post_wait<F>(&self, job: F, timeout: Duration) -> Result<(), PostError<F>>
    where
        F: FnOnce(&mut Reactor) + Send + 'static,
    {
        let refused = self.mailbox.post_wait(job, timeout, pack);
        refused.map_err(PostError::new)
    }

    /// Takes a place in the queue now, for a job that is posted later: [`Permit::post`] is never refused
    /// for want of room. Never blocks.
    ///
    /// A permit holds its place until it is used or dropped. As a clone of this handle does, it keeps
    /// [`run`](Reactor::run) from returning, unless this handle is one by [`unref`](Handle::unref).
    ///
    /// # Errors
    ///
    /// As [`post`](Handle::post); there is no job to give back.
    pub fn reserve(&self) -> Result<Permit, PostError<()>> {
        match self.mailbox.reserve() {
            Ok(()) => Ok(Permit::new(self.clone())),
            Err(refusal) => Err(PostError::new((refusal, ()))),
        }
    }

    /// How many places the queue has: [`post_capacity`](crate::Builder::post_capacity).
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.mailbox.capacity()
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
            .field("waiters", &self.mailbox.waiters())
            .field("gone", &self.mailbox.is_closed())
            .finish_non_exhaustive()
    }
}

/// Why a post, or a place for one, was refused; gives the closure back, if there was one.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PostError<F> {
    /// No place is left in the queue: jobs that wait and permits together are as many as may be.
    Full(F),
    /// The reactor has been dropped.
    Gone(F),
}

impl<F> PostError<F> {
    fn new((refusal, job): (Refusal, F)) -> PostError<F> {
        match refusal {
            Refusal::Full => PostError::Full(job),
            Refusal::Gone => PostError::Gone(job),
        }
    }

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
