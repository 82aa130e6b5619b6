//! How a pool ends.

use std::io;
use std::time::{Duration, Instant};

use super::Workers;
use super::queue::Name;
use crate::{AnyId, Reactor};

/// A job that a pool did not finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unfinished {
    /// The job's number, as [`Job::number`](super::Job::number) tells it.
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

/// What [`Workers::shutdown`] has to report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stopped {
    /// Jobs that no thread had begun when the time was up, or when the reactor closed everything. They were
    /// dropped, in order. At most as many as [`queue`](super::Builder::queue).
    pub dropped: Vec<Unfinished>,
    /// Jobs whose threads had not come back when the time was up. The threads are left to themselves, and end when
    /// the work in hand returns. In order; at most as many as [`threads`](super::Builder::threads).
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
    /// Ends the pool in good order: takes no more jobs, runs turns of `reactor` until those that it has are done
    /// and their results delivered, or `deadline` has passed (real time). Jobs that have not begun by then are
    /// dropped unrun, on this thread, and so is what would have followed. Threads are joined; one that is still in
    /// a job at the deadline is left, and its result is delivered if the reactor is still running when it comes.
    ///
    /// To be called outside of any callback, on the pool's own reactor. If connections are to have the answers that
    /// they wait for, call [`Reactor::shutdown`] first: results are delivered while connections drain. When it
    /// returns nobody is left to hear of a result, so jobs that wait are dropped; this then waits for the
    /// threads, and reports. If the reactor has a life after the pool, call this alone.
    ///
    /// Calling it again is no error: it waits for the threads that were left.
    ///
    /// # Errors
    ///
    /// As [`Reactor::turn`]; also from inside a turn, and then nothing has changed. After any other failure the pool
    /// has ended all the same.
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
        // What came back while the threads were waited for.
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
