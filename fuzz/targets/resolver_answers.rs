//! What the resolver makes of a datagram from the network.
//!
//! Holds: an answer to another id is none; what is told has come in the message, is of the family that was asked for and is
//! no more than the bounds say; who is asked twice says the same.

#[path = "../../src/kit/resolver/name.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod name;
#[path = "../../src/kit/resolver/random.rs"]
mod random;
#[path = "../../src/kit/resolver/wire.rs"]
mod wire;

use std::net::IpAddr;

use self::name::Name;
use self::random::Random;
use self::wire::{Answer, Kind, Match, Query, is_cut};

pub(crate) fn target(data: &[u8]) {
    let [how, rest @ ..] = data else {
        return;
    };
    let (is_v4, is_mixed, has_question) = (how & 1 == 0, how & 2 == 2, how & 4 == 0);
    let name = Name::of_host("host.example.test").expect("a name");
    let kind = if is_v4 { Kind::A } else { Kind::Aaaa };
    let query = Query::new(&name, kind, how & 8 == 8, is_mixed, &mut Random::default());
    let asked = query.as_bytes();
    let mut reply = rest.to_vec();
    // Nothing gets far that does not guess the id, and little without the question.
    if reply.len() >= 12 {
        reply[..2].copy_from_slice(&asked[..2]);
        if has_question {
            reply[2] |= 0x80;
            reply[2] &= 0x87;
            reply[4..6].copy_from_slice(&[0, 1]);
            let question = 12 + name.as_bytes().len() + 4;
            reply.splice(12..12, asked[12..question].iter().copied());
        }
    }
    let found = query.check(&reply);
    assert_eq!(found, query.check(&reply));
    if has_question && rest.len() >= 12 {
        assert_eq!(found, Match::Ours, "its own question is taken for another");
    }
    let _ = is_cut(&reply);
    let answer = query.read(&reply);
    assert_eq!(format!("{answer:?}"), format!("{:?}", query.read(&reply)));
    match answer {
        Some(Answer::Addresses { addresses, ttl }) => {
            assert!((1..=64).contains(&addresses.len()));
            assert!(i32::try_from(ttl).is_ok(), "{ttl} seconds");
            for address in addresses {
                assert_eq!(address.is_ipv4(), is_v4);
                assert!(contains(&reply, address), "{address} is not in the answer");
            }
        }
        Some(Answer::Alias { target, .. }) => {
            assert!(*target != name, "a name that stands for itself leads on");
            assert!(target.as_bytes().len() <= 255);
        }
        Some(Answer::NoSuchName { ttl } | Answer::NoAddress { ttl }) => {
            assert!(
                ttl.is_none_or(|ttl| ttl < 1 << 31 || ttl == u32::MAX),
                "{ttl:?}"
            );
        }
        Some(Answer::Referral | Answer::Endless | Answer::Failed(_)) | None => {}
    }
    if reply.len() >= 12 {
        reply[0] ^= 0x40;
        assert_eq!(query.check(&reply), Match::OtherId);
    }
}

fn contains(reply: &[u8], address: IpAddr) -> bool {
    let holds = |octets: &[u8]| reply.windows(octets.len()).any(|window| window == octets);
    match address {
        IpAddr::V4(address) => holds(&address.octets()),
        IpAddr::V6(address) => holds(&address.octets()),
    }
}
