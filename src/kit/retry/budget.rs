//! A limit on the number of retries of all clients together.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Instant;

use super::backoff::invalid;
use crate::kit::bucket::{Quota, TokenBucket};

/// A budget of retries that many clients share, so that a failure does not cause a retry storm.
///
/// A backoff decides when one client tries again; a budget limits how many retries all clients make together. Each
/// success earns a part of a retry, each retry costs one. While most attempts succeed, there is always enough. When
/// everything fails, retries stop when the savings are used up, and continue at a small rate, the *floor*, which
/// needs no successes. (The idea is that of Finagle's `RetryBudget`; gRPC's retry throttling has no floor.)
///
/// Clones are the same budget. It belongs to one thread, as the reactor does; with several reactors, give each one a
/// budget of its own with a share of the limits.
///
/// ```
/// use slabloop::kit::bucket::Quota;
/// use slabloop::kit::retry::Budget;
/// use std::time::Instant;
///
/// // One retry for ten successes, no more than 100 saved; 5 a second in any case, and 2 of those at once.
/// let budget = Budget::new(10, 100, Quota::per_second(5).burst(2))?;
/// let now = Instant::now();
/// assert!(budget.spend(now) && budget.spend(now), "the floor");
/// assert!(!budget.spend(now), "nothing is left");
/// for _ in 0..10 {
///     budget.earn();
/// }
/// assert!(budget.spend(now));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Budget(Rc<RefCell<Account>>);

struct Account {
    /// What was earned and not spent, in hundredths of a retry.
    saved: u64,
    most: u64,
    percent: u32,
    floor: TokenBucket,
    gauges: BudgetGauges,
}

/// The counters of a [`Budget`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BudgetGauges {
    /// Retries that are saved from earlier successes.
    pub saved: u64,
    /// Retries that were paid for.
    pub spent: u64,
    /// Retries that were refused. Steady growth means that nearly all attempts fail.
    pub refused: u64,
}

impl Budget {
    /// A budget in which 100 successes earn `percent` retries. It saves up to `most` retries, and allows `floor`
    /// retries in any case.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if `percent` is more than 1000, which would not limit anything, and for a floor with a count,
    /// period or burst of 0.
    pub fn new(percent: u32, most: u32, floor: Quota) -> io::Result<Budget> {
        if percent > 1000 {
            return Err(invalid(format!(
                "retry budget: {percent} percent: expected at most 1000"
            )));
        }
        Ok(Budget(Rc::new(RefCell::new(Account {
            saved: 0,
            most: u64::from(most) * 100,
            percent,
            floor: TokenBucket::new(floor)?,
            gauges: BudgetGauges::default(),
        }))))
    }

    /// To be called when an attempt has succeeded.
    pub fn earn(&self) {
        let account = &mut *self.0.borrow_mut();
        account.saved = (account.saved + u64::from(account.percent)).min(account.most);
    }

    /// Pays for one retry. Returns `false` if the budget is used up: then wait, or give up.
    #[must_use]
    pub fn spend(&self, now: Instant) -> bool {
        let account = &mut *self.0.borrow_mut();
        let paid = if account.saved >= 100 {
            account.saved -= 100;
            true
        } else {
            account.floor.take(now, 1).is_ok()
        };
        if paid {
            account.gauges.spent += 1;
        } else {
            account.gauges.refused += 1;
        }
        paid
    }

    /// The counters, and what is saved.
    #[must_use]
    pub fn gauges(&self) -> BudgetGauges {
        let account = self.0.borrow();
        BudgetGauges {
            saved: account.saved / 100,
            ..account.gauges
        }
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Budget").field(&self.gauges()).finish()
    }
}
