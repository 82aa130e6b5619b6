//! TLS and flow: progress in parts of records, marks, pauses, keys that change, and ends in good order.

#[path = "../util/noting.rs"]
mod noting;
#[path = "util/tls.rs"]
mod setup;
#[path = "../util/mod.rs"]
mod util;
#[path = "../util/wire.rs"]
mod wire;

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;
use std::time::Duration;

use setup::*;
use slabloop::testing::SimClock;
use slabloop::tls::rustls::version::TLS13;
use slabloop::{Context, Dispatcher, Reactor, Timeout};
use util::{assert_asleep, pattern, turn_for, turn_until};

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

#[test]
fn what_has_left_counts_when_it_leaves_and_not_when_the_next_write_finds_no_room() {
    for version in BOTH {
        let configs = configs(version);
        let (clock, mut reactor) = with_timeouts();
        let (peer, id, noting) = Peer::listened_to(&mut reactor, &configs, 0);
        let mut cx = reactor.at(id).expect("open");
        cx.set_timeout(Timeout::Idle, None);
        cx.send(&pattern(5, 40_000)).expect("room");
        come_to_rest(&mut reactor);
        clock.advance(Duration::from_secs(5));
        // For the first record and a part of the second, in one turn.
        peer.wire.make_room(&mut reactor, id, 20_000);
        turn_for(&mut reactor, Duration::ZERO);
        let unsent = 40_000 - 16 * 1024;
        assert_eq!(reactor.at(id).expect("open").queued(), unsent);
        clock.advance(Duration::from_secs(4));
        come_to_rest(&mut reactor);
        clock.advance(Duration::from_secs(1));
        come_to_rest(&mut reactor);
        assert_eq!(noting.notes(), [""; 0]);
        clock.advance(Duration::from_secs(5));
        come_to_rest(&mut reactor);
        let stalled = format!("Stalled {{ unsent: {unsent} }}");
        assert_eq!(noting.notes().last(), Some(&stalled));
    }
}

#[test]
fn with_tls_1_3_each_direction_ends_by_itself() {
    let configs = configs(&TLS13);
    let mut reactor = Reactor::new().expect("a reactor");
    let (mut peer, id, noting) = Peer::listened_to(&mut reactor, &configs, 1_000_000);
    // The peer has said all, and listens on.
    let mut bytes = peer.encrypt(b"all of it");
    peer.connection.send_close_notify();
    bytes.extend(peer.spoken());
    peer.wire.input(&mut reactor, id, &bytes);
    come_to_rest(&mut reactor);
    assert_eq!(noting.notes(), ["eof"]);
    reactor
        .at(id)
        .expect("open")
        .send(&pattern(1, 50_000))
        .expect("room");
    come_to_rest(&mut reactor);
    assert!(peer.hear() == pattern(1, 50_000) && !peer.has_heard_the_end());
    reactor.at(id).expect("open").close();
    come_to_rest(&mut reactor);
    peer.hear();
    assert!(peer.has_heard_the_end());
    assert_eq!(noting.notes(), ["eof", "Finished"]);
}

#[test]
fn after_shutdown_write_what_the_peer_sends_is_still_read() {
    let configs = configs(&TLS13);
    let mut reactor = Reactor::new().expect("a reactor");
    let noting = Noting::default();
    let (id, mut client) = tls_pair(&mut reactor, &configs, noting.clone());
    let mut cx = reactor.at(id).expect("added");
    cx.send(b"all of it").expect("room");
    cx.shutdown_write();
    turn_with(&mut reactor, move || {
        let mut got = Vec::new();
        client
            .read_to_end(&mut got)
            .expect("close_notify at the end");
        assert_eq!(got, b"all of it");
        for piece in pattern(2, 100_000).chunks(10_000) {
            client.write_all(piece).expect("it still reads");
        }
        client.conn.send_close_notify();
        client.flush().expect("it still reads");
    });
    until_noted(&mut reactor, &noting.notes, "Finished");
    assert_eq!(noting.notes(), ["eof", "Finished"]);
    assert!(*noting.got.borrow() == pattern(2, 100_000));
}

#[test]
fn what_comes_after_close_notify_is_ignored() {
    for version in BOTH {
        let configs = configs(version);
        let mut reactor = Reactor::new().expect("a reactor");
        let (mut peer, id, noting) = Peer::listened_to(&mut reactor, &configs, 1_000_000);
        let mut bytes = peer.encrypt(b"all of it");
        peer.connection.send_close_notify();
        bytes.extend(peer.spoken());
        bytes.extend([23, 3, 3, 0, 20].into_iter().chain([7; 20]));
        bytes.extend(b"GET / HTTP/1.1");
        peer.wire.input(&mut reactor, id, &bytes);
        come_to_rest(&mut reactor);
        peer.wire.input(&mut reactor, id, b"more of it");
        come_to_rest(&mut reactor);
        assert_eq!(*noting.got.borrow(), b"all of it");
        assert_eq!(noting.notes(), ["eof"]);
        assert_asleep(&mut reactor, "what is not read keeps nobody awake");
        reactor.at(id).expect("open").close();
        come_to_rest(&mut reactor);
        assert_eq!(noting.notes(), ["eof", "Finished"]);
    }
}

#[test]
fn a_peer_that_never_answers_close_notify_is_waited_for_until_the_close_timeout() {
    for version in BOTH {
        let configs = configs(version);
        let (clock, mut reactor) = with_timeouts();
        let noting = Noting::default();
        let (id, mut client) = tls_pair(&mut reactor, &configs, noting.clone());
        let mut cx = reactor.at(id).expect("added");
        cx.send(b"bye").expect("room");
        cx.close();
        let _silent = turn_with(&mut reactor, move || {
            let mut got = Vec::new();
            client
                .read_to_end(&mut got)
                .expect("close_notify at the end");
            assert_eq!(got, b"bye");
            client
        });
        clock.advance(Duration::from_millis(9_999));
        come_to_rest(&mut reactor);
        assert_eq!(noting.notes(), [""; 0]);
        clock.advance(Duration::from_millis(2));
        come_to_rest(&mut reactor);
        assert_eq!(noting.notes(), ["Finished"]);
    }
}

#[test]
fn a_close_with_20_mb_queued_delivers_all_to_a_slow_reader_and_then_close_notify() {
    const LENGTH: usize = 20_000_000;
    for version in BOTH {
        let configs = configs(version);
        let mut reactor = Reactor::builder()
            .hard_cap(LENGTH)
            .build()
            .expect("a reactor");
        let noting = Noting::default();
        let (id, mut client) = tls_pair(&mut reactor, &configs, noting.clone());
        let mut cx = reactor.at(id).expect("added");
        cx.send(&pattern(7, LENGTH))
            .expect("the cap is not below it");
        cx.close();
        turn_with(&mut reactor, move || {
            let mut got = Vec::with_capacity(LENGTH);
            let mut piece = vec![0; 50_000];
            loop {
                let count = client.read(&mut piece).expect("close_notify at the end");
                if count == 0 {
                    break;
                }
                got.extend_from_slice(&piece[..count]);
            }
            assert!(got == pattern(7, LENGTH));
        });
        until_noted(&mut reactor, &noting.notes, "Finished");
        assert_eq!(noting.notes(), ["Finished"]);
    }
}

#[test]
fn an_abort_is_a_reset_without_close_notify() {
    for version in BOTH {
        let configs = configs(version);
        let mut reactor = Reactor::new().expect("a reactor");
        let noting = Noting::default();
        let (id, mut client) = tls_pair(&mut reactor, &configs, noting.clone());
        let mut client = turn_with(&mut reactor, move || {
            client.write_all(b"hello").expect("room");
            client
        });
        turn_until(&mut reactor, "it has come", |_| {
            noting.got.borrow().len() == 5
        });
        let mut cx = reactor.at(id).expect("open");
        cx.send(b"never said").expect("room");
        cx.abort();
        come_to_rest(&mut reactor);
        let error = client.read(&mut [0]).expect_err("no end");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_eq!(noting.notes(), ["Aborted"]);
    }
}

#[test]
fn the_alert_about_a_bad_record_is_read_by_a_peer_that_goes_on_sending_first() {
    for version in BOTH {
        let configs = configs(version);
        let mut reactor = Reactor::new().expect("a reactor");
        // Its handle_error is the default.
        let (id, mut client) = tls_pair(&mut reactor, &configs, util::Echo);
        let mut client = turn_with(&mut reactor, move || {
            client.write_all(b"hello").expect("room");
            client.read_exact(&mut [0; 5]).expect("the echo");
            client
        });
        let before = reactor.counters().errors;
        client.sock.write_all(&[23, 3, 3, 0, 20]).expect("room");
        client.sock.write_all(&[7; 20]).expect("room");
        turn_until(&mut reactor, "the error", |reactor| {
            reactor.counters().errors > before
        });
        come_to_rest(&mut reactor);
        for _ in 0..3 {
            client.sock.write_all(&[7; 100]).expect("no reset");
            come_to_rest(&mut reactor);
        }
        let error = client.read(&mut [0; 8]).expect_err("the alert");
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
        assert!(error.to_string().contains("alert"), "{error}");
        drop(client);
        turn_until(&mut reactor, "its close", |reactor| reactor.count() == 0);
        let cause = slabloop::Cause::Error(ErrorKind::InvalidData);
        assert_eq!(reactor.end_of(id), Some(cause));
    }
}

/// Reads ten bytes and pauses, as often as it is let.
#[derive(Default)]
struct Sipping {
    got: Rc<RefCell<Vec<u8>>>,
}

impl Dispatcher for Sipping {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut piece = [0; 10];
        let count = cx.recv(&mut piece)?;
        self.got.borrow_mut().extend_from_slice(&piece[..count]);
        cx.pause_reading();
        Ok(())
    }
}

#[test]
fn input_that_is_decrypted_waits_while_reading_is_paused_and_wakes_nobody() {
    for version in BOTH {
        let configs = configs(version);
        let mut reactor = Reactor::new().expect("a reactor");
        let mut peer = Peer::new(&configs);
        let got = Rc::default();
        let sipping = Sipping {
            got: Rc::clone(&got),
        };
        let id = peer.add(&mut reactor, &configs, sipping);
        peer.greet(&mut reactor, id, 1000);
        let message = pattern(8, 95);
        let mut bytes = peer.encrypt(&message[..40]);
        bytes.extend(peer.encrypt(&message[40..]));
        peer.wire.input(&mut reactor, id, &bytes);
        for sips in 1..=10 {
            assert_asleep(&mut reactor, "reading is paused");
            assert!(*got.borrow() == message[..message.len().min(sips * 10)]);
            assert_eq!(peer.wire.unread(), 0, "the layer holds it");
            reactor.at(id).expect("open").resume_reading();
        }
        assert_asleep(&mut reactor, "all is read");
    }
}

#[test]
fn marks_and_cap_count_what_the_program_sent_and_not_what_it_becomes() {
    for version in BOTH {
        let configs = configs(version);
        let mut reactor = Reactor::builder()
            .hard_cap(10_000)
            .build()
            .expect("a reactor");
        let (mut peer, id, noting) = Peer::listened_to(&mut reactor, &configs, 0);
        let mut cx = reactor.at(id).expect("open");
        cx.set_marks(2000, 4000, 10_000).expect("in order");
        // In records of one byte these would be 230,000 or more.
        for _ in 0..3999 {
            cx.send(b"x").expect("below the cap");
        }
        assert!(cx.is_reading());
        come_to_rest(&mut reactor);
        let mut cx = reactor.at(id).expect("open");
        assert_eq!(cx.queued(), 3999, "nothing has left");
        cx.send(&[b'x'; 6001]).expect("just the cap");
        assert!(!cx.is_reading());
        peer.wire.make_room(&mut reactor, id, 20_000);
        come_to_rest(&mut reactor);
        let mut cx = reactor.at(id).expect("open");
        assert!(cx.is_reading() && cx.queued() == 0);
        assert!(peer.hear() == [b'x'; 10_000]);
        peer.wire.take_room();
        cx = reactor.at(id).expect("open");
        cx.send(&[b'x'; 10_000]).expect("just the cap");
        cx.send(b"x").expect_err("over the cap");
        come_to_rest(&mut reactor);
        let notes = noting.notes();
        assert!(
            notes.last().expect("ended").starts_with("OverCap"),
            "{notes:?}"
        );
    }
}

#[test]
fn a_change_of_keys_is_answered_once_and_in_front_of_the_next_bytes() {
    let configs = configs(&TLS13);
    let mut reactor = Reactor::new().expect("a reactor");
    let (mut peer, id, noting) = Peer::listened_to(&mut reactor, &configs, 1_000_000);
    let length_of_news = |peer: &mut Peer, reactor: &mut Reactor| {
        let before = peer.wire.taken();
        reactor.at(id).expect("open").send(b"news").expect("room");
        come_to_rest(reactor);
        assert_eq!(peer.hear(), b"news");
        peer.wire.taken() - before
    };
    let plain = length_of_news(&mut peer, &mut reactor);
    for round in 0..100 {
        peer.connection.refresh_traffic_keys().expect("TLS 1.3");
        // With data between: rustls takes 32 in a row.
        let bytes = peer.encrypt(&[round]);
        peer.wire.input(&mut reactor, id, &bytes);
        come_to_rest(&mut reactor);
        assert!(length_of_news(&mut peer, &mut reactor) > plain, "{round}");
        assert_eq!(length_of_news(&mut peer, &mut reactor), plain, "{round}");
    }
    assert_eq!(noting.got.borrow().len(), 100);
}

#[test]
fn a_flood_of_changed_keys_that_takes_no_answers_is_bounded() {
    let configs = configs(&TLS13);
    let mut reactor = Reactor::new().expect("a reactor");
    // It takes no answer.
    let (mut peer, id, noting) = Peer::listened_to(&mut reactor, &configs, 0);
    let before = peer.wire.taken();
    for round in 0..2000_u32 {
        peer.connection.refresh_traffic_keys().expect("TLS 1.3");
        let bytes = peer.encrypt(&round.to_be_bytes());
        peer.wire.input(&mut reactor, id, &bytes);
        if round % 100 == 0 {
            come_to_rest(&mut reactor);
        }
    }
    come_to_rest(&mut reactor);
    assert_eq!(noting.got.borrow().len(), 8000, "{:?}", noting.notes());
    peer.wire.make_room(&mut reactor, id, 1_000_000);
    reactor.at(id).expect("open").send(b"news").expect("room");
    come_to_rest(&mut reactor);
    let taken = peer.wire.taken() - before;
    assert!(taken < 1000, "{taken} bytes for 2000 requests");
    assert_eq!(peer.hear(), b"news");
    // In a row and with nothing else they are a fault.
    for _ in 0..40 {
        peer.connection.refresh_traffic_keys().expect("TLS 1.3");
        peer.say(&mut reactor, id);
    }
    come_to_rest(&mut reactor);
    let notes = noting.notes();
    assert!(notes[0].contains("TooManyKeyUpdateRequests"), "{notes:?}");
}
