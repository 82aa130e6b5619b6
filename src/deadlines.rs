//! Step 5 of a turn, for dispatchers: setting their timers and deadlines, and what happens when one is
//! due.

use std::io;
use std::time::Duration;

use crate::core::Core;
use crate::slot::life::{End, Life};
use crate::slot::readiness::Flag;
use crate::state::about::About;
use crate::state::running::Callback;
use crate::time::heap::Due;
use crate::time::timers::{Action, TimerId};
use crate::world::ids::AnyId;

impl Core {
    pub(crate) fn set_timer(
        &mut self,
        id: AnyId,
        after: Duration,
        period: Option<Duration>,
        action: Action,
    ) -> TimerId {
        // The clock is read here and not taken from the turn: counted from the turn's beginning, a
        // timer set late in a slow callback would be early.
        let due = self.clock.now().after(after);
        let slot = self.slots.slot_mut(id);
        let armed = self
            .timers
            .arm(due, period, id, Some(&mut slot.timers), action);
        if slot.life() > Life::Open {
            // Whoever is closing gets no timers; the id it is given has simply fired already.
            self.timers.cancel(armed, Some(&mut slot.timers));
        }
        armed
    }

    pub(crate) fn cancel_timer(&mut self, timer: TimerId) -> bool {
        let Some(owner) = self.timers.owner(timer) else {
            return false;
        };
        let list = self.slots.get_mut(owner).map(|slot| &mut slot.timers);
        let cancelled = self.timers.cancel(timer, list);
        if let Some(Action::Closure(number)) = cancelled {
            self.cancelled_closures.push(number);
        }
        cancelled.is_some()
    }

    /// Sets one of the reactor's own deadlines, unless that one is set already.
    pub(crate) fn arm_deadline(&mut self, id: AnyId, after: Duration, action: Action) {
        let due = self.now.after(after);
        let slot = self.slots.slot_mut(id);
        if !self.timers.has(slot.timers, &action) {
            self.timers
                .arm(due, None, id, Some(&mut slot.timers), action);
        }
    }

    pub(crate) fn set_idle_timeout(&mut self, id: AnyId, limit: Option<Duration>) {
        let slot = self.slots.slot_mut(id);
        self.timers
            .cancel_where(&mut slot.timers, |action| matches!(action, Action::Idle(_)));
        slot.touched = self.clock.now();
        if let Some(limit) = limit {
            self.set_timer(id, limit, None, Action::Idle(limit));
        }
    }

    /// Runs a due timer of the dispatcher `id`.
    pub(crate) fn fire(&mut self, id: AnyId, due: Due) {
        let Some(slot) = self.slots.get_mut(id) else {
            self.counters.stale += 1;
            return;
        };
        if slot.life() == Life::Ended {
            // It ended earlier in this turn; the close step takes its timers out.
            return;
        }
        self.counters.timers += 1;
        let (timer, action) = self.timers.fire(due, self.now, Some(&mut slot.timers));
        let (touched, output_moved) = (slot.touched, slot.output_moved);
        match action {
            Action::Callback => {
                self.callback(id, Callback::Timer, |dispatcher, cx| {
                    dispatcher.handle_timer(cx, timer)
                });
                self.requeue(id);
            }
            Action::ConnectDeadline => {
                let text = format!("{}: connecting timed out", self.label(id));
                self.counters.deadlines += 1;
                self.connect_failed(id, io::Error::new(io::ErrorKind::TimedOut, text));
            }
            // Traffic has only noted its time. Whoever is awake when the time would be up looks.
            Action::Idle(limit) if touched.after(limit) > self.now => {
                self.arm_again(id, touched.after(limit).since(self.now), action);
            }
            Action::Idle(limit) => self.time_out(id, &format!("idle for {limit:?}")),
            Action::Stalled(limit) => {
                let left = output_moved.after(limit).since(self.now);
                let waiting = self.slots.slot(id).outbox.len();
                if waiting == 0 || self.slots.slot(id).life() != Life::Open {
                    // It moves again; the next time it is stuck sets a new deadline.
                } else if left > Duration::ZERO {
                    self.arm_again(id, left, action);
                } else {
                    self.time_out(
                        id,
                        &format!("stalled: none of {waiting} bytes taken for {limit:?}"),
                    );
                }
            }
            Action::Patience(limit) => {
                let left = output_moved.after(limit).since(self.now);
                if self.slots.slot(id).broadcasters.is_empty() {
                    // It has drained since.
                } else if left > Duration::ZERO {
                    self.arm_again(id, left, action);
                } else {
                    self.slots.slot_mut(id).readiness.set(Flag::Stuck);
                    self.release_broadcasters(id);
                }
            }
            Action::CloseDeadline => self.close_deadline(id),
            Action::AcceptRetry => self.retry_accept(id),
            Action::Closure(_) => {
                unreachable!("closures belong to the reactor, not to a dispatcher")
            }
        }
    }

    fn arm_again(&mut self, id: AnyId, after: Duration, action: Action) {
        let due = self.now.after(after);
        let slot = self.slots.slot_mut(id);
        self.timers
            .arm(due, None, id, Some(&mut slot.timers), action);
    }

    /// A deadline of an open connection has passed.
    fn time_out(&mut self, id: AnyId, what: &str) {
        self.counters.deadlines += 1;
        let text = format!("{}: {what}", self.label(id));
        self.slots.slot_mut(id).readiness.set(Flag::Broken);
        self.report(id, About::error(io::ErrorKind::TimedOut, id, text));
        self.end(id, End::Failed);
    }

    /// A closing connection has had its time.
    fn close_deadline(&mut self, id: AnyId) {
        let slot = self.slots.slot(id);
        if slot.life() != Life::Flushing {
            self.counters.deadlines += 1;
            return self.end(id, End::Closed);
        }
        // As long as the peer takes something it is let go on.
        let left = slot
            .output_moved
            .after(self.config.close_timeout)
            .since(self.now);
        if left > Duration::ZERO {
            return self.arm_again(id, left, Action::CloseDeadline);
        }
        let waiting = slot.outbox.len();
        self.time_out(
            id,
            &format!("closing timed out with {waiting} bytes not sent"),
        );
    }
}
