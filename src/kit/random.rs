//! Random numbers for spreading retries, and the ends of connections, over time.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// SplitMix64 (Steele, Lea, Flood 2014): one addition and two multiplications for 64 bits.
///
/// It passes the usual statistical tests and has a period of 2⁶⁴, which is far more than is asked of it here: that
/// the delays of thousands of clients do not fall together. Guessing them is of no use to an attacker, so no
/// cryptographic generator is needed. What has to differ between processes and clients is the seed, and that is made
/// by the standard library's [`RandomState`], which has its keys from the system and changes them with each one made.
#[derive(Clone, Debug)]
pub(super) struct SplitMix64(u64);

impl SplitMix64 {
    pub(super) fn new(seed: u64) -> SplitMix64 {
        SplitMix64(seed)
    }

    pub(super) fn unpredictable() -> SplitMix64 {
        SplitMix64::new(RandomState::new().build_hasher().finish())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to `most`, both included. (By multiplication, whose bias is below `most` in 2⁶⁴.)
    pub(super) fn up_to(&mut self, most: u64) -> u64 {
        let wide = u128::from(self.next()) * (u128::from(most) + 1);
        u64::try_from(wide >> 64).unwrap_or(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_published_generator() {
        let mut random = SplitMix64::new(1_234_567);
        let first = [random.next(), random.next(), random.next()];
        assert_eq!(
            first,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn the_ends_of_the_range_are_reached_and_not_passed() {
        let mut random = SplitMix64::new(7);
        let seen: Vec<u64> = (0..1000).map(|_| random.up_to(3)).collect();
        for wanted in 0..=3 {
            assert!(seen.iter().filter(|&&number| number == wanted).count() > 200);
        }
        assert!(seen.iter().all(|&number| number <= 3));
        assert_eq!(random.up_to(0), 0);
        let _ = random.up_to(u64::MAX);
    }
}
