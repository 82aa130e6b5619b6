//! What is known of each dispatcher: one row a slot, found by its index.

// They make up ids, which only the crate itself can: not in the copy of `tests/kit/public_api.rs`.
#[cfg(all(test, feature = "observer"))]
pub(super) mod tests;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

use crate::AnyId;
use crate::observe::{Callback, CallbackEnd, Kind};

use super::watch::{LONG, Recent, Tally, Watch, nanos};

/// Names of types beyond this many are not distinguished. (A program has as many as its source.)
const MOST_NAMES: usize = 1024;

/// All rows.
#[derive(Debug, Default)]
pub(super) struct Rows {
    rows: Vec<Row>,
    /// How many are there.
    there: usize,
    names: Vec<Box<str>>,
    by_name: HashMap<Box<str>, u16>,
    /// The slots that had a callback in this beat, and what they did in it.
    active: Vec<Recent>,
    /// The slots that the lints are to look at when the second is over.
    noted: Vec<usize>,
    /// For [`Rows::choose`].
    order: Vec<(Reverse<u64>, usize)>,
}

/// One dispatcher. In this order, for what most callbacks touch is to be in one line of the processor's cache: with many
/// connections that is what a callback costs here.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Row {
    pub(super) id: AnyId,
    /// Since it was added.
    pub(super) total: Tally,
    /// Its place among the active ones, if it is there.
    place: u32,
    name: u16,
    /// Its place in the batch of the turn in which an event for it was merged last.
    pub(super) chip: u8,
    /// Its `handle_close` is yet to come.
    pub(super) is_there: bool,
    /// It is the inspector's own.
    pub(super) internal: bool,
    pub(super) kind: Kind,
    /// Its last `handle_read` took nothing.
    leaves_input: bool,
    /// Its slot is among those that the lints look at.
    is_noted: bool,
    /// What the lints look at.
    pub(super) watch: Watch,
    pub(super) added_at: Duration,
}

impl Rows {
    pub(super) fn add(&mut self, at: Duration, id: AnyId, name: &str, kind: Kind, internal: bool) {
        let row = Row {
            id,
            is_there: true,
            internal,
            kind,
            name: self.name_number(name),
            added_at: at,
            ..Row::vacant()
        };
        while self.rows.len() <= id.index() {
            self.rows.push(Row::vacant());
        }
        let before = std::mem::replace(&mut self.rows[id.index()], row);
        self.rows[id.index()].is_noted = before.is_noted;
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

    /// Counts a callback in its totals and in those of the beat, and, unless the dispatcher is the inspector's own, for the
    /// lints.
    #[inline]
    pub(super) fn count(
        &mut self,
        at: Duration,
        end: &CallbackEnd<'_>,
        took: u64,
        slow: bool,
    ) -> Option<&mut Row> {
        let id = end.begin.id;
        let row = self.rows.get_mut(id.index())?;
        if row.id != id || !row.is_there {
            return None;
        }
        let queued = nanos(end.begin.queued);
        row.total.count(end, took, queued);
        let slot = id.index();
        match self.active.get_mut(row.place as usize) {
            Some(recent) if recent.slot == slot => recent.count(took, queued),
            _ => {
                row.place = u32::try_from(self.active.len()).unwrap_or(u32::MAX);
                self.active.push(Recent {
                    slot,
                    callbacks: 1,
                    busy: took,
                    queued,
                });
            }
        }
        if !row.internal && row.judge(at, end, took, slow) {
            note(&mut self.noted, row);
        }
        Some(row)
    }

    /// A timer of a dispatcher has fired. `None` if it is not known.
    pub(super) fn count_timer(&mut self, id: AnyId) -> Option<&Row> {
        let row = self.rows.get_mut(id.index())?;
        if row.id != id || !row.is_there {
            return None;
        }
        row.watch.timers = row.watch.timers.saturating_add(1);
        note(&mut self.noted, row);
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

    /// Those that have done something in this second which a lint may be about.
    pub(super) fn noted(&self) -> impl Iterator<Item = &Row> {
        let rows = self.noted.iter().filter_map(|slot| self.rows.get(*slot));
        rows.filter(|row| row.is_there)
    }

    /// What it has done since the beat before.
    pub(super) fn of_beat(&self, row: &Row) -> Recent {
        let recent = self.active.get(row.place as usize);
        let recent = recent.filter(|recent| recent.slot == row.id.index());
        recent.copied().unwrap_or_default()
    }

    /// Another beat begins.
    pub(super) fn begin_beat(&mut self) {
        self.active.clear();
    }

    /// Another second begins.
    pub(super) fn begin_second(&mut self) {
        for slot in self.noted.drain(..) {
            if let Some(row) = self.rows.get_mut(slot) {
                row.is_noted = false;
                row.watch.begin_second();
            }
        }
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
        // Not by looking into each row: those are far apart in memory.
        let mut order = std::mem::take(&mut self.order);
        order.clear();
        let active = self.active.iter();
        order.extend(active.map(|recent| (Reverse(recent.busy), recent.slot)));
        if order.len() > most {
            order.select_nth_unstable(most);
            order.truncate(most);
        }
        order.sort_unstable();
        for &(_, slot) in &order {
            take(self, self.rows[slot].id);
        }
        self.order = order;
        for row in self.rows.iter().filter(|row| row.is_there) {
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
            place: u32::MAX,
            chip: 0,
            leaves_input: false,
            is_noted: false,
            added_at: Duration::ZERO,
            total: Tally::default(),
            watch: Watch::default(),
        }
    }

    /// Takes in a callback for the lints. One that has read something and was not long is of no interest to them: false.
    #[inline]
    fn judge(&mut self, at: Duration, end: &CallbackEnd<'_>, took: u64, slow: bool) -> bool {
        let is_read = end.begin.callback == Callback::Read;
        let leaves_input = is_read && Watch::took_nothing(end);
        if is_read && !leaves_input && !self.leaves_input && took < LONG {
            return false;
        }
        if is_read {
            self.leaves_input = leaves_input;
        }
        self.watch.count(at, end, took, slow);
        true
    }
}

fn note(noted: &mut Vec<usize>, row: &mut Row) {
    if !std::mem::replace(&mut row.is_noted, true) {
        noted.push(row.id.index());
    }
}
