//! The states of a slot: three small state machines, and how it ended.
//!
//! A connection as a whole has a [`Life`]. Within an open one its two directions end independently:
//! [`Input`] and [`Output`]. All three only ever move forward, and each state says which questions are
//! settled for good.
//!
//! ```text
//!  Life     Listening ─────────────────────────────────────────────────────────────┐
//!           Connecting ──► Open ──► Broken ─────────────────────────────────────────┤
//!               │            │                                                      ▼
//!               │            ├──► Flushing ──────────► Draining ───────────────► Ended
//!               │ close()    │        ▲                                             ▲
//!               ├──► ConnectingToClose┘                                             │
//!               │            │                                                      │
//!               │            └──► FlushingToReset ──────────────────────────────────┤
//!               │ abort_when_sent()   ▲                                             │
//!               └──► ConnectingToReset┘        (abort, failure: from any state) ────┘
//!
//!  Input    Open ──► Ended ──► Told          a read gave zero; handle_eof was called
//!
//!  Output   Open ──► Shutting ──► Shut       shutdown_write was called; the kernel was told
//!             └─────────┴──► Broken          a write has failed
//! ```

use std::io;

/// The state of a slot between being added and being freed.
///
/// Zero is the usual case, so that one comparison of the readiness word recognises it. What is below zero
/// comes before, what is above is on its way to the end: no callback but `handle_error` and `handle_close`
/// follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Life {
    /// An outgoing connection that is not established yet.
    Connecting = -2,
    /// Accepting.
    Listening = -1,
    /// Able to send and receive.
    Open = 0,
    /// `close()` was called while connecting: queued output leaves once the connection is established.
    ConnectingToClose = 1,
    /// The same, by `abort_when_sent()`.
    ConnectingToReset = 2,
    /// The socket has failed, or its outbox went over the cap. It ends after the running callback.
    Broken = 3,
    /// `close()` was called: queued output is still leaving, nothing is read.
    Flushing = 4,
    /// `abort_when_sent()` was called: queued output is still leaving, then the peer sees a reset.
    FlushingToReset = 5,
    /// All output is with the kernel and the write side is shut: what arrives is thrown away.
    Draining = 6,
    /// Over. Only `handle_close` is left to come.
    Ended = 7,
}

impl Life {
    /// The number of bits that hold any state, as a signed number.
    pub(crate) const BITS: u32 = 4;

    #[inline]
    pub(crate) fn from_code(code: i32) -> Life {
        match code {
            -1 => Life::Listening,
            0 => Life::Open,
            1 => Life::ConnectingToClose,
            2 => Life::ConnectingToReset,
            3 => Life::Broken,
            4 => Life::Flushing,
            5 => Life::FlushingToReset,
            6 => Life::Draining,
            7 => Life::Ended,
            _ => Life::Connecting,
        }
    }

    /// Whether callbacks come and what they ask for is done.
    #[inline]
    pub(crate) fn is_live(self) -> bool {
        self <= Life::Open
    }

    /// Whether queued output is leaving before the end.
    pub(crate) fn is_flushing(self) -> bool {
        matches!(self, Life::Flushing | Life::FlushingToReset)
    }
}

/// How far the input of a stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// More may come.
    Open = 0,
    /// A read gave zero: the stream has ended.
    Ended = 1,
    /// `handle_eof` has been called.
    Told = 2,
}

impl Input {
    /// The number of bits that hold any state.
    pub(crate) const BITS: u32 = 2;

    #[inline]
    pub(crate) fn from_code(code: u32) -> Input {
        match code {
            0 => Input::Open,
            1 => Input::Ended,
            _ => Input::Told,
        }
    }
}

/// How far the output of a stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// More may be sent.
    Open = 0,
    /// `shutdown_write` was called: the write side is shut once the outbox is empty.
    Shutting = 1,
    /// The write side has been shut.
    Shut = 2,
    /// Writes have failed for good; what input is left is delivered, then the connection ends.
    Broken = 3,
}

impl Output {
    /// The number of bits that hold any state.
    pub(crate) const BITS: u32 = 2;

    #[inline]
    pub(crate) fn from_code(code: u32) -> Output {
        match code {
            0 => Output::Open,
            1 => Output::Shutting,
            2 => Output::Shut,
            _ => Output::Broken,
        }
    }
}

/// How a dispatcher came to its end; see [`Context::how_it_ended`](crate::Context::how_it_ended).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// Gracefully: both sides had finished, or this one closed and the peer has had everything.
    Closed,
    /// The peer has gone: reset, or broken in the middle of a write.
    Lost,
    /// A fault: it could not connect, a deadline passed, the outbox was full, a callback panicked.
    Failed,
    /// Aborted from here: by `abort`, `close_all`, `shutdown`'s deadline, or with the reactor.
    Aborted,
}

/// What will become, or has become, of a slot.
#[derive(Debug, Default)]
pub(crate) enum Fate {
    #[default]
    Open,
    /// The error that broke the connection and waits to be reported.
    Failing(io::Error),
    /// How it ended.
    Ended(End),
}

impl Fate {
    /// Keeps the error that broke the connection. The first one counts: the kernel reports it once, and
    /// what follows is its consequence.
    pub(crate) fn fail(&mut self, error: io::Error) {
        if let Fate::Open = self {
            *self = Fate::Failing(error);
        }
    }

    pub(crate) fn error(&self) -> Option<&io::Error> {
        match self {
            Fate::Failing(error) => Some(error),
            Fate::Open | Fate::Ended(_) => None,
        }
    }

    pub(crate) fn take_error(&mut self) -> Option<io::Error> {
        match std::mem::take(self) {
            Fate::Failing(error) => Some(error),
            other => {
                *self = other;
                None
            }
        }
    }

    pub(crate) fn end(&self) -> Option<End> {
        match self {
            Fate::Ended(end) => Some(*end),
            Fate::Open | Fate::Failing(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_survives_its_code() {
        for code in -2..=7 {
            assert_eq!(Life::from_code(code) as i32, code);
        }
        for code in 0..=2 {
            assert_eq!(Input::from_code(code) as u32, code);
        }
        for code in 0..=3 {
            assert_eq!(Output::from_code(code) as u32, code);
        }
    }

    #[test]
    fn the_first_error_counts_and_is_taken_once() {
        let mut fate = Fate::default();
        fate.fail(io::ErrorKind::ConnectionReset.into());
        fate.fail(io::ErrorKind::TimedOut.into());
        let kind = |error: Option<io::Error>| error.map(|error| error.kind());
        assert_eq!(
            kind(fate.take_error()),
            Some(io::ErrorKind::ConnectionReset)
        );
        assert_eq!(kind(fate.take_error()), None);
    }

    #[test]
    fn nothing_breaks_a_slot_that_has_ended() {
        let mut fate = Fate::Ended(End::Closed);
        fate.fail(io::ErrorKind::ConnectionReset.into());
        assert_eq!(fate.end(), Some(End::Closed));
        assert!(fate.take_error().is_none() && fate.error().is_none());
        assert_eq!(fate.end(), Some(End::Closed));
    }
}
