//! `with`: a closure that runs on a dispatcher itself, from inside another's callback or from outside.

use std::any::Any;
use std::mem::ManuallyDrop;

use crate::context::Context;
use crate::dispatcher::Dispatcher;
use crate::slot::life::Life;
use crate::state::closing;
use crate::turn::call::Seat;
use crate::turn::core::Core;
use crate::watch::ends::Cause;
use crate::world::ids::Id;

/// Holds a dispatcher while a `with` closure runs. If the closure panics it is this dispatcher whose state
/// is torn: it ends, beside the one whose callback called `with`.
struct Visit<'a> {
    seat: Seat<'a>,
    finished: bool,
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        if !self.finished {
            let state = &mut self.seat.core.state;
            state.panicked_in.get_or_insert(self.seat.id);
            closing::end(state, self.seat.id, Cause::Panic);
        }
    }
}

/// Runs a closure on a dispatcher itself. `None` if it is gone, of another type, or running.
pub(crate) fn with<D: Dispatcher, R>(
    core: &mut Core,
    id: Id<D>,
    body: impl FnOnce(&mut D, &mut Context<'_>) -> R,
) -> Option<R> {
    let id = id.any();
    let slot = core
        .state
        .slots
        .get_mut(id)
        .filter(|slot| slot.life() < Life::Ended)?;
    let Some(dispatcher) = slot.dispatcher.take() else {
        log::debug!(
            "{}: with: not run, for this dispatcher is itself running",
            core.state.label(id)
        );
        return None;
    };
    let seat = Seat {
        core,
        id,
        dispatcher: Some(ManuallyDrop::new(dispatcher)),
    };
    let mut visit = Visit {
        seat,
        finished: true,
    };
    let Seat {
        core, dispatcher, ..
    } = &mut visit.seat;
    let any: &mut dyn Any = &mut ***dispatcher.as_mut()?;
    let dispatcher = any.downcast_mut::<D>()?;
    visit.finished = false;
    let result = body(dispatcher, &mut Context::new(core, id));
    visit.finished = true;
    Some(result)
}
