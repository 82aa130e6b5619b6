//! Why a lookup gave no address.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

/// The reason why a lookup found no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Failure {
    /// The text is not a valid host name.
    InvalidName,
    /// The name does not exist (NXDOMAIN).
    NoSuchName,
    /// The name exists, but has no address of the requested family.
    NoAddress,
    /// The servers answered, but none with a result: SERVFAIL, REFUSED, a loop of aliases, an unreadable answer.
    ServerFailed,
    /// No server answered before its timeout.
    Unanswered,
    /// The lookup's own deadline passed.
    DeadlinePassed,
    /// Too many lookups are waiting.
    Overloaded,
    /// The resolver has been closed, or the reactor is shutting down.
    Closed,
}

/// A lookup failed: the name, the reason and details.
///
/// ```
/// use slabloop::kit::resolver::{Failure, LookupError};
///
/// fn report(error: &LookupError) {
///     match error.failure() {
///         Failure::NoSuchName => eprintln!("no host is called {}", error.name()),
///         _ if error.is_temporary() => eprintln!("{error}; try again later"),
///         _ => eprintln!("{error}"),
///     }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct LookupError {
    name: Arc<str>,
    failure: Failure,
    detail: Option<Arc<str>>,
}

impl LookupError {
    pub(super) fn new(name: &str, failure: Failure) -> LookupError {
        // Peers may choose names: one name must not fill a log line.
        let mut shown: String = name.chars().take(MOST_SHOWN).collect();
        if shown.len() < name.len() {
            shown.push_str("...");
        }
        LookupError {
            name: shown.into(),
            failure,
            detail: None,
        }
    }

    pub(super) fn with(mut self, detail: impl fmt::Display) -> LookupError {
        self.detail = Some(detail.to_string().into());
        self
    }

    /// The same for another way of writing the name.
    pub(super) fn renamed(&self, name: &str) -> LookupError {
        LookupError {
            detail: self.detail.clone(),
            ..LookupError::new(name, self.failure)
        }
    }

    /// The name that was looked up, cut after 255 characters.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The reason.
    #[must_use]
    pub fn failure(&self) -> Failure {
        self.failure
    }

    /// Whether a retry may succeed later: no server answered, or there was too much load.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        !matches!(
            self.failure,
            Failure::InvalidName | Failure::NoSuchName | Failure::NoAddress | Failure::Closed
        )
    }

    fn kind(&self) -> io::ErrorKind {
        match self.failure {
            Failure::InvalidName => io::ErrorKind::InvalidInput,
            Failure::NoSuchName | Failure::NoAddress => io::ErrorKind::NotFound,
            Failure::Unanswered | Failure::DeadlinePassed => io::ErrorKind::TimedOut,
            Failure::Overloaded => io::ErrorKind::ResourceBusy,
            Failure::ServerFailed | Failure::Closed => io::ErrorKind::Other,
        }
    }
}

/// As many characters as a name can have.
const MOST_SHOWN: usize = 255;

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.failure {
            Failure::InvalidName => "not a valid host name",
            Failure::NoSuchName => "no such name",
            Failure::NoAddress => "the name has no address",
            Failure::ServerFailed => "the name servers failed",
            Failure::Unanswered => "no name server answered",
            Failure::DeadlinePassed => "the lookup took too long",
            Failure::Overloaded => "too many lookups are waiting",
            Failure::Closed => "the resolver is closed",
        };
        write!(f, "{:?}: {why}", self.name)?;
        match &self.detail {
            Some(detail) => write!(f, ": {detail}"),
            None => Ok(()),
        }
    }
}

impl Error for LookupError {}

/// `InvalidInput`, `NotFound`, `TimedOut`, `ResourceBusy` or `Other`, with the lookup's error inside.
impl From<LookupError> for io::Error {
    fn from(error: LookupError) -> io::Error {
        io::Error::new(error.kind(), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Never `WouldBlock` or a disconnect, which would be taken for the state of the dispatcher that returns it.
    #[test]
    fn each_failure_is_an_error_of_a_kind_and_says_whether_to_try_again() {
        use io::ErrorKind::{InvalidInput, NotFound, Other, ResourceBusy, TimedOut};
        for (failure, kind, is_temporary) in [
            (Failure::InvalidName, InvalidInput, false),
            (Failure::NoSuchName, NotFound, false),
            (Failure::NoAddress, NotFound, false),
            (Failure::ServerFailed, Other, true),
            (Failure::Unanswered, TimedOut, true),
            (Failure::DeadlinePassed, TimedOut, true),
            (Failure::Overloaded, ResourceBusy, true),
            (Failure::Closed, Other, false),
        ] {
            let error = LookupError::new("host.test", failure).with("why");
            assert_eq!(error.is_temporary(), is_temporary, "{failure:?}");
            let error = io::Error::from(error);
            assert_eq!(error.kind(), kind, "{failure:?}");
            let text = error.to_string();
            assert!(text.starts_with("\"host.test\": ") && text.ends_with(": why"));
        }
    }
}
