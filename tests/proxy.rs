//! The proxy of the examples, its own dispatchers: half-close, back-pressure, talking before the
//! upstream is there, and a leg that dies.
//!
//! Both peers of a session are in the test's hands, non-blocking, and are served in between turns, so
//! that who comes first is the test's choice. Kernel buffers are 4 KiB on every socket of a session. With the
//! feature `tls` both sides of the proxy speak TLS.

#[cfg_attr(feature = "tls", path = "util/tls.rs")]
#[cfg_attr(not(feature = "tls"), path = "util/plain.rs")]
mod over;
#[path = "../examples/proxy.rs"]
#[allow(dead_code, reason = "its main and its command line")]
mod proxy;
mod util;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use proxy::common::{Dialer, Tls};
use proxy::{Front, Upstream};
use slabloop::testing::SimClock;
use slabloop::{AnyId, Builder, Reactor, SocketOptions};
use socket2::{Domain, SockRef, Socket, Type};
use util::*;

const NARROW: usize = 4096;
const HIGH: usize = 64 * 1024;
const LOW: usize = 32 * 1024;
/// What a leg reads in one callback.
const ONE_READ: usize = 128 * 1024;
const PENDING: usize = 4_000_000;
const BOTH_WAYS: usize = 1_000_000;

// ---------------------------------------------------------------------------------------------------
// A proxy and its peers.

/// One of the two ends that the proxy stands between.
struct Peer {
    stream: over::Peer<TcpStream>,
    out: Vec<u8>,
    sent: usize,
    received: Vec<u8>,
    /// The end of what it receives: clean, or an error.
    end: Option<Result<(), ErrorKind>>,
    /// What a write was told. The kernel tells a reset once, to whichever call comes first, and then
    /// lets the read say zero.
    write_failed: Option<ErrorKind>,
    reads: bool,
}

impl Peer {
    fn client(stream: TcpStream) -> Peer {
        Peer::new(over::client(stream))
    }

    fn server(stream: TcpStream) -> Peer {
        Peer::new(over::server(stream))
    }

    fn new(stream: over::Peer<TcpStream>) -> Peer {
        stream.set_nonblocking(true).expect("a socket");
        Peer {
            stream,
            out: Vec::new(),
            sent: 0,
            received: Vec::new(),
            end: None,
            write_failed: None,
            reads: true,
        }
    }

    fn sends(&mut self, bytes: Vec<u8>) {
        self.out = bytes;
    }

    fn has_sent_all(&self) -> bool {
        self.sent == self.out.len()
    }

    fn finish(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// How far it has come.
    fn progress(&self) -> (usize, usize, bool, usize) {
        let moved = over::moved_below(&self.stream);
        (self.sent, self.received.len(), self.end.is_some(), moved)
    }

    /// Writes and reads once each, as far as the kernel lets it. Whether any byte moved.
    fn pump(&mut self) -> bool {
        let before = self.progress();
        let written = match self.has_sent_all() {
            true => self.stream.flush().map(|()| 0),
            false => self.stream.write(&self.out[self.sent..]),
        };
        match written {
            Ok(n) => self.sent += n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => {
                self.write_failed.get_or_insert(error.kind());
                self.sent = self.out.len();
            }
        }
        if self.reads && self.end.is_none() {
            let mut chunk = [0; 4 * NARROW];
            let told_before = |end| self.write_failed.map_or(end, Err);
            match self.stream.read(&mut chunk) {
                Ok(0) => self.end = Some(told_before(Ok(()))),
                Ok(n) => self.received.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => self.end = Some(told_before(Err(error.kind()))),
            }
        }
        before != self.progress()
    }

    fn reset(self) {
        over::reset(self.stream);
    }
}

/// The proxy's side towards its clients.
fn tls() -> Tls {
    #[cfg(feature = "tls")]
    return over::acceptor().into();
    #[cfg(not(feature = "tls"))]
    Tls::default()
}

/// The proxy's side towards its upstreams.
fn dialer() -> Dialer {
    #[cfg(feature = "tls")]
    return Dialer::tls(over::connector(), over::NAME).expect("a name");
    #[cfg(not(feature = "tls"))]
    Dialer::default()
}

struct Rig {
    reactor: Reactor,
    front: SocketAddr,
}

impl Rig {
    fn new(builder: &Builder, upstreams: Vec<SocketAddr>) -> Rig {
        let one_each = upstreams.into_iter().map(|address| vec![address]);
        Rig::with_addresses(builder, one_each.collect())
    }

    /// With upstreams of several addresses each.
    fn with_addresses(builder: &Builder, upstreams: Vec<Vec<SocketAddr>>) -> Rig {
        let mut reactor = builder.build().expect("good settings");
        let upstreams = upstreams.into_iter().map(|addresses| Upstream {
            addresses,
            dialer: dialer(),
        });
        let front = Front {
            upstreams: upstreams.collect(),
            tls: tls(),
            ..Front::default()
        };
        let mut options = SocketOptions::new();
        options.send_buffer(NARROW).receive_buffer(NARROW);
        let id = reactor
            .listen_with("127.0.0.1:0", &options, front)
            .expect("a free port");
        let front = reactor.local_addr(id).expect("a listener has an address");
        Rig { reactor, front }
    }

    fn client(&self) -> Peer {
        let socket = narrow_socket();
        socket
            .connect(&self.front.into())
            .expect("loopback connects");
        Peer::client(socket.into())
    }

    /// A session of which all three connections stand: the client, the server, and the proxy's legs to
    /// each of them.
    fn session(&mut self, upstream: &TcpListener) -> (Peer, Peer, [AnyId; 2]) {
        let client = self.client();
        let before = self.legs();
        upstream.set_nonblocking(true).expect("a socket");
        let mut server = None;
        turn_until(&mut self.reactor, "the session", |_| {
            server = server
                .take()
                .or_else(|| upstream.accept().ok().map(|(server, _)| server));
            server.is_some()
        });
        let mut client = client;
        let mut server = Peer::server(server.expect("it was waited for"));
        let mut peers = [&mut client, &mut server];
        self.turn_until("the handshakes", &mut peers, |_, peers| {
            peers.iter().all(|peer| over::is_ready(&peer.stream))
        });
        settle(&mut self.reactor);
        let mut legs = self.legs();
        legs.retain(|leg| !before.contains(leg));
        assert_eq!(legs.len(), 2, "two legs");
        // The leg to the client knows the client's address.
        let address = client.stream.local_addr().expect("connected");
        legs.sort_by_key(|&leg| self.reactor.at(leg).and_then(|leg| leg.peer()) != Some(address));
        let [to_client, to_server] = [legs[0], legs[1]];
        // The other one has its buffers from the listener.
        self.reactor.narrow(to_server, NARROW).expect("tcp");
        (client, server, [to_client, to_server])
    }

    /// All dispatchers but the listener.
    fn legs(&self) -> Vec<AnyId> {
        let all = self.reactor.outboxes();
        all.into_iter().skip(1).map(|(id, _)| id).collect()
    }

    /// Turns, with both peers served in between, until `done`; no outbox may hold more than the mark
    /// and one read at any step.
    #[track_caller]
    fn turn_until(
        &mut self,
        what: &str,
        peers: &mut [&mut Peer],
        mut done: impl FnMut(&Reactor, &mut [&mut Peer]) -> bool,
    ) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let moved = pump_all(peers);
            bounded(&self.reactor);
            if done(&self.reactor, peers) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "waited too long for: {what}; {:?}",
                self.reactor
            );
            // As long as the peers have something to do, the loop must not sleep.
            turn_for(
                &mut self.reactor,
                Duration::from_millis(if moved { 0 } else { 2 }),
            );
        }
    }

    /// Serves the peers until as much as this is queued on a leg: with a sink that does not read and
    /// buffers this small, the kernel may think it over for a while.
    #[track_caller]
    fn fill(&mut self, leg: AnyId, peers: &mut [&mut Peer]) {
        self.turn_until("a full outbox", peers, |reactor, _| {
            queued(reactor, leg) > HIGH
        });
    }

    /// Turns until nothing moves any more, at the peers either.
    fn come_to_rest(&mut self, peers: &mut [&mut Peer]) {
        loop {
            settle(&mut self.reactor);
            bounded(&self.reactor);
            if !pump_all(peers) {
                return;
            }
        }
    }

    #[track_caller]
    fn all_legs_gone(&mut self) {
        turn_until(&mut self.reactor, "both legs to close", |reactor| {
            reactor.count() == 1
        });
        assert_eq!(self.reactor.memory().0, 0, "nothing is queued for nobody");
    }
}

/// Whether any byte moved.
fn pump_all(peers: &mut [&mut Peer]) -> bool {
    let mut moved = false;
    for peer in peers {
        moved |= peer.pump();
    }
    moved
}

fn queued(reactor: &Reactor, leg: AnyId) -> usize {
    let outboxes = reactor.outboxes();
    let found = outboxes.iter().find(|(id, _)| *id == leg);
    found.map_or(0, |(_, queued)| *queued)
}

#[track_caller]
fn bounded(reactor: &Reactor) {
    for (id, queued) in reactor.outboxes() {
        assert!(queued <= HIGH + ONE_READ, "{queued} bytes queued on {id}");
    }
}

fn narrow_socket() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor");
    socket.set_send_buffer_size(NARROW).expect("tcp");
    socket.set_recv_buffer_size(NARROW).expect("tcp");
    socket
}

/// A server that the test accepts for. What it accepts has its buffers.
fn upstream() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let socket = SockRef::from(&listener);
    socket.set_send_buffer_size(NARROW).expect("tcp");
    socket.set_recv_buffer_size(NARROW).expect("tcp");
    let address = listener.local_addr().expect("a listener has an address");
    (listener, address)
}

/// A bound socket that nobody listens on: whoever connects is refused.
fn closed_port() -> (Socket, SocketAddr) {
    let socket = narrow_socket();
    socket
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .expect("a free port");
    let address = socket.local_addr().expect("bound").as_socket();
    (socket, address.expect("inet"))
}

// ---------------------------------------------------------------------------------------------------
// Half-close.

#[derive(Clone, Copy, Debug, PartialEq)]
enum First {
    Client,
    Server,
    Both,
}

/// The peer that is first sends its end of stream with its bytes still under way; the other one sends
/// its own only when it has seen that. Passed on too early it would cut off bytes, withheld it would
/// have both wait for ever.
fn half_close(first: First, to_server: usize, to_client: usize) {
    let (listener, address) = upstream();
    let mut rig = Rig::new(&Reactor::builder(), vec![address]);
    let (mut client, mut server, legs) = rig.session(&listener);
    client.sends(pattern(1, to_server));
    server.sends(pattern(2, to_client));
    (client.reads, server.reads) = (false, false);
    for (leg, pending) in [(legs[1], to_server), (legs[0], to_client)] {
        if pending > 0 {
            rig.fill(leg, &mut [&mut client, &mut server]);
        }
    }
    (client.reads, server.reads) = (true, true);
    let mut shut = [false; 2];
    let mut peers = [&mut client, &mut server];
    rig.turn_until("both ends of stream", &mut peers, |_, peers| {
        for me in 0..2 {
            let begins = first == First::Both || (first == First::Client) == (me == 0);
            let may = begins || peers[me].end.is_some();
            if may && peers[me].has_sent_all() && !shut[me] {
                peers[me].finish();
                shut[me] = true;
            }
        }
        peers.iter().all(|peer| peer.end.is_some())
    });
    let case = (first, to_server, to_client);
    assert_eq!((client.end, server.end), (Some(Ok(())), Some(Ok(()))));
    assert!(server.received == client.out, "all bytes: {case:?}");
    assert!(client.received == server.out, "all bytes: {case:?}");
    rig.all_legs_gone();
}

/// nginx passed an end of stream on from one connection of a stream proxy to the other only from 1.21.4
/// on, and only where asked to. Until then one finished direction was the end of both.
#[test]
fn end_of_stream_crosses_after_the_last_byte_when_the_client_is_first() {
    half_close(First::Client, 0, 0);
    half_close(First::Client, PENDING, 0);
    half_close(First::Client, 0, PENDING);
}

#[test]
fn end_of_stream_crosses_after_the_last_byte_when_the_server_is_first() {
    half_close(First::Server, 0, 0);
    half_close(First::Server, PENDING, 0);
    half_close(First::Server, 0, PENDING);
}

#[test]
fn end_of_stream_crosses_after_the_last_byte_when_both_come_in_one_turn() {
    half_close(First::Both, 0, 0);
    half_close(First::Both, PENDING, 0);
    half_close(First::Both, 0, PENDING);
    half_close(First::Both, PENDING, PENDING);
}

#[test]
fn end_of_stream_is_not_held_back_by_the_other_direction() {
    let (listener, address) = upstream();
    let mut rig = Rig::new(&Reactor::builder(), vec![address]);
    let (mut client, mut server, _) = rig.session(&listener);
    client.sends(pattern(1, PENDING));
    server.reads = false;
    rig.come_to_rest(&mut [&mut client, &mut server]);
    server.finish();
    // The client's bytes are stuck, and yet it hears that the server has finished.
    let mut peers = [&mut client, &mut server];
    rig.turn_until("the server's end", &mut peers, |_, peers| {
        peers[0].end.is_some()
    });
    assert_eq!(client.end, Some(Ok(())));
    server.reads = true;
    let mut peers = [&mut client, &mut server];
    rig.turn_until("the client's bytes", &mut peers, |_, peers| {
        peers[1].received.len() == PENDING
    });
    client.finish();
    rig.turn_until("the client's end", &mut [&mut server], |_, peers| {
        peers[0].end.is_some()
    });
    assert!(server.received == client.out && server.end == Some(Ok(())));
    rig.all_legs_gone();
}

// ---------------------------------------------------------------------------------------------------
// Back-pressure.

/// A fast source and a slow sink meet in the proxy's memory: there it has to stop.
#[test]
fn slow_sinks_stop_their_sources_in_both_directions_at_once() {
    let (listener, address) = upstream();
    let mut rig = Rig::new(&Reactor::builder(), vec![address]);
    let (mut client, mut server, legs) = rig.session(&listener);
    client.sends(pattern(3, BOTH_WAYS));
    server.sends(pattern(4, BOTH_WAYS));
    (client.reads, server.reads) = (false, false);
    // One of them reads, until everything towards the other one has come to a stop.
    let mut reader = 0;
    let mut peers = [&mut client, &mut server];
    rig.turn_until("all bytes", &mut peers, |reactor, peers| {
        let has_all = |peer: &Peer| peer.received.len() == BOTH_WAYS;
        if has_all(peers[reader]) || queued(reactor, legs[1 - reader]) > HIGH {
            reader = 1 - reader;
        }
        peers[reader].reads = true;
        peers[1 - reader].reads = false;
        peers.iter().all(|peer| has_all(peer))
    });
    assert!(server.received == client.out && client.received == server.out);
    drop((client, server));
    rig.all_legs_gone();
}

#[test]
fn stopped_source_costs_no_turn_and_goes_on_in_the_turn_after_its_sink_is_below_the_low_mark() {
    let (listener, address) = upstream();
    let mut rig = Rig::new(&Reactor::builder(), vec![address]);
    for to_server in [true, false] {
        let (mut client, mut server, legs) = rig.session(&listener);
        let (source, sink, leg) = if to_server {
            (&mut client, &mut server, legs[1])
        } else {
            (&mut server, &mut client, legs[0])
        };
        // What is read is counted when its record is whole: a large one takes several turns in buffers this small.
        over::small_records(&mut source.stream);
        source.sends(pattern(5, PENDING));
        sink.reads = false;
        rig.fill(leg, &mut [source, sink]);
        rig.come_to_rest(&mut [source, sink]);

        // Stopped, nothing happens at all.
        let blocked = rig.reactor.counters();
        for _ in 0..20 {
            turn_for(&mut rig.reactor, Duration::ZERO);
        }
        let after = rig.reactor.counters();
        assert_eq!(
            (after.callbacks, after.writes, after.bytes_in),
            (blocked.callbacks, blocked.writes, blocked.bytes_in)
        );

        // The sink reads; the source is not read before the low mark, and is read in the turn after.
        sink.reads = true;
        loop {
            sink.pump();
            let (before, held) = (rig.reactor.counters().bytes_in, queued(&rig.reactor, leg));
            turn_for(&mut rig.reactor, Duration::from_millis(1));
            let read = rig.reactor.counters().bytes_in > before;
            assert_eq!(read, held <= LOW, "with {held} bytes queued");
            if read {
                break;
            }
        }
        drop((client, server));
        rig.all_legs_gone();
    }
}

// ---------------------------------------------------------------------------------------------------
// One leg is not there yet.

/// A listener whose queue is full: attempts get no answer until somebody accepts, which is seen at the
/// attempt's next try, about a second later.
struct Silent {
    listener: Socket,
    address: SocketAddr,
    waiting: Vec<Socket>,
}

impl Silent {
    fn new() -> Silent {
        let (listener, address) = closed_port();
        listener.listen(1).expect("bound");
        let waiting = (0..4)
            .map(|_| {
                let socket = narrow_socket();
                socket.set_nonblocking(true).expect("a socket");
                let _in_progress = socket.connect(&address.into());
                socket
            })
            .collect();
        listener.set_nonblocking(true).expect("a socket");
        Silent {
            listener,
            address,
            waiting,
        }
    }

    /// Makes room in the queue.
    fn wakes_up(&self) {
        self.listener.listen(128).expect("it listens");
    }

    /// Whoever has come through, but those that fill the queue.
    fn accept(&mut self) -> Option<Peer> {
        let (socket, from) = self.listener.accept().ok()?;
        let is_filler = self.waiting.iter().any(|filler| {
            filler
                .local_addr()
                .is_ok_and(|own| own.as_socket() == from.as_socket())
        });
        (!is_filler).then(|| Peer::server(socket.into()))
    }
}

/// What a client does while its upstream is being connected to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Early {
    Data,
    DataThenEnd,
    DataThenReset,
    End,
    Reset,
}

const EARLY: [Early; 5] = [
    Early::Data,
    Early::DataThenEnd,
    Early::DataThenReset,
    Early::End,
    Early::Reset,
];

const EARLY_BYTES: usize = 1_000_000;
/// What fits before the upstream is there.
const FEW_BYTES: usize = 10_000;

/// One client of each kind, each with its session still without an upstream; those that reset are gone.
fn early_clients(rig: &mut Rig) -> Vec<(Early, Peer)> {
    let mut clients = Vec::new();
    for (stream, early) in (10..).zip(EARLY) {
        let mut client = rig.client();
        client.sends(match early {
            Early::Data => pattern(stream, EARLY_BYTES),
            Early::DataThenEnd | Early::DataThenReset => pattern(stream, FEW_BYTES),
            Early::End | Early::Reset => Vec::new(),
        });
        rig.turn_until("the early bytes", &mut [&mut client], |reactor, peers| {
            let stuck = reactor.outboxes().iter().any(|(_, queued)| *queued > HIGH);
            peers[0].has_sent_all() || stuck
        });
        rig.come_to_rest(&mut [&mut client]);
        match early {
            Early::Data => assert!(!client.has_sent_all(), "what is held is bounded"),
            Early::DataThenEnd | Early::End => client.finish(),
            Early::DataThenReset | Early::Reset => {
                client.reset();
                continue;
            }
        }
        clients.push((early, client));
    }
    settle(&mut rig.reactor);
    clients
}

#[test]
fn what_clients_do_before_their_upstream_is_there_reaches_it_when_it_is() {
    let mut silent = Silent::new();
    let mut rig = Rig::new(&Reactor::builder(), vec![silent.address]);
    let mut clients = early_clients(&mut rig);
    // Whoever reset without a byte sent has taken its attempt along.
    assert_eq!(rig.legs().len(), 2 * clients.len() + 1);

    silent.wakes_up();
    let mut servers: Vec<Peer> = Vec::new();
    turn_until(&mut rig.reactor, "all sessions to end", |reactor| {
        servers.extend(silent.accept());
        for server in &mut servers {
            server.pump();
            if server.end == Some(Ok(())) && server.out.is_empty() {
                server.sends(b"answer".to_vec());
            }
            if server.end.is_some() && server.has_sent_all() {
                server.finish();
            }
        }
        for (early, client) in &mut clients {
            client.pump();
            if *early == Early::Data && client.has_sent_all() {
                client.finish();
            }
        }
        bounded(reactor);
        reactor.count() == 1
    });
    for (early, client) in &mut clients {
        while client.pump() {}
        assert_eq!(client.end, Some(Ok(())), "{early:?}");
        assert_eq!(client.received, b"answer", "{early:?}");
        assert!(
            servers
                .iter()
                .any(|server| server.received == client.out && server.end == Some(Ok(()))),
            "all bytes in order, then the end: {early:?}"
        );
    }
    // The one that sent something and broke: never a clean end.
    let broken = pattern(12, FEW_BYTES);
    let cut: Vec<_> = servers
        .iter()
        .filter(|server| server.end != Some(Ok(())))
        .collect();
    assert_eq!(cut.len(), 1);
    assert_eq!(cut[0].end, Some(Err(ErrorKind::ConnectionReset)));
    assert!(broken.starts_with(&cut[0].received));
}

/// A client whose upstream could not be reached sees a reset: a clean end would be an empty answer.
fn clients_are_reset(rig: &mut Rig, clients: Vec<(Early, Peer)>) {
    let mut clients = clients;
    turn_until(&mut rig.reactor, "the ends", |reactor| {
        for (early, client) in &mut clients {
            client.pump();
            if *early == Early::Data && client.end.is_some() {
                client.finish();
            }
        }
        bounded(reactor);
        reactor.count() == 1
    });
    for (early, client) in &mut clients {
        while client.pump() {}
        assert_eq!(
            client.end,
            Some(Err(ErrorKind::ConnectionReset)),
            "{early:?}"
        );
        assert!(client.received.is_empty());
    }
    assert_eq!(rig.reactor.memory().0, 0);
}

#[test]
fn clients_of_an_upstream_that_refuses_in_the_end_are_reset() {
    let silent = Silent::new();
    let mut rig = Rig::new(&Reactor::builder(), vec![silent.address]);
    let clients = early_clients(&mut rig);
    drop(silent);
    clients_are_reset(&mut rig, clients);
}

#[test]
fn clients_of_an_upstream_that_never_answers_are_reset_at_the_deadline() {
    let silent = Silent::new();
    let clock = SimClock::new();
    let mut builder = Reactor::builder();
    builder
        .connect_timeout(Duration::from_secs(10))
        .clock(clock.clone());
    let mut rig = Rig::new(&builder, vec![silent.address]);
    let clients = early_clients(&mut rig);
    let legs = rig.legs().len();
    clock.advance(Duration::from_secs(10) - Duration::from_nanos(1));
    turn(&mut rig.reactor);
    assert_eq!(rig.legs().len(), legs, "not before the deadline");
    clock.advance(Duration::from_nanos(1));
    clients_are_reset(&mut rig, clients);
}

/// Serves a client that ends as soon as it has sent all, which is at once if it need not shake hands first. Only one
/// that waits for an answer is still there afterwards.
fn hurry(mut client: Peer, early: Early) -> Option<Peer> {
    client.pump();
    if !client.has_sent_all() {
        return Some(client);
    }
    match early {
        Early::DataThenReset | Early::Reset => {
            client.reset();
            None
        }
        Early::DataThenEnd | Early::End => {
            client.finish();
            Some(client)
        }
        Early::Data => None,
    }
}

/// Everything a client can do comes before the proxy's first look at it (with TLS, at what it sends behind the
/// handshake); the upstreams are, in turn, one that answers, one that refuses, and one that resets at once.
#[test]
fn two_thousand_hasty_sessions_leave_no_leg_behind() {
    let (good, good_address) = upstream();
    let (bad, bad_address) = upstream();
    let (_bound, closed_address) = closed_port();
    good.set_nonblocking(true).unwrap();
    bad.set_nonblocking(true).unwrap();
    let addresses = vec![good_address, closed_address, bad_address];
    let mut rig = Rig::new(&Reactor::builder(), addresses);
    for round in 0..2000 {
        let early = EARLY[round % EARLY.len()];
        let mut client = rig.client();
        if !matches!(early, Early::End | Early::Reset) {
            client.sends(pattern(1, 1000));
        }
        let mut client = Some(client);
        let mut server: Option<Peer> = None;
        turn_until(&mut rig.reactor, "the session to end", |reactor| {
            client = client.take().and_then(|client| hurry(client, early));
            if let Ok((hasty, _)) = bad.accept() {
                reset(hasty);
            }
            if let Ok((stream, _)) = good.accept() {
                server = Some(Peer::server(stream));
            }
            if let Some(server) = &mut server {
                server.pump();
                if server.end.is_some() {
                    server.finish();
                }
            }
            reactor.count() == 1 && reactor.counters().accepted > round as u64
        });
    }
    assert_eq!(rig.reactor.memory().0, 0);
    assert_eq!(rig.reactor.timer_count(), 0);
}

// ---------------------------------------------------------------------------------------------------
// One leg dies.

#[derive(Clone, Copy, Debug, PartialEq)]
enum Breaks {
    Client,
    Server,
}

/// The state of the session at the moment of the reset, as seen from the peer that survives.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Moment {
    /// Nothing is under way.
    Empty,
    /// The outbox towards the survivor is full, so that the broken leg is not read.
    Full,
    /// The outbox towards the peer that breaks is full, so that the survivor's leg is not read.
    Paused,
    /// Both.
    Stuck,
    /// Fresh data from the survivor is in the same batch of events.
    Crossing,
    /// Fresh data from the one that breaks was received just before.
    Parting,
    /// The one that breaks had sent its end of stream before.
    Finished,
    /// The survivor had.
    SurvivorFinished,
}

const MOMENTS: [Moment; 8] = [
    Moment::Empty,
    Moment::Full,
    Moment::Paused,
    Moment::Stuck,
    Moment::Crossing,
    Moment::Parting,
    Moment::Finished,
    Moment::SurvivorFinished,
];

/// A reset passed on as a tidy end of stream makes a truncated file look complete.
fn break_at(breaks: Breaks, moment: Moment) {
    let (listener, address) = upstream();
    let mut rig = Rig::new(&Reactor::builder(), vec![address]);
    let (client, server, legs) = rig.session(&listener);
    let (mut survivor, mut broken) = match breaks {
        Breaks::Client => (server, client),
        Breaks::Server => (client, server),
    };
    let case = (breaks, moment);
    (survivor.reads, broken.reads) = (false, false);
    match moment {
        Moment::Empty => {}
        Moment::Full => broken.sends(pattern(6, PENDING)),
        Moment::Paused => survivor.sends(pattern(7, PENDING)),
        Moment::Stuck => {
            broken.sends(pattern(6, PENDING));
            survivor.sends(pattern(7, PENDING));
        }
        Moment::Crossing | Moment::Parting => {}
        Moment::Finished => broken.finish(),
        Moment::SurvivorFinished => survivor.finish(),
    }
    let (towards_survivor, towards_broken) = match breaks {
        Breaks::Client => (legs[1], legs[0]),
        Breaks::Server => (legs[0], legs[1]),
    };
    for (leg, peer_sends) in [
        (towards_survivor, !broken.out.is_empty()),
        (towards_broken, !survivor.out.is_empty()),
    ] {
        if peer_sends {
            rig.fill(leg, &mut [&mut survivor, &mut broken]);
        }
    }
    rig.come_to_rest(&mut [&mut survivor, &mut broken]);
    match moment {
        Moment::Crossing => survivor.sends(pattern(7, 1000)),
        Moment::Parting => broken.sends(pattern(6, 1000)),
        _ => {}
    }
    survivor.pump();
    broken.pump();
    let sent = std::mem::take(&mut broken.out);
    let held = queued(&rig.reactor, towards_survivor);
    assert_eq!(
        held > HIGH,
        matches!(moment, Moment::Full | Moment::Stuck),
        "{case:?}"
    );
    broken.reset();
    if matches!(moment, Moment::Full | Moment::Stuck) {
        // What came before the reset is kept for the survivor, without a turn wasted on it.
        settle(&mut rig.reactor);
        assert_eq!(queued(&rig.reactor, towards_survivor), held, "{case:?}");
    } else {
        // One turn to read the reset and one to pass it on; what came before it costs one more.
        let turns = if moment == Moment::Parting { 3 } else { 2 };
        for _ in 0..turns {
            turn(&mut rig.reactor);
        }
        assert_eq!(rig.reactor.count(), 1, "both legs are gone: {case:?}");
    }
    survivor.reads = true;
    let mut peers = [&mut survivor];
    rig.turn_until("the survivor's end", &mut peers, |_, peers| {
        peers[0].end.is_some()
    });
    let end = survivor.end.expect("it was waited for");
    if moment == Moment::Finished {
        // Its end of stream was the truth, and was passed on before; but nobody reads any more.
        let error = survivor.stream.write(b"more").unwrap_err();
        assert_eq!((end, error.kind()), (Ok(()), ErrorKind::BrokenPipe));
    } else {
        assert_eq!(end, Err(ErrorKind::ConnectionReset), "{case:?}");
    }
    assert!(sent.starts_with(&survivor.received), "{case:?}");
    if held > 0 {
        let missing = sent.len() - survivor.received.len();
        assert!(missing > 0, "a cut stream: {case:?}");
    }
    rig.all_legs_gone();
}

#[test]
fn reset_by_the_client_is_a_reset_for_the_server_never_a_clean_end() {
    for moment in MOMENTS {
        break_at(Breaks::Client, moment);
    }
}

#[test]
fn reset_by_the_server_is_a_reset_for_the_client_never_a_clean_end() {
    for moment in MOMENTS {
        break_at(Breaks::Server, moment);
    }
}

#[test]
fn upstream_that_resets_before_the_proxy_has_looked_is_a_reset_for_the_client() {
    let (listener, address) = upstream();
    let mut rig = Rig::new(&Reactor::builder(), vec![address]);
    for early in [&b""[..], b"hello"] {
        let mut client = rig.client();
        client.sends(early.to_vec());
        client.pump();
        // The turn that accepts has begun to connect, and the kernel has finished it.
        turn_until(&mut rig.reactor, "the two legs", |reactor| {
            reactor.count() == 3
        });
        reset(listener.accept().unwrap().0);
        rig.turn_until("the end", &mut [&mut client], |_, peers| {
            peers[0].end.is_some()
        });
        assert_eq!(client.end, Some(Err(ErrorKind::ConnectionReset)));
        rig.all_legs_gone();
    }
}

/// One session's end concerns no other.
#[test]
fn sessions_beside_a_broken_one_do_not_notice() {
    let (listener, address) = upstream();
    let mut rig = Rig::new(&Reactor::builder(), vec![address]);
    let (mut client, mut server, _) = rig.session(&listener);
    client.sends(pattern(8, 200_000));
    for breaks in [Breaks::Client, Breaks::Server] {
        let (c, s, _) = rig.session(&listener);
        match breaks {
            Breaks::Client => c.reset(),
            Breaks::Server => s.reset(),
        }
        rig.turn_until("it to be gone", &mut [], |reactor, _| reactor.count() == 3);
    }
    let mut peers = [&mut client, &mut server];
    rig.turn_until("all bytes", &mut peers, |_, peers| {
        peers[1].received.len() == peers[0].out.len()
    });
    client.finish();
    server.finish();
    rig.all_legs_gone();
    assert!(server.received == client.out);
}

/// `connect` fails at once, here for a broadcast address: the client is reset, the listener stays.
#[test]
fn upstream_that_cannot_even_be_tried_ends_that_client_and_not_the_proxy() {
    let (listener, address) = upstream();
    let nowhere = SocketAddr::from(([255, 255, 255, 255], 1));
    let mut rig = Rig::new(&Reactor::builder(), vec![nowhere, address]);
    let mut client = rig.client();
    rig.turn_until("the end", &mut [&mut client], |_, peers| {
        peers[0].end.is_some()
    });
    assert_eq!(client.end, Some(Err(ErrorKind::ConnectionReset)));
    rig.all_legs_gone();
    let (mut client, mut server, _) = rig.session(&listener);
    client.sends(b"still here".to_vec());
    let mut peers = [&mut client, &mut server];
    rig.turn_until("the bytes", &mut peers, |_, peers| {
        peers[1].received == b"still here"
    });
}

/// One that cannot even be tried, and one that refuses.
fn unreachable_addresses() -> (Socket, Vec<SocketAddr>) {
    let (keeps_the_port, refuses) = closed_port();
    let nowhere = SocketAddr::from(([255, 255, 255, 255], 1));
    (keeps_the_port, vec![nowhere, refuses, refuses, nowhere])
}

#[test]
fn upstream_is_reached_at_its_last_address_and_misses_nothing_that_was_sent_early() {
    let (listener, address) = upstream();
    listener.set_nonblocking(true).unwrap();
    let (_keeps_the_port, mut addresses) = unreachable_addresses();
    addresses.push(address);
    let mut rig = Rig::with_addresses(&Reactor::builder(), vec![addresses]);
    let mut client = rig.client();
    client.sends(pattern(7, 4 * NARROW));
    client.pump();
    let mut accepted = None;
    rig.turn_until("the session", &mut [&mut client], |_, _| {
        accepted = accepted.take().or_else(|| listener.accept().ok());
        accepted.is_some()
    });
    let mut server = Peer::server(accepted.expect("it was waited for").0);
    server.sends(b"welcome".to_vec());
    let mut peers = [&mut client, &mut server];
    rig.turn_until("the bytes", &mut peers, |_, peers| {
        peers[0].received == b"welcome" && peers[1].received == pattern(7, 4 * NARROW)
    });
    client.finish();
    server.finish();
    rig.all_legs_gone();
}

#[test]
fn client_of_an_upstream_with_no_address_left_is_reset() {
    let (_keeps_the_port, addresses) = unreachable_addresses();
    let mut rig = Rig::with_addresses(&Reactor::builder(), vec![addresses]);
    let mut client = rig.client();
    rig.turn_until("the end", &mut [&mut client], |_, peers| {
        peers[0].end.is_some()
    });
    assert_eq!(client.end, Some(Err(ErrorKind::ConnectionReset)));
    rig.all_legs_gone();
}

#[test]
fn for_a_client_that_has_gone_no_other_address_is_tried() {
    let (_keeps_the_port, refuses) = closed_port();
    let (listener, address) = upstream();
    listener.set_nonblocking(true).unwrap();
    let mut rig = Rig::with_addresses(&Reactor::builder(), vec![vec![refuses, address]]);
    for _ in 0..50 {
        rig.client().reset();
    }
    turn_until(&mut rig.reactor, "all of them to be accepted", |reactor| {
        reactor.counters().accepted + reactor.counters().accept_lost == 50
    });
    rig.all_legs_gone();
}

/// It has answered: what is wrong with it is not mended at its next address.
#[cfg(feature = "tls")]
#[test]
fn upstream_whose_handshake_fails_is_a_reset_for_the_client_and_no_other_address_is_tried() {
    let ((wrong, wrong_address), (other, other_address)) = (upstream(), upstream());
    wrong.set_nonblocking(true).unwrap();
    other.set_nonblocking(true).unwrap();
    let addresses = vec![vec![wrong_address, other_address]];
    let mut rig = Rig::with_addresses(&Reactor::builder(), addresses);
    let mut client = rig.client();
    client.sends(b"hello".to_vec());
    let mut accepted = None;
    rig.turn_until("the end", &mut [&mut client], |_, peers| {
        if let Ok((mut stream, _)) = wrong.accept() {
            stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                .unwrap();
            accepted = Some(stream);
        }
        peers[0].end.is_some()
    });
    assert!(accepted.is_some());
    assert_eq!(client.end, Some(Err(ErrorKind::ConnectionReset)));
    rig.all_legs_gone();
    assert_eq!(other.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}
