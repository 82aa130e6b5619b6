//! Errors of the reactor's own, which name the dispatcher that they are about.

use std::fmt;
use std::io;

use crate::watch::timeouts::Timeout;
use crate::world::ids::AnyId;

/// An error of the reactor's own that says which dispatcher it is about.
///
/// A callback may reach another dispatcher, be refused, and pass the refusal on with `?`. The owner
/// of the refused socket gets its own report; the caller must not be closed for it.
#[derive(Debug)]
pub(crate) struct About {
    id: AnyId,
    message: String,
    source: Option<io::Error>,
    /// The timeout that expired, if it is one.
    pub(super) timeout: Option<Timeout>,
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
                timeout: None,
            },
        )
    }

    /// A timeout of the dispatcher `id` that has expired.
    pub(crate) fn timed_out(timeout: Timeout, id: AnyId, message: String) -> io::Error {
        io::Error::new(
            io::ErrorKind::TimedOut,
            About {
                id,
                message,
                source: None,
                timeout: Some(timeout),
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
                timeout: None,
            },
        )
    }

    /// The dispatcher that `error` is about, if it is one of ours.
    pub(crate) fn whom(error: &io::Error) -> Option<AnyId> {
        Some(About::of(error)?.id)
    }

    pub(super) fn of(error: &io::Error) -> Option<&About> {
        error.get_ref()?.downcast_ref()
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
    use std::error::Error;

    use super::*;

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
        let about = About::of(&wrapped).expect("it is one");
        let source = about.source().expect("what the kernel said");
        let source: &io::Error = source.downcast_ref().expect("as it said it");
        assert_eq!(source.raw_os_error(), Some(104));
        assert_eq!(About::whom(&io::ErrorKind::Other.into()), None);
    }
}
