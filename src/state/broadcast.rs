//! Broadcasts: for how long a slow receiver may hold up the sender.
//!
//! A broadcast has no single sink. The connection whose input causes one is held for each receiver that
//! it takes over its high mark, until that receiver is below its low mark again. A receiver that takes
//! nothing at all must not hold up the others, though: after [a
//! while](crate::Builder::broadcast_patience) it holds no sender, its queue grows, and the hard cap ends it.

use std::time::Duration;

use crate::slot::links::Link;
use crate::slot::readiness::Flag;
use crate::state::{State, deadlines, flow};
use crate::time::action::Action;
use crate::world::endpoint::Kind;
use crate::world::ids::AnyId;

/// A broadcast that the running dispatcher caused has taken `receiver` over its high mark, or found it
/// there: the sender is held until the receiver has drained.
pub(crate) fn hold_sender<D>(state: &mut State<D>, receiver: AnyId) {
    let sender = state.running.id;
    let reads = state.slots.get(sender).is_some_and(|slot| {
        slot.io.kind() == Kind::Stream && slot.readiness.is_live() && slot.feeds() != receiver
    });
    let slot = state.slots.slot_mut(receiver);
    if !reads || slot.readiness.has(Flag::Stuck) || !slot.link(Link::Broadcaster, sender) {
        return;
    }
    state.slots.slot_mut(sender).link(Link::Receiver, receiver);
    flow::hold(state, sender, receiver);
    let patience = state.config.broadcast_patience;
    deadlines::arm(state, receiver, patience, Action::Patience(patience));
}

/// The patience with `receiver` is over, unless it has taken something since.
pub(crate) fn patience_over<D>(state: &mut State<D>, receiver: AnyId, limit: Duration) {
    let slot = state.slots.slot_mut(receiver);
    let left = slot.output_moved.after(limit).since(state.now);
    if !slot.readiness.has(Flag::Congested) {
        // It has drained since.
    } else if left > Duration::ZERO {
        deadlines::arm(state, receiver, left, Action::Patience(limit));
    } else {
        slot.readiness.set(Flag::Stuck);
        flow::release_broadcasters(state, receiver);
    }
}
