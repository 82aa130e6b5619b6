//! How long requests take: a histogram whose classes are a sixteenth of an octave apart.

use std::fmt;
use std::time::Duration;

const SHARES: u64 = 16;

/// Of 64 octaves.
const CLASSES: usize = 1024;

/// Latencies, to a precision of some 6 %, in 8 KiB whatever their number.
pub(crate) struct Latencies {
    counts: Vec<u64>,
    total: u64,
}

impl Latencies {
    pub(crate) fn new() -> Latencies {
        Latencies {
            counts: vec![0; CLASSES],
            total: 0,
        }
    }

    pub(crate) fn note(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.counts[class(micros)] += 1;
        self.total += 1;
    }

    /// So many per mille were no longer than this, in microseconds. 0 if there is none.
    pub(crate) fn quantile(&self, per_mille: u64) -> u64 {
        let rank = (self.total * per_mille).div_ceil(1000);
        let mut seen = 0;
        for (class, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank.max(1) {
                return upper_end(class as u64);
            }
        }
        0
    }
}

/// Up to 16 µs each has its own class.
fn class(micros: u64) -> usize {
    let octave = u64::from(micros.max(1).ilog2()).saturating_sub(SHARES.ilog2().into());
    let class = octave * SHARES + (micros >> octave);
    usize::try_from(class).unwrap_or(0)
}

fn upper_end(class: u64) -> u64 {
    let octave = (class / SHARES).saturating_sub(1);
    let share = class - octave * SHARES;
    ((share + 1) << octave) - 1
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [half, most, nearly_all] = [500, 990, 999].map(|per_mille| self.quantile(per_mille));
        write!(f, "p50_us={half} p99_us={most} p999_us={nearly_all}")
    }
}
