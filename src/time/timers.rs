//! The timer queue: a heap (`heap.rs`) of due times beside a slab of timers.
//!
//! The heap is never searched. Cancelling a timer frees its slab entry and leaves its due time in the
//! heap, dead; a due time is alive if the slab entry it points to still carries its serial. When the
//! dead outnumber the living the heap is rebuilt, so it is never more than twice as large as it has to
//! be (plus a constant): in other loops, queues that kept cancelled timers have taken whole processors.
//!
//! A timer has one due time at most. It is out of the heap while the timer waits to be fired in this
//! turn, a periodic one then gets its next; and while it waits for its first, see `undated.rs`.
//!
//! Timers of one dispatcher are chained through the slab, so that they can end with it.
//!
//! Where millions are set, each step to another one's entry is a wait for memory, so the entries are kept small
//! (six words), and those of the timers to be fired next are looked at beforehand, many at once.

use std::hint::black_box;
use std::time::Duration;

use slab::Slab;

use crate::time::action::{Action, Kind, Parts};
use crate::time::clock::{Clock, Tick, nanos};
use crate::time::heap::{Due, Heap};
use crate::time::timer_id::TimerId;
use crate::time::undated::Undated;
use crate::world::ids::AnyId;

const NONE: u32 = u32::MAX;

/// The head of a dispatcher's chain of timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerList(u32);

impl Default for TimerList {
    fn default() -> Self {
        TimerList(NONE)
    }
}

impl TimerList {
    pub(crate) fn is_empty(self) -> bool {
        self.0 == NONE
    }
}

#[derive(Debug)]
struct Entry {
    /// Its name's.
    serial: u64,
    /// That of its one living due time; another one than its name's once it was set anew.
    due_serial: u64,
    owner: AnyId,
    /// How far apart a periodic one's times are; of the others what their action says.
    span: u64,
    /// The tag of a user's; of the others what their action says.
    number: u32,
    /// The owner's chain.
    next: u32,
    previous: u32,
    kind: Kind,
    is_periodic: bool,
    /// The loop need not go on for it.
    unref: bool,
}

impl Entry {
    #[inline]
    fn parts(&self) -> Parts {
        Parts {
            kind: self.kind,
            limit_ns: self.span,
            number: self.number,
        }
    }

    fn tag(&self) -> u32 {
        match self.kind {
            Kind::Callback => self.number,
            _ => 0,
        }
    }
}

/// All timers of a reactor.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    entries: Slab<Entry>,
    heap: Heap,
    undated: Undated,
    /// Counts the timers. The count is a new one's serial, which distinguishes it from all others, and goes
    /// after those of the same time.
    armed: u64,
    /// What it was when the turn began.
    armed_before_turn: u64,
}

impl Timers {
    /// A turn begins: what is set from here on is not for this turn, even if it is due at once. Or a
    /// newcomer could be called in the turn that added it.
    pub(crate) fn begin_turn(&mut self) {
        self.armed_before_turn = self.armed;
        self.undated.begin();
    }

    /// The turn ends: what was set in it counts from here at the latest.
    #[inline]
    pub(crate) fn end_turn(&mut self, clock: &Clock) {
        self.undated.end();
        if !self.undated.is_empty() {
            self.date_all(clock.now());
        }
    }

    /// How many timers are set, the reactor's own deadlines included.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the loop is to go on for the sake of a timer. Looks no further than the first of them.
    pub(crate) fn keep_running(&self) -> bool {
        let counts = |due: &Due| {
            due.at != Tick::NEVER
                && is_alive(&self.entries, due)
                && !self.entries[due.index as usize].unref
        };
        self.heap.iter().any(counts)
    }

    /// Sets a timer that is due at a given time. `list` is the owner's chain, `None` for the reactor's own
    /// closures.
    pub(crate) fn arm(
        &mut self,
        due: Tick,
        period: Option<Duration>,
        owner: AnyId,
        list: Option<&mut TimerList>,
        action: Action,
    ) -> TimerId {
        let timer = self.insert(period, owner, list, action.parts());
        self.heap.push(Due {
            at: due,
            serial: timer.serial,
            index: timer.index(),
        });
        timer
    }

    /// As [`Timers::arm`], of one that is due when `after` has passed, counted from now or a little later.
    #[inline]
    pub(crate) fn arm_after(
        &mut self,
        after: Duration,
        clock: &Clock,
        period: Option<Duration>,
        owner: AnyId,
        list: Option<&mut TimerList>,
        action: Action,
    ) -> TimerId {
        let timer = self.insert(period, owner, list, action.parts());
        self.put_off(timer.index(), timer.serial, after, clock);
        timer
    }

    /// Makes an entry without a due time.
    fn insert(
        &mut self,
        period: Option<Duration>,
        owner: AnyId,
        list: Option<&mut TimerList>,
        action: Parts,
    ) -> TimerId {
        self.armed += 1;
        let serial = self.armed;
        let next = list.as_ref().map_or(NONE, |list| list.0);
        let entry = Entry {
            serial,
            due_serial: serial,
            owner,
            span: period.map_or(action.limit_ns, nanos),
            number: action.number,
            next,
            previous: NONE,
            kind: action.kind,
            is_periodic: period.is_some(),
            unref: false,
        };
        let key = self.entries.insert(entry);
        let index = u32::try_from(key).expect("four thousand million timers do not fit in memory");
        if next != NONE {
            self.entries[next as usize].previous = index;
        }
        if let Some(list) = list {
            list.0 = index;
        }
        TimerId::new(index, 0, serial)
    }

    /// Gives an entry a due time: at once, or in a turn as soon as the clock is read.
    fn put_off(&mut self, index: u32, serial: u64, after: Duration, clock: &Clock) {
        let at = Tick::default().after(after);
        let due = Due { at, serial, index };
        if !self.undated.is_in_use() {
            self.heap.push(due.counted_from(clock.now()));
        } else if self.undated.push(due) {
            self.date_all(clock.now());
        }
    }

    /// Gives due times to all that have none. Those that were cancelled since never get one.
    pub(crate) fn date_all(&mut self, now: Tick) {
        for due in self.undated.drain() {
            if is_alive(&self.entries, &due) {
                self.heap.push(due.counted_from(now));
            }
        }
        // Those that waited counted as living while others were cancelled.
        self.drop_the_dead();
    }

    /// Gives a timer that is still set another due time, as [`Timers::arm_after`]; false if it is not. One
    /// that waits to be fired in this turn is no longer due.
    pub(crate) fn reset(&mut self, id: TimerId, after: Duration, clock: &Clock) -> bool {
        let serial = self.armed + 1;
        let Some(entry) = self.entry(id) else {
            return false;
        };
        entry.due_serial = serial;
        self.armed = serial;
        self.put_off(id.index(), serial, after, clock);
        self.drop_the_dead();
        true
    }

    /// The loop need not go on for the sake of this timer; false if it is gone.
    pub(crate) fn unref(&mut self, id: TimerId) -> bool {
        let entry = self.entry(id);
        entry.map(|entry| entry.unref = true).is_some()
    }

    /// Gives a user's timer that has just been set a tag, which is part of its name.
    pub(crate) fn tag(&mut self, id: TimerId, tag: u32) -> TimerId {
        if let Some(entry) = self.entry(id) {
            entry.number = tag;
        }
        TimerId::new(id.index(), tag, id.serial)
    }

    /// The entry of a timer that is still set.
    fn entry(&mut self, id: TimerId) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(id.index() as usize)?;
        (entry.serial == id.serial).then_some(entry)
    }

    /// The owner of a timer that is still set.
    pub(crate) fn owner(&self, id: TimerId) -> Option<AnyId> {
        let entry = self.entries.get(id.index() as usize)?;
        (entry.serial == id.serial).then_some(entry.owner)
    }

    /// Cancels one timer; what it would have done, or `None` if it was gone. `list` is the chain of
    /// [`Timers::owner`].
    pub(crate) fn cancel(&mut self, id: TimerId, list: Option<&mut TimerList>) -> Option<Action> {
        self.owner(id)?;
        Some(self.remove(id.index(), list).action())
    }

    /// Cancels those of a chain that `which` picks; whether there was one.
    pub(crate) fn cancel_where(
        &mut self,
        list: &mut TimerList,
        which: impl Fn(&Action) -> bool,
    ) -> bool {
        let before = self.entries.len();
        let mut next = list.0;
        while next != NONE {
            let entry = &self.entries[next as usize];
            let (index, picked) = (next, which(&entry.parts().action()));
            next = entry.next;
            if picked {
                self.remove(index, Some(list));
            }
        }
        self.entries.len() < before
    }

    pub(crate) fn has(&self, list: TimerList, kind: &Action) -> bool {
        let mut next = list.0;
        while next != NONE {
            let entry = &self.entries[next as usize];
            if entry.kind == kind.parts().kind {
                return true;
            }
            next = entry.next;
        }
        false
    }

    fn remove(&mut self, index: u32, list: Option<&mut TimerList>) -> Parts {
        let entry = self.entries.remove(index as usize);
        if entry.next != NONE {
            self.entries[entry.next as usize].previous = entry.previous;
        }
        if entry.previous != NONE {
            self.entries[entry.previous as usize].next = entry.next;
        } else if let Some(list) = list {
            list.0 = entry.next;
        }
        self.drop_the_dead();
        entry.parts()
    }

    /// Few dead ones are cheaper to skip than to sweep; this many are always tolerated.
    const TOLERATED_DEAD: usize = 64;

    fn drop_the_dead(&mut self) {
        if self.heap.len() <= 2 * self.entries.len() + Self::TOLERATED_DEAD {
            return;
        }
        let entries = &self.entries;
        self.heap.retain(|due| is_alive(entries, due));
    }

    /// When the next timer is due. Dead ones at the front are dropped on the way.
    pub(crate) fn next_due(&mut self) -> Option<Tick> {
        while let Some(due) = self.heap.first() {
            if is_alive(&self.entries, due) {
                return Some(due.at);
            }
            self.heap.pop();
        }
        None
    }

    /// Whether it is worth a look which timers are due at `now`.
    #[inline]
    pub(crate) fn may_be_due(&self, now: Tick) -> bool {
        self.heap.first().is_some_and(|due| due.at <= now)
    }

    /// Moves all that are due at `now`, the time of this turn, to `batch`, in order. They stay set until
    /// [`Timers::fire`].
    pub(crate) fn collect(&mut self, now: Tick, batch: &mut Vec<Due>) {
        let newest = self.armed_before_turn;
        // One set in this turn is due at its time at the earliest, so behind all older ones.
        let is_due = |due: &Due| due.at <= now && due.at != Tick::NEVER && due.serial <= newest;
        self.heap.take_due(is_due, batch);
    }

    /// So many entries are in a processor's cache anyway.
    const CACHED: usize = 10_000;

    /// Has the processor fetch the entries of the timers that come next, and of their neighbours on the chains.
    /// They lie all over memory: one at a time each would be waited for alone.
    pub(crate) fn fetch(&self, dues: &[Due]) {
        if self.entries.len() < Self::CACHED {
            return;
        }
        let entry = |index: u32| self.entries.get(index as usize);
        let of_dues = || dues.iter().filter_map(|due| entry(due.index));
        black_box(of_dues().fold(0, |seen, entry| seen ^ entry.due_serial));
        let beside = of_dues().flat_map(|due| [due.next, due.previous].map(entry));
        black_box(beside.flatten().fold(0, |seen, entry| seen ^ entry.next));
    }

    /// The owner of a collected timer that has not been cancelled since.
    pub(crate) fn owner_of_due(&self, due: Due) -> Option<AnyId> {
        let entry = self.entries.get(due.index as usize)?;
        (entry.due_serial == due.serial).then_some(entry.owner)
    }

    /// Takes a due timer out to be run. A periodic one is set for its next time first, so that what it
    /// does may cancel it. Call only after [`Timers::owner_of_due`] has found it.
    pub(crate) fn fire(
        &mut self,
        due: Due,
        now: Tick,
        list: Option<&mut TimerList>,
    ) -> (TimerId, Action) {
        let entry = &self.entries[due.index as usize];
        let id = TimerId::new(due.index, entry.tag(), entry.serial);
        if !entry.is_periodic {
            return (id, self.remove(due.index, list).action());
        }
        let parts = entry.parts();
        self.heap.push(Due {
            at: due.at.next_on_grid(entry.span, now),
            ..due
        });
        (id, parts.action())
    }

    #[cfg(feature = "testing")]
    pub(crate) fn armed(&self) -> u64 {
        self.armed
    }

    /// `due` is how many of them wait to be fired.
    #[cfg(feature = "testing")]
    pub(crate) fn check(&self, due: usize, mut owner_has: impl FnMut(AnyId) -> Option<TimerList>) {
        assert!(
            self.undated.is_empty(),
            "between turns each timer has its due time"
        );
        assert!(
            self.heap.len() <= 2 * self.entries.len() + Self::TOLERATED_DEAD,
            "dead timers are at most as many as the living, plus a constant"
        );
        let alive = self
            .heap
            .checked()
            .filter(|due| is_alive(&self.entries, due))
            .count();
        assert_eq!(
            alive + due,
            self.entries.len(),
            "each timer is in the heap exactly once, or is due"
        );
        for (key, entry) in &self.entries {
            if entry.owner == AnyId::NONE {
                continue;
            }
            let list = owner_has(entry.owner).expect("a timer's owner is alive");
            let mut next = list.0;
            while next != NONE && next as usize != key {
                next = self.entries[next as usize].next;
            }
            assert_eq!(next as usize, key, "a timer is on its owner's chain");
        }
    }
}

fn is_alive(entries: &Slab<Entry>, due: &Due) -> bool {
    entries
        .get(due.index as usize)
        .is_some_and(|entry| entry.due_serial == due.serial)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Tick {
        Tick::default().after(Duration::from_nanos(nanos))
    }

    fn arm(timers: &mut Timers, due: u64) -> TimerId {
        timers.arm(at(due), None, AnyId::NONE, None, Action::Callback)
    }

    fn fire_all(timers: &mut Timers, now: u64) -> Vec<TimerId> {
        let mut batch = Vec::new();
        timers.begin_turn();
        timers.collect(at(now), &mut batch);
        let due = batch.into_iter();
        due.filter(|&due| timers.owner_of_due(due).is_some())
            .collect::<Vec<_>>()
            .into_iter()
            .map(|due| timers.fire(due, at(now), None).0)
            .collect()
    }

    #[test]
    fn due_timers_fire_by_time_and_ties_by_order_of_setting() {
        let mut timers = Timers::default();
        let late = arm(&mut timers, 30);
        let first = arm(&mut timers, 10);
        let second = arm(&mut timers, 10);
        assert_eq!(timers.next_due(), Some(at(10)));
        assert_eq!(fire_all(&mut timers, 9), []);
        assert_eq!(fire_all(&mut timers, 10), [first, second]);
        assert_eq!(fire_all(&mut timers, 100), [late]);
        assert_eq!(timers.next_due(), None);
    }

    #[test]
    fn any_timer_that_counts_keeps_the_loop_running_also_behind_others() {
        let mut timers = Timers::default();
        assert!(!timers.keep_running());
        let other = arm(&mut timers, 10);
        assert!(timers.keep_running());
        assert!(timers.unref(other) && !timers.keep_running());
        let late = arm(&mut timers, 20);
        assert!(timers.keep_running());
        timers.cancel(late, None);
        assert!(!timers.keep_running());
    }

    #[test]
    fn cancelled_after_collection_is_not_found_due() {
        let mut timers = Timers::default();
        let id = arm(&mut timers, 10);
        let mut batch = Vec::new();
        timers.begin_turn();
        timers.collect(at(10), &mut batch);
        assert!(timers.cancel(id, None).is_some());
        let newcomer = arm(&mut timers, 50);
        assert_eq!(id.index(), newcomer.index(), "the place is reused");
        assert!(
            timers.owner_of_due(batch[0]).is_none(),
            "the newcomer must not fire in its place"
        );
        assert!(timers.cancel(id, None).is_none());
    }

    #[test]
    fn dead_entries_never_outnumber_the_living_by_more_than_a_constant() {
        let mut timers = Timers::default();
        let keep: Vec<_> = (0..100).map(|i| arm(&mut timers, 1_000_000 + i)).collect();
        for i in 0..10_000 {
            let id = arm(&mut timers, 10 + i);
            timers.cancel(id, None);
            let kept = timers.heap.iter().count();
            assert!(kept <= 2 * timers.len() + Timers::TOLERATED_DEAD + 1);
        }
        assert_eq!(timers.len(), keep.len());
    }

    #[test]
    fn those_that_get_their_due_times_late_do_not_hide_the_dead() {
        let (clock, mut timers) = (Clock::monotonic(), Timers::default());
        let old: Vec<_> = (0..120).map(|i| arm(&mut timers, 1_000_000 + i)).collect();
        timers.begin_turn();
        for _ in 0..30 {
            let after = Duration::from_secs(1);
            timers.arm_after(after, &clock, None, AnyId::NONE, None, Action::Callback);
        }
        for id in old {
            timers.cancel(id, None);
        }
        timers.end_turn(&clock);
        assert!(timers.heap.iter().count() <= 2 * timers.len() + Timers::TOLERATED_DEAD);
    }

    #[test]
    fn a_chain_is_cancelled_with_its_owner() {
        let mut timers = Timers::default();
        let owner = AnyId::new(1, 1);
        let mut list = TimerList::default();
        let ids: Vec<_> = (0..5)
            .map(|i| timers.arm(at(i), None, owner, Some(&mut list), Action::Callback))
            .collect();
        assert!(!list.is_empty());
        assert!(timers.cancel(ids[2], Some(&mut list)).is_some());
        assert!(
            timers.cancel(ids[4], Some(&mut list)).is_some(),
            "the head of the chain"
        );
        assert!(!timers.cancel_where(&mut list, |_| false));
        assert!(timers.cancel_where(&mut list, |_| true), "there was one");
        assert!(!timers.cancel_where(&mut list, |_| true), "none is left");
        assert!(list.is_empty());
        assert_eq!((timers.len(), list), (0, TimerList::default()));
        assert_eq!(fire_all(&mut timers, 100), []);
    }

    #[test]
    fn a_repeat_keeps_its_place_among_timers_of_the_same_time() {
        let mut timers = Timers::default();
        let period = Some(Duration::from_nanos(10));
        let repeat = timers.arm(at(10), period, AnyId::NONE, None, Action::Callback);
        let once = arm(&mut timers, 20);
        assert_eq!(fire_all(&mut timers, 10), [repeat]);
        assert_eq!(fire_all(&mut timers, 20), [repeat, once]);
    }

    #[test]
    fn never_is_never_due() {
        let mut timers = Timers::default();
        timers.arm(
            at(5).after(Duration::MAX),
            None,
            AnyId::NONE,
            None,
            Action::Callback,
        );
        assert_eq!(timers.next_due(), Some(Tick::NEVER));
        let mut batch = Vec::new();
        timers.begin_turn();
        timers.collect(Tick::NEVER, &mut batch);
        assert!(batch.is_empty());
    }
}
