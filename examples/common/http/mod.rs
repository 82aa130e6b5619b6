//! What the examples that speak HTTP as servers share: heads and what of them is refused, where
//! bodies end, deadlines, the heads of answers, the date.

#![allow(dead_code, reason = "each example uses a part")]

pub(crate) mod answer;
pub(crate) mod body;
pub(crate) mod date;
pub(crate) mod deadlines;
mod fields;
pub(crate) mod framing;
pub(crate) mod head;
mod limits;
mod status;
pub(crate) mod target;

pub(crate) use framing::Length;
#[allow(unused_imports, reason = "each example uses a part")]
pub(crate) use limits::Limits;
pub(crate) use status::Status;
