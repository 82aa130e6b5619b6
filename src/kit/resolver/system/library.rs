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
    let mut addresses = Vec::new();
    for address in found.map(|address| address.ip()) {
        let is_new = family.takes(address) && !addresses.contains(&address);
        if is_new && addresses.len() < MOST_ADDRESSES {
            addresses.push(address);
        }
    }
    Ok(addresses)
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
