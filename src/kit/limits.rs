//! Limits that keep a server usable when more is asked of it than it can do.
//!
//! | | limits | when it is reached |
//! |---|---|---|
//! | [`PerPeer`] | connections of each peer, or of each network | the connection is refused |
//! | [`TokenBucket`], [`Buckets`] | requests a second, of a connection or of each key | the request is refused, with when to come again |
//! | [`Concurrency`] | requests that are worked on at once | the request waits in a bounded queue, or is shed |
//!
//! Bytes a second are the reactor's own: [`Context::set_read_rate`](crate::Context::set_read_rate),
//! [`rate_group`](crate::Context::rate_group). So are connections in all
//! ([`Builder::max_connections`](crate::Builder::max_connections)) and queued output
//! ([`Builder::max_queued`](crate::Builder::max_queued)).
//!
//! Whatever peers do, the memory of each of these is bounded, and each refusal is an error that says what limit it
//! was. The page `docs/limits.md` in the repository tells how to choose the numbers.

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
