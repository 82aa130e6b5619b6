//! The call of the C library, and what its answers mean.

use std::net::{IpAddr, ToSocketAddrs};

use super::super::config::Family;
use super::super::error::Failure;

/// Most addresses that are kept of an answer.
const MOST_ADDRESSES: usize = 128;

pub(super) type Found = Result<Vec<IpAddr>, (Failure, String)>;

/// On a thread: blocks for as long as the C library likes.
pub(super) fn ask_the_library(name: &str, family: Family) -> Found {
    let found = (name, 0).to_socket_addrs().map_err(|error| {
        let text = error.to_string();
        (failure_of(&text), text)
    })?;
    Ok(kept(found.map(|address| address.ip()), family))
}

/// Those of a family, each once, and no more than the most.
fn kept(found: impl Iterator<Item = IpAddr>, family: Family) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for address in found {
        let is_new = family.takes(address) && !addresses.contains(&address);
        if is_new && addresses.len() < MOST_ADDRESSES {
            addresses.push(address);
        }
    }
    addresses
}

/// The standard library keeps the text of the C library's error, and not its number. Texts that are not known count
/// as what may pass.
fn failure_of(text: &str) -> Failure {
    // glibc; musl; the BSDs.
    const NO_NAME: [&str; 3] = [
        "Name or service not known",
        "Name does not resolve",
        "nodename nor servname provided",
    ];
    const NO_ADDRESS: [&str; 3] = [
        "No address associated with",
        "Name has no usable address",
        "no address associated with name",
    ];
    let says = |texts: [&str; 3]| texts.iter().any(|known| text.contains(known));
    if says(NO_NAME) {
        Failure::NoSuchName
    } else if says(NO_ADDRESS) {
        Failure::NoAddress
    } else {
        Failure::ServerFailed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_the_library_finds_each_address_of_the_family_is_kept_once() {
        let texts = ["192.0.2.1", "::1", "192.0.2.2", "192.0.2.1", "::1"];
        let of = |family| {
            let found = texts.iter().map(|text| text.parse().unwrap());
            let kept = kept(found, family).into_iter();
            kept.map(|address| address.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(of(Family::Any), ["192.0.2.1", "::1", "192.0.2.2"]);
        assert_eq!(of(Family::V4), ["192.0.2.1", "192.0.2.2"]);
        assert_eq!(of(Family::V6), ["::1"]);
    }

    #[test]
    fn no_more_than_128_addresses_are_kept() {
        let found = || (0..200_u32).map(|number| IpAddr::from(number.to_be_bytes()));
        let kept = kept(found(), Family::Any);
        assert_eq!(kept, found().take(128).collect::<Vec<_>>());
    }
}
