//! Another dispatcher takes the place of one, or the place loses its socket: `replace` and `detach`.

use std::{fmt, io};

use crate::slot::life::Life;
use crate::slot::readiness::Flag;
use crate::state::running::Running;
use crate::state::{State, closing, flow, observing};
use crate::time::action::Action;
use crate::turn::core::{Core, Tenant};
use crate::world::detached::Detached;
use crate::world::ids::{AnyId, TypeName};
use crate::world::topics;

/// What is to happen to a slot when the callback of its dispatcher, which is still running, has returned.
#[derive(Debug)]
pub(crate) struct Change {
    id: AnyId,
    what: What,
}

enum What {
    /// Another dispatcher takes its place.
    Successor(Tenant, TypeName),
    /// A layer gets the input that the dispatcher has read and not used.
    HandOver,
}

impl fmt::Debug for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            What::Successor(..) => "Successor",
            What::HandOver => "HandOver",
        })
    }
}

/// Puts `dispatcher` in the place of the one in slot `id`: at once, or when its callback has returned.
pub(crate) fn replace(core: &mut Core, id: AnyId, dispatcher: Tenant, type_name: TypeName) {
    change(core, id, What::Successor(dispatcher, type_name));
}

/// The stream in slot `id` has got a layer. What its dispatcher has read and not used came before, and is the layer's.
pub(crate) fn hand_over_input(core: &mut Core, id: AnyId) {
    change(core, id, What::HandOver);
}

fn change(core: &mut Core, id: AnyId, what: What) {
    core.changes.push(Change { id, what });
    let slot = core.state.slots.slot_mut(id);
    slot.readiness.set(Flag::Replaced);
    if slot.dispatcher.is_some() {
        finish(core, id);
    }
}

/// The callback has returned: the changes are made. Of several successors the last counts.
pub(crate) fn finish(core: &mut Core, id: AnyId) {
    let mut last = None;
    core.state
        .slots
        .slot_mut(id)
        .readiness
        .clear(Flag::Replaced);
    while let Some(place) = core.changes.iter().position(|change| change.id == id) {
        match core.changes.remove(place).what {
            What::Successor(dispatcher, type_name) => last = Some((dispatcher, type_name)),
            What::HandOver => unread_to_layer(&mut core.state, id),
        }
    }
    let state = &mut core.state;
    let slot = state.slots.slot_mut(id);
    let Some((next, type_name)) = last.filter(|_| slot.life() != Life::Ended) else {
        return;
    };
    let old = slot.dispatcher.replace(next);
    slot.type_name = type_name;
    // What belonged to the old one goes with it.
    state.timers.cancel_where(&mut slot.timers, |action| {
        matches!(action, Action::Callback)
    });
    for layer in [Flag::More, Flag::MoreOutput] {
        slot.readiness.clear(layer);
    }
    flow::set_layer_full(state, id, false);
    observing::replaced(state, id);
    let Some(mut old) = old else {
        return;
    };
    let unread = old.take_unread();
    state.slots.slot_mut(id).put_back(&unread);
    state.requeue(id);
    log::debug!(target: topics::CONNECTION, "{}: has replaced another dispatcher", state.label(id));
    let running = std::mem::replace(&mut state.running, Running::dropping(id));
    drop(old);
    core.state.running = running;
}

fn unread_to_layer(state: &mut State<Tenant>, id: AnyId) {
    let slot = state.slots.slot_mut(id);
    slot.readiness.clear(Flag::More);
    if let (Some(dispatcher), Some(layered)) = (&mut slot.dispatcher, slot.io.layered()) {
        layered.push_input(dispatcher.take_unread());
    }
}

/// Takes the socket out of slot `id`, with all that was read and not used or queued and not sent. The
/// dispatcher ends.
pub(crate) fn detach(core: &mut Core, id: AnyId) -> io::Result<Detached> {
    let slot = core.state.slots.slot_mut(id);
    if slot.life() != Life::Open {
        return Err(refused(core, id, "it is not an open connection"));
    }
    if slot.readiness.has(Flag::MoreOutput) {
        return Err(refused(core, id, "a layer has unsent output"));
    }
    if slot.has_files() {
        return Err(refused(core, id, "a file is waiting to be sent"));
    }
    let Some(dispatcher) = &mut slot.dispatcher else {
        return Err(refused(core, id, "its own callback is running"));
    };
    let mut unread = dispatcher.take_unread();
    unread.extend(slot.take_put_back());
    closing::detach(&mut core.state, id, unread)
}

#[cold]
fn refused(core: &Core, id: AnyId, why: &str) -> io::Error {
    let text = format!("{}: cannot be detached: {why}", core.state.label(id));
    io::Error::new(io::ErrorKind::InvalidInput, text)
}
