//! Which address is tried first (RFC 6724).
//!
//! It implements those of its rules for which a program has to ask the kernel for no more than a route: 1
//! (unreachable addresses come last), 2 (equal scope), 5 (equal label), 6 (precedence), 8 (smaller scope), 9 (longer
//! common prefix, for IPv6) and 10 (else as they came), with the default policy table.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// Any port: nothing is sent.
const PORT: u16 = 53;

/// Sorts addresses in the order of RFC 6724. For each one the kernel is asked which local address would be used, by
/// connecting a UDP socket, which sends nothing: two system calls, a few microseconds.
///
/// ```
/// use slabloop::kit::resolver::order::sort;
/// use std::net::IpAddr;
///
/// let mut addresses: Vec<IpAddr> = vec!["2001:db8::1".parse()?, "127.0.0.1".parse()?];
/// sort(&mut addresses);
/// // IPv6 comes first, but only if this machine has a route to it.
/// println!("{addresses:?}");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
pub fn sort(addresses: &mut [IpAddr]) {
    if addresses.len() < 2 {
        return;
    }
    let v4 = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok();
    let v6 = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).ok();
    sort_with(addresses, |address| {
        let socket = if address.is_ipv4() { &v4 } else { &v6 };
        let socket = socket.as_ref()?;
        socket.connect((address, PORT)).ok()?;
        socket.local_addr().ok().map(|local| local.ip())
    });
}

/// Like [`sort`], with a closure that returns the local address for a destination; `None` if it cannot be reached.
pub fn sort_with(addresses: &mut [IpAddr], mut source: impl FnMut(IpAddr) -> Option<IpAddr>) {
    // The sort is stable, which is rule 10.
    addresses.sort_by_cached_key(|&address| {
        let (scope, policy) = (scope(address), policy(address));
        let source = source(address);
        let prefix = match (source, address) {
            (Some(IpAddr::V6(source)), IpAddr::V6(address)) => common_prefix(source, address),
            _ => 0,
        };
        (
            source.is_none(),
            source.is_none_or(|source| self::scope(source) != scope),
            source.is_none_or(|source| self::policy(source).label != policy.label),
            Reverse(policy.precedence),
            scope,
            // Across the families it says nothing; there the rules above have decided.
            Reverse(prefix),
        )
    });
}

/// How far an address reaches: the larger, the farther (RFC 4291, and RFC 6724 for IPv4).
fn scope(address: IpAddr) -> u8 {
    const LINK: u8 = 2;
    const SITE: u8 = 5;
    const GLOBAL: u8 = 14;
    match address {
        IpAddr::V4(address) if address.is_loopback() || address.is_link_local() => LINK,
        IpAddr::V4(_) => GLOBAL,
        IpAddr::V6(address) => {
            let [first, second, ..] = address.octets();
            if address.is_multicast() {
                second & 15
            } else if address.is_loopback() || (first, second & 0xc0) == (0xfe, 0x80) {
                LINK
            } else if (first, second & 0xc0) == (0xfe, 0xc0) {
                SITE
            } else if let Some(address) = address.to_ipv4_mapped() {
                scope(address.into())
            } else {
                GLOBAL
            }
        }
    }
}

struct Policy {
    precedence: u8,
    label: u8,
}

/// The default table of RFC 6724, 2.1.
fn policy(address: IpAddr) -> Policy {
    let address = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    let bits = u128::from(address);
    let table = [
        (Ipv6Addr::LOCALHOST, 128, 50, 0),
        (Ipv4Addr::UNSPECIFIED.to_ipv6_mapped(), 96, 35, 4),
        (Ipv6Addr::UNSPECIFIED, 96, 1, 3),
        (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, 5, 5),
        (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, 30, 2),
        (Ipv6Addr::new(0x3ffe, 0, 0, 0, 0, 0, 0, 0), 16, 1, 12),
        (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, 1, 11),
        (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, 3, 13),
    ];
    for (prefix, length, precedence, label) in table {
        if (bits ^ u128::from(prefix)) >> (128 - length) == 0 {
            return Policy { precedence, label };
        }
    }
    Policy {
        precedence: 40,
        label: 1,
    }
}

/// Bits that are equal from the front, of the 64 that name a network.
fn common_prefix(one: Ipv6Addr, other: Ipv6Addr) -> u32 {
    (u128::from(one) ^ u128::from(other))
        .leading_zeros()
        .min(64)
}
