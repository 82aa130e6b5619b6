//! `half-open`: connections whose peers have ended their stream, and that are neither closed nor sent anything. A
//! dispatcher that overrides `handle_eof` has to close some day.

use std::time::Duration;

use crate::AnyId;

use super::{Grouped, Lint, Subject, lint};

/// For so long after the end of the stream, and after the last bytes that were sent.
const FOR: Duration = Duration::from_secs(10);
/// So many of them: a few may be answers that take their time.
pub(super) const LEAST: usize = 10;

/// Those that were seen so far.
#[derive(Debug, Default)]
pub(super) struct Leaks<'a> {
    count: usize,
    /// The one that has been so for the longest time.
    oldest: Option<(Duration, &'a str, AnyId)>,
}

impl<'a> Leaks<'a> {
    pub(super) fn look(&mut self, subject: Subject<'a>) {
        let Some(since) = subject.row.watch.half_open else {
            return;
        };
        if subject.at.saturating_sub(since) < FOR {
            return;
        }
        self.count += 1;
        if self.oldest.is_none_or(|(oldest, ..)| since < oldest) {
            self.oldest = Some((since, subject.name, subject.row.id));
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a count for people")]
    pub(super) fn found(&self) -> Option<Lint> {
        let (_, name, id) = self.oldest.filter(|_| self.count >= LEAST)?;
        let (count, seconds) = (Grouped(self.count as u64), FOR.as_secs());
        let text = format!(
            "{count} dispatchers outlived their peer's end of stream by over {seconds} s; the oldest is {name} {id}"
        );
        let found = lint(("half-open", "9"), (name, id), self.count as f64, text);
        // Which is the oldest changes.
        Some(Lint {
            is_the_only_one: true,
            ..found
        })
    }
}
