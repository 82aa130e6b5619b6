//! What the threads of a group and its handles share: how far each thread is, and whether all are to stop.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::error::{Failure, Fault};
use super::member::Reason;
use crate::Handle;

/// Longer than any program runs. (The sum of a time and any duration need not exist.)
const FOR_EVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    name: String,
    drain: Duration,
    grace: Duration,
}

struct State {
    seats: Vec<Seat>,
    /// All were ready, so what fails from then on is no failure of the start.
    has_started: bool,
    stop: Option<Stop>,
    failures: Vec<Failure>,
}

#[derive(Default)]
struct Seat {
    phase: Phase,
    /// While it runs.
    handle: Option<Handle>,
}

/// How far a thread is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Its closure makes a reactor.
    #[default]
    Starting,
    /// It has called `run`.
    Ready,
    /// Its reactor has stopped, and has taken what was waiting in its listeners' queues.
    Leaving,
    /// Its closure has returned, or has panicked.
    Ended,
}

/// All reactors are to end.
#[derive(Clone, Debug)]
pub(super) struct Stop {
    pub(super) deadline: Instant,
    pub(super) reason: Reason,
}

impl Stop {
    pub(super) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

impl Shared {
    pub(super) fn new(name: &str, threads: usize, drain: Duration, grace: Duration) -> Shared {
        Shared {
            state: Mutex::new(State {
                seats: (0..threads).map(|_| Seat::default()).collect(),
                has_started: false,
                stop: None,
                failures: Vec::new(),
            }),
            changed: Condvar::new(),
            name: name.to_owned(),
            drain: drain.min(FOR_EVER),
            grace: grace.min(FOR_EVER),
        }
    }

    pub(super) fn name_of(&self, index: usize) -> String {
        format!("{}-{index}", self.name)
    }

    /// No user code runs under the lock, so it cannot be poisoned by a panic of theirs.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        let waited = self.changed.wait(state);
        waited.unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread's reactor is complete. Waits until all are, or are to stop. False if it was called before.
    pub(super) fn ready(&self, index: usize, handle: Handle) -> bool {
        let mut state = self.lock();
        let seat = &mut state.seats[index];
        if seat.phase != Phase::Starting {
            return false;
        }
        if state.stop.is_some() {
            handle.stop();
        }
        let seat = &mut state.seats[index];
        seat.phase = Phase::Ready;
        seat.handle = Some(handle);
        state.has_started |= state.all(Phase::Ready) && state.failures.is_empty();
        self.changed.notify_all();
        while !state.all(Phase::Ready) && state.stop.is_none() {
            state = self.wait(state);
        }
        true
    }

    /// Has all reactors stop, unless they do already. What holds: the first call decides.
    pub(super) fn stop(&self, reason: Reason) -> Stop {
        let mut state = self.lock();
        self.stop_locked(&mut state, reason)
    }

    fn stop_locked(&self, state: &mut State, reason: Reason) -> Stop {
        if let Some(stop) = &state.stop {
            return stop.clone();
        }
        let stop = Stop {
            deadline: Instant::now() + self.drain,
            reason,
        };
        state.stop = Some(stop.clone());
        for seat in &state.seats {
            if let (Phase::Ready, Some(handle)) = (seat.phase, &seat.handle) {
                handle.stop();
            }
        }
        self.changed.notify_all();
        stop
    }

    /// A thread has taken what was waiting. The last one wakes the others.
    pub(super) fn leaving(&self, index: usize) {
        let mut state = self.lock();
        state.seats[index].phase = Phase::Leaving;
        state.wake_if_all_leave();
    }

    pub(super) fn all_leave(&self) -> bool {
        self.lock().all(Phase::Leaving)
    }

    /// A thread's closure is no more.
    pub(super) fn end(&self, index: usize, fault: Option<Fault>) {
        let mut state = self.lock();
        let name = self.name_of(index);
        let reason = match &fault {
            None => Reason::Stopped(name.clone()),
            Some(fault) => {
                // `start` returns an earlier one at once, `join` a later one only after the drain.
                if state.seats[index].phase != Phase::Starting {
                    log::error!("{name} has failed: {fault}; the other reactors shut down");
                }
                Reason::Failed(format!("{name}: {fault}"))
            }
        };
        if let Some(fault) = fault {
            state.failures.push(Failure { index, name, fault });
        }
        self.stop_locked(&mut state, reason);
        let seat = &mut state.seats[index];
        seat.phase = Phase::Ended;
        let handle = seat.handle.take();
        state.wake_if_all_leave();
        self.changed.notify_all();
        drop(state);
        drop(handle);
    }

    /// Waits until all are ready. False if one failed before.
    pub(super) fn wait_for_start(&self) -> bool {
        let mut state = self.lock();
        loop {
            if state.has_started || !state.failures.is_empty() {
                return state.has_started;
            }
            if state.all(Phase::Ready) {
                return true;
            }
            state = self.wait(state);
        }
    }

    /// Waits until all have ended, or should have; takes the failures.
    pub(super) fn wait_for_end(&self) -> Vec<Failure> {
        let mut state = self.lock();
        while !state.all(Phase::Ended) {
            let Some(stop) = &state.stop else {
                state = self.wait(state);
                continue;
            };
            let end = stop.deadline + self.grace;
            let left = end.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return self.with_stuck(state);
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::take(&mut state.failures)
    }

    fn with_stuck(&self, mut state: MutexGuard<'_, State>) -> Vec<Failure> {
        let mut failures = std::mem::take(&mut state.failures);
        let seats = state.seats.iter().enumerate();
        let stuck = seats.filter(|(_, seat)| seat.phase != Phase::Ended);
        failures.extend(stuck.map(|(index, _)| Failure {
            index,
            name: self.name_of(index),
            fault: Fault::Stuck,
        }));
        failures
    }
}

impl State {
    /// Whether all are so far at least.
    fn all(&self, phase: Phase) -> bool {
        self.seats.iter().all(|seat| seat.phase >= phase)
    }

    fn wake_if_all_leave(&self) {
        if !self.all(Phase::Leaving) {
            return;
        }
        for handle in self.seats.iter().filter_map(|seat| seat.handle.as_ref()) {
            // If its queue is full, there is no need to wake it.
            let _ = handle.post_urgent(|_| ());
        }
    }
}

/// Reaches a [`Group`](super::Group) from any thread, and from every callback of its reactors. Cheap to clone.
#[derive(Clone)]
pub struct GroupHandle {
    shared: Arc<Shared>,
}

impl GroupHandle {
    pub(super) fn new(shared: &Arc<Shared>) -> GroupHandle {
        GroupHandle {
            shared: Arc::clone(shared),
        }
    }

    /// Begins the [graceful shutdown](super#how-a-group-ends) of all reactors. Never blocks. The first call counts: a
    /// second one does not move the deadline.
    pub fn shut_down(&self) {
        self.shared.stop(Reason::Asked);
    }

    /// Why the group shuts down; `None` as long as it does not.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        let state = self.shared.lock();
        state.stop.as_ref().map(|stop| stop.reason.clone())
    }

    /// The number of threads, those that have ended included.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.shared.lock().seats.len()
    }

    /// A handle of the reactor with this number. `None` if it does not run yet, has ended, or there is none.
    ///
    /// ```
    /// use slabloop::kit::group::GroupHandle;
    ///
    /// /// Runs a closure on each reactor. How many took it.
    /// fn reload(group: &GroupHandle) -> usize {
    ///     let handles = (0..group.threads()).filter_map(|index| group.reactor(index));
    ///     handles.filter(|handle| handle.post(|_reactor| println!("read again")).is_ok()).count()
    /// }
    /// ```
    #[must_use]
    pub fn reactor(&self, index: usize) -> Option<Handle> {
        let state = self.shared.lock();
        state.seats.get(index).and_then(|seat| seat.handle.clone())
    }
}

impl fmt::Debug for GroupHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.lock();
        let phases: Vec<_> = state.seats.iter().map(|seat| seat.phase).collect();
        f.debug_struct("GroupHandle")
            .field("name", &self.shared.name)
            .field("threads", &phases)
            .field("stop", &state.stop)
            .finish_non_exhaustive()
    }
}
