//! What the examples that speak HTTP as servers share: status codes, where bodies end, the date.

#![allow(dead_code, reason = "each example uses a part")]

pub(crate) mod body;
pub(crate) mod date;
pub(crate) mod framing;
mod status;

pub(crate) use framing::Length;
pub(crate) use status::Status;
