//! For the crate's own tests: a kernel that a test supplies, invented events, and a look at the inside.
//!
//! Hidden, behind the feature `testing`, and not part of the public API. The seam is the same one that
//! mio sits behind (`world/`, `time/clock.rs`): the reactor above it is not a different reactor.

mod hooks;
mod invariants;
mod parts;

#[cfg(feature = "process")]
pub use self::parts::without_pidfd;
pub use self::parts::{TimerQueue, decode, find_byte};
pub use crate::world::simulated::clock::Clock as SimClock;
pub use crate::world::simulated::kernel::{Bits, Dialled, SimKernel, SimKind, SimSocket};
