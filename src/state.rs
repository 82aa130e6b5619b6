//! All slots together: which is due for what, which waits for which, what ends.
//!
//! This layer and those below it are generic over `D`, what sits in a slot. That is the wall between the
//! loop's state and users' code: a function of `State<D>` cannot call a dispatcher, because it does not
//! know what one is. Users' code is called from `turn/` and from nowhere else. (Two exceptions, both in
//! the nature of the thing: a foreign event source registers and deregisters itself, and a dispatcher
//! that is dropped runs its destructor.)
//!
//! Each topic is a file of free functions, called by the file's name: `closing::end(state, id, how)`.

mod admission;
pub(crate) mod agenda;
pub(crate) mod at_once;
pub(crate) mod batch;
pub(crate) mod broadcast;
pub(crate) mod budget;
pub(crate) mod classes;
pub(crate) mod closing;
pub(crate) mod config;
pub(crate) mod deadlines;
#[cfg(feature = "observer")]
pub(crate) mod description;
pub(crate) mod diagnostics;
pub(crate) mod files;
pub(crate) mod flow;
pub(crate) mod gauges;
pub(crate) mod label;
pub(crate) mod layering;
pub(crate) mod listening;
pub(crate) mod observing;
pub(crate) mod output;
pub(crate) mod rates;
pub(crate) mod running;
pub(crate) mod shutting;
pub(crate) mod slots;
pub(crate) mod total;
pub(crate) mod watching;

use crate::slot::chunks::Chunks;
use crate::slot::readiness::Flag;
use crate::state::agenda::Agenda;
use crate::state::config::Config;
use crate::state::diagnostics::Diagnostics;
use crate::state::rates::Buckets;
use crate::state::running::Running;
use crate::state::slots::Slots;
use crate::time::clock::{Clock, Tick};
use crate::time::timers::Timers;
use crate::watch::counters::Counters;
use crate::watch::log_limit::LogLimits;
use crate::watch::observers::Observers;
use crate::world::ids::AnyId;
use crate::world::poller::Poller;

/// Everything that a reactor remembers.
#[derive(Debug)]
pub(crate) struct State<D> {
    pub(crate) slots: Slots<D>,
    pub(crate) poller: Poller,
    pub(crate) clock: Clock,
    /// The time of this turn, read once after the wait.
    pub(crate) now: Tick,
    pub(crate) agenda: Agenda,
    pub(crate) timers: Timers,
    /// When the part of this turn's time is up that is being used; see `budget.rs`.
    pub(crate) part_ends: Tick,
    /// Streams that exist.
    pub(crate) connections: usize,
    /// Dispatchers without a socket: they do not keep the loop running.
    pub(crate) services: usize,
    pub(crate) chunks: Chunks,
    /// All outboxes together went over their bound and have not come below half of it since.
    pub(crate) over_total: bool,
    /// Rate limits.
    pub(crate) buckets: Buckets,
    pub(crate) config: Config,
    pub(crate) counters: Counters,
    pub(crate) log_limits: LogLimits,
    pub(crate) diagnostics: Diagnostics,
    /// Who watches.
    pub(crate) observers: Observers,
    /// Whose code is running.
    pub(crate) running: Running,
    /// The dispatcher in whose `with` closure a panic began, until the panic is absorbed.
    pub(crate) panicked_in: Option<AnyId>,
    /// Nothing may be added any more: the reactor is shutting down.
    pub(crate) refusing: bool,
}

impl<D> State<D> {
    pub(crate) fn new(config: Config, clock: Clock, poller: Poller) -> State<D> {
        let now = clock.now();
        let mut agenda = Agenda::default();
        let is_limited = config.turn_time.is_some();
        agenda.classes.count_reason(false, is_limited);
        State {
            slots: Slots::default(),
            poller,
            clock,
            now,
            agenda,
            timers: Timers::default(),
            part_ends: now,
            connections: 0,
            services: 0,
            chunks: Chunks::default(),
            over_total: false,
            buckets: Buckets::default(),
            observers: Observers::new(config.slow_callback),
            config,
            counters: Counters::default(),
            log_limits: LogLimits::default(),
            diagnostics: Diagnostics::default(),
            running: Running::NOTHING,
            panicked_in: None,
            refusing: false,
        }
    }

    /// Puts a slot on the ready list if it has work and is not there.
    #[inline]
    pub(crate) fn requeue(&mut self, id: AnyId) {
        let slot = self.slots.slot_mut(id);
        if slot.has_work() && slot.readiness.raise(Flag::Queued) {
            self.agenda.ready.push(id);
            self.observers.note_ready(id, self.observers.at());
            diagnostics::note_listed(self, id);
        }
    }

    /// Has the outbox looked at in the next flush.
    #[inline]
    pub(crate) fn mark_dirty(&mut self, id: AnyId) {
        if self.slots.slot_mut(id).readiness.raise(Flag::Dirty) {
            self.agenda.dirty.push(id);
        }
    }
}

#[cfg(test)]
mod tests;
