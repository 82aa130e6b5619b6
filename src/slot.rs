//! One dispatcher's place: its socket, its outbox and its state.

pub(crate) mod chunks;
pub(crate) mod life;
pub(crate) mod links;
pub(crate) mod outbox;
pub(crate) mod readiness;

use std::io;

use crate::dispatcher::Dispatcher;
use crate::slot::life::{End, Life};
use crate::slot::links::RareList;
use crate::slot::outbox::{Marks, Outbox};
use crate::slot::readiness::Readiness;
use crate::time::clock::Tick;
use crate::time::timers::TimerList;
use crate::world::ids::AnyId;
use crate::world::socket::Socket;

/// One dispatcher and all that belongs to it.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) readiness: Readiness,
    pub(crate) generation: u32,
    /// `None` while one of its callbacks, or a `with` closure, runs.
    pub(crate) dispatcher: Option<Box<dyn Dispatcher>>,
    pub(crate) socket: Socket,
    pub(crate) outbox: Outbox,
    /// When bytes last moved in either direction; what idle time-outs look at.
    pub(crate) touched: Tick,
    /// When the kernel last took output, or output began to wait; what stall deadlines look at.
    pub(crate) output_moved: Tick,
    /// The connection that this one's input is written to: while it is over its high mark, this one
    /// is not read. Itself, unless `feeds` said otherwise.
    pub(crate) feeds: AnyId,
    /// Who else feeds this one.
    pub(crate) feeders: RareList,
    /// Whose broadcasts have to wait for this one to drain.
    pub(crate) broadcasters: RareList,
    /// How many congested connections hold this one; the `Held` flag says whether any.
    pub(crate) holds: u32,
    /// The error that broke the connection. The first one is kept: the kernel tells it once.
    pub(crate) broken_by: Option<io::Error>,
    /// How it ended, once it has.
    pub(crate) end: Option<End>,
    /// The timers that die with this slot.
    pub(crate) timers: TimerList,
    /// The dispatcher's type, for log lines. A function is half as long as the name's reference.
    pub(crate) type_name: fn() -> &'static str,
}

impl Slot {
    pub(crate) fn new(
        dispatcher: Box<dyn Dispatcher>,
        type_name: fn() -> &'static str,
        socket: Socket,
        marks: Marks,
    ) -> Slot {
        Slot {
            readiness: Readiness::default(),
            generation: 0,
            dispatcher: Some(dispatcher),
            socket,
            outbox: Outbox::new(marks),
            touched: Tick::default(),
            output_moved: Tick::default(),
            feeds: AnyId::NOBODY,
            feeders: RareList::default(),
            broadcasters: RareList::default(),
            holds: 0,
            broken_by: None,
            end: None,
            timers: TimerList::default(),
            type_name,
        }
    }
}

impl Slot {
    /// Where it stands. Kept with the other bits, so that one comparison tells the usual case.
    #[inline]
    pub(crate) fn life(&self) -> Life {
        self.readiness.life()
    }

    /// The dispatcher, for a callback, after which it is put back.
    #[inline]
    pub(crate) fn take_dispatcher(&mut self) -> Box<dyn Dispatcher> {
        self.dispatcher
            .take()
            .expect("no callback runs inside another, so the dispatcher is in its slot")
    }

    #[inline]
    pub(crate) fn enter(&mut self, life: Life) {
        self.readiness.enter(life);
    }
}
