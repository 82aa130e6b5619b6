//! TLS below dispatchers that know nothing of it, against rustls' own blocking streams.

#[path = "../util/mod.rs"]
mod util;
#[path = "../util/wire.rs"]
mod wire;

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use slabloop::framing::{Framed, Framing, Handler, Terminator};
use slabloop::testing::SimClock;
use slabloop::tls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use slabloop::tls::rustls::{
    self, ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, ServerConfig,
    ServerConnection, StreamOwned, SupportedProtocolVersion,
};
use slabloop::tls::{self, Acceptor, Connector};
use slabloop::{Accepted, Context, Dispatcher, Id, Reactor, Socket};
use util::{DEADLINE, pattern, settle, turn, turn_until};
use wire::Wire;

const BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

/// The two sides' configurations: a certificate for `localhost`, which the client trusts.
struct Configs {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    /// For clients that are programs of their own.
    certificate: String,
}

fn configs(version: &'static SupportedProtocolVersion) -> Configs {
    configs_of(&[version])
}

fn configs_of(versions: &[&'static SupportedProtocolVersion]) -> Configs {
    configs_with(versions, &rustls::crypto::ring::default_provider())
}

fn configs_with(
    versions: &[&'static SupportedProtocolVersion],
    provider: &rustls::crypto::CryptoProvider,
) -> Configs {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let provider = Arc::new(provider.clone());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .expect("ring has it")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .expect("they belong together");
    server.alpn_protocols = vec![b"echo".to_vec()];
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).expect("a certificate");
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("ring has it")
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"echo".to_vec()];
    Configs {
        server: Arc::new(server),
        client: Arc::new(client),
        certificate: cert.pem(),
    }
}

type Notes = Rc<RefCell<Vec<String>>>;

/// Sends back what it reads, and writes down what happens to it.
#[derive(Default)]
struct Echo {
    notes: Notes,
}

impl Echo {
    fn note(&self, what: impl Into<String>) {
        self.notes.borrow_mut().push(what.into());
    }
}

impl Dispatcher for Echo {
    fn handle_connect(&mut self, _: &mut Context<'_>) -> io::Result<()> {
        self.note("connect");
        Ok(())
    }

    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut bytes = [0; 4096];
        let count = cx.recv(&mut bytes)?;
        cx.send(&bytes[..count])
    }

    fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.note("eof");
        cx.close();
        Ok(())
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        self.note(format!("{:?}: {error}", error.kind()));
        cx.close();
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        let cause = cx.end_cause().expect("it has ended");
        self.note(format!("{cause:?}"));
    }
}

/// A listener whose connections speak TLS, and echo.
struct Listener {
    acceptor: Acceptor,
    notes: Notes,
}

impl Dispatcher for Listener {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let layer = self.acceptor.session()?;
        let notes = Rc::clone(&self.notes);
        cx.add(Socket::from(accepted).layered(layer), Echo { notes })?;
        Ok(())
    }
}

fn serve_tls(reactor: &mut Reactor, configs: &Configs) -> (SocketAddr, Notes) {
    let notes = Notes::default();
    let listener = Listener {
        acceptor: Acceptor::new(Arc::clone(&configs.server)),
        notes: Rc::clone(&notes),
    };
    let id = reactor.listen("127.0.0.1:0", listener).expect("a port");
    (reactor.local_addr(id).expect("a listener has one"), notes)
}

type TlsClient = StreamOwned<ClientConnection, TcpStream>;

/// A blocking client, not connected yet as far as TLS goes.
fn client(configs: &Configs, address: SocketAddr) -> TlsClient {
    let name = ServerName::try_from("localhost").expect("a name");
    let connection = ClientConnection::new(Arc::clone(&configs.client), name).expect("a config");
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a time");
    stream.set_write_timeout(Some(DEADLINE)).expect("a time");
    StreamOwned::new(connection, stream)
}

/// Turns the reactor until the thread has ended, and what it returned.
fn turn_with<T: Send + 'static>(
    reactor: &mut Reactor,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let thread = thread::spawn(work);
    turn_until(reactor, "the peer's thread has ended", |_| {
        thread.is_finished()
    });
    thread.join().expect("it has not panicked")
}

/// A client at the other end of a wire, which does what a test says and no more.
struct Peer {
    connection: ClientConnection,
    wire: Wire,
    /// How much of what was written to the wire it has taken in.
    taken: usize,
}

impl Peer {
    /// With an echo at the reactor's end, whose handshake is through. From here on the wire takes `room` bytes.
    fn greeted(reactor: &mut Reactor, configs: &Configs, room: usize) -> (Peer, Id<Echo>, Notes) {
        let notes = Notes::default();
        let echo = Echo {
            notes: Rc::clone(&notes),
        };
        let layer = Acceptor::new(Arc::clone(&configs.server)).session();
        let wire = Wire::new(0);
        let socket = wire.socket().layered(layer.expect("a config"));
        let id = reactor.add(socket, echo).expect("a stream");
        let name = ServerName::try_from("localhost").expect("a name");
        let config = Arc::clone(&configs.client);
        let mut peer = Peer {
            connection: ClientConnection::new(config, name).expect("a config"),
            wire,
            taken: 0,
        };
        for _ in 0..4 {
            peer.say(reactor, id);
            // Byte by byte: the handshake may find no room anywhere.
            while !reactor_is_silent(&peer, reactor, id) {}
            peer.hear();
        }
        assert!(!peer.connection.is_handshaking());
        peer.wire.make_room(reactor, id, room);
        settle(reactor);
        (peer, id, notes)
    }

    /// Sends what it has encrypted.
    fn say(&mut self, reactor: &mut Reactor, id: Id<Echo>) {
        let mut bytes = Vec::new();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut bytes).expect("memory");
        }
        if !bytes.is_empty() {
            self.wire.input(reactor, id, &bytes);
        }
    }

    /// Takes in what has come; what is plaintext of it.
    fn hear(&mut self) -> Vec<u8> {
        let output = self.wire.output();
        let mut news = &output[self.taken..];
        let mut got = Vec::new();
        while !news.is_empty() {
            self.connection.read_tls(&mut news).expect("memory");
            let state = self.connection.process_new_packets().expect("good TLS");
            let start = got.len();
            got.resize(start + state.plaintext_bytes_to_read(), 0);
            let mut reader = self.connection.reader();
            reader.read_exact(&mut got[start..]).expect("it is there");
        }
        self.taken = output.len();
        got
    }
}

/// Gives one byte of room, and says whether it was not needed.
fn reactor_is_silent(peer: &Peer, reactor: &mut Reactor, id: Id<Echo>) -> bool {
    let before = peer.wire.taken();
    peer.wire.make_room(reactor, id, 1);
    settle(reactor);
    let silent = peer.wire.taken() == before;
    if silent {
        peer.wire.take_room();
    }
    silent
}

fn until_noted(reactor: &mut Reactor, notes: &Notes, last: &str) {
    turn_until(reactor, last, |_| {
        notes
            .borrow()
            .last()
            .is_some_and(|note| note.starts_with(last))
    });
}

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
        let connector = Connector::new(Arc::clone(&configs.client));
        let layer = connector.session("localhost").expect("a name");
        let socket = Socket::dial(address).expect("it listens").layered(layer);
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
        let session = tls::session(cx).expect("it has a layer");
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
    let clock = SimClock::new();
    let mut reactor = Reactor::builder()
        .clock(clock.clone())
        .handshake_timeout(Duration::from_secs(10))
        .build()
        .expect("a reactor");
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
    let clock = SimClock::new();
    let mut reactor = Reactor::builder()
        .clock(clock.clone())
        .handshake_timeout(Duration::from_secs(10))
        .build()
        .expect("a reactor");
    let (_peer, id, through) = Peer::greeted(&mut reactor, &configs, 100);
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("it has one");
    let layer = Connector::new(Arc::clone(&configs.client)).session("localhost");
    let socket = Socket::dial(address).expect("it listens");
    let notes = Notes::default();
    let echo = Echo {
        notes: Rc::clone(&notes),
    };
    let socket = socket.layered(layer.expect("a name"));
    reactor.add(socket, echo).expect("a stream");
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
    let connector = Connector::new(Arc::clone(&configs.client));
    let layer = connector.session("localhost").expect("a name");
    let notes = Notes::default();
    let echo = Echo {
        notes: Rc::clone(&notes),
    };
    let socket = Socket::dial(address).expect("it listens").layered(layer);
    let id = reactor.add(socket, echo).expect("a stream");
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
    assert!(got > 0);
    let notes = notes.borrow();
    assert!(notes[0].contains("the keys are used up"), "{notes:?}");
    // Its peer was not told that this was all.
    let outcome = peer.connection.reader().read(&mut [0]);
    assert_eq!(
        outcome.map_err(|error| error.kind()),
        Err(ErrorKind::WouldBlock)
    );
}

/// Cipher suites of TLS 1.2 whose keys are good for a few records.
fn short_lived_keys() -> rustls::crypto::CryptoProvider {
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites = provider
        .cipher_suites
        .iter()
        .filter_map(|suite| match suite {
            rustls::SupportedCipherSuite::Tls12(suite) => Some(rustls::Tls12CipherSuite {
                common: rustls::crypto::CipherSuiteCommon {
                    suite: suite.common.suite,
                    hash_provider: suite.common.hash_provider,
                    confidentiality_limit: 100,
                },
                kx: suite.kx,
                sign: suite.sign,
                aead_alg: suite.aead_alg,
                prf_provider: suite.prf_provider,
            }),
            _ => None,
        })
        .map(|suite| rustls::SupportedCipherSuite::Tls12(Box::leak(Box::new(suite))))
        .collect();
    provider
}

/// A file with the certificate, which is gone with this.
struct CaFile(std::path::PathBuf);

impl CaFile {
    fn new(configs: &Configs) -> CaFile {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("slabloop-tls-{}-{number}.pem", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, &configs.certificate).expect("a temporary folder");
        CaFile(path)
    }

    fn path(&self) -> String {
        self.0.to_str().expect("a plain name").to_owned()
    }
}

impl Drop for CaFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Runs a program that talks to the reactor, with `input` on its standard input, while the reactor turns; what it
/// wrote to both its outputs. `None` if there is no such program here.
fn run_client(
    reactor: &mut Reactor,
    program: &str,
    arguments: &[&str],
    input: &str,
) -> Option<String> {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("skipped: no {program} here");
        return None;
    };
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(input.as_bytes()).expect("a pipe has room");
    drop(stdin);
    let output = turn_with(reactor, move || child.wait_with_output());
    let output = output.expect("it can be waited for");
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    Some(said)
}

#[test]
fn openssl_speaks_both_versions_and_alpn_and_takes_up_a_session_again() {
    for version in BOTH {
        let configs = configs(version);
        let ca = CaFile::new(&configs);
        let mut reactor = Reactor::new().expect("a reactor");
        let address = site(&mut reactor, &configs, || Once);
        let session = format!("{}.session", ca.path());
        let script = format!(
            "common='openssl s_client -connect {address} -servername localhost -CAfile {ca} \
             -verify_return_error -alpn echo -ign_eof'; \
             printf hello | $common -sess_out {session}; \
             printf again | $common -sess_in {session}; \
             rm -f {session}",
            ca = ca.path()
        );
        if Command::new("openssl").arg("version").output().is_err() {
            eprintln!("skipped: no openssl here");
            return;
        }
        let said = run_client(&mut reactor, "sh", &["-c", &script], "").expect("there is a shell");
        let expected = match version.version {
            ProtocolVersion::TLSv1_2 => "TLSv1.2",
            _ => "TLSv1.3",
        };
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
        let ca = CaFile::new(&configs);
        let mut reactor = Reactor::new().expect("a reactor");
        let (address, notes) = serve_tls(&mut reactor, &configs);
        let port = address.port().to_string();
        let arguments = ["-c", PYTHON, &port, &ca.path()];
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

/// Sends back what it reads first, and closes.
struct Once;

impl Dispatcher for Once {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_with(|bytes, cx| cx.send(bytes))?;
        cx.close();
        Ok(())
    }
}

/// A listener whose connections speak TLS, each with a dispatcher that the function makes.
struct Site<D>(Acceptor, fn() -> D);

impl<D: Dispatcher> Dispatcher for Site<D> {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let layer = self.0.session()?;
        cx.add(Socket::from(accepted).layered(layer), (self.1)())?;
        Ok(())
    }
}

fn site<D: Dispatcher>(reactor: &mut Reactor, configs: &Configs, make: fn() -> D) -> SocketAddr {
    let site = Site(Acceptor::new(Arc::clone(&configs.server)), make);
    let id = reactor.listen("127.0.0.1:0", site).expect("a port");
    reactor.local_addr(id).expect("a listener has one")
}

#[test]
fn curl_loads_a_large_page_twice_over_one_connection() {
    for version in BOTH {
        let configs = configs(version);
        let ca = CaFile::new(&configs);
        let mut reactor = Reactor::builder()
            .hard_cap(4_000_000)
            .build()
            .expect("a reactor");
        let port = site(&mut reactor, &configs, || Page).port();
        let url = format!("https://localhost:{port}/");
        let path = ca.path();
        let arguments = [
            "-sS",
            "--no-alpn",
            "--http1.1",
            "--cacert",
            &path,
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
