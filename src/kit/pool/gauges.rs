//! The gauges and counters of a pool.

use std::time::Duration;

use super::Reason;

/// What a pool contains now, and its counters since it was made; from [`Pool::gauges`](super::Pool::gauges).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolGauges {
    /// Established connections: idle, leased, or returning.
    pub open: usize,
    /// Idle connections.
    pub idle: usize,
    /// Leased connections, including those that have been released and not been checked yet.
    pub leased: usize,
    /// Attempts in progress.
    pub connecting: usize,
    /// Connections that the pool is closing and whose descriptor is still open. They count towards the limits.
    pub closing: usize,
    /// Requests that wait for a connection.
    pub waiting: usize,
    /// The present waiting time of the oldest waiting request.
    pub oldest_wait: Duration,
    /// The longest wait of a request since the pool was made, served or not.
    pub longest_wait: Duration,
    /// Connections that were opened.
    pub made: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Leases of a connection that had been leased before.
    pub reused: u64,
    /// Leases taken out of the pool by [`Lease::take`](super::Lease::take).
    pub taken: u64,
    /// Waits that were [cancelled](super::Pool::cancel), or whose holder had ended.
    pub cancelled: u64,
    /// Connections that the pool has closed or lost, by reason.
    pub discarded: Discarded,
    /// Requests that were refused, by reason.
    pub refused: RefusedCounts,
}

/// Connections that a pool has closed or lost, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Discarded {
    /// Idle for the idle timeout.
    pub idle: u64,
    /// Older than the maximum age.
    pub age: u64,
    /// Not [reusable](super::Reusable::is_reusable): for example because an answer was outstanding when it came back.
    pub unusable: u64,
    /// Unsolicited bytes arrived.
    pub input: u64,
    /// It ended while it was idle: by its peer, an error, a timeout.
    pub ended: u64,
    /// It ended while it was leased.
    pub died: u64,
    /// Its holder discarded it ([`Lease::discard`](super::Lease::discard)).
    pub broken: u64,
    /// Closed to make room for another destination.
    pub evicted: u64,
    /// Closed because the pool shuts down.
    pub shut_down: u64,
}

impl Discarded {
    /// All together.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Discarded {
            idle,
            age,
            unusable,
            input,
            ended,
            died,
            broken,
            evicted,
            shut_down,
        } = *self;
        idle + age + unusable + input + ended + died + broken + evicted + shut_down
    }

    pub(super) fn count(&mut self, why: Why) {
        *match why {
            Why::Idle => &mut self.idle,
            Why::Age => &mut self.age,
            Why::Unusable => &mut self.unusable,
            Why::Input => &mut self.input,
            Why::Ended => &mut self.ended,
            Why::Died => &mut self.died,
            Why::Broken => &mut self.broken,
            Why::Evicted => &mut self.evicted,
            Why::ShutDown => &mut self.shut_down,
        } += 1;
    }
}

/// Why a connection is closed or lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Idle,
    Age,
    Unusable,
    Input,
    Ended,
    Died,
    Broken,
    Evicted,
    ShutDown,
}

impl Why {
    /// Whether the connection was healthy, and is closed gracefully: queued bytes are sent, and the peer sees no
    /// reset.
    pub(super) fn is_orderly(self) -> bool {
        matches!(
            self,
            Why::Idle | Why::Age | Why::Ended | Why::Evicted | Why::ShutDown
        )
    }
}

/// Requests that a pool has refused, by [`Reason`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefusedCounts {
    /// [`Reason::Connect`].
    pub connect: u64,
    /// [`Reason::Paused`].
    pub paused: u64,
    /// [`Reason::Deadline`].
    pub deadline: u64,
    /// [`Reason::TooManyWaiting`].
    pub too_many_waiting: u64,
    /// [`Reason::NoPlace`].
    pub no_place: u64,
    /// [`Reason::ShutDown`].
    pub shut_down: u64,
}

impl RefusedCounts {
    /// All together.
    #[must_use]
    pub fn total(&self) -> u64 {
        let RefusedCounts {
            connect,
            paused,
            deadline,
            too_many_waiting,
            no_place,
            shut_down,
        } = *self;
        connect + paused + deadline + too_many_waiting + no_place + shut_down
    }

    pub(super) fn count(&mut self, reason: Reason) {
        *match reason {
            Reason::Connect(_) => &mut self.connect,
            Reason::Paused => &mut self.paused,
            Reason::Deadline => &mut self.deadline,
            Reason::TooManyWaiting => &mut self.too_many_waiting,
            Reason::NoPlace => &mut self.no_place,
            Reason::ShutDown => &mut self.shut_down,
            // Returned where there is no pool to count it.
            Reason::Gone | Reason::Busy => return,
        } += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_has_each_of_its_parts_once() {
        let discarded = Discarded {
            idle: 1,
            age: 2,
            unusable: 4,
            input: 8,
            ended: 16,
            died: 32,
            broken: 64,
            evicted: 128,
            shut_down: 256,
        };
        assert_eq!(discarded.total(), 511);
        let refused = RefusedCounts {
            connect: 1,
            paused: 2,
            deadline: 4,
            too_many_waiting: 8,
            no_place: 16,
            shut_down: 32,
        };
        assert_eq!(refused.total(), 63);
    }
}
