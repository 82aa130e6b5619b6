//! Due times: the clock and the timers.

pub(crate) mod action;
pub(crate) mod clock;
pub(crate) mod heap;
pub(crate) mod timer_id;
pub(crate) mod timers;
mod undated;
