//! The examples' own dispatchers, and the framing layer, on the simulated kernel: whatever goes wrong there, no peer
//! gets a wrong byte, and none takes a part for the whole.
//!
//! `SLABLOOP_SIM_SEEDS=FROM..TO` plays these seeds.

#![allow(clippy::duplicate_mod, reason = "each example brings its `common`")]

#[path = "../examples/chat.rs"]
#[allow(dead_code, reason = "its main and its command line")]
mod chat;
#[path = "../examples/echo_server.rs"]
#[allow(dead_code, reason = "its main and its command line")]
mod echo;
#[path = "../examples/proxy.rs"]
#[allow(dead_code, reason = "its main and its command line")]
mod proxy;
mod sim;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use sim::faults::Injected;
use sim::kernel::{Kernel, Saw, address_of, bytes_at};
use sim::stage::Stage;
use slabloop::framing::{Framed, Framing, Handler, Terminator};
use slabloop::{Accepted, Context, Dispatcher, Reactor};

/// Plays a scene with many seeds, and says what it has come through.
fn play(what: &str, scene: impl Fn(u64) -> Stage) {
    let asked = std::env::var("SLABLOOP_SIM_SEEDS").ok();
    let seeds = asked.map_or(0..40, |text| {
        let (from, to) = text.split_once("..").expect("SLABLOOP_SIM_SEEDS=FROM..TO");
        from.parse().expect("a number")..to.parse().expect("a number")
    });
    let (mut all, mut all_turns) = (Injected::NONE, 0);
    for seed in seeds {
        let scene = std::panic::AssertUnwindSafe(|| scene(seed));
        let stage = match std::panic::catch_unwind(scene) {
            Ok(stage) => stage,
            Err(payload) => {
                eprintln!(
                    "{what}: SLABLOOP_SIM_SEEDS={seed}..{} plays it again",
                    seed + 1
                );
                std::panic::resume_unwind(payload);
            }
        };
        let (injected, turns) = stage.injected();
        all.add(&injected);
        all_turns += turns;
    }
    println!("{what}: {all_turns} turns\n{all}");
}

/// Adds a listener.
fn listen<D: Dispatcher>(stage: &mut Stage, listener: D) -> usize {
    let end = stage.net.with(Kernel::listener);
    let socket = stage.net.socket(end);
    // A scene without its listener is over before it began.
    let calm = stage
        .net
        .with(|kernel| std::mem::replace(&mut kernel.calm, true));
    stage.reactor.add(socket, listener).expect("a listener");
    stage.net.with(|kernel| kernel.calm = calm);
    end
}

#[test]
fn echo() {
    play("echo", |seed| {
        let mut stage = Stage::new(seed, Reactor::builder().high_mark(2_000));
        let listener = listen(
            &mut stage,
            echo::Listener {
                tls: echo::common::Tls::default(),
                proxied: echo::common::Proxied::default(),
            },
        );
        for _ in 0..200 {
            if stage.below(10) == 0 {
                let size = stage.below(20_000);
                stage.connect(listener, |end| bytes_at(end, 0, size));
            }
            stage.peers_act();
            stage.turn(Duration::from_millis(20));
        }
        stage.finish();
        for peer in &stage.peers {
            let got = peer.received.len();
            assert!(
                peer.received == peer.out[..got.min(peer.out.len())],
                "seed {seed}: {} gets back other bytes",
                peer.end
            );
            if stage.saw(peer.end) == Some(Saw::End) {
                let sent = if stage.has_finished(peer) {
                    peer.out.len()
                } else {
                    got
                };
                assert_eq!(got, sent, "seed {seed}: a clean end is a whole answer");
            }
        }
        stage
    });
}

#[test]
fn proxy() {
    play("proxy", |seed| {
        let mut stage = Stage::new(
            seed,
            Reactor::builder()
                .high_mark(3_000)
                .connect_timeout(Duration::from_secs(2)),
        );
        // Nobody listens there; who is dialled is played by the scene.
        let addresses = vec![address_of(50_000), address_of(50_001)];
        let front = proxy::Front {
            upstreams: vec![proxy::Upstream {
                addresses,
                ..proxy::Upstream::default()
            }],
            ..proxy::Front::default()
        };
        let listener = listen(&mut stage, front);
        for _ in 0..250 {
            if stage.below(12) == 0 {
                let size = stage.below(20_000);
                stage.connect(listener, |end| bytes_at(end, 0, size));
            }
            stage.take_servers(|end| bytes_at(end, 0, end * 97 % 15_000));
            stage.peers_act();
            stage.turn(Duration::from_millis(20));
        }
        stage.take_servers(|end| bytes_at(end, 0, end * 97 % 15_000));
        stage.finish();
        for peer in &stage.peers {
            if peer.received.is_empty() {
                continue;
            }
            // The bytes themselves tell who sent them.
            let got = peer.received.len();
            let others = stage.peers.iter();
            let mut sources = others.filter(|other| {
                other.end != peer.end && other.out.len() >= got && other.out[..got] == peer.received
            });
            let source = sources.next();
            assert!(
                source.is_some(),
                "seed {seed}: {} gets nobody's bytes",
                peer.end
            );
            let source = source.expect("it was looked at");
            if got > 16 && stage.saw(peer.end) == Some(Saw::End) {
                assert!(
                    stage.has_finished(source) && got == source.out.len(),
                    "seed {seed}: {peer:?} sees a clean end, and who sent it is {source:?}"
                );
            }
        }
        stage
    });
}

#[test]
fn chat() {
    play("chat", |seed| {
        let mut stage = Stage::new(seed, Reactor::builder().high_mark(3_000));
        let room = stage
            .reactor
            .add_service(chat::Room::default())
            .expect("room");
        let door = chat::Door {
            room,
            tls: chat::common::Tls::default(),
            proxied: chat::common::Proxied::default(),
        };
        let listener = listen(&mut stage, door);
        for _ in 0..200 {
            if stage.below(20) == 0 && stage.peers.len() < 8 {
                stage.connect(listener, |end| {
                    let lines = (0..40).map(|line| format!("{end}-{line}\n"));
                    format!("n{end}\n{}/who\n", lines.collect::<String>()).into_bytes()
                });
            }
            stage.peers_act();
            stage.turn(Duration::from_millis(20));
        }
        stage.finish();
        for peer in &stage.peers {
            let text = String::from_utf8(peer.received.clone()).expect("what was said is text");
            let mut heard: BTreeMap<&str, usize> = BTreeMap::new();
            let is_whole = text.is_empty() || text.ends_with('\n');
            if stage.saw(peer.end) == Some(Saw::End) {
                assert!(is_whole, "seed {seed}: a clean end is behind a whole line");
            }
            let cut = text.rfind('\n').map_or("", |end| &text[..end]);
            for line in cut.lines().filter(|line| !line.starts_with("* ")) {
                let (nick, said) = line.split_once(": ").expect("somebody said it");
                let (who, number) = said.split_once('-').expect("a numbered line");
                assert_eq!(nick.strip_prefix('n'), Some(who), "seed {seed}: {line}");
                let number: usize = number.parse().expect("a number");
                if let Some(last) = heard.insert(who, number) {
                    assert_eq!(number, last + 1, "seed {seed}: {line}, and none is missing");
                }
            }
        }
        stage
    });
}

/// What handlers have found, by the address of who sent it.
type Found = Rc<RefCell<BTreeMap<usize, Vec<Vec<u8>>>>>;

/// Gives each connection one that notes its records.
struct Noting(Found, sim::kernel::Net);

impl Dispatcher for Noting {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let address = accepted.peer().expect("it has one");
        let end = self
            .1
            .with(|kernel| kernel.end_at(address))
            .expect("an end");
        let handler = Records(Rc::clone(&self.0), end);
        cx.add(accepted, Framed::new(Terminator::Netstring, handler)?)?;
        Ok(())
    }
}

struct Records(Found, usize);

impl Handler for Records {
    fn found_terminator(
        &mut self,
        _: &mut Context<'_>,
        _: &mut Framing,
        record: &[u8],
    ) -> io::Result<()> {
        let mut found = self.0.borrow_mut();
        found.entry(self.1).or_default().push(record.to_vec());
        Ok(())
    }
}

#[test]
fn framing() {
    play("framing", |seed| {
        let mut stage = Stage::new(seed, &mut Reactor::builder());
        let found: Found = Rc::default();
        let noting = Noting(Rc::clone(&found), stage.net.clone());
        let listener = listen(&mut stage, noting);
        let mut sent: BTreeMap<usize, Vec<Vec<u8>>> = BTreeMap::new();
        for _ in 0..200 {
            if stage.below(10) == 0 {
                let records: Vec<Vec<u8>> = (0..stage.below(60))
                    .map(|place| bytes_at(place, 0, stage.below([3, 40, 2_000][place % 3])))
                    .collect();
                let mut out = Vec::new();
                for record in &records {
                    out.extend(format!("{}:", record.len()).bytes());
                    out.extend(record);
                    out.push(b',');
                }
                stage.connect(listener, |end| {
                    sent.insert(end, records);
                    out
                });
            }
            stage.peers_act();
            stage.turn(Duration::from_millis(20));
        }
        stage.finish();
        for peer in &stage.peers {
            let ours = stage.net.with(|kernel| kernel.ends[peer.end].other);
            let found = found.borrow();
            let found = found.get(&ours).map_or(&[][..], |records| records);
            let sent = &sent[&peer.end];
            assert!(
                found.len() <= sent.len() && *found == sent[..found.len()],
                "seed {seed}: {} records of {}",
                found.len(),
                sent.len()
            );
            if stage.has_finished(peer)
                && stage.saw(peer.end) == Some(Saw::End)
                && !found.is_empty()
            {
                assert_eq!(
                    found.len(),
                    sent.len(),
                    "seed {seed}: all of them are found"
                );
            }
        }
        stage
    });
}
