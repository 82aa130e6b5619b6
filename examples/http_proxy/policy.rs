//! Where clients may be connected to.
//!
//! A proxy stands in a network that its clients may not reach by themselves. So it connects to public addresses alone, and to
//! what `--allow` names. It is the address that is looked at, after the lookup, and that very address is connected to: a
//! name that has another address a moment later changes nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Below this only the ports of the protocol itself; others belong to services that a request could be made to command.
const FIRST_FREE_PORT: u16 = 1024;

/// How a destination is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// By requests that the proxy passes on.
    Http,
    /// By whatever the client sends.
    Tunnel,
}

/// What `--allow` names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy(Vec<(String, u16)>);

impl Policy {
    /// Takes a `HOST:PORT`.
    pub(crate) fn allow(&mut self, destination: &str) {
        if let Some((host, port)) = destination.rsplit_once(':') {
            self.0.push((plain(host), port.parse().unwrap_or(0)));
        }
    }

    /// Whether this port may be asked for at all, as far as that is known before the lookup.
    pub(crate) fn may_use_port(&self, port: u16, way: Way) -> bool {
        is_usual(port, way) || self.0.iter().any(|(_, allowed)| *allowed == port)
    }

    /// The addresses that may be connected to; if there are none, why.
    pub(crate) fn choose(
        &self,
        host: &str,
        port: u16,
        way: Way,
        found: &[IpAddr],
    ) -> Result<Vec<SocketAddr>, &'static str> {
        let is_named = self.names(&plain(host), port);
        let mut why = "no address";
        let mut chosen = Vec::new();
        for address in found {
            let refusal = match class(*address) {
                _ if is_named => None,
                _ if self.names(&address.to_canonical().to_string(), port) => None,
                _ if !is_usual(port, way) => Some("not this port"),
                class => class,
            };
            match refusal {
                None => chosen.push(SocketAddr::new(*address, port)),
                Some(refusal) => why = refusal,
            }
        }
        if chosen.is_empty() {
            return Err(why);
        }
        Ok(chosen)
    }

    fn names(&self, host: &str, port: u16) -> bool {
        let mut allowed = self.0.iter();
        allowed.any(|(name, allowed)| *allowed == port && name == host)
    }
}

fn is_usual(port: u16, way: Way) -> bool {
    match way {
        Way::Http => port == 80 || port >= FIRST_FREE_PORT,
        Way::Tunnel => port == 443,
    }
}

/// A host as it is compared: in small letters, without brackets and without the dot at the end. Addresses have more than
/// one way to be written.
fn plain(host: &str) -> String {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().to_string(),
        Err(_) => host.trim_end_matches('.').to_ascii_lowercase(),
    }
}

/// What an address is, if it is not a public one.
fn class(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        IpAddr::V4(address) => class_4(address),
        IpAddr::V6(address) => class_6(address),
    }
}

/// By the registry of special addresses (RFC 6890 and what has come since).
fn class_4(address: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, _] = address.octets();
    Some(match (a, b, c) {
        (0, ..) => "an address of no host",
        (127, ..) => "a loopback address",
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => "a private address",
        (169, 254, _) => "a link-local address",
        (100, 64..=127, _) => "an address of a provider's network",
        (192, 0, 0) | (198, 18..=19, _) => "a special address",
        (192, 0, 2) | (198, 51, 100) | (203, 0, 113) => "an address for documentation",
        (224..=239, ..) => "a multicast address",
        (240..=255, ..) => "a reserved address",
        _ => return None,
    })
}

fn class_6(address: Ipv6Addr) -> Option<&'static str> {
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        class_4(Ipv4Addr::new(a, b, c, d))
    };
    Some(match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => "an address of no host",
        [0, 0, 0, 0, 0, 0, 0, 1] => "a loopback address",
        // An IPv4 address in the ways that were once thought of: compatible, NAT64, 6to4.
        [0, 0, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            return embedded(high, low);
        }
        [0x2002, high, low, ..] => return embedded(high, low),
        [0x64, 0xff9b, 1, ..] => "a private address",
        [0xfc00..=0xfdff, ..] => "a private address",
        [0xfe80..=0xfebf, ..] => "a link-local address",
        [0xfec0..=0xfeff, ..] => "a private address",
        [0xff00..=0xffff, ..] => "a multicast address",
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => "an address for documentation",
        // Teredo and others, and what is only thrown away.
        [0x2001, 0..=0x01ff, ..] | [0x100, 0, 0, 0, ..] => "a special address",
        _ => return None,
    })
}
