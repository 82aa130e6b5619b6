//! Parts of the crate that a property test drives by themselves.

use std::io;
use std::time::Duration;

use crate::framing::Terminator;
use crate::framing::{decoder, search};
use crate::time::action::Action;
use crate::time::clock::Tick;
use crate::time::timer_id::TimerId;
use crate::time::timers::Timers;
use crate::world::ids::AnyId;

/// Where a byte first is in `input`; its length if it is not there.
#[must_use]
pub fn find_byte(wanted: u8, input: &[u8]) -> usize {
    search::find(wanted, input)
}

/// The records in a stream that comes in pieces, and what was collected after the last of them.
///
/// # Errors
///
/// As a framed connection would end.
pub fn decode(
    terminator: Terminator,
    pieces: &[&[u8]],
    max: usize,
) -> io::Result<(Vec<Vec<u8>>, Vec<u8>)> {
    decoder::decode(terminator, pieces, max)
}

/// The timer queue, with times in nanoseconds. All timers are one-shot or periodic callbacks of no
/// dispatcher.
#[derive(Debug, Default)]
pub struct TimerQueue(Timers);

impl TimerQueue {
    /// Sets a timer; its name, and its place among those of the same time.
    pub fn arm(&mut self, due: u64, period: Option<u64>) -> (TimerId, u64) {
        let period = period.map(Duration::from_nanos);
        let timer = self
            .0
            .arm(at(due), period, AnyId::NONE, None, Action::Callback);
        (timer, self.0.armed())
    }

    /// Cancels one; false if it was gone.
    pub fn cancel(&mut self, timer: TimerId) -> bool {
        self.0.cancel(timer, None).is_some()
    }

    /// A turn begins: what is set from here on is not for it.
    pub fn begin_turn(&mut self) {
        self.0.begin_turn();
    }

    /// Fires what is due in this turn, one after another. `fired` is called with each, and may change the queue.
    pub fn fire(&mut self, now: u64, mut fired: impl FnMut(&mut TimerQueue, TimerId)) {
        let mut batch = Vec::new();
        self.0.collect(at(now), &mut batch);
        for due in batch {
            if self.0.owner_of_due(due).is_some() {
                let (timer, _) = self.0.fire(due, at(now), None);
                fired(self, timer);
            }
        }
    }

    /// When the next one is due.
    pub fn next_due(&mut self) -> Option<Duration> {
        self.0.next_due().map(|due| due.since(Tick::default()))
    }

    /// How many are set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Panics unless the queue's own invariants hold: the dead are few, each timer has one due time.
    ///
    /// # Panics
    ///
    /// That is what it is for.
    pub fn check(&self) {
        self.0.check(0, |_| None);
    }
}

fn at(nanos: u64) -> Tick {
    Tick::default().after(Duration::from_nanos(nanos))
}

/// Has this thread's children watched by `SIGCHLD`, as on systems without a descriptor for processes.
#[cfg(feature = "process")]
pub fn without_pidfd(without: bool) {
    crate::kit::child::watch::WITHOUT_PIDFD.set(without);
}
