//! Which destination gets the next connection that may be opened, and the room for all of them.

use std::io;
use std::time::Duration;

use crate::kit::pool::connection::Seat;
use crate::kit::pool::gauges::Why;
use crate::kit::pool::lists::List;
use crate::kit::pool::stock::{Entry, JITTER, STANDS, Stand};
use crate::kit::pool::{Key, Pool, Refused, Reusable, Tag};
use crate::{Context, TimerId};

/// What follows when an attempt to connect has failed; see [`Pool::after_failure`]. In all three cases further
/// attempts are made one at a time, until one succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AfterFailure {
    /// The waiting requests get the error, and the next request starts a new attempt. This is the default.
    Tell,
    /// The waiting requests get the error, and requests within this time are refused
    /// ([`Paused`](super::Reason::Paused)), unless a connection is idle.
    Pause(Duration),
    /// The waiting requests keep waiting, up to their deadlines, and the next attempt is made after this time.
    Retry(Duration),
}

/// A destination: its connections, and the requests that wait for one.
#[derive(Debug)]
pub(super) struct Destination<K> {
    pub(super) key: K,
    /// In the order of their return.
    pub(super) idle: List,
    pub(super) waiters: List,
    /// Its connections, by state.
    pub(super) counts: [usize; STANDS],
    /// Attempts that have failed since the last that succeeded.
    pub(super) failures: u32,
    /// No attempt is made until this fires.
    pause: Option<TimerId>,
    /// During the pause requests are refused.
    refuses: bool,
}

impl<K> Destination<K> {
    fn new(key: K) -> Destination<K> {
        Destination {
            key,
            idle: List::new(0),
            waiters: List::new(0),
            counts: [0; STANDS],
            failures: 0,
            pause: None,
            refuses: false,
        }
    }

    fn count(&self, stand: Stand) -> usize {
        self.counts[stand as usize]
    }

    /// Connections that count against the limit.
    fn held(&self) -> usize {
        self.counts.iter().sum()
    }

    pub(super) fn refuses(&self) -> bool {
        self.pause.is_some() && self.refuses
    }

    /// Whether a request waits for which no attempt is in progress, and an attempt may be made. After a failure one
    /// at a time is enough to find out.
    fn lacks(&self) -> bool {
        let connecting = self.count(Stand::Connecting);
        let coming = connecting + self.count(Stand::Returning);
        let may_try = self.pause.is_none() && (self.failures == 0 || connecting == 0);
        may_try && self.waiters.len() > coming
    }

    fn is_empty(&self) -> bool {
        self.held() == 0 && self.waiters.is_empty() && self.pause.is_none()
    }
}

/// Destinations of which nothing is kept but that attempts have failed. The oldest are forgotten.
const REMEMBERED: usize = 1024;

impl<K: Key, D: Reusable> Pool<K, D> {
    /// The destination of this key.
    pub(super) fn destination(&mut self, key: &K) -> usize {
        if let Some(&place) = self.by_key.get(key) {
            return place;
        }
        let place = self.destinations.insert(Destination::new(key.clone()));
        self.by_key.insert(key.clone(), place);
        place
    }

    /// Something has changed at a destination: puts it into the lines that it belongs to, or forgets it.
    pub(super) fn review(&mut self, place: usize) {
        let Some(destination) = self.destinations.get(place) else {
            return;
        };
        let held = destination.held();
        let wants = destination.lacks() && held < self.options.max_per_destination;
        let (is_empty, failures) = (destination.is_empty(), destination.failures);
        let memberships = [
            (&mut self.wanting, wants),
            (&mut self.starved, wants && held == 0),
            (&mut self.remembered, is_empty && failures > 0),
        ];
        for (list, is_member) in memberships {
            if is_member {
                list.push(&mut self.destinations, place);
            } else {
                list.remove(&mut self.destinations, place);
            }
        }
        if is_empty && failures == 0 {
            self.drop_destination(place);
        }
        while self.remembered.len() > REMEMBERED {
            let Some(oldest) = self.remembered.first() else {
                break;
            };
            self.remembered.remove(&mut self.destinations, oldest);
            self.drop_destination(oldest);
        }
    }

    fn drop_destination(&mut self, place: usize) {
        let destination = self.destinations.remove(place);
        self.by_key.remove(&destination.key);
    }

    /// Makes connections for those that lack some, as far as there is room. Those that have none come first, for
    /// nothing that comes back will serve them.
    pub(super) fn serve(&mut self, cx: &mut Context<'_>) {
        if self.is_shutting_down {
            return;
        }
        while self.connections.len() < self.options.max_connections {
            let Some(place) = self.starved.first().or_else(|| self.wanting.first()) else {
                return;
            };
            // To the end of the line, if it wants more.
            self.wanting.remove(&mut self.destinations, place);
            self.starved.remove(&mut self.destinations, place);
            self.start(cx, place);
            self.review(place);
        }
        if self.counts[Stand::Closing as usize] == 0 {
            self.make_room(cx);
        }
    }

    /// As [`serve`](Pool::serve), for one that has just come. One more that waits is one more place that is needed.
    pub(super) fn serve_newcomer(&mut self, cx: &mut Context<'_>, destination: usize) {
        let closing = self.counts[Stand::Closing as usize];
        self.serve(cx);
        let lacks = self
            .destinations
            .get(destination)
            .is_some_and(Destination::lacks);
        if lacks && self.counts[Stand::Closing as usize] == closing {
            self.make_room(cx);
        }
    }

    /// If a request needs room: closes the connection that has been idle longest. Called after `serve` has used the
    /// room that there was.
    fn make_room(&mut self, cx: &mut Context<'_>) {
        if self.wanting.is_empty() {
            return;
        }
        if let Some(place) = self.idle.first() {
            self.give_up(cx, place, Why::Evicted);
        }
    }

    /// Whether a connection that has returned, and for which requests wait, is to make room for another destination,
    /// which has none and where a request has waited for longer: otherwise that one might never get one.
    pub(super) fn yields_to_another(&self, destination: usize) -> bool {
        // A connection that is closing makes room already. (If there is room now, `serve` has used it for the others.)
        if self.counts[Stand::Closing as usize] > 0 {
            return false;
        }
        let first_of = |place: usize| {
            let first = self.destinations[place].waiters.first();
            first.map(|first| self.waiters[first].number)
        };
        let other = self.starved.first().and_then(first_of);
        match (other, first_of(destination)) {
            (Some(other), Some(own)) => other < own,
            _ => false,
        }
    }

    /// Begins an attempt.
    fn start(&mut self, cx: &mut Context<'_>, destination: usize) {
        let Some(pool) = self.id else {
            return;
        };
        let number = self.next_number();
        let share = 1.0 - JITTER * self.chance();
        let place = self
            .connections
            .insert(Entry::new(number, destination, share));
        self.counts[Stand::Connecting as usize] += 1;
        let there = &mut self.destinations[destination];
        there.counts[Stand::Connecting as usize] += 1;
        let seat = Seat {
            pool,
            place,
            number,
        };
        match (self.connect)(cx, &there.key, seat) {
            Ok(id) => self.connections[place].id = Some(id),
            Err(error) => {
                // Before, so that nothing counts on it.
                self.strike(place);
                self.failed(cx, destination, &error);
            }
        }
    }

    /// Takes an attempt out of the books that has not begun.
    fn strike(&mut self, place: usize) {
        let entry = self.connections.remove(place);
        self.counts[Stand::Connecting as usize] -= 1;
        self.destinations[entry.destination].counts[Stand::Connecting as usize] -= 1;
    }

    /// An attempt has failed. The caller looks at the destination again.
    pub(super) fn failed(&mut self, cx: &mut Context<'_>, place: usize, error: &io::Error) {
        self.gauges.failed += 1;
        let destination = &mut self.destinations[place];
        log::debug!("pool: {:?}: cannot connect: {error}", destination.key);
        if destination.pause.is_some() {
            // It was in progress when another failed: what follows has been decided.
            return;
        }
        destination.failures = destination.failures.saturating_add(1);
        let follows = match &mut self.after_failure {
            Some(decide) => decide(&destination.key, error, destination.failures),
            None => AfterFailure::Tell,
        };
        match follows {
            AfterFailure::Tell => self.tell_failure(cx, place, error),
            AfterFailure::Pause(time) => {
                self.pause(cx, place, time, true);
                self.tell_failure(cx, place, error);
            }
            AfterFailure::Retry(time) => self.pause(cx, place, time, false),
        }
    }

    /// Gives the error to all waiting requests; but if the destination has connections, which will serve them, only
    /// to the first.
    fn tell_failure(&mut self, cx: &mut Context<'_>, place: usize, error: &io::Error) {
        let destination = &self.destinations[place];
        let has_others = [Stand::Idle, Stand::Leased, Stand::Returning]
            .iter()
            .any(|&stand| destination.count(stand) > 0);
        while let Some(first) = self.destinations[place].waiters.first() {
            let refused = Refused::connect(&self.destinations[place].key, error);
            self.gauges.refused.count(refused.reason());
            self.tell(cx, first, Err(refused));
            if has_others {
                break;
            }
        }
    }

    fn pause(&mut self, cx: &mut Context<'_>, place: usize, time: Duration, refuses: bool) {
        let timer = self.set_timer(cx, time, Tag::Pause, place);
        // Those that wait have timers of their own.
        if refuses {
            cx.unref_timer(timer);
        }
        let destination = &mut self.destinations[place];
        destination.refuses = refuses;
        if let Some(before) = destination.pause.replace(timer) {
            cx.cancel_timer(before);
        }
    }

    /// A pause is over.
    pub(super) fn resume(&mut self, cx: &mut Context<'_>, place: usize, timer: TimerId) {
        let destination = self.destinations.get_mut(place);
        let Some(destination) = destination.filter(|there| there.pause == Some(timer)) else {
            return;
        };
        destination.pause = None;
        self.review(place);
        self.serve(cx);
    }
}
