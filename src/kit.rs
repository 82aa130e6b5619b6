//! Things that programs with an event loop often need, each behind an optional feature that is off by default.
//!
//! | feature | module | |
//! |---|---|---|
//! | `group` | `kit::group` | several reactors, each on a thread of its own |
//! | `limits` | `kit::limits`, `kit::bucket` | connections per peer, request rates, concurrency |
//! | `pool` | `kit::pool` | a pool of connections for clients |
//! | `process` | `kit::child` | child processes as dispatchers |
//! | `resolver` | `kit::resolver` | names to addresses, connections to names |
//! | `retry` | `kit::retry`, `kit::bucket` | backoff, retry budgets, circuit breakers, reconnecting |
//! | `signals` | `kit::signals` | operating system signals as callbacks |
//! | `workers` | `kit::workers` | a pool of threads for long computations and for blocking calls |
//!
//! They use the public API of the crate only: a program could contain any of them itself.

#[cfg(any(feature = "limits", feature = "retry"))]
#[cfg_attr(docsrs, doc(cfg(any(feature = "limits", feature = "retry"))))]
pub mod bucket;

#[cfg(feature = "process")]
#[cfg_attr(docsrs, doc(cfg(feature = "process")))]
pub mod child;

#[cfg(feature = "group")]
#[cfg_attr(docsrs, doc(cfg(feature = "group")))]
pub mod group;

#[cfg(feature = "limits")]
#[cfg_attr(docsrs, doc(cfg(feature = "limits")))]
pub mod limits;

#[cfg(any(feature = "process", feature = "signals"))]
mod numbers;

#[cfg(feature = "pool")]
#[cfg_attr(docsrs, doc(cfg(feature = "pool")))]
pub mod pool;

#[cfg(any(feature = "pool", feature = "retry"))]
mod random;

#[cfg(feature = "resolver")]
#[cfg_attr(docsrs, doc(cfg(feature = "resolver")))]
pub mod resolver;

#[cfg(feature = "retry")]
#[cfg_attr(docsrs, doc(cfg(feature = "retry")))]
pub mod retry;

#[cfg(feature = "signals")]
#[cfg_attr(docsrs, doc(cfg(feature = "signals")))]
pub mod signals;

#[cfg(feature = "workers")]
#[cfg_attr(docsrs, doc(cfg(feature = "workers")))]
pub mod workers;
