//! Retrying without making a failure worse.
//!
//! | | question that it answers | shared by |
//! |---|---|---|
//! | [`Backoff`] | when does this client try again? | not shared |
//! | [`Budget`] | how many retries do all clients make together? | the clients of a program |
//! | [`Breaker`] | should a call be attempted now? | the callers of one server |
//! | [`Reconnect`] | uses all three to keep a connection up | not shared |
//!
//! All but the last are plain values, with the time as a parameter and without callbacks: use them for requests, too.
//! The page `docs/retry.md` in the repository explains which numbers to choose.

mod backoff;
mod breaker;
mod budget;
mod reconnect;

pub use self::backoff::{Backoff, BackoffBuilder};
pub use self::breaker::{Breaker, BreakerBuilder, BreakerGauges, Open, Permit, State};
pub use self::budget::{Budget, BudgetGauges};
pub use self::reconnect::{Event, Reconnect};
