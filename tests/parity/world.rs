//! What a kernel has to give for a scene to be played on it, and the playing.

use std::rc::Rc;
use std::time::Duration;

use slabloop::testing::SimClock;
use slabloop::{Builder, Reactor};

use super::actor::{Cast, Lanes, bytes_of};
use super::scene::{Group, Kind, Step};

/// What a peer has seen: how much it received, and how its input ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) received: u64,
    /// An end of stream, or an error.
    pub(crate) end: Option<String>,
}

/// A kernel, and the peers on it.
pub(crate) trait World {
    /// Makes the socket of a dispatcher, and its peer, and adds it.
    fn open(&mut self, reactor: &mut Reactor, cast: &Rc<Cast>, conn: usize, kind: Kind);
    /// How much was taken, or what else a stream says.
    fn peer_sends(&mut self, conn: usize, bytes: &[u8]) -> Result<usize, String>;
    fn peer_shuts(&mut self, conn: usize);
    fn peer_closes(&mut self, conn: usize, resets: bool);
    /// What there is at most: bytes, or an end, or nothing.
    fn peer_reads(&mut self, conn: usize) -> Input;
    /// Something may have happened that peers have to do something for.
    fn goes_on(&mut self) {}
}

/// What one read of a peer gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    Nothing,
    Bytes(Vec<u8>),
    Datagram,
    End(String),
}

struct Peer {
    reads: bool,
    has_shut: bool,
    sent: u64,
    seen: Seen,
    kind: Kind,
}

/// A scene in progress on one kernel.
pub(crate) struct Play<W> {
    pub(crate) world: W,
    pub(crate) reactor: Reactor,
    cast: Rc<Cast>,
    clock: SimClock,
    peers: Vec<Peer>,
}

/// What a rest of the loop leaves to be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rest {
    pub(crate) lanes: Vec<Lanes>,
    pub(crate) seen: Vec<Seen>,
}

/// The settings of both.
pub(crate) fn builder(clock: &SimClock) -> Builder {
    let mut builder = Reactor::builder();
    builder
        .clock(clock.clone())
        .high_mark(10_000)
        .low_mark(2_000)
        .hard_cap(4 << 20)
        .close_timeout(Duration::from_secs(1))
        .connect_timeout(Duration::from_secs(2))
        .stall_timeout(Duration::from_secs(3));
    builder
}

impl<W: World> Play<W> {
    pub(crate) fn new(world: W, reactor: Reactor, clock: SimClock) -> Play<W> {
        Play {
            world,
            reactor,
            cast: Rc::default(),
            clock,
            peers: Vec::new(),
        }
    }

    /// The steps of a group; nothing of what follows from them.
    pub(crate) fn execute(&mut self, group: &Group) {
        for step in group {
            match *step {
                Step::Open(kind, ref scripted) => {
                    let conn = self.cast.enter(kind, scripted);
                    self.peers.push(Peer {
                        reads: true,
                        has_shut: false,
                        sent: 0,
                        seen: Seen::default(),
                        kind,
                    });
                    self.world.open(&mut self.reactor, &self.cast, conn, kind);
                }
                Step::PeerSends(conn, count) => self.peer_sends(conn, count),
                Step::PeerShuts(conn) => {
                    self.peers[conn].has_shut = true;
                    self.world.peer_shuts(conn);
                }
                Step::PeerCloses(conn) => self.world.peer_closes(conn, false),
                Step::PeerResets(conn) => self.world.peer_closes(conn, true),
                Step::PeerReads(conn, reads) => self.peers[conn].reads = reads,
                Step::Do(conn, act) => {
                    let id = self.cast.parts.borrow()[conn].id;
                    if let Some(mut cx) = id.and_then(|id| self.reactor.at(id)) {
                        self.cast.act(&mut cx, conn, act);
                    }
                }
                Step::Clock(time) => self.clock.advance(time),
            }
        }
    }

    fn peer_sends(&mut self, conn: usize, count: usize) {
        let peer = &mut self.peers[conn];
        if peer.has_shut && peer.kind.is_stream() || count == 0 && peer.kind.is_stream() {
            return;
        }
        let bytes = bytes_of(conn, true, peer.sent, count);
        match self.world.peer_sends(conn, &bytes) {
            Ok(sent) if peer.kind.is_stream() => peer.sent += sent as u64,
            Ok(_) => {}
            // It knows now, and a read would not tell it again.
            Err(error) => {
                peer.seen.end.get_or_insert(error);
            }
        }
    }

    pub(crate) fn all_peers_read(&mut self) {
        for peer in &mut self.peers {
            peer.reads = true;
        }
    }

    /// One turn, and the peers that read take what has come. Whether any did.
    pub(crate) fn turn(&mut self, most: Duration) -> bool {
        self.reactor.turn(most).expect("the wait does not fail");
        self.reactor.check_invariants();
        self.world.goes_on();
        let mut moved = false;
        for (conn, peer) in self.peers.iter_mut().enumerate() {
            while peer.reads && peer.seen.end.is_none() {
                match self.world.peer_reads(conn) {
                    Input::Nothing => break,
                    Input::Bytes(bytes) => {
                        let right = bytes_of(conn, false, peer.seen.received, bytes.len());
                        assert_eq!(bytes, right, "{conn}: from {}", peer.seen.received);
                        peer.seen.received += bytes.len() as u64;
                    }
                    Input::Datagram => peer.seen.received += 1,
                    Input::End(end) => peer.seen.end = Some(end),
                }
                moved = true;
            }
        }
        moved
    }

    /// What there is to compare now.
    pub(crate) fn rest(&self) -> Rest {
        let parts = self.cast.parts.borrow();
        let seen = self.peers.iter().zip(parts.iter()).map(|(peer, part)| {
            let mut seen = peer.seen.clone();
            // Of what no buffer holds, the kernel takes as much as it will; and only on TCP is an end of stream the
            // end of all of it.
            let all_arrives = match seen.end.as_deref() {
                None => peer.reads,
                Some(end) => end == "end" && peer.kind.is_tcp(),
            };
            if part.sends_large && !all_arrives {
                seen.received = 0;
            }
            seen
        });
        Rest {
            seen: seen.collect(),
            lanes: self.cast.lanes(),
        }
    }
}
