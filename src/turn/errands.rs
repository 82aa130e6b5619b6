//! What dispatchers are told outside the dispatch: errands after the flush, and that the reactor shuts down.

use crate::state::agenda::Errand;
use crate::state::running::Callback;
use crate::turn::core::Core;
use crate::turn::settle::{call_and_settle, end_broken, settle};

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
    let (Errand::Broken(id) | Errand::Fault(id, _) | Errand::Sent(id) | Errand::Gone(id, ..)) =
        errand;
    let Some(slot) = core.state.slots.get(id) else {
        return;
    };
    match errand {
        Errand::Broken(_) => return end_broken(core, id, false),
        Errand::Fault(_, error) => {
            settle(core, id, Callback::Call, Err(error));
        }
        Errand::Sent(_) if slot.readiness.is_open() => {
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
