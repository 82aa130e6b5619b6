//! The requests that wait for a connection.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use crate::kit::pool::{Key, Lease, Pool, Reason, Refused, Reusable, Tag};
use crate::{AnyId, Context, Dispatcher, Id, Reactor, TimerId};

/// The result of [`Pool::acquire`].
#[must_use = "a lease that is dropped goes back to its pool"]
#[derive(Debug)]
pub enum Acquired<K: Key, D: Reusable> {
    /// The outcome is known at once: an idle connection, or a refusal. The closure is dropped and does not run.
    Now(Result<Lease<K, D>, Refused>),
    /// The closure will be called with the outcome. With the ticket the wait can be [cancelled](Pool::cancel).
    Later(Ticket),
}

/// Identifies a waiting request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    place: usize,
    number: u64,
}

/// How an outcome gets to the holder.
pub(super) type Deliver<K, D> = Box<dyn FnOnce(&mut Reactor, Result<Lease<K, D>, Refused>)>;

/// A waiting request.
pub(super) struct Waiter<K: Key, D: Reusable> {
    /// Grows from one to the next, for all destinations.
    pub(super) number: u64,
    pub(super) destination: usize,
    holder: AnyId,
    since: Instant,
    timer: Option<TimerId>,
    deliver: Deliver<K, D>,
}

impl<K: Key, D: Reusable> fmt::Debug for Waiter<K, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter")
            .field("holder", &self.holder)
            .finish_non_exhaustive()
    }
}

/// Why a request stops waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    Told,
    Cancelled,
}

impl<K: Key, D: Reusable> Pool<K, D> {
    /// [`Pool::acquire_within`], in the pool's own context.
    pub(super) fn ask<H: Dispatcher>(
        &mut self,
        cx: &mut Context<'_>,
        key: &K,
        holder: Id<H>,
        limit: Limit,
        deliver: impl FnOnce(&mut H, &mut Context<'_>, Result<Lease<K, D>, Refused>) -> io::Result<()>
        + 'static,
    ) -> Acquired<K, D> {
        if self.id.is_none() {
            self.id = Some(cx.id::<Pool<K, D>>());
        }
        if self.is_shutting_down || cx.is_shutting_down() {
            self.gauges.refused.count(Reason::ShutDown);
            return Acquired::Now(Err(Refused::new(Reason::ShutDown, key)));
        }
        if let Some(&destination) = self.by_key.get(key) {
            // A new request does not overtake those that wait.
            if self.destinations[destination].waiters.is_empty() {
                if let Some(outcome) = self.lend_idle(cx, destination) {
                    return Acquired::Now(outcome);
                }
            }
        }
        if self.waiting.len() >= self.options.max_waiting {
            // Before a place is made for the destination: the last one that waited there may go with it.
            self.drop_orphans(cx);
        }
        let destination = self.destination(key);
        let limit = match limit {
            Limit::Usual => self.options.wait_timeout,
            Limit::Own(limit) => limit,
        };
        if let Some(reason) = self.refusal(destination, limit) {
            let refused = self.refuse(reason, destination);
            self.review(destination);
            return Acquired::Now(Err(refused));
        }
        let deliver: Deliver<K, D> = Box::new(move |reactor, outcome| {
            // If the holder has ended, so has its lease: it is dropped, and goes back.
            let _ = reactor.call(holder, |holder, cx| deliver(holder, cx, outcome));
        });
        let ticket = self.line_up(cx, destination, holder.any(), limit, deliver);
        self.review(destination);
        self.serve_newcomer(cx, destination);
        Acquired::Later(ticket)
    }

    /// Why no request can be put into this line.
    fn refusal(&self, destination: usize, limit: Option<Duration>) -> Option<Reason> {
        if limit == Some(Duration::ZERO) {
            return Some(Reason::Deadline);
        }
        if self.destinations[destination].refuses() {
            return Some(Reason::Paused);
        }
        let is_full = self.waiting.len() >= self.options.max_waiting;
        is_full.then_some(Reason::TooManyWaiting)
    }

    fn line_up(
        &mut self,
        cx: &mut Context<'_>,
        destination: usize,
        holder: AnyId,
        limit: Option<Duration>,
        deliver: Deliver<K, D>,
    ) -> Ticket {
        let number = self.next_number();
        let place = self.waiters.insert(Waiter {
            number,
            destination,
            holder,
            since: cx.now(),
            timer: None,
            deliver,
        });
        let line = &mut self.destinations[destination].waiters;
        line.push(&mut self.waiters, place);
        self.waiting.push(&mut self.waiters, place);
        let timer = limit.map(|limit| self.set_timer(cx, limit, Tag::Deadline, place));
        self.waiters[place].timer = timer;
        Ticket { place, number }
    }

    /// Gives a usable connection to the first request in its line. False if none could take it.
    pub(super) fn hand_over(&mut self, cx: &mut Context<'_>, place: usize) -> bool {
        let destination = self.connections[place].destination;
        while let Some(first) = self.destinations[destination].waiters.first() {
            if cx.at(self.waiters[first].holder).is_none() {
                self.drop_orphan(cx, first);
                continue;
            }
            let lease = self.lend(cx, place);
            let is_leased = lease.is_some();
            let outcome = lease.ok_or_else(|| self.refuse(Reason::NoPlace, destination));
            self.tell(cx, first, outcome);
            if is_leased {
                return true;
            }
        }
        false
    }

    /// Takes a request out of the line, and has the outcome delivered when the callbacks of this turn have returned:
    /// no holder is called while the pool runs.
    pub(super) fn tell(
        &mut self,
        cx: &mut Context<'_>,
        place: usize,
        outcome: Result<Lease<K, D>, Refused>,
    ) {
        let deliver = self.leave_line(cx, place, Leaving::Told);
        cx.defer(move |reactor| deliver(reactor, outcome));
    }

    fn leave_line(
        &mut self,
        cx: &mut Context<'_>,
        place: usize,
        leaving: Leaving,
    ) -> Deliver<K, D> {
        let waiter = &self.waiters[place];
        let destination = waiter.destination;
        let waited = cx.now().saturating_duration_since(waiter.since);
        self.gauges.longest_wait = self.gauges.longest_wait.max(waited);
        let line = &mut self.destinations[destination].waiters;
        line.remove(&mut self.waiters, place);
        self.waiting.remove(&mut self.waiters, place);
        let waiter = self.waiters.remove(place);
        if let Some(timer) = waiter.timer {
            cx.cancel_timer(timer);
        }
        if leaving == Leaving::Cancelled {
            self.gauges.cancelled += 1;
        }
        waiter.deliver
    }

    /// Those whose holders have ended are only in the way. Looked for when the line is full, once a turn at most.
    fn drop_orphans(&mut self, cx: &mut Context<'_>) {
        let now = cx.now();
        if self.orphans_dropped.replace(now) == Some(now) {
            return;
        }
        let mut next = self.waiting.first();
        while let Some(place) = next {
            next = self.waiting.after(&self.waiters, place);
            let waiter = &self.waiters[place];
            let destination = waiter.destination;
            if cx.at(waiter.holder).is_none() {
                self.drop_orphan(cx, place);
                self.review(destination);
            }
        }
    }

    /// One whose holder has ended. What the closure had captured is dropped where the pool is not running: its drop
    /// is the user's code.
    fn drop_orphan(&mut self, cx: &mut Context<'_>, place: usize) {
        let deliver = self.leave_line(cx, place, Leaving::Cancelled);
        cx.defer(move |_| drop(deliver));
    }

    /// [`Pool::cancel`], in the pool's own context. What the closure had captured is given out, to be dropped where
    /// the pool is not running.
    pub(super) fn withdraw(
        &mut self,
        cx: &mut Context<'_>,
        ticket: Ticket,
    ) -> Option<Deliver<K, D>> {
        let waiter = self.waiters.get(ticket.place)?;
        if waiter.number != ticket.number {
            return None;
        }
        let destination = waiter.destination;
        let deliver = self.leave_line(cx, ticket.place, Leaving::Cancelled);
        self.review(destination);
        Some(deliver)
    }

    /// The wait of a request has timed out.
    pub(super) fn gives_up_waiting(&mut self, cx: &mut Context<'_>, place: usize, timer: TimerId) {
        let waiter = self.waiters.get(place);
        let Some(waiter) = waiter.filter(|waiter| waiter.timer == Some(timer)) else {
            return;
        };
        let destination = waiter.destination;
        let refused = self.refuse(Reason::Deadline, destination);
        self.tell(cx, place, Err(refused));
        self.review(destination);
    }

    /// Refuses all waiting requests.
    pub(super) fn refuse_all(&mut self, cx: &mut Context<'_>, reason: Reason) {
        while let Some(place) = self.waiting.first() {
            let destination = self.waiters[place].destination;
            let refused = self.refuse(reason, destination);
            self.tell(cx, place, Err(refused));
            self.review(destination);
        }
    }

    /// A refusal, which is counted.
    pub(super) fn refuse(&mut self, reason: Reason, destination: usize) -> Refused {
        self.gauges.refused.count(reason);
        Refused::new(reason, &self.destinations[destination].key)
    }

    /// How long the one has waited that has waited longest.
    pub(super) fn oldest_wait(&self, now: Instant) -> Duration {
        let first = self.waiting.first();
        first.map_or(Duration::ZERO, |place| {
            now.saturating_duration_since(self.waiters[place].since)
        })
    }
}

/// How long to wait.
#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    /// As the pool's options say.
    Usual,
    /// As this one says.
    Own(Option<Duration>),
}
