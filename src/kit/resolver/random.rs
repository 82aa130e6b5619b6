//! Numbers that cannot be guessed from outside: for ids of queries and the case of their letters.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// A counter under a keyed hash. The keys are the system's random bytes, which the standard library fetches for its
/// hash maps; who sees some of the numbers can tell nothing of the others.
#[derive(Debug, Default)]
pub(super) struct Random {
    keys: RandomState,
    count: u64,
    /// From which a test has all numbers follow.
    seed: Option<u64>,
}

impl Random {
    pub(super) fn new(seed: Option<u64>) -> Random {
        Random {
            seed,
            ..Random::default()
        }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.count += 1;
        if let Some(seed) = self.seed {
            let mixed = (seed ^ self.count).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            return (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        }
        self.keys.hash_one(self.count)
    }
}
