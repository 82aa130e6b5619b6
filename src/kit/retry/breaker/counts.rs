//! What a closed breaker counts, and when it is too much.

use std::io;
use std::time::{Duration, Instant};

use crate::kit::retry::backoff::invalid;

/// When a breaker opens.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trip {
    Consecutive(u32),
    Rate {
        percent: u32,
        window: Duration,
        at_least: u32,
    },
}

/// The window is kept in so many parts, the oldest of which is forgotten as a whole.
const PARTS: usize = 10;

/// Failures in a row, or the outcomes of each part of the window: constant memory, however many calls.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    in_a_row: u32,
    parts: [Part; PARTS],
    /// When the first part began, of which all are counted on.
    origin: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Part {
    /// The number of this part since the origin, by which an outdated one is known.
    number: u64,
    outcomes: u64,
    failures: u64,
}

impl Trip {
    pub(super) fn check(&self) -> io::Result<()> {
        match *self {
            Trip::Consecutive(0) => Err(invalid(
                "circuit breaker: 0 failures in a row: expected at least 1".to_owned(),
            )),
            Trip::Rate {
                percent,
                window,
                at_least,
            } if !(1..=100).contains(&percent)
                || at_least == 0
                || window < Duration::from_millis(1) =>
            {
                Err(invalid(format!(
                    "circuit breaker: {percent} percent of at least {at_least} in {window:?}: expected 1 to 100, \
                     at least 1, and at least a millisecond"
                )))
            }
            _ => Ok(()),
        }
    }
}

impl Counts {
    pub(super) fn clear(&mut self) {
        *self = Counts::default();
    }

    pub(super) fn success(&mut self, trip: &Trip, now: Instant) {
        match *trip {
            Trip::Consecutive(_) => self.in_a_row = 0,
            Trip::Rate { window, .. } => {
                self.note(window, now, 0);
            }
        }
    }

    /// Whether this failure is one too many.
    pub(super) fn failure(&mut self, trip: &Trip, now: Instant) -> bool {
        match *trip {
            Trip::Consecutive(most) => {
                self.in_a_row = self.in_a_row.saturating_add(1);
                self.in_a_row >= most
            }
            Trip::Rate {
                percent,
                window,
                at_least,
            } => {
                let current = self.note(window, now, 1);
                let recent = self.parts.iter().filter(|part| part.is_recent(current));
                let (outcomes, failures) = recent.fold((0, 0), |(outcomes, failures), part| {
                    (outcomes + part.outcomes, failures + part.failures)
                });
                outcomes >= u64::from(at_least) && failures * 100 >= outcomes * u64::from(percent)
            }
        }
    }

    /// Counts an outcome; the number of the part that is current.
    fn note(&mut self, window: Duration, now: Instant, failures: u64) -> u64 {
        let origin = *self.origin.get_or_insert(now);
        let part_nanos = (window.as_nanos() / PARTS as u128).max(1);
        let number = now.saturating_duration_since(origin).as_nanos() / part_nanos;
        let number = u64::try_from(number).unwrap_or(u64::MAX);
        let index = usize::try_from(number % PARTS as u64).unwrap_or_default();
        let part = &mut self.parts[index];
        // A time that is earlier than the last is counted with what came later.
        if part.number < number {
            *part = Part {
                number,
                ..Part::default()
            };
        }
        part.outcomes += 1;
        part.failures += failures;
        part.number
    }
}

impl Part {
    fn is_recent(&self, current: u64) -> bool {
        self.number.saturating_add(PARTS as u64) > current
    }
}
