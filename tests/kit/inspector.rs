//! The inspector, spoken to over sockets: who gets an answer, what is in it, and what one who misbehaves costs.

#[path = "../util/mod.rs"]
mod util;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use slabloop::inspector::{self, Inspection, Options};
use slabloop::testing::SimClock;
use slabloop::{Context, Dispatcher, Reactor, TimerId};
use util::*;

/// A beat comes so often.
const BEAT: Duration = Duration::from_millis(100);

/// An inspector that finds no callback slow, however busy this machine is.
fn inspect(reactor: &mut Reactor) -> Inspection {
    let mut options = Options::new();
    options.program("tested").slow_callback(DEADLINE);
    inspector::listen(reactor, "127.0.0.1:0", &options).expect("a free port")
}

/// A reactor whose clock stands still, and its clock.
fn still() -> (Reactor, SimClock) {
    let clock = SimClock::new();
    let reactor = Reactor::builder().clock(clock.clone()).build().unwrap();
    (reactor, clock)
}

fn connect(inspection: &Inspection) -> TcpStream {
    let stream = TcpStream::connect(inspection.address()).expect("loopback connects");
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// What is sent back to `request`, until the end.
fn exchange(reactor: &mut Reactor, inspection: &Inspection, request: &str) -> String {
    let mut stream = connect(inspection);
    stream.write_all(request.as_bytes()).unwrap();
    let reading = thread::spawn(move || {
        let mut answer = String::new();
        // One that is cut off has said what it has to say.
        let _ = stream.read_to_string(&mut answer);
        answer
    });
    turn_until(reactor, "an answer", |_| reading.is_finished());
    reading.join().unwrap()
}

fn get(reactor: &mut Reactor, inspection: &Inspection, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    exchange(reactor, inspection, &request)
}

fn json(answer: &str) -> Value {
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(
        head.contains("\r\nContent-Type: application/json\r\n"),
        "{head}"
    );
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

fn status(answer: &str) -> &str {
    answer
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .unwrap_or(answer)
}

/// A page that reads its beats on a thread of its own.
struct Page {
    lines: std::sync::mpsc::Receiver<String>,
}

impl Page {
    fn open(inspection: &Inspection) -> Page {
        let mut stream = connect(inspection);
        stream
            .write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .unwrap();
        let (sender, lines) = std::sync::mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Page { lines }
    }

    /// The next beat: its id and its data.
    fn beat(&self, reactor: &mut Reactor) -> (u64, Value) {
        let id = self.field(reactor, "id: ");
        let data = self.field(reactor, "data: ");
        let data: Value = serde_json::from_str(&data).unwrap();
        (id.parse().unwrap(), data)
    }

    fn field(&self, reactor: &mut Reactor, name: &str) -> String {
        let mut found = None;
        turn_until(reactor, name, |_| {
            let line = self.lines.try_recv().ok();
            found = line.and_then(|line| line.strip_prefix(name).map(str::to_owned));
            found.is_some()
        });
        found.expect("it was waited for")
    }
}

#[test]
fn every_path_has_its_answer_and_a_browser_is_told_to_be_strict() {
    let mut reactor = Reactor::new().unwrap();
    let inspection = inspect(&mut reactor);
    for (path, expected, media) in [
        ("/", "200", "text/html; charset=utf-8"),
        ("/?x", "200", "text/html; charset=utf-8"),
        ("/snapshot.json", "200", "application/json"),
        ("/recording.json", "200", "application/json"),
        ("/lints.json", "200", "application/json"),
        ("/metrics", "200", "text/plain; version=0.0.4"),
        ("/x", "404", "text/plain; charset=utf-8"),
        ("/../", "404", "text/plain; charset=utf-8"),
    ] {
        let answer = get(&mut reactor, &inspection, path);
        assert_eq!(status(&answer), expected, "{path}: {answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let length = format!("\r\nContent-Length: {}\r\n", body.len());
        assert!(head.contains(&length), "{head}");
        for part in [
            &format!("Content-Type: {media}"),
            "Cache-Control: no-store",
            "Content-Security-Policy: default-src 'none'",
            "frame-ancestors 'none'",
            "Cross-Origin-Resource-Policy: same-origin",
            "Referrer-Policy: no-referrer",
            "X-Content-Type-Options: nosniff",
        ] {
            assert!(head.contains(part), "{path} has no {part}: {head}");
        }
        assert!(!head.contains("Access-Control"), "{head}");
    }
    let metrics = get(&mut reactor, &inspection, "/metrics");
    assert!(metrics.contains("# HELP "), "{metrics}");
}

#[test]
fn the_pages_script_and_style_carry_the_number_that_the_policy_names() {
    let mut reactor = Reactor::new().unwrap();
    let inspection = inspect(&mut reactor);
    let answer = get(&mut reactor, &inspection, "/");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let (_, policy) = head.split_once("script-src 'nonce-").expect(head);
    let (nonce, _) = policy.split_once('\'').unwrap();
    assert_eq!(nonce.len(), 32);
    assert!(body.contains(&format!("<script nonce=\"{nonce}\">")));
    assert!(body.contains(&format!("<style nonce=\"{nonce}\">")));
    assert!(head.contains(&format!("style-src 'nonce-{nonce}'")));
    assert!(!get(&mut reactor, &inspection, "/").contains(nonce), "once");
}

#[test]
fn what_is_no_request_from_this_machine_is_refused() {
    let mut reactor = Reactor::new().unwrap();
    let inspection = inspect(&mut reactor);
    let address = inspection.address();
    let long = "x".repeat(9_000);
    for (request, expected) in [
        (
            format!("GET /lints.json HTTP/1.1\r\nHost: {address}\r\n\r\n"),
            "200",
        ),
        (
            "GET /lints.json HTTP/1.1\r\nHost: rebound.example\r\n\r\n".to_owned(),
            "403",
        ),
        (
            "GET /lints.json HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\n\r\n"
                .to_owned(),
            "403",
        ),
        ("GET /lints.json HTTP/1.1\r\n\r\n".to_owned(), "400"),
        (
            "POST /lints.json HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
            "405",
        ),
        (
            "DELETE / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
            "405",
        ),
        ("hello\r\n\r\n".to_owned(), "400"),
        ("\u{16}\u{3}\u{1}".to_owned(), "400"),
        (format!("GET /{long}"), "431"),
    ] {
        let answer = exchange(&mut reactor, &inspection, &request);
        assert_eq!(status(&answer), expected, "{request}: {answer}");
    }
}

#[test]
fn a_trace_is_of_the_next_second_and_one_at_a_time() {
    let (mut reactor, clock) = still();
    let inspection = inspect(&mut reactor);
    let (_, echo) = serve(&mut reactor, || Echo);
    let mut stream = connect(&inspection);
    let request = b"GET /trace.json HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request).unwrap();
    turn_until(&mut reactor, "it is asked for", |reactor| {
        reactor.observer::<slabloop::trace::Trace>().is_some()
    });
    settle(&mut reactor);
    let second = get(&mut reactor, &inspection, "/trace.json");
    assert_eq!(status(&second), "409", "{second}");
    let client = TcpStream::connect(echo).unwrap();
    let back = exchange_in_background(client, b"traced".to_vec(), true);
    turn_until(&mut reactor, "the echo", |_| back.is_finished());
    clock.advance(Duration::from_secs(1));
    let reading = thread::spawn(move || {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    });
    turn_until(&mut reactor, "the trace", |_| reading.is_finished());
    let trace = json(&reading.join().unwrap().unwrap());
    let text = trace["traceEvents"].to_string();
    assert!(text.contains("handle_read Echo"), "{text}");
    assert!(reactor.observer::<slabloop::trace::Trace>().is_none());

    // One that does not wait for it leaves nothing behind.
    let mut stream = connect(&inspection);
    stream.write_all(request).unwrap();
    turn_until(&mut reactor, "it is asked for", |reactor| {
        reactor.observer::<slabloop::trace::Trace>().is_some()
    });
    reset(stream);
    turn_until(&mut reactor, "it is gone", |reactor| {
        reactor.observer::<slabloop::trace::Trace>().is_none()
    });
}

#[test]
fn a_head_request_gets_the_head_alone() {
    let mut reactor = Reactor::new().unwrap();
    let inspection = inspect(&mut reactor);
    for path in ["/", "/snapshot.json", "/events", "/trace.json"] {
        let request = format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let answer = exchange(&mut reactor, &inspection, &request);
        assert_eq!(status(&answer), "200");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    }
}

#[test]
fn a_request_may_come_a_byte_at_a_time_and_be_followed_by_the_end() {
    let mut reactor = Reactor::new().unwrap();
    let inspection = inspect(&mut reactor);
    let mut stream = connect(&inspection);
    for byte in b"GET /lints.json HTTP/1.1\r\nHost: localhost\r\n\r\n" {
        stream.write_all(&[*byte]).unwrap();
        turn(&mut reactor);
    }
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let reading = thread::spawn(move || {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    });
    turn_until(&mut reactor, "an answer", |_| reading.is_finished());
    let answer = reading.join().unwrap().expect("no reset");
    assert_eq!(json(&answer)["lints"], serde_json::json!([]));
}

#[test]
fn other_machines_are_let_in_only_if_that_was_asked_for() {
    let mut reactor = Reactor::new().unwrap();
    let mut options = Options::new();
    let refused = inspector::listen(&mut reactor, "0.0.0.0:0", &options).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    assert!(refused.to_string().contains("0.0.0.0:0"), "{refused}");
    assert_eq!(reactor.count(), 0, "nothing is left of it");
    let inspection =
        inspector::listen(&mut reactor, "0.0.0.0:0", options.allow_remote(true)).unwrap();
    assert!(!inspection.address().ip().is_loopback());
    let reached = SocketAddr::from(([127, 0, 0, 1], inspection.address().port()));
    let stream = TcpStream::connect(reached).unwrap();
    turn_until(&mut reactor, "it is accepted", |reactor| {
        reactor.counters().accepted == 1
    });
    drop(stream);
}

#[test]
fn a_page_may_be_asked_for_by_the_names_that_were_given() {
    let mut reactor = Reactor::new().unwrap();
    let mut options = Options::new();
    options.host("build7.example").host("build8.example");
    let inspection = inspector::listen(&mut reactor, "127.0.0.1:0", &options).unwrap();
    for (host, expected) in [
        ("build7.example:9000", "200"),
        ("build8.example", "200"),
        ("build9.example", "403"),
    ] {
        let request = format!("GET /snapshot.json HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let answer = exchange(&mut reactor, &inspection, &request);
        assert_eq!(status(&answer), expected, "{host}: {answer}");
        if expected == "200" {
            let program = json(&answer)["program"].to_string();
            assert!(program.starts_with("\"inspector-"), "its own: {program}");
        }
    }
}

#[test]
fn a_request_of_more_than_8_kib_is_refused_however_it_comes() {
    let mut reactor = Reactor::new().unwrap();
    let inspection = inspect(&mut reactor);
    for (bytes, expected) in [(8 * 1024, "200"), (8 * 1024 + 1, "431")] {
        let mut request = "GET /lints.json HTTP/1.1\r\nHost: localhost\r\nX: ".to_owned();
        let padding = bytes - request.len() - 4;
        request.push_str(&"x".repeat(padding));
        request.push_str("\r\n\r\n");
        assert_eq!(request.len(), bytes);
        let (first, rest) = request.split_at(5_000);
        let mut stream = connect(&inspection);
        let before = reactor.counters().bytes_in;
        stream.write_all(first.as_bytes()).unwrap();
        turn_until(&mut reactor, "its first part is read", |reactor| {
            reactor.counters().bytes_in - before == 5_000
        });
        stream.write_all(rest.as_bytes()).unwrap();
        let reading = thread::spawn(move || {
            let mut answer = String::new();
            // One that is cut off has said what it has to say.
            let _ = stream.read_to_string(&mut answer);
            answer
        });
        turn_until(&mut reactor, "an answer", |_| reading.is_finished());
        let answer = reading.join().unwrap();
        assert_eq!(status(&answer), expected, "{bytes} bytes: {answer}");
    }
}

#[test]
fn an_address_in_use_leaves_nothing_behind() {
    let mut reactor = Reactor::new().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let refused = inspector::listen(&mut reactor, address, &Options::new()).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
    settle(&mut reactor);
    assert_eq!(reactor.count(), 0);
}

#[test]
fn who_does_not_ask_is_sent_away_after_five_seconds() {
    let (mut reactor, clock) = still();
    let inspection = inspect(&mut reactor);
    let mut stream = connect(&inspection);
    stream.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    turn_until(&mut reactor, "it is there", |reactor| {
        reactor.gauges().connections == 1
    });
    settle(&mut reactor);
    clock.advance(Duration::from_millis(4_900));
    settle(&mut reactor);
    assert_eq!(reactor.gauges().connections, 1);
    clock.advance(Duration::from_millis(200));
    settle(&mut reactor);
    assert_eq!(reactor.gauges().connections, 0);
    assert!(matches!(stream.read(&mut [0; 10]), Ok(0) | Err(_)));
}

#[test]
fn there_are_eight_places_and_one_that_leaves_makes_room() {
    let mut reactor = Reactor::new().unwrap();
    let inspection = inspect(&mut reactor);
    let mut pages: Vec<_> = (0..8).map(|_| Page::open(&inspection)).collect();
    for page in &pages {
        page.beat(&mut reactor);
    }
    let answer = get(&mut reactor, &inspection, "/");
    assert_eq!(status(&answer), "503", "{answer}");
    // Beyond those that are told, nobody is.
    let crowd: Vec<_> = (0..50).map(|_| connect(&inspection)).collect();
    turn_until(&mut reactor, "all are accepted", |reactor| {
        reactor.counters().accepted == 59
    });
    assert!(reactor.gauges().connections <= 16);
    assert_eq!(inspector::own_work(&reactor).connections, 59);
    drop(crowd);
    pages.clear();
    turn_until(&mut reactor, "they are gone", |reactor| {
        reactor.gauges().connections == 0
    });
    assert_eq!(status(&get(&mut reactor, &inspection, "/")), "200");
}

#[test]
fn beats_come_while_a_page_is_there_and_nothing_stirs_without_one() {
    let mut reactor = Reactor::new().unwrap();
    let inspection = inspect(&mut reactor);
    settle(&mut reactor);
    assert_eq!(reactor.gauges().timers, 0);
    let page = Page::open(&inspection);
    let (first, _) = page.beat(&mut reactor);
    let (second, beat) = page.beat(&mut reactor);
    let (third, _) = page.beat(&mut reactor);
    assert!(first < second && second < third);
    assert_eq!(beat["turn"], second);
    // A timer would have each wait of a busy loop set up one in the kernel.
    assert_eq!(reactor.gauges().timers, 0);
    drop(page);
    turn_until(&mut reactor, "it is gone", |reactor| {
        reactor.gauges().connections == 0
    });
    settle(&mut reactor);
    assert_eq!(reactor.gauges().timers, 0);
    assert_eq!(reactor.count(), 2, "the listener, and what pages share");
}

#[test]
fn a_page_that_ends_its_stream_is_sent_nothing_more() {
    let mut reactor = Reactor::new().unwrap();
    let inspection = inspect(&mut reactor);
    let mut page = connect(&inspection);
    page.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    turn_until(&mut reactor, "a beat", |reactor| {
        inspector::own_work(reactor).bytes_out > 1_000
    });
    page.shutdown(std::net::Shutdown::Write).unwrap();
    let reading = thread::spawn(move || page.read_to_end(&mut Vec::new()));
    turn_until(&mut reactor, "it is gone", |reactor| {
        reactor.gauges().connections == 0
    });
    reading.join().unwrap().expect("no reset");
}

#[test]
fn a_snapshot_is_made_again_when_it_is_no_longer_fresh() {
    let (mut reactor, clock) = still();
    let inspection = inspect(&mut reactor);
    let mut at = || {
        let answer = get(&mut reactor, &inspection, "/snapshot.json");
        json(&answer)["beats"][0]["at"].as_f64().unwrap()
    };
    let first = at();
    clock.advance(Duration::from_millis(250));
    assert_eq!(at(), first);
    clock.advance(Duration::from_millis(1));
    assert_eq!(at(), first + 251_000.0);
}

#[test]
fn a_lint_about_an_outbox_tells_what_is_in_it_now() {
    let (mut reactor, clock) = still();
    let inspection = inspect(&mut reactor);
    let diary = Diary::default();
    let (sender, _never_reads) = spied_pair(&mut reactor, Spy::new("sender", &diary));
    reactor.narrow(sender, 4096).unwrap();
    let mut at = reactor.at(sender).unwrap();
    at.set_marks(1 << 10, 1 << 12, 1 << 23).unwrap();
    at.send(&vec![0; 1 << 19]).unwrap();
    settle(&mut reactor);
    reactor.at(sender).unwrap().send(&vec![0; 1 << 20]).unwrap();
    settle(&mut reactor);
    clock.advance(Duration::from_secs(4));
    let queued = reactor.gauges().queued_bytes;
    assert!(queued > 1 << 20);
    let snapshot = json(&get(&mut reactor, &inspection, "/snapshot.json"));
    let lints = &snapshot["beats"][0]["lints"];
    assert_eq!(lints[0]["lint"], "over-high-mark");
    let text = lints[0]["text"].as_str().unwrap();
    let queued = format!("{},{:03}", queued / 1024 / 1000, queued / 1024 % 1000);
    assert!(
        text.ends_with(&format!("for 4 s ({queued} of 8,192 KiB)")),
        "{text}"
    );
}

#[test]
fn a_beat_tells_what_others_did_and_leaves_the_inspector_out() {
    let (mut reactor, clock) = still();
    let inspection = inspect(&mut reactor);
    let (_, echo) = serve(&mut reactor, || Echo);
    let page = Page::open(&inspection);
    turn_until(&mut reactor, "it is there", |reactor| {
        reactor.gauges().connections == 1
    });
    settle(&mut reactor);
    clock.advance(BEAT);
    page.beat(&mut reactor);

    let client = TcpStream::connect(echo).unwrap();
    let back = exchange_in_background(client, b"hello".to_vec(), true);
    turn_until(&mut reactor, "the echo", |_| back.is_finished());
    settle(&mut reactor);
    clock.advance(BEAT);
    let (_, beat) = page.beat(&mut reactor);
    // accept, read, read the end, eof; close
    assert_eq!(beat["callbacks"], 5, "{beat}");
    assert_eq!(
        (&beat["bytes_in"], &beat["bytes_out"]),
        (&5.into(), &5.into())
    );
    assert_eq!(beat["span"], 100_000);
    let steps: Vec<_> = beat["steps"].as_object().unwrap().keys().collect();
    assert_eq!(
        steps,
        [
            "close", "dispatch", "flush", "merge", "posts", "timers", "wait"
        ]
    );
    assert_eq!(beat["gauges"]["connections"], 0);
    assert_eq!(beat["gauges"]["listeners"], 1);
    let slices = beat["slices"].as_array().unwrap();
    let callbacks: Vec<_> = slices
        .iter()
        .map(|slice| slice[1].as_str().unwrap())
        .collect();
    assert_eq!(callbacks[0], "handle_accept", "{slices:?}");
    assert_eq!(callbacks.last(), Some(&"handle_close"));
    let log: Vec<_> = beat["log"].as_array().unwrap().iter().collect();
    let kinds: Vec<_> = log.iter().map(|line| line[1].as_str().unwrap()).collect();
    assert_eq!(kinds, ["added", "closed"], "{log:?}");
    let added = log[0][3].as_str().unwrap();
    assert!(added.starts_with("Echo 127.0.0.1:"), "{added}");
    let rows = beat["rows"].as_array().unwrap();
    let row = |kind: &str| {
        let row = rows.iter().find(|row| row["type"] == kind);
        row.unwrap_or_else(|| panic!("{kind}: {rows:?}"))
    };
    for own in ["Hub", "Listener", "Client"] {
        assert_eq!(row(own)["internal"], true);
    }
    let accepting = rows.iter().find(|row| row["internal"] == false).unwrap();
    assert_eq!(accepting["kind"], "listener");
    assert_eq!(accepting["state"], "listening");
    assert_eq!(accepting["d_callbacks"], 1);
    assert_eq!(beat["rows_more"], 0);

    // And once again nothing.
    clock.advance(BEAT);
    let (_, beat) = page.beat(&mut reactor);
    assert_eq!(beat["callbacks"], 0);
    assert_eq!(beat["slices"], serde_json::json!([]));
    assert_eq!(beat["log"], serde_json::json!([]));
}

#[test]
fn what_the_inspector_did_itself_can_be_taken_off() {
    let mut reactor = Reactor::new().unwrap();
    let inspection = inspect(&mut reactor);
    let (_, echo) = serve(&mut reactor, || Echo);
    let client = TcpStream::connect(echo).unwrap();
    let back = exchange_in_background(client, b"hello".to_vec(), true);
    turn_until(&mut reactor, "the echo", |_| back.is_finished());
    settle(&mut reactor);
    assert_eq!(inspector::own_work(&reactor), inspector::OwnWork::default());
    let before = reactor.counters();
    let page = Page::open(&inspection);
    page.beat(&mut reactor);
    get(&mut reactor, &inspection, "/lints.json");
    drop(page);
    turn_until(&mut reactor, "it is gone", |reactor| {
        reactor.gauges().connections == 0
    });
    settle(&mut reactor);
    let (after, own) = (reactor.counters(), inspector::own_work(&reactor));
    assert_eq!(own.connections, 2);
    assert_eq!(after.accepted - before.accepted, own.connections);
    assert_eq!(after.callbacks - before.callbacks, own.callbacks);
    assert_eq!(after.bytes_in - before.bytes_in, own.bytes_in);
    assert!(own.bytes_out > 1_000);
}

#[test]
fn of_two_inspectors_the_last_one_says_what_is_slow() {
    let (mut reactor, clock) = still();
    inspect(&mut reactor);
    let mut options = Options::new();
    options.slow_callback(Duration::from_millis(7));
    let second = inspector::listen(&mut reactor, "127.0.0.1:0", &options).unwrap();
    let page = Page::open(&second);
    turn_until(&mut reactor, "it is there", |reactor| {
        reactor.gauges().connections == 1
    });
    settle(&mut reactor);
    clock.advance(BEAT);
    let (_, beat) = page.beat(&mut reactor);
    assert_eq!(beat["threshold"], 7_000);
}

#[test]
fn a_batch_shows_who_was_ready_for_what_and_who_had_more_to_do() {
    let (mut reactor, clock) = still();
    let inspection = inspect(&mut reactor);
    let mut peers = Vec::new();
    let ids: Vec<_> = (0..70)
        .map(|_| {
            let (ours, peer) = unix_pair();
            peers.push(peer);
            reactor.add(ours, Echo).unwrap().any()
        })
        .collect();
    let page = Page::open(&inspection);
    turn_until(&mut reactor, "it is there", |reactor| {
        reactor.gauges().connections == 71
    });
    settle(&mut reactor);
    clock.advance(BEAT);
    page.beat(&mut reactor);
    // More than one chunk of the echo's, and for the others less.
    peers[0].write_all(&[b'm'; 5_000]).unwrap();
    for peer in &mut peers[1..] {
        peer.write_all(b"less").unwrap();
    }
    turn(&mut reactor);
    turn(&mut reactor);
    clock.advance(BEAT);
    let (_, beat) = page.beat(&mut reactor);
    let batch = beat["last_turn"]["batch"].as_array().unwrap();
    assert_eq!(batch.len(), 64);
    assert_eq!(beat["last_turn"]["more"], 6);
    let first = &batch[0];
    assert_eq!(first["id"], ids[0].to_string());
    assert!(first["ready"].as_str().unwrap().contains('r'), "{first}");
    assert_eq!(first["again"], true);
    assert!(batch[1..].iter().all(|chip| chip["again"] == false));
}

#[test]
fn who_was_there_before_is_shown_as_well() {
    let mut reactor = Reactor::new().unwrap();
    let (id, address) = serve(&mut reactor, || Echo);
    settle(&mut reactor);
    let inspection = inspect(&mut reactor);
    let snapshot = json(&get(&mut reactor, &inspection, "/snapshot.json"));
    assert_eq!(snapshot["program"], "tested");
    let rows = snapshot["beats"][0]["rows"].as_array().unwrap();
    let row = rows.iter().find(|row| row["id"] == id.to_string()).unwrap();
    assert_eq!(row["address"], address.to_string());
    assert_eq!(row["high"], 65_536);
}

#[test]
fn of_many_dispatchers_some_are_shown_and_the_rest_is_counted() {
    let (mut reactor, clock) = still();
    let inspection = inspect(&mut reactor);
    let mut peers: Vec<_> = (0..1_000)
        .map(|_| {
            let (ours, peer) = unix_pair();
            reactor.add(ours, Echo).unwrap();
            peer
        })
        .collect();
    let page = Page::open(&inspection);
    turn_until(&mut reactor, "it is there", |reactor| {
        reactor.gauges().connections == 1_001
    });
    settle(&mut reactor);
    clock.advance(BEAT);
    page.beat(&mut reactor);
    peers[900].write_all(b"me").unwrap();
    settle(&mut reactor);
    clock.advance(BEAT);
    let (_, beat) = page.beat(&mut reactor);
    let rows = beat["rows"].as_array().unwrap();
    let shown = rows.len() as u64;
    assert!((50..=200).contains(&shown));
    assert_eq!(beat["rows_more"], 1_003 - shown);
    assert!(rows.iter().any(|row| row["bytes_in"] == 2), "the busy one");
    let bytes = beat.to_string().len();
    assert!(bytes < 200_000, "{bytes}");
    assert!(reactor.gauges().queued_bytes < 200_000);
}

/// Connections that make a beat large. Their far ends.
fn two_hundred(reactor: &mut Reactor) -> Vec<UnixStream> {
    let pairs = (0..200).map(|_| {
        let (ours, peer) = unix_pair();
        reactor.add(ours, Echo).unwrap();
        peer
    });
    pairs.collect()
}

/// A page with little room, which has asked for beats.
fn narrow_page(inspection: &Inspection) -> TcpStream {
    let mut stream = connect(inspection);
    let room = socket2::SockRef::from(&stream).set_recv_buffer_size(4096);
    room.unwrap();
    let request = b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request).unwrap();
    stream
}

#[test]
fn a_page_that_does_not_read_costs_one_beat_and_gets_the_newest() {
    let (mut reactor, clock) = still();
    let inspection = inspect(&mut reactor);
    let _peers = two_hundred(&mut reactor);
    let mut stream = narrow_page(&inspection);
    turn_until(&mut reactor, "it is there", |reactor| {
        reactor.gauges().connections == 201
    });
    settle(&mut reactor);
    let mut most = 0;
    for _ in 0..100 {
        clock.advance(BEAT);
        turn(&mut reactor);
        most = most.max(reactor.gauges().queued_bytes);
    }
    assert!(most > 1_000, "it does hold some: {most}");
    assert!(most < 200_000, "{most}");
    let newest = reactor.counters().turns;
    // It reads again, and finds the beats that had left, the one that was queued, and then the newest.
    stream.set_nonblocking(true).unwrap();
    let mut got = Vec::new();
    turn_until(&mut reactor, "the newest beat", |_| {
        clock.advance(Duration::from_millis(10));
        let mut chunk = [0; 65_536];
        while let Ok(count) = stream.read(&mut chunk) {
            got.extend_from_slice(&chunk[..count]);
        }
        ids_in(&got).last().is_some_and(|id| *id > newest)
    });
    let ids = ids_in(&got);
    let before: Vec<_> = ids.iter().filter(|id| **id <= newest).collect();
    assert!(before.len() < 50, "the others were left out: {ids:?}");
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
}

fn ids_in(stream: &[u8]) -> Vec<u64> {
    let text = String::from_utf8_lossy(stream);
    let lines = text.lines().filter_map(|line| line.strip_prefix("id: "));
    lines.filter_map(|id| id.parse().ok()).collect()
}

#[test]
fn a_page_that_never_reads_is_closed() {
    let (mut reactor, clock) = still();
    let inspection = inspect(&mut reactor);
    let _peers = two_hundred(&mut reactor);
    let _stream = narrow_page(&inspection);
    turn_until(&mut reactor, "it is cut off", |reactor| {
        clock.advance(BEAT);
        let counters = reactor.counters();
        counters.accepted == 1 && reactor.gauges().connections == 200
    });
    assert!(clock.now() < Duration::from_secs(60), "{:?}", clock.now());
    assert_eq!(
        reactor.counters().ends.aborted + reactor.counters().ends.stalled,
        1
    );
}

/// Sleeps when its timer says so.
struct Sleeper;

impl Dispatcher for Sleeper {
    fn handle_timer(&mut self, _: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        thread::sleep(Duration::from_millis(150));
        Ok(())
    }
}

#[test]
fn after_a_callback_that_blocks_the_next_beat_names_it() {
    let mut reactor = Reactor::new().unwrap();
    let mut options = Options::new();
    options.slow_callback(Duration::from_millis(100));
    let inspection = inspector::listen(&mut reactor, "127.0.0.1:0", &options).unwrap();
    let sleeper = reactor.add_service(Sleeper).unwrap();
    let page = Page::open(&inspection);
    page.beat(&mut reactor);
    reactor
        .at(sleeper)
        .unwrap()
        .set_timer(Duration::from_millis(1));
    // Beats that were made before it slept may come first.
    let (culprit, beat) = (0..10)
        .find_map(|_| {
            let (_, beat) = page.beat(&mut reactor);
            let slices = beat["slices"].as_array().unwrap();
            let slow = slices
                .iter()
                .find(|slice| slice[3].as_f64().unwrap() >= 150_000.0);
            slow.cloned().map(|slow| (slow, beat))
        })
        .expect("a beat has it");
    assert_eq!(culprit[0], sleeper.to_string());
    assert_eq!(culprit[1], "handle_timer");
    let lint = &beat["lints"][0];
    assert_eq!(lint["lint"], "slow-callback");
    let text = lint["text"].as_str().unwrap();
    assert!(
        text.starts_with(&format!("Sleeper {sleeper} kept the loop for ")),
        "{text}"
    );
    assert!(
        beat["log"]
            .to_string()
            .contains("Sleeper handle_timer took")
    );
}

#[test]
fn names_that_others_chose_stay_text() {
    let mut reactor = Reactor::new().unwrap();
    let inspection = inspect(&mut reactor);
    let folder = std::env::temp_dir().join(format!("slabloop-inspector-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("\"}]<\u{7f}br>\\\n<script>alert(1)<");
    reactor.listen_unix(&path, Accepting(|| Echo)).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let answer = get(&mut reactor, &inspection, "/snapshot.json");
    let snapshot = json(&answer);
    let rows = snapshot["beats"][0]["rows"].to_string();
    assert!(rows.contains("<script>alert(1)<"), "{rows}");
    assert!(answer.contains("X-Content-Type-Options: nosniff"));
}

#[test]
fn a_recording_is_shown_again_by_another_program() {
    let (mut reactor, clock) = still();
    let inspection = inspect(&mut reactor);
    let page = Page::open(&inspection);
    turn_until(&mut reactor, "it is there", |reactor| {
        reactor.gauges().connections == 1
    });
    settle(&mut reactor);
    for _ in 0..3 {
        clock.advance(BEAT);
        page.beat(&mut reactor);
    }
    let answer = get(&mut reactor, &inspection, "/recording.json");
    assert_eq!(json(&answer)["beats"].as_array().unwrap().len(), 3);
    let (_, recording) = answer.split_once("\r\n\r\n").unwrap();

    let mut other = Reactor::new().unwrap();
    let options = Options::new();
    let nothing = inspector::replay(&mut other, "127.0.0.1:0", &options, b"{}").unwrap_err();
    assert_eq!(nothing.kind(), io::ErrorKind::InvalidData);
    let replay =
        inspector::replay(&mut other, "127.0.0.1:0", &options, recording.as_bytes()).unwrap();
    let again = get(&mut other, &replay, "/recording.json");
    assert_eq!(json(&again), json(&answer));
    let page = get(&mut other, &replay, "/");
    assert!(page.contains("name=\"slabloop-mode\" content=\"replay\""));
    assert_eq!(status(&get(&mut other, &replay, "/events")), "204");
    let lints = get(&mut other, &replay, "/lints.json");
    assert_eq!(status(&lints), "404");
    assert!(lints.contains("this is a recording"), "{lints}");
}

#[test]
fn a_loaded_loop_of_a_thousand_connections_has_no_lint() {
    // On a busy machine a callback may take any time: here it takes none.
    let (mut reactor, clock) = still();
    let inspection = inspect(&mut reactor);
    let page = Page::open(&inspection);
    turn_until(&mut reactor, "it is there", |reactor| {
        reactor.gauges().connections == 1
    });
    settle(&mut reactor);
    for _ in 0..500 {
        // Both send back what comes, and so keep each other busy for ever.
        let (ours, other) = unix_pair();
        let first = reactor.add(ours, Echo).unwrap();
        reactor.add(other, Echo).unwrap();
        reactor.at(first).unwrap().send(b"go round").unwrap();
    }
    let mut spans = 0.0;
    while spans < 3.0e6 {
        for _ in 0..10 {
            clock.advance(BEAT / 10);
            reactor.turn(Duration::ZERO).unwrap();
        }
        let (_, beat) = page.beat(&mut reactor);
        assert_eq!(beat["lints"], serde_json::json!([]));
        assert!(beat["callbacks"].as_u64().unwrap() > 0);
        spans += beat["span"].as_f64().unwrap();
    }
}

#[test]
fn a_page_does_not_hold_up_a_shutdown() {
    let mut reactor = Reactor::new().unwrap();
    let inspection = inspect(&mut reactor);
    let page = Page::open(&inspection);
    page.beat(&mut reactor);
    assert!(reactor.shutdown(DEADLINE).unwrap().is_empty());
    assert_eq!(reactor.count(), 0);
}

#[test]
fn curl_is_served() {
    let mut reactor = Reactor::new().unwrap();
    let inspection = inspect(&mut reactor);
    let url = format!("{inspection}snapshot.json");
    let running = thread::spawn(move || {
        std::process::Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--fail",
                "--max-time",
                "30",
                &url,
            ])
            .output()
    });
    turn_until(&mut reactor, "curl has ended", |_| running.is_finished());
    match running.join().unwrap() {
        Err(error) => eprintln!("skipped: there is no curl: {error}"),
        Ok(output) => {
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{errors}");
            let snapshot: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(snapshot["v"], 1);
        }
    }
}
