//! Why a connection is not read. Each reason pauses and resumes on its own.

use crate::slot::Slot;
use crate::slot::readiness::Flag;

/// A reason not to read, for [`pause_reading_for`](crate::Context::pause_reading_for).
///
/// (The flow control and rate limits hold a connection on their own account; they are not among these.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Pause {
    /// The program's own: what [`pause_reading`](crate::Context::pause_reading) means.
    Application,
    /// Another connection has to be established first.
    Connect,
    /// A handshake has to be finished first.
    Handshake,
}

/// The reasons that hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pauses(u8);

impl Pauses {
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn has(self, reason: Pause) -> bool {
        self.0 & bit(reason) != 0
    }
}

fn bit(reason: Pause) -> u8 {
    match reason {
        Pause::Application => 1,
        Pause::Connect => 2,
        Pause::Handshake => 4,
    }
}

impl<D> Slot<D> {
    pub(crate) fn pause_reading(&mut self, reason: Pause) {
        self.pauses.0 |= bit(reason);
        self.readiness.clear(Flag::WantRead);
    }

    /// One reason less; without any it is read again.
    pub(crate) fn resume_reading(&mut self, reason: Pause) {
        self.pauses.0 &= !bit(reason);
        if self.pauses.is_empty() && self.readiness.is_live() && self.io.can_recv() {
            self.readiness.set(Flag::WantRead);
        }
    }
}
