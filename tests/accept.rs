//! Accepting: out of descriptors without a spin and without going deaf; what the dead leave in the
//! queue; a batch a turn; the limit on connections.
//!
//! Where descriptors run out, the server is this test's own binary, started again as a child under a
//! limit that a shell has lowered; it is told what to do on its standard input and reports on its
//! standard output. Error numbers that no kernel gives on demand come from a simulated listener.

#[path = "util/ports.rs"]
mod ports;
mod util;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use mio::Token;
use ports::free_port;
use slabloop::testing::{Bits, SimClock, SimKind, SimSocket};
use slabloop::{
    Accepted, AnyId, Context, Counters, Dispatcher, Id, Reactor, Socket, SocketOptions,
};
use util::*;

const EAGAIN: i32 = 11;
const EMFILE: i32 = 24;

// The child: an echo server under orders.

/// Counts the lines that say that accepting has paused.
struct CountingLogger;

static PAUSES_LOGGED: AtomicU64 = AtomicU64::new(0);

impl log::Log for CountingLogger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.args().to_string().contains("cannot accept") {
            PAUSES_LOGGED.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}

/// Not a test but the child's part in those below.
#[test]
#[ignore = "a role for a child process"]
fn child_serves_echo() {
    let Ok(role) = std::env::var("SLABLOOP_CHILD") else {
        return;
    };
    log::set_logger(&CountingLogger).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    let mut builder = Reactor::builder();
    if role == "woken by closes alone" {
        builder.accept_retry(Duration::from_secs(3600));
    }
    let mut reactor = builder.build().unwrap();
    let (_, address) = serve(&mut reactor, || Echo);
    let handle = reactor.handle();
    let (mut filling, mut spares) = (Vec::new(), Vec::new());
    if role == "room for two" {
        while let Ok(file) = std::fs::File::open("/dev/null") {
            filling.push(file);
        }
        filling.truncate(filling.len() - 2);
        spares = filling.split_off(filling.len() - 10);
    }
    println!("@@ {}", address.port());
    std::thread::spawn(move || {
        for order in io::stdin().lines() {
            let order = order.expect("orders are text");
            let quit = order == "quit";
            let posted = handle.post(move |reactor| {
                ORDERS.with_borrow_mut(|o| o.push((order, reactor.counters())))
            });
            assert!(posted.is_ok());
            if quit {
                return;
            }
        }
    });
    let mut at_release: Option<Counters> = None;
    let mut first_success: Option<(u64, u64)> = None;
    let started = Instant::now();
    loop {
        reactor.turn(None).unwrap();
        reactor.check_invariants();
        let counters = reactor.counters();
        if let Some(before) = at_release {
            if counters.accepted > before.accepted && first_success.is_none() {
                let shortages = counters.accept_shortages - before.accept_shortages;
                first_success = Some((counters.accepted - before.accepted, shortages));
            }
        }
        for (order, then) in ORDERS.take() {
            match order.as_str() {
                "quit" => return,
                "release" => {
                    spares.clear();
                    at_release = Some(then);
                }
                "report" => {
                    let (succeeded, tries) = first_success.unwrap_or_default();
                    println!(
                        "@@ turns={} accepted={} shortages={} errors={} panics={} dispatchers={} \
                         lines={} descriptors={} succeeded={succeeded} tries={tries} ms={}",
                        counters.turns,
                        counters.accepted,
                        counters.accept_shortages,
                        counters.errors,
                        counters.panics,
                        reactor.count(),
                        PAUSES_LOGGED.load(Ordering::Relaxed),
                        // Looking takes a descriptor.
                        if role == "a storm" {
                            open_descriptors()
                        } else {
                            0
                        },
                        started.elapsed().as_millis(),
                    );
                }
                other => panic!("no such order: {other}"),
            }
        }
    }
}

thread_local! {
    static ORDERS: RefCell<Vec<(String, Counters)>> = const { RefCell::new(Vec::new()) };
}

/// The child as the test sees it. Ended when it goes out of scope.
struct Server {
    child: Child,
    orders: ChildStdin,
    lines: mpsc::Receiver<String>,
    address: SocketAddr,
}

type Report = HashMap<String, u64>;

impl Server {
    fn start(role: &str, descriptors: usize) -> Server {
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(format!("ulimit -n {descriptors}; exec \"$0\" \"$@\""))
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "child_serves_echo", "--ignored", "--nocapture"])
            .env("SLABLOOP_CHILD", role)
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines() {
                let line = line.unwrap_or_default();
                let told = line.split_once("@@ ").map(|(_, told)| told.to_owned());
                if told.is_some_and(|told| sender.send(told).is_err()) {
                    return;
                }
            }
        });
        let mut server = Server {
            child,
            orders,
            lines,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        let port = server.line().parse().unwrap();
        server.address.set_port(port);
        server
    }

    #[track_caller]
    fn line(&mut self) -> String {
        let line = self.lines.recv_timeout(DEADLINE);
        line.expect("the child answers and has not died")
    }

    fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").expect("the child reads its orders");
    }

    #[track_caller]
    fn report(&mut self) -> Report {
        self.order("report");
        let line = self.line();
        let fields = line.split_whitespace().map(|field| {
            let (name, value) = field.split_once('=').unwrap();
            (name.to_owned(), value.parse().unwrap())
        });
        fields.collect()
    }

    #[track_caller]
    fn report_when(&mut self, what: &str, done: impl Fn(&Report) -> bool) -> Report {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let report = self.report();
            if done(&report) {
                return report;
            }
            assert!(
                Instant::now() < deadline,
                "waited too long for: {what}; {report:?}"
            );
        }
    }

    fn client(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client.set_nodelay(true).unwrap();
        client
    }

    fn quit(mut self) {
        self.order("quit");
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the client of this number sends.
fn bytes_of(number: usize, length: usize) -> Vec<u8> {
    pattern(u8::try_from(number % 251).unwrap(), length)
}

#[track_caller]
fn assert_echo(mut client: &TcpStream, bytes: &[u8]) {
    client.write_all(bytes).expect("it is connected");
    let mut back = vec![0; bytes.len()];
    client.read_exact(&mut back).expect("it is served");
    assert_eq!(back, bytes);
}

/// An edge-triggered listener that gives up at EMFILE is deaf until one more client connects, even when
/// descriptors are free again (payjoin #1608 was parked for ever); a level-triggered one spins and
/// floods its log (bun #32705: 98,000 errors in ten seconds). Here nobody new connects, and what comes
/// free is none of the reactor's own.
#[test]
fn out_of_descriptors_it_neither_spins_nor_goes_deaf() {
    let mut server = Server::start("room for two", 60);
    let clients: Vec<TcpStream> = (0..50).map(|_| server.client()).collect();
    clients
        .iter()
        .for_each(|mut client| client.write_all(b"first").unwrap());
    for client in &clients[..2] {
        let mut back = [0; 5];
        let mut client = client;
        client.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"first");
    }
    let before = server.report_when("the shortage", |report| report["shortages"] > 0);
    assert_eq!(before["accepted"], 2, "room for two");
    let starved = Instant::now();
    while starved.elapsed() < Duration::from_secs(2) {
        for client in &clients[..2] {
            assert_echo(client, b"served throughout");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let after = server.report();
    let turns = after["turns"] - before["turns"];
    let millis = after["ms"] - before["ms"];
    assert!(
        turns * 1000 < 100 * millis,
        "{turns} turns in {millis} ms: it spins"
    );
    assert_eq!(after["accepted"], 2);
    assert!(
        after["shortages"] > before["shortages"],
        "it has tried again"
    );
    assert!(
        after["lines"] <= after["ms"] / 1000 + 1,
        "{} lines in {} ms",
        after["lines"],
        after["ms"]
    );

    server.order("release");
    for mut client in &clients[2..12] {
        let mut back = [0; 5];
        client.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"first");
        assert_echo(client, b"and again");
    }
    let report = server.report();
    assert_eq!(report["accepted"], 12, "ten more and no other");
    assert_eq!(
        (report["succeeded"], report["tries"]),
        (10, 1),
        "the first try after the release took all ten, and then ran out again"
    );
    for client in &clients[..12] {
        assert_echo(client, b"all are well");
    }
    assert_eq!((report["errors"], report["panics"]), (0, 0));
    server.quit();
}

/// The retry is an hour away: only the sockets that close bring the waiting in.
#[test]
fn with_64_descriptors_200_clients_are_all_served_as_others_leave() {
    let mut server = Server::start("woken by closes alone", 64);
    let mut clients: VecDeque<TcpStream> = (0..200).map(|_| server.client()).collect();
    for (number, mut client) in clients.iter().enumerate() {
        client.write_all(&bytes_of(number, 100)).unwrap();
    }
    let full = server.report_when("the shortage", |report| report["shortages"] > 0);
    let room = full["accepted"];
    assert!((40..64).contains(&room), "{room} have room");
    // No spin while the waiting wait: a report costs a turn, and nothing else does.
    let before = server.report();
    std::thread::sleep(Duration::from_secs(1));
    let after = server.report();
    let turns = after["turns"] - before["turns"];
    assert!(turns <= 2, "{turns} turns with nothing to do");
    assert_eq!(
        after["shortages"], full["shortages"],
        "nor did it try again"
    );
    // The queue is first come, first served: so whoever is at the head here is being served.
    let mut number = 0;
    while let Some(mut client) = clients.pop_front() {
        let mut back = [0; 100];
        client.read_exact(&mut back).unwrap();
        assert_eq!(back[..], bytes_of(number, 100));
        assert_echo(&client, b"once more before it leaves");
        drop(client);
        number += 1;
    }
    let end = server.report_when("all to be gone", |report| report["dispatchers"] == 1);
    assert_eq!((end["accepted"], end["panics"]), (200, 0));
    assert!(
        end["turns"] < 200 * 20,
        "{} turns for 200 clients",
        end["turns"]
    );
    server.quit();
}

/// CVE-2010-3492 (asyncore), -3493 (smtpd), -3495 (ZODB) and waitress GHSA-3f84-rpwh-47g6: a client
/// that is gone before it is accepted closed the listener, or ended the loop.
#[test]
fn ten_thousand_clients_that_reset_at_once_harm_nobody() {
    let mut server = Server::start("a storm", 64);
    let honest = server.client();
    assert_echo(&honest, b"before the storm");
    let before = server.report();
    for number in 0..10_000 {
        reset(TcpStream::connect(server.address).unwrap());
        if number % 50 == 0 {
            assert_echo(&honest, &bytes_of(number, 1000));
        }
    }
    let after = server.report_when("the storm to pass", |report| {
        report["dispatchers"] == 2 && report["accepted"] > 10_000
    });
    assert_eq!(after["accepted"], 10_001);
    assert_eq!(
        after["descriptors"], before["descriptors"],
        "none has leaked"
    );
    assert_eq!((after["errors"], after["panics"]), (0, 0));
    assert_echo(&honest, b"after the storm");
    server.quit();
}

// A listener as a script says.

/// What `accept` gives next: a connection, whose registering may fail, or an errno. Then EAGAIN.
#[derive(Clone, Copy)]
enum Next {
    Connection,
    Unregistrable,
    Errno(i32),
}

type Script = Rc<RefCell<VecDeque<Next>>>;

struct Scripted {
    kind: SimKind,
    script: Script,
    register: io::Result<()>,
    calls: Rc<Cell<usize>>,
}

impl Scripted {
    fn listener(script: &Script, calls: &Rc<Cell<usize>>) -> Socket {
        let socket: Box<dyn SimSocket> = Box::new(Scripted {
            kind: SimKind::Listener,
            script: Rc::clone(script),
            register: Ok(()),
            calls: Rc::clone(calls),
        });
        Socket::from(socket)
    }

    fn stream(register: io::Result<()>) -> Box<dyn SimSocket> {
        Box::new(Scripted {
            kind: SimKind::Stream,
            script: Script::default(),
            register,
            calls: Rc::default(),
        })
    }
}

impl SimSocket for Scripted {
    fn kind(&self) -> SimKind {
        self.kind
    }

    fn register(&mut self, _: Token) -> io::Result<()> {
        std::mem::replace(&mut self.register, Ok(()))
    }

    fn recv(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn accept(&mut self) -> io::Result<Box<dyn SimSocket>> {
        const ENOSPC: i32 = 28;
        self.calls.set(self.calls.get() + 1);
        match self.script.borrow_mut().pop_front() {
            Some(Next::Connection) => Ok(Scripted::stream(Ok(()))),
            Some(Next::Unregistrable) => {
                let error = io::Error::from_raw_os_error(ENOSPC);
                Ok(Scripted::stream(Err(error)))
            }
            Some(Next::Errno(errno)) => Err(io::Error::from_raw_os_error(errno)),
            None => Err(io::Error::from_raw_os_error(EAGAIN)),
        }
    }
}

/// A listener that writes down what it is told, keeps whom it accepts, and returns what it is asked to.
struct Keeper {
    diary: Diary,
    returns: Option<io::ErrorKind>,
}

impl Dispatcher for Keeper {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        self.diary.note("listener", cx.any_id(), "accept");
        cx.add(accepted, Spy::new("guest", &self.diary))?;
        self.returns.map_or(Ok(()), |kind| Err(kind.into()))
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        let errno = error.raw_os_error().unwrap_or_default();
        let note = format!("error {errno} {:?}", error.kind());
        self.diary.note("listener", cx.any_id(), note);
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        self.diary.note("listener", cx.any_id(), "close");
    }
}

/// A reactor on a simulated clock with a listener on a script.
struct Stage {
    reactor: Reactor,
    clock: SimClock,
    diary: Diary,
    calls: Rc<Cell<usize>>,
    id: Id<Keeper>,
}

impl Stage {
    fn new(script: impl IntoIterator<Item = Next>) -> Stage {
        let clock = SimClock::new();
        let mut reactor = Reactor::builder().clock(clock.clone()).build().unwrap();
        let diary = Diary::default();
        let script = Rc::new(RefCell::new(script.into_iter().collect()));
        let calls = Rc::default();
        let keeper = Keeper {
            diary: diary.clone(),
            returns: None,
        };
        let id = reactor
            .add(Scripted::listener(&script, &calls), keeper)
            .unwrap();
        reactor.inject(id, Bits::READABLE);
        Stage {
            reactor,
            clock,
            diary,
            calls,
            id,
        }
    }

    fn turn(&mut self) {
        turn_for(&mut self.reactor, Duration::ZERO);
    }

    fn accepted(&self) -> usize {
        self.diary.count("listener", "accept")
    }

    /// What the listener was told beside `handle_accept`.
    fn told(&self) -> Vec<String> {
        let mut notes = self.diary.of("listener");
        notes.retain(|note| note != "accept");
        notes
    }

    /// Nothing happens by itself: no call, and a wait that is not for zero.
    fn assert_at_rest(&mut self) {
        let calls = self.calls.get();
        self.reactor.take_waits();
        for _ in 0..3 {
            turn_for(&mut self.reactor, Duration::from_micros(1));
        }
        let waits = self.reactor.take_waits();
        assert_eq!(waits, [Some(Duration::from_micros(1)); 3], "it spins");
        assert_eq!(self.calls.get(), calls, "it tries on");
    }

    /// It has paused at the `place`-th of five, and takes the rest after the retry interval.
    fn assert_pauses_and_retries(&mut self, place: usize) {
        assert_eq!(self.accepted(), place - 1, "the batch ends");
        self.assert_at_rest();
        self.clock.advance(Duration::from_nanos(99_999_999));
        self.assert_at_rest();
        self.clock.advance(Duration::from_nanos(1));
        self.turn();
        self.turn();
        assert_eq!(self.accepted(), 4, "it has taken the rest");
        self.assert_at_rest();
        assert_eq!(self.reactor.timer_count(), 0);
    }
}

fn five_with(errno: i32, place: usize) -> impl Iterator<Item = Next> {
    (1..=5).map(move |i| {
        if i == place {
            Next::Errno(errno)
        } else {
            Next::Connection
        }
    })
}

/// gnet #453, cpython #127529, pyftpdlib #91, and others, one errno each: an error that no one had
/// listed stopped the server, or made it spin. Every one has its class here, wherever it comes.
#[test]
fn every_errno_of_accept_does_what_its_class_says_wherever_it_comes() {
    // EINTR, ECONNABORTED, ECONNRESET, EPROTO, ENETDOWN, ENETUNREACH, EHOSTDOWN, EHOSTUNREACH, ENONET,
    // ENOPROTOOPT, EOPNOTSUPP, EPERM.
    let lost = [4, 103, 104, 71, 100, 101, 112, 113, 64, 92, 95, 1];
    // EMFILE, ENFILE, ENOBUFS, ENOMEM.
    let shortage = [EMFILE, 23, 105, 12];
    // EBADF, EINVAL, ENOTSOCK.
    let broken = [9, 22, 88];
    for errno in 1..=133 {
        for place in [1, 2, 5] {
            let mut stage = Stage::new(five_with(errno, place));
            let case = format!("errno {errno} at place {place}");
            stage.turn();
            let counters = stage.reactor.counters();
            let counted = (
                counters.accept_lost,
                counters.accept_shortages,
                counters.accept_faults,
            );
            if errno == EAGAIN {
                assert_eq!(counted, (0, 0, 0), "{case}");
                assert_eq!(stage.accepted(), place - 1, "{case}: nobody is there");
                stage.assert_at_rest();
                stage.reactor.inject(stage.id, Bits::READABLE);
                stage.turn();
                assert_eq!(stage.accepted(), 4, "{case}: the event brings the rest");
                assert_eq!(stage.told(), Vec::<String>::new(), "{case}");
            } else if lost.contains(&errno) {
                assert_eq!(counted, (1, 0, 0), "{case}");
                assert_eq!(stage.accepted(), 4, "{case}: it is skipped");
                assert_eq!(stage.told(), Vec::<String>::new(), "{case}");
                stage.assert_at_rest();
            } else if shortage.contains(&errno) {
                assert_eq!(counted, (0, 1, 0), "{case}");
                stage.assert_pauses_and_retries(place);
                assert_eq!(stage.told(), Vec::<String>::new(), "{case}");
            } else if broken.contains(&errno) {
                assert_eq!(counted, (0, 0, 1), "{case}");
                let told = stage.told();
                assert!(told[0].starts_with(&format!("error {errno} ")), "{told:?}");
                assert_eq!(told[1..], ["close"], "{case}: the listener alone");
                assert_eq!(stage.reactor.count(), place - 1, "{case}");
                assert_eq!(stage.diary.count("guest", "close"), 0, "{case}");
                stage.assert_at_rest();
            } else {
                assert_eq!(counted, (0, 0, 1), "{case}");
                stage.assert_pauses_and_retries(place);
                let told = stage.told();
                assert_eq!(told.len(), 1, "{case}: told once: {told:?}");
                assert!(told[0].starts_with(&format!("error {errno} ")), "{told:?}");
            }
        }
    }
}

#[test]
fn lost_connections_count_against_the_batch() {
    let script = [Next::Errno(103); 200]
        .into_iter()
        .chain([Next::Connection]);
    let mut stage = Stage::new(script);
    for turns in 1..=3 {
        stage.turn();
        assert_eq!(stage.calls.get(), 64 * turns, "a batch and no more");
        assert_eq!(stage.accepted(), 0);
    }
    stage.turn();
    assert_eq!(stage.accepted(), 1);
    assert_eq!(stage.reactor.counters().accept_lost, 200);
    stage.assert_at_rest();
}

#[test]
fn a_shortage_ends_as_soon_as_a_socket_of_ours_closes() {
    let script = [Next::Connection, Next::Errno(EMFILE), Next::Connection];
    let mut stage = Stage::new(script);
    let spy = Spy::new("leaving", &stage.diary);
    let (leaving, _peer) = spied_pair(&mut stage.reactor, spy);
    settle(&mut stage.reactor);
    assert_eq!(stage.accepted(), 1);
    stage.assert_at_rest();
    stage.reactor.at(leaving).unwrap().abort();
    stage.turn();
    stage.turn();
    assert_eq!(stage.accepted(), 2, "in the turn after the close");
    assert_eq!(stage.reactor.timer_count(), 0, "the retry is called off");
}

#[test]
fn a_shortage_that_lasts_is_tried_again_once_an_interval() {
    let mut stage = Stage::new([Next::Errno(EMFILE); 50]);
    for tries in 1..=50 {
        stage.turn();
        assert_eq!(stage.calls.get(), tries);
        stage.assert_at_rest();
        stage.clock.advance(Duration::from_millis(100));
        // The timer fires behind this turn's dispatch.
        stage.turn();
    }
    stage.turn();
    assert_eq!(stage.reactor.counters().accept_shortages, 50);
    assert_eq!(stage.told(), Vec::<String>::new(), "it is no error");
    stage.assert_at_rest();
}

#[test]
fn listeners_that_starve_together_recover_together() {
    let mut stage = Stage::new([Next::Errno(EMFILE), Next::Connection]);
    let script: Script = Rc::new(RefCell::new([Next::Errno(EMFILE), Next::Connection].into()));
    let other = Diary::default();
    let keeper = Keeper {
        diary: other.clone(),
        returns: None,
    };
    let second = stage
        .reactor
        .add(Scripted::listener(&script, &Rc::default()), keeper)
        .unwrap();
    stage.reactor.inject(second, Bits::READABLE);
    let (leaving, _peer) = spied_pair(&mut stage.reactor, Spy::new("leaving", &stage.diary));
    settle(&mut stage.reactor);
    assert_eq!(
        (stage.accepted(), other.count("listener", "accept")),
        (0, 0)
    );
    // One of them goes while it is paused; the other must still be woken.
    stage.reactor.at(leaving).unwrap().abort();
    settle(&mut stage.reactor);
    assert_eq!(
        (stage.accepted(), other.count("listener", "accept")),
        (1, 1)
    );
}

#[test]
fn a_listener_closed_while_it_starves_takes_its_retry_along() {
    let mut stage = Stage::new([Next::Errno(EMFILE), Next::Connection]);
    stage.turn();
    stage.reactor.at(stage.id).unwrap().close();
    stage.turn();
    assert_eq!(stage.told(), ["close"]);
    assert_eq!((stage.reactor.count(), stage.reactor.timer_count()), (0, 0));
    stage.clock.advance(Duration::from_secs(1));
    stage.turn();
    assert_eq!(stage.calls.get(), 1);
}

#[test]
fn a_connection_that_cannot_be_added_is_lost_alone() {
    let mut script = [Next::Connection; 5];
    script[2] = Next::Unregistrable;
    let mut stage = Stage::new(script);
    stage.turn();
    assert_eq!(stage.accepted(), 5, "the batch goes on");
    assert_eq!(stage.told(), ["error 28 StorageFull"]);
    assert_eq!(
        stage.reactor.count(),
        1 + 4,
        "the listener and four of five"
    );
    stage.assert_at_rest();
}

/// Somebody else's disconnect, passed on with `?`, must not end the listener.
#[test]
fn an_error_returned_by_handle_accept_leaves_the_listener_listening() {
    for kind in [
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::NotConnected,
        io::ErrorKind::BrokenPipe,
        io::ErrorKind::Other,
    ] {
        let mut stage = Stage::new([Next::Connection; 3]);
        let id = stage.id;
        stage
            .reactor
            .with(id, |keeper, _| keeper.returns = Some(kind))
            .unwrap();
        stage.turn();
        assert_eq!(stage.accepted(), 3);
        assert_eq!(stage.told(), vec![format!("error 0 {kind:?}"); 3]);
        assert!(stage.reactor.at(id).is_some());
    }
}

/// Accepts one, and closes itself.
struct Once(Diary);

impl Dispatcher for Once {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        self.0.note("once", cx.any_id(), "accept");
        cx.add(accepted, Echo)?;
        cx.close();
        Ok(())
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        self.0.note("once", cx.any_id(), "close");
    }
}

#[test]
fn closing_the_listener_in_handle_accept_ends_the_batch() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let id = reactor.listen("127.0.0.1:0", Once(diary.clone())).unwrap();
    let address = reactor.local_addr(id).unwrap();
    let clients: Vec<_> = (0..5)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    turn_until(&mut reactor, "the close", |_| diary.all().len() > 1);
    assert_eq!(diary.of("once"), ["accept", "close"]);
    let mut first = &clients[0];
    first.write_all(b"hello").unwrap();
    settle(&mut reactor);
    let mut back = [0; 5];
    first.set_read_timeout(Some(DEADLINE)).unwrap();
    first.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"hello", "the one that was accepted is served");
}

/// Notes whom it accepts.
struct Noting {
    peers: Rc<RefCell<Vec<Option<SocketAddr>>>>,
    diary: Diary,
}

impl Dispatcher for Noting {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        self.peers.borrow_mut().push(accepted.peer());
        cx.add(accepted, Spy::new("guest", &self.diary))?;
        Ok(())
    }

    fn handle_error(&mut self, _: &mut Context<'_>, error: io::Error) {
        panic!("the listener has no error: {error}");
    }
}

/// The kernel hands out a connection that has been reset already, and then has no peer address for it
/// (python/asyncio #78, cpython #127529: a detail call on the fresh socket failed).
#[test]
fn a_client_that_was_gone_before_it_was_accepted_still_has_its_address_and_one_close() {
    let mut reactor = Reactor::new().unwrap();
    let (peers, diary) = (Rc::default(), Diary::default());
    let listener = Noting {
        peers: Rc::clone(&peers),
        diary: diary.clone(),
    };
    let id = reactor.listen("127.0.0.1:0", listener).unwrap();
    let address = reactor.local_addr(id).unwrap();
    let mut dead = Vec::new();
    for _ in 0..100 {
        let client = TcpStream::connect(address).unwrap();
        dead.push(Some(client.local_addr().unwrap()));
        reset(client);
    }
    turn_until(&mut reactor, "all to come and go", |reactor| {
        reactor.counters().accepted == 100 && reactor.count() == 1
    });
    assert_eq!(*peers.borrow(), dead, "accept itself gave the address");
    assert_eq!(diary.count("guest", "close"), 100);
    assert_eq!(diary.count("guest", "eof"), 0, "a reset is no end");
    assert_eq!(diary.count("guest", "error"), 0, "nor is it a fault");
}

#[test]
fn a_connection_that_handle_accept_drops_is_closed() {
    struct Refusing;
    impl Dispatcher for Refusing {
        fn handle_accept(&mut self, _: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
            drop(accepted);
            Ok(())
        }
    }
    let mut reactor = Reactor::new().unwrap();
    let id = reactor.listen("127.0.0.1:0", Refusing).unwrap();
    let mut client = TcpStream::connect(reactor.local_addr(id).unwrap()).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    turn_until(&mut reactor, "the connection", |reactor| {
        reactor.counters().accepted == 1
    });
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(reactor.count(), 1);
}

/// Counts its reads and answers them.
struct Pinger(Rc<Cell<usize>>);

impl Dispatcher for Pinger {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut chunk = [0; 64];
        let n = cx.recv(&mut chunk)?;
        self.0.set(self.0.get() + 1);
        cx.send(&chunk[..n])
    }
}

/// One accept per event strands clients, for the event says that there is somebody, not how many (mio
/// #845); accepting all that come starves those who are served (redis c3f8b542e went from 1,000
/// to 10 because live clients timed out).
fn two_thousand_are_accepted_while_a_pinger_is_served(batch: usize, pending: usize) {
    let mut builder = Reactor::builder();
    let mut reactor = builder.accept_batch(batch).build().unwrap();
    let served = Rc::default();
    let (ours, mut peer) = tcp_pair();
    reactor.add(ours, Pinger(Rc::clone(&served))).unwrap();
    let (_, address) = serve(&mut reactor, || Echo);
    let clients: Vec<_> = (0..pending)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    let accepted_of = |reactor: &Reactor| usize::try_from(reactor.counters().accepted).unwrap();
    let mut turns = 0;
    while accepted_of(&reactor) < pending {
        let before = accepted_of(&reactor);
        peer.write_all(&[7; 64]).unwrap();
        turn_for(&mut reactor, Duration::ZERO);
        turns += 1;
        peer.read_exact(&mut [0; 64]).unwrap();
        assert_eq!(served.get(), turns, "the pinger is served in every turn");
        assert_eq!(
            accepted_of(&reactor) - before,
            batch.min(pending - before),
            "a batch a turn, with no new arrival to ask for it"
        );
    }
    assert_eq!(turns, pending.div_ceil(batch));
    settle(&mut reactor);
    assert_eq!(reactor.count(), 2 + pending);
    drop(clients);
}

#[test]
fn with_a_batch_of_one_all_pending_are_accepted_and_the_served_are_served() {
    two_thousand_are_accepted_while_a_pinger_is_served(1, 500);
}

#[test]
fn with_a_batch_of_16_all_pending_are_accepted_and_the_served_are_served() {
    two_thousand_are_accepted_while_a_pinger_is_served(16, 2_000);
}

#[test]
fn with_a_batch_of_64_all_pending_are_accepted_and_the_served_are_served() {
    two_thousand_are_accepted_while_a_pinger_is_served(64, 2_000);
}

#[test]
fn with_a_batch_without_end_all_pending_are_accepted_in_one_turn() {
    two_thousand_are_accepted_while_a_pinger_is_served(usize::MAX, 2_000);
}

#[test]
fn at_the_connection_limit_the_waiting_are_accepted_as_others_leave() {
    const LIMIT: usize = 10;
    const CLIENTS: usize = 30;
    let clock = SimClock::new();
    let mut builder = Reactor::builder();
    builder.clock(clock.clone()).max_connections(LIMIT);
    let mut reactor = builder.build().unwrap();
    let (listener, address) = serve(&mut reactor, || Echo);
    let mut clients: VecDeque<_> = (0..CLIENTS)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    settle(&mut reactor);
    for gone in 0..=CLIENTS {
        let room = CLIENTS.min(LIMIT + gone);
        turn_until(&mut reactor, "the next to be accepted", |reactor| {
            reactor.counters().accepted == room as u64
        });
        settle(&mut reactor);
        assert_eq!(reactor.counters().accepted, room as u64, "and not one more");
        assert!(reactor.count() <= 1 + LIMIT);
        // Neither a spin nor a timer: only a close changes anything.
        reactor.take_waits();
        turn_for(&mut reactor, Duration::from_micros(1));
        assert_eq!(reactor.take_waits(), [Some(Duration::from_micros(1))]);
        assert_eq!(reactor.timer_count(), 0);
        if let Some(mut client) = clients.pop_front() {
            client.set_read_timeout(Some(DEADLINE)).unwrap();
            client.write_all(b"served").unwrap();
            turn_until(&mut reactor, "the echo", |reactor| {
                reactor.counters().bytes_out == 6 * (gone as u64 + 1)
            });
            let mut back = [0; 6];
            client.read_exact(&mut back).unwrap();
        }
    }
    let counters = reactor.counters();
    assert_eq!((counters.errors, counters.accept_shortages), (0, 0));
    assert!(counters.accept_limited >= 1);
    turn_until(&mut reactor, "all to be gone", |reactor| {
        reactor.count() == 1
    });
    assert!(reactor.at(listener).is_some());
}

#[test]
fn streams_that_were_added_or_connect_count_but_are_never_refused() {
    let mut builder = Reactor::builder();
    let mut reactor = builder.max_connections(2).build().unwrap();
    let (_, address) = serve(&mut reactor, || Echo);
    let diary = Diary::default();
    let pairs: Vec<(AnyId, TcpStream)> = (0..3)
        .map(|_| {
            let (id, peer) = spied_pair(&mut reactor, Spy::new("added", &diary));
            (id.any(), peer)
        })
        .collect();
    let waiting = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let connecting = reactor
        .connect(waiting.local_addr().unwrap(), Spy::new("client", &diary))
        .unwrap();
    let _client = TcpStream::connect(address).unwrap();
    settle(&mut reactor);
    assert_eq!(diary.count("client", "connect"), 1);
    assert_eq!(reactor.counters().accepted, 0, "four are two too many");
    for id in [pairs[0].0, pairs[1].0] {
        reactor.at(id).unwrap().abort();
        settle(&mut reactor);
        assert_eq!(reactor.counters().accepted, 0, "still no room");
    }
    reactor.at(connecting).unwrap().abort();
    settle(&mut reactor);
    assert_eq!(reactor.counters().accepted, 1);
    assert_eq!(
        reactor.count(),
        1 + 2,
        "the listener, one added, one accepted"
    );
}

/// What `SocketOptions` say of no-delay holds for the connections; a listener made elsewhere gets the
/// default, which is on.
#[test]
fn accepted_connections_have_the_nodelay_that_their_listener_was_given() {
    struct Asks(Rc<RefCell<Vec<bool>>>);
    impl Dispatcher for Asks {
        fn handle_accept(&mut self, _: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
            self.0.borrow_mut().push(accepted.nodelay()?);
            Ok(())
        }
    }
    for (nodelay, expected) in [(Some(true), true), (Some(false), false), (None, true)] {
        let mut reactor = Reactor::new().unwrap();
        let seen = Rc::default();
        let asks = Asks(Rc::clone(&seen));
        let id = match nodelay {
            Some(on) => {
                let mut options = SocketOptions::new();
                options.nodelay(on);
                reactor.listen_with("127.0.0.1:0", &options, asks).unwrap()
            }
            None => reactor
                .add(std::net::TcpListener::bind("127.0.0.1:0").unwrap(), asks)
                .unwrap(),
        };
        let _client = TcpStream::connect(reactor.local_addr(id).unwrap()).unwrap();
        turn_until(&mut reactor, "the connection", |_| {
            !seen.borrow().is_empty()
        });
        assert_eq!(*seen.borrow(), [expected], "asked for {nodelay:?}");
    }
}

#[test]
fn a_listener_for_ipv6_alone_leaves_its_port_to_one_for_ipv4() {
    struct Listener;
    impl Dispatcher for Listener {}
    let mut reactor = Reactor::new().expect("a poller");
    let mut options = SocketOptions::default();
    options.only_v6(true);
    // One that nobody is given meanwhile, be it for IPv4.
    let port = free_port();
    if reactor
        .listen_with(("::", port), &options, Listener)
        .is_err()
    {
        eprintln!("skipped: no IPv6 here");
        return;
    }
    let four = reactor.listen(("0.0.0.0", port), Listener);
    assert!(four.is_ok(), "{four:?}");

    // One for both would have it.
    options.only_v6(false);
    let both = reactor.listen_with("[::]:0", &options, Listener);
    let port = reactor
        .at(both.expect("a port"))
        .expect("open")
        .local_addr();
    let taken = reactor.listen(("0.0.0.0", port.expect("bound").port()), Listener);
    assert_eq!(taken.expect_err("taken").kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn a_pause_after_a_shortage_that_would_be_none_is_refused() {
    let too_short = Duration::from_micros(999);
    let error = Reactor::builder().accept_retry(too_short).build();
    let error = error.expect_err("it would spin");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert!(
        error.to_string().contains("accept_retry of 999µs"),
        "{error}"
    );
    let shortest = Duration::from_millis(1);
    assert!(Reactor::builder().accept_retry(shortest).build().is_ok());
}

/// Pauses itself after each client.
struct OneByOne;

impl Dispatcher for OneByOne {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        cx.pause_reading();
        cx.add(accepted, Echo)?;
        Ok(())
    }
}

#[test]
fn a_listener_that_is_paused_accepts_nobody_until_it_is_resumed() {
    let mut reactor = Reactor::new().unwrap();
    let id = reactor.listen("127.0.0.1:0", OneByOne).unwrap();
    let address = reactor.local_addr(id).unwrap();
    reactor.at(id).unwrap().pause_reading();
    let mut clients: Vec<_> = (0..3)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.write_all(b"x").unwrap();
        // However often the loop turns.
        for _ in 0..3 {
            reactor.turn(Duration::ZERO).unwrap();
        }
        assert_eq!(reactor.counters().accepted, number as u64);
        reactor.at(id).unwrap().resume_reading();
        turn_until(&mut reactor, "one more", |reactor| {
            reactor.counters().bytes_out == number as u64 + 1
        });
        client.read_exact(&mut [0]).unwrap();
    }
    assert_eq!(reactor.counters().accepted, 3);
}
