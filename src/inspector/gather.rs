//! The observer: what happens is added up here, with a bound on each part. Nothing is allocated for a callback.

mod observing;
// They make up ids, which only the crate itself can: not in the copy of `tests/kit/public_api.rs`.
#[cfg(all(test, feature = "observer"))]
mod tests;

use std::time::Duration;

use crate::AnyId;
use crate::observe::Kind;

use super::OwnWork;
use super::batch::{Batch, Sampling};
use super::lints::{self, Board, Second};
use super::log::Log;
use super::rows::Rows;
use super::slices::{Slices, Waits};
use super::span::{Span, StepTimes};
use super::watch::nanos;

/// All that the inspector knows.
#[derive(Debug, Default)]
pub(super) struct Gather {
    /// The latest time that was heard of.
    pub(super) at: Duration,
    pub(super) rows: Rows,
    pub(super) span: Span,
    pub(super) slices: Slices,
    pub(super) waits: Waits,
    pub(super) log: Log,
    pub(super) board: Board,
    /// Of the turn in hand, and of the last one before it that had any, as far as events are [sampled](Sampling).
    batch: Batch,
    pub(super) last_batch: Batch,
    sampling: Sampling,
    pub(super) last: TurnFigures,
    second: Second,
    turn: Turn,
    /// How long each step had taken when the beat began.
    steps_before: StepTimes,
    over_high: Vec<AnyId>,
    /// Dispatchers whose peer has ended its stream.
    half_open: usize,
    /// In nanoseconds: a callback that takes longer is slow.
    pub(super) threshold: u64,
    /// The inspector's listeners and what they share.
    own: Vec<AnyId>,
    pub(super) own_work: OwnWork,
}

/// Of the turn in hand.
#[derive(Debug, Default)]
struct Turn {
    /// For the lints: what it had to do, and that was not for the inspector.
    timers: u64,
    others: u64,
    /// Callbacks of the inspector's own that an event has brought about.
    own_events: usize,
    wait_is_taken: bool,
}

/// What the last turn left, and what there is by kind.
#[derive(Debug, Default, PartialEq)]
pub(super) struct TurnFigures {
    pub(super) turn: u64,
    pub(super) ready: usize,
    pub(super) timers: usize,
    pub(super) queued_bytes: usize,
    pub(super) posts: usize,
    pub(super) post_capacity: usize,
    pub(super) dispatchers: usize,
    pub(super) connections: usize,
    pub(super) listeners: usize,
    pub(super) services: usize,
}

impl Gather {
    /// The next turn is the one of this number.
    pub(super) fn new(slow_callback: Duration, post_capacity: usize, turn: u64) -> Gather {
        let mut gather = Gather::default();
        gather.set_threshold(slow_callback);
        gather.begin_turn(turn);
        gather.last.post_capacity = post_capacity;
        gather
    }

    /// A callback that takes longer is slow, from now on.
    pub(super) fn set_threshold(&mut self, slow_callback: Duration) {
        self.threshold = nanos(slow_callback);
    }

    /// This dispatcher is the inspector's own, and so are those that it adds.
    pub(super) fn disown(&mut self, id: AnyId) {
        self.own.push(id);
        if let Some(row) = self.rows.get_mut(id) {
            if !std::mem::replace(&mut row.internal, true) {
                let kind = row.kind;
                self.last.count(kind, -1);
            }
        }
    }

    fn count_in(&mut self, id: AnyId, name: &str, kind: Kind, internal: bool) {
        self.rows.add(self.at, id, name, kind, internal);
        if !internal {
            self.last.count(kind, 1);
        } else if kind == Kind::Stream {
            self.own_work.connections += 1;
        }
    }

    /// How a dispatcher is named in a sentence.
    pub(super) fn label(&self, id: AnyId) -> String {
        match self.rows.get(id) {
            Some(row) => format!("{} {id}", self.rows.name(row)),
            None if id == AnyId::NONE => "the reactor".to_owned(),
            None => id.to_string(),
        }
    }

    pub(super) fn is_internal(&self, id: AnyId) -> bool {
        self.rows.get(id).is_some_and(|row| row.internal)
    }

    /// A line of the log, if there are not too many of them. (Then the text is not made.)
    fn note(&mut self, kind: &'static str, id: AnyId, text: impl FnOnce(&Gather) -> String) {
        if self.is_internal(id) || !self.log.has_room() {
            return;
        }
        let text = text(self);
        self.log.push(nanos(self.at), kind, id, text);
    }

    /// Has the lints look at the second in hand, if it is over.
    pub(super) fn review(&mut self) {
        if self.at.saturating_sub(self.second.began) < lints::SECOND {
            return;
        }
        self.second.half_open = self.half_open;
        self.board.review(self.at, &self.second, &self.rows);
        self.log.make_room();
        self.rows.begin_second();
        self.second = Second {
            began: self.at,
            pressed: self.second.pressed,
            posts: self.last.posts,
            post_capacity: self.last.post_capacity,
            posts_refused: self.second.posts_refused,
            ..Second::default()
        };
    }

    /// Takes in what an observer cannot see by itself: of those [`over_high`](Gather::over_high) what is queued and the
    /// hard cap, and how many posts were ever refused.
    pub(super) fn bring_up_to_date(&mut self, outboxes: &[(AnyId, usize, usize)], refused: u64) {
        for &(id, queued, hard_cap) in outboxes {
            if let Some(row) = self.rows.get_mut(id) {
                row.watch.queued = queued;
                row.watch.hard_cap = hard_cap;
            }
        }
        self.second.posts_refused = refused;
        self.review();
        let rows = &self.rows;
        let over = outboxes.iter().filter_map(|&(id, ..)| rows.get(id));
        let named = over.map(|row| (rows.name(row), row));
        self.board.look_again(self.at, &self.second, named);
    }

    fn begin_turn(&mut self, number: u64) {
        self.turn = Turn::default();
        self.batch.begin(number);
    }

    /// The wait of the turn in hand, once.
    pub(super) fn take_wait(&mut self, began: Duration, took: Duration) {
        if !std::mem::replace(&mut self.turn.wait_is_taken, true) {
            self.waits.push(nanos(began), nanos(took));
        }
    }

    /// How long each step took since the beat before, in nanoseconds, if in all turns it has taken so long.
    pub(super) fn steps(&self, mut times: StepTimes) -> StepTimes {
        for (time, before) in times.iter_mut().zip(self.steps_before) {
            *time -= before;
        }
        times
    }

    /// The next beat begins.
    pub(super) fn begin_beat(&mut self, steps: StepTimes) {
        self.steps_before = steps;
        self.sampling.begin_beat();
        self.span = Span::beginning(nanos(self.at));
        self.rows.begin_beat();
        self.slices.clear();
        self.waits.clear();
        self.log.clear();
    }

    /// Whose outbox is over its high mark, as far as they are looked at.
    pub(super) fn over_high(&self) -> &[AnyId] {
        &self.over_high
    }
}

impl TurnFigures {
    fn count(&mut self, kind: Kind, by: isize) {
        let figure = match kind {
            Kind::Stream => &mut self.connections,
            Kind::Listener => &mut self.listeners,
            Kind::Service => &mut self.services,
            _ => &mut 0,
        };
        *figure = figure.saturating_add_signed(by);
        self.dispatchers = self.dispatchers.saturating_add_signed(by);
    }
}
