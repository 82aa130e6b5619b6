//! The random program of `tests/sim`, on the simulated kernel: here the input says which commands come, and not a seed.
//!
//! Holds: all that `tests/simulation.rs` asks for, which `tests/sim/book.rs` keeps.

use crate::sim::faults::Mix;
use crate::sim::run::shrink::describe;
use crate::sim::run::{Command, Plan, Tell, What, play};

const MOST_COMMANDS: usize = 150;

/// Half of all are turns: nothing happens without.
const WHATS: [What; 24] = [
    What::Add,
    What::Listen,
    What::ClientConnects,
    What::Dial,
    What::PeerSends,
    What::PeerSends,
    What::PeerReads,
    What::PeerShuts,
    What::PeerCloses,
    What::PeerResets,
    What::Refusal,
    What::Act,
    What::Act,
    What::Post,
    What::Descriptors,
    What::Sleep,
    What::Turn,
    What::Turn,
    What::Turn,
    What::Turn,
    What::Turn,
    What::Turn,
    What::Turn,
    What::Turn,
];

pub(crate) fn target(data: &[u8]) {
    let [low, high, rest @ ..] = data else {
        return;
    };
    let seed = u64::from(u16::from_le_bytes([*low, *high]));
    let commands = rest.chunks_exact(3).take(MOST_COMMANDS);
    let commands = commands.map(|bytes| Command {
        what: WHATS[usize::from(bytes[0]) % WHATS.len()],
        seed: u16::from_le_bytes([bytes[1], bytes[2]]).into(),
    });
    let plan = Plan {
        seed,
        mix: Mix::drawn(&mut fastrand::Rng::with_seed(seed)),
        commands: commands.collect(),
    };
    if let Err(failure) = play(&plan, Tell::Nothing) {
        panic!("{}", describe(&plan, &failure));
    }
}
