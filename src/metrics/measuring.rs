//! The observer that measures.

use std::time::Duration;

use super::distribution::{Durations, Sizes};
use super::snapshot::{AcceptPauses, Opened};
use crate::watch::callback::Callback;
use crate::watch::observer::{
    Added, CallbackEnd, Crossing, Kind, Observer, Refusal, Step, TurnEnd,
};
use crate::watch::reports::Reports;
use crate::world::ids::AnyId;

/// Measures the loop that it is added to, by [`Builder::observer`](crate::Builder::observer) or
/// [`Reactor::observe`](crate::Reactor::observe). [`Reactor::metrics`](crate::Reactor::metrics) returns the results.
///
/// For each callback it adds two values to histograms, some nanoseconds each, in addition to the two clock readings
/// of any observer. It takes about 20 KB for each kind of callback that the program has.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// The first and the last reading of the clock.
    began: Option<Duration>,
    last: Duration,
    /// The step that runs, and since when.
    step: Option<(Step, Duration)>,
    /// When this turn's wait was over.
    woken: Option<Duration>,
    /// In the order of [`Step::ALL`].
    steps: [Duration; Step::ALL.len()],
    /// By the number of the callback; empty for those that have not occurred.
    callbacks: Vec<Option<(Callback, Durations)>>,
    pub(super) measured: Measured,
}

/// What a snapshot copies as it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    pub(super) queued: Durations,
    pub(super) timer_lag: Durations,
    pub(super) turn_work: Durations,
    pub(super) events_per_turn: Sizes,
    pub(super) callbacks_per_turn: Sizes,
    pub(super) opened: Opened,
    pub(super) accept_pauses: AcceptPauses,
    pub(super) over_high_mark: u64,
    pub(super) held: u64,
}

impl Metrics {
    /// An observer that starts to measure when it is added.
    ///
    /// ```
    /// use slabloop::Reactor;
    /// use slabloop::metrics::Metrics;
    ///
    /// let mut reactor = Reactor::builder().observer(Metrics::new).build()?;
    /// println!("{:.0} % busy", 100.0 * reactor.metrics().utilization());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn new() -> Metrics {
        Metrics::default()
    }

    /// How long it has measured.
    pub(super) fn span(&self) -> Duration {
        self.began
            .map_or(Duration::ZERO, |began| self.last.saturating_sub(began))
    }

    pub(super) fn steps(&self) -> [Duration; Step::ALL.len()] {
        self.steps
    }

    pub(super) fn callbacks(&self) -> Vec<(Callback, Durations)> {
        self.callbacks.iter().flatten().cloned().collect()
    }

    fn end_step(&mut self, at: Duration) {
        if let Some((step, began)) = self.step.take() {
            self.steps[step as usize] += at.saturating_sub(began);
        }
        self.last = at;
    }
}

impl Observer for Metrics {
    fn wants(&self) -> Reports {
        Reports::TURN_BEGAN | Reports::STEPS | Reports::CALLBACK_ENDED
    }

    fn turn_began(&mut self, at: Duration, _turn: u64) {
        self.began.get_or_insert(at);
        self.last = at;
    }

    fn step_began(&mut self, at: Duration, step: Step) {
        self.end_step(at);
        self.step = Some((step, at));
    }

    fn wait_ended(&mut self, at: Duration, _events: usize) {
        self.end_step(at);
        self.woken = Some(at);
    }

    fn turn_ended(&mut self, at: Duration, end: &TurnEnd) {
        self.end_step(at);
        // Added in the middle of a turn, it has not seen the wait.
        let Some(woken) = self.woken.take() else {
            return;
        };
        let measured = &mut self.measured;
        measured.turn_work.record(at.saturating_sub(woken));
        measured.events_per_turn.record(end.events as u64);
        measured.callbacks_per_turn.record(end.callbacks);
    }

    fn callback_ended(&mut self, at: Duration, end: &CallbackEnd<'_>) {
        self.last = at;
        let callback = end.begin.callback;
        let index = callback as usize;
        if index >= self.callbacks.len() {
            self.callbacks.resize(index + 1, None);
        }
        let (_, durations) =
            self.callbacks[index].get_or_insert_with(|| (callback, Durations::default()));
        durations.record(end.took);
        if waits_in_the_ready_list(callback) {
            self.measured.queued.record(end.begin.queued);
        }
    }

    fn added(&mut self, _at: Duration, added: &Added<'_>) {
        let opened = &mut self.measured.opened;
        *match added.kind {
            Kind::Stream => &mut opened.streams,
            Kind::Listener => &mut opened.listeners,
            Kind::Datagram => &mut opened.datagrams,
            Kind::Foreign => &mut opened.foreign,
            Kind::Service => &mut opened.services,
        } += 1;
    }

    fn mark_crossed(&mut self, _at: Duration, _id: AnyId, crossing: Crossing, _queued: usize) {
        self.measured.over_high_mark += u64::from(crossing == Crossing::OverHigh);
    }

    fn held(&mut self, _at: Duration, _id: AnyId, _sink: AnyId) {
        self.measured.held += 1;
    }

    fn timer_fired(&mut self, _at: Duration, _id: AnyId, late: Duration) {
        self.measured.timer_lag.record(late);
    }

    fn accepting_paused(&mut self, _at: Duration, _id: AnyId, reason: Refusal<'_>) {
        let pauses = &mut self.measured.accept_pauses;
        *match reason {
            Refusal::Limit => &mut pauses.limit,
            Refusal::Shortage(_) => &mut pauses.shortage,
            Refusal::Fault(_) => &mut pauses.fault,
            Refusal::OverTotal => &mut pauses.over_total,
        } += 1;
    }
}

/// Whether a callback answers to an event, so that it can have waited for its turn.
fn waits_in_the_ready_list(callback: Callback) -> bool {
    matches!(
        callback,
        Callback::Accept
            | Callback::Handshake
            | Callback::Connect
            | Callback::Read
            | Callback::Eof
            | Callback::Write
            | Callback::Priority
    )
}
