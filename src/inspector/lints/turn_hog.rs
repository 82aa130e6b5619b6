//! `turn-hog`: one dispatcher has most of the loop's time although none of its callbacks is slow, and others wait for
//! it in each turn.
//!
//! Only its [long](super::super::watch::LONG) callbacks are counted. A connection that is merely busier than others has
//! short ones, and others their turn in between.

use super::{Lint, Second, Subject, lint};

/// Its part of the busy time.
const SHARE: f64 = 0.5;
/// The loop's busy part of the second: in a loop that sleeps most of the time there is no lack of it.
const BUSY: f64 = 0.2;

#[expect(clippy::cast_precision_loss, reason = "a share for people")]
pub(super) fn look(subject: Subject<'_>, second: &Second) -> Option<Lint> {
    let watch = &subject.row.watch;
    let share = watch.long as f64 / (second.busy as f64).max(1.0);
    let loop_is_busy = second.busy as f64 >= BUSY * subject.span.as_nanos() as f64;
    if share < SHARE || !loop_is_busy || !second.has_others {
        return None;
    }
    let (name, id) = (subject.name, subject.row.id);
    let per_cent = share * 100.0;
    let millis = watch.long as f64 / f64::from(watch.longs.max(1)) / 1e6;
    let text = format!(
        "{name} {id} took {per_cent:.0} % of the busy time of the last second, {millis:.1} ms a callback"
    );
    Some(lint(("turn-hog", "11"), (name, id), per_cent, text))
}
