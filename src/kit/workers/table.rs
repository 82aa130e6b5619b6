//! What stays on the loop's thread: what follows each job, and the counts.

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use slab::Slab;

use super::error::{WorkerPanic, drop_contained};
use super::queue::{Body, Shared, Waiting};
use super::stop::Unfinished;
use crate::{Context, Dispatcher, Id, Permit, Reactor, Unreached};

/// Calls the dispatcher with the outcome, an `Option<Result<T, WorkerPanic>>` of the type that it knows.
pub(super) type Then = Box<dyn FnOnce(&mut Reactor, &mut dyn Any) -> Result<(), Unreached>>;

/// What follows the jobs that have not come back, by key.
#[derive(Default)]
struct Table {
    thens: Slab<Then>,
    spawned: u64,
}

/// The loop's side of a pool.
pub(super) struct Side {
    pub(super) shared: Arc<Shared>,
    table: RefCell<Table>,
    /// The dispatcher by which results find the table.
    pub(super) service: OnceCell<Id<Service>>,
    /// The last `Workers` was dropped.
    pub(super) abandoned: Cell<bool>,
    /// Jobs that were queued when the pool ended.
    pub(super) dropped: RefCell<Vec<Unfinished>>,
    pub(super) finished: Cell<u64>,
    pub(super) panicked: Cell<u64>,
    pub(super) undelivered: Cell<u64>,
    pub(super) refused: Cell<u64>,
    pub(super) cancelled: Cell<u64>,
    pub(super) busy: Cell<Duration>,
}

fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

impl Side {
    pub(super) fn new(shared: Arc<Shared>) -> Side {
        Side {
            shared,
            table: RefCell::default(),
            service: OnceCell::new(),
            abandoned: Cell::new(false),
            dropped: RefCell::default(),
            finished: Cell::new(0),
            panicked: Cell::new(0),
            undelivered: Cell::new(0),
            refused: Cell::new(0),
            cancelled: Cell::new(0),
            busy: Cell::new(Duration::ZERO),
        }
    }

    /// Jobs that were spawned and have not come back.
    pub(super) fn in_hand(&self) -> usize {
        self.table.borrow().thens.len()
    }

    pub(super) fn count_refused(&self) {
        count(&self.refused);
    }

    /// Where the next job's `then` will be, and the job's number.
    pub(super) fn next(&self) -> (usize, u64) {
        let table = self.table.borrow();
        (table.thens.vacant_key(), table.spawned)
    }

    /// The job that `next` named is queued. (Its result cannot come before this: the loop is here.)
    pub(super) fn insert(&self, then: Then) {
        let mut table = self.table.borrow_mut();
        table.thens.insert(then);
        table.spawned += 1;
    }

    /// A result has come back.
    fn finish(&self, key: usize, took: Duration, panicked: bool) -> Option<Then> {
        let then = self.table.borrow_mut().thens.try_remove(key)?;
        count(if panicked {
            &self.panicked
        } else {
            &self.finished
        });
        self.busy.set(self.busy.get().saturating_add(took));
        Some(then)
    }

    /// Whether no job can be spawned any more, and none is in progress.
    pub(super) fn is_over(&self) -> bool {
        self.abandoned.get() && self.in_hand() == 0
    }

    /// Drops the jobs that no thread has taken, here on the loop's thread, and notes which they were.
    pub(super) fn drop_queued(&self) {
        for Waiting {
            name, key, body, ..
        } in self.shared.take_all()
        {
            let then = self.table.borrow_mut().thens.try_remove(key);
            self.dropped.borrow_mut().push(Unfinished::new(name));
            drop_contained(body);
            drop_contained(then);
        }
    }

    /// The reactor lets go of the pool: nothing can come back.
    fn end(&self) {
        self.shared.close();
        self.drop_queued();
        let thens = std::mem::take(&mut self.table.borrow_mut().thens);
        for (_, then) in thens {
            drop_contained(then);
        }
    }
}

/// Closes the pool's dispatcher, by a place in the queue of posts that was held for it or is free now.
pub(super) fn close_service(side: &Side, permit: Permit) {
    if let Some(&service) = side.service.get() {
        // An error says that the reactor is gone, and the service with it.
        let _ = permit.post(move |reactor| {
            if let Some(mut service) = reactor.at(service) {
                service.close();
            }
        });
    }
}

/// The pool's dispatcher, which has no socket. A result comes as a posted closure, which must be `Send` and so
/// cannot hold the table: it holds this one's id.
pub(super) struct Service {
    pub(super) side: Rc<Side>,
}

impl Dispatcher for Service {
    fn handle_close(&mut self, _: &mut Context<'_>) {
        self.side.end();
    }
}

/// Runs on the loop when a job is done.
pub(super) fn complete<T: 'static>(
    reactor: &mut Reactor,
    service: Id<Service>,
    key: usize,
    took: Duration,
    outcome: Result<T, WorkerPanic>,
) {
    let found = reactor.with(service, |service, cx| {
        let then = service.side.finish(key, took, outcome.is_err())?;
        if service.side.is_over() {
            cx.close();
        }
        Some((then, Rc::clone(&service.side)))
    });
    // None: the reactor has closed everything, and is in use again.
    if let Some(Some((then, side))) = found {
        let mut outcome = Some(outcome);
        if then(reactor, &mut outcome) == Err(Unreached::Gone) {
            count(&side.undelivered);
        }
    }
}

/// A job that was spawned. Dropping this has no effect on the job.
pub struct Job {
    side: Rc<Side>,
    number: u64,
    key: usize,
}

impl Job {
    pub(super) fn new(side: &Rc<Side>, key: usize, number: u64) -> Job {
        Job {
            side: Rc::clone(side),
            number,
            key,
        }
    }

    /// Cancels the job if no thread has begun it, and returns `true`. Both closures are then dropped before this
    /// returns, and there is room for another job. Returns `false` if the job has begun, is done, or was cancelled
    /// before: then nothing changes, and the result is delivered as usual.
    ///
    /// A thread cannot be interrupted. Long work that may become useless should check an
    /// [`AtomicBool`](std::sync::atomic::AtomicBool) from time to time.
    #[allow(
        clippy::must_use_candidate,
        reason = "most do not care whether it was in time"
    )]
    pub fn cancel(&self) -> bool {
        let Some(Body { permit, work }) = self.side.shared.cancel(self.number) else {
            return false;
        };
        let then = self.side.table.borrow_mut().thens.try_remove(self.key);
        count(&self.side.cancelled);
        if self.side.is_over() {
            close_service(&self.side, permit);
        } else {
            drop(permit);
        }
        drop_contained(work);
        drop_contained(then);
        true
    }

    /// The job's number: the first job of a pool has 0, and each further one the next number. Jobs start in this
    /// order.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Job({})", self.number)
    }
}
