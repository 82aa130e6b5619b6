//! What the coming steps of a turn have to do, list by list.
//!
//! An id is at most once on the ready, the dirty and the paused list, and a flag of its slot says that it
//! is there: `Queued`, `Dirty`, `AcceptPaused`. What a step works through it takes off first, so a panic
//! in the middle loses none of the rest.

use std::collections::VecDeque;
use std::io;

use crate::slot::Slot;
use crate::slot::readiness::Flag;
use crate::state::batch::Batch;
use crate::state::classes::Classes;
use crate::time::clock::Tick;
use crate::time::heap::Due;
use crate::watch::ends::Cause;
use crate::world::ids::AnyId;

/// Something that came up where no callback may run, and that a dispatcher is to be told.
#[derive(Debug)]
pub(crate) enum Errand {
    /// Its connection was found broken.
    Broken(AnyId),
    /// An error that counts as if a callback of its own had returned it.
    Fault(AnyId, io::Error),
    /// A file that it was to send cannot be read.
    FileFailed(AnyId, io::Error),
    /// Its outbox is empty, and it asked to be told.
    Sent(AnyId),
    /// One that it watches has ended, for this cause.
    Gone(AnyId, AnyId, Cause),
}

/// The lists of a reactor.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    /// Slots with work for the next dispatch.
    pub(crate) ready: Vec<AnyId>,
    /// What this turn's dispatch is working through.
    pub(crate) dispatching: Batch<AnyId>,
    /// The same, and what earlier turns had no time for, if it is served in order of class.
    pub(crate) classes: Classes,
    /// Slots whose outbox may be written.
    pub(crate) dirty: Vec<AnyId>,
    /// What this turn's flush is working through.
    pub(crate) flushing: Batch<AnyId>,
    /// What dispatchers are to be told when everything is written. All that is there when the step begins.
    pub(crate) errands: VecDeque<Errand>,
    /// Timers that are due in this turn, and those that the turns before had no time for.
    pub(crate) firing: Batch<Due>,
    /// Closures whose timer was cancelled, by number; dropped at the end of the turn.
    pub(crate) cancelled_closures: Vec<u32>,
    /// Slots that have ended and have not had their `handle_close`; in the order in which they ended.
    pub(crate) ending: VecDeque<AnyId>,
    /// Slots that have had it and are still to be freed.
    pub(crate) closed: Vec<AnyId>,
    /// Slots whose `handle_shutdown` is to be called.
    pub(crate) leaving: VecDeque<AnyId>,
    /// Listeners that must not accept for now.
    pub(crate) paused: Vec<AnyId>,
    /// Whether a freed slot may have left its id on a list.
    pub(crate) has_freed: bool,
    /// A panic that was let through has ended the last turn: a step may have left something undone.
    pub(crate) was_cut_short: bool,
}

impl Agenda {
    /// Whether nothing is left that needs no event. What a step works through (`dispatching`, `flushing`,
    /// `closed`) is done between turns, unless a panic that was let through has cut the last one short.
    pub(crate) fn is_empty(&self) -> bool {
        self.ready.is_empty()
            && self.classes.len() == 0
            && self.dirty.is_empty()
            && self.errands.is_empty()
            && self.firing.is_empty()
            && self.cancelled_closures.is_empty()
            && self.ending.is_empty()
            && !self.was_cut_short
    }

    /// Has the next flush look at a slot that is not on the dirty list and has begun to have output. (Its id is
    /// given, for the caller has it in a register.)
    #[inline(always)]
    pub(crate) fn add_dirty<D>(&mut self, id: AnyId, slot: &mut Slot<D>, now: Tick) {
        slot.output_moved = now;
        slot.readiness.set(Flag::Dirty);
        self.dirty.push(id);
    }

    /// Whether the close step has anything to do.
    #[inline]
    pub(crate) fn has_ends(&self) -> bool {
        !(self.ending.is_empty() && self.closed.is_empty() && self.cancelled_closures.is_empty())
            || self.has_freed
    }

    /// Takes the ids of freed slots off the lists, all at once: one by one it would be quadratic. Left
    /// there they would do no harm, but the loop would take them for work and not sleep.
    pub(crate) fn purge(&mut self, is_alive: impl Fn(AnyId) -> bool) {
        if !std::mem::take(&mut self.has_freed) {
            return;
        }
        for list in [&mut self.ready, &mut self.dirty, &mut self.paused] {
            list.retain(|&id| is_alive(id));
        }
        self.classes.retain(is_alive);
    }
}
