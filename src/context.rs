//! What a callback may do: the verbs on its own socket, on others', and on the reactor.
//!
//! Bytes, datagrams and foreign sources have files of their own below `context/`.

// In the order in which the documentation shows them: the usual verbs first.
mod bytes;

mod ending;

mod adding;

mod datagrams;
mod foreign;
mod scratch;

use std::any::Any;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::dispatcher::Dispatcher;
use crate::slot::life::{Life, Output};
use crate::slot::outbox::Marks;
use crate::slot::priority::Priority;
use crate::slot::readiness::Flag;
use crate::state::about::About;
use crate::state::{classes, closing, deadlines, flow};
use crate::time::timers::{Action, TimerId};
use crate::turn::core::Core;
use crate::turn::visit;
use crate::world::endpoint::Kind;
use crate::world::errors::unsupported;
use crate::world::ids::{AnyId, Id};

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

impl Context<'_> {
    /// This dispatcher's id. `D` is its type; under a wrong one the id answers `None` to
    /// [`with`](Context::with).
    ///
    /// # Panics
    ///
    /// In debug builds, if `D` is not the type that was added: for `Framed<Member>` that is what to ask
    /// for, from inside `Member`, too.
    #[must_use]
    pub fn id<D: Dispatcher>(&self) -> Id<D> {
        if cfg!(debug_assertions) {
            let state = &self.core.state;
            let actual = state.slots.get(self.id).map(|slot| (slot.type_name)());
            let asked = std::any::type_name::<D>();
            assert!(
                actual.is_none_or(|actual| actual == asked),
                "cx.id::<{asked}>() in a dispatcher that was added as {}",
                actual.unwrap_or_default()
            );
        }
        Id::new(self.id)
    }

    /// This dispatcher's id without the type.
    #[must_use]
    pub fn any_id(&self) -> AnyId {
        self.id
    }

    /// How log lines name this dispatcher: type, id and peer, as in `Echo 7.3 (127.0.0.1:40513)`.
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

    /// Bytes accepted for sending that the kernel has not taken yet.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.core.state.slots.slot(self.id).outbox.len()
    }

    /// Most bytes that may be queued on this connection.
    #[must_use]
    pub fn hard_cap(&self) -> usize {
        self.core.state.slots.slot(self.id).outbox.marks.cap as usize
    }

    /// Whether there is room for a producer's next piece: the outbox is below its low mark, and sending
    /// is still possible.
    #[must_use]
    pub fn wants_output(&self) -> bool {
        let slot = self.core.state.slots.slot(self.id);
        slot.outbox.is_below_low() && slot.can_queue(1)
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
        match slot.io.socket() {
            Some(socket) if slot.io.kind() == Kind::Stream => socket.set_out_of_band_inline(on),
            _ => Err(self.not_for("urgent_inline")),
        }
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
        let type_name = state
            .slots
            .get(self.id)
            .map_or("", |slot| (slot.type_name)());
        let limits = &mut state.log_limits.faults;
        let Some(held_back) = limits.pass(type_name, error.kind(), state.now) else {
            return;
        };
        let label = state.label(self.id).to_string();
        let error = error.to_string();
        // Errors of the reactor's own begin with the label.
        let error = error.strip_prefix(&format!("{label}: ")).unwrap_or(&error);
        match what {
            Some(what) => log::warn!("{label}: {what}: {error}{held_back}"),
            None => log::warn!("{label}: {error}{held_back}"),
        }
    }

    /// Suspends `handle_read` until [`resume_reading`](Context::resume_reading) is called. Nothing is
    /// lost meanwhile; what arrives waits in the kernel, whose window fills up. A reset still ends
    /// the connection, the end of the stream waits.
    pub fn pause_reading(&mut self) {
        self.core
            .state
            .slots
            .slot_mut(self.id)
            .readiness
            .clear(Flag::WantRead);
        self.core.state.requeue(self.id);
    }

    /// Undoes [`pause_reading`](Context::pause_reading). What arrived meanwhile is delivered in the next
    /// turn at the latest; never from inside this call.
    pub fn resume_reading(&mut self) {
        let slot = self.core.state.slots.slot_mut(self.id);
        if slot.readiness.is_live() && slot.io.can_recv() {
            slot.readiness.set(Flag::WantRead);
        }
        self.core.state.requeue(self.id);
    }

    /// Whether input is being read: not paused, and not held by the flow control. For layers that hold
    /// input back and hand it out piece by piece.
    #[must_use]
    #[inline]
    pub fn is_reading(&self) -> bool {
        let readiness = self.core.state.slots.slot(self.id).readiness;
        readiness.has(Flag::WantRead) && !readiness.has(Flag::Held)
    }

    /// Says whether a layer above the socket holds input that it has not handed out. While it does,
    /// `handle_read` is called although the socket may have nothing, and `handle_eof` waits.
    pub fn has_more_input(&mut self, more: bool) {
        let slot = self.core.state.slots.slot_mut(self.id);
        if more && slot.life() == Life::Open {
            slot.readiness.set(Flag::More);
        } else {
            slot.readiness.clear(Flag::More);
        }
        self.core.state.requeue(self.id);
    }

    /// Asks for [`handle_write`](Dispatcher::handle_write) whenever the socket takes more and the
    /// outbox is below its low mark. For producers of endless or large output; a reply needs only
    /// `send`.
    pub fn start_writing(&mut self) {
        let slot = self.core.state.slots.slot_mut(self.id);
        if slot.readiness.is_live() && slot.life() != Life::Listening {
            slot.readiness.set(Flag::WantWrite);
        }
        self.core.state.requeue(self.id);
    }

    /// Undoes [`start_writing`](Context::start_writing).
    pub fn stop_writing(&mut self) {
        let state = &mut self.core.state;
        let slot = state.slots.slot_mut(self.id);
        slot.readiness.clear(Flag::WantWrite);
        closing::review_producer(state, self.id);
    }

    /// Asks for [`handle_priority`](Dispatcher::handle_priority) when urgent data comes. Linux and
    /// Android; elsewhere nothing follows.
    pub fn watch_priority(&mut self) {
        let slot = self.core.state.slots.slot_mut(self.id);
        if slot.readiness.is_live() {
            slot.readiness.set(Flag::WantPriority);
        }
        self.core.state.requeue(self.id);
    }

    /// Declares where this connection's input goes. While `sink` has more than its high mark queued, this
    /// connection is not read; below the low mark it is read again. The default sink is the connection
    /// itself, which is right for a server that answers on the same connection; each half of a proxy feeds
    /// the other. When the sink ends, its sources are released. An id that is no longer valid removes the
    /// link: the connection is never held.
    pub fn feeds(&mut self, sink: impl Into<AnyId>) {
        flow::feeds(&mut self.core.state, self.id, sink.into());
    }

    /// Removes the link to a sink: input is read whatever is queued anywhere. The hard cap still holds.
    pub fn feeds_nobody(&mut self) {
        flow::feeds(&mut self.core.state, self.id, AnyId::NONE);
    }

    /// This dispatcher's own low mark, high mark and hard cap, in bytes; see
    /// [`Builder::high_mark`](crate::Builder::high_mark).
    ///
    /// # Errors
    ///
    /// `InvalidInput` unless 0 < low <= high <= cap <= 4 GiB and the cap is not below what is queued.
    pub fn set_marks(&mut self, low: usize, high: usize, cap: usize) -> io::Result<()> {
        let marks = Marks::new(low, high, cap)?;
        flow::set_marks(&mut self.core.state, self.id, marks)
    }

    /// Gives this dispatcher a class: of those that are ready in a turn the [`High`](Priority::High) ones are
    /// served first, then the [`Normal`](Priority::Normal), then the [`Low`](Priority::Low). Every dispatcher
    /// begins as `Normal`, and what a listener accepts does not inherit its class. (Not to be confused with
    /// [`handle_priority`](Dispatcher::handle_priority), which is about urgent data.)
    ///
    /// It takes effect in the next turn, and may be called at any time, also on a connection that is not
    /// established yet. The class holds for all that an event brings about, `handle_accept` and `handle_connect`
    /// included. Timers fire in the order of their times, whoever set them. What the high class sends is written
    /// before the others are served.
    ///
    /// No class starves: without a [`turn_time`](crate::Builder::turn_time) all that are ready are served in each
    /// turn, and with one each class has its share. By itself a class changes the order within a turn, and so does
    /// not help one that becomes ready while a long turn is under way: for that set a `turn_time` as well.
    ///
    /// As long as there is a dispatcher whose class is not `Normal`, every callback costs a little more, for it
    /// goes by a list.
    ///
    /// ```
    /// use slabloop::{Accepted, Context, Dispatcher, Priority};
    /// use std::io;
    ///
    /// struct Backups;
    /// impl Dispatcher for Backups {
    ///     fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
    ///         let id = cx.add(accepted, Backup)?;
    ///         if let Some(mut backup) = cx.at(id) {
    ///             backup.set_priority(Priority::Low);
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// struct Backup;
    /// impl Dispatcher for Backup {}
    /// ```
    pub fn set_priority(&mut self, priority: Priority) {
        classes::set_priority(&mut self.core.state, self.id, priority);
    }

    /// This dispatcher's class; see [`set_priority`](Context::set_priority).
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.core.state.slots.slot(self.id).priority
    }

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
    /// This is how state is shared without `Rc<RefCell<_>>`: a chat room is the listener, its members
    /// hold the room's id.
    pub fn with<D: Dispatcher, R>(
        &mut self,
        id: Id<D>,
        body: impl FnOnce(&mut D, &mut Context<'_>) -> R,
    ) -> Option<R> {
        visit::with(self.core, id, body)
    }

    /// Calls [`handle_timer`](Dispatcher::handle_timer) once, when `after` has passed, never before.
    /// The timer dies with this dispatcher: set on one that is closing it never fires, and in `handle_close`
    /// that is logged. Any duration is good; `Duration::MAX` means never.
    pub fn set_timer(&mut self, after: Duration) -> TimerId {
        self.set_user_timer(after, None)
    }

    /// Calls [`handle_timer`](Dispatcher::handle_timer) every `period`, on a fixed grid that begins
    /// now: a late call delays none of the others. A call that missed several periods comes once. With
    /// a period of zero it comes once a turn, and the loop never sleeps.
    pub fn set_interval(&mut self, period: Duration) -> TimerId {
        self.set_user_timer(period, Some(period))
    }

    fn set_user_timer(&mut self, after: Duration, period: Option<Duration>) -> TimerId {
        let state = &mut self.core.state;
        deadlines::set_timer(state, self.id, after, period, Action::Callback)
    }

    /// Cancels a timer, in whatever state; false if it has fired or is gone already. It will not fire
    /// any more, even if it is due in this very turn.
    pub fn cancel_timer(&mut self, timer: TimerId) -> bool {
        deadlines::cancel_timer(&mut self.core.state, timer)
    }

    /// Ends the connection, by `handle_error` with `TimedOut` and `handle_close`, when no byte has moved
    /// in either direction for this long; `None` turns it off. Traffic costs it one store.
    pub fn set_idle_timeout(&mut self, limit: impl Into<Option<Duration>>) {
        deadlines::set_idle_timeout(&mut self.core.state, self.id, limit.into());
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

    /// How many dispatchers there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.core.state.slots.len()
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.state.describe(self.id, f)
    }
}
