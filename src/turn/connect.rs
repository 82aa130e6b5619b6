//! Outgoing connections, a part of step 4: what became of an attempt.
//!
//! "Writable" is no proof that a connection is established: it comes with a refusal as well, and can come
//! too early. The order here is: the pending error, asked for once and kept, because asking clears it;
//! then the peer's address, which only an established connection has. Nowhere else is a socket asked for
//! its pending error: on an established one the question would turn a reset into a clean end of stream.

use std::io;

use crate::slot::life::Life;
use crate::slot::readiness::Flag;
use crate::state::{closing, deadlines, rates};
use crate::time::action::Action;
use crate::turn::core::Core;
use crate::turn::settle;
use crate::watch::about::About;
use crate::watch::callback::Callback;
use crate::watch::ends::Cause;
use crate::world::address::Address;
use crate::world::errors::{is_interrupted, is_not_connected, is_would_block};
use crate::world::ids::AnyId;
use crate::world::metered::Direction;

/// An event has come for a connection attempt. True if it is established and may be served.
pub(crate) fn finish(core: &mut Core, id: AnyId) -> bool {
    let slot = core.state.slots.slot_mut(id);
    if slot.io.is_handshaking() {
        return handshake(core, id);
    }
    let error = match slot.io.take_error() {
        Ok(Some(error)) | Err(error) => error,
        Ok(None) => match slot.io.is_connected_to_itself() {
            Ok(false) => return established(core, id),
            Ok(true) => {
                let text = format!(
                    "{}: the socket is connected to itself",
                    core.state.label(id)
                );
                io::Error::new(io::ErrorKind::ConnectionRefused, text)
            }
            Err(error) if is_not_connected(&error) => match slot.io.may_still_connect() {
                Ok(true) => {
                    // It came too early. The event that counts is still to come.
                    slot.readiness.cant_write();
                    return false;
                }
                // It was given to us like this, and no event would ever come.
                Ok(false) => not_connecting(core, id),
                Err(error) => error,
            },
            Err(error) => error,
        },
    };
    let cause = Cause::ConnectFailed(error.kind());
    fail(core, id, cause, error);
    false
}

#[cold]
fn not_connecting(core: &Core, id: AnyId) -> io::Error {
    let label = core.state.label(id);
    let text = format!("{label}: connect was not called, or its error was read before");
    io::Error::new(io::ErrorKind::NotConnected, text)
}

fn established(core: &mut Core, id: AnyId) -> bool {
    let state = &mut core.state;
    let slot = state.slots.slot_mut(id);
    slot.touched = state.now;
    if slot.address == Address::None {
        // An attempt that was begun elsewhere could not tell its peer until now.
        slot.address = slot.io.address();
    }
    state.timers.cancel_where(&mut slot.timers, |action| {
        matches!(action, Action::ConnectDeadline)
    });
    if let Some(layered) = slot.io.layered() {
        layered.connected();
        deadlines::arm_handshake(state, id);
        return handshake(core, id);
    }
    open(core, id) && tell_connect(core, id)
}

/// A connection may be used. False if it was closed meanwhile.
fn open(core: &mut Core, id: AnyId) -> bool {
    closing::established(&mut core.state, id);
    core.state.slots.slot(id).life() == Life::Open
}

/// Calls `handle_connect`. True if the connection is still to be served in this turn; so is the next.
fn tell_connect(core: &mut Core, id: AnyId) -> bool {
    settle::call_and_settle(core, id, Callback::Connect, |dispatcher, cx| {
        dispatcher.handle_connect(cx)
    })
}

fn tell_handshake(core: &mut Core, id: AnyId) -> bool {
    settle::call_and_settle(core, id, Callback::Handshake, |dispatcher, cx| {
        dispatcher.handle_handshake(cx)
    })
}

/// The stream is established, and its layer has a handshake to make. It goes on with every event.
fn handshake(core: &mut Core, id: AnyId) -> bool {
    let state = &mut core.state;
    let slot = state.slots.slot_mut(id);
    // The next event says that there is more, whatever it is.
    slot.readiness.cant_read();
    slot.readiness.cant_write();
    let Some(layered) = slot.io.layered() else {
        return false;
    };
    let outcome = layered.handshake();
    let (is_full, is_outgoing) = (layered.is_full(), layered.is_outgoing());
    match outcome {
        Ok(()) => {
            slot.touched = state.now;
            // Taken for granted until a read or a write says otherwise: the layer may hold input.
            slot.readiness.set(Flag::Readable);
            slot.readiness.set(Flag::Writable);
            state.timers.cancel_where(&mut slot.timers, |action| {
                matches!(action, Action::HandshakeDeadline)
            });
            return open(core, id)
                && tell_handshake(core, id)
                && (!is_outgoing || tell_connect(core, id));
        }
        Err(error) if is_interrupted(&error) => slot.readiness.set(Flag::Readable),
        Err(error) if is_would_block(&error) => {
            let direction = match is_full {
                true => Direction::Write,
                false => Direction::Read,
            };
            if rates::waits(state, id, direction) {
                return false;
            }
            let slot = state.slots.slot_mut(id);
            if is_full && slot.readiness.raise(Flag::WatchesRoom) {
                if let Err(error) = state.poller.watch_room(&mut slot.io, id) {
                    fail_handshake(core, id, error);
                }
            }
        }
        Err(error) => fail_handshake(core, id, error),
    }
    false
}

#[cold]
fn fail_handshake(core: &mut Core, id: AnyId, error: io::Error) {
    let kind = error.kind();
    let text = format!("{}: the handshake failed: {error}", core.state.label(id));
    let error = About::error(kind, id, text);
    fail(core, id, Cause::HandshakeFailed(kind), error);
}

/// One `handle_error`, whatever the errno, and then the end; or the end alone if it was closed
/// meanwhile.
pub(crate) fn fail(core: &mut Core, id: AnyId, cause: Cause, error: io::Error) {
    let slot = core.state.slots.slot_mut(id);
    slot.fate.note(cause);
    if slot.life() == Life::Connecting {
        // Nothing that handle_error does may keep it.
        slot.enter(Life::Broken);
        settle::report(core, id, error);
    }
    closing::end(&mut core.state, id, cause);
}
