//! The lowest layer: sockets, the poller, ids and errors.

pub(crate) mod accept;
pub(crate) mod address;
mod datagram;
pub(crate) mod descriptor;
pub(crate) mod detached;
pub(crate) mod endpoint;
pub(crate) mod errors;
pub(crate) mod file;
pub(crate) mod foreign;
pub(crate) mod ids;
pub(crate) mod io;
pub(crate) mod layer;
pub(crate) mod layered;
mod listener;
pub(crate) mod mailbox;
pub(crate) mod metered;
pub(crate) mod options;
mod pipe;
pub(crate) mod poller;
pub(crate) mod service;
pub(crate) mod signals;
#[cfg(feature = "test")]
pub(crate) mod simulated;
pub(crate) mod socket;
pub(crate) mod stream;
pub(crate) mod topics;
