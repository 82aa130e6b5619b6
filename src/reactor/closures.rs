//! Closures that get the reactor itself: `call_later` and `call_every`.
//!
//! The timer queue knows a closure by its number only, so that it can stand below everything that runs
//! users' code. A closure is out of its place while it runs; one whose timer is cancelled is dropped at
//! the end of the turn, for its number must not name another while it may still be running.

use std::fmt;
use std::time::Duration;

use slab::Slab;

use crate::reactor::Reactor;
use crate::state::deadlines;
use crate::state::running::{Callback, Running};
use crate::time::heap::Due;
use crate::time::timers::{Action, TimerId};
use crate::turn::call;
use crate::world::ids::AnyId;

/// A closure that waits for its timer.
pub(super) enum Closure {
    Once(Box<dyn FnOnce(&mut Reactor)>),
    Repeating(Box<dyn FnMut(&mut Reactor)>),
}

/// All closures of a reactor, by number. `None` is one that is running.
#[derive(Default)]
pub(super) struct Closures(Slab<Option<Closure>>);

impl Closures {
    fn add(&mut self, closure: Closure) -> Action {
        let number = self.0.insert(Some(closure));
        Action::Closure(u32::try_from(number).expect("four billion closures do not fit in memory"))
    }

    pub(super) fn into_all(self) -> impl Iterator<Item = Closure> {
        self.0.into_iter().filter_map(|(_, closure)| closure)
    }
}

impl fmt::Debug for Closures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Closures({})", self.0.len())
    }
}

impl Reactor {
    /// Runs a closure once, on the reactor, when `after` has passed, never before.
    pub fn call_later(
        &mut self,
        after: Duration,
        closure: impl FnOnce(&mut Reactor) + 'static,
    ) -> TimerId {
        self.arm_closure(after, None, Closure::Once(Box::new(closure)))
    }

    /// Runs a closure on the reactor every `period`, on a fixed grid that begins now; see
    /// [`Context::set_interval`](crate::Context::set_interval). If it panics it is cancelled.
    pub fn call_every(
        &mut self,
        period: Duration,
        closure: impl FnMut(&mut Reactor) + 'static,
    ) -> TimerId {
        self.arm_closure(period, Some(period), Closure::Repeating(Box::new(closure)))
    }

    fn arm_closure(
        &mut self,
        after: Duration,
        period: Option<Duration>,
        closure: Closure,
    ) -> TimerId {
        let action = self.closures.add(closure);
        let due = self.core.state.clock.now().after(after);
        self.core
            .state
            .timers
            .arm(due, period, AnyId::NONE, None, action)
    }

    /// Cancels a timer of the reactor's or of a dispatcher's; false if it was gone already. A closure
    /// that is cancelled from inside a turn is dropped when the turn ends.
    pub fn cancel_timer(&mut self, timer: TimerId) -> bool {
        let cancelled = deadlines::cancel_timer(&mut self.core.state, timer);
        if !self.in_turn {
            self.drop_cancelled_closures();
        }
        cancelled
    }

    /// Runs the closure of a timer that is due.
    pub(super) fn run_closure(&mut self, due: Due) {
        self.core.state.counters.timers += 1;
        let (timer, action) = self.core.state.timers.fire(due, self.core.state.now, None);
        let Action::Closure(number) = action else {
            unreachable!("what no dispatcher owns is a closure");
        };
        self.core.state.running = Running::closure(Callback::Closure);
        self.core.running_timer = Some(timer);
        let started = call::start_measure(&self.core);
        let place = &mut self.closures.0[number as usize];
        match place.take() {
            Some(Closure::Once(closure)) => {
                self.closures.0.remove(number as usize);
                closure(self);
            }
            Some(Closure::Repeating(mut closure)) => {
                closure(self);
                self.closures.0[number as usize] = Some(Closure::Repeating(closure));
            }
            None => unreachable!("closures do not run inside one another"),
        }
        if let Some(started) = started {
            call::measure(&mut self.core, AnyId::NONE, Callback::Closure, started);
        }
        self.core.state.running = Running::NOTHING;
        self.core.running_timer = None;
    }

    /// Drops the closures whose timers were cancelled. Their captures are the user's, and may panic.
    pub(super) fn drop_cancelled_closures(&mut self) {
        if self.core.state.agenda.cancelled_closures.is_empty() {
            return;
        }
        while let Some(number) = self.core.state.agenda.cancelled_closures.pop() {
            self.core.state.running = Running::closure(Callback::Drop);
            drop(self.closures.0.remove(number as usize));
        }
        self.core.state.running = Running::NOTHING;
    }
}
