//! Seeing inside: what has been counted, what there is, and who is there.

use super::Context;
use crate::state::gauges;
use crate::watch::counters::Counters;
use crate::watch::gauges::Gauges;
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
