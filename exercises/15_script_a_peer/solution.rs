use std::time::Duration;

use slabloop::test::{Clock, Peer, connection, run_for, run_until_quiet};
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
    answers_however_it_is_cut(&make) && bounds_a_line(&make) && ends_the_silent(&make)
}

/// A reactor on a clock of its own, with one connection.
fn connected<D: Dispatcher>(make: &impl Fn() -> D) -> (Reactor, Peer) {
    let mut reactor = Reactor::builder()
        .clock(Clock::new())
        .panic_policy(PanicPolicy::Propagate)
        .build()
        .expect("a poller");
    let (peer, socket) = connection();
    reactor.add(socket, make()).expect("it can be added");
    (reactor, peer)
}

/// However a stream is cut, the answers are the same. Each size of piece, not only one: a byte a turn never has the
/// end of one line and the beginning of the next in its hands.
fn answers_however_it_is_cut<D: Dispatcher>(make: &impl Fn() -> D) -> bool {
    let bytes = "hello\r\nhow are you\r\n\r\na\rb\r\nbye\r\n";
    (1..=bytes.len()).all(|size| {
        let (mut reactor, peer) = connected(make);
        peer.send_in_pieces(bytes, size);
        run_until_quiet(&mut reactor, 1_000);
        peer.take_received() == b"5\r\n11\r\n0\r\n3\r\n3\r\n"
    })
}

/// The longest line that may be, and one byte more, which nothing ends.
fn bounds_a_line<D: Dispatcher>(make: &impl Fn() -> D) -> bool {
    [1, 7, 1_000].iter().all(|size| {
        let (mut reactor, peer) = connected(make);
        peer.send_in_pieces([[b'x'; 100].as_slice(), b"\r\n"].concat(), *size);
        run_until_quiet(&mut reactor, 1_000);
        let served = peer.take_received() == b"100\r\n" && !peer.is_ended();
        peer.send_in_pieces([b'x'; 101], *size);
        run_until_quiet(&mut reactor, 1_000);
        let ended = peer.is_ended() || peer.is_reset();
        served && ended && peer.take_received().is_empty()
    })
}

/// Silence in the middle of a line. What is said starts the 60 seconds anew.
fn ends_the_silent<D: Dispatcher>(make: &impl Fn() -> D) -> bool {
    let (mut reactor, peer) = connected(make);
    let almost = Duration::from_secs(59);
    for _ in 0..3 {
        peer.send("hel");
        run_for(&mut reactor, almost, 1_000);
        if peer.is_closed() {
            return false;
        }
    }
    run_for(&mut reactor, Duration::from_secs(1), 1_000);
    peer.is_closed()
}
