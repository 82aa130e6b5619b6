//! A bounded pool of threads, for long computations and for blocking calls.
//!
//! A callback must return soon, because the whole loop waits for it. Long computations, and calls that wait for a
//! disk or a lock, run on a thread of the pool; the result is delivered to the dispatcher as one more callback:
//!
//! ```
//! use slabloop::kit::workers::Workers;
//! use slabloop::{Context, Dispatcher, Reactor};
//!
//! struct Asker { answer: Option<u64> }
//! impl Dispatcher for Asker {}
//!
//! # fn main() -> std::io::Result<()> {
//! let mut reactor = Reactor::new()?;
//! let workers = Workers::builder().threads(2).build(&mut reactor)?;
//! let asker = reactor.add_service(Asker { answer: None })?;
//! // In a callback it is `workers.spawn(cx, cx.id(), ..)`.
//! reactor.with(asker, |_, cx| {
//!     let work = || (1..=1_000_000).sum::<u64>();                // on a thread
//!     workers.spawn(cx, asker, work, |asker: &mut Asker, _, sum| { // on the loop
//!         asker.answer = Some(sum?);
//!         Ok(())
//!     })
//! }).expect("it is there")?;
//! reactor.run()?; // returns when the result has come
//! assert_eq!(reactor.with(asker, |asker, _| asker.answer), Some(Some(500_000_500_000)));
//! # Ok(()) }
//! ```
//!
//! # Guarantees
//!
//! - Jobs start in the order of spawning. They end in any order.
//! - `then` is called exactly once, unless the job was cancelled before it began, the dispatcher is gone, or the pool
//!   or the reactor has ended. The result cannot be lost for lack of room: its place in the reactor's queue of posts
//!   is reserved when the job is spawned.
//! - A job for which there is no room is refused at once, and the error returns both closures ([`SpawnError`]).
//! - If the work panics, `then` gets a [`WorkerPanic`], and the thread takes the next job.
//! - `then` stays on the loop's thread and need not be `Send`. A result whose dispatcher is gone is dropped there,
//!   too. (If the reactor itself is gone, it is dropped on the thread that made it.)
//!
//! # How a pool ends
//!
//! [`Workers::shutdown`] ends a pool, with a deadline and a report. If the last [`Workers`] is dropped without it,
//! the accepted jobs are still done and their results delivered, and then the threads end. If the reactor closes
//! everything or is dropped, jobs that have not begun are dropped, and each thread ends after its present job. Only
//! `shutdown` waits for threads.
//!
//! `docs/workers.md` in the repository explains what to do about overload, and what a pool costs.

mod builder;
mod error;
mod queue;
mod stop;
mod table;

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use self::queue::{Body, Name, Refusal, Waiting, Work};
use self::table::{Service, Side, Then};
use crate::{Context, Dispatcher, Id, Permit};

pub use self::builder::Builder;
pub use self::error::{FullQueue, SpawnError, WorkerPanic};
pub use self::stop::{Stopped, Unfinished};
pub use self::table::Job;

/// A pool of threads that belongs to a reactor. Clones are the same pool, and cloning is cheap (a reference count).
///
/// It stays on the reactor's thread: each dispatcher that uses it keeps a clone.
#[derive(Clone)]
pub struct Workers {
    owner: Rc<Owner>,
}

/// What ends when the last handle is dropped.
struct Owner {
    side: Rc<Side>,
    /// Those that have not been joined, with the numbers of their seats.
    threads: RefCell<Vec<(usize, JoinHandle<()>)>>,
    /// By it the pool's dispatcher is closed, however full the queue of posts is. There until this is dropped.
    permit: Option<Permit>,
    name: String,
}

impl Workers {
    /// A builder with the default limits. A pool is built in a reactor.
    ///
    /// ```
    /// use slabloop::Reactor;
    /// use slabloop::kit::workers::Workers;
    ///
    /// let mut reactor = Reactor::new()?;
    /// let workers = Workers::builder().threads(4).queue(100).name("disk").build(&mut reactor)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Runs `work` on a thread, and then calls `then` on the loop with the dispatcher `id`, its context and the
    /// result.
    ///
    /// This never blocks. `cx` is the context of any dispatcher of the same reactor, usually the one of `id`. `then`
    /// is called after the timers of a turn, like a [posted](crate::Handle::post) closure and within the same budget
    /// for each turn. It is treated as a callback of that dispatcher: what it returns follows [the
    /// table](Dispatcher#what-a-returned-error-does), and its panic is contained and ends that dispatcher. It may
    /// spawn again. If the dispatcher is gone by then, or was [replaced](Context::replace) by one of another type,
    /// `then` is not called, and the result is dropped.
    ///
    /// Until then the job keeps [`run`](crate::Reactor::run) from returning.
    ///
    /// # Errors
    ///
    /// [`SpawnError::Full`] if too many jobs are waiting, or if the reactor's queue of posts has no place for the
    /// result. [`SpawnError::Closed`] during and after a shutdown of the pool or the reactor. The error returns both
    /// closures.
    ///
    /// # Example
    ///
    /// ```
    /// use slabloop::kit::workers::Workers;
    /// use slabloop::{Context, Dispatcher};
    /// use std::io;
    ///
    /// struct Client { workers: Workers }
    ///
    /// impl Client {
    ///     /// Sends a file; reading it may block, so a thread does it.
    ///     fn send_file(&mut self, cx: &mut Context<'_>, path: String) -> io::Result<()> {
    ///         let (work, me) = (move || std::fs::read(path), cx.id());
    ///         self.workers.spawn(cx, me, work, |_: &mut Client, cx, result| {
    ///             let bytes = result.map_err(io::Error::other)??; // a panic, an error
    ///             cx.send(&bytes)
    ///         })?;
    ///         Ok(())
    ///     }
    /// }
    /// # impl Dispatcher for Client {}
    /// ```
    pub fn spawn<D, T, W, N>(
        &self,
        cx: &mut Context<'_>,
        id: Id<D>,
        work: W,
        then: N,
    ) -> Result<Job, SpawnError<W, N>>
    where
        D: Dispatcher,
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
        N: FnOnce(&mut D, &mut Context<'_>, Result<T, WorkerPanic>) -> io::Result<()> + 'static,
    {
        let side = &self.owner.side;
        let service = match self.service(cx) {
            Some(service) if !cx.is_shutting_down() => service,
            _ => return Err(self.refuse(Refusal::Closed, work, then)),
        };
        let permit = match cx.handle().reserve() {
            Ok(permit) => permit,
            Err(_) => return Err(self.refuse(Refusal::Full(FullQueue::Posts), work, then)),
        };
        let (key, number) = side.next();
        let name = Name {
            number,
            dispatcher: id.any(),
        };
        let queued = side.shared.push((permit, work), |(permit, work)| Waiting {
            name,
            key,
            since: Instant::now(),
            body: Some(Body {
                permit,
                work: pack_work(service, key, work),
            }),
        });
        if let Err((refusal, (_permit, work))) = queued {
            return Err(self.refuse(refusal, work, then));
        }
        side.insert(pack_then(id, then));
        Ok(Job::new(side, key, number))
    }

    /// The pool's dispatcher, if it lives and `cx` is of its reactor: another one's may have the same id.
    fn service(&self, cx: &mut Context<'_>) -> Option<Id<Service>> {
        let side = &self.owner.side;
        let &service = side.service.get()?;
        let is_own = cx.try_with(service, |service, _| Rc::ptr_eq(&service.side, side));
        (is_own == Ok(true)).then_some(service)
    }

    fn refuse<W, N>(&self, refusal: Refusal, work: W, then: N) -> SpawnError<W, N> {
        self.owner.side.count_refused();
        match refusal {
            Refusal::Full(queue) => SpawnError::Full { queue, work, then },
            Refusal::Closed => SpawnError::Closed { work, then },
        }
    }

    /// The present state of the pool, and its counters. Costs one lock and a look at each thread.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        let side = &self.owner.side;
        let now = Instant::now();
        let age = |since: Option<Instant>| since.map(|since| now.saturating_duration_since(since));
        let (queued, oldest_queued, longest_running) = side.shared.look();
        Gauges {
            queued,
            running: side.in_hand() - queued,
            finished: side.finished.get(),
            panicked: side.panicked.get(),
            undelivered: side.undelivered.get(),
            refused: side.refused.get(),
            cancelled: side.cancelled.get(),
            busy: side.busy.get(),
            oldest_queued: age(oldest_queued),
            longest_running: age(longest_running),
        }
    }
}

/// The work as a thread takes it, whatever its type.
fn pack_work<T, W>(service: Id<Service>, key: usize, work: W) -> Work
where
    T: Send + 'static,
    W: FnOnce() -> T + Send + 'static,
{
    Box::new(move |permit, stint| {
        let outcome = catch_unwind(AssertUnwindSafe(work)).map_err(WorkerPanic::from_payload);
        let took = stint.end();
        let posted =
            permit.post(move |reactor| table::complete(reactor, service, key, took, outcome));
        if let Err(unposted) = posted {
            // The reactor is gone.
            stint.drop(unposted);
        }
    })
}

/// What follows, as the loop keeps it.
fn pack_then<D, T, N>(id: Id<D>, then: N) -> Then
where
    D: Dispatcher,
    T: 'static,
    N: FnOnce(&mut D, &mut Context<'_>, Result<T, WorkerPanic>) -> io::Result<()> + 'static,
{
    Box::new(move |reactor, outcome| {
        let outcome = outcome.downcast_mut::<Option<Result<T, WorkerPanic>>>();
        let outcome = outcome.and_then(Option::take);
        let outcome = outcome.expect("a key leads to what its own job's result is for");
        reactor.call(id, |dispatcher, cx| then(dispatcher, cx, outcome))
    })
}

impl Owner {
    /// Joins the threads whose seats are empty; how many.
    fn join(&self, ended: &[bool]) -> usize {
        let threads = self.threads.take();
        let (ended, left): (Vec<_>, Vec<_>) =
            threads.into_iter().partition(|(index, _)| ended[*index]);
        *self.threads.borrow_mut() = left;
        let count = ended.len();
        for (_, thread) in ended {
            // It catches every panic; one in a thread-local's drop is none of ours.
            let _ = thread.join();
        }
        count
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.side.shared.close();
        self.side.abandoned.set(true);
        if let (true, Some(permit)) = (self.side.is_over(), self.permit.take()) {
            table::close_service(&self.side, permit);
        }
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers")
            .field("name", &self.owner.name)
            .field("gauges", &self.gauges())
            .field("closed", &self.owner.side.shared.is_closed())
            .finish_non_exhaustive()
    }
}

/// The present state of a pool, and its counters since it was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gauges {
    /// Jobs that wait for a thread.
    pub queued: usize,
    /// Jobs that a thread has taken and whose result has not reached the loop.
    pub running: usize,
    /// Jobs that ended, and whose results reached the loop.
    pub finished: u64,
    /// Jobs whose work panicked; not in `finished`.
    pub panicked: u64,
    /// Results whose dispatcher was gone; they are in `finished` or `panicked` as well.
    pub undelivered: u64,
    /// Jobs that were refused, for any reason.
    pub refused: u64,
    /// Jobs that were cancelled.
    pub cancelled: u64,
    /// Wall-clock time that threads have spent in jobs whose results have reached the loop, summed over all threads.
    pub busy: Duration,
    /// How long the oldest waiting job has waited.
    pub oldest_queued: Option<Duration>,
    /// How long the longest of the running jobs has taken so far.
    pub longest_running: Option<Duration>,
}
