//! The resolver that asks name servers itself: its handle.

use std::io;
use std::time::Duration;

use super::config::DnsConfig;
use super::service::Service;
use super::serving::{self, Place, Serving};
use super::waiters::Lookup;
use super::{Addresses, Resolve, Then};
use crate::{AnyId, Context, Reactor};

/// Asks name servers, on the loop: over UDP, or over TCP where an answer is too long.
///
/// It stands for a service of the reactor's ([`add_service`](Reactor::add_service)) that holds the cache and all that
/// waits; copies stand for the same. `docs/resolver.md` tells what it does against false answers, and what is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DnsResolver {
    place: Place<Service>,
}

/// What a resolver has counted since it was made, and what there is now. All but the last four only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DnsStats {
    /// Lookups that were begun.
    pub lookups: u64,
    /// Of these, answered from the cache, denials included.
    pub from_cache: u64,
    /// Answered from the hosts file.
    pub from_hosts: u64,
    /// Waited for an answer that another lookup had asked for already.
    pub joined: u64,
    /// Refused, because too many waited.
    pub overloaded: u64,
    /// Queries over UDP.
    pub udp_queries: u64,
    /// Queries over TCP.
    pub tcp_queries: u64,
    /// Queries that no answer came to in time.
    pub timeouts: u64,
    /// Datagrams with the id of another query, dropped: late, or false.
    pub other_id: u64,
    /// With our id and another question, dropped.
    pub other_question: u64,
    /// With our question in other letters, not believed.
    pub other_case: u64,
    /// That are no answers at all, dropped.
    pub garbage: u64,
    /// Names that were thrown out of the cache for want of room.
    pub evicted: u64,
    /// Names in the cache now, those that hold no more included.
    pub cached: usize,
    /// Lookups that wait now.
    pub waiting: usize,
    /// Names that servers are being asked for now.
    pub in_flight: usize,
    /// Names that wait for their turn to be asked for.
    pub queued: usize,
}

impl DnsResolver {
    /// Adds a resolver to a reactor.
    ///
    /// # Errors
    ///
    /// A hosts file that is there and cannot be read, by name; while the reactor shuts down, nothing can be added.
    pub fn new(reactor: &mut Reactor, config: DnsConfig) -> io::Result<DnsResolver> {
        let mut service = Service::new(config)?;
        let number = service.waiters().number;
        let place = (reactor.add_service(service)?, number);
        Ok(DnsResolver { place })
    }

    /// As [`new`](DnsResolver::new), from inside a callback.
    ///
    /// # Errors
    ///
    /// As [`new`](DnsResolver::new).
    pub fn new_in(cx: &mut Context<'_>, config: DnsConfig) -> io::Result<DnsResolver> {
        let mut service = Service::new(config)?;
        let number = service.waiters().number;
        let place = (cx.add_service(service)?, number);
        Ok(DnsResolver { place })
    }

    /// What is known of `name` without asking: a literal, the hosts file, the cache. `None` if that is nothing, or the
    /// resolver is closed. For those who can go on at once; [`lookup`](Resolve::lookup) is never that quick.
    pub fn known(&self, cx: &mut Context<'_>, name: &str) -> Option<Addresses> {
        serving::reach(self.place, cx, |service, cx| service.known(cx, name)).flatten()
    }

    /// What has been counted.
    pub fn stats(&self, cx: &mut Context<'_>) -> DnsStats {
        let stats = serving::reach(self.place, cx, |service, _| service.stats());
        stats.unwrap_or_default()
    }

    /// Forgets all that the cache holds.
    pub fn clear_cache(&self, cx: &mut Context<'_>) {
        serving::reach(self.place, cx, |service, _| service.clear_cache());
    }

    /// Closes it: lookups that wait fail with [`Failure::Closed`](super::Failure::Closed), and so do those that come.
    /// The end of the reactor closes it as well.
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
