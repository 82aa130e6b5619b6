//! Steps 3 and 4 of a turn: events become readiness, readiness becomes callbacks.
//!
//! Each slot on the ready list is served once: one callback of a kind, then, if it is still ready, to
//! the back of the list for the next turn. That is the whole of fairness; with priorities, or a limit to the
//! turn's time, `state/classes.rs` says which is next, and how long it goes on.

use std::io;

use crate::slot::life::Life;
use crate::slot::readiness::Flag;
use crate::state::{classes, closing, observing};
use crate::turn::core::{Core, Tenant};
use crate::turn::{accept, call, connect, settle};
use crate::watch::callback::Callback;
use crate::world::ids::AnyId;
use crate::world::poller::{Events, WAKER};
use crate::world::signals::Signals;
use crate::world::topics;

/// Step 3. An event finds its slot by index, and its generation is compared; the bits it sets put
/// the slot on the ready list, the dirty list, both or neither.
pub(crate) fn merge(core: &mut Core, events: &mut Events) {
    events.take(|id, signals| {
        if note(core, id, signals) {
            core.state.slots.slot_mut(id).readiness.set(Flag::Queued);
            core.state.agenda.ready.push(id);
            core.state.observers.note_ready(id, core.state.now);
        }
    });
}

/// Takes in one event. True if its slot has work for the dispatch and is not on the ready list.
fn note(core: &mut Core, id: AnyId, signals: Signals) -> bool {
    let state = &mut core.state;
    let Some(slot) = state.slots.get_mut(id) else {
        if id != WAKER {
            // Epoll goes on reporting a closed descriptor while a duplicate of it exists.
            observing::stale(state, id);
            log::trace!(target: topics::POLL, "event for {id}, which has ended");
        }
        return false;
    };
    slot.readiness.merge(signals);
    state.observers.tell_merged(id, signals);
    if signals.may_bring_room() && slot.can_flush() && slot.readiness.raise(Flag::Dirty) {
        state.agenda.dirty.push(id);
    }
    slot.has_work() && !slot.readiness.has(Flag::Queued)
}

/// Step 4, for the ready list.
pub(crate) fn dispatch_ready(core: &mut Core) {
    let measured = core.state.observers.is_on();
    while let Some(id) = core.state.agenda.dispatching.next() {
        serve_listed(core, id, measured);
    }
}

/// Step 4, for the ready list, in order of class and as far as the turn's time goes.
pub(crate) fn dispatch_by_class(core: &mut Core) {
    let measured = core.state.observers.is_on();
    while let Some(id) = classes::next(&mut core.state) {
        serve_listed(core, id, measured);
    }
}

/// Serves a slot that was taken off the ready list.
#[inline]
fn serve_listed(core: &mut Core, id: AnyId, measured: bool) {
    let Some(slot) = core.state.slots.get_mut(id) else {
        observing::stale(&mut core.state, id);
        return;
    };
    slot.readiness.clear(Flag::Queued);
    if measured {
        let just_reads = slot.readiness.is_just_readable();
        serve_measured(core, id, just_reads);
    } else if slot.readiness.is_just_readable() {
        let dispatcher = slot.take_dispatcher();
        read(core, id, dispatcher);
    } else {
        serve(core, id);
    }
}

#[cold]
fn serve_measured(core: &mut Core, id: AnyId, just_reads: bool) {
    core.state.observers.take_up(id, just_reads);
    serve(core, id);
    core.state.observers.put_down(just_reads);
}

/// Whether no slot is left over from the turn before, which would come first and might have an event as
/// well. (All go by the list if their order matters, or how long they take. So they do while callbacks are measured, so
/// that it is known how many wait meanwhile; unless there is but one, which is most of the turns of a loop that
/// has time left.)
pub(crate) fn can_dispatch_events(core: &Core, events: usize) -> bool {
    let observers = &core.state.observers;
    core.state.agenda.ready.is_empty()
        && core.state.agenda.dispatching.is_empty()
        && (!observers.is_on() || (events == 1 && !observers.want_steps_or_events()))
        && !core.state.agenda.classes.are_used()
}

/// Step 4, for events that step 3 has left to it.
#[inline(never)]
pub(crate) fn dispatch_events(core: &mut Core, events: &mut Events) {
    if core.state.observers.is_on() {
        return dispatch_measured(core, events);
    }
    events.take(|id, signals| {
        if !signals.is_just_readable() {
            return note_and_serve(core, id, signals);
        }
        if let Some(slot) = core.state.slots.get_mut(id) {
            if slot.readiness.becomes_just_readable() {
                let dispatcher = slot.take_dispatcher();
                return read(core, id, dispatcher);
            }
        }
        note_input_and_serve(core, id);
    });
}

/// The same for one event, while callbacks are measured.
#[cold]
fn dispatch_measured(core: &mut Core, events: &mut Events) {
    events.take(|id, signals| {
        let state = &mut core.state;
        state.observers.take_up_event(state.now);
        let slot = state.slots.get_mut(id);
        let just_reads = signals.is_just_readable()
            && slot.is_some_and(|slot| slot.readiness.becomes_just_readable());
        if just_reads {
            read_measured(core, id);
        } else {
            note_and_serve(core, id, signals);
        }
        core.state.observers.put_down(false);
    });
}

/// As [`read`], while callbacks are measured.
fn read_measured(core: &mut Core, id: AnyId) {
    core.state.observers.share_reading();
    let result = call::call(core, id, Callback::Read, |dispatcher, cx| {
        dispatcher.handle_read(cx)
    });
    if result.is_err() || !core.state.slots.slot(id).readiness.has_no_work() {
        after_read(core, id, result);
    }
}

#[inline(never)]
fn note_input_and_serve(core: &mut Core, id: AnyId) {
    note_and_serve(core, id, Signals::INPUT);
}

#[inline(never)]
fn note_and_serve(core: &mut Core, id: AnyId, signals: Signals) {
    if note(core, id, signals) {
        serve(core, id);
    }
}

/// The usual case, an open connection with input and nothing else that could be due: one look
/// before the callback and one after it.
#[inline(always)]
fn read(core: &mut Core, id: AnyId, dispatcher: Tenant) {
    let (result, slot) =
        call::call_taken(core, id, dispatcher, Callback::Read, |dispatcher, cx| {
            dispatcher.handle_read(cx)
        });
    if result.is_err() || !slot.readiness.has_no_work() {
        after_read(core, id, result);
    }
}

/// A read that failed, or left work behind.
#[inline(never)]
fn after_read(core: &mut Core, id: AnyId, result: io::Result<()>) {
    let plain = result.is_ok() && core.state.slots.slot(id).readiness.can_only_read();
    if !plain && settle::settle(core, id, Callback::Read, result) {
        serve_beyond_reading(core, id);
    }
    core.state.requeue(id);
}

/// Whatever is due.
fn serve(core: &mut Core, id: AnyId) {
    match core.state.slots.slot(id).life() {
        Life::Open => serve_open(core, id),
        // A call in its own callback may have listed it before the kernel said that there is nothing more.
        Life::Listening | Life::Draining if !core.state.slots.slot(id).has_work() => {}
        Life::Listening => accept::accept_batch(core, id),
        Life::Connecting | Life::ConnectingToClose | Life::ConnectingToReset => {
            if connect::finish(core, id) {
                serve_open(core, id);
            } else {
                core.state.requeue(id);
            }
        }
        Life::Draining => closing::drain(&mut core.state, id),
        Life::Producing => produce(core, id),
        Life::Broken => settle::end_broken(core, id, false),
        Life::Flushing | Life::FlushingToReset | Life::Ended => {}
    }
}

/// Serves one open slot: read, end of stream, write, priority, each at most once, and a look
/// before each whether the one before has closed it.
fn serve_open(core: &mut Core, id: AnyId) {
    if !core.state.slots.slot(id).readiness.can_read()
        || settle::call_and_settle(core, id, Callback::Read, |dispatcher, cx| {
            dispatcher.handle_read(cx)
        })
    {
        serve_beyond_reading(core, id);
    }
    core.state.requeue(id);
}

/// Calls the producer of a connection that closes when it is done.
fn produce(core: &mut Core, id: AnyId) {
    let slot = core.state.slots.slot(id);
    if slot.is_over() {
        closing::bring_out_the_errno(&mut core.state, id);
        settle::end_broken(core, id, false);
    } else if slot.can_produce() {
        settle::call_and_settle(core, id, Callback::Write, |dispatcher, cx| {
            dispatcher.handle_write(cx)
        });
    }
    core.state.requeue(id);
}

/// End of stream, write, priority.
fn serve_beyond_reading(core: &mut Core, id: AnyId) {
    if core.state.slots.slot(id).readiness.eof_due() && !settle::tell_eof(core, id) {
        return;
    }
    if core.state.slots.slot(id).can_produce()
        && !settle::call_and_settle(core, id, Callback::Write, |dispatcher, cx| {
            dispatcher.handle_write(cx)
        })
    {
        return;
    }
    let slot = core.state.slots.slot_mut(id);
    if slot.readiness.priority_due() {
        slot.readiness.clear(Flag::UrgentUntold);
        if !settle::call_and_settle(core, id, Callback::Priority, |dispatcher, cx| {
            dispatcher.handle_priority(cx)
        }) {
            return;
        }
    }
    if core.state.slots.slot(id).is_over() {
        closing::bring_out_the_errno(&mut core.state, id);
        settle::end_broken(core, id, false);
    }
}
