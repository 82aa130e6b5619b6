//! The resolver on the simulated kernel, unchanged: answers are lost, late, doubled, cut, of another id, of another
//! question, from a stranger; servers are dead, refuse, fail, lie; the clock jumps; many ask for one name.
//!
//! `SLABLOOP_SIM_SEEDS=FROM..TO` plays these seeds. One that fails is told with the fewest steps, and goes into
//! `seeds.txt`.

#[path = "../sim/mod.rs"]
mod sim;
mod simulated_resolver {
    pub(crate) mod message;
    pub(crate) mod owner;
    pub(crate) mod play;
    pub(crate) mod server;
    pub(crate) mod world;
}

use sim::scene::{assert_repeatable, old_failures, play_all, play_usual};
use simulated_resolver::play::ResolverScene;

const SEEDS: std::ops::Range<u64> = 0..40;

#[test]
fn every_seed_of_the_resolver_that_has_ever_failed_passes() {
    play_all::<ResolverScene>(old_failures::<ResolverScene>(include_str!("seeds.txt")));
}

#[test]
fn a_resolver_keeps_its_promises_whatever_goes_wrong() {
    let sum = play_usual::<ResolverScene>(SEEDS);
    for what in [
        "addresses: asked",
        "addresses: cache",
        "failure: name",
        "failure: address",
        "failure: servers",
        "failure: unanswered",
        "failure: deadline",
        "failure: overload",
        "cancelled",
        "owners ended",
        "answers over TCP",
        "answers doubled",
        "answers lost",
        "answers cut",
        "answers of another id",
        "answers of another question",
    ] {
        let has_come = sum.tally.get(what).is_some_and(|count| *count > 0);
        assert!(has_come, "{what}: {sum}");
    }
}

#[test]
fn the_same_seed_is_the_same_run_of_the_resolver() {
    assert_repeatable::<ResolverScene>(0..10);
}
