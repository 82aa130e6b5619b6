//! The pool on the simulated kernel, unchanged: connections are refused, slow, reset at any byte, ended while idle;
//! holders lend, return, discard, drop and end; the pool is shut down, or ends, in the middle.
//!
//! `SLABLOOP_SIM_SEEDS=FROM..TO` plays these seeds. One that fails is told with the fewest steps, and goes into
//! `seeds.txt`.

#[path = "../sim/mod.rs"]
mod sim;
mod simulated_pool {
    pub(crate) mod connection;
    pub(crate) mod holder;
    pub(crate) mod play;
    pub(crate) mod server;
    pub(crate) mod world;
}

use sim::scene::{assert_repeatable, old_failures, play_all, play_usual};
use simulated_pool::play::PoolScene;

const SEEDS: std::ops::Range<u64> = 0..150;

#[test]
fn every_seed_of_the_pool_that_has_ever_failed_passes() {
    play_all::<PoolScene>(old_failures::<PoolScene>(include_str!("seeds.txt")));
}

#[test]
fn a_pool_keeps_its_promises_whatever_goes_wrong() {
    let sum = play_usual::<PoolScene>(SEEDS);
    for what in [
        "leases",
        "answers",
        "refused: deadline",
        "refused: too many wait",
        "refused: connect",
        "refused: pause",
        "refused: no place",
        "refused: it ends",
        "taken",
        "cancelled",
        "holders ended",
        "shut down in the middle",
    ] {
        assert!(
            sum.tally.get(what).is_some_and(|count| *count > 0),
            "{what}: {sum}"
        );
    }
}

#[test]
fn the_same_seed_is_the_same_run_of_the_pool() {
    assert_repeatable::<PoolScene>(0..10);
}
