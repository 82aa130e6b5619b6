//! Rate limits: the rate asked for is the rate that comes, several under one limit share it evenly, nothing is
//! lost, and a limit that nobody waits for costs no timer.

#[path = "util/ports.rs"]
mod ports;
mod util;

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ports::closed_port;
use slabloop::testing::SimClock;
use slabloop::{Cause, Context, Dispatcher, Id, Rate, Reactor};
use util::*;

const MEGABYTE: u64 = 1_000_000;
const STEP: Duration = Duration::from_millis(5);

/// Counts what it reads, with a reading buffer larger than any share.
struct Counting(Rc<Cell<u64>>);

impl Dispatcher for Counting {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let received = cx.recv(&mut vec![0; 256 * 1024])?;
        self.0.set(self.0.get() + received as u64);
        Ok(())
    }
}

/// Sends without end.
struct Endless;

impl Dispatcher for Endless {
    fn handle_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.send(&[7; 32 * 1024])
    }
}

fn simulated() -> (Reactor, SimClock) {
    let clock = SimClock::new();
    let reactor = Reactor::builder().clock(clock.clone()).build();
    (reactor.expect("a poller"), clock)
}

/// Goes through so much simulated time, and lets everything that is due happen in each step.
fn pass(reactor: &mut Reactor, clock: &SimClock, time: Duration) {
    let mut passed = Duration::ZERO;
    while passed < time {
        clock.advance(STEP);
        passed += STEP;
        loop {
            let before = reactor.counters();
            turn_for(reactor, Duration::ZERO);
            let after = reactor.counters();
            if (before.callbacks, before.writes) == (after.callbacks, after.writes) {
                break;
            }
        }
    }
}

/// A connection whose peer writes without end, and what it has read.
fn flooded(reactor: &mut Reactor) -> (Id<Counting>, Rc<Cell<u64>>, JoinHandle<()>) {
    let read = Rc::new(Cell::new(0));
    let (ours, mut peer) = tcp_pair();
    let id = reactor
        .add(ours, Counting(Rc::clone(&read)))
        .expect("a stream");
    let flood = thread::spawn(move || while peer.write_all(&[7; 64 * 1024]).is_ok() {});
    (id, read, flood)
}

/// Turns until the kernel's buffers are full: all that a test reads is there then, and it is the limit that
/// limits.
fn fill(reactor: &mut Reactor, ids: &[Id<Counting>]) {
    for &id in ids {
        reactor.at(id).expect("open").pause_reading();
    }
    thread::yield_now();
    for _ in 0..20 {
        turn(reactor);
    }
    for &id in ids {
        reactor.at(id).expect("open").resume_reading();
    }
}

#[track_caller]
fn within_a_percent(moved: u64, expected: u64) {
    let off = moved.abs_diff(expected) as f64 / expected as f64;
    assert!(off <= 0.01, "{moved} and not {expected}: off by {off}");
}

#[test]
fn what_is_read_comes_at_the_rate_asked_for() {
    let (mut reactor, clock) = simulated();
    let (id, read, flood) = flooded(&mut reactor);
    let rate = Rate::per_second(MEGABYTE / 5).burst(100_000);
    reactor
        .at(id)
        .expect("open")
        .set_read_rate(rate)
        .expect("a stream");
    fill(&mut reactor, &[id]);
    // The burst is for the time before.
    pass(&mut reactor, &clock, Duration::from_millis(100));
    let before = read.get();
    assert!(before >= 100_000, "a burst: {before}");
    pass(&mut reactor, &clock, Duration::from_secs(3));
    within_a_percent(read.get() - before, 3 * MEGABYTE / 5);
    drop(reactor);
    flood.join().expect("no panic");
}

#[test]
fn what_is_sent_leaves_at_the_rate_asked_for_and_nothing_stalls() {
    let clock = SimClock::new();
    let reactor = Reactor::builder()
        .clock(clock.clone())
        .stall_timeout(Duration::from_millis(50))
        .build();
    let mut reactor = reactor.expect("a poller");
    let (ours, mut peer) = tcp_pair();
    let id = reactor.add(ours, Endless).expect("a stream");
    let mut cx = reactor.at(id).expect("open");
    cx.set_write_rate(Rate::per_second(MEGABYTE))
        .expect("a stream");
    cx.start_writing();
    let drain = thread::spawn(move || io::copy(&mut peer, &mut io::sink()));
    pass(&mut reactor, &clock, Duration::from_millis(200));
    let before = reactor.counters().bytes_out;
    pass(&mut reactor, &clock, Duration::from_secs(3));
    within_a_percent(reactor.counters().bytes_out - before, 3 * MEGABYTE);
    assert_eq!(reactor.end_of(id), None);
    drop(reactor);
    drain.join().expect("no panic").ok();
}

#[test]
fn three_under_one_limit_get_a_third_each() {
    let (mut reactor, clock) = simulated();
    let group = reactor
        .rate_group(Rate::per_second(3 * MEGABYTE / 10))
        .expect("in range");
    let members: Vec<_> = (0..3).map(|_| flooded(&mut reactor)).collect();
    let ids: Vec<_> = members.iter().map(|member| member.0).collect();
    for &id in &ids {
        reactor
            .at(id)
            .expect("open")
            .share_read_rate(group)
            .expect("a stream");
    }
    fill(&mut reactor, &ids);
    pass(&mut reactor, &clock, Duration::from_millis(200));
    let before: Vec<_> = members.iter().map(|member| member.1.get()).collect();
    let timers = reactor.counters().timers;
    pass(&mut reactor, &clock, Duration::from_secs(2));
    for (member, before) in members.iter().zip(before) {
        within_a_percent(member.1.get() - before, MEGABYTE / 5);
    }
    let timers = reactor.counters().timers - timers;
    assert!(timers <= 201, "one timer for the group: {timers} in 2 s");
    // One leaves: the others get its share.
    reactor.at(ids[0]).expect("open").abort();
    reactor.at(ids[1]).expect("open").pause_reading();
    pass(&mut reactor, &clock, Duration::from_millis(100));
    let before = members[2].1.get();
    pass(&mut reactor, &clock, Duration::from_secs(1));
    within_a_percent(members[2].1.get() - before, 3 * MEGABYTE / 10);
    drop(reactor);
    for (_, _, flood) in members {
        flood.join().expect("no panic");
    }
}

#[test]
fn nothing_is_lost_under_a_limit_and_the_end_comes_through() {
    const LENGTH: usize = 300_000;
    let (mut reactor, clock) = simulated();
    let (ours, mut peer) = tcp_pair();
    let echo = reactor.add(ours, Echoing).expect("a stream");
    let mut cx = reactor.at(echo).expect("open");
    cx.set_read_rate(Rate::per_second(MEGABYTE))
        .expect("a stream");
    cx.set_write_rate(Rate::per_second(MEGABYTE / 2))
        .expect("a stream");
    let client = thread::spawn(move || {
        let mut writer = peer.try_clone().expect("a descriptor");
        let sender = thread::spawn(move || {
            writer.write_all(&pattern(3, LENGTH)).expect("it is read");
            writer
                .shutdown(std::net::Shutdown::Write)
                .expect("connected");
        });
        let mut received = Vec::new();
        peer.read_to_end(&mut received).expect("a clean end");
        sender.join().expect("no panic");
        received
    });
    turn_until(&mut reactor, "the end", |reactor| {
        clock.advance(STEP);
        reactor.count() == 0
    });
    assert_eq!(client.join().expect("no panic"), pattern(3, LENGTH));
    assert_eq!(reactor.end_of(echo), Some(Cause::Finished));
}

struct Echoing;

impl Dispatcher for Echoing {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_with(|bytes, cx| cx.send(bytes))
    }
}

#[test]
fn a_limit_for_which_nobody_waits_has_no_timer_and_one_that_is_lifted_is_gone() {
    let (mut reactor, clock) = simulated();
    let read = Rc::new(Cell::new(0));
    let (ours, mut peer) = tcp_pair();
    let id = reactor
        .add(ours, Counting(Rc::clone(&read)))
        .expect("a stream");
    let mut cx = reactor.at(id).expect("open");
    cx.set_read_rate(Rate::per_second(1000).burst(10))
        .expect("a stream");
    pass(&mut reactor, &clock, Duration::from_secs(1));
    assert_eq!(reactor.gauges().timers, 0);
    peer.write_all(&[1; 100]).expect("room");
    turn_until(&mut reactor, "the burst", |_| {
        clock.advance(Duration::from_nanos(1));
        read.get() == 10
    });
    pass(&mut reactor, &clock, Duration::from_millis(30));
    assert!(read.get() < 50, "{}", read.get());
    reactor
        .at(id)
        .expect("open")
        .set_read_rate(None)
        .expect("a stream");
    turn_until(&mut reactor, "the rest", |_| read.get() == 100);
    pass(&mut reactor, &clock, Duration::from_millis(50));
    assert_eq!(reactor.gauges().timers, 0);
    peer.write_all(&[1; 50]).expect("room");
    turn_until(&mut reactor, "more", |_| read.get() == 150);
}

#[test]
fn a_rate_lower_than_a_byte_a_share_still_moves() {
    let (mut reactor, clock) = simulated();
    let (id, read, flood) = flooded(&mut reactor);
    let rate = Rate::per_second(20).burst(1);
    reactor
        .at(id)
        .expect("open")
        .set_read_rate(rate)
        .expect("a stream");
    fill(&mut reactor, &[id]);
    pass(&mut reactor, &clock, Duration::from_secs(10));
    let moved = read.get();
    assert!((150..=202).contains(&moved), "{moved} bytes in 10 s");
    drop(reactor);
    flood.join().expect("no panic");
}

#[test]
fn wrong_rates_wrong_sockets_and_groups_that_are_gone_are_refused() {
    let mut reactor = Reactor::new().expect("a poller");
    let (ours, _peer): (TcpStream, TcpStream) = tcp_pair();
    let stream = reactor.add(ours, Endless).expect("a stream");
    let listener = reactor.listen("127.0.0.1:0", Endless).expect("a port");
    for rate in [Rate::per_second(0), Rate::per_second(1).burst(0)] {
        let error = reactor.at(stream).expect("open").set_read_rate(rate);
        assert_eq!(
            error.expect_err("no rate").kind(),
            io::ErrorKind::InvalidInput
        );
        assert!(reactor.rate_group(rate).is_err());
    }
    let mut cx = reactor.at(listener).expect("open");
    let error = cx
        .set_read_rate(Rate::per_second(1))
        .expect_err("no stream");
    assert!(error.to_string().contains("listener"), "{error}");
    let group = cx.rate_group(Rate::per_second(1)).expect("in range");
    cx.set_group_rate(group, Rate::per_second(2))
        .expect("it is there");
    cx.remove_rate_group(group);
    let next = cx.rate_group(Rate::per_second(1)).expect("in range");
    assert_ne!(group, next, "its name names no other");
    // Neither does it reach the one that has its place now.
    let error = cx.set_group_rate(group, Rate::per_second(3));
    assert_eq!(error.expect_err("gone").kind(), io::ErrorKind::NotFound);
    cx.remove_rate_group(group);
    let error = cx.set_group_rate(next, Rate::per_second(0));
    assert_eq!(
        error.expect_err("no rate").kind(),
        io::ErrorKind::InvalidInput
    );
    let error = cx.share_read_rate(next).expect_err("no stream");
    assert!(error.to_string().contains("listener"), "{error}");
    let mut cx = reactor.at(stream).expect("open");
    let error = cx.share_write_rate(group).expect_err("gone");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    // One with a member lives on when its name is given up.
    cx.share_write_rate(next).expect("it is there");
    cx.remove_rate_group(next);
    cx.send(b"x").expect("room");
    turn_until(&mut reactor, "the byte", |reactor| {
        reactor.at(stream).expect("open").queued() == 0
    });
}

#[test]
fn a_limited_connection_can_be_detached() {
    let mut reactor = Reactor::new().expect("a poller");
    let (ours, mut peer) = tcp_pair();
    let id = reactor.add(ours, Endless).expect("a stream");
    let mut cx = reactor.at(id).expect("open");
    cx.set_read_rate(Rate::per_second(1)).expect("a stream");
    let stream = TcpStream::try_from(reactor.detach(id).expect("open")).expect("nothing left");
    (&stream).write_all(b"x").expect("room");
    peer.read_exact(&mut [0]).expect("it lives on");
}

#[test]
fn a_limit_that_is_set_while_connecting_holds_once_connected_and_hides_no_refusal() {
    let (mut reactor, clock) = simulated();
    let diary = Diary::default();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let rate = Rate::per_second(1_000).burst(1_000);
    let id = reactor
        .connect(address, Spy::new("client", &diary))
        .expect("it listens");
    let mut cx = reactor.at(id).expect("connecting");
    cx.set_write_rate(rate).expect("a stream");
    cx.set_read_rate(rate).expect("a stream");
    cx.send(&[7; 3_000]).expect("room");
    let (mut peer, _) = listener.accept().expect("in the queue");
    peer.write_all(b"hello").expect("room");
    turn_until(&mut reactor, "the connection", |_| {
        diary.count("client", "connect") == 1
    });
    settle(&mut reactor);
    let mut cx = reactor.at(id).expect("open");
    assert_eq!(cx.queued(), 2_000, "a burst has left");
    cx.shutdown_write();
    pass(&mut reactor, &clock, Duration::from_secs(2) + 4 * STEP);
    let mut received = Vec::new();
    peer.read_to_end(&mut received).expect("a clean end");
    assert_eq!(received.len(), 3_000);

    let (_bound, nobody) = closed_port();
    let id = reactor.connect(nobody, Spy::new("late", &diary));
    let mut cx = reactor.at(id.expect("it may be tried")).expect("there");
    cx.set_write_rate(rate).expect("a stream");
    turn_until(&mut reactor, "the refusal", |_| {
        diary.count("late", "close") == 1
    });
    assert_eq!(diary.of("late"), ["error ConnectionRefused", "close"]);
}

#[test]
fn a_groups_new_rate_holds_from_then_on() {
    let (mut reactor, clock) = simulated();
    let group = reactor
        .rate_group(Rate::per_second(MEGABYTE / 10))
        .expect("in range");
    let (id, read, flood) = flooded(&mut reactor);
    let mut cx = reactor.at(id).expect("open");
    cx.share_read_rate(group).expect("a stream");
    fill(&mut reactor, &[id]);
    for rate in [MEGABYTE / 10, MEGABYTE / 2] {
        let mut cx = reactor.at(id).expect("open");
        cx.set_group_rate(group, Rate::per_second(rate))
            .expect("it is there");
        pass(&mut reactor, &clock, Duration::from_millis(200));
        let before = read.get();
        pass(&mut reactor, &clock, Duration::from_secs(1));
        within_a_percent(read.get() - before, rate);
    }
    drop(reactor);
    flood.join().expect("no panic");
}

/// The peer takes all that it is given: it is the limit that lets so little through.
#[test]
fn who_waits_longer_for_its_share_than_a_peer_may_stall_is_not_stalled() {
    let clock = SimClock::new();
    let mut builder = Reactor::builder();
    builder
        .clock(clock.clone())
        .stall_timeout(Duration::from_millis(300));
    let mut reactor = builder.build().expect("a poller");
    let (ours, mut peer) = tcp_pair();
    let id = reactor.add(ours, Endless).expect("a stream");
    let mut cx = reactor.at(id).expect("open");
    cx.set_write_rate(Rate::per_second(1).burst(1))
        .expect("a stream");
    cx.send(b"five!").expect("room");
    pass(&mut reactor, &clock, Duration::from_secs(6));
    assert_eq!(reactor.end_of(id), None);
    let mut received = [0; 5];
    peer.read_exact(&mut received).expect("all of it");
    assert_eq!(&received, b"five!");
}
