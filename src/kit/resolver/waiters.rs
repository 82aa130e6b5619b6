//! The lookups that wait for an answer, until it is delivered: each once, or not at all if it is cancelled.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use slab::Slab;

use super::{Outcome, Then};
use crate::{AnyId, Context, TimerId};

/// Identifies a lookup, to [cancel](super::Resolve::cancel) it. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lookup {
    /// Of the resolver.
    pub(super) number: u64,
    pub(super) key: usize,
    pub(super) serial: u64,
}

impl Lookup {
    /// One that is no more: what was refused cannot be cancelled.
    pub(super) const NONE: Lookup = Lookup {
        number: 0,
        key: usize::MAX,
        serial: 0,
    };
}

/// A number that nothing else in the program has, and above 0. Ids are a reactor's own: two reactors may have the same
/// one, for dispatchers of the same type.
pub(super) fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// `S` is what a resolver keeps of a lookup that has no answer yet.
pub(super) struct Waiters<S> {
    /// No other resolver of the program has it, of whatever reactor.
    pub(super) number: u64,
    places: Slab<Waiter<S>>,
    /// The keys of those without an outcome, by the dispatcher that asked.
    by_owner: BTreeSet<(AnyId, usize)>,
    serial: u64,
    /// Those without an outcome.
    pub(super) waiting: usize,
}

struct Waiter<S> {
    serial: u64,
    owner: AnyId,
    then: Then,
    timer: Option<TimerId>,
    state: State<S>,
}

/// What is to be undone when a lookup waits no more.
pub(super) struct Leftover {
    timer: Option<TimerId>,
    /// A dispatcher that need not be watched any more.
    owner: Option<AnyId>,
}

impl Leftover {
    pub(super) fn undo(self, cx: &mut Context<'_>) {
        if let Some(timer) = self.timer {
            cx.cancel_timer(timer);
        }
        if let Some(owner) = self.owner {
            cx.unwatch(owner);
        }
    }
}

enum State<S> {
    Waiting(S),
    /// It is handed out later in the turn.
    Settled(Outcome),
}

impl<S> Waiters<S> {
    pub(super) fn new() -> Waiters<S> {
        Waiters {
            number: next_number(),
            places: Slab::new(),
            by_owner: BTreeSet::new(),
            serial: 0,
            waiting: 0,
        }
    }

    /// All that were begun and not handed out.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    fn add(&mut self, owner: AnyId, then: Then, state: State<S>) -> Lookup {
        self.serial += 1;
        let waiter = Waiter {
            serial: self.serial,
            owner,
            then,
            timer: None,
            state,
        };
        Lookup {
            number: self.number,
            key: self.places.insert(waiter),
            serial: self.serial,
        }
    }

    pub(super) fn add_settled(&mut self, owner: AnyId, then: Then, outcome: Outcome) -> Lookup {
        self.add(owner, then, State::Settled(outcome))
    }

    pub(super) fn add_waiting(&mut self, owner: AnyId, then: Then, state: S) -> Lookup {
        self.waiting += 1;
        let lookup = self.add(owner, then, State::Waiting(state));
        self.by_owner.insert((owner, lookup.key));
        lookup
    }

    /// One of those that a dispatcher waits for.
    pub(super) fn first_of(&self, owner: AnyId) -> Option<Lookup> {
        let mut all = self.by_owner.range((owner, 0)..=(owner, usize::MAX));
        let &(_, key) = all.next()?;
        Some(Lookup {
            number: self.number,
            key,
            serial: self.places.get(key)?.serial,
        })
    }

    /// One waits no more. What is to be undone: its timer, and the watch of its owner, if that was the last.
    fn waits_no_more(&mut self, owner: AnyId, key: usize, timer: Option<TimerId>) -> Leftover {
        self.waiting -= 1;
        self.by_owner.remove(&(owner, key));
        let is_last = self.first_of(owner).is_none();
        Leftover {
            timer,
            owner: is_last.then_some(owner),
        }
    }

    pub(super) fn set_timer(&mut self, key: usize, timer: TimerId) {
        if let Some(waiter) = self.places.get_mut(key) {
            waiter.timer = Some(timer);
        }
    }

    /// What is kept of one that waits.
    pub(super) fn get(&mut self, key: usize) -> Option<&mut S> {
        match &mut self.places.get_mut(key)?.state {
            State::Waiting(state) => Some(state),
            State::Settled(_) => None,
        }
    }

    /// It waits no more. The name by which it is handed out, and what is to be undone.
    pub(super) fn settle(&mut self, key: usize, outcome: Outcome) -> Option<(Lookup, Leftover)> {
        let waiter = self.places.get_mut(key)?;
        if matches!(waiter.state, State::Settled(_)) {
            return None;
        }
        waiter.state = State::Settled(outcome);
        let lookup = Lookup {
            number: self.number,
            key,
            serial: waiter.serial,
        };
        let (owner, timer) = (waiter.owner, waiter.timer.take());
        Some((lookup, self.waits_no_more(owner, key, timer)))
    }

    /// To be handed out; `None` if it was cancelled.
    pub(super) fn take_settled(&mut self, lookup: Lookup) -> Option<(Then, Outcome)> {
        let waiter = self.places.get(lookup.key)?;
        if waiter.serial != lookup.serial {
            return None;
        }
        let waiter = self.places.remove(lookup.key);
        match waiter.state {
            State::Settled(outcome) => Some((waiter.then, outcome)),
            // This is called for settled lookups only, and none becomes unsettled again.
            State::Waiting(_) => None,
        }
    }

    /// Takes it out; `None` if it was handed out or cancelled before. What was kept of it, if it waited, and what is
    /// to be undone.
    pub(super) fn cancel(&mut self, lookup: Lookup) -> Option<Option<(S, Leftover)>> {
        let waiter = self.places.get(lookup.key)?;
        if waiter.serial != lookup.serial || lookup.number != self.number {
            return None;
        }
        let waiter = self.places.remove(lookup.key);
        Some(match waiter.state {
            State::Waiting(state) => {
                let leftover = self.waits_no_more(waiter.owner, lookup.key, waiter.timer);
                Some((state, leftover))
            }
            State::Settled(_) => None,
        })
    }

    /// Takes out all: those that wait get what `outcome` makes of what was kept of them.
    pub(super) fn drain(&mut self, mut outcome: impl FnMut(S) -> Outcome) -> Vec<(Then, Outcome)> {
        self.waiting = 0;
        self.by_owner.clear();
        let waiters = self.places.drain().map(|waiter| match waiter.state {
            State::Waiting(state) => (waiter.then, outcome(state)),
            State::Settled(outcome) => (waiter.then, outcome),
        });
        waiters.collect()
    }
}
