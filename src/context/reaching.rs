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
    /// Another dispatcher's context: the same methods, applied to its socket. `None` if that dispatcher has ended.
    ///
    /// Failures of its connection are reported to its own `handle_error`. Returning such an error with `?` does not
    /// close the calling dispatcher.
    ///
    /// ```
    /// # use slabloop::{AnyId, Context, Dispatcher};
    /// # use std::io;
    /// /// Passes on what it receives.
    /// struct Forward { to: AnyId }
    ///
    /// impl Dispatcher for Forward {
    ///     fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///         cx.recv_with(|bytes, cx| match cx.at(self.to) {
    ///             Some(mut other) => other.send(bytes),
    ///             // A disconnect: ends this connection, too.
    ///             None => Err(io::ErrorKind::ConnectionAborted.into()),
    ///         })
    ///     }
    /// }
    /// ```
    #[must_use]
    #[inline]
    pub fn at(&mut self, id: impl Into<AnyId>) -> Option<Context<'_>> {
        Context::reach(self.core, id.into())
    }

    /// Runs a closure on another dispatcher, with that dispatcher's own context. This is how state is shared without
    /// `Rc<RefCell<_>>`: a chat room, for example, is a dispatcher, and its members hold the room's id.
    ///
    /// Returns `None` without running the closure if the dispatcher has ended, or if it is itself running: it is the
    /// caller, or the caller runs inside a `with` of it (this is logged at level debug).
    ///
    /// If the closure panics, both dispatchers end: the one that it was given, because its state may be inconsistent,
    /// and the one whose callback called `with`.
    ///
    /// ```
    /// # use slabloop::{Context, Dispatcher, Id};
    /// # use std::io;
    /// struct Room { members: u32 }
    /// impl Dispatcher for Room {}
    ///
    /// struct Member { room: Id<Room> }
    /// impl Dispatcher for Member {
    ///     fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///         let count = cx.with(self.room, |room, _| {
    ///             room.members += 1;
    ///             room.members
    ///         });
    ///         cx.send(format!("{} here\n", count.unwrap_or(0)).as_bytes())
    ///     }
    /// }
    /// ```
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
                "{}: `with` did not run: this dispatcher is itself running",
                self.core.state.label(id.any())
            );
        }
        outcome.ok()
    }

    /// Runs a closure on another dispatcher as [`with`](Context::with) does, but reports why it did not run.
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

    /// Runs a closure on another dispatcher as if it were a callback of that dispatcher: an error that it returns is
    /// handled by [the table](Dispatcher#what-a-returned-error-does), at the end of this turn, and a panic is contained
    /// and ends that dispatcher alone. Use it to deliver a result: a failure of the receiver does not affect the
    /// dispatcher that delivers.
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
    ///             // An asker that has ended, or that fails, must not affect this connection.
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
    /// [`PanicPolicy::Propagate`](crate::PanicPolicy::Propagate) the panic propagates.
    pub fn call<D: Dispatcher>(
        &mut self,
        id: Id<D>,
        body: impl FnOnce(&mut D, &mut Context<'_>) -> io::Result<()>,
    ) -> Result<(), Unreached> {
        visit::call(self.core, id, body)
    }

    /// Handles `error` at the end of this turn as if a callback of this dispatcher had returned it; see
    /// [the table](Dispatcher#what-a-returned-error-does). With [`at`](Context::at) a dispatcher fails another one, for
    /// example one that depends on it.
    ///
    /// ```
    /// # use slabloop::{AnyId, Context, Dispatcher};
    /// # use std::io;
    /// /// A failure of the upstream is a failure of its client.
    /// struct Upstream { client: AnyId }
    ///
    /// impl Dispatcher for Upstream {
    ///     fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
    ///         if let Some(mut client) = cx.at(self.client) {
    ///             client.fail(error);
    ///         }
    ///         cx.abort();
    ///     }
    /// }
    /// ```
    pub fn fail(&mut self, error: io::Error) {
        let errand = Errand::Fault(self.id, error);
        self.core.state.agenda.errands.push_back(errand);
    }

    /// Asks for a [`handle_gone`](Dispatcher::handle_gone) when the dispatcher `id` has ended, for whatever reason.
    /// Watching a dispatcher twice has the effect of watching it once. Returns false, and no callback follows, if it
    /// has ended already or is this dispatcher itself.
    ///
    /// ```
    /// # use slabloop::{AnyId, Cause, Context, Dispatcher};
    /// # use std::io;
    /// /// Ends when its upstream ends.
    /// struct Client { upstream: AnyId }
    ///
    /// impl Dispatcher for Client {
    ///     fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///         cx.watch(self.upstream);
    ///         Ok(())
    ///     }
    ///
    ///     fn handle_gone(&mut self, cx: &mut Context<'_>, _: AnyId, cause: Cause) -> io::Result<()> {
    ///         cx.send(format!("the upstream has ended: {cause}\n").as_bytes())?;
    ///         cx.close();
    ///         Ok(())
    ///     }
    /// }
    /// ```
    pub fn watch(&mut self, id: impl Into<AnyId>) -> bool {
        watching::watch(&mut self.core.state, self.id, id.into())
    }

    /// Undoes [`watch`](Context::watch). Returns false if `id` was not watched.
    pub fn unwatch(&mut self, id: impl Into<AnyId>) -> bool {
        watching::unwatch(&mut self.core.state, self.id, id.into())
    }
}
