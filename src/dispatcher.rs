//! The trait that users implement, and its contract.

use std::any::Any;
use std::io;

use crate::context::Context;
use crate::time::timers::TimerId;
use crate::watch::ends::Cause;
use crate::world::accept::Accepted;
use crate::world::ids::AnyId;
use crate::world::topics;

/// The object behind a socket: its callbacks.
///
/// Every method has a default body, so an implementation writes only those it needs. All run on the
/// reactor's thread, one at a time; none runs inside another, nor inside any call on a [`Context`].
///
/// # The order of callbacks
///
/// Within one turn a dispatcher gets at most one of each, in this order (but `handle_accept` once for
/// each connection, `handle_timer` once for each expired timer):
///
/// `handle_handshake` → `handle_connect` → `handle_accept`… → `handle_read` → `handle_eof` → `handle_write` →
/// `handle_priority`, then `handle_timer`…, then `handle_sent` and `handle_gone`…, and at the very end
/// `handle_close`. `handle_shutdown` comes between two turns.
///
/// Before each of them the reactor checks that the dispatcher is still there and not closing: a close
/// takes effect at once, whether the dispatcher itself or another one called it.
///
/// # What a returned error does
///
/// | the error is | what follows |
/// |---|---|
/// | *not now*: `WouldBlock`, `Interrupted` | nothing, so `?` on `recv` is correct |
/// | *a disconnect*: `ConnectionReset`, `BrokenPipe`, `ConnectionAborted`, `NotConnected` | the connection ends; `handle_close` |
/// | *a fault*: anything else | `handle_error` with it, whose default ends a connection in a reset |
/// | about another dispatcher, reached through [`Context::at`] | nothing: that dispatcher got its own `handle_error` |
///
/// If the socket itself broke, the connection ends whatever the callback returns. After `close()` or
/// `abort()` what the callback returns changes nothing. No error of one dispatcher ends the turn or
/// touches another.
///
/// # How a connection ends
///
/// The peer never takes a part of an answer for the whole: where bytes that were accepted for sending are
/// thrown away, or an answer is cut short by a failure, it sees a reset. (On TCP; Unix sockets and pipes have
/// none.) [`end_cause`](Context::end_cause) gives the first thing that went wrong.
///
/// | what happens | the peer sees | `end_cause` |
/// |---|---|---|
/// | `close`, `close_when_done`, both sides have finished | everything queued, then the end of the stream | `Finished` |
/// | `abort` | a reset | `Aborted` |
/// | `abort_when_sent` | everything queued, then a reset | `Aborted` |
/// | a callback returns a fault; default `handle_error` | everything queued, then a reset | `Error` |
/// | a callback returns a fault; `handle_error` calls `close` | everything queued, then the end of the stream | `Error` |
/// | a callback returns a disconnect | the end of the stream, or a reset if output was queued | `Reset` |
/// | a callback panics | a reset | `Panic` |
/// | a `send` goes over the hard cap | a reset | `OverCap` |
/// | a file that is being sent becomes shorter, or cannot be read | a reset | `Error` |
/// | output stalls for the stall timeout | a reset | `Stalled` |
/// | no traffic for the idle timeout | the end of the stream, or a reset if output was queued or produced | `Idle` |
/// | a request takes longer than its timeout | a reset | `RequestTimeout` |
/// | closing takes longer than the close timeout, with output queued | a reset | `CloseTimeout` |
/// | the peer resets, or a write fails | | `Reset`, or `Error` |
/// | connecting fails or times out | | `ConnectFailed`, `ConnectTimeout` |
/// | `close_all`, the reactor is dropped | the end of the stream, or a reset if output was queued or produced | `Shutdown` |
/// | `shutdown`'s deadline passes | a reset | `Shutdown` |
///
/// Where the table says "the end of the stream, or a reset", input that was left unread also makes it a reset:
/// the kernel does that. Calling `close` or `abort` afterwards, in `handle_error` for example, changes neither
/// the cause nor what was lost.
///
/// # Panics in callbacks
///
/// A panic closes the dispatcher that was called, is logged with its name, and the turn goes on; no
/// `handle_error`, but `handle_close` as ever. [`PanicPolicy`](crate::PanicPolicy) can let it through
/// instead. With `panic = "abort"` there is nothing to contain.
#[expect(unused_variables, reason = "the names are documentation")]
pub trait Dispatcher: Any {
    /// A listener has taken a connection.
    ///
    /// *When:* once for each connection, a bounded number a turn
    /// ([`Builder::accept_batch`](crate::Builder::accept_batch)). *Inside:* keep it with
    /// [`cx.add(accepted, dispatcher)`](Context::add); dropping `accepted` closes the connection.
    /// *After:* the new dispatcher's first callback comes in a later turn. *Errors:* concern this one
    /// connection: `handle_error` on the listener, which stays. *Panic:* closes the listener. *Default:*
    /// closes the connection.
    ///
    /// # Errors
    ///
    /// Whatever the implementation returns; see the [table](Dispatcher#what-a-returned-error-does).
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        log::debug!(target: topics::ACCEPT,
            "{}: no handle_accept; closing the connection of {accepted}",
            cx.label()
        );
        Ok(())
    }

    /// A connection made by `connect` is established, or one that was added while it was
    /// [connecting](crate::Socket::connecting).
    ///
    /// *When:* once, after success is proven, before any other callback of it but `handle_handshake`. Not for other
    /// sockets that were given to `add`. *Inside:* anything; `send` goes out at the end of this turn. *After:*
    /// reading begins. *Errors, panic:* as everywhere. *Default:* nothing.
    ///
    /// # Errors
    ///
    /// Whatever the implementation returns; see the [table](Dispatcher#what-a-returned-error-does).
    fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        log::debug!(target: topics::CONNECTION, "{}: connected", cx.label());
        Ok(())
    }

    /// The handshake of this stream's [layer](crate::Layer) is through: TLS is established, for one.
    ///
    /// *When:* once for each layer, before `handle_connect` and before what comes through the layer is read; see
    /// [`Socket::layered`](crate::Socket::layered) and [`Context::start_layer`]. *Inside:* anything:
    /// [`cx.layer()`](Context::layer) tells what was agreed on, and who does not like it closes. *After:* reading
    /// begins, or goes on. *Errors, panic:* as everywhere. *Default:* nothing.
    ///
    /// # Errors
    ///
    /// Whatever the implementation returns; see the [table](Dispatcher#what-a-returned-error-does).
    fn handle_handshake(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        log::debug!(target: topics::CONNECTION, "{}: the handshake is through", cx.label());
        Ok(())
    }

    /// There may be input.
    ///
    /// *When:* once a turn, as long as input or its end may be waiting, reading is wanted (it is from
    /// the start; see [`Context::pause_reading`]) and the connection that this one
    /// [feeds](Context::feeds) is not over its high mark. It can come for nothing: then `recv` says
    /// `WouldBlock`. *Inside:* take as much or as little as you like with [`Context::recv`]. *After:* if
    /// input is left it is called again in the next turn, after all others that are ready. *Default:*
    /// reads and throws away, so that a dispatcher that only writes still sees its peer leave.
    ///
    /// # Errors
    ///
    /// Whatever the implementation returns; see the [table](Dispatcher#what-a-returned-error-does).
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let discarded = cx.discard()?;
        log::debug!(target: topics::CALLBACK,
            "{}: no handle_read; {discarded} bytes thrown away",
            cx.label()
        );
        Ok(())
    }

    /// The socket takes more: a producer's turn.
    ///
    /// *When:* once a turn while writing is asked for ([`Context::start_writing`]), the socket can take
    /// bytes, and the outbox is below its low mark. After `handle_read`. *Inside:* `send` the next
    /// piece, or [`stop_writing`](Context::stop_writing). *After:* what was sent leaves at the end of
    /// the turn. Replies need none of this: `send` from anywhere is enough. *Default:* stops writing.
    ///
    /// # Errors
    ///
    /// Whatever the implementation returns; see the [table](Dispatcher#what-a-returned-error-does).
    fn handle_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        log::debug!(target: topics::CALLBACK, "{}: no handle_write; not asking any more", cx.label());
        cx.stop_writing();
        Ok(())
    }

    /// The peer has finished sending; it may still be reading.
    ///
    /// *When:* once, straight after the callback whose `recv` said `Ok(0)`, in the same turn. Never
    /// after a reset, which is not an end of stream. *Inside:* answer, or close. *After:* no
    /// `handle_read` comes any more. An implementation that does not close keeps the connection for
    /// writing, and has to close it some day. *Default:* [`close`](Context::close), which still sends
    /// everything queued.
    ///
    /// # Errors
    ///
    /// Whatever the implementation returns; see the [table](Dispatcher#what-a-returned-error-does).
    fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        log::debug!(target: topics::CONNECTION, "{}: end of stream", cx.label());
        cx.close();
        Ok(())
    }

    /// One of this dispatcher's timers is due.
    ///
    /// *When:* in the timers step, never early, in order of due time. *Inside:* anything; a timer set
    /// here, even for zero, waits for the next turn. *After:* a one-shot timer is gone, a periodic one
    /// is set for the next time on its grid. *Default:* nothing.
    ///
    /// # Errors
    ///
    /// Whatever the implementation returns; see the [table](Dispatcher#what-a-returned-error-does).
    fn handle_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) -> io::Result<()> {
        log::debug!(target: topics::CALLBACK, "{}: no handle_timer for {timer:?}", cx.label());
        Ok(())
    }

    /// Everything that was sent is with the kernel.
    ///
    /// *When:* once for each [`Context::notify_when_sent`], in the flush of a turn, when the outbox is empty and
    /// no layer has more; never after `close` or a failure. *Inside:* anything; what is sent leaves in the next
    /// turn. *Default:* nothing. That the peer has received it only an answer of the peer's can tell.
    ///
    /// # Errors
    ///
    /// Whatever the implementation returns; see the [table](Dispatcher#what-a-returned-error-does).
    fn handle_sent(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        Ok(())
    }

    /// A dispatcher that this one watches has ended ([`Context::watch`]).
    ///
    /// *When:* once, in the turn after the one in which it ended, so after its `handle_close`. Not if this one is
    /// closing itself. *Inside:* anything; `id` is no longer valid. *Default:* nothing.
    ///
    /// # Errors
    ///
    /// Whatever the implementation returns; see the [table](Dispatcher#what-a-returned-error-does).
    fn handle_gone(&mut self, cx: &mut Context<'_>, id: AnyId, cause: Cause) -> io::Result<()> {
        Ok(())
    }

    /// Urgent (out-of-band) data has come.
    ///
    /// *When:* once an event, after `handle_write`, if [`Context::watch_priority`] asked for it. Linux
    /// and Android, TCP. A `handle_read` with nothing to read may come with it. *Inside:* with
    /// [`Context::urgent_inline`] the byte comes through `recv` like the others; otherwise it is lost.
    /// *Default:* nothing.
    ///
    /// # Errors
    ///
    /// Whatever the implementation returns; see the [table](Dispatcher#what-a-returned-error-does).
    fn handle_priority(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        log::debug!(target: topics::CALLBACK, "{}: no handle_priority; urgent data ignored", cx.label());
        Ok(())
    }

    /// The reactor shuts down gracefully ([`Reactor::shutdown`](crate::Reactor::shutdown)).
    ///
    /// *When:* once for every dispatcher that is not a listener, before any other callback of the shutdown.
    /// Listeners have been closed by then. *Inside:* anything but adding dispatchers. *After:* a dispatcher
    /// that stays goes on as before, to finish what it has in hand: a request that a timer, a worker or
    /// another connection will answer, a reply that it waits for. It then closes by itself;
    /// [`Context::is_shutting_down`] says so in later callbacks. Connections that have not closed when the
    /// deadline comes are aborted, and returned by `shutdown`. *Default:*
    /// [`close_when_done`](Context::close_when_done) on a connection: queued output and the output of a
    /// producer leave first, an idle connection closes at once. Other sockets stay until the connections
    /// have closed.
    ///
    /// # Errors
    ///
    /// Whatever the implementation returns; see the [table](Dispatcher#what-a-returned-error-does).
    fn handle_shutdown(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.close_for_shutdown();
        Ok(())
    }

    /// Something failed that is neither "not now" nor "the peer is gone".
    ///
    /// *When:* straight after the callback that returned the fault; or when a connection could not be
    /// made, a deadline passed, the outbox was full, or a write failed. One fault is one call. *Inside:*
    /// anything. *After:* if the fault ended the connection, as in the cases that the reactor found
    /// itself, it ends whatever this does. Otherwise an implementation that does not close keeps the
    /// connection. *Panic:* contained; closes. *Default:* logs, and ends a
    /// connection in a reset once what is queued has been sent
    /// ([`abort_when_sent`](Context::abort_when_sent)), so that the peer does not take a part of an answer
    /// for the whole; a listener or a datagram socket stays.
    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        cx.log_fault(&error);
        cx.close_after_fault();
    }

    /// It is over.
    ///
    /// *When:* exactly once, last, for every dispatcher that was ever added, whatever the reason, also
    /// when the reactor is dropped. *Inside:* the own socket is gone (`recv` and `send` say
    /// `NotConnected`, `at` with the own id `None`); everything else works, connecting anew included.
    /// *After:* the dispatcher is dropped, and its id is never valid again. *Panic:* contained.
    /// *Default:* nothing.
    fn handle_close(&mut self, cx: &mut Context<'_>) {}

    /// The dispatcher that this one wraps, if it is a wrapper: an adapter that measures, logs or frames and
    /// passes callbacks on.
    ///
    /// No callback; it must only return a reference. [`with`](Context::with) and its kind look here for the type
    /// that an id names, so that an `Id<Inner>` reaches the wrapped one. *Default:* none.
    ///
    /// ```
    /// use slabloop::{Context, Dispatcher};
    /// use std::io;
    ///
    /// /// Counts the turns in which there was something to read.
    /// struct Counted<D> { inner: D, reads: u64 }
    ///
    /// impl<D: Dispatcher> Dispatcher for Counted<D> {
    ///     fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///         self.reads += 1;
    ///         self.inner.handle_read(cx)
    ///     }
    ///
    ///     fn inner(&mut self) -> Option<&mut dyn Dispatcher> {
    ///         Some(&mut self.inner)
    ///     }
    ///     // And the other callbacks in the same way.
    /// }
    /// ```
    fn inner(&mut self) -> Option<&mut dyn Dispatcher> {
        None
    }

    /// Input that this dispatcher has read and not used, for a layer that reads ahead.
    ///
    /// No callback. Asked for when another dispatcher takes its place ([`Context::replace`]), which then reads
    /// these bytes first, when the connection leaves the reactor ([`Context::detach`]), and when it gets a layer
    /// ([`Context::start_layer`]), whose first input they are. *Default:* none.
    fn take_unread(&mut self) -> Vec<u8> {
        Vec::new()
    }
}

impl std::fmt::Debug for dyn Dispatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dispatcher")
    }
}
