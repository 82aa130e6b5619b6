//! Why a dispatcher ended, and how often each reason has occurred.

use std::fmt;
use std::io;

/// How a dispatcher ended, in four classes; [`Cause`] says why.
///
/// ```
/// use slabloop::{Context, Dispatcher, End};
///
/// # struct Session;
/// # impl Dispatcher for Session {
/// fn handle_close(&mut self, cx: &mut Context<'_>) {
///     if cx.how_it_ended() != Some(End::Closed) {
///         println!("{}: some output may be lost", cx.label());
///     }
/// }
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum End {
    /// Gracefully: both sides had finished, or this one closed and the kernel has taken everything that
    /// was accepted for sending.
    Closed,
    /// The peer has disconnected: a reset, or a write to a closed connection.
    Lost,
    /// A fault: connecting failed, a timeout expired, the outbox was full, a callback failed or
    /// panicked.
    Failed,
    /// Aborted on this side: by `abort`, `close_all`, the deadline of `shutdown`, or because the reactor was dropped.
    Aborted,
}

/// Why a dispatcher ended: the first thing that went wrong, or that nothing did.
///
/// In [`handle_close`](crate::Dispatcher::handle_close) it comes from
/// [`Context::end_cause`](crate::Context::end_cause), for another dispatcher from
/// [`Context::end_of`](crate::Context::end_of). What follows from the first cause does not replace it: a
/// connection that is closed in `handle_error` ended because of the fault.
///
/// ```
/// use slabloop::{Cause, Context, Dispatcher};
///
/// struct Client;
/// impl Dispatcher for Client {
///     fn handle_close(&mut self, cx: &mut Context<'_>) {
///         match cx.end_cause() {
///             Some(Cause::Finished) | None => {}
///             Some(Cause::Stalled { unsent }) => eprintln!("{unsent} bytes were not sent"),
///             Some(cause) => eprintln!("{}: {cause}", cx.label()),
///         }
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// Nothing went wrong: both sides had finished, or this side closed and everything was sent.
    Finished,
    /// The peer has disconnected: a reset, or a write to a closed connection.
    Reset,
    /// The connection could not be established.
    ConnectFailed(io::ErrorKind),
    /// The connection was not established in time.
    ConnectTimeout,
    /// The handshake of its [layer](crate::Layer) failed.
    HandshakeFailed(io::ErrorKind),
    /// The handshake was not finished in time.
    HandshakeTimeout,
    /// No byte moved for the idle timeout.
    Idle,
    /// A request took longer than its timeout.
    RequestTimeout,
    /// The peer took none of the queued output for the stall timeout.
    Stalled {
        /// Bytes accepted for sending that were not sent.
        unsent: usize,
    },
    /// The peer took none of the queued output for the close timeout.
    CloseTimeout {
        /// Bytes accepted for sending that were not sent.
        unsent: usize,
    },
    /// The outbox would have gone over its hard cap.
    OverCap {
        /// Bytes accepted for sending that were not sent.
        unsent: usize,
    },
    /// A callback panicked.
    Panic,
    /// A callback returned this error, or the socket reported it.
    Error(io::ErrorKind),
    /// [`abort`](crate::Context::abort) or [`abort_when_sent`](crate::Context::abort_when_sent) was called.
    Aborted,
    /// `close_all` was called, the deadline of `shutdown` passed, or the reactor was dropped.
    Shutdown,
    /// [`detach`](crate::Context::detach) has taken the connection out of the reactor. It stays open.
    Detached,
}

impl Cause {
    /// The class of this cause.
    #[must_use]
    pub fn end(self) -> End {
        match self {
            Cause::Finished | Cause::Detached => End::Closed,
            Cause::Reset => End::Lost,
            Cause::Aborted | Cause::Shutdown => End::Aborted,
            Cause::ConnectFailed(_)
            | Cause::ConnectTimeout
            | Cause::HandshakeFailed(_)
            | Cause::HandshakeTimeout
            | Cause::Idle
            | Cause::RequestTimeout
            | Cause::Stalled { .. }
            | Cause::CloseTimeout { .. }
            | Cause::OverCap { .. }
            | Cause::Panic
            | Cause::Error(_) => End::Failed,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Finished => f.write_str("finished"),
            Cause::Reset => f.write_str("reset by peer"),
            Cause::ConnectFailed(kind) => write!(f, "could not connect: {kind}"),
            Cause::ConnectTimeout => f.write_str("connecting timed out"),
            Cause::HandshakeFailed(kind) => write!(f, "the handshake failed: {kind}"),
            Cause::HandshakeTimeout => f.write_str("handshake timeout"),
            Cause::Idle => f.write_str("idle timeout"),
            Cause::RequestTimeout => f.write_str("request timeout"),
            Cause::Stalled { unsent } => write!(f, "stalled with {unsent} bytes not sent"),
            Cause::CloseTimeout { unsent } => {
                write!(f, "closing timed out with {unsent} bytes not sent")
            }
            Cause::OverCap { unsent } => {
                write!(f, "over its hard cap with {unsent} bytes not sent")
            }
            Cause::Panic => f.write_str("panic in a callback"),
            Cause::Error(kind) => write!(f, "failed: {kind}"),
            Cause::Aborted => f.write_str("aborted"),
            Cause::Shutdown => f.write_str("shut down"),
            Cause::Detached => f.write_str("detached"),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            End::Closed => "closed",
            End::Lost => "lost",
            End::Failed => "failed",
            End::Aborted => "aborted",
        })
    }
}

/// How many dispatchers ended for each [`Cause`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ends {
    /// [`Cause::Finished`].
    pub finished: u64,
    /// [`Cause::Reset`].
    pub reset: u64,
    /// [`Cause::ConnectFailed`].
    pub connect_failed: u64,
    /// [`Cause::ConnectTimeout`].
    pub connect_timeout: u64,
    /// [`Cause::HandshakeFailed`].
    pub handshake_failed: u64,
    /// [`Cause::HandshakeTimeout`].
    pub handshake_timeout: u64,
    /// [`Cause::Idle`].
    pub idle: u64,
    /// [`Cause::RequestTimeout`].
    pub request_timeout: u64,
    /// [`Cause::Stalled`].
    pub stalled: u64,
    /// [`Cause::CloseTimeout`].
    pub close_timeout: u64,
    /// [`Cause::OverCap`].
    pub over_cap: u64,
    /// [`Cause::Panic`].
    pub panic: u64,
    /// [`Cause::Error`].
    pub error: u64,
    /// [`Cause::Aborted`].
    pub aborted: u64,
    /// [`Cause::Shutdown`].
    pub shutdown: u64,
    /// [`Cause::Detached`].
    pub detached: u64,
}

impl Ends {
    pub(crate) fn count(&mut self, cause: Cause) {
        *match cause {
            Cause::Finished => &mut self.finished,
            Cause::Reset => &mut self.reset,
            Cause::ConnectFailed(_) => &mut self.connect_failed,
            Cause::ConnectTimeout => &mut self.connect_timeout,
            Cause::HandshakeFailed(_) => &mut self.handshake_failed,
            Cause::HandshakeTimeout => &mut self.handshake_timeout,
            Cause::Idle => &mut self.idle,
            Cause::RequestTimeout => &mut self.request_timeout,
            Cause::Stalled { .. } => &mut self.stalled,
            Cause::CloseTimeout { .. } => &mut self.close_timeout,
            Cause::OverCap { .. } => &mut self.over_cap,
            Cause::Panic => &mut self.panic,
            Cause::Error(_) => &mut self.error,
            Cause::Aborted => &mut self.aborted,
            Cause::Shutdown => &mut self.shutdown,
            Cause::Detached => &mut self.detached,
        } += 1;
    }

    /// The sum of all causes.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.finished
            + self.reset
            + self.connect_failed
            + self.connect_timeout
            + self.handshake_failed
            + self.handshake_timeout
            + self.idle
            + self.request_timeout
            + self.stalled
            + self.close_timeout
            + self.over_cap
            + self.panic
            + self.error
            + self.aborted
            + self.shutdown
            + self.detached
    }
}
