//! Step 7 of a turn: every dirty outbox is written, once.
//!
//! A hundred small sends in a turn cost one system call, and a broadcast one per receiver, however many
//! messages it carried. An outbox that could not be written whole is either dirty again (the kernel took
//! a part; the next turn asks for more) or waits for the event that says that there is room again.
//!
//! Nothing is reported from here: a connection that turns out to be broken is an errand for the time when
//! all outboxes have been written.

use std::io::{self, IoSlice};

use crate::slot::chunks::CHUNKS_PER_WRITE;
use crate::slot::life::{Life, Output};
use crate::slot::readiness::Flag;
use crate::state::agenda::Errand;
use crate::state::{State, closing, deadlines, files, flow, observing, rates, shutting};
use crate::time::action::Action;
use crate::watch::ends::Cause;
use crate::watch::reports::Reports;
use crate::world::errors::{Class, classify, is_interrupted};
use crate::world::ids::AnyId;
use crate::world::layered::Layered;
use crate::world::metered::Direction;
use crate::world::topics;

/// The step. The usual case, an open connection whose output is staged and is taken whole, is kept apart.
pub(crate) fn flush<D>(state: &mut State<D>) {
    if state.observers.want(Reports::FLUSHES) {
        return flush_told(state);
    }
    flush_all::<D, false>(state);
}

#[cold]
#[inline(never)]
fn flush_told<D>(state: &mut State<D>) {
    flush_all::<D, true>(state);
}

/// The loop, made twice, so that without an observer it has no question after one.
#[inline(always)]
fn flush_all<D, const IS_TOLD: bool>(state: &mut State<D>) {
    // Out of the state, so that the loop has its place in it in registers: nothing else looks at it meanwhile.
    let mut batch = std::mem::take(&mut state.agenda.flushing);
    while let Some(id) = batch.next() {
        let Some(slot) = state.slots.get_mut(id) else {
            observing::stale(state, id);
            continue;
        };
        slot.readiness.clear(Flag::Dirty);
        if !slot.readiness.can_write_and_forget() || !slot.outbox.is_staged() {
            write_queued(state, id);
            continue;
        }
        state.counters.writes += 1;
        let piece = state.chunks.staged(&slot.outbox);
        let len = piece.len();
        match slot.door().transmit(piece, &state.now) {
            Ok(written) if written == len => {
                state.counters.bytes_out += written as u64;
                state.chunks.staged_is_written(&mut slot.outbox, written);
                if IS_TOLD {
                    observing::flushed(state, id, written);
                }
            }
            outcome => after_write(state, id, outcome),
        }
    }
    state.agenda.flushing = batch;
    state.chunks.clear_staged();
}

/// Writes an outbox of any length, in any state of its connection.
#[inline(never)]
pub(super) fn write_queued<D>(state: &mut State<D>, id: AnyId) {
    let slot = state.slots.slot_mut(id);
    // Whatever becomes of it in this turn: the staging buffer is emptied after it.
    state.chunks.unstage(&mut slot.outbox);
    match slot.life() {
        Life::Open | Life::Producing | Life::Flushing | Life::FlushingToReset => {}
        // Its outbox went over the cap, or another dispatcher's read found it broken.
        Life::Broken => return state.agenda.errands.push_back(Errand::Broken(id)),
        Life::Connecting
        | Life::ConnectingToClose
        | Life::ConnectingToReset
        | Life::Listening
        | Life::Draining
        | Life::Ended => return,
    }
    if !slot.has_output() {
        return output_done(state, id);
    }
    if !slot.readiness.has(Flag::Writable) {
        return;
    }
    if slot.outbox.is_empty() {
        return files::write(state, id);
    }
    state.counters.writes += 1;
    let mut pieces = [IoSlice::new(&[]); CHUNKS_PER_WRITE];
    let count = state.chunks.gather(&slot.outbox, &mut pieces);
    let outcome = match pieces[..count] {
        [piece] => slot.door().transmit(&piece, &state.now),
        _ => slot.door().transmit_vectored(&pieces[..count], &state.now),
    };
    after_write(state, id, outcome);
}

#[inline(never)]
fn after_write<D>(state: &mut State<D>, id: AnyId, outcome: io::Result<usize>) {
    let slot = state.slots.slot_mut(id);
    state.chunks.unstage(&mut slot.outbox);
    match outcome {
        Ok(bytes) => {
            slot.output_moved = state.now;
            state.chunks.advance(&mut slot.outbox, bytes);
            state.counters.bytes_out += bytes as u64;
            observing::flushed(state, id, bytes);
            let slot = state.slots.slot(id);
            if slot.outbox.is_empty()
                && !slot.readiness.needs_more_after_a_write()
                && slot.life() == Life::Open
            {
                return;
            }
            write_continued(state, id);
        }
        Err(error) => write_stopped(state, id, error),
    }
}

/// The kernel has taken something, and more follows from it than "done".
#[cold]
fn write_continued<D>(state: &mut State<D>, id: AnyId) {
    let slot = state.slots.slot_mut(id);
    slot.readiness.clear(Flag::Stuck);
    // What is left of the outbox goes first.
    if slot.has_files() {
        return files::write(state, id);
    }
    review_written(state, id);
}

/// What follows when the kernel has taken something and is not known to be full.
pub(crate) fn review_written<D>(state: &mut State<D>, id: AnyId) {
    flow::review(state, id);
    if !state.slots.slot(id).has_output() {
        output_done(state, id);
    } else {
        // Most likely the kernel is full, but only WouldBlock promises an event when it no longer is.
        state.mark_dirty(id);
    }
    state.requeue(id);
}

/// The kernel has taken nothing.
#[cold]
pub(crate) fn write_stopped<D>(state: &mut State<D>, id: AnyId, error: io::Error) {
    if is_interrupted(&error) {
        return state.mark_dirty(id);
    }
    if classify(&error) != Class::NotNow {
        return write_failed(state, id, error);
    }
    let waits_for_its_share = rates::waits(state, id, Direction::Write);
    let slot = state.slots.slot_mut(id);
    if slot.io.layered().is_some_and(Layered::has_given) {
        // The peer takes a part of a record, of which the outbox knows nothing yet.
        (slot.output_moved, slot.touched) = (state.now, state.now);
    }
    if !waits_for_its_share && slot.readiness.raise(Flag::WatchesRoom) {
        if let Err(error) = state.poller.watch_room(&mut slot.io, id) {
            return write_failed(state, id, error);
        }
    }
    match slot.life() {
        Life::Producing | Life::Flushing | Life::FlushingToReset => {
            deadlines::arm_close(state, id);
        }
        // It is not the peer that it waits for.
        _ if waits_for_its_share => {}
        _ => {
            if let Some(limit) = deadlines::stall_timeout(state, id) {
                deadlines::arm(state, id, limit, Action::Stalled(limit));
            }
        }
    }
}

/// A write has failed for good: the outbox is dropped now, what input the kernel still has is
/// delivered, then the connection ends.
#[cold]
pub(crate) fn write_failed<D>(state: &mut State<D>, id: AnyId, error: io::Error) {
    let discarded = flow::discard_output(state, id);
    let slot = state.slots.slot_mut(id);
    if discarded > 0 {
        // Of a layer's failure the kernel knows nothing, and the peer is not to take a part for the whole.
        closing::prepare_reset(slot);
    }
    let life = slot.life();
    slot.readiness.break_output();
    slot.fate.fail(closing::cause_of(&error), error);
    log::debug!(target: topics::CONNECTION,
        "{}: a write failed; {discarded} bytes not sent",
        state.label(id)
    );
    let slot = state.slots.slot_mut(id);
    if !life.is_live() || slot.is_over() {
        state.agenda.errands.push_back(Errand::Broken(id));
    } else {
        // There may be no event to come: the read has to find out for itself.
        slot.readiness.set(Flag::Readable);
        state.requeue(id);
    }
}

/// Nothing is queued any more: what was waiting for that happens now.
fn output_done<D>(state: &mut State<D>, id: AnyId) {
    let slot = state.slots.slot_mut(id);
    match slot.life() {
        Life::Flushing => closing::start_draining(state, id),
        Life::FlushingToReset => closing::abort(state, id, Cause::Aborted),
        Life::Open
            if slot.readiness.has(Flag::WantSent)
                && !slot.readiness.has(Flag::MoreOutput)
                // It is empty because it was thrown away.
                && slot.readiness.output() != Output::Broken =>
        {
            slot.readiness.clear(Flag::WantSent);
            state.agenda.errands.push_back(Errand::Sent(id));
            // The write side may be waiting as well.
            state.mark_dirty(id);
        }
        Life::Open
            if slot.readiness.output() == Output::Shutting
                && !slot.readiness.has(Flag::MoreOutput) =>
        {
            shutting::shut_now(state, id);
        }
        _ => {}
    }
}
