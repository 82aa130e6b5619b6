//! What the test files about TLS share: configurations that trust each other, an echo and a listener for it, peers that
//! are threads, other programs, or one of rustls' connections at the end of a wire.

#![allow(dead_code, reason = "each test file uses a part")]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use slabloop::testing::SimClock;
use slabloop::tls::rustls;
use slabloop::tls::rustls::crypto::CryptoProvider;
use slabloop::tls::rustls::crypto::ring;
use slabloop::tls::rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName,
};
use slabloop::tls::rustls::server::WebPkiClientVerifier;
use slabloop::tls::rustls::version::{TLS12, TLS13};
use slabloop::tls::rustls::{
    ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, ServerConfig, StreamOwned,
    SupportedProtocolVersion,
};
use slabloop::tls::{Acceptor, Connector};
use slabloop::{Accepted, AnyId, Context, Dispatcher, Id, Reactor, Socket};

use crate::util::{DEADLINE, tcp_pair, turn_for, turn_until};
use crate::wire::Wire;

pub(crate) const BOTH: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// As OpenSSL and Python write it.
pub(crate) fn name_of(version: &SupportedProtocolVersion) -> &'static str {
    match version.version {
        ProtocolVersion::TLSv1_2 => "TLSv1.2",
        _ => "TLSv1.3",
    }
}

/// A certificate that is its own authority, and its key.
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    key: Vec<u8>,
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
}

impl Identity {
    pub(crate) fn new(name: &str) -> Identity {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        Identity {
            certificate: cert.der().clone(),
            key: signing_key.serialize_der(),
            certificate_pem: cert.pem(),
            key_pem: signing_key.serialize_pem(),
        }
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.clone()))
    }

    fn as_root(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a certificate");
        roots
    }
}

/// The two sides' configurations: a certificate for `localhost`, which the client trusts.
pub(crate) struct Configs {
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) client: Arc<ClientConfig>,
    /// For peers that are programs of their own.
    pub(crate) identity: Identity,
}

pub(crate) fn configs(version: &'static SupportedProtocolVersion) -> Configs {
    configs_of(&[version])
}

pub(crate) fn configs_of(versions: &[&'static SupportedProtocolVersion]) -> Configs {
    configs_with(versions, &ring::default_provider())
}

pub(crate) fn configs_with(
    versions: &[&'static SupportedProtocolVersion],
    provider: &CryptoProvider,
) -> Configs {
    let identity = Identity::new("localhost");
    let provider = Arc::new(provider.clone());
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .expect("ring has it")
        .with_no_client_auth()
        .with_single_cert(vec![identity.certificate.clone()], identity.key())
        .expect("they belong together");
    server.alpn_protocols = vec![b"echo".to_vec()];
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("ring has it")
        .with_root_certificates(identity.as_root())
        .with_no_client_auth();
    client.alpn_protocols = vec![b"echo".to_vec()];
    Configs {
        server: Arc::new(server),
        client: Arc::new(client),
        identity,
    }
}

/// Cipher suites of TLS 1.2 whose keys are good for a few records.
pub(crate) fn short_lived_keys() -> CryptoProvider {
    let mut provider = ring::default_provider();
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

impl Configs {
    /// Has the server send this chain, whose first certificate is its own.
    pub(crate) fn use_chain(
        &mut self,
        version: &'static SupportedProtocolVersion,
        chain: Vec<CertificateDer<'static>>,
    ) {
        let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .expect("ring has it")
            .with_no_client_auth()
            .with_single_cert(chain, self.identity.key());
        self.server = Arc::new(server.expect("they belong together"));
    }

    /// A server that wants the client's certificate. The client of these has none; the one beside them sends this
    /// chain.
    pub(crate) fn with_client_certificate(
        version: &'static SupportedProtocolVersion,
        client: &Identity,
        chain: Vec<CertificateDer<'static>>,
    ) -> (Configs, Arc<ClientConfig>) {
        let mut configs = configs(version);
        let provider = Arc::new(ring::default_provider());
        let roots = Arc::new(client.as_root());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
        let own = vec![configs.identity.certificate.clone()];
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])
            .expect("ring has it")
            .with_client_cert_verifier(verifier.build().expect("it has a root"))
            .with_single_cert(own, configs.identity.key());
        let with = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .expect("ring has it")
            .with_root_certificates(configs.identity.as_root())
            .with_client_auth_cert(chain, client.key());
        configs.server = Arc::new(server.expect("they belong together"));
        (configs, Arc::new(with.expect("they belong together")))
    }

    /// A socket on the way to `address`, with TLS.
    pub(crate) fn dial(&self, address: SocketAddr) -> Socket {
        let connector = Connector::new(Arc::clone(&self.client));
        let layer = connector.session("localhost").expect("a name");
        Socket::dial(address).expect("it listens").layered(layer)
    }
}

pub(crate) use crate::noting::{Notes, Noting};

/// Sends back what it reads, and writes down what happens to it.
#[derive(Default)]
pub(crate) struct Echo {
    pub(crate) notes: Notes,
}

impl Echo {
    pub(crate) fn note(&self, what: impl Into<String>) {
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
pub(crate) struct Listener {
    pub(crate) acceptor: Acceptor,
    pub(crate) notes: Notes,
}

impl Dispatcher for Listener {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let layer = self.acceptor.session()?;
        let notes = Rc::clone(&self.notes);
        cx.add(Socket::from(accepted).layered(layer), Echo { notes })?;
        Ok(())
    }
}

pub(crate) fn serve_tls(reactor: &mut Reactor, configs: &Configs) -> (SocketAddr, Notes) {
    let notes = Notes::default();
    let listener = Listener {
        acceptor: Acceptor::new(Arc::clone(&configs.server)),
        notes: Rc::clone(&notes),
    };
    let id = reactor.listen("127.0.0.1:0", listener).expect("a port");
    (reactor.local_addr(id).expect("a listener has one"), notes)
}

pub(crate) type TlsClient = StreamOwned<ClientConnection, TcpStream>;

/// A blocking client, not connected yet as far as TLS goes.
pub(crate) fn client(configs: &Configs, address: SocketAddr) -> TlsClient {
    let name = ServerName::try_from("localhost").expect("a name");
    let connection = ClientConnection::new(Arc::clone(&configs.client), name).expect("a config");
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a time");
    stream.set_write_timeout(Some(DEADLINE)).expect("a time");
    StreamOwned::new(connection, stream)
}

/// A pair of sockets, of which one is in the reactor with TLS, and the other is a blocking client's.
pub(crate) fn tls_pair<D: Dispatcher>(
    reactor: &mut Reactor,
    configs: &Configs,
    dispatcher: D,
) -> (Id<D>, TlsClient) {
    let (ours, theirs) = tcp_pair();
    let layer = Acceptor::new(Arc::clone(&configs.server)).session();
    let socket = Socket::from(ours).layered(layer.expect("a config"));
    let id = reactor.add(socket, dispatcher).expect("a stream");
    let name = ServerName::try_from("localhost").expect("a name");
    let connection = ClientConnection::new(Arc::clone(&configs.client), name);
    let client = StreamOwned::new(connection.expect("a config"), theirs);
    (id, client)
}

/// Turns the reactor until the thread has ended, and what it returned.
pub(crate) fn turn_with<T: Send + 'static>(
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
pub(crate) struct Peer {
    pub(crate) connection: ClientConnection,
    pub(crate) wire: Wire,
    /// How much of what was written to the wire it has taken in.
    taken: usize,
}

impl Peer {
    /// At the end of a wire that takes nothing yet.
    pub(crate) fn new(configs: &Configs) -> Peer {
        let name = ServerName::try_from("localhost").expect("a name");
        let config = Arc::clone(&configs.client);
        Peer {
            connection: ClientConnection::new(config, name).expect("a config"),
            wire: Wire::new(0),
            taken: 0,
        }
    }

    /// Puts a dispatcher at the other end of the wire.
    pub(crate) fn add<D: Dispatcher>(
        &self,
        reactor: &mut Reactor,
        configs: &Configs,
        dispatcher: D,
    ) -> Id<D> {
        let layer = Acceptor::new(Arc::clone(&configs.server)).session();
        let socket = self.wire.socket().layered(layer.expect("a config"));
        reactor.add(socket, dispatcher).expect("a stream")
    }

    /// With an echo at the reactor's end, whose handshake is through. From here on the wire takes `room` bytes.
    pub(crate) fn greeted(
        reactor: &mut Reactor,
        configs: &Configs,
        room: usize,
    ) -> (Peer, Id<Echo>, Notes) {
        let notes = Notes::default();
        let echo = Echo {
            notes: Rc::clone(&notes),
        };
        let mut peer = Peer::new(configs);
        let id = peer.add(reactor, configs, echo);
        peer.greet(reactor, id, room);
        (peer, id, notes)
    }

    /// Makes the handshake. From here on the wire takes `room` bytes.
    pub(crate) fn greet(&mut self, reactor: &mut Reactor, id: impl Into<AnyId>, room: usize) {
        let id = id.into();
        for _ in 0..4 {
            self.say(reactor, id);
            self.wire.make_room(reactor, id, 1_000_000);
            come_to_rest(reactor);
            self.wire.take_room();
            self.hear();
        }
        assert!(!self.connection.is_handshaking());
        self.wire.make_room(reactor, id, room);
        come_to_rest(reactor);
    }

    /// What it has encrypted, taken out.
    pub(crate) fn spoken(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut bytes).expect("memory");
        }
        bytes
    }

    /// These bytes encrypted, in records of their own.
    pub(crate) fn encrypt(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut spoken = self.spoken();
        for piece in bytes.chunks(16 * 1024) {
            let mut writer = self.connection.writer();
            writer.write_all(piece).expect("memory");
            spoken.extend(self.spoken());
        }
        spoken
    }

    /// Sends what it has encrypted.
    pub(crate) fn say(&mut self, reactor: &mut Reactor, id: impl Into<AnyId>) {
        let bytes = self.spoken();
        if !bytes.is_empty() {
            self.wire.input(reactor, id, &bytes);
        }
    }

    /// Takes in what has come; what is plaintext of it.
    pub(crate) fn hear(&mut self) -> Vec<u8> {
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

    /// Whether a `close_notify` has come, and all before it is taken.
    pub(crate) fn has_heard_the_end(&mut self) -> bool {
        matches!(self.connection.reader().read(&mut [0]), Ok(0))
    }
}

impl Peer {
    /// As [`Peer::greeted`], with a dispatcher that only listens.
    pub(crate) fn listened_to(
        reactor: &mut Reactor,
        configs: &Configs,
        room: usize,
    ) -> (Peer, Id<Noting>, Noting) {
        let noting = Noting::default();
        let mut peer = Peer::new(configs);
        let id = peer.add(reactor, configs, noting.clone());
        peer.greet(reactor, id, room);
        (peer, id, noting)
    }
}

pub(crate) fn until_noted(reactor: &mut Reactor, notes: &Notes, last: &str) {
    turn_until(reactor, last, |_| {
        notes
            .borrow()
            .last()
            .is_some_and(|note| note.starts_with(last))
    });
}

/// A folder with `cert.pem` and `key.pem`, and what else a program needs; gone with this.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(identity: &Identity) -> Folder {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("slabloop-tls-{}-{number}", std::process::id());
        let folder = Folder(std::env::temp_dir().join(name));
        std::fs::create_dir_all(&folder.0).expect("a temporary folder");
        folder.write("cert.pem", identity.certificate_pem.as_bytes());
        folder.write("key.pem", identity.key_pem.as_bytes());
        folder
    }

    /// Writes a file; its path.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> String {
        std::fs::write(self.0.join(name), content).expect("a temporary folder");
        self.path(name)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        let path = self.0.join(name);
        path.to_str().expect("a plain name").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Whether there is such a program; says so if not.
pub(crate) fn is_here(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", "command -v -- \"$0\"", program])
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        eprintln!("skipped: no {program} here");
    }
    found
}

/// Runs a program that talks to the reactor, with `input` on its standard input, while the reactor turns; what it
/// wrote to both its outputs. `None` if there is no such program here.
pub(crate) fn run_client(
    reactor: &mut Reactor,
    program: &str,
    arguments: &[&str],
    input: &str,
) -> Option<String> {
    let (child, stdin) = start_client(program, arguments, input)?;
    drop(stdin);
    Some(finish_client(reactor, child))
}

/// As [`run_client`], and its input does not end before it does.
pub(crate) fn run_client_with_open_input(
    reactor: &mut Reactor,
    program: &str,
    arguments: &[&str],
    input: &str,
) -> Option<String> {
    let (child, _stdin) = start_client(program, arguments, input)?;
    Some(finish_client(reactor, child))
}

/// As [`run_client`], and its input ends when so many bytes of an answer have come.
pub(crate) fn run_client_until_answered(
    reactor: &mut Reactor,
    program: &str,
    arguments: &[&str],
    input: &str,
    length: u64,
) -> Option<String> {
    let (mut child, stdin) = start_client(program, arguments, input)?;
    let mut stdout = child.stdout.take().expect("it is piped");
    let (answer, child) = turn_with(reactor, move || {
        let mut answer = String::new();
        let read = stdout.by_ref().take(length).read_to_string(&mut answer);
        read.expect("text");
        drop(stdin);
        child.stdout = Some(stdout);
        (answer, child)
    });
    Some(answer + &finish_client(reactor, child))
}

fn start_client(program: &str, arguments: &[&str], input: &str) -> Option<(Child, ChildStdin)> {
    if !is_here(program) {
        return None;
    }
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(input.as_bytes()).expect("a pipe has room");
    Some((child, stdin))
}

fn finish_client(reactor: &mut Reactor, child: Child) -> String {
    let output = turn_with(reactor, move || child.wait_with_output());
    let output = output.expect("it can be waited for");
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    said
}

/// Sends back what it reads first, and closes.
pub(crate) struct Once;

impl Dispatcher for Once {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_with(|bytes, cx| cx.send(bytes))?;
        cx.close();
        Ok(())
    }
}

/// A listener whose connections speak TLS, each with a dispatcher that the function makes.
pub(crate) struct Site<F>(Acceptor, F);

impl<D: Dispatcher, F: FnMut() -> D + 'static> Dispatcher for Site<F> {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let layer = self.0.session()?;
        cx.add(Socket::from(accepted).layered(layer), (self.1)())?;
        Ok(())
    }
}

pub(crate) fn site<D: Dispatcher>(
    reactor: &mut Reactor,
    configs: &Configs,
    make: impl FnMut() -> D + 'static,
) -> SocketAddr {
    let site = Site(Acceptor::new(Arc::clone(&configs.server)), make);
    let id = reactor.listen("127.0.0.1:0", site).expect("a port");
    reactor.local_addr(id).expect("a listener has one")
}

/// Turns until nothing is ready any more, and waits for nothing: on a wire all that can happen is there at once.
pub(crate) fn come_to_rest(reactor: &mut Reactor) {
    for _ in 0..10_000 {
        let before = reactor.counters();
        turn_for(reactor, Duration::ZERO);
        let after = reactor.counters();
        if (before.events, before.callbacks, before.writes)
            == (after.events, after.callbacks, after.writes)
        {
            return;
        }
    }
    panic!("the loop does not come to rest: {reactor:?}");
}

/// A reactor that gives a handshake ten seconds, of simulated time.
pub(crate) fn with_handshake_timeout() -> (SimClock, Reactor) {
    let clock = SimClock::new();
    let reactor = Reactor::builder()
        .clock(clock.clone())
        .handshake_timeout(Duration::from_secs(10))
        .build()
        .expect("a reactor");
    (clock, reactor)
}
