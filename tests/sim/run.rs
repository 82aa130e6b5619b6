//! A run: a seed gives a list of commands, each with a seed of its own; and the shortest list that still fails.
//!
//! Because each command has its own seed, those that are left do what they did when others are taken away.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Once;

use self::game::Game;
use super::faults::{Injected, Mix};
use super::program::set_running;

mod game;
pub(crate) mod shrink;

/// One thing that the world, a peer, another thread or the program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Add,
    Listen,
    ClientConnects,
    Dial,
    PeerSends,
    PeerReads,
    PeerShuts,
    PeerCloses,
    PeerResets,
    Refusal,
    Act,
    Post,
    Turn,
    /// A turn that may wait for an hour.
    Sleep,
    Descriptors,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) what: What,
    pub(crate) seed: u32,
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}:{}", self.what, self.seed)
    }
}

/// All that decides a run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) mix: Mix,
    pub(crate) commands: Vec<Command>,
}

impl Plan {
    pub(crate) fn from_seed(seed: u64) -> Plan {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mix = Mix::drawn(&mut rng);
        let count = [30, 120, 400][rng.usize(..3)];
        let commands = (0..count).map(|_| Command {
            what: drawn(&mut rng),
            seed: rng.u32(..),
        });
        Plan {
            seed,
            mix,
            commands: commands.collect(),
        }
    }
}

fn drawn(rng: &mut fastrand::Rng) -> What {
    match rng.u32(..100) {
        0..4 => What::Add,
        4 => What::Listen,
        5..8 => What::ClientConnects,
        8..10 => What::Dial,
        10..24 => What::PeerSends,
        24..38 => What::PeerReads,
        38 | 39 => What::PeerShuts,
        40 => What::PeerCloses,
        41 => What::PeerResets,
        42 => What::Refusal,
        43..50 => What::Act,
        50..52 => What::Post,
        52..94 => What::Turn,
        94..99 => What::Sleep,
        _ => What::Descriptors,
    }
}

/// What a run has done.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) turns: u64,
    pub(crate) calls: u64,
    pub(crate) callbacks: u64,
    pub(crate) connections: usize,
    pub(crate) hash: u64,
    pub(crate) injected: Injected,
}

/// A rule that did not hold.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) rule: String,
    pub(crate) after: usize,
    pub(crate) trace: Vec<String>,
}

/// How much of a run is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tell {
    Nothing,
    Keep,
    Print,
}

pub(crate) fn play(plan: &Plan, tell: Tell) -> Result<Report, Failure> {
    quietly(|| play_aloud(plan, tell))
}

/// Does something in which panics are failures, which are told otherwise.
pub(crate) fn quietly<R>(body: impl FnOnce() -> R) -> R {
    be_silent_about_panics();
    struct Playing;
    impl Drop for Playing {
        fn drop(&mut self) {
            PLAYING.set(false);
        }
    }
    PLAYING.set(true);
    let _playing = Playing;
    body()
}

fn play_aloud(plan: &Plan, tell: Tell) -> Result<Report, Failure> {
    let mut game = Game::new(plan, tell);
    set_running(Some(Rc::clone(&game.run)));
    let mut after = 0;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        for command in &plan.commands {
            game.execute(*command)?;
            after += 1;
        }
        game.finish()
    }));
    let outcome = outcome.unwrap_or_else(|payload| Err(text_of(&*payload)));
    set_running(None);
    let result = match outcome {
        Ok(()) => Ok(game.report()),
        Err(rule) => Err(Failure {
            rule,
            after,
            trace: catch_unwind(AssertUnwindSafe(|| game.told(tell)))
                .unwrap_or_else(|payload| vec![text_of(&*payload)]),
        }),
    };
    // They hold each other.
    game.run
        .net
        .with(|kernel| (kernel.before_sleep, kernel.in_wait) = (None, None));
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(game))) {
        let rule = format!("dropping it: {}", text_of(&*payload));
        return result.and(Err(Failure {
            rule,
            after,
            trace: Vec::new(),
        }));
    }
    result
}

/// How many steps a failure shows: `SLABLOOP_SIM_STEPS`, or 60.
pub(crate) fn told_steps() -> usize {
    let asked = std::env::var("SLABLOOP_SIM_STEPS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(60)
}

pub(crate) fn text_of(payload: &dyn Any) -> String {
    let text = payload.downcast_ref::<String>().cloned();
    let text = text.or_else(|| {
        payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
    });
    text.unwrap_or_else(|| "a panic".to_owned())
}

thread_local! {
    static PLAYING: Cell<bool> = const { Cell::new(false) };
}

fn be_silent_about_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // What panics in a run is a failure, and is told as one.
            if !PLAYING.get() || std::env::var_os("SLABLOOP_SIM_PANICS").is_some() {
                usual(info);
            }
        }));
    });
}
