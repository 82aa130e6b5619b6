//! A pooled connection: a wrapper of the user's dispatcher, by which the pool sees the events that it needs.

use std::fmt;
use std::io;

use crate::framing::{Framed, Framing, Handler};
use crate::kit::pool::gauges::Why;
use crate::kit::pool::{Key, Pool};
use crate::{AnyId, Cause, Context, Dispatcher, Id, TimerId};

/// A dispatcher whose connections can be pooled.
///
/// While it is leased it gets all callbacks of an ordinary dispatcher except `handle_shutdown`: a leased connection
/// stays open until its lease returns. While it is idle it gets `handle_timer`, `handle_write`, `handle_sent` and
/// `handle_gone`; if bytes arrive, the pool calls [`is_reusable`](Reusable::is_reusable). `handle_close` is always
/// called. If an attempt to connect fails, the waiting requests get the error, and `handle_error` is not called.
///
/// ```
/// use slabloop::kit::pool::Reusable;
/// use slabloop::{Context, Dispatcher};
///
/// /// A connection on which each request has one answer.
/// struct Connection { outstanding: u32 }
///
/// impl Dispatcher for Connection {}
///
/// impl Reusable for Connection {
///     fn is_reusable(&mut self, _: &mut Context<'_>) -> bool {
///         self.outstanding == 0
///     }
/// }
/// ```
pub trait Reusable: Dispatcher {
    /// Whether this connection may be lent to the next holder.
    ///
    /// *When:* after a lease has returned, in whatever way; before the connection is leased again; and when bytes
    /// have arrived while it is idle. *Inside:* return `false` if an answer is outstanding, because the next holder
    /// would take it for its own. If unsolicited bytes of the server are no fault, read them here: the pool closes a
    /// connection with unread bytes, and one whose stream has ended. The pool cannot be reached from here. *After:*
    /// after `false` the connection is aborted, and only `handle_close` is called.
    fn is_reusable(&mut self, cx: &mut Context<'_>) -> bool;

    /// Whether an established connection may be leased, for protocols that begin with a greeting or a login.
    ///
    /// *When:* after `handle_connect`, and after each further callback until it returns `true`. Until then the
    /// connection counts as connecting, and if it ends, the attempt has failed. The reactor's connect timeout does
    /// not cover this phase: set a timer in `handle_connect`, and return an error from `handle_timer`. *Default:*
    /// `true`.
    fn is_ready(&mut self) -> bool {
        true
    }
}

/// The counterpart of [`Reusable`] for a [`Handler`]: with it, [`Framed`] connections can be pooled.
pub trait ReusableHandler: Handler {
    /// See [`Reusable::is_reusable`]. It is not called if an incomplete record is buffered: the connection is then
    /// closed.
    fn is_reusable(&mut self, cx: &mut Context<'_>, framing: &mut Framing) -> bool;

    /// See [`Reusable::is_ready`].
    fn is_ready(&mut self) -> bool {
        true
    }
}

impl<H: ReusableHandler> Reusable for Framed<H> {
    fn is_reusable(&mut self, cx: &mut Context<'_>) -> bool {
        let (handler, framing) = self.parts();
        framing.unfinished().is_empty() && handler.is_reusable(cx, framing)
    }

    fn is_ready(&mut self) -> bool {
        self.handler().is_ready()
    }
}

/// The phase of a connection, as its own dispatcher knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Connecting,
    Idle,
    /// Also one that has left the pool.
    Leased,
}

/// The place in a pool for a connection that is being opened; see [`Pool::new`].
#[must_use = "the connection has to be added with it"]
pub struct Seat<K: Key, D: Reusable> {
    pub(super) pool: Id<Pool<K, D>>,
    pub(super) place: usize,
    pub(super) number: u64,
}

impl<K: Key, D: Reusable> Seat<K, D> {
    /// The dispatcher to be added with the connection.
    pub fn hold(self, connection: D) -> Pooled<K, D> {
        Pooled {
            inner: connection,
            seat: self,
            phase: Phase::Connecting,
            is_established: false,
            failure: None,
        }
    }
}

/// The dispatcher of a pooled connection: a wrapper of the user's dispatcher, made by [`Seat::hold`]. An `Id<D>` of
/// the wrapped dispatcher can be used as well.
pub struct Pooled<K: Key, D: Reusable> {
    inner: D,
    seat: Seat<K, D>,
    phase: Phase,
    /// `handle_connect` has come.
    is_established: bool,
    /// What went wrong while it was connecting.
    failure: Option<io::Error>,
}

impl<K: Key, D: Reusable> Pooled<K, D> {
    /// Whether it may be leased now; if not, why. `probe` asks the kernel as well.
    pub(super) fn check(&mut self, cx: &mut Context<'_>, probe: bool) -> Result<(), Why> {
        if cx.is_closing() {
            return Err(Why::Ended);
        }
        if !self.inner.is_reusable(cx) {
            return Err(Why::Unusable);
        }
        if cx.is_closing() {
            return Err(Why::Ended);
        }
        if !self.inner.take_unread().is_empty() {
            return Err(Why::Input);
        }
        let mut byte = [0];
        let outcome = if probe {
            cx.recv_now(&mut byte)
        } else {
            cx.recv(&mut byte)
        };
        match outcome {
            Ok(0) => Err(Why::Ended),
            Ok(_) => Err(Why::Input),
            Err(error) if is_not_now(&error) => Ok(()),
            Err(_) => Err(Why::Ended),
        }
    }

    pub(super) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
    }

    /// Bytes have arrived while it was idle.
    fn look(&mut self, cx: &mut Context<'_>) {
        if let Err(why) = self.check(cx, false) {
            self.leave(cx, why);
        }
    }

    /// An idle connection is of no more use.
    fn leave(&mut self, cx: &mut Context<'_>, why: Why) {
        let Seat { place, number, .. } = self.seat;
        let told = cx.with(self.seat.pool, |pool, cx| {
            pool.leaves(cx, place, number, why);
        });
        if told.is_none() {
            cx.close();
        }
    }

    /// A callback of one that is connecting has returned: it may be ready now.
    #[inline]
    fn review(&mut self, cx: &mut Context<'_>, result: io::Result<()>) -> io::Result<()> {
        if self.phase == Phase::Connecting && self.is_established && result.is_ok() {
            self.review_ready(cx);
        }
        result
    }

    fn review_ready(&mut self, cx: &mut Context<'_>) {
        if cx.is_closing() || !self.inner.is_ready() {
            return;
        }
        let Seat { place, number, .. } = self.seat;
        let id = cx.id::<D>();
        // Before: the holder that gets it may have its first callback in this very turn.
        self.phase = Phase::Leased;
        let phase = cx.with(self.seat.pool, |pool, cx| pool.ready(cx, place, number, id));
        match phase.flatten() {
            Some(phase) => self.phase = phase,
            None => cx.close(),
        }
    }
}

impl<K: Key, D: Reusable> Dispatcher for Pooled<K, D> {
    fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.is_established = true;
        let result = self.inner.handle_connect(cx);
        self.review(cx, result)
    }

    fn handle_handshake(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let result = self.inner.handle_handshake(cx);
        self.review(cx, result)
    }

    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.phase == Phase::Idle {
            self.look(cx);
            return Ok(());
        }
        let result = self.inner.handle_read(cx);
        self.review(cx, result)
    }

    fn handle_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let result = self.inner.handle_write(cx);
        self.review(cx, result)
    }

    fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.phase == Phase::Idle {
            self.leave(cx, Why::Ended);
            return Ok(());
        }
        let result = self.inner.handle_eof(cx);
        self.review(cx, result)
    }

    fn handle_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) -> io::Result<()> {
        let result = self.inner.handle_timer(cx, timer);
        self.review(cx, result)
    }

    fn handle_sent(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let result = self.inner.handle_sent(cx);
        self.review(cx, result)
    }

    fn handle_gone(&mut self, cx: &mut Context<'_>, id: AnyId, cause: Cause) -> io::Result<()> {
        let result = self.inner.handle_gone(cx, id, cause);
        self.review(cx, result)
    }

    fn handle_priority(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let result = self.inner.handle_priority(cx);
        self.review(cx, result)
    }

    fn handle_shutdown(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        // A leased one closes when its lease is returned. The others do not wait for the server's end of stream.
        if self.phase != Phase::Leased {
            cx.close_when_sent();
        }
        Ok(())
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        match self.phase {
            Phase::Leased => self.inner.handle_error(cx, error),
            Phase::Connecting => {
                self.failure.get_or_insert(error);
                cx.abort();
            }
            Phase::Idle => {
                log::debug!("{}: while idle in its pool: {error}", cx.label());
                cx.abort();
            }
        }
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        let cause = cx.end_cause();
        let failure = self.failure.take();
        let Seat { place, number, .. } = self.seat;
        // First: whatever the other does, a place is free.
        cx.with(self.seat.pool, |pool, cx| {
            pool.ended(cx, place, number, failure, cause);
        });
        self.inner.handle_close(cx);
    }

    fn inner(&mut self) -> Option<&mut dyn Dispatcher> {
        Some(&mut self.inner)
    }

    fn take_unread(&mut self) -> Vec<u8> {
        self.inner.take_unread()
    }
}

impl<K: Key, D: Reusable> fmt::Debug for Seat<K, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat")
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}

impl<K: Key, D: Reusable> fmt::Debug for Pooled<K, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pooled")
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

fn is_not_now(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, WouldBlock};
    matches!(error.kind(), WouldBlock | Interrupted)
}
