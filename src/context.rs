//! What a callback may do: on its own socket, on other sockets, and on the reactor.
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

/// What a callback gets to act with: a borrow of everything in the reactor except the running dispatcher.
///
/// Methods without an id act on the dispatcher's own socket; [`Context::at`] returns a context with the same methods
/// for another socket.
///
/// | to | use |
/// |---|---|
/// | read | [`recv`](Context::recv), [`recv_with`](Context::recv_with) |
/// | send | [`send`](Context::send), [`broadcast`](Context::broadcast), [`send_file`](Context::send_file) |
/// | produce output as there is room | [`start_writing`](Context::start_writing) |
/// | end the connection | [`close`](Context::close), [`abort`](Context::abort), [`shutdown_write`](Context::shutdown_write) |
/// | control the input | [`pause_reading`](Context::pause_reading), [`feeds`](Context::feeds), [`set_marks`](Context::set_marks) |
/// | set timers and timeouts | [`set_timer`](Context::set_timer), [`set_interval`](Context::set_interval), [`set_timeout`](Context::set_timeout) |
/// | reach other dispatchers | [`at`](Context::at), [`with`](Context::with), [`call`](Context::call), [`watch`](Context::watch) |
/// | add dispatchers | [`add`](Context::add), [`connect`](Context::connect), [`listen`](Context::listen) |
/// | run a closure later | [`defer`](Context::defer), [`call_later`](Context::call_later) |
///
/// # What does not compile
///
/// A context cannot leave its callback or its thread:
///
/// ```compile_fail
/// fn send_away(cx: &mut slabloop::Context<'_>) {
///     std::thread::scope(|scope| { scope.spawn(|| cx.close()); });
/// }
/// ```
///
/// It takes addresses, not names, because looking up a name blocks the loop:
///
/// ```compile_fail
/// # use slabloop::{Context, Dispatcher};
/// # struct Client; impl Dispatcher for Client {}
/// fn dial(cx: &mut Context<'_>) { cx.connect("example.org:80", Client).unwrap(); }
/// ```
///
/// It has no `run`: no callback runs inside another.
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

/// # Identity, state, and the reactor
impl Context<'_> {
    /// This dispatcher's id. `D` is the type that was added, or one that it wraps
    /// ([`inner`](Dispatcher::inner)); with an id of a wrong type, [`with`](Context::with) returns `None`.
    ///
    /// ```
    /// # use slabloop::{Context, Dispatcher, Id};
    /// # use std::io;
    /// # struct Room { members: Vec<Id<Member>> }
    /// # impl Dispatcher for Room {}
    /// # struct Member { room: Id<Room> }
    /// # impl Dispatcher for Member {
    /// fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///     let me = cx.id::<Member>();
    ///     cx.with(self.room, |room, _| room.members.push(me));
    ///     Ok(())
    /// }
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// In debug builds, if the name of the type that was added does not contain the name of `D`. Inside
    /// a `Member` that was added as `Framed<Member>`, call `cx.id::<Framed<Member>>()`.
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

    /// The id of this context's dispatcher, if that is a `D` or wraps one. Returns `None` also for the dispatcher whose
    /// callback is running; use [`id`](Context::id) for that.
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

    /// How log lines name this dispatcher: type, id and peer, as in `Echo 7.3 (127.0.0.1:40513)`. Where there is
    /// no address, the kind of source takes its place: `Tail 8.1 (the reading end of a pipe)`,
    /// `Ticker 9.1 (Descriptor)`.
    #[must_use]
    pub fn label(&self) -> impl fmt::Display + '_ {
        self.core.state.label(self.id)
    }

    /// The peer's address; for a listener and a datagram socket, its own. `None` for Unix sockets,
    /// pipes and foreign sources, and if the peer had disconnected before its address could be read. It makes no system
    /// call.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.core.state.slots.slot(self.id).address.inet()
    }

    /// Sets what [`peer`](Context::peer) returns and what log lines and tools show, for a connection whose socket does not
    /// know its client: one that comes through a load balancer, which names the client in a PROXY header. The
    /// connection itself does not change. It lasts until the connection ends, also beyond
    /// [`replace`](Context::replace) and [`detach`](Context::detach).
    ///
    /// The reactor believes the caller. Take the address only from a peer that is trusted to tell it.
    ///
    /// ```
    /// use slabloop::{Context, Dispatcher};
    /// use std::{io, net::SocketAddr};
    ///
    /// # struct Http; impl Dispatcher for Http {}
    /// # fn client_of(header: &[u8]) -> io::Result<SocketAddr> { Ok(([192, 0, 2, 7], 40513).into()) }
    /// struct Header;
    /// impl Dispatcher for Header {
    ///     fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///         let mut header = [0; 28];
    ///         let count = cx.recv(&mut header)?;
    ///         cx.set_peer(client_of(&header[..count])?)?;
    ///         cx.replace(Http)?; // For `Http` the peer is the client.
    ///         Ok(())
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// `Unsupported` on anything but a stream; `NotConnected` in `handle_close`.
    pub fn set_peer(&mut self, peer: SocketAddr) -> io::Result<()> {
        let slot = self.core.state.slots.slot_mut(self.id);
        if slot.io.kind() != Kind::Stream {
            return Err(self.not_for("set_peer"));
        }
        slot.address = peer.into();
        Ok(())
    }

    /// Whether this is a connection that is not established yet: its `handle_connect` has not been called. False for
    /// all other sockets.
    #[must_use]
    pub fn is_connecting(&self) -> bool {
        self.core.state.slots.slot(self.id).life().is_connecting()
    }

    /// The path of the peer, for Unix sockets that have one; see [`Context::peer`].
    #[must_use]
    pub fn peer_path(&self) -> Option<&Path> {
        self.core.state.slots.slot(self.id).address.path()
    }

    /// The socket's own address.
    ///
    /// # Errors
    ///
    /// `Unsupported` for Unix sockets, pipes and foreign sources, which have none; `NotConnected` in `handle_close`.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.core.state.local_addr(self.id)
    }

    /// Bytes accepted for sending that the kernel has not taken yet. (Bytes of files are
    /// [counted separately](Context::queued_in_files).)
    #[must_use]
    pub fn queued(&self) -> usize {
        self.core.state.slots.slot(self.id).queued()
    }

    /// The largest number of bytes that may be queued on this connection.
    #[must_use]
    pub fn hard_cap(&self) -> usize {
        self.core.state.slots.slot(self.id).outbox.marks.cap as usize
    }

    /// Whether there is room for a producer's next piece: the outbox is below its low mark, no file
    /// is waiting, and sending is still possible.
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
    /// now" nor a disconnect, nor about another dispatcher, whose own `handle_error` gets it.
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

    /// Sets whether `recv` delivers an urgent (out-of-band) byte in its place among the others. Off by default: then
    /// the byte is dropped, and only [`handle_priority`](Dispatcher::handle_priority) reports it.
    ///
    /// # Errors
    ///
    /// The kernel's error; `Unsupported` on anything but a stream socket, and on a stream with a layer such as TLS: there an
    /// urgent byte is always dropped, because it has not come through the layer.
    pub fn urgent_inline(&mut self, on: bool) -> io::Result<()> {
        let slot = self.core.state.slots.slot(self.id);
        let outcome = match slot.io.kind() {
            Kind::Stream => slot.io.urgent_inline(on),
            _ => None,
        };
        outcome.unwrap_or_else(|| Err(self.not_for("urgent_inline")))
    }

    /// Logs a fault as the default [`handle_error`](Dispatcher::handle_error) does: at level warn, with the label of
    /// this dispatcher. Because a peer can cause faults, at most one line a second is logged for each type of
    /// dispatcher and kind of error; it says how many others were suppressed.
    pub fn log_fault(&mut self, error: &io::Error) {
        self.log_limited(error, None);
    }

    /// Logs a fault as [`log_fault`](Context::log_fault) does, with a note of what failed.
    ///
    /// ```
    /// # use slabloop::{Context, Dispatcher};
    /// # use std::{io, net::SocketAddr};
    /// # struct Upstream { address: SocketAddr }
    /// # impl Dispatcher for Upstream {
    /// fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
    ///     cx.log_fault_in(format_args!("cannot reach {}", self.address), &error);
    ///     cx.abort();
    /// }
    /// # }
    /// ```
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

    /// Makes [`run`](crate::Reactor::run) return after this turn, which is completed as usual.
    pub fn stop(&mut self) {
        self.core.stop = true;
    }

    /// Ends every dispatcher, this one included. Each `handle_close` is called at the end of the turn.
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
