//! The reports of a reconnecting client.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::Cause;

/// A change of a [`Reconnect`](super::Reconnect)'s connection.
///
/// Its `Display` is for log lines. Their number is bounded by the backoff.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A connection is about to be opened.
    Trying {
        /// The number of the attempt. The first after a success is 1.
        attempt: u32,
    },
    /// The attempt could not be started: the closure has returned this error.
    Failed {
        /// The error.
        error: &'a io::Error,
        /// The delay before the next attempt; `None` if there is no further attempt.
        retry_in: Option<Duration>,
    },
    /// The connection was up for long enough to count as a success.
    Stable,
    /// The connection has ended, or was never established.
    Ended {
        /// The cause of the end.
        cause: Cause,
        /// The delay before the next attempt; `None` if there is no further attempt.
        retry_in: Option<Duration>,
    },
    /// The budget or the circuit breaker allows no attempt now.
    Held {
        /// The delay before they are asked again.
        retry_in: Duration,
    },
}

impl Event<'_> {
    /// Whether no further attempt follows.
    #[must_use]
    pub fn is_last(&self) -> bool {
        matches!(
            self,
            Event::Failed { retry_in: None, .. } | Event::Ended { retry_in: None, .. }
        )
    }
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Trying { attempt } => write!(f, "connecting, attempt {attempt}"),
            Event::Failed { error, retry_in } => {
                write!(f, "cannot connect: {error}; {}", Next(*retry_in))
            }
            Event::Stable => f.write_str("the connection is stable"),
            Event::Ended { cause, retry_in } => {
                write!(f, "the connection has ended: {cause}; {}", Next(*retry_in))
            }
            Event::Held { retry_in } => {
                write!(
                    f,
                    "no attempt is allowed now; asking again in {retry_in:.3?}"
                )
            }
        }
    }
}

struct Next(Option<Duration>);

impl fmt::Display for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(delay) => write!(f, "trying again in {delay:.3?}"),
            None => f.write_str("not trying again"),
        }
    }
}
