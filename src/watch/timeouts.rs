//! The timeouts of a connection by name, and which of them an error reports.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::watch::about::About;

/// The timeouts of a connection.
///
/// Reactor-wide values are set with the [`Builder`](crate::Builder), those of one connection with
/// [`set_timeout`](crate::Context::set_timeout), which has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Timeout {
    /// The time from `connect` to the established connection.
    Connect,
    /// The time from the established connection to the end of its layer's handshake.
    Handshake,
    /// The time without a byte in either direction.
    Idle,
    /// The time for which output waits and the peer takes none of it.
    Stall,
    /// While closing: the time for which the peer takes none of the queued output, and then the time until its end of
    /// stream.
    Close,
    /// The time from [`set_timeout`](crate::Context::set_timeout) on, regardless of traffic, for a request as a whole.
    /// It has no reactor-wide value, because only the program knows when a request begins and ends.
    Request,
}

impl Timeout {
    /// Which timeout an error reports. `None` for any other error, including the system's own `TimedOut`.
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
