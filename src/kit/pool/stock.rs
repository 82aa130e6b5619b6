//! The connections that a pool has: ready, leased, given back, idle, ended.

use std::io;
use std::time::{Duration, Instant};

use crate::kit::pool::connection::{Phase, Pooled};
use crate::kit::pool::gauges::Why;
use crate::kit::pool::{Key, Lease, Pool, Reason, Refused, Reusable, Tag};
use crate::{Cause, Context, Id, TimerId, Unreached};

/// The state of a connection in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    Connecting,
    Idle,
    Leased,
    /// Given back, and its own callback has to return before it can be looked at.
    Returning,
    /// The pool has done with it. It counts until its descriptor is closed.
    Closing,
}

/// How many different ones there are.
pub(super) const STANDS: usize = 5;

/// One connection, in the pool's books.
#[derive(Debug)]
pub(super) struct Entry<K: Key, D: Reusable> {
    /// Tells it from others that had its place.
    pub(super) number: u64,
    pub(super) destination: usize,
    pub(super) stand: Stand,
    /// None while it is being made.
    pub(super) id: Option<Id<Pooled<K, D>>>,
    /// Of the user's dispatcher; known when it is ready.
    inner: Option<Id<D>>,
    /// The number of the lease that it is out by.
    lease: u64,
    was_leased: bool,
    idle_since: Option<Instant>,
    age_timer: Option<TimerId>,
    /// Its time is up; it does not become idle again.
    is_old: bool,
    /// Its part of the idle timeout and of the maximum age, from 0.9 to 1.
    share: f64,
}

impl<K: Key, D: Reusable> Entry<K, D> {
    pub(super) fn new(number: u64, destination: usize, share: f64) -> Entry<K, D> {
        Entry {
            number,
            destination,
            stand: Stand::Connecting,
            id: None,
            inner: None,
            lease: 0,
            was_leased: false,
            idle_since: None,
            age_timer: None,
            is_old: false,
            share,
        }
    }
}

/// Connections end before their time by up to this part of it.
pub(super) const JITTER: f64 = 0.1;

impl<K: Key, D: Reusable> Pool<K, D> {
    /// Notes where a connection stands now. Everything that is counted of it is counted here.
    pub(super) fn stands(&mut self, place: usize, stand: Stand) {
        let entry = &mut self.connections[place];
        let before = std::mem::replace(&mut entry.stand, stand);
        let destination = &mut self.destinations[entry.destination];
        self.counts[before as usize] -= 1;
        self.counts[stand as usize] += 1;
        destination.counts[before as usize] -= 1;
        destination.counts[stand as usize] += 1;
        if before == Stand::Idle {
            destination.idle.remove(&mut self.connections, place);
            self.idle.remove(&mut self.connections, place);
        }
        if stand == Stand::Idle {
            destination.idle.push(&mut self.connections, place);
            self.idle.push(&mut self.connections, place);
        }
    }

    /// The place, if it is still this connection's.
    fn find(&self, place: usize, number: u64) -> Option<&Entry<K, D>> {
        self.connections
            .get(place)
            .filter(|entry| entry.number == number)
    }

    /// The place, if it is still leased by this lease.
    fn find_lease(&mut self, place: usize, lease: u64) -> Option<&mut Entry<K, D>> {
        self.connections
            .get_mut(place)
            .filter(|entry| entry.stand == Stand::Leased && entry.lease == lease)
    }

    /// An attempt has become a connection. What it is now; `None` if the pool does not want it any more.
    pub(super) fn ready(
        &mut self,
        cx: &mut Context<'_>,
        place: usize,
        number: u64,
        inner: Id<D>,
    ) -> Option<Phase> {
        let entry = self.find(place, number)?;
        if entry.stand != Stand::Connecting {
            return None;
        }
        let (destination, share) = (entry.destination, entry.share);
        self.gauges.made += 1;
        self.destinations[destination].failures = 0;
        let age_timer = self
            .options
            .max_age
            .map(|age| self.set_timer(cx, part(age, share), Tag::Age, place));
        let entry = &mut self.connections[place];
        entry.inner = Some(inner);
        entry.age_timer = age_timer;
        let is_leased = self.hand_over(cx, place);
        if !is_leased {
            self.lay_down(cx, place);
        }
        self.review(destination);
        self.serve(cx);
        Some(if is_leased {
            Phase::Leased
        } else {
            Phase::Idle
        })
    }

    /// A lease has come back.
    pub(super) fn give_back(&mut self, cx: &mut Context<'_>, place: usize, lease: u64) {
        if self.find_lease(place, lease).is_some() {
            self.stands(place, Stand::Returning);
            self.take_back(cx, place);
        }
    }

    /// Looks at a connection that has come back, and does with it what there is to do.
    fn take_back(&mut self, cx: &mut Context<'_>, place: usize) {
        let entry = &self.connections[place];
        let (number, destination, is_old) = (entry.number, entry.destination, entry.is_old);
        let Some(id) = entry.id else {
            return;
        };
        if is_old || self.is_shutting_down {
            let why = if is_old { Why::Age } else { Why::ShutDown };
            return self.give_up(cx, place, why);
        }
        let is_awaited = !self.destinations[destination].waiters.is_empty();
        if is_awaited && self.yields_to_another(destination) {
            return self.give_up(cx, place, Why::Evicted);
        }
        let probe = is_awaited && self.options.probe;
        let outcome = cx.try_with(id, |pooled, cx| {
            let outcome = pooled.check(cx, probe);
            pooled.enter(Phase::Idle);
            outcome
        });
        match outcome {
            Ok(Ok(())) => {
                if self.hand_over(cx, place) {
                    // The check has just left it idle.
                    cx.with(id, |pooled, _| pooled.enter(Phase::Leased));
                } else {
                    self.lay_down(cx, place);
                }
                self.review(destination);
                self.serve(cx);
            }
            Ok(Err(why)) => self.give_up(cx, place, why),
            Err(Unreached::Busy) => self.look_later(cx, place, number),
            Err(_) => self.lose(cx, place),
        }
    }

    /// Its own callback is running: looks at it when that has returned, still in this turn.
    fn look_later(&mut self, cx: &mut Context<'_>, place: usize, number: u64) {
        let Some(pool) = self.id else {
            return;
        };
        cx.defer(move |reactor| {
            reactor.with(pool, |pool, cx| {
                if pool
                    .find(place, number)
                    .is_some_and(|entry| entry.stand == Stand::Returning)
                {
                    pool.take_back(cx, place);
                }
            });
        });
    }

    /// The dispatcher of this id is none of the pool's any more: it has ended, and will say so, or another has taken
    /// its place.
    fn lose(&mut self, cx: &mut Context<'_>, place: usize) {
        let entry = &self.connections[place];
        let is_there = entry.id.is_some_and(|id| cx.at(id).is_some());
        if is_there {
            self.forget(cx, place);
        } else {
            self.gauges.discarded.count(Why::Ended);
            self.stands(place, Stand::Closing);
        }
    }

    /// Makes a connection idle.
    fn lay_down(&mut self, cx: &mut Context<'_>, place: usize) {
        let now = cx.now();
        self.connections[place].idle_since = Some(now);
        self.stands(place, Stand::Idle);
        if self.sweep.is_none() {
            if let Some(limit) = self.options.idle_timeout {
                self.set_sweep(cx, part(limit, 1.0 - JITTER));
            }
        }
    }

    /// Closes what has been idle for too long, and sets the timer for what comes next. (One timer for all, so that a
    /// lease and its return set none.)
    pub(super) fn sweep(&mut self, cx: &mut Context<'_>) {
        self.sweep = None;
        let Some(limit) = self.options.idle_timeout else {
            return;
        };
        let now = cx.now();
        let mut next_due: Option<Duration> = None;
        let mut next = self.idle.first();
        while let Some(place) = next {
            next = self.idle.after(&self.connections, place);
            let entry = &self.connections[place];
            let idle = entry
                .idle_since
                .map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
            let left = part(limit, entry.share).saturating_sub(idle);
            if left == Duration::ZERO {
                self.give_up(cx, place, Why::Idle);
                continue;
            }
            next_due = Some(next_due.map_or(left, |due| due.min(left)));
            // Those after it have been idle for no longer than this one, whatever their share.
            let earliest = part(limit, 1.0 - JITTER).saturating_sub(idle);
            if earliest > Duration::ZERO {
                next_due = next_due.map(|due| due.min(earliest));
                break;
            }
        }
        if let Some(due) = next_due {
            // At least a little: a sweep must not follow itself at once.
            self.set_sweep(cx, due.max(Duration::from_millis(1)));
        }
    }

    fn set_sweep(&mut self, cx: &mut Context<'_>, after: Duration) {
        let timer = self.set_timer(cx, after, Tag::Sweep, 0);
        // The connections keep the loop running, not this.
        cx.unref_timer(timer);
        self.sweep = Some(timer);
    }

    /// A connection has reached its age.
    pub(super) fn ages(&mut self, cx: &mut Context<'_>, place: usize, timer: TimerId) {
        let Some(entry) = self.connections.get_mut(place) else {
            return;
        };
        if entry.age_timer != Some(timer) {
            return;
        }
        entry.age_timer = None;
        entry.is_old = true;
        if entry.stand == Stand::Idle {
            self.give_up(cx, place, Why::Age);
        }
    }

    /// An idle connection of this destination, if there is one that is good. The one that was used last comes first, so
    /// that those that are too many grow idle and go.
    pub(super) fn lend_idle(
        &mut self,
        cx: &mut Context<'_>,
        destination: usize,
    ) -> Option<Result<Lease<K, D>, Refused>> {
        // A destination that has lost its last connection may be forgotten.
        while let Some(place) = self.destinations.get(destination)?.idle.last() {
            let entry = &self.connections[place];
            let (number, id) = (entry.number, entry.id?);
            let probe = self.options.probe;
            let outcome = cx.try_with(id, |pooled, cx| {
                let outcome = pooled.check(cx, probe);
                if outcome.is_ok() {
                    pooled.enter(Phase::Leased);
                }
                outcome
            });
            match outcome {
                Ok(Ok(())) => {
                    let lease = self.lend(cx, place);
                    if lease.is_none() {
                        cx.with(id, |pooled, _| pooled.enter(Phase::Idle));
                        return Some(Err(self.refuse(Reason::NoPlace, destination)));
                    }
                    return lease.map(Ok);
                }
                Ok(Err(why)) => self.give_up(cx, place, why),
                Err(Unreached::Busy) => {
                    self.stands(place, Stand::Returning);
                    self.look_later(cx, place, number);
                }
                Err(_) => self.lose(cx, place),
            }
        }
        None
    }

    /// Makes the lease. `None` if the queue of posts has no place for its return.
    pub(super) fn lend(&mut self, cx: &mut Context<'_>, place: usize) -> Option<Lease<K, D>> {
        let pool = self.id?;
        let connection = self.connections[place].inner?;
        let handle = self.handle.get_or_insert_with(|| cx.handle().unref());
        let permit = handle.reserve().ok()?;
        let number = self.next_number();
        self.stands(place, Stand::Leased);
        let entry = &mut self.connections[place];
        entry.lease = number;
        if std::mem::replace(&mut entry.was_leased, true) {
            self.gauges.reused += 1;
        }
        Some(Lease {
            pool,
            connection,
            place,
            number,
            permit: Some(permit),
        })
    }

    /// A lease reports that its connection is broken; it is being aborted.
    pub(super) fn note_broken(&mut self, place: usize, lease: u64) {
        if self.find_lease(place, lease).is_some() {
            self.gauges.discarded.count(Why::Broken);
            self.stands(place, Stand::Closing);
        }
    }

    /// A lease is taken out of the pool.
    pub(super) fn let_go(&mut self, cx: &mut Context<'_>, place: usize, lease: u64) {
        if self.find_lease(place, lease).is_some() {
            self.gauges.taken += 1;
            self.forget(cx, place);
        }
    }

    /// An idle connection reports that it cannot be used any more.
    pub(super) fn leaves(&mut self, cx: &mut Context<'_>, place: usize, number: u64, why: Why) {
        let is_idle = self
            .find(place, number)
            .is_some_and(|entry| matches!(entry.stand, Stand::Idle | Stand::Returning));
        if is_idle {
            self.give_up(cx, place, why);
        }
    }

    /// Closes a connection. Its place is free when its descriptor is closed: at the end of this turn, unless
    /// output is queued that is worth waiting for.
    pub(super) fn give_up(&mut self, cx: &mut Context<'_>, place: usize, why: Why) {
        self.gauges.discarded.count(why);
        self.stands(place, Stand::Closing);
        let id = self.connections[place].id;
        if let Some(mut connection) = id.and_then(|id| cx.at(id)) {
            if why.is_orderly() {
                connection.close_when_sent();
            } else {
                connection.abort();
            }
        }
    }

    /// A connection has ended, or an attempt.
    pub(super) fn ended(
        &mut self,
        cx: &mut Context<'_>,
        place: usize,
        number: u64,
        failure: Option<io::Error>,
        cause: Option<Cause>,
    ) {
        let Some(entry) = self.find(place, number) else {
            return;
        };
        let (stand, destination) = (entry.stand, entry.destination);
        match stand {
            Stand::Connecting => {
                let error = failure.unwrap_or_else(|| {
                    let text =
                        cause.map_or_else(|| "it ended".to_owned(), |cause| cause.to_string());
                    io::Error::other(text)
                });
                self.failed(cx, destination, &error);
            }
            Stand::Idle | Stand::Returning => self.gauges.discarded.count(Why::Ended),
            Stand::Leased => self.gauges.discarded.count(Why::Died),
            Stand::Closing => {}
        }
        self.forget(cx, place);
    }

    /// Removes a connection from the pool, and gives its place to a waiting request.
    pub(super) fn forget(&mut self, cx: &mut Context<'_>, place: usize) {
        // Out of the lists of the idle.
        self.stands(place, Stand::Closing);
        self.counts[Stand::Closing as usize] -= 1;
        let entry = self.connections.remove(place);
        self.destinations[entry.destination].counts[Stand::Closing as usize] -= 1;
        if let Some(timer) = entry.age_timer {
            cx.cancel_timer(timer);
        }
        self.review(entry.destination);
        self.serve(cx);
        if self.is_shutting_down && self.connections.is_empty() {
            cx.close();
        }
    }
}

/// A part of a duration, which may be the longest there is.
pub(super) fn part(whole: Duration, share: f64) -> Duration {
    Duration::try_from_secs_f64(whole.as_secs_f64() * share).unwrap_or(Duration::MAX)
}
