//! What is known of each dispatcher: one row a slot, found by its index.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

use crate::AnyId;
use crate::observe::{CallbackEnd, Kind};

use super::watch::{Recent, Tally, Watch};

/// Names of types beyond this many are not told apart. (A program has as many as its source.)
const MOST_NAMES: usize = 1024;

/// All rows.
#[derive(Debug, Default)]
pub(super) struct Rows {
    rows: Vec<Row>,
    /// How many are there.
    there: usize,
    names: Vec<Box<str>>,
    by_name: HashMap<Box<str>, u16>,
    /// Which beat is being gathered; what a row has of another is over.
    beat: u32,
    /// The slots that had a callback in this beat.
    active: Vec<usize>,
}

/// One dispatcher. In this order, for what each callback touches is to be in two lines of the processor's cache: with many
/// connections they are what a callback costs here.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Row {
    pub(super) id: AnyId,
    /// In which turn an event for it was merged last, and its place in that turn's batch.
    pub(super) merged_in: u64,
    pub(super) chip: u8,
    /// Its `handle_close` is yet to come.
    pub(super) is_there: bool,
    /// It is the inspector's own.
    pub(super) internal: bool,
    pub(super) kind: Kind,
    in_beat: u32,
    name: u16,
    /// Since it was added.
    pub(super) total: Tally,
    /// Since the beat before.
    of_beat: Recent,
    /// What the lints look at.
    pub(super) watch: Watch,
    pub(super) added_at: Duration,
}

impl Row {
    /// What it has done since the beat before. (`beat` is [`Rows::beat`].)
    pub(super) fn of_beat(&self, beat: u32) -> Recent {
        if self.in_beat == beat {
            self.of_beat
        } else {
            Recent::default()
        }
    }
}

impl Rows {
    pub(super) fn add(&mut self, at: Duration, id: AnyId, name: &str, kind: Kind, internal: bool) {
        let row = Row {
            id,
            is_there: true,
            internal,
            kind,
            name: self.name_number(name),
            in_beat: self.beat.wrapping_sub(1),
            merged_in: 0,
            chip: 0,
            added_at: at,
            total: Tally::default(),
            of_beat: Recent::default(),
            watch: Watch::default(),
        };
        while self.rows.len() <= id.index() {
            self.rows.push(Row::vacant());
        }
        let before = std::mem::replace(&mut self.rows[id.index()], row);
        self.there += usize::from(!before.is_there);
    }

    /// Its `handle_close` is over.
    pub(super) fn remove(&mut self, id: AnyId) {
        if let Some(row) = self.get_mut(id) {
            row.is_there = false;
            self.there -= 1;
        }
    }

    /// How many there are.
    pub(super) fn there(&self) -> usize {
        self.there
    }

    /// Another dispatcher has taken its place.
    pub(super) fn rename(&mut self, id: AnyId, name: &str) {
        let number = self.name_number(name);
        if let Some(row) = self.get_mut(id) {
            row.name = number;
        }
    }

    fn name_number(&mut self, name: &str) -> u16 {
        if let Some(&number) = self.by_name.get(name) {
            return number;
        }
        let name = if self.names.len() < MOST_NAMES - 1 {
            name
        } else {
            "(others)"
        };
        if let Some(&number) = self.by_name.get(name) {
            return number;
        }
        let number = u16::try_from(self.names.len()).expect("there is a bound");
        self.names.push(name.into());
        self.by_name.insert(name.into(), number);
        number
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: AnyId) -> Option<&mut Row> {
        let row = self.rows.get_mut(id.index())?;
        if row.id == id && row.is_there {
            Some(row)
        } else {
            None
        }
    }

    pub(super) fn get(&self, id: AnyId) -> Option<&Row> {
        let row = self.rows.get(id.index())?;
        Some(row).filter(|row| row.id == id && row.is_there)
    }

    /// Counts a callback in its totals and in those of the beat.
    #[inline]
    pub(super) fn count(&mut self, end: &CallbackEnd<'_>, took: u64) -> Option<&mut Row> {
        let id = end.begin.id;
        let row = self.rows.get_mut(id.index())?;
        if row.id != id || !row.is_there {
            return None;
        }
        if row.in_beat != self.beat {
            row.in_beat = self.beat;
            row.of_beat = Recent::default();
            self.active.push(id.index());
        }
        row.of_beat.count(end, took);
        row.total.count(end, took);
        Some(row)
    }

    pub(super) fn name(&self, row: &Row) -> &str {
        self.names
            .get(usize::from(row.name))
            .map_or("", |name| name)
    }

    /// Those that are there.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.is_there)
    }

    /// As [`Rows::iter`].
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Row> {
        self.rows.iter_mut().filter(|row| row.is_there)
    }

    pub(super) fn beat(&self) -> u32 {
        self.beat
    }

    /// Another beat begins.
    pub(super) fn begin_beat(&mut self) {
        self.beat = self.beat.wrapping_add(1);
        self.active.clear();
    }

    /// The dispatchers to be shown: those in `first`, then the busiest of this beat, then any.
    pub(super) fn choose(&mut self, first: impl Iterator<Item = AnyId>, most: usize) -> Vec<AnyId> {
        let mut chosen: Vec<AnyId> = Vec::with_capacity(most);
        let mut take = |rows: &Rows, id: AnyId| {
            if chosen.len() < most && rows.get(id).is_some() && !chosen.contains(&id) {
                chosen.push(id);
            }
        };
        first.for_each(|id| take(self, id));
        let rows = &self.rows;
        let busy = |slot: &usize| Reverse(rows[*slot].of_beat.busy);
        if self.active.len() > most {
            self.active.select_nth_unstable_by_key(most, busy);
        }
        let front = self.active.len().min(most);
        self.active[..front].sort_unstable_by_key(busy);
        for &slot in &self.active[..front] {
            take(self, self.rows[slot].id);
        }
        let others = self.rows.iter().filter(|row| row.is_there);
        for row in others.filter(|row| row.in_beat != self.beat) {
            if chosen.len() == most {
                break;
            }
            if !chosen.contains(&row.id) {
                chosen.push(row.id);
            }
        }
        chosen
    }
}

impl Row {
    fn vacant() -> Row {
        Row {
            id: AnyId::NONE,
            is_there: false,
            internal: false,
            kind: Kind::Service,
            name: 0,
            in_beat: 0,
            merged_in: 0,
            chip: 0,
            added_at: Duration::ZERO,
            total: Tally::default(),
            of_beat: Recent::default(),
            watch: Watch::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn what_a_callback_touches_is_in_two_lines_of_the_cache() {
        let rare = offset_of!(Row, watch) + offset_of!(Watch, unread_since);
        assert!(rare <= 128, "{rare}");
    }
}
