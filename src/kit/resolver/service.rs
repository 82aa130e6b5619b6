//! The service behind a [`DnsResolver`](super::DnsResolver): from names to flights, from flights to waiting lookups.

mod asking;
mod names;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use slab::Slab;

use self::names::candidate;
use super::attempt::Stray;
use super::cache::Cache;
use super::config::DnsConfig;
use super::dns::DnsStats;
use super::error::{Failure, LookupError};
use super::files::Files;
use super::flight::{Flight, KINDS};
use super::hosts::Hosts;
use super::name::Name;
use super::random::Random;
use super::serving::{self, Serving, refuse};
use super::waiters::{Lookup, Waiters};
use super::{Addresses, Origin, Then, config};
use crate::{AnyId, Cause, Context, Dispatcher, TimerId};

/// Set in the tag of a timer that belongs to a flight; the others belong to a waiter. Below it is the key.
const OF_FLIGHT: u32 = 1 << 31;

/// A lookup that has no answer yet.
#[derive(Debug)]
pub(super) struct Waiting {
    /// As it was asked for.
    name: Box<str>,
    wire: Name,
    /// How many of the names that it may stand for have been looked up.
    tried: usize,
    /// One of them could not be looked up: whatever the others say, that the name does not exist is not known.
    failed: Option<LookupError>,
    /// One of them exists, and has no address: that says more than that the others do not exist.
    denied: Option<LookupError>,
    flight: Option<usize>,
    limit: Duration,
    /// It goes on by what held when it began.
    config: Rc<DnsConfig>,
}

/// What has turned out about a server.
#[derive(Clone, Copy, Debug, Default)]
struct ServerTraits {
    no_edns: bool,
    no_case: bool,
}

pub(super) struct Service {
    config: Rc<DnsConfig>,
    files: Files,
    hosts: Hosts,
    localhost: Option<Rc<[IpAddr]>>,
    cache: Cache,
    random: Random,
    waiters: Waiters<Waiting>,
    flights: Slab<Flight>,
    by_name: HashMap<Rc<[u8]>, usize>,
    /// Flights that have not been started.
    queue: VecDeque<usize>,
    in_flight: usize,
    is_starting: bool,
    servers: Vec<ServerTraits>,
    next_server: usize,
    serial: u64,
    stats: DnsStats,
}

impl Service {
    pub(super) fn new(config: DnsConfig) -> io::Result<Service> {
        let hosts = match &config.hosts {
            Some(path) => config::read(path)?.map(|text| Hosts::parse(&text)),
            None => None,
        };
        for line in config.ignored() {
            log::warn!("resolv.conf: {line:?} is not understood, and ignored");
        }
        Ok(Service {
            files: Files::new(&config),
            hosts: hosts.unwrap_or_default(),
            localhost: None,
            cache: Cache::new(config.cache_entries),
            random: Random::new(config.seed),
            waiters: Waiters::new(),
            flights: Slab::new(),
            by_name: HashMap::new(),
            queue: VecDeque::new(),
            in_flight: 0,
            is_starting: false,
            servers: vec![ServerTraits::default(); config.servers.len()],
            next_server: 0,
            serial: 0,
            stats: DnsStats::default(),
            config: Rc::new(config),
        })
    }

    pub(super) fn stats(&self) -> DnsStats {
        DnsStats {
            evicted: self.cache.evicted,
            cached: self.cache.len(),
            waiting: self.waiters.waiting,
            in_flight: self.in_flight,
            queued: self.queue.len(),
            ..self.stats
        }
    }

    pub(super) fn clear_cache(&mut self) {
        self.cache.clear();
    }

    pub(super) fn count(&mut self, stray: Stray) {
        let counter = match stray {
            Stray::OtherId => &mut self.stats.other_id,
            Stray::OtherQuestion => &mut self.stats.other_question,
            Stray::OtherCase => &mut self.stats.other_case,
            Stray::Garbage => &mut self.stats.garbage,
        };
        *counter += 1;
    }

    /// A lookup no longer waits. A flight without waiting lookups ends, unless it has been of use already: then the
    /// other half of its answer is for the cache.
    fn leave(&mut self, cx: &mut Context<'_>, key: usize, waiter: usize) {
        let Some(flight) = self.flights.get_mut(key) else {
            return;
        };
        flight.waiters.retain(|other| *other != waiter);
        if flight.waiters.is_empty() && flight.partial.is_none() {
            self.end_flight(cx, key);
            self.start_queued(cx);
        }
    }

    /// Goes through the names that a lookup may stand for until one has addresses, or has to be asked for. `news`
    /// is what has come of the one that was asked for last.
    fn advance(&mut self, cx: &mut Context<'_>, key: usize, news: Option<&LookupError>) {
        let mut news = news.cloned();
        loop {
            let Some(waiting) = self.waiters.get(key) else {
                return;
            };
            waiting.flight = None;
            if let Some(error) = news.take() {
                waiting.tried += 1;
                if error.is_temporary() {
                    waiting.failed.get_or_insert(error);
                } else if error.failure() == Failure::NoAddress {
                    waiting.denied = Some(error);
                }
            }
            let (place, config) = (waiting.tried, &waiting.config);
            let Some(name) = candidate(&waiting.wire, &waiting.name, place, config) else {
                let found = waiting.failed.take().or(waiting.denied.take());
                let error = match found {
                    Some(error) => error.renamed(&waiting.name),
                    None => LookupError::new(&waiting.name, Failure::NoSuchName),
                };
                self.settle(cx, key, Err(error));
                return;
            };
            if let Some((finding, until)) = self.cache.get(name.as_bytes(), cx.now()) {
                self.stats.from_cache += u64::from(place == 0);
                match finding {
                    Ok(list) => {
                        let list = Rc::clone(list);
                        let addresses = Addresses::new(list, Origin::Cache, Some(until));
                        self.settle(cx, key, Ok(addresses));
                        return;
                    }
                    Err(error) => news = Some(error.clone()),
                }
                continue;
            }
            self.join(cx, key, name);
            return;
        }
    }

    /// Waits for what is found out about `name`, and starts a query if there is none.
    fn join(&mut self, cx: &mut Context<'_>, waiter: usize, name: Name) {
        let known = self.by_name.get(name.as_bytes()).copied();
        if let Some(key) = known.filter(|key| self.is_of_use(cx, *key)) {
            self.stats.joined += 1;
            let partial = self.flights[key].partial.clone();
            if let Some(list) = partial {
                self.settle(cx, waiter, Ok(Addresses::new(list, Origin::Asked, None)));
                return;
            }
            self.flights[key].waiters.push(waiter);
            if let Some(waiting) = self.waiters.get(waiter) {
                waiting.flight = Some(key);
            }
            return;
        }
        if self.config.servers.is_empty() {
            let error = LookupError::new(&name.to_string(), Failure::ServerFailed);
            self.advance(cx, waiter, Some(&error.with("there is none")));
            return;
        }
        let first = if self.config.rotate {
            self.next_server = (self.next_server + 1) % self.config.servers.len();
            self.next_server
        } else {
            0
        };
        let mut flight = Flight::new(name, &self.config, first, cx.now());
        flight.waiters.push(waiter);
        let name = Rc::clone(&flight.key);
        let key = self.flights.insert(flight);
        self.by_name.insert(name, key);
        if let Some(waiting) = self.waiters.get(waiter) {
            waiting.flight = Some(key);
        }
        self.queue.push_back(key);
        self.start_queued(cx);
    }

    /// What a flight has given out may have expired since, while the other family is waited for. Then it has nothing
    /// more to give, and is ended.
    fn is_of_use(&mut self, cx: &mut Context<'_>, key: usize) -> bool {
        let flight = &self.flights[key];
        let is = flight.partial.is_none() || flight.keep(&self.config, cx.now()).is_some();
        if !is {
            self.end_flight(cx, key);
        }
        is
    }

    fn deadline_passed(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(waiting) = self.waiters.get(key) else {
            return;
        };
        let error = serving::too_late(&waiting.name, waiting.limit);
        let flight = waiting.flight;
        self.settle(cx, key, Err(error));
        if let Some(flight) = flight {
            self.leave(cx, flight, key);
        }
    }
}

impl Serving for Service {
    type Waiting = Waiting;

    fn waiters(&mut self) -> &mut Waiters<Waiting> {
        &mut self.waiters
    }

    fn look_up(
        &mut self,
        cx: &mut Context<'_>,
        owner: AnyId,
        name: &str,
        limit: Option<Duration>,
        then: Then,
    ) -> Lookup {
        self.stats.lookups += 1;
        let now = cx.now();
        self.look_at_files(now);
        if self.waiters.len() >= self.config.max_lookups {
            self.stats.overloaded += 1;
            let most = self.config.max_lookups;
            let error = LookupError::new(name, Failure::Overloaded);
            let error = error.with(format_args!("{most} is the most"));
            return refuse(cx, then, error);
        }
        let wire = match self.name_to_ask(name) {
            Ok(wire) => wire,
            Err(outcome) => return self.settle_at_once(cx, owner, then, outcome),
        };
        // The usual case, spared the rest: the first name that it may stand for is known, with addresses.
        if let Some(first) = candidate(&wire, name, 0, &self.config) {
            if let Some((Ok(list), until)) = self.cache.get(first.as_bytes(), now) {
                self.stats.from_cache += 1;
                let addresses = Addresses::new(Rc::clone(list), Origin::Cache, Some(until));
                return self.settle_at_once(cx, owner, then, Ok(addresses));
            }
        }
        let limit = limit.unwrap_or(self.config.deadline);
        let waiting = Waiting {
            name: name.into(),
            wire,
            tried: 0,
            failed: None,
            denied: None,
            flight: None,
            limit,
            config: Rc::clone(&self.config),
        };
        let lookup = self.wait(cx, owner, then, waiting);
        self.advance(cx, lookup.key, None);
        self.arm_deadline(cx, lookup.key, limit);
        lookup
    }

    fn left(&mut self, cx: &mut Context<'_>, waiting: Waiting, key: usize) {
        if let Some(flight) = waiting.flight {
            self.leave(cx, flight, key);
        }
    }
}

impl Dispatcher for Service {
    fn handle_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) -> io::Result<()> {
        let key = (timer.tag() & !OF_FLIGHT) as usize;
        if timer.tag() & OF_FLIGHT == 0 {
            self.deadline_passed(cx, key);
        } else {
            self.grace_is_over(cx, key);
        }
        Ok(())
    }

    fn handle_gone(&mut self, cx: &mut Context<'_>, id: AnyId, _: Cause) -> io::Result<()> {
        self.owner_gone(cx, id);
        Ok(())
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        for (_, mut flight) in std::mem::take(&mut self.flights) {
            for side in 0..KINDS.len() {
                let attempt = flight.question(side).and_then(|question| question.attempt);
                if let Some(mut attempt) = attempt.and_then(|(_, id)| cx.at(id)) {
                    attempt.abort();
                }
            }
        }
        serving::close(self, cx, |waiting| &waiting.name);
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("servers", &self.config.servers)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
