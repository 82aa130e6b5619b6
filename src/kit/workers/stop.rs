//! The end of a pool.

use std::io;
use std::time::{Duration, Instant};

use super::Workers;
use super::queue::Name;
use crate::{AnyId, Reactor};

/// A job that a pool did not finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unfinished {
    /// The job's number; see [`Job::number`](super::Job::number).
    pub number: u64,
    /// The dispatcher that its result was for.
    pub dispatcher: AnyId,
}

impl Unfinished {
    pub(super) fn new(name: Name) -> Unfinished {
        Unfinished {
            number: name.number,
            dispatcher: name.dispatcher,
        }
    }
}

/// The report of [`Workers::shutdown`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stopped {
    /// Jobs that had not begun at the deadline, or when the reactor closed everything. They were dropped, in order.
    /// There are at most [`queue`](super::Builder::queue) of them.
    pub dropped: Vec<Unfinished>,
    /// Jobs that were still running at the deadline. Their threads were not joined, and end when the work returns. In
    /// order; at most [`threads`](super::Builder::threads) of them.
    pub left: Vec<Unfinished>,
    /// Threads that ended and were joined.
    pub joined: usize,
}

impl Stopped {
    /// Whether every job was done, and every thread has ended.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.dropped.is_empty() && self.left.is_empty()
    }
}

impl Workers {
    /// Shuts the pool down gracefully: refuses new jobs, and runs turns of `reactor` until the accepted jobs are done
    /// and their results delivered, or until `deadline` has passed (wall-clock time). Jobs that have not begun by
    /// then are dropped on this thread, with their `then`. Threads are joined. A thread that is still in a job at the
    /// deadline is left running; its result is delivered if the reactor is still running at that time.
    ///
    /// Call this outside of any callback, on the pool's own reactor. If connections still wait for results, call
    /// [`Reactor::shutdown`] first: results are delivered while connections drain. When that returns, no dispatcher
    /// is left to receive a result, so waiting jobs are dropped, and this call then waits for the threads and
    /// reports. If the reactor is used further after the pool, call only this.
    ///
    /// A second call is no error: it waits for the threads that were left.
    ///
    /// # Errors
    ///
    /// Those of [`Reactor::turn`]. If it is called from inside a turn, nothing has changed; after any other error the
    /// pool has ended all the same.
    ///
    /// # Example
    ///
    /// ```
    /// use slabloop::Reactor;
    /// use slabloop::kit::workers::Workers;
    /// use std::time::Duration;
    ///
    /// let mut reactor = Reactor::new()?;
    /// let workers = Workers::builder().threads(2).build(&mut reactor)?;
    /// // The program runs; then:
    /// reactor.shutdown(Duration::from_secs(10))?;
    /// let stopped = workers.shutdown(&mut reactor, Duration::from_secs(5))?;
    /// assert!(stopped.is_clean());
    /// assert_eq!(stopped.joined, 2);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn shutdown(&self, reactor: &mut Reactor, deadline: Duration) -> io::Result<Stopped> {
        let end = Instant::now().checked_add(deadline);
        let time_left = || match end {
            Some(end) => end.saturating_duration_since(Instant::now()),
            None => Duration::MAX,
        };
        // Refuses inside a turn.
        reactor.turn(Duration::ZERO)?;
        let side = &self.owner.side;
        side.shared.close();
        let mut outcome = Ok(());
        while outcome.is_ok() && side.in_hand() > 0 && !time_left().is_zero() {
            outcome = reactor.turn(time_left());
        }
        side.drop_queued();
        let (ended, mut running) = side.shared.wait_for_threads(end);
        running.sort_unstable_by_key(|name| name.number);
        let joined = self.owner.join(&ended);
        // Results that came while this waited for the threads.
        outcome = outcome.and_then(|()| reactor.turn(Duration::ZERO));
        let stopped = Stopped {
            dropped: side.dropped.take(),
            left: running.into_iter().map(Unfinished::new).collect(),
            joined,
        };
        if !stopped.is_clean() {
            log::warn!(
                "{}: shut down with {} jobs dropped and {} threads still in a job",
                self.owner.name,
                stopped.dropped.len(),
                stopped.left.len()
            );
        }
        outcome.map(|()| stopped)
    }
}
