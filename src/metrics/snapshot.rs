//! Everything that is known of a loop at one moment.

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

/// What a reactor has counted and measured, and what it holds at this moment. A copy: keep the one before, and
/// subtract.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Snapshot {
    /// For how long [`Metrics`] has measured.
    pub measured: Duration,
    /// What has been counted since the reactor was built.
    pub counters: Counters,
    /// What there is now.
    pub gauges: Gauges,
    /// The process, if the system tells: on Linux.
    pub process: Option<Process>,
    /// How long each kind of callback took; those that have occurred, each once.
    pub callbacks: Vec<(Callback, Durations)>,
    /// How long dispatchers were ready before their callback: what the others' work cost them.
    pub queued: Durations,
    /// How late timers fired. A loop that does not keep up shows it here first.
    pub timer_lag: Durations,
    /// How long turns worked, from the end of their wait.
    pub turn_work: Durations,
    /// Events that a turn's wait reported.
    pub events_per_turn: Sizes,
    /// Callbacks of dispatchers that a turn made; closures are not among them.
    pub callbacks_per_turn: Sizes,
    /// Dispatchers that were added, by what they are.
    pub opened: Opened,
    /// Times that a listener stopped accepting, by reason.
    pub accept_pauses: AcceptPauses,
    /// Times that an outbox rose over its high mark.
    pub over_high_mark: u64,
    /// Times that a dispatcher was no longer read because of what it feeds.
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

/// Times that a listener stopped accepting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AcceptPauses {
    /// The reactor had as many connections as it may have.
    pub limit: u64,
    /// Descriptors or memory had run out.
    pub shortage: u64,
    /// Accepting had failed in some other way.
    pub fault: u64,
    /// All outboxes together held more than they may.
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

    /// How long one kind of callback took, if there was one.
    #[must_use]
    pub fn callback(&self, callback: Callback) -> Option<&Durations> {
        let mut all = self.callbacks.iter();
        all.find(|(other, _)| *other == callback)
            .map(|(_, durations)| durations)
    }

    /// How long a step of the turn took, in all turns together.
    #[must_use]
    pub fn step(&self, step: Step) -> Duration {
        self.steps[step as usize]
    }

    /// How long the loop waited for events.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.step(Step::Wait)
    }

    /// How long the loop worked: all steps but the wait.
    #[must_use]
    pub fn worked(&self) -> Duration {
        self.steps.iter().sum::<Duration>() - self.waited()
    }

    /// What part of its time the loop worked, from 0 to 1; 0 if nothing was measured. At 1 it never waits: it has as much
    /// to do as one thread can.
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
    /// What has been counted and measured, and what there is now. (Feature `metrics`.)
    ///
    /// If there is no [`Metrics`] among the observers yet, this adds one, and what it measures begins here. Looks at every
    /// dispatcher and asks the system of the process: for once a second, not for every message.
    #[must_use]
    pub fn metrics(&mut self) -> Snapshot {
        self.outside().metrics()
    }
}

/// # Measuring
impl Context<'_> {
    /// As [`Reactor::metrics`](crate::Reactor::metrics). (Feature `metrics`.)
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
