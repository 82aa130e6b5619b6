//! Why a connection is not read. Each reason pauses and resumes on its own.

use crate::slot::Slot;
use crate::slot::readiness::Flag;

/// A reason to pause reading, for [`pause_reading_for`](crate::Context::pause_reading_for). Reading resumes when no
/// reason is left. (Flow control and rate limits hold a connection independently of these.)
///
/// ```
/// # use slabloop::{AnyId, Context, Dispatcher, Pause};
/// # use std::io;
/// /// Its client is not read until it is connected.
/// struct Upstream { client: AnyId }
/// impl Dispatcher for Upstream {
///     fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
///         if let Some(mut client) = cx.at(self.client) {
///             client.resume_reading_for(Pause::Connect);
///         }
///         Ok(())
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Pause {
    /// A reason of the program: the one of [`pause_reading`](crate::Context::pause_reading).
    Application,
    /// Another connection is not established yet.
    Connect,
    /// A handshake has not finished yet.
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
