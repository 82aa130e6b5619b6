//! A token bucket for each of many keys, in bounded memory.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, HashMap};
use std::fmt;
use std::hash::Hash;
use std::io;
use std::time::Instant;

use super::invalid;
use crate::kit::bucket::{Exhausted, Mark, Quota, Scale};

/// A [`TokenBucket`](super::TokenBucket) for each key: for each prefix of addresses, each user, each API key.
///
/// A full bucket equals a new one, so it is not stored: each call removes up to two that have become full. Only keys
/// that have used tokens recently are stored. When their number is at its maximum, new keys share *one* bucket of the
/// same quota until there is room again. So a flood of new keys cannot grow the memory, cannot reset the quotas of
/// the known keys, and gets no more than the quota of one key.
///
/// ```
/// use slabloop::kit::limits::{Buckets, Prefix, PrefixLengths, Quota};
/// use std::time::{Duration, Instant};
///
/// let mut logins = Buckets::new(Quota::per(5, Duration::from_secs(60)), 10_000)?;
/// let peer = Prefix::of("192.0.2.7".parse()?, PrefixLengths::default());
/// let now = Instant::now();
/// for _ in 0..5 {
///     logins.take(now, peer, 1)?;
/// }
/// let refused = logins.take(now, peer, 1).unwrap_err();
/// assert_eq!(refused.retry_after, Duration::from_secs(12));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Buckets<K> {
    scale: Scale,
    most: usize,
    /// When each bucket is full.
    full_at: HashMap<K, Mark>,
    /// Each known key once, with a time at which its bucket was to be full, the earliest first. If tokens have been
    /// taken since, it is full later. That is seen when the time has come, so a call for a known key changes nothing here.
    to_look_at: BinaryHeap<Reverse<(Mark, K)>>,
    shared: Mark,
    gauges: BucketsGauges,
}

/// How many keys each call looks at.
const LOOKS: usize = 2;

/// How many more keys a call for a new key looks at if there is no room. Bounded, because other callbacks wait
/// meanwhile.
const LOOKS_FOR_ROOM: usize = 64;

/// The counters of [`Buckets`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BucketsGauges {
    /// Keys that are stored, because their bucket was not full when it was last checked.
    pub keys: usize,
    /// Calls that were refused.
    pub refused: u64,
    /// Calls that used the shared bucket. If this number grows, raise the maximum number of keys.
    pub shared: u64,
}

impl<K: Clone + Eq + Hash + Ord> Buckets<K> {
    /// Buckets of the same quota for each key, for up to `most` keys at the same time; at least 1.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if `most` is 0, and for the quotas that [`TokenBucket::new`](super::TokenBucket::new) refuses.
    pub fn new(quota: Quota, most: usize) -> io::Result<Buckets<K>> {
        if most == 0 {
            return Err(invalid(
                "buckets: at most 0 keys: expected at least 1".to_owned(),
            ));
        }
        Ok(Buckets {
            scale: Scale::new(quota)?,
            most,
            full_at: HashMap::new(),
            to_look_at: BinaryHeap::new(),
            shared: Mark::default(),
            gauges: BucketsGauges::default(),
        })
    }

    /// Takes `count` tokens from the bucket of `key`. If fewer are left, it takes none.
    ///
    /// # Errors
    ///
    /// [`Exhausted`]: see [`TokenBucket::take`](super::TokenBucket::take).
    pub fn take(&mut self, now: Instant, key: K, count: u32) -> Result<(), Exhausted> {
        let taken = self.take_uncounted(now, key, count);
        self.gauges.refused += u64::from(taken.is_err());
        taken
    }

    /// The current number of keys, and the counters.
    ///
    /// ```
    /// use slabloop::kit::limits::{Buckets, Quota};
    /// use std::time::Instant;
    ///
    /// let mut users = Buckets::new(Quota::per_second(1), 10_000)?;
    /// let now = Instant::now();
    /// assert!(users.take(now, "ann", 1).is_ok());
    /// assert!(users.take(now, "ann", 1).is_err());
    /// assert_eq!((users.gauges().keys, users.gauges().refused), (1, 1));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn gauges(&self) -> BucketsGauges {
        BucketsGauges {
            keys: self.full_at.len(),
            ..self.gauges
        }
    }

    fn take_uncounted(&mut self, now: Instant, key: K, count: u32) -> Result<(), Exhausted> {
        let now = self.scale.mark(now);
        for _ in 0..LOOKS {
            self.look_at_first(now);
        }
        if let Some(full_at) = self.full_at.get_mut(&key) {
            *full_at = self.scale.take(*full_at, now, count)?;
            return Ok(());
        }
        for _ in 0..LOOKS_FOR_ROOM {
            if self.full_at.len() < self.most {
                break;
            }
            self.look_at_first(now);
        }
        if self.full_at.len() >= self.most {
            self.gauges.shared += 1;
            self.shared = self.scale.take(self.shared, now, count)?;
            return Ok(());
        }
        let full_at = self.scale.take(Mark::default(), now, count)?;
        self.to_look_at.push(Reverse((full_at, key.clone())));
        self.full_at.insert(key, full_at);
        Ok(())
    }

    /// If the first key's time has come, forgets it, or puts it where it belongs now. A key is put back no more often than
    /// tokens were taken, so looks keep up with calls.
    fn look_at_first(&mut self, now: Mark) {
        let Some(mut first) = self.to_look_at.peek_mut() else {
            return;
        };
        let Reverse((at, key)) = &*first;
        if *at > now {
            return;
        }
        match self.full_at.get(key) {
            Some(&full_at) if full_at > now => first.0.0 = full_at,
            _ => {
                let Reverse((_, key)) = PeekMut::pop(first);
                self.full_at.remove(&key);
            }
        }
    }
}

impl<K> fmt::Debug for Buckets<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buckets")
            .field("most", &self.most)
            .field("keys", &self.full_at.len())
            .field("gauges", &self.gauges)
            .finish_non_exhaustive()
    }
}
