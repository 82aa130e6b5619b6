//! The lints: what is wrong with a loop, one sentence each.
//!
//! Each is a file below `lints/`: a pure function of what was gathered, with its threshold beside it. Those about a
//! dispatcher are given one row after the other, those about the loop the second as a whole. A second is over with
//! the first turn that ends at least so much later; the lints' figures are for as long as it took.
//!
//! A lint that was found holds for some seconds, so that one sees it.

mod half_open;
mod idle_writer;
mod over_high_mark;
mod post_pressure;
mod slow_callback;
mod timer_storm;
mod turn_hog;
mod unread_input;

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::AnyId;
use crate::observe::CallbackEnd;

pub(super) use self::post_pressure::is_pressed;
use super::rows::{Row, Rows};

/// How long a lint is shown after it was found last.
const HOLD: Duration = Duration::from_secs(5);

/// Lints of one name that are shown at most.
const MOST_OF_A_NAME: usize = 8;

/// How long what the lints call a second is at least.
pub(super) const SECOND: Duration = Duration::from_secs(1);

/// What the lints about the loop look at: one second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Second {
    /// When it began.
    pub(super) began: Duration,
    /// Nanoseconds in callbacks that were not slow, the inspector's own left out.
    pub(super) busy: u64,
    pub(super) turns: u64,
    /// Turns that had timers to fire, and nothing else to do.
    pub(super) timer_turns: u64,
    /// Timers of closures, which belong to no dispatcher.
    pub(super) closures_timers: u64,
    /// The first dispatcher that had a callback, and whether another had one.
    pub(super) caller: Option<AnyId>,
    pub(super) has_others: bool,
    /// Connections whose peers have ended their stream.
    pub(super) half_open: usize,
    /// Since when the queue of posts has been all but full.
    pub(super) pressed: Option<Duration>,
    pub(super) posts: usize,
    pub(super) post_capacity: usize,
    /// Posts refused since the inspector looks.
    pub(super) posts_refused: u64,
}

impl Second {
    /// A dispatcher had a callback.
    #[inline]
    pub(super) fn note_caller(&mut self, id: AnyId) {
        if *self.caller.get_or_insert(id) != id {
            self.has_others = true;
        }
    }
}

/// One dispatcher, for a lint to judge.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    pub(super) name: &'a str,
    pub(super) row: &'a Row,
    /// The time now, and how long the second was.
    pub(super) at: Duration,
    pub(super) span: Duration,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Lint {
    lint: &'static str,
    #[serde(serialize_with = "or_empty")]
    id: AnyId,
    #[serde(rename = "type")]
    type_name: String,
    text: String,
    /// The number that set it off.
    value: f64,
    /// In microseconds; when it was found first.
    since: f64,
    /// Of the book.
    chapter: &'static str,
    /// It is about the loop, whatever dispatcher is named: there is one of its name.
    #[serde(skip)]
    is_the_only_one: bool,
    #[serde(skip)]
    until: Duration,
}

/// An id as JSON: empty for none.
pub(super) fn or_empty<S: Serializer>(id: &AnyId, to: S) -> Result<S::Ok, S::Error> {
    if *id == AnyId::NONE {
        return to.serialize_str("");
    }
    to.collect_str(id)
}

/// The lints that hold.
#[derive(Debug, Default)]
pub(super) struct Board {
    lints: Vec<Lint>,
}

impl Board {
    /// A callback was slow.
    pub(super) fn slow(&mut self, at: Duration, end: &CallbackEnd<'_>, name: &str) {
        self.put(at, slow_callback::found(end, name));
    }

    /// A second is over.
    pub(super) fn review(&mut self, at: Duration, second: &Second, rows: &Rows) {
        let span = at.saturating_sub(second.began);
        let mut leaks = half_open::Leaks::default();
        let mut busiest = timer_storm::Busiest::default();
        let subject = |row| Subject {
            name: rows.name(row),
            row,
            at,
            span,
        };
        if second.half_open >= half_open::LEAST {
            let rows = rows.iter().filter(|row| !row.internal);
            rows.for_each(|row| leaks.look(subject(row)));
        }
        for row in rows.noted().filter(|row| !row.internal) {
            let subject = subject(row);
            busiest.look(subject);
            let found = idle_writer::look(subject)
                .or_else(|| unread_input::look(subject))
                .or_else(|| turn_hog::look(subject, second));
            if let Some(lint) = found {
                self.put(at, lint);
            }
        }
        let found = [
            leaks.found(),
            timer_storm::look(second, span, &busiest),
            post_pressure::look(second, at),
        ];
        found
            .into_iter()
            .flatten()
            .for_each(|lint| self.put(at, lint));
        self.lints.retain(|lint| at < lint.until);
    }

    /// The figures of these were brought up to date: their sentences follow.
    pub(super) fn look_again<'a>(
        &mut self,
        at: Duration,
        second: &Second,
        over_high: impl Iterator<Item = (&'a str, &'a Row)>,
    ) {
        for (name, row) in over_high.filter(|(_, row)| !row.internal) {
            let span = Duration::ZERO;
            let subject = Subject {
                name,
                row,
                at,
                span,
            };
            if let Some(lint) = over_high_mark::look(subject) {
                self.put(at, lint);
            }
        }
        if let Some(lint) = post_pressure::look(second, at) {
            self.put(at, lint);
        }
    }

    fn put(&mut self, at: Duration, mut lint: Lint) {
        lint.until = at + HOLD;
        lint.since = micros(at);
        let mut of_a_name = 0;
        for old in &mut self.lints {
            if old.lint == lint.lint && (old.id == lint.id || lint.is_the_only_one) {
                lint.since = old.since;
                *old = lint;
                return;
            }
            of_a_name += usize::from(old.lint == lint.lint);
        }
        if of_a_name < MOST_OF_A_NAME {
            self.lints.push(lint);
        }
    }

    /// Those that hold at this time.
    pub(super) fn at(&self, at: Duration) -> impl Iterator<Item = &Lint> {
        self.lints.iter().filter(move |lint| at < lint.until)
    }

    /// The dispatchers that they are about.
    pub(super) fn ids(&self) -> impl Iterator<Item = AnyId> {
        self.lints.iter().map(|lint| lint.id)
    }
}

/// A lint about a dispatcher, or with [`AnyId::NONE`] about the loop.
fn lint(
    (name, chapter): (&'static str, &'static str),
    (type_name, id): (&str, AnyId),
    value: f64,
    text: impl fmt::Display,
) -> Lint {
    Lint {
        lint: name,
        id,
        type_name: type_name.to_owned(),
        text: text.to_string(),
        value,
        since: 0.0,
        chapter,
        is_the_only_one: false,
        until: Duration::ZERO,
    }
}

/// In microseconds, with one decimal.
fn micros(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e7).round() / 10.0
}

/// How many a second, of what was counted in `span`.
#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn rate(count: u64, span: Duration) -> f64 {
    count as f64 / span.as_secs_f64().max(1e-9)
}

/// A count with its thousands apart: `41,200`.
struct Grouped(u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place) % 3 == 0 {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}
