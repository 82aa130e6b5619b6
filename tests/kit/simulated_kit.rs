//! Parts of the kit on the simulated kernel, unchanged: whatever goes wrong there, a reconnecting client has one
//! connection at most and gets one again, and TLS gives no peer a wrong byte nor a part for the whole.
//!
//! `SLABLOOP_SIM_SEEDS=FROM..TO` plays these seeds.

#[path = "../util/noting.rs"]
mod noting;
#[path = "util/tls.rs"]
mod setup;
#[path = "../sim/mod.rs"]
mod sim;
#[path = "../util/mod.rs"]
mod util;
#[path = "../util/wire.rs"]
mod wire;

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sim::kernel::{Kernel, address_of, bytes_at};
use sim::stage::Stage;
use slabloop::kit::retry::{Backoff, Reconnect};
use slabloop::tls::Acceptor;
use slabloop::tls::rustls::ClientConnection;
use slabloop::tls::rustls::pki_types::ServerName;
use slabloop::{Accepted, Context, Dispatcher, Reactor, Socket};

fn seeds() -> std::ops::Range<u64> {
    let asked = std::env::var("SLABLOOP_SIM_SEEDS").ok();
    asked.map_or(0..40, |text| {
        let (from, to) = text.split_once("..").expect("SLABLOOP_SIM_SEEDS=FROM..TO");
        from.parse().expect("a number")..to.parse().expect("a number")
    })
}

/// How many connections are open, are there in any state, and have ever been established.
#[derive(Default)]
struct Tally {
    open: Cell<u32>,
    there: Cell<u32>,
    established: Cell<u32>,
}

struct Client {
    tally: Rc<Tally>,
    is_open: bool,
}

impl Client {
    fn new(tally: &Rc<Tally>) -> Client {
        tally.there.set(tally.there.get() + 1);
        Client {
            tally: Rc::clone(tally),
            is_open: false,
        }
    }
}

impl Dispatcher for Client {
    fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.is_open = true;
        self.tally.open.set(self.tally.open.get() + 1);
        self.tally.established.set(self.tally.established.get() + 1);
        cx.send(b"it is me again")
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.tally.there.set(self.tally.there.get() - 1);
        let open = self.tally.open.get() - u32::from(self.is_open);
        self.tally.open.set(open);
    }
}

#[test]
fn a_reconnecting_client_has_one_connection_at_most_and_gets_one_again() {
    let mut established = 0;
    for seed in seeds() {
        let timeout = Duration::from_secs(2);
        let mut stage = Stage::new(seed, Reactor::builder().connect_timeout(timeout));
        let tally = Rc::new(Tally::default());
        let for_dial = Rc::clone(&tally);
        // Nobody listens there; who is dialled is played by the scene.
        let keeper =
            Reconnect::new(move |cx| cx.connect(address_of(50_000), Client::new(&for_dial)))
                .backoff(Backoff::builder().seed(seed).build().expect("in range"));
        keeper.start(&mut stage.reactor).expect("a keeper");
        for _ in 0..400 {
            stage.take_servers(|_| Vec::new());
            stage.peers_act();
            if stage.below(20) == 0 {
                if let Some(peer) = stage.peers.last() {
                    let end = peer.end;
                    stage
                        .net
                        .with(|kernel| kernel.peer_closes(end, seed % 2 == 0));
                }
            }
            stage.turn(Duration::from_millis(200));
            assert!(tally.there.get() <= 1, "seed {seed}: one at a time");
        }
        stage.net.with(|kernel| kernel.calm = true);
        let mut turns = 0;
        while tally.open.get() == 0 {
            stage.turn(Duration::from_secs(3_600));
            turns += 1;
            let reactor = &stage.reactor;
            let attempts = tally.there.get();
            assert!(
                turns < 1_000,
                "seed {seed}: it gets no connection again; {attempts} under way, {reactor:?}"
            );
        }
        established += tally.established.get();
    }
    println!("{established} connections");
}

/// Sends back what it gets.
struct Echo;

impl Dispatcher for Echo {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_with(|bytes, cx| cx.send(bytes))
    }
}

struct Secure(Acceptor);

impl Dispatcher for Secure {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let layer = self.0.session()?;
        cx.add(Socket::from(accepted).layered(layer), Echo)?;
        Ok(())
    }
}

/// A client of rustls' own, at the far end of a simulated stream.
struct SecurePeer {
    end: usize,
    connection: ClientConnection,
    says: Vec<u8>,
    said: usize,
    /// Encrypted, and not taken by the kernel yet.
    pending: Vec<u8>,
    heard: Vec<u8>,
    /// The other side has said that this was all.
    is_told_the_end: bool,
    has_said_the_end: bool,
}

impl SecurePeer {
    /// Does what it can: sends up to `most` bytes, reads up to `most`.
    fn act(&mut self, stage: &Stage, most: usize) {
        if !self.connection.is_handshaking() && self.said < self.says.len() {
            let rest = &self.says[self.said..];
            let rest = &rest[..most.min(rest.len())];
            self.said += self.connection.writer().write(rest).expect("memory");
        }
        if self.said == self.says.len() && !self.has_said_the_end {
            self.connection.send_close_notify();
            self.has_said_the_end = true;
        }
        while self.connection.wants_write() {
            self.connection
                .write_tls(&mut self.pending)
                .expect("memory");
        }
        let (end, part) = (self.end, most.min(self.pending.len()));
        let taken = stage
            .net
            .with(|kernel| kernel.peer_sends(end, &self.pending[..part]));
        self.pending.drain(..taken);
        let got = stage.net.with(|kernel| kernel.peer_reads(end, most));
        let mut got = &got[..];
        while !got.is_empty() {
            if self.connection.read_tls(&mut got).is_err() {
                return;
            }
            let Ok(state) = self.connection.process_new_packets() else {
                // What it was sent was cut, not changed.
                panic!("{end}: it is sent what is no TLS");
            };
            self.is_told_the_end |= state.peer_has_closed();
            let mut plain = vec![0; state.plaintext_bytes_to_read()];
            self.connection
                .reader()
                .read_exact(&mut plain)
                .expect("it is there");
            self.heard.extend(plain);
        }
    }
}

#[test]
fn tls_gives_no_wrong_byte_and_no_part_for_the_whole() {
    let (mut whole, mut all) = (0, 0);
    let configs = setup::configs_of(&setup::BOTH);
    for seed in seeds() {
        let mut stage = Stage::new(seed, Reactor::builder().high_mark(4_000));
        let listener = stage.net.with(Kernel::listener);
        let socket = stage.net.socket(listener);
        let secure = Secure(Acceptor::new(Arc::clone(&configs.server)));
        let calm = |stage: &Stage, calm| {
            stage
                .net
                .with(|kernel| std::mem::replace(&mut kernel.calm, calm))
        };
        stage.net.with(|kernel| kernel.is_frugal = false);
        calm(&stage, true);
        stage.reactor.add(socket, secure).expect("a listener");
        calm(&stage, false);
        let mut peers: Vec<SecurePeer> = Vec::new();
        for turn in 0..300 {
            if turn % 40 == 0 {
                if let Some(end) = stage.net.with(|kernel| kernel.client_connects(listener)) {
                    let name = ServerName::try_from("localhost").expect("a name");
                    let connection = ClientConnection::new(Arc::clone(&configs.client), name);
                    peers.push(SecurePeer {
                        end,
                        connection: connection.expect("a config"),
                        says: bytes_at(end, 0, stage.below(30_000)),
                        said: 0,
                        pending: Vec::new(),
                        heard: Vec::new(),
                        is_told_the_end: false,
                        has_said_the_end: false,
                    });
                }
            }
            for peer in &mut peers {
                if stage.below(3) > 0 {
                    let most = 1 + stage.below(5_000);
                    peer.act(&stage, most);
                }
            }
            stage.turn(Duration::from_millis(20));
        }
        stage.net.with(|kernel| {
            kernel.calm = true;
            kernel.widen();
        });
        for _ in 0..400 {
            for peer in &mut peers {
                peer.act(&stage, 100_000);
            }
            stage.turn(Duration::from_millis(20));
        }
        for peer in &peers {
            let (got, said) = (peer.heard.len(), peer.said);
            assert!(
                peer.heard == peer.says[..got],
                "seed {seed}: {} gets back other bytes",
                peer.end
            );
            if peer.is_told_the_end && peer.has_said_the_end {
                assert_eq!(got, said, "seed {seed}: an end is behind the whole answer");
                whole += 1;
            }
            all += 1;
        }
    }
    println!("{whole} of {all} answers are whole");
    assert!(whole * 4 > all, "most seeds are calm enough");
}
