//! `slabloop::test`: what a simulated peer does reaches the dispatcher in the order and in the pieces that the test
//! wrote down, what the dispatcher does reaches the peer, and turns are counted.

mod util;

use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::rc::Rc;
use std::time::Duration;

use slabloop::framing::{Framed, Framing, Handler, Terminator};
use slabloop::test::{
    Clients, Clock, Peer, connecting, connection, dials, listener, run_for, run_until,
    run_until_quiet,
};
use slabloop::{Cause, Context, Dispatcher, Id, Reactor};
use util::{Accepting, Diary, Echo, Spy, turn, turn_until, unix_pair};

const SECOND: Duration = Duration::from_secs(1);

/// Until it is quiet, and every invariant.
#[track_caller]
fn quiet(reactor: &mut Reactor) -> usize {
    let turns = run_until_quiet(reactor, 1_000);
    reactor.check_invariants();
    turns
}

fn reactor() -> Reactor {
    Reactor::builder().clock(Clock::new()).build().unwrap()
}

/// A spy that answers nothing, its diary, and its peer.
fn spied(reactor: &mut Reactor) -> (Peer, Diary, Rc<RefCell<Vec<u8>>>, Id<Spy>) {
    let diary = Diary::default();
    let spy = Spy::new("spy", &diary);
    let received = spy.received();
    let (peer, socket) = connection();
    let id = reactor.add(socket, spy).unwrap();
    (peer, diary, received, id)
}

/// The sizes of what each `recv` of a buffer of this size got, with the turn it was in.
fn reads(reactor: &mut Reactor, buffer: usize, script: impl FnOnce(&Peer)) -> Vec<(u64, usize)> {
    let seen: Rc<RefCell<Vec<usize>>> = Rc::default();
    let noted = seen.clone();
    let spy = Spy::new("reader", &Diary::default()).on_read(move |cx| {
        // As one that reads until there is nothing more.
        loop {
            let mut chunk = vec![0; buffer];
            let read = cx.recv(&mut chunk)?;
            noted.borrow_mut().push(read);
        }
    });
    let (peer, socket) = connection();
    reactor.add(socket, spy).unwrap();
    script(&peer);
    let mut reads = Vec::new();
    for turn in 0..50 {
        reactor.turn(Duration::ZERO).unwrap();
        reactor.check_invariants();
        reads.extend(seen.borrow_mut().drain(..).map(|size| (turn, size)));
    }
    reads
}

#[test]
fn each_piece_is_one_read_in_a_turn_of_its_own() {
    let sizes = reads(&mut reactor(), 100, |peer| {
        peer.send("abc");
        peer.send("");
        peer.send("de");
        peer.send_in_pieces("12345", 2);
    });
    assert_eq!(sizes, [(0, 3), (1, 2), (2, 2), (3, 2), (4, 1)]);
}

#[test]
fn a_piece_that_is_longer_than_the_buffer_is_read_in_several_reads() {
    let sizes = reads(&mut reactor(), 4, |peer| {
        peer.send("0123456789");
        // A read that fills the buffer says nothing of what follows.
        peer.send("abcd");
        peer.send("efgh");
    });
    assert_eq!(sizes, [(0, 4), (0, 4), (0, 2), (1, 4), (2, 4)]);
}

#[test]
fn what_is_sent_before_the_socket_is_added_and_after_arrives() {
    let mut reactor = reactor();
    let (peer, socket) = connection();
    peer.send("before ");
    let spy = Spy::new("spy", &Diary::default());
    let received = spy.received();
    reactor.add(socket, spy).unwrap();
    quiet(&mut reactor);
    peer.send("after");
    quiet(&mut reactor);
    assert_eq!(*received.borrow(), b"before after");
    assert_eq!(peer.unread(), 0);
}

#[test]
fn a_dispatcher_that_does_not_read_is_quiet_and_loses_nothing() {
    let mut reactor = reactor();
    let (peer, _, received, id) = spied(&mut reactor);
    reactor.at(id).unwrap().pause_reading();
    peer.send_in_pieces("later", 1);
    peer.half_close();
    quiet(&mut reactor);
    assert_eq!((received.borrow().len(), peer.unread()), (0, 5));
    reactor.at(id).unwrap().resume_reading();
    quiet(&mut reactor);
    assert_eq!(*received.borrow(), b"later");
    assert!(peer.is_closed() && !peer.is_reset());
}

#[test]
fn an_event_without_input_costs_one_callback_and_an_errno_ends_the_connection() {
    let mut reactor = reactor();
    let (peer, diary, received, id) = spied(&mut reactor);
    peer.fail_read(io::ErrorKind::WouldBlock);
    peer.send("x");
    peer.fail_read(io::Error::from_raw_os_error(5));
    quiet(&mut reactor);
    assert_eq!(*received.borrow(), b"x");
    assert_eq!(diary.count("spy", "read"), 3);
    assert_eq!(diary.count("spy", "error"), 1);
    let Some(Cause::Error(kind)) = reactor.end_of(id) else {
        panic!("it has ended with an error: {:?}", reactor.end_of(id));
    };
    assert_eq!(kind, io::Error::from_raw_os_error(5).kind());
}

#[test]
fn after_a_half_close_the_whole_reply_arrives() {
    let mut reactor = reactor();
    let (peer, socket) = connection();
    let id = reactor.add(socket, Echo).unwrap();
    peer.send_in_pieces("ping", 3);
    peer.half_close();
    peer.half_close();
    quiet(&mut reactor);
    assert_eq!(peer.take_received(), b"ping");
    assert!(peer.is_ended() && peer.is_closed() && !peer.is_reset());
    assert_eq!(reactor.end_of(id), Some(Cause::Finished));
}

#[test]
fn a_peer_that_has_closed_answers_the_first_bytes_with_a_reset() {
    let mut reactor = reactor();
    let diary = Diary::default();
    let spy = Spy::new("spy", &diary)
        .on_eof(|cx| {
            cx.send(b"first")?;
            cx.set_timer(SECOND);
            Ok(())
        })
        .on_timer(|cx| cx.send(b"second"));
    let (peer, socket) = connection();
    let id = reactor.add(socket, spy).unwrap();
    peer.close();
    quiet(&mut reactor);
    run_for(&mut reactor, SECOND, 100);
    assert_eq!(peer.take_received(), b"");
    assert_eq!(reactor.end_of(id), Some(Cause::Reset), "{:?}", diary.all());
}

#[test]
fn a_reset_overtakes_what_was_not_read() {
    let mut reactor = reactor();
    let (peer, diary, received, id) = spied(&mut reactor);
    peer.send_in_pieces("abcd", 1);
    run_until(&mut reactor, 10, |_| peer.unread() == 2);
    peer.reset();
    assert_eq!(peer.unread(), 0);
    quiet(&mut reactor);
    assert_eq!(*received.borrow(), b"ab");
    assert_eq!(reactor.end_of(id), Some(Cause::Reset));
    assert_eq!(diary.count("spy", "close"), 1);
    assert!(peer.is_closed());
    assert!(
        !peer.is_reset() && !peer.is_ended(),
        "the reset was its own"
    );
}

#[test]
fn a_write_after_a_reset_fails_although_nothing_is_read() {
    let mut reactor = reactor();
    let (peer, _, _, id) = spied(&mut reactor);
    quiet(&mut reactor);
    reactor.at(id).unwrap().pause_reading();
    peer.reset();
    reactor.at(id).unwrap().send(b"lost").unwrap();
    quiet(&mut reactor);
    assert_eq!(reactor.end_of(id), Some(Cause::Reset));
    assert_eq!(peer.take_received(), b"");
}

#[test]
fn a_peer_with_little_room_gets_all_in_order_and_only_when_it_takes() {
    let mut reactor = reactor();
    let (peer, _, _, id) = spied(&mut reactor);
    peer.set_room(10);
    let sent: Vec<u8> = (0..=99).collect();
    reactor.at(id).unwrap().send(&sent).unwrap();
    quiet(&mut reactor);
    let mut received = peer.take_received();
    assert_eq!(received.len(), 10);
    quiet(&mut reactor);
    received.extend(peer.take_received());
    assert_eq!(received.len(), 20);
    peer.set_room(1_000);
    quiet(&mut reactor);
    received.extend(peer.take_received());
    assert_eq!(received, sent);
}

#[test]
fn a_client_that_does_not_read_is_not_read_either() {
    let mut reactor = Reactor::builder()
        .clock(Clock::new())
        .high_mark(1_000)
        .build()
        .unwrap();
    let (peer, socket) = connection();
    reactor.add(socket, Echo).unwrap();
    peer.set_room(0);
    for _ in 0..100 {
        peer.send([b'x'; 100]);
    }
    quiet(&mut reactor);
    assert!((80..100).contains(&peer.unread()), "{}", peer.unread());
    peer.set_room(usize::MAX);
    quiet(&mut reactor);
    assert_eq!(peer.take_received().len(), 10_000);
}

#[test]
fn short_writes_take_a_turn_each_and_lose_nothing() {
    let mut reactor = reactor();
    let (peer, _, _, id) = spied(&mut reactor);
    peer.set_most_per_write(3);
    reactor.at(id).unwrap().send(b"0123456789").unwrap();
    let writes = reactor.counters().writes;
    quiet(&mut reactor);
    assert_eq!(peer.take_received(), b"0123456789");
    assert_eq!(reactor.counters().writes - writes, 4);
}

#[test]
fn a_write_that_would_block_is_tried_again_and_an_errno_is_an_end() {
    let mut reactor = reactor();
    let (peer, _, _, id) = spied(&mut reactor);
    // Before the reactor asks for room, and after.
    for text in ["one", "two"] {
        peer.fail_write(io::ErrorKind::WouldBlock);
        peer.fail_write(io::ErrorKind::WouldBlock);
        reactor.at(id).unwrap().send(text.as_bytes()).unwrap();
        quiet(&mut reactor);
        assert_eq!(peer.take_received(), text.as_bytes());
    }
    peer.fail_write(io::Error::from_raw_os_error(32));
    reactor.at(id).unwrap().send(b"three").unwrap();
    quiet(&mut reactor);
    assert_eq!(reactor.end_of(id), Some(Cause::Reset));
    assert!(peer.is_closed());
}

#[test]
fn an_abort_and_input_left_unread_are_resets() {
    let mut reactor = reactor();
    let (aborted, _, _, id) = spied(&mut reactor);
    reactor.at(id).unwrap().abort();
    let (unread, _, _, id) = spied(&mut reactor);
    unread.send("never read");
    reactor.at(id).unwrap().close_when_sent();
    quiet(&mut reactor);
    assert!(aborted.is_reset() && aborted.is_closed() && !aborted.is_ended());
    assert!(unread.is_reset() && unread.is_closed());
}

#[test]
fn a_dispatcher_that_closed_ends_its_stream_and_waits_for_the_peers_end() {
    let mut reactor = reactor();
    let (peer, _, _, id) = spied(&mut reactor);
    reactor.at(id).unwrap().close();
    quiet(&mut reactor);
    assert!(peer.is_ended() && !peer.is_closed());
    peer.send("thrown away");
    peer.half_close();
    quiet(&mut reactor);
    assert!(peer.is_closed() && !peer.is_reset());
}

#[test]
fn an_attempt_waits_for_its_answer() {
    let mut reactor = reactor();
    let (server, socket) = connecting();
    let diary = Diary::default();
    let id = reactor.add(socket, Spy::new("spy", &diary)).unwrap();
    reactor.at(id).unwrap().send(b"early").unwrap();
    server.send("hello");
    quiet(&mut reactor);
    assert_eq!(diary.of("spy"), [""; 0]);
    server.establish();
    quiet(&mut reactor);
    assert_eq!(diary.of("spy"), ["connect", "read"]);
    assert_eq!(server.take_received(), b"early");
}

#[test]
fn an_attempt_fails_as_the_peer_says_or_by_its_deadline() {
    let mut reactor = reactor();
    let (refusing, socket) = connecting();
    let refused = reactor
        .add(socket, Spy::new("a", &Diary::default()))
        .unwrap();
    let (_silent, socket) = connecting();
    let timed_out = reactor
        .add(socket, Spy::new("b", &Diary::default()))
        .unwrap();
    refusing.refuse(io::ErrorKind::ConnectionRefused);
    refusing.establish();
    quiet(&mut reactor);
    let kind = io::ErrorKind::ConnectionRefused;
    assert_eq!(reactor.end_of(refused), Some(Cause::ConnectFailed(kind)));
    run_for(&mut reactor, 30 * SECOND, 100);
    assert_eq!(reactor.end_of(timed_out), Some(Cause::ConnectTimeout));
}

#[test]
fn an_attempt_that_is_reset_fails_and_one_without_room_is_established() {
    let mut reactor = reactor();
    let (server, socket) = connecting();
    let reset = reactor.add(socket, Echo).unwrap();
    server.reset();
    let (full, socket) = connecting();
    full.set_room(0);
    let diary = Diary::default();
    let established = reactor.add(socket, Spy::new("spy", &diary)).unwrap();
    reactor.at(established).unwrap().send(b"waits").unwrap();
    full.establish();
    quiet(&mut reactor);
    let kind = io::ErrorKind::ConnectionReset;
    assert_eq!(reactor.end_of(reset), Some(Cause::ConnectFailed(kind)));
    assert_eq!(diary.of("spy"), ["connect"]);
    full.set_room(5);
    quiet(&mut reactor);
    assert_eq!(full.take_received(), b"waits");
}

#[test]
fn input_for_a_peer_without_room_costs_no_write() {
    let mut reactor = reactor();
    let (peer, _, _, id) = spied(&mut reactor);
    peer.set_room(0);
    reactor.at(id).unwrap().send(b"waits").unwrap();
    quiet(&mut reactor);
    let writes = reactor.counters().writes;
    peer.send_in_pieces("12345", 1);
    quiet(&mut reactor);
    assert_eq!(reactor.counters().writes, writes);
}

#[test]
fn attempts_of_the_reactor_go_to_the_test() {
    let mut reactor = reactor();
    let dials = dials(&mut reactor);
    let diary = Diary::default();
    let id = reactor
        .connect("192.0.2.7:80", Spy::new("spy", &diary))
        .unwrap();
    let peer = dials.next().unwrap();
    assert!(dials.next().is_none());
    assert_eq!(peer.address().to_string(), "192.0.2.7:80");
    assert!(format!("{:?}", reactor.describe(id)).contains("192.0.2.7:80"));
    peer.establish();
    peer.send("hello");
    quiet(&mut reactor);
    assert_eq!(diary.of("spy"), ["connect", "read"]);

    // From inside a callback as well.
    let address = "192.0.2.8:80".parse().unwrap();
    let mut cx = reactor.at(id).unwrap();
    let second = cx.connect(address, Spy::new("second", &diary)).unwrap();
    dials.next().unwrap().refuse(io::ErrorKind::HostUnreachable);
    quiet(&mut reactor);
    let kind = io::ErrorKind::HostUnreachable;
    assert_eq!(reactor.end_of(second), Some(Cause::ConnectFailed(kind)));
}

fn serving(reactor: &mut Reactor) -> Clients {
    let (clients, socket) = listener();
    reactor.add(socket, Accepting(|| Echo)).unwrap();
    clients
}

#[test]
fn clients_are_accepted_and_served() {
    let mut reactor = reactor();
    let clients = serving(&mut reactor);
    let first: Vec<Peer> = (0..100).map(|_| clients.connect()).collect();
    for (number, client) in first.iter().enumerate() {
        client.send(format!("{number}"));
    }
    assert_eq!(clients.waiting(), 100);
    quiet(&mut reactor);
    assert_eq!(clients.waiting(), 0);
    for (number, client) in first.iter().enumerate() {
        assert_eq!(client.take_received(), format!("{number}").as_bytes());
    }
    let addresses: std::collections::HashSet<_> = first.iter().map(Peer::address).collect();
    assert_eq!(addresses.len(), 100, "each has an address of its own");
}

#[test]
fn a_listener_sees_where_a_client_comes_from_and_may_refuse_it() {
    struct Local;
    impl Dispatcher for Local {
        fn handle_accept(
            &mut self,
            cx: &mut Context<'_>,
            accepted: slabloop::Accepted,
        ) -> io::Result<()> {
            if accepted.peer().is_some_and(|peer| peer.ip().is_loopback()) {
                cx.add(accepted, Echo)?;
            }
            Ok(())
        }
    }
    let mut reactor = reactor();
    let (clients, socket) = listener();
    reactor.add(socket, Local).unwrap();
    let near = clients.connect_from("127.0.0.1:5000".parse().unwrap());
    let far = clients.connect();
    quiet(&mut reactor);
    assert!(!near.is_closed() && far.is_closed());
}

#[test]
fn without_descriptors_a_listener_waits_and_tries_again() {
    let mut reactor = reactor();
    let clients = serving(&mut reactor);
    clients.fail_accept(io::ErrorKind::ConnectionAborted);
    let first = clients.connect();
    clients.fail_accept(io::Error::from_raw_os_error(24));
    let second = clients.connect();
    first.send("1");
    second.send("2");
    quiet(&mut reactor);
    assert_eq!(first.take_received(), b"1");
    assert_eq!(clients.waiting(), 1);
    assert_eq!(reactor.counters().accept_shortages, 1);
    run_for(&mut reactor, Duration::from_millis(100), 100);
    assert_eq!(second.take_received(), b"2");
}

#[test]
fn a_listener_that_is_closed_resets_those_that_wait() {
    let mut reactor = reactor();
    let (clients, socket) = listener();
    let id = reactor.add(socket, Accepting(|| Echo)).unwrap();
    let client = clients.connect();
    reactor.at(id).unwrap().abort();
    quiet(&mut reactor);
    assert!(clients.is_closed() && client.is_reset());
}

#[test]
fn a_framed_dispatcher_gets_whole_records_from_a_byte_a_turn() {
    struct Lines(Rc<RefCell<Vec<String>>>);
    impl Handler for Lines {
        fn found_terminator(
            &mut self,
            _: &mut Context<'_>,
            _: &mut Framing,
            record: &[u8],
        ) -> io::Result<()> {
            let line = String::from_utf8_lossy(record).into_owned();
            self.0.borrow_mut().push(line);
            Ok(())
        }
    }
    let mut reactor = reactor();
    let lines = Rc::default();
    let (peer, socket) = connection();
    let framed = Framed::new(Terminator::Line, Lines(Rc::clone(&lines))).unwrap();
    reactor.add(socket, framed).unwrap();
    peer.send_in_pieces("one\r\ntwo\r\n\r\n", 1);
    let turns = quiet(&mut reactor);
    assert_eq!(*lines.borrow(), ["one", "two", ""]);
    assert_eq!(turns, 13, "twelve bytes, and a turn that finds nothing");
}

#[test]
fn real_sockets_and_simulated_ones_live_in_one_reactor() {
    let mut reactor = Reactor::new().unwrap();
    let (real, mut real_peer) = unix_pair();
    let diary = Diary::default();
    let spy = Spy::new("real", &diary);
    let received = spy.received();
    reactor.add(real, spy).unwrap();
    let (peer, socket) = connection();
    reactor.add(socket, Echo).unwrap();
    real_peer.write_all(b"real").unwrap();
    peer.send("simulated");
    turn_until(&mut reactor, "the real bytes", |_| {
        received.borrow().len() == 4
    });
    turn(&mut reactor);
    assert_eq!(peer.take_received(), b"simulated");
}

#[test]
fn time_passes_from_timer_to_timer() {
    let mut reactor = reactor();
    let fired: Rc<RefCell<Vec<Duration>>> = Rc::default();
    let clock = Clock::new();
    let mut on_clock = Reactor::builder().clock(clock.clone()).build().unwrap();
    let (noted, read) = (fired.clone(), clock.clone());
    on_clock.call_every(7 * SECOND, move |_| noted.borrow_mut().push(read.now()));
    run_for(&mut on_clock, 20 * SECOND, 100);
    assert_eq!(*fired.borrow(), [7 * SECOND, 14 * SECOND]);
    assert_eq!(clock.now(), 20 * SECOND);

    // In one leap a repeat fires once.
    clock.advance(60 * SECOND);
    quiet(&mut on_clock);
    assert_eq!(fired.borrow().len(), 3);

    // A timer that a timer sets is still within the span.
    let last = Rc::new(Cell::new(false));
    let done = last.clone();
    reactor.call_later(SECOND, move |reactor| {
        reactor.call_later(SECOND, move |_| done.set(true));
    });
    run_for(&mut reactor, 2 * SECOND, 100);
    assert!(last.get());
}

#[test]
fn turns_are_bounded() {
    /// Always has something to do.
    struct Busy;
    impl Dispatcher for Busy {
        fn handle_write(&mut self, _: &mut Context<'_>) -> io::Result<()> {
            Ok(())
        }
    }
    let panics = |run: &mut dyn FnMut(&mut Reactor) -> usize| {
        let mut reactor = reactor();
        let (peer, socket) = connection();
        let id = reactor.add(socket, Busy).unwrap();
        reactor.at(id).unwrap().start_writing();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&mut reactor)));
        drop(peer);
        let payload = outcome.expect_err("it is bounded");
        payload.downcast_ref::<String>().cloned().unwrap()
    };
    let message = panics(&mut |reactor| run_until_quiet(reactor, 20));
    assert!(
        message.starts_with("still not quiet after 20 turns"),
        "{message}"
    );
    let message = panics(&mut |reactor| run_until(reactor, 20, |_| false));
    assert!(message.contains("has not come in 20 turns"), "{message}");
    let message = panics(&mut |reactor| run_for(reactor, SECOND, 20));
    assert!(message.contains("after 20 turns"), "{message}");
}

#[test]
#[should_panic(expected = "nothing is left to do after 1 turns")]
fn waiting_for_what_cannot_come_ends_at_once() {
    run_until(&mut reactor(), 1_000_000, |_| false);
}

#[test]
#[should_panic(expected = "built on the system's")]
fn the_systems_clock_cannot_be_moved() {
    run_for(&mut Reactor::new().unwrap(), SECOND, 10);
}

#[test]
#[should_panic(expected = "can send no more")]
fn nothing_follows_an_end() {
    let (peer, _socket) = connection();
    peer.half_close();
    peer.send("more");
}

#[test]
fn what_is_put_off_or_posted_or_due_is_work() {
    let mut reactor = reactor();
    let (peer, _, _, id) = spied(&mut reactor);
    let deferred = Rc::new(Cell::new(false));
    let done = deferred.clone();
    reactor.at(id).unwrap().defer(move |_| done.set(true));
    quiet(&mut reactor);
    assert!(deferred.get() && !peer.is_closed());

    // A timer that is due at once when it is set is for the turn after.
    let due = Rc::new(Cell::new(false));
    let done = due.clone();
    reactor.call_later(Duration::ZERO, move |reactor| {
        reactor.call_later(Duration::ZERO, move |_| done.set(true));
    });
    quiet(&mut reactor);
    assert!(due.get());

    let (sender, receiver) = std::sync::mpsc::channel();
    let handle = reactor.handle();
    handle.post(move |_| sender.send(()).unwrap()).unwrap();
    quiet(&mut reactor);
    assert_eq!(receiver.try_recv(), Ok(()));
}
