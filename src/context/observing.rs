//! Counters, gauges and the ids of all dispatchers.

use super::Context;
use crate::state::gauges;
use crate::watch::counters::Counters;
use crate::watch::gauges::Gauges;
#[cfg(feature = "observer")]
use crate::watch::observer::{Observer, TurnTimes};
use crate::world::ids::AnyId;

/// # Counters and gauges
impl Context<'_> {
    /// The number of dispatchers.
    #[must_use]
    pub fn count(&self) -> usize {
        self.core.state.slots.len()
    }

    /// Everything that has been counted since the reactor was built.
    ///
    /// ```
    /// # use slabloop::{Context, Dispatcher, TimerId};
    /// # use std::io;
    /// # struct Statistics;
    /// # impl Dispatcher for Statistics {
    /// fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
    ///     let counters = cx.counters();
    ///     println!("{} accepted, {} bytes in", counters.accepted, counters.bytes_in);
    ///     Ok(())
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            posts_refused: self.posts_refused(),
            ..self.core.state.counters
        }
    }

    /// What the reactor holds at this moment. It looks at every dispatcher: call it once a second for statistics, not
    /// once per message.
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
    /// Adds an observer, to which everything is reported from the next turn on; see
    /// [`Reactor::observe`](crate::Reactor::observe).
    pub fn observe<O: Observer>(&mut self, observer: O) {
        self.core.state.observers.add(observer);
        self.time_posts(self.core.state.observers.are_there());
    }

    /// The first observer of this type; see [`Reactor::observer`](crate::Reactor::observer). If it
    /// [accepts delay](Observer::accepts_delay), it may lack the last reports here; [`observer_mut`](Context::observer_mut)
    /// has them made first.
    #[must_use]
    pub fn observer<O: Observer>(&self) -> Option<&O> {
        self.core.state.observers.find()
    }

    /// The first observer of this type, mutable; see [`Reactor::observer_mut`](crate::Reactor::observer_mut).
    pub fn observer_mut<O: Observer>(&mut self) -> Option<&mut O> {
        self.core.state.observers.find_mut()
    }

    /// Removes the first observer of this type; see [`Reactor::unobserve`](crate::Reactor::unobserve).
    pub fn unobserve<O: Observer>(&mut self) -> Option<O> {
        let removed = self.core.state.observers.remove();
        self.time_posts(self.core.state.observers.are_there());
        removed
    }

    /// When this turn began, how long it waited, and how long the steps of all observed turns have taken.
    ///
    /// With an [observer](crate::observe::Observer) that has begun; the figures are of the last observed turn otherwise.
    #[must_use]
    pub fn turn_times(&self) -> TurnTimes {
        let observers = &self.core.state.observers;
        TurnTimes {
            began: observers.turn_began(),
            waited: observers.waited,
            steps: observers.step_times(),
        }
    }
}
