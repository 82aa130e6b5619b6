//! Pairs whose handshake is through before anybody has them, so that tests may do at once what they do without TLS.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use slabloop::tls::Session;
use slabloop::tls::rustls::pki_types::ServerName;
use slabloop::tls::rustls::{ClientConnection, Connection};
use slabloop::{Below, Dispatcher, Id, Layer, Reactor, Socket};

use super::{Bare, NAME, Peer, acceptor, identity};
use crate::util::{Echo, Spy, turn_for, turn_until};

/// The reactor's end of a connection, to be added.
pub(crate) struct Ours<S> {
    below: S,
    session: Shared,
}

impl<S: Into<Socket>> From<Ours<S>> for Socket {
    fn from(ours: Ours<S>) -> Socket {
        ours.below.into().layered(ours.session)
    }
}

impl<S: AsFd> AsFd for Ours<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.below.as_fd()
    }
}

/// A session that two streams have one after the other: that of its handshake, and that of the test.
#[derive(Clone)]
struct Shared(Rc<RefCell<Session>>);

impl Layer for Shared {
    fn handshake(&mut self, below: &mut Below<'_>) -> io::Result<()> {
        self.0.borrow_mut().handshake(below)
    }

    fn recv(&mut self, below: &mut Below<'_>, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().recv(below, buffer)
    }

    fn holds_input(&self) -> bool {
        self.0.borrow().holds_input()
    }

    fn send(&mut self, below: &mut Below<'_>, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().send(below, bytes)
    }

    fn finish(&mut self, below: &mut Below<'_>) -> io::Result<()> {
        self.0.borrow_mut().finish(below)
    }
}

/// Both sides of a handshake that was made over a pair of sockets of its own.
fn handshaken() -> (Shared, Connection) {
    let session = acceptor().session().expect("a config");
    let session = Shared(Rc::new(RefCell::new(session)));
    let name = ServerName::try_from(NAME).expect("a name");
    let config = Arc::clone(&identity().client);
    let client = ClientConnection::new(config, name).expect("a config");
    let (ours, theirs) = UnixStream::pair().expect("descriptors");
    let mut reactor = Reactor::new().expect("a poller");
    let socket = Socket::from(ours).layered(session.clone());
    reactor.add(socket, Echo).expect("a stream");
    let mut peer = Peer::new(client, theirs);
    peer.set_nonblocking(true).expect("a socket");
    turn_until(&mut reactor, "the handshake", |_| {
        match peer.shake_hands() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            outcome => outcome.map(|()| true).expect("a good handshake"),
        }
    });
    crate::util::settle(&mut reactor);
    (session, peer.into_connection())
}

/// TLS over a pair of sockets.
pub(crate) fn secured<S: Bare>((ours, peer): (S, S)) -> (Ours<S>, Peer<S>) {
    let (session, client) = handshaken();
    let ours = Ours {
        below: ours,
        session,
    };
    (ours, Peer::new(client, peer))
}

/// The socket that is added for `ours`.
pub(crate) fn socket_of<S>(ours: Ours<S>, convert: impl FnOnce(S) -> Socket) -> Socket {
    convert(ours.below).layered(ours.session)
}

/// The kernel's part of it.
pub(crate) fn below<S>(ours: &Ours<S>) -> &S {
    &ours.below
}

pub(crate) fn tcp_pair() -> (Ours<TcpStream>, Peer<TcpStream>) {
    secured(crate::util::tcp_pair())
}

pub(crate) fn unix_pair() -> (Ours<UnixStream>, Peer<UnixStream>) {
    secured(crate::util::unix_pair())
}

/// A pair of which one end is in the reactor with a spy, and was seen there.
pub(crate) fn spied_pair(reactor: &mut Reactor, spy: Spy) -> (Id<Spy>, Peer<TcpStream>) {
    let (ours, peer) = tcp_pair();
    (add(reactor, ours, spy), peer)
}

/// Adds an end whose peer has sent nothing. It is established, and its first read, for what might have come with the
/// handshake, has been and gone.
pub(crate) fn add<D: Dispatcher, S: Into<Socket>>(
    reactor: &mut Reactor,
    ours: Ours<S>,
    dispatcher: D,
) -> Id<D> {
    let id = reactor.add(ours, dispatcher).expect("a stream");
    reactor.at(id).expect("added").pause_reading();
    turn_for(reactor, Duration::ZERO);
    let mut cx = reactor.at(id).expect("established");
    let read = cx.recv(&mut [0]).expect_err("nothing was sent");
    assert_eq!(read.kind(), ErrorKind::WouldBlock);
    cx.resume_reading();
    id
}
