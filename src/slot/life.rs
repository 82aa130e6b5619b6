//! The states of a slot: three small state machines, and how it ended.
//!
//! A connection as a whole has a [`Life`]. Within an open one its two directions end independently: [`Input`] and
//! [`Output`]. All three only ever move forward (but for input that is put back), and each state says which questions
//! are settled for good.
//!
//! ```text
//!  Life     Listening ───────────────────────────────────────────────────────────┐
//!           Connecting ──► Open ──► Broken ──────────────────────────────────────┤
//!               │            │                                                   ▼
//!               │            ├──► Flushing ──────────► Draining ────────────► Ended
//!               │ close()    │        ▲                                          ▲
//!               ├──► ConnectingToClose┘                                          │
//!               │            │                                                   │
//!               │            ├──► Producing ──► Flushing                         │
//!               │            └──► FlushingToReset ───────────────────────────────┤
//!               │ abort_when_sent()   ▲                                          │
//!               └──► ConnectingToReset┘        (abort, failure: from any state) ─┘
//!
//!  Input    Open ──► Ended ──► Told          a read gave zero; handle_eof was called
//!             └──► PutBack ──► (as before)   bytes were put back; now read again
//!
//!  Output   Open ──► Shutting ──► Shut       shutdown_write was called; now shut
//!             └─────────┴──► Broken          a write has failed
//! ```

use std::io;

use crate::watch::ends::Cause;

/// The state of a slot between being added and being freed.
///
/// Zero is the usual case, so that one comparison of the readiness word recognises it. What is below zero
/// comes before, what is above is on its way to the end: no callback but `handle_error` and `handle_close`
/// follows, and in one state `handle_write`.
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
    /// It closes when its producer is done: nothing is read, `handle_write` goes on.
    Producing = 4,
    /// `close()` was called: queued output is still leaving, nothing is read.
    Flushing = 5,
    /// `abort_when_sent()` was called: queued output is still leaving, then the peer sees a reset.
    FlushingToReset = 6,
    /// All output is with the kernel and the write side is shut: what arrives is thrown away.
    Draining = 7,
    /// Over. Only `handle_close` is left to come.
    Ended = 8,
}

impl Life {
    /// The number of bits that hold any state, as a signed number.
    pub(crate) const BITS: u32 = 5;

    #[inline]
    pub(crate) fn from_code(code: i32) -> Life {
        match code {
            -1 => Life::Listening,
            0 => Life::Open,
            1 => Life::ConnectingToClose,
            2 => Life::ConnectingToReset,
            3 => Life::Broken,
            4 => Life::Producing,
            5 => Life::Flushing,
            6 => Life::FlushingToReset,
            7 => Life::Draining,
            8 => Life::Ended,
            _ => Life::Connecting,
        }
    }

    /// Whether callbacks come and what they ask for is done.
    #[inline]
    pub(crate) fn is_live(self) -> bool {
        self <= Life::Open
    }

    /// Whether the connection is not established yet.
    pub(crate) fn is_connecting(self) -> bool {
        matches!(
            self,
            Life::Connecting | Life::ConnectingToClose | Life::ConnectingToReset
        )
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
    /// Bytes that were put back wait to be read again. This one state leads back, to where the input was.
    PutBack = 3,
}

impl Input {
    /// The number of bits that hold any state.
    pub(crate) const BITS: u32 = 2;

    #[inline]
    pub(crate) fn from_code(code: u32) -> Input {
        match code {
            0 => Input::Open,
            1 => Input::Ended,
            2 => Input::Told,
            _ => Input::PutBack,
        }
    }

    /// Whether nothing more can be read.
    pub(crate) fn is_over(self) -> bool {
        matches!(self, Input::Ended | Input::Told)
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

/// What will become, or has become, of a slot. The first cause counts: what follows is its consequence.
#[derive(Debug, Default)]
pub(crate) enum Fate {
    #[default]
    Open,
    /// What broke the connection, with the error that waits to be reported.
    Failing(Cause, io::Error),
    /// A fault that has been reported; if the slot ends now, it ends because of that.
    Reported(Cause),
    /// Why it ended.
    Ended(Cause),
}

impl Fate {
    /// Keeps the error that broke the connection. The kernel reports it once.
    pub(crate) fn fail(&mut self, cause: Cause, error: io::Error) {
        if let Fate::Open = self {
            *self = Fate::Failing(cause, error);
        }
    }

    /// As [`Fate::fail`], for an error that is reported at once.
    pub(crate) fn note(&mut self, cause: Cause) {
        if let Fate::Open = self {
            *self = Fate::Reported(cause);
        }
    }

    /// A reported fault was not the end: the dispatcher kept its connection.
    pub(crate) fn forgive(&mut self) {
        if let Fate::Reported(_) = self {
            *self = Fate::Open;
        }
    }

    pub(crate) fn error(&self) -> Option<&io::Error> {
        match self {
            Fate::Failing(_, error) => Some(error),
            Fate::Open | Fate::Reported(_) | Fate::Ended(_) => None,
        }
    }

    /// The error that waits to be reported, which it then has been.
    pub(crate) fn take_error(&mut self) -> Option<io::Error> {
        match std::mem::take(self) {
            Fate::Failing(cause, error) => {
                *self = Fate::Reported(cause);
                Some(error)
            }
            other => {
                *self = other;
                None
            }
        }
    }

    /// Enters the end, with `cause` unless there is an earlier one. Returns which it is.
    pub(crate) fn end_by(&mut self, cause: Cause) -> Cause {
        let cause = match *self {
            Fate::Open => cause,
            Fate::Failing(first, _) | Fate::Reported(first) | Fate::Ended(first) => first,
        };
        *self = Fate::Ended(cause);
        cause
    }

    /// What is known of why it will have ended.
    pub(crate) fn so_far(&self) -> Option<Cause> {
        match self {
            Fate::Open => None,
            Fate::Failing(cause, _) | Fate::Reported(cause) | Fate::Ended(cause) => Some(*cause),
        }
    }

    pub(crate) fn cause(&self) -> Option<Cause> {
        match self {
            Fate::Ended(cause) => Some(*cause),
            Fate::Open | Fate::Failing(..) | Fate::Reported(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_survives_its_code() {
        for code in -2..=8 {
            assert_eq!(Life::from_code(code) as i32, code);
        }
        for code in 0..=3 {
            assert_eq!(Input::from_code(code) as u32, code);
        }
        for code in 0..=3 {
            assert_eq!(Output::from_code(code) as u32, code);
        }
    }

    #[test]
    fn the_first_error_counts_and_is_taken_once() {
        let mut fate = Fate::default();
        fate.fail(Cause::Reset, io::ErrorKind::ConnectionReset.into());
        fate.fail(Cause::Idle, io::ErrorKind::TimedOut.into());
        let kind = |error: Option<io::Error>| error.map(|error| error.kind());
        assert_eq!(
            kind(fate.take_error()),
            Some(io::ErrorKind::ConnectionReset)
        );
        assert_eq!(kind(fate.take_error()), None);
        assert_eq!(fate.end_by(Cause::Finished), Cause::Reset);
        assert_eq!(fate.cause(), Some(Cause::Reset));
    }

    #[test]
    fn a_fault_that_was_forgiven_is_no_cause() {
        let mut fate = Fate::default();
        fate.note(Cause::Error(io::ErrorKind::Other));
        fate.forgive();
        assert_eq!(fate.end_by(Cause::Finished), Cause::Finished);
    }

    #[test]
    fn nothing_breaks_a_slot_that_has_ended() {
        let mut fate = Fate::Ended(Cause::Finished);
        fate.fail(Cause::Reset, io::ErrorKind::ConnectionReset.into());
        fate.note(Cause::Panic);
        assert!(fate.take_error().is_none() && fate.error().is_none());
        assert_eq!(fate.end_by(Cause::Aborted), Cause::Finished);
    }
}
