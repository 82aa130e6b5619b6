//! Clients that mean harm to the example `http_server`: many, slow, endless. It bounds what they take, and others are served.

#![cfg(target_os = "linux")]

#[path = "util/http.rs"]
mod http;
#[path = "../util/programs.rs"]
mod programs;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use http::*;
use programs::{PATIENCE, Server};

/// What a kernel's buffers and an allocator may make of it.
const SLACK_KIB: u64 = 8 * 1024;

#[test]
fn a_thousand_slow_heads_end_at_their_deadline_and_hold_up_nobody() {
    let root = Root::new();
    let server = root.serve(&["--header-timeout", "1"]);
    let mut slow: Vec<TcpStream> = (0..1000).map(|_| server.client()).collect();
    for client in &mut slow {
        client.write_all(b"GET / HTTP/1.1\r\nX: ").unwrap();
    }
    is_well(&server);
    // More bytes do not put it off.
    for client in &mut slow {
        let _ = client.write_all(b"y");
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
        let limit = if status == 413 { 100 << 20 } else { 4 << 20 };
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
    let after = status_of(&server, "VmRSS");
    assert!(after < before + SLACK_KIB, "{before} KiB became {after}");
    server.stop();
}

#[test]
fn pipelining_without_reading_is_bounded() {
    let root = Root::new();
    let server = root.serve(&["--max-requests", "0"]);
    is_well(&server);
    let before = status_of(&server, "VmRSS");
    let requests = "GET /small.txt HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
    let mut clients: Vec<_> = (0..20).map(|_| server.client()).collect();
    for client in &mut clients {
        client.set_nonblocking(true).unwrap();
        // Until the server has stopped reading and the kernel is full.
        let mut refusals = 0;
        while refusals < 20 {
            match client.write(requests.as_bytes()) {
                Ok(_) => refusals = 0,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    refusals += 1;
                    is_well(&server);
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    let after = status_of(&server, "VmRSS");
    assert!(after < before + SLACK_KIB, "{before} KiB became {after}");
    // And whoever reads after all gets answers.
    let client = &mut clients[0];
    client.set_nonblocking(false).unwrap();
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
    let after = status_of(&server, "VmRSS");
    assert!(after < before + SLACK_KIB, "{before} KiB became {after}");
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

#[test]
fn as_many_idle_connections_as_descriptors_allow() {
    let root = Root::new();
    let server = root.serve(&[]);
    let before = status_of(&server, "VmRSS");
    let mut idle: Vec<TcpStream> = Vec::new();
    while idle.len() < 10_000 {
        match TcpStream::connect(server.address) {
            Ok(client) => idle.push(client),
            Err(error) => {
                eprintln!("{} connections: {error}", idle.len());
                // Room for those that ask.
                idle.truncate(idle.len().saturating_sub(20));
                break;
            }
        }
    }
    assert!(idle.len() > 500, "{} connections", idle.len());
    for client in idle.iter_mut().step_by(100) {
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
            .write_all(b"GET /small.txt HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        assert_eq!(answer(client).text(), "hello world\n");
    }
    let each = (status_of(&server, "VmRSS") - before) * 1024 / idle.len() as u64;
    assert!(each < 2048, "{each} bytes for each");
    drop(idle);
    server.stop();
}

#[test]
fn names_that_are_asked_for_once_drive_nothing_out_and_take_no_memory() {
    let root = Root::new();
    let server = root.serve(&["--cache-files", "16", "--max-requests", "0"]);
    is_well(&server);
    let before = status_of(&server, "VmRSS");
    let mut client: TcpStream = server.client();
    for round in 0..20 {
        let requests: String = (0..200)
            .map(|number| format!("GET /small.txt?{round} HTTP/1.1\r\nHost: x\r\n\r\nGET /sub/../{number} HTTP/1.1\r\nHost: x\r\n\r\nGET /{round}-{number} HTTP/1.1\r\nHost: x\r\n\r\n"))
            .collect();
        client.write_all(requests.as_bytes()).unwrap();
        for _ in 0..200 {
            assert_eq!(answer(&mut client).status(), 200);
            assert_eq!(answer(&mut client).status(), 400);
            assert_eq!(answer(&mut client).status(), 404);
        }
    }
    let after = status_of(&server, "VmRSS");
    assert!(after < before + SLACK_KIB, "{before} KiB became {after}");
    end(server, client);
}

fn end(server: Server, client: TcpStream) {
    drop(client);
    server.stop();
}
