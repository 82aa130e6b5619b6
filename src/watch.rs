//! What the loop reports about itself.

pub(crate) mod about;
#[cfg_attr(
    not(feature = "observer"),
    allow(unreachable_pub, dead_code, reason = "see below")
)]
pub(crate) mod callback;
pub(crate) mod counters;
pub(crate) mod ends;
pub(crate) mod gauges;
pub(crate) mod log_limit;
// Without the feature nobody outside can name what is in it.
#[cfg_attr(
    not(feature = "observer"),
    allow(unreachable_pub, dead_code, reason = "see above")
)]
pub(crate) mod observer;
pub(crate) mod observers;
pub(crate) mod panics;
pub(crate) mod rate;
#[cfg_attr(
    not(feature = "observer"),
    allow(unreachable_pub, dead_code, reason = "see above")
)]
pub(crate) mod reports;
#[cfg(feature = "observer")]
pub(crate) mod ring;
pub(crate) mod timeouts;
