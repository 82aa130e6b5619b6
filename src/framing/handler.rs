//! What is called with the records.

use std::io;

use super::Framing;
use crate::context::Context;
use crate::time::timers::TimerId;
use crate::watch::ends::Cause;
use crate::world::ids::AnyId;

/// What is called with the records of a framed stream.
///
/// The callbacks of [`Dispatcher`](crate::Dispatcher) that a handler may want are here again with the
/// same meaning and the same defaults; reading and writing belong to the layer. `cx` is the
/// connection's own context, as ever. `framing` is the layer: the terminator, the maximum, the producers.
#[expect(unused_variables, reason = "the names are documentation")]
pub trait Handler: Sized + 'static {
    /// A record is complete; its end is not part of it.
    ///
    /// *Inside:* anything, changing the terminator included, which holds from the very next byte.
    /// *After:* the next record, if it is there already: up to
    /// [`records_per_turn`](super::Framed::records_per_turn) of them in a turn. After a close, an error, or
    /// while reading is paused or held, none.
    ///
    /// # Errors
    ///
    /// As for any callback; see [`Dispatcher`](crate::Dispatcher#what-a-returned-error-does).
    fn found_terminator(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
        record: &[u8],
    ) -> io::Result<()>;

    /// A piece of the current record has come, never an empty one. The default gathers it, for
    /// `found_terminator` to have the record whole. A handler that takes pieces itself gets an empty
    /// record there. With [`Terminator::None`](super::Terminator::None) there are only pieces; the
    /// default gathers no more than the maximum of them.
    ///
    /// # Errors
    ///
    /// As for any callback.
    fn collect_incoming(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
        piece: &[u8],
    ) -> io::Result<()> {
        framing.gather(piece)
    }

    /// As [`Dispatcher::handle_connect`](crate::Dispatcher::handle_connect).
    ///
    /// # Errors
    ///
    /// As for any callback.
    fn handle_connect(&mut self, cx: &mut Context<'_>, framing: &mut Framing) -> io::Result<()> {
        Ok(())
    }

    /// As [`Dispatcher::handle_handshake`](crate::Dispatcher::handle_handshake).
    ///
    /// # Errors
    ///
    /// As for any callback.
    fn handle_handshake(&mut self, cx: &mut Context<'_>, framing: &mut Framing) -> io::Result<()> {
        Ok(())
    }

    /// The peer has finished sending, and every record was handed out. What has come of an unfinished
    /// one is in [`Framing::unfinished`]. The default sends what is queued, producers included, and
    /// closes.
    ///
    /// # Errors
    ///
    /// As for any callback.
    fn handle_eof(&mut self, cx: &mut Context<'_>, framing: &mut Framing) -> io::Result<()> {
        framing.close_when_done(cx);
        Ok(())
    }

    /// As [`Dispatcher::handle_timer`](crate::Dispatcher::handle_timer).
    ///
    /// # Errors
    ///
    /// As for any callback.
    fn handle_timer(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
        timer: TimerId,
    ) -> io::Result<()> {
        Ok(())
    }

    /// As [`Dispatcher::handle_sent`](crate::Dispatcher::handle_sent): everything pushed is with the kernel.
    ///
    /// # Errors
    ///
    /// As for any callback.
    fn handle_sent(&mut self, cx: &mut Context<'_>, framing: &mut Framing) -> io::Result<()> {
        Ok(())
    }

    /// As [`Dispatcher::handle_gone`](crate::Dispatcher::handle_gone).
    ///
    /// # Errors
    ///
    /// As for any callback.
    fn handle_gone(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
        id: AnyId,
        cause: Cause,
    ) -> io::Result<()> {
        Ok(())
    }

    /// As [`Dispatcher::handle_shutdown`](crate::Dispatcher::handle_shutdown). The default closes when
    /// everything pushed has been sent.
    ///
    /// # Errors
    ///
    /// As for any callback.
    fn handle_shutdown(&mut self, cx: &mut Context<'_>, framing: &mut Framing) -> io::Result<()> {
        framing.close_when_done(cx);
        Ok(())
    }

    /// As [`Dispatcher::handle_error`](crate::Dispatcher::handle_error). A record that is
    /// too long or malformed comes here as
    /// `InvalidData`, once. An implementation may still tell the peer why; then the connection closes,
    /// whatever it does, for nobody knows where the next record begins.
    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        cx.log_fault(&error);
        cx.close_after_fault();
    }

    /// As [`Dispatcher::handle_close`](crate::Dispatcher::handle_close).
    fn handle_close(&mut self, cx: &mut Context<'_>) {}
}
