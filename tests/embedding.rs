//! A reactor in another program's loop: when its descriptor is readable, and for how long it may be left alone.

#![cfg(target_os = "linux")]

mod util;

use std::cell::RefCell;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use slabloop::Reactor;
use util::{DEADLINE, Diary, Echo, Spy, serve, settle, turn, turn_for, unix_pair};

/// Another loop, which watches nothing but a reactor, by edges.
struct Other {
    poll: Poll,
    events: Events,
}

impl Other {
    fn watching(reactor: &Reactor) -> Other {
        let poll = Poll::new().unwrap();
        let fd = reactor.as_raw_fd();
        let mut source = SourceFd(&fd);
        let registry = poll.registry();
        registry
            .register(&mut source, Token(0), Interest::READABLE)
            .unwrap();
        let events = Events::with_capacity(8);
        Other { poll, events }
    }

    /// Waits; whether the reactor's descriptor has become readable.
    fn wait(&mut self, timeout: Duration) -> bool {
        self.poll.poll(&mut self.events, Some(timeout)).unwrap();
        !self.events.is_empty()
    }

    fn says_nothing(&mut self) -> bool {
        !self.wait(Duration::ZERO)
    }
}

#[test]
fn timeout_is_that_of_the_next_timer_and_nothing_without_one() {
    let mut reactor = Reactor::new().unwrap();
    assert_eq!(reactor.next_timeout(), None);

    let long = Duration::from_secs(3600);
    let timer = reactor.call_later(long, |_| {});
    let left = reactor.next_timeout().expect("a timer is set");
    assert!(Duration::ZERO < left && left <= long, "{left:?}");
    reactor.reset_timer(timer, 2 * long);
    assert!(reactor.next_timeout().expect("it is set") > long);
    reactor.cancel_timer(timer);
    assert_eq!(reactor.next_timeout(), None);

    reactor.call_later(Duration::ZERO, |_| {});
    assert_eq!(reactor.next_timeout(), Some(Duration::ZERO));
    turn(&mut reactor);
    assert_eq!(reactor.next_timeout(), None);
}

#[test]
fn timeout_knows_the_idle_timeout_of_a_connection() {
    let limit = Duration::from_secs(3600);
    let mut reactor = Reactor::builder().idle_timeout(limit).build().unwrap();
    let (ours, _peer) = unix_pair();
    reactor.add(ours, Echo).unwrap();
    settle(&mut reactor);
    let left = reactor.next_timeout().expect("it is open");
    assert!(Duration::ZERO < left && left <= limit, "{left:?}");
}

#[test]
fn timeout_is_zero_while_work_waits_that_has_no_event() {
    let mut reactor = Reactor::new().unwrap();
    let (ours, mut peer) = unix_pair();
    let id = reactor.add(ours, Echo).unwrap();
    settle(&mut reactor);
    assert_eq!(reactor.next_timeout(), None);

    // Sent from outside: it leaves in the flush of the next turn.
    reactor.at(id).unwrap().send(b"out").unwrap();
    assert_eq!(reactor.next_timeout(), Some(Duration::ZERO));
    turn_for(&mut reactor, Duration::ZERO);
    let mut sent = [0; 3];
    peer.read_exact(&mut sent).unwrap();
    settle(&mut reactor);
    assert_eq!(reactor.next_timeout(), None);

    // Posted from this thread.
    reactor.handle().post(|_| {}).unwrap();
    assert_eq!(reactor.next_timeout(), Some(Duration::ZERO));
    settle(&mut reactor);

    // Input that a callback leaves.
    let (ours, mut peer) = unix_pair();
    let diary = Diary::default();
    let lazy = Spy::new("lazy", &diary).on_read(|cx| cx.recv(&mut [0]).map(drop));
    reactor.add(ours, lazy).unwrap();
    settle(&mut reactor);
    peer.write_all(b"12").unwrap();
    turn(&mut reactor);
    assert_eq!(diary.count("lazy", "read"), 1);
    assert_eq!(reactor.next_timeout(), Some(Duration::ZERO));
}

#[test]
fn descriptor_speaks_of_sockets_and_posts_and_not_of_timers() {
    let mut reactor = Reactor::new().unwrap();
    let mut other = Other::watching(&reactor);
    let (ours, mut peer) = unix_pair();
    reactor.add(ours, Echo).unwrap();
    settle(&mut reactor);
    other.wait(Duration::ZERO);
    assert!(other.says_nothing());

    peer.write_all(b"x").unwrap();
    assert!(other.wait(DEADLINE), "input");
    settle(&mut reactor);
    other.wait(Duration::ZERO);

    let handle = reactor.handle();
    std::thread::spawn(move || handle.post(|_| {}).unwrap());
    assert!(other.wait(DEADLINE), "a post");
    settle(&mut reactor);
    other.wait(Duration::ZERO);

    reactor.call_later(Duration::ZERO, |_| {});
    assert!(other.says_nothing());
}

/// The other loop has seen the one edge that there is, and part of what it stood for is left.
#[test]
fn timeout_is_zero_after_a_wait_that_took_all_the_events_it_could() {
    let mut reactor = Reactor::builder().events_per_wait(2).build().unwrap();
    let mut other = Other::watching(&reactor);
    let mut peers = Vec::new();
    for _ in 0..5 {
        let (ours, peer) = unix_pair();
        reactor.add(ours, Echo).unwrap();
        peers.push(peer);
    }
    settle(&mut reactor);
    other.wait(Duration::ZERO);
    for peer in &mut peers {
        peer.write_all(b"x").unwrap();
    }
    assert!(other.wait(DEADLINE));
    let mut turns = 1;
    reactor.turn(Duration::ZERO).unwrap();
    assert!(other.says_nothing(), "which is why this test is here");
    while reactor.next_timeout() == Some(Duration::ZERO) {
        reactor.turn(Duration::ZERO).unwrap();
        turns += 1;
    }
    assert_eq!(reactor.counters().bytes_in, 5, "after {turns} turns");
}

/// A whole server, run by the other loop as its documentation says: the wait is as long as `next_timeout`, and
/// each is followed by a turn.
#[test]
fn reactor_in_another_loop_serves_and_keeps_its_timers() {
    let mut reactor = Reactor::new().unwrap();
    let mut other = Other::watching(&reactor);
    let (_, address) = serve(&mut reactor, || Echo);
    let client = std::thread::spawn(move || {
        let mut client = std::net::TcpStream::connect(address).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        let sent = vec![7; 100_000];
        client.write_all(&sent).unwrap();
        let mut back = vec![0; sent.len()];
        client.read_exact(&mut back).unwrap();
        assert_eq!(back, sent);
    });
    let ticks = Rc::new(std::cell::Cell::new(0));
    let counted = ticks.clone();
    reactor.call_every(Duration::from_millis(1), move |_| {
        counted.set(counted.get() + 1);
    });
    while !client.is_finished() || ticks.get() < 5 {
        let timeout = reactor.next_timeout().expect("there is a timer");
        assert!(timeout <= Duration::from_millis(1));
        other.wait(timeout);
        reactor.turn(Duration::ZERO).unwrap();
        reactor.check_invariants();
    }
    client.join().expect("the client got everything back");
}

#[test]
fn a_turn_cannot_be_made_inside_a_turn() {
    let mut reactor = Reactor::new().unwrap();
    let refusals = Rc::new(RefCell::new(Vec::new()));
    let noted = Rc::clone(&refusals);
    reactor.call_later(Duration::ZERO, move |reactor| {
        let outcomes = [
            reactor.turn(Duration::ZERO).map(|_| ()),
            reactor.shutdown(Duration::ZERO).map(|_| ()),
            reactor.run().map(|_| ()),
        ];
        let texts = outcomes.map(|outcome| outcome.expect_err("inside a turn").to_string());
        noted.borrow_mut().extend(texts);
    });
    reactor.turn(Duration::ZERO).unwrap();
    let expected =
        ["turn", "shutdown", "run"].map(|name| format!("{name} called from inside a turn"));
    assert_eq!(*refusals.borrow(), expected);
}
