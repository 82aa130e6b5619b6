//! Fairness: nobody keeps the loop to itself, neither by having more to read or write than others, nor
//! by making work out of work; and whoever is slow is named.
//!
//! Everything is counted in turns, callbacks and system calls. Latencies are not looked at.

mod util;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use slabloop::testing::{Bits, SimClock, SimKind, SimSocket};
use slabloop::{AnyId, Context, Dispatcher, Reactor, Socket, TimerId};
use util::*;

/// A connected pair on which a byte is there as soon as it is written: through loopback's TCP it may
/// take its time, and which turn sees it would be left to chance.
fn pair() -> (UnixStream, UnixStream) {
    let (ours, peer) = UnixStream::pair().expect("descriptors");
    let deadline = Some(DEADLINE);
    peer.set_read_timeout(deadline).expect("a positive time");
    peer.set_write_timeout(deadline).expect("a positive time");
    (ours, peer)
}

// ---------------------------------------------------------------------------------------------------
// The firehose.

/// A simulated stream that has `input` bytes left to read and takes all that is written.
struct Hose {
    input: usize,
    writes: Rc<Cell<usize>>,
}

impl Hose {
    fn socket(input: usize, writes: &Rc<Cell<usize>>) -> Socket {
        let socket: Box<dyn SimSocket> = Box::new(Hose {
            input,
            writes: Rc::clone(writes),
        });
        Socket::from(socket)
    }
}

impl SimSocket for Hose {
    fn kind(&self) -> SimKind {
        SimKind::Stream
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = buffer.len().min(self.input);
        self.input -= count;
        match count {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(count),
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writes.set(self.writes.get() + 1);
        // Half of it: the outbox has always something left to write.
        Ok(bytes.len().div_ceil(2))
    }
}

/// Who was called, in order.
type Log = Rc<RefCell<Vec<AnyId>>>;

/// Reads `chunk` bytes a call, and answers with `reply` bytes.
struct Drinking {
    log: Log,
    chunk: usize,
    reply: usize,
}

impl Dispatcher for Drinking {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.log.borrow_mut().push(cx.any_id());
        let mut chunk = vec![0; self.chunk];
        cx.recv(&mut chunk)?;
        if self.reply == 0 {
            return Ok(());
        }
        cx.send(&chunk[..self.reply])
    }
}

/// Writes without end.
struct Producing {
    log: Log,
}

impl Dispatcher for Producing {
    fn handle_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.log.borrow_mut().push(cx.any_id());
        cx.send(&[0; 1000])
    }
}

/// Panics unless each two calls of one dispatcher have a call of every other between them.
fn assert_round_robin(calls: &[AnyId]) {
    let mut last: HashMap<AnyId, usize> = HashMap::new();
    for &id in calls {
        last.entry(id).or_insert(usize::MAX);
    }
    let everybody = last.len();
    for (place, id) in calls.iter().enumerate() {
        if let Some(before) = last.insert(*id, place).filter(|&at| at != usize::MAX) {
            let mut others: Vec<_> = calls[before + 1..place].to_vec();
            others.sort_unstable();
            others.dedup();
            assert_eq!(others.len(), everybody - 1, "all others before {id} again");
        }
    }
}

/// libuv read from one stream for as long as there was something, until its others starved (cured by a
/// bound of 32 reads in 738b31eb3); gnet #599 and twemproxy #416 are of the same kind.
#[test]
fn between_two_calls_of_one_ready_dispatcher_every_other_has_had_one() {
    const TURNS: usize = 50;
    let mut reactor = Reactor::new().unwrap();
    let (log, writes) = (Log::default(), Rc::new(Cell::new(0)));
    let mut connections = 0;
    let mut drink = |reactor: &mut Reactor, count, chunk, reply| {
        for _ in 0..count {
            let log = Rc::clone(&log);
            // Each pinger always has its next 64 bytes, the blasters more than anybody reads.
            let socket = Hose::socket(usize::MAX, &writes);
            let dispatcher = Drinking { log, chunk, reply };
            let id = reactor.add(socket, dispatcher).unwrap();
            reactor.inject(id, Bits::READABLE | Bits::WRITABLE);
            connections += 1;
        }
    };
    drink(&mut reactor, 4, 65_536, 0);
    drink(&mut reactor, 50, 64, 64);
    drink(&mut reactor, 4, 65_536, 0);
    drink(&mut reactor, 50, 64, 64);
    let producer = Producing {
        log: Rc::clone(&log),
    };
    let producer = reactor.add(Hose::socket(0, &writes), producer).unwrap();
    reactor.at(producer).unwrap().start_writing();
    connections += 1;
    reactor.take_waits();
    for _ in 0..TURNS {
        let (before, calls) = (writes.get(), log.borrow().len());
        turn(&mut reactor);
        assert!(
            writes.get() - before <= connections,
            "one write a connection"
        );
        assert!(log.borrow().len() - calls <= connections, "one call each");
    }
    let waits = reactor.take_waits();
    assert_eq!(waits[1..], vec![Some(Duration::ZERO); TURNS - 1]);
    let log = log.borrow();
    assert_eq!(log.len(), TURNS * connections, "all, every turn");
    assert_round_robin(&log);
}

#[test]
fn left_over_and_in_the_news_is_served_once_and_before_those_who_only_have_news() {
    let mut reactor = Reactor::new().unwrap();
    let log = Log::default();
    let mut add = || {
        let (ours, peer) = pair();
        let dispatcher = Drinking {
            log: Rc::clone(&log),
            chunk: 1,
            reply: 0,
        };
        (reactor.add(ours, dispatcher).unwrap().any(), peer)
    };
    let (left_over, mut its_peer) = add();
    let (newcomer, mut another) = add();
    its_peer
        .write_all(b"more than is read in one turn")
        .unwrap();
    turn(&mut reactor);
    for _ in 0..3 {
        log.borrow_mut().clear();
        another.write_all(b"!").unwrap();
        its_peer.write_all(b"!").unwrap();
        turn(&mut reactor);
        assert_eq!(*log.borrow(), [left_over, newcomer]);
        // What the newcomer has read exactly may be followed by more, so it asks once again.
        turn(&mut reactor);
    }
}

/// The kernel tells of a descriptor once a wait, but a source of several descriptors has one id.
#[test]
fn two_events_for_one_id_are_one_read() {
    let mut reactor = Reactor::new().unwrap();
    let log = Log::default();
    let (ours, mut peer) = pair();
    let dispatcher = Drinking {
        log: Rc::clone(&log),
        chunk: 1,
        reply: 0,
    };
    let id = reactor.add(ours, dispatcher).unwrap();
    peer.write_all(b"more than is read in one turn").unwrap();
    reactor.inject(id, Bits::READABLE);
    turn(&mut reactor);
    assert_eq!(log.borrow().len(), 1);
}

#[test]
fn eight_blasters_and_a_hundred_pingers_on_real_sockets_take_turns() {
    const BLAST: usize = 64 * 1024;
    let mut reactor = Reactor::new().unwrap();
    let log = Log::default();
    let mut peers = Vec::new();
    let mut blasters = Vec::new();
    for place in 0..108 {
        let (ours, mut peer) = pair();
        let blaster = place % 13 == 0 && blasters.len() < 8;
        let dispatcher = Drinking {
            log: Rc::clone(&log),
            chunk: 1024,
            reply: 0,
        };
        let id = reactor.add(ours, dispatcher).unwrap().any();
        if blaster {
            peer.set_nonblocking(true).unwrap();
            blasters.push((id, peer, 0));
        } else {
            peer.write_all(&[0; 64]).unwrap();
            peers.push((id, peer));
        }
    }
    // All of it is in the kernel before the first turn, so every turn's set of the ready is known.
    for (_, peer, sent) in &mut blasters {
        while *sent < BLAST {
            match peer.write(&[0; 4096][..4096.min(BLAST - *sent)]) {
                Ok(count) => *sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
    turn(&mut reactor);
    let mut first = std::mem::take(&mut *log.borrow_mut());
    first.sort_unstable();
    first.dedup();
    assert_eq!(first.len(), 108, "everybody in the first turn");
    for round in 1..BLAST / 1024 - 1 {
        // A new ping comes each turn, and is served in it, each blaster once.
        let (pinger, peer) = &mut peers[round % 100];
        peer.write_all(&[0; 64]).unwrap();
        turn(&mut reactor);
        let served = std::mem::take(&mut *log.borrow_mut());
        assert_eq!(served.iter().filter(|id| *id == pinger).count(), 1);
        for (blaster, _, sent) in &blasters {
            let calls = served.iter().filter(|id| *id == blaster).count();
            assert!(calls <= 1, "one call a turn");
            assert!(calls == 1 || *sent < BLAST, "and one each turn");
        }
    }
}

/// libuv took only part of what was ready and then slept (27e7a8b10).
#[test]
fn thousand_ready_with_room_for_two_events_are_all_served_within_500_waits() {
    const CONNECTIONS: usize = 1000;
    let mut reactor = Reactor::builder().events_per_wait(2).build().unwrap();
    let log = Log::default();
    let mut peers = Vec::new();
    for _ in 0..CONNECTIONS {
        let (ours, peer) = pair();
        let dispatcher = Drinking {
            log: Rc::clone(&log),
            chunk: 64,
            reply: 1,
        };
        reactor.add(ours, dispatcher).unwrap();
        peers.push(peer);
    }
    settle(&mut reactor);
    for peer in &mut peers {
        peer.write_all(b"x").unwrap();
    }
    reactor.take_waits();
    for _ in 0..CONNECTIONS / 2 {
        reactor.turn(DEADLINE).unwrap();
    }
    reactor.check_invariants();
    assert_eq!(reactor.take_waits().len(), CONNECTIONS / 2);
    assert_eq!(log.borrow().len(), CONNECTIONS, "each once");
    for peer in &mut peers {
        peer.read_exact(&mut [0]).expect("its answer");
    }
}

// ---------------------------------------------------------------------------------------------------
// Work that makes work.

/// Arms its zero timer anew each time.
struct Restless {
    fired: Rc<Cell<u64>>,
}

impl Dispatcher for Restless {
    fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        self.fired.set(self.fired.get() + 1);
        cx.set_timer(Duration::ZERO);
        Ok(())
    }
}

/// A byte there and back in one turn.
fn served_meanwhile(
    reactor: &mut Reactor,
    peer: &mut UnixStream,
    mut each_turn: impl FnMut(&mut Reactor),
) {
    peer.write_all(b"x").unwrap();
    let before = reactor.counters();
    turn(reactor);
    each_turn(reactor);
    let after = reactor.counters();
    assert_eq!(
        (
            after.bytes_in - before.bytes_in,
            after.bytes_out - before.bytes_out
        ),
        (1, 1),
        "it is read and answered in the turn after its arrival"
    );
    peer.read_exact(&mut [0]).expect("the answer");
}

/// libuv's loop never polled again when timers armed timers (51a22f60d, #4245).
#[test]
fn ten_thousand_timers_that_rearm_at_zero_fire_once_a_turn_and_leave_the_loop_polling() {
    const TIMERS: u64 = 10_000;
    let mut reactor = Reactor::new().unwrap();
    let fired = Rc::new(Cell::new(0));
    let writes = Rc::default();
    // A hundred dispatchers with a hundred timers each.
    for _ in 0..100 {
        let restless = Restless {
            fired: Rc::clone(&fired),
        };
        let id = reactor.add(Hose::socket(0, &writes), restless).unwrap();
        for _ in 0..TIMERS / 100 {
            reactor.at(id).unwrap().set_timer(Duration::ZERO);
        }
    }
    let (ours, mut peer) = pair();
    reactor.add(ours, Echo).unwrap();
    turn(&mut reactor);
    for _ in 0..20 {
        reactor.take_waits();
        let before = fired.get();
        served_meanwhile(&mut reactor, &mut peer, |reactor| {
            assert_eq!(fired.get() - before, TIMERS, "each once");
            assert_eq!(reactor.take_waits(), [Some(Duration::ZERO)], "it polls");
        });
    }
}

fn post_again(reactor: &mut Reactor, runs: Arc<AtomicU64>) {
    runs.fetch_add(1, Ordering::Relaxed);
    let posted = reactor
        .handle()
        .post(move |reactor| post_again(reactor, runs));
    assert!(posted.is_ok(), "the queue has room");
}

/// calloop bounded its posts to 1,024 a pass (#200), libevent its deferred callbacks to 32; gnet's
/// urgent queue has no bound.
#[test]
fn closure_that_posts_itself_runs_once_a_turn_and_leaves_the_loop_polling() {
    let mut reactor = Reactor::new().unwrap();
    let (ours, mut peer) = pair();
    reactor.add(ours, Echo).unwrap();
    settle(&mut reactor);
    let runs = Arc::new(AtomicU64::new(0));
    post_again(&mut reactor, Arc::clone(&runs));
    for _ in 0..20 {
        let before = runs.load(Ordering::Relaxed);
        reactor.take_waits();
        served_meanwhile(&mut reactor, &mut peer, |reactor| {
            assert_eq!(runs.load(Ordering::Relaxed) - before, 1);
            assert_eq!(reactor.take_waits().len(), 1, "it polls");
        });
    }
}

#[test]
fn four_threads_that_post_flat_out_get_the_cap_each_turn_and_the_echo_is_served() {
    const CAP: u64 = 100;
    let mut reactor = Reactor::builder()
        .posts_per_turn(100)
        .post_capacity(10_000)
        .build()
        .unwrap();
    let (ours, mut peer) = pair();
    reactor.add(ours, Echo).unwrap();
    settle(&mut reactor);
    let done = Arc::new(AtomicBool::new(false));
    let posters: Vec<_> = (0..4)
        .map(|_| {
            let (handle, done) = (reactor.handle(), Arc::clone(&done));
            std::thread::spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    if handle.post(|_| {}).is_err() {
                        std::thread::yield_now();
                    }
                }
            })
        })
        .collect();
    turn_until(&mut reactor, "more posts than a turn runs", |reactor| {
        reactor.counters().posts > 10 * CAP
    });
    for _ in 0..50 {
        reactor.take_waits();
        let before = reactor.counters().posts;
        served_meanwhile(&mut reactor, &mut peer, |reactor| {
            let posts = reactor.counters().posts - before;
            assert!(posts <= CAP, "{posts} posts in a turn");
            assert_eq!(reactor.take_waits().len(), 1, "it polls");
        });
    }
    done.store(true, Ordering::Relaxed);
    for poster in posters {
        poster.join().unwrap();
    }
}

// ---------------------------------------------------------------------------------------------------
// The slow callback.

thread_local! {
    /// The log lines of this thread's test, warnings and worse.
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

struct Capture;

impl log::Log for Capture {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            LINES.with_borrow_mut(|lines| lines.push(record.args().to_string()));
        }
    }

    fn flush(&self) {}
}

fn capture_log() {
    // Another test of this process may have been first.
    let _ = log::set_logger(&Capture);
    log::set_max_level(log::LevelFilter::Warn);
}

fn take_lines() -> Vec<String> {
    LINES.with_borrow_mut(std::mem::take)
}

/// Takes its time over reading.
struct Sluggish {
    clock: SimClock,
    takes: Duration,
}

impl Dispatcher for Sluggish {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.clock.advance(self.takes);
        cx.recv(&mut [0; 64]).map(|_| ())
    }
}

const MILLISECOND: Duration = Duration::from_millis(1);

/// A reactor with `count` dispatchers that take that long for each read.
fn sluggish(
    threshold: Option<Duration>,
    takes: Duration,
    count: usize,
) -> (Reactor, SimClock, Vec<AnyId>) {
    capture_log();
    let clock = SimClock::new();
    let mut reactor = Reactor::builder()
        .slow_callback(threshold)
        .clock(clock.clone())
        .build()
        .unwrap();
    let writes = Rc::default();
    let ids = (0..count).map(|_| {
        let clock = clock.clone();
        let socket = Hose::socket(usize::MAX, &writes);
        reactor
            .add(socket, Sluggish { clock, takes })
            .unwrap()
            .any()
    });
    let ids = ids.collect();
    (reactor, clock, ids)
}

#[test]
fn slow_callback_is_reported_once_with_its_id_its_type_and_its_name() {
    let threshold = Some(50 * MILLISECOND);
    let (mut reactor, _, ids) = sluggish(threshold, 200 * MILLISECOND, 2);
    reactor.inject(ids[1], Bits::READABLE);
    turn(&mut reactor);
    let lines = take_lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in ["Sluggish", &ids[1].to_string(), "handle_read", "200ms"] {
        assert!(lines[0].contains(part), "{part} in {:?}", lines[0]);
    }
    assert_eq!(reactor.counters().slow_callbacks, 1);
    assert_eq!(reactor.counters().slowest_us, 200_000);
}

#[test]
fn callback_that_is_just_within_the_threshold_is_not_reported() {
    let threshold = Some(50 * MILLISECOND);
    let (mut reactor, _, ids) = sluggish(threshold, 50 * MILLISECOND, 1);
    reactor.inject(ids[0], Bits::READABLE);
    turn(&mut reactor);
    assert_eq!(take_lines(), <[String; 0]>::default());
    assert_eq!(reactor.counters().slow_callbacks, 0);
    assert_eq!(reactor.counters().slowest_us, 50_000);
}

#[test]
fn thousand_slow_callbacks_are_one_line_a_second_and_the_counts_add_up() {
    let threshold = Some(50 * MILLISECOND);
    let (mut reactor, clock, ids) = sluggish(threshold, 200 * MILLISECOND, 10);
    for &id in &ids {
        reactor.inject(id, Bits::READABLE);
    }
    for _ in 0..100 {
        turn(&mut reactor);
    }
    assert_eq!(reactor.counters().slow_callbacks, 1000);
    assert_eq!(clock.now(), Duration::from_secs(200));
    let during = take_lines();
    assert!(during.len() <= 201, "{} lines in 200 s", during.len());
    drop(reactor);
    let mut lines = during;
    lines.extend(take_lines());
    // Each line stands for itself and for those that it says were held back; the last, written when
    // the reactor is dropped, only for the latter.
    let counted: usize = lines
        .iter()
        .map(|line| {
            let itself = usize::from(line.contains("kept the loop"));
            let held_back = line
                .split(['(', ' '])
                .collect::<Vec<_>>()
                .windows(2)
                .find_map(|words| {
                    (words[1] == "more")
                        .then(|| words[0].parse().ok())
                        .flatten()
                });
            itself + held_back.unwrap_or(0)
        })
        .sum();
    assert_eq!(counted, 1000, "{lines:?}");
}

#[test]
fn no_clock_is_read_per_callback_while_nobody_asked_for_a_threshold() {
    let reads_of_a_turn = |threshold, ready: usize| {
        let (mut reactor, clock, ids) = sluggish(threshold, Duration::ZERO, 100);
        for &id in &ids[..ready] {
            reactor.inject(id, Bits::READABLE);
        }
        let before = clock.reads();
        turn(&mut reactor);
        assert_eq!(reactor.counters().callbacks, ready as u64);
        clock.reads() - before
    };
    assert_eq!(reads_of_a_turn(None, 100), reads_of_a_turn(None, 1));
    let measured = Some(50 * MILLISECOND);
    assert_eq!(
        reads_of_a_turn(measured, 100) - reads_of_a_turn(measured, 5),
        95,
        "with one, one a callback: where one ends the next begins"
    );
    assert_eq!(
        reads_of_a_turn(measured, 4) - reads_of_a_turn(None, 4),
        4,
        "and the first of a few where the wait ends"
    );
}

/// The same with a real sleep, for the clock that users have.
#[test]
fn callback_that_sleeps_is_reported_on_the_real_clock() {
    struct Sleeper;
    impl Dispatcher for Sleeper {
        fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            let start = Instant::now();
            while start.elapsed() <= 20 * MILLISECOND {
                std::thread::sleep(20 * MILLISECOND);
            }
            cx.recv(&mut [0; 64]).map(|_| ())
        }
    }
    capture_log();
    let mut reactor = Reactor::builder()
        .slow_callback(20 * MILLISECOND)
        .build()
        .unwrap();
    let (ours, mut peer) = pair();
    reactor.add(ours, Sleeper).unwrap();
    settle(&mut reactor);
    take_lines();
    peer.write_all(b"x").unwrap();
    turn_until(&mut reactor, "the callback", |reactor| {
        reactor.counters().bytes_in == 1
    });
    let lines = take_lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("Sleeper "), "{lines:?}");
}
