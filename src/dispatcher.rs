//! The trait that users implement, and its contract.

use std::any::Any;
use std::io;

use crate::context::Context;
use crate::time::timer_id::TimerId;
use crate::watch::ends::Cause;
use crate::world::accept::Accepted;
use crate::world::ids::AnyId;
use crate::world::topics;

/// The object behind a socket: its callbacks.
///
/// Every method has a default body, so an implementation writes only those it needs. All run on the
/// reactor's thread, one at a time; none runs inside another, nor inside any call on a [`Context`].
///
/// Here is a whole one, with its listener:
///
/// ```
/// use slabloop::{Accepted, Context, Dispatcher, Reactor};
/// use std::io;
/// use std::time::Duration;
///
/// struct Listener;
/// impl Dispatcher for Listener {
///     fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
///         let id = cx.add(accepted, Echo { received: 0 })?;
///         if let Some(mut echo) = cx.at(id) {
///             echo.set_idle_timeout(Duration::from_secs(60));
///         }
///         Ok(())
///     }
/// }
///
/// struct Echo {
///     received: usize,
/// }
/// impl Dispatcher for Echo {
///     fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
///         cx.recv_with(|bytes, cx| {
///             self.received += bytes.len();
///             cx.send(bytes)
///         })
///     }
///
///     fn handle_close(&mut self, cx: &mut Context<'_>) {
///         println!("{}: {} bytes", cx.label(), self.received);
///     }
/// }
/// #
/// # struct Client;
/// # impl Dispatcher for Client {
/// #     fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
/// #         cx.send(b"hello")?;
/// #         cx.shutdown_write();
/// #         Ok(())
/// #     }
/// #
/// #     fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
/// #         cx.recv_with(|bytes, _| {
/// #             println!("{}", String::from_utf8_lossy(bytes));
/// #             Ok(())
/// #         })
/// #     }
/// #
/// #     fn handle_close(&mut self, cx: &mut Context<'_>) {
/// #         cx.stop();
/// #     }
/// # }
/// #
/// # fn main() -> io::Result<()> {
/// # let mut reactor = Reactor::new()?;
/// # let listener = reactor.listen("127.0.0.1:0", Listener)?;
/// # let address = reactor.local_addr(listener)?;
/// # reactor.connect(address, Client)?;
/// # reactor.run()
/// # }
/// ```
///
/// # The callbacks
///
/// | callback | called when | default |
/// |---|---|---|
/// | [`handle_accept`](Dispatcher::handle_accept) | a listener has accepted a connection | closes the connection |
/// | [`handle_connect`](Dispatcher::handle_connect) | a connection that was started here is established | does nothing |
/// | [`handle_handshake`](Dispatcher::handle_handshake) | the handshake of a layer has finished | does nothing |
/// | [`handle_read`](Dispatcher::handle_read) | there may be input | reads and discards it |
/// | [`handle_eof`](Dispatcher::handle_eof) | the peer has finished sending | closes the connection |
/// | [`handle_write`](Dispatcher::handle_write) | there is room for output, and it was asked for | stops asking |
/// | [`handle_priority`](Dispatcher::handle_priority) | urgent data has arrived, and it was asked for | does nothing |
/// | [`handle_timer`](Dispatcher::handle_timer) | a timer is due | does nothing |
/// | [`handle_sent`](Dispatcher::handle_sent) | all output was written, and it was asked for | does nothing |
/// | [`handle_gone`](Dispatcher::handle_gone) | a watched dispatcher has ended | does nothing |
/// | [`handle_shutdown`](Dispatcher::handle_shutdown) | the reactor shuts down gracefully | closes a connection once its output is sent |
/// | [`handle_error`](Dispatcher::handle_error) | something failed | logs it and closes a connection |
/// | [`handle_close`](Dispatcher::handle_close) | the dispatcher has ended | does nothing |
///
/// # The order of callbacks
///
/// Within one turn a dispatcher gets at most one call of each, in this order (but one `handle_accept` for
/// each connection, and one `handle_timer` for each expired timer):
///
/// `handle_handshake` → `handle_connect` → `handle_accept`… → `handle_read` → `handle_eof` → `handle_write` →
/// `handle_priority`, then `handle_timer`…, then `handle_sent` and `handle_gone`…, and at the very end
/// `handle_close`. `handle_shutdown` comes between two turns.
///
/// Before each of them the reactor checks that the dispatcher still exists and is not closing: a close
/// takes effect at once, no matter which dispatcher called it.
///
/// # What a returned error does
///
/// | the error is | what follows |
/// |---|---|
/// | *not now*: `WouldBlock`, `Interrupted` | nothing, so `?` on `recv` is correct |
/// | *a disconnect*: `ConnectionReset`, `BrokenPipe`, `ConnectionAborted`, `NotConnected` | the connection ends; `handle_close` |
/// | *a fault*: anything else | `handle_error` with it, whose default ends a connection in a reset |
/// | about another dispatcher, reached through [`Context::at`] | nothing: that dispatcher's own `handle_error` is called |
///
/// If the socket itself broke, the connection ends whatever the callback returns. After `close()` or
/// `abort()` what the callback returns changes nothing. No error of one dispatcher ends the turn or
/// touches another.
///
/// # How a connection ends
///
/// A peer cannot mistake a truncated answer for a complete one: where bytes that were accepted for sending are
/// discarded, or a failure cuts an answer short, the peer sees a reset. (This holds for TCP; Unix sockets and
/// pipes have no reset.) [`end_cause`](Context::end_cause) gives the first thing that went wrong.
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
/// | the peer resets, or a write fails | (the connection is broken already) | `Reset`, or `Error` |
/// | connecting fails or times out | (no connection was made) | `ConnectFailed`, `ConnectTimeout` |
/// | `close_all`, the reactor is dropped | the end of the stream, or a reset if output was queued or produced | `Shutdown` |
/// | `shutdown`'s deadline passes | a reset | `Shutdown` |
///
/// Where the table says "the end of the stream, or a reset", input that was left unread also makes it a reset:
/// the kernel sends one. Calling `close` or `abort` afterwards, in `handle_error` for example, changes neither
/// the cause nor what was lost.
///
/// # Panics in callbacks
///
/// A panic closes the dispatcher that was called and is logged with its name, and the turn continues.
/// `handle_error` is not called; `handle_close` is. With [`PanicPolicy::Propagate`](crate::PanicPolicy) the
/// panic leaves `run` instead. With `panic = "abort"` the process ends.
#[expect(unused_variables, reason = "the names are documentation")]
pub trait Dispatcher: Any {
    /// A listener has accepted a connection.
    ///
    /// - **When:** once for each connection, at most [`Builder::accept_batch`](crate::Builder::accept_batch) times in
    ///   a turn.
    /// - **Inside:** keep the connection with [`cx.add(accepted, dispatcher)`](Context::add), or close it by dropping
    ///   `accepted`.
    /// - **After:** the new dispatcher's first callback comes in a later turn. An error concerns this one connection:
    ///   it goes to the listener's `handle_error`, and the listener stays. A panic closes the listener.
    /// - **Default:** closes the connection.
    ///
    /// ```
    /// # use slabloop::{Accepted, Context, Dispatcher};
    /// # use std::io;
    /// # struct Session; impl Dispatcher for Session {}
    /// struct Listener { served: u64 }
    ///
    /// impl Dispatcher for Listener {
    ///     fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
    ///         if accepted.peer().is_some_and(|peer| !peer.ip().is_loopback()) {
    ///             return Ok(()); // Dropping `accepted` closes the connection.
    ///         }
    ///         self.served += 1;
    ///         cx.add(accepted, Session)?;
    ///         Ok(())
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Any error that the implementation returns; see the [table](Dispatcher#what-a-returned-error-does).
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        log::debug!(target: topics::ACCEPT,
            "{}: no handle_accept; closing the connection from {accepted}",
            cx.label()
        );
        Ok(())
    }

    /// A connection is established that was made by `connect`, or that was added while it was
    /// [connecting](crate::Socket::connecting).
    ///
    /// - **When:** once, after success is certain, before any other callback except `handle_handshake`. It is not
    ///   called for other sockets that were given to `add`.
    /// - **Inside:** anything; what is sent leaves at the end of this turn.
    /// - **After:** reading begins.
    /// - **Default:** does nothing.
    ///
    /// ```
    /// # use slabloop::{Context, Dispatcher};
    /// # use std::io;
    /// # struct Client;
    /// # impl Dispatcher for Client {
    /// fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///     cx.send(b"GET / HTTP/1.0\r\n\r\n")
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Any error that the implementation returns; see the [table](Dispatcher#what-a-returned-error-does).
    fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        log::debug!(target: topics::CONNECTION, "{}: connected", cx.label());
        Ok(())
    }

    /// The handshake of this stream's [layer](crate::Layer) has finished; with TLS, the session is established.
    ///
    /// - **When:** once for each layer, before `handle_connect` and before anything is read through the layer; see
    ///   [`Socket::layered`](crate::Socket::layered) and [`Context::start_layer`].
    /// - **Inside:** anything. [`cx.layer()`](Context::layer) reports what was negotiated; to refuse it, close.
    /// - **After:** reading begins, or continues.
    /// - **Default:** does nothing.
    ///
    /// # Errors
    ///
    /// Any error that the implementation returns; see the [table](Dispatcher#what-a-returned-error-does).
    fn handle_handshake(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        log::debug!(target: topics::CONNECTION, "{}: handshake finished", cx.label());
        Ok(())
    }

    /// There may be input.
    ///
    /// - **When:** once a turn, as long as input or the end of the stream may be waiting, reading is not
    ///   [paused](Context::pause_reading), and the connection that this one [feeds](Context::feeds) is not over its
    ///   high mark. The call can be spurious: then `recv` returns `WouldBlock`.
    /// - **Inside:** take as much or as little input as you like with [`Context::recv`].
    /// - **After:** if input is left, it is called again in the next turn, after all other ready dispatchers.
    /// - **Default:** reads and discards, so that a dispatcher that only writes still detects that its peer has left.
    ///
    /// ```
    /// # use slabloop::{Context, Dispatcher};
    /// # use std::io;
    /// struct Upper;
    /// impl Dispatcher for Upper {
    ///     fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///         let mut buffer = [0; 4096];
    ///         let count = cx.recv(&mut buffer)?;
    ///         buffer[..count].make_ascii_uppercase();
    ///         cx.send(&buffer[..count])
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Any error that the implementation returns; see the [table](Dispatcher#what-a-returned-error-does).
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let discarded = cx.discard()?;
        log::debug!(target: topics::CALLBACK,
            "{}: no handle_read; {discarded} bytes discarded",
            cx.label()
        );
        Ok(())
    }

    /// A producer may send its next piece: the socket can take more bytes.
    ///
    /// Replies do not need this: `send` works from any callback.
    ///
    /// - **When:** once a turn, after `handle_read`, while writing is asked for ([`Context::start_writing`]), the
    ///   socket can take bytes, and the outbox is below its low mark.
    /// - **Inside:** `send` the next piece, or call [`stop_writing`](Context::stop_writing).
    /// - **After:** what was sent leaves at the end of the turn.
    /// - **Default:** stops writing.
    ///
    /// ```
    /// # use slabloop::{Context, Dispatcher};
    /// # use std::io;
    /// /// Sends the numbers below `end`, never faster than the peer reads them.
    /// struct Numbers { next: u64, end: u64 }
    ///
    /// impl Dispatcher for Numbers {
    ///     fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///         cx.recv(&mut [0; 64])?; // Any request will do.
    ///         cx.start_writing();
    ///         Ok(())
    ///     }
    ///
    ///     fn handle_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///         if self.next == self.end {
    ///             cx.close();
    ///             return Ok(());
    ///         }
    ///         self.next += 1;
    ///         cx.send(format!("{}\n", self.next - 1).as_bytes())
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Any error that the implementation returns; see the [table](Dispatcher#what-a-returned-error-does).
    fn handle_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        log::debug!(target: topics::CALLBACK, "{}: no handle_write; writing stopped", cx.label());
        cx.stop_writing();
        Ok(())
    }

    /// The peer has finished sending (half-close); it may still be reading.
    ///
    /// - **When:** once, in the same turn, immediately after the callback whose `recv` returned `Ok(0)`. Never after a
    ///   reset, which is not an end of stream.
    /// - **Inside:** answer, or close.
    /// - **After:** `handle_read` is not called any more. An implementation that does not close keeps the connection
    ///   for writing and has to close it later.
    /// - **Default:** [`close`](Context::close), which still sends everything queued.
    ///
    /// ```
    /// # use slabloop::{Context, Dispatcher};
    /// # use std::io;
    /// /// Counts bytes, and answers when the peer has sent them all.
    /// struct Count { bytes: usize }
    ///
    /// impl Dispatcher for Count {
    ///     fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///         self.bytes += cx.recv(&mut [0; 4096])?;
    ///         Ok(())
    ///     }
    ///
    ///     fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///         cx.send(format!("{} bytes\n", self.bytes).as_bytes())?;
    ///         cx.close(); // The answer still leaves.
    ///         Ok(())
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Any error that the implementation returns; see the [table](Dispatcher#what-a-returned-error-does).
    fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        log::debug!(target: topics::CONNECTION, "{}: end of stream", cx.label());
        cx.close();
        Ok(())
    }

    /// One of this dispatcher's timers is due.
    ///
    /// - **When:** in the timers step, never early, in order of due time.
    /// - **Inside:** anything. A timer that is set here, even for zero, fires in the next turn at the earliest.
    /// - **After:** a one-shot timer is gone; a periodic one is set for the next point of its grid.
    /// - **Default:** does nothing.
    ///
    /// ```
    /// # use slabloop::{Context, Dispatcher, TimerId};
    /// # use std::io;
    /// # use std::time::Duration;
    /// /// Sends a heartbeat every ten seconds.
    /// struct Heartbeat;
    ///
    /// impl Dispatcher for Heartbeat {
    ///     fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///         cx.set_interval(Duration::from_secs(10));
    ///         Ok(())
    ///     }
    ///
    ///     fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
    ///         cx.send(b"ping\n")
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Any error that the implementation returns; see the [table](Dispatcher#what-a-returned-error-does).
    fn handle_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) -> io::Result<()> {
        log::debug!(target: topics::CALLBACK, "{}: no handle_timer for {timer:?}", cx.label());
        Ok(())
    }

    /// The kernel has taken everything that was sent.
    ///
    /// It does not mean that the peer has received it: only an answer of the peer proves that.
    ///
    /// - **When:** once for each [`Context::notify_when_sent`], in the flush of a turn, when the outbox is empty and no
    ///   layer holds output. Never after `close` or a failure.
    /// - **Inside:** anything.
    /// - **After:** what is sent here leaves in the next turn.
    /// - **Default:** does nothing.
    ///
    /// # Errors
    ///
    /// Any error that the implementation returns; see the [table](Dispatcher#what-a-returned-error-does).
    fn handle_sent(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        Ok(())
    }

    /// A dispatcher that this one watches has ended; see [`Context::watch`].
    ///
    /// - **When:** once, in the turn after the one in which it ended, so after its `handle_close`. Not if this
    ///   dispatcher is closing itself.
    /// - **Inside:** anything; `id` is no longer valid.
    /// - **After:** `id` is no longer watched.
    /// - **Default:** does nothing.
    ///
    /// # Errors
    ///
    /// Any error that the implementation returns; see the [table](Dispatcher#what-a-returned-error-does).
    fn handle_gone(&mut self, cx: &mut Context<'_>, id: AnyId, cause: Cause) -> io::Result<()> {
        Ok(())
    }

    /// Urgent (out-of-band) data has arrived.
    ///
    /// - **When:** once for each event, after `handle_write`, if [`Context::watch_priority`] was called. On Linux and
    ///   Android, for TCP. A spurious `handle_read` may come with it.
    /// - **Inside:** with [`Context::urgent_inline`], `recv` delivers the byte among the others; otherwise it is lost.
    /// - **After:** nothing follows.
    /// - **Default:** does nothing.
    ///
    /// # Errors
    ///
    /// Any error that the implementation returns; see the [table](Dispatcher#what-a-returned-error-does).
    fn handle_priority(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        log::debug!(target: topics::CALLBACK, "{}: no handle_priority; urgent data ignored", cx.label());
        Ok(())
    }

    /// The reactor shuts down gracefully; see [`Reactor::shutdown`](crate::Reactor::shutdown).
    ///
    /// - **When:** once for every dispatcher that is not a listener, before any other callback of the shutdown.
    ///   The listeners are closed already.
    /// - **Inside:** anything except adding dispatchers.
    /// - **After:** a dispatcher that does not close continues as before, to finish its work: a request that a timer, a
    ///   worker or another connection will answer, or a reply that it waits for. It then has to close itself;
    ///   [`Context::is_shutting_down`] is true in later callbacks. Connections that are open at the deadline are
    ///   aborted, and `shutdown` returns them.
    /// - **Default:** [`close_when_done`](Context::close_when_done) on a connection: queued output and the output of a
    ///   producer leave first, an idle connection closes at once. Other sockets stay until the connections have closed.
    ///
    /// ```
    /// # use slabloop::{Context, Dispatcher};
    /// # use std::io;
    /// # struct Session { has_request: bool }
    /// # impl Dispatcher for Session {
    /// fn handle_shutdown(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///     if !self.has_request {
    ///         cx.send(b"the server shuts down\n")?;
    ///         cx.close();
    ///     }
    ///     Ok(()) // Otherwise the connection stays until the request is answered.
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Any error that the implementation returns; see the [table](Dispatcher#what-a-returned-error-does).
    fn handle_shutdown(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.close_for_shutdown();
        Ok(())
    }

    /// Something failed: an error that is neither "not now" nor a disconnect.
    ///
    /// - **When:** immediately after the callback that returned the fault; or when connecting failed, a timeout
    ///   expired, the outbox was full, or a write failed. Each fault causes one call.
    /// - **Inside:** anything.
    /// - **After:** if the reactor detected the failure itself, the connection ends whatever this does. After an
    ///   error that a callback returned, the connection stays open unless this closes it. A panic closes it.
    /// - **Default:** logs the error. A connection ends in a reset once what is queued has been sent
    ///   ([`abort_when_sent`](Context::abort_when_sent)), so that the peer cannot mistake a truncated answer for a
    ///   complete one. A listener or a datagram socket stays.
    ///
    /// ```
    /// # use slabloop::{Context, Dispatcher};
    /// # use std::io;
    /// # struct Session;
    /// # impl Dispatcher for Session {
    /// fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
    ///     if error.kind() == io::ErrorKind::InvalidData {
    ///         let _ = cx.send(b"400 bad request\n"); // If it fails, the connection ends anyway.
    ///         cx.close();
    ///         return;
    ///     }
    ///     cx.log_fault(&error);
    ///     cx.abort();
    /// }
    /// # }
    /// ```
    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        cx.log_fault(&error);
        cx.close_after_fault();
    }

    /// The dispatcher has ended.
    ///
    /// - **When:** exactly once, last, for every dispatcher that was ever added, whatever the cause, also when the
    ///   reactor is dropped.
    /// - **Inside:** its own socket is gone (`recv` and `send` return `NotConnected`, `at` with its own id returns
    ///   `None`). Everything else works, a new connection included. [`end_cause`](Context::end_cause) says why it
    ///   ended.
    /// - **After:** the dispatcher is dropped, and its id is never valid again. A panic is contained.
    /// - **Default:** does nothing.
    ///
    /// To connect again after a pause, use a closure: the timers of this dispatcher end with it.
    ///
    /// ```
    /// # use slabloop::{Cause, Context, Dispatcher};
    /// # use std::net::SocketAddr;
    /// # use std::time::Duration;
    /// struct Client { server: SocketAddr }
    ///
    /// impl Dispatcher for Client {
    ///     fn handle_close(&mut self, cx: &mut Context<'_>) {
    ///         if cx.end_cause() == Some(Cause::Shutdown) {
    ///             return;
    ///         }
    ///         let server = self.server;
    ///         cx.call_later(Duration::from_secs(1), move |reactor| {
    ///             if let Err(error) = reactor.connect(server, Client { server }) {
    ///                 eprintln!("cannot reconnect: {error}");
    ///             }
    ///         });
    ///     }
    /// }
    /// ```
    fn handle_close(&mut self, cx: &mut Context<'_>) {}

    /// The dispatcher that this one wraps, if it is an adapter that measures, logs or frames and passes callbacks on.
    ///
    /// This is not a callback; it must only return a reference. [`with`](Context::with), `try_with`, `call` and
    /// `typed` use it to find the type that an id names, so that an `Id<Inner>` reaches the wrapped dispatcher. The
    /// default returns `None`.
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

    /// Returns input that this dispatcher has read and not used, if it reads ahead.
    ///
    /// This is not a callback. The reactor asks for it when another dispatcher replaces this one
    /// ([`Context::replace`]), which then reads these bytes first; when the connection leaves the reactor
    /// ([`Context::detach`]); and when the connection gets a layer ([`Context::start_layer`]), whose first input they
    /// are. The default returns an empty vector.
    fn take_unread(&mut self) -> Vec<u8> {
        Vec::new()
    }
}

impl std::fmt::Debug for dyn Dispatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dispatcher")
    }
}
