//! The same scenes on the system's kernel and on the simulated one: each dispatcher has the same callbacks in the same
//! order, receives the same bytes and ends by the same cause, and so do the peers. How much comes in one turn may
//! differ. Where the two part, the simulation is wrong, and what stands on it proves nothing.
//!
//! `SLABLOOP_PARITY_SEEDS=FROM..TO` plays these scenes.

#[path = "parity/actor.rs"]
mod actor;
#[path = "parity/real.rs"]
mod real;
#[path = "parity/scene.rs"]
mod scene;
mod sim;
#[path = "parity/simulated.rs"]
mod simulated;
#[path = "parity/world.rs"]
mod world;

use std::fmt::Write as _;
use std::sync::Once;
use std::time::{Duration, Instant};

use actor::{Lanes, WANTED};
use scene::{Scene, Step};
use world::{Play, Rest};

/// Guards against a hang; nothing is measured with it.
const DEADLINE: Duration = Duration::from_secs(20);

const SCENES: std::ops::Range<u64> = 0..100;

/// What the system's kernel has to come to, and the turns until it has.
fn settle(play: &mut Play<real::Real>, wanted: &Rest) -> Rest {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let rest = play.rest();
        let over = Instant::now() > deadline || has_parted(&rest, wanted);
        if rest == *wanted || over {
            break;
        }
        play.turn(Duration::from_millis(1));
    }
    // Nothing more comes.
    for _ in 0..3 {
        play.turn(Duration::ZERO);
    }
    play.rest()
}

/// Whether something has been noted that turns cannot make good.
fn has_parted(rest: &Rest, wanted: &Rest) -> bool {
    let pairs = rest.lanes.iter().zip(&wanted.lanes);
    let mut lanes = pairs.flat_map(|(one, other)| one.0.iter().zip(&other.0));
    lanes.any(|(lane, wanted)| {
        let last = lane.len().saturating_sub(1);
        let differs = |(place, note): (usize, &String)| match wanted.get(place) {
            None => true,
            Some(wanted) => {
                let reads = [note, wanted]
                    .iter()
                    .all(|note| note.starts_with("read to "));
                note != wanted && !(reads && place == last)
            }
        };
        lane.iter().enumerate().any(differs)
    })
}

fn compare(scene: &Scene) -> Result<usize, String> {
    let mut ours = simulated::play(scene.seed);
    let mut systems = real::play();
    for (number, group) in scene.groups.iter().enumerate() {
        ours.execute(group);
        ours.settle()
            .map_err(|rule| format!("{rule}\n{}", told(scene, number)))?;
        systems.execute(group);
        let wanted = ours.rest();
        let rest = settle(&mut systems, &wanted);
        if rest != wanted {
            return Err(format!(
                "{}{}",
                told(scene, number),
                difference(&rest, &wanted)
            ));
        }
    }
    ours.all_peers_read();
    ours.settle()?;
    systems.all_peers_read();
    let wanted = ours.rest();
    let rest = settle(&mut systems, &wanted);
    if rest != wanted {
        let all = told(scene, scene.groups.len());
        return Err(format!("{all}{}", difference(&rest, &wanted)));
    }
    Ok(wanted
        .lanes
        .iter()
        .flat_map(|lanes| &lanes.0)
        .map(Vec::len)
        .sum())
}

/// The steps up to a group.
fn told(scene: &Scene, number: usize) -> String {
    let mut text = format!("SLABLOOP_PARITY_SEEDS={}..{}\n", scene.seed, scene.seed + 1);
    let mut opened = 0;
    for group in scene.groups.iter().take(number + 1) {
        text.push_str("  --\n");
        for step in group {
            let name = match step {
                Step::Open(..) => {
                    opened += 1;
                    format!("{}: ", opened - 1)
                }
                _ => String::new(),
            };
            let _ = writeln!(text, "  {name}{step:?}");
        }
    }
    text
}

fn difference(rest: &Rest, wanted: &Rest) -> String {
    let mut text = String::new();
    for conn in 0..wanted.lanes.len() {
        let (Lanes(systems), Lanes(ours)) = (&rest.lanes[conn], &wanted.lanes[conn]);
        for (systems, ours) in systems.iter().zip(ours) {
            if systems != ours {
                let _ = writeln!(
                    text,
                    "{conn}: the system's {systems:?}\n   ours         {ours:?}"
                );
            }
        }
        let (systems, ours) = (&rest.seen[conn], &wanted.seen[conn]);
        if systems != ours {
            let _ = writeln!(
                text,
                "{conn}: the system's peer {systems:?}\n   our peer          {ours:?}"
            );
        }
    }
    text
}

fn be_silent_about_wanted_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let wanted = info.payload().downcast_ref::<String>();
            if wanted.is_none_or(|text| text != WANTED) {
                usual(info);
            }
        }));
    });
}

#[test]
fn a_scene_is_the_same_on_the_simulated_kernel_as_on_the_systems() {
    be_silent_about_wanted_panics();
    let asked = std::env::var("SLABLOOP_PARITY_SEEDS").ok();
    let seeds = asked.map_or(SCENES, |text| {
        let (from, to) = text
            .split_once("..")
            .expect("SLABLOOP_PARITY_SEEDS=FROM..TO");
        from.parse().expect("a number")..to.parse().expect("a number")
    });
    let (mut notes, mut failures) = (0, Vec::new());
    for seed in seeds {
        match compare(&Scene::from_seed(seed)) {
            Ok(count) => notes += count,
            Err(failure) => failures.push(failure),
        }
        if failures.len() >= 3 {
            break;
        }
    }
    println!("{notes} callbacks alike");
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
