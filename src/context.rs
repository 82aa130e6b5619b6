//! What a callback may do: the verbs on its own socket, on others', and on the reactor.
//!
//! Bytes, datagrams and foreign sources have files of their own below `context/`.

// In the order in which the documentation shows them: the usual verbs first.
mod bytes;

mod broadcasting;

mod ending;

mod reaching;

mod timers;

mod interest;
mod layers;

mod adding;

mod files;

mod comforts;

#[cfg(feature = "observer")]
mod describing;

mod replacing;

mod rates;

mod observing;

mod datagrams;
mod foreign;
mod outcomes;
mod scratch;

pub use self::comforts::Stream;

use std::any::Any;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use crate::dispatcher::Dispatcher;
use crate::slot::life::{Life, Output};
use crate::state::{closing, flow};
use crate::turn::core::Core;
use crate::watch::about::About;
use crate::world::endpoint::Kind;
use crate::world::errors::unsupported;
#[cfg(feature = "process")]
use crate::world::errors::{Class, classify};
use crate::world::ids::{AnyId, Id};
use crate::world::topics;

/// What a callback gets: a borrow of everything in the reactor but the dispatcher that is running.
///
/// The verbs without an id act on the dispatcher's own socket; [`Context::at`] gives the same verbs on
/// another one. There is deliberately no way to `run` from here: no callback runs inside another.
///
/// A context cannot leave its callback or its thread:
///
/// ```compile_fail
/// fn send_away(cx: &mut slabloop::Context<'_>) {
///     std::thread::scope(|scope| { scope.spawn(|| cx.close()); });
/// }
/// ```
///
/// and it takes addresses, not names, because looking up a name blocks the loop:
///
/// ```compile_fail
/// # use slabloop::{Context, Dispatcher};
/// # struct Client; impl Dispatcher for Client {}
/// fn dial(cx: &mut Context<'_>) { cx.connect("example.org:80", Client).unwrap(); }
/// ```
///
/// ```compile_fail
/// fn nest(cx: &mut slabloop::Context<'_>) { cx.run().unwrap(); }
/// ```
pub struct Context<'a> {
    core: &'a mut Core,
    id: AnyId,
}

impl<'a> Context<'a> {
    #[inline]
    pub(crate) fn new(core: &'a mut Core, id: AnyId) -> Context<'a> {
        Context { core, id }
    }

    /// The context of a dispatcher that has not ended.
    #[inline]
    pub(crate) fn reach(core: &'a mut Core, id: AnyId) -> Option<Context<'a>> {
        let slot = core.state.slots.get(id)?;
        if slot.life() == Life::Ended {
            return None;
        }
        Some(Context { core, id })
    }
}

/// # Who this is, and the reactor
impl Context<'_> {
    /// This dispatcher's id. `D` is the type that was added, or one that it wraps
    /// ([`inner`](Dispatcher::inner)); under a wrong one the id answers `None` to [`with`](Context::with).
    ///
    /// # Panics
    ///
    /// In debug builds, if the name of the type that was added is not `D`'s and does not contain it: inside
    /// `Member`, which was added as `Framed<Member>`, `cx.id::<Framed<Member>>()` is what reaches it.
    #[must_use]
    pub fn id<D: Dispatcher>(&self) -> Id<D> {
        if cfg!(debug_assertions) {
            let state = &self.core.state;
            let actual = state.slots.get(self.id).map(|slot| (slot.type_name)());
            let asked = std::any::type_name::<D>();
            assert!(
                actual.is_none_or(|actual| actual.contains(asked)),
                "cx.id::<{asked}>() in a dispatcher that was added as {}",
                actual.unwrap_or_default()
            );
        }
        Id::new(self.id)
    }

    /// The id of this context's dispatcher, if that is a `D` or wraps one. `None`, too, for the one whose
    /// callback is running, which [`id`](Context::id) is for.
    #[must_use]
    pub fn typed<D: Dispatcher>(&mut self) -> Option<Id<D>> {
        let id = Id::new(self.id);
        self.try_with(id, |_: &mut D, _| id).ok()
    }

    /// This dispatcher's id without the type.
    #[must_use]
    pub fn any_id(&self) -> AnyId {
        self.id
    }

    /// How log lines name this dispatcher: type, id and peer, as in `Echo 7.3 (127.0.0.1:40513)`. What has
    /// no address says what it is: `Tail 8.1 (the reading end of a pipe)`, `Ticker 9.1 (Descriptor)`.
    #[must_use]
    pub fn label(&self) -> impl fmt::Display + '_ {
        self.core.state.label(self.id)
    }

    /// The peer's address; for a listener and a datagram socket their own. `None` for Unix sockets,
    /// pipes and foreign sources, and for a peer that was gone before it could be asked. No system call.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.core.state.slots.slot(self.id).address.inet()
    }

    /// Whether this is a connection that is still being made: its `handle_connect` is yet to come. False for all
    /// other sockets.
    #[must_use]
    pub fn is_connecting(&self) -> bool {
        self.core.state.slots.slot(self.id).life().is_connecting()
    }

    /// As [`Context::peer`], for Unix sockets that have a path.
    #[must_use]
    pub fn peer_path(&self) -> Option<&Path> {
        self.core.state.slots.slot(self.id).address.path()
    }

    /// The socket's own address.
    ///
    /// # Errors
    ///
    /// `Unsupported` where there is none (Unix sockets, pipes, foreign sources), `NotConnected` in
    /// `handle_close`.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.core.state.local_addr(self.id)
    }

    /// Bytes accepted for sending that the kernel has not taken yet. (Those of files are
    /// [counted apart](Context::queued_in_files).)
    #[must_use]
    pub fn queued(&self) -> usize {
        self.core.state.slots.slot(self.id).queued()
    }

    /// Most bytes that may be queued on this connection.
    #[must_use]
    pub fn hard_cap(&self) -> usize {
        self.core.state.slots.slot(self.id).outbox.marks.cap as usize
    }

    /// Whether there is room for a producer's next piece: the outbox is below its low mark, no file
    /// waits, and sending is still possible.
    #[must_use]
    pub fn wants_output(&self) -> bool {
        let slot = self.core.state.slots.slot(self.id);
        slot.outbox.is_below_low() && !slot.has_files() && slot.can_queue(1)
    }

    /// Whether a `send` would be taken, but for the hard cap.
    pub(crate) fn can_send(&self) -> bool {
        let slot = self.core.state.slots.slot(self.id);
        slot.can_queue(0) && slot.readiness.output() == Output::Open
    }

    /// The low and the high mark.
    pub(crate) fn marks(&self) -> (usize, usize) {
        let marks = self.core.state.slots.slot(self.id).outbox.marks;
        (marks.low as usize, marks.high as usize)
    }

    /// How much may be sent without holding the sources that feed this one.
    pub(crate) fn room_below_high(&self) -> usize {
        if self.core.state.slots.slot(self.id).has_files() {
            return 0;
        }
        self.marks().1.saturating_sub(self.queued())
    }

    /// For a layer that queues output above the outbox: whether that is so much that the sources
    /// that feed this one are to be held.
    pub(crate) fn layer_is_full(&mut self, full: bool) {
        flow::set_layer_full(&mut self.core.state, self.id, full);
    }

    /// An error of the reactor's own about this dispatcher.
    pub(crate) fn refusal(&self, kind: io::ErrorKind, what: &str) -> io::Error {
        About::error(
            kind,
            self.id,
            format!("{}: {what}", self.core.state.label(self.id)),
        )
    }

    /// Whether an error that a callback of a layer above returned is a fault of this dispatcher's: neither "not
    /// now" nor a disconnect, nor about another dispatcher, which has been told itself.
    #[cfg(feature = "process")]
    pub(crate) fn is_fault(&self, error: &io::Error) -> bool {
        let anothers = About::whom(error).is_some_and(|whom| whom != self.id);
        !anothers && classify(error) == Class::Fault
    }

    /// The error of an operation that the socket's kind does not have, or that comes after its end.
    fn not_for(&self, operation: &str) -> io::Error {
        let io = &self.core.state.slots.slot(self.id).io;
        if io.is_closed() {
            return self.refusal(io::ErrorKind::NotConnected, operation);
        }
        unsupported(operation, io.name())
    }

    /// Puts an urgent (out-of-band) byte in its place among the others, where `recv` delivers it. Off
    /// by default: then the byte is dropped, and only [`handle_priority`](Dispatcher::handle_priority)
    /// can tell that there was one.
    ///
    /// # Errors
    ///
    /// What the kernel says; `Unsupported` on anything but a stream socket.
    pub fn urgent_inline(&mut self, on: bool) -> io::Result<()> {
        let slot = self.core.state.slots.slot(self.id);
        let outcome = match slot.io.kind() {
            Kind::Stream => slot.io.urgent_inline(on),
            _ => None,
        };
        outcome.unwrap_or_else(|| Err(self.not_for("urgent_inline")))
    }

    /// Logs a fault as the default [`handle_error`](Dispatcher::handle_error) does: at level warn, naming
    /// this dispatcher. A peer can cause faults, so for each type of dispatcher and kind of error there is
    /// one line a second at most, which says how many were held back.
    pub fn log_fault(&mut self, error: &io::Error) {
        self.log_limited(error, None);
    }

    /// As [`log_fault`](Context::log_fault), with a word on what failed: `cannot reach 10.0.0.1:80`.
    pub fn log_fault_in(&mut self, what: impl fmt::Display, error: &io::Error) {
        self.log_limited(error, Some(&what));
    }

    fn log_limited(&mut self, error: &io::Error, what: Option<&dyn fmt::Display>) {
        let state = &mut self.core.state;
        let slot = state.slots.get(self.id);
        let type_name = slot.map_or("", |slot| (slot.type_name)());
        // A port scanner must not cause warnings.
        let is_peers = slot.is_some_and(|slot| slot.is_peers_fault(error));
        let limits = &mut state.log_limits;
        let held_back = if is_peers {
            limits.peer_faults.pass(state.now)
        } else {
            limits.faults.pass(type_name, error.kind(), state.now)
        };
        let Some(held_back) = held_back else {
            return;
        };
        let label = state.label(self.id).to_string();
        let error = error.to_string();
        // Errors of the reactor's own begin with the label.
        let error = error.strip_prefix(&format!("{label}: ")).unwrap_or(&error);
        let what = what.map_or(String::new(), |what| format!("{what}: "));
        if is_peers {
            log::debug!(target: topics::FAULT, "{label}: {what}{error}{held_back}");
        } else {
            log::warn!(target: topics::FAULT, "{label}: {what}{error}{held_back}");
        }
    }

    /// Has [`run`](crate::Reactor::run) return after this turn, which is finished as usual.
    pub fn stop(&mut self) {
        self.core.stop = true;
    }

    /// Ends every dispatcher, this one included; each gets its `handle_close` at the end of the turn.
    pub fn close_all(&mut self) {
        closing::end_all(&mut self.core.state);
    }

    /// What handles are made of; see `handle.rs`.
    pub(crate) fn mailbox(&self) -> Arc<dyn Any + Send + Sync> {
        Arc::clone(&self.core.mailbox)
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.state.describe(self.id, f)
    }
}
