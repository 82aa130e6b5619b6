//! The records in the form that a viewer reads: turns, steps, callbacks, moments, levels, arrows.

use std::fmt;
use std::time::Duration;

use super::Trace;
use super::lanes::Flow;
use super::record::{LOOP, Record, Track};
use super::sink::Sink;
use crate::watch::observer::{CallbackBegin, CallbackEnd, Outcome, Step, TurnEnd};
use crate::world::ids::AnyId;

/// What is under way.
#[derive(Debug, Default)]
pub(super) struct Now {
    pub(super) turn: Option<(u64, Duration)>,
    pub(super) step: Option<(Step, Duration)>,
    /// When the wait of this turn was over.
    pub(super) woken: Option<Duration>,
    /// When the callback that runs began.
    pub(super) callback: Duration,
    /// The number of the last turn.
    pub(super) last_turn: u64,
    /// The latest reading of the clock.
    pub(super) last: Duration,
}

/// What the counters in the viewer showed last.
#[derive(Debug, Default)]
pub(super) struct Levels([Option<u64>; 6]);

impl Trace {
    pub(super) fn end_step(&mut self, at: Duration) {
        self.now.last = at;
        if let Some((step, began)) = self.now.step.take() {
            let mut record = Record::new(self.sink.always(), 'X', LOOP, began, step.name());
            record.time("dur", at.saturating_sub(began));
            record.end();
        }
    }

    /// Ends the turn that is under way, if one is, and hands it over.
    pub(super) fn end_turn(&mut self, at: Duration) {
        self.write_turn(at, None);
    }

    pub(super) fn write_turn(&mut self, at: Duration, end: Option<&TurnEnd>) {
        self.end_step(at);
        if let Some((turn, began)) = self.now.turn.take() {
            let name = format_args!("turn {turn}");
            let mut record = Record::new(self.sink.always(), 'X', LOOP, began, name);
            record.time("dur", at.saturating_sub(began));
            record.begin_args();
            if let Some(end) = end {
                record.number("events", end.events as u64);
                record.number("callbacks", end.callbacks);
                record.number("still_ready", end.ready as u64);
            }
            record.end();
        }
        if let Some(end) = end {
            self.write_levels(at, end);
        }
        self.sink.end_turn();
        self.lanes.forget_ended(self.now.last_turn);
    }

    /// The counters, those that have changed.
    fn write_levels(&mut self, at: Duration, end: &TurnEnd) {
        let woken = self.now.woken.take().unwrap_or(at);
        let work = at.saturating_sub(woken).as_micros();
        for (place, (name, level)) in [
            ("dispatchers", end.dispatchers as u64),
            ("connections", end.connections as u64),
            ("ready", end.ready as u64),
            ("timers", end.timers as u64),
            ("queued bytes", end.queued_bytes as u64),
            (
                "work of a turn in µs",
                u64::try_from(work).unwrap_or(u64::MAX),
            ),
        ]
        .into_iter()
        .enumerate()
        {
            if self.levels.0[place].replace(level) != Some(level) {
                let mut record = Record::new(self.sink.always(), 'C', LOOP, at, name);
                record.begin_args();
                record.number("value", level);
                record.end();
            }
        }
    }

    /// The track of a dispatcher, whose name the viewer learns with its first record. The loop's for those that have none.
    pub(super) fn track(&mut self, id: AnyId) -> Track {
        let Some(lane) = self.lanes.of(self.now.last, id) else {
            return LOOP;
        };
        let track = lane.track;
        if !lane.is_named {
            if let Some(buffer) = self.sink.room() {
                let mut record = Record::new(buffer, 'M', track, Duration::ZERO, "thread_name");
                record.begin_args();
                record.field("name", &lane.title);
                record.end();
                lane.is_named = true;
            }
        }
        track
    }

    /// A moment in the life of a dispatcher.
    pub(super) fn instant(&mut self, at: Duration, id: AnyId, name: impl fmt::Display) {
        let track = self.track(id);
        self.instant_on(track, at, id, name);
    }

    pub(super) fn instant_on(
        &mut self,
        track: Track,
        at: Duration,
        id: AnyId,
        name: impl fmt::Display,
    ) {
        if let Some(mut record) = Trace::record(&mut self.sink, 'i', track, at, name) {
            record.field("s", "t");
            record.begin_args();
            record.field("id", id);
            record.end();
        }
    }

    /// A callback, on one track.
    pub(super) fn slice(&mut self, track: Track, end: &CallbackEnd<'_>, late: Option<Duration>) {
        let CallbackBegin {
            id,
            callback,
            queued,
            waiting,
        } = end.begin;
        let lane = self.lanes.get(id);
        let label = lane.map_or("", |lane| lane.label.as_str());
        let space = if label.is_empty() { "" } else { " " };
        let name = format_args!("{}{space}{label}", callback.name());
        let began = self.now.callback;
        let Some(mut record) = Trace::record(&mut self.sink, 'X', track, began, name) else {
            return;
        };
        record.time("dur", end.took);
        record.begin_args();
        record.time("queued_us", queued);
        record.number("others_waiting", waiting as u64);
        record.number("bytes_in", end.bytes_in);
        record.number("bytes_out", end.bytes_out);
        if let Some(late) = late {
            record.time("late_us", late);
        }
        match end.outcome {
            Outcome::Done => record.field("outcome", "ok"),
            Outcome::WouldBlock => record.field("outcome", "would_block"),
            Outcome::Failed(error) => record.field("outcome", format_args!("failed: {error}")),
            Outcome::Panicked => record.field("outcome", "panicked"),
        }
        record.end();
    }

    /// The life of a dispatcher, which holds its callbacks.
    pub(super) fn write_life(&mut self, at: Duration, id: AnyId) {
        let track = self.track(id);
        let Some(began) = self.lanes.take_life(id) else {
            return;
        };
        let lane = self.lanes.get(id);
        let label = lane.map_or("", |lane| lane.label.as_str());
        let name = format_args!("life of {label}");
        if let Some(mut record) = Trace::record(&mut self.sink, 'X', track, began, name) {
            record.time("dur", at.saturating_sub(began));
            record.end();
        }
    }

    /// Those of all that are there.
    pub(super) fn write_lives(&mut self, at: Duration) {
        for id in self.lanes.ids() {
            self.write_life(at, id);
        }
        self.sink.end_turn();
    }

    /// An arrow ends in the callback that runs.
    pub(super) fn end_flow(&mut self, flow: Option<Flow>, track: Track, at: Duration) {
        if let Some(flow) = flow {
            self.flow(flow, 'f', track, at);
        }
    }

    /// A callback that came between turns gets a turn and a step of its own, so that every callback is within both.
    pub(super) fn write_between_turns(&mut self, at: Duration) {
        let began = self.now.callback;
        for name in ["no step", "between turns"] {
            let mut record = Record::new(self.sink.always(), 'X', LOOP, began, name);
            record.time("dur", at.saturating_sub(began));
            record.end();
        }
        self.sink.end_turn();
    }

    /// Begins a record on the track, if there is room for it.
    pub(super) fn record<'a>(
        sink: &'a mut Sink,
        phase: char,
        track: Track,
        at: Duration,
        name: impl fmt::Display,
    ) -> Option<Record<'a>> {
        let buffer = sink.room()?;
        Some(Record::new(buffer, phase, track, at, name))
    }

    /// One end of an arrow, in the slice that is there at that time.
    pub(super) fn flow(&mut self, flow: Flow, phase: char, track: Track, at: Duration) {
        if let Some(mut record) = Trace::record(&mut self.sink, phase, track, at, flow.kind) {
            record.field("cat", "flow");
            record.number("id", flow.number);
            if phase == 'f' {
                record.field("bp", "e");
            }
            record.end();
        }
    }

    pub(super) fn new_flow(&mut self, kind: &'static str) -> Flow {
        self.flows += 1;
        let number = self.flows;
        Flow { kind, number }
    }
}
