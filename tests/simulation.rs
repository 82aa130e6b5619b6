//! The random program on the simulated kernel: whatever it does, and whatever goes wrong, the rules hold.
//!
//! `SLABLOOP_SIM_SEEDS=FROM..TO` plays these seeds. A failure prints its seed, the fewest commands and faults with
//! which it still fails, and the last steps; the seed then goes into `seeds.txt`, which is played first.

mod sim;

use std::time::Instant;

use sim::faults::Injected;
use sim::run::shrink::describe;
use sim::run::{Plan, Tell, play};

const SEEDS: std::ops::Range<u64> = 0..200;

/// What many runs have done together.
struct Sum {
    turns: u64,
    calls: u64,
    callbacks: u64,
    connections: usize,
    injected: Injected,
}

fn play_all(seeds: impl IntoIterator<Item = u64>) -> Sum {
    let mut sum = Sum {
        turns: 0,
        calls: 0,
        callbacks: 0,
        connections: 0,
        injected: Injected::NONE,
    };
    let mut failures = Vec::new();
    for seed in seeds {
        let plan = Plan::from_seed(seed);
        match play(&plan, Tell::Nothing) {
            Ok(report) => {
                sum.turns += report.turns;
                sum.calls += report.calls;
                sum.callbacks += report.callbacks;
                sum.connections += report.connections;
                sum.injected.add(&report.injected);
            }
            Err(failure) => failures.push(describe(&plan, &failure)),
        }
        if failures.len() >= 3 {
            break;
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    sum
}

/// Every seed that has ever failed.
fn old_failures() -> impl Iterator<Item = u64> {
    let lines = include_str!("seeds.txt").lines();
    lines
        .filter_map(|line| line.split('#').next()?.split_whitespace().next())
        .map(|seed| seed.parse().expect("seeds.txt: a seed a line"))
}

#[test]
fn every_seed_that_has_ever_failed_passes() {
    play_all(old_failures());
}

#[test]
fn a_random_program_keeps_every_rule_whatever_goes_wrong() {
    let asked = std::env::var("SLABLOOP_SIM_SEEDS").ok();
    let seeds = asked.map_or(SEEDS, |text| {
        let (from, to) = text.split_once("..").expect("SLABLOOP_SIM_SEEDS=FROM..TO");
        from.parse().expect("a number")..to.parse().expect("a number")
    });
    let count = seeds.end - seeds.start;
    let began = Instant::now();
    let sum = play_all(seeds);
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{count} seeds: {} turns, {} calls of the kernel, {} callbacks, {} dispatchers; {:.0} turns a second",
        sum.turns,
        sum.calls,
        sum.callbacks,
        sum.connections,
        sum.turns as f64 / seconds,
    );
    println!("{}", sum.injected);
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..20 {
        let plan = Plan::from_seed(seed);
        let hash = || play(&plan, Tell::Nothing).map(|report| report.hash).ok();
        assert_eq!(hash(), hash(), "seed {seed}");
    }
}
