//! Due times: the clock and the timers.

pub(crate) mod action;
pub(crate) mod clock;
pub(crate) mod heap;
pub(crate) mod timers;
mod undated;
