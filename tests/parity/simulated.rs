//! The simulated kernel on its best day: no faults, and nobody is in a hurry.

use std::rc::Rc;
use std::time::Duration;

use slabloop::testing::SimKind;
use slabloop::{Id, Reactor};

use super::actor::Cast;
use super::scene::Kind;
use super::world::{Input, Play, World, builder};
use crate::sim::faults::Mix;
use crate::sim::kernel::{Kernel, Net, Saw, address_of};
use crate::sim::sockets::Poller;

/// So many turns in which nothing moves are a rest; an attempt takes some.
const IDLE_TURNS: usize = 12;

pub(crate) struct Simulated {
    net: Net,
    peers: Vec<Option<usize>>,
    /// Those of attempts that the loop has not gone on with since, whose peers are not there yet.
    dialled: Vec<(usize, usize)>,
    listener: Option<usize>,
}

pub(crate) fn play(seed: u64) -> Play<Simulated> {
    let net = Net::new(seed, Mix::calm());
    let clock = net.with(|kernel| {
        kernel.checks_bytes = false;
        kernel.frozen = true;
        kernel.is_prompt = true;
        kernel.all_rooms = Some(60_000);
        kernel.clock.clone()
    });
    let mut reactor = builder(&clock).build().expect("a poller");
    reactor.set_kernel(Box::new(Poller(net.clone())));
    let world = Simulated {
        net,
        peers: Vec::new(),
        dialled: Vec::new(),
        listener: None,
    };
    Play::new(world, reactor, clock)
}

impl Play<Simulated> {
    /// Turns until nothing moves.
    pub(crate) fn settle(&mut self) -> Result<(), String> {
        let mut idle = 0;
        while idle < IDLE_TURNS {
            let before = self.world.net.with(|kernel| kernel.calls);
            let moved = self.turn(Duration::ZERO);
            let after = self.world.net.with(|kernel| kernel.calls);
            idle = if moved || after > before { 0 } else { idle + 1 };
        }
        match self.world.net.with(|kernel| kernel.broken_rule()) {
            Some(rule) => Err(rule),
            None => Ok(()),
        }
    }
}

impl Simulated {
    fn with_peer<R: Default>(
        &mut self,
        conn: usize,
        body: impl FnOnce(&mut Kernel, usize) -> R,
    ) -> R {
        match self.peers[conn] {
            Some(peer) => self.net.with(|kernel| body(kernel, peer)),
            None => R::default(),
        }
    }
}

impl World for Simulated {
    fn open(&mut self, reactor: &mut Reactor, cast: &Rc<Cast>, conn: usize, kind: Kind) {
        let (ours, peer) = match kind {
            Kind::Listener => {
                let listener = self.net.with(Kernel::listener);
                self.listener = Some(listener);
                (listener, None)
            }
            Kind::Accepted => {
                let listener = self.listener.expect("a scene begins with it");
                let client = self.net.with(|kernel| kernel.client_connects(listener));
                self.peers.push(client);
                if client.is_some() {
                    cast.waiting.borrow_mut().push_back(conn);
                }
                return;
            }
            Kind::Dialled | Kind::Refused => {
                // The ends that the kernel makes next are the attempt's.
                let end = self.net.with(|kernel| {
                    kernel.refuses = kind == Kind::Refused;
                    kernel.ends.len()
                });
                self.peers.push(None);
                if kind == Kind::Dialled {
                    self.dialled.push((conn, end + 1));
                }
                let added = reactor.connect(address_of(60_000), cast.actor(conn));
                cast.added(conn, added.map(Id::any));
                return;
            }
            Kind::Tcp => self.net.with(Kernel::stream_pair).into_pair(),
            Kind::Unix => self.net.with(Kernel::unix_pair).into_pair(),
            Kind::PipeReader => self.net.with(|kernel| kernel.pipe(true)).into_pair(),
            Kind::PipeWriter => self.net.with(|kernel| kernel.pipe(false)).into_pair(),
            Kind::Datagram => self.net.with(Kernel::datagram_pair).into_pair(),
        };
        self.peers.push(peer);
        cast.add(reactor, conn, self.net.socket(ours));
    }

    fn peer_sends(&mut self, conn: usize, bytes: &[u8]) -> Result<usize, String> {
        let send = |kernel: &mut Kernel, peer: usize| {
            if kernel.ends[peer].kind == SimKind::Datagram {
                kernel.peer_sends_datagram(peer, bytes.to_vec());
                return Some(Ok(0));
            }
            let knew = kernel.ends[peer].saw.is_some();
            let sent = kernel.peer_sends(peer, bytes);
            match kernel.ends[peer].saw {
                Some(Saw::Error(errno)) if !knew => Some(Err(kind_of(errno))),
                _ => Some(Ok(sent)),
            }
        };
        self.with_peer(conn, send).unwrap_or(Ok(0))
    }

    fn peer_shuts(&mut self, conn: usize) {
        self.with_peer(conn, Kernel::peer_shuts);
    }

    fn peer_closes(&mut self, conn: usize, resets: bool) {
        self.with_peer(conn, |kernel, peer| {
            kernel.peer_closes(peer, resets);
        });
    }

    fn peer_reads(&mut self, conn: usize) -> Input {
        let read = |kernel: &mut Kernel, peer: usize| {
            match kernel.ends[peer].kind {
                SimKind::Datagram => {
                    return kernel.peer_reads_datagram(peer).then_some(Input::Datagram);
                }
                SimKind::PipeWriter => return None,
                _ => {}
            }
            let bytes = kernel.peer_reads(peer, usize::MAX);
            if !bytes.is_empty() {
                return Some(Input::Bytes(bytes));
            }
            Some(match kernel.ends[peer].saw? {
                Saw::End => Input::End("end".to_owned()),
                Saw::Error(errno) => Input::End(kind_of(errno)),
            })
        };
        self.with_peer(conn, read).unwrap_or(Input::Nothing)
    }

    fn goes_on(&mut self) {
        self.net.with(Kernel::turn_is_over);
        let (net, peers) = (&self.net, &mut self.peers);
        self.dialled.retain(|(conn, end)| {
            let waits = net.with(|kernel| kernel.is_dialling(*end));
            if !waits {
                peers[*conn] = Some(*end);
            }
            waits
        });
    }
}

fn kind_of(errno: i32) -> String {
    format!("{:?}", std::io::Error::from_raw_os_error(errno).kind())
}

trait IntoPair {
    fn into_pair(self) -> (usize, Option<usize>);
}

impl IntoPair for (usize, usize) {
    fn into_pair(self) -> (usize, Option<usize>) {
        (self.0, Some(self.1))
    }
}
