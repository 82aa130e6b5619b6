//! Numbers that cannot be guessed from outside: for ids of queries and the case of their letters.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// A counter under a keyed hash. The keys are the system's random bytes, which the standard library fetches for its
/// hash maps; who sees some of the numbers can tell nothing of the others.
#[derive(Debug, Default)]
pub(super) struct Random {
    keys: RandomState,
    count: u64,
}

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.count += 1;
        self.keys.hash_one(self.count)
    }
}
