//! Measurements of the loop: how long callbacks take, how late timers are, what is open and what is queued. They are
//! available as numbers, as text for Prometheus, and in a hook that is called periodically.
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
//! [`Metrics`] is an [observer](crate::observe::Observer): a reactor without one measures nothing, and has no costs
//! from this module. `docs/monitoring.md` explains what each figure means, which values are normal and what to do
//! about others, with alert rules and a dashboard.
//!
//! # The start of the measurement
//!
//! [`Counters`](crate::Counters) count from the start of the reactor. [`Metrics`] measures from the moment when it
//! was added. If it is added by the reactor's builder, both are the same.

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

/// The crate of the histograms.
pub use hdrhistogram;
