//! What the run decides: which ends there are, and what peers do with theirs.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use slabloop::testing::SimKind;

use crate::sim::faults::Fault;

use super::{
    EADDRNOTAVAIL, ECONNREFUSED, ECONNRESET, EMFILE, ENETUNREACH, EPIPE, End, Kernel, Link, Saw,
    address_of, os, poll,
};

impl Kernel {
    pub(super) fn new_end(&mut self, kind: SimKind, ours: bool, link: Link) -> usize {
        let drawn = [1, 7, 64, 600, 4096, 20_000][self.rng.usize(..6)];
        let room = self.all_rooms.unwrap_or(drawn);
        self.ends.push(End {
            kind,
            ours,
            link,
            other: usize::MAX,
            input: VecDeque::new(),
            datagrams: VecDeque::new(),
            backlog: VecDeque::new(),
            room,
            input_ended: false,
            output_shut: false,
            errno: None,
            reset: false,
            ended_before_reset: false,
            unix: false,
            zero_after_reset: false,
            resets_when_closed: false,
            closed: false,
            token: None,
            interest: 0,
            no_space: false,
            edge: false,
            knows_input: false,
            knows_room: true,
            room_since: 0,
            knows_end: false,
            knows_error: false,
            write_failed: false,
            dialled: false,
            dialled_to: None,
            accept_failed: false,
            registrations: 0,
            room_watches: 0,
            writes_in_turn: 0,
            large_in_turn: false,
            sent: 0,
            received: 0,
            saw: None,
        });
        self.ends.len() - 1
    }

    pub(super) fn tie(&mut self, one: usize, other: usize) {
        self.ends[one].other = other;
        self.ends[other].other = one;
    }

    /// An established stream; the first end is the reactor's, once [`Kernel::descriptor`] says so.
    pub(crate) fn stream_pair(&mut self) -> (usize, usize) {
        let ours = self.new_end(SimKind::Stream, false, Link::Up);
        let peer = self.new_end(SimKind::Stream, false, Link::Up);
        self.tie(ours, peer);
        (ours, peer)
    }

    /// As [`Kernel::stream_pair`], of Unix sockets.
    pub(crate) fn unix_pair(&mut self) -> (usize, usize) {
        let (ours, peer) = self.stream_pair();
        self.ends[ours].unix = true;
        self.ends[peer].unix = true;
        (ours, peer)
    }

    /// The reactor takes three streams of four for sockets of the system's.
    pub(crate) fn takes_short_ways(&self, end: usize) -> bool {
        end / 2 % 4 != 3
    }

    pub(crate) fn is_unix(&self, end: usize) -> bool {
        self.ends[end].unix
    }

    /// Whether the reactor has known of room for as long as a flush takes to come round.
    pub(crate) fn has_long_had_room(&self, end: usize) -> bool {
        let e = &self.ends[end];
        let interrupted = self.mix.has(Fault::WriteInterrupted);
        e.knows_room && e.link == Link::Up && e.room_since + 1 < self.turns && !interrupted
    }

    /// What is done from now on belongs to another turn.
    pub(crate) fn turn_is_over(&mut self) {
        for end in &mut self.ends {
            end.writes_in_turn = 0;
            end.large_in_turn = false;
        }
    }

    /// A pipe; the first end is the reactor's.
    pub(crate) fn pipe(&mut self, reads: bool) -> (usize, usize) {
        let (kind, far) = match reads {
            true => (SimKind::PipeReader, SimKind::PipeWriter),
            false => (SimKind::PipeWriter, SimKind::PipeReader),
        };
        let ours = self.new_end(kind, false, Link::Up);
        let peer = self.new_end(far, false, Link::Up);
        self.tie(ours, peer);
        let (reader, writer) = if reads { (ours, peer) } else { (peer, ours) };
        self.ends[reader].output_shut = true;
        self.ends[writer].input_ended = true;
        (ours, peer)
    }

    pub(crate) fn datagram_pair(&mut self) -> (usize, usize) {
        let ours = self.new_end(SimKind::Datagram, false, Link::None);
        let peer = self.new_end(SimKind::Datagram, false, Link::None);
        self.tie(ours, peer);
        (ours, peer)
    }

    /// A datagram socket of the reactor's that is connected to an address; or why there is none.
    pub(crate) fn dial_datagram(&mut self, address: SocketAddr) -> io::Result<usize> {
        self.calls += 1;
        if self.open >= self.limit || self.fault(Fault::NoDescriptor) {
            return Err(os(EMFILE));
        }
        if self.fault(Fault::DialErrno) {
            return Err(os([ENETUNREACH, EADDRNOTAVAIL][self.rng.usize(..2)]));
        }
        let (ours, peer) = self.datagram_pair();
        self.note_address(ours, peer, address);
        self.descriptor(ours);
        Ok(ours)
    }

    pub(crate) fn note_address(&mut self, ours: usize, peer: usize, address: SocketAddr) {
        self.ends[ours].dialled_to = Some(address);
        self.ends[peer].dialled_to = Some(address);
    }

    /// The far ends of the reactor's connected datagram sockets.
    pub(crate) fn datagram_peers(&self) -> Vec<usize> {
        let ends = self.ends.iter().enumerate();
        let peers = ends.filter(|(_, end)| {
            end.kind == SimKind::Datagram && !end.ours && end.dialled_to.is_some() && !end.closed
        });
        peers.map(|(index, _)| index).collect()
    }

    /// The far ends of the reactor's attempts, as far as they are not the reactor's own and have been reached.
    pub(crate) fn dialled_peers(&self) -> Vec<usize> {
        let ends = self.ends.iter().enumerate();
        let dialled = ends.filter(|(_, end)| {
            end.kind == SimKind::Stream && !end.ours && self.ends[end.other].dialled
        });
        let reached = dialled.filter(|(_, end)| end.link == Link::Up);
        reached.map(|(index, _)| index).collect()
    }

    /// What a read would tell that no event has; `None` as well in a run in which a fault may have hidden it.
    pub(crate) fn would_say(&self, end: usize) -> Option<&'static str> {
        let hides = self.mix.has(Fault::ReadWouldBlock) || self.mix.has(Fault::ReadInterrupted);
        let end = &self.ends[end];
        if hides {
            None
        } else if !end.input.is_empty() {
            Some("unread input")
        } else if end.errno.is_some() {
            Some("an error")
        } else {
            end.input_ended.then_some("an end")
        }
    }

    /// From now on nothing is narrow: what is left moves fast.
    pub(crate) fn widen(&mut self) {
        for end in 0..self.ends.len() {
            self.ends[end].room = self.ends[end].room.max(30_000);
            let writer = self.ends[end].other;
            if writer != usize::MAX {
                self.made_room(writer);
            }
        }
    }

    /// The end of an address.
    pub(crate) fn end_at(&self, address: SocketAddr) -> Option<usize> {
        (0..self.ends.len()).find(|end| address_of(*end) == address)
    }

    pub(crate) fn listener(&mut self) -> usize {
        self.new_end(SimKind::Listener, false, Link::None)
    }

    /// The end becomes a descriptor of the reactor's.
    pub(crate) fn descriptor(&mut self, end: usize) {
        self.ends[end].ours = true;
        self.open += 1;
    }

    /// Whether an end waits in a listener's queue.
    pub(crate) fn is_in_backlog(&self, listener: usize, end: usize) -> bool {
        self.ends[listener].backlog.contains(&end)
    }

    /// A client connects to a listener: its end, or `None` if nobody listens.
    pub(crate) fn client_connects(&mut self, listener: usize) -> Option<usize> {
        if self.ends[listener].closed || self.ends[listener].backlog.len() > 40 {
            return None;
        }
        let (server, client) = self.stream_pair();
        self.ends[listener].backlog.push_back(server);
        self.wake(listener, poll::IN);
        Some(client)
    }

    /// A peer sends; how much was taken.
    pub(crate) fn peer_sends(&mut self, peer: usize, bytes: &[u8]) -> usize {
        let end = &mut self.ends[peer];
        let ours = end.other;
        if end.closed || end.output_shut || end.link != Link::Up {
            return 0;
        }
        if end.reset {
            // An error is told once.
            let errno = end.errno.take().unwrap_or(EPIPE);
            end.saw.get_or_insert(Saw::Error(errno));
            return 0;
        }
        let fails = end.unix || end.kind == SimKind::PipeWriter;
        if self.ends[ours].closed && fails {
            self.ends[peer].saw.get_or_insert(Saw::Error(EPIPE));
            return 0;
        }
        if self.ends[ours].closed {
            self.reset_arrives(peer, ECONNRESET);
            return 0;
        }
        let count = bytes.len().min(self.ends[ours].free());
        self.ends[ours].input.extend(&bytes[..count]);
        self.ends[peer].sent += count as u64;
        if count > 0 {
            self.wake(ours, poll::IN);
        }
        count
    }

    pub(crate) fn peer_sends_datagram(&mut self, peer: usize, bytes: Vec<u8>) {
        let ours = self.ends[peer].other;
        if self.ends[peer].closed {
            return;
        }
        if !self.ends[ours].closed && self.ends[ours].datagrams.len() < 16 {
            self.ends[ours].datagrams.push_back(bytes);
            self.ends[peer].sent += 1;
            self.wake(ours, poll::IN);
        }
    }

    /// Whether a peer's attempt to be reached is under way.
    pub(crate) fn is_dialling(&self, peer: usize) -> bool {
        matches!(self.ends[peer].link, Link::Connecting { .. })
    }

    /// A peer takes what was sent to it.
    pub(crate) fn peer_takes_datagram(&mut self, peer: usize) -> Option<Vec<u8>> {
        self.ends[peer].datagrams.pop_front()
    }

    /// How many datagrams the reactor has not read yet.
    pub(crate) fn datagrams_unread(&self, ours: usize) -> usize {
        self.ends[ours].datagrams.len()
    }

    /// Whether a datagram was there for a peer.
    pub(crate) fn peer_reads_datagram(&mut self, peer: usize) -> bool {
        let end = &mut self.ends[peer];
        !end.closed && end.datagrams.pop_front().is_some()
    }

    /// An error comes back for a datagram: the next call says so.
    pub(crate) fn datagram_refused(&mut self, ours: usize) {
        if !self.ends[ours].closed {
            self.ends[ours].errno = Some(ECONNREFUSED);
            self.wake(ours, poll::ERR);
        }
    }

    /// A peer reads up to `most`; an end is noted in `saw`.
    pub(crate) fn peer_reads(&mut self, peer: usize, most: usize) -> Vec<u8> {
        let end = &mut self.ends[peer];
        if end.closed || end.link != Link::Up {
            return Vec::new();
        }
        let count = most.min(end.input.len());
        let bytes: Vec<u8> = end.input.drain(..count).collect();
        end.received += count as u64;
        if count == 0 && most > 0 && end.saw.is_none() {
            end.saw = match end.errno.take() {
                _ if end.ended_before_reset => Some(Saw::End),
                Some(errno) => Some(Saw::Error(errno)),
                None if end.input_ended => Some(Saw::End),
                None => None,
            };
        }
        if count > 0 {
            self.made_room(self.ends[peer].other);
        }
        bytes
    }

    pub(crate) fn peer_shuts(&mut self, peer: usize) {
        let end = &mut self.ends[peer];
        if end.closed || end.output_shut || end.link != Link::Up {
            return;
        }
        end.output_shut = true;
        let other = end.other;
        self.end_arrives(other);
    }

    /// A peer closes, and whether a reset follows: where the kernel would send one, or if asked for.
    pub(crate) fn peer_closes(&mut self, peer: usize, reset: bool) -> bool {
        let end = &mut self.ends[peer];
        if end.closed {
            return false;
        }
        end.resets_when_closed = reset;
        let resets = reset || !end.input.is_empty();
        self.close(peer);
        resets
    }
}
