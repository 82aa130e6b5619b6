//! The steps of a turn: the one place that calls users' code.
//!
//! A file a step, each of free functions over [`Core`](core::Core). What a step decides about slots it does
//! through `state/`; what it calls, it calls through `call.rs`.

pub(crate) mod accept;
pub(crate) mod call;
pub(crate) mod close;
pub(crate) mod closures;
pub(crate) mod connect;
pub(crate) mod core;
pub(crate) mod dispatch;
pub(crate) mod errands;
pub(crate) mod replace;
pub(crate) mod settle;
pub(crate) mod timers;
pub(crate) mod visit;
