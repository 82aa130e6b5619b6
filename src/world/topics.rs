//! The targets of log lines: by topic, not by the module that they come from.

/// Accepting connections, and pausing.
pub(crate) const ACCEPT: &str = "slabloop::accept";
/// A dispatcher is added, connected, replaced, broken, closed.
pub(crate) const CONNECTION: &str = "slabloop::connection";
/// Faults of connections, which peers can cause.
pub(crate) const FAULT: &str = "slabloop::fault";
/// Output that is over its marks, and connections that are not read because of it.
pub(crate) const FLOW: &str = "slabloop::flow";
/// Callbacks: panics, slow ones, those that are not implemented.
pub(crate) const CALLBACK: &str = "slabloop::callback";
/// Timers.
pub(crate) const TIMER: &str = "slabloop::timer";
/// The poller and its wake-ups.
pub(crate) const POLL: &str = "slabloop::poll";
/// Child processes.
#[cfg(feature = "process")]
pub(crate) const CHILD: &str = "slabloop::child";
