//! Reaching other dispatchers: their sockets, themselves, and their ends.

use std::io;

use super::Context;
use crate::dispatcher::Dispatcher;
use crate::state::agenda::Errand;
use crate::state::watching;
use crate::turn::visit::{self, Unreached};
use crate::world::ids::{AnyId, Id};
use crate::world::topics;

/// # Reaching other dispatchers
impl Context<'_> {
    /// Reaches another dispatcher's socket: the same verbs, on that one. `None` if it is gone.
    ///
    /// Failures there are reported to that dispatcher's `handle_error`. Returning such an error with `?`
    /// does not close yours.
    #[must_use]
    #[inline]
    pub fn at(&mut self, id: impl Into<AnyId>) -> Option<Context<'_>> {
        Context::reach(self.core, id.into())
    }

    /// Runs a closure on another dispatcher, whose type the id knows, with a context that is that
    /// dispatcher's. `None`, and the closure does not run, if it is gone, or is itself running: it
    /// called this callback's `with`, or is this callback's own (which is logged at level debug).
    ///
    /// If the closure panics, the dispatcher that it was given ends, for its state may be torn, and so does
    /// the one whose callback called `with`.
    ///
    /// This is how state is shared without `Rc<RefCell<_>>`: a chat room is a dispatcher, its members
    /// hold the room's id.
    pub fn with<D: Dispatcher, R>(
        &mut self,
        id: Id<D>,
        body: impl FnOnce(&mut D, &mut Context<'_>) -> R,
    ) -> Option<R> {
        let outcome = self.try_with(id, body);
        if outcome
            .as_ref()
            .is_err_and(|error| *error == Unreached::Busy)
        {
            log::debug!(target: topics::CALLBACK,
                "{}: with: not run, for this dispatcher is itself running",
                self.core.state.label(id.any())
            );
        }
        outcome.ok()
    }

    /// As [`with`](Context::with), but tells *gone* from *busy*.
    ///
    /// # Errors
    ///
    /// [`Unreached::Gone`] or [`Unreached::Busy`]; the closure did not run.
    pub fn try_with<D: Dispatcher, R>(
        &mut self,
        id: Id<D>,
        body: impl FnOnce(&mut D, &mut Context<'_>) -> R,
    ) -> Result<R, Unreached> {
        visit::with(self.core, id, body)
    }

    /// Runs a closure on another dispatcher as if it were a callback of that one: what it returns follows
    /// [the table](Dispatcher#what-a-returned-error-does), at the end of this turn, and its panic is contained
    /// and ends that one alone. For handing a result to whoever waits for it: a fault of the receiver is not
    /// the giver's.
    ///
    /// ```
    /// use slabloop::{Context, Dispatcher, Id};
    /// use std::collections::VecDeque;
    /// use std::io;
    ///
    /// /// A client that pipelines: answers come in the order of the questions.
    /// struct Client { waiting: VecDeque<Id<Asker>> }
    ///
    /// impl Client {
    ///     fn answer(&mut self, cx: &mut Context<'_>, text: &str) {
    ///         if let Some(asker) = self.waiting.pop_front() {
    ///             // An asker that has gone, or that fails, is no concern of the connection's.
    ///             let _ = cx.call(asker, |asker, cx| asker.handle_answer(cx, text));
    ///         }
    ///     }
    /// }
    /// # impl Dispatcher for Client {}
    ///
    /// struct Asker;
    /// impl Asker {
    ///     fn handle_answer(&mut self, cx: &mut Context<'_>, text: &str) -> io::Result<()> {
    ///         cx.send(text.as_bytes())
    ///     }
    /// }
    /// # impl Dispatcher for Asker {}
    /// ```
    ///
    /// # Errors
    ///
    /// [`Unreached`] says why the closure did not run, or that it panicked. Under
    /// [`PanicPolicy::Propagate`](crate::PanicPolicy::Propagate) the panic goes on.
    pub fn call<D: Dispatcher>(
        &mut self,
        id: Id<D>,
        body: impl FnOnce(&mut D, &mut Context<'_>) -> io::Result<()>,
    ) -> Result<(), Unreached> {
        visit::call(self.core, id, body)
    }

    /// Treats `error` as if a callback of this dispatcher had returned it, at the end of this turn: see
    /// [the table](Dispatcher#what-a-returned-error-does). With [`at`](Context::at) it fails another one, for
    /// example because what it depends on has failed.
    pub fn fail(&mut self, error: io::Error) {
        let errand = Errand::Fault(self.id, error);
        self.core.state.agenda.errands.push_back(errand);
    }

    /// Has [`handle_gone`](Dispatcher::handle_gone) called when the dispatcher `id` has ended, for whatever
    /// reason: so that a pool takes back what it lent to it. Watching twice is watching once. False, and
    /// nothing follows, if it has ended already, or is this one.
    pub fn watch(&mut self, id: impl Into<AnyId>) -> bool {
        watching::watch(&mut self.core.state, self.id, id.into())
    }

    /// Undoes [`watch`](Context::watch); false if it was not watched.
    pub fn unwatch(&mut self, id: impl Into<AnyId>) -> bool {
        watching::unwatch(&mut self.core.state, self.id, id.into())
    }
}
