//! Large payloads are offered to the kernel before they are copied. Nothing else may differ: order, the
//! number of writes, what is queued, and how a connection ends whose first write finds it broken.

#[cfg_attr(feature = "tls", path = "util/tls.rs")]
#[cfg_attr(not(feature = "tls"), path = "util/plain.rs")]
mod over;
mod util;

use std::cell::Cell;
use std::io::Read;
use std::rc::Rc;
use std::time::Duration;

use over::{reset, spied_pair, tcp_pair};
use slabloop::{End, Reactor};
use util::*;

const LARGE: usize = 64 * 1024;

/// Sends all pieces within one callback; what the peer got, and how many writes it took.
fn sent_in_one_turn(pieces: &'static [(u8, usize)]) -> (Vec<u8>, u64) {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let sender = Spy::new("sender", &diary).on_timer(move |cx| {
        for &(stream, length) in pieces {
            cx.send(&pattern(stream, length))?;
        }
        Ok(())
    });
    let (ours, mut peer) = tcp_pair();
    // Room for all of it, so that no write is cut short.
    let room = socket2::SockRef::from(&ours).set_send_buffer_size(1 << 20);
    room.expect("tcp");
    let id = over::add(&mut reactor, ours, sender);
    let total = pieces.iter().map(|(_, length)| length).sum();
    let reader = std::thread::spawn(move || {
        let mut received = vec![0; total];
        peer.read_exact(&mut received).expect("all of it");
        (received, peer)
    });
    reactor.at(id).unwrap().set_timer(Duration::ZERO);
    turn_until(&mut reactor, "everything is sent", |reactor| {
        reactor.counters().bytes_out == total as u64
    });
    let writes = reactor.counters().writes;
    (reader.join().expect("the reader").0, writes)
}

fn patterns(pieces: &[(u8, usize)]) -> Vec<u8> {
    let all = pieces
        .iter()
        .map(|&(stream, length)| pattern(stream, length));
    all.collect::<Vec<_>>().concat()
}

#[test]
fn large_and_small_sends_leave_in_the_order_of_the_sends() {
    const PIECES: &[(u8, usize)] = &[(1, 10), (2, LARGE), (3, 20), (4, LARGE), (5, 30)];
    let (received, writes) = sent_in_one_turn(PIECES);
    assert!(received == patterns(PIECES), "bytes in order");
    assert_eq!(
        writes, 1,
        "the large ones were queued behind the first small one"
    );
}

#[test]
fn many_large_sends_in_a_turn_are_one_write_at_once_and_one_of_the_flush() {
    if over::is_skipped("many_large_sends_in_a_turn_are_one_write_at_once_and_one_of_the_flush") {
        return;
    }
    const PIECES: &[(u8, usize)] = &[(1, LARGE), (2, LARGE), (3, LARGE), (4, 10)];
    let (received, writes) = sent_in_one_turn(PIECES);
    assert!(received == patterns(PIECES), "bytes in order");
    assert_eq!(writes, 2);
}

#[test]
fn rest_of_a_large_send_that_the_kernel_did_not_take_is_queued_and_arrives() {
    if over::is_skipped("rest_of_a_large_send_that_the_kernel_did_not_take_is_queued_and_arrives") {
        return;
    }
    const BYTES: usize = 900_000;
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (ours, mut peer) = tcp_pair();
    for socket in [socket2::SockRef::from(&ours), socket2::SockRef::from(&peer)] {
        socket.set_send_buffer_size(64 * 1024).unwrap();
        socket.set_recv_buffer_size(64 * 1024).unwrap();
    }
    let id = over::add(&mut reactor, ours, Spy::new("sender", &diary));
    let sent = pattern(7, BYTES);
    reactor.at(id).unwrap().send(&sent).unwrap();
    let queued = reactor.at(id).unwrap().queued();
    assert!(queued > 0 && queued < BYTES, "{queued} queued");
    reactor.check_invariants();
    let reader = std::thread::spawn(move || {
        let mut received = vec![0; BYTES];
        peer.read_exact(&mut received).expect("all of it");
        (received, peer)
    });
    turn_until(&mut reactor, "the outbox is empty", |reactor| {
        reactor.at(id).is_none_or(|cx| cx.queued() == 0)
    });
    let (received, _peer) = reader.join().expect("the reader");
    assert!(received == sent, "bytes in order");
}

#[test]
fn reset_that_a_large_send_finds_out_is_a_loss_and_no_end_of_stream() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let end = Rc::new(Cell::new(None));
    let noted = Rc::clone(&end);
    let victim = Spy::new("victim", &diary).on_close(move |cx| {
        noted.set(cx.how_it_ended());
        Ok(())
    });
    let (victim, peer) = spied_pair(&mut reactor, victim);
    settle(&mut reactor);
    reset(peer);
    // Between two turns, so that the write is the first to hear of it, and takes the errno away.
    let sent = reactor.at(victim).unwrap().send(&[7; LARGE]);
    assert!(sent.is_ok(), "{sent:?}");
    reactor.check_invariants();
    assert!(diary.all().is_empty(), "send calls nothing");
    turn_until(&mut reactor, "the victim has closed", |_| {
        diary.count("victim", "close") == 1
    });
    assert_eq!(diary.count("victim", "eof"), 0, "{:?}", diary.all());
    assert_eq!(end.get(), Some(End::Lost), "{:?}", diary.all());
}
