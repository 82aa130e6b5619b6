//! Why no connection was established.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::super::error::LookupError;
use super::race::Tried;

#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) port: u16,
}

/// No connection was established: the name, the reason, and each address with its result.
///
/// ```
/// use slabloop::kit::resolver::ConnectError;
///
/// fn report(error: &ConnectError) {
///     for (address, failure) in error.attempts() {
///         match failure {
///             Some(failure) => eprintln!("{address}: {failure}"),
///             None => eprintln!("{address}: no answer in time"),
///         }
///     }
/// }
/// ```
#[derive(Debug)]
pub struct ConnectError {
    target: Target,
    reason: Reason,
}

#[derive(Debug)]
pub(super) enum Reason {
    Lookup(LookupError),
    /// With the deadline, if that has passed.
    Attempts(Vec<(SocketAddr, Tried)>, Option<Duration>),
    NotAdded(io::Error),
    Closed,
}

impl ConnectError {
    pub(super) fn new(target: Target, reason: Reason) -> ConnectError {
        ConnectError { target, reason }
    }

    /// The lookup's error, if the lookup failed.
    #[must_use]
    pub fn lookup(&self) -> Option<&LookupError> {
        match &self.reason {
            Reason::Lookup(error) => Some(error),
            _ => None,
        }
    }

    /// The addresses in the order in which they were tried. If an address has no error, there was no answer before
    /// the deadline, or it had not been tried yet.
    pub fn attempts(&self) -> impl Iterator<Item = (SocketAddr, Option<&io::Error>)> {
        let attempts = match &self.reason {
            Reason::Attempts(attempts, _) => attempts.as_slice(),
            _ => &[],
        };
        attempts.iter().map(|(address, tried)| match tried {
            Tried::Failed(error) => (*address, Some(error)),
            _ => (*address, None),
        })
    }

    /// Whether the deadline passed.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self.reason, Reason::Attempts(_, Some(_)))
    }

    fn kind(&self) -> io::ErrorKind {
        match &self.reason {
            Reason::Lookup(error) => io::Error::from(error.clone()).kind(),
            Reason::Attempts(_, Some(_)) => io::ErrorKind::TimedOut,
            Reason::Attempts(..) => {
                let mut errors = self.attempts().filter_map(|(_, error)| error);
                errors.next().map_or(io::ErrorKind::Other, io::Error::kind)
            }
            Reason::NotAdded(error) => error.kind(),
            Reason::Closed => io::ErrorKind::Other,
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Target { name, port } = &self.target;
        write!(f, "cannot connect to {name}, port {port}: ")?;
        match &self.reason {
            Reason::Lookup(error) => write!(f, "{error}"),
            Reason::NotAdded(error) => write!(f, "{error}"),
            Reason::Closed => f.write_str("it was closed"),
            Reason::Attempts(attempts, limit) => {
                if let Some(limit) = limit {
                    write!(f, "{limit:?} have passed")?;
                }
                let mut separator = if limit.is_some() { ": " } else { "" };
                for (address, tried) in attempts {
                    match tried {
                        Tried::Failed(error) => write!(f, "{separator}{address}: {error}")?,
                        Tried::Running(_) => write!(f, "{separator}{address}: no answer")?,
                        Tried::Not => write!(f, "{separator}{address}: not tried")?,
                    }
                    separator = "; ";
                }
                Ok(())
            }
        }
    }
}

impl Error for ConnectError {}

/// `TimedOut` if the deadline passed, else the kind of the lookup's error, or of the first attempt's.
impl From<ConnectError> for io::Error {
    fn from(error: ConnectError) -> io::Error {
        io::Error::new(error.kind(), error)
    }
}
