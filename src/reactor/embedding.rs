//! What another loop needs to run this one, and what `Debug` shows.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use crate::reactor::Reactor;

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = &self.core.state;
        let ready = state.agenda.ready.len() + state.agenda.classes.len();
        f.debug_struct("Reactor")
            .field("dispatchers", &state.slots.len())
            .field("connections", &state.connections)
            .field("ready", &ready)
            .field("timers", &state.timers.len())
            .field("queued_bytes", &state.chunks.queued())
            .finish_non_exhaustive()
    }
}

/// The poller's descriptor: readable when a turn would find events. For embedding in another loop,
/// together with [`Reactor::turn`].
impl AsFd for Reactor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.core.state.poller.registry().as_fd()
    }
}

impl AsRawFd for Reactor {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}
