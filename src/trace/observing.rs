//! What of the loop becomes which record.

use std::time::Duration;

use super::Trace;
use super::record::LOOP;
use crate::watch::callback::Callback;
use crate::watch::ends::Cause;
use crate::watch::observer::{
    Added, CallbackBegin, CallbackEnd, Crossing, Observer, Refusal, Step, TurnEnd,
};
use crate::watch::reports::Reports;
use crate::world::ids::AnyId;

impl Observer for Trace {
    fn wants(&self) -> Reports {
        Reports::ALL - Reports::EVENTS - Reports::INTEREST
    }

    fn turn_began(&mut self, at: Duration, turn: u64) {
        self.end_turn(at);
        self.now.turn = Some((turn, at));
        self.now.last_turn = turn;
    }

    fn step_began(&mut self, at: Duration, step: Step) {
        self.end_step(at);
        self.now.step = Some((step, at));
    }

    fn wait_ended(&mut self, at: Duration, _events: usize) {
        self.end_step(at);
        self.now.woken = Some(at);
    }

    fn turn_ended(&mut self, at: Duration, end: &TurnEnd) {
        self.write_turn(at, Some(end));
    }

    fn event_dropped(&mut self, at: Duration, id: AnyId) {
        // Its lane is over.
        self.instant_on(LOOP, at, id, "stale event");
    }

    fn callback_began(&mut self, at: Duration, begin: &CallbackBegin) {
        self.now.callback = at;
        self.now.last = at;
        if begin.callback == Callback::Post && !begin.queued.is_zero() {
            let flow = self.new_flow("posted");
            self.flow(flow, 's', LOOP, at.saturating_sub(begin.queued));
            self.flow(flow, 'f', LOOP, at);
        }
        let track = self.track(begin.id);
        let Some(lane) = self.lanes.get(begin.id) else {
            return;
        };
        let first = lane.first.take();
        self.end_flow(first, track, at);
    }

    fn callback_ended(&mut self, at: Duration, end: &CallbackEnd<'_>) {
        self.now.last = at;
        let id = end.begin.id;
        let between_turns = self.now.turn.is_none();
        let lane = self.lanes.get(id);
        let is_timer = end.begin.callback == Callback::Timer;
        let late = lane.and_then(|lane| lane.late.take_if(|_| is_timer));
        self.slice(LOOP, end, late);
        let track = self.track(id);
        if track != LOOP {
            self.slice(track, end, late);
        }
        if end.took >= self.slow {
            self.instant(at, id, format_args!("slow: {:?}", end.took));
        }
        if end.begin.callback == Callback::Close {
            self.write_life(at, id);
        }
        if between_turns {
            self.write_between_turns(at);
        }
    }

    fn added(&mut self, at: Duration, added: &Added<'_>) {
        self.lanes.add(at, added.id, added.type_name, added.address);
        if added.by != AnyId::NONE {
            let flow = self.new_flow("added");
            let from = self.track(added.by);
            self.flow(flow, 's', from, at);
            if let Some(lane) = self.lanes.get(added.id) {
                lane.first = Some(flow);
            }
        }
        self.instant(at, added.id, "added");
    }

    fn replaced(&mut self, at: Duration, replaced: &Added<'_>) {
        self.instant(
            at,
            replaced.id,
            format_args!("replaced by {}", replaced.type_name),
        );
        if let Some(lane) = self.lanes.get(replaced.id) {
            lane.label = format!("{} {}", replaced.type_name, replaced.id);
        }
    }

    fn mark_crossed(&mut self, at: Duration, id: AnyId, crossing: Crossing, queued: usize) {
        let mark = match crossing {
            Crossing::OverHigh => "over the high mark",
            Crossing::BelowLow => "below the low mark",
        };
        self.instant(at, id, format_args!("{mark}: {queued} bytes"));
    }

    fn held(&mut self, at: Duration, id: AnyId, sink: AnyId) {
        let flow = self.new_flow("held");
        self.flow(flow, 's', LOOP, at);
        if let Some(lane) = self.lanes.of(at, id) {
            lane.held = Some(flow);
        }
        self.instant(at, id, format_args!("held by {sink}"));
    }

    fn released(&mut self, at: Duration, id: AnyId) {
        let held = self.lanes.get(id).and_then(|lane| lane.held.take());
        self.end_flow(held, LOOP, at);
        self.instant(at, id, "released");
    }

    fn flushed(&mut self, at: Duration, id: AnyId, _written: usize, queued: usize) {
        let blocked = self.lanes.get(id).and_then(|lane| lane.blocked.take());
        self.end_flow(blocked, LOOP, at);
        if queued > 0 {
            let flow = self.new_flow("write blocked");
            self.flow(flow, 's', LOOP, at);
            if let Some(lane) = self.lanes.get(id) {
                lane.blocked = Some(flow);
            }
        }
    }

    fn timer_fired(&mut self, at: Duration, id: AnyId, late: Duration) {
        if let Some(lane) = self.lanes.of(at, id) {
            lane.late = Some(late);
        }
    }

    fn accepting_paused(&mut self, at: Duration, id: AnyId, reason: Refusal<'_>) {
        match reason {
            Refusal::Limit => self.instant(at, id, "accepting paused: connection limit"),
            Refusal::OverTotal => {
                self.instant(at, id, "accepting paused: outboxes over their bound")
            }
            Refusal::Shortage(error) | Refusal::Fault(error) => {
                self.instant(at, id, format_args!("accepting paused: {error}"));
            }
        }
    }

    fn accepting_resumed(&mut self, at: Duration, id: AnyId) {
        self.instant(at, id, "accepting resumed");
    }

    fn closed(&mut self, at: Duration, id: AnyId, cause: Cause) {
        self.instant(at, id, format_args!("closed: {cause}"));
        self.lanes.end(id, self.now.last_turn);
    }
}
