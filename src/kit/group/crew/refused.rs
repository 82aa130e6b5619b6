//! A connection that no reactor of a crew took.

use std::error::Error;
use std::fmt;
use std::io;

use crate::Detached;

/// Why no reactor of a crew took a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// None has enrolled, or all have ended or are shutting down.
    NoReactor,
    /// Each has as many connections as it may, or a full queue of posts.
    Full,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::NoReactor => "no reactor takes connections",
            Refusal::Full => "all reactors are full",
        })
    }
}

/// A connection that no reactor of a crew took, and why. Dropping it closes the connection.
///
/// It converts to an [`io::Error`] of the kind `ResourceBusy` or `Other`, which closes the connection.
#[derive(Debug)]
pub struct Refused {
    refusal: Refusal,
    /// Large, and an error is passed about.
    connection: Box<Detached>,
}

impl Refused {
    pub(super) fn new(refusal: Refusal, connection: Detached) -> Refused {
        Refused {
            refusal,
            connection: Box::new(connection),
        }
    }

    /// Why.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        self.refusal
    }

    /// The connection, with all its bytes.
    #[must_use]
    pub fn into_connection(self) -> Detached {
        *self.connection
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.connection.peer() {
            Some(peer) => write!(f, "cannot hand over {peer}: {}", self.refusal),
            None => write!(f, "cannot hand over a connection: {}", self.refusal),
        }
    }
}

impl Error for Refused {}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> io::Error {
        let kind = match refused.refusal {
            Refusal::Full => io::ErrorKind::ResourceBusy,
            Refusal::NoReactor => io::ErrorKind::Other,
        };
        io::Error::new(kind, refused.to_string())
    }
}
