//! TLS with other programs at the other end: openssl, nginx, redis-cli, wrk; and client certificates.
//!
//! A test whose program is missing says so and is skipped.

#[path = "../util/log_lines.rs"]
mod log_lines;
#[path = "../util/noting.rs"]
mod noting;
#[path = "../util/programs.rs"]
mod programs;
#[path = "util/tls.rs"]
mod setup;
#[path = "../util/mod.rs"]
mod util;
#[path = "../util/wire.rs"]
mod wire;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use log_lines::{keep_log, take_log};
use programs::{Running, free_port, until_it_listens};
use setup::*;
use slabloop::framing::{Framed, Framing, Handler, Terminator};
use slabloop::tls::Acceptor;
use slabloop::tls::rustls::version::{TLS12, TLS13};
use slabloop::tls::rustls::{
    ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion,
};
use slabloop::{Accepted, Context, Dispatcher, Reactor, Socket};
use util::{pattern, turn_until};

/// A connection that is established, and is to stay so whatever its neighbours do.
struct Neighbour(TlsClient);

impl Neighbour {
    /// Sends something to an echo and gets it back.
    fn served(mut self, reactor: &mut Reactor) -> Neighbour {
        turn_with(reactor, move || {
            let mut answer = [0; 5];
            self.0.write_all(b"hello").expect("room");
            self.0.read_exact(&mut answer).expect("an answer");
            assert_eq!(&answer, b"hello");
            self
        })
    }
}

#[test]
fn renegotiation_is_refused_and_others_go_on() {
    let configs = configs(&TLS12);
    let folder = Folder::new(&configs.identity);
    let ca = folder.path("cert.pem");
    let mut reactor = Reactor::new().expect("a reactor");
    let address = site(&mut reactor, &configs, || util::Echo);
    let neighbour = Neighbour(client(&configs, address)).served(&mut reactor);
    keep_log();
    let address = address.to_string();
    let arguments = [
        "s_client",
        "-connect",
        &address,
        "-servername",
        "localhost",
        "-CAfile",
        &ca,
        "-tls1_2",
    ];
    // The whole of a read has to begin with the letter.
    let said = run_client_with_open_input(&mut reactor, "openssl", &arguments, "R\n");
    let Some(said) = said else {
        return;
    };
    assert!(said.contains("RENEGOTIATING"), "{said}");
    assert!(said.contains("no renegotiation"), "{said}");
    turn_until(&mut reactor, "it has ended", |reactor| {
        reactor.counters().ends.error == 1
    });
    let lines = take_log();
    assert!(
        lines.iter().all(|(level, _)| *level == log::Level::Debug),
        "{lines:?}"
    );
    let reason = "received fatal alert: HandshakeFailure";
    assert!(
        lines.iter().any(|(_, line)| line.contains(reason)),
        "{lines:?}"
    );
    neighbour.served(&mut reactor);
}

#[test]
fn early_data_that_is_offered_is_not_taken_and_the_connection_works() {
    if !is_here("openssl") {
        return;
    }
    let configs = configs(&TLS13);
    let folder = Folder::new(&configs.identity);
    let ca = folder.path("cert.pem");
    let session = folder.path("session");
    let early = folder.write("early", b"much too early\n");
    let mut reactor = Reactor::new().expect("a reactor");
    // A server with the same tickets takes early data, so the client will offer some.
    let mut generous = ServerConfig::clone(&configs.server);
    generous.max_early_data_size = 1000;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it has one");
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("it connects");
        let connection = ServerConnection::new(Arc::new(generous)).expect("a config");
        let mut stream = StreamOwned::new(connection, stream);
        stream.read_exact(&mut [0; 5]).expect("its bytes");
        stream.conn.send_close_notify();
        stream.flush().expect("room");
    });
    let common = format!(
        "timeout 10 openssl s_client -servername localhost -CAfile {ca} -verify_return_error -ign_eof"
    );
    let script = format!("printf hello | {common} -connect {address} -sess_out {session}");
    run_client(&mut reactor, "sh", &["-c", &script], "").expect("there is a shell");
    server.join().expect("it has not panicked");
    let address = site(&mut reactor, &configs, || Once);
    let script = format!(
        "printf hello | {common} -connect {address} -sess_in {session} -early_data {early}"
    );
    let said = run_client(&mut reactor, "sh", &["-c", &script], "").expect("there is a shell");
    assert!(said.contains("Early data was rejected"), "{said}");
    assert!(
        said.ends_with("closed\n") && said.contains("hello"),
        "{said}"
    );
    assert!(!said.contains("much too early"), "{said}");
}

/// A server that is a program of its own.
struct Server {
    address: SocketAddr,
    _process: Running,
}

/// `openssl s_server`, which listens.
fn s_server(folder: &Folder, version: &SupportedProtocolVersion, more: &[&str]) -> Server {
    let flag = match name_of(version) {
        "TLSv1.2" => "-tls1_2",
        _ => "-tls1_3",
    };
    let mut child = Command::new("openssl")
        .args(["s_server", "-accept", "127.0.0.1:0", flag, "-alpn", "echo"])
        .args([
            "-cert",
            &folder.path("cert.pem"),
            "-key",
            &folder.path("key.pem"),
        ])
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    let address = loop {
        let mut line = String::new();
        let count = stdout.read_line(&mut line).expect("text");
        assert_ne!(count, 0, "it does not listen");
        if let Some(address) = line.strip_prefix("ACCEPT ") {
            break address.trim().parse().expect("an address");
        }
    };
    // It goes on to say things, and must not wait for a reader.
    thread::spawn(move || io::copy(&mut stdout, &mut io::sink()));
    Server {
        address,
        _process: Running(child),
    }
}

/// Sends a request, and writes down the answer.
#[derive(Clone, Default)]
struct Client {
    request: &'static [u8],
    /// How many bytes the answer has; without it closes at the end of the stream.
    length: Option<usize>,
    noting: Rc<RefCell<Vec<String>>>,
    got: Rc<RefCell<Vec<u8>>>,
}

impl Dispatcher for Client {
    fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.send(self.request)
    }

    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let got = Rc::clone(&self.got);
        cx.recv_with(|bytes, _| {
            got.borrow_mut().extend_from_slice(bytes);
            Ok(())
        })?;
        if self.length == Some(self.got.borrow().len()) {
            cx.close();
        }
        Ok(())
    }

    fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.noting.borrow_mut().push("eof".to_owned());
        cx.close();
        Ok(())
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        self.noting.borrow_mut().push(error.to_string());
        cx.close();
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        let cause = cx.end_cause().expect("it has ended");
        self.noting.borrow_mut().push(format!("{cause:?}"));
    }
}

#[test]
fn openssl_as_a_server_answers_over_both_versions() {
    if !is_here("openssl") {
        return;
    }
    for version in BOTH {
        let configs = configs(version);
        let folder = Folder::new(&configs.identity);
        let mut reactor = Reactor::new().expect("a reactor");
        // Sends back each line, reversed.
        let server = s_server(&folder, version, &["-rev"]);
        let asker = Client {
            request: b"hello\n",
            length: Some(6),
            ..Client::default()
        };
        let socket = configs.dial(server.address);
        reactor.add(socket, asker.clone()).expect("a stream");
        until_noted(&mut reactor, &asker.noting, "Finished");
        assert_eq!(*asker.got.borrow(), b"olleh\n");
        // A page that tells of the connection.
        let server = s_server(&folder, version, &["-www"]);
        let asker = Client {
            request: b"GET / HTTP/1.0\r\n\r\n",
            ..Client::default()
        };
        let socket = configs.dial(server.address);
        reactor.add(socket, asker.clone()).expect("a stream");
        until_noted(&mut reactor, &asker.noting, "Finished");
        assert_eq!(*asker.noting.borrow(), ["eof", "Finished"]);
        let got = String::from_utf8_lossy(&asker.got.borrow()).into_owned();
        assert!(got.starts_with("HTTP/1.0 200 ok"), "{got}");
        assert!(got.contains(name_of(version)), "{got}");
    }
}

/// An nginx that serves a folder over https.
fn nginx(folder: &Folder) -> Server {
    let port = free_port();
    let configuration = format!(
        "daemon off; master_process off; error_log stderr error; pid {pid};
         events {{ worker_connections 64; }}
         http {{
             access_log off;
             client_body_temp_path {temp}; proxy_temp_path {temp}; fastcgi_temp_path {temp};
             uwsgi_temp_path {temp}; scgi_temp_path {temp};
             server {{
                 listen 127.0.0.1:{port} ssl;
                 ssl_certificate {cert}; ssl_certificate_key {key};
                 ssl_protocols TLSv1.2 TLSv1.3;
                 root {root};
             }}
         }}",
        pid = folder.path("pid"),
        temp = folder.path("temp"),
        cert = folder.path("cert.pem"),
        key = folder.path("key.pem"),
        root = folder.path(""),
    );
    let file = folder.write("nginx.conf", configuration.as_bytes());
    let child = Command::new("nginx")
        .args(["-c", &file, "-e", "stderr"])
        .stdin(Stdio::null())
        .spawn()
        .expect("it starts");
    let process = Running(child);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    until_it_listens(address);
    Server {
        address,
        _process: process,
    }
}

#[test]
fn nginx_serves_large_files_over_one_connection_and_over_both_versions() {
    const LENGTH: usize = 5_000_000;
    if !is_here("nginx") {
        return;
    }
    for version in BOTH {
        let mut configs = configs(version);
        // It has no protocol of ours.
        let mut config = (*configs.client).clone();
        config.alpn_protocols.clear();
        configs.client = Arc::new(config);
        let folder = Folder::new(&configs.identity);
        folder.write("large", &pattern(4, LENGTH));
        let server = nginx(&folder);
        let mut reactor = Reactor::new().expect("a reactor");
        let bodies = Rc::default();
        let fetch = Fetch {
            left: 3,
            in_body: false,
            bodies: Rc::clone(&bodies),
        };
        let framed = Framed::new(Terminator::Bytes(b"\r\n\r\n".to_vec()), fetch)
            .expect("a terminator")
            .max_record(LENGTH);
        reactor
            .add(configs.dial(server.address), framed)
            .expect("a stream");
        turn_until(&mut reactor, "all is fetched", |reactor| {
            reactor.count() == 0
        });
        assert_eq!(bodies.borrow().len(), 3);
        for body in bodies.borrow().iter() {
            assert!(*body == pattern(4, LENGTH));
        }
    }
}

/// Fetches a file several times, one after the other.
struct Fetch {
    left: u32,
    in_body: bool,
    bodies: Rc<RefCell<Vec<Vec<u8>>>>,
}

impl Fetch {
    const REQUEST: &'static [u8] = b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n";
}

impl Handler for Fetch {
    fn handle_connect(&mut self, cx: &mut Context<'_>, framing: &mut Framing) -> io::Result<()> {
        framing.push(cx, Fetch::REQUEST)
    }

    fn found_terminator(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
        record: &[u8],
    ) -> io::Result<()> {
        self.in_body = !self.in_body;
        if !self.in_body {
            self.bodies.borrow_mut().push(record.to_vec());
            self.left -= 1;
            if self.left == 0 {
                framing.close_when_done(cx);
                return Ok(());
            }
            framing.set_terminator(Terminator::Bytes(b"\r\n\r\n".to_vec()))?;
            return framing.push(cx, Fetch::REQUEST);
        }
        let head = String::from_utf8_lossy(record).into_owned();
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "));
        let length = length.expect(&head).parse().expect(&head);
        framing.set_terminator(Terminator::Length(length))
    }
}

/// An echo that writes down the certificate of its peer.
struct Checked {
    seen: Rc<RefCell<Vec<Vec<u8>>>>,
    notes: Notes,
}

impl Dispatcher for Checked {
    fn handle_handshake(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let session = cx.tls().expect("it has a layer");
        let chain = session.connection().peer_certificates().expect("required");
        self.seen.borrow_mut().push(chain[0].to_vec());
        Ok(())
    }

    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_with(|bytes, cx| cx.send(bytes))
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        self.notes.borrow_mut().push(error.to_string());
        cx.close();
    }
}

/// Lets in who has a certificate.
struct Gate {
    acceptor: Acceptor,
    seen: Rc<RefCell<Vec<Vec<u8>>>>,
    notes: Notes,
}

impl Dispatcher for Gate {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let socket = Socket::from(accepted).layered(self.acceptor.session()?);
        let checked = Checked {
            seen: Rc::clone(&self.seen),
            notes: Rc::clone(&self.notes),
        };
        cx.add(socket, checked)?;
        Ok(())
    }
}

/// A server that wants certificates, and who may come in.
struct Guarded {
    reactor: Reactor,
    address: SocketAddr,
    configs: Configs,
    client: Identity,
    with: Configs,
    seen: Rc<RefCell<Vec<Vec<u8>>>>,
    notes: Notes,
}

fn guarded(version: &'static SupportedProtocolVersion) -> Guarded {
    let client = Identity::new("a client");
    let chain = vec![client.certificate.clone()];
    let (configs, with) = Configs::with_client_certificate(version, &client, chain);
    let mut reactor = Reactor::new().expect("a reactor");
    let gate = Gate {
        acceptor: Acceptor::new(Arc::clone(&configs.server)),
        seen: Rc::default(),
        notes: Rc::default(),
    };
    let (seen, notes) = (Rc::clone(&gate.seen), Rc::clone(&gate.notes));
    let id = reactor.listen("127.0.0.1:0", gate).expect("a port");
    Guarded {
        address: reactor.local_addr(id).expect("a listener has one"),
        reactor,
        with: Configs {
            server: Arc::clone(&configs.server),
            client: with,
            identity: Identity::new("unused"),
        },
        configs,
        client,
        seen,
        notes,
    }
}

fn hello() -> Client {
    Client {
        request: b"hello",
        length: Some(5),
        ..Client::default()
    }
}

#[test]
fn a_client_with_a_certificate_gets_in_and_the_session_shows_it() {
    for version in BOTH {
        let mut guarded = guarded(version);
        let asker = hello();
        let socket = guarded.with.dial(guarded.address);
        guarded
            .reactor
            .add(socket, asker.clone())
            .expect("a stream");
        until_noted(&mut guarded.reactor, &asker.noting, "Finished");
        assert_eq!(*asker.got.borrow(), b"hello");
        assert_eq!(
            *guarded.seen.borrow(),
            [guarded.client.certificate.to_vec()]
        );

        let folder = Folder::new(&guarded.client);
        let ca = folder.write(
            "ca.pem",
            guarded.configs.identity.certificate_pem.as_bytes(),
        );
        let address = guarded.address.to_string();
        let (cert, key) = (folder.path("cert.pem"), folder.path("key.pem"));
        let arguments = [
            &["s_client", "-connect", &address, "-CAfile", &ca][..],
            &["-cert", &cert, "-key", &key, "-quiet", "-no_ign_eof"],
        ]
        .concat();
        let reactor = &mut guarded.reactor;
        let said = run_client_until_answered(reactor, "openssl", &arguments, "hello", 5);
        let Some(said) = said else {
            return;
        };
        assert!(said.starts_with("hello"), "{said}");
        assert_eq!(guarded.seen.borrow().len(), 2);
    }
}

#[test]
fn a_client_without_a_certificate_learns_why_it_is_refused_and_others_go_on() {
    for version in BOTH {
        let mut guarded = guarded(version);
        let reactor = &mut guarded.reactor;
        let neighbour = Neighbour(client(&guarded.with, guarded.address)).served(reactor);
        for _ in 0..50 {
            let asker = hello();
            let socket = guarded.configs.dial(guarded.address);
            reactor.add(socket, asker.clone()).expect("a stream");
            // With TLS 1.3 its own handshake was through before: it was told that it is connected.
            turn_until(reactor, "it has ended", |_| {
                asker.noting.borrow().len() == 2
            });
            let notes = asker.noting.borrow();
            assert!(notes[0].contains("received fatal alert"), "{notes:?}");
            assert_ne!(notes[1], "Finished");
        }
        let notes = guarded.notes.borrow().join(", ");
        assert!(notes.contains("peer sent no certificates"), "{notes}");
        assert_eq!(guarded.seen.borrow().len(), 1, "the neighbour's");
        neighbour.served(reactor);
    }
}

/// A few words of the Redis protocol.
#[derive(Default)]
struct Redis {
    words: Vec<Vec<u8>>,
    in_word: bool,
    wanted: usize,
    values: Rc<RefCell<HashMap<Vec<u8>, Vec<u8>>>>,
}

impl Handler for Redis {
    fn found_terminator(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
        record: &[u8],
    ) -> io::Result<()> {
        match record {
            _ if self.in_word => {
                self.in_word = false;
                self.words.push(record[..record.len() - 2].to_vec());
                framing.set_terminator(Terminator::Line)?;
            }
            [b'*', count @ ..] => self.wanted = number(count),
            [b'$', length @ ..] => {
                self.in_word = true;
                framing.set_terminator(Terminator::Length(number(length) + 2))?;
            }
            _ => return framing.push(cx, b"-ERR what?\r\n"),
        }
        if self.words.len() < self.wanted {
            return Ok(());
        }
        let words = std::mem::take(&mut self.words);
        match &words[..] {
            [get, key] if get == b"GET" => {
                let values = self.values.borrow();
                let value = values.get(key).map_or(&b"none"[..], |value| value);
                framing.push(cx, format!("${}\r\n", value.len()).as_bytes())?;
                framing.push(cx, value)?;
                framing.push(cx, b"\r\n")
            }
            [set, key, value] if set == b"SET" => {
                let mut values = self.values.borrow_mut();
                values.insert(key.clone(), value.clone());
                framing.push(cx, b"+OK\r\n")
            }
            _ => framing.push(cx, b"+PONG\r\n"),
        }
    }
}

fn number(digits: &[u8]) -> usize {
    let text = std::str::from_utf8(digits).expect("digits");
    text.parse().expect("digits")
}

#[test]
fn redis_cli_sets_and_gets_over_tls() {
    for version in BOTH {
        let configs = configs(version);
        let folder = Folder::new(&configs.identity);
        let ca = folder.path("cert.pem");
        let mut reactor = Reactor::new().expect("a reactor");
        let values = Rc::default();
        let port = site(&mut reactor, &configs, move || {
            let redis = Redis {
                values: Rc::clone(&values),
                ..Redis::default()
            };
            let framed = Framed::new(Terminator::Line, redis).expect("a terminator");
            framed.max_record(1_000_000)
        })
        .port()
        .to_string();
        let arguments = ["--tls", "--cacert", &ca, "--sni", "localhost", "-p", &port];
        let value = "v".repeat(100_000);
        for (words, answer) in [
            (&["PING"][..], "PONG"),
            (&["SET", "key", &value], "OK"),
            (&["GET", "key"], &value),
        ] {
            let arguments: Vec<_> = arguments.iter().chain(words).copied().collect();
            let Some(said) = run_client(&mut reactor, "redis-cli", &arguments, "") else {
                return;
            };
            assert!(said.trim_end() == answer, "{:.200}", said);
        }
    }
}

/// Answers each request with a small page.
struct Http;

impl Handler for Http {
    fn found_terminator(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
        _: &[u8],
    ) -> io::Result<()> {
        framing.push(cx, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    }
}

#[test]
fn wrk_gets_its_pages_without_an_error() {
    if !is_here("wrk") {
        return;
    }
    for version in BOTH {
        let configs = configs(version);
        let mut reactor = Reactor::new().expect("a reactor");
        let address = site(&mut reactor, &configs, || {
            let terminator = Terminator::Bytes(b"\r\n\r\n".to_vec());
            Framed::new(terminator, Http).expect("a terminator")
        });
        let url = format!("https://{address}/");
        let arguments = ["-t1", "-c20", "-d1s", &url];
        let said = run_client(&mut reactor, "wrk", &arguments, "").expect("it is here");
        assert!(!said.contains("errors"), "{said}");
        assert!(!said.contains("Non-2xx"), "{said}");
        let line = said.lines().find(|line| line.contains("requests in"));
        let count = line.and_then(|line| line.trim().split(' ').next());
        let count: u64 = count.and_then(|count| count.parse().ok()).expect(&said);
        assert!(count > 0, "{said}");
    }
}
