//! The peers of test files that also run over TLS: here as they are. `tls.rs` beside this file has the same
//! functions, and is taken in place of it with the feature `tls`.

#![allow(dead_code, reason = "each test file uses a part")]

use std::net::TcpStream;

use slabloop::{Dispatcher, Id, Reactor, Socket};

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

/// The end of a client that has connected.
pub(crate) fn client(stream: TcpStream) -> Peer<TcpStream> {
    stream
}

/// The end of a server that has accepted.
pub(crate) fn server(stream: TcpStream) -> Peer<TcpStream> {
    stream
}

/// Has the peer's end closed with a reset.
pub(crate) fn reset(peer: Peer<TcpStream>) {
    crate::util::reset(peer);
}
