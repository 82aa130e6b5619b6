//! All slots together.

pub(crate) mod about;
pub(crate) mod batch;
pub(crate) mod config;
pub(crate) mod label;
pub(crate) mod running;
pub(crate) mod slots;
