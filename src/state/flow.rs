//! Flow control: which connection is not read while which outbox is full.
//!
//! Every dispatcher *feeds* one connection, by default itself. When a connection's outbox
//! crosses its high mark it is *congested*, and all that feed it are *held*: their input stays in the
//! kernel, whose window closes, until the peer at the far end stops sending. Below the low mark they
//! are all released. So bytes wait at their source, and memory here is bounded without any code of the
//! user's.
//!
//! ```text
//!      outbox of the sink                 its feeders
//!   ───────────────────────────────────────────────────────────
//!   rises over the high mark  ────────►  held: not read
//!   falls below the low mark  ────────►  released, read in the next turn
//!   ends                      ────────►  released, feed nothing from now on
//! ```
//!
//! A broadcast has more than one sink (`broadcast.rs`), and all outboxes together may have a bound as well
//! (`total.rs`).
//!
//! The low mark lies well under the high one (half, by default), so that a byte more or less does not
//! switch a connection off and on; Envoy does it for the same reason.

use std::io;

use crate::slot::Slot;
use crate::slot::life::Life;
use crate::slot::links::Link;
use crate::slot::outbox::Marks;
use crate::slot::readiness::Flag;
use crate::state::State;
use crate::watch::observer::Crossing;
use crate::world::errors::invalid;
use crate::world::ids::AnyId;
use crate::world::topics;

/// Has `source` feed `sink` from now on; a sink that is gone means none.
pub(crate) fn feeds<D>(state: &mut State<D>, source: AnyId, sink: AnyId) {
    if state.slots.slot(source).life() == Life::Ended {
        return;
    }
    unlink_source(state, source);
    let Some(slot) = state
        .slots
        .get_mut(sink)
        .filter(|slot| slot.life() != Life::Ended)
    else {
        state.slots.slot_mut(source).set_feeds(AnyId::NONE);
        return;
    };
    let congested = slot.readiness.has(Flag::Congested);
    if sink != source {
        slot.link(Link::Feeder, source);
    }
    state.slots.slot_mut(source).set_feeds(sink);
    if congested {
        hold(state, source, sink);
    }
}

/// Gives a connection marks of its own.
pub(crate) fn set_marks<D>(state: &mut State<D>, id: AnyId, marks: Marks) -> io::Result<()> {
    let slot = state.slots.slot_mut(id);
    if slot.queued() > marks.cap as usize {
        return Err(invalid(format!(
            "{} bytes are queued already, more than a cap of {}",
            slot.queued(),
            marks.cap
        )));
    }
    slot.outbox.marks = marks;
    slot.remark_files();
    review(state, id);
    state.requeue(id);
    Ok(())
}

/// Compares an outbox with its marks, and holds or releases all that feed it.
pub(crate) fn review<D>(state: &mut State<D>, sink: AnyId) {
    let slot = state.slots.slot(sink);
    let congested = slot.readiness.has(Flag::Congested);
    let full = counts_as_full(state, slot);
    let slot = state.slots.slot_mut(sink);
    if !congested && (full || slot.outbox.is_over_high()) {
        slot.readiness.set(Flag::Congested);
        let queued = slot.queued();
        state.observers.tell(|observer, at| {
            observer.mark_crossed(at, sink, Crossing::OverHigh, queued);
        });
        log::debug!(
            target: topics::FLOW,
            "{}: {queued} bytes queued; its sources are not read",
            state.label(sink)
        );
        for_each_feeder(state, sink, |state, source| hold(state, source, sink));
    } else if congested && !full && slot.outbox.is_below_low() {
        slot.readiness.clear(Flag::Congested);
        let queued = slot.queued();
        state.observers.tell(|observer, at| {
            observer.mark_crossed(at, sink, Crossing::BelowLow, queued);
        });
        log::debug!(target: topics::FLOW, "{}: its sources are read again", state.label(sink));
        for_each_feeder(state, sink, |state, source| release(state, source));
        release_broadcasters(state, sink);
    }
}

/// Whether a connection is to be treated as over its high mark although its outbox is not.
pub(crate) fn counts_as_full<D>(state: &State<D>, slot: &Slot<D>) -> bool {
    slot.readiness.has(Flag::LayerFull)
        || slot.has_files()
        || state.over_total && !slot.outbox.is_empty()
}

/// A layer above the outbox says whether it has so much queued that it counts as over the mark.
pub(crate) fn set_layer_full<D>(state: &mut State<D>, sink: AnyId, full: bool) {
    let slot = state.slots.slot_mut(sink);
    if full && matches!(slot.life(), Life::Connecting | Life::Open) {
        slot.readiness.set(Flag::LayerFull);
    } else {
        slot.readiness.clear(Flag::LayerFull);
    }
    review(state, sink);
}

/// Throws away what a connection has queued; how much it was. Its feeders are released.
pub(crate) fn discard_output<D>(state: &mut State<D>, id: AnyId) -> usize {
    let slot = state.slots.slot_mut(id);
    slot.readiness.clear(Flag::LayerFull);
    let mut discarded = state.chunks.discard(&mut slot.outbox);
    for mut behind in slot.take_files() {
        discarded += state.chunks.discard(&mut behind);
    }
    slot.note_thrown_away(discarded);
    review(state, id);
    discarded
}

/// The sink has ended, its output is discarded: from now on its feeders feed nothing.
pub(crate) fn forget_sink<D>(state: &mut State<D>, sink: AnyId) {
    for source in state.slots.slot_mut(sink).take_links(Link::Feeder) {
        state.slots.slot_mut(source).set_feeds(AnyId::NONE);
    }
}

/// Takes a source off its sink's list, and from under its hold.
pub(crate) fn unlink_source<D>(state: &mut State<D>, source: AnyId) {
    let sink = state.slots.slot(source).feeds();
    let Some(slot) = state.slots.get_mut(sink) else {
        return;
    };
    slot.unlink(Link::Feeder, source);
    if slot.readiness.has(Flag::Congested) {
        release(state, source);
    }
}

/// The senders that were held for a broadcast to `sink` go on.
pub(crate) fn release_broadcasters<D>(state: &mut State<D>, sink: AnyId) {
    for source in state.slots.slot_mut(sink).take_links(Link::Broadcaster) {
        let slot = state.slots.slot_mut(source);
        slot.unlink(Link::Receiver, sink);
        release(state, source);
    }
}

/// A sender has ended: no receiver has to release it any more.
pub(crate) fn forget_broadcaster<D>(state: &mut State<D>, sender: AnyId) {
    for receiver in state.slots.slot_mut(sender).take_links(Link::Receiver) {
        let slot = state.slots.slot_mut(receiver);
        slot.unlink(Link::Broadcaster, sender);
    }
}

/// One reason more not to read `source`: what is queued for `sink`.
pub(crate) fn hold<D>(state: &mut State<D>, source: AnyId, sink: AnyId) {
    let slot = state.slots.slot_mut(source);
    slot.holds += 1;
    if slot.readiness.raise(Flag::Held) {
        state
            .observers
            .tell(|observer, at| observer.held(at, source, sink));
    }
}

/// One reason less; without any, it is read again.
fn release<D>(state: &mut State<D>, source: AnyId) {
    let slot = state.slots.slot_mut(source);
    slot.holds -= 1;
    if slot.holds == 0 {
        slot.readiness.clear(Flag::Held);
        state
            .observers
            .tell(|observer, at| observer.released(at, source));
        state.requeue(source);
    }
}

fn for_each_feeder<D>(state: &mut State<D>, sink: AnyId, each: impl Fn(&mut State<D>, AnyId)) {
    if state.slots.slot(sink).feeds() == sink {
        each(state, sink);
    }
    let feeders = state.slots.slot_mut(sink).take_links(Link::Feeder);
    for &source in &feeders {
        each(state, source);
    }
    state
        .slots
        .slot_mut(sink)
        .restore_links(Link::Feeder, feeders);
}
