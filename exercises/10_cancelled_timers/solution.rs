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
    /// So many dead due times are never worth a sweep.
    const TOLERATED: usize = 32;

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
        let was_set = self.living.remove(&id);
        self.sweep();
        was_set
    }

    /// Drops the dead, if they are more than half. It takes a time that grows with the heap, but after it as
    /// many timers must be cancelled again as the heap is long: each cancelled timer pays for a few steps.
    fn sweep(&mut self) {
        if self.heap.len() > 2 * self.living.len() + Self::TOLERATED {
            self.heap
                .retain(|Reverse((_, id))| self.living.contains(id));
        }
    }

    /// Drops the dead that would come out next.
    fn pop_the_dead(&mut self) {
        while let Some(Reverse((_, id))) = self.heap.peek() {
            if self.living.contains(id) {
                return;
            }
            self.heap.pop();
        }
    }

    /// How long the loop may wait; `None` is for ever.
    pub fn timeout(&mut self, now: Duration) -> Option<Duration> {
        self.pop_the_dead();
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
        self.sweep();
        fired
    }

    /// How many due times are in memory.
    pub fn in_memory(&self) -> usize {
        self.heap.len()
    }
}
