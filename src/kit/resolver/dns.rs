//! The handle of the resolver that queries name servers itself.

use std::io;
use std::time::Duration;

use super::config::DnsConfig;
use super::service::Service;
use super::serving::{self, Place, Serving};
use super::waiters::Lookup;
use super::{Addresses, Resolve, Then};
use crate::{AnyId, Context, Reactor};

/// Queries name servers on the loop: over UDP, and over TCP if an answer is too long.
///
/// It is the handle of a service in the reactor ([`add_service`](Reactor::add_service)) that holds the cache and the
/// waiting lookups; clones are handles of the same service. `docs/resolver.md` explains the protection against false
/// answers, and the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DnsResolver {
    place: Place<Service>,
}

/// The counters of a resolver since it was made, and its present state. All but the last four only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DnsStats {
    /// Lookups that were begun.
    pub lookups: u64,
    /// Lookups that were answered from the cache, including negative answers.
    pub from_cache: u64,
    /// Lookups that were answered from the hosts file.
    pub from_hosts: u64,
    /// Lookups that shared the query of another lookup.
    pub joined: u64,
    /// Lookups that were refused because too many were waiting.
    pub overloaded: u64,
    /// Queries over UDP.
    pub udp_queries: u64,
    /// Queries over TCP.
    pub tcp_queries: u64,
    /// Queries that timed out.
    pub timeouts: u64,
    /// Datagrams that were dropped because they had the id of another query: late or false answers.
    pub other_id: u64,
    /// Datagrams that were dropped because they had the right id and another question.
    pub other_question: u64,
    /// Answers that were not accepted because the letters of the question had another case.
    pub other_case: u64,
    /// Datagrams that were dropped because they were no DNS answers.
    pub garbage: u64,
    /// Names that were removed from the cache for lack of room.
    pub evicted: u64,
    /// Names in the cache now, including expired ones.
    pub cached: usize,
    /// Lookups that wait now.
    pub waiting: usize,
    /// Names that are being queried now.
    pub in_flight: usize,
    /// Names that wait to be queried.
    pub queued: usize,
}

impl DnsResolver {
    /// Adds a resolver to a reactor.
    ///
    /// # Errors
    ///
    /// If a hosts file exists and cannot be read, with its name. Also if the reactor is shutting down.
    ///
    /// # Example
    ///
    /// ```
    /// use slabloop::kit::resolver::{DnsConfig, DnsResolver};
    /// use slabloop::Reactor;
    ///
    /// let mut reactor = Reactor::new()?;
    /// let config = DnsConfig::new(["192.0.2.53:53".parse().unwrap()]);
    /// let resolver = DnsResolver::new(&mut reactor, config)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new(reactor: &mut Reactor, config: DnsConfig) -> io::Result<DnsResolver> {
        let mut service = Service::new(config)?;
        let number = service.waiters().number;
        let place = (reactor.add_service(service)?, number);
        Ok(DnsResolver { place })
    }

    /// Adds a resolver from inside a callback: see [`new`](DnsResolver::new).
    ///
    /// # Errors
    ///
    /// Those of [`new`](DnsResolver::new).
    pub fn new_in(cx: &mut Context<'_>, config: DnsConfig) -> io::Result<DnsResolver> {
        let mut service = Service::new(config)?;
        let number = service.waiters().number;
        let place = (cx.add_service(service)?, number);
        Ok(DnsResolver { place })
    }

    /// The addresses of `name` that are known without a query: from a literal address, the hosts file or the cache.
    /// `None` if there are none, or the resolver is closed. Use it where the next step can be taken at once;
    /// [`lookup`](Resolve::lookup) calls back later even then.
    ///
    /// ```
    /// use slabloop::kit::resolver::DnsResolver;
    /// use slabloop::{Context, Dispatcher};
    ///
    /// struct Client;
    /// impl Dispatcher for Client {}
    ///
    /// /// Connects without a lookup if the name is in the cache. Returns whether it did.
    /// fn connect_now(cx: &mut Context<'_>, resolver: &DnsResolver, name: &str) -> std::io::Result<bool> {
    ///     let Some(addresses) = resolver.known(cx, name) else { return Ok(false) };
    ///     for address in addresses.with_port(80).take(1) {
    ///         cx.connect(address, Client)?;
    ///     }
    ///     Ok(true)
    /// }
    /// ```
    pub fn known(&self, cx: &mut Context<'_>, name: &str) -> Option<Addresses> {
        serving::reach(self.place, cx, |service, cx| service.known(cx, name)).flatten()
    }

    /// The counters and the present state.
    pub fn stats(&self, cx: &mut Context<'_>) -> DnsStats {
        let stats = serving::reach(self.place, cx, |service, _| service.stats());
        stats.unwrap_or_default()
    }

    /// Empties the cache.
    pub fn clear_cache(&self, cx: &mut Context<'_>) {
        serving::reach(self.place, cx, |service, _| service.clear_cache());
    }

    /// Closes the resolver: waiting lookups fail with [`Failure::Closed`](super::Failure::Closed), and so do later
    /// ones. The end of the reactor closes it as well.
    pub fn close(&self, cx: &mut Context<'_>) {
        serving::end(self.place, cx);
    }
}

impl Resolve for DnsResolver {
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
