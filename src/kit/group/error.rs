//! What went wrong in a group, with the names of the threads.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::io;

/// One or several threads of a group failed.
///
/// ```
/// use slabloop::kit::group::{Fault, Group};
/// use std::io;
///
/// let started = Group::builder().threads(1).name("web").start(|_| -> io::Result<()> {
///     Err(io::Error::other("no certificate"))
/// });
/// let error = started.unwrap_err();
/// assert_eq!(error.to_string(), "web-0: no certificate");
/// assert!(matches!(error.failures()[0].fault, Fault::Error(_)));
/// ```
#[derive(Debug)]
pub struct GroupError {
    failures: Vec<Failure>,
}

impl GroupError {
    /// There is at least one.
    pub(super) fn new(failures: Vec<Failure>) -> GroupError {
        GroupError { failures }
    }

    /// What failed, in the order in which it failed. There is at least one.
    #[must_use]
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }
}

impl fmt::Display for GroupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, failure) in self.failures.iter().enumerate() {
            let separator = if number == 0 { "" } else { "; " };
            write!(f, "{separator}{failure}")?;
        }
        Ok(())
    }
}

impl Error for GroupError {}

/// The kind is that of the first failure, if that is an error.
impl From<GroupError> for io::Error {
    fn from(error: GroupError) -> io::Error {
        let kind = match error.failures.first().map(|failure| &failure.fault) {
            Some(Fault::Error(first)) => first.kind(),
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

/// A thread of a group that failed.
#[derive(Debug)]
#[non_exhaustive]
pub struct Failure {
    /// Its number, from 0.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// How it failed.
    pub fault: Fault,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.fault)
    }
}

/// How a thread of a group failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Fault {
    /// Its closure returned this error, or the thread could not be started.
    Error(io::Error),
    /// Its closure panicked, with this text.
    Panic(String),
    /// It did not end within the time limits, and still runs: a callback blocks.
    Stuck,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Error(error) => error.fmt(f),
            Fault::Panic(text) => write!(f, "panicked: {text}"),
            Fault::Stuck => f.write_str("did not end in time: a callback blocks"),
        }
    }
}

/// What a panic said.
pub(super) fn text_of_panic(payload: Box<dyn Any + Send>) -> String {
    let text = match payload.downcast::<String>() {
        Ok(text) => return *text,
        Err(payload) => payload.downcast::<&str>(),
    };
    match text {
        Ok(text) => (*text).to_owned(),
        Err(payload) => {
            // The payload is the user's, and its drop may panic.
            std::mem::forget(payload);
            "a value that is no text".to_owned()
        }
    }
}
