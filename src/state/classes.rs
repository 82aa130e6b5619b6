//! In which order the ready are served, if not simply one after another.
//!
//! While every slot has the usual priority and a turn may take as long as it likes, the ready list is worked
//! through as it is, and none of this is touched. Otherwise the dispatch step sorts it into a queue for each
//! class and serves one queue after another, each as long as its part of the turn's time lasts:
//!
//! ```text
//!                ┌─► high    ■ ■             a slot that is not served in this turn
//!   ready list ──┼─► normal  ■ ■ ■ ■ ■ ■     stays where it is, and those of the next
//!   (in order)   └─► low     ■ ■ ■           turn queue behind it
//! ```
//!
//! A lower class has its share of the time, and one slot in any case, however much those above it have to do.
//! A slot in a queue is on the ready list as far as its `Queued` flag is concerned. It leaves the queue before it
//! is served, so a panic in the middle loses none.

use std::collections::VecDeque;

use crate::slot::Slot;
use crate::slot::priority::Priority;
use crate::slot::readiness::Flag;
use crate::state::{State, budget, output};
use crate::world::ids::AnyId;

/// The ready, class by class, and how far this turn has come.
#[derive(Debug, Default)]
pub(crate) struct Classes {
    queues: [VecDeque<AnyId>; Priority::COUNT],
    /// How many are in them.
    waiting: usize,
    /// Reasons to use them: slots of another class than the usual one, and a limit to the turn's time.
    reasons: usize,
    /// The rank of the class that is being served.
    serving: usize,
    /// One of that class has had its turn.
    has_begun: bool,
    /// A slot was given another class while it may have been waiting.
    has_moved: bool,
}

impl Classes {
    /// How many are waiting.
    pub(crate) fn len(&self) -> usize {
        self.waiting
    }

    /// Keeps those that `keep` picks.
    #[inline(never)]
    pub(crate) fn retain(&mut self, keep: impl Fn(AnyId) -> bool) {
        for queue in &mut self.queues {
            queue.retain(|&id| keep(id));
        }
        self.waiting = self.queues.iter().map(VecDeque::len).sum();
    }

    /// Whether the ready are served in order of class, or for a limited time.
    #[inline]
    pub(crate) fn are_used(&self) -> bool {
        // Some may wait without a reason: left behind by a panic that was let through.
        self.reasons | self.waiting != 0
    }

    /// There is a reason more to use them, or one less.
    pub(crate) fn count_reason(&mut self, before: bool, now: bool) {
        self.reasons = self.reasons + usize::from(now) - usize::from(before);
    }

    fn push(&mut self, rank: usize, id: AnyId) {
        self.queues[rank].push_back(id);
        self.waiting += 1;
    }

    fn pop(&mut self, rank: usize) -> Option<AnyId> {
        let id = self.queues[rank].pop_front();
        self.waiting -= usize::from(id.is_some());
        id
    }

    /// All that are waiting.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &AnyId> {
        self.queues.iter().flatten()
    }

    #[cfg(feature = "testing")]
    pub(crate) fn reasons(&self) -> usize {
        self.reasons
    }
}

/// Gives a slot a class. It is served by it from the next turn on.
pub(crate) fn set_priority<D>(state: &mut State<D>, id: AnyId, priority: Priority) {
    let slot = state.slots.slot_mut(id);
    let before = std::mem::replace(&mut slot.priority, priority);
    let classes = &mut state.agenda.classes;
    classes.has_moved |= before != priority && slot.readiness.has(Flag::Queued);
    classes.count_reason(before.is_special(), priority.is_special());
}

/// The dispatch begins: the ready line up behind those left over from the turn before.
pub(crate) fn line_up<D>(state: &mut State<D>) {
    let State { slots, agenda, .. } = state;
    let classes = &mut agenda.classes;
    let rank_of = |id| {
        slots
            .get(id)
            .map_or(Priority::Normal, |slot| slot.priority)
            .rank()
    };
    if std::mem::take(&mut classes.has_moved) {
        let mut moved = Vec::new();
        for (rank, queue) in classes.queues.iter_mut().enumerate() {
            queue.retain(|&id| {
                let stays = rank_of(id) == rank;
                if !stays {
                    moved.push(id);
                }
                stays
            });
        }
        for id in moved {
            classes.queues[rank_of(id)].push_back(id);
        }
    }
    agenda.dispatching.load(&mut agenda.ready);
    while let Some(id) = agenda.dispatching.next() {
        classes.push(rank_of(id), id);
    }
    enter(state, Priority::High.rank());
}

/// Which is next: the first of the class that is being served, or of the next one if none is left of it
/// or its time is up.
pub(crate) fn next<D>(state: &mut State<D>) -> Option<AnyId> {
    loop {
        let classes = &state.agenda.classes;
        let (serving, has_begun) = (classes.serving, classes.has_begun);
        if classes.queues.get(serving)?.is_empty() || has_begun && budget::is_up(state) {
            if has_begun && serving == Priority::High.rank() && state.agenda.classes.len() > 0 {
                flush_early(state);
            }
            enter(state, serving + 1);
            continue;
        }
        let id = state.agenda.classes.pop(serving);
        // One that has nothing to do any more takes nobody's place.
        let slot = id.and_then(|id| state.slots.get(id));
        state.agenda.classes.has_begun |= slot.is_some_and(Slot::has_work);
        return id;
    }
}

/// A flush in the middle of a turn, for what the high class has sent: it would otherwise wait until the others are
/// served. (Not while all outboxes together are over their bound: then `total.rs` looks at all that was flushed.)
fn flush_early<D>(state: &mut State<D>) {
    if state.over_total {
        return;
    }
    state.agenda.flushing.load(&mut state.agenda.dirty);
    // Not by `output::flush`: with a second caller it would not be a part of the turn's own code.
    while let Some(id) = state.agenda.flushing.next() {
        if let Some(slot) = state.slots.get_mut(id) {
            slot.readiness.clear(Flag::Dirty);
            output::write_queued(state, id);
        }
    }
    state.chunks.clear_staged();
}

/// The class of this rank is next.
fn enter<D>(state: &mut State<D>, rank: usize) {
    let classes = &mut state.agenda.classes;
    (classes.serving, classes.has_begun) = (rank, false);
    let shares = &state.config.shares;
    if classes
        .queues
        .get(rank)
        .is_some_and(|queue| !queue.is_empty())
    {
        let lower = classes.queues.iter().zip(shares).skip(rank + 1);
        let lower = lower.filter(|(queue, _)| !queue.is_empty());
        let reserved = lower.map(|(_, share)| share).sum();
        budget::begin_part(state, shares[rank], reserved);
    }
}
