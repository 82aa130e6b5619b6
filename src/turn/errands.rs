//! Callbacks outside the dispatch: errands after the flush, and `handle_shutdown`.

use std::io;

use crate::slot::life::{Life, Output};
use crate::slot::readiness::Flag;
use crate::state::agenda::Errand;
use crate::state::closing;
use crate::turn::core::Core;
use crate::turn::settle::{call_and_settle, end_broken, report, settle};
use crate::watch::about::About;
use crate::watch::callback::Callback;
use crate::watch::ends::Cause;
use crate::world::ids::AnyId;

/// Calls `handle_shutdown` of every dispatcher that is to leave.
pub(crate) fn announce_shutdown(core: &mut Core) {
    while let Some(id) = core.state.agenda.leaving.pop_front() {
        let slot = core.state.slots.get(id);
        if slot.is_some_and(|slot| slot.readiness.is_live()) {
            call_and_settle(core, id, Callback::Shutdown, |dispatcher, cx| {
                dispatcher.handle_shutdown(cx)
            });
            core.state.requeue(id);
        }
    }
}

/// Tells a dispatcher what came up where no callback could run.
pub(crate) fn run_errand(core: &mut Core, errand: Errand) {
    let (Errand::Broken(id)
    | Errand::Fault(id, _)
    | Errand::FileFailed(id, _)
    | Errand::Sent(id)
    | Errand::Gone(id, ..)) = errand;
    if core.state.slots.get(id).is_none() {
        return;
    }
    if let Errand::Gone(_, gone, _) = errand {
        if core.state.slots.get(gone).is_some() {
            // It has ended in this turn, and its handle_close comes first.
            core.state.agenda.errands.push_back(errand);
            return;
        }
    }
    let slot = core.state.slots.slot(id);
    match errand {
        Errand::Broken(_) => return end_broken(core, id, false),
        Errand::Fault(_, error) => {
            settle(core, id, Callback::Call, Err(error));
        }
        Errand::FileFailed(_, error) => return end_for_a_file(core, id, &error),
        // More was sent since: it is told when that has left as well.
        Errand::Sent(_) if slot.readiness.is_open() && slot.has_output() => {
            core.state.slots.slot_mut(id).readiness.set(Flag::WantSent);
        }
        Errand::Sent(_)
            if slot.readiness.is_open() && slot.readiness.output() != Output::Broken =>
        {
            call_and_settle(core, id, Callback::Sent, |dispatcher, cx| {
                dispatcher.handle_sent(cx)
            });
        }
        Errand::Gone(_, gone, cause) if slot.readiness.is_live() => {
            call_and_settle(core, id, Callback::Gone, |dispatcher, cx| {
                dispatcher.handle_gone(cx, gone, cause)
            });
        }
        Errand::Sent(_) | Errand::Gone(..) => {}
    }
    core.state.requeue(id);
}

/// Ends a connection that was to send a file which cannot be read. It ends in a reset, also while it closes: its
/// peer must not take a part for the whole.
#[cold]
fn end_for_a_file(core: &mut Core, id: AnyId, error: &io::Error) {
    let state = &mut core.state;
    let slot = state.slots.slot_mut(id);
    if slot.life() == Life::Ended {
        return;
    }
    let cause = Cause::Error(error.kind());
    slot.fate.note(cause);
    if slot.readiness.is_live() {
        // Nothing that handle_error does may keep it.
        slot.enter(Life::Broken);
    }
    let text = format!("{}: sending a file: {error}", state.label(id));
    report(core, id, About::error(error.kind(), id, text));
    closing::abort(&mut core.state, id, cause);
}
