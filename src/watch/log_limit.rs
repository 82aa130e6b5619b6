//! At most one log line a second for a condition that can repeat: a flood must not become an outage.
//!
//! What is held back is counted, and the next line says how many were; the rest is logged when the reactor
//! is dropped.

use std::fmt;
use std::time::Duration;

use crate::time::clock::Tick;

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
    pub(crate) fault: LogLimit,
    pub(crate) slow: LogLimit,
    pub(crate) panic: LogLimit,
}

impl LogLimits {
    /// Tells what never got a line of its own.
    pub(crate) fn finish(&mut self) {
        for (what, limit) in [
            (
                "out of descriptors or memory while accepting",
                &mut self.shortage,
            ),
            ("at the connection limit", &mut self.at_limit),
            ("too much queued in all", &mut self.over_total),
            ("fault of a dispatcher", &mut self.fault),
            ("slow callback", &mut self.slow),
            ("panic in a callback", &mut self.panic),
        ] {
            let HeldBack(count) = limit.take();
            if count > 0 {
                log::warn!("{what}: {count} more were not logged");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
