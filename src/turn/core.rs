//! What a [`Context`](crate::Context) borrows: everything in a reactor but its loop.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use crate::dispatcher::Dispatcher;
use crate::state::State;
use crate::time::timer_id::TimerId;
use crate::turn::closures::{Closures, Once};
use crate::turn::replace::Change;

/// What sits in a slot. Everything below `turn/` is generic over it.
pub(crate) type Tenant = Box<dyn Dispatcher>;

/// The state, with what is above it: the queue of posts, and what belongs to a call of users' code.
pub(crate) struct Core {
    pub(crate) state: State<Tenant>,
    /// The queue of posts, of which handles are made. What is posted gets the reactor, which stands above
    /// this layer, so the queue's type has no name here.
    pub(crate) mailbox: Arc<dyn Any + Send + Sync>,
    /// Closures that wait for their timers.
    pub(crate) closures: Closures,
    /// Closures that callbacks have deferred.
    pub(crate) deferred: VecDeque<Once>,
    /// What is to be done when the callback of a dispatcher has returned.
    pub(crate) changes: Vec<Change>,
    /// The timer whose closure is running: a panic cancels it.
    pub(crate) running_timer: Option<TimerId>,
    /// `run` is to return after this turn.
    pub(crate) stop: bool,
    /// A buffer that is lent for one read at a time, see `context/scratch.rs`; for datagrams, so that a
    /// cut one is noticed. Empty until it is first needed.
    pub(crate) scratch: Vec<u8>,
    /// Whether the last datagram was cut.
    pub(crate) truncated: bool,
}

impl Core {
    pub(crate) fn new(state: State<Tenant>, mailbox: Arc<dyn Any + Send + Sync>) -> Core {
        Core {
            state,
            mailbox,
            closures: Closures::default(),
            deferred: VecDeque::new(),
            changes: Vec::new(),
            running_timer: None,
            stop: false,
            scratch: Vec::new(),
            truncated: false,
        }
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("state", &self.state)
            .field("closures", &self.closures)
            .field("deferred", &self.deferred.len())
            .finish_non_exhaustive()
    }
}
