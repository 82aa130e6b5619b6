use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::time::Duration;

/// Names a timer; no two timers ever have the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimerId(u64);

/// Timers, on any clock: a time is how long it is since the program began.
#[derive(Default)]
pub struct Timers {
    /// The earliest comes out first; those of the same time, in the order in which they were set.
    heap: BinaryHeap<Reverse<(Duration, TimerId)>>,
    /// Those that are neither fired nor cancelled.
    living: BTreeSet<TimerId>,
    set_so_far: u64,
}

impl Timers {
    pub fn new() -> Timers {
        Timers::default()
    }

    /// Sets a timer that is due `after` from `now` on.
    pub fn set(&mut self, now: Duration, after: Duration) -> TimerId {
        let id = TimerId(self.set_so_far);
        self.set_so_far += 1;
        self.living.insert(id);
        self.heap.push(Reverse((now + after, id)));
        id
    }

    /// Whether there was such a timer.
    pub fn cancel(&mut self, id: TimerId) -> bool {
        self.living.remove(&id)
    }

    /// How long the loop may wait; `None` is for ever.
    pub fn timeout(&mut self, now: Duration) -> Option<Duration> {
        let Reverse((due, _)) = self.heap.peek()?;
        Some(due.saturating_sub(now))
    }

    /// Takes out those that are due, in order.
    pub fn fire(&mut self, now: Duration) -> Vec<TimerId> {
        let mut fired = Vec::new();
        while let Some(Reverse((due, id))) = self.heap.peek().copied() {
            if due > now {
                break;
            }
            self.heap.pop();
            if self.living.remove(&id) {
                fired.push(id);
            }
        }
        fired
    }

    /// How many due times are in memory.
    pub fn in_memory(&self) -> usize {
        self.heap.len()
    }
}
