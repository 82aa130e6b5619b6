//! The peers of test files that also run over TLS: here with TLS. They have the methods of the sockets that they
//! stand for, so that the tests are the same. `plain.rs` beside this file is taken without the feature `tls`.

#![allow(dead_code, reason = "each test file uses a part")]

mod handshaken;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use slabloop::tls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use slabloop::tls::rustls::{
    self, ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig,
    ServerConnection, SupportedProtocolVersion,
};
use slabloop::tls::{Acceptor, Connector};
use slabloop::{Accepted, AnyId, Context, Dispatcher, Id, Reactor, Socket};

#[allow(unused_imports, reason = "each test file uses a part")]
pub(crate) use handshaken::{
    Ours, add, below, secured, socket_of, spied_pair, tcp_pair, unix_pair,
};

/// What makes no sense over TLS, and why.
const NOT_OVER_TLS: &[(&str, &str)] = &[
    (
        "many_large_sends_in_a_turn_are_one_write_at_once_and_one_of_the_flush",
        "what goes through a layer is queued first: it is changed in any case",
    ),
    (
        "rest_of_a_large_send_that_the_kernel_did_not_take_is_queued_and_arrives",
        "what goes through a layer is queued first: it is changed in any case",
    ),
    (
        "recv_up_to_lends_as_much_as_it_was_asked_for_and_no_more",
        "a read makes a bounded number of reads below, and a large buffer may be filled in parts",
    ),
];

/// Whether a test has no meaning here.
pub(crate) fn is_skipped(test: &str) -> bool {
    let skipped = NOT_OVER_TLS.iter().find(|(name, _)| *name == test);
    if let Some((name, reason)) = skipped {
        eprintln!("skipped over TLS: {name}: {reason}");
    }
    skipped.is_some()
}

/// The name that the certificate is for.
pub(crate) const NAME: &str = "localhost";

/// One certificate for all servers of this process, which all clients trust.
pub(crate) struct Identity {
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) client: Arc<ClientConfig>,
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
}

pub(crate) fn identity() -> &'static Identity {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    IDENTITY.get_or_init(|| {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed([NAME.to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let mut server = ServerConfig::builder_with_protocol_versions(&[version()])
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .expect("they belong together");
        // Nobody reads them where a test only writes, and what is unread when a peer closes makes a reset of it.
        server.send_tls13_tickets = 0;
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).expect("a certificate");
        let client = ClientConfig::builder_with_protocol_versions(&[version()])
            .with_root_certificates(roots)
            .with_no_client_auth();
        Identity {
            server: Arc::new(server),
            client: Arc::new(client),
            certificate_pem: cert.pem(),
            key_pem: signing_key.serialize_pem(),
        }
    })
}

/// TLS 1.3; with `SLABLOOP_TLS=1.2` in the environment, that.
fn version() -> &'static SupportedProtocolVersion {
    match std::env::var("SLABLOOP_TLS").as_deref() {
        Ok("1.2") => &rustls::version::TLS12,
        _ => &rustls::version::TLS13,
    }
}

pub(crate) fn acceptor() -> Acceptor {
    Acceptor::new(Arc::clone(&identity().server))
}

pub(crate) fn connector() -> Connector {
    Connector::new(Arc::clone(&identity().client))
}

/// A socket below TLS.
pub(crate) trait Bare: Read + Write + AsFd {
    fn finish(&self) -> io::Result<()>;
    fn blocking(&self, on: bool) -> io::Result<()>;
    fn set_timeout(&self, limit: Option<Duration>) -> io::Result<()>;
}

impl Bare for TcpStream {
    fn finish(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
    fn blocking(&self, on: bool) -> io::Result<()> {
        self.set_nonblocking(!on)
    }
    fn set_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        self.set_read_timeout(limit)
    }
}

impl Bare for UnixStream {
    fn finish(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
    fn blocking(&self, on: bool) -> io::Result<()> {
        self.set_nonblocking(!on)
    }
    fn set_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        self.set_read_timeout(limit)
    }
}

impl Bare for socket2::Socket {
    fn finish(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
    fn blocking(&self, on: bool) -> io::Result<()> {
        self.set_nonblocking(!on)
    }
    fn set_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        self.set_read_timeout(limit)
    }
}

/// The test's end of a connection. It blocks if its socket does.
pub(crate) struct Peer<S: Bare> {
    tls: Connection,
    below: S,
    /// `close_notify` is to be said as soon as the handshake is through.
    finishes: bool,
    /// The socket is to be shut for writing when all that was written has left.
    shuts: bool,
    /// It says nothing more when it is dropped.
    is_finished: bool,
    /// The most bytes of a record.
    record: usize,
    /// How many bytes have come and gone, handshake included.
    moved: usize,
}

impl Peer<TcpStream> {
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.below.local_addr()
    }
}

impl<S: Bare> Peer<S> {
    fn new(tls: impl Into<Connection>, below: S) -> Peer<S> {
        Peer {
            tls: tls.into(),
            below,
            finishes: false,
            shuts: false,
            is_finished: false,
            record: 16 * 1024,
            moved: 0,
        }
    }

    fn client_of(below: S) -> Peer<S> {
        let name = ServerName::try_from(NAME).expect("a name");
        let tls = ClientConnection::new(Arc::clone(&identity().client), name);
        Peer::new(tls.expect("a config"), below)
    }

    /// What it knows of its session, without its socket.
    fn into_connection(mut self) -> Connection {
        self.is_finished = true;
        let name = ServerName::try_from(NAME).expect("a name");
        let other = ClientConnection::new(Arc::clone(&identity().client), name);
        std::mem::replace(&mut self.tls, other.expect("a config").into())
    }

    pub(crate) fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        self.below.blocking(!on)
    }

    pub(crate) fn set_read_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        self.below.set_timeout(limit)
    }

    /// `close_notify`, and then the end of the stream below, when there is room for them.
    pub(crate) fn shutdown(&mut self, how: Shutdown) -> io::Result<()> {
        assert_eq!(how, Shutdown::Write, "the tests need no other");
        (self.finishes, self.is_finished) = (true, true);
        or_later(self.send_tls())
    }

    fn send_tls(&mut self) -> io::Result<()> {
        if self.finishes && !self.tls.is_handshaking() {
            self.tls.send_close_notify();
            (self.finishes, self.shuts) = (false, true);
        }
        while self.tls.wants_write() {
            self.moved += self.tls.write_tls(&mut self.below)?;
        }
        if std::mem::take(&mut self.shuts) {
            self.below.finish()?;
        }
        Ok(())
    }

    fn receive_tls(&mut self) -> io::Result<()> {
        self.moved += self.tls.read_tls(&mut self.below)?;
        let outcome = self.tls.process_new_packets();
        or_later(self.send_tls())?;
        match outcome {
            Ok(_) => Ok(()),
            Err(error) => Err(io::Error::new(ErrorKind::InvalidData, error)),
        }
    }

    /// As far as the socket lets it.
    fn shake_hands(&mut self) -> io::Result<()> {
        self.send_tls()?;
        while self.tls.is_handshaking() {
            self.receive_tls()?;
            self.send_tls()?;
        }
        Ok(())
    }
}

/// What finds no room leaves with the next call.
fn or_later(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        outcome => outcome,
    }
}

impl<S: Bare> Read for Peer<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.tls.is_handshaking() {
            self.shake_hands()?;
        }
        loop {
            match self.tls.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.receive_tls()?,
                outcome => return outcome,
            }
        }
    }
}

impl<S: Bare> Write for Peer<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.shake_hands()?;
        // One record at a time, as much as a socket takes at once.
        let record = &bytes[..bytes.len().min(self.record)];
        let count = self.tls.writer().write(record)?;
        or_later(self.send_tls())?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        or_later(self.send_tls())
    }
}

impl<S: Bare> AsFd for Peer<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.below.as_fd()
    }
}

impl<S: Bare> Drop for Peer<S> {
    /// Closed is finished, as a socket is.
    fn drop(&mut self) {
        if !self.is_finished && !self.tls.is_handshaking() {
            self.tls.send_close_notify();
            let _ = self.below.blocking(false);
            let _ = self.send_tls();
        }
    }
}

/// Changes as long as something moves that the test does not see.
pub(crate) fn moved_below<S: Bare>(peer: &Peer<S>) -> usize {
    peer.moved
}

/// Has it send records that come whole through buffers of 4 KiB.
pub(crate) fn small_records<S: Bare>(peer: &mut Peer<S>) {
    peer.record = 1024;
}

/// Whether the handshake is through.
pub(crate) fn is_ready<S: Bare>(peer: &Peer<S>) -> bool {
    !peer.tls.is_handshaking()
}

/// Gives the first end to the reactor, and the second to the test. The handshake is through.
pub(crate) fn join<D: Dispatcher, S: Into<Socket> + Bare>(
    reactor: &mut Reactor,
    (ours, peer): (S, S),
    dispatcher: D,
) -> (Id<D>, Peer<S>) {
    let layer = acceptor().session().expect("a config");
    let socket = ours.into().layered(layer);
    let id = reactor.add(socket, dispatcher).expect("a stream");
    let mut peer = Peer::client_of(peer);
    peer.set_nonblocking(true).expect("a socket");
    crate::util::turn_until(reactor, "the handshake", |_| match peer.shake_hands() {
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        outcome => outcome.map(|()| true).expect("a good handshake"),
    });
    crate::util::settle(reactor);
    peer.set_nonblocking(false).expect("a socket");
    (id, peer)
}

/// Gives both ends to the reactor. The handshake is through.
pub(crate) fn join_both<A: Dispatcher, B: Dispatcher, S: Into<Socket>>(
    reactor: &mut Reactor,
    (ours, theirs): (S, S),
    first: A,
    second: B,
) -> (Id<A>, Id<B>) {
    let server = acceptor().session().expect("a config");
    let client = connector().session(NAME).expect("a name");
    let first = reactor.add(ours.into().layered(server), first);
    let second = reactor.add(theirs.into().layered(client), second);
    crate::util::settle(reactor);
    (first.expect("a stream"), second.expect("a stream"))
}

/// Turns until all of these clients are through with their handshakes.
pub(crate) fn greet<S: Bare>(reactor: &mut Reactor, peers: &mut [Peer<S>]) {
    for peer in peers.iter() {
        peer.set_nonblocking(true).expect("a socket");
    }
    crate::util::turn_until(reactor, "the handshakes", |_| {
        let waiting = peers.iter_mut().filter(|peer| !is_ready(peer));
        let steps = waiting.filter_map(|peer| peer.shake_hands().err());
        let kinds: Vec<_> = steps.map(|error| error.kind()).collect();
        assert!(kinds.iter().all(|kind| *kind == ErrorKind::WouldBlock));
        kinds.is_empty()
    });
    for peer in peers.iter() {
        peer.set_nonblocking(false).expect("a socket");
    }
}

/// The end of a client that has connected.
pub(crate) fn client(stream: TcpStream) -> Peer<TcpStream> {
    Peer::client_of(stream)
}

/// The end of a server that has accepted.
pub(crate) fn server(stream: TcpStream) -> Peer<TcpStream> {
    let tls = ServerConnection::new(Arc::clone(&identity().server));
    Peer::new(tls.expect("a config"), stream)
}

/// Has the peer's end closed with a reset.
pub(crate) fn reset<S: Bare>(mut peer: Peer<S>) {
    peer.is_finished = true;
    socket2::SockRef::from(&peer)
        .set_linger(Some(Duration::ZERO))
        .expect("tcp");
}

/// Has the peer's end closed with nothing said, as the kernel does when a process dies.
pub(crate) fn vanish<S: Bare>(mut peer: Peer<S>) {
    peer.is_finished = true;
}

/// Whether the peer can tell a socket that is closed without a word from one that had an end to tell.
pub(crate) const SILENCE_IS_A_CUT: bool = true;

/// How many bytes the kernel gets for so many that are written at once.
pub(crate) fn length_below(bytes: usize) -> usize {
    let record = if version().version == rustls::ProtocolVersion::TLSv1_2 {
        5 + 8 + 16
    } else {
        5 + 1 + 16
    };
    bytes + bytes.div_ceil(16 * 1024) * record
}

/// Accepts with whatever `make` gives.
pub(crate) struct Accepting<F>(pub(crate) F);

impl<D: Dispatcher, F: FnMut() -> D + 'static> Dispatcher for Accepting<F> {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        cx.add(accepted_as(accepted), (self.0)())?;
        Ok(())
    }
}

/// The socket that is added for a client.
pub(crate) fn accepted_as(accepted: Accepted) -> Socket {
    Socket::from(accepted).layered(acceptor().session().expect("a config"))
}

/// A listener whose connections are made by `make`, and its address.
pub(crate) fn serve<D: Dispatcher>(
    reactor: &mut Reactor,
    make: impl FnMut() -> D + 'static,
) -> (AnyId, SocketAddr) {
    let id = reactor.listen("127.0.0.1:0", Accepting(make));
    let id = id.expect("a free port");
    (id.any(), reactor.local_addr(id).expect("a listener"))
}

/// Connects to `address`.
pub(crate) fn connect<D: Dispatcher>(
    reactor: &mut Reactor,
    address: SocketAddr,
    dispatcher: D,
) -> io::Result<Id<D>> {
    let layer = connector().session(NAME).expect("a name");
    reactor.add(Socket::dial(address)?.layered(layer), dispatcher)
}

/// Writes all of `bytes` and reads to the end, in both directions at once.
pub(crate) fn exchange_in_background(
    mut peer: Peer<TcpStream>,
    bytes: Vec<u8>,
    half_close: bool,
) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        peer.shake_hands().expect("a good handshake");
        peer.set_nonblocking(true).expect("a socket");
        let deadline = Instant::now() + crate::util::DEADLINE;
        let (mut left, mut back) = (&bytes[..], Vec::new());
        let mut buffer = vec![0; 64 * 1024];
        loop {
            assert!(Instant::now() < deadline, "{} bytes came back", back.len());
            if left.is_empty() && half_close && !peer.is_finished {
                peer.shutdown(Shutdown::Write).expect("connected");
            }
            match peer.write(left) {
                Ok(count) => left = &left[count..],
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            match peer.read(&mut buffer) {
                Ok(0) => return back,
                Ok(count) => back.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(error) => panic!("the end comes before the deadline: {error}"),
            }
        }
    })
}
