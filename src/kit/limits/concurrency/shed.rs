//! Why a request gets no slot.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

/// Why a request gets no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shed {
    /// The queue is full.
    QueueFull,
    /// It was the oldest in the queue when the queue was full and a new request arrived.
    Displaced,
    /// It has waited for as long as the deadline allows.
    Deadline {
        /// How long that was.
        waited: Duration,
    },
    /// The limit's own dispatcher has ended, because the reactor is shutting down.
    Closed,
}

impl fmt::Display for Shed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shed::QueueFull => f.write_str("too many requests are waiting"),
            Shed::Displaced => f.write_str("displaced by a newer request"),
            Shed::Deadline { waited } => write!(f, "not started within {waited:.1?}"),
            Shed::Closed => f.write_str("shutting down"),
        }
    }
}

impl Error for Shed {}

/// Of kind `ResourceBusy`.
impl From<Shed> for io::Error {
    fn from(shed: Shed) -> io::Error {
        io::Error::new(io::ErrorKind::ResourceBusy, shed)
    }
}
