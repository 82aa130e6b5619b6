//! The examples of the kit's limits and retries, end to end: started as a user starts them.

#![cfg(target_os = "linux")]

#[path = "../util/programs.rs"]
mod programs;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::process::{Command, Stdio};

use programs::*;

#[test]
fn limited_answers_what_it_can_and_refuses_the_rest_with_a_reason() {
    let arguments = ["--rate", "8", "--concurrency", "2", "--queue", "2"];
    let server = Server::start("limited_tested", &arguments);
    let mut client = server.client();
    client.write_all(b"1\n2\n3\n4\n5\n6\n7\n8\n9\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answers = String::new();
    client.read_to_string(&mut answers).unwrap();
    let count = |code: &str| {
        answers
            .lines()
            .filter(|line| line.starts_with(code))
            .count()
    };
    assert_eq!(answers.lines().count(), 9, "each has its answer: {answers}");
    assert!(count("200") >= 4, "{answers}");
    assert!(
        count("503") >= 1 && answers.contains("are waiting"),
        "{answers}"
    );
    assert!(count("429") <= 1, "{answers}");
    server.stop();
}

#[test]
fn limited_refuses_a_peer_that_has_its_connections() {
    let mut server = Server::start("limited_tested", &["--max-per-peer", "1", "--work", "0"]);
    let mut first = server.client();
    first.write_all(b"a\n").unwrap();
    let mut answer = [0; 6];
    first.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"200 a\n");
    assert_eq!(server.client().read(&mut [0]).unwrap(), 0);
    server.stderr_says("127.0.0.1 has 1 connections");
    drop(first);
    server.stop();
}

#[test]
fn reconnect_survives_the_end_of_its_connection_and_gives_up_at_its_limit() {
    let listener = TcpListener::bind(("127.0.0.1", free_port())).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let listeners = [listener.try_clone().unwrap(), listener];
    let server = std::thread::spawn(move || {
        for (number, listener) in (1..).zip(listeners) {
            let (peer, _) = listener.accept().unwrap();
            // Before its connection ends, for a third one is to be refused.
            drop(listener);
            let mut line = String::new();
            BufReader::new(with_deadline(peer))
                .read_line(&mut line)
                .unwrap();
            assert_eq!(line, "heartbeat 1\n", "connection {number}");
        }
    });
    let arguments = ["--heartbeat", "0.01", "--base", "0.01", "--attempts", "5"];
    let ended = run(
        "reconnect_tested",
        &[&["--connect", &address], &arguments[..]].concat(),
    );
    server.join().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let log = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(log.matches(": connected").count(), 2, "{log}");
    assert!(log.contains("refused; not trying again"), "{log}");
    assert!(log.ends_with(&format!("gave up on {address}\n")), "{log}");
}

#[test]
fn reconnect_sends_lines_of_stdin_whatever_bytes_they_have() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut command = Command::new(example("reconnect_tested"));
    command.args(["--connect", &address]).stdin(Stdio::piped());
    let mut process = Running(command.spawn().unwrap());
    // Established before the first line comes: what comes earlier is not sent, and logged.
    let mut peer = with_deadline(listener.accept().unwrap().0);
    let mut stdin = process.0.stdin.take().unwrap();
    let mut first = [0; 2];
    while peer.set_nonblocking(true).is_ok() && peer.peek(&mut first).is_err() {
        stdin.write_all(b"a\n").unwrap();
        std::thread::yield_now();
    }
    peer.set_nonblocking(false).unwrap();
    stdin.write_all(b"\xff\nb\n").unwrap();
    drop(stdin);
    let mut received = Vec::new();
    peer.read_to_end(&mut received).unwrap();
    assert!(received.ends_with(b"a\n\xff\nb\n"), "{received:?}");
    drop(peer);
    assert_eq!(process.wait(), Some(0));
}

#[test]
fn wrong_usage_names_what_would_be_right() {
    for (example, arguments, part) in [
        ("limited_tested", ["--rate", "0"], "a quota of 0"),
        (
            "limited_tested",
            ["--max-per-peer", "x"],
            "--max-per-peer x",
        ),
        ("reconnect_tested", ["--budget", "0"], "a quota of 0"),
        (
            "reconnect_tested",
            ["--base", "60"],
            "a base of 60s with a cap of 30s",
        ),
    ] {
        let ended = run(example, &arguments);
        assert_eq!(ended.status.code(), Some(2));
        let text = String::from_utf8(ended.stderr).unwrap();
        assert!(text.contains(part), "{text}");
    }
}
