//! What can go wrong, how often it does in one run, and how often it has.

use std::fmt;

/// The kinds of faults that the simulated kernel injects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Fault {
    /// A read gives a part of what is there; the rest arrives a moment later.
    ShortRead,
    /// A read says `WouldBlock`, and the event comes after it.
    ReadWouldBlock,
    ReadInterrupted,
    /// A read fails with any errno at all, and the connection is dead.
    ReadErrno,
    /// A write takes a part of what there is room for.
    PartialWrite,
    WriteWouldBlock,
    WriteInterrupted,
    WriteErrno,
    AcceptErrno,
    RegisterErrno,
    DeregisterErrno,
    WatchRoomErrno,
    ShutdownErrno,
    TakeErrorErrno,
    /// `connect` or `socket` fails at once.
    DialErrno,
    /// The attempt is refused.
    Refused,
    /// Nobody answers the attempt.
    NoAnswer,
    /// The peer's name cannot be asked for yet, although an event has come.
    NotConnectedYet,
    /// No descriptor is left.
    NoDescriptor,
    WaitInterrupted,
    WaitFailed,
    /// An event is reported in a later wait than the one after it happened.
    LateEvent,
    /// An event says what is not so.
    SpuriousEvent,
    /// Hang-up or error, and neither input nor room beside it.
    BareEvent,
    /// An event for a registration that is gone.
    StaleEvent,
    /// More has happened than one wait reports.
    FullBatch,
    /// A reset overtakes bytes that were on their way.
    BytesLostInReset,
    /// Another thread posts while the loop is going to sleep.
    PostInWait,
    /// Time passes in a callback.
    SlowCallback,
    /// Another loop leaves the reactor alone for a while, between two turns.
    LateTurn,
    ClockJump,
    Panic,
}

pub(crate) const FAULTS: [Fault; 32] = [
    Fault::ShortRead,
    Fault::ReadWouldBlock,
    Fault::ReadInterrupted,
    Fault::ReadErrno,
    Fault::PartialWrite,
    Fault::WriteWouldBlock,
    Fault::WriteInterrupted,
    Fault::WriteErrno,
    Fault::AcceptErrno,
    Fault::RegisterErrno,
    Fault::DeregisterErrno,
    Fault::WatchRoomErrno,
    Fault::ShutdownErrno,
    Fault::TakeErrorErrno,
    Fault::DialErrno,
    Fault::Refused,
    Fault::NoAnswer,
    Fault::NotConnectedYet,
    Fault::NoDescriptor,
    Fault::WaitInterrupted,
    Fault::WaitFailed,
    Fault::LateEvent,
    Fault::SpuriousEvent,
    Fault::BareEvent,
    Fault::StaleEvent,
    Fault::FullBatch,
    Fault::BytesLostInReset,
    Fault::PostInWait,
    Fault::SlowCallback,
    Fault::LateTurn,
    Fault::ClockJump,
    Fault::Panic,
];

/// How often each kind comes, in 1/1024 of its occasions.
#[derive(Clone, Debug)]
pub(crate) struct Mix {
    per_1024: [u16; FAULTS.len()],
}

impl Mix {
    /// No faults: a kernel on its best day.
    pub(crate) fn calm() -> Mix {
        Mix {
            per_1024: [0; FAULTS.len()],
        }
    }

    /// The seed says which kinds come in a run, and how often. A run with few kinds goes far in each; one with
    /// all of them seldom gets beyond the first kilobyte.
    pub(crate) fn drawn(rng: &mut fastrand::Rng) -> Mix {
        let mut mix = Mix::calm();
        let kinds = [0, 4, 12, 24][rng.usize(..4)];
        for fault in FAULTS {
            if rng.usize(..24) < kinds {
                mix.per_1024[fault as usize] = fault.usual() * [1, 2, 8][rng.usize(..3)] / 2;
            }
        }
        mix
    }

    pub(crate) fn without(&self, fault: Fault) -> Mix {
        let mut mix = self.clone();
        mix.per_1024[fault as usize] = 0;
        mix
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.per_1024[fault as usize] > 0
    }

    pub(super) fn comes(&self, fault: Fault, rng: &mut fastrand::Rng) -> bool {
        let per_1024 = self.per_1024[fault as usize];
        per_1024 > 0 && rng.u16(..1024) < per_1024
    }
}

impl Fault {
    /// Twice what is usual.
    fn usual(self) -> u16 {
        match self {
            // These end a connection, or the whole run: once in a while is enough.
            Fault::ReadErrno
            | Fault::WriteErrno
            | Fault::WaitFailed
            | Fault::WatchRoomErrno
            | Fault::Panic => 10,
            Fault::RegisterErrno | Fault::NoDescriptor | Fault::ClockJump => 40,
            Fault::Refused | Fault::NoAnswer | Fault::BytesLostInReset | Fault::BareEvent => 250,
            _ => 100,
        }
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut any = false;
        for fault in FAULTS.into_iter().filter(|fault| self.has(*fault)) {
            let gap = if any { ", " } else { "" };
            write!(f, "{gap}{fault:?} {}/1024", self.per_1024[fault as usize])?;
            any = true;
        }
        f.write_str(if any { "" } else { "none" })
    }
}

/// How often each kind has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Injected(pub(crate) [u64; FAULTS.len()]);

impl Injected {
    pub(crate) const NONE: Injected = Injected([0; FAULTS.len()]);

    pub(crate) fn add(&mut self, other: &Injected) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum += more;
        }
    }
}

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in FAULTS {
            writeln!(f, "{:>14} {fault:?}", self.0[fault as usize])?;
        }
        Ok(())
    }
}
