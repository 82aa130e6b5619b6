//! Defects that programs written against the crate met, one test each, so that they cannot come back.

mod util;

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::rc::Rc;
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

use slabloop::framing::{Framed, Framing, Handler, Terminator};
use slabloop::testing::{Bits, SimClock, SimKind, SimSocket};
use slabloop::{
    AnyId, Below, Cause, Context, Dispatcher, Id, Layer, PanicPolicy, Priority, Reactor, Socket,
    TimerId,
};
use util::*;

// ---------------------------------------------------------------------------------------------------
// What is logged, by this thread.

static LINES: Mutex<Vec<(std::thread::ThreadId, log::Level, String)>> = Mutex::new(Vec::new());

struct Capture;

impl log::Log for Capture {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        let line = (
            std::thread::current().id(),
            record.level(),
            record.args().to_string(),
        );
        LINES.lock().expect("no panic inside").push(line);
    }
    fn flush(&self) {}
}

fn capture() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Capture).expect("there is no other");
        log::set_max_level(log::LevelFilter::Debug);
    });
}

fn logged(level: log::Level) -> Vec<String> {
    let me = std::thread::current().id();
    let lines = LINES.lock().expect("no panic inside");
    lines
        .iter()
        .filter(|line| line.0 == me && line.1 == level)
        .map(|line| line.2.clone())
        .collect()
}

// ---------------------------------------------------------------------------------------------------
// Memory.

/// 300 peers that read all but the last 20 kB of 4 MiB held 1.2 GB of which 5 MiB were counted.
#[test]
fn what_the_outboxes_hold_is_bounded_by_what_is_counted() {
    const PEERS: usize = 100;
    const SENT: usize = 1 << 20;
    const BOUND: usize = 4 << 20;
    let mut builder = Reactor::builder();
    builder.hard_cap(2 * SENT).max_queued(BOUND);
    let mut reactor = builder.build().expect("a poller");
    let mut peers = Vec::new();
    for _ in 0..PEERS {
        let (ours, peer) = unix_pair();
        peer.set_nonblocking(true).expect("a socket");
        socket2::SockRef::from(&ours)
            .set_send_buffer_size(4096)
            .expect("a socket");
        let id = reactor.add(ours, Echo).expect("a stream");
        reactor
            .at(id)
            .expect("open")
            .send(&pattern(1, SENT))
            .expect("below the cap");
        peers.push((peer, SENT - 20_000));
        // Each reads all but its last bytes before the next one comes.
        let (peer, left) = peers.last_mut().expect("just pushed");
        let mut buffer = vec![0; 64 * 1024];
        while *left > 0 {
            turn_for(&mut reactor, Duration::ZERO);
            let want = buffer.len().min(*left);
            if let Ok(count) = peer.read(&mut buffer[..want]) {
                *left -= count;
            }
        }
    }
    let (queued, _) = reactor.memory();
    assert!(queued > 10_000 * PEERS, "{queued} bytes are queued");
    let held = reactor.held_memory();
    assert!(
        held <= 2 * queued,
        "{held} bytes of memory for {queued} queued"
    );
}

// ---------------------------------------------------------------------------------------------------
// Connecting.

struct Nothing;
impl Dispatcher for Nothing {}

/// A connection attempt that succeeds when it is told to, and whose peer takes nothing.
struct Silent(Rc<Cell<bool>>);

impl SimSocket for Silent {
    fn kind(&self) -> SimKind {
        SimKind::Stream
    }

    fn recv(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn send(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn check_connected(&mut self) -> io::Result<()> {
        match self.0.get() {
            true => Ok(()),
            false => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// A completed connect cancelled all deadlines but the user's, the patience with a broadcast among them.
#[test]
fn a_receiver_that_was_connecting_when_it_filled_up_holds_its_sender_for_the_patience_only() {
    const PATIENCE: Duration = Duration::from_millis(250);
    let clock = SimClock::new();
    let mut builder = Reactor::builder();
    builder.clock(clock.clone()).broadcast_patience(PATIENCE);
    let mut reactor = builder.build().expect("a poller");
    let established = Rc::new(Cell::new(false));
    let socket = Silent(Rc::clone(&established));
    let receiver = reactor.connect_simulated(Box::new(socket), Nothing);
    let receiver = receiver.expect("under way");
    let (ours, mut peer) = unix_pair();
    let to = receiver.any();
    let sender = Sender { to, bytes: 900_000 };
    let sender = reactor.add(ours, sender).expect("a stream");
    peer.write_all(b"x").expect("room");
    turn_until(&mut reactor, "the hold", |reactor| {
        !reactor.at(sender).expect("open").is_reading()
    });
    established.set(true);
    reactor.inject(receiver, Bits::WRITABLE);
    turn_for(&mut reactor, Duration::ZERO);
    let state = format!("{:?}", reactor.at(receiver).expect("open"));
    assert!(state.contains("connected"), "{state}");
    assert!(
        !reactor.at(sender).expect("open").is_reading(),
        "it still waits"
    );
    clock.advance(2 * PATIENCE);
    turn_for(&mut reactor, Duration::ZERO);
    clock.advance(2 * PATIENCE);
    turn_for(&mut reactor, Duration::ZERO);
    assert!(
        reactor.at(sender).expect("open").is_reading(),
        "patience is over"
    );
}

/// Broadcasts so much when it is sent something.
struct Sender {
    to: AnyId,
    bytes: usize,
}

impl Dispatcher for Sender {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv(&mut [0; 64])?;
        cx.broadcast([self.to], &pattern(2, self.bytes));
        Ok(())
    }
}

#[test]
fn a_connection_closed_while_it_is_made_fires_no_timer_and_refuses_as_documented() {
    struct Timed;
    impl Dispatcher for Timed {
        fn handle_timer(&mut self, _: &mut Context<'_>, _: TimerId) -> io::Result<()> {
            unreachable!("it was closed");
        }
    }
    let mut reactor = Reactor::new().expect("a poller");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let id = reactor.connect(address, Timed).expect("under way");
    let mut cx = reactor.at(id).expect("connecting");
    cx.set_timer(Duration::ZERO);
    cx.send(b"accepted").expect("it is queued");
    cx.close();
    cx.set_timer(Duration::ZERO);
    let not_connected = |result: io::Result<()>| {
        assert_eq!(
            result.map_err(|e| e.kind()),
            Err(io::ErrorKind::NotConnected)
        );
    };
    not_connected(cx.send(b"late"));
    not_connected(cx.recv(&mut [0; 8]).map(|_| ()));
    assert!(cx.is_closing());
    let (mut peer, _) = listener.accept().expect("it connects");
    let reader = std::thread::spawn(move || {
        let mut received = Vec::new();
        peer.read_to_end(&mut received).map(|_| received)
    });
    turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
    let received = reader.join().expect("it reads").expect("a clean end");
    assert_eq!(received, b"accepted");
}

/// While all outboxes together are over their bound, a source that feeds a connection still being made was
/// read on.
#[test]
fn over_the_total_bound_a_connecting_sink_holds_its_source() {
    let mut builder = Reactor::builder();
    builder.max_queued(50_000);
    let mut reactor = builder.build().expect("a poller");
    let (full, _unread) = unix_pair();
    socket2::SockRef::from(&full)
        .set_send_buffer_size(4096)
        .expect("a socket");
    let full = reactor.add(full, Nothing).expect("a stream");
    reactor
        .at(full)
        .expect("open")
        .send(&[7; 200_000])
        .expect("below the cap");
    turn_for(&mut reactor, Duration::ZERO);
    assert_eq!(reactor.counters().over_total, 1);
    // A listener whose queue is full never answers, so the connection stays in the making.
    let (sink, _listener, _fillers) = connecting(&mut reactor);
    let (source, _peer) = unix_pair();
    let source = reactor.add(source, Nothing).expect("a stream");
    reactor.at(source).expect("open").feeds(sink);
    assert!(reactor.at(source).expect("open").is_reading());
    reactor
        .at(sink)
        .expect("connecting")
        .send(b"something")
        .expect("queued");
    assert!(!reactor.at(source).expect("open").is_reading());
}

/// A connection that stays in the making, and what keeps it there.
fn connecting(reactor: &mut Reactor) -> (Id<Nothing>, TcpListener, Vec<socket2::Socket>) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("descriptors");
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).expect("a port");
    socket.listen(0).expect("a listener");
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().expect("bound");
    let mut fillers = Vec::new();
    for _ in 0..4 {
        let filler = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let filler = filler.expect("descriptors");
        filler.set_nonblocking(true).expect("a socket");
        let _ = filler.connect(&address.into());
        fillers.push(filler);
    }
    let id = reactor.connect(address, Nothing).expect("under way");
    (id, listener, fillers)
}

// ---------------------------------------------------------------------------------------------------
// The log.

/// A client's own path went into log lines raw, line feeds and escapes included.
#[test]
fn a_path_that_a_client_chose_is_escaped_in_its_label() {
    let folder = std::env::temp_dir().join(format!("slabloop-label-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let listening = folder.join("listener");
    let evil = folder.join("a\nERROR all is lost\u{1b}[31m\u{202e}");
    let listener = UnixListener::bind(&listening).expect("a path");
    let client = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
    let client = client.expect("descriptors");
    client
        .bind(&socket2::SockAddr::unix(&evil).expect("a path"))
        .expect("a path");
    client
        .connect(&socket2::SockAddr::unix(&listening).expect("a path"))
        .expect("it listens");
    let (ours, _) = listener.accept().expect("a client");
    let mut reactor = Reactor::new().expect("a poller");
    let id = reactor.add(ours, Echo).expect("a stream");
    let cx = reactor.at(id).expect("open");
    let label = cx.label().to_string();
    assert!(
        label.chars().all(|c| !c.is_control() && c != '\u{202e}'),
        "{label}"
    );
    assert!(label.contains("a\\nERROR"), "{label}");
    assert_eq!(cx.peer_path(), Some(evil.as_path()), "as it is");
    assert_eq!(cx.peer(), None);
    std::fs::remove_dir_all(&folder).expect("our own folder");
}

/// A cut connection is the network's doing, whoever has dialled; another error of a layer's is for people to look at.
#[test]
fn a_stream_that_is_cut_below_its_layer_is_no_warning_and_another_failure_of_the_layer_is() {
    struct Fails(io::ErrorKind);
    impl Layer for Fails {
        fn handshake(&mut self, _: &mut Below<'_>) -> io::Result<()> {
            Ok(())
        }
        fn recv(&mut self, below: &mut Below<'_>, buffer: &mut [u8]) -> io::Result<usize> {
            let _ = below.read(buffer)?;
            Err(self.0.into())
        }
        fn send(&mut self, below: &mut Below<'_>, bytes: &[u8]) -> io::Result<usize> {
            below.write(bytes)
        }
        fn finish(&mut self, _: &mut Below<'_>) -> io::Result<()> {
            Ok(())
        }
    }
    capture();
    for (kind, is_warned_of) in [
        (io::ErrorKind::UnexpectedEof, false),
        (io::ErrorKind::OutOfMemory, true),
    ] {
        for is_outgoing in [false, true] {
            let mut reactor = Reactor::new().expect("a poller");
            let (peer, socket) = if is_outgoing {
                slabloop::test::connecting()
            } else {
                slabloop::test::connection()
            };
            // Its `handle_error` is the default, which writes a line.
            reactor
                .add(socket.layered(Fails(kind)), Echo)
                .expect("a stream");
            peer.establish();
            slabloop::test::run_until_quiet(&mut reactor, 100);
            let before = logged(log::Level::Warn).len();
            peer.send("x");
            slabloop::test::run_until_quiet(&mut reactor, 100);
            assert!(peer.is_closed());
            let lines = logged(log::Level::Warn).split_off(before);
            let case = format!("{kind:?}, outgoing: {is_outgoing}: {lines:?}");
            assert_eq!(lines.len(), usize::from(is_warned_of), "{case}");
        }
    }
}

/// One limit for all made four faults of four connections one line; the others were "more like this".
#[test]
fn faults_of_one_kind_do_not_hide_those_of_another_and_peers_make_no_errors() {
    capture();
    let kinds = [
        io::ErrorKind::InvalidData,
        io::ErrorKind::TimedOut,
        io::ErrorKind::Other,
    ];
    struct Faulty(io::ErrorKind);
    impl Dispatcher for Faulty {
        fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            cx.recv(&mut [0; 8])?;
            Err(self.0.into())
        }
    }
    let mut reactor = Reactor::new().expect("a poller");
    for round in 0..30 {
        let (ours, mut peer) = unix_pair();
        let kind = kinds[round % kinds.len()];
        reactor.add(ours, Faulty(kind)).expect("a stream");
        peer.write_all(b"x").expect("room");
        turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
    }
    drop(reactor);
    let lines = logged(log::Level::Warn);
    for kind in kinds {
        let mentions = lines.iter().filter(|line| line.contains(&kind.to_string()));
        assert!(mentions.count() >= 1, "{kind}: {lines:?}");
    }
    let held: usize = lines
        .iter()
        .filter_map(|line| line.strip_suffix(" more were not logged"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok())
        .sum();
    assert_eq!(held, 27, "three lines, and the rest is counted: {lines:?}");
    assert!(logged(log::Level::Error).is_empty());
}

#[test]
fn the_line_about_a_close_gives_the_reason() {
    capture();
    let mut reactor = Reactor::new().expect("a poller");
    let (ours, _peer) = unix_pair();
    let id = reactor.add(ours, Echo).expect("a stream");
    reactor.at(id).expect("open").abort();
    turn_for(&mut reactor, Duration::ZERO);
    let lines = logged(log::Level::Debug);
    assert!(
        lines.iter().any(|line| line.ends_with("closed: aborted")),
        "{lines:?}"
    );
}

// ---------------------------------------------------------------------------------------------------
// Costs that grow with what a peer does.

/// Senders that had gone stayed on the lists of receivers that never drained.
#[test]
fn a_receiver_that_never_drains_remembers_no_sender_that_has_gone() {
    let mut builder = Reactor::builder();
    builder
        .broadcast_patience(Duration::from_secs(3600))
        .hard_cap(64 << 20);
    let mut reactor = builder.build().expect("a poller");
    let (slow, _unread) = unix_pair();
    socket2::SockRef::from(&slow)
        .set_send_buffer_size(4096)
        .expect("a socket");
    let slow = reactor.add(slow, Nothing).expect("a stream").any();
    for _ in 0..500 {
        let (ours, mut peer) = unix_pair();
        let sender = Sender {
            to: slow,
            bytes: 80_000,
        };
        let id = reactor.add(ours, sender).expect("a stream");
        peer.write_all(b"x").expect("room");
        turn_until(&mut reactor, "the hold", |reactor| {
            !reactor.at(id).expect("open").is_reading()
        });
        reactor.at(id).expect("open").abort();
        turn_for(&mut reactor, Duration::ZERO);
    }
    assert_eq!(reactor.count(), 1);
    // `check_invariants`, which every turn runs, would find a hold of nobody's.
    reactor.check_invariants();
}

// ---------------------------------------------------------------------------------------------------
// Panics.

#[test]
fn a_panic_in_a_with_closure_is_logged_with_the_name_of_the_dispatcher_it_was_given() {
    struct Torn;
    impl Dispatcher for Torn {}
    struct Caller(Id<Torn>);
    impl Dispatcher for Caller {
        fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            cx.with(self.0, |_, _| panic!("wanted"));
            Ok(())
        }
    }
    capture();
    let mut reactor = Reactor::new().expect("a poller");
    let (ours, _peer) = unix_pair();
    let torn = reactor.add(ours, Torn).expect("a stream");
    let (ours, mut peer) = unix_pair();
    let caller = reactor.add(ours, Caller(torn)).expect("a stream");
    peer.write_all(b"x").expect("room");
    turn_until(&mut reactor, "the ends", |reactor| reactor.count() == 0);
    assert_eq!(reactor.end_of(torn), Some(Cause::Panic));
    assert_eq!(reactor.end_of(caller), Some(Cause::Panic));
    let lines = logged(log::Level::Error);
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("Torn ") && line.contains("Caller")),
        "{lines:?}"
    );
}

#[test]
fn the_invariants_hold_after_a_panic_in_the_last_dispatchers_drop() {
    struct Bomb;
    impl Dispatcher for Bomb {}
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("wanted");
        }
    }
    for policy in [PanicPolicy::Contain, PanicPolicy::Propagate] {
        let mut builder = Reactor::builder();
        let mut reactor = builder.panic_policy(policy).build().expect("a poller");
        let (ours, _peer) = unix_pair();
        let id = reactor.add(ours, Bomb).expect("a stream");
        reactor.at(id).expect("open").abort();
        let turned = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            reactor.turn(Duration::ZERO)
        }));
        assert_eq!(turned.is_err(), policy == PanicPolicy::Propagate);
        turn_for(&mut reactor, Duration::ZERO);
        reactor.check_invariants();
        assert_eq!(reactor.count(), 0);
    }
}

#[test]
fn the_invariants_hold_after_a_send_over_the_cap_between_turns() {
    let mut reactor = Reactor::new().expect("a poller");
    let (ours, _peer) = unix_pair();
    let id = reactor.add(ours, Nothing).expect("a stream");
    let mut cx = reactor.at(id).expect("open");
    let too_much = vec![7; cx.hard_cap() + 1];
    let error = cx.send(&too_much).expect_err("it does not fit");
    assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
    reactor.check_invariants();
    turn_for(&mut reactor, Duration::ZERO);
    assert!(matches!(
        reactor.end_of(id),
        Some(Cause::OverCap { unsent: 0 })
    ));
}

// ---------------------------------------------------------------------------------------------------
// Time.

#[test]
fn slow_posts_and_closures_are_measured_like_callbacks() {
    capture();
    let clock = SimClock::new();
    let mut builder = Reactor::builder();
    builder
        .clock(clock.clone())
        .slow_callback(Duration::from_millis(100));
    let mut reactor = builder.build().expect("a poller");
    let (in_post, in_closure) = (clock.clone(), clock.clone());
    let post = move |_: &mut Reactor| in_post.advance(Duration::from_millis(300));
    reactor.handle().post(post).expect("room");
    turn_for(&mut reactor, Duration::ZERO);
    assert_eq!(reactor.counters().slow_callbacks, 1);
    reactor.call_later(Duration::ZERO, move |_| {
        in_closure.advance(Duration::from_secs(2));
    });
    turn_for(&mut reactor, Duration::ZERO);
    let counters = reactor.counters();
    assert_eq!(
        (counters.slow_callbacks, counters.slowest_us),
        (2, 2_000_000)
    );
    let lines = logged(log::Level::Warn);
    assert!(
        lines.iter().any(|line| line.contains("a posted closure")),
        "{lines:?}"
    );
}

#[test]
fn a_timer_set_in_handle_close_is_refused_with_a_sentence() {
    struct Hopeful;
    impl Dispatcher for Hopeful {
        fn handle_timer(&mut self, _: &mut Context<'_>, _: TimerId) -> io::Result<()> {
            unreachable!("it has closed");
        }
        fn handle_close(&mut self, cx: &mut Context<'_>) {
            let timer = cx.set_timer(Duration::ZERO);
            assert!(!cx.cancel_timer(timer), "it was never set");
        }
    }
    capture();
    let mut reactor = Reactor::new().expect("a poller");
    let (ours, _peer) = unix_pair();
    let id = reactor.add(ours, Hopeful).expect("a stream");
    reactor.at(id).expect("open").abort();
    turn_for(&mut reactor, Duration::ZERO);
    turn_for(&mut reactor, Duration::ZERO);
    let lines = logged(log::Level::Warn);
    assert!(
        lines.iter().any(|line| line.contains("never fires")),
        "{lines:?}"
    );
}

/// Each post from the loop's own thread cost a wake-up: 10,000 posts, 9,999 events.
#[test]
fn posts_from_the_loops_own_thread_wake_nobody() {
    const POSTS: u32 = 10_000;
    fn again(reactor: &mut Reactor, left: u32) {
        match left {
            0 => reactor.stop(),
            _ => {
                let handle = reactor.handle();
                handle
                    .post(move |reactor| again(reactor, left - 1))
                    .expect("room");
            }
        }
    }
    let mut reactor = Reactor::new().expect("a poller");
    again(&mut reactor, POSTS);
    reactor.run().expect("the loop works");
    let counters = reactor.counters();
    assert_eq!(counters.posts, u64::from(POSTS));
    assert!(counters.events <= 1, "{} events", counters.events);
}

/// A million posts held a timer of a millisecond up for 141 ms.
#[test]
fn posts_that_take_long_give_way_to_timers() {
    let clock = SimClock::new();
    let mut builder = Reactor::builder();
    builder
        .clock(clock.clone())
        .posts_per_turn(1_000_000)
        .posts_time(Duration::from_millis(1));
    let mut reactor = builder.build().expect("a poller");
    let ran = Rc::new(Cell::new(0));
    let fired = Rc::new(Cell::new(None));
    let handle = reactor.handle();
    static RUN: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    for _ in 0..10_000 {
        let clock = clock.clone();
        let job = move |_: &mut Reactor| {
            RUN.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            clock.advance(Duration::from_micros(10));
        };
        handle.post(job).expect("room");
    }
    let (seen, count) = (Rc::clone(&fired), Rc::clone(&ran));
    reactor.call_later(Duration::from_millis(1), move |_| {
        count.set(RUN.load(std::sync::atomic::Ordering::Relaxed));
        seen.set(Some(count.get()));
    });
    turn_until(&mut reactor, "the timer", |_| fired.get().is_some());
    assert!(ran.get() <= 256, "{} posts ran first", ran.get());
    turn_until(&mut reactor, "all posts", |reactor| {
        reactor.counters().posts == 10_000
    });
}

// ---------------------------------------------------------------------------------------------------
// Endings.

#[test]
fn close_all_returns_although_every_handle_close_adds_a_successor_and_ends_it() {
    struct Hydra(Rc<Cell<u32>>);
    impl Dispatcher for Hydra {
        fn handle_close(&mut self, cx: &mut Context<'_>) {
            self.0.set(self.0.get() + 1);
            if self.0.get() < 10_000 {
                let (ours, _) = unix_pair();
                if cx.add(ours, Hydra(Rc::clone(&self.0))).is_ok() {
                    cx.close_all();
                }
            }
        }
    }
    let mut reactor = Reactor::new().expect("a poller");
    let heads = Rc::new(Cell::new(0));
    let (ours, _peer) = unix_pair();
    reactor
        .add(ours, Hydra(Rc::clone(&heads)))
        .expect("a stream");
    reactor.close_all();
    assert!(heads.get() < 10, "{} in one close_all", heads.get());
}

#[test]
fn quota_exceeded_that_is_ignored_and_followed_by_close_still_reaches_handle_error() {
    struct Careless(Diary);
    impl Dispatcher for Careless {
        fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            cx.recv(&mut [0; 8])?;
            let _ = cx.send(&vec![7; cx.hard_cap() + 1]);
            cx.close();
            Ok(())
        }
        fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
            self.0
                .note("careless", cx.any_id(), format!("{:?}", error.kind()));
        }
        fn handle_close(&mut self, cx: &mut Context<'_>) {
            self.0.note("careless", cx.any_id(), "close");
        }
    }
    let diary = Diary::default();
    let mut reactor = Reactor::new().expect("a poller");
    let (ours, mut peer) = unix_pair();
    reactor
        .add(ours, Careless(diary.clone()))
        .expect("a stream");
    peer.write_all(b"x").expect("room");
    turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
    assert_eq!(diary.of("careless"), ["QuotaExceeded", "close"]);
}

// ---------------------------------------------------------------------------------------------------
// Framing.

type Records = Rc<RefCell<Vec<Vec<u8>>>>;

/// Keeps the records, and what was unfinished at the end.
#[derive(Clone, Default)]
struct Keeper {
    records: Records,
    unfinished: Rc<RefCell<Option<Vec<u8>>>>,
}

impl Handler for Keeper {
    fn found_terminator(
        &mut self,
        _: &mut Context<'_>,
        _: &mut Framing,
        record: &[u8],
    ) -> io::Result<()> {
        self.records.borrow_mut().push(record.to_vec());
        Ok(())
    }

    fn handle_eof(&mut self, cx: &mut Context<'_>, framing: &mut Framing) -> io::Result<()> {
        *self.unfinished.borrow_mut() = Some(framing.unfinished().to_vec());
        cx.close();
        Ok(())
    }
}

#[test]
fn the_beginning_of_a_terminator_at_the_end_of_the_stream_is_data() {
    for (terminator, stream, unfinished) in [
        (
            Terminator::Bytes(b"\r\n".to_vec()),
            &b"one\r\ntwo\r"[..],
            &b"two\r"[..],
        ),
        (Terminator::Line, b"one\ntwo\r", b"two\r"),
        (Terminator::Bytes(b"END".to_vec()), b"oneENDEN", b"EN"),
    ] {
        let keeper = Keeper::default();
        let framed = Framed::new(terminator, keeper.clone()).expect("a terminator");
        let mut reactor = Reactor::new().expect("a poller");
        let (ours, mut peer) = unix_pair();
        reactor.add(ours, framed).expect("a stream");
        peer.write_all(stream).expect("room");
        drop(peer);
        turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
        assert_eq!(keeper.records.borrow().as_slice(), [b"one"]);
        assert_eq!(keeper.unfinished.borrow().as_deref(), Some(unfinished));
    }
}

/// A producer that has nothing yet was asked again every turn, and the loop never slept.
#[test]
fn a_producer_that_has_nothing_yet_is_asked_again_on_request_only() {
    #[derive(Clone, Default)]
    struct Slow {
        ready: Rc<Cell<bool>>,
        asked: Rc<Cell<u32>>,
        given: bool,
    }
    impl Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.asked.set(self.asked.get() + 1);
            match (self.ready.get(), self.given) {
                (false, _) => Err(io::ErrorKind::WouldBlock.into()),
                (true, true) => Ok(0),
                (true, false) => {
                    self.given = true;
                    buffer[..4].copy_from_slice(b"late");
                    Ok(4)
                }
            }
        }
    }
    let producer = Slow::default();
    let mut reactor = Reactor::new().expect("a poller");
    let (ours, mut peer) = unix_pair();
    let framed = Framed::new(Terminator::Line, Keeper::default()).expect("a terminator");
    let id = reactor.add(ours, framed).expect("a stream");
    reactor.with(id, |framed, cx| {
        framed.framing().push_producer(cx, producer.clone());
        framed.framing().push(cx, b" and more").expect("room");
    });
    settle(&mut reactor);
    assert_asleep(&mut reactor, "while the producer has nothing");
    assert_eq!(producer.asked.get(), 1);
    producer.ready.set(true);
    reactor.with(id, |framed, cx| framed.framing().resume_producers(cx));
    let mut received = [0; 13];
    settle(&mut reactor);
    peer.read_exact(&mut received).expect("it was sent");
    assert_eq!(&received, b"late and more");
}

// ---------------------------------------------------------------------------------------------------
// Settings, ids, addresses.

#[test]
fn settings_that_ask_for_too_much_are_refused_and_marks_follow_a_low_cap() {
    let error = Reactor::builder()
        .events_per_wait(i32::MAX as usize)
        .build()
        .expect_err("25 GB of events");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("events_per_wait"), "{error}");
    let mut reactor = Reactor::builder()
        .hard_cap(16 * 1024)
        .build()
        .expect("the marks are lowered with the cap");
    let (ours, _peer) = unix_pair();
    let id = reactor.add(ours, Echo).expect("a stream");
    assert_eq!(reactor.at(id).expect("open").hard_cap(), 16 * 1024);
    assert!(
        Reactor::builder()
            .high_mark(10)
            .hard_cap(5)
            .build()
            .is_err(),
        "chosen is chosen"
    );
}

#[test]
fn with_on_a_running_dispatcher_says_so_in_the_log() {
    struct Nested;
    impl Dispatcher for Nested {
        fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            cx.recv(&mut [0; 8])?;
            let me: Id<Nested> = cx.id();
            assert!(cx.with(me, |_, _| ()).is_none());
            Ok(())
        }
    }
    capture();
    let mut reactor = Reactor::new().expect("a poller");
    let (ours, mut peer) = unix_pair();
    reactor.add(ours, Nested).expect("a stream");
    peer.write_all(b"x").expect("room");
    turn_for(&mut reactor, Duration::ZERO);
    let lines = logged(log::Level::Debug);
    assert!(
        lines.iter().any(|line| line.contains("is itself running")),
        "{lines:?}"
    );
}

/// That a peer's reset, found by a write, is not hidden by a close that follows.
#[test]
fn close_after_a_failed_write_does_not_hide_what_failed() {
    struct Talker(Rc<Cell<Option<Cause>>>);
    impl Dispatcher for Talker {
        fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
            cx.close();
            Ok(())
        }
        fn handle_close(&mut self, cx: &mut Context<'_>) {
            self.0.set(cx.end_cause());
        }
    }
    let cause = Rc::new(Cell::new(None));
    let mut reactor = Reactor::new().expect("a poller");
    let (ours, peer) = UnixStream::pair().expect("descriptors");
    let id = reactor
        .add(ours, Talker(Rc::clone(&cause)))
        .expect("a stream");
    drop(peer);
    let mut cx = reactor.at(id).expect("open");
    cx.pause_reading();
    cx.send(b"nobody reads this").expect("it is queued");
    cx.set_timer(Duration::ZERO);
    let begun = Instant::now();
    turn_until(&mut reactor, "the end", |_| {
        cause.get().is_some() || begun.elapsed() > DEADLINE
    });
    assert_eq!(cause.get(), Some(Cause::Reset));
}

/// A server that ends the stream in place of its handshake was a line at level debug, as if it were somebody who knocks
/// at a port: a program whose upstream was broken like this had nothing in its log.
#[test]
fn a_server_that_ends_a_handshake_is_a_warning_and_a_client_that_does_is_none() {
    /// Waits for a greeting.
    struct Greeted;
    impl Layer for Greeted {
        fn handshake(&mut self, below: &mut Below<'_>) -> io::Result<()> {
            match below.read(&mut [0; 8])? {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                _ => Ok(()),
            }
        }
        fn recv(&mut self, below: &mut Below<'_>, buffer: &mut [u8]) -> io::Result<usize> {
            below.read(buffer)
        }
        fn send(&mut self, below: &mut Below<'_>, bytes: &[u8]) -> io::Result<usize> {
            below.write(bytes)
        }
        fn finish(&mut self, _: &mut Below<'_>) -> io::Result<()> {
            Ok(())
        }
    }
    capture();
    let mut reactor = Reactor::new().expect("a poller");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let outgoing = Socket::dial(address).expect("it listens");
    let accepted = Socket::from(tcp_pair().0);
    for (socket, level) in [(outgoing, log::Level::Warn), (accepted, log::Level::Debug)] {
        let id = reactor
            .add(socket.layered(Greeted), Nothing)
            .expect("a stream");
        let label = reactor.at(id).expect("open").label().to_string();
        listener.set_nonblocking(true).expect("a socket");
        turn_until(&mut reactor, "the end", |reactor| {
            drop(listener.accept());
            reactor.count() == 0
        });
        let lines = logged(level);
        let fault = format!("{label}: the handshake failed: ");
        assert!(
            lines.iter().any(|line| line.starts_with(&fault)),
            "{fault}: {lines:?}"
        );
    }
}

// ---------------------------------------------------------------------------------------------------
// What the same scenes on two kernels, and the simulated kernel's short ways, have found.

/// How a dispatcher ended, and with how much unsent.
type Ended = Rc<RefCell<Vec<(Option<Cause>, usize)>>>;

struct NotesItsEnd(Ended);

impl Dispatcher for NotesItsEnd {
    fn handle_close(&mut self, cx: &mut Context<'_>) {
        self.0.borrow_mut().push((cx.end_cause(), cx.unsent()));
    }
}

/// Says one thing when there is room for it.
struct LastWords(Ended);

impl Dispatcher for LastWords {
    fn handle_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.send(b"the last words")?;
        cx.stop_writing();
        Ok(())
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        self.0.borrow_mut().push((cx.end_cause(), cx.unsent()));
    }
}

/// A close counted its deadline from the turn before: if that was long past, the deadline was over before anything had
/// been written.
#[test]
fn what_is_closed_long_after_the_last_turn_is_done_first() {
    let clock = SimClock::new();
    let mut reactor = Reactor::builder()
        .clock(clock.clone())
        .close_timeout(Duration::from_secs(1))
        .build()
        .expect("a poller");
    let (ours, mut peer) = tcp_pair();
    let ended = Ended::default();
    let id = reactor
        .add(ours, LastWords(Rc::clone(&ended)))
        .expect("a stream");
    turn(&mut reactor);

    clock.advance(Duration::from_secs(60));
    let mut cx = reactor.at(id).expect("it is open");
    cx.start_writing();
    cx.close_when_done();
    for _ in 0..5 {
        turn(&mut reactor);
    }
    assert_eq!(*ended.borrow(), []);
    let mut received = [0; 14];
    peer.read_exact(&mut received).expect("all of it");
    assert_eq!(&received, b"the last words");
    drop(peer);
    turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
    assert_eq!(*ended.borrow(), [(Some(Cause::Finished), 0)]);
}

/// A stall counted from the turn before the send: with a deadline still set, from a time when the peer had not read, the
/// bytes counted as not taken before they had been offered.
#[test]
fn what_is_sent_long_after_the_last_turn_is_offered_before_it_counts_as_stalled() {
    let clock = SimClock::new();
    let mut reactor = Reactor::builder()
        .clock(clock.clone())
        .stall_timeout(Duration::from_secs(3))
        .hard_cap(64 << 20)
        .build()
        .expect("a poller");
    let (ours, mut peer) = tcp_pair();
    let ended = Ended::default();
    let id = reactor
        .add(ours, NotesItsEnd(Rc::clone(&ended)))
        .expect("a stream");
    // More than the kernel takes: the deadline is set.
    let large = vec![7; 16 << 20];
    let mut cx = reactor.at(id).expect("it is open");
    cx.send(&large).expect("below the cap");
    turn(&mut reactor);
    peer.set_nonblocking(true).expect("tcp");
    let (mut taken, mut buffer) = (0, vec![0; 1 << 20]);
    turn_until(&mut reactor, "all of it", |_| {
        while let Ok(count) = peer.read(&mut buffer) {
            taken += count;
        }
        taken == large.len()
    });

    clock.advance(Duration::from_secs(60));
    let mut cx = reactor.at(id).expect("it is open");

    cx.send(b"more").expect("it is open");
    for _ in 0..5 {
        turn(&mut reactor);
    }
    assert_eq!(*ended.borrow(), []);
    assert_eq!(peer.read(&mut buffer).ok(), Some(4));
}

/// The kernel was offered a large payload before it was queued. If it refused, all of it was lost and none counted, and
/// the peer might see a clean end.
#[test]
fn a_large_payload_that_the_kernel_refuses_counts_as_unsent() {
    let mut reactor = Reactor::new().expect("a poller");
    let (ours, peer) = unix_pair();
    let ended = Ended::default();
    let id = reactor
        .add(ours, NotesItsEnd(Rc::clone(&ended)))
        .expect("a stream");
    turn(&mut reactor);
    drop(peer);
    let large = vec![7; 40_000];
    let mut cx = reactor.at(id).expect("nobody has told it yet");
    cx.send(&large).expect("what comes of it is told later");
    turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
    assert_eq!(*ended.borrow(), [(Some(Cause::Reset), 40_000)]);
}

/// Goes on when its peer has finished.
struct StaysOpen;

impl Dispatcher for StaysOpen {
    fn handle_eof(&mut self, _: &mut Context<'_>) -> io::Result<()> {
        Ok(())
    }
}

/// Of one whose end of stream was told already the refusal was an errand, which between two turns is on no list.
#[test]
fn a_large_payload_refused_between_turns_is_work_for_the_next() {
    let mut reactor = Reactor::new().expect("a poller");
    let (ours, peer) = unix_pair();
    let id = reactor.add(ours, StaysOpen).expect("a stream");
    peer.shutdown(std::net::Shutdown::Write).expect("a socket");
    settle(&mut reactor);
    drop(peer);
    let mut cx = reactor.at(id).expect("it stays open");
    cx.send(&[7; 40_000])
        .expect("what comes of it is told later");
    reactor.check_invariants();
    turn(&mut reactor);
    assert_eq!(reactor.count(), 0);
}

/// Deadlines of output are looked at before the flush: of a loop that had been away for long, a suspended process or one
/// in a long callback, they ended connections whose peers had read all that they were given.
#[test]
fn a_loop_that_was_away_offers_its_output_before_it_gives_up_a_peer() {
    for closes in [false, true] {
        let clock = SimClock::new();
        let mut reactor = Reactor::builder()
            .clock(clock.clone())
            .stall_timeout(Duration::from_secs(3))
            .close_timeout(Duration::from_secs(3))
            .build()
            .expect("a poller");
        let (ours, mut peer) = unix_pair();
        let ended = Ended::default();
        let id = reactor
            .add(ours, NotesItsEnd(Rc::clone(&ended)))
            .expect("a stream");
        // More than the kernel takes at once.
        let mut cx = reactor.at(id).expect("it is open");
        cx.send(&[7; 800_000]).expect("below the cap");
        if closes {
            cx.close();
        }
        turn(&mut reactor);
        peer.set_nonblocking(true).expect("a socket");
        let (mut taken, mut buffer) = (0, vec![0; 1 << 20]);
        turn_until(&mut reactor, "all of it", |_| {
            while let Ok(count @ 1..) = peer.read(&mut buffer) {
                taken += count;
            }
            assert_eq!(
                *ended.borrow(),
                [],
                "after {taken} bytes, closing: {closes}"
            );
            clock.advance(Duration::from_secs(60));
            taken == 800_000
        });
    }
}

/// When it is read: loses the peer of another, and sends there.
struct Spoiler(AnyId, Option<UnixStream>);

impl Dispatcher for Spoiler {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv(&mut [0; 8])?;
        self.1 = None;
        cx.at(self.0).expect("it is open").send(b"more")
    }
}

struct CountsSent(Rc<Cell<u32>>);

impl Dispatcher for CountsSent {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv(&mut [0; 8])?;
        cx.notify_when_sent()
    }

    fn handle_sent(&mut self, _: &mut Context<'_>) -> io::Result<()> {
        self.0.set(self.0.get() + 1);
        Ok(())
    }
}

/// With classes there is more than one flush in a turn: the first found all sent, the last one failed, and then it was
/// told that all is sent.
#[test]
fn nobody_is_told_that_all_is_sent_once_a_write_has_failed() {
    let mut reactor = Reactor::new().expect("a poller");
    let (ours, mut peer) = unix_pair();
    let (others, mut others_peer) = unix_pair();
    let count = Rc::new(Cell::new(0));
    let other = CountsSent(Rc::clone(&count));
    let other = reactor.add(others, other).expect("a stream").any();
    others_peer.write_all(b"x").expect("room");
    let spoiler = Spoiler(other, Some(others_peer));
    let low = reactor.add(ours, spoiler).expect("a stream").any();
    peer.write_all(b"x").expect("room");
    for (id, class) in [(other, Priority::High), (low, Priority::Low)] {
        reactor.at(id).expect("it is open").set_priority(class);
    }
    turn_until(&mut reactor, "the end", |reactor| reactor.count() == 1);
    assert_eq!(count.get(), 0);
}
