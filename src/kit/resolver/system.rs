//! The resolver that calls the C library, on threads of its own.

mod config;
mod library;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use self::library::{Found, ask_the_library};
use super::cache::{Cache, Finding};
use super::error::{Failure, LookupError};
use super::serving::{self, Place, Serving, refuse};
use super::waiters::{Lookup, Waiters};
use super::{Addresses, Origin, Outcome, Resolve, Then, literal};
use crate::kit::workers::{Job, WorkerPanic, Workers};
use crate::{AnyId, Cause, Context, Dispatcher, Id, Reactor, TimerId};

pub use self::config::SystemConfig;

/// Longest name that is handed to the C library.
const LONGEST_NAME: usize = 253;

/// Calls the C library (`getaddrinfo`), on worker threads ([`kit::workers`](crate::kit::workers)).
///
/// It respects the configuration of the machine: `nsswitch.conf`, mDNS, LDAP, a local cache. Its costs: each lookup
/// occupies a thread for its whole duration, and the C library does not report how long an answer is valid, so the
/// [cache](SystemConfig::ttl) keeps all answers for the same time.
///
/// Clones are handles of the same service. The end of the reactor does not wait for running lookups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemResolver {
    place: Place<System>,
}

/// The counters of a [`SystemResolver`] since it was made, and its present state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SystemStats {
    /// Lookups that were begun.
    pub lookups: u64,
    /// Lookups that were answered from the cache.
    pub from_cache: u64,
    /// Lookups that shared the call of another lookup.
    pub joined: u64,
    /// Lookups that were refused because too many were waiting.
    pub overloaded: u64,
    /// Calls of the C library.
    pub calls: u64,
    /// Names that were removed from the cache for lack of room.
    pub evicted: u64,
    /// Names in the cache now, including expired ones.
    pub cached: usize,
    /// Lookups that wait now.
    pub waiting: usize,
    /// Names that are being looked up by a thread, or wait for one.
    pub in_flight: usize,
}

impl SystemResolver {
    /// Adds a resolver to a reactor, and starts its threads.
    ///
    /// # Errors
    ///
    /// Those of [`workers::Builder::build`](crate::kit::workers::Builder::build): the number of threads is out of its
    /// range, or a thread cannot be started.
    ///
    /// # Example
    ///
    /// ```
    /// use slabloop::kit::resolver::{SystemConfig, SystemResolver};
    /// use slabloop::Reactor;
    ///
    /// let mut reactor = Reactor::new()?;
    /// let resolver = SystemResolver::new(&mut reactor, SystemConfig::new())?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new(reactor: &mut Reactor, config: SystemConfig) -> io::Result<SystemResolver> {
        let workers = pool(&config).build(reactor)?;
        let service = System::new(config, workers);
        let number = service.waiters.number;
        let place = (reactor.add_service(service)?, number);
        Ok(SystemResolver { place })
    }

    /// Adds a resolver from inside a callback: see [`new`](SystemResolver::new).
    ///
    /// # Errors
    ///
    /// Those of [`new`](SystemResolver::new).
    pub fn new_in(cx: &mut Context<'_>, config: SystemConfig) -> io::Result<SystemResolver> {
        let workers = pool(&config).build_in(cx)?;
        let service = System::new(config, workers);
        let number = service.waiters.number;
        let place = (cx.add_service(service)?, number);
        Ok(SystemResolver { place })
    }

    /// The counters and the present state.
    pub fn stats(&self, cx: &mut Context<'_>) -> SystemStats {
        let stats = serving::reach(self.place, cx, |service, _| service.stats());
        stats.unwrap_or_default()
    }

    /// Empties the cache.
    pub fn clear_cache(&self, cx: &mut Context<'_>) {
        serving::reach(self.place, cx, |service, _| service.cache.clear());
    }

    /// Closes the resolver: waiting lookups fail with [`Failure::Closed`], and so do later ones. Its threads end when
    /// their present calls return.
    pub fn close(&self, cx: &mut Context<'_>) {
        serving::end(self.place, cx);
    }
}

impl Resolve for SystemResolver {
    fn start(
        &self,
        cx: &mut Context<'_>,
        owner: AnyId,
        name: &str,
        limit: Option<Duration>,
        then: Then,
    ) -> Lookup {
        serving::start(self.place, cx, owner, name, limit, then)
    }

    fn cancel(&self, cx: &mut Context<'_>, lookup: Lookup) -> bool {
        serving::cancel(self.place, cx, lookup)
    }
}

fn pool(config: &SystemConfig) -> crate::kit::workers::Builder {
    let builder = Workers::builder().threads(config.threads).name("resolver");
    // Each job has a waiting lookup, or a thread that is running it.
    builder.queue(config.max_lookups)
}

struct System {
    config: SystemConfig,
    workers: Workers,
    cache: Cache,
    waiters: Waiters<Waiting>,
    calls: HashMap<Rc<[u8]>, Call>,
    stats: SystemStats,
}

struct Waiting {
    /// As it was asked for.
    name: Box<str>,
    key: Rc<[u8]>,
    limit: Duration,
}

/// A name that a thread has, or is to have.
struct Call {
    job: Job,
    waiters: Vec<usize>,
}

impl System {
    fn new(config: SystemConfig, workers: Workers) -> System {
        System {
            cache: Cache::new(config.cache_entries),
            config,
            workers,
            waiters: Waiters::new(),
            calls: HashMap::new(),
            stats: SystemStats::default(),
        }
    }

    fn stats(&self) -> SystemStats {
        SystemStats {
            evicted: self.cache.evicted,
            cached: self.cache.len(),
            waiting: self.waiters.waiting,
            in_flight: self.calls.len(),
            ..self.stats
        }
    }

    /// What is known of a name at once.
    fn known(&mut self, cx: &Context<'_>, name: &str, key: &[u8]) -> Option<Outcome> {
        let none = |failure| LookupError::new(name, failure);
        if let Some(address) = literal(name) {
            return Some(if self.config.family.takes(address) {
                Ok(Addresses::new([address].into(), Origin::Literal, None))
            } else {
                Err(none(Failure::NoAddress))
            });
        }
        let wrong = if name.is_empty() {
            Some("it is empty")
        } else if name.len() > LONGEST_NAME {
            Some("it is longer than 253 bytes")
        } else if name.chars().any(|c| c.is_ascii_control() || c == ' ') {
            Some("it has a character that is not allowed in host names")
        } else {
            None
        };
        if let Some(why) = wrong {
            return Some(Err(none(Failure::InvalidName).with(why)));
        }
        let (finding, until) = self.cache.get(key, cx.now())?;
        self.stats.from_cache += 1;
        Some(match finding {
            Ok(list) => Ok(Addresses::new(Rc::clone(list), Origin::Cache, Some(until))),
            Err(error) => Err(error.renamed(name)),
        })
    }

    /// Has a thread look up a name, if none does already. The error says why that cannot be.
    fn call(&mut self, cx: &mut Context<'_>, name: &str, key: &Rc<[u8]>) -> Result<(), String> {
        if self.calls.contains_key(key) {
            self.stats.joined += 1;
            return Ok(());
        }
        let family = self.config.family;
        let (asked, done) = (name.to_owned(), Rc::clone(key));
        let me: Id<System> = cx.id();
        let job = self.workers.spawn(
            cx,
            me,
            move || ask_the_library(&asked, family),
            move |system: &mut System, cx, found| {
                system.returned(cx, &done, found);
                Ok(())
            },
        );
        let job = job.map_err(|error| error.to_string())?;
        self.stats.calls += 1;
        let call = Call {
            job,
            waiters: Vec::new(),
        };
        self.calls.insert(Rc::clone(key), call);
        Ok(())
    }

    fn returned(
        &mut self,
        cx: &mut Context<'_>,
        key: &Rc<[u8]>,
        found: Result<Found, WorkerPanic>,
    ) {
        let Some(call) = self.calls.remove(key) else {
            return;
        };
        let name = String::from_utf8_lossy(key);
        let finding: Finding = match found {
            Ok(Ok(addresses)) if !addresses.is_empty() => Ok(addresses.into()),
            Ok(Ok(_)) => Err(LookupError::new(&name, Failure::NoAddress)),
            Ok(Err((failure, text))) => Err(LookupError::new(&name, failure).with(text)),
            Err(panic) => Err(LookupError::new(&name, Failure::ServerFailed).with(panic)),
        };
        let time = match &finding {
            Ok(_) => self.config.ttl,
            Err(_) => self.config.negative_ttl,
        };
        let until = cx.now().checked_add(time).filter(|_| !time.is_zero());
        if let Some(until) = until {
            self.cache.insert(Rc::clone(key), finding.clone(), until);
        }
        for waiter in call.waiters {
            let Some(waiting) = self.waiters.get(waiter) else {
                continue;
            };
            let outcome = match &finding {
                Ok(list) => Ok(Addresses::new(Rc::clone(list), Origin::Asked, until)),
                Err(error) => Err(error.renamed(&waiting.name)),
            };
            self.settle(cx, waiter, outcome);
        }
    }

    /// A lookup no longer waits. A call without waiting lookups is not made, if no thread has begun it.
    fn leave(&mut self, key: &Rc<[u8]>, waiter: usize) {
        let Some(call) = self.calls.get_mut(key) else {
            return;
        };
        call.waiters.retain(|other| *other != waiter);
        if call.waiters.is_empty() && call.job.cancel() {
            self.calls.remove(key);
        }
    }
}

impl Serving for System {
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
        let key = name.to_ascii_lowercase().into_bytes();
        if let Some(outcome) = self.known(cx, name, &key) {
            return self.settle_at_once(cx, owner, then, outcome);
        }
        let most = self.config.max_lookups;
        let key: Rc<[u8]> = key.into();
        let refusal = if self.waiters.len() >= most {
            Err(format!("{most} is the most"))
        } else {
            self.call(cx, name, &key)
        };
        if let Err(why) = refusal {
            self.stats.overloaded += 1;
            return refuse(
                cx,
                then,
                LookupError::new(name, Failure::Overloaded).with(why),
            );
        }
        let limit = limit.unwrap_or(self.config.deadline);
        let waiting = Waiting {
            name: name.into(),
            key: Rc::clone(&key),
            limit,
        };
        let lookup = self.wait(cx, owner, then, waiting);
        if let Some(call) = self.calls.get_mut(&key) {
            call.waiters.push(lookup.key);
        }
        self.arm_deadline(cx, lookup.key, limit);
        lookup
    }

    fn left(&mut self, _: &mut Context<'_>, waiting: Waiting, key: usize) {
        self.leave(&waiting.key, key);
    }
}

impl Dispatcher for System {
    fn handle_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) -> io::Result<()> {
        let key = timer.tag() as usize;
        if let Some(waiting) = self.waiters.get(key) {
            let error = serving::too_late(&waiting.name, waiting.limit);
            let name = Rc::clone(&waiting.key);
            self.settle(cx, key, Err(error));
            self.leave(&name, key);
        }
        Ok(())
    }

    fn handle_gone(&mut self, cx: &mut Context<'_>, id: AnyId, _: Cause) -> io::Result<()> {
        self.owner_gone(cx, id);
        Ok(())
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        for call in self.calls.values() {
            // What a thread is in it stays in.
            call.job.cancel();
        }
        serving::close(self, cx, |waiting| &waiting.name);
    }
}

impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("System")
            .field("config", &self.config)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
