//! Ending a connection: gracefully, at once, in one direction; and why one has ended.

use super::Context;

use crate::slot::life::{Life, Output};
use crate::slot::readiness::Flag;
use crate::state::{closing, shutting};
use crate::watch::ends::{Cause, End};
use crate::world::endpoint::Kind;
use crate::world::ids::AnyId;

/// # Ending
impl Context<'_> {
    /// Closes gracefully: nothing more is read, what is queued still leaves (what
    /// [`push_producer`](crate::framing::Framing::push_producer) has queued, too; what `handle_write` would
    /// still send does not: see [`close_when_done`](Context::close_when_done)), then the write side is
    /// shut, what the peer still sends is thrown away until its end of stream or the
    /// [deadline](crate::Builder::close_timeout), and `handle_close` runs. (Closing at once with unread
    /// input makes the kernel throw away replies that it had accepted.)
    ///
    /// No callback but `handle_close` follows; if the deadline passes with output still queued, one
    /// `handle_error` with `TimedOut` comes before it, and one that says why if a
    /// [file](Context::send_file) cannot be sent. Closing again does nothing.
    pub fn close(&mut self) {
        closing::close(&mut self.core.state, self.id);
    }

    /// As [`close`](Context::close), but a producer finishes first: `handle_write` goes on being called until
    /// it calls [`stop_writing`](Context::stop_writing) or closes, or the
    /// [close timeout](crate::Builder::close_timeout) passes in which the peer took nothing. Nothing is read
    /// meanwhile. Without a producer it is `close`.
    pub fn close_when_done(&mut self) {
        closing::close_when_done(&mut self.core.state, self.id);
    }

    /// Closes now: what is queued is thrown away, and the peer of a TCP connection sees a reset.
    /// `handle_close` follows at the end of the turn. After [`close`](Context::close) it cuts that short.
    pub fn abort(&mut self) {
        closing::abort(&mut self.core.state, self.id, Cause::Aborted);
    }

    /// As [`close`](Context::close), but what is queued leaves first and then the peer sees a reset
    /// instead of the end of the stream: for passing on that something broke elsewhere. What the kernel
    /// has taken and the peer has not read by then is lost with it.
    pub fn abort_when_sent(&mut self) {
        closing::abort_when_sent(&mut self.core.state, self.id);
    }

    /// As [`close`](Context::close), but the socket is closed as soon as everything queued is with the kernel,
    /// without waiting for the peer's end of stream. For protocols in which the peer sends nothing more when it
    /// gets the answer: four system calls less. What it does send meanwhile makes the kernel answer with a
    /// reset, and throw away what the peer has not read.
    pub fn close_when_sent(&mut self) {
        closing::close_when_sent(&mut self.core.state, self.id);
    }

    /// Shuts the write side once everything queued has left; the peer sees the end of the stream.
    /// Reading goes on. When the peer's end has come as well, the connection closes by itself.
    pub fn shutdown_write(&mut self) {
        shutting::shutdown_write(&mut self.core.state, self.id);
    }

    /// Says whether a layer above the outbox holds output that it has accepted and not sent. While it does,
    /// [`close`](Context::close) and [`shutdown_write`](Context::shutdown_write) wait for it, and
    /// `handle_write` goes on being called if it was asked for.
    pub fn has_more_output(&mut self, more: bool) {
        let state = &mut self.core.state;
        let slot = state.slots.slot_mut(self.id);
        let may_send = match slot.life() {
            Life::Connecting | Life::Open | Life::Producing => true,
            // A producer that was there before the close.
            Life::ConnectingToClose => slot.readiness.has(Flag::MoreOutput),
            _ => false,
        };
        if more && may_send && slot.readiness.output() != Output::Broken {
            slot.readiness.set(Flag::MoreOutput);
        } else {
            slot.readiness.clear(Flag::MoreOutput);
            closing::review_producer(state, self.id);
            if state.slots.slot(self.id).readiness.output() == Output::Shutting {
                state.mark_dirty(self.id);
            }
        }
    }

    /// Whether `close`, `abort` or a failure has begun to end this one: no callback but `handle_close`
    /// follows.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        let slot = self.core.state.slots.slot(self.id);
        !slot.readiness.is_live()
    }

    /// Whether [`Reactor::shutdown`](crate::Reactor::shutdown) is under way.
    #[must_use]
    pub fn is_shutting_down(&self) -> bool {
        self.core.state.refusing
    }

    /// How it ended, in [`handle_close`](crate::Dispatcher::handle_close); `None` before. `Closed` means that
    /// nothing was lost: everything accepted for sending was taken by the kernel, and nothing failed.
    #[must_use]
    pub fn how_it_ended(&self) -> Option<End> {
        self.end_cause().map(Cause::end)
    }

    /// Why it ended, in [`handle_close`](crate::Dispatcher::handle_close); `None` before.
    #[must_use]
    pub fn end_cause(&self) -> Option<Cause> {
        self.core.state.slots.slot(self.id).fate.cause()
    }

    /// How many of the bytes that [`send`](Context::send) has accepted were thrown away, because the kernel had not
    /// taken them when the connection ended, in [`handle_close`](crate::Dispatcher::handle_close). 0 before, after an
    /// end at which everything had left, and where [`detach`](Context::detach) gave them out. They are the last that
    /// were accepted, and the peer cannot have seen any of them. What the kernel has taken, the peer may have seen, or
    /// not.
    ///
    /// So a client knows which of its requests are safe to send again. Bytes of [files](Context::send_file) do not
    /// count. Below TLS a record that has left in part counts as sent.
    ///
    /// ```
    /// use slabloop::{Context, Dispatcher};
    ///
    /// struct Client {
    ///     /// Bytes given to `send`, from the beginning.
    ///     accepted: u64,
    ///     /// Where the requests begin that have no answer yet.
    ///     unanswered: Vec<u64>,
    /// }
    ///
    /// impl Dispatcher for Client {
    ///     fn handle_close(&mut self, cx: &mut Context<'_>) {
    ///         let sent = self.accepted - cx.unsent() as u64;
    ///         for start in self.unanswered.drain(..) {
    ///             let may_be_done = start < sent;
    ///             println!("{}", if may_be_done { "unknown" } else { "not sent" });
    ///         }
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.core.state.slots.slot(self.id).thrown_away()
    }

    /// Why another dispatcher ended. `None` while it has not, and once its slot was used again and that
    /// user has ended, too: ask soon, or keep what its `handle_close` says.
    #[must_use]
    pub fn end_of(&self, id: impl Into<AnyId>) -> Option<Cause> {
        self.core.state.slots.end_of(id.into())
    }

    /// What the default `handle_error` does: a connection ends in a reset once what is queued has been
    /// sent, for its peer must not take what it got for the whole.
    pub(crate) fn close_after_fault(&mut self) {
        if self.core.state.slots.slot(self.id).io.kind() == Kind::Stream {
            self.abort_when_sent();
        }
    }

    /// What the default `handle_shutdown` does.
    pub(crate) fn close_for_shutdown(&mut self) {
        if self.core.state.slots.slot(self.id).io.kind() == Kind::Stream {
            self.close_when_done();
        }
    }
}
