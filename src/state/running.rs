//! Whose code is running.

use std::fmt;

use crate::world::ids::AnyId;

/// The callbacks, as log lines name them, and the other places where users' code runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Callback {
    #[default]
    None,
    Accept,
    Handshake,
    Connect,
    Read,
    Eof,
    Write,
    Priority,
    Timer,
    Sent,
    Gone,
    Call,
    Error,
    Shutdown,
    Close,
    Drop,
    Closure,
    Deferred,
    Post,
}

impl fmt::Display for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Callback::None => "no callback",
            Callback::Accept => "handle_accept",
            Callback::Handshake => "handle_handshake",
            Callback::Connect => "handle_connect",
            Callback::Read => "handle_read",
            Callback::Eof => "handle_eof",
            Callback::Write => "handle_write",
            Callback::Priority => "handle_priority",
            Callback::Timer => "handle_timer",
            Callback::Sent => "handle_sent",
            Callback::Gone => "handle_gone",
            Callback::Call => "a closure of `call`",
            Callback::Error => "handle_error",
            Callback::Shutdown => "handle_shutdown",
            Callback::Close => "handle_close",
            Callback::Drop => "drop",
            Callback::Closure => "a timer's closure",
            Callback::Deferred => "a deferred closure",
            Callback::Post => "a posted closure",
        })
    }
}

/// Whose code is running: whom a panic, or an error that is passed on, belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running {
    pub(crate) id: AnyId,
    pub(crate) callback: Callback,
}

impl Running {
    pub(crate) const NOTHING: Running = Running {
        id: AnyId::NONE,
        callback: Callback::None,
    };

    /// A closure that another dispatcher runs on this one.
    pub(crate) fn call(id: AnyId) -> Running {
        Running {
            id,
            callback: Callback::Call,
        }
    }

    /// A destructor, of a dispatcher or of its socket.
    pub(crate) fn dropping(id: AnyId) -> Running {
        Running {
            id,
            callback: Callback::Drop,
        }
    }

    /// A closure of the reactor's, which belongs to no dispatcher.
    pub(crate) fn closure(callback: Callback) -> Running {
        Running {
            callback,
            ..Running::NOTHING
        }
    }
}
