//! Clients of the example `http_proxy` that mean harm, and servers that do: where they want to get, how much they send, how
//! slowly, how often.

#![cfg(target_os = "linux")]

#[path = "util/http.rs"]
mod http;
#[allow(dead_code, reason = "a part is tested by itself")]
#[path = "../../examples/http_proxy/policy.rs"]
mod policy;
#[path = "../util/programs.rs"]
mod programs;
#[path = "util/proxied.rs"]
mod proxied;

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use http::*;
use policy::{Policy, Way};
use programs::{PATIENCE, Server};
use proxied::*;

/// What a kernel's buffers and an allocator may make of it.
const SLACK_KIB: u64 = 8 * 1024;

#[test]
fn addresses_that_are_not_public_are_refused_in_every_way_to_write_them() {
    let policy = Policy::default();
    let refused = [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::127.0.0.1",
        "64:ff9b::a00:1",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "2001::1",
        "2001:db8::1",
        "100::1",
        "3fff::1",
        "fc00::1",
        "fdff::1",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "ff02::1",
    ];
    for text in refused {
        let address: IpAddr = text.parse().unwrap();
        for (way, port) in [(Way::Http, 80), (Way::Http, 8080), (Way::Tunnel, 443)] {
            let chosen = policy.choose("name.example", port, way, &[address]);
            assert!(chosen.is_err(), "{text}: {chosen:?}");
        }
    }
    let public = [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.1",
        "100.63.255.255",
        "100.128.0.0",
        "126.1.1.1",
        "128.0.0.1",
        "169.253.1.1",
        "172.15.1.1",
        "172.32.0.1",
        "192.0.1.1",
        "192.167.1.1",
        "198.17.1.1",
        "198.20.1.1",
        "223.1.1.1",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2002:808:808::1",
        "2606:4700::1111",
        "2a00:1450::1",
        "2001:4860::8888",
    ];
    for text in public {
        let address: IpAddr = text.parse().unwrap();
        let chosen = policy.choose("name.example", 80, Way::Http, &[address]);
        assert_eq!(chosen, Ok(vec![SocketAddr::new(address, 80)]), "{text}");
    }
}

#[test]
fn of_many_addresses_only_those_that_are_public_or_allowed_are_used() {
    let mut policy = Policy::default();
    let list = |texts: &[&str]| -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    };
    let mixed = list(&["10.0.0.1", "8.8.8.8", "::1"]);
    let chosen = policy.choose("a", 80, Way::Http, &mixed).unwrap();
    assert_eq!(chosen, ["8.8.8.8:80".parse().unwrap()]);
    policy.allow("10.0.0.1:80");
    policy.allow("[::1]:443");
    policy.allow("Intranet.Example:22");
    let chosen = policy.choose("a", 80, Way::Http, &mixed).unwrap();
    assert_eq!(chosen.len(), 2, "{chosen:?}");
    let chosen = policy.choose("a", 443, Way::Tunnel, &mixed).unwrap();
    assert_eq!(chosen.len(), 2, "{chosen:?}");
    // A name that is allowed is trusted with whatever addresses it has, and with its port alone.
    for name in ["intranet.example", "INTRANET.example."] {
        assert_eq!(
            policy.choose(name, 22, Way::Tunnel, &mixed).unwrap().len(),
            3
        );
        assert!(policy.choose(name, 23, Way::Tunnel, &mixed).is_err());
    }
    assert!(
        policy
            .choose("other.example", 22, Way::Tunnel, &mixed)
            .is_err()
    );
    // Ports by themselves.
    let public = list(&["8.8.8.8"]);
    for (port, way, is_good) in [
        (80, Way::Http, true),
        (8080, Way::Http, true),
        (25, Way::Http, false),
        (443, Way::Http, false),
        (443, Way::Tunnel, true),
        (80, Way::Tunnel, false),
        (8443, Way::Tunnel, false),
        (22, Way::Tunnel, false),
    ] {
        let chosen = policy.choose("a", port, way, &public);
        assert_eq!(chosen.is_ok(), is_good, "{port} {way:?}");
    }
}

#[test]
fn what_is_not_allowed_is_refused_and_noted() {
    let mut proxy = proxy_to(&[], &[]);
    for (target, why) in [
        ("http://127.0.0.1/", "a loopback address"),
        ("http://localhost/", "a loopback address"),
        ("http://[::1]/", "a loopback address"),
        ("http://[::ffff:127.0.0.1]/", "a loopback address"),
        (
            "http://169.254.169.254/latest/meta-data/",
            "a link-local address",
        ),
        ("http://10.0.0.1:8080/", "a private address"),
        ("http://0.0.0.0/", "an address of no host"),
        ("http://1.1.1.1:25/", "not this port"),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let (text, _) = exchange(&proxy, request.as_bytes());
        assert!(text.starts_with("HTTP/1.1 403 "), "{target}: {text}");
        assert!(
            text.ends_with(&format!("403 Forbidden: {why}\n")),
            "{target}: {text}"
        );
    }
    for target in ["127.0.0.1:443", "1.1.1.1:22", "[::1]:443"] {
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let (text, _) = exchange(&proxy, request.as_bytes());
        assert!(text.starts_with("HTTP/1.1 403 "), "{target}: {text}");
    }
    let line = proxy.stderr_says("asks for 169.254.169.254:80: refused: a link-local address");
    assert!(line.contains("(127.0.0.1:"), "{line}");
    // However many there are, one line a second.
    proxy.process.signal("-INT");
    let ended = proxy.end();
    let noted = ended.stderr.iter().filter(|line| line.contains("refused:"));
    assert!(noted.count() <= 8);
}

#[test]
fn a_name_that_changes_its_address_does_not_get_past_the_check() {
    let inside = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = inside.local_addr().unwrap().port();
    // At first public, for the check; then inside, for the connection. (No answer may be kept.)
    let names = name_server(|name, asked| match name {
        "both.example." => vec![[127, 0, 0, 1], [127, 0, 0, 1]],
        "rebinds.example." if asked % 2 == 1 => vec![[192, 0, 2, 1]],
        _ => vec![[127, 0, 0, 1]],
    });
    let names = names.to_string();
    let proxy = proxy_to(&[], &["--name-server", &names, "--connect-timeout", "0.2"]);
    for name in [
        "both.example",
        "rebinds.example",
        "rebinds.example",
        "inside.example",
    ] {
        let line = format!("GET http://{name}:{port}/ HTTP/1.1");
        let request = format!("{line}\r\nHost: x\r\nConnection: close\r\n\r\n");
        let (text, _) = exchange(&proxy, request.as_bytes());
        assert!(text.starts_with("HTTP/1.1 403 "), "{name}: {text}");
    }
    inside.set_nonblocking(true).unwrap();
    let connected = inside.accept().map_err(|error| error.kind());
    assert_eq!(connected.err(), Some(ErrorKind::WouldBlock));
    proxy.stop();
}

#[test]
fn of_the_addresses_of_a_name_only_those_that_are_allowed_are_connected_to() {
    let inside = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = inside.local_addr().unwrap().port();
    let outside = TcpListener::bind(("127.0.0.2", port)).unwrap();
    let server = origin_on(outside, |_, mut stream| {
        head(&mut stream);
        stream.write_all(OK).unwrap();
    });
    let names = name_server(|_, _| vec![[127, 0, 0, 1], [127, 0, 0, 2], [127, 0, 0, 1]]);
    let proxy = proxy_to(&[server], &["--name-server", &names.to_string()]);
    for way in ["GET http://a.example:{}/", "CONNECT a.example:{}"] {
        let way = way.replace("{}", &port.to_string());
        let request = format!("{way} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n\r\n\r\n");
        let (text, _) = exchange(&proxy, request.as_bytes());
        assert!(text.ends_with("ok"), "{text}");
    }
    inside.set_nonblocking(true).unwrap();
    let connected = inside.accept().map_err(|error| error.kind());
    assert_eq!(connected.err(), Some(ErrorKind::WouldBlock));
    proxy.stop();
}

#[test]
fn a_name_that_is_allowed_is_looked_up_and_its_next_address_is_tried() {
    let server = answering(OK);
    let port = server.port();
    let names = name_server(|name, _| match name {
        "inside.example." => vec![[127, 0, 0, 2], [127, 0, 0, 3], [127, 0, 0, 1]],
        _ => vec![],
    });
    let names = names.to_string();
    let allowed = format!("inside.example:{port}");
    let proxy = proxy_to(&[], &["--name-server", &names, "--allow", &allowed]);
    for method in ["GET", "POST"] {
        let line = format!("{method} http://inside.example:{port}/ HTTP/1.1");
        let request =
            format!("{line}\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        let (text, _) = exchange(&proxy, request.as_bytes());
        assert!(text.ends_with("ok"), "{text}");
    }
    let line = format!("CONNECT inside.example:{port} HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut client = proxy.client();
    client.write_all(line.as_bytes()).unwrap();
    assert!(head(&mut client).unwrap().starts_with("HTTP/1.1 200 "));
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    assert_eq!(answer(&mut client).text(), "ok");
    drop(client);
    let request = "GET http://nowhere.example/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let (text, _) = exchange(&proxy, request.as_bytes());
    assert!(
        text.starts_with("HTTP/1.1 502 ") && text.contains("no such host"),
        "{text}"
    );
    proxy.stop();
}

/// Whether the proxy works: a request on a connection of its own.
#[track_caller]
fn is_well(proxy: &Server, server: SocketAddr) {
    let (text, _) = exchange(proxy, &get(server, "/", ""));
    assert!(text.ends_with("ok"), "{text}");
}

#[test]
fn slow_heads_and_bodies_end_at_their_deadlines_and_hold_up_nobody() {
    let server = answering(OK);
    let arguments = [
        "--header-timeout",
        "0.5",
        "--body-timeout",
        "0.5",
        "--max-per-peer",
        "2000",
        "--rate",
        "0",
    ];
    let proxy = proxy_to(&[server], &arguments);
    let begin = |text: String| -> Vec<TcpStream> {
        let mut clients: Vec<TcpStream> = (0..400).map(|_| proxy.client()).collect();
        for client in &mut clients {
            client.write_all(text.as_bytes()).unwrap();
        }
        clients
    };
    let mut heads = begin(format!("GET http://{server}/ HTTP/1.1\r\nX: "));
    let mut bodies = begin(format!(
        "PUT http://{server}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx"
    ));
    is_well(&proxy, server);
    for client in heads.iter_mut().chain(&mut bodies) {
        let text = rest(client);
        assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
    }
    is_well(&proxy, server);
    drop((heads, bodies));
    proxy.stop();
}

#[test]
fn more_bytes_of_a_head_do_not_put_off_its_deadline() {
    let server = answering(OK);
    let proxy = proxy_to(&[server], &["--header-timeout", "0.5", "--rate", "0"]);
    let mut slow = proxy.client();
    slow.write_all(b"GET http://").unwrap();
    slow.set_nonblocking(true).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while slow.peek(&mut [0]).is_err() {
        assert!(Instant::now() < deadline);
        let _ = slow.write(b"y");
        is_well(&proxy, server);
    }
    slow.set_nonblocking(false).unwrap();
    assert_eq!(answer(&mut slow).status(), 408);
    drop(slow);
    proxy.stop();
}

#[test]
fn a_connection_that_is_not_used_ends_quietly() {
    let server = answering(OK);
    let proxy = proxy_to(&[server], &["--idle-timeout", "0.2"]);
    let mut new = proxy.client();
    let mut used = proxy.client();
    let line = format!("GET http://{server}/ HTTP/1.1\r\nHost: x\r\n\r\n");
    used.write_all(line.as_bytes()).unwrap();
    assert_eq!(answer(&mut used).text(), "ok");
    assert_eq!(rest(&mut new), "");
    assert_eq!(rest(&mut used), "");
    proxy.stop();
}

/// Writes until the other side takes no more, also after others have been served.
fn fill(stream: &mut TcpStream, mut meanwhile: impl FnMut()) {
    stream.set_nonblocking(true).unwrap();
    let (piece, mut refusals) = ([b'x'; 65536], 0);
    while refusals < 20 {
        match stream.write(&piece) {
            Ok(_) => refusals = 0,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                refusals += 1;
                meanwhile();
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn whoever_does_not_read_takes_no_memory() {
    let server = origin(|_, mut stream| {
        while let Some(head) = head(&mut stream) {
            if head.contains("/endless") {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
                while stream.write_all(&[b'x'; 65536]).is_ok() {}
                return;
            }
            if head.contains("/deaf") {
                let _ = stream.peek(&mut [0]);
                std::thread::park_timeout(PATIENCE);
                return;
            }
            stream.write_all(OK).unwrap();
        }
    });
    let proxy = proxy_to(&[server], &["--rate", "0"]);
    is_well(&proxy, server);
    let before = status_of(&proxy, "VmRSS");
    // Answers that are not read, bodies and tunnels that are not read by the server.
    let mut clients: Vec<TcpStream> = (0..20).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.write_all(&get(server, "/endless", "")).unwrap();
    }
    let deaf = format!(
        "PUT http://{server}/deaf HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"
    );
    let tunnel = format!("CONNECT {server} HTTP/1.1\r\nHost: x\r\n\r\nGET /deaf HTTP/1.1\r\n\r\n");
    for begin in [deaf, tunnel].iter().cycle().take(20) {
        let mut client = proxy.client();
        client.write_all(begin.as_bytes()).unwrap();
        fill(&mut client, || is_well(&proxy, server));
        clients.push(client);
    }
    let after = status_of(&proxy, "VmRSS");
    assert!(after < before + SLACK_KIB, "{before} KiB became {after}");
    is_well(&proxy, server);
    drop(clients);
    proxy.stop();
}

#[test]
fn requests_that_are_sent_without_end_are_taken_one_by_one() {
    let server = answering(OK);
    let proxy = proxy_to(&[server], &["--rate", "0", "--rate-all", "0"]);
    is_well(&proxy, server);
    let before = status_of(&proxy, "VmRSS");
    let line = format!("GET http://{server}/ HTTP/1.1\r\nHost: x\r\n\r\n");
    let requests = line.repeat(1000);
    let mut clients: Vec<_> = (0..5).map(|_| proxy.client()).collect();
    for client in &mut clients {
        flood(client, requests.as_bytes(), || is_well(&proxy, server));
    }
    let after = status_of(&proxy, "VmRSS");
    assert!(after < before + SLACK_KIB, "{before} KiB became {after}");
    let client = &mut clients[0];
    for _ in 0..1000 {
        assert_eq!(answer(client).text(), "ok");
    }
    drop(clients);
    proxy.stop();
}

#[test]
fn too_many_requests_are_refused_with_when_to_come_again() {
    let server = answering(OK);
    for (arguments, status) in [(["--rate", "2"], 429), (["--rate-all", "2"], 503)] {
        let proxy = proxy_to(&[server], &arguments);
        let mut client = proxy.client();
        let line = format!("GET http://{server}/ HTTP/1.1\r\nHost: x\r\n\r\n");
        client.write_all(line.repeat(30).as_bytes()).unwrap();
        let answers: Vec<_> = (0..30).map(|_| answer(&mut client)).collect();
        let refused: Vec<_> = answers
            .iter()
            .filter(|answer| answer.status() == status)
            .collect();
        // (Machines that are slow let more through.)
        assert!(!refused.is_empty());
        assert!(
            refused
                .iter()
                .all(|answer| answer.field("Retry-After") == Some("1"))
        );
        let passed = answers.iter().filter(|answer| answer.status() == 200);
        assert_eq!(passed.count() + refused.len(), 30);
        assert_eq!(answers[0].status(), 200);
        drop(client);
        proxy.stop();
    }
}

#[test]
fn a_peer_has_so_many_connections() {
    let server = answering(OK);
    let mut proxy = proxy_to(&[server], &["--max-per-peer", "2"]);
    let (first, second) = (proxy.client(), proxy.client());
    // (Over TLS the end comes before the handshake does.)
    let is_closed = |mut client: TcpStream| match client.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    };
    assert!(is_closed(proxy.client()));
    proxy.stderr_says("127.0.0.1 has 2 connections");
    let mut first = first;
    first
        .write_all(format!("CONNECT {server} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
        .unwrap();
    assert!(head(&mut first).unwrap().starts_with("HTTP/1.1 200 "));
    // A tunnel keeps the place of the request that it began with.
    assert!(is_closed(proxy.client()));
    drop((first, second));
    proxy.stop();
}
