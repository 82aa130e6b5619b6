//! Why no connection was given.

use std::error::Error;
use std::fmt;
use std::io;

/// A request for a connection was refused: why, and for which destination.
///
/// Its text shows the destination by its `Debug`: `pool: 127.0.0.1:7000: cannot connect: Connection refused`. It
/// converts to an [`io::Error`], so a callback can return it with `?`.
///
/// ```
/// use slabloop::kit::pool::{Reason, Refused};
///
/// /// Whether the same request may succeed a little later.
/// fn is_worth_a_retry(refused: &Refused) -> bool {
///     !matches!(refused.reason(), Reason::ShutDown | Reason::Gone)
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Refused {
    reason: Reason,
    destination: String,
    /// The system's error, if there is one.
    cause: Option<String>,
}

/// The reason of a [`Refused`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The attempt to connect failed.
    Connect(io::ErrorKind),
    /// An attempt has failed a short while ago, and the pause of [`AfterFailure::Pause`](super::AfterFailure::Pause)
    /// is not over.
    Paused,
    /// No connection was available in time.
    Deadline,
    /// Too many requests are waiting ([`max_waiting`](super::PoolOptions::max_waiting)).
    TooManyWaiting,
    /// The reactor's queue of posts has no place for the connection's return: each lease
    /// [reserves](crate::Handle::reserve) one.
    NoPlace,
    /// The pool is shutting down.
    ShutDown,
    /// The pool's dispatcher has ended.
    Gone,
    /// The pool is itself running: the request came from inside the `connect` closure, or from `is_reusable`.
    Busy,
}

impl Refused {
    pub(super) fn new(reason: Reason, destination: &impl fmt::Debug) -> Refused {
        Refused {
            reason,
            destination: format!("{destination:?}"),
            cause: None,
        }
    }

    pub(super) fn connect(destination: &impl fmt::Debug, error: &io::Error) -> Refused {
        Refused {
            cause: Some(error.to_string()),
            ..Refused::new(Reason::Connect(error.kind()), destination)
        }
    }

    /// The reason.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The destination, as its `Debug` shows it.
    #[must_use]
    pub fn destination(&self) -> &str {
        &self.destination
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pool: {}: ", self.destination)?;
        let text = match self.reason {
            Reason::Connect(kind) => {
                return match &self.cause {
                    Some(cause) => write!(f, "cannot connect: {cause}"),
                    None => write!(f, "cannot connect: {kind}"),
                };
            }
            Reason::Paused => "no attempt during the pause after a failure",
            Reason::Deadline => "no connection was free in time",
            Reason::TooManyWaiting => "too many requests are waiting for connections",
            Reason::NoPlace => {
                "the reactor's queue of posts has no place for the return of a lease"
            }
            Reason::ShutDown => "the pool is shutting down",
            Reason::Gone => "the pool is gone",
            Reason::Busy => "the pool is itself running",
        };
        f.write_str(text)
    }
}

impl Error for Refused {}

impl From<Refused> for io::Error {
    /// `TimedOut` for a deadline, the attempt's own kind for a failed one, `Other` for the rest. Never `WouldBlock`
    /// or a kind of disconnect, which would be taken for the state of the dispatcher that returns it.
    fn from(refused: Refused) -> io::Error {
        use io::ErrorKind::{
            BrokenPipe, ConnectionAborted, ConnectionReset, Interrupted, NotConnected, Other,
            TimedOut, WouldBlock,
        };
        let kind = match refused.reason {
            Reason::Connect(
                WouldBlock | Interrupted | ConnectionReset | ConnectionAborted | BrokenPipe
                | NotConnected,
            ) => Other,
            Reason::Connect(kind) => kind,
            Reason::Deadline => TimedOut,
            _ => Other,
        };
        io::Error::new(kind, refused)
    }
}

#[cfg(test)]
mod tests {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted,
        NotConnected, Other, TimedOut, WouldBlock,
    };

    use super::*;

    /// A callback returns it, and the reactor would take the peer's end for the end of the callback's own connection.
    #[test]
    fn a_failed_attempt_is_never_an_error_that_looks_like_the_end_of_the_holders_connection() {
        for failed in [
            WouldBlock,
            Interrupted,
            ConnectionReset,
            ConnectionAborted,
            BrokenPipe,
            NotConnected,
        ] {
            let refused = Refused::connect(&7000, &failed.into());
            assert_eq!(refused.reason(), Reason::Connect(failed));
            assert_eq!(io::Error::from(refused).kind(), Other, "{failed}");
        }
        for failed in [ConnectionRefused, TimedOut] {
            let refused = Refused::connect(&7000, &failed.into());
            assert_eq!(io::Error::from(refused).kind(), failed);
        }
    }
}
