//! What follows from what a callback returned, and from a socket that broke.

use std::io;

use crate::context::Context;
use crate::dispatcher::Dispatcher;
use crate::slot::life::{Input, Life};
use crate::slot::readiness::Flag;
use crate::state::{closing, diagnostics};
use crate::turn::core::Core;
use crate::turn::{call, replace};
use crate::watch::about::About;
use crate::watch::callback::Callback;
use crate::watch::ends::Cause;
use crate::world::endpoint::Kind;
use crate::world::errors::{Class, classify};
use crate::world::ids::AnyId;
use crate::world::topics;

/// Calls the dispatcher and does what its result asks for. True if its dispatch may go on.
#[inline]
pub(crate) fn call_and_settle(
    core: &mut Core,
    id: AnyId,
    callback: Callback,
    body: impl FnOnce(&mut dyn Dispatcher, &mut Context<'_>) -> io::Result<()>,
) -> bool {
    let result = call::call(core, id, callback, body);
    if result.is_ok() && core.state.slots.slot(id).may_go_on() {
        return true;
    }
    settle(core, id, callback, result)
}

/// What follows a callback that failed, closed, broke its socket or saw the end of its stream.
#[cold]
pub(crate) fn settle(
    core: &mut Core,
    id: AnyId,
    callback: Callback,
    result: io::Result<()>,
) -> bool {
    if core.state.slots.slot(id).readiness.has(Flag::Replaced) {
        replace::finish(core, id);
    }
    let life = core.state.slots.slot(id).life();
    if life > Life::Broken && !(life == Life::Producing && callback == Callback::Write) {
        // It closed itself: what it returns changes nothing.
        return false;
    }
    let mut may_go_on = true;
    let mut reported = false;
    if let Err(error) = result {
        match class_for(core, id, callback, &error) {
            Class::NotNow => {}
            Class::Disconnect => {
                log::debug!(target: topics::CONNECTION, "{}: {error}", core.state.label(id));
                closing::end(&mut core.state, id, Cause::Reset);
                return false;
            }
            Class::Fault => {
                report_fault(core, id, error);
                (may_go_on, reported) = (false, true);
            }
        }
    }
    let life = core.state.slots.slot(id).life();
    if life == Life::Broken {
        end_broken(core, id, reported);
    }
    if !life.is_live() || life == Life::Connecting {
        // (One that has got a layer is connecting again: its handshake comes before any other callback.)
        return false;
    }
    if may_go_on && core.state.slots.slot(id).readiness.eof_due() {
        return tell_eof(core, id);
    }
    may_go_on
}

/// The class of an error that a callback returned.
fn class_for(core: &Core, id: AnyId, callback: Callback, error: &io::Error) -> Class {
    if About::whom(error).is_some_and(|whom| whom != id) {
        log::debug!(target: topics::CONNECTION,
            "{}: {callback} returned an error about another dispatcher: {error}",
            core.state.label(id)
        );
        return Class::NotNow;
    }
    match classify(error) {
        // Only a stream has a peer to lose. From a listener or a datagram socket it is another
        // socket's disconnect, and must not close this one.
        Class::Disconnect if core.state.slots.slot(id).io.kind() != Kind::Stream => Class::Fault,
        class => class,
    }
}

/// Calls `handle_eof`, once.
pub(crate) fn tell_eof(core: &mut Core, id: AnyId) -> bool {
    let slot = core.state.slots.slot_mut(id);
    slot.readiness.set_input(Input::Told);
    diagnostics::note_end_of_input(&mut core.state, id);
    call_and_settle(core, id, Callback::Eof, |dispatcher, cx| {
        dispatcher.handle_eof(cx)
    })
}

/// Calls `handle_error`.
pub(crate) fn report(core: &mut Core, id: AnyId, error: io::Error) {
    core.state.counters.errors += 1;
    let result = call::call(core, id, Callback::Error, |dispatcher, cx| {
        dispatcher.handle_error(cx, error);
        Ok(())
    });
    debug_assert!(result.is_ok(), "handle_error returns nothing");
    if core.state.slots.slot(id).readiness.has(Flag::Replaced) {
        replace::finish(core, id);
    }
}

/// Reports an error that a callback returned. If the dispatcher closes, that is why; if it keeps its
/// socket, nothing has happened.
fn report_fault(core: &mut Core, id: AnyId, error: io::Error) {
    let cause = Cause::Error(error.kind());
    core.state.slots.slot_mut(id).fate.note(cause);
    report(core, id, error);
    let slot = core.state.slots.slot_mut(id);
    if slot.readiness.is_live() || slot.life() == Life::Producing {
        slot.fate.forgive();
    }
}

/// Ends a connection whose socket broke. A disconnect is no error; a fault is reported, unless that has
/// been done.
#[cold]
pub(crate) fn end_broken(core: &mut Core, id: AnyId, reported: bool) {
    let slot = core.state.slots.slot_mut(id);
    if slot.life() == Life::Ended {
        return;
    }
    let is_closing = slot.life() > Life::Producing;
    if slot.life() < Life::Broken {
        // From here on it is past saving: nothing that handle_error does may revive it.
        slot.enter(Life::Broken);
    }
    // With no error to show it was only over: both sides have finished.
    let cause = if slot.readiness.has(Flag::Error) {
        Cause::Reset
    } else {
        Cause::Finished
    };
    if let Some(error) = slot.fate.take_error() {
        let fault = classify(&error) == Class::Fault;
        log::debug!(target: topics::CONNECTION, "{}: connection broken: {error}", core.state.label(id));
        if fault && !reported && !is_closing {
            report(core, id, error);
        }
    }
    if closing::let_the_peer_read_why(&mut core.state, id) {
        return;
    }
    closing::end(&mut core.state, id, cause);
}
