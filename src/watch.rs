//! What the loop reports about itself.

pub(crate) mod about;
pub(crate) mod counters;
pub(crate) mod ends;
pub(crate) mod gauges;
pub(crate) mod log_limit;
pub(crate) mod rate;
pub(crate) mod timeouts;
