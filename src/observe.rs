//! Seeing the loop at work: [`Observer`], and what it is told.
//!
//! An observer is a value of the program's, or one of those that come with the crate, such as [`Ring`]. It is told when a
//! turn, a step or a callback begins and ends, and what happens to dispatchers in between. Without one nothing is
//! measured and nothing told. Without the feature `observer` there is no code for it.

pub use crate::state::description::{Description, Stage};
pub use crate::watch::callback::Callback;
pub use crate::watch::observer::{
    Added, CallbackBegin, CallbackEnd, Crossing, Event, Interest, Kind, Observer, Outcome, Refusal,
    Step, TurnEnd,
};
pub use crate::watch::ring::{Ended, Label, Labels, Record, Ring, Shortage, What};
