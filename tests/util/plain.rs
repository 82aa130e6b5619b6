//! The peers of test files that also run over TLS: here as they are. `tls.rs` beside this file has the same
//! functions, and is taken in place of it with the feature `tls`.

#![allow(dead_code, reason = "each test file uses a part")]

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;

use slabloop::{Accepted, Dispatcher, Id, Reactor, Socket};

#[allow(unused_imports, reason = "each test file uses a part")]
pub(crate) use crate::util::{
    Accepting, exchange_in_background, serve, spied_pair, tcp_pair, unix_pair,
};

/// The reactor's end of a connection, to be added.
pub(crate) type Ours<S> = S;

/// The test's end of a connection.
pub(crate) type Peer<S> = S;

/// Whether a test has no meaning here.
pub(crate) fn is_skipped(_: &str) -> bool {
    false
}

/// Changes as long as something moves that the test does not see.
pub(crate) fn moved_below<S>(_: &Peer<S>) -> usize {
    0
}

/// There are no records.
pub(crate) fn small_records<S>(_: &mut Peer<S>) {}

/// Whether the handshake is through.
pub(crate) fn is_ready<S>(_: &Peer<S>) -> bool {
    true
}

/// Gives the first end to the reactor, and the second to the test.
pub(crate) fn join<D: Dispatcher, S: Into<Socket>>(
    reactor: &mut Reactor,
    (ours, peer): (S, S),
    dispatcher: D,
) -> (Id<D>, Peer<S>) {
    (
        reactor
            .add(ours, dispatcher)
            .expect("a stream can be added"),
        peer,
    )
}

/// Gives both ends to the reactor.
pub(crate) fn join_both<A: Dispatcher, B: Dispatcher, S: Into<Socket>>(
    reactor: &mut Reactor,
    (ours, theirs): (S, S),
    first: A,
    second: B,
) -> (Id<A>, Id<B>) {
    let first = reactor.add(ours, first).expect("a stream can be added");
    let second = reactor.add(theirs, second).expect("a stream can be added");
    (first, second)
}

/// They have nothing to say first.
pub(crate) fn greet<S>(_: &mut Reactor, _: &mut [Peer<S>]) {}

/// The end of a client that has connected.
pub(crate) fn client(stream: TcpStream) -> Peer<TcpStream> {
    stream
}

/// The end of a server that has accepted.
pub(crate) fn server(stream: TcpStream) -> Peer<TcpStream> {
    stream
}

/// Has the peer's end closed with a reset.
pub(crate) fn reset<S: Into<OwnedFd>>(peer: Peer<S>) {
    crate::util::reset(peer.into().into());
}

/// The same pair.
pub(crate) fn secured<S>(pair: (S, S)) -> (Ours<S>, Peer<S>) {
    pair
}

/// The socket that is added for `ours`.
pub(crate) fn socket_of<S>(ours: Ours<S>, convert: impl FnOnce(S) -> Socket) -> Socket {
    convert(ours)
}

/// The kernel's part of it.
pub(crate) fn below<S>(ours: &Ours<S>) -> &S {
    ours
}

/// Has the peer's end closed with nothing said.
pub(crate) fn vanish<S>(peer: Peer<S>) {
    drop(peer);
}

/// Whether the peer can tell a socket that is closed without a word from one that had an end to tell.
pub(crate) const SILENCE_IS_A_CUT: bool = false;

/// How many bytes the kernel gets for so many that are written at once.
pub(crate) fn length_below(bytes: usize) -> usize {
    bytes
}

/// The socket that is added for a client.
pub(crate) fn accepted_as(accepted: Accepted) -> Socket {
    accepted.into()
}

/// Adds an end.
pub(crate) fn add<D: Dispatcher, S: Into<Socket>>(
    reactor: &mut Reactor,
    ours: Ours<S>,
    dispatcher: D,
) -> Id<D> {
    reactor.add(ours, dispatcher).expect("a stream")
}

/// Connects to `address`.
pub(crate) fn connect<D: Dispatcher>(
    reactor: &mut Reactor,
    address: SocketAddr,
    dispatcher: D,
) -> io::Result<Id<D>> {
    reactor.connect(address, dispatcher)
}
