//! How many retries there may be in all.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Instant;

use super::backoff::invalid;
use crate::kit::bucket::{Quota, TokenBucket};

/// A budget of retries that many clients share, so that they do not make a storm of a failure.
///
/// A backoff says when one client tries again; a budget says how many retries all of them make together. Each
/// success earns a part of a retry, each retry costs one. While most attempts succeed there is always enough; when
/// everything fails, retries stop at what was saved, and go on with a small *floor* that time alone brings. (The
/// idea is that of Finagle's `RetryBudget`; gRPC's retry throttling has it without a floor.)
///
/// Clones are the same budget. It belongs to one thread, as the reactor does; with several reactors each has its
/// own, and its share.
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

/// What a [`Budget`] has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BudgetGauges {
    /// Retries that earlier successes would pay for now.
    pub saved: u64,
    /// Retries that were paid for.
    pub spent: u64,
    /// Retries that were refused. A steady growth means that what is tried fails nearly always.
    pub refused: u64,
}

impl Budget {
    /// A budget in which 100 successes earn `percent` retries, that saves up to `most` retries, and to which
    /// `floor` comes in any case.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for more than 1000 percent, for which a budget would be no bound, and for a floor with a 0.
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

    /// An attempt was a success.
    pub fn earn(&self) {
        let account = &mut *self.0.borrow_mut();
        account.saved = (account.saved + u64::from(account.percent)).min(account.most);
    }

    /// Pays for one retry. False if there is nothing to pay with: then wait, or give up.
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

    /// What it has seen.
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
