//! How a dispatcher is called.
//!
//! Its box is taken out of its slot, called with `&mut self` and a [`Context`] that borrows all the
//! rest, and put back: that is how callbacks reach the whole reactor, and each other's sockets, without
//! `Rc<RefCell<_>>`. The slot stays occupied meanwhile, so its index cannot be given away. [`Seat`] puts
//! the box back also when the callback unwinds; what was running is noted, so that one `catch_unwind`
//! around a whole batch is enough to know whom a panic belongs to.

use std::any::Any;
use std::io;
use std::mem::ManuallyDrop;
use std::time::Duration;

use crate::context::Context;
use crate::core::Core;
use crate::dispatcher::Dispatcher;
use crate::slot::Slot;
use crate::slot::life::{End, Life};
use crate::state::config::PanicPolicy;
use crate::state::running::{Callback, Running};
use crate::time::clock::Tick;
use crate::world::ids::{AnyId, Id};

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
    fn seat_again(&mut self, id: AnyId, dispatcher: Option<ManuallyDrop<Box<dyn Dispatcher>>>) {
        self.slots.slot_mut(id).dispatcher = dispatcher.map(ManuallyDrop::into_inner);
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
            self.cancel_timer(timer);
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
