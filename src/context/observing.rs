//! Seeing inside: what has been counted, what there is, and who is there.

#[cfg(feature = "inspector")]
use std::time::Duration;

use super::Context;
use crate::state::gauges;
use crate::watch::counters::Counters;
use crate::watch::gauges::Gauges;
#[cfg(feature = "observer")]
use crate::watch::observer::Observer;
#[cfg(feature = "inspector")]
use crate::watch::observers::StepTimes;
use crate::world::ids::AnyId;

/// # Seeing inside
impl Context<'_> {
    /// How many dispatchers there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.core.state.slots.len()
    }

    /// What has been counted since the reactor was built.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            posts_refused: self.posts_refused(),
            ..self.core.state.counters
        }
    }

    /// What there is at this moment. Looks at every dispatcher: for a statistic once a second, not for every
    /// message.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        Gauges {
            posts_waiting: self.posts_waiting(),
            ..gauges::gauges(&self.core.state)
        }
    }

    /// The ids of all dispatchers, in no particular order.
    #[must_use]
    pub fn ids(&self) -> Vec<AnyId> {
        self.core.state.slots.ids()
    }
}

/// # Observers
#[cfg(feature = "observer")]
impl Context<'_> {
    /// When this turn began and how long it waited; and how long each step has taken, in nanoseconds, in all turns that
    /// were observed.
    #[cfg(feature = "inspector")]
    pub(crate) fn turn_times(&self) -> (Duration, Duration, StepTimes) {
        let observers = &self.core.state.observers;
        (
            observers.turn_began,
            observers.waited,
            observers.step_times(),
        )
    }

    /// Has `observer` told of everything from the next turn on, as [`Reactor::observe`](crate::Reactor::observe) does.
    pub fn observe<O: Observer>(&mut self, observer: O) {
        self.core.state.observers.add(observer);
    }

    /// As [`Reactor::observer`](crate::Reactor::observer).
    #[must_use]
    pub fn observer<O: Observer>(&self) -> Option<&O> {
        self.core.state.observers.find()
    }

    /// As [`Reactor::observer_mut`](crate::Reactor::observer_mut).
    pub fn observer_mut<O: Observer>(&mut self) -> Option<&mut O> {
        self.core.state.observers.find_mut()
    }

    /// As [`Reactor::unobserve`](crate::Reactor::unobserve).
    pub fn unobserve<O: Observer>(&mut self) -> Option<O> {
        self.core.state.observers.remove()
    }
}
