//! Trying again without making matters worse.
//!
//! | | answers | shared by |
//! |---|---|---|
//! | [`Backoff`] | when does this client try again? | nobody |
//! | [`Budget`] | how many retries do all clients make together? | the clients of a program |
//! | [`Breaker`] | is it any use to try now? | the callers of one server |
//! | [`Reconnect`] | keeps a connection up with the three | |
//!
//! All but the last are plain values that are told the time and call nobody: use them for requests, too.
//! The page `docs/retry.md` in the repository says which numbers to choose.

mod backoff;
mod breaker;
mod budget;
mod random;
mod reconnect;

pub use self::backoff::{Backoff, BackoffBuilder};
pub use self::breaker::{Breaker, BreakerBuilder, BreakerGauges, Open, Permit, State};
pub use self::budget::{Budget, BudgetGauges};
pub use self::reconnect::{Event, Reconnect};
