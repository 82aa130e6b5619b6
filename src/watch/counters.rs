//! The counters of a reactor: the first place to look when a program does not work as it should.

use crate::watch::ends::Ends;

/// What has happened since the reactor was built, from [`Reactor::counters`](crate::Reactor::counters) or
/// [`Context::counters`](crate::Context::counters). Values only rise. All are counts, except bytes and microseconds.
///
/// ```
/// # use slabloop::Reactor;
/// # use std::time::Duration;
/// # fn main() -> std::io::Result<()> {
/// let mut reactor = Reactor::new()?;
/// let before = reactor.counters();
/// reactor.turn(Duration::ZERO)?;
/// let now = reactor.counters();
/// assert_eq!(now.turns - before.turns, 1);
/// println!("{} connections have failed", now.closed - now.ends.finished);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Passes of the loop.
    pub turns: u64,
    /// Events that the kernel reported.
    pub events: u64,
    /// Events, timers and list entries whose dispatcher had ended, and which were dropped.
    pub stale: u64,
    /// Callbacks made, `handle_close` included.
    pub callbacks: u64,
    /// Dispatchers added.
    pub added: u64,
    /// Dispatchers closed.
    pub closed: u64,
    /// Dispatchers closed, by cause.
    pub ends: Ends,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections that were lost in the kernel's queue, before they could be accepted.
    pub accept_lost: u64,
    /// Times that accepting paused for lack of descriptors or memory.
    pub accept_shortages: u64,
    /// Times that accepting paused at the connection limit.
    pub accept_limited: u64,
    /// Times that accepting paused because all outboxes together were over
    /// [`max_queued`](crate::Builder::max_queued).
    pub accept_over_total: u64,
    /// Accept errors of any other kind.
    pub accept_faults: u64,
    /// Bytes that streams have delivered.
    pub bytes_in: u64,
    /// Bytes that the kernel has taken from outboxes.
    pub bytes_out: u64,
    /// Writes made by the flush.
    pub writes: u64,
    /// Connections closed because their outbox went over its hard cap.
    pub over_cap: u64,
    /// Times that all outboxes together went over [`max_queued`](crate::Builder::max_queued).
    pub over_total: u64,
    /// Timeouts that have expired: connect, handshake, idle, stall, close, request.
    pub deadlines: u64,
    /// Callbacks that took longer than the slow-callback threshold.
    pub slow_callbacks: u64,
    /// The longest callback in microseconds; measured only while a threshold is set or the reactor has an observer.
    pub slowest_us: u64,
    /// Panics, contained or propagated.
    pub panics: u64,
    /// Calls of `handle_error`.
    pub errors: u64,
    /// Timers fired, the reactor's own timeouts included.
    pub timers: u64,
    /// Posted closures run.
    pub posts: u64,
    /// Posts and permits refused because no place was left, including those that waited for one without success.
    pub posts_refused: u64,
    /// Connections aborted at the deadline of `shutdown`.
    pub aborted: u64,
}
