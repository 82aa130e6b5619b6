//! A stream that is in use gets a layer: what was read and sent before stays on this side of it.

use std::io;

use crate::slot::life::{Life, Output};
use crate::slot::readiness::Flag;
use crate::state::{State, deadlines, flow};
use crate::watch::about::About;
use crate::world::ids::AnyId;
use crate::world::io::Io;
use crate::world::layer::Layer;
use crate::world::layered::{Layered, Stage};

/// What may still be queued when the layer comes. It is kept apart from the outbox, so it is to be little: the answer
/// that tells the peer to begin.
const MOST_UNSENT: usize = 64 * 1024;

/// Puts `layer` on the stream in slot `id`, which has its handshake to make before anything else.
pub(crate) fn start<D>(
    state: &mut State<D>,
    id: AnyId,
    layer: impl FnOnce() -> Box<dyn Layer>,
) -> io::Result<()> {
    let slot = state.slots.slot_mut(id);
    let is_open = slot.life() == Life::Open && slot.readiness.output() == Output::Open;
    if !is_open || slot.readiness.input().is_over() {
        let text = "it is not an open connection, or one direction has ended";
        return Err(refused(state, id, io::ErrorKind::NotConnected, text));
    }
    if slot.has_files() || slot.readiness.has(Flag::MoreOutput) {
        let text = "a file or a producer has unsent output";
        return Err(refused(state, id, io::ErrorKind::InvalidInput, text));
    }
    let queued = slot.outbox.len();
    if queued > MOST_UNSENT {
        let text = format!(
            "{queued} bytes are queued; at most {MOST_UNSENT} may be queued before the handshake"
        );
        return Err(refused(state, id, io::ErrorKind::InvalidInput, &text));
    }
    Layered::check(&slot.io)?;
    state.chunks.unstage(&mut slot.outbox);
    let unsent = state.chunks.copy(&slot.outbox);
    state.chunks.discard(&mut slot.outbox);
    let unread = slot.take_put_back();
    // What is urgent comes beside the layer, and would lie in the middle of a record. (Without urgent data there is
    // nothing to set.)
    let _ = slot.io.urgent_inline(false);
    let below = std::mem::replace(&mut slot.io, Io::closed());
    let layered = Layered::new(below, layer(), Stage::Handshaking, (unread, unsent));
    slot.io = Io::Other(Box::new(layered));
    slot.readiness.connect_again();
    // No event need come for the first step.
    slot.readiness.set(Flag::Readable);
    slot.readiness.set(Flag::Writable);
    flow::review(state, id);
    deadlines::arm_handshake(state, id);
    state.requeue(id);
    Ok(())
}

#[cold]
fn refused<D>(state: &State<D>, id: AnyId, kind: io::ErrorKind, why: &str) -> io::Error {
    let text = format!("{}: cannot get a layer: {why}", state.label(id));
    About::error(kind, id, text)
}
