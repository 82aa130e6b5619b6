//! What the loop measures of itself: how long callbacks take, how late timers are, what is open and what is queued. In
//! numbers, as Prometheus' text, and from a hook that runs every so often.
//!
//! ```
//! use slabloop::Reactor;
//! use slabloop::metrics::Metrics;
//! use std::time::Duration;
//!
//! # fn main() -> std::io::Result<()> {
//! let mut reactor = Reactor::builder().observer(Metrics::new).build()?;
//! reactor.handle().post(|_| {}).expect("there is room");
//! reactor.turn(Duration::ZERO)?;
//!
//! let snapshot = reactor.metrics();
//! assert_eq!(snapshot.counters.posts, 1);
//! let longest = snapshot.callbacks.iter().map(|(_, durations)| durations.max()).max();
//! println!("the longest callback took {longest:?}; {:.0} % busy", 100.0 * snapshot.utilization());
//! println!("{}", snapshot.to_prometheus());
//! # Ok(()) }
//! ```
//!
//! [`Metrics`] is an [observer](crate::observe::Observer): a reactor that has none measures nothing, and its program pays
//! nothing. What each figure means, what is normal and what to do about a bad value is in `docs/monitoring.md`, with
//! alert rules and a dashboard.
//!
//! # Since when
//!
//! [`Counters`](crate::Counters) count from the beginning of the reactor, what [`Metrics`] measures from when it was
//! added. Add it while building, and both are the same.

mod distribution;
mod every;
mod exposition;
mod families;
mod figures;
mod measuring;
mod process;
mod snapshot;

pub use self::distribution::{Durations, Sizes};
pub use self::every::every;
pub use self::exposition::CONTENT_TYPE;
pub use self::families::{Family, Histogram, Kind, Sample, Value};
pub use self::measuring::Metrics;
pub use self::process::Process;
pub use self::snapshot::{AcceptPauses, Opened, Snapshot};

/// The crate whose histograms these are.
pub use hdrhistogram;
