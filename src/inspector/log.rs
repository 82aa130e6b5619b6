//! The event log: what happened to which dispatcher, one line each.

use std::collections::VecDeque;

use crate::AnyId;

/// What the event log shows.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: VecDeque<Entry>,
    dropped: u64,
    /// Lines that were made in this second.
    made: u32,
}

/// One line of it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) at: u64,
    pub(super) kind: &'static str,
    pub(super) id: AnyId,
    pub(super) text: String,
}

/// Lines that a beat shows at most.
const MOST_ENTRIES: usize = 200;
/// Lines that are made in a second at most: each costs an allocation or two, and a flood of connections makes many.
const MOST_MADE: u32 = 2_000;
/// Characters of a line; a peer may have chosen some of them.
const MOST_TEXT: usize = 200;

impl Log {
    /// Whether a line is to be made. One that is not is counted.
    pub(super) fn has_room(&mut self) -> bool {
        let has_room = self.made < MOST_MADE;
        self.made += u32::from(has_room);
        self.dropped += u64::from(!has_room);
        has_room
    }

    /// Another second begins.
    pub(super) fn make_room(&mut self) {
        self.made = 0;
    }

    /// With no place left the oldest line goes.
    pub(super) fn push(&mut self, at: u64, kind: &'static str, id: AnyId, mut text: String) {
        if self.entries.len() == MOST_ENTRIES {
            self.entries.pop_front();
            self.dropped += 1;
        }
        if let Some((end, _)) = text.char_indices().nth(MOST_TEXT) {
            text.truncate(end);
            text.push('…');
        }
        self.entries.push_back(Entry { at, kind, id, text });
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.dropped = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flood(log: &mut Log, lines: u64) {
        for at in 0..lines {
            if log.has_room() {
                log.push(at, "added", AnyId::NONE, "x".repeat(500));
            }
        }
    }

    #[test]
    fn the_newest_lines_are_kept_and_the_others_counted() {
        let mut log = Log::default();
        flood(&mut log, 300);
        assert_eq!((log.iter().count(), log.dropped()), (200, 100));
        assert_eq!(log.iter().next().map(|entry| entry.at), Some(100));
        let text = &log.iter().next().expect("there are lines").text;
        assert_eq!(text.chars().count(), MOST_TEXT + 1);
    }

    #[test]
    fn a_flood_makes_no_more_than_its_share_of_a_second() {
        let mut log = Log::default();
        flood(&mut log, 10_000);
        assert_eq!(log.iter().last().map(|entry| entry.at), Some(1_999));
        assert_eq!(log.dropped(), 9_800);
        log.make_room();
        flood(&mut log, 1);
        assert_eq!(log.iter().last().map(|entry| entry.at), Some(0));
    }
}
