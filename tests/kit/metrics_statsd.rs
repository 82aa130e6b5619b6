//! The example `statsd`: what it sends, and that it does so in datagrams that fit.

#![cfg(target_os = "linux")]

#[path = "../util/programs.rs"]
mod programs;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::UdpSocket;

use programs::*;

/// The lines of one datagram: name, value and type.
fn lines(datagram: &str) -> Vec<(&str, f64, &str)> {
    let lines = datagram.lines();
    lines
        .map(|line| {
            let (name, rest) = line.split_once(':').expect(line);
            let (value, kind) = rest.split_once('|').expect(line);
            (name, value.parse().expect(line), kind)
        })
        .collect()
}

#[test]
fn counters_are_what_was_added_and_datagrams_are_small() {
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    let address = receiver.local_addr().unwrap().to_string();
    let server = Server::start("statsd_tested", &["--statsd", &address, "--every", "0.05"]);
    let mut sums: HashMap<String, f64> = HashMap::new();
    let mut gauges: HashMap<String, f64> = HashMap::new();
    let mut client = server.client();
    let mut buffer = [0; 65_536];
    let (mut sent, mut largest, mut datagrams) = (0.0, 0, 0);
    while sums.get("slabloop.received_bytes").copied().unwrap_or(0.0) < 300.0 {
        if sent < 300.0 {
            client.write_all(&[7; 100]).unwrap();
            client.read_exact(&mut [0; 100]).unwrap();
            sent += 100.0;
        }
        let length = match receiver.recv(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            received => received.expect("figures come"),
        };
        largest = largest.max(length);
        datagrams += 1;
        for (name, value, kind) in lines(std::str::from_utf8(&buffer[..length]).unwrap()) {
            match kind {
                "c" => {
                    assert!(value > 0.0, "nothing is sent of what stood still: {name}");
                    *sums.entry(name.to_owned()).or_default() += value;
                }
                "g" => {
                    gauges.insert(name.to_owned(), value);
                }
                other => panic!("{name} is of type {other}"),
            }
        }
    }
    assert!(largest <= 1_432, "{largest} bytes in one");
    assert!(
        datagrams > 1 && largest > 700,
        "they are filled: {largest} bytes at most"
    );
    assert_eq!(
        sums["slabloop.received_bytes"], 300.0,
        "each byte is told once"
    );
    assert_eq!(sums["slabloop.dispatchers_added.stream"], 1.0);
    assert!(
        gauges.contains_key("slabloop.callback_ms.handle_read.p99"),
        "{gauges:?}"
    );
    assert!(gauges.contains_key("process.open_fds"), "{gauges:?}");
    drop(client);
    server.stop();
}

#[test]
fn nobody_has_to_listen() {
    let gone = format!("127.0.0.1:{}", free_port());
    let server = Server::start("statsd_tested", &["--statsd", &gone, "--every", "0.001"]);
    let mut client = server.client();
    for _ in 0..50 {
        client.write_all(b"still there").unwrap();
        client.read_exact(&mut [0; 11]).unwrap();
    }
    drop(client);
    let totals = server.stop();
    assert_eq!(totals.of("in"), 550);
}

#[test]
fn wrong_usage_names_what_would_be_right() {
    for (arguments, part) in [
        (
            ["--every", "0"],
            "--every 0: expected a number of seconds above 0",
        ),
        (
            ["--statsd", "nowhere"],
            "--statsd nowhere: expected HOST:PORT",
        ),
    ] {
        let ended = run("statsd_tested", &arguments);
        assert_eq!(ended.status.code(), Some(2));
        let text = String::from_utf8(ended.stderr).unwrap();
        assert!(text.contains(part), "{text}");
    }
}
