//! The header of the PROXY protocol.
//!
//! Holds: whatever comes behind a prefix, a header that was complete or refused stays so; one that is complete is no shorter,
//! and what is behind it changes nothing. Where a client is named, the crate `ppp` reads the same; what it takes is never
//! taken for a part.

use std::net::SocketAddr;

use ppp::{HeaderResult, v1, v2};

use crate::common::proxy_header::{LONGEST, Parsed, Source, parse};

/// What the other reader finds: a client, and where the header ends. `None`: it has refused it, or wants more.
fn other(input: &[u8]) -> Option<(Option<SocketAddr>, usize)> {
    match HeaderResult::parse(input) {
        HeaderResult::V1(Ok(header)) => {
            let client = match header.addresses {
                v1::Addresses::Tcp4(ip) => Some((ip.source_address, ip.source_port).into()),
                v1::Addresses::Tcp6(ip) => Some((ip.source_address, ip.source_port).into()),
                v1::Addresses::Unknown => None,
            };
            Some((client, header.header.len()))
        }
        HeaderResult::V2(Ok(header)) => {
            let client = match header.addresses {
                _ if header.command == v2::Command::Local => None,
                v2::Addresses::IPv4(ip) => Some((ip.source_address, ip.source_port).into()),
                v2::Addresses::IPv6(ip) => Some((ip.source_address, ip.source_port).into()),
                v2::Addresses::Unix(_) | v2::Addresses::Unspecified => None,
            };
            Some((client, header.len()))
        }
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => None,
    }
}

pub(crate) fn target(data: &[u8]) {
    let whole = parse(data);
    let mut known = Parsed::Partial;
    for length in 0..=data.len() {
        let now = parse(&data[..length]);
        if known == Parsed::Partial {
            if let Parsed::Complete(_, end) = &now {
                assert_eq!(*end, length, "known with its last byte");
                assert!(*end <= LONGEST);
            }
        } else {
            assert_eq!(now, known, "{length} bytes");
        }
        known = now;
    }
    assert_eq!(known, whole);
    match (&whole, other(data)) {
        (Parsed::Complete(Source::Inet(client), end), found) => {
            assert_eq!(found, Some((Some(*client), *end)));
        }
        (Parsed::Complete(_, end), Some((None, others))) => assert_eq!(*end, others),
        (Parsed::Complete(..), Some((client, _))) => panic!("{whole:?} is {client:?}"),
        (Parsed::Partial, Some(found)) => {
            panic!("{found:?} is taken for a part");
        }
        (Parsed::Complete(..) | Parsed::Partial | Parsed::Refused(_), _) => {}
    }
}
