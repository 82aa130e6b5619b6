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
    /// Closes the connection gracefully:
    ///
    /// 1. Nothing more is read.
    /// 2. What is queued is sent, including what [`push_producer`](crate::framing::Framing::push_producer) has
    ///    queued. What `handle_write` would still produce is not: see [`close_when_done`](Context::close_when_done).
    /// 3. The write side is shut down. What the peer still sends is discarded until its end of stream or the
    ///    [close timeout](crate::Builder::close_timeout). (Closing at once with unread input would make the kernel
    ///    discard replies that it has accepted.)
    /// 4. `handle_close` is called.
    ///
    /// No other callback follows, with two exceptions before `handle_close`: one `handle_error` with `TimedOut` if the
    /// close timeout expires with output still queued, and one `handle_error` with the reason if a
    /// [file](Context::send_file) cannot be sent. Closing again does nothing.
    ///
    /// ```
    /// # use slabloop::{Context, Dispatcher};
    /// # use std::io;
    /// # struct Session;
    /// # impl Dispatcher for Session {
    /// fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///     cx.recv(&mut [0; 1024])?;
    ///     cx.send(b"HTTP/1.1 204 No Content\r\n\r\n")?;
    ///     cx.close(); // The reply is sent first.
    ///     Ok(())
    /// }
    /// # }
    /// ```
    pub fn close(&mut self) {
        closing::close(&mut self.core.state, self.id);
    }

    /// Closes like [`close`](Context::close), but lets a producer finish first: `handle_write` continues to be called
    /// until it calls [`stop_writing`](Context::stop_writing) or closes, or the peer takes nothing for the
    /// [close timeout](crate::Builder::close_timeout). Nothing is read meanwhile. Without a producer it is the same
    /// as `close`.
    pub fn close_when_done(&mut self) {
        closing::close_when_done(&mut self.core.state, self.id);
    }

    /// Closes the connection now: what is queued is discarded, and the peer of a TCP connection sees a reset.
    /// `handle_close` is called at the end of the turn. It also ends a connection that [`close`](Context::close) is
    /// still closing.
    ///
    /// ```
    /// # use slabloop::{Context, Dispatcher};
    /// # use std::io;
    /// # struct Session;
    /// # impl Dispatcher for Session {
    /// fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
    ///     cx.log_fault(&error);
    ///     cx.abort(); // The peer must not take a partial answer for a complete one.
    /// }
    /// # }
    /// ```
    pub fn abort(&mut self) {
        closing::abort(&mut self.core.state, self.id, Cause::Aborted);
    }

    /// Sends what is queued, and then ends the connection in a reset instead of the end of the stream. Use it to
    /// signal a failure elsewhere, for example of a proxy's upstream. The reset also discards what the kernel has taken
    /// and the peer has not read by then.
    pub fn abort_when_sent(&mut self) {
        closing::abort_when_sent(&mut self.core.state, self.id);
    }

    /// Closes like [`close`](Context::close), but closes the socket as soon as the kernel has taken everything queued,
    /// without waiting for the peer's end of stream. It saves four system calls in protocols in which the peer sends
    /// nothing more when it gets the answer. If the peer does send something, the kernel answers with a reset and
    /// discards what the peer has not read.
    pub fn close_when_sent(&mut self) {
        closing::close_when_sent(&mut self.core.state, self.id);
    }

    /// Shuts down the write side once everything queued has left (half-close); the peer sees the end of the stream.
    /// Reading continues. When the peer has finished sending as well, the connection closes by itself.
    ///
    /// ```
    /// # use slabloop::{Context, Dispatcher};
    /// # use std::io;
    /// # struct Upload { body: Vec<u8> }
    /// # impl Dispatcher for Upload {
    /// fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///     cx.send(&self.body)?;
    ///     cx.shutdown_write(); // That was all; `handle_read` gets the answer.
    ///     Ok(())
    /// }
    /// # }
    /// ```
    pub fn shutdown_write(&mut self) {
        shutting::shutdown_write(&mut self.core.state, self.id);
    }

    /// Sets whether a layer above the outbox holds output that it has accepted and not sent. While it does,
    /// [`close`](Context::close) and [`shutdown_write`](Context::shutdown_write) wait for it, and
    /// `handle_write` continues to be called if it was asked for.
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

    /// Whether `close`, `abort` or a failure has begun to end this dispatcher, so that no callback but `handle_close`
    /// follows.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        let slot = self.core.state.slots.slot(self.id);
        !slot.readiness.is_live()
    }

    /// Whether [`Reactor::shutdown`](crate::Reactor::shutdown) is in progress.
    #[must_use]
    pub fn is_shutting_down(&self) -> bool {
        self.core.state.refusing
    }

    /// How this dispatcher ended, in [`handle_close`](crate::Dispatcher::handle_close); `None` before. `Closed` means
    /// that nothing was lost: the kernel has taken everything accepted for sending, and nothing failed.
    #[must_use]
    pub fn how_it_ended(&self) -> Option<End> {
        self.end_cause().map(Cause::end)
    }

    /// Why this dispatcher ended, in [`handle_close`](crate::Dispatcher::handle_close); `None` before. [`Cause`] has an
    /// example.
    #[must_use]
    pub fn end_cause(&self) -> Option<Cause> {
        self.core.state.slots.slot(self.id).fate.cause()
    }

    /// In [`handle_close`](crate::Dispatcher::handle_close): how many of the bytes that [`send`](Context::send) has
    /// accepted were discarded because the kernel had not taken them when the connection ended. It is 0 before, if
    /// everything had left, and if [`detach`](Context::detach) returned them. They are the last bytes that were
    /// accepted, and the peer cannot have received any of them. What the kernel has taken, the peer may or may not
    /// have received.
    ///
    /// A client can tell from this which of its requests are safe to send again. Bytes of
    /// [files](Context::send_file) do not count. With TLS, a record that has left in part counts as sent.
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

    /// Why another dispatcher ended. `None` while it has not ended, and also after its slot was used by another
    /// dispatcher that has ended, too: call this soon, or store the cause in its `handle_close`.
    #[must_use]
    pub fn end_of(&self, id: impl Into<AnyId>) -> Option<Cause> {
        self.core.state.slots.end_of(id.into())
    }

    /// What the default `handle_error` does: a connection ends in a reset once what is queued has been
    /// sent, for its peer must not take a truncated answer for a complete one.
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
