//! The example `head_client`: whatever a server does, each request is counted once; connections are opened at a
//! bounded pace; exit codes and last words.
//!
//! Its own dispatchers run here on a clock that the test moves, against a server that the test plays; then the
//! program as a whole, started as a user starts it.

#[path = "../../examples/head_client/main.rs"]
#[allow(dead_code, reason = "its main and its reports")]
mod head_client;
#[path = "../util/programs.rs"]
mod programs;
#[path = "../util/mod.rs"]
mod util;

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use head_client::common::Dialer;
use head_client::director::{self, Director, Plan};
use head_client::options;
use head_client::random::Random;
use head_client::tally::{Fault, Loss, Tally};
use programs::{Running, example, run, with_deadline};
use slabloop::Reactor;
use slabloop::testing::SimClock;
use util::{reset, turn, turn_for, turn_until};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n";

// ---------------------------------------------------------------------------------------------------
// The parts, against a server that the test plays.

/// All of a client but its command line.
struct Scene {
    reactor: Reactor,
    clock: SimClock,
    plan: Rc<Plan>,
    listener: TcpListener,
}

fn plan(address: SocketAddr, open_rate: u32, pause: Duration) -> Rc<Plan> {
    Rc::new(Plan {
        address,
        dialer: Dialer::default(),
        request: b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        interval: pause..=pause,
        timeout: 3 * SECOND,
        budget: director::budget(open_rate).unwrap(),
        random: RefCell::new(Random::new()),
        tally: RefCell::new(Tally::new()),
    })
}

/// A figure of the last line.
#[track_caller]
fn count(plan: &Plan, key: &str) -> u64 {
    figure(&plan.tally.borrow().to_string(), key)
}

#[track_caller]
fn figure(totals: &str, key: &str) -> u64 {
    let mut fields = totals.split(' ').filter_map(|field| field.split_once('='));
    let field = fields.find(|(name, _)| *name == key).expect(totals);
    field.1.parse().expect(totals)
}

impl Scene {
    fn new(connections: usize, open_rate: u32, pause: Duration) -> Scene {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let plan = plan(listener.local_addr().unwrap(), open_rate, pause);
        let clock = SimClock::new();
        let mut reactor = Reactor::builder().clock(clock.clone()).build().unwrap();
        Director::start(&mut reactor, Rc::clone(&plan), connections, open_rate).unwrap();
        Scene {
            reactor,
            clock,
            plan,
            listener,
        }
    }

    #[track_caller]
    fn until(&mut self, what: &str, is_so: impl Fn(&Tally) -> bool) {
        let plan = Rc::clone(&self.plan);
        turn_until(&mut self.reactor, what, |_| is_so(&plan.tally.borrow()));
    }

    /// The next connection, and its first request.
    #[track_caller]
    fn asked(&mut self) -> TcpStream {
        let requests = self.plan.tally.borrow().requests;
        self.until("a request", |tally| tally.requests > requests);
        let mut peer = with_deadline(self.listener.accept().unwrap().0);
        self.request(&mut peer);
        peer
    }

    #[track_caller]
    fn request(&mut self, peer: &mut TcpStream) {
        // The flush of the turn in which it was sent.
        turn(&mut self.reactor);
        read_request(peer).expect("a request");
    }

    /// The one request has had its end, and its name.
    #[track_caller]
    fn ends_as(&mut self, kind: &str) {
        self.until(kind, |tally| tally.in_flight() == 0);
        for _ in 0..3 {
            turn(&mut self.reactor);
        }
        assert_eq!(count(&self.plan, "requests"), 1, "{kind}");
        assert_eq!(count(&self.plan, kind), 1, "{kind}");
        let plan = Rc::clone(&self.plan);
        let ends = ["answered", "timeout", "closed", "cut", "reset", "not_http"];
        let ends = ends.into_iter().chain(["too_long", "status", "other"]);
        let all = ends.map(|kind| count(&plan, kind)).sum::<u64>();
        assert_eq!(all, 1, "{kind}: {}", plan.tally.borrow());
    }
}

/// The bytes of one request; `None` at the end of the connection.
fn read_request(peer: &mut TcpStream) -> Option<()> {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(b"\r\n\r\n") {
        if peer.read(&mut byte).ok()? == 0 {
            return None;
        }
        seen.extend(byte);
    }
    assert!(seen.starts_with(b"HEAD "));
    Some(())
}

/// One connection that has asked, and asks again after an hour.
fn one() -> (Scene, TcpStream) {
    let mut scene = Scene::new(1, 1000, 3600 * SECOND);
    let peer = scene.asked();
    (scene, peer)
}

#[test]
fn an_answer_is_an_answer_in_whatever_pieces_it_comes() {
    let answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
    for cut in 0..answer.len() {
        let (mut scene, mut peer) = one();
        peer.write_all(&answer[..cut]).unwrap();
        for _ in 0..3 {
            turn(&mut scene.reactor);
        }
        assert_eq!(
            count(&scene.plan, "answered"),
            0,
            "{cut} bytes are no answer"
        );
        peer.write_all(&answer[cut..]).unwrap();
        scene.ends_as("answered");
        assert_eq!(scene.plan.tally.borrow().open, 1);
    }
}

#[test]
fn what_the_server_sends_instead_has_its_name() {
    let long = [OK[..15].to_vec(), vec![b'a'; 20_000]].concat();
    let many = [OK[..17].to_vec(), b"A: b\r\n".repeat(200)].concat();
    for (answer, kind) in [
        (&b"SSH-2.0-OpenSSH_9.2\r\n"[..], "not_http"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "not_http"),
        (b"\0\0\0\0", "not_http"),
        (&long, "too_long"),
        (&many, "too_long"),
    ] {
        let (mut scene, mut peer) = one();
        peer.write_all(answer).unwrap();
        scene.ends_as(kind);
        assert_eq!(scene.plan.tally.borrow().open, 0, "{kind}");
        assert_eq!(count(&scene.plan, "surplus"), 0, "{kind}");
    }
}

#[test]
fn a_connection_that_ends_before_the_answer_loses_the_request() {
    let (mut scene, peer) = one();
    drop(peer);
    scene.ends_as("closed");

    let (mut scene, mut peer) = one();
    peer.write_all(&OK[..20]).unwrap();
    drop(peer);
    scene.ends_as("cut");

    let (mut scene, peer) = one();
    reset(peer);
    scene.ends_as("reset");
}

#[test]
fn a_status_of_400_or_above_is_no_answer_and_the_connection_stays() {
    let (mut scene, mut peer) = one();
    peer.write_all(b"HTTP/1.1 503 Busy\r\n\r\n").unwrap();
    scene.ends_as("status");
    assert_eq!(scene.plan.tally.borrow().open, 1);
    scene.clock.advance(3600 * SECOND);
    scene.until("the next request", |tally| tally.requests == 2);
    scene.request(&mut peer);
}

#[test]
fn a_late_answer_is_none() {
    let (mut scene, mut peer) = one();
    scene.clock.advance(3 * SECOND - MS);
    turn(&mut scene.reactor);
    assert_eq!(scene.plan.tally.borrow().in_flight(), 1, "there is time");
    scene.clock.advance(MS);
    scene.ends_as("timeout");
    assert_eq!(scene.plan.tally.borrow().open, 0);
    let _ = peer.write_all(OK);
    scene.ends_as("timeout");

    let (mut scene, mut peer) = one();
    scene.clock.advance(3 * SECOND - MS);
    peer.write_all(OK).unwrap();
    scene.ends_as("answered");
    // Its time limit has gone with it.
    scene.clock.advance(100 * SECOND);
    scene.ends_as("answered");
}

#[test]
fn a_body_to_a_head_ends_the_connection_but_not_the_answer() {
    for in_one in [true, false] {
        let (mut scene, mut peer) = one();
        peer.write_all(OK).unwrap();
        if !in_one {
            scene.ends_as("answered");
        }
        peer.write_all(b"hello world\n").unwrap();
        scene.until("the end", |tally| tally.open == 0);
        scene.ends_as("answered");
        assert_eq!(count(&scene.plan, "surplus"), 1, "{in_one}");
    }
}

#[test]
fn connections_that_the_server_ends_in_good_order_are_no_errors_and_are_opened_again() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nConnection: x, Close\r\n\r\n"[..],
        b"HTTP/1.0 200 OK\r\n\r\n",
        OK,
    ] {
        let (mut scene, mut peer) = one();
        peer.write_all(answer).unwrap();
        scene.until("the answer", |tally| tally.answered == 1);
        drop(peer);
        // The next one is opened at once, and asks after the pause.
        scene.until("the next one", |tally| tally.opened == 2);
        scene.clock.advance(3600 * SECOND - MS);
        turn(&mut scene.reactor);
        assert_eq!(count(&scene.plan, "requests"), 1, "it pauses first");
        scene.clock.advance(MS);
        drop(scene.asked());
        assert_eq!(count(&scene.plan, "ended"), 1);
        assert_eq!(count(&scene.plan, "begun"), 2);
        assert_eq!(scene.plan.tally.borrow().errors(), 0);
    }
}

#[test]
fn no_more_connections_are_begun_than_the_pace_allows() {
    let mut scene = Scene::new(100, 100, 3600 * SECOND);
    let mut peers = Vec::new();
    for tick in 0..150_u64 {
        for _ in 0..3 {
            turn_for(&mut scene.reactor, Duration::ZERO);
        }
        let begun = count(&scene.plan, "begun");
        // Two at once, and one each 10 ms.
        assert!(begun <= 2 + tick, "{begun} after {tick} ticks");
        assert!(begun >= tick.min(100) / 2, "{begun} after {tick} ticks");
        while peers.len() < usize::try_from(begun).unwrap() {
            peers.push(scene.listener.accept().unwrap());
        }
        scene.clock.advance(10 * MS);
    }
    assert_eq!(count(&scene.plan, "begun"), 100);
    scene.until("all are open", |tally| tally.open == 100);
    // The clock stands still again: nothing is late.
    drop(scene.listener);
}

#[test]
fn a_server_that_is_gone_is_not_stormed() {
    let mut scene = Scene::new(100, 1000, 3600 * SECOND);
    let address = scene.plan.address;
    let gone = std::mem::replace(
        &mut scene.listener,
        TcpListener::bind("127.0.0.1:0").unwrap(),
    );
    drop(gone);
    for tick in 0..1_000_u64 {
        for _ in 0..2 {
            turn_for(&mut scene.reactor, Duration::ZERO);
        }
        let begun = count(&scene.plan, "begun");
        // The first attempt of each; then a hundred retries a second, and as many at once.
        let most = 100 + 100 + tick / 10;
        assert!(begun <= most, "{begun} after {tick} ms");
        scene.clock.advance(MS);
    }
    assert!(
        count(&scene.plan, "refused") > 100,
        "it goes on trying {address}"
    );
    // The first few were in the queue of the listener that has gone, and were reset.
    let failed = count(&scene.plan, "refused") + count(&scene.plan, "connect");
    assert_eq!(failed, count(&scene.plan, "begun"));
    assert_eq!(count(&scene.plan, "requests"), 0);
}

#[test]
fn the_line_of_progress_names_the_kinds_of_errors_that_there_were() {
    let mut tally = Tally::new();
    (tally.open, tally.requests) = (3, 10);
    tally.answer(MS);
    for loss in [Loss::Timeout, Loss::Timeout, Loss::Status] {
        tally.lose(loss);
    }
    tally.fault(Fault::Ports);
    assert_eq!(
        tally.progress(7),
        "open=3 in_flight=6 answered=1 errors=4 timeout=2 status=1 ports=1 per_second=7"
    );
}

#[test]
fn targets_and_intervals_are_understood_or_refused() {
    let parts = |url: &str| {
        let target = options::target(url).ok()?;
        Some((target.server, target.host, target.path))
    };
    let three = |server: &str, host: &str, path: &str| {
        Some((server.to_owned(), host.to_owned(), path.to_owned()))
    };
    assert_eq!(parts("http://a:1/b?c#d"), three("a:1", "a:1", "/b?c"));
    assert_eq!(parts("http://a"), three("a:80", "a", "/"));
    assert_eq!(parts("https://a?b"), three("a:443", "a", "/?b"));
    assert_eq!(parts("http://[::1]/"), three("[::1]:80", "[::1]", "/"));
    assert_eq!(parts("http://[::1]:8/"), three("[::1]:8", "[::1]:8", "/"));
    for url in [
        "",
        "a:1",
        "ftp://a/",
        "http:///x",
        "http://a:b/",
        "http://a/\r\nX: y",
        "http://u@a/",
    ] {
        assert_eq!(parts(url), None, "{url}");
    }
    let interval = options::parse_interval;
    assert_eq!(interval("1..60s"), Some(SECOND..=60 * SECOND));
    assert_eq!(interval("100..500ms"), Some(100 * MS..=500 * MS));
    assert_eq!(interval("500ms..2s"), Some(500 * MS..=2 * SECOND));
    assert_eq!(interval("2"), Some(2 * SECOND..=2 * SECOND));
    for text in ["", "..", "2..1s", "0..0", "-1..2", "1..x", "1..1e300"] {
        assert_eq!(interval(text), None, "{text}");
    }
}

// ---------------------------------------------------------------------------------------------------
// A server on threads that does something else with each request.

/// Sends `answer`, and goes on or not.
#[derive(Clone, Copy)]
enum Deed {
    Send(&'static [u8]),
    SendAndClose(&'static [u8]),
    Reset,
}

struct Scripted {
    address: SocketAddr,
    /// Requests that it has read.
    requests: Arc<AtomicUsize>,
}

impl Scripted {
    /// The deed for request number N, over all connections, is `deeds[N % deeds.len()]`.
    fn start(deeds: &'static [Deed]) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&requests);
        // It ends with the test's process.
        thread::spawn(move || {
            for peer in listener.incoming() {
                let (peer, counter) = (with_deadline(peer.unwrap()), Arc::clone(&counter));
                thread::spawn(move || serve(peer, deeds, &counter));
            }
        });
        Scripted { address, requests }
    }

    fn seen(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    fn target(&self) -> String {
        format!("http://{}/file", self.address)
    }
}

fn serve(mut peer: TcpStream, deeds: &[Deed], counter: &AtomicUsize) {
    while read_request(&mut peer).is_some() {
        let number = counter.fetch_add(1, Ordering::SeqCst);
        match deeds[number % deeds.len()] {
            Deed::Send(answer) if peer.write_all(answer).is_ok() => {}
            Deed::Send(_) => return,
            Deed::SendAndClose(answer) => {
                let _ = peer.write_all(answer);
                return;
            }
            Deed::Reset => return reset(peer),
        }
    }
}

const GOOD: &[Deed] = &[Deed::Send(OK)];

/// In each ten requests: what the counts are to be, times the number of tens.
const MIXED: &[Deed] = &[
    Deed::Send(OK),
    Deed::SendAndClose(b""),
    Deed::Send(b"HTTP/1.1 500 Oh\r\n\r\n"),
    Deed::Reset,
    Deed::Send(b"garbage\r\n\r\n"),
    Deed::SendAndClose(b"HTTP/1.1 200"),
    Deed::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1"),
    Deed::SendAndClose(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"),
    Deed::Send(b"HTTP/1.1 102 Wait\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
    Deed::SendAndClose(b"HTTP/1.0 200 OK\r\n\r\n"),
];

#[test]
fn over_many_connections_each_request_is_counted_once_by_both_sides() {
    const REQUESTS: usize = 500;
    let server = Scripted::start(MIXED);
    let plan = plan(server.address, 100_000, MS);
    let mut reactor = Reactor::new().unwrap();
    Director::start(&mut reactor, Rc::clone(&plan), 20, 100_000).unwrap();
    turn_until(&mut reactor, "requests", |_| server.seen() >= REQUESTS);
    assert_eq!(reactor.shutdown(5 * SECOND).unwrap(), []);

    let seen = server.seen();
    let totals = plan.tally.borrow().to_string();
    let of = |key: &str| figure(&totals, key);
    let done = |deeds: &[usize]| {
        let times = |deed: &usize| (seen + MIXED.len() - 1 - deed) / MIXED.len();
        u64::try_from(deeds.iter().map(times).sum::<usize>()).unwrap()
    };
    assert_eq!(of("requests"), u64::try_from(seen).unwrap(), "{totals}");
    assert_eq!(of("unfinished"), 0, "{totals}");
    assert_eq!(of("answered"), done(&[0, 6, 7, 8, 9]), "{totals}");
    for (key, deed) in [
        ("closed", 1),
        ("status", 2),
        ("reset", 3),
        ("not_http", 4),
        ("cut", 5),
    ] {
        assert_eq!(of(key), done(&[deed]), "{key}: {totals}");
    }
    assert_eq!(of("timeout") + of("too_long") + of("other"), 0, "{totals}");
}

// ---------------------------------------------------------------------------------------------------
// The program.

fn last_line(output: &[u8]) -> String {
    let text = String::from_utf8(output.to_vec()).unwrap();
    text.lines().next_back().unwrap_or_default().to_owned()
}

fn client(target: &str, arguments: &[&str]) -> Output {
    let usual = [
        "--target",
        target,
        "--connections",
        "5",
        "--interval",
        "1..5ms",
    ];
    run("head_client_tested", &[&usual, arguments].concat())
}

#[test]
fn a_run_without_errors_is_a_success_with_a_histogram_and_a_picture() {
    let server = Scripted::start(GOOD);
    let file = std::env::temp_dir().join(format!("head_client_{}.svg", std::process::id()));
    let name = file.to_str().unwrap();
    let ended = client(&server.target(), &["--duration", "1100ms", "--plot", name]);
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let picture = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(picture.contains("percentile of the answers"), "{picture}");
    let totals = last_line(&ended.stdout);
    assert_eq!(figure(&totals, "begun"), 5);
    assert!(figure(&totals, "answered") >= 5, "{totals}");
    assert_eq!(
        figure(&totals, "requests"),
        u64::try_from(server.seen()).unwrap()
    );
    assert_eq!(figure(&totals, "unfinished"), 0);
    let text = String::from_utf8(ended.stdout).unwrap();
    assert!(text.starts_with("open=5 in_flight="), "{text}");
    assert!(text.contains(" p99.9 ") && text.contains(" #"), "{text}");
}

#[test]
fn errors_and_no_answers_are_failures() {
    let server = Scripted::start(MIXED);
    let ended = client(&server.target(), &["--duration", "300ms"]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(last_line(&ended.stderr).ends_with(" errors, see the totals"));

    let nobody = format!("http://127.0.0.1:{}/", programs::free_port());
    let ended = client(&nobody, &["--duration", "100ms"]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(last_line(&ended.stderr).ends_with("no request was answered"));
    assert!(figure(&last_line(&ended.stdout), "refused") >= 1);
}

#[test]
fn ctrl_c_waits_for_what_is_in_flight_and_prints_the_totals() {
    let server = Scripted::start(GOOD);
    let mut command = Command::new(example("head_client_tested"));
    command.args(["--target", &server.target(), "--connections", "5"]);
    command.args(["--interval", "1..5ms"]).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = Running(command.spawn().unwrap());
    let deadline = std::time::Instant::now() + util::DEADLINE;
    while server.seen() < 50 {
        assert!(std::time::Instant::now() < deadline, "it asks");
        thread::yield_now();
    }
    client.signal("-INT");
    assert_eq!(client.wait(), Some(0));
    let mut out = Vec::new();
    let mut stdout = client.0.stdout.take().unwrap();
    stdout.read_to_end(&mut out).unwrap();
    let totals = last_line(&out);
    assert!(totals.starts_with("totals: "), "{totals}");
    assert_eq!(
        figure(&totals, "answered"),
        u64::try_from(server.seen()).unwrap()
    );
    assert_eq!(figure(&totals, "unfinished"), 0);
}

#[cfg(feature = "tls")]
#[test]
fn over_tls_only_a_server_of_the_right_name_is_asked() {
    let folder = std::env::temp_dir().join(format!("head_client_tls_{}", std::process::id()));
    let made = run("self_signed", &[folder.to_str().unwrap()]);
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    let file = |name: &str| folder.join(name).display().to_string();
    let (certificate, key) = (file("cert.pem"), file("key.pem"));
    let flags = ["--tls-cert", &certificate, "--tls-key", &key];
    let server = programs::Server::start("http_server_tested", &flags);
    let target = format!("https://{}/", server.address);
    let trusting = ["--duration", "300ms", "--tls-ca", &certificate];

    let ended = client(
        &target,
        &[&trusting[..], &["--tls-name", "localhost"]].concat(),
    );
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let totals = last_line(&ended.stdout);
    assert!(figure(&totals, "answered") >= 5, "{totals}");
    assert_eq!(figure(&totals, "opened"), 5);

    let ended = client(
        &target,
        &[&trusting[..], &["--tls-name", "example.org"]].concat(),
    );
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let totals = last_line(&ended.stdout);
    assert!(figure(&totals, "handshake") >= 1, "{totals}");
    assert_eq!(figure(&totals, "requests"), 0, "{totals}");
    server.stop();
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_cannot_be_is_said_at_once() {
    for (arguments, code, part) in [
        (&["--connections", "0"][..], 2, "--connections 0"),
        (&["--open-rate", "0"], 2, "--open-rate 0"),
        (&["--interval", "9..1s"], 2, "--interval 9..1s"),
        (&["--timeout", "0s"], 2, "--timeout 0s"),
        (&["--target", "localhost"], 2, "--target localhost"),
        (&["--tls-ca", "x"], 2, "--tls-ca wants --tls"),
        (
            &["--connections", "999999999999"],
            1,
            "ulimit -Hn 1000000000031",
        ),
        (
            &["--target", "http://no.invalid/"],
            1,
            "--target no.invalid:80",
        ),
    ] {
        let ended = run("head_client_tested", arguments);
        assert_eq!(ended.status.code(), Some(code), "{arguments:?}");
        let text = String::from_utf8(ended.stderr).unwrap();
        assert!(text.contains(part), "{text}");
    }
}
