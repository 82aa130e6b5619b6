//! `unread-input`: a stream's `handle_read` returns without having read, again and again. The reactor calls it once a
//! turn as long as input is left, and the loop never sleeps.

use std::time::Duration;

use crate::observe::Kind;

use super::{Grouped, Lint, Subject, lint};

/// So many calls in a row took nothing,
const CALLS: u32 = 500;
/// over so long. (A layer may hand out what it has read ahead in a burst of calls that read nothing.)
const FOR: Duration = Duration::from_millis(500);

pub(super) fn look(subject: Subject<'_>) -> Option<Lint> {
    let watch = &subject.row.watch;
    // What a foreign source reads is not seen here.
    let for_long = subject.at.saturating_sub(watch.unread_since) >= FOR;
    if subject.row.kind != Kind::Stream || watch.unread < CALLS || !for_long {
        return None;
    }
    let (name, id) = (subject.name, subject.row.id);
    let calls = Grouped(u64::from(watch.unread));
    let text = format!("{name} {id} was called {calls} times in a row and took no byte");
    Some(lint(
        ("unread-input", "4"),
        (name, id),
        f64::from(watch.unread),
        text,
    ))
}
