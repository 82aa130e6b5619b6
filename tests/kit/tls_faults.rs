//! TLS when things go wrong: bytes that come one at a time, streams that are cut anywhere, peers that send rubbish, take
//! nothing, or never finish.

#[path = "../util/log_lines.rs"]
mod log_lines;
#[path = "util/tls.rs"]
mod setup;
#[path = "../util/mod.rs"]
mod util;
#[path = "../util/wire.rs"]
mod wire;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use setup::*;
use slabloop::testing::SimClock;
use slabloop::tls::rustls::version::{TLS12, TLS13};
use slabloop::{Context, Dispatcher, Id, Reactor, Timeout};
use util::pattern;

/// Writes down what it is told, and keeps its side open when the peer has ended.
#[derive(Clone, Default)]
struct Noting {
    notes: Notes,
    got: Rc<RefCell<Vec<u8>>>,
}

impl Noting {
    fn notes(&self) -> Vec<String> {
        self.notes.borrow().clone()
    }
}

impl Dispatcher for Noting {
    fn handle_connect(&mut self, _: &mut Context<'_>) -> io::Result<()> {
        self.notes.borrow_mut().push("connect".to_owned());
        Ok(())
    }

    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut bytes = [0; 4096];
        let count = cx.recv(&mut bytes)?;
        self.got.borrow_mut().extend_from_slice(&bytes[..count]);
        Ok(())
    }

    fn handle_eof(&mut self, _: &mut Context<'_>) -> io::Result<()> {
        self.notes.borrow_mut().push("eof".to_owned());
        Ok(())
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        let note = format!("{:?}: {error}", error.kind());
        self.notes.borrow_mut().push(note);
        cx.close();
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        let cause = cx.end_cause().expect("it has ended");
        self.notes.borrow_mut().push(format!("{cause:?}"));
    }
}

/// A connection whose handshake is through, and whose wire takes `room` bytes.
fn greeted(reactor: &mut Reactor, configs: &Configs, room: usize) -> (Peer, Id<Noting>, Noting) {
    let noting = Noting::default();
    let mut peer = Peer::new(configs);
    let id = peer.add(reactor, configs, noting.clone());
    peer.greet(reactor, id, room);
    (peer, id, noting)
}

/// A reactor whose stall, close and idle timeouts are ten seconds, of simulated time.
fn with_timeouts() -> (SimClock, Reactor) {
    let clock = SimClock::new();
    let limit = Duration::from_secs(10);
    let reactor = Reactor::builder()
        .clock(clock.clone())
        .stall_timeout(limit)
        .close_timeout(limit)
        .idle_timeout(limit)
        .build()
        .expect("a reactor");
    (clock, reactor)
}

#[test]
fn a_peer_that_takes_a_part_of_a_record_at_a_time_is_neither_stalled_nor_idle() {
    for version in BOTH {
        for closes in [false, true] {
            let configs = configs(version);
            let (clock, mut reactor) = with_timeouts();
            let (mut peer, id, noting) = greeted(&mut reactor, &configs, 0);
            let message = pattern(3, 40_000);
            let mut cx = reactor.at(id).expect("open");
            cx.send(&message).expect("room");
            if closes {
                cx.close();
            }
            come_to_rest(&mut reactor);
            let mut got = Vec::new();
            while got.len() < message.len() {
                clock.advance(Duration::from_secs(9));
                peer.wire.make_room(&mut reactor, id, 1000);
                come_to_rest(&mut reactor);
                assert_eq!(noting.notes(), [""; 0], "after {} bytes", peer.wire.taken());
                got.extend(peer.hear());
            }
            assert!(got == message);
        }
    }
}

#[test]
fn a_peer_that_sends_a_part_of_a_record_at_a_time_is_not_idle() {
    for version in BOTH {
        let configs = configs(version);
        let (clock, mut reactor) = with_timeouts();
        let (mut peer, id, noting) = greeted(&mut reactor, &configs, 0);
        for piece in peer.encrypt(&pattern(4, 10_000)).chunks(1000) {
            clock.advance(Duration::from_secs(9));
            peer.wire.input(&mut reactor, id, piece);
            come_to_rest(&mut reactor);
            assert_eq!(noting.notes(), [""; 0], "{} bytes left", peer.wire.unread());
        }
        assert!(*noting.got.borrow() == pattern(4, 10_000));
        clock.advance(Duration::from_secs(10));
        come_to_rest(&mut reactor);
        assert!(noting.notes()[0].contains("idle"), "{:?}", noting.notes());
    }
}

#[test]
fn a_peer_that_takes_nothing_ends_at_the_stall_timeout() {
    for version in BOTH {
        let configs = configs(version);
        let (clock, mut reactor) = with_timeouts();
        let (peer, id, noting) = greeted(&mut reactor, &configs, 0);
        let mut cx = reactor.at(id).expect("open");
        cx.set_timeout(Timeout::Idle, None);
        cx.send(b"hello").expect("room");
        come_to_rest(&mut reactor);
        // A part of the record, and then nothing more.
        clock.advance(Duration::from_secs(9));
        peer.wire.make_room(&mut reactor, id, 3);
        come_to_rest(&mut reactor);
        clock.advance(Duration::from_millis(9_999));
        come_to_rest(&mut reactor);
        assert_eq!(noting.notes(), [""; 0]);
        clock.advance(Duration::from_millis(2));
        come_to_rest(&mut reactor);
        assert_eq!(noting.notes()[1..], ["Stalled { unsent: 5 }"]);
    }
}
