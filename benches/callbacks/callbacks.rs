//! What slabloop adds to the system calls, on the clock: `cargo bench`, or `cargo bench -- callbacks`
//! for one group; `cargo bench -- --test` runs everything once.
//!
//! | group | one iteration |
//! |---|---|
//! | `callbacks` | a turn with so many datagrams waiting, among so many registered sockets |
//! | `timers` | one timer, among a million that are armed, or of a million at once |
//! | `touch` | a message read, with and without an idle time-out to push back; no system call in it |
//! | `posts` | one closure posted from another thread and run |
//! | `framing` | 64 KiB taken apart into records |
//! | `flush` | a turn that sends what was queued |
//! | `fan_out` | a line to a thousand members |
//!
//! Beside `callbacks` runs the same loop on bare mio, which is the floor: every figure here holds the
//! kernel's share, and the kernel's share is most of it. What a callback costs is the difference of the
//! two, divided by the datagrams. It should be the same in every row of as many datagrams, whatever is
//! registered.
//!
//! Datagram sockets take one descriptor each, and their far end needs none, so that 10,000 fit under
//! a limit of 20,000. The limit is raised to the hard one by a shell, for want of a call in `std`.
//!
//! These times are made with the feature `testing`, for the simulated sockets of `flush`; its seams cost
//! some twenty instructions an event. And times differ from run to run: counts that do not are in
//! `tests/instructions.rs`, and comparisons with other loops in `benches/peers`.

use std::cell::Cell;
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use mio::{Interest, Token};
use slabloop::framing::{Framed, Framing, Handler, LengthPrefix, Terminator};
use slabloop::testing::{Bits, SimKind, SimSocket};
use slabloop::{AnyId, Context, Dispatcher, Handle, Id, PostError, Reactor, Socket, TimerId};

const MESSAGE: [u8; 64] = [b'm'; 64];

fn main() {
    raise_descriptor_limit();
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    callbacks(&mut criterion);
    timers(&mut criterion);
    touch(&mut criterion);
    posts(&mut criterion);
    framing(&mut criterion);
    flush(&mut criterion);
    fan_out(&mut criterion);
    criterion.final_summary();
}

/// Starts this program again under a higher limit, if there is one to be had.
fn raise_descriptor_limit() {
    const ONCE: &str = "SLABLOOP_BENCH_LIMIT_RAISED";
    if std::env::var_os(ONCE).is_some() {
        return;
    }
    let Ok(this) = std::env::current_exe() else {
        return;
    };
    let error = Command::new("sh")
        .args(["-c", "ulimit -Sn \"$(ulimit -Hn)\"; exec \"$@\"", "sh"])
        .arg(this)
        .args(std::env::args_os().skip(1))
        .env(ONCE, "1")
        .exec();
    eprintln!("the limit on open files stays as it is: {error}");
}

/// Times `timed` so many times, each after `prepare`, which is not timed.
fn after_each<S>(
    times: u64,
    state: &mut S,
    mut prepare: impl FnMut(&mut S),
    mut timed: impl FnMut(&mut S),
) -> Duration {
    let mut total = Duration::ZERO;
    for _ in 0..times {
        prepare(state);
        let start = Instant::now();
        timed(state);
        total += start.elapsed();
    }
    total
}

fn look(reactor: &mut Reactor) {
    reactor.turn(Duration::ZERO).expect("a wait does not fail");
}

/// A hundred, a thousand and ten thousand registered sockets; one, a hundred and a thousand that have
/// a datagram.
fn callbacks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("callbacks");
    for registered in [100, 1_000, 10_000] {
        for floor in [true, false] {
            let (sockets, addresses) = match receivers(registered) {
                Ok(receivers) => receivers,
                Err(error) => {
                    eprintln!("{registered} sockets are left out: {error}");
                    continue;
                }
            };
            let (name, mut looped): (_, Box<dyn Loop>) = if floor {
                ("mio", Box::new(Bare::new(sockets)))
            } else {
                ("slabloop", Box::new(Full::new(sockets)))
            };
            let sender = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
            for active in [1, 100, 1_000] {
                if active > registered {
                    continue;
                }
                group.throughput(Throughput::Elements(active as u64));
                let id = BenchmarkId::new(name, format!("{active} of {registered}"));
                group.bench_function(id, |bencher| {
                    bencher.iter_custom(|times| {
                        after_each(
                            times,
                            &mut looped,
                            |_| {
                                // Evenly spread over all that are registered.
                                for address in addresses.iter().step_by(registered / active) {
                                    let sent = sender.send_to(&MESSAGE, address);
                                    sent.expect("room in an empty queue");
                                }
                            },
                            |looped| {
                                // One turn, unless the kernel was late to deliver.
                                let mut seen = 0;
                                while seen < active {
                                    seen += looped.turn();
                                }
                            },
                        )
                    });
                });
            }
        }
    }
    group.finish();
}

fn receivers(count: usize) -> io::Result<(Vec<UdpSocket>, Vec<SocketAddr>)> {
    let mut sockets = Vec::new();
    let mut addresses = Vec::new();
    for _ in 0..count {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_nonblocking(true)?;
        addresses.push(socket.local_addr()?);
        sockets.push(socket);
    }
    Ok((sockets, addresses))
}

/// A loop with sockets in it.
trait Loop {
    /// Takes all datagrams that are there; how many those were.
    fn turn(&mut self) -> usize;
}

struct Full {
    reactor: Reactor,
    seen: Rc<Cell<usize>>,
}

impl Full {
    fn new(sockets: Vec<UdpSocket>) -> Full {
        let seen = Rc::new(Cell::new(0));
        let mut reactor = Reactor::new().expect("a poller");
        for socket in sockets {
            let receiver = Receiver {
                seen: Rc::clone(&seen),
            };
            let added = reactor.add(socket, receiver);
            added.expect("a socket can be added");
        }
        Full { reactor, seen }
    }
}

impl Loop for Full {
    fn turn(&mut self) -> usize {
        look(&mut self.reactor);
        self.seen.take()
    }
}

/// Reads until there is nothing left, as a loop on bare mio has to.
struct Receiver {
    seen: Rc<Cell<usize>>,
}

impl Dispatcher for Receiver {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut datagram = [0; 256];
        loop {
            black_box(cx.recv(&mut datagram)?);
            self.seen.set(self.seen.get() + 1);
        }
    }
}

/// The least that a loop on mio can be.
struct Bare {
    poll: mio::Poll,
    events: mio::Events,
    sockets: Vec<mio::net::UdpSocket>,
}

impl Bare {
    fn new(sockets: Vec<UdpSocket>) -> Bare {
        let poll = mio::Poll::new().expect("a poller");
        let sockets = sockets.into_iter().enumerate().map(|(index, socket)| {
            let mut socket = mio::net::UdpSocket::from_std(socket);
            poll.registry()
                .register(&mut socket, Token(index), Interest::READABLE)
                .expect("a socket can be registered");
            socket
        });
        Bare {
            sockets: sockets.collect(),
            events: mio::Events::with_capacity(1_024),
            poll,
        }
    }
}

impl Loop for Bare {
    fn turn(&mut self) -> usize {
        self.poll
            .poll(&mut self.events, Some(Duration::ZERO))
            .expect("a wait does not fail");
        let mut seen = 0;
        for event in &self.events {
            let mut datagram = [0; 256];
            while let Ok(received) = self.sockets[event.token().0].recv(&mut datagram) {
                black_box(received);
                seen += 1;
            }
        }
        seen
    }
}

/// A million timers far off, as of a million idle connections, and those that come and go among them.
fn timers(criterion: &mut Criterion) {
    const ARMED: u64 = 1_000_000;
    /// Set at a time, so that the clock is read rarely.
    const BATCH: u64 = 10_000;
    let mut group = criterion.benchmark_group("timers");
    group.throughput(Throughput::Elements(1));

    let mut reactor = Reactor::new().expect("a poller");
    for number in 0..ARMED {
        // Over an hour, and in no order.
        let spread = Duration::from_millis(number * 7_919 % 3_600_000);
        reactor.call_later(Duration::from_secs(3_600) + spread, |_| {});
    }
    let (socket, _far) = UnixStream::pair().expect("a pair");
    let id = reactor.add(socket, Timed).expect("a socket can be added");
    let mut set: Vec<TimerId> = Vec::new();

    group.bench_function("arm", |bencher| {
        bencher.iter_custom(|times| {
            in_batches(times, BATCH, |count| {
                let mut timed = reactor.at(id).expect("it stays");
                let start = Instant::now();
                set.extend((0..count).map(|_| timed.set_timer(Duration::from_secs(60))));
                let took = start.elapsed();
                for timer in set.drain(..) {
                    timed.cancel_timer(timer);
                }
                took
            })
        });
    });
    group.bench_function("cancel", |bencher| {
        bencher.iter_custom(|times| {
            in_batches(times, BATCH, |count| {
                let mut timed = reactor.at(id).expect("it stays");
                set.extend((0..count).map(|_| timed.set_timer(Duration::from_secs(60))));
                let start = Instant::now();
                for timer in set.drain(..) {
                    timed.cancel_timer(timer);
                }
                start.elapsed()
            })
        });
    });
    group.bench_function("fire", |bencher| {
        bencher.iter_custom(|times| {
            in_batches(times, BATCH, |count| {
                let mut timed = reactor.at(id).expect("it stays");
                for _ in 0..count {
                    timed.set_timer(Duration::ZERO);
                }
                let before = reactor.counters().timers;
                let start = Instant::now();
                look(&mut reactor);
                let took = start.elapsed();
                assert_eq!(reactor.counters().timers - before, count);
                took
            })
        });
    });
    for (phase, name) in ["arm a million", "cancel a million", "fire a million"]
        .into_iter()
        .enumerate()
    {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                let rounds = times.div_ceil(ARMED);
                let took: Duration = (0..rounds).map(|_| a_million(ARMED)[phase]).sum();
                took.mul_f64(times as f64 / (rounds * ARMED) as f64)
            });
        });
    }
    group.finish();
}

/// So many timers set on a new reactor, cancelled in another order, and as many fired that come due in
/// yet another, all in one turn. This is what memory takes: whichever is next is in no cache.
fn a_million(count: u64) -> [Duration; 3] {
    /// Steps that meet each of a million numbers once, in what might as well be no order.
    const DUE_STRIDE: u64 = 7_919;
    const CANCEL_STRIDE: usize = 611_953;
    let mut reactor = Reactor::new().expect("a poller");
    let (socket, _far) = UnixStream::pair().expect("a pair");
    let id = reactor.add(socket, Timed).expect("a socket can be added");
    let mut timed = reactor.at(id).expect("it stays");

    let start = Instant::now();
    let set: Vec<TimerId> = (0..count)
        .map(|number| {
            let spread = Duration::from_millis(number * DUE_STRIDE % 3_600_000);
            timed.set_timer(Duration::from_secs(3_600) + spread)
        })
        .collect();
    let arming = start.elapsed();

    let places = (1..=set.len()).scan(0, |place, _| {
        *place = (*place + CANCEL_STRIDE) % set.len();
        Some(*place)
    });
    let shuffled: Vec<_> = places.map(|place| set[place]).collect();
    let start = Instant::now();
    for timer in shuffled {
        timed.cancel_timer(timer);
    }
    let cancelling = start.elapsed();

    for number in 0..count {
        timed.set_timer(Duration::from_nanos(number * DUE_STRIDE % count));
    }
    thread::sleep(Duration::from_nanos(count));
    let start = Instant::now();
    look(&mut reactor);
    let firing = start.elapsed();
    assert_eq!(reactor.counters().timers, count);
    [arming, cancelling, firing]
}

/// Times `count` things by pieces of at most `batch`.
fn in_batches(count: u64, batch: u64, mut timed: impl FnMut(u64) -> Duration) -> Duration {
    let mut total = Duration::ZERO;
    let mut left = count;
    while left > 0 {
        let piece = left.min(batch);
        total += timed(piece);
        left -= piece;
    }
    total
}

struct Timed;
impl Dispatcher for Timed {}

/// What an idle time-out costs per message: one store, that of the time, which is made whether there
/// is a time-out or not. So the first two figures should be the same; beside them, what it would cost to
/// set the timer anew each time. The sockets are simulated and always have a message, for a difference
/// of a nanosecond is lost in a system call.
fn touch(criterion: &mut Criterion) {
    const CONNECTIONS: u64 = 10_000;
    const LIMIT: Duration = Duration::from_secs(3_600);
    let mut group = criterion.benchmark_group("touch");
    group.throughput(Throughput::Elements(1));
    for (name, limit, anew) in [
        ("no time-out", None, None),
        ("idle time-out", Some(LIMIT), None),
        ("idle time-out set anew", Some(LIMIT), Some(LIMIT)),
    ] {
        let mut reactor = Reactor::new().expect("a poller");
        for _ in 0..CONNECTIONS {
            let socket: Box<dyn SimSocket> = Box::new(Chatty);
            let added = reactor.add(Socket::from(socket), Touched { anew });
            let id = added.expect("a socket can be added");
            let mut connection = reactor.at(id).expect("it stays");
            connection.set_idle_timeout(limit);
            reactor.inject(id, Bits::READABLE);
        }
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                let turns = times.div_ceil(CONNECTIONS);
                let before = reactor.counters().bytes_in;
                let start = Instant::now();
                for _ in 0..turns {
                    look(&mut reactor);
                }
                let took = start.elapsed();
                let read = reactor.counters().bytes_in - before;
                assert_eq!(read, turns * CONNECTIONS * MESSAGE.len() as u64);
                took.mul_f64(times as f64 / (turns * CONNECTIONS) as f64)
            });
        });
    }
    group.finish();
}

/// Reads one message.
struct Touched {
    /// A time-out to set at each.
    anew: Option<Duration>,
}

impl Dispatcher for Touched {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut chunk = MESSAGE;
        black_box(cx.recv(&mut chunk)?);
        if self.anew.is_some() {
            cx.set_idle_timeout(self.anew);
        }
        Ok(())
    }
}

/// A simulated stream that always has a message.
struct Chatty;

impl SimSocket for Chatty {
    fn kind(&self) -> SimKind {
        SimKind::Stream
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(buffer.len().min(MESSAGE.len()))
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }
}

struct Sink;

impl Dispatcher for Sink {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut chunk = [0; 1024];
        black_box(cx.recv(&mut chunk)?);
        Ok(())
    }
}

/// Closures from another thread, which posts as fast as the queue takes them.
fn posts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("posts");
    group.throughput(Throughput::Elements(1));
    group.bench_function("one thread", |bencher| {
        let mut reactor = Reactor::new().expect("a poller");
        let (orders, ordered) = mpsc::channel();
        let handle = reactor.handle();
        let poster = thread::spawn(move || {
            for count in ordered {
                post_all(&handle, count);
            }
        });
        bencher.iter_custom(|times| {
            let wanted = reactor.counters().posts + times;
            let start = Instant::now();
            orders.send(times).expect("the poster waits for orders");
            while reactor.counters().posts < wanted {
                reactor.turn(None).expect("a wait does not fail");
            }
            start.elapsed()
        });
        drop(orders);
        poster.join().expect("the poster does not panic");
    });
    group.finish();
}

fn post_all(handle: &Handle, count: u64) {
    for number in 0..count {
        // With a capture: without one the box would not be allocated.
        let mut job = move |_: &mut Reactor| {
            black_box(number);
        };
        while let Err(PostError::Full(refused)) = handle.post(job) {
            thread::yield_now();
            job = refused;
        }
    }
}

/// 64 KiB of records of 64 bytes each, read and taken apart.
fn framing(criterion: &mut Criterion) {
    const BYTES: usize = 64 * 1024;
    let mut group = criterion.benchmark_group("framing");
    group.throughput(Throughput::Bytes(BYTES as u64));
    let mut line = MESSAGE;
    line[63] = b'\n';
    let mut ended = MESSAGE;
    ended[60..].copy_from_slice(b"\r\n.\r");
    let mut prefixed = MESSAGE;
    prefixed[..4].copy_from_slice(&60_u32.to_be_bytes());
    let mut netstring = MESSAGE;
    netstring[..3].copy_from_slice(b"60:");
    netstring[63] = b',';
    for (name, terminator, record) in [
        ("lines", Terminator::Line, line),
        (
            "terminator of 4",
            Terminator::Bytes(b"\r\n.\r".to_vec()),
            ended,
        ),
        (
            "length prefix",
            Terminator::Prefixed(LengthPrefix::Four),
            prefixed,
        ),
        ("netstrings", Terminator::Netstring, netstring),
    ] {
        let input = record.repeat(BYTES / record.len());
        let mut reactor = Reactor::new().expect("a poller");
        let (socket, mut far) = UnixStream::pair().expect("a pair");
        let framed = Framed::new(terminator, Records { found: 0 }).expect("a sound terminator");
        let id = reactor.add(socket, framed).expect("a socket can be added");
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                after_each(
                    times,
                    &mut reactor,
                    |_| far.write_all(&input).expect("there is room"),
                    |reactor| while !take_records(reactor, id, BYTES / 64) {},
                )
            });
        });
    }
    group.finish();
}

/// One turn; whether all that were wanted have been found. Then they are counted from nought again.
fn take_records(reactor: &mut Reactor, id: Id<Framed<Records>>, wanted: usize) -> bool {
    look(reactor);
    reactor
        .with(id, |framed, _| {
            let records = framed.handler();
            let all = records.found == wanted;
            if all {
                records.found = 0;
            }
            all
        })
        .expect("it stays")
}

struct Records {
    found: usize,
}

impl Handler for Records {
    fn found_terminator(
        &mut self,
        _: &mut Context<'_>,
        _: &mut Framing,
        record: &[u8],
    ) -> io::Result<()> {
        black_box(record);
        self.found += 1;
        Ok(())
    }
}

/// Sends that wait for the end of the turn: many on one connection, and one on each of many.
fn flush(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("flush");
    for (connections, sends) in [(1, 1), (1, 16), (1, 256), (100, 1), (100, 16)] {
        let (mut reactor, ids, mut far_ends) = connected(connections);
        let mut taken = vec![0; sends * MESSAGE.len()];
        group.throughput(Throughput::Elements((connections * sends) as u64));
        let id = BenchmarkId::from_parameter(format!("{sends} sends on each of {connections}"));
        group.bench_function(id, |bencher| {
            bencher.iter_custom(|times| {
                let mut total = Duration::ZERO;
                for _ in 0..times {
                    let start = Instant::now();
                    for &id in &ids {
                        let mut connection = reactor.at(id).expect("it stays");
                        for _ in 0..sends {
                            connection.send(&MESSAGE).expect("below the cap");
                        }
                    }
                    look(&mut reactor);
                    total += start.elapsed();
                    for far in &mut far_ends {
                        far.read_exact(&mut taken).expect("all of it was sent");
                    }
                }
                total
            });
        });
    }
    group.finish();
}

/// What one says, all hear: queueing for a thousand, and one write to each.
fn fan_out(criterion: &mut Criterion) {
    const MEMBERS: usize = 1_000;
    let mut group = criterion.benchmark_group("fan_out");
    for lines in [1, 100] {
        let (mut reactor, members, mut far_ends) = connected(MEMBERS);
        let mut heard = vec![0; lines * MESSAGE.len()];
        group.throughput(Throughput::Elements((MEMBERS * lines) as u64));
        let id = BenchmarkId::from_parameter(format!("{lines} lines to {MEMBERS} members"));
        group.bench_function(id, |bencher| {
            bencher.iter_custom(|times| {
                let mut total = Duration::ZERO;
                for _ in 0..times {
                    let start = Instant::now();
                    let mut speaker = reactor.at(members[0]).expect("it stays");
                    for _ in 0..lines {
                        speaker.broadcast(members.iter().copied(), &MESSAGE);
                    }
                    look(&mut reactor);
                    total += start.elapsed();
                    for far in &mut far_ends {
                        far.read_exact(&mut heard).expect("all of it was sent");
                    }
                }
                total
            });
        });
    }
    group.finish();
}

/// Connections and their far ends, which are read by plain calls between two turns.
fn connected(count: usize) -> (Reactor, Vec<AnyId>, Vec<UnixStream>) {
    let mut reactor = Reactor::new().expect("a poller");
    let (mut ids, mut far_ends) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let (socket, far) = UnixStream::pair().expect("a pair");
        ids.push(
            reactor
                .add(socket, Sink)
                .expect("a socket can be added")
                .into(),
        );
        far_ends.push(far);
    }
    (reactor, ids, far_ends)
}
