//! At most one log line a second for a condition that can repeat: a flood must not become an outage.
//!
//! What is held back is counted, and the next line says how many were; the rest is logged when the reactor
//! is dropped.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::time::clock::Tick;
use crate::world::ids::short_type_name;
use crate::world::topics;

const INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct LogLimit {
    last: Option<Tick>,
    held_back: u64,
}

/// Shown behind a line's text: nothing, or how many like it were not logged.
#[derive(Debug)]
pub(crate) struct HeldBack(pub(crate) u64);

impl fmt::Display for HeldBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            count => write!(f, " ({count} more like this were not logged)"),
        }
    }
}

impl LogLimit {
    /// Whether a line may be written now; if so, how many were held back since the last.
    pub(crate) fn pass(&mut self, now: Tick) -> Option<HeldBack> {
        if self.last.is_some_and(|last| now.since(last) < INTERVAL) {
            self.held_back += 1;
            return None;
        }
        self.last = Some(now);
        Some(self.take())
    }

    /// What has been held back and not told.
    pub(crate) fn take(&mut self) -> HeldBack {
        HeldBack(std::mem::take(&mut self.held_back))
    }
}

/// One limit for each condition that can repeat.
#[derive(Debug, Default)]
pub(crate) struct LogLimits {
    pub(crate) shortage: LogLimit,
    pub(crate) at_limit: LogLimit,
    pub(crate) over_total: LogLimit,
    pub(crate) faults: FaultLimits,
    /// Faults that only the peer has caused, logged at level debug.
    pub(crate) peer_faults: LogLimit,
    pub(crate) slow: LogLimit,
    pub(crate) panic: LogLimit,
    /// In debug builds: input that is never read, and connections that stay half open.
    pub(crate) unread: LogLimit,
    pub(crate) half_open: LogLimit,
}

impl LogLimits {
    /// Logs the counts of lines that were suppressed last.
    pub(crate) fn finish(&mut self) {
        for (what, limit) in [
            (
                "out of descriptors or memory while accepting",
                &mut self.shortage,
            ),
            ("at the connection limit", &mut self.at_limit),
            ("too much queued in all", &mut self.over_total),
            ("slow callback", &mut self.slow),
            ("panic in a callback", &mut self.panic),
            ("input that is not read", &mut self.unread),
            ("open after the end of input", &mut self.half_open),
        ] {
            let HeldBack(count) = limit.take();
            if count > 0 {
                log::warn!(target: topics::FAULT, "{what}: {count} more were not logged");
            }
        }
        self.faults.finish();
    }
}

/// Limits for the faults of dispatchers: one for each type of dispatcher and kind of error, so that a flood
/// of one fault does not hide another.
#[derive(Debug, Default)]
pub(crate) struct FaultLimits {
    entries: Vec<(&'static str, io::ErrorKind, LogLimit)>,
    /// For what comes when there are [`FaultLimits::MOST`].
    others: LogLimit,
}

impl FaultLimits {
    /// More than a program has types of dispatchers that fail in several ways, and a bound on the lines of a
    /// second.
    const MOST: usize = 32;

    pub(crate) fn pass(
        &mut self,
        type_name: &'static str,
        kind: io::ErrorKind,
        now: Tick,
    ) -> Option<HeldBack> {
        let known = self
            .entries
            .iter()
            .position(|entry| (entry.0, entry.1) == (type_name, kind));
        let limit = match known {
            Some(place) => &mut self.entries[place].2,
            None if self.entries.len() < Self::MOST => {
                self.entries.push((type_name, kind, LogLimit::default()));
                let place = self.entries.len() - 1;
                &mut self.entries[place].2
            }
            None => &mut self.others,
        };
        limit.pass(now)
    }

    fn finish(&mut self) {
        for (type_name, kind, limit) in &mut self.entries {
            let HeldBack(count) = limit.take();
            if count > 0 {
                let name = short_type_name(type_name);
                log::warn!(target: topics::FAULT, "{name}: {kind}: {count} more were not logged");
            }
        }
        let HeldBack(count) = self.others.take();
        if count > 0 {
            log::warn!(target: topics::FAULT, "other faults: {count} more were not logged");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_fault_does_not_hide_another_and_all_are_bounded() {
        let mut limits = FaultLimits::default();
        let now = Tick::default();
        let mut pass = |name, kind| limits.pass(name, kind, now).is_some();
        assert!(pass("Echo", io::ErrorKind::TimedOut));
        assert!(!pass("Echo", io::ErrorKind::TimedOut));
        assert!(pass("Echo", io::ErrorKind::InvalidData));
        assert!(pass("Chat", io::ErrorKind::TimedOut));
        let names: Vec<&'static str> = (0..1000).map(|i| &*format!("T{i}").leak()).collect();
        let lines = names.iter().filter(|name| pass(name, io::ErrorKind::Other));
        // Three are known already; all that come when there are too many have one line together.
        assert_eq!(lines.count(), FaultLimits::MOST - 3 + 1);
    }

    #[test]
    fn a_flood_is_one_line_a_second_and_the_counts_add_up() {
        let mut limit = LogLimit::default();
        let (mut lines, mut counted) = (0, 0);
        for i in 0..100_000u64 {
            let now = Tick::default().after(Duration::from_micros(i * 100));
            if let Some(HeldBack(count)) = limit.pass(now) {
                lines += 1;
                counted += count + 1;
            }
        }
        counted += limit.take().0;
        assert!(lines <= 11, "{lines} lines in ten seconds");
        assert_eq!(counted, 100_000);
    }
}
