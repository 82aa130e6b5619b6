//! All figures of a loop at one moment.

use std::time::Duration;

use super::distribution::{Durations, Sizes};
use super::measuring::{Measured, Metrics};
use super::process::Process;
use crate::context::Context;
use crate::reactor::Reactor;
use crate::watch::callback::Callback;
use crate::watch::counters::Counters;
use crate::watch::gauges::Gauges;
use crate::watch::observer::Step;

/// What a reactor has counted and measured, and its present state. It is a copy: to get the changes, keep the
/// previous one and subtract.
///
/// ```
/// use slabloop::Reactor;
/// use std::time::Duration;
///
/// let mut reactor = Reactor::new()?;
/// let before = reactor.metrics();
/// reactor.turn(Duration::ZERO)?;
/// let now = reactor.metrics();
/// assert_eq!(now.counters.turns - before.counters.turns, 1);
/// assert_eq!(now.gauges.connections, 0);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Snapshot {
    /// The time for which [`Metrics`] has measured.
    pub measured: Duration,
    /// The counters since the reactor was built.
    pub counters: Counters,
    /// The present state.
    pub gauges: Gauges,
    /// The process; only on Linux.
    pub process: Option<Process>,
    /// The durations of each kind of callback that has occurred, each once.
    pub callbacks: Vec<(Callback, Durations)>,
    /// How long dispatchers were ready before their callback, because the loop was running other callbacks.
    pub queued: Durations,
    /// How late timers fired. An overloaded loop is visible here first.
    pub timer_lag: Durations,
    /// How long turns worked, from the end of their wait.
    pub turn_work: Durations,
    /// Events that a turn's wait reported.
    pub events_per_turn: Sizes,
    /// Callbacks of dispatchers that a turn made; closures are not among them.
    pub callbacks_per_turn: Sizes,
    /// Dispatchers that were added, by kind.
    pub opened: Opened,
    /// How often a listener stopped accepting, by reason.
    pub accept_pauses: AcceptPauses,
    /// How often an outbox rose over its high watermark.
    pub over_high_mark: u64,
    /// How often reading from a dispatcher was suspended because of the dispatcher that it feeds.
    pub held: u64,
    steps: [Duration; Step::ALL.len()],
}

/// Dispatchers that were added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Opened {
    /// Streams: connections, accepted and made, and ends of pipes.
    pub streams: u64,
    /// Listeners.
    pub listeners: u64,
    /// Datagram sockets.
    pub datagrams: u64,
    /// Event sources of the program's own.
    pub foreign: u64,
    /// Dispatchers without a socket.
    pub services: u64,
}

/// How often a listener stopped accepting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AcceptPauses {
    /// The reactor was at its limit of connections.
    pub limit: u64,
    /// Descriptors or memory had run out.
    pub shortage: u64,
    /// Accepting had failed in some other way.
    pub fault: u64,
    /// All outboxes together were over their limit.
    pub over_total: u64,
}

impl Snapshot {
    fn new(metrics: &Metrics, counters: Counters, gauges: Gauges) -> Snapshot {
        let Measured {
            queued,
            timer_lag,
            turn_work,
            events_per_turn,
            callbacks_per_turn,
            opened,
            accept_pauses,
            over_high_mark,
            held,
        } = metrics.measured.clone();
        Snapshot {
            measured: metrics.span(),
            counters,
            gauges,
            process: Process::read(),
            callbacks: metrics.callbacks(),
            queued,
            timer_lag,
            turn_work,
            events_per_turn,
            callbacks_per_turn,
            opened,
            accept_pauses,
            over_high_mark,
            held,
            steps: metrics.steps(),
        }
    }

    /// The durations of one kind of callback; `None` if it has not occurred.
    ///
    /// ```
    /// use slabloop::Reactor;
    /// use slabloop::observe::Callback;
    ///
    /// let mut reactor = Reactor::new()?;
    /// let snapshot = reactor.metrics();
    /// if let Some(reads) = snapshot.callback(Callback::Read) {
    ///     println!("handle_read: {} calls, the longest {:?}", reads.count(), reads.max());
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn callback(&self, callback: Callback) -> Option<&Durations> {
        let mut all = self.callbacks.iter();
        all.find(|(other, _)| *other == callback)
            .map(|(_, durations)| durations)
    }

    /// The time of one step of the turn, over all turns.
    #[must_use]
    pub fn step(&self, step: Step) -> Duration {
        self.steps[step as usize]
    }

    /// The time that the loop waited for events.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.step(Step::Wait)
    }

    /// The time that the loop worked: all steps but the wait.
    #[must_use]
    pub fn worked(&self) -> Duration {
        self.steps.iter().sum::<Duration>() - self.waited()
    }

    /// The share of its time that the loop worked, from 0 to 1; 0 if nothing was measured. At 1 it never waits: one
    /// thread cannot do more.
    #[must_use]
    pub fn utilization(&self) -> f64 {
        let both = self.worked() + self.waited();
        if both.is_zero() {
            return 0.0;
        }
        self.worked().as_secs_f64() / both.as_secs_f64()
    }
}

impl Reactor {
    /// The counters, the measurements and the present state. (Feature `metrics`.)
    ///
    /// If no observer is a [`Metrics`] yet, this adds one, and its measurements begin now. The call looks at every
    /// dispatcher and asks the system about the process: call it once a second, not for every message.
    #[must_use]
    pub fn metrics(&mut self) -> Snapshot {
        self.outside().metrics()
    }
}

/// # Measuring
impl Context<'_> {
    /// The counters, the measurements and the present state: see [`Reactor::metrics`](crate::Reactor::metrics).
    /// (Feature `metrics`.)
    #[must_use]
    pub fn metrics(&mut self) -> Snapshot {
        if self.observer::<Metrics>().is_none() {
            self.observe(Metrics::new());
        }
        let (counters, gauges) = (self.counters(), self.gauges());
        let metrics = self.observer::<Metrics>();
        Snapshot::new(metrics.unwrap_or(&Metrics::new()), counters, gauges)
    }
}
