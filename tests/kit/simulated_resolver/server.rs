//! The name servers: each has a mood, in which it answers, dawdles, refuses, fails, lies or floods.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use super::message::{Kind, Query, Reply, parse};
use super::world::{Said, Truth, World, truth, wire_name};
use crate::sim::kernel::Net;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Good,
    Dead,
    Refuses,
    Fails,
    Lies,
    NoEdns,
    Lowers,
    Cuts,
    Floods,
}

const MOODS: [Mood; 12] = [
    Mood::Good,
    Mood::Good,
    Mood::Good,
    Mood::Good,
    Mood::Dead,
    Mood::Refuses,
    Mood::Fails,
    Mood::Lies,
    Mood::NoEdns,
    Mood::Lowers,
    Mood::Cuts,
    Mood::Floods,
];

pub(crate) fn address_of_server(server: usize) -> SocketAddr {
    let last = 53 + u8::try_from(server).expect("few");
    SocketAddr::from(([192, 0, 2, last], 53))
}

/// A datagram on its way to the reactor's socket.
struct Flying {
    peer: usize,
    bytes: Vec<u8>,
    serials: Vec<u32>,
}

/// A connection of a query over TCP, at the server.
struct Connection {
    end: usize,
    got: Vec<u8>,
    out: Vec<u8>,
    has_answered: bool,
    /// When the reactor has so many bytes it has read these.
    marks: Vec<(u64, Vec<u32>)>,
    queued: u64,
}

pub(crate) struct Servers {
    net: Net,
    pub(crate) moods: Vec<Mood>,
    flying: Vec<Flying>,
    /// What each of the reactor's sockets has not read yet.
    unread: BTreeMap<usize, VecDeque<Vec<u32>>>,
    connections: Vec<Connection>,
}

impl Servers {
    pub(crate) fn new(net: Net, count: usize) -> Servers {
        Servers {
            net,
            moods: vec![Mood::Good; count],
            flying: Vec::new(),
            unread: BTreeMap::new(),
            connections: Vec::new(),
        }
    }

    pub(crate) fn change_mood(&mut self, world: &World) {
        let server = world.below(self.moods.len());
        self.moods[server] = MOODS[world.below(MOODS.len())];
    }

    fn mood_of(&self, end: usize) -> Mood {
        let address = self.net.with(|kernel| kernel.ends[end].dialled_to);
        let server = (0..self.moods.len())
            .find(|server| Some(address_of_server(*server)) == address)
            .expect("no other address is asked");
        self.moods[server]
    }

    /// Reads what was asked, and does what the moods say.
    pub(crate) fn act(&mut self, world: &World) {
        for peer in self.net.with(|kernel| kernel.datagram_peers()) {
            while let Some(bytes) = self.net.with(|kernel| kernel.peer_takes_datagram(peer)) {
                self.is_asked(world, peer, &parse(&bytes));
            }
        }
        for flying in std::mem::take(&mut self.flying) {
            match if world.is_ending.get() {
                1
            } else {
                world.below(16)
            } {
                0 => world.count("answers lost"),
                1..13 => self.land(&flying),
                13 => {
                    world.count("answers doubled");
                    self.land(&flying);
                    self.land(&flying);
                }
                _ => self.flying.push(flying),
            }
        }
        self.take_over();
        for place in 0..self.connections.len() {
            self.serve(world, place);
        }
    }

    fn land(&mut self, flying: &Flying) {
        let ours = self.net.with(|kernel| kernel.ends[flying.peer].other);
        let unread = |kernel: &mut crate::sim::kernel::Kernel| kernel.datagrams_unread(ours);
        let before = self.net.with(unread);
        let bytes = flying.bytes.clone();
        self.net
            .with(|kernel| kernel.peer_sends_datagram(flying.peer, bytes));
        if self.net.with(unread) > before {
            let unread = self.unread.entry(ours).or_default();
            unread.push_back(flying.serials.clone());
        }
    }

    /// After a turn: what the reactor has read in it.
    pub(crate) fn note_what_was_read(&mut self, world: &World) {
        for (ours, unread) in &mut self.unread {
            let left = self.net.with(|kernel| kernel.datagrams_unread(*ours));
            while unread.len() > left {
                world.were_read(&unread.pop_front().expect("there are more"));
            }
        }
        self.unread.retain(|_, unread| !unread.is_empty());
        for connection in &mut self.connections {
            let read = self.net.with(|kernel| {
                let ours = kernel.ends[connection.end].other;
                kernel.ends[ours].received
            });
            connection.marks.retain(|(whole, serials)| {
                let is_read = read >= *whole;
                if is_read {
                    world.were_read(serials);
                }
                !is_read
            });
        }
    }

    fn is_asked(&mut self, world: &World, peer: usize, query: &Query) {
        let mood = self.mood_of(peer);
        if mood == Mood::Refuses {
            let ours = self.net.with(|kernel| kernel.ends[peer].other);
            return self.net.with(|kernel| kernel.datagram_refused(ours));
        }
        if mood == Mood::Dead {
            return;
        }
        let mut send = |(reply, serials): (Reply, Vec<u32>)| {
            let bytes = reply.bytes();
            self.flying.push(Flying {
                peer,
                bytes,
                serials,
            });
        };
        match mood {
            Mood::Fails => send(failure(query, 2)),
            Mood::NoEdns if query.has_edns => send(failure(query, 1)),
            Mood::Lies => {
                for _ in 0..=world.below(3) {
                    send(lie(world, query, world.below(4)));
                }
                if world.below(2) == 0 {
                    send(answer(world, query));
                }
            }
            Mood::Floods => {
                for _ in 0..70 {
                    send(lie(world, query, 0));
                }
            }
            Mood::Lowers => {
                let (mut reply, serials) = answer(world, query);
                reply.lower();
                send((reply, serials));
            }
            Mood::Cuts => {
                world.count("answers cut");
                // What is in it is not all, and so nothing.
                let (mut reply, serials) = lie(world, query, 4);
                reply.is_cut = true;
                send((reply, serials));
            }
            _ => send(answer(world, query)),
        }
    }

    fn take_over(&mut self) {
        for end in self.net.with(|kernel| kernel.dialled_peers()) {
            if self.connections.iter().all(|known| known.end != end) {
                self.connections.push(Connection {
                    end,
                    got: Vec::new(),
                    out: Vec::new(),
                    has_answered: false,
                    marks: Vec::new(),
                    queued: 0,
                });
            }
        }
    }

    /// Over TCP everything comes in order, torn anywhere; or it ends in the middle.
    fn serve(&mut self, world: &World, place: usize) {
        let end = self.connections[place].end;
        let is_ending = world.is_ending.get();
        let most = if is_ending {
            10_000
        } else {
            1 + world.below(90)
        };
        let mood = self.mood_of(end);
        let connection = &mut self.connections[place];
        let got = self.net.with(|kernel| kernel.peer_reads(end, most));
        connection.got.extend(got);
        let length = connection.got.first_chunk::<2>();
        let whole = length.map_or(2, |length| 2 + usize::from(u16::from_be_bytes(*length)));
        if connection.got.len() > 2 && connection.got.len() >= whole && !connection.has_answered {
            connection.has_answered = true;
            let query = parse(&connection.got[2..whole]);
            let said = match mood {
                Mood::Dead => None,
                Mood::Refuses => {
                    self.net.with(|kernel| kernel.peer_closes(end, true));
                    None
                }
                Mood::Fails => Some(failure(&query, 2)),
                Mood::Lies => Some(lie(world, &query, world.below(3))),
                Mood::Lowers => {
                    let (mut reply, serials) = answer(world, &query);
                    reply.lower();
                    Some((reply, serials))
                }
                _ => Some(answer(world, &query)),
            };
            if let Some((reply, serials)) = said {
                let bytes = reply.bytes();
                let length = u16::try_from(bytes.len()).expect("short");
                connection.out.extend(length.to_be_bytes());
                connection.out.extend(&bytes);
                connection.queued += 2 + bytes.len() as u64;
                connection.marks.push((connection.queued, serials));
                world.count("answers over TCP");
            }
        }
        let count = most.min(connection.out.len());
        let sent = self
            .net
            .with(|kernel| kernel.peer_sends(end, &connection.out[..count]));
        connection.out.drain(..sent);
        if !is_ending && world.below(60) == 0 {
            let resets = world.below(2) == 0;
            self.net.with(|kernel| kernel.peer_closes(end, resets));
        }
    }
}

fn failure(query: &Query, code: u8) -> (Reply, Vec<u32>) {
    let mut reply = Reply::to(query);
    reply.code = code;
    (reply, Vec::new())
}

/// What must not be taken: of another id, another question, another name; or what is cut.
fn lie(world: &World, query: &Query, kind: usize) -> (Reply, Vec<u32>) {
    let serial = world.says(&query.name, Said::Lie, Some(100_000));
    let mut reply = Reply::to(query);
    match kind {
        0 => {
            world.count("answers of another id");
            reply.id[1] ^= 1 + u8::try_from(world.below(255)).expect("below 255");
        }
        1 => {
            world.count("answers of another question");
            reply.question[1] ^= 1;
        }
        2 => {
            // Its type.
            let place = reply.question.len() - 3;
            reply.question[place] = 16;
        }
        _ => {}
    }
    let owner = (kind == 3).then_some("other.test");
    reply.address(owner, query.kind, serial, 100_000);
    let mut serials = vec![serial];
    if kind == 3 {
        // Of its own name it says nothing, and that is an answer.
        serials.push(world.says(&query.name, Said::Denial, None));
    }
    (reply, serials)
}

/// The truth, for as long as is drawn.
fn answer(world: &World, query: &Query) -> (Reply, Vec<u32>) {
    let mut reply = Reply::to(query);
    let mut serials = Vec::new();
    let ttl = |world: &World| match world.is_ending.get() {
        true => 60,
        false => [0, 1, 5, 30, 100_000][world.below(5)],
    };
    let mut target = query.name.clone();
    let mut known = truth(&query.name);
    if let Truth::Alias(other) = known {
        target = wire_name(other);
        let ttl = ttl(world);
        serials.push(world.says(&query.name, Said::Alias, Some(ttl)));
        reply.alias(&target, ttl);
        if world.below(3) == 0 {
            return (reply, serials);
        }
        known = truth(&target);
    }
    let has_some = match known {
        Truth::Both => true,
        Truth::OnlyA => query.kind == Kind::A,
        _ => false,
    };
    if has_some {
        let owner = (target != query.name).then_some(target.as_str());
        for _ in 0..=world.below(3) {
            let ttl = ttl(world);
            let serial = world.says(&target, Said::Address, Some(ttl));
            reply.address(owner, query.kind, serial, ttl);
            serials.push(serial);
        }
        return (reply, serials);
    }
    if known == Truth::NoSuchName {
        reply.code = 3;
    }
    let kept = (world.is_ending.get() || world.below(4) > 0).then(|| ttl(world));
    if let Some(ttl) = kept {
        reply.denial(ttl);
    }
    serials.push(world.says(&query.name, Said::Denial, kept));
    (reply, serials)
}
