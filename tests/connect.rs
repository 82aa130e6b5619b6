//! Connecting: one outcome each, found out in the right way; attempts that never end; failures that
//! leave nothing behind.

#[cfg_attr(feature = "tls", path = "util/tls.rs")]
#[cfg_attr(not(feature = "tls"), path = "util/plain.rs")]
mod over;
#[path = "util/ports.rs"]
mod ports;
mod util;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use mio::Token;
use ports::closed_port;
use slabloop::testing::{Bits, SimClock, SimKind, SimSocket};
use slabloop::{Context, Dispatcher, Reactor, Socket, SocketOptions};
use socket2::{Domain, SockAddr, Type};
use util::*;

/// A listener whose queue is full and who never accepts: further attempts get no answer at all. What
/// fills the queue lives as long as the value.
struct Silent {
    listener: socket2::Socket,
    address: SocketAddr,
    _waiting: Vec<socket2::Socket>,
}

impl Silent {
    fn new() -> Silent {
        let listener = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener
            .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
            .unwrap();
        listener.listen(1).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let waiting = (0..4)
            .map(|_| {
                let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
                socket.set_nonblocking(true).unwrap();
                let _in_progress = socket.connect(&address.into());
                socket
            })
            .collect();
        Silent {
            listener,
            address,
            _waiting: waiting,
        }
    }
}

/// A path for a Unix socket that no other test has; removed with the value.
struct UnixPath(PathBuf);

impl UnixPath {
    fn new(name: &str) -> UnixPath {
        let file = format!("slabloop-{}-{name}", std::process::id());
        UnixPath(std::env::temp_dir().join(file))
    }
}

impl Drop for UnixPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A socket that connects as a script says.
#[derive(Default)]
struct Scripted {
    /// What is pending, asked for once each event.
    pending: VecDeque<Option<i32>>,
    /// How often `check_connected` still says "not yet".
    not_yet: usize,
    /// The errno that registering fails with.
    register: Option<i32>,
    asked: Rc<Cell<usize>>,
    sent: Rc<RefCell<Vec<u8>>>,
    /// Alive for as long as the socket is.
    _alive: Rc<()>,
}

impl SimSocket for Scripted {
    fn kind(&self) -> SimKind {
        SimKind::Stream
    }

    fn register(&mut self, _: Token) -> io::Result<()> {
        match self.register {
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => Ok(()),
        }
    }

    fn recv(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sent.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn take_error(&mut self) -> io::Result<Option<io::Error>> {
        self.asked.set(self.asked.get() + 1);
        let pending = self.pending.pop_front().flatten();
        Ok(pending.map(io::Error::from_raw_os_error))
    }

    fn check_connected(&mut self) -> io::Result<()> {
        if self.not_yet > 0 {
            self.not_yet -= 1;
            return Err(io::ErrorKind::NotConnected.into());
        }
        Ok(())
    }
}

#[test]
fn a_connection_that_stands_is_told_once_and_what_was_sent_early_leaves_after_it() {
    let mut reactor = Reactor::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let diary = Diary::default();
    let spy = Spy::new("client", &diary).on_connect(|cx| cx.send(b" and late"));
    let received = spy.received();
    let id = over::connect(&mut reactor, listener.local_addr().unwrap(), spy).unwrap();
    reactor.at(id).unwrap().send(b"early").unwrap();
    assert!(diary.all().is_empty(), "connect and send call nothing");
    let (peer, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut peer = [over::server(peer)];
    over::greet(&mut reactor, &mut peer);
    let [mut peer] = peer;
    turn_until(&mut reactor, "the connection", |_| !diary.all().is_empty());
    let mut sent = [0; 14];
    peer.read_exact(&mut sent).unwrap();
    assert_eq!(&sent, b"early and late");
    assert_eq!(reactor.timer_count(), 0, "its deadline is gone");
    peer.write_all(b"hello").unwrap();
    turn_until(&mut reactor, "the answer", |_| {
        *received.borrow() == b"hello"
    });
    drop(peer);
    turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
    let notes = diary.of("client");
    assert_eq!(notes.first().unwrap(), "connect");
    assert_eq!(diary.count("client", "connect"), 1);
    assert_eq!(notes[notes.len() - 2..], ["eof", "close"]);
}

#[test]
fn a_refused_connection_is_one_error_and_then_one_close() {
    let mut reactor = Reactor::new().unwrap();
    let (_bound, address) = closed_port();
    let diary = Diary::default();
    // Whatever handle_error does, it cannot keep it.
    let spy = Spy::new("client", &diary).on_error(|cx| {
        cx.resume_reading();
        cx.start_writing();
        cx.set_timer(Duration::ZERO);
        Ok(())
    });
    let id = over::connect(&mut reactor, address, spy).unwrap();
    reactor.at(id).unwrap().send(b"never sent").unwrap();
    assert!(diary.all().is_empty(), "connect calls nothing");
    turn_until(&mut reactor, "the refusal", |_| !diary.all().is_empty());
    assert_eq!(
        diary.of("client"),
        ["error ConnectionRefused", "close"],
        "in one turn"
    );
    assert!(reactor.at(id).is_none());
    settle(&mut reactor);
    assert_eq!(diary.of("client").len(), 2);
    assert_eq!((reactor.timer_count(), reactor.memory().0), (0, 0));
}

/// corosio #200: a spurious "writable" was taken for a finished connect. Here the kernel really has no
/// answer yet, and is asked for the peer.
#[test]
fn a_writable_event_that_came_too_early_is_no_connection() {
    let mut reactor = Reactor::new().unwrap();
    let silent = Silent::new();
    let diary = Diary::default();
    let id = over::connect(&mut reactor, silent.address, Spy::new("client", &diary)).unwrap();
    for _ in 0..20 {
        reactor.inject(id, Bits::READABLE | Bits::WRITABLE);
        turn_for(&mut reactor, Duration::ZERO);
        assert_eq!(diary.all(), Vec::<String>::new());
    }
    reactor.take_waits();
    turn(&mut reactor);
    assert_eq!(
        reactor.take_waits(),
        [Some(Duration::from_millis(10))],
        "it does not spin"
    );
    reactor.at(id).unwrap().close();
    turn(&mut reactor);
    assert_eq!(
        diary.of("client"),
        ["close"],
        "closed meanwhile: that alone"
    );
}

#[test]
fn an_attempt_asked_too_early_stands_at_the_event_that_counts() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (asked, sent) = (Rc::default(), Rc::default());
    let socket = Scripted {
        not_yet: 3,
        asked: Rc::clone(&asked),
        sent: Rc::clone(&sent),
        ..Scripted::default()
    };
    let id = reactor
        .connect_simulated(Box::new(socket), Spy::new("client", &diary))
        .unwrap();
    reactor.at(id).unwrap().send(b"early").unwrap();
    for _ in 0..3 {
        reactor.inject(id, Bits::WRITABLE | Bits::HUNG_UP);
        turn_for(&mut reactor, Duration::ZERO);
        assert!(diary.all().is_empty() && sent.borrow().is_empty());
    }
    // Input can be announced before the connection: it is no read before its time either.
    reactor.inject(id, Bits::READABLE);
    turn_for(&mut reactor, Duration::ZERO);
    assert!(diary.all().is_empty());
    reactor.inject(id, Bits::WRITABLE);
    turn_for(&mut reactor, Duration::ZERO);
    assert_eq!(diary.of("client")[0], "connect");
    assert_eq!(*sent.borrow(), b"early", "in the flush of the same turn");
    // From here on the question would turn a reset into a clean end.
    let asked_while_connecting = asked.get();
    for _ in 0..5 {
        reactor.inject(id, Bits::READABLE | Bits::WRITABLE);
        turn_for(&mut reactor, Duration::ZERO);
    }
    assert_eq!(asked.get(), asked_while_connecting, "never asked again");
    assert_eq!(diary.count("client", "connect"), 1);
}

/// Every errno counts, those of a disconnect too: who never stood cannot have been disconnected.
#[test]
fn every_pending_errno_is_one_error_and_one_close_whatever_the_event_says() {
    let events = [
        Bits::ERROR,
        Bits::HUNG_UP,
        Bits::WRITABLE,
        Bits::READABLE | Bits::WRITABLE | Bits::ERROR | Bits::HUNG_UP | Bits::READ_CLOSED,
    ];
    let mut reactor = Reactor::new().unwrap();
    for errno in 1..=133 {
        for bits in events {
            let diary = Diary::default();
            let asked = Rc::<Cell<usize>>::default();
            let socket = Scripted {
                // Asked a second time the kernel would say that all is well.
                pending: VecDeque::from([Some(errno), None]),
                asked: Rc::clone(&asked),
                ..Scripted::default()
            };
            let id = reactor
                .connect_simulated(Box::new(socket), Spy::new("client", &diary))
                .unwrap();
            reactor.inject(id, bits);
            turn_for(&mut reactor, Duration::ZERO);
            let kind = io::Error::from_raw_os_error(errno).kind();
            assert_eq!(
                diary.of("client"),
                [format!("error {kind:?}"), "close".to_owned()],
                "errno {errno}, event {bits:#b}"
            );
            assert_eq!(asked.get(), 1, "asked once, and the answer kept");
            assert_eq!((reactor.count(), reactor.timer_count()), (0, 0));
        }
    }
}

#[test]
fn a_unix_connection_that_stands_at_once_is_told_in_a_later_turn() {
    let path = UnixPath::new("at-once");
    let listener = UnixListener::bind(&path.0).unwrap();
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let spy = Spy::new("client", &diary);
    let id = reactor.connect_unix(&path.0, spy).unwrap();
    reactor.at(id).unwrap().send(b"early").unwrap();
    assert!(diary.all().is_empty(), "connect calls nothing");
    turn(&mut reactor);
    assert_eq!(diary.of("client"), ["connect"]);
    let (mut peer, _) = listener.accept().unwrap();
    let mut sent = [0; 5];
    peer.read_exact(&mut sent).unwrap();
    assert_eq!(&sent, b"early");
    settle(&mut reactor);
    assert_eq!(diary.count("client", "connect"), 1);
}

/// asyncore waits for a full Unix queue as if it were in progress, sees "writable" and calls
/// `handle_connect` on a socket that never connected.
#[test]
fn what_a_unix_connect_knows_at_once_is_returned_and_nothing_is_added() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let missing = UnixPath::new("missing");
    let error = reactor
        .connect_unix(&missing.0, Spy::new("client", &diary))
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);

    let left_behind = UnixPath::new("left-behind");
    drop(UnixListener::bind(&left_behind.0).unwrap());
    let error = reactor
        .connect_unix(&left_behind.0, Spy::new("client", &diary))
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);

    let full = UnixPath::new("full");
    let listener = socket2::Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    listener.bind(&SockAddr::unix(&full.0).unwrap()).unwrap();
    listener.listen(1).unwrap();
    let mut connected = 0;
    let error = loop {
        match reactor.connect_unix(&full.0, Spy::new("client", &diary)) {
            Ok(_) => connected += 1,
            Err(error) => break error,
        }
        assert!(connected < 100, "the queue has an end");
    };
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    assert_eq!(reactor.count(), connected);
    settle(&mut reactor);
    assert_eq!(diary.count("client", "connect"), connected);
    assert_eq!(diary.all().len(), connected, "and nothing else was called");
}

/// message-io #119 panicked when the peer's address was missing already.
#[test]
fn a_reset_right_after_the_handshake_is_one_error_and_no_connect() {
    for sends_first in [false, true] {
        let mut reactor = Reactor::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let diary = Diary::default();
        over::connect(
            &mut reactor,
            listener.local_addr().unwrap(),
            Spy::new("client", &diary),
        )
        .unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        if sends_first {
            peer.write_all(b"hello").unwrap();
        }
        reset(peer);
        turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
        assert_eq!(diary.of("client"), ["error ConnectionReset", "close"]);
    }
}

#[test]
fn a_peer_that_finishes_right_after_the_handshake_leaves_a_connection_and_its_end() {
    let mut reactor = Reactor::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let diary = Diary::default();
    let spy = Spy::new("client", &diary);
    let received = spy.received();
    over::connect(&mut reactor, listener.local_addr().unwrap(), spy).unwrap();
    let (peer, _) = listener.accept().unwrap();
    let server = std::thread::spawn(move || {
        let mut peer = over::server(peer);
        peer.write_all(b"all of it").unwrap();
    });
    turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
    server.join().unwrap();
    let notes = diary.of("client");
    assert_eq!(notes[0], "connect");
    assert_eq!(notes[notes.len() - 2..], ["eof", "close"]);
    assert_eq!(*received.borrow(), b"all of it");
}

#[test]
fn an_attempt_that_gets_no_answer_ends_at_its_deadline_and_not_before() {
    let clock = SimClock::new();
    let mut reactor = Reactor::builder().clock(clock.clone()).build().unwrap();
    let silent = Silent::new();
    let diary = Diary::default();
    let id = over::connect(&mut reactor, silent.address, Spy::new("client", &diary)).unwrap();
    settle(&mut reactor);
    assert_eq!(reactor.next_timer(), Some(Duration::from_secs(30)));
    clock.advance(Duration::from_secs(30) - Duration::from_nanos(1));
    turn_for(&mut reactor, Duration::ZERO);
    assert!(diary.all().is_empty(), "not before");
    clock.advance(Duration::from_nanos(1));
    turn_for(&mut reactor, Duration::ZERO);
    assert_eq!(diary.of("client"), ["error TimedOut", "close"]);
    assert_eq!(reactor.counters().deadlines, 1);
    assert_eq!(
        (reactor.count(), reactor.timer_count()),
        (0, 0),
        "the slot is free"
    );
    // The answer comes after all: there is a place in the queue now.
    silent.listener.set_nonblocking(true).unwrap();
    while silent.listener.accept().is_ok() {}
    let stranger = Spy::new("stranger", &diary);
    let (stranger, _peer) = spied_pair(&mut reactor, stranger);
    assert_ne!(stranger.any(), id.any());
    reactor.inject(id, Bits::WRITABLE);
    settle(&mut reactor);
    assert_eq!(reactor.counters().stale, 1, "and reaches nobody");
    assert_eq!(diary.of("client").len(), 2);
    assert_eq!(diary.count("stranger", "connect"), 0);
}

#[test]
fn an_answer_in_the_turn_of_the_deadline_wins_and_one_after_it_loses() {
    let clock = SimClock::new();
    let mut builder = Reactor::builder();
    builder.clock(clock.clone());
    builder.connect_timeout(Duration::from_secs(5));
    let mut reactor = builder.build().unwrap();
    let diary = Diary::default();
    let in_time = reactor
        .connect_simulated(Box::<Scripted>::default(), Spy::new("in time", &diary))
        .unwrap();
    let late = reactor
        .connect_simulated(Box::<Scripted>::default(), Spy::new("late", &diary))
        .unwrap();
    clock.advance(Duration::from_secs(5));
    reactor.inject(in_time, Bits::WRITABLE);
    turn_for(&mut reactor, Duration::ZERO);
    reactor.inject(late, Bits::WRITABLE);
    turn_for(&mut reactor, Duration::ZERO);
    clock.advance(Duration::from_secs(500));
    turn_for(&mut reactor, Duration::ZERO);
    assert_eq!(diary.count("in time", "connect"), 1);
    assert_eq!(diary.count("in time", "error"), 0);
    assert_eq!(diary.of("late"), ["error TimedOut", "close"]);
}

#[test]
fn without_a_deadline_of_ours_the_system_decides() {
    let clock = SimClock::new();
    let mut builder = Reactor::builder();
    builder.clock(clock.clone()).connect_timeout(None);
    let mut reactor = builder.build().unwrap();
    let silent = Silent::new();
    let diary = Diary::default();
    over::connect(&mut reactor, silent.address, Spy::new("client", &diary)).unwrap();
    assert_eq!(reactor.timer_count(), 0);
    clock.advance(Duration::from_secs(100_000));
    settle(&mut reactor);
    assert!(diary.all().is_empty());
    assert_eq!(reactor.count(), 1);
}

/// Connects again whenever it ends, until there have been enough.
struct Stubborn {
    address: SocketAddr,
    tally: Rc<Tally>,
}

#[derive(Default)]
struct Tally {
    left: Cell<usize>,
    errors: Cell<usize>,
    closes: Cell<usize>,
}

impl Dispatcher for Stubborn {
    fn handle_connect(&mut self, _: &mut Context<'_>) -> io::Result<()> {
        panic!("nobody listens there");
    }

    fn handle_error(&mut self, _: &mut Context<'_>, error: io::Error) {
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        self.tally.errors.set(self.tally.errors.get() + 1);
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        let tally = &self.tally;
        tally.closes.set(tally.closes.get() + 1);
        if tally.left.get() > 0 {
            tally.left.set(tally.left.get() - 1);
            let again = Stubborn {
                address: self.address,
                tally: Rc::clone(tally),
            };
            cx.connect(self.address, again).unwrap();
        }
    }
}

#[test]
fn ten_thousand_refusals_are_as_many_errors_and_closes_in_as_few_turns() {
    const ATTEMPTS: usize = 10_000;
    const AT_ONCE: usize = 50;
    let (_bound, address) = closed_port();
    let mut reactor = Reactor::new().unwrap();
    let tally = Rc::<Tally>::default();
    tally.left.set(ATTEMPTS - AT_ONCE);
    for _ in 0..AT_ONCE {
        let tally = Rc::clone(&tally);
        over::connect(&mut reactor, address, Stubborn { address, tally }).unwrap();
    }
    turn_until(&mut reactor, "all attempts", |reactor| reactor.count() == 0);
    assert_eq!(
        (tally.errors.get(), tally.closes.get()),
        (ATTEMPTS, ATTEMPTS)
    );
    let counters = reactor.counters();
    assert_eq!(counters.panics, 0);
    assert!(
        counters.turns <= 2 * ATTEMPTS as u64,
        "{} turns: it does not spin between attempts",
        counters.turns
    );
    assert_eq!(
        counters.callbacks,
        2 * ATTEMPTS as u64,
        "and nothing else was called"
    );
    assert!(
        reactor.memory().1 <= 2 * AT_ONCE,
        "the slab is as large as the peak asks"
    );
}

/// Says when it is dropped, and must not be called.
struct Unborn(Rc<Cell<usize>>);

impl Dispatcher for Unborn {
    fn handle_error(&mut self, _: &mut Context<'_>, error: io::Error) {
        panic!("it was never added: {error}");
    }

    fn handle_close(&mut self, _: &mut Context<'_>) {
        panic!("it was never added");
    }
}

impl Drop for Unborn {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn what_fails_at_once_is_returned_and_leaves_nothing_behind() {
    const EADDRNOTAVAIL: i32 = 99;
    let mut reactor = Reactor::new().unwrap();
    let dropped = Rc::<Cell<usize>>::default();
    let unborn = || Unborn(Rc::clone(&dropped));
    let mut attempts = 0;

    // What the kernel of this machine refuses by itself: no such address here; broadcast.
    let error = reactor.listen("192.0.2.1:0", unborn()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(EADDRNOTAVAIL));
    assert!(reactor.bind_udp("192.0.2.1:0", unborn()).is_err());
    assert!(reactor.connect("255.255.255.255:9", unborn()).is_err());
    attempts += 3;

    // An option out of range, on a name that stands for several addresses.
    let mut options = SocketOptions::new();
    options.keepalive(Duration::from_millis(1));
    let error = reactor
        .connect_with("localhost:9", &options, unborn())
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    attempts += 1;

    // Every errno, from the call that connects and from registering.
    for errno in 1..=133 {
        let alive = Rc::new(());
        let socket = |register| {
            let socket: Box<dyn SimSocket> = Box::new(Scripted {
                register,
                _alive: Rc::clone(&alive),
                ..Scripted::default()
            });
            socket
        };
        let error = reactor
            .connect_simulated(socket(Some(errno)), unborn())
            .unwrap_err();
        assert_eq!(error.raw_os_error(), Some(errno), "registering");
        attempts += 1;
        const EINTR: i32 = 4;
        const EINPROGRESS: i32 = 115;
        if errno == EINTR || errno == EINPROGRESS {
            continue;
        }
        let outcome = Err(io::Error::from_raw_os_error(errno));
        let error = reactor
            .connect_prepared(socket(None), outcome, unborn())
            .unwrap_err();
        assert_eq!(error.raw_os_error(), Some(errno), "connecting");
        attempts += 1;
        assert_eq!(Rc::strong_count(&alive), 1, "the socket is gone");
    }
    assert_eq!(dropped.get(), attempts, "each dispatcher was dropped");
    turn_for(&mut reactor, Duration::ZERO);
    assert_eq!(
        (reactor.count(), reactor.timer_count(), reactor.memory()),
        (0, 0, (0, 0))
    );
    assert_eq!(reactor.counters().callbacks, 0);
}

#[test]
fn an_attempt_in_progress_or_interrupted_goes_on() {
    let mut reactor = Reactor::new().unwrap();
    for errno in [4, 115] {
        let diary = Diary::default();
        let socket: Box<dyn SimSocket> = Box::<Scripted>::default();
        let outcome = Err(io::Error::from_raw_os_error(errno));
        let id = reactor
            .connect_prepared(socket, outcome, Spy::new("client", &diary))
            .unwrap();
        turn_for(&mut reactor, Duration::ZERO);
        assert!(diary.all().is_empty());
        reactor.inject(id, Bits::WRITABLE);
        turn_for(&mut reactor, Duration::ZERO);
        assert_eq!(diary.of("client")[0], "connect");
    }
}

/// Runs as a child with few descriptors; see the next test.
#[test]
#[ignore = "a role for a child process"]
fn child_connects_without_descriptors() {
    if std::env::var_os("SLABLOOP_CHILD").is_none() {
        return;
    }
    let mut reactor = Reactor::new().unwrap();
    let (_bound, address) = closed_port();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut filling = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        filling.push(file);
    }
    let dropped = Rc::<Cell<usize>>::default();
    for _ in 0..1000 {
        let error = reactor
            .connect(address, Unborn(Rc::clone(&dropped)))
            .unwrap_err();
        assert_eq!(error.raw_os_error(), Some(24), "EMFILE");
        let error = Socket::dial(address).expect_err("for a layer neither");
        assert_eq!(error.raw_os_error(), Some(24), "EMFILE");
        assert!(
            reactor
                .listen("127.0.0.1:0", Unborn(Rc::clone(&dropped)))
                .is_err()
        );
    }
    assert_eq!(dropped.get(), 2000);
    assert_eq!(reactor.count(), 0);
    // One descriptor again, and it works again, also a thousand times.
    filling.pop();
    let diary = Diary::default();
    for _ in 0..1000 {
        reactor
            .connect(address, Spy::new("client", &diary))
            .unwrap();
        turn_until(&mut reactor, "the refusal", |reactor| reactor.count() == 0);
    }
    assert_eq!(diary.count("client", "error ConnectionRefused"), 1000);
    assert_eq!(diary.count("client", "close"), 1000);
    reactor
        .connect(listener.local_addr().unwrap(), Spy::new("last", &diary))
        .unwrap();
    turn_until(&mut reactor, "the connection", |_| {
        diary.count("last", "connect") == 1
    });
}

#[test]
fn connecting_without_descriptors_is_an_error_at_once_and_works_again_afterwards() {
    let status = std::process::Command::new("sh")
        .args(["-c", "ulimit -n 40; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child_connects_without_descriptors"])
        .args(["--ignored", "--nocapture", "--test-threads=1"])
        .env("SLABLOOP_CHILD", "1")
        .env("RUST_BACKTRACE", "0")
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
}

/// muduo checks for it, having met it: who retries a port of the ephemeral range is one day given that
/// very port as its own, and TCP lets the socket connect to itself. A proxy would then talk to itself
/// until no descriptor is left.
#[test]
fn a_socket_connected_to_itself_is_refused() {
    let mut reactor = Reactor::new().unwrap();
    let (socket, address) = closed_port();
    socket.connect(&address.into()).unwrap();
    assert_eq!(
        socket.peer_addr().unwrap().as_socket(),
        socket.local_addr().unwrap().as_socket(),
        "this kernel does it"
    );
    socket.set_nonblocking(true).unwrap();
    let diary = Diary::default();
    let message = Rc::<RefCell<String>>::default();
    struct Teller(Spy, Rc<RefCell<String>>);
    impl Dispatcher for Teller {
        fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            self.0.handle_connect(cx)
        }
        fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
            *self.1.borrow_mut() = error.to_string();
            self.0.handle_error(cx, error);
        }
        fn handle_close(&mut self, cx: &mut Context<'_>) {
            self.0.handle_close(cx);
        }
    }
    let teller = Teller(Spy::new("client", &diary), Rc::clone(&message));
    let stream = TcpStream::from(socket);
    let id = reactor.connect_prepared(stream, Ok(()), teller).unwrap();
    reactor.at(id).unwrap().send(b"to whom?").unwrap();
    turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
    assert_eq!(diary.of("client"), ["error ConnectionRefused", "close"]);
    assert!(message.borrow().contains("itself"), "{}", message.borrow());
    assert_eq!(reactor.counters().bytes_out, 0);
}

/// What `Context::connect` does not take, a name, is looked up elsewhere: in a thread that posts what
/// it found. (That a name does not compile there is a test of its documentation.)
#[test]
fn a_name_is_looked_up_in_a_thread_that_posts_the_address() {
    let mut reactor = Reactor::new().unwrap();
    let (_, address) = serve(&mut reactor, || Echo);
    let handle = reactor.handle();
    let connected = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    struct Client(std::sync::Arc<std::sync::atomic::AtomicBool>);
    impl Dispatcher for Client {
        fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
            // An address is what a callback may connect to.
            let peer = cx.peer().unwrap();
            cx.connect(peer, Echo)?;
            Ok(())
        }
    }
    let told = std::sync::Arc::clone(&connected);
    let lookup = std::thread::spawn(move || {
        let mut found = ("localhost", address.port()).to_socket_addrs().unwrap();
        let address = found.find(SocketAddr::is_ipv4).unwrap();
        let posted = handle.post(move |reactor| {
            reactor.connect(address, Client(told)).unwrap();
        });
        posted.unwrap();
    });
    turn_until(&mut reactor, "both connections", |reactor| {
        reactor.counters().accepted == 2
    });
    lookup.join().unwrap();
    assert!(connected.load(std::sync::atomic::Ordering::Relaxed));
}

/// The kernel has established it, and the loop does not know yet.
#[test]
fn an_attempt_that_is_aborted_with_bytes_queued_ends_in_a_reset_for_who_has_accepted_it() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a listener has an address");
    let mut reactor = Reactor::new().expect("a poller");
    for queues in [true, false] {
        let spy = Spy::new("attempt", &Diary::default());
        let id = reactor.connect(address, spy).expect("a local address");
        let (mut server, _) = listener.accept().expect("loopback connects");
        let mut cx = reactor.at(id).expect("connecting");
        if queues {
            cx.send(b"never sent").expect("it is queued");
        }
        cx.abort();
        turn(&mut reactor);
        let read = server.read(&mut [0; 16]).map_err(|error| error.kind());
        let expected = if queues {
            Err(io::ErrorKind::ConnectionReset)
        } else {
            Ok(0)
        };
        assert_eq!(read, expected, "bytes queued: {queues}");
    }
}

#[test]
fn a_connection_is_connecting_until_its_handle_connect() {
    let mut reactor = Reactor::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let diary = Diary::default();
    let seen = Rc::new(Cell::new(None));
    let sees = Rc::clone(&seen);
    let client = Spy::new("client", &diary).on_connect(move |cx| {
        sees.set(Some(cx.is_connecting()));
        Ok(())
    });
    let id = reactor
        .connect(listener.local_addr().unwrap(), client)
        .unwrap();
    assert!(reactor.at(id).unwrap().is_connecting());
    turn_until(&mut reactor, "the connection", |_| seen.get().is_some());
    assert_eq!(seen.get(), Some(false));
    assert!(!reactor.at(id).unwrap().is_connecting());
    reactor.at(id).unwrap().close();
    assert!(!reactor.at(id).unwrap().is_connecting());
}

/// The next address is tried when one fails at once, and not while an attempt is under way.
#[test]
fn of_several_addresses_the_first_that_can_be_tried_is_taken() {
    let mut reactor = Reactor::new().unwrap();
    let (first, second) = (
        TcpListener::bind("127.0.0.1:0").unwrap(),
        TcpListener::bind("127.0.0.1:0").unwrap(),
    );
    let addresses = [first.local_addr().unwrap(), second.local_addr().unwrap()];
    let diary = Diary::default();
    reactor
        .connect(&addresses[..], Spy::new("client", &diary))
        .unwrap();
    turn_until(&mut reactor, "the connection", |_| {
        diary.count("client", "connect") == 1
    });
    second.set_nonblocking(true).unwrap();
    assert!(second.accept().is_err(), "nobody has come here");
    first.accept().unwrap();

    // No stream goes to a broadcast address, which the system says at once.
    let addresses = [SocketAddr::from(([255; 4], 9)), addresses[0]];
    reactor
        .connect(&addresses[..], Spy::new("other", &diary))
        .unwrap();
    turn_until(&mut reactor, "the connection", |_| {
        diary.count("other", "connect") == 1
    });
    assert_eq!(diary.count("other", "error"), 0);
    first.accept().unwrap();
}
