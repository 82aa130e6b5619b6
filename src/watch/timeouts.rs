//! The timeouts of a connection by name, and which of them an error speaks of.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::watch::about::About;

/// The timeouts of a connection.
///
/// Reactor-wide values come from the [`Builder`](crate::Builder), a connection's own from
/// [`set_timeout`](crate::Context::set_timeout).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Timeout {
    /// From `connect` to an established connection.
    Connect,
    /// From an established connection to the end of its layer's handshake.
    Handshake,
    /// Without a byte in either direction.
    Idle,
    /// Output waits, and the peer takes none of it.
    Stall,
    /// Closing: without the peer taking any of the queued output, and then without its end of stream.
    Close,
    /// From [`set_timeout`](crate::Context::set_timeout) on, whatever moves: for a request as a whole. It has no
    /// reactor-wide value, for only the program knows when a request begins and ends.
    Request,
}

impl Timeout {
    /// Which timeout of the reactor's an error speaks of; `None` if it is another error, the system's own
    /// `TimedOut` included.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<Timeout> {
        About::of(error)?.timeout
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Timeout::Connect => "connect timeout",
            Timeout::Handshake => "handshake timeout",
            Timeout::Idle => "idle timeout",
            Timeout::Stall => "stall timeout",
            Timeout::Close => "close timeout",
            Timeout::Request => "request timeout",
        })
    }
}

/// Timeouts of one connection, in place of the reactor's.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timeouts {
    /// `Some(None)` means never.
    pub(crate) stall: Option<Option<Duration>>,
    pub(crate) close: Option<Duration>,
    pub(crate) handshake: Option<Duration>,
}
