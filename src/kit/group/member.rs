//! One thread of a group: its reactor runs, and ends together with the others.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::GroupHandle;
use super::error::Fault;
use super::shared::{Shared, Stop};
use crate::{Aborted, Reactor};

/// A reactor that waits for the others is woken when the last is ready. If its queue of posts is full it is not.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// One thread of a group, as the argument of the closure that runs on it.
pub struct Member {
    index: usize,
    group: GroupHandle,
    shared: Arc<Shared>,
}

/// How a reactor of a group ended; from [`Member::run`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Ended {
    /// The connections of this reactor that were still open at the deadline.
    pub aborted: Vec<Aborted>,
    /// Why the group ended.
    pub reason: Reason,
}

/// Why a group shuts down.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// [`GroupHandle::shut_down`] was called, or the group was dropped.
    Asked,
    /// The reactor of the thread with this name stopped by itself.
    Stopped(String),
    /// A thread failed: its name, and its error or its panic.
    Failed(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Asked => f.write_str("it was asked for"),
            Reason::Stopped(name) => write!(f, "{name} has stopped"),
            Reason::Failed(text) => f.write_str(text),
        }
    }
}

impl Member {
    pub(super) fn new(index: usize, shared: &Arc<Shared>) -> Member {
        Member {
            index,
            group: GroupHandle::new(shared),
            shared: Arc::clone(shared),
        }
    }

    /// The number of this thread, from 0. What one reactor does for all, such as watching signals, the one with
    /// number 0 does.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// The name of this thread.
    #[must_use]
    pub fn name(&self) -> String {
        self.shared.name_of(self.index)
    }

    /// The handle of the group, for callbacks.
    #[must_use]
    pub fn group(&self) -> &GroupHandle {
        &self.group
    }

    /// Waits until the reactors of all threads are ready, runs this one until the group shuts down, and shuts it down
    /// gracefully, with the deadline of the group. Afterwards the reactor is empty; its counters can still be read.
    ///
    /// If `reactor` stops by itself, the group shuts down. It does not stop for lack of work, because the group has a
    /// handle of it.
    ///
    /// # Errors
    ///
    /// As [`Reactor::run`]: the group then shuts down. `InvalidInput` if it is called a second time.
    pub fn run(&self, reactor: &mut Reactor) -> io::Result<Ended> {
        if !self.shared.ready(self.index, reactor.handle()) {
            let text = format!("{}: `run` was called before", self.name());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let outcome = reactor.run();
        let stop = self.shared.stop(match &outcome {
            Ok(()) => Reason::Stopped(self.name()),
            Err(error) => Reason::Failed(format!("{}: {error}", self.name())),
        });
        outcome?;
        self.take_what_waits(reactor, &stop)?;
        let aborted = reactor.shutdown(stop.left())?;
        Ok(Ended {
            aborted,
            reason: stop.reason,
        })
    }

    /// Clients whose connection stands already, but has not been accepted or is on its way from another reactor, are
    /// served. This takes a quarter of the time at most.
    fn take_what_waits(&self, reactor: &mut Reactor, stop: &Stop) -> io::Result<()> {
        let until = Instant::now() + stop.left() / 4;
        let has_time = || Instant::now() < until;
        // A listener whose queue is empty, or that must not accept any more, accepts none.
        let mut accepted = None;
        while accepted != Some(reactor.counters().accepted) && has_time() {
            accepted = Some(reactor.counters().accepted);
            reactor.turn(Duration::ZERO)?;
        }
        self.shared.leaving(self.index);
        // Until then another reactor may hand over what it accepts.
        while !self.shared.all_leave() && has_time() {
            reactor.turn(LOOK_AGAIN.min(until.saturating_duration_since(Instant::now())))?;
        }
        // What is handed over in one turn is read in the next.
        let mut is_busy = true;
        while is_busy && has_time() {
            is_busy = reactor.gauges().posts_waiting > 0;
            reactor.turn(Duration::ZERO)?;
        }
        Ok(())
    }

    pub(super) fn end(&self, fault: Option<Fault>) {
        self.shared.end(self.index, fault);
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}
