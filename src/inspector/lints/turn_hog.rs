//! `turn-hog`: one dispatcher has most of the loop's time although none of its callbacks is slow, and others wait for
//! it in each turn.

use super::{Lint, Second, Subject, lint};

/// Its part of the busy time.
const SHARE: f64 = 0.5;
/// The loop's busy part of the second: in a loop that sleeps most of the time there is no lack of it.
const BUSY: f64 = 0.2;
/// A callback of it takes so many nanoseconds on average. A connection that is merely busier than others has short
/// ones, and others their turn in between.
const MEAN: u64 = 1_000_000;
/// Others that had callbacks.
const OTHERS: usize = 1;

#[expect(clippy::cast_precision_loss, reason = "a share for people")]
pub(super) fn look(subject: Subject<'_>, second: &Second) -> Option<Lint> {
    let watch = &subject.row.watch;
    let share = watch.busy as f64 / (second.busy as f64).max(1.0);
    let loop_is_busy = second.busy as f64 >= BUSY * subject.span.as_nanos() as f64;
    let mean = watch.busy / u64::from(watch.callbacks.max(1));
    if share < SHARE || !loop_is_busy || mean < MEAN || second.callers <= OTHERS {
        return None;
    }
    let (name, id) = (subject.name, subject.row.id);
    let per_cent = share * 100.0;
    let millis = mean as f64 / 1e6;
    let text = format!(
        "{name} {id} took {per_cent:.0} % of the busy time of the last second, {millis:.1} ms a callback"
    );
    Some(lint(("turn-hog", "11"), (name, id), per_cent, text))
}
