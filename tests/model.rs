//! A random program over the API beside a model that is exact to the byte.
//!
//! Each seed is a program: connections come, send, pause, feed one another, broadcast, set timers and end in
//! every way, from both sides. Some dispatchers have priorities, and some programs turns of limited time. After
//! each turn the reactor's invariants are checked; at the end the model says what must have arrived:
//!
//! - what a dispatcher received is what its peer wrote, in order, and no more;
//! - what a peer received is what was accepted for sending, in order;
//! - a peer of a TCP connection that saw a clean end has had all of it, and one whose dispatcher ended with
//!   [`Cause::Finished`] as well;
//! - every dispatcher got `handle_close` once, last, and every callback in its time.
//!
//! ```text
//! cargo test --test model                                     a bounded number of seeds
//! SLABLOOP_SEEDS=0..100000 cargo test --release --test model  many
//! SLABLOOP_SEEDS=4711..4712 cargo test --test model           one again
//! ```

mod util;

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use slabloop::{AnyId, Cause, Context, Dispatcher, Id, Priority, Reactor, TimerId};
use util::*;

/// Steps of one program.
const STEPS: usize = 120;

/// Connections at a time; more would only dilute what each meets.
const MOST: usize = 6;

/// Seeds of a plain `cargo test`.
const SEEDS: std::ops::Range<u64> = 0..150;

/// Marsaglia's xorshift64*: the same program for the same seed, on every machine.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random((seed ^ 0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }

    /// Mostly small, now and then large.
    fn size(&mut self) -> usize {
        match self.below(10) {
            0 => 0,
            1..6 => self.below(200),
            6..9 => self.below(20_000),
            _ => self.below(300_000),
        }
    }
}

/// The byte at a place of a stream.
fn byte_at(stream: u64, place: usize) -> u8 {
    let mixed = (place as u64 ^ stream << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 56) as u8
}

fn bytes_at(stream: u64, place: usize, count: usize) -> Vec<u8> {
    (place..place + count)
        .map(|place| byte_at(stream, place))
        .collect()
}

/// What the dispatcher and the program know of a connection.
#[derive(Debug, Default)]
struct Ledger {
    /// Accepted for sending so far.
    accepted: usize,
    /// Received by the dispatcher.
    received: usize,
    closes: u32,
    cause: Option<Cause>,
    wrong: Option<String>,
}

impl Ledger {
    fn complain(&mut self, what: &str) {
        self.wrong.get_or_insert(what.to_owned());
    }
}

struct Subject {
    stream: u64,
    ledger: Rc<RefCell<Ledger>>,
    random: Rc<RefCell<Random>>,
}

impl Subject {
    fn alive(&self) {
        let mut ledger = self.ledger.borrow_mut();
        if ledger.closes > 0 {
            ledger.complain("a callback after handle_close");
        }
    }
}

/// Sends the next bytes of a stream, and books them if they were taken.
fn send(cx: &mut Context<'_>, stream: u64, ledger: &RefCell<Ledger>, count: usize) {
    let place = ledger.borrow().accepted;
    if cx.send(&bytes_at(stream, place, count)).is_ok() {
        ledger.borrow_mut().accepted += count;
    }
}

impl Dispatcher for Subject {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.alive();
        let (room, reply) = {
            let mut random = self.random.borrow_mut();
            (1 + random.below(5000), random.below(4) == 0)
        };
        let mut buffer = vec![0; room];
        let count = cx.recv(&mut buffer)?;
        let mut ledger = self.ledger.borrow_mut();
        // The peer writes the stream with the highest bit set.
        let expected = bytes_at(self.stream | 1 << 31, ledger.received, count);
        if buffer[..count] != expected {
            ledger.complain("received other bytes than were written");
        }
        ledger.received += count;
        drop(ledger);
        if reply {
            let count = self.random.borrow_mut().size();
            send(cx, self.stream, &self.ledger, count);
        }
        Ok(())
    }

    fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.alive();
        match self.random.borrow_mut().below(3) {
            0 => cx.shutdown_write(),
            _ => cx.close(),
        }
        Ok(())
    }

    fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        self.alive();
        let choice = self.random.borrow_mut().below(6);
        match choice {
            0 => cx.close(),
            1 => return Err(io::Error::other("wanted")),
            2 => cx.pause_reading(),
            _ => {
                cx.resume_reading();
                let count = self.random.borrow_mut().size();
                send(cx, self.stream, &self.ledger, count);
            }
        }
        Ok(())
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        let mut ledger = self.ledger.borrow_mut();
        ledger.closes += 1;
        ledger.cause = cx.end_cause();
        if cx.how_it_ended() != cx.end_cause().map(Cause::end) {
            ledger.complain("how and why disagree");
        }
    }
}

enum Peer {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Peer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Peer::Tcp(stream) => stream.read(buffer),
            Peer::Unix(stream) => stream.read(buffer),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Peer::Tcp(stream) => stream.write(bytes),
            Peer::Unix(stream) => stream.write(bytes),
        }
    }

    fn shutdown(&self) {
        // It may be gone on the other side already.
        let _ = match self {
            Peer::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Peer::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }
}

/// One connection, seen from the program.
struct Connection {
    id: Id<Subject>,
    stream: u64,
    ledger: Rc<RefCell<Ledger>>,
    peer: Option<Peer>,
    written: usize,
    read: usize,
    /// The peer has seen the end of the stream, or an error.
    end: Option<io::Result<()>>,
}

impl Connection {
    /// The peer reads once; false if nothing came.
    fn peer_reads(&mut self, room: usize) -> bool {
        let Some(peer) = &mut self.peer else {
            return false;
        };
        let mut buffer = vec![0; room.max(1)];
        match peer.read(&mut buffer) {
            Ok(0) if room > 0 => {
                self.end.get_or_insert(Ok(()));
            }
            Ok(0) => {}
            Ok(count) => {
                let expected = bytes_at(self.stream, self.read, count);
                assert!(buffer[..count] == expected, "the peer got other bytes");
                self.read += count;
                return true;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) => {
                self.end.get_or_insert(Err(error));
            }
        }
        false
    }

    /// What must hold once both sides have come to their end.
    fn check(&self) {
        let ledger = self.ledger.borrow();
        assert_eq!(ledger.wrong, None);
        assert_eq!(ledger.closes, 1, "one handle_close");
        assert!(ledger.received <= self.written);
        assert!(self.read <= ledger.accepted, "no byte from nowhere");
        let Some(peer) = &self.peer else {
            return;
        };
        let clean = matches!(self.end, Some(Ok(())));
        let finished = ledger.cause == Some(Cause::Finished);
        let tcp = matches!(peer, Peer::Tcp(_));
        if clean && (tcp || finished) {
            assert_eq!(
                self.read, ledger.accepted,
                "a clean end is a whole answer: {:?}",
                ledger.cause
            );
        }
    }
}

struct Program {
    reactor: Reactor,
    random: Rc<RefCell<Random>>,
    connections: Vec<Connection>,
    finished: Vec<Connection>,
    streams: u64,
}

impl Program {
    fn new(seed: u64) -> Program {
        let mut random = Random::new(seed);
        let mut builder = Reactor::builder();
        builder.hard_cap(400_000).high_mark(20_000).low_mark(10_000);
        if random.below(3) == 0 {
            builder.max_queued(100_000);
        }
        match random.below(6) {
            // One of each class a turn.
            0 => builder.turn_time(Duration::ZERO),
            1 => builder.turn_time(Duration::from_micros(30)),
            _ => &mut builder,
        };
        Program {
            reactor: builder.build().expect("a poller"),
            random: Rc::new(RefCell::new(random)),
            connections: Vec::new(),
            finished: Vec::new(),
            streams: 0,
        }
    }

    fn below(&self, bound: usize) -> usize {
        self.random.borrow_mut().below(bound)
    }

    fn size(&self) -> usize {
        self.random.borrow_mut().size()
    }

    fn connect(&mut self) {
        self.streams += 1;
        let ledger = Rc::default();
        let subject = Subject {
            stream: self.streams,
            ledger: Rc::clone(&ledger),
            random: Rc::clone(&self.random),
        };
        let (id, peer) = if self.below(2) == 0 {
            let (ours, peer) = tcp_pair();
            peer.set_nonblocking(true).expect("a socket");
            (self.reactor.add(ours, subject), Peer::Tcp(peer))
        } else {
            let (ours, peer) = unix_pair();
            peer.set_nonblocking(true).expect("a socket");
            (self.reactor.add(ours, subject), Peer::Unix(peer))
        };
        self.connections.push(Connection {
            id: id.expect("a stream"),
            stream: self.streams,
            ledger,
            peer: Some(peer),
            written: 0,
            read: 0,
            end: None,
        });
    }

    /// One of the things that a program or a peer can do.
    fn step(&mut self) {
        if self.connections.len() < MOST && self.below(8) == 0 || self.connections.is_empty() {
            return self.connect();
        }
        let which = self.below(self.connections.len());
        let other = self.connections[self.below(self.connections.len())].id;
        let (choice, size) = (self.below(25), self.size());
        let everybody: Vec<(AnyId, u64, Rc<RefCell<Ledger>>)> = self
            .connections
            .iter()
            .map(|c| (c.id.any(), c.stream, Rc::clone(&c.ledger)))
            .collect();
        let connection = &mut self.connections[which];
        match choice {
            0..4 => {
                let bytes = bytes_at(connection.stream | 1 << 31, connection.written, size);
                match connection.peer.as_mut().map(|peer| peer.write(&bytes)) {
                    Some(Ok(count)) => connection.written += count,
                    Some(Err(error)) if error.kind() != io::ErrorKind::WouldBlock => {
                        // The kernel reports a reset once, and a read after that looks like the end.
                        connection.end.get_or_insert(Err(error));
                    }
                    _ => {}
                }
                return;
            }
            4..8 => {
                connection.peer_reads(size);
                return;
            }
            8 => {
                if let Some(peer) = &connection.peer {
                    peer.shutdown();
                }
                return;
            }
            9 if size % 3 == 0 => {
                connection.peer = None;
                return;
            }
            9 if size % 3 == 1 => {
                if let Some(Peer::Tcp(peer)) = connection.peer.take() {
                    reset(peer);
                }
                return;
            }
            10..13 => return turn_for(&mut self.reactor, Duration::ZERO),
            _ => {}
        }
        let (stream, ledger) = (connection.stream, Rc::clone(&connection.ledger));
        let Some(mut cx) = self.reactor.at(connection.id) else {
            return;
        };
        match choice {
            13..16 => send(&mut cx, stream, &ledger, size),
            16 => cx.pause_reading(),
            17 => cx.resume_reading(),
            18 => cx.feeds(other),
            19 => {
                cx.set_timer(Duration::from_micros(size as u64 % 500));
            }
            20 if size % 2 == 0 => cx.close(),
            20 => cx.close_when_done(),
            21 if size % 3 == 0 => cx.abort(),
            21 if size % 3 == 1 => cx.abort_when_sent(),
            21 => cx.shutdown_write(),
            22 => {
                let cap = cx.hard_cap().max(cx.queued()).max(2);
                cx.set_marks(1 + size % cap / 2, cap / 2 + 1, cap)
                    .unwrap_or_default();
            }
            23 => cx.set_priority([Priority::High, Priority::Normal, Priority::Low][size % 3]),
            _ => {
                // Each stream has bytes of its own, so a broadcast here is a send to several.
                for (id, stream, ledger) in everybody {
                    if let Some(mut cx) = cx.at(id) {
                        send(&mut cx, stream, &ledger, size % 3000);
                    }
                }
            }
        }
    }

    /// Sorts out the connections whose dispatcher has closed and whose peer has seen its end.
    fn sort_out(&mut self) {
        for index in (0..self.connections.len()).rev() {
            let connection = &self.connections[index];
            let over = connection.peer.is_none() || connection.end.is_some();
            if over && connection.ledger.borrow().closes > 0 {
                self.finished.push(self.connections.swap_remove(index));
            }
        }
    }

    /// Everything comes to its end: the program closes gracefully, or cuts off; the peers read all.
    fn finish(&mut self) {
        match self.below(3) {
            0 => self.reactor.close_all(),
            _ => {
                for connection in &self.connections {
                    if let Some(mut cx) = self.reactor.at(connection.id) {
                        cx.feeds_nobody();
                        cx.close();
                    }
                }
            }
        }
        let mut idle = 0;
        while !self.connections.is_empty() {
            turn_for(&mut self.reactor, Duration::from_millis(1));
            let mut came = false;
            for connection in &mut self.connections {
                while connection.peer_reads(100_000) {
                    came = true;
                }
                if let (Some(peer), true) = (&connection.peer, connection.end.is_some()) {
                    peer.shutdown();
                }
            }
            self.sort_out();
            idle = if came { 0 } else { idle + 1 };
            assert!(idle < 5_000, "it hangs: {:?}", self.reactor);
        }
        turn_for(&mut self.reactor, Duration::ZERO);
        assert_eq!(self.reactor.count(), 0);
        assert_eq!(self.reactor.memory().0, 0, "no byte is left behind");
        let counters = self.reactor.counters();
        assert_eq!(counters.ends.total(), counters.added);
        for connection in &self.finished {
            connection.check();
        }
    }
}

fn play(seed: u64) {
    let mut program = Program::new(seed);
    for _ in 0..STEPS {
        program.step();
        program.sort_out();
    }
    program.finish();
}

#[test]
fn no_random_program_loses_reorders_or_invents_a_byte_or_a_callback() {
    let seeds = std::env::var("SLABLOOP_SEEDS").ok().map_or(SEEDS, |text| {
        let (from, to) = text.split_once("..").expect("SLABLOOP_SEEDS=FROM..TO");
        from.parse().expect("a number")..to.parse().expect("a number")
    });
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| play(seed));
        if let Err(payload) = outcome {
            eprintln!(
                "seed {seed}: SLABLOOP_SEEDS={seed}..{} plays it again",
                seed + 1
            );
            std::panic::resume_unwind(payload);
        }
    }
}
