//! What the loop reports about itself.

pub(crate) mod counters;
pub(crate) mod ends;
pub(crate) mod log_limit;
