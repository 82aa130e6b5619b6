//! Arguments and exits: bad input is answered with one line that names flag and value, and with
//! exit code 2.
//!
//! All programs here take long flags with a value and nothing else, so a program says which flags
//! it has by matching on [`next_flag`], and takes the value with [`value`]. The exit codes are
//! those of most Unix tools: 2 for a command line that makes no sense, 1 for work that failed.

use std::fmt::Display;
use std::process::ExitCode;
use std::str::FromStr;
use std::{error, fmt, io};

use crate::sys;

/// Why a program ends early.
#[derive(Debug)]
pub enum Error {
    /// The command line is at fault; the message names the flag and the value.
    Usage(String),
    /// The command line was fine and the work failed.
    Failed(String),
}

/// What every fallible function of the programs returns.
pub type Result<T> = std::result::Result<T, Error>;

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Error::Usage(text) | Error::Failed(text)) = self;
        f.write_str(text)
    }
}

impl error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Error::Failed(error.to_string())
    }
}

impl From<lexopt::Error> for Error {
    fn from(error: lexopt::Error) -> Self {
        Error::Usage(error.to_string())
    }
}

/// Adds to an error what was being done when it happened.
pub trait Doing<T> {
    /// Turns any error into [`Error::Failed`], with `what` before it.
    ///
    /// # Errors
    ///
    /// The error that came in, with its text.
    fn doing(self, what: impl Display) -> Result<T>;
}

impl<T, E: Display> Doing<T> for std::result::Result<T, E> {
    fn doing(self, what: impl Display) -> Result<T> {
        self.map_err(|error| Error::Failed(format!("{what}: {error}")))
    }
}

/// Runs a program's body and turns its outcome into an exit code, as its `main`.
pub fn run(body: impl FnOnce() -> Result<()>) -> ExitCode {
    // A ring of 9,900 pairs takes 19,800 descriptors, and the soft limit is 1,024 on most systems.
    // Children inherit the raised limit, so the C and Python peers need no code for it.
    if let Err(error) = sys::raise_descriptor_limit() {
        eprintln!("warning: could not raise the limit on open files: {error}");
    }
    match body() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ Error::Usage(_)) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
        Err(error @ Error::Failed(_)) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The next long flag without its dashes, or `None` after the last.
///
/// # Errors
///
/// Anything that is not a long flag, by name.
pub fn next_flag(parser: &mut lexopt::Parser) -> Result<Option<String>> {
    match parser.next()? {
        None => Ok(None),
        Some(lexopt::Arg::Long(name)) => Ok(Some(name.to_owned())),
        Some(other) => Err(Error::Usage(other.unexpected().to_string())),
    }
}

/// The value of the flag just taken; `expected` says in words what it should be.
///
/// # Errors
///
/// A missing or unparsable value, with the flag, the value and `expected`.
pub fn value<T: FromStr>(parser: &mut lexopt::Parser, flag: &str, expected: &str) -> Result<T> {
    let text = parser.value()?;
    let text = text.to_string_lossy();
    text.parse().map_err(|_| wrong(flag, &text, expected))
}

/// The error for a flag that the program does not have.
#[must_use]
pub fn unknown(flag: &str, known: &str) -> Error {
    Error::Usage(format!(
        "--{flag} is not a flag of this program; it takes {known}"
    ))
}

/// The error for a value that can't be used.
#[must_use]
pub fn wrong(flag: &str, value: impl Display, expected: &str) -> Error {
    Error::Usage(format!("--{flag}: '{value}' is not {expected}"))
}
