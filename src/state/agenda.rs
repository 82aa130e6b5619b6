//! What the coming steps of a turn have to do, list by list.
//!
//! An id is at most once on the ready, the dirty and the paused list, and a flag of its slot says that it
//! is there: `Queued`, `Dirty`, `AcceptPaused`. What a step works through it takes off first, so a panic
//! in the middle loses none of the rest.

use std::collections::VecDeque;

use crate::state::batch::Batch;
use crate::state::classes::Classes;
use crate::time::heap::Due;
use crate::world::ids::AnyId;

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
    /// Connections that the flush found broken; reported when everything is written.
    pub(crate) failing: VecDeque<AnyId>,
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
}

impl Agenda {
    /// Whether nothing is left that needs no event. Between turns only the ready and the dirty list can
    /// hold something, and with a limit to the turn's time the classes and the due timers; after a panic that
    /// was let through, any list.
    pub(crate) fn is_empty(&self) -> bool {
        self.ready.is_empty()
            && self.dispatching.is_empty()
            && self.classes.len() == 0
            && self.dirty.is_empty()
            && self.flushing.is_empty()
            && self.failing.is_empty()
            && self.firing.is_empty()
            && self.cancelled_closures.is_empty()
            && self.ending.is_empty()
            && self.closed.is_empty()
            && self.leaving.is_empty()
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
