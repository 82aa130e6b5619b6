//! TLS and flow: progress in parts of records, marks, pauses, keys that change, and ends in good order.

#[path = "util/tls.rs"]
mod setup;
#[path = "../util/mod.rs"]
mod util;
#[path = "../util/wire.rs"]
mod wire;

use std::time::Duration;

use setup::*;
use slabloop::testing::SimClock;
use slabloop::{Reactor, Timeout};
use util::pattern;

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
            let (mut peer, id, noting) = Peer::listened_to(&mut reactor, &configs, 0);
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
        let (mut peer, id, noting) = Peer::listened_to(&mut reactor, &configs, 0);
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
        let (peer, id, noting) = Peer::listened_to(&mut reactor, &configs, 0);
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
