//! Shutting the write side of a connection, once everything queued has left.

use std::io;

use crate::slot::life::{Life, Output};
use crate::slot::readiness::Flag;
use crate::state::output::{write_failed, write_stopped};
use crate::state::{State, closing};
use crate::world::errors::{Class, classify, is_would_block};
use crate::world::ids::AnyId;

pub(crate) fn shut_now<D>(state: &mut State<D>, id: AnyId) {
    let slot = state.slots.slot_mut(id);
    match slot.io.shutdown_write() {
        Ok(()) => slot.readiness.set_output(Output::Shut),
        Err(error) if classify(&error) == Class::NotNow && slot.io.as_layered().is_some() => {
            return wait_for_room(state, id, error);
        }
        Err(error) => {
            slot.readiness.set_output(Output::Shut);
            return write_failed(state, id, error);
        }
    }
    // With the peer's end of stream behind it, and its own sent, nothing can happen any more.
    state.requeue(id);
}

/// A layer has something to say before the write side is shut, and there is no room. When there is, the flush
/// comes back here.
#[cold]
pub(crate) fn wait_for_room<D>(state: &mut State<D>, id: AnyId, error: io::Error) {
    if is_would_block(&error) {
        state.slots.slot_mut(id).readiness.cant_write();
    }
    write_stopped(state, id, error);
}

/// `shutdown_write()` of the API: the write side is shut once the outbox is empty.
pub(crate) fn shutdown_write<D>(state: &mut State<D>, id: AnyId) {
    let slot = state.slots.slot_mut(id);
    if !matches!(slot.life(), Life::Connecting | Life::Open) {
        return;
    }
    if !slot.io.can_half_close() {
        if !slot.readiness.has(Flag::NoOutbox) {
            // A pipe has no other half to keep open.
            closing::close(state, id);
        }
        return;
    }
    if !slot.readiness.has(Flag::MoreOutput) {
        slot.readiness.clear(Flag::WantWrite);
    }
    if slot.readiness.output() == Output::Open {
        slot.readiness.set_output(Output::Shutting);
        if slot.life() == Life::Open {
            state.mark_dirty(id);
        }
    }
}
