//! Limits and policies as the reactor keeps them.

use std::time::Duration;

use crate::slot::outbox::Marks;
use crate::slot::priority::Priority;

/// What becomes of a panic in a callback.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PanicPolicy {
    /// It closes the dispatcher that was called, is logged, and the loop goes on.
    #[default]
    Contain,
    /// It closes the dispatcher that was called and then leaves `run` or `turn`, whose reactor can
    /// still be used: the rest of the turn is made up for in the next.
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
