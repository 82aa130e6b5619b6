//! What a reactor holds at one moment, as opposed to what it has counted.

/// What a reactor holds at one moment, from [`Reactor::gauges`](crate::Reactor::gauges) or
/// [`Context::gauges`](crate::Context::gauges). All values are counts, except the bytes.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let reactor = slabloop::Reactor::new()?;
/// let gauges = reactor.gauges();
/// println!("{} connections, {} bytes queued", gauges.connections, gauges.queued_bytes);
/// # Ok(()) }
/// ```
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
    /// Connections that are closing, whose `handle_close` has not been called.
    pub closing: usize,
    /// Connections whose reading is paused.
    pub paused: usize,
    /// Connections that are not read because of the output queued on what they feed, or of a broadcast.
    pub held: usize,
    /// Listeners that have paused accepting.
    pub accept_paused: usize,
    /// Dispatchers with work carried over to the next turn.
    pub ready: usize,
    /// Timers that are set, the reactor's own timeouts included.
    pub timers: usize,
    /// Posted closures that are waiting.
    pub posts_waiting: usize,
    /// Bytes accepted for sending that the kernel has not taken, in all outboxes.
    pub queued_bytes: usize,
    /// Bytes in the largest outbox.
    pub largest_outbox: usize,
    /// Bytes of memory that the outboxes hold for them.
    pub held_bytes: usize,
}
