//! How many requests are in progress at once, how many wait, and which are refused.

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

/// A limit on the number of requests in progress, with a bounded queue in front.
///
/// A request asks for a [`Slot`]. Its callback gets a slot, or the reason why there is none ([`Shed`]), and keeps the
/// slot while the work is in progress. When the slot is dropped, the next waiting request gets it; the slot is also
/// dropped when the dispatcher that holds it ends, by a panic as well. When the dispatcher of a waiting request ends,
/// the request leaves the queue.
///
/// A server that refuses early remains useful under overload: with an unbounded queue every answer would come too
/// late. (Google's SRE book, "Handling Overload"; for LIFO and the deadline: B. Maurer, "Fail at Scale".)
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
/// Clones are the same limit. A limit holds one place in the reactor's [queue of
/// posts](crate::Builder::post_capacity), so that a slot can be dropped anywhere and still wakes the queue. It also
/// has a dispatcher without a socket, which does not keep [`run`](Reactor::run) from returning and lives as long as
/// the reactor. So make one limit at the start, not one for each connection.
#[derive(Clone)]
pub struct Concurrency(Rc<RefCell<Gate>>);

/// The order in which waiting requests are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The oldest first. This is fair, and right while queues are short.
    #[default]
    Fifo,
    /// The newest first. Under overload the clients of old requests have often given up, and the work for them would
    /// be wasted. Set a [deadline](ConcurrencyBuilder::deadline) as well, or the oldest request may wait for ever.
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
/// | [`shed_oldest`](ConcurrencyBuilder::shed_oldest) | off: the new request is shed |
#[derive(Clone, Copy, Debug)]
pub struct ConcurrencyBuilder {
    limit: usize,
    queue: usize,
    deadline: Duration,
    order: Order,
    shed_oldest: bool,
}

/// The counters of a [`Concurrency`], and its present state.
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
    /// A builder with the [defaults](ConcurrencyBuilder).
    ///
    /// ```
    /// use slabloop::Reactor;
    /// use slabloop::kit::limits::Concurrency;
    ///
    /// let mut reactor = Reactor::new()?;
    /// let uploads = Concurrency::builder().limit(2).build(&mut reactor)?;
    /// let slots = (uploads.try_acquire(), uploads.try_acquire());
    /// assert!(slots.0.is_some() && slots.1.is_some());
    /// assert!(uploads.try_acquire().is_none());
    /// # Ok::<(), std::io::Error>(())
    /// ```
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

    /// Asks for a slot for the dispatcher `id`, usually the one whose callback is running. `then` is called once, as
    /// a callback of that dispatcher ([`Context::call`]), with the slot or the reason why there is none. It is never
    /// called from inside this call, but at the earliest when the running callback and the others of this turn have
    /// returned. If the dispatcher ends before, `then` is dropped.
    ///
    /// ```
    /// use slabloop::kit::limits::{Concurrency, Shed, Slot};
    /// use slabloop::{Context, Dispatcher};
    /// use std::io;
    ///
    /// struct Client { limit: Concurrency, slot: Option<Slot> }
    ///
    /// impl Client {
    ///     fn request(&mut self, cx: &mut Context<'_>) {
    ///         self.limit.acquire(cx, cx.id(), Client::granted);
    ///     }
    ///
    ///     fn granted(&mut self, cx: &mut Context<'_>, slot: Result<Slot, Shed>) -> io::Result<()> {
    ///         self.slot = Some(slot?); // `Shed` converts to an `io::Error`
    ///         cx.send(b"begun\n")
    ///     }
    /// }
    /// # impl Dispatcher for Client {}
    /// ```
    pub fn acquire<D: Dispatcher>(
        &self,
        cx: &mut Context<'_>,
        id: Id<D>,
        then: impl FnOnce(&mut D, &mut Context<'_>, Result<Slot, Shed>) -> io::Result<()> + 'static,
    ) {
        let waiter = Waiter::new(id, cx.now(), then);
        gate::enter(&self.0, cx, waiter);
    }

    /// A slot, if one is free now and no request waits for one.
    #[must_use]
    pub fn try_acquire(&self) -> Option<Slot> {
        let is_free = self.0.borrow().is_free();
        is_free.then(|| gate::grant(&self.0, Duration::ZERO))
    }

    /// The counters, and the present state.
    #[must_use]
    pub fn gauges(&self) -> ConcurrencyGauges {
        self.0.borrow().gauges()
    }
}

/// The right to work on one request. When it is dropped, the next waiting request gets it.
#[must_use = "a slot that is dropped goes to the next request"]
pub struct Slot(Rc<RefCell<Gate>>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.borrow_mut().leave();
    }
}

impl ConcurrencyBuilder {
    /// The number of slots; at least 1.
    #[must_use]
    pub fn limit(mut self, slots: usize) -> ConcurrencyBuilder {
        self.limit = slots;
        self
    }

    /// How many requests may wait. With 0, a request that gets no slot at once is shed.
    #[must_use]
    pub fn queue(mut self, requests: usize) -> ConcurrencyBuilder {
        self.queue = requests;
        self
    }

    /// How long a request may wait; above 0. Choose less than the client's timeout. `Duration::MAX` means no
    /// deadline.
    #[must_use]
    pub fn deadline(mut self, time: Duration) -> ConcurrencyBuilder {
        self.deadline = time;
        self
    }

    /// The order in which waiting requests are served.
    ///
    /// ```
    /// use slabloop::kit::limits::{Concurrency, Order};
    /// use slabloop::Reactor;
    /// use std::time::Duration;
    ///
    /// // Under overload: serve the newest requests, and drop those that are older than a second.
    /// let mut reactor = Reactor::new()?;
    /// let limit = Concurrency::builder()
    ///     .limit(8)
    ///     .order(Order::Lifo)
    ///     .shed_oldest()
    ///     .deadline(Duration::from_secs(1))
    ///     .build(&mut reactor)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn order(mut self, order: Order) -> ConcurrencyBuilder {
        self.order = order;
        self
    }

    /// When the queue is full, sheds the oldest waiting request and queues the new one.
    #[must_use]
    pub fn shed_oldest(mut self) -> ConcurrencyBuilder {
        self.shed_oldest = true;
        self
    }

    /// Makes the limit on this reactor.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the limit or the deadline is 0. `Other` if the reactor's queue of posts has no place left,
    /// or if the reactor is shutting down.
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
