//! TLS below dispatchers that know nothing of it, against rustls' own blocking streams.

#[path = "../util/noting.rs"]
mod noting;
#[path = "util/tls.rs"]
mod setup;
#[path = "../util/mod.rs"]
mod util;
#[path = "../util/wire.rs"]
mod wire;

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use setup::*;
use slabloop::framing::{Framed, Framing, Handler, Terminator};
use slabloop::tls::rustls::pki_types::ServerName;
use slabloop::tls::rustls::{
    self, ClientConnection, ProtocolVersion, ServerConfig, ServerConnection, StreamOwned,
};
use slabloop::tls::{Acceptor, Connector};
use slabloop::{Context, Dispatcher, Id, Reactor, Socket};
use util::{pattern, settle, turn, turn_until};

#[test]
fn what_an_echo_server_gets_it_sends_back_over_both_versions() {
    for version in BOTH {
        let configs = configs(version);
        let mut reactor = Reactor::new().expect("a reactor");
        let (address, notes) = serve_tls(&mut reactor, &configs);
        let mut client = client(&configs, address);
        turn_with(&mut reactor, move || {
            for size in [1, 2, 100, 16 * 1024, 100_000] {
                let bytes = pattern(1, size);
                let mut answer = vec![0; size];
                client.write_all(&bytes).expect("room");
                client.flush().expect("room");
                client.read_exact(&mut answer).expect("an answer");
                assert!(answer == bytes, "{size} bytes");
            }
            client.conn.send_close_notify();
            client.flush().expect("room");
            let mut rest = Vec::new();
            client
                .read_to_end(&mut rest)
                .expect("an end with close_notify");
            assert!(rest.is_empty());
        });
        until_noted(&mut reactor, &notes, "Finished");
        assert_eq!(*notes.borrow(), ["eof", "Finished"]);
    }
}

#[test]
fn a_reactor_is_client_and_server_at_once_and_nothing_is_lost() {
    for version in BOTH {
        let configs = configs(version);
        let mut reactor = Reactor::new().expect("a reactor");
        let (address, served) = serve_tls(&mut reactor, &configs);
        let socket = configs.dial(address);
        let got = Rc::default();
        let sent = pattern(2, 3_000_000);
        let asker = Asker {
            left: sent.clone(),
            got: Rc::clone(&got),
            agreed: None,
        };
        let id = reactor.add(socket, asker).expect("a stream");
        turn_until(&mut reactor, "all has come back", |_| {
            got.borrow().len() == sent.len()
        });
        assert!(*got.borrow() == sent, "each byte once and in order");
        let agreed = reactor.with(id, |asker, _| asker.agreed.clone()).flatten();
        let expected = match version.version {
            ProtocolVersion::TLSv1_2 => "TLSv1_2",
            _ => "TLSv1_3",
        };
        assert_eq!(agreed, Some(format!("{expected} echo 1")));
        reactor.at(id).expect("open").close();
        until_noted(&mut reactor, &served, "Finished");
        assert_eq!(*served.borrow(), ["eof", "Finished"]);
    }
}

/// A client that sends as there is room, and collects the answers.
struct Asker {
    left: Vec<u8>,
    got: Rc<RefCell<Vec<u8>>>,
    agreed: Option<String>,
}

impl Dispatcher for Asker {
    fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let session = cx.tls().expect("it has a layer");
        let connection = session.connection();
        let version = connection.protocol_version().expect("agreed on");
        let alpn = String::from_utf8_lossy(connection.alpn_protocol().expect("agreed on"));
        let certificates = connection.peer_certificates().map_or(0, <[_]>::len);
        self.agreed = Some(format!("{version:?} {alpn} {certificates}"));
        cx.start_writing();
        Ok(())
    }

    fn handle_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let count = self.left.len().min(20_000);
        let piece: Vec<u8> = self.left.drain(..count).collect();
        if piece.is_empty() {
            cx.stop_writing();
            return Ok(());
        }
        cx.send(&piece)
    }

    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut bytes = [0; 10_000];
        let count = cx.recv(&mut bytes)?;
        self.got.borrow_mut().extend_from_slice(&bytes[..count]);
        Ok(())
    }
}

#[test]
fn a_stream_that_ends_without_close_notify_is_an_error_and_no_end() {
    for version in BOTH {
        let configs = configs(version);
        let mut reactor = Reactor::new().expect("a reactor");
        let (address, notes) = serve_tls(&mut reactor, &configs);
        let mut client = client(&configs, address);
        turn_with(&mut reactor, move || {
            client.write_all(b"half a mess").expect("room");
            let mut answer = [0; 11];
            client.read_exact(&mut answer).expect("an answer");
            client
                .sock
                .shutdown(std::net::Shutdown::Write)
                .expect("open");
            let _ = client.read_to_end(&mut Vec::new());
        });
        until_noted(&mut reactor, &notes, "Error");
        let notes = notes.borrow();
        assert!(notes[0].starts_with("UnexpectedEof: "), "{notes:?}");
        assert!(notes[0].contains("without close_notify"), "{notes:?}");
        assert_eq!(notes[1..], ["Error(UnexpectedEof)"]);
    }
}

#[test]
fn bytes_that_are_no_tls_end_in_an_error_that_says_so_and_others_go_on() {
    let configs = configs(&rustls::version::TLS13);
    let mut reactor = Reactor::new().expect("a reactor");
    let (address, notes) = serve_tls(&mut reactor, &configs);
    let mut plain = TcpStream::connect(address).expect("it listens");
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("room");
    until_noted(&mut reactor, &notes, "HandshakeFailed");
    assert!(
        notes.borrow()[0].contains("the handshake failed: "),
        "{notes:?}"
    );
    let mut client = client(&configs, address);
    turn_with(&mut reactor, move || {
        client.write_all(b"hello").expect("room");
        client.read_exact(&mut [0; 5]).expect("an answer");
    });
}

#[test]
fn a_handshake_that_is_never_finished_ends_at_its_deadline() {
    let configs = configs(&rustls::version::TLS13);
    let (clock, mut reactor) = with_handshake_timeout();
    let (address, notes) = serve_tls(&mut reactor, &configs);
    let mut silent = TcpStream::connect(address).expect("it listens");
    turn_until(&mut reactor, "it is accepted", |reactor| {
        reactor.counters().accepted == 1
    });
    for part in [&[22u8][..], &[3], &[1]] {
        silent.write_all(part).expect("room");
        turn(&mut reactor);
    }
    clock.advance(Duration::from_millis(9_999));
    turn(&mut reactor);
    assert!(notes.borrow().is_empty(), "{notes:?}");
    clock.advance(Duration::from_millis(2));
    until_noted(&mut reactor, &notes, "HandshakeTimeout");
    assert_eq!(notes.borrow().len(), 2);
}

#[test]
fn the_deadline_holds_for_a_client_too_and_not_after_the_handshake() {
    let configs = configs(&rustls::version::TLS13);
    let (clock, mut reactor) = with_handshake_timeout();
    let (_peer, id, through) = Peer::greeted(&mut reactor, &configs, 100);
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("it has one");
    let notes = Notes::default();
    let echo = Echo {
        notes: Rc::clone(&notes),
    };
    reactor.add(configs.dial(address), echo).expect("a stream");
    let _stream = turn_with(&mut reactor, move || {
        let (mut stream, _) = silent.accept().expect("it connects");
        stream.read_exact(&mut [0]).expect("it has begun");
        stream
    });
    clock.advance(Duration::from_millis(10_001));
    until_noted(&mut reactor, &notes, "HandshakeTimeout");
    assert!(through.borrow().is_empty(), "{through:?}");
    assert!(reactor.at(id).is_some());
}

#[test]
fn a_server_that_is_not_trusted_is_refused_with_rustls_reason() {
    let ours = configs(&rustls::version::TLS13);
    let theirs = configs(&rustls::version::TLS13);
    let mut reactor = Reactor::new().expect("a reactor");
    let (address, served) = serve_tls(&mut reactor, &ours);
    let connector = Connector::new(Arc::clone(&theirs.client));
    let layer = connector.session("localhost").expect("a name");
    let socket = Socket::dial(address).expect("it listens").layered(layer);
    let notes = Notes::default();
    let echo = Echo {
        notes: Rc::clone(&notes),
    };
    let _: Id<Echo> = reactor.add(socket, echo).expect("a stream");
    until_noted(&mut reactor, &notes, "HandshakeFailed");
    let said = notes.borrow()[0].clone();
    assert!(said.contains("invalid peer certificate"), "{said}");
    assert!(!notes.borrow().iter().any(|note| note == "connect"));
    until_noted(&mut reactor, &served, "HandshakeFailed");
    let error = connector.session("no name").expect_err("with a space");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn what_is_sent_before_the_handshake_waits_for_it() {
    let configs = configs(&rustls::version::TLS13);
    let mut reactor = Reactor::new().expect("a reactor");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it has one");
    let notes = Notes::default();
    let echo = Echo {
        notes: Rc::clone(&notes),
    };
    let id = reactor.add(configs.dial(address), echo).expect("a stream");
    let mut cx = reactor.at(id).expect("it is there");
    cx.send(b"hello").expect("it waits");
    cx.close();
    let server = Arc::clone(&configs.server);
    let got = turn_with(&mut reactor, move || {
        let (stream, _) = listener.accept().expect("it connects");
        let connection = ServerConnection::new(server).expect("a config");
        let mut stream = StreamOwned::new(connection, stream);
        let mut got = Vec::new();
        stream
            .read_to_end(&mut got)
            .expect("close_notify at the end");
        got
    });
    assert_eq!(got, b"hello");
    until_noted(&mut reactor, &notes, "Finished");
}

#[test]
fn early_data_which_nobody_would_get_is_not_accepted() {
    let configs = configs(&rustls::version::TLS13);
    let mut config = ServerConfig::clone(&configs.server);
    config.max_early_data_size = 1000;
    let error = Acceptor::new(config).session().expect_err("0-RTT");
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
}

#[test]
fn an_interrupted_write_sends_nothing_twice() {
    for version in BOTH {
        let configs = configs(version);
        let mut reactor = Reactor::new().expect("a reactor");
        let (mut peer, id, _) = Peer::greeted(&mut reactor, &configs, 17_000);
        let message = pattern(5, 45_000);
        // The first record leaves, and the second in part.
        peer.wire.interrupt_if_full(1);
        for piece in message.chunks(15_000) {
            reactor.at(id).expect("open").send(piece).expect("room");
        }
        settle(&mut reactor);
        peer.wire.make_room(&mut reactor, id, 1_000_000);
        settle(&mut reactor);
        assert!(peer.hear() == message);
    }
}

/// Writes down how much each read brings.
struct Pieces(Rc<RefCell<Vec<usize>>>);

impl Dispatcher for Pieces {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_up_to(128 * 1024, |bytes, _| {
            self.0.borrow_mut().push(bytes.len());
            Ok(())
        })
    }
}

#[test]
fn a_large_buffer_is_filled_with_several_records_and_a_small_message_takes_one_read() {
    for version in BOTH {
        let configs = configs(version);
        let mut reactor = Reactor::new().expect("a reactor");
        let mut peer = Peer::new(&configs);
        let pieces = Rc::default();
        let id = peer.add(&mut reactor, &configs, Pieces(Rc::clone(&pieces)));
        peer.greet(&mut reactor, id, 1_000_000);
        let mut writer = peer.connection.writer();
        writer.write_all(&pattern(3, 40_000)).expect("memory");
        peer.say(&mut reactor, id);
        settle(&mut reactor);
        assert_eq!(*pieces.borrow(), [40_000]);
        let reads = peer.wire.reads();
        peer.connection.writer().write_all(b"hi").expect("memory");
        peer.say(&mut reactor, id);
        settle(&mut reactor);
        assert_eq!(*pieces.borrow(), [40_000, 2]);
        assert_eq!(peer.wire.reads(), reads + 1);
    }
}

#[test]
fn what_a_peer_sent_is_read_although_it_takes_no_more() {
    for version in BOTH {
        let configs = configs(version);
        let mut reactor = Reactor::new().expect("a reactor");
        let (mut peer, id, notes) = Peer::greeted(&mut reactor, &configs, 100);
        let mut cx = reactor.at(id).expect("open");
        cx.send(&pattern(6, 1000)).expect("room");
        settle(&mut reactor);
        let mut writer = peer.connection.writer();
        writer.write_all(b"an answer").expect("memory");
        // It has gone meanwhile. Whoever writes hears of it, but that is not all that is to be heard.
        peer.wire.break_silently(ErrorKind::ConnectionReset);
        peer.say(&mut reactor, id);
        settle(&mut reactor);
        assert_eq!(reactor.counters().bytes_in, 9, "{notes:?}");
    }
}

#[test]
fn keys_that_are_used_up_and_cannot_be_changed_end_the_connection() {
    let configs = configs_with(&[&rustls::version::TLS12], &short_lived_keys());
    let mut reactor = Reactor::new().expect("a reactor");
    let (mut peer, id, notes) = Peer::greeted(&mut reactor, &configs, 1_000_000);
    let mut got = 0;
    for _ in 0..120 {
        if let Some(mut cx) = reactor.at(id) {
            // The last one finds it broken.
            let _ = cx.send(b"a record");
        }
        settle(&mut reactor);
        got += peer.hear().len();
        if !notes.borrow().is_empty() {
            break;
        }
    }
    // Good for 100 records, of which 64 are for what TLS has to say itself.
    assert_eq!(got, 35 * b"a record".len());
    let notes = notes.borrow();
    assert!(
        notes[0].contains("the keys have encrypted as much as is safe"),
        "{notes:?}"
    );
    // Its peer was not told that this was all.
    let outcome = peer.connection.reader().read(&mut [0]);
    assert_eq!(
        outcome.map_err(|error| error.kind()),
        Err(ErrorKind::WouldBlock)
    );
}

#[test]
fn openssl_speaks_both_versions_and_alpn_and_takes_up_a_session_again() {
    for version in BOTH {
        let configs = configs(version);
        let folder = Folder::new(&configs.identity);
        let ca = folder.path("cert.pem");
        let mut reactor = Reactor::new().expect("a reactor");
        let address = site(&mut reactor, &configs, || Once);
        let session = folder.path("session");
        let script = format!(
            "common='openssl s_client -connect {address} -servername localhost -CAfile {ca} \
             -verify_return_error -alpn echo -ign_eof'; \
             printf hello | $common -sess_out {session}; \
             printf again | $common -sess_in {session}"
        );
        if !is_here("openssl") {
            return;
        }
        let said = run_client(&mut reactor, "sh", &["-c", &script], "").expect("there is a shell");
        let expected = name_of(version);
        for wanted in [
            "hello",
            "again",
            "Verification: OK",
            "ALPN protocol: echo",
            &format!("New, {expected}"),
            &format!("Reused, {expected}"),
        ] {
            assert!(said.contains(wanted), "{wanted} is missing in: {said}");
        }
    }
}

/// Its `unwrap` says that nothing more will be sent, and waits for the same from here.
const PYTHON: &str = "
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
with socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=20) as plain:
    with context.wrap_socket(plain, server_hostname='localhost') as tls:
        tls.sendall(b'x' * 100000)
        got = 0
        while got < 100000:
            got += len(tls.recv(65536))
        tls.unwrap()
        print(got, tls.version(), 'unwrapped')
";

#[test]
fn python_ends_in_order_on_both_sides() {
    for version in BOTH {
        let configs = configs(version);
        let folder = Folder::new(&configs.identity);
        let ca = folder.path("cert.pem");
        let mut reactor = Reactor::new().expect("a reactor");
        let (address, notes) = serve_tls(&mut reactor, &configs);
        let port = address.port().to_string();
        let arguments = ["-c", PYTHON, &port, &ca];
        let Some(said) = run_client(&mut reactor, "python3", &arguments, "") else {
            return;
        };
        assert!(said.contains("unwrapped"), "{said}");
        until_noted(&mut reactor, &notes, "Finished");
        assert_eq!(*notes.borrow(), ["eof", "Finished"], "{said}");
    }
}

/// Answers each request with the same page.
struct Page;

impl Dispatcher for Page {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut request = [0; 4096];
        cx.recv(&mut request)?;
        let body = "p".repeat(1_000_000);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        cx.send(head.as_bytes())?;
        cx.send(&body.as_bytes()[..500_000])?;
        cx.send(&body.as_bytes()[500_000..])
    }
}

#[test]
fn curl_loads_a_large_page_twice_over_one_connection() {
    for version in BOTH {
        let configs = configs(version);
        let folder = Folder::new(&configs.identity);
        let ca = folder.path("cert.pem");
        let mut reactor = Reactor::builder()
            .hard_cap(4_000_000)
            .build()
            .expect("a reactor");
        let port = site(&mut reactor, &configs, || Page).port();
        let url = format!("https://localhost:{port}/");
        let arguments = [
            "-sS",
            "--no-alpn",
            "--http1.1",
            "--cacert",
            &ca,
            "-w",
            "%{http_code} %{size_download} %{num_connects}\n",
            "-o",
            "/dev/null",
            &url,
            "-o",
            "/dev/null",
            &url,
        ];
        let Some(said) = run_client(&mut reactor, "curl", &arguments, "") else {
            return;
        };
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines, ["200 1000000 1", "200 1000000 0"]);
    }
}

/// Answers each line with the line, a file and a producer's bytes, in this order.
struct Lines {
    file: Arc<std::fs::File>,
}

impl Handler for Lines {
    fn found_terminator(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
        line: &[u8],
    ) -> io::Result<()> {
        framing.push(cx, line)?;
        framing.push_file(cx, Arc::clone(&self.file), ..)?;
        framing.push_producer(cx, io::repeat(b'p').take(100_000));
        framing.push(cx, b"\n")
    }
}

#[test]
fn records_files_and_producers_keep_their_order_over_tls() {
    for version in BOTH {
        let configs = configs(version);
        let content = pattern(9, 300_000);
        let name = format!("slabloop-tls-{}-file", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, &content).expect("a temporary folder");
        let file = Arc::new(std::fs::File::open(&path).expect("it is there"));
        std::fs::remove_file(&path).expect("it is there");
        let mut reactor = Reactor::new().expect("a reactor");
        let (ours, theirs) = util::tcp_pair();
        let acceptor = Acceptor::new(Arc::clone(&configs.server));
        let layer = acceptor.session().expect("a config");
        let framed = Framed::new(Terminator::Line, Lines { file }).expect("a terminator");
        reactor
            .add(Socket::from(ours).layered(layer), framed)
            .expect("a stream");
        let name = ServerName::try_from("localhost").expect("a name");
        let connection =
            ClientConnection::new(Arc::clone(&configs.client), name).expect("a config");
        let mut client = StreamOwned::new(connection, theirs);
        turn_with(&mut reactor, move || {
            client.write_all(b"one\ntw").expect("room");
            client.write_all(b"o\n").expect("room");
            for line in [&b"one"[..], b"two"] {
                let mut expected = line.to_vec();
                expected.extend_from_slice(&content);
                expected.extend(std::iter::repeat_n(b'p', 100_000));
                expected.push(b'\n');
                let mut answer = vec![0; expected.len()];
                client.read_exact(&mut answer).expect("an answer");
                assert!(answer == expected, "all of it, in order");
            }
        });
    }
}
