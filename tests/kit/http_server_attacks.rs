//! Clients that mean harm to the example `http_server`: many, slow, endless. It bounds what they take, and others are served.

#![cfg(target_os = "linux")]

#[path = "util/http.rs"]
mod http;
#[path = "../util/programs.rs"]
mod programs;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use http::*;
use programs::{PATIENCE, Server, with_deadline};

/// What an allocator, caches and buffers may make of it. Each test sends or asks for so much that it would be a multiple of
/// this if it were kept: no measure of the server's frugality, but a bound that is either held by far or missed by far.
const SLACK_KIB: u64 = 16 * 1024;

/// Whether the server's memory has stayed where it was.
#[track_caller]
fn has_not_grown(server: &Server, before_kib: u64) {
    let now = status_of(server, "VmRSS");
    assert!(
        now < before_kib + SLACK_KIB,
        "{before_kib} KiB became {now}"
    );
}

#[test]
fn a_thousand_slow_heads_end_at_their_deadline_and_hold_up_nobody() {
    let root = Root::new();
    let server = root.serve(&["--header-timeout", "1"]);
    let mut slow: Vec<TcpStream> = (0..1000).map(|_| server.client()).collect();
    for client in &mut slow {
        client.write_all(b"GET / HTTP/1.1\r\nX: ").unwrap();
    }
    // More bytes do not put it off.
    for _ in 0..5 {
        is_well(&server);
        for client in &mut slow {
            let _ = client.write_all(b"y");
        }
    }
    is_well(&server);
    for client in &mut slow {
        let text = rest(client);
        assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
    }
    is_well(&server);
    drop(slow);
    assert!(server.stop().of("connections") >= 1003);
}

/// Sends pieces until the server takes no more or has closed; how many bytes went.
fn send_endlessly(client: &mut TcpStream, piece: &[u8], most: usize) -> usize {
    let mut sent = 0;
    while sent < most {
        match client.write(piece) {
            Ok(count) => sent += count,
            Err(_) => break,
        }
    }
    sent
}

#[test]
fn what_never_ends_is_cut_off() {
    let root = Root::new();
    let server = root.serve(&[]);
    let before = status_of(&server, "VmRSS");
    let chunked = "POST /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (begin, piece, status) in [
        (
            "GET / HTTP/1.1\r\n".to_owned(),
            "X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n",
            431,
        ),
        (
            "GET / HTTP/1.1\r\nX: ".to_owned(),
            "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
            431,
        ),
        (
            "GET /".to_owned(),
            "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
            414,
        ),
        (
            format!("{chunked}4;"),
            "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
            400,
        ),
        (
            chunked.to_owned(),
            "1;yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n1\r\n",
            400,
        ),
        (
            format!("{chunked}0\r\n"),
            "X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n",
            400,
        ),
        (
            format!("{chunked}0"),
            "0000000000000000000000000000000000",
            400,
        ),
        (chunked.to_owned(), "4000\r\n", 413),
    ] {
        let mut client = server.client();
        client.write_all(begin.as_bytes()).unwrap();
        let piece = match status {
            413 => format!("{piece}{}\r\n", "a".repeat(16384)).repeat(8),
            _ => piece.repeat(64),
        };
        let limit = if status == 413 { 100 << 20 } else { 64 << 20 };
        let sent = send_endlessly(&mut client, piece.as_bytes(), limit);
        // What it takes after its answer it throws away.
        let mut answer = [0; 12];
        let got = client.read_exact(&mut answer);
        let text = String::from_utf8_lossy(&answer);
        assert!(
            got.is_err() || text == format!("HTTP/1.1 {status}"),
            "{begin:?}: {text} after {sent} bytes"
        );
    }
    is_well(&server);
    has_not_grown(&server, before);
    server.stop();
}

#[test]
fn pipelining_without_reading_is_bounded() {
    let root = Root::new();
    let server = root.serve(&["--max-requests", "0"]);
    is_well(&server);
    let before = status_of(&server, "VmRSS");
    let requests = "GET /small.txt HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
    let mut clients: Vec<_> = (0..8).map(|_| server.client()).collect();
    for client in &mut clients {
        flood(client, requests.as_bytes(), || is_well(&server));
    }
    has_not_grown(&server, before);
    // And whoever reads after all gets answers.
    let client = &mut clients[0];
    for _ in 0..5000 {
        assert_eq!(answer(client).text(), "hello world\n");
    }
    drop(clients);
    server.stop();
}

#[test]
fn files_that_are_not_read_take_no_memory_and_end_by_the_send_timeout() {
    let root = Root::new();
    let server = root.serve(&["--send-timeout", "0.5"]);
    is_well(&server);
    let before = status_of(&server, "VmRSS");
    let mut clients: Vec<_> = (0..50).map(|_| server.client()).collect();
    for client in &mut clients {
        let many = "GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n".repeat(10);
        client.write_all(many.as_bytes()).unwrap();
    }
    is_well(&server);
    has_not_grown(&server, before);
    for client in &mut clients {
        // It reads nothing until the server has given it up, which it sees when it writes.
        while client.write(b"x").is_ok() {
            is_well(&server);
        }
        let mut all = Vec::new();
        let _ = client.read_to_end(&mut all);
        assert!(all.len() < 10 * (3 << 20), "{} bytes", all.len());
    }
    is_well(&server);
    server.stop();
}

/// A client for whom the kernel keeps little, so that what the server has sent is soon what was read.
fn client_with_small_buffer(server: &Server) -> TcpStream {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(8 * 1024).unwrap();
    socket.connect(&server.address.into()).unwrap();
    with_deadline(socket.into())
}

/// Reads a little at a time, so that the server's sending never stalls, until the connection ends; how many bytes came, and
/// how it ended.
fn read_slowly(client: &mut TcpStream) -> (usize, std::io::Result<usize>) {
    let start = Instant::now();
    let mut read = 0;
    loop {
        match client.read(&mut [0; 512]) {
            Ok(count) if count > 0 => read += count,
            end => return (read, end),
        }
        assert!(start.elapsed() < PATIENCE, "{read} bytes, and no end");
        // Slow is what this client is: 100 KB a second, where 64 KiB of answers have 0.2 seconds.
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A client that takes a few bytes now and then never stalls: only the deadline of the request ends it, also where the whole
/// answer was queued at once, from memory.
#[test]
fn answers_that_are_read_slowly_end_at_the_deadline_of_their_request() {
    const LAST: &str = "GET /huge HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let root = Root::new();
    std::fs::write(root.file("medium"), pattern(500_000)).unwrap();
    // More than the kernel takes at once.
    std::fs::write(root.file("huge"), pattern(16 << 20)).unwrap();
    let arguments = [
        "--request-timeout",
        "0.2",
        "--small-file",
        "524288",
        "--max-requests",
        "0",
    ];
    let server = root.serve(&arguments);
    for (what, request, count) in [
        ("from memory", "GET /medium HTTP/1.1\r\nHost: x\r\n\r\n", 50),
        ("a file", "GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n", 10),
        ("the last", LAST, 1),
        (
            "errors",
            "GET /missing HTTP/1.1\r\nHost: x\r\n\r\n",
            100_000,
        ),
    ] {
        let mut client = client_with_small_buffer(&server);
        let requests = request.repeat(count);
        let mut sender = client.try_clone().unwrap();
        let sender = std::thread::spawn(move || {
            // It does not get rid of all if the server has given it up.
            let _ = sender.write_all(requests.as_bytes());
        });
        let (read, end) = read_slowly(&mut client);
        assert!(end.is_err(), "{what}: {end:?} after {read} bytes");
        // Bytes are this client's clock. Other bounds than this deadline would let it have a multiple of it.
        assert!(read < 1 << 20, "{what}: {read} bytes");
        sender.join().unwrap();
        is_well(&server);
    }
    server.stop();
}

/// So many descriptors as the system lets a process have; the server inherits the limit.
fn raise_descriptor_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let _ = setrlimit(Resource::Nofile, most);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// 10,000 connections, each of which has asked once, and then says nothing.
#[test]
fn ten_thousand_idle_connections_take_little_hold_up_nobody_and_end_at_their_deadline() {
    const WANTED: usize = 10_000;
    // The other tests of this file run at the same time, in this process.
    const OTHERS: u64 = 2000;
    let descriptors = raise_descriptor_limit();
    let room = usize::try_from(descriptors.saturating_sub(OTHERS)).unwrap_or(WANTED);
    let count = room.min(WANTED);
    if count < WANTED {
        eprintln!("{count} connections in place of {WANTED}: {descriptors} descriptors");
    }
    let root = Root::new();
    let server = root.serve(&["--idle-timeout", "4"]);
    is_well(&server);
    let before = status_of(&server, "VmRSS");
    let mut idle = Vec::with_capacity(count);
    for _ in 0..count {
        let mut client = server.client();
        client
            .write_all(b"GET /small.txt HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        idle.push(client);
        if idle.len() % 1000 == 0 {
            is_well(&server);
        }
    }
    is_well(&server);
    let each = status_of(&server, "VmRSS").saturating_sub(before) * 1024 / count as u64;
    eprintln!("{count} connections, {each} bytes each");
    // It is about 500. A buffer of its own for each would be 4 KiB at least.
    assert!(each < 2048, "{each} bytes for each connection");
    for client in &mut idle {
        // Its answer, and then the end: nobody is told anything, and nobody reset.
        let text = rest(client);
        assert!(text.ends_with("\r\n\r\nhello world\n"), "{text}");
    }
    is_well(&server);
    drop(idle);
    let totals = server.stop();
    assert!(totals.of("connections") > count as u64);
    assert_eq!(totals.of("aborted"), 0);
}

#[test]
fn more_connections_than_are_allowed_wait_until_others_leave() {
    let root = Root::new();
    let server = root.serve(&["--max-connections", "3", "--idle-timeout", "10"]);
    let mut served: Vec<_> = (0..3).map(|_| server.client()).collect();
    let request = b"GET /small.txt HTTP/1.1\r\nHost: x\r\n\r\n";
    for client in &mut served {
        client.write_all(request).unwrap();
        assert_eq!(answer(client).text(), "hello world\n");
    }
    let mut waiting = server.client();
    waiting.write_all(request).unwrap();
    // Those who are served still are, and the one that waits has nothing yet.
    for client in &mut served {
        client.write_all(request).unwrap();
        assert_eq!(answer(client).text(), "hello world\n");
    }
    waiting.set_nonblocking(true).unwrap();
    let nothing = waiting.read(&mut [0; 1]).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
    waiting.set_nonblocking(false).unwrap();
    served.pop();
    assert_eq!(answer(&mut waiting).text(), "hello world\n");
    drop((served, waiting));
    server.stop();
}

#[test]
fn names_that_are_asked_for_once_drive_nothing_out_and_take_no_memory() {
    let root = Root::new();
    let server = root.serve(&["--cache-files", "16", "--max-requests", "0"]);
    is_well(&server);
    let before = status_of(&server, "VmRSS");
    let mut client: TcpStream = server.client();
    // Long ones, so that it would show if they were kept: 25 MB and more.
    let long = format!("/{}", "n".repeat(200)).repeat(38);
    for round in 0..32 {
        let requests: String = (0..100)
            .map(|number| format!("GET /small.txt?{round} HTTP/1.1\r\nHost: x\r\n\r\nGET /sub/../{number} HTTP/1.1\r\nHost: x\r\n\r\nGET /{round}-{number}{long} HTTP/1.1\r\nHost: x\r\n\r\n"))
            .collect();
        client.write_all(requests.as_bytes()).unwrap();
        for _ in 0..100 {
            assert_eq!(answer(&mut client).status(), 200);
            assert_eq!(answer(&mut client).status(), 400);
            assert_eq!(answer(&mut client).status(), 404);
        }
    }
    has_not_grown(&server, before);
    end(server, client);
}

fn end(server: Server, client: TcpStream) {
    drop(client);
    server.stop();
}
