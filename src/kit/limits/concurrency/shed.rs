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
    /// It waited longest when the queue was full and another came.
    Displaced,
    /// It has waited for as long as it may.
    Deadline {
        /// How long that was.
        waited: Duration,
    },
    /// The limit's own dispatcher has ended: the reactor shuts down.
    Closed,
}

impl fmt::Display for Shed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shed::QueueFull => f.write_str("too many requests wait already"),
            Shed::Displaced => f.write_str("gave way to a newer request"),
            Shed::Deadline { waited } => write!(f, "not begun after {waited:.1?}"),
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
