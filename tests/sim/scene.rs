//! A scene of a part of the kit: a seed gives a mix of faults and a list of steps, each with a seed of its own; a rule
//! that does not hold is told with the fewest steps and kinds of faults that still break it.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use super::faults::{FAULTS, Injected, Mix};
use super::run::shrink::{fewest, kind_of};
use super::run::{quietly, text_of, told_steps};
use super::stage::{Stage, mix_of};

/// One thing that the world or the program does: a name of the scene's, and from what its choices follow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) what: &'static str,
    seed: u32,
}

/// All that decides a run.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) seed: u64,
    pub(crate) mix: Mix,
    pub(crate) steps: Vec<Step>,
}

/// What happened how often, by name.
pub(crate) type Tally = BTreeMap<&'static str, u64>;

/// A part of the kit, its users and its servers.
pub(crate) trait Scene: Sized {
    const NAME: &'static str;
    /// The steps, and their weights.
    const STEPS: &'static [(&'static str, u32)];

    fn new(script: &Script) -> Self;
    fn stage(&mut self) -> &mut Stage;
    /// Panics if a rule does not hold, as the next two.
    fn step(&mut self, what: &'static str);
    /// The faults stop, everything comes to its end, and nothing is left.
    fn finish(&mut self);
    fn tally(&self) -> Tally;
}

impl Script {
    fn from_seed<S: Scene>(seed: u64) -> Script {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mix = mix_of(&mut rng);
        let count = [50, 200, 600][rng.usize(..3)];
        let all: u32 = S::STEPS.iter().map(|(_, weight)| weight).sum();
        let steps = (0..count).map(|_| {
            let mut left = rng.u32(..all);
            let step = S::STEPS.iter().find(|(_, weight)| {
                let is_it = left < *weight;
                left = left.saturating_sub(*weight);
                is_it
            });
            Step {
                what: step.expect("below the sum").0,
                seed: rng.u32(..),
            }
        });
        Script {
            seed,
            mix,
            steps: steps.collect(),
        }
    }
}

struct Told {
    turns: u64,
    hash: u64,
    injected: Injected,
    tally: Tally,
}

struct Failure {
    rule: String,
    after: usize,
    trace: Vec<String>,
}

fn play<S: Scene>(script: &Script, keeps: bool) -> Result<Told, Failure> {
    quietly(|| {
        let mut scene = S::new(script);
        let net = scene.stage().net.clone();
        if keeps {
            net.with(|kernel| kernel.trace.keep());
        }
        let mut after = 0;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            for step in &script.steps {
                net.with(|kernel| {
                    kernel.rng = fastrand::Rng::with_seed(script.seed ^ u64::from(step.seed) << 20);
                    kernel.trace.line(|| format!("-- {}", step.what));
                });
                scene.step(step.what);
                after += 1;
            }
            scene.finish();
        }));
        let told = net.with(|kernel| Told {
            turns: kernel.turns,
            hash: kernel.trace.so_far(),
            injected: kernel.injected,
            tally: scene.tally(),
        });
        let trace = net.with(|kernel| kernel.trace.tail(told_steps()));
        // (What is dropped while it is broken may say so as well.)
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(scene)));
        match outcome.and(dropped) {
            Ok(()) => Ok(told),
            Err(payload) => Err(Failure {
                rule: text_of(&*payload),
                after,
                trace,
            }),
        }
    })
}

fn shortest<S: Scene>(script: &Script, failure: &Failure) -> Script {
    let kind = kind_of(&failure.rule);
    let fails = |script: &Script| {
        play::<S>(script, false).is_err_and(|failure| kind_of(&failure.rule) == kind)
    };
    let mut best = script.clone();
    best.steps.truncate(failure.after + 1);
    if !fails(&best) {
        best.steps.clone_from(&script.steps);
    }
    best.steps = fewest(&best.steps, 300, |steps| {
        fails(&Script {
            steps: steps.to_vec(),
            ..script.clone()
        })
    });
    for fault in FAULTS.into_iter().filter(|fault| script.mix.has(*fault)) {
        let fewer = Script {
            mix: best.mix.without(fault),
            ..best.clone()
        };
        if fails(&fewer) {
            best = fewer;
        }
    }
    best
}

fn describe<S: Scene>(script: &Script, failure: &Failure) -> String {
    let short = shortest::<S>(script, failure);
    let last = play::<S>(&short, true).err();
    let (rule, trace) = last.map_or_else(
        || ("(not when shortened)".to_owned(), String::new()),
        |failure| (failure.rule, failure.trace.join("\n    ")),
    );
    let steps: Vec<&str> = short.steps.iter().map(|step| step.what).collect();
    format!(
        "{} seed {}, after {} steps: {}\n  shortest: {rule}\n  faults: {}\n  steps: {}\n  last steps:\n    {trace}",
        S::NAME,
        script.seed,
        failure.after,
        failure.rule,
        short.mix,
        steps.join(", "),
    )
}

/// What many runs have come through.
pub(crate) struct Sum {
    name: &'static str,
    seeds: u64,
    turns: u64,
    seconds: f64,
    injected: Injected,
    pub(crate) tally: Tally,
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, seeds, turns) = (self.name, self.seeds, self.turns);
        let speed = turns as f64 / self.seconds;
        writeln!(
            f,
            "{name}: {seeds} seeds, {turns} turns, {speed:.0} a second"
        )?;
        for (what, count) in &self.tally {
            writeln!(f, "{count:>14} {what}")?;
        }
        write!(f, "{}", self.injected)
    }
}

/// Plays these seeds; of the first that fails it tells.
pub(crate) fn play_all<S: Scene>(seeds: impl IntoIterator<Item = u64>) -> Sum {
    let began = Instant::now();
    let mut sum = Sum {
        name: S::NAME,
        seeds: 0,
        turns: 0,
        seconds: 0.0,
        injected: Injected::NONE,
        tally: Tally::new(),
    };
    for seed in seeds {
        let script = Script::from_seed::<S>(seed);
        match play::<S>(&script, false) {
            Ok(told) => {
                sum.seeds += 1;
                sum.turns += told.turns;
                sum.injected.add(&told.injected);
                for (what, count) in told.tally {
                    *sum.tally.entry(what).or_default() += count;
                }
            }
            Err(failure) => panic!("{}", describe::<S>(&script, &failure)),
        }
    }
    sum.seconds = began.elapsed().as_secs_f64();
    sum
}

/// Plays what `SLABLOOP_SIM_SEEDS=FROM..TO` says, or the usual seeds, and prints what came of it.
pub(crate) fn play_usual<S: Scene>(usual: std::ops::Range<u64>) -> Sum {
    let asked = std::env::var("SLABLOOP_SIM_SEEDS").ok();
    let seeds = asked.map_or(usual, |text| {
        let (from, to) = text.split_once("..").expect("SLABLOOP_SIM_SEEDS=FROM..TO");
        from.parse().expect("a number")..to.parse().expect("a number")
    });
    let sum = play_all::<S>(seeds);
    println!("{sum}");
    sum
}

/// The seeds of a scene in a list of `NAME SEED # what it found` lines.
pub(crate) fn old_failures<S: Scene>(list: &str) -> Vec<u64> {
    let lines = list.lines().filter_map(|line| line.split('#').next());
    let of_scene = lines.filter_map(|line| line.trim().strip_prefix(S::NAME));
    of_scene
        .map(|seed| seed.trim().parse().expect("NAME SEED"))
        .collect()
}

/// The same seed is the same run.
pub(crate) fn assert_repeatable<S: Scene>(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let script = Script::from_seed::<S>(seed);
        let hash = || play::<S>(&script, false).map(|told| told.hash).ok();
        assert_eq!(hash(), hash(), "{} seed {seed}", S::NAME);
    }
}
