//! How a dispatcher is called.
//!
//! Its box is taken out of its slot, called with `&mut self` and a [`Context`] that borrows all the
//! rest, and put back: that is how callbacks reach the whole reactor, and each other's sockets, without
//! `Rc<RefCell<_>>`. The slot stays occupied meanwhile, so its index cannot be given away. [`Seat`] puts
//! the box back also when the callback unwinds; what was running is noted, so that one `catch_unwind`
//! around a whole batch is enough to know which dispatcher panicked.
//!
//! Three ways lead in. [`call`] takes the dispatcher out of its slot and returns what it returned.
//! [`call_taken`] is for the hot path, which has taken it out already and wants the slot back, to look at
//! it without finding it again. `settle::call_and_settle` does what the result asks for.
//!
//! Some of this is written for the sake of instructions, each of which was counted (`docs/cost.md`): the
//! guard holds a `ManuallyDrop` and is forgotten on the way out, so that it can live in registers.

use std::any::Any;
use std::io;
use std::mem::ManuallyDrop;

use crate::context::Context;
use crate::dispatcher::Dispatcher;
use crate::slot::Slot;
use crate::state::config::PanicPolicy;
use crate::state::running::Running;
use crate::state::{closing, deadlines, observing};
use crate::turn::core::{Core, Tenant};
use crate::watch::callback::Callback;
use crate::watch::ends::Cause;
use crate::watch::panics;
use crate::world::ids::AnyId;
use crate::world::topics;

/// Holds a dispatcher while it runs, and puts it back into its slot, come what may. (`ManuallyDrop`
/// because it is never dropped here: without code for that the guard can live in registers.)
pub(super) struct Seat<'a> {
    pub(super) core: &'a mut Core,
    pub(super) id: AnyId,
    pub(super) dispatcher: Option<ManuallyDrop<Tenant>>,
}

impl Drop for Seat<'_> {
    #[inline]
    fn drop(&mut self) {
        put_back(self.core, self.id, self.dispatcher.take());
    }
}

#[cold]
fn put_back(core: &mut Core, id: AnyId, dispatcher: Option<ManuallyDrop<Tenant>>) {
    core.state.slots.slot_mut(id).dispatcher = dispatcher.map(ManuallyDrop::into_inner);
}

/// Calls the dispatcher of `id`, which is in its slot. What follows from the result is the caller's.
#[inline]
pub(crate) fn call(
    core: &mut Core,
    id: AnyId,
    callback: Callback,
    body: impl FnOnce(&mut dyn Dispatcher, &mut Context<'_>) -> io::Result<()>,
) -> io::Result<()> {
    observing::begin(&mut core.state, id, callback);
    let dispatcher = core.state.slots.slot_mut(id).take_dispatcher();
    let (result, _) = call_taken(core, id, dispatcher, callback, body);
    observing::end(&mut core.state, &result);
    result
}

/// Calls a dispatcher that has been taken out of its slot, and puts it back there.
#[inline]
pub(crate) fn call_taken(
    core: &mut Core,
    id: AnyId,
    dispatcher: Tenant,
    callback: Callback,
    body: impl FnOnce(&mut dyn Dispatcher, &mut Context<'_>) -> io::Result<()>,
) -> (io::Result<()>, &mut Slot<Tenant>) {
    core.state.counters.callbacks += 1;
    core.state.running = Running::of(id, callback);
    let mut seat = Seat {
        core: &mut *core,
        id,
        dispatcher: Some(ManuallyDrop::new(dispatcher)),
    };
    let Seat {
        core: borrowed,
        dispatcher: Some(dispatcher),
        ..
    } = &mut seat
    else {
        unreachable!("it has just been put there");
    };
    let result = body(&mut ***dispatcher, &mut Context::new(borrowed, id));
    // The guard's own drop is for unwinding; here it would only be checked once more.
    let dispatcher = seat.dispatcher.take().map(ManuallyDrop::into_inner);
    std::mem::forget(seat);
    let Some(slot) = core.state.slots.get_by_index(id) else {
        // By value: a result that an unwinding might have to drop would be kept in memory.
        slot_is_gone(result)
    };
    let nothing = std::mem::replace(&mut slot.dispatcher, dispatcher);
    // An assignment would look whether there is something to drop.
    std::mem::forget(nothing);
    (result, slot)
}

#[cold]
fn slot_is_gone(result: io::Result<()>) -> ! {
    panic!("slots are freed in the close step only; its callback returned {result:?}")
}

/// A panic has come out of users' code: closes the dispatcher that it belongs to. Gives the payload back
/// if it is to be let through.
#[cold]
pub(crate) fn absorb(core: &mut Core, payload: Box<dyn Any + Send>) -> Option<Box<dyn Any + Send>> {
    let state = &mut core.state;
    state.counters.panics += 1;
    let running = std::mem::replace(&mut state.running, Running::NOTHING);
    let culprit = state.panicked_in.take();
    if running.callback != Some(Callback::Call) {
        observing::end_by_panic(state);
    }
    if let Some(held_back) = state.log_limits.panic.pass(state.clock.now()) {
        let text = panics::text(&*payload);
        let label = state.label(running.id);
        let callback = running.callback.map_or("no callback", Callback::words);
        match culprit {
            Some(id) => log::error!(target: topics::CALLBACK,
                "{}: panic in a closure of `with`, in {callback} of {label}: {text}{held_back}",
                state.label(id)
            ),
            None => {
                log::error!(target: topics::CALLBACK, "{label}: panic in {callback}: {text}{held_back}")
            }
        }
    }
    if let Some(timer) = core.running_timer.take() {
        deadlines::cancel_timer(state, timer);
    }
    if running.callback != Some(Callback::Close) && state.slots.get(running.id).is_some() {
        closing::end(state, running.id, Cause::Panic);
    }
    match state.config.panic_policy {
        PanicPolicy::Propagate => Some(payload),
        PanicPolicy::Contain => {
            panics::drop_contained(payload);
            None
        }
    }
}
