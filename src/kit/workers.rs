//! A bounded pool of threads, for work that takes long and for calls that block.
//!
//! A callback must return soon: everybody waits for it. What computes for a while, or waits for a disk or a
//! lock, goes to a thread, and its result comes back to the dispatcher as one more callback:
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
//! # What is promised
//!
//! - Jobs start in the order of spawning. They end in any order.
//! - `then` is called exactly once, unless the job was cancelled before it began, the dispatcher is gone, or the
//!   pool or the reactor has ended. It cannot be refused for want of room: its place in the reactor's queue of posts
//!   is taken when the job is spawned.
//! - What does not fit is refused at once, and both closures come back ([`SpawnError`]).
//! - A panic in the work is a [`WorkerPanic`] for `then`, and the thread goes on.
//! - `then` stays on the loop's thread and need not be `Send`. A result whose dispatcher is gone is dropped there,
//!   too. (If the reactor itself is gone, it is dropped on the thread that made it.)
//!
//! # How a pool ends
//!
//! By [`Workers::shutdown`], with a deadline and a report. If the last [`Workers`] is dropped without it, jobs that
//! were taken are done and delivered, and then the threads end. If the reactor closes everything or is dropped, jobs
//! that have not begun are dropped, and threads end after the work in hand. None of these waits for a thread.
//!
//! `docs/workers.md` in the repository says what to do about overload, and what it costs.

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

/// A pool of threads that belongs to a reactor. Clones are the same pool; cloning costs an addition.
///
/// It stays on the reactor's thread: dispatchers keep a clone each.
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
    /// Chooses the limits of a pool. It is built in a reactor.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Has a thread run `work`, and then the loop call `then` with the dispatcher `id`, its context and the result.
    ///
    /// Never blocks. `cx` is the context of any dispatcher of the same reactor; usually it is the one of `id`. `then` is
    /// called from the loop, after the timers of a turn, as [posted](crate::Handle::post) closures are and within
    /// the same budget for each turn. It is treated as a callback of that dispatcher: what it returns follows
    /// [the table](Dispatcher#what-a-returned-error-does), and its panic is contained and ends that dispatcher.
    /// It may spawn again. If the dispatcher is gone by then, or [replaced](Context::replace) by one of another
    /// type, neither it nor anything else is called, and the result is dropped.
    ///
    /// Until then the job keeps [`run`](crate::Reactor::run) from returning.
    ///
    /// # Errors
    ///
    /// [`SpawnError::Full`] if as many jobs wait as may, or if the reactor's queue of posts has no place for the result;
    /// [`SpawnError::Closed`] during and after a shutdown of the pool or the reactor. Both closures come back.
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

    /// How the pool stands. Costs one lock and a look at each thread.
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

/// How a pool stands: what is in it, and what has been since it was built.
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
    /// Jobs that were refused, for whatever reason.
    pub refused: u64,
    /// Jobs that were cancelled.
    pub cancelled: u64,
    /// Real time that threads have spent in jobs whose results have reached the loop, the sum over all threads.
    pub busy: Duration,
    /// How long the first of those that wait has waited.
    pub oldest_queued: Option<Duration>,
    /// How long the longest of the jobs that a thread is in has taken so far.
    pub longest_running: Option<Duration>,
}
