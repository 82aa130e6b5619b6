//! `over-high-mark`: an outbox stays over its high mark. What feeds it is not read, or, if nothing does, it grows to
//! its hard cap and the connection is closed.

use std::time::Duration;

use super::{Grouped, Lint, Subject, lint};

/// For so long.
const FOR: Duration = Duration::from_secs(3);

pub(super) fn look(subject: Subject<'_>) -> Option<Lint> {
    let watch = &subject.row.watch;
    let over = subject.at.saturating_sub(watch.over_high?);
    if over < FOR {
        return None;
    }
    let (name, id) = (subject.name, subject.row.id);
    let seconds = over.as_secs();
    let (queued, cap) = (kib(watch.queued), kib(watch.hard_cap));
    let text =
        format!("{name} {id} has been over its high mark for {seconds} s ({queued} of {cap} KiB)");
    Some(lint(
        ("over-high-mark", "8"),
        (name, id),
        over.as_secs_f64(),
        text,
    ))
}

fn kib(bytes: usize) -> Grouped {
    Grouped(bytes as u64 / 1024)
}
