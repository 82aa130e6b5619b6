//! The callbacks, and the other places where a program's code runs.

use std::fmt;

/// A callback of a dispatcher, or another place where the program's code runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Callback {
    /// [`handle_accept`](crate::Dispatcher::handle_accept).
    Accept,
    /// [`handle_handshake`](crate::Dispatcher::handle_handshake).
    Handshake,
    /// [`handle_connect`](crate::Dispatcher::handle_connect).
    Connect,
    /// [`handle_read`](crate::Dispatcher::handle_read).
    Read,
    /// [`handle_eof`](crate::Dispatcher::handle_eof).
    Eof,
    /// [`handle_write`](crate::Dispatcher::handle_write).
    Write,
    /// [`handle_priority`](crate::Dispatcher::handle_priority).
    Priority,
    /// [`handle_timer`](crate::Dispatcher::handle_timer).
    Timer,
    /// [`handle_sent`](crate::Dispatcher::handle_sent).
    Sent,
    /// [`handle_gone`](crate::Dispatcher::handle_gone).
    Gone,
    /// [`handle_error`](crate::Dispatcher::handle_error).
    Error,
    /// [`handle_shutdown`](crate::Dispatcher::handle_shutdown).
    Shutdown,
    /// [`handle_close`](crate::Dispatcher::handle_close).
    Close,
    /// A closure of [`call_later`](crate::Reactor::call_later) or [`call_every`](crate::Reactor::call_every).
    Closure,
    /// A closure of [`defer`](crate::Context::defer).
    Deferred,
    /// A closure of [`post`](crate::Handle::post).
    Post,
    /// A closure of [`call`](crate::Context::call), which runs inside the calling callback and is a part of
    /// it. It appears in log lines, but is not reported to observers.
    Call,
    /// The destructor of a dispatcher, or of a closure that did not run. It appears in log lines, but is not reported
    /// to observers.
    Drop,
}

impl Callback {
    /// All callbacks that are reported to observers.
    pub const ALL: [Callback; 16] = [
        Callback::Accept,
        Callback::Handshake,
        Callback::Connect,
        Callback::Read,
        Callback::Eof,
        Callback::Write,
        Callback::Priority,
        Callback::Timer,
        Callback::Sent,
        Callback::Gone,
        Callback::Error,
        Callback::Shutdown,
        Callback::Close,
        Callback::Closure,
        Callback::Deferred,
        Callback::Post,
    ];

    /// Its name in one word, as in metrics and traces: `handle_read`, `post`. (`Display` gives a phrase: `a posted
    /// closure`.)
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
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
            Callback::Error => "handle_error",
            Callback::Shutdown => "handle_shutdown",
            Callback::Close => "handle_close",
            Callback::Closure => "timer_closure",
            Callback::Deferred => "deferred",
            Callback::Post => "post",
            Callback::Call => "call",
            Callback::Drop => "drop",
        }
    }

    /// Its name in a sentence, as `Display` has it: `handle_read`, `a posted closure`.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Callback::Call => "a closure of `call`",
            Callback::Closure => "a timer's closure",
            Callback::Deferred => "a deferred closure",
            Callback::Post => "a posted closure",
            other => other.name(),
        }
    }
}

impl fmt::Display for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}
