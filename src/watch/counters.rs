//! What a reactor has counted: the first thing to look at when a program does not do what it should.

use crate::watch::ends::Ends;

/// What has happened since the reactor was built. Numbers only rise; all are counts except the bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Passes of the loop.
    pub turns: u64,
    /// Events that the kernel reported.
    pub events: u64,
    /// Events, timers and list entries that named a dispatcher already gone, and were dropped.
    pub stale: u64,
    /// Callbacks made, `handle_close` included.
    pub callbacks: u64,
    /// Dispatchers added.
    pub added: u64,
    /// Dispatchers closed.
    pub closed: u64,
    /// Why they ended, cause by cause.
    pub ends: Ends,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections that were lost between the kernel's queue and us.
    pub accept_lost: u64,
    /// Times that accepting paused for want of descriptors or memory.
    pub accept_shortages: u64,
    /// Times that accepting paused at the connection limit.
    pub accept_limited: u64,
    /// Times that accepting paused because all outboxes together were over their bound.
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
    /// Times that all outboxes together went over their bound.
    pub over_total: u64,
    /// Deadlines passed: connecting, idle, stalled, closing.
    pub deadlines: u64,
    /// Callbacks that took longer than the slow-callback threshold.
    pub slow_callbacks: u64,
    /// The longest callback in microseconds; measured only while a threshold is set, or somebody observes.
    pub slowest_us: u64,
    /// Panics contained or let through.
    pub panics: u64,
    /// Calls of `handle_error`.
    pub errors: u64,
    /// Timers fired, the reactor's own deadlines included.
    pub timers: u64,
    /// Posted closures run.
    pub posts: u64,
    /// Posts and permits refused because no place was left; those that waited for one in vain as well.
    pub posts_refused: u64,
    /// Connections that the reactor cut off because `shutdown`'s deadline came first.
    pub aborted: u64,
}
