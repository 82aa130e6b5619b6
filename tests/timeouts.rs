//! Timeouts by name, per reactor and per connection; reasons to pause; and what can be seen from a callback.

#[cfg_attr(feature = "tls", path = "util/tls.rs")]
#[cfg_attr(not(feature = "tls"), path = "util/plain.rs")]
mod over;
mod util;

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::rc::Rc;
use std::time::Duration;

use over::{Peer, spied_pair, tcp_pair};
use slabloop::test::{connection, run_until_quiet};
use slabloop::testing::SimClock;
use slabloop::{
    Cause, Context, Counters, Dispatcher, Gauges, Id, Pause, Reactor, Timeout, TimerId,
};
use util::*;

const SECOND: Duration = Duration::from_secs(1);

/// Notes which timeout its errors speak of.
#[derive(Clone, Default)]
struct Noting(Rc<RefCell<Vec<Option<Timeout>>>>);

impl Dispatcher for Noting {
    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.to_string().contains("Noting"), "it is named: {error}");
        self.0.borrow_mut().push(Timeout::of(&error));
        cx.close();
    }
}

struct Bench {
    reactor: Reactor,
    clock: SimClock,
    noted: Noting,
    id: Id<Noting>,
    peer: Peer<TcpStream>,
}

impl Bench {
    /// A connection under a builder's settings.
    fn new(set: impl FnOnce(&mut slabloop::Builder)) -> Bench {
        let clock = SimClock::new();
        let mut builder = Reactor::builder();
        builder.clock(clock.clone());
        set(&mut builder);
        let mut reactor = builder.build().expect("a poller");
        let noted = Noting::default();
        let (ours, peer) = tcp_pair();
        // Fixed, so that the kernel does not make room later on.
        for socket in [socket2::SockRef::from(&ours), socket2::SockRef::from(&peer)] {
            socket.set_recv_buffer_size(4096).expect("a socket");
            socket.set_send_buffer_size(4096).expect("a socket");
        }
        let id = over::add(&mut reactor, ours, noted.clone());
        Bench {
            reactor,
            clock,
            noted,
            id,
            peer,
        }
    }

    fn cx(&mut self) -> Context<'_> {
        self.reactor.at(self.id).expect("it has not ended")
    }

    /// Fills the kernel's buffers, so that output waits.
    fn stall(&mut self) {
        let mut cx = self.cx();
        cx.set_marks(1, 64 << 20, 64 << 20).expect("in range");
        cx.send(&vec![7; 32 << 20]).expect("room");
        let mut written = u64::MAX;
        turn_until(&mut self.reactor, "full buffers", |reactor| {
            let writes = reactor.counters().writes;
            std::mem::replace(&mut written, writes) == writes
        });
    }

    #[track_caller]
    fn ends_after(&mut self, time: Duration, timeout: Timeout, cause: impl Fn(Cause) -> bool) {
        self.clock.advance(time - Duration::from_nanos(1));
        settle(&mut self.reactor);
        assert_eq!(*self.noted.0.borrow(), [], "{timeout}: never early");
        self.clock.advance(Duration::from_nanos(1));
        settle(&mut self.reactor);
        assert_eq!(*self.noted.0.borrow(), [Some(timeout)]);
        let ended = self.reactor.end_of(self.id).expect("ended");
        assert!(cause(ended), "{ended:?}");
    }
}

#[test]
fn the_reactors_idle_timeout_holds_for_what_is_added_and_a_connections_own_replaces_it() {
    let mut bench = Bench::new(|builder| {
        builder.idle_timeout(5 * SECOND);
    });
    bench.clock.advance(4 * SECOND);
    bench.peer.write_all(b"x").expect("room");
    settle(&mut bench.reactor);
    bench.ends_after(5 * SECOND, Timeout::Idle, |cause| cause == Cause::Idle);

    let mut bench = Bench::new(|builder| {
        builder.idle_timeout(5 * SECOND);
    });
    bench.cx().set_timeout(Timeout::Idle, 7 * SECOND);
    bench.ends_after(7 * SECOND, Timeout::Idle, |cause| cause == Cause::Idle);

    let mut bench = Bench::new(|builder| {
        builder.idle_timeout(5 * SECOND);
    });
    bench.cx().set_timeout(Timeout::Idle, None);
    bench.clock.advance(3600 * SECOND);
    settle(&mut bench.reactor);
    assert!(bench.reactor.at(bench.id).is_some(), "never");
}

#[test]
fn the_reactors_idle_timeout_is_for_streams_alone() {
    let mut bench = Bench::new(|builder| {
        builder.idle_timeout(5 * SECOND);
    });
    let noting = bench.noted.clone();
    let service = bench.reactor.add_service(noting.clone()).expect("room");
    let datagrams = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let datagrams = bench
        .reactor
        .add(datagrams, noting.clone())
        .expect("a socket");
    let listener = bench.reactor.listen("127.0.0.1:0", noting).expect("a port");
    bench.ends_after(5 * SECOND, Timeout::Idle, |cause| cause == Cause::Idle);
    bench.clock.advance(3600 * SECOND);
    settle(&mut bench.reactor);
    for id in [service.any(), datagrams.any(), listener.any()] {
        assert!(bench.reactor.at(id).is_some());
    }
    assert_eq!(bench.noted.0.borrow().len(), 1);
}

#[test]
fn a_connection_that_is_made_has_the_idle_timeout_from_when_it_is_established() {
    let clock = SimClock::new();
    let reactor = Reactor::builder()
        .clock(clock.clone())
        .idle_timeout(SECOND)
        .build();
    let mut reactor = reactor.expect("a poller");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let noted = Noting::default();
    let id = reactor.connect(address, noted.clone()).expect("it listens");
    turn_until(&mut reactor, "the connection", |reactor| {
        reactor.gauges().connecting == 0
    });
    clock.advance(SECOND);
    settle(&mut reactor);
    assert_eq!(*noted.0.borrow(), [Some(Timeout::Idle)]);
    assert_eq!(reactor.end_of(id), Some(Cause::Idle));
}

#[test]
fn a_stall_timeout_of_its_own_replaces_the_reactors_also_when_output_waits_already() {
    let stalled = |cause| matches!(cause, Cause::Stalled { unsent } if unsent > 0);
    let mut bench = Bench::new(|builder| {
        builder.stall_timeout(100 * SECOND);
    });
    bench.cx().set_timeout(Timeout::Stall, 3 * SECOND);
    bench.stall();
    bench.ends_after(3 * SECOND, Timeout::Stall, stalled);

    let mut bench = Bench::new(|builder| {
        builder.stall_timeout(100 * SECOND);
    });
    bench.stall();
    bench.clock.advance(50 * SECOND);
    bench.cx().set_timeout(Timeout::Stall, 3 * SECOND);
    settle(&mut bench.reactor);
    bench.ends_after(3 * SECOND, Timeout::Stall, stalled);

    let mut bench = Bench::new(|builder| {
        builder.stall_timeout(SECOND);
    });
    bench.cx().set_timeout(Timeout::Stall, None);
    bench.stall();
    bench.clock.advance(3600 * SECOND);
    settle(&mut bench.reactor);
    assert!(bench.reactor.at(bench.id).is_some(), "never");
}

#[test]
fn a_stall_that_is_over_ends_nothing_however_quiet_it_is_afterwards() {
    let clock = SimClock::new();
    let mut reactor = Reactor::builder()
        .clock(clock.clone())
        .stall_timeout(10 * SECOND)
        .build()
        .expect("a poller");
    let noted = Noting::default();
    let (peer, socket) = connection();
    let id = reactor.add(socket, noted.clone()).expect("a stream");
    peer.set_room(3);
    let mut cx = reactor.at(id).expect("open");
    cx.send(b"abcdef").expect("there is room in its outbox");
    run_until_quiet(&mut reactor, 100);
    assert_eq!(peer.take_received(), b"abc");
    clock.advance(4 * SECOND);
    peer.set_room(1000);
    run_until_quiet(&mut reactor, 100);
    assert_eq!(peer.take_received(), b"def");
    for _ in 0..10 {
        clock.advance(5 * SECOND);
        run_until_quiet(&mut reactor, 100);
    }
    assert_eq!(*noted.0.borrow(), []);
    assert!(reactor.at(id).is_some(), "nothing waits");
}

#[test]
fn a_close_timeout_of_its_own_replaces_the_reactors_and_none_is_the_reactors() {
    for (own, expected) in [(Some(2 * SECOND), 2 * SECOND), (None, 9 * SECOND)] {
        let mut bench = Bench::new(|builder| {
            builder.close_timeout(9 * SECOND);
        });
        bench.cx().set_timeout(Timeout::Close, own);
        bench.stall();
        bench.cx().close();
        settle(&mut bench.reactor);
        bench.ends_after(expected, Timeout::Close, |cause| {
            matches!(cause, Cause::CloseTimeout { .. })
        });
    }
}

#[test]
fn a_request_timeout_counts_whatever_moves_and_is_off_when_the_request_is_done() {
    let mut bench = Bench::new(|_| {});
    bench.cx().set_timeout(Timeout::Request, 10 * SECOND);
    for _ in 0..9 {
        bench.clock.advance(SECOND);
        bench.peer.write_all(b"a byte at a time").expect("room");
        settle(&mut bench.reactor);
    }
    bench.ends_after(SECOND, Timeout::Request, |cause| {
        cause == Cause::RequestTimeout
    });
    let error = bench.peer.read(&mut [0; 1]).expect_err("no clean end");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(bench.reactor.counters().ends.request_timeout, 1);

    let mut bench = Bench::new(|_| {});
    bench.cx().set_timeout(Timeout::Request, SECOND);
    bench.cx().set_timeout(Timeout::Request, 2 * SECOND);
    bench.clock.advance(SECOND);
    settle(&mut bench.reactor);
    assert_eq!(*bench.noted.0.borrow(), [], "the second replaced the first");
    bench.cx().set_timeout(Timeout::Request, None);
    bench.clock.advance(3600 * SECOND);
    settle(&mut bench.reactor);
    assert!(bench.reactor.at(bench.id).is_some());
}

#[test]
fn other_errors_speak_of_no_timeout() {
    assert_eq!(Timeout::of(&io::ErrorKind::TimedOut.into()), None);
    assert_eq!(Timeout::of(&io::Error::from_raw_os_error(110)), None);
}

#[test]
fn reasons_to_pause_are_apart_and_reading_goes_on_when_none_holds() {
    let mut reactor = Reactor::new().expect("a poller");
    let diary = Diary::default();
    let (id, mut peer) = spied_pair(&mut reactor, Spy::new("paused", &diary));
    let mut cx = reactor.at(id).expect("open");
    cx.pause_reading_for(Pause::Handshake);
    cx.pause_reading();
    cx.pause_reading();
    assert!(cx.is_paused_for(Pause::Handshake) && !cx.is_paused_for(Pause::Connect));
    peer.write_all(b"x").expect("room");
    for (resumed, reason) in [
        (false, Pause::Connect),
        (false, Pause::Application),
        (true, Pause::Handshake),
    ] {
        reactor.at(id).expect("open").resume_reading_for(reason);
        settle(&mut reactor);
        assert_eq!(diary.count("paused", "read") > 0, resumed, "{reason:?}");
    }
    assert_eq!(reactor.gauges().paused, 0);
}

#[test]
fn gauges_and_counters_show_what_there_is_also_from_inside_a_callback() {
    type Seen = Rc<RefCell<Option<(Counters, Gauges, usize)>>>;
    struct Looks(Seen);
    impl Dispatcher for Looks {
        fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
            let seen = (cx.counters(), cx.gauges(), cx.ids().len());
            *self.0.borrow_mut() = Some(seen);
            Ok(())
        }
    }
    let mut reactor = Reactor::new().expect("a poller");
    let seen = Seen::default();
    let service = reactor.add_service(Looks(Rc::clone(&seen))).expect("room");
    let listener = reactor
        .listen("127.0.0.1:0", Noting::default())
        .expect("a port");
    let address = reactor.local_addr(listener).expect("a listener");
    let (paused, _one) = spied_pair(&mut reactor, Spy::new("paused", &Diary::default()));
    reactor.at(paused).expect("open").pause_reading();
    let (held, _two) = spied_pair(&mut reactor, Spy::new("held", &Diary::default()));
    let mut cx = reactor.at(held).expect("open");
    cx.set_marks(1, 1, 100 << 20).expect("in range");
    cx.send(&vec![7; 32 << 20]).expect("room");
    let (closing, _three) = spied_pair(&mut reactor, Spy::new("closing", &Diary::default()));
    reactor.at(closing).expect("open").close();
    reactor
        .connect(address, Noting::default())
        .expect("it listens");
    reactor
        .at(service)
        .expect("there")
        .set_timer(Duration::ZERO);
    let before = reactor.gauges();
    assert_eq!(
        (before.connecting, before.closing, before.paused),
        (1, 1, 1)
    );
    assert_eq!((before.held, before.listeners, before.services), (1, 1, 1));
    assert_eq!((before.dispatchers, before.connections), (6, 4));
    assert!(before.queued_bytes > 0 && before.held_bytes >= before.queued_bytes);
    for posted in 1..=2 {
        reactor.handle().post(|_| {}).expect("room");
        assert_eq!(reactor.gauges().posts_waiting, posted);
        let context = reactor.at(service).expect("there");
        assert_eq!(context.gauges().posts_waiting, posted);
    }
    let context = reactor.at(service).expect("there");
    assert_eq!(context.count(), before.dispatchers);
    turn_until(&mut reactor, "the timer", |_| seen.borrow().is_some());
    let (counters, gauges, ids) = seen.take().expect("noted");
    assert_eq!((counters.added, ids), (6, gauges.dispatchers));
    assert!(gauges.held == 1 && before.timers == 2, "{gauges:?}");
    assert!(reactor.ids().contains(&service.any()));
}

#[test]
fn a_deadline_that_runs_is_set_anew_from_now() {
    use slabloop::test::{Clock, connecting, connection, run_for, run_until_quiet};
    let mut reactor = Reactor::builder().clock(Clock::new()).build().unwrap();
    let (_server, socket) = connecting();
    let attempt = reactor.add(socket, Spy::new("client", &Diary::default()));
    let attempt = attempt.unwrap();
    run_for(&mut reactor, SECOND, 100);
    let mut cx = reactor.at(attempt).unwrap();
    cx.set_timeout(Timeout::Connect, Some(2 * SECOND));
    run_for(&mut reactor, 2 * SECOND - Duration::from_millis(1), 100);
    assert!(reactor.at(attempt).is_some());
    run_for(&mut reactor, Duration::from_millis(1), 100);
    assert_eq!(reactor.end_of(attempt), Some(Cause::ConnectTimeout));

    let (peer, socket) = connection();
    peer.set_room(0);
    let id = reactor.add(socket, Spy::new("sender", &Diary::default()));
    let id = id.unwrap();
    let mut cx = reactor.at(id).unwrap();
    cx.send(b"nobody reads this").unwrap();
    cx.close();
    run_until_quiet(&mut reactor, 100);
    run_for(&mut reactor, SECOND, 100);
    let mut cx = reactor.at(id).unwrap();
    cx.set_timeout(Timeout::Close, Some(60 * SECOND));
    run_for(&mut reactor, 59 * SECOND, 100);
    assert!(reactor.at(id).is_some(), "the reactor's is shorter");
    run_for(&mut reactor, SECOND, 100);
    let ended = reactor.end_of(id);
    assert_eq!(ended, Some(Cause::CloseTimeout { unsent: 17 }));
}
