//! Step 8 of a turn: `handle_close`, and then the slot is free again.
//!
//! Each slot that has ended leaves the poller first, then users' code runs, and only then is the place
//! free. Slots are freed in this step alone: so an event of the same wait can never reach a newcomer.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::state::closing;
use crate::state::running::Running;
use crate::turn::call;
use crate::turn::core::Core;
use crate::watch::callback::Callback;

/// The step. Resumed where it was if users' code panics.
pub(crate) fn close_step(core: &mut Core) {
    // A slot that another's handle_close ends is closed in the same step; but no more than there were,
    // or closing might never end.
    let mut budget = core.state.slots.len();
    loop {
        while let Some(id) = core.state.agenda.closed.pop() {
            closing::free(&mut core.state, id);
        }
        if budget == 0 {
            break;
        }
        budget -= 1;
        let Some(&id) = core.state.agenda.ending.front() else {
            break;
        };
        // It stays in front until its socket is gone: a foreign source is users' code, and if it
        // panics the slot is still owed its handle_close.
        let slot = core.state.slots.get(id);
        if slot.is_some_and(|slot| !slot.io.is_closed()) {
            closing::close_socket(&mut core.state, id);
        }
        core.state.agenda.ending.pop_front();
        core.state.agenda.closed.push(id);
        let result = call::call(core, id, Callback::Close, |dispatcher, cx| {
            dispatcher.handle_close(cx);
            Ok(())
        });
        debug_assert!(result.is_ok(), "handle_close returns nothing");
    }
    core.state.running = Running::NOTHING;
    let slots = &core.state.slots;
    core.state.agenda.purge(|id| slots.get(id).is_some());
    let agenda = &core.state.agenda;
    if agenda.dirty.is_empty() && agenda.flushing.is_empty() {
        // What those that are gone had staged since the flush: the next may be long in coming.
        core.state.chunks.clear_staged();
    }
}

/// Runs the close step outside a turn, when everything ends. Panics are contained: whatever the policy,
/// no dispatcher may lose its `handle_close` because another panicked.
pub(crate) fn close_now(core: &mut Core) -> Option<Box<dyn Any + Send>> {
    let mut first = None;
    // Each may panic three times: in the drop of its socket, in handle_close and in its own drop. A handle_close may
    // also add a successor and end it, without end; those are left to the next turn.
    for _ in 0..=3 * core.state.slots.len() {
        let Err(payload) = catch_unwind(AssertUnwindSafe(|| close_step(core))) else {
            break;
        };
        let propagated = call::absorb(core, payload);
        first = first.or(propagated);
    }
    first
}
