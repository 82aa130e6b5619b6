//! Listeners that must not accept for now, and what makes them go on.

use std::io;

use crate::slot::life::Life;
use crate::slot::readiness::Flag;
use crate::state::{State, deadlines};
use crate::time::action::Action;
use crate::watch::observer::Refusal;
use crate::world::ids::AnyId;
use crate::world::topics;

/// Out of something. An edge-triggered listener that just gave up would be deaf until the next client
/// connects, and one that tried on would spin. So it keeps its readiness, and tries again after a while,
/// and whenever a socket of ours closes.
pub(crate) fn pause_for_shortage<D>(state: &mut State<D>, id: AnyId, error: &io::Error) {
    state.counters.accept_shortages += 1;
    if let Some(held_back) = state.log_limits.shortage.pass(state.now) {
        log::warn!(target: topics::ACCEPT,
            "{}: cannot accept: {error}; pausing{held_back}",
            state.label(id)
        );
    }
    pause_with_retry(state, id, Refusal::Shortage(error));
}

/// Accepts nothing until the retry time is up or a socket closes.
pub(crate) fn pause_with_retry<D>(state: &mut State<D>, id: AnyId, reason: Refusal<'_>) {
    if state.slots.slot(id).life() != Life::Listening {
        return;
    }
    pause(state, id, reason);
    deadlines::arm(state, id, state.config.accept_retry, Action::AcceptRetry);
}

/// As many connections as allowed are being served: no timer, for only a close changes that.
pub(crate) fn pause_at_limit<D>(state: &mut State<D>, id: AnyId) {
    state.counters.accept_limited += 1;
    let limit = state.config.max_connections;
    if let Some(held_back) = state.log_limits.at_limit.pass(state.now) {
        log::warn!(target: topics::ACCEPT,
            "{}: the limit of {limit} connections is reached; pausing{held_back}",
            state.label(id)
        );
    }
    pause(state, id, Refusal::Limit);
}

/// Everything that is queued, together, is over its bound.
pub(crate) fn pause_over_total<D>(state: &mut State<D>, id: AnyId) {
    state.counters.accept_over_total += 1;
    pause(state, id, Refusal::OverTotal);
}

/// Accepts nothing until [`resume_all`].
fn pause<D>(state: &mut State<D>, id: AnyId, reason: Refusal<'_>) {
    if state.slots.slot_mut(id).readiness.raise(Flag::AcceptPaused) {
        state.agenda.paused.push(id);
        state
            .observers
            .tell(|observer, at| observer.accepting_paused(at, id, reason));
    }
}

/// A socket has closed, or the total is below its bound: all paused listeners try again.
pub(crate) fn resume_all<D>(state: &mut State<D>) {
    while let Some(id) = state.agenda.paused.pop() {
        resume(state, id);
    }
}

/// The retry time of one is up.
pub(crate) fn retry<D>(state: &mut State<D>, id: AnyId) {
    state.agenda.paused.retain(|&paused| paused != id);
    resume(state, id);
}

fn resume<D>(state: &mut State<D>, id: AnyId) {
    let Some(slot) = state.slots.get_mut(id) else {
        return;
    };
    slot.readiness.clear(Flag::AcceptPaused);
    state
        .observers
        .tell(|observer, at| observer.accepting_resumed(at, id));
    state.timers.cancel_where(&mut slot.timers, |action| {
        matches!(action, Action::AcceptRetry)
    });
    state.requeue(id);
}
