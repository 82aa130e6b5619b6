use slabloop::test::{Clock, connection, run_until_quiet};
use slabloop::{Dispatcher, PanicPolicy, Reactor};

/// Whether dispatchers that `make` makes speak the protocol of lengths:
///
/// - Each line, which ends in CR LF, is answered with its length without them, in decimal digits and CR LF.
/// - A line may have 100 bytes. A longer one ends the connection as soon as 101 bytes of it are there, and gets no
///   answer. (A CR that may be the first half of an end does not count.)
/// - Once it has said something, a connection that says nothing more for 60 seconds ends, and no earlier.
///
/// Whether the dispatcher is right is all that counts: it may read as it likes.
pub fn passes<D: Dispatcher>(make: impl Fn() -> D) -> bool {
    let mut reactor = Reactor::builder()
        .clock(Clock::new())
        .panic_policy(PanicPolicy::Propagate)
        .build()
        .expect("a poller");
    let (peer, socket) = connection();
    reactor.add(socket, make()).expect("it can be added");
    peer.send("hello\r\nhow are you\r\n");
    peer.send("bye\r\n");
    run_until_quiet(&mut reactor, 100);
    peer.take_received() == b"5\r\n11\r\n3\r\n"
}
