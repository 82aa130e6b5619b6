//! Reaching the loop from other threads.

mod job;
mod permit;

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::context::Context;
use crate::reactor::Reactor;
use crate::world::mailbox::{Lane, Mailbox, Refusal};

pub(crate) use self::job::Job;
pub use self::permit::Permit;

/// Reaches a reactor from any thread: [`post`](Handle::post) a closure to it, or [`stop`](Handle::stop)
/// it. Cheap to clone.
///
/// ```
/// use slabloop::Reactor;
/// use std::thread;
///
/// # fn main() -> std::io::Result<()> {
/// let mut reactor = Reactor::new()?;
/// let handle = reactor.handle();
/// let worker = thread::spawn(move || {
///     let result = 6 * 7; // Work that would block the loop.
///     handle.post(move |_reactor| println!("the result is {result}"))
/// });
/// reactor.run()?; // Returns when the last handle has been dropped and nothing is left.
/// # worker.join().expect("it does not panic").expect("there is room");
/// # Ok(()) }
/// ```
///
/// While a handle exists, [`run`](Reactor::run) does not return for lack of work: something may still be
/// posted. Dropping the last one wakes the loop, so that `run` can return. A handle made by
/// [`unref`](Handle::unref) does not count.
///
/// The queue has [`post_capacity`](crate::Builder::post_capacity) places. The methods differ in what happens when
/// the queue is full:
///
/// | method | when the queue is full |
/// |---|---|
/// | [`post`](Handle::post), [`post_urgent`](Handle::post_urgent) | returns the closure immediately |
/// | [`post_wait`](Handle::post_wait) | blocks the calling thread until there is a place |
/// | [`reserve`](Handle::reserve), then [`Permit::post`] | never fails, because the place was reserved before |
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

    fn pack<F>(&self, job: F) -> Job
    where
        F: FnOnce(&mut Reactor) + Send + 'static,
    {
        Job::new(job, &self.mailbox)
    }

    /// Makes the reactor run `job` on its own thread, after the timers of the turn that takes it. Jobs of
    /// one thread run in the order of their posting. Never blocks. Works before `run`, too.
    ///
    /// ```
    /// # use slabloop::{AnyId, Handle, PostError};
    /// /// Called on any thread.
    /// fn report(handle: &Handle, to: AnyId, line: String) {
    ///     let posted = handle.post(move |reactor| {
    ///         if let Some(mut connection) = reactor.at(to) {
    ///             let _ = connection.send(line.as_bytes()); // Its `handle_error` gets a failure.
    ///         }
    ///     });
    ///     match posted {
    ///         Ok(()) => {}
    ///         Err(PostError::Full(_)) => eprintln!("the loop is too busy"),
    ///         Err(_) => eprintln!("the reactor is gone"),
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`PostError::Full`] if no place is left in the queue: waiting jobs and [`Permit`]s together are
    /// as many as [`post_capacity`](crate::Builder::post_capacity). [`PostError::Gone`] if the reactor
    /// has been dropped. Both return the job.
    pub fn post<F>(&self, job: F) -> Result<(), PostError<F>>
    where
        F: FnOnce(&mut Reactor) + Send + 'static,
    {
        let refused = self.mailbox.post(job, Lane::Ordinary, |job| self.pack(job));
        refused.map_err(PostError::new)
    }

    /// Posts a job like [`post`](Handle::post), but it runs before all waiting jobs that are not urgent, including
    /// those that an earlier turn had no time for. Urgent jobs of one thread run in the order of their posting.
    ///
    /// It is for jobs that must not wait behind a long queue, such as a cancellation or a status request. The job runs
    /// when the loop next comes to its posts; jobs that the current turn has begun to run may come first. Urgent jobs
    /// count against [`posts_per_turn`](crate::Builder::posts_per_turn) like all others; if they fill every turn,
    /// ordinary jobs do not run at all.
    ///
    /// # Errors
    ///
    /// As [`post`](Handle::post): urgent jobs take places in the same queue, and no place is set aside for them. For a
    /// guaranteed place, call [`reserve`](Handle::reserve) before, and then [`Permit::post_urgent`].
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
        let refused = self.mailbox.post(job, Lane::Urgent, |job| self.pack(job));
        refused.map_err(PostError::new)
    }

    /// Posts a job like [`post`](Handle::post), but if the queue is full the calling thread sleeps until there is a
    /// place, for at most `timeout` of real time. `Duration::ZERO` does not wait, `Duration::MAX` waits without limit.
    ///
    /// A place becomes free when the loop takes a job off the queue, and when a [`Permit`] is dropped.
    /// Waiting threads are served in no particular order, and a thread that has not waited may be served before them;
    /// jobs of one thread keep their order.
    ///
    /// On the reactor's own thread it does not wait, because it would wait for itself: it is the same as `post` then.
    /// Beware of calling it on the thread of a second reactor, which serves nothing while it waits.
    ///
    /// # Errors
    ///
    /// [`PostError::Full`] if there was no place in time. [`PostError::Gone`] if the reactor has been
    /// dropped, also while this thread waited. Both return the job.
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
        let refused = self.mailbox.post_wait(job, timeout, |job| self.pack(job));
        refused.map_err(PostError::new)
    }

    /// Reserves a place in the queue for a job that is posted later: [`Permit::post`] never fails for lack of room.
    /// Never blocks.
    ///
    /// A permit holds its place until it is used or dropped. Like a clone of this handle, it keeps
    /// [`run`](Reactor::run) from returning, unless this handle was made by [`unref`](Handle::unref).
    ///
    /// ```
    /// # use slabloop::Reactor;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut reactor = Reactor::new()?;
    /// let permit = reactor.handle().reserve()?; // Fails here, or never.
    /// let worker = std::thread::spawn(move || permit.post(|_| println!("done")).is_ok());
    /// reactor.run()?;
    /// assert!(worker.join().expect("it does not panic"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`post`](Handle::post); there is no job to return.
    pub fn reserve(&self) -> Result<Permit, PostError<()>> {
        match self.mailbox.reserve() {
            Ok(()) => Ok(Permit::new(self.clone())),
            Err(refusal) => Err(PostError::new((refusal, ()))),
        }
    }

    /// The number of places in the queue; see [`post_capacity`](crate::Builder::post_capacity).
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.mailbox.capacity()
    }

    /// Makes [`run`](Reactor::run) return after the current turn, or immediately if it is not running yet.
    /// It does nothing if the reactor has been dropped.
    ///
    /// ```
    /// # use slabloop::Reactor;
    /// # fn main() -> std::io::Result<()> {
    /// let mut reactor = Reactor::new()?;
    /// let handle = reactor.handle();
    /// let stopper = std::thread::spawn(move || {
    ///     // ... wait for a signal, or for a line on standard input ...
    ///     handle.stop();
    /// });
    /// reactor.run()?;
    /// # stopper.join().expect("it does not panic");
    /// # Ok(()) }
    /// ```
    pub fn stop(&self) {
        self.mailbox.stop();
    }

    /// Converts this handle into one that does not keep [`run`](Reactor::run) from returning when nothing is left to
    /// do, for a thread that only calls `stop`.
    #[must_use]
    pub fn unref(mut self) -> Handle {
        if std::mem::take(&mut self.counts) {
            self.mailbox.release();
        }
        self
    }
}

/// # Threads
impl Reactor {
    /// A [`Handle`], by which other threads reach this reactor.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::new(self.mailbox())
    }
}

/// # Threads
impl Context<'_> {
    /// A [`Handle`], by which other threads reach this reactor.
    ///
    /// ```
    /// # use slabloop::{Context, Dispatcher};
    /// # use std::io;
    /// struct Session;
    /// impl Dispatcher for Session {
    ///     fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///         cx.recv(&mut [0; 64])?;
    ///         let (handle, me) = (cx.handle(), cx.any_id());
    ///         std::thread::spawn(move || {
    ///             // This may block, and so must not run in the callback.
    ///             let text = std::fs::read("/etc/hostname").unwrap_or_default();
    ///             let answer = move |reactor: &mut slabloop::Reactor| {
    ///                 reactor.at(me).map(|mut session| session.send(&text));
    ///             };
    ///             let _ = handle.post(answer);
    ///         });
    ///         Ok(())
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::new(&self.queue())
    }

    /// The number of posts that found the queue full.
    pub(crate) fn posts_refused(&self) -> u64 {
        self.queue().refused()
    }

    /// The number of posts waiting in the queue.
    pub(crate) fn posts_waiting(&self) -> usize {
        self.queue().waiting()
    }

    /// From here on posts carry the time, or do not.
    #[cfg(feature = "observer")]
    pub(crate) fn time_posts(&self, timed: bool) {
        self.queue().time_posts(timed);
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

/// Why a post or a reservation was refused, with the closure, if there was one.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PostError<F> {
    /// No place is left in the queue: waiting jobs and permits together have reached its capacity.
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

    /// Whether the reactor has been dropped, so that trying again is useless.
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
