//! What a reactor is made of, and the way into it.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use crate::dispatcher::Dispatcher;
use crate::handle::Job;
use crate::slot::Slot;
use crate::slot::chunks::Buffers;
use crate::slot::life::Life;
use crate::slot::outbox::Marks;
use crate::slot::readiness::Flag;
use crate::state::batch::Batch;
use crate::state::config::Config;
use crate::state::running::Running;
use crate::state::slots::Slots;
use crate::time::clock::{Clock, Tick};
use crate::time::heap::Due;
use crate::time::timers::{TimerId, Timers};
use crate::watch::counters::Counters;
use crate::watch::log_limit::LogLimits;
use crate::world::errors::invalid;
use crate::world::ids::{AnyId, Id};
use crate::world::mailbox::Mailbox;
use crate::world::poller::Poller;
use crate::world::socket::{Io, Kind, Socket};

/// All of a reactor but the loop itself. A [`Context`] is a borrow of this.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) slots: Slots,
    pub(crate) poller: Poller,
    pub(crate) clock: Clock,
    /// The time of this turn, read once after the wait.
    pub(crate) now: Tick,
    /// Slots with work for the next dispatch; each at most once, and its `Queued` flag says so.
    pub(crate) ready: Vec<AnyId>,
    /// What this turn's dispatch is working through.
    pub(crate) dispatching: Batch<AnyId>,
    /// Slots whose outbox may be written; each at most once, and its `Dirty` flag says so.
    pub(crate) dirty: Vec<AnyId>,
    pub(crate) flushing: Batch<AnyId>,
    /// Connections that the flush found broken, to be told once everything is written.
    pub(crate) failing: VecDeque<AnyId>,
    pub(crate) timers: Timers,
    pub(crate) firing: Batch<Due>,
    /// Closures whose timer was cancelled, by number; dropped at the end of the turn.
    pub(crate) cancelled_closures: Vec<u32>,
    /// Slots that are over and have not had their `handle_close`; in the order in which they ended.
    pub(crate) ending: VecDeque<AnyId>,
    /// Slots that have had it and are still to be freed.
    pub(crate) closed: Vec<AnyId>,
    /// Whether a freed slot may have left its id on a list.
    pub(crate) lists_need_purging: bool,
    pub(crate) paused_listeners: Vec<AnyId>,
    /// Streams that exist.
    pub(crate) connections: usize,
    pub(crate) buffers: Buffers,
    /// All outboxes together went over their bound and have not come below half of it since.
    pub(crate) tight: bool,
    pub(crate) config: Config,
    pub(crate) counters: Counters,
    pub(crate) log_limits: LogLimits,
    pub(crate) running: Running,
    /// The periodic timer whose closure is running: a panic cancels it.
    pub(crate) running_timer: Option<TimerId>,
    pub(crate) mailbox: Arc<Mailbox<Job>>,
    pub(crate) stop: bool,
    /// Nothing may be added any more: the reactor is shutting down.
    pub(crate) refusing: bool,
    /// A buffer that is lent for one read at a time, see `context/scratch.rs`; for datagrams, so that a
    /// cut one can be told. Empty until it is first needed.
    pub(crate) scratch: Vec<u8>,
    /// Whether the last datagram was cut.
    pub(crate) truncated: bool,
}

impl Core {
    pub(crate) fn new(
        config: Config,
        clock: Clock,
        poller: Poller,
        mailbox: Arc<Mailbox<Job>>,
    ) -> Core {
        let now = clock.now();
        Core {
            slots: Slots::default(),
            poller,
            clock,
            now,
            ready: Vec::new(),
            dispatching: Batch::default(),
            dirty: Vec::new(),
            flushing: Batch::default(),
            failing: VecDeque::new(),
            timers: Timers::default(),
            firing: Batch::default(),
            cancelled_closures: Vec::new(),
            ending: VecDeque::new(),
            closed: Vec::new(),
            lists_need_purging: false,
            paused_listeners: Vec::new(),
            connections: 0,
            buffers: Buffers::default(),
            tight: false,
            config,
            counters: Counters::default(),
            log_limits: LogLimits::default(),
            running: Running::NOTHING,
            running_timer: None,
            mailbox,
            stop: false,
            refusing: false,
            scratch: Vec::new(),
            truncated: false,
        }
    }

    /// Adds a socket that stands: a connected stream, a listener, a datagram socket, a foreign source.
    pub(crate) fn add<D: Dispatcher>(
        &mut self,
        socket: Socket,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        let life = if socket.is_listener() {
            Life::Listening
        } else {
            Life::Open
        };
        self.admit(socket, dispatcher, life)
    }

    /// The one way in. Whatever fails, the socket is closed, the dispatcher dropped, and nothing is
    /// left behind; `handle_close` is not called, for it was never added.
    pub(crate) fn admit<D: Dispatcher>(
        &mut self,
        mut socket: Socket,
        dispatcher: D,
        life: Life,
    ) -> io::Result<Id<D>> {
        if self.refusing {
            return Err(io::Error::other("the reactor is shutting down"));
        }
        socket.make_nonblocking()?;
        socket.learn_address();
        let id = self.slots.vacant_id()?;
        let connecting = life == Life::Connecting;
        self.poller.register(&mut socket, id, connecting)?;
        let type_name = std::any::type_name::<D>;
        let kind = socket.kind();
        let mut slot = Slot::new(Box::new(dispatcher), type_name, socket, self.config.marks);
        slot.enter(life);
        slot.touched = self.now;
        if slot.socket.can_recv() {
            slot.readiness.set(Flag::WantRead);
        }
        if !slot.socket.can_send() {
            slot.readiness.set(Flag::NoOutbox);
        }
        if connecting {
            slot.readiness.set(Flag::WatchesRoom);
        }
        if life == Life::Open {
            // Taken for granted until a write says otherwise: it spares waiting for the first event.
            slot.readiness.set(Flag::Writable);
        }
        self.slots.insert(id, slot);
        self.connections += usize::from(kind == Kind::Stream);
        self.counters.added += 1;
        log::debug!("{}: added", self.label(id));
        Ok(Id::new(id))
    }

    /// Puts a slot on the ready list if it has work and is not there.
    #[inline]
    pub(crate) fn requeue(&mut self, id: AnyId) {
        let slot = self.slots.slot_mut(id);
        if slot.has_work() && slot.readiness.raise(Flag::Queued) {
            self.ready.push(id);
        }
    }

    /// Has the outbox looked at in the next flush.
    #[inline]
    pub(crate) fn mark_dirty(&mut self, id: AnyId) {
        if self.slots.slot_mut(id).readiness.raise(Flag::Dirty) {
            self.dirty.push(id);
        }
    }

    pub(crate) fn local_addr(&self, id: AnyId) -> io::Result<std::net::SocketAddr> {
        let slot = self.slots.slot(id);
        if let (Kind::Listener, Some(address)) = (slot.socket.kind(), slot.socket.address.inet()) {
            return Ok(address);
        }
        if let Io::Closed = slot.socket.io {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let local = slot
            .socket
            .as_ref()
            .map(|socket| socket.local_addr())
            .transpose()?;
        local
            .and_then(|address| address.as_socket())
            .ok_or_else(|| {
                let text = format!("{}: its socket has no internet address", self.label(id));
                io::Error::new(io::ErrorKind::Unsupported, text)
            })
    }

    pub(crate) fn set_marks(
        &mut self,
        id: AnyId,
        low: usize,
        high: usize,
        cap: usize,
    ) -> io::Result<()> {
        let marks = Marks::new(low, high, cap)?;
        let slot = self.slots.slot_mut(id);
        if slot.outbox.len() > cap {
            return Err(invalid(format!(
                "{} bytes are queued already; cap {cap}",
                slot.outbox.len()
            )));
        }
        slot.outbox.marks = marks;
        self.review_congestion(id);
        self.requeue(id);
        Ok(())
    }
}
