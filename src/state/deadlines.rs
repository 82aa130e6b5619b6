//! Setting and cancelling the timers of dispatchers, and the reactor's own deadlines.

use std::time::Duration;

use crate::slot::life::Life;
use crate::state::State;
use crate::time::timers::{Action, TimerId};
use crate::world::ids::AnyId;

/// Sets a timer of the user's.
pub(crate) fn set_timer<D>(
    state: &mut State<D>,
    id: AnyId,
    after: Duration,
    period: Option<Duration>,
    action: Action,
) -> TimerId {
    // The clock is read here and not taken from the turn: counted from the turn's beginning, a
    // timer set late in a slow callback would be early.
    let due = state.clock.now().after(after);
    let slot = state.slots.slot_mut(id);
    let armed = state
        .timers
        .arm(due, period, id, Some(&mut slot.timers), action);
    if !slot.readiness.is_live() {
        refuse_timer(state, id, armed);
    }
    armed
}

/// A closing dispatcher gets no timers; the id it is given has simply fired already.
#[cold]
fn refuse_timer<D>(state: &mut State<D>, id: AnyId, armed: TimerId) {
    let slot = state.slots.slot_mut(id);
    state.timers.cancel(armed, Some(&mut slot.timers));
    if slot.life() == Life::Ended {
        log::warn!(
            "{}: a timer set after the end never fires; set it on a dispatcher that stays",
            state.label(id)
        );
    }
}

/// Cancels any timer, a dispatcher's or a closure's; false if it was gone.
pub(crate) fn cancel_timer<D>(state: &mut State<D>, timer: TimerId) -> bool {
    let Some(owner) = state.timers.owner(timer) else {
        return false;
    };
    let list = state.slots.get_mut(owner).map(|slot| &mut slot.timers);
    let cancelled = state.timers.cancel(timer, list);
    if let Some(Action::Closure(number)) = cancelled {
        state.agenda.cancelled_closures.push(number);
    }
    cancelled.is_some()
}

/// Sets one of the reactor's own deadlines, unless that one is set already.
pub(crate) fn arm<D>(state: &mut State<D>, id: AnyId, after: Duration, action: Action) {
    let due = state.now.after(after);
    let slot = state.slots.slot_mut(id);
    if !state.timers.has(slot.timers, &action) {
        state
            .timers
            .arm(due, None, id, Some(&mut slot.timers), action);
    }
}

/// Sets the deadline of a connection attempt that begins now. As with users' timers the clock is read
/// here: the turn's time may be long past, in a slow callback and all the more outside of a turn, and a
/// short deadline would be over before the attempt was made.
pub(crate) fn arm_connecting<D>(state: &mut State<D>, id: AnyId, after: Duration) {
    let due = state.clock.now().after(after);
    let slot = state.slots.slot_mut(id);
    let list = Some(&mut slot.timers);
    state
        .timers
        .arm(due, None, id, list, Action::ConnectDeadline);
}

/// Sets, moves or clears the idle timeout.
pub(crate) fn set_idle_timeout<D>(state: &mut State<D>, id: AnyId, limit: Option<Duration>) {
    let slot = state.slots.slot_mut(id);
    state
        .timers
        .cancel_where(&mut slot.timers, |action| matches!(action, Action::Idle(_)));
    slot.touched = state.clock.now();
    if let Some(limit) = limit {
        set_timer(state, id, limit, None, Action::Idle(limit));
    }
}
