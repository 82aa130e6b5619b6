//! Setting and cancelling the timers of dispatchers, and the reactor's own deadlines.

use std::time::Duration;

use crate::slot::life::Life;
use crate::state::State;
use crate::time::action::Action;
use crate::time::clock::Tick;
use crate::time::timer_id::TimerId;
use crate::watch::timeouts::Timeout;
use crate::world::endpoint::Kind;
use crate::world::ids::AnyId;
use crate::world::topics;

/// Sets a timer of the user's.
pub(crate) fn set_timer<D>(
    state: &mut State<D>,
    id: AnyId,
    after: Duration,
    period: Option<Duration>,
    action: Action,
) -> TimerId {
    let slot = state.slots.slot_mut(id);
    let list = Some(&mut slot.timers);
    let armed = state
        .timers
        .arm_after(after, &state.clock, period, id, list, action);
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
        log::warn!(target: topics::TIMER,
            "{}: a timer set in handle_close never fires; use call_later, or set it on another dispatcher",
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
    arm_at(state, id, state.now.after(after), action);
}

fn arm_at<D>(state: &mut State<D>, id: AnyId, due: Tick, action: Action) {
    let slot = state.slots.slot_mut(id);
    if !state.timers.has(slot.timers, &action) {
        state
            .timers
            .arm(due, None, id, Some(&mut slot.timers), action);
    }
}

/// Sets the deadline of a connection attempt that begins now. As users' timers it does not count from the
/// turn's time: that may be long past, in a slow callback and all the more outside of a turn, and a
/// short deadline would be over before the attempt was made.
pub(crate) fn arm_connecting<D>(state: &mut State<D>, id: AnyId, after: Duration) {
    arm_from_now(state, id, after, Action::ConnectDeadline);
}

fn arm_from_now<D>(state: &mut State<D>, id: AnyId, after: Duration, action: Action) {
    let list = &mut state.slots.slot_mut(id).timers;
    if !state.timers.has(*list, &action) {
        state
            .timers
            .arm_after(after, &state.clock, None, id, Some(list), action);
    }
}

/// Sets the deadline of a handshake that begins now, unless it is set already.
pub(crate) fn arm_handshake<D>(state: &mut State<D>, id: AnyId) {
    let own = state.slots.slot(id).timeouts();
    let own = own.and_then(|timeouts| timeouts.handshake);
    let limit = own.unwrap_or(state.config.handshake_timeout);
    arm_from_now(state, id, limit, Action::HandshakeDeadline);
}

/// Gives a connection a timeout of its own, which counts from now.
pub(crate) fn set_timeout<D>(
    state: &mut State<D>,
    id: AnyId,
    timeout: Timeout,
    limit: Option<Duration>,
) {
    let slot = state.slots.slot_mut(id);
    let is_set = |action: &Action| match timeout {
        Timeout::Connect => matches!(action, Action::ConnectDeadline),
        Timeout::Handshake => matches!(action, Action::HandshakeDeadline),
        Timeout::Idle => matches!(action, Action::Idle(_)),
        Timeout::Stall => matches!(action, Action::Stalled(_)),
        Timeout::Close => matches!(action, Action::CloseDeadline),
        Timeout::Request => matches!(action, Action::Request(_)),
    };
    let was_set = state.timers.cancel_where(&mut slot.timers, is_set);
    match timeout {
        Timeout::Connect => {
            if let (Some(limit), true) = (limit, slot.life().is_connecting()) {
                arm_connecting(state, id, limit);
            }
        }
        Timeout::Handshake => {
            slot.timeouts_mut().handshake = limit;
            if was_set {
                arm_handshake(state, id);
            }
        }
        Timeout::Idle => {
            slot.touched = state.clock.now();
            if let Some(limit) = limit {
                set_timer(state, id, limit, None, Action::Idle(limit));
            }
        }
        Timeout::Stall => {
            slot.timeouts_mut().stall = Some(limit);
            if let (Some(limit), true) = (limit, was_set) {
                let now = state.clock.now();
                slot.output_moved = now;
                arm_at(state, id, now.after(limit), Action::Stalled(limit));
            }
        }
        Timeout::Close => {
            slot.timeouts_mut().close = limit;
            if was_set {
                let now = state.clock.now();
                slot.output_moved = now;
                let limit = close_timeout(state, id);
                arm_at(state, id, now.after(limit), Action::CloseDeadline);
            }
        }
        Timeout::Request => {
            if let Some(limit) = limit {
                set_timer(state, id, limit, None, Action::Request(limit));
            }
        }
    }
}

/// The stall timeout that holds for a connection.
pub(crate) fn stall_timeout<D>(state: &State<D>, id: AnyId) -> Option<Duration> {
    let own = state.slots.slot(id).timeouts();
    let own = own.and_then(|timeouts| timeouts.stall);
    own.unwrap_or(state.config.stall_timeout)
}

/// The close timeout that holds for a connection.
pub(crate) fn close_timeout<D>(state: &State<D>, id: AnyId) -> Duration {
    let own = state.slots.slot(id).timeouts();
    let own = own.and_then(|timeouts| timeouts.close);
    own.unwrap_or(state.config.close_timeout)
}

/// Sets the deadline of a closing connection, unless it is set already.
pub(crate) fn arm_close<D>(state: &mut State<D>, id: AnyId) {
    let limit = close_timeout(state, id);
    arm(state, id, limit, Action::CloseDeadline);
}

/// As [`arm_close`], of a close that may have been called outside of a turn, long after the last.
pub(crate) fn arm_close_from_now<D>(state: &mut State<D>, id: AnyId) {
    let limit = close_timeout(state, id);
    arm_from_now(state, id, limit, Action::CloseDeadline);
}

/// The reactor's idle timeout, for a connection that is open now.
pub(crate) fn arm_idle<D>(state: &mut State<D>, id: AnyId) {
    if let Some(limit) = state.config.idle_timeout {
        let slot = state.slots.slot(id);
        if slot.io.kind() == Kind::Stream && slot.life() == Life::Open {
            arm(state, id, limit, Action::Idle(limit));
        }
    }
}
