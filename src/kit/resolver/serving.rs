//! What both resolvers do with waiting lookups: add them, deliver outcomes, remove them.

use std::time::Duration;

use super::error::{Failure, LookupError};
use super::waiters::{Lookup, Waiters};
use super::{Outcome, Then};
use crate::{AnyId, Context, Dispatcher, Id};

/// A service that lookups wait for.
pub(super) trait Serving: Dispatcher + Sized {
    type Waiting;

    fn waiters(&mut self) -> &mut Waiters<Self::Waiting>;

    /// As [`Resolve::start`](super::Resolve::start), in this service's own context.
    fn look_up(
        &mut self,
        cx: &mut Context<'_>,
        owner: AnyId,
        name: &str,
        limit: Option<Duration>,
        then: Then,
    ) -> Lookup;

    /// A lookup no longer waits.
    fn left(&mut self, cx: &mut Context<'_>, waiting: Self::Waiting, key: usize);

    /// Gives one that waits its outcome. Nothing happens if it has one.
    fn settle(&mut self, cx: &mut Context<'_>, key: usize, outcome: Outcome) {
        if let Some((lookup, leftover)) = self.waiters().settle(key, outcome) {
            leftover.undo(cx);
            hand_out::<Self>(cx, lookup);
        }
    }

    /// For a lookup whose outcome is known when it comes.
    fn settle_at_once(
        &mut self,
        cx: &mut Context<'_>,
        owner: AnyId,
        then: Then,
        outcome: Outcome,
    ) -> Lookup {
        let lookup = self.waiters().add_settled(owner, then, outcome);
        hand_out::<Self>(cx, lookup);
        lookup
    }

    /// For all others: until there is an outcome, or the dispatcher that asked has ended.
    fn wait(
        &mut self,
        cx: &mut Context<'_>,
        owner: AnyId,
        then: Then,
        waiting: Self::Waiting,
    ) -> Lookup {
        if !cx.watch(owner) {
            // It has ended already.
            let service: Id<Self> = cx.id();
            cx.defer(move |reactor| {
                reactor.with(service, |service, cx| service.owner_gone(cx, owner));
            });
        }
        self.waiters().add_waiting(owner, then, waiting)
    }

    /// The deadline of one that waits: a timer that is tagged with its key. None if it has its outcome already.
    fn arm_deadline(&mut self, cx: &mut Context<'_>, key: usize, limit: Duration) {
        if limit < Duration::MAX && self.waiters().get(key).is_some() {
            let timer = cx.set_tagged_timer(limit, tag(key));
            self.waiters().set_timer(key, timer);
        }
    }

    /// A dispatcher that asked has ended: its closures are not called.
    fn owner_gone(&mut self, cx: &mut Context<'_>, owner: AnyId) {
        while let Some(lookup) = self.waiters().first_of(owner) {
            self.forget(cx, lookup);
        }
    }

    /// As [`Resolve::cancel`](super::Resolve::cancel).
    fn forget(&mut self, cx: &mut Context<'_>, lookup: Lookup) -> bool {
        let Some(taken) = self.waiters().cancel(lookup) else {
            return false;
        };
        if let Some((waiting, leftover)) = taken {
            leftover.undo(cx);
            self.left(cx, waiting, lookup.key);
        }
        true
    }
}

/// The tag of a timer for a key. Keys are small, there are as many as lookups may wait: the highest bit is free for
/// timers of another kind.
pub(super) fn tag(key: usize) -> u32 {
    u32::try_from(key).unwrap_or(u32::MAX >> 1)
}

/// Has an outcome delivered to the dispatcher that asked, outside of all callbacks: it may then ask for the next.
fn hand_out<S: Serving>(cx: &mut Context<'_>, lookup: Lookup) {
    let service: Id<S> = cx.id();
    cx.defer(move |reactor| {
        let taken = reactor.with(service, |service, _| service.waiters().take_settled(lookup));
        if let Some((then, outcome)) = taken.flatten() {
            then(reactor, outcome);
        }
    });
}

/// Answers a lookup that was not accepted.
pub(super) fn refuse(cx: &mut Context<'_>, then: Then, error: LookupError) -> Lookup {
    cx.defer(move |reactor| then(reactor, Err(error)));
    Lookup::NONE
}

/// Where a resolver's service is: its id, and its own number ([`Waiters::number`]).
pub(super) type Place<S> = (Id<S>, u64);

/// Has a service do something, if it lives and `cx` is of its reactor.
pub(super) fn reach<S: Serving, R>(
    (service, number): Place<S>,
    cx: &mut Context<'_>,
    body: impl FnOnce(&mut S, &mut Context<'_>) -> R,
) -> Option<R> {
    let reached = cx.with(service, |service, cx| {
        (service.waiters().number == number).then(|| body(service, cx))
    });
    reached.flatten()
}

/// [`Resolve::start`](super::Resolve::start) on a service that may be closed.
pub(super) fn start<S: Serving>(
    place: Place<S>,
    cx: &mut Context<'_>,
    owner: AnyId,
    name: &str,
    limit: Option<Duration>,
    then: Then,
) -> Lookup {
    let mut then = Some(then);
    let lookup = reach(place, cx, |service, cx| {
        then.take()
            .map(|then| service.look_up(cx, owner, name, limit, then))
    });
    match then {
        Some(then) => refuse(cx, then, LookupError::new(name, Failure::Closed)),
        None => lookup.flatten().unwrap_or(Lookup::NONE),
    }
}

/// [`Resolve::cancel`](super::Resolve::cancel), likewise.
pub(super) fn cancel<S: Serving>(place: Place<S>, cx: &mut Context<'_>, lookup: Lookup) -> bool {
    let cancelled = reach(place, cx, |service, cx| service.forget(cx, lookup));
    cancelled.unwrap_or(false)
}

/// Closes a service from outside; nothing happens if it is not there.
pub(super) fn end<S: Serving>(place: Place<S>, cx: &mut Context<'_>) {
    reach(place, cx, |_, cx| cx.close());
}

/// What a service does with waiting lookups when it is closed.
pub(super) fn close<S: Serving>(
    service: &mut S,
    cx: &mut Context<'_>,
    name: impl Fn(&S::Waiting) -> &str,
) {
    let rest = service.waiters().drain(|waiting| {
        let error = LookupError::new(name(&waiting), Failure::Closed);
        Err(error)
    });
    for (then, outcome) in rest {
        cx.defer(move |reactor| then(reactor, outcome));
    }
}

/// The error of a lookup whose deadline has passed.
pub(super) fn too_late(name: &str, limit: Duration) -> LookupError {
    let error = LookupError::new(name, Failure::DeadlinePassed);
    error.with(format_args!("{limit:?} have passed"))
}
