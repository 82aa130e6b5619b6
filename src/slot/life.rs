//! Where a dispatcher stands between being added and being freed, and how it ended.

/// Where a slot stands between being added and being freed. It only ever moves forward.
///
/// Zero is the usual case: the bits of a [`Readiness`] in which nothing unusual is set are then those of
/// an open slot as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Life {
    /// An outgoing connection whose fate is not known yet.
    Connecting = -2,
    /// Accepting.
    Listening = -1,
    /// Able to send and receive.
    Open = 0,
    /// `close()` was called: queued output is still leaving, nothing is read.
    Flushing = 1,
    /// All output is with the kernel and the write side is shut: what arrives is thrown away.
    Draining = 2,
    /// Over. Only `handle_close` is left to come.
    Ended = 3,
}

/// How a dispatcher came to its end; see [`Context::how_it_ended`](crate::Context::how_it_ended).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// In good order: both sides had finished, or this one closed and the peer has had everything.
    Closed,
    /// The peer has gone: reset, or broken in mid-write.
    Lost,
    /// A fault: it could not connect, a deadline passed, the outbox was full, a callback panicked.
    Failed,
    /// Cut off from here: by `abort`, `close_all`, `shutdown`'s deadline, or with the reactor.
    Aborted,
}
