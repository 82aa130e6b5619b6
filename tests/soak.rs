//! The long run: descriptors after thousands of connections and every kind of failure, counters that
//! tell what happened, and, by hand on a quiet machine, memory and cost over a million connections.
//!
//! What is ignored here takes minutes or looks at time:
//! `cargo test --release --test soak -- --ignored --test-threads=1`.

#[path = "util/ports.rs"]
mod ports;
mod util;

#[path = "util/scripted.rs"]
mod scripted;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use ports::closed_port;
use scripted::{OnAccept, Script, Seeded, add_scripted};
use slabloop::testing::{Bits, SimClock};
use slabloop::{
    Accepted, Builder, Context, Counters, Dispatcher, Reactor, Socket, SocketOptions, TimerId,
};
use util::{DEADLINE, Echo, turn, turn_until};

// ---- Descriptors ----

/// What descriptors this process has, and what each leads to.
fn descriptors() -> BTreeMap<String, String> {
    let mut open = BTreeMap::new();
    for entry in std::fs::read_dir("/proc/self/fd").expect("procfs") {
        let path = entry.expect("an entry").path();
        // The listing's own handle is gone by the time its link is read.
        if let Ok(target) = std::fs::read_link(&path) {
            let target = target.to_string_lossy().into_owned();
            if !target.starts_with("/proc/") {
                open.insert(path.to_string_lossy().into_owned(), target);
            }
        }
    }
    open
}

/// How a cycle goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Echo, then the client closes.
    Clean,
    /// Echo, then the client resets.
    Reset,
    /// Resets before it was accepted.
    DeadOnArrival,
    /// Not kept by the listener.
    TurnedAway,
    /// The listener's callback fails, with the connection in hand.
    AcceptFails,
    /// Added beside a source that cannot be registered.
    RegistrationFails,
    /// The dispatcher panics in these.
    PanicsInRead,
    PanicsInClose,
    PanicsInDrop,
    /// The server aborts.
    Aborted,
    /// The server goes over its hard cap.
    OverCap,
    /// An outgoing connection with an option that cannot be set.
    BadOption,
    /// An outgoing connection to nobody.
    Refused,
    /// An outgoing connection that is closed before it stands.
    ClosedWhileConnecting,
    /// A listener on an address in use.
    InUse,
    /// No descriptors left: for outgoing ones, for listeners, for a second reactor, and for accept.
    Starved,
}

const FATES: [Fate; 16] = [
    Fate::Clean,
    Fate::Reset,
    Fate::DeadOnArrival,
    Fate::TurnedAway,
    Fate::AcceptFails,
    Fate::RegistrationFails,
    Fate::PanicsInRead,
    Fate::PanicsInClose,
    Fate::PanicsInDrop,
    Fate::Aborted,
    Fate::OverCap,
    Fate::BadOption,
    Fate::Refused,
    Fate::ClosedWhileConnecting,
    Fate::InUse,
    Fate::Starved,
];

/// A regular file, which epoll refuses.
struct Unpollable(File);

impl Source for Unpollable {
    fn register(&mut self, registry: &Registry, token: Token, what: Interest) -> io::Result<()> {
        SourceFd(&self.0.as_raw_fd()).register(registry, token, what)
    }
    fn reregister(&mut self, registry: &Registry, token: Token, what: Interest) -> io::Result<()> {
        SourceFd(&self.0.as_raw_fd()).reregister(registry, token, what)
    }
    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.0.as_raw_fd()).deregister(registry)
    }
}

fn add_unpollable(cx: &mut Context<'_>) -> io::Result<()> {
    let file = File::open("/proc/self/exe")?;
    cx.add(Socket::foreign(Unpollable(file)), Echo)?;
    Ok(())
}

/// Takes connections as the fate of the current cycle says.
struct Door {
    fate: Fate,
    errors: usize,
}

impl Dispatcher for Door {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        match self.fate {
            Fate::TurnedAway => Ok(()),
            Fate::AcceptFails => {
                let _in_hand = accepted;
                Err(io::Error::other("wanted"))
            }
            Fate::RegistrationFails => {
                cx.add(accepted, Guest { fate: self.fate })?;
                add_unpollable(cx)
            }
            fate => cx.add(accepted, Guest { fate }).map(|_| ()),
        }
    }
    fn handle_error(&mut self, _: &mut Context<'_>, _: io::Error) {
        self.errors += 1;
    }
}

struct Guest {
    fate: Fate,
}

impl Dispatcher for Guest {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut chunk = [0; 64];
        let length = cx.recv(&mut chunk)?;
        match self.fate {
            Fate::PanicsInRead => panic!("wanted"),
            Fate::Aborted => cx.abort(),
            Fate::OverCap => cx.send(&vec![0; 2 * 1024 * 1024])?,
            _ => {}
        }
        cx.send(&chunk[..length])
    }
    fn handle_error(&mut self, cx: &mut Context<'_>, _: io::Error) {
        cx.close();
    }
    fn handle_close(&mut self, _: &mut Context<'_>) {
        assert!(self.fate != Fate::PanicsInClose, "wanted");
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        assert!(self.fate != Fate::PanicsInDrop, "wanted");
    }
}

/// Says "hello" and reads what comes back, until the end; an error if it ended in a reset.
fn converse(reactor: &mut Reactor, mut client: TcpStream, fate: Fate) -> io::Result<Vec<u8>> {
    client.set_nonblocking(true)?;
    client.write_all(b"hello")?;
    let mut heard = Vec::new();
    let deadline = Instant::now() + DEADLINE;
    loop {
        assert!(Instant::now() < deadline, "{fate:?}: nothing comes back");
        turn(reactor);
        let mut chunk = [0; 64];
        match client.read(&mut chunk) {
            Ok(0) => return Ok(heard),
            Ok(length) => heard.extend_from_slice(&chunk[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if heard == b"hello" {
            if fate == Fate::Reset {
                util::reset(client);
                return Ok(heard);
            }
            // Once is enough; the next read is the end.
            let _ = client.shutdown(Shutdown::Write);
        }
    }
}

/// Every descriptor that there still is, and then one.
fn hog() -> Vec<File> {
    let mut held = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        held.push(file);
    }
    held
}

fn starve(reactor: &mut Reactor, address: SocketAddr) {
    let client = TcpStream::connect(address).expect("descriptors");
    let mut held = hog();
    let out_of = |error: io::Error| assert_eq!(error.raw_os_error(), Some(24), "{error}");
    out_of(reactor.connect(address, Echo).unwrap_err());
    out_of(reactor.listen("127.0.0.1:0", Echo).unwrap_err());
    out_of(reactor.bind_udp("127.0.0.1:0", Echo).unwrap_err());
    out_of(Reactor::new().unwrap_err());
    // One is enough for the poller and not for the waker.
    held.pop();
    out_of(Reactor::new().unwrap_err());
    held.extend(hog());
    let before = reactor.counters();
    turn_until(reactor, "accept to find no descriptor", |reactor| {
        reactor.counters().accept_shortages > before.accept_shortages
    });
    drop(held);
    let heard = converse(reactor, client, Fate::Clean).expect("it is served in the end");
    assert_eq!(heard, b"hello");
}

/// nginx's change log has some twenty socket leaks, each on a road that nobody drives: an option that
/// fails, a registration that fails, an error with the connection in hand. The recipe is libevent's: a
/// low limit, and thousands of cycles that would hit it.
#[test]
fn four_thousand_cycles_of_every_fate_leave_no_descriptor_behind() {
    const NAME: &str = "four_thousand_cycles_of_every_fate_leave_no_descriptor_behind";
    const ROLE: &str = "SLABLOOP_TEST_UNDER_LIMIT";
    if std::env::var_os(ROLE).is_none() {
        let output = Command::new("sh")
            .args(["-c", "ulimit -n 24; exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().expect("the test's own path"))
            .args(["--exact", NAME, "--nocapture", "--test-threads=1"])
            .env(ROLE, "1")
            .env("RUST_BACKTRACE", "0")
            .output()
            .expect("a shell");
        let told = String::from_utf8_lossy(&output.stdout);
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && told.contains("1 passed"),
            "{told}\n{complaints}"
        );
        return;
    }
    std::panic::set_hook(Box::new(|info| {
        let text = info.to_string();
        if !text.ends_with("wanted") {
            eprintln!("{text}");
        }
    }));
    let mut reactor = Reactor::builder()
        .accept_retry(Duration::from_millis(1))
        .build()
        .unwrap();
    let door = Door {
        fate: Fate::Clean,
        errors: 0,
    };
    let door = reactor.listen("127.0.0.1:0", door).unwrap();
    let address = reactor.local_addr(door).unwrap();
    let (_bound, nobody) = closed_port();
    let before = descriptors();
    let mut random = Seeded(2026);
    for cycle in 0..4_000 {
        let fate = FATES[random.below(FATES.len())];
        reactor.with(door, |door, _| door.fate = fate);
        let expected_panics = match fate {
            Fate::PanicsInRead | Fate::PanicsInClose | Fate::PanicsInDrop => 1,
            _ => 0,
        };
        let panics = reactor.counters().panics;
        match fate {
            Fate::Clean | Fate::Reset | Fate::PanicsInClose | Fate::PanicsInDrop => {
                let client = TcpStream::connect(address).unwrap();
                let heard = converse(&mut reactor, client, fate).unwrap();
                assert_eq!(heard, b"hello", "{fate:?}");
            }
            Fate::RegistrationFails => {
                let errors = reactor.with(door, |door, _| door.errors).unwrap();
                let client = TcpStream::connect(address).unwrap();
                let heard = converse(&mut reactor, client, fate).unwrap();
                assert_eq!(heard, b"hello", "the connection itself was added");
                assert_eq!(reactor.with(door, |door, _| door.errors), Some(errors + 1));
            }
            Fate::TurnedAway
            | Fate::AcceptFails
            | Fate::PanicsInRead
            | Fate::Aborted
            | Fate::OverCap => {
                let client = TcpStream::connect(address).unwrap();
                let ended = converse(&mut reactor, client, fate);
                assert!(
                    ended.as_ref().is_ok_and(Vec::is_empty)
                        || ended.as_ref().is_err_and(|error| {
                            let kind = error.kind();
                            kind == ErrorKind::ConnectionReset || kind == ErrorKind::BrokenPipe
                        }),
                    "{fate:?}: {ended:?}"
                );
            }
            Fate::DeadOnArrival => {
                let accepted = reactor.counters().accepted;
                util::reset(TcpStream::connect(address).unwrap());
                turn_until(&mut reactor, "it to be accepted", |reactor| {
                    reactor.counters().accepted > accepted
                });
            }
            Fate::BadOption => {
                let mut options = SocketOptions::default();
                options.keepalive(Duration::from_secs(100_000));
                let refused = reactor.connect_with(address, &options, Echo);
                assert!(refused.is_err(), "the kernel takes 32,767 s at most");
            }
            Fate::Refused => {
                let errors = reactor.counters().errors;
                reactor.connect(nobody, Guest { fate }).unwrap();
                turn_until(&mut reactor, "the refusal", |reactor| {
                    reactor.counters().errors > errors
                });
            }
            Fate::ClosedWhileConnecting => {
                let id = reactor.connect(address, Guest { fate }).unwrap();
                reactor.at(id).unwrap().close();
            }
            Fate::InUse => {
                let refused = reactor.listen(address, Echo).unwrap_err();
                assert_eq!(refused.kind(), ErrorKind::AddrInUse);
            }
            Fate::Starved => starve(&mut reactor, address),
        }
        turn_until(&mut reactor, "the cycle to end", |reactor| {
            reactor.count() == 1
        });
        assert_eq!(
            reactor.counters().panics - panics,
            expected_panics,
            "cycle {cycle}, {fate:?}"
        );
    }
    // One that was closed while connecting may still wait in the listener's queue.
    util::settle(&mut reactor);
    turn_until(&mut reactor, "the last to go", |reactor| {
        reactor.count() == 1
    });
    assert_eq!(descriptors(), before);
    drop(reactor);
}

// ---- Counters ----

/// One story: what is built, what happens, and every counter that it moves.
fn story(
    what: &str,
    build: impl FnOnce(&mut Builder),
    happens: impl FnOnce(&mut Reactor, &SimClock),
    moves: impl FnOnce(&mut Counters),
) {
    let clock = SimClock::new();
    let mut builder = Reactor::builder();
    builder.clock(clock.clone());
    build(&mut builder);
    let mut reactor = builder.build().unwrap();
    happens(&mut reactor, &clock);
    let mut expected = Counters::default();
    moves(&mut expected);
    // Why dispatchers end is a matter of tests/ends.rs; here only that none closes without a cause.
    expected.ends = reactor.counters().ends;
    assert!(expected.ends.total() >= expected.closed, "{what}");
    assert_eq!(reactor.counters(), expected, "{what}");
}

fn listen(reactor: &mut Reactor, answers: impl IntoIterator<Item = Result<Script, i32>>) {
    let queue = Script::accepting(answers);
    let keep = OnAccept(|cx: &mut Context<'_>, accepted| cx.add(accepted, Echo).map(|_| ()));
    let id = reactor.add(queue.listener(), keep).unwrap();
    reactor.inject(id, Bits::READABLE);
    turn(reactor);
}

/// Does one thing in `handle_read`.
struct Doing<F>(F);

impl<F: FnMut(&mut Context<'_>) -> io::Result<()> + 'static> Dispatcher for Doing<F> {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        (self.0)(cx)
    }
    fn handle_timer(&mut self, _: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        Ok(())
    }
}

fn read_once(
    reactor: &mut Reactor,
    doing: impl FnMut(&mut Context<'_>) -> io::Result<()> + 'static,
) {
    let (id, _script) = add_scripted(reactor, Doing(doing));
    reactor.inject(id, Bits::READABLE);
    turn(reactor);
}

/// HAProxy counted its stale events only in 2025, and found thousands. Each story here moves its own
/// counters by exactly so much, and no other.
#[test]
fn every_story_moves_its_own_counters_and_no_other() {
    let as_it_is = |_: &mut Builder| {};
    story(
        "an echo",
        as_it_is,
        |reactor, _| {
            let (id, script) = add_scripted(reactor, Echo);
            script.with(|state| state.recv.push_back(Ok(b"hello".to_vec())));
            reactor.inject(id, Bits::READABLE);
            turn(reactor);
        },
        |c| {
            (c.turns, c.events, c.callbacks, c.added) = (1, 1, 1, 1);
            (c.bytes_in, c.bytes_out, c.writes) = (5, 5, 1);
        },
    );
    story(
        "events for the dead",
        as_it_is,
        |reactor, _| {
            let (id, _script) = add_scripted(reactor, Echo);
            reactor.at(id).unwrap().abort();
            turn(reactor);
            reactor.inject(id, Bits::READABLE);
            reactor.inject(id, Bits::ERROR);
            turn(reactor);
        },
        |c| {
            (c.turns, c.events, c.stale) = (2, 2, 2);
            (c.added, c.callbacks, c.closed) = (1, 1, 1);
        },
    );
    story(
        "three accepted, two lost on the way, then no descriptors",
        as_it_is,
        |reactor, clock| {
            let fresh = || Ok(Script::default());
            listen(
                reactor,
                [fresh(), Err(103), fresh(), Err(71), fresh(), Err(24)],
            );
            clock.advance(Duration::from_millis(100));
            turn(reactor);
            turn(reactor);
        },
        |c| {
            (c.turns, c.events, c.added, c.callbacks) = (3, 1, 4, 3);
            (c.accepted, c.accept_lost, c.accept_shortages) = (3, 2, 1);
            c.timers = 1;
        },
    );
    story(
        "at the connection limit",
        |builder| {
            builder.max_connections(2);
        },
        |reactor, _| listen(reactor, (0..3).map(|_| Ok(Script::default()))),
        |c| {
            (c.turns, c.events, c.added, c.callbacks) = (1, 1, 3, 2);
            (c.accepted, c.accept_limited) = (2, 1);
        },
    );
    story(
        "an errno of accept that nobody has listed",
        as_it_is,
        |reactor, _| listen(reactor, [Err(5)]),
        |c| {
            (c.turns, c.events, c.added, c.callbacks) = (1, 1, 1, 1);
            (c.accept_faults, c.errors) = (1, 1);
        },
    );
    story(
        "an outbox over its cap",
        |builder| {
            builder.low_mark(10).high_mark(20).hard_cap(100);
        },
        |reactor, _| read_once(reactor, |cx| cx.send(&[0; 101])),
        |c| {
            (c.turns, c.events, c.added, c.callbacks, c.closed) = (1, 1, 1, 3, 1);
            (c.over_cap, c.errors) = (1, 1);
        },
    );
    story(
        "an idle time-out",
        as_it_is,
        |reactor, clock| {
            let (id, _script) = add_scripted(reactor, Echo);
            let limit = Duration::from_secs(3);
            reactor.at(id).unwrap().set_idle_timeout(limit);
            turn(reactor);
            clock.advance(limit);
            turn(reactor);
        },
        |c| {
            (c.turns, c.added, c.callbacks, c.closed) = (2, 1, 2, 1);
            (c.timers, c.deadlines, c.errors) = (1, 1, 1);
        },
    );
    story(
        "a slow callback",
        |builder| {
            builder.slow_callback(Duration::from_millis(1));
        },
        |reactor, clock| {
            let clock = clock.clone();
            read_once(reactor, move |cx| {
                clock.advance(Duration::from_millis(7));
                cx.recv(&mut [0; 8]).map(|_| ())
            });
        },
        |c| {
            (c.turns, c.events, c.added, c.callbacks) = (1, 1, 1, 1);
            (c.slow_callbacks, c.slowest_us) = (1, 7_000);
        },
    );
    story(
        "a fault and a panic",
        as_it_is,
        |reactor, _| {
            read_once(reactor, |cx| {
                cx.abort();
                panic!("wanted");
            });
            read_once(reactor, |_| Err(io::Error::other("wanted")));
        },
        |c| {
            (c.turns, c.events, c.added) = (2, 2, 2);
            // With nothing queued, the fault's connection is reset at once.
            (c.callbacks, c.closed, c.panics, c.errors) = (5, 2, 1, 1);
        },
    );
    story(
        "a timer and two posts",
        as_it_is,
        |reactor, _| {
            let (id, _script) = add_scripted(reactor, Doing(|_: &mut Context<'_>| Ok(())));
            reactor.at(id).unwrap().set_timer(Duration::ZERO);
            reactor.call_later(Duration::ZERO, |_| ());
            let handle = reactor.handle();
            handle.post(|_| ()).unwrap();
            handle.post(|_| ()).unwrap();
            turn(reactor);
        },
        |c| {
            // The wake-up is an event, one for both posts.
            (c.turns, c.events, c.added, c.callbacks) = (1, 1, 1, 1);
            (c.timers, c.posts) = (2, 2);
        },
    );
    story(
        "a shutdown that would not wait",
        as_it_is,
        |reactor, _| {
            add_scripted(reactor, Echo);
            assert_eq!(reactor.shutdown(Duration::ZERO).unwrap().len(), 1);
        },
        // handle_shutdown and handle_close.
        |c| (c.added, c.callbacks, c.closed, c.aborted) = (1, 2, 1, 1),
    );
}

// ---- By hand ----

/// Resident memory in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number
        .and_then(|number| number.parse().ok())
        .expect("a number")
}

#[test]
#[ignore = "minutes; memory over a million connections"]
fn memory_after_a_million_connections_is_that_after_a_hundred_thousand() {
    const AT_ONCE: usize = 100;
    let mut reactor = Reactor::new().unwrap();
    let (_, address) = util::serve(&mut reactor, || Echo);
    let descriptors_before = util::open_descriptors();
    let mut random = Seeded(1);
    let mut after_a_tenth = 0;
    let mut finished = 0;
    while finished < 1_000_000 {
        // Addresses vary, for one pair of addresses has 28,232 ports.
        let clients: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                let socket =
                    socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
                        .unwrap();
                let from = SocketAddr::from(([127, 0, 0, 2 + (random.next() % 200) as u8], 0));
                socket.bind(&from.into()).unwrap();
                socket.connect(&address.into()).unwrap();
                let mut client = TcpStream::from(socket);
                client.write_all(b"hello").unwrap();
                client
            })
            .collect();
        let wanted = reactor.counters().bytes_out + 5 * AT_ONCE as u64;
        while reactor.counters().bytes_out < wanted {
            reactor.turn(Duration::from_millis(10)).unwrap();
        }
        for mut client in clients {
            match random.below(4) {
                0 => util::reset(client),
                1 => client.shutdown(Shutdown::Write).unwrap(),
                _ => {
                    let mut heard = [0; 5];
                    client.read_exact(&mut heard).unwrap();
                    assert_eq!(&heard, b"hello");
                }
            }
        }
        turn_until(&mut reactor, "all to leave", |reactor| reactor.count() == 1);
        finished += AT_ONCE;
        if finished == 100_000 {
            after_a_tenth = resident();
        }
    }
    let grown = resident().saturating_sub(after_a_tenth);
    assert!(grown <= 2 * 1024, "grown by {grown} KiB");
    let (queued, capacity) = reactor.memory();
    assert_eq!(queued, 0);
    assert!(capacity <= 2 * (AT_ONCE + 1), "slab of {capacity}");
    assert_eq!(util::open_descriptors(), descriptors_before);
}

/// Serves `messages` to each of 100 active connections among `registered`; the time for one, and what
/// was counted.
fn cost_among(registered: usize, messages: usize) -> (Duration, [u64; 5]) {
    let mut reactor = Reactor::new().unwrap();
    let mut pairs = Vec::new();
    for _ in 0..registered {
        let (ours, peer) = std::os::unix::net::UnixStream::pair().unwrap();
        reactor.add(ours, Echo).unwrap();
        pairs.push(peer);
    }
    util::settle(&mut reactor);
    // Spread over all.
    let step = registered / 100;
    let mut active: Vec<_> = pairs.iter_mut().step_by(step).take(100).collect();
    let before = reactor.counters();
    let mut spent = Duration::ZERO;
    for _ in 0..messages {
        for peer in &mut active {
            peer.write_all(b"x").unwrap();
        }
        let started = Instant::now();
        reactor.turn(Duration::ZERO).unwrap();
        spent += started.elapsed();
        for peer in &mut active {
            peer.read_exact(&mut [0; 1]).unwrap();
        }
    }
    let after = reactor.counters();
    let counts = [
        after.turns - before.turns,
        after.events - before.events,
        after.callbacks - before.callbacks,
        after.writes - before.writes,
        after.bytes_out - before.bytes_out,
    ];
    (spent / u32::try_from(100 * messages).unwrap(), counts)
}

/// asyncore asks every object in every pass whether it wants to read, as its author noted in 1999.
#[test]
#[ignore = "looks at time, and needs 19,800 descriptors"]
fn cost_of_a_message_does_not_depend_on_how_many_are_idle() {
    const MESSAGES: usize = 2_000;
    let best = |registered| {
        let runs = (0..5).map(|_| cost_among(registered, MESSAGES));
        runs.min_by_key(|(time, _)| *time).expect("five runs")
    };
    let (few, few_counts) = best(100);
    for registered in [1_000, 9_900] {
        let (many, many_counts) = best(registered);
        println!("100 of 100: {few:?} a message; of {registered}: {many:?}");
        assert_eq!(many_counts, few_counts, "events, callbacks, writes");
        assert!(
            many.as_nanos() * 100 <= few.as_nanos() * 115,
            "{many:?} among {registered}, {few:?} among 100"
        );
    }
}

#[test]
fn counts_of_a_message_do_not_depend_on_how_many_are_idle() {
    let (_, few) = cost_among(100, 20);
    let (_, many) = cost_among(2_000, 20);
    assert_eq!(few, many);
}
