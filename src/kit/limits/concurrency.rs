//! How many requests are worked on at once, how many wait, and which are turned away.

mod gate;
mod shed;

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use self::gate::{Attendant, Gate, Waiter};
use super::invalid;
use crate::{Context, Dispatcher, Id, Reactor};

pub use self::shed::Shed;

/// A limit on what is done at once, with a bounded queue before it.
///
/// A request asks for a [`Slot`], and is called back with one, or with the reason why it gets none ([`Shed`]). It
/// keeps the slot while it is worked on. Dropping the slot gives it to the next one that waits; so does the end of
/// the dispatcher that holds it, a panic included. A waiting request whose dispatcher has ended leaves the queue.
///
/// Refusing early is what keeps a server that is asked for too much useful: a queue without an end would make each
/// answer come too late. (Google's SRE book, "Handling Overload"; LIFO and the deadline: B. Maurer, "Fail at Scale".)
///
/// ```
/// use slabloop::kit::limits::{Concurrency, Shed, Slot};
/// use slabloop::{Context, Dispatcher, Reactor};
/// use std::io;
/// use std::time::Duration;
///
/// struct Client { limit: Concurrency, working: Option<Slot> }
///
/// impl Client {
///     fn request(&mut self, cx: &mut Context<'_>) {
///         self.limit.acquire(cx, cx.id(), Client::granted);
///     }
///
///     fn granted(&mut self, cx: &mut Context<'_>, slot: Result<Slot, Shed>) -> io::Result<()> {
///         match slot {
///             // The work begins; `self.working = None` when it is done.
///             Ok(slot) => self.working = Some(slot),
///             Err(shed) => cx.send(format!("503 {shed}\n").as_bytes())?,
///         }
///         Ok(())
///     }
/// }
/// # impl Dispatcher for Client {}
/// # fn main() -> io::Result<()> {
///
/// let mut reactor = Reactor::new()?;
/// let limit = Concurrency::builder()
///     .limit(8)
///     .queue(100)
///     .deadline(Duration::from_secs(2))
///     .build(&mut reactor)?;
/// # Ok(()) }
/// ```
///
/// Clones are the same limit. It holds one place in the reactor's
/// [queue of posts](crate::Builder::post_capacity), by which a slot that is dropped anywhere wakes the queue, and
/// has a dispatcher without a socket, which does not keep [`run`](Reactor::run) from returning and lives as long as
/// the reactor: make one at the start, not one for each connection.
#[derive(Clone)]
pub struct Concurrency(Rc<RefCell<Gate>>);

/// In which order those that wait are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Who waits longest. Fair, and right while queues are short.
    #[default]
    Fifo,
    /// Who came last. Under overload those that have waited for long have often given up: their work would be in
    /// vain. Needs a [deadline](ConcurrencyBuilder::deadline), or the first may wait for ever.
    Lifo,
}

/// The settings of a [`Concurrency`].
///
/// | | default |
/// |---|---|
/// | [`limit`](ConcurrencyBuilder::limit) | 16 |
/// | [`queue`](ConcurrencyBuilder::queue) | 64 |
/// | [`deadline`](ConcurrencyBuilder::deadline) | 5 s |
/// | [`order`](ConcurrencyBuilder::order) | [`Order::Fifo`] |
/// | [`shed_oldest`](ConcurrencyBuilder::shed_oldest) | no: the newcomer is shed |
#[derive(Clone, Copy, Debug)]
pub struct ConcurrencyBuilder {
    limit: usize,
    queue: usize,
    deadline: Duration,
    order: Order,
    shed_oldest: bool,
}

/// What a [`Concurrency`] has seen, and how it is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConcurrencyGauges {
    /// Slots in use.
    pub in_use: usize,
    /// Requests in the queue.
    pub waiting: usize,
    /// Requests that got a slot.
    pub granted: u64,
    /// Requests that were shed because the queue was full.
    pub shed: u64,
    /// Requests whose deadline passed in the queue.
    pub expired: u64,
    /// Requests whose dispatcher ended while they waited.
    pub gone: u64,
    /// The longest that a request has waited for its slot.
    pub longest_wait: Duration,
}

impl Concurrency {
    /// For setting what differs from the [defaults](ConcurrencyBuilder).
    #[must_use]
    pub fn builder() -> ConcurrencyBuilder {
        ConcurrencyBuilder {
            limit: 16,
            queue: 64,
            deadline: Duration::from_secs(5),
            order: Order::Fifo,
            shed_oldest: false,
        }
    }

    /// Asks for a slot for the dispatcher `id`, as a rule the one whose callback is running. `then` is called once,
    /// with the slot or the reason why there is none, as a callback of that dispatcher
    /// ([`Context::call`]): never from inside this call, at the earliest when the running callback and the others
    /// of this turn have returned. If the dispatcher ends before, `then` is dropped.
    pub fn acquire<D: Dispatcher>(
        &self,
        cx: &mut Context<'_>,
        id: Id<D>,
        then: impl FnOnce(&mut D, &mut Context<'_>, Result<Slot, Shed>) -> io::Result<()> + 'static,
    ) {
        let waiter = Waiter::new(id, cx.now(), then);
        gate::enter(&self.0, cx, waiter);
    }

    /// A slot, if one is free at once and nobody waits for it.
    #[must_use]
    pub fn try_acquire(&self) -> Option<Slot> {
        let is_free = self.0.borrow().is_free();
        is_free.then(|| gate::grant(&self.0, Duration::ZERO))
    }

    /// What it has seen, and how it is now.
    #[must_use]
    pub fn gauges(&self) -> ConcurrencyGauges {
        self.0.borrow().gauges()
    }
}

/// The right to work on one request. Dropped it goes to the next.
#[must_use = "dropped it goes to the next"]
pub struct Slot(Rc<RefCell<Gate>>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.borrow_mut().leave();
    }
}

impl ConcurrencyBuilder {
    /// How many slots there are, at least 1.
    #[must_use]
    pub fn limit(mut self, slots: usize) -> ConcurrencyBuilder {
        self.limit = slots;
        self
    }

    /// How many requests may wait. With 0 a request that gets no slot at once is shed.
    #[must_use]
    pub fn queue(mut self, requests: usize) -> ConcurrencyBuilder {
        self.queue = requests;
        self
    }

    /// How long a request may wait, above 0: shorter than its client waits. `Duration::MAX` means without end.
    #[must_use]
    pub fn deadline(mut self, time: Duration) -> ConcurrencyBuilder {
        self.deadline = time;
        self
    }

    /// In which order those that wait are served.
    #[must_use]
    pub fn order(mut self, order: Order) -> ConcurrencyBuilder {
        self.order = order;
        self
    }

    /// When the queue is full the request that waits longest is shed, and the newcomer queued.
    #[must_use]
    pub fn shed_oldest(mut self) -> ConcurrencyBuilder {
        self.shed_oldest = true;
        self
    }

    /// The limit, on this reactor.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a limit or a deadline of 0. `Other` if no place is left in the reactor's queue of posts,
    /// or if it is shutting down.
    pub fn build(self, reactor: &mut Reactor) -> io::Result<Concurrency> {
        if self.limit == 0 || self.deadline.is_zero() {
            return Err(invalid(format!(
                "concurrency: a limit of {} and a deadline of {:?}: expected at least 1, and a time above 0",
                self.limit, self.deadline
            )));
        }
        let handle = reactor.handle().unref();
        let wake = handle.reserve().map_err(io::Error::other)?;
        let attendant = reactor.add_service(Attendant::new())?;
        let gate = Rc::new(RefCell::new(Gate::new(self, handle, wake, attendant)));
        let own = Rc::clone(&gate);
        reactor.with(attendant, |attendant, _| attendant.attend(own));
        Ok(Concurrency(gate))
    }
}

impl fmt::Debug for Concurrency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Concurrency").field(&self.gauges()).finish()
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").finish_non_exhaustive()
    }
}
