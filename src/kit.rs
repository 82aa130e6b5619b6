//! Things that programs with an event loop often need, each behind an optional feature that is off by default.
//!
//! | feature | module | |
//! |---|---|---|
//! | `process` | `kit::child` | child processes as dispatchers |
//! | `retry` | `kit::retry`, `kit::bucket` | backoff, retry budgets, circuit breakers, reconnecting |
//! | `signals` | `kit::signals` | signals of the system as callbacks |
//!
//! They stand on the public face of the crate: everything here could be a program's own.

#[cfg(feature = "retry")]
#[cfg_attr(docsrs, doc(cfg(feature = "retry")))]
pub mod bucket;

#[cfg(feature = "process")]
#[cfg_attr(docsrs, doc(cfg(feature = "process")))]
pub mod child;

#[cfg(any(feature = "process", feature = "signals"))]
mod numbers;

#[cfg(feature = "retry")]
#[cfg_attr(docsrs, doc(cfg(feature = "retry")))]
pub mod retry;

#[cfg(feature = "signals")]
#[cfg_attr(docsrs, doc(cfg(feature = "signals")))]
pub mod signals;
