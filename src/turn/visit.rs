//! `with`: a closure that runs on a dispatcher itself, from inside another's callback or from outside.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::context::Context;
use crate::dispatcher::Dispatcher;
use crate::slot::life::Life;
use crate::slot::readiness::Flag;
use crate::state::agenda::Errand;
use crate::state::closing;
use crate::state::running::Running;
use crate::turn::call::Seat;
use crate::turn::core::Core;
use crate::turn::{call, replace};
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

/// Why a closure did not run on a dispatcher, or did not complete.
///
/// ```
/// # use slabloop::{Context, Dispatcher, Id, Unreached};
/// # struct Room; impl Dispatcher for Room {}
/// fn visit(cx: &mut Context<'_>, room: Id<Room>) {
///     match cx.try_with(room, |_room, _cx| ()) {
///         Ok(()) => println!("visited"),
///         Err(Unreached::Gone) => println!("the room has closed"),
///         Err(error) => println!("try again later: {error}"),
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unreached {
    /// The dispatcher has ended, or is not of the type that the id names.
    Gone,
    /// The dispatcher is itself running: it is the caller, or the caller runs inside a closure on it.
    Busy,
    /// The closure panicked, and the dispatcher ends.
    Panicked,
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unreached::Gone => "the dispatcher has ended",
            Unreached::Busy => "the dispatcher is itself running",
            Unreached::Panicked => "the closure panicked",
        })
    }
}

impl Error for Unreached {}

/// Runs a closure on a dispatcher itself. A panic goes on; the dispatcher ends.
pub(crate) fn with<D: Dispatcher, R>(
    core: &mut Core,
    id: Id<D>,
    body: impl FnOnce(&mut D, &mut Context<'_>) -> R,
) -> Result<R, Unreached> {
    let id = id.any();
    let slot = core
        .state
        .slots
        .get_mut(id)
        .filter(|slot| slot.life() < Life::Ended)
        .ok_or(Unreached::Gone)?;
    let dispatcher = slot.dispatcher.take().ok_or(Unreached::Busy)?;
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
    let dispatcher = dispatcher.as_mut().map(|dispatcher| &mut ***dispatcher);
    let dispatcher = dispatcher.and_then(find::<D>).ok_or(Unreached::Gone)?;
    visit.finished = false;
    let result = body(dispatcher, &mut Context::new(core, id));
    visit.finished = true;
    let Visit { seat, .. } = &mut visit;
    let replaced = seat.core.state.slots.slot(id).readiness.has(Flag::Replaced);
    if replaced {
        // Only once its box is back in its place.
        let taken = seat.dispatcher.take().map(ManuallyDrop::into_inner);
        seat.core.state.slots.slot_mut(id).dispatcher = taken;
        replace::finish(seat.core, id);
        let current = seat.core.state.slots.slot_mut(id).dispatcher.take();
        seat.dispatcher = current.map(ManuallyDrop::new);
    }
    Ok(result)
}

/// The dispatcher of type `D` in a box: what is in it, or what that wraps.
fn find<D: Dispatcher>(dispatcher: &mut dyn Dispatcher) -> Option<&mut D> {
    if (&*dispatcher as &dyn Any).is::<D>() {
        return (dispatcher as &mut dyn Any).downcast_mut();
    }
    find(dispatcher.inner()?)
}

/// As [`with`], with a closure that may fail as a callback may: its error is told to the dispatcher that it was
/// given, later in the turn, and its panic ends that one alone.
pub(crate) fn call<D: Dispatcher>(
    core: &mut Core,
    id: Id<D>,
    body: impl FnOnce(&mut D, &mut Context<'_>) -> io::Result<()>,
) -> Result<(), Unreached> {
    let outcome = catch_unwind(AssertUnwindSafe(|| with(core, id, body)));
    match outcome {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(Ok(Err(error))) => {
            // No callback runs inside another: `handle_error` has to wait.
            let errand = Errand::Fault(id.any(), error);
            core.state.agenda.errands.push_back(errand);
            Ok(())
        }
        Ok(Err(unreached)) => Err(unreached),
        Err(payload) => {
            let caller = std::mem::replace(&mut core.state.running, Running::call(id.any()));
            let propagated = call::absorb(core, payload);
            core.state.running = caller;
            match propagated {
                Some(payload) => resume_unwind(payload),
                None => Err(Unreached::Panicked),
            }
        }
    }
}
