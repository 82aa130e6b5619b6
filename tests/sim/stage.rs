//! A program's own dispatchers on the simulated kernel, and the peers that it talks to.

use std::fmt;
use std::time::Duration;

use slabloop::{Builder, Reactor};

use super::faults::{Fault, Injected, Mix};
use super::kernel::{Kernel, Link, Net, Saw};
use super::sockets::Poller;

/// One of the peers: what it sends, what it got, and how it means to behave.
pub(crate) struct Peer {
    pub(crate) end: usize,
    pub(crate) out: Vec<u8>,
    pub(crate) sent: usize,
    pub(crate) received: Vec<u8>,
    /// It has gone without an end of stream.
    pub(crate) has_cut: bool,
    pub(crate) has_shut: bool,
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (all, got) = (self.out.len(), self.received.len());
        let ending = match (self.has_cut, self.has_shut) {
            (true, _) => ", and has cut",
            (_, true) => ", and has finished",
            _ => "",
        };
        let (end, sent) = (self.end, self.sent);
        write!(
            f,
            "{end} ({sent} of {all} bytes sent, {got} received{ending})"
        )
    }
}

impl Peer {
    pub(crate) fn new(end: usize, out: Vec<u8>) -> Peer {
        Peer {
            end,
            out,
            sent: 0,
            received: Vec::new(),
            has_cut: false,
            has_shut: false,
        }
    }
}

/// A reactor on a kernel of its own.
pub(crate) struct Stage {
    pub(crate) reactor: Reactor,
    pub(crate) net: Net,
    pub(crate) peers: Vec<Peer>,
    /// Whether peers go without an end of stream.
    pub(crate) peers_cut: bool,
    seed: u64,
}

impl Stage {
    pub(crate) fn new(seed: u64, builder: &mut Builder) -> Stage {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mix = mix_of(&mut rng);
        Stage::with_mix(seed, mix, rng.bool(), builder)
    }

    pub(crate) fn with_mix(seed: u64, mix: Mix, peers_cut: bool, builder: &mut Builder) -> Stage {
        let net = Net::new(seed, mix);
        net.with(|kernel| kernel.checks_bytes = false);
        let clock = net.with(|kernel| kernel.clock.clone());
        let mut reactor = builder.clock(clock).build().expect("a poller");
        reactor.set_kernel(Box::new(Poller(net.clone())));
        Stage {
            reactor,
            net,
            peers: Vec::new(),
            peers_cut,
            seed,
        }
    }

    pub(crate) fn below(&self, bound: usize) -> usize {
        self.net.with(|kernel| kernel.rng.usize(..bound))
    }

    /// A client connects, if the queue has room.
    pub(crate) fn connect(&mut self, listener: usize, out: impl FnOnce(usize) -> Vec<u8>) {
        if let Some(end) = self.net.with(|kernel| kernel.client_connects(listener)) {
            self.peers.push(Peer::new(end, out(end)));
        }
    }

    /// Takes over those ends of the program's own attempts that nobody plays yet.
    pub(crate) fn take_servers(&mut self, out: impl Fn(usize) -> Vec<u8>) {
        let ends = self.net.with(|kernel| kernel.dialled_peers());
        for end in ends {
            if self.peers.iter().all(|peer| peer.end != end) {
                self.peers.push(Peer::new(end, out(end)));
            }
        }
    }

    /// Each peer does a little, drawn from the seed.
    pub(crate) fn peers_act(&mut self) {
        for index in 0..self.peers.len() {
            let (what, size) = (self.below(24), 1 + self.below(3_000));
            let peer = &mut self.peers[index];
            let end = peer.end;
            match what {
                0..8 => send(&self.net, peer, size),
                8..16 => read(&self.net, peer, size),
                16 if peer.sent == peer.out.len() => shut(&self.net, peer),
                17 if self.peers_cut && size < 300 => {
                    // It finishes early, or cuts.
                    peer.out.truncate(peer.sent);
                    let resets = |kernel: &mut Kernel| kernel.peer_closes(end, size % 2 == 0);
                    // (What it does after its end of stream takes nothing back.)
                    peer.has_cut = self.net.with(resets) && !peer.has_shut;
                    peer.has_shut = true;
                }
                _ => {}
            }
        }
    }

    /// One turn, and what must hold after each.
    pub(crate) fn turn(&mut self, limit: Duration) {
        let seed = self.seed;
        self.reactor.turn(limit).expect("the wait does not fail");
        self.reactor.check_invariants();
        let counters = self.reactor.counters();
        self.net.with(|kernel| {
            kernel.turn_is_over();
            if let Some(rule) = kernel.broken_rule() {
                panic!("seed {seed}: {rule}");
            }
            assert!(
                counters.stale >= kernel.stale,
                "seed {seed}: stale events are counted"
            );
        });
    }

    /// The faults stop and the peers go on until nothing moves: they send all they have, finish, and read all.
    pub(crate) fn finish(&mut self) {
        self.net.with(|kernel| {
            kernel.calm = true;
            kernel.widen();
        });
        let mut idle = 0;
        while idle < 400 {
            let before = self.net.with(|kernel| kernel.calls);
            self.turn(Duration::from_millis(50));
            let mut moved = false;
            for peer in &mut self.peers {
                let (had_sent, had) = (peer.sent, peer.received.len());
                send(&self.net, peer, 100_000);
                read(&self.net, peer, 100_000);
                moved |= peer.sent > had_sent || peer.received.len() > had;
                let saw = self.net.with(|kernel| kernel.ends[peer.end].saw);
                if peer.sent == peer.out.len() || saw.is_some() {
                    shut(&self.net, peer);
                }
            }
            let after = self.net.with(|kernel| kernel.calls);
            idle = if moved || after > before { 0 } else { idle + 1 };
        }
    }

    pub(crate) fn saw(&self, end: usize) -> Option<Saw> {
        self.net.with(|kernel| kernel.ends[end].saw)
    }

    /// Whether a peer has finished well: all of what it sends was sent, and its end after it.
    pub(crate) fn has_finished(&self, peer: &Peer) -> bool {
        peer.has_shut && !peer.has_cut && peer.sent == peer.out.len()
    }

    pub(crate) fn injected(&self) -> (Injected, u64) {
        self.net.with(|kernel| (kernel.injected, kernel.turns))
    }
}

/// What the program does itself is not for these runs.
pub(crate) fn mix_of(rng: &mut fastrand::Rng) -> Mix {
    Mix::drawn(rng)
        .without(Fault::Panic)
        .without(Fault::WaitFailed)
}

fn send(net: &Net, peer: &mut Peer, most: usize) {
    let rest = &peer.out[peer.sent..];
    let rest = &rest[..most.min(rest.len())];
    peer.sent += net.with(|kernel| kernel.peer_sends(peer.end, rest));
}

fn read(net: &Net, peer: &mut Peer, most: usize) {
    peer.received
        .extend(net.with(|kernel| kernel.peer_reads(peer.end, most)));
}

fn shut(net: &Net, peer: &mut Peer) {
    net.with(|kernel| {
        if kernel.ends[peer.end].link == Link::Up {
            kernel.peer_shuts(peer.end);
            peer.has_shut = true;
        }
    });
}
