//! What a name is before any server is asked for it: an address, a line of the hosts file, several names to try.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::time::Instant;

use super::super::config::DnsConfig;
use super::super::error::{Failure, LookupError};
use super::super::name::Name;
use super::super::{Addresses, Origin, Outcome, literal, order};
use super::{ServerTraits, Service};
use crate::Context;

impl Service {
    pub(in super::super) fn known(
        &mut self,
        cx: &mut Context<'_>,
        name: &str,
    ) -> Option<Addresses> {
        let now = cx.now();
        self.look_at_files(now);
        let wire = match self.name_to_ask(name) {
            Ok(wire) => wire,
            Err(outcome) => return outcome.ok(),
        };
        for place in 0.. {
            let candidate = candidate(&wire, name, place, &self.config)?;
            let known = self.cache.get(candidate.as_bytes(), now);
            let (finding, until) = known?;
            if let Ok(list) = finding {
                return Some(Addresses::new(Rc::clone(list), Origin::Cache, Some(until)));
            }
        }
        None
    }

    /// The name on the wire; or the outcome, if no server has to be asked for it.
    pub(super) fn name_to_ask(&mut self, name: &str) -> Result<Name, Outcome> {
        let none = |failure| Err(LookupError::new(name, failure));
        if let Some(address) = literal(name) {
            if !self.config.family.takes(address) {
                return Err(none(Failure::NoAddress));
            }
            return Err(Ok(Addresses::new([address].into(), Origin::Literal, None)));
        }
        let wire = match Name::of_host(name) {
            Ok(wire) => wire,
            Err(why) => return Err(none(Failure::InvalidName).map_err(|error| error.with(why))),
        };
        if wire.is_localhost() {
            return Err(Ok(Addresses::new(self.localhost(), Origin::Literal, None)));
        }
        match self.hosts.get(&wire, self.config.family) {
            Some(list) => {
                self.stats.from_hosts += 1;
                Err(Ok(Addresses::new(list, Origin::Hosts, None)))
            }
            None => Ok(wire),
        }
    }

    fn localhost(&mut self) -> Rc<[IpAddr]> {
        let family = self.config.family;
        let list = self.localhost.get_or_insert_with(|| {
            let both = [Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()];
            let mut wanted: Vec<_> = both.into_iter().filter(|ip| family.takes(*ip)).collect();
            order::sort(&mut wanted);
            wanted.into()
        });
        Rc::clone(list)
    }

    pub(super) fn look_at_files(&mut self, now: Instant) {
        let changes = self.files.changes(now);
        if let Some(hosts) = changes.hosts {
            self.hosts = hosts;
        }
        if let Some(text) = changes.resolv_conf {
            let mut config = DnsConfig::clone(&self.config);
            config.update(&text);
            if config.servers != self.config.servers {
                // What others said need not hold in another network.
                self.cache.clear();
                self.servers = vec![ServerTraits::default(); config.servers.len()];
                self.next_server = 0;
            }
            self.config = Rc::new(config);
        }
    }
}

/// The names that a lookup may stand for, in the order in which they are tried (`resolv.conf`(5)).
pub(super) fn candidate(
    wire: &Name,
    written: &str,
    place: usize,
    config: &DnsConfig,
) -> Option<Name> {
    let is_whole = written.ends_with('.') || config.search.is_empty();
    if is_whole {
        return (place == 0).then(|| wire.clone());
    }
    let dots = wire.dots();
    let domains = config.search.len();
    let as_it_is = if dots >= config.ndots { 0 } else { domains };
    if place == as_it_is {
        return Some(wire.clone());
    }
    let domain = if as_it_is == 0 { place - 1 } else { place };
    // What becomes too long is no name: looked up as it is once more, which costs a look into the cache.
    let domain = config.search.get(domain)?;
    Some(wire.below(domain).unwrap_or_else(|| wire.clone()))
}
