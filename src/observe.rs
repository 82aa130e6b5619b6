//! Observing the loop at work: the trait [`Observer`], and the values that are reported to it.
//!
//! An observer is a value of the program's own, or one that comes with the crate, such as [`Ring`]. Its methods are
//! called when a turn, a step or a callback begins and ends, and when something happens to a dispatcher. Without an
//! observer nothing is measured or reported. Without the feature `observer` there is no code for it.
//!
//! # Example
//!
//! The three longest callbacks:
//!
//! ```
//! use slabloop::observe::{CallbackEnd, Observer};
//! use slabloop::Reactor;
//! use std::time::Duration;
//!
//! #[derive(Default)]
//! struct Longest(Vec<Duration>);
//!
//! impl Observer for Longest {
//!     fn callback_ended(&mut self, _at: Duration, end: &CallbackEnd<'_>) {
//!         self.0.push(end.took);
//!         self.0.sort_by(|a, b| b.cmp(a));
//!         self.0.truncate(3);
//!     }
//! }
//!
//! # fn main() -> std::io::Result<()> {
//! let mut reactor = Reactor::new()?;
//! reactor.observe(Longest::default());
//! reactor.handle().post(|_| {}).expect("there is room");
//! reactor.turn(Duration::ZERO)?;
//! let longest = reactor.observer::<Longest>().expect("it was added");
//! assert_eq!(longest.0.len(), 1);
//! # Ok(())
//! # }
//! ```

pub use crate::state::description::{Description, Stage};
pub use crate::watch::callback::Callback;
pub use crate::watch::observer::{
    Added, CallbackBegin, CallbackEnd, Crossing, Event, Interest, Kind, Observer, Outcome, Refusal,
    Step, TurnEnd, TurnTimes,
};
pub use crate::watch::reports::Reports;
pub use crate::watch::ring::{Ended, Label, Labels, Record, Ring, Shortage, What};
