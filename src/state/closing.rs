//! Closing in all its forms, up to the close step.
//!
//! Many roads lead to [`Life::Ended`] and one function enters it, [`end`]; one step leads from there to
//! `handle_close` (`turn/close.rs`). That is what makes it exactly once, and last.
//!
//! Why a closing connection drains: a socket that is closed with unread input makes the kernel answer with
//! a reset, and a reset discards what the peer has not read yet, replies that the kernel had accepted
//! included. So the write side is shut, and what still arrives is read and discarded until the peer has
//! finished too, or the deadline has come.

use std::io;

use crate::slot::Slot;
use crate::slot::life::{Input, Life, Output};
use crate::slot::readiness::Flag;
use crate::state::running::Running;
use crate::state::{State, deadlines, flow, listening, rates, shutting, watching};
use crate::time::action::Action;
use crate::watch::about::About;
use crate::watch::ends::Cause;
use crate::world::address::Address;
use crate::world::detached::Detached;
use crate::world::endpoint::Kind;
use crate::world::errors::{Class, classify, copy_of, is_interrupted, is_would_block};
use crate::world::ids::AnyId;
use crate::world::io::Io;
use crate::world::metered::Direction;
use crate::world::topics;

/// `close()` of the API: what is queued leaves first, then the end of the stream. A layer's output counts
/// as queued, for it was accepted; what `handle_write` would still have sent does not.
pub(crate) fn close<D>(state: &mut State<D>, id: AnyId) {
    if state.slots.slot(id).readiness.has(Flag::MoreOutput) {
        return close_when_done(state, id);
    }
    close_to(state, id, Life::ConnectingToClose, Life::Flushing);
}

/// `close_when_done()` of the API: as `close()`, but a producer finishes first.
pub(crate) fn close_when_done<D>(state: &mut State<D>, id: AnyId) {
    let slot = state.slots.slot_mut(id);
    match slot.life() {
        Life::Open if slot.is_producing() => {
            slot.readiness.stop_reading();
            cancel_user_timers(state, id);
            produce_to_the_end(state, id);
        }
        // The producer waits for the connection as queued bytes do.
        Life::Connecting if slot.is_producing() => {
            slot.enter(Life::ConnectingToClose);
            slot.readiness.stop_reading();
            cancel_user_timers(state, id);
        }
        _ => close_to(state, id, Life::ConnectingToClose, Life::Flushing),
    }
}

/// A connection attempt has succeeded. What was asked for meanwhile is done: sending, closing.
pub(crate) fn established<D>(state: &mut State<D>, id: AnyId) {
    let slot = state.slots.slot_mut(id);
    let next = match slot.life() {
        Life::ConnectingToClose if slot.is_producing() => return produce_to_the_end(state, id),
        Life::ConnectingToClose => Life::Flushing,
        Life::ConnectingToReset => Life::FlushingToReset,
        _ => Life::Open,
    };
    slot.enter(next);
    deadlines::arm_idle(state, id);
    let slot = state.slots.slot(id);
    let has_output = slot.has_output() || slot.readiness.output() == Output::Shutting;
    if next != Life::Open || has_output {
        state.mark_dirty(id);
    }
}

/// Enters [`Life::Producing`]. The close timeout counts from the last time that the peer took something.
fn produce_to_the_end<D>(state: &mut State<D>, id: AnyId) {
    let slot = state.slots.slot_mut(id);
    slot.enter(Life::Producing);
    slot.output_moved = state.clock.now();
    deadlines::arm_close_from_now(state, id);
    state.mark_dirty(id);
    state.requeue(id);
}

/// A producer has said that it is done, or that it is not.
pub(crate) fn review_producer<D>(state: &mut State<D>, id: AnyId) {
    let slot = state.slots.slot(id);
    if slot.life() == Life::Producing && !slot.is_producing() {
        close_to(state, id, Life::ConnectingToClose, Life::Flushing);
    }
}

/// `abort_when_sent()` of the API: what is queued leaves first, then a reset.
pub(crate) fn abort_when_sent<D>(state: &mut State<D>, id: AnyId) {
    let slot = state.slots.slot_mut(id);
    if slot.life() >= Life::Draining {
        // Everything has been sent, the end of the stream too.
        return;
    }
    slot.fate.note(Cause::Aborted);
    match slot.life() {
        Life::ConnectingToClose => {
            slot.readiness.want_nothing();
            slot.enter(Life::ConnectingToReset);
        }
        Life::Flushing => slot.enter(Life::FlushingToReset),
        // Nothing is queued. Who is in the middle of a handshake is a peer, and sees a reset.
        Life::Connecting if !slot.owes_output() => abort(state, id, Cause::Aborted),
        _ => close_to(state, id, Life::ConnectingToReset, Life::FlushingToReset),
    }
}

/// `close_when_sent()` of the API: what is queued leaves first, then the socket is closed at once.
pub(crate) fn close_when_sent<D>(state: &mut State<D>, id: AnyId) {
    let slot = state.slots.slot_mut(id);
    if matches!(slot.life(), Life::Connecting | Life::Open | Life::Producing) {
        // As if its end had come: then there is nothing to drain.
        slot.readiness.set_input(Input::Told);
    }
    close(state, id);
}

fn close_to<D>(state: &mut State<D>, id: AnyId, connecting: Life, flushing: Life) {
    let slot = state.slots.slot_mut(id);
    match slot.life() {
        Life::Connecting if slot.owes_output() => {
            // Bytes were accepted for sending: they leave first, once the connection is established.
            slot.enter(connecting);
            slot.readiness.want_nothing();
            cancel_user_timers(state, id);
        }
        Life::Open | Life::Producing
            if slot.io.can_send() && slot.readiness.output() != Output::Broken =>
        {
            slot.enter(flushing);
            slot.readiness.want_nothing();
            flow::set_layer_full(state, id, false);
            cancel_user_timers(state, id);
            let slot = state.slots.slot(id);
            if slot.has_output() && !slot.readiness.has(Flag::Writable) {
                // The flush that would arm it has been and gone.
                deadlines::arm_close_from_now(state, id);
            }
            state.mark_dirty(id);
        }
        Life::Connecting | Life::Listening | Life::Open | Life::Producing => {
            end(state, id, Cause::Finished);
        }
        // What broke it is reported, and then it ends.
        Life::Broken
        | Life::ConnectingToClose
        | Life::ConnectingToReset
        | Life::Flushing
        | Life::FlushingToReset
        | Life::Draining
        | Life::Ended => {}
    }
}

/// `abort()` of the API: now, and the peer of a TCP connection sees a reset.
pub(crate) fn abort<D>(state: &mut State<D>, id: AnyId, cause: Cause) {
    prepare_reset(state.slots.slot(id));
    end(state, id, cause);
}

/// Has the kernel send a reset when the socket is closed. With nothing to linger for it does, and keeps
/// nothing for the peer.
pub(crate) fn prepare_reset<D>(slot: &Slot<D>) {
    let has_a_peer = slot.life() == Life::Open
        || slot.life() >= Life::Broken && slot.life() != Life::Ended
        || slot.io.is_handshaking()
        // It may be established, and the event that says so still to come.
        || slot.life().is_connecting() && slot.has_output();
    if has_a_peer && matches!(slot.address, Address::Inet(_)) && slot.io.kind() == Kind::Stream {
        slot.io.reset_when_closed();
    }
}

/// The one way into [`Life::Ended`]: the slot waits for its `handle_close`, and for nothing else. An
/// earlier cause counts before this one.
///
/// Where bytes that were accepted for sending are thrown away, or an answer is cut short, the peer sees a
/// reset: it must not take a part for the whole.
pub(crate) fn end<D>(state: &mut State<D>, id: AnyId, cause: Cause) {
    let slot = state.slots.slot_mut(id);
    if slot.life() == Life::Ended {
        return;
    }
    let cause = slot.fate.end_by(cause);
    if slot.leaves_a_part_by(cause) {
        prepare_reset(slot);
    }
    state.counters.ends.count(cause);
    slot.enter(Life::Ended);
    slot.readiness.want_nothing();
    // Here and not in the close step: one that is due in this very turn must not fire any more.
    state.timers.cancel_where(&mut slot.timers, |_| true);
    flow::discard_output(state, id);
    flow::forget_sink(state, id);
    flow::unlink_source(state, id);
    flow::forget_broadcaster(state, id);
    watching::forget(state, id, cause);
    rates::forget(state, id);
    state.agenda.ending.push_back(id);
    state
        .observers
        .tell(|observer, at| observer.closed(at, id, cause));
}

/// Ends every slot.
pub(crate) fn end_all<D>(state: &mut State<D>) {
    for id in state.slots.ids() {
        end(state, id, Cause::Shutdown);
    }
}

/// Notes that the socket failed for good; the first error is the one that counts.
pub(crate) fn break_socket<D>(state: &mut State<D>, id: AnyId, error: &io::Error) {
    let slot = state.slots.slot_mut(id);
    slot.enter(Life::Broken);
    slot.fate.fail(cause_of(error), copy_of(error));
}

/// Why a connection ends whose socket reported `error`.
pub(crate) fn cause_of(error: &io::Error) -> Cause {
    match classify(error) {
        Class::Disconnect => Cause::Reset,
        Class::NotNow | Class::Fault => Cause::Error(error.kind()),
    }
}

fn cancel_user_timers<D>(state: &mut State<D>, id: AnyId) {
    let slot = state.slots.slot_mut(id);
    if !slot.timers.is_empty() {
        state
            .timers
            .cancel_where(&mut slot.timers, Action::is_users);
    }
}

/// The outbox of a closing connection is empty.
pub(crate) fn start_draining<D>(state: &mut State<D>, id: AnyId) {
    let slot = state.slots.slot_mut(id);
    // A hang-up alone is no reason to skip it: once both halves are shut the kernel reports one, and
    // there may still be unread input here and an unread reply over there.
    let peer_is_done = slot.readiness.input().is_over() || slot.readiness.has(Flag::Error);
    let has_closing_message = slot.io.as_layered().is_some();
    if (peer_is_done && !has_closing_message) || !slot.io.can_half_close() {
        return end(state, id, Cause::Finished);
    }
    if slot.readiness.output() != Output::Shut {
        match slot.io.shutdown_write() {
            Ok(()) => {}
            Err(error) if classify(&error) == Class::NotNow && has_closing_message => {
                return shutting::wait_for_room(state, id, error);
            }
            // The peer is gone already.
            Err(_) => return end(state, id, Cause::Finished),
        }
    }
    if peer_is_done {
        return end(state, id, Cause::Finished);
    }
    drain_from_now_on(state, id);
}

/// Ends a broken stream whose layer has told the peer why: without a closing message, for this is no end of what it had
/// to say, and without a reset, so that the peer reads it. False if that cannot be.
pub(crate) fn let_the_peer_read_why<D>(state: &mut State<D>, id: AnyId) -> bool {
    let slot = state.slots.slot_mut(id);
    let owes = slot.owes_output() || slot.is_producing();
    if slot.life() != Life::Broken || owes || slot.readiness.input().is_over() {
        return false;
    }
    let Some(layered) = slot.io.layered() else {
        return false;
    };
    if !layered.has_told_failure() || layered.below_mut().shutdown_write().is_err() {
        return false;
    }
    slot.readiness.want_nothing();
    flow::set_layer_full(state, id, false);
    cancel_user_timers(state, id);
    drain_from_now_on(state, id);
    true
}

/// Enters [`Life::Draining`]: the write side is shut.
fn drain_from_now_on<D>(state: &mut State<D>, id: AnyId) {
    let slot = state.slots.slot_mut(id);
    slot.enter(Life::Draining);
    slot.io.drain();
    rates::lift(state, id, Direction::Read);
    let slot = state.slots.slot_mut(id);
    state
        .timers
        .cancel_where(&mut slot.timers, |action| !action.is_users());
    deadlines::arm_close(state, id);
    state.requeue(id);
}

/// Throws away what a draining connection has received, a bounded amount a turn.
pub(crate) fn drain<D>(state: &mut State<D>, id: AnyId) {
    const READS: usize = 4;
    let mut discarded = [0; 16 * 1024];
    for _ in 0..READS {
        let slot = state.slots.slot_mut(id);
        match slot.door().receive(&mut discarded, &state.now) {
            Ok(0) => return end(state, id, Cause::Finished),
            Ok(_) if slot.readiness.has(Flag::Readable) => {}
            Ok(_) => break,
            Err(error) if is_would_block(&error) => break,
            Err(error) if is_interrupted(&error) => {}
            Err(_) => return end(state, id, Cause::Reset),
        }
    }
    state.requeue(id);
}

/// Reads, for a connection that is not read any more, until the kernel says why it is over. What arrived
/// meanwhile has no reader.
#[cold]
pub(crate) fn bring_out_the_errno<D>(state: &mut State<D>, id: AnyId) {
    const READS: usize = 64;
    let slot = state.slots.slot_mut(id);
    if slot.fate.error().is_some() || !slot.readiness.has(Flag::Error) {
        return;
    }
    if !slot.io.can_recv() {
        // The writing end of a pipe: its one error is a reader that has gone.
        slot.fate
            .fail(Cause::Reset, io::ErrorKind::BrokenPipe.into());
        return;
    }
    let mut discarded = [0; 4096];
    for _ in 0..READS {
        match slot.door().receive(&mut discarded, &state.now) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if is_interrupted(&error) => {}
            Err(error) if is_would_block(&error) => return,
            Err(error) => {
                slot.fate.fail(cause_of(&error), error);
                return;
            }
        }
    }
}

/// Takes the socket out of an open connection, which ends. What the outbox held goes with it.
pub(crate) fn detach<D>(state: &mut State<D>, id: AnyId, unread: Vec<u8>) -> io::Result<Detached> {
    if state.slots.slot(id).io.as_layered().is_none() {
        rates::forget(state, id);
    }
    let slot = state.slots.slot_mut(id);
    if !matches!(slot.io, Io::Stream(_)) {
        let text = format!("{} cannot be detached", slot.io.name());
        slot.put_back(&unread);
        return Err(About::error(io::ErrorKind::Unsupported, id, text));
    }
    let unsent = state.chunks.copy(&slot.outbox);
    state.chunks.discard(&mut slot.outbox);
    let address = slot.address.clone();
    end(state, id, Cause::Detached);
    match release_socket(state, id) {
        Io::Stream(socket) => Ok(Detached::new(socket.into(), address, unread, unsent)),
        Io::Other(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Takes a slot's socket out of the poller, and out of the slot. Deregistering comes before closing: epoll
/// goes on reporting a closed descriptor for as long as a duplicate of it exists.
fn release_socket<D>(state: &mut State<D>, id: AnyId) -> Io {
    let slot = state.slots.slot_mut(id);
    let cause = slot.fate.cause().unwrap_or(Cause::Finished);
    let mut io = std::mem::replace(&mut slot.io, Io::closed());
    state.connections -= usize::from(io.kind() == Kind::Stream);
    state.services -= usize::from(io.kind() == Kind::Service);
    listening::resume_all(state);
    log::debug!(target: topics::CONNECTION, "{}: closed: {cause}", state.label(id));
    if let Err(error) = state.poller.deregister(&mut io) {
        log::debug!(target: topics::POLL, "{id}: cannot deregister: {error}");
    }
    io
}

/// Closes a slot's socket.
pub(crate) fn close_socket<D>(state: &mut State<D>, id: AnyId) {
    state.running = Running::dropping(id);
    drop(release_socket(state, id));
}

/// Frees the place. The dispatcher is dropped last, when nothing can be left half done if its own drop
/// panics.
pub(crate) fn free<D>(state: &mut State<D>, id: AnyId) {
    let Some(slot) = state.slots.remove(id) else {
        return;
    };
    state.counters.closed += 1;
    let was_special = slot.priority.is_special();
    state.agenda.classes.count_reason(was_special, false);
    state.agenda.has_freed |= slot.is_listed();
    state.running = Running::dropping(id);
    drop(slot);
}
