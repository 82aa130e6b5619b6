//! Sending files: a part of the flush for the few connections that have one waiting.

use crate::slot::readiness::Flag;
use crate::state::agenda::Errand;
use crate::state::{State, flow, observing, output};
use crate::world::file::{Failure, FilePart};
use crate::world::ids::AnyId;

/// Most bytes of files that one connection sends in a turn, so that one fast reader does not hold up the
/// others: at 5 GB/s, 50 µs.
///
/// With 2 MiB, which is nginx's bound, 20 MB took 12 system calls in place of 78, and between 15 % less CPU time
/// and 2 % more. But an echo beside eight downloads over loopback took 10 ms in place of 1.2 (the median), at the same
/// number of bytes a second.
const TURN_BYTES: usize = 256 * 1024;

/// Queues a file on a connection that can send.
pub(crate) fn push<D>(state: &mut State<D>, id: AnyId, part: FilePart) {
    let slot = state.slots.slot_mut(id);
    if !slot.has_output() {
        slot.output_moved = state.now;
    }
    slot.push_file(part);
    if slot.can_flush() {
        state.mark_dirty(id);
    }
    flow::review(state, id);
}

/// The outbox is empty and a file is next: as much of it as is one turn's share, and of those right behind it.
#[cold]
pub(crate) fn write<D>(state: &mut State<D>, id: AnyId) {
    let mut share = TURN_BYTES;
    let failure = loop {
        let slot = state.slots.slot_mut(id);
        if share == 0 || !slot.has_files() || !slot.outbox.is_empty() {
            break None;
        }
        state.counters.writes += 1;
        match slot.transmit_file(share, &state.now) {
            Ok(written) => {
                slot.output_moved = state.now;
                slot.pass_file();
                slot.readiness.clear(Flag::Stuck);
                state.counters.bytes_out += written as u64;
                observing::flushed(state, id, written);
                share -= written;
            }
            Err(failure) => break Some(failure),
        }
    };
    match failure {
        None => output::review_written(state, id),
        Some(Failure::Socket(error)) => output::write_stopped(state, id, error),
        // No callback can run here.
        Some(Failure::File(error)) => {
            let errand = Errand::FileFailed(id, error);
            state.agenda.errands.push_back(errand);
        }
    }
}
