//! Step 5 of a turn, for dispatchers: what happens when one of their timers is due.

use std::time::Duration;

use crate::slot::life::Life;
use crate::state::{broadcast, closing, deadlines, listening, observing};
use crate::time::action::Action;
use crate::time::heap::Due;
use crate::turn::core::Core;
use crate::turn::{connect, settle};
use crate::watch::about::About;
use crate::watch::callback::Callback;
use crate::watch::ends::Cause;
use crate::watch::timeouts::Timeout;
use crate::world::ids::AnyId;

/// Runs a due timer of the dispatcher `id`.
pub(crate) fn fire(core: &mut Core, id: AnyId, due: Due) {
    let state = &mut core.state;
    let Some(slot) = state.slots.get_mut(id) else {
        observing::stale(state, id);
        return;
    };
    if matches!(slot.life(), Life::Broken | Life::Ended) {
        // It ended earlier in this turn, or its outbox went over the cap and this turn's flush ends it. The end has
        // taken its timers out, or will.
        return;
    }
    state.counters.timers += 1;
    let now = state.now;
    state.observers.tell_fired(id, due.at());
    let (timer, action) = state.timers.fire(due, now, Some(&mut slot.timers));
    match action {
        Action::Callback => {
            settle::call_and_settle(core, id, Callback::Timer, |dispatcher, cx| {
                dispatcher.handle_timer(cx, timer)
            });
            core.state.requeue(id);
        }
        Action::ConnectDeadline => {
            let text = format!("{}: connecting timed out", state.label(id));
            state.counters.deadlines += 1;
            let error = About::timed_out(Timeout::Connect, id, text);
            connect::fail(core, id, Cause::ConnectTimeout, error);
        }
        Action::HandshakeDeadline => {
            let text = format!("{}: the handshake timed out", state.label(id));
            state.counters.deadlines += 1;
            let error = About::timed_out(Timeout::Handshake, id, text);
            connect::fail(core, id, Cause::HandshakeTimeout, error);
        }
        Action::Idle(limit) => {
            // Traffic has only noted its time. The timer that wakes when the time would be up looks.
            let left = slot.touched.after(limit).since(now);
            if left > Duration::ZERO {
                deadlines::arm(state, id, left, action);
            } else {
                let what = format!("idle for {limit:?}");
                time_out(core, id, Timeout::Idle, Cause::Idle, &what);
            }
        }
        Action::Request(limit) => {
            let what = format!("the request was not finished in {limit:?}");
            time_out(core, id, Timeout::Request, Cause::RequestTimeout, &what);
        }
        Action::Stalled(limit) => {
            let left = slot.output_moved.after(limit).since(now);
            let waiting = slot.unsent();
            if !(waiting > 0 || slot.is_shutting()) || slot.life() != Life::Open {
                // It moves again; the next time it is stuck sets a new deadline.
            } else if left > Duration::ZERO {
                deadlines::arm(state, id, left, action);
            } else if slot.can_flush() {
                // Not the peer is late, but the loop: it has not asked the kernel since there is room. It does in
                // this turn's flush.
                deadlines::arm(state, id, limit, action);
            } else {
                let what = match waiting {
                    0 => format!("stalled: no room to end the stream for {limit:?}"),
                    _ => format!("stalled: none of {waiting} bytes taken for {limit:?}"),
                };
                let cause = Cause::Stalled { unsent: waiting };
                time_out(core, id, Timeout::Stall, cause, &what);
            }
        }
        Action::Patience(limit) => broadcast::patience_over(state, id, limit),
        Action::CloseDeadline => close_deadline(core, id),
        Action::AcceptRetry => listening::retry(state, id),
        Action::Closure(_) | Action::Share(_) => {
            unreachable!("these belong to the reactor, not to a dispatcher")
        }
    }
}

/// A deadline of an open connection has passed.
fn time_out(core: &mut Core, id: AnyId, timeout: Timeout, cause: Cause, what: &str) {
    core.state.counters.deadlines += 1;
    let text = format!("{}: {what}", core.state.label(id));
    let slot = core.state.slots.slot_mut(id);
    slot.fate.note(cause);
    if slot.readiness.is_live() {
        // Nothing that handle_error does may keep it.
        slot.enter(Life::Broken);
    }
    let error = About::timed_out(timeout, id, text);
    settle::report(core, id, error);
    closing::end(&mut core.state, id, cause);
}

/// The close deadline of a closing connection has passed.
fn close_deadline(core: &mut Core, id: AnyId) {
    let state = &mut core.state;
    let slot = state.slots.slot(id);
    if !slot.life().is_flushing() && slot.life() != Life::Producing {
        state.counters.deadlines += 1;
        return closing::end(state, id, Cause::Finished);
    }
    // As long as the peer takes something it may go on.
    let limit = deadlines::close_timeout(state, id);
    let left = slot.output_moved.after(limit).since(state.now);
    if left > Duration::ZERO {
        return deadlines::arm(state, id, left, Action::CloseDeadline);
    }
    let waiting = slot.unsent();
    if slot.can_flush() {
        // As with a stall: first the kernel is asked.
        return deadlines::arm(state, id, limit, Action::CloseDeadline);
    }
    let cause = Cause::CloseTimeout { unsent: waiting };
    time_out(core, id, Timeout::Close, cause, &cause.to_string());
}
