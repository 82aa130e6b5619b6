//! Limits that keep a server usable under overload.
//!
//! | | limits | what happens at the limit |
//! |---|---|---|
//! | [`PerPeer`] | the connections of each peer, or of each network | the connection is refused |
//! | [`TokenBucket`], [`Buckets`] | the requests per second of a connection, or of each key | the request is refused, with the time after which to retry |
//! | [`Concurrency`] | the requests in progress at the same time | the request waits in a bounded queue, or is shed |
//!
//! The reactor itself limits bytes per second ([`Context::set_read_rate`](crate::Context::set_read_rate),
//! [`rate_group`](crate::Context::rate_group)), the number of connections
//! ([`Builder::max_connections`](crate::Builder::max_connections)) and queued output
//! ([`Builder::max_queued`](crate::Builder::max_queued)).
//!
//! The memory of each of these limits is bounded, whatever the peers do, and each refusal is an error that names the
//! limit. The page `docs/limits.md` in the repository explains how to choose the numbers.

mod buckets;
mod concurrency;
mod per_peer;
mod prefix;

pub use self::buckets::{Buckets, BucketsGauges};
pub use self::concurrency::{
    Concurrency, ConcurrencyBuilder, ConcurrencyGauges, Order, Shed, Slot,
};
pub use self::per_peer::{PerPeer, PerPeerGauges, Place, TooMany};
pub use self::prefix::{Prefix, PrefixLengths};
pub use super::bucket::{Exhausted, Quota, TokenBucket};

use std::io;

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}
