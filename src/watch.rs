//! What the loop reports about itself.

pub(crate) mod counters;
pub(crate) mod log_limit;
