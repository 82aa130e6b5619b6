//! What there is at this moment, beside what has been counted.

/// What a reactor holds now. All are counts except the bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gauges {
    /// Dispatchers.
    pub dispatchers: usize,
    /// Streams among them, established or not.
    pub connections: usize,
    /// Listeners among them.
    pub listeners: usize,
    /// Dispatchers without a socket.
    pub services: usize,
    /// Connections that are not established yet.
    pub connecting: usize,
    /// Connections that are closing, and have not had their `handle_close`.
    pub closing: usize,
    /// Connections whose reading is paused.
    pub paused: usize,
    /// Connections that are not read because of what they feed, or of a broadcast.
    pub held: usize,
    /// Listeners that do not accept for now.
    pub accept_paused: usize,
    /// Dispatchers with work carried over to the next turn.
    pub ready: usize,
    /// Timers that are set, the reactor's own deadlines included.
    pub timers: usize,
    /// Posted closures that wait.
    pub posts_waiting: usize,
    /// Bytes accepted for sending that the kernel has not taken, in all outboxes.
    pub queued_bytes: usize,
    /// Bytes in the largest outbox.
    pub largest_outbox: usize,
    /// Bytes of memory that the outboxes hold for them.
    pub held_bytes: usize,
}
