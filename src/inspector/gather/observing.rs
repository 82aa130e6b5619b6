//! The observer's callbacks, and where their data go.

use std::time::Duration;

use crate::observe::{
    Added, Callback, CallbackEnd, Crossing, Event, Observer, Outcome, Refusal, Reports, TurnEnd,
};
use crate::{AnyId, Cause};

use super::super::batch::Chip;
use super::super::lints;
use super::super::slices::Slice;
use super::super::watch::{Watch, nanos};
use super::Gather;

/// A timer that fires so much later than it was due is worth a line in the log.
const LATE: Duration = Duration::from_millis(10);

/// Outboxes over their high mark that are looked at for the lint.
const MOST_OVER_HIGH: usize = 64;

/// Whether such a callback comes of an event or of what was left over, not of time.
fn is_work(callback: Callback) -> bool {
    !matches!(
        callback,
        Callback::Timer | Callback::Closure | Callback::Close | Callback::Drop
    )
}

impl Gather {
    /// What the end of a callback means beyond the figures.
    #[cold]
    fn remarkable(&mut self, end: &CallbackEnd<'_>, slow: bool) {
        let (id, callback) = (end.begin.id, end.begin.callback);
        if slow {
            let name = self.rows.get(id).map(|row| self.rows.name(row).to_owned());
            let name = name.unwrap_or_default();
            self.board.slow(self.at, end, &name);
            let millis = end.took.as_millis();
            let text = format!("{name} {callback} took {millis} ms");
            self.note("slow", id, |_| text);
        }
        if matches!(end.outcome, Outcome::Panicked) {
            let text = |gather: &Gather| format!("{} in {callback}", gather.label(id));
            self.note("panic", id, text);
        }
        if callback == Callback::Close {
            let row = self.rows.get(id);
            let half_open = row.is_some_and(|row| row.watch.half_open.is_some());
            self.half_open -= usize::from(half_open);
            self.rows.remove(id);
        }
    }
}

impl Observer for Gather {
    fn wants(&self) -> Reports {
        let mut wanted = Reports::CALLBACK_ENDED;
        if self.sampling.is_on() {
            wanted = wanted | Reports::EVENTS;
        }
        // Every message is flushed, and few connections are half open.
        if self.half_open > 0 {
            wanted = wanted | Reports::FLUSHES;
        }
        wanted
    }

    fn accepts_delay(&self) -> bool {
        self.sampling.rests()
    }

    fn turn_ended(&mut self, at: Duration, end: &TurnEnd) {
        self.at = at;
        self.take_wait(end.began, end.waited);
        self.span.turns += 1;
        self.second.turns += 1;
        let events = end.events.saturating_sub(self.turn.own_events);
        self.span.events += events as u64;
        if self.turn.timers > 0 && self.turn.others == 0 && events == 0 {
            self.second.timer_turns += 1;
        }
        self.last.turn = end.turn;
        self.last.ready = end.ready;
        self.last.timers = end.timers;
        self.last.queued_bytes = end.queued_bytes;
        self.last.posts = end.posts;
        self.second.posts = end.posts;
        self.second.post_capacity = self.last.post_capacity;
        if !lints::is_pressed(end.posts, self.last.post_capacity) {
            self.second.pressed = None;
        } else if self.second.pressed.is_none() {
            self.second.pressed = Some(at);
        }
        if self.sampling.shows_turn() && !self.batch.chips.is_empty() {
            std::mem::swap(&mut self.batch, &mut self.last_batch);
        }
        self.sampling.end_turn();
        self.begin_turn(end.turn + 1);
        self.review();
    }

    fn event_merged(&mut self, at: Duration, id: AnyId, event: Event) {
        self.at = at;
        let Some(row) = self.rows.get_mut(id) else {
            return;
        };
        if row.internal {
            return;
        }
        let chip = Chip {
            id,
            readable: event.readable,
            writable: event.writable,
            stale: false,
            again: false,
        };
        row.chip = self.batch.push(chip);
    }

    fn event_dropped(&mut self, at: Duration, id: AnyId) {
        self.at = at;
        self.span.stale += 1;
        let chip = Chip {
            id,
            readable: false,
            writable: false,
            stale: true,
            again: false,
        };
        if self.sampling.is_on() {
            self.batch.push(chip);
        }
        self.note("stale", id, |_| {
            "an event for a dispatcher that has ended".to_owned()
        });
    }

    fn callback_ended(&mut self, at: Duration, end: &CallbackEnd<'_>) {
        self.at = at;
        let took = nanos(end.took);
        let slow = took > self.threshold;
        let callback = end.begin.callback;
        let work = is_work(callback);
        if let Some(row) = self.rows.count(at, end, took, slow) {
            if row.internal {
                self.turn.own_events += usize::from(work);
                self.own_work.callbacks += 1;
                self.own_work.bytes_in += end.bytes_in;
                self.own_work.bytes_out += end.bytes_out;
                if callback == Callback::Close {
                    self.rows.remove(end.begin.id);
                }
                return;
            }
            if self.half_open != 0 && end.bytes_out > 0 && row.watch.half_open.is_some() {
                row.watch.half_open = Some(at);
            }
            if callback == Callback::Eof && row.watch.half_open.replace(at).is_none() {
                self.half_open += 1;
            }
            // Nothing came for it in this turn: it was left over from the one before.
            if work && self.sampling.is_on() && !self.batch.has(row.chip, row.id) {
                self.last_batch.mark_again(row.chip, row.id);
            }
            self.second.note_caller(row.id);
        }
        self.turn.others += u64::from(work);
        self.span.count_callback(end, took);
        if !slow {
            self.second.busy += took;
        }
        self.slices
            .push(Slice::new(end, nanos(at), took), self.threshold);
        if slow || callback == Callback::Close || matches!(end.outcome, Outcome::Panicked) {
            self.remarkable(end, slow);
        }
    }

    fn added(&mut self, at: Duration, added: &Added<'_>) {
        self.at = at;
        let internal = self.own.contains(&added.id) || self.is_internal(added.by);
        self.count_in(added.id, added.type_name, added.kind, internal);
        self.note("added", added.id, |gather| {
            let by = gather.label(added.by);
            format!("{} {} by {by}", added.type_name, added.address)
        });
    }

    fn replaced(&mut self, at: Duration, replaced: &Added<'_>) {
        self.at = at;
        let before = self.label(replaced.id);
        if let Some(row) = self.rows.get_mut(replaced.id) {
            let watch = std::mem::take(&mut row.watch);
            self.half_open -= usize::from(watch.half_open.is_some());
        }
        self.rows.rename(replaced.id, replaced.type_name);
        self.note("replaced", replaced.id, |_| {
            format!("{before} is now {}", replaced.type_name)
        });
    }

    fn mark_crossed(&mut self, at: Duration, id: AnyId, crossing: Crossing, queued: usize) {
        self.at = at;
        self.over_high.retain(|over| *over != id);
        let is_over = crossing == Crossing::OverHigh;
        if let Some(row) = self.rows.get_mut(id) {
            row.watch.over_high = Some(at).filter(|_| is_over);
            row.watch.queued = queued;
        }
        if is_over && self.over_high.len() < MOST_OVER_HIGH {
            self.over_high.push(id);
        }
        let kind = if is_over { "mark_high" } else { "mark_low" };
        self.note(kind, id, |gather| {
            format!("{}: {queued} bytes queued", gather.label(id))
        });
    }

    fn held(&mut self, at: Duration, id: AnyId, sink: AnyId) {
        self.at = at;
        self.note("held", id, |gather| {
            format!("{} waits for {}", gather.label(id), gather.label(sink))
        });
    }

    fn released(&mut self, at: Duration, id: AnyId) {
        self.at = at;
        self.note("released", id, |gather| {
            format!("{} is read again", gather.label(id))
        });
    }

    fn flushed(&mut self, at: Duration, id: AnyId, written: usize, _: usize) {
        self.at = at;
        if written == 0 {
            return;
        }
        if let Some(since) = self
            .rows
            .get_mut(id)
            .and_then(|row| row.watch.half_open.as_mut())
        {
            *since = at;
        }
    }

    fn timer_fired(&mut self, at: Duration, id: AnyId, late: Duration) {
        self.at = at;
        match self.rows.count_timer(id) {
            Some(row) if row.internal => return,
            Some(_) => {}
            None => self.second.closures_timers += 1,
        }
        self.turn.timers += 1;
        if late >= LATE {
            self.note("timer", id, |gather| {
                format!("{}: {} ms late", gather.label(id), late.as_millis())
            });
        }
    }

    fn accepting_paused(&mut self, at: Duration, id: AnyId, reason: Refusal<'_>) {
        self.at = at;
        let reason = match reason {
            Refusal::Limit => "the reactor is at its limit of connections".to_owned(),
            Refusal::Shortage(error) => error.to_string(),
            Refusal::Fault(error) => error.to_string(),
            _ => "all outboxes together are over their limit".to_owned(),
        };
        self.note("accept_paused", id, |gather| {
            format!("{}: {reason}", gather.label(id))
        });
    }

    fn accepting_resumed(&mut self, at: Duration, id: AnyId) {
        self.at = at;
        self.note("accept_resumed", id, |gather| gather.label(id));
    }

    fn closed(&mut self, at: Duration, id: AnyId, cause: Cause) {
        self.at = at;
        self.over_high.retain(|over| *over != id);
        self.note("closed", id, |gather| {
            format!("{}: {cause}", gather.label(id))
        });
        if let Some(row) = self.rows.get_mut(id) {
            let (kind, internal) = (row.kind, row.internal);
            // What it does from here on, which is its `handle_close`, no lint is about.
            row.watch = Watch {
                half_open: row.watch.half_open,
                ..Watch::default()
            };
            if !internal {
                self.last.count(kind, -1);
            }
        }
    }
}
