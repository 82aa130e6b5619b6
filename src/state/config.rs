//! Limits and policies as the reactor keeps them.

use std::time::Duration;

use crate::slot::outbox::Marks;
use crate::slot::priority::Priority;

/// What happens after a panic in a callback; see [`Builder::panic_policy`](crate::Builder::panic_policy).
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use slabloop::{PanicPolicy, Reactor};
///
/// // For tests: a failed assertion in a callback fails the test.
/// let reactor = Reactor::builder().panic_policy(PanicPolicy::Propagate).build()?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PanicPolicy {
    /// The panic closes the dispatcher that was called and is logged. The loop continues.
    #[default]
    Contain,
    /// The panic closes the dispatcher that was called and then propagates out of `run` or `turn`. The reactor can
    /// still be used: the next turn does the rest of this one.
    Propagate,
}

/// What the reactor keeps of the builder; validated.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) marks: Marks,
    pub(crate) max_queued: usize,
    pub(crate) accept_batch: usize,
    pub(crate) accept_retry: Duration,
    pub(crate) max_connections: usize,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) handshake_timeout: Duration,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) close_timeout: Duration,
    pub(crate) stall_timeout: Option<Duration>,
    pub(crate) broadcast_patience: Duration,
    pub(crate) slow_callback: Option<Duration>,
    pub(crate) panic_policy: PanicPolicy,
    pub(crate) turn_time: Option<Duration>,
    /// What each class is sure of, by rank, in per cent of the turn's time.
    pub(crate) shares: [u32; Priority::COUNT],
    pub(crate) posts_per_turn: usize,
    pub(crate) posts_time: Duration,
}
