//! `--proxy-protocol`: the header that names a client, from a load balancer that does as a test says. (With HAProxy itself:
//! `haproxy.rs`.)

#![cfg(target_os = "linux")]

#[path = "../util/programs.rs"]
mod programs;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use programs::*;
use slabloop::tls::rustls::pki_types::pem::PemObject;
use slabloop::tls::rustls::pki_types::{CertificateDer, ServerName};
use slabloop::tls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// A header of version 2: its command, its family and protocol, what follows the fixed part.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([command, family]);
    header.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
    header.extend(rest);
    header
}

/// From 192.0.2.7 port 258, to 10.0.0.1 port 80.
const V4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 1, 2, 0, 80];

/// From 2001:db8::7 port 258, to ::1 port 80.
fn v6() -> Vec<u8> {
    let mut all = vec![0x20, 1, 0x0d, 0xb8];
    all.resize(15, 0);
    all.push(7);
    all.resize(31, 0);
    all.extend([1, 1, 2, 0, 80]);
    all
}

fn echo(arguments: &[&str]) -> Server {
    let mut command = std::process::Command::new(example("echo_server_tested"));
    command.args(["--listen", "127.0.0.1:0", "--proxy-protocol"]);
    command.args(arguments);
    Server::spawn_with_log(command, "info,slabloop::connection=debug")
}

/// Sends a header and what follows it in one piece; the echo comes back, and the log names the client.
#[track_caller]
fn is_served_as(header: &[u8], name: &str) {
    let mut server = echo(&[]);
    let mut client = server.client();
    let own = client.local_addr().unwrap();
    let sent = [header, b"hello"].concat();
    client.write_all(&sent).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut back = String::new();
    client.read_to_string(&mut back).unwrap();
    assert_eq!(back, "hello");
    let name = match name {
        "" => own.to_string(),
        name => name.to_owned(),
    };
    server.stderr_says(&format!("({name}): has replaced another dispatcher"));
    server.stop();
}

#[test]
fn the_client_is_the_one_that_the_header_names() {
    is_served_as(&v2(0x21, 0x11, &V4), "192.0.2.7:258");
    is_served_as(&v2(0x21, 0x21, &v6()), "[2001:db8::7]:258");
    let line = b"PROXY TCP4 192.0.2.8 10.0.0.1 4000 80\r\n";
    is_served_as(line, "192.0.2.8:4000");
    let line = b"PROXY TCP6 2001:db8::8 ::1 4000 80\r\n";
    is_served_as(line, "[2001:db8::8]:4000");
}

#[test]
fn fields_behind_the_addresses_are_passed_over() {
    let mut rest = V4.to_vec();
    rest.extend([0x01, 0, 2, b'h', b'2']);
    // As long as a header may be.
    let long = 4096 - 16 - rest.len() - 3;
    rest.push(0xe0);
    rest.extend(u16::try_from(long).unwrap().to_be_bytes());
    rest.resize(rest.len() + long, b'x');
    let header = v2(0x21, 0x11, &rest);
    assert_eq!(header.len(), 4096);
    is_served_as(&header, "192.0.2.7:258");
}

#[test]
fn where_no_client_is_named_the_peer_is_the_load_balancer() {
    // A check of its own, a client that it says nothing of, one on its machine.
    is_served_as(&v2(0x20, 0x00, b""), "");
    is_served_as(&v2(0x20, 0x11, &[1; 40]), "");
    is_served_as(&v2(0x21, 0x00, b"what it may be"), "");
    is_served_as(b"PROXY UNKNOWN\r\n", "");
    is_served_as(b"PROXY UNKNOWN ffff:f...f 1 2 3\r\n", "");
    let mut paths = b"/run/client.sock".to_vec();
    paths.resize(216, 0);
    is_served_as(&v2(0x21, 0x31, &paths), "");
}

#[test]
fn a_header_may_come_in_any_pieces() {
    let server = echo(&[]);
    for header in [
        v2(0x21, 0x11, &V4),
        b"PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n".to_vec(),
    ] {
        let mut client = server.client();
        client.set_nodelay(true).unwrap();
        for byte in [&header[..], b"hi"].concat() {
            client.write_all(&[byte]).unwrap();
        }
        let mut back = [0; 2];
        client.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"hi");
    }
    server.stop();
}

/// Sends this, and sees the connection end without a byte.
#[track_caller]
fn is_turned_away(server: &Server, bytes: &[u8]) {
    let mut client = server.client();
    client.write_all(bytes).unwrap();
    match client.read(&mut [0; 16]) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("{other:?} for {}", bytes.escape_ascii()),
    }
}

#[test]
fn without_a_right_header_a_client_is_turned_away_with_one_line_a_second() {
    let server = echo(&[]);
    let mut cut = V4.to_vec();
    cut.extend([1, 0, 9, b'x']);
    let mut too_long = v2(0x21, 0x11, &V4);
    too_long[14..16].copy_from_slice(&4081_u16.to_be_bytes());
    let wrong: [&[u8]; 14] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 99999 80\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 +1 80\r\n",
        b"PROXY TCP4 192.0.2.7  10.0.0.1 1 80\r\n",
        b"PROXY TCP4 ::1 ::1 1 80\r\n",
        b"PROXY TCP9 ::1 ::1 1 80\r\n",
        b"\r\n\r\n\0\r\nQUIT\r\n",
        &[&b"PROXY UNKNOWN "[..], &[b'x'; 100]].concat(),
        &v2(0x11, 0x11, &V4),
        &v2(0x22, 0x11, &V4),
        &v2(0x21, 0x12, &V4),
        &v2(0x21, 0x11, &V4[..11]),
        &v2(0x21, 0x11, &cut),
        &too_long,
    ];
    for bytes in wrong {
        is_turned_away(&server, bytes);
    }
    // The server goes on.
    let mut client = server.client();
    client.write_all(&v2(0x21, 0x11, &V4)).unwrap();
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    drop(client);
    server.process.signal("-INT");
    let ended = server.end();
    let about = |line: &&String| line.contains("PROXY header");
    let lines: Vec<_> = ended.stderr.iter().filter(about).collect();
    // (They may have taken more than a second.)
    assert!((1..wrong.len()).contains(&lines.len()), "{lines:#?}");
    assert!(lines[0].contains("Header"), "{lines:#?}");
}

#[test]
fn a_header_has_a_deadline_and_what_ends_before_it_is_told() {
    let mut server = echo(&["--proxy-timeout", "0.1"]);
    is_turned_away(&server, b"PROXY TCP4");
    server.stderr_says("did not come in time");
    is_turned_away(&server, b"");
    let client = server.client();
    client.shutdown(Shutdown::Write).unwrap();
    server.stderr_says("it ended before its PROXY header");
    // The deadline is the header's alone.
    let mut client = server.client();
    client.write_all(b"PROXY UNKNOWN\r\n").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    drop(client);
    server.stop();
}

#[test]
fn only_those_who_are_named_may_send_a_header() {
    let header = v2(0x21, 0x11, &V4);
    let mut server = echo(&["--proxy-from", "10.0.0.0/8,127.0.0.9"]);
    is_turned_away(&server, &header);
    server.stderr_says("no PROXY header is taken from there");
    let mut client = from([127, 0, 0, 9], server.address);
    client.write_all(&[&header[..], b"x"].concat()).unwrap();
    client.read_exact(&mut [0]).unwrap();
    drop(client);
    server.stop();
}

/// A connection from another address of this machine.
fn from(address: [u8; 4], to: SocketAddr) -> TcpStream {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((address, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    with_deadline(socket.into())
}

#[test]
fn the_header_comes_before_tls_also_in_one_piece_with_it() {
    let folder = std::env::temp_dir().join(format!("slabloop-proxied-{}", std::process::id()));
    let text = folder.display().to_string();
    assert_eq!(run("self_signed", &[&text]).status.code(), Some(0));
    let (certificate, key) = (format!("{text}/cert.pem"), format!("{text}/key.pem"));
    let mut roots = RootCertStore::empty();
    let read = CertificateDer::from_pem_file(&certificate).unwrap();
    roots.add(read).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots);
    let config = Arc::new(config.with_no_client_auth());
    let mut server = echo(&["--tls-cert", &certificate, "--tls-key", &key]);

    let name = ServerName::try_from("localhost").unwrap();
    let mut connection = ClientConnection::new(config, name).unwrap();
    let mut first = v2(0x21, 0x11, &V4);
    connection.write_tls(&mut first).unwrap();
    let mut stream = server.client();
    stream.write_all(&first).unwrap();
    let mut client = StreamOwned::new(connection, stream);
    client.write_all(b"hello").unwrap();
    let mut back = [0; 5];
    client.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"hello");
    server.stderr_says("(192.0.2.7:258): has replaced another dispatcher");
    drop(client);
    server.stop();
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn limits_count_the_client_and_not_the_load_balancer() {
    let arguments = ["--max-per-peer", "1", "--work", "0", "--proxy-protocol"];
    let mut server = Server::start("limited_tested", &arguments);
    let mut clients = Vec::new();
    for last in 1..=3 {
        let mut client = server.client();
        write!(client, "PROXY TCP4 192.0.2.{last} 10.0.0.1 1 2\r\na\n").unwrap();
        let mut answer = [0; 6];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"200 a\n");
        clients.push(client);
    }
    is_turned_away(&server, b"PROXY TCP4 192.0.2.2 10.0.0.1 1 2\r\n");
    server.stderr_says("192.0.2.2 has 1 connections");
    drop(clients);
    server.stop();
}

#[test]
fn the_proxy_forwards_what_follows_the_header_and_chat_greets_behind_it() {
    let upstream = Server::start("echo_server_tested", &[]);
    let to = upstream.address.to_string();
    let proxy = Server::start("proxy_tested", &["--upstream", &to, "--proxy-protocol"]);
    let mut client = proxy.client();
    client
        .write_all(&[&v2(0x21, 0x11, &V4)[..], b"hello"].concat())
        .unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut back = String::new();
    client.read_to_string(&mut back).unwrap();
    assert_eq!(back, "hello");
    proxy.stop();
    upstream.stop();

    let mut chat = Server::start("chat_tested", &["--proxy-protocol"]);
    let mut client = chat.client();
    client
        .write_all(&[&v2(0x21, 0x11, &V4)[..], b"ada\n/quit\n"].concat())
        .unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut heard = String::new();
    client.read_to_string(&mut heard).unwrap();
    assert!(heard.starts_with("* welcome"), "{heard}");
    assert!(heard.ends_with("* ada joined\n* goodbye\n"), "{heard}");
    chat.stderr_says("(192.0.2.7:258): is ada");
    chat.stop();
}

#[test]
fn wrong_usage_names_what_would_be_right() {
    for (arguments, part) in [
        (
            &["--proxy-from", "10.0.0.0/8"][..],
            "--proxy-from wants --proxy-protocol",
        ),
        (
            &["--proxy-timeout", "1"],
            "--proxy-timeout wants --proxy-protocol",
        ),
        (
            &["--proxy-protocol", "--proxy-from", "10.0.0.0/33"],
            "--proxy-from 10.0.0.0/33: expected addresses",
        ),
        (
            &["--proxy-protocol", "--proxy-from", "me"],
            "--proxy-from me: expected addresses",
        ),
        (
            &["--proxy-protocol", "--proxy-from", ""],
            "expected addresses",
        ),
    ] {
        let ended = run("echo_server_tested", arguments);
        assert_eq!(ended.status.code(), Some(2));
        let text = String::from_utf8(ended.stderr).unwrap();
        assert!(text.contains(part), "{text}");
    }
}
