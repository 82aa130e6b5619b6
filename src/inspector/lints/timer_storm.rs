//! `timer-storm`: the loop turns for nothing but timers, because one has a period of next to nothing.

use crate::AnyId;

use super::{Grouped, Lint, Second, Subject, lint, rate};

/// Turns in a second that had timers to fire and nothing else to do.
const TURNS: f64 = 1_000.0;
/// Their part of all turns.
const SHARE: f64 = 0.9;

/// The dispatcher whose timers fired most.
#[derive(Debug, Default)]
pub(super) struct Busiest<'a> {
    timers: u64,
    who: Option<(&'a str, AnyId)>,
}

impl<'a> Busiest<'a> {
    pub(super) fn look(&mut self, subject: Subject<'a>) {
        let timers = u64::from(subject.row.watch.timers);
        if timers > self.timers {
            self.timers = timers;
            self.who = Some((subject.name, subject.row.id));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share for people")]
pub(super) fn look(
    second: &Second,
    span: std::time::Duration,
    busiest: &Busiest<'_>,
) -> Option<Lint> {
    let share = second.timer_turns as f64 / (second.turns as f64).max(1.0);
    if share < SHARE || rate(second.timer_turns, span) < TURNS {
        return None;
    }
    let per_cent = share * 100.0;
    let turns = Grouped(second.timer_turns);
    let (who, whose, timers) = match busiest.who {
        Some((name, id)) if busiest.timers >= second.closures_timers => {
            ((name, id), format!("{name} {id}"), busiest.timers)
        }
        _ => (
            ("", AnyId::NONE),
            "closures".to_owned(),
            second.closures_timers,
        ),
    };
    let timers = Grouped(timers);
    let text = format!(
        "{per_cent:.0} % of turns were woken by timers alone: {turns} of them, with {timers} timers of {whose}"
    );
    Some(lint(("timer-storm", "10"), who, per_cent, text))
}
