//! The trait that is called with records.

use std::io;

use super::Framing;
use crate::context::Context;
use crate::time::timer_id::TimerId;
use crate::watch::ends::Cause;
use crate::world::ids::AnyId;

/// The callbacks of a framed stream; [`Framed`](super::Framed) calls them.
///
/// The other callbacks have the meaning and the defaults of those of [`Dispatcher`](crate::Dispatcher);
/// `handle_read` and `handle_write` are missing, because `Framed` reads and writes itself. `cx` is the connection's own
/// context, and `framing` the state of the framing: the terminator, the maximum, the producers. The
/// [module page](crate::framing) has an example.
#[expect(unused_variables, reason = "the names are documentation")]
pub trait Handler: Sized + 'static {
    /// A record is complete. Its terminator is not part of `record`.
    ///
    /// - **When:** once for each record, at most [`records_per_turn`](super::Framed::records_per_turn) times in a turn.
    /// - **Inside:** anything. A change of the terminator takes effect with the next byte.
    /// - **After:** the next record, if it has arrived already; none after a close or an error, or while reading is
    ///   paused or held.
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

    /// A piece of the current record has arrived; it is never empty.
    ///
    /// - **When:** for each piece, before the `found_terminator` of its record. With
    ///   [`Terminator::None`](super::Terminator::None) there are only pieces and no records.
    /// - **Inside:** anything. A handler that takes pieces itself gets an empty `record` in `found_terminator`.
    /// - **Default:** gathers the pieces, so that `found_terminator` gets the whole record. With `Terminator::None` it
    ///   gathers no more than the maximum.
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

    /// The peer has finished sending, and every record was delivered. The beginning of an unfinished
    /// record is in [`Framing::unfinished`]. The default sends what is queued, producers included, and
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

    /// As [`Dispatcher::handle_sent`](crate::Dispatcher::handle_sent): the kernel has taken everything that was pushed.
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
    /// too long or malformed causes one call with `InvalidData`. An implementation may still send the peer a message;
    /// then the connection closes in any case, because it is not known where the next record begins.
    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        cx.log_fault(&error);
        cx.close_after_fault();
    }

    /// As [`Dispatcher::handle_close`](crate::Dispatcher::handle_close).
    fn handle_close(&mut self, cx: &mut Context<'_>) {}
}
