//! What a [`Context`](crate::Context) borrows: everything in a reactor but its loop.

use std::sync::Arc;

use crate::dispatcher::Dispatcher;
use crate::reactor::Reactor;
use crate::state::State;
use crate::time::timers::TimerId;
use crate::world::mailbox::Mailbox;

/// What sits in a slot. Everything below `turn/` is generic over it.
pub(crate) type Tenant = Box<dyn Dispatcher>;

/// A closure on its way to the reactor's thread.
pub(crate) type Job = Box<dyn FnOnce(&mut Reactor) + Send>;

/// The state, with what is above it: the queue of posts, and what belongs to a call of users' code.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) state: State<Tenant>,
    pub(crate) mailbox: Arc<Mailbox<Job>>,
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
    pub(crate) fn new(state: State<Tenant>, mailbox: Arc<Mailbox<Job>>) -> Core {
        Core {
            state,
            mailbox,
            running_timer: None,
            stop: false,
            scratch: Vec::new(),
            truncated: false,
        }
    }
}
