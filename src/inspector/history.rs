//! The beats of the last minute.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long a beat is kept,
const KEPT: Duration = Duration::from_secs(60);
/// and how many bytes all together have at most.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// Beats as they were sent.
#[derive(Debug, Default)]
pub(super) struct History {
    beats: VecDeque<(Instant, Rc<[u8]>)>,
    bytes: usize,
}

impl History {
    pub(super) fn push(&mut self, now: Instant, beat: Rc<[u8]>) {
        self.bytes += beat.len();
        self.beats.push_back((now, beat));
        while let Some((at, oldest)) = self.beats.front() {
            let is_kept = now.saturating_duration_since(*at) <= KEPT && self.bytes <= MOST_BYTES;
            if is_kept || self.beats.len() == 1 {
                return;
            }
            self.bytes -= oldest.len();
            self.beats.pop_front();
        }
    }

    /// The newest and when it was made.
    pub(super) fn last(&self) -> Option<&(Instant, Rc<[u8]>)> {
        self.beats.back()
    }

    /// All of them, the oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Rc<[u8]>> {
        self.beats.iter().map(|(_, beat)| beat)
    }
}

/// The pieces of a recording of these beats, which are JSON.
pub(super) fn recording<'a>(
    program: &str,
    beats: impl Iterator<Item = &'a Rc<[u8]>>,
) -> Vec<Rc<[u8]>> {
    let program = serde_json::Value::from(program);
    let opening = format!("{{\"v\":1,\"program\":{program},\"beats\":[");
    let mut pieces = vec![Rc::from(opening.into_bytes())];
    for (place, beat) in beats.enumerate() {
        if place > 0 {
            pieces.push(Rc::from(b",\n".as_slice()));
        }
        pieces.push(Rc::clone(beat));
    }
    pieces.push(Rc::from(b"]}\n".as_slice()));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(bytes: usize) -> Rc<[u8]> {
        vec![b'7'; bytes].into()
    }

    #[test]
    fn a_minute_is_kept_and_no_more_than_fits() {
        let start = Instant::now();
        let mut history = History::default();
        for second in 0..100 {
            history.push(start + Duration::from_secs(second), beat(1));
        }
        assert_eq!(history.iter().count(), 61);
        history.push(start + Duration::from_secs(100), beat(MOST_BYTES - 10));
        assert_eq!(history.iter().count(), 11);
        history.push(start + Duration::from_secs(101), beat(MOST_BYTES + 1));
        assert_eq!(history.iter().count(), 1, "the newest stays");
    }

    #[test]
    fn a_recording_is_json_whatever_the_program_is_called() {
        let beats = [beat(1), beat(2)];
        let pieces = recording("a\"b\n", beats.iter());
        let whole: serde_json::Value = serde_json::from_slice(&pieces.concat()).unwrap();
        assert_eq!(whole["program"], "a\"b\n");
        assert_eq!(whole["beats"], serde_json::json!([7, 77]));
    }
}
