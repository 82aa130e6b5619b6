//! What an error means to the reactor: the one place that sorts [`io::Error`] values.
//!
//! Errors are sorted by class, not by a list of known numbers: what is neither "not now" nor "the
//! peer is gone" is a fault, whatever its number. Loops that listed the errors they knew were brought
//! down, one errno at a time, by those they did not. Accept errors have classes of their own; they are
//! in `world/accept.rs`.

use std::io;

/// The three classes of an error that a socket call or a callback reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Nothing to do at the moment; no error at all.
    NotNow,
    /// The peer is gone; the connection ends with `handle_close` alone.
    Disconnect,
    /// Everything else; goes to `handle_error`.
    Fault,
}

pub(crate) fn classify(error: &io::Error) -> Class {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Class::NotNow,
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::NotConnected => Class::Disconnect,
        _ => Class::Fault,
    }
}

pub(crate) fn is_interrupted(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted
}

pub(crate) fn is_not_connected(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotConnected
}

pub(crate) fn is_would_block(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

pub(crate) fn is_invalid_data(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData
}

/// Whether a non-blocking `connect` goes on by itself. Interrupted means the same: calling it again
/// would be an error.
pub(crate) fn in_progress(error: &io::Error) -> bool {
    // std has no stable name for it, and libc is not among the dependencies.
    #[cfg(all(
        any(target_os = "linux", target_os = "android"),
        not(any(
            target_arch = "mips",
            target_arch = "mips64",
            target_arch = "sparc",
            target_arch = "sparc64"
        ))
    ))]
    const EINPROGRESS: i32 = 115;
    #[cfg(any(
        all(target_os = "linux", any(target_arch = "mips", target_arch = "mips64")),
        target_os = "illumos",
        target_os = "solaris"
    ))]
    const EINPROGRESS: i32 = 150;
    #[cfg(target_os = "aix")]
    const EINPROGRESS: i32 = 55;
    #[cfg(target_os = "hurd")]
    const EINPROGRESS: i32 = 0x4000_0024;
    #[cfg(target_os = "haiku")]
    const EINPROGRESS: i32 = -0x7fff_9000 + 28;
    // macOS, the BSDs and their relatives, and Linux on SPARC.
    #[cfg(not(any(
        all(
            any(target_os = "linux", target_os = "android"),
            not(any(target_arch = "sparc", target_arch = "sparc64"))
        ),
        target_os = "illumos",
        target_os = "solaris",
        target_os = "aix",
        target_os = "hurd",
        target_os = "haiku"
    )))]
    const EINPROGRESS: i32 = 36;
    error.raw_os_error() == Some(EINPROGRESS) || is_interrupted(error)
}

/// A second value of the same error, for the slot to keep while the first goes to the callback.
pub(crate) fn copy_of(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(errno) => io::Error::from_raw_os_error(errno),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// An operation that the kind of socket at hand does not have.
pub(crate) fn unsupported(operation: &str, on: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!("{operation} is not supported on {on}"),
    )
}

/// A setting or an argument that is out of its range.
pub(crate) fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_errno_has_a_class_and_only_four_kinds_are_disconnects() {
        let mut disconnects = 0;
        for errno in 1..=133 {
            let error = io::Error::from_raw_os_error(errno);
            disconnects += usize::from(classify(&error) == Class::Disconnect);
        }
        // EPIPE (and ESHUTDOWN where std maps it), ECONNABORTED, ECONNRESET, ENOTCONN.
        assert!(
            (4..=5).contains(&disconnects),
            "{disconnects} errnos are disconnects"
        );
        assert_eq!(classify(&io::ErrorKind::WouldBlock.into()), Class::NotNow);
        assert_eq!(classify(&io::ErrorKind::TimedOut.into()), Class::Fault);
        assert!(is_invalid_data(&io::ErrorKind::InvalidData.into()));
        assert!(!is_invalid_data(&io::ErrorKind::InvalidInput.into()));
    }
}
