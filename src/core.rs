//! What the reactor is made of, and how it calls a dispatcher.
//!
//! To call a dispatcher its box is taken out of its slot, called with `&mut self` and a [`Context`]
//! that borrows all the rest, and put back: that is how callbacks reach the whole reactor, and each
//! other's sockets, without `Rc<RefCell<_>>`. The slot stays occupied meanwhile, so its index cannot be
//! given away. [`Seat`] puts the box back also when the callback unwinds; what was running is noted, so
//! that one `catch_unwind` around a whole batch is enough to know whom a panic belongs to.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::time::Duration;

use crate::builder::{Config, PanicPolicy};
use crate::clock::{Clock, Tick};
use crate::close::End;
use crate::context::Context;
use crate::counters::Counters;
use crate::dispatcher::Dispatcher;
use crate::errors::{About, Class, classify, copy_of};
use crate::handle::Shared;
use crate::log_limit::LogLimits;
use crate::outbox::{Buffers, invalid};
use crate::poller::Poller;
use crate::readiness::Flag;
use crate::slots::{AnyId, Id, Life, Slot, Slots, short_type_name};
use crate::socket::{Io, Kind, Socket};
use crate::timers::{Due, TimerId, Timers};

/// All of a reactor but the loop itself. A [`Context`] is a borrow of this.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) slots: Slots,
    pub(crate) poller: Poller,
    pub(crate) clock: Clock,
    /// The time of this turn, read once after the wait.
    pub(crate) now: Tick,
    /// Slots with work for the next dispatch; each at most once, and its `Queued` flag says so.
    pub(crate) ready: Vec<AnyId>,
    /// What this turn's dispatch is working through.
    pub(crate) dispatching: Batch<AnyId>,
    /// Slots whose outbox may be written; each at most once, and its `Dirty` flag says so.
    pub(crate) dirty: Vec<AnyId>,
    pub(crate) flushing: Batch<AnyId>,
    pub(crate) timers: Timers,
    pub(crate) firing: Batch<Due>,
    /// Slots that are over and have not had their `handle_close`; in the order in which they ended.
    pub(crate) ending: VecDeque<AnyId>,
    /// Slots that have had it and are still to be freed.
    pub(crate) closed: Vec<AnyId>,
    /// Whether a freed slot may have left its id on a list.
    pub(crate) lists_need_purging: bool,
    pub(crate) paused_listeners: Vec<AnyId>,
    /// Streams that exist.
    pub(crate) connections: usize,
    pub(crate) buffers: Buffers,
    /// All outboxes together went over their bound and have not come below half of it since.
    pub(crate) tight: bool,
    pub(crate) config: Config,
    pub(crate) counters: Counters,
    pub(crate) log_limits: LogLimits,
    pub(crate) running: Running,
    /// The periodic timer whose closure is running: a panic cancels it.
    pub(crate) running_timer: Option<TimerId>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) stop: bool,
    /// Nothing may be added any more: the reactor is shutting down.
    pub(crate) refusing: bool,
    /// Where datagrams land first, so that a cut one can be told. Empty until one is received.
    pub(crate) scratch: Vec<u8>,
    /// Whether the last one was cut.
    pub(crate) truncated: bool,
}

/// The callbacks, as log lines name them, and the other places where users' code runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Callback {
    #[default]
    None,
    Accept,
    Connect,
    Read,
    Eof,
    Write,
    Priority,
    Timer,
    Error,
    Close,
    Drop,
    Closure,
    Post,
}

impl fmt::Display for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Callback::None => "no callback",
            Callback::Accept => "handle_accept",
            Callback::Connect => "handle_connect",
            Callback::Read => "handle_read",
            Callback::Eof => "handle_eof",
            Callback::Write => "handle_write",
            Callback::Priority => "handle_priority",
            Callback::Timer => "handle_timer",
            Callback::Error => "handle_error",
            Callback::Close => "handle_close",
            Callback::Drop => "drop",
            Callback::Closure => "a timer's closure",
            Callback::Post => "a posted closure",
        })
    }
}

/// Whose code is running: whom a panic, or an error that is passed on, belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running {
    pub(crate) id: AnyId,
    pub(crate) callback: Callback,
}

impl Running {
    pub(crate) const NOTHING: Running = Running {
        id: AnyId::NOBODY,
        callback: Callback::None,
    };
}

/// What one step of a turn works through: a snapshot, with a cursor that survives a panic in the
/// middle, so that the rest of the batch still gets its turn.
#[derive(Debug)]
pub(crate) struct Batch<T> {
    items: Vec<T>,
    next: usize,
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Batch {
            items: Vec::new(),
            next: 0,
        }
    }
}

impl<T: Copy> Batch<T> {
    /// Takes over all of `list` and leaves it empty, swapping the memory of both. Something is left
    /// here only if a panic was let through; that goes first.
    pub(crate) fn load(&mut self, list: &mut Vec<T>) {
        if self.is_empty() {
            self.items.clear();
            std::mem::swap(&mut self.items, list);
        } else {
            self.items.drain(..self.next);
            self.items.append(list);
        }
        self.next = 0;
    }

    #[inline]
    pub(crate) fn next(&mut self) -> Option<T> {
        let item = self.items.get(self.next).copied();
        self.next += usize::from(item.is_some());
        item
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.next == self.items.len()
    }

    /// What was worked through, and is known until the next load.
    pub(crate) fn done(&self) -> &[T] {
        &self.items[..self.next]
    }

    /// The items' memory, for filling. Only while the batch is empty.
    pub(crate) fn refill(&mut self, fill: impl FnOnce(&mut Vec<T>)) {
        self.items.drain(..self.next);
        self.next = 0;
        fill(&mut self.items);
    }
}

/// Holds a dispatcher while it runs, and puts it back into its slot, come what may. (`ManuallyDrop`
/// because it is never dropped here: without code for that the guard can live in registers.)
struct Seat<'a> {
    core: &'a mut Core,
    id: AnyId,
    dispatcher: Option<ManuallyDrop<Box<dyn Dispatcher>>>,
}

impl Drop for Seat<'_> {
    #[inline]
    fn drop(&mut self) {
        self.core.seat_again(self.id, self.dispatcher.take());
    }
}

impl Core {
    pub(crate) fn new(config: Config, clock: Clock, poller: Poller, shared: Arc<Shared>) -> Core {
        let now = clock.now();
        Core {
            slots: Slots::default(),
            poller,
            clock,
            now,
            ready: Vec::new(),
            dispatching: Batch::default(),
            dirty: Vec::new(),
            flushing: Batch::default(),
            timers: Timers::default(),
            firing: Batch::default(),
            ending: VecDeque::new(),
            closed: Vec::new(),
            lists_need_purging: false,
            paused_listeners: Vec::new(),
            connections: 0,
            buffers: Buffers::default(),
            tight: false,
            config,
            counters: Counters::default(),
            log_limits: LogLimits::default(),
            running: Running::NOTHING,
            running_timer: None,
            shared,
            stop: false,
            refusing: false,
            scratch: Vec::new(),
            truncated: false,
        }
    }

    /// Adds a socket that stands: a connected stream, a listener, a datagram socket, a foreign source.
    pub(crate) fn add<D: Dispatcher>(
        &mut self,
        socket: Socket,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        let life = if socket.is_listener() {
            Life::Listening
        } else {
            Life::Open
        };
        self.admit(socket, dispatcher, life)
    }

    /// The one way in. Whatever fails, the socket is closed, the dispatcher dropped, and nothing is
    /// left behind; `handle_close` is not called, for it was never added.
    pub(crate) fn admit<D: Dispatcher>(
        &mut self,
        mut socket: Socket,
        dispatcher: D,
        life: Life,
    ) -> io::Result<Id<D>> {
        if self.refusing {
            return Err(io::Error::other("the reactor is shutting down"));
        }
        socket.make_nonblocking()?;
        socket.learn_address();
        let id = self.slots.vacant_id()?;
        let connecting = life == Life::Connecting;
        self.poller.register(&mut socket, id, connecting)?;
        let type_name = std::any::type_name::<D>;
        let kind = socket.kind();
        let mut slot = Slot::new(Box::new(dispatcher), type_name, socket, self.config.marks);
        slot.enter(life);
        slot.touched = self.now;
        if slot.socket.can_recv() {
            slot.readiness.set(Flag::WantRead);
        }
        if !slot.socket.can_send() {
            slot.readiness.set(Flag::NoOutbox);
        }
        if connecting {
            slot.readiness.set(Flag::WatchesRoom);
        }
        if life == Life::Open {
            // Taken for granted until a write says otherwise: it spares waiting for the first event.
            slot.readiness.set(Flag::Writable);
        }
        self.slots.insert(id, slot);
        self.connections += usize::from(kind == Kind::Stream);
        self.counters.added += 1;
        log::debug!("{}: added", self.label(id));
        Ok(Id::new(id))
    }

    /// Calls the dispatcher of `id`, which is in its slot. Says nothing about what follows from the
    /// result; see [`Core::callback`].
    #[inline]
    pub(crate) fn call(
        &mut self,
        id: AnyId,
        callback: Callback,
        body: impl FnOnce(&mut dyn Dispatcher, &mut Context<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let measured = self.config.slow_callback;
        let measured = measured.map(|threshold| (threshold, self.clock.now()));
        let dispatcher = self.slots.slot_mut(id).take_dispatcher();
        let (result, _) = self.run(id, dispatcher, callback, body);
        if let Some((threshold, started)) = measured {
            self.measure(id, callback, threshold, started);
        }
        result
    }

    #[cold]
    fn seat_again(&mut self, id: AnyId, dispatcher: Option<ManuallyDrop<Box<dyn Dispatcher>>>) {
        self.slots.slot_mut(id).dispatcher = dispatcher.map(ManuallyDrop::into_inner);
    }

    /// Calls a dispatcher that has been taken out of its slot, and puts it back there.
    #[inline]
    pub(crate) fn run(
        &mut self,
        id: AnyId,
        dispatcher: Box<dyn Dispatcher>,
        callback: Callback,
        body: impl FnOnce(&mut dyn Dispatcher, &mut Context<'_>) -> io::Result<()>,
    ) -> (io::Result<()>, &mut Slot) {
        self.counters.callbacks += 1;
        self.running = Running { id, callback };
        let mut seat = Seat {
            core: self,
            id,
            dispatcher: Some(ManuallyDrop::new(dispatcher)),
        };
        let Seat {
            core,
            dispatcher: Some(dispatcher),
            ..
        } = &mut seat
        else {
            unreachable!("it has just been put there");
        };
        let result = body(&mut ***dispatcher, &mut Context::new(core, id));
        // The guard's own drop is for unwinding; here it would only be checked once more.
        let dispatcher = seat.dispatcher.take().map(ManuallyDrop::into_inner);
        std::mem::forget(seat);
        let slot = self.slots.slot_mut(id);
        let nothing = std::mem::replace(&mut slot.dispatcher, dispatcher);
        // An assignment would look whether there is something to drop.
        std::mem::forget(nothing);
        (result, slot)
    }

    #[cold]
    fn measure(&mut self, id: AnyId, callback: Callback, threshold: Duration, started: Tick) {
        let now = self.clock.now();
        let took = now.since(started);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.counters.slowest_us = self.counters.slowest_us.max(micros);
        if took <= threshold {
            return;
        }
        self.counters.slow_callbacks += 1;
        if let Some(held_back) = self.log_limits.slow.pass(now) {
            log::warn!(
                "{} kept the loop for {took:?} in {callback}{held_back}",
                self.label(id)
            );
        }
    }

    /// Calls the dispatcher and does what its result asks for. True if its dispatch may go on.
    #[inline]
    pub(crate) fn callback(
        &mut self,
        id: AnyId,
        callback: Callback,
        body: impl FnOnce(&mut dyn Dispatcher, &mut Context<'_>) -> io::Result<()>,
    ) -> bool {
        let result = self.call(id, callback, body);
        let slot = self.slots.slot(id);
        if result.is_ok() && slot.nothing_unusual_after_a_callback() {
            return true;
        }
        self.settle(id, callback, result)
    }

    /// What follows a callback that failed, closed, broke its socket or saw the end of its stream.
    #[cold]
    pub(crate) fn settle(&mut self, id: AnyId, callback: Callback, result: io::Result<()>) -> bool {
        let slot = self.slots.slot(id);
        let broken = slot.readiness.has(Flag::Broken);
        if slot.life() > Life::Open {
            // It closed itself: what it returns changes nothing.
            if broken {
                self.end(id, End::Lost);
            }
            return false;
        }
        let mut may_go_on = true;
        let mut told = false;
        if let Err(error) = result {
            match self.meaning_for(id, callback, &error) {
                Class::NotNow => {}
                Class::Disconnect => {
                    log::debug!("{}: {error}", self.label(id));
                    self.end(id, End::Lost);
                    return false;
                }
                Class::Fault => {
                    self.report(id, error);
                    (may_go_on, told) = (callback == Callback::Accept, true);
                }
            }
        }
        if self.slots.slot(id).readiness.has(Flag::Broken) {
            self.finish_broken(id, told);
            return false;
        }
        if self.slots.slot(id).life() > Life::Open {
            return false;
        }
        if may_go_on && self.slots.slot(id).readiness.eof_due() {
            return self.tell_eof(id);
        }
        may_go_on
    }

    /// The class of an error that a callback returned.
    fn meaning_for(&self, id: AnyId, callback: Callback, error: &io::Error) -> Class {
        if About::whom(error).is_some_and(|whom| whom != id) {
            log::debug!("{}: {callback} passed on: {error}", self.label(id));
            return Class::NotNow;
        }
        match classify(error) {
            // Only a stream has a peer to lose. From a listener or a datagram socket it is somebody
            // else's disconnect, and must not close this one.
            Class::Disconnect if self.slots.slot(id).socket.kind() != Kind::Stream => Class::Fault,
            class => class,
        }
    }

    /// Calls `handle_eof`, once.
    pub(crate) fn tell_eof(&mut self, id: AnyId) -> bool {
        self.slots.slot_mut(id).readiness.set(Flag::EofTold);
        self.callback(id, Callback::Eof, |dispatcher, cx| {
            dispatcher.handle_eof(cx)
        })
    }

    /// Calls `handle_error`.
    pub(crate) fn report(&mut self, id: AnyId, error: io::Error) {
        self.counters.errors += 1;
        let result = self.call(id, Callback::Error, |dispatcher, cx| {
            dispatcher.handle_error(cx, error);
            Ok(())
        });
        debug_assert!(result.is_ok(), "handle_error returns nothing");
    }

    /// Ends a connection whose socket broke. A disconnect is no error; a fault is reported, unless the
    /// dispatcher has been `told` of it already.
    #[cold]
    pub(crate) fn finish_broken(&mut self, id: AnyId, told: bool) {
        let slot = self.slots.slot_mut(id);
        // From here on it is past saving: nothing that handle_error does may revive it.
        slot.readiness.set(Flag::Broken);
        // With no error to show it was only over: both sides have finished.
        let mut how = if slot.readiness.has(Flag::Error) {
            End::Lost
        } else {
            End::Closed
        };
        let error = slot.broken_by.take();
        if let Some(error) = error {
            let fault = classify(&error) == Class::Fault;
            how = if fault { End::Failed } else { End::Lost };
            log::debug!("{}: broken: {error}", self.label(id));
            if fault && !told && self.slots.slot(id).life() <= Life::Open {
                self.report(id, error);
            }
        }
        self.end(id, how);
    }

    /// Notes that the socket of `id` failed for good; the first error is the one that counts.
    pub(crate) fn break_socket(&mut self, id: AnyId, error: &io::Error) {
        let slot = self.slots.slot_mut(id);
        slot.readiness.set(Flag::Broken);
        slot.broken_by.get_or_insert_with(|| copy_of(error));
    }

    /// Runs a closure on a dispatcher itself. `None` if it is gone, of another type, or running.
    pub(crate) fn with<D: Dispatcher, R>(
        &mut self,
        id: Id<D>,
        body: impl FnOnce(&mut D, &mut Context<'_>) -> R,
    ) -> Option<R> {
        let id = id.any();
        let slot = self
            .slots
            .get_mut(id)
            .filter(|slot| slot.life() < Life::Ended)?;
        let dispatcher = Some(ManuallyDrop::new(slot.dispatcher.take()?));
        let mut seat = Seat {
            core: self,
            id,
            dispatcher,
        };
        let Seat {
            core, dispatcher, ..
        } = &mut seat;
        let any: &mut dyn Any = &mut ***dispatcher.as_mut()?;
        let result = body(any.downcast_mut::<D>()?, &mut Context::new(core, id));
        Some(result)
    }

    /// Puts a slot on the ready list if it has work and is not there.
    #[inline]
    pub(crate) fn requeue(&mut self, id: AnyId) {
        let slot = self.slots.slot_mut(id);
        if slot.has_work() && slot.readiness.raise(Flag::Queued) {
            self.ready.push(id);
        }
    }

    /// Has the outbox looked at in the next flush.
    #[inline]
    pub(crate) fn mark_dirty(&mut self, id: AnyId) {
        if self.slots.slot_mut(id).readiness.raise(Flag::Dirty) {
            self.dirty.push(id);
        }
    }

    /// A panic has come out of users' code: closes whom it belongs to. Gives the payload back if it is
    /// to be let through.
    #[cold]
    pub(crate) fn absorb(&mut self, payload: Box<dyn Any + Send>) -> Option<Box<dyn Any + Send>> {
        self.counters.panics += 1;
        let running = std::mem::replace(&mut self.running, Running::NOTHING);
        if let Some(held_back) = self.log_limits.panic.pass(self.clock.now()) {
            let text = panic_text(&*payload);
            let whom = self.label(running.id);
            log::error!("{whom}: panic in {}: {text}{held_back}", running.callback);
        }
        if let Some(timer) = self.running_timer.take() {
            self.timers.cancel(timer, None);
        }
        if running.callback != Callback::Close && self.slots.get(running.id).is_some() {
            self.end(running.id, End::Failed);
        }
        match self.config.panic_policy {
            PanicPolicy::Propagate => Some(payload),
            PanicPolicy::Contain => {
                // The payload is a value of the user's: dropping it may panic as well.
                let dropped =
                    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(payload)));
                if let Err(second) = dropped {
                    std::mem::forget(second);
                }
                None
            }
        }
    }

    /// How log lines name a dispatcher.
    pub(crate) fn label(&self, id: AnyId) -> Label<'_> {
        Label {
            id,
            slot: self.slots.get(id),
        }
    }

    pub(crate) fn local_addr(&self, id: AnyId) -> io::Result<std::net::SocketAddr> {
        let slot = self.slots.slot(id);
        if let (Kind::Listener, Some(address)) = (slot.socket.kind(), slot.socket.address.inet()) {
            return Ok(address);
        }
        if let Io::Closed = slot.socket.io {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let local = slot
            .socket
            .as_ref()
            .map(|socket| socket.local_addr())
            .transpose()?;
        local
            .and_then(|address| address.as_socket())
            .ok_or_else(|| {
                let text = format!("{}: its socket has no internet address", self.label(id));
                io::Error::new(io::ErrorKind::Unsupported, text)
            })
    }

    /// What `Debug` shows of a dispatcher.
    pub(crate) fn describe(&self, id: AnyId, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slot = self.slots.slot(id);
        let state = match slot.life() {
            Life::Connecting => "connecting",
            Life::Listening => "listening",
            Life::Open if slot.socket.kind() == Kind::Stream => "connected",
            Life::Open => "open",
            Life::Flushing | Life::Draining => "closing",
            Life::Ended => "closed",
        };
        f.debug_struct(&short_type_name((slot.type_name)()))
            .field("id", &format_args!("{id}"))
            .field("state", &format_args!("{state}"))
            .field("address", &format_args!("{}", slot.socket.address))
            .field("readiness", &slot.readiness)
            .field("outbox", &slot.outbox)
            .finish()
    }

    pub(crate) fn set_marks(
        &mut self,
        id: AnyId,
        low: usize,
        high: usize,
        cap: usize,
    ) -> io::Result<()> {
        let marks = crate::outbox::Marks::new(low, high, cap)?;
        let slot = self.slots.slot_mut(id);
        if slot.outbox.len() > cap {
            return Err(invalid(format!(
                "{} bytes are queued already; cap {cap}",
                slot.outbox.len()
            )));
        }
        slot.outbox.marks = marks;
        self.review_congestion(id);
        self.requeue(id);
        Ok(())
    }
}

/// Shown as `Echo 7.3 (127.0.0.1:40513)`.
#[derive(Debug)]
pub(crate) struct Label<'a> {
    id: AnyId,
    slot: Option<&'a Slot>,
}

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.slot {
            Some(slot) => {
                let name = short_type_name((slot.type_name)());
                write!(f, "{name} {} ({})", self.id, slot.socket.address)
            }
            None if self.id == AnyId::NOBODY => f.write_str("reactor"),
            None => write!(f, "{}", self.id),
        }
    }
}

fn panic_text(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "(no message)"
    }
}
