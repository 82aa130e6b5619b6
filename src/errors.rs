//! What an error means to the reactor: the one place that sorts [`io::Error`] values.
//!
//! Errors are sorted by class, not by a list of known numbers: what is neither "not now" nor "the
//! peer is gone" is a fault, whatever its number. Loops that listed the errors they knew were brought
//! down, one errno at a time, by those they did not. Accept errors have classes of their own; they are
//! in `accept.rs`.

use std::fmt;
use std::io;

use crate::ids::AnyId;

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

/// A second value of the same error, for the slot to keep while the first goes to the callback.
pub(crate) fn copy_of(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(errno) => io::Error::from_raw_os_error(errno),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// An error of the reactor's own that says which dispatcher it is about.
///
/// A callback may reach another dispatcher, be refused, and pass the refusal on with `?`. The owner
/// of the refused socket has been told already; the caller must not be closed for it.
#[derive(Debug)]
pub(crate) struct About {
    id: AnyId,
    message: String,
    source: Option<io::Error>,
}

impl About {
    /// An error of `kind` about the dispatcher `id`.
    pub(crate) fn error(kind: io::ErrorKind, id: AnyId, message: impl Into<String>) -> io::Error {
        io::Error::new(
            kind,
            About {
                id,
                message: message.into(),
                source: None,
            },
        )
    }

    /// Wraps what the kernel said about the socket of `id`.
    pub(crate) fn wrap(id: AnyId, operation: &str, source: io::Error) -> io::Error {
        let message = format!("{operation} on {id}: {source}");
        io::Error::new(
            source.kind(),
            About {
                id,
                message,
                source: Some(source),
            },
        )
    }

    /// The dispatcher that `error` is about, if it is one of ours.
    pub(crate) fn whom(error: &io::Error) -> Option<AnyId> {
        Some(error.get_ref()?.downcast_ref::<About>()?.id)
    }
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for About {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
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
    }

    #[test]
    fn a_wrapped_error_keeps_kind_source_and_whom_it_is_about() {
        let id = AnyId::new(7, 3);
        let wrapped = About::wrap(id, "recv", io::Error::from_raw_os_error(104));
        assert_eq!(wrapped.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(About::whom(&wrapped), Some(id));
        assert!(
            wrapped.to_string().starts_with("recv on 7.3: "),
            "{wrapped}"
        );
        assert_eq!(About::whom(&io::ErrorKind::Other.into()), None);
    }
}
