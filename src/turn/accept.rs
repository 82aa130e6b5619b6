//! Accepting, a part of step 4: a batch a turn.

use crate::slot::life::Life;
use crate::state::{budget, closing, listening};
use crate::turn::core::Core;
use crate::turn::settle;
use crate::watch::callback::Callback;
use crate::watch::ends::Cause;
use crate::watch::observer::Refusal;
use crate::world::accept::{AcceptError, Accepted, classify_accept};
use crate::world::errors::copy_of;
use crate::world::ids::AnyId;
use crate::world::topics;

/// Takes what waits, up to the batch, and then lets the others have their turn. One per event would
/// strand the rest: the event says that a client is there, not how many.
pub(crate) fn accept_batch(core: &mut Core, id: AnyId) {
    for _ in 0..core.state.config.accept_batch {
        let state = &mut core.state;
        let slot = state.slots.slot(id);
        if slot.life() != Life::Listening || !slot.pauses.is_empty() {
            return;
        }
        if state.connections >= state.config.max_connections {
            return listening::pause_at_limit(state, id);
        }
        if state.over_total {
            return listening::pause_over_total(state, id);
        }
        match state.slots.slot_mut(id).io.accept() {
            Ok((io, address)) => {
                let accepted = Accepted::new(io, address);
                state.counters.accepted += 1;
                settle::call_and_settle(core, id, Callback::Accept, |dispatcher, cx| {
                    dispatcher.handle_accept(cx, accepted)
                });
                if budget::is_up(&core.state) {
                    break;
                }
            }
            Err(error) => match classify_accept(&error) {
                AcceptError::NothingThere => {
                    state.slots.slot_mut(id).readiness.cant_read();
                    return;
                }
                AcceptError::OneLost => {
                    state.counters.accept_lost += 1;
                    log::debug!(target: topics::ACCEPT,
                        "{}: a connection was lost before it was accepted: {error}",
                        state.label(id)
                    );
                }
                AcceptError::Shortage => return listening::pause_for_shortage(state, id, &error),
                AcceptError::ListenerBroken => {
                    state.counters.accept_faults += 1;
                    let cause = Cause::Error(error.kind());
                    settle::report(core, id, error);
                    return closing::end(&mut core.state, id, cause);
                }
                AcceptError::Other => {
                    state.counters.accept_faults += 1;
                    settle::report(core, id, copy_of(&error));
                    return listening::pause_with_retry(
                        &mut core.state,
                        id,
                        Refusal::Fault(&error),
                    );
                }
            },
        }
    }
    core.state.requeue(id);
}
