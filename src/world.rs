//! The ground floor: what the kernel offers, and names for what lives above.

pub(crate) mod accept;
pub(crate) mod address;
pub(crate) mod errors;
pub(crate) mod ids;
pub(crate) mod mailbox;
pub(crate) mod options;
pub(crate) mod poller;
pub(crate) mod signals;
#[cfg(feature = "testing")]
pub(crate) mod simulated;
pub(crate) mod socket;
