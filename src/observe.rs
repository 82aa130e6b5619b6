//! Seeing the loop at work: [`Observer`], and what it is told.
//!
//! An observer is a value of the program's, or one of those that come with the crate, such as [`Ring`]. It is told when a
//! turn, a step or a callback begins and ends, and what happens to dispatchers in between. Without one nothing is
//! measured and nothing told. Without the feature `observer` there is no code for it.
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
    Step, TurnEnd,
};
pub use crate::watch::reports::Reports;
pub use crate::watch::ring::{Ended, Label, Labels, Record, Ring, Shortage, What};
