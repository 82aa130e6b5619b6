//! `idle-writer`: a dispatcher asks for `handle_write` and has nothing to write, so that the loop never sleeps.

use super::{Grouped, Lint, Subject, lint, rate};

/// Calls of `handle_write` in a second that sent nothing, with none that sent anything.
const CALLS: f64 = 500.0;

#[expect(clippy::cast_precision_loss, reason = "a count for people")]
pub(super) fn look(subject: Subject<'_>) -> Option<Lint> {
    let watch = &subject.row.watch;
    let calls = u64::from(watch.idle_writes);
    if watch.useful_writes > 0 || rate(calls, subject.span) < CALLS {
        return None;
    }
    let (name, id) = (subject.name, subject.row.id);
    let calls_text = Grouped(calls);
    let text = format!(
        "{name} {id} asks for writable with an empty outbox: {calls_text} callbacks, 0 bytes"
    );
    Some(lint(("idle-writer", "7"), (name, id), calls as f64, text))
}
