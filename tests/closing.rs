//! Closing: half-close, the reply that a close must not eat, exactly one `handle_close`.

mod util;

use slabloop::Reactor;
use util::*;

#[test]
fn half_close_with_queued_output_delivers_all_then_eof() {
    let mut reactor = Reactor::new().unwrap();
    let (_, address) = serve(&mut reactor, || Echo);
    let peer = std::net::TcpStream::connect(address).unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    let sent = pattern(1, 10_000_000);
    let client = exchange_in_background(peer, sent.clone(), true);
    turn_until(&mut reactor, "the client to have it all", |_| {
        client.is_finished()
    });
    assert!(
        client.join().unwrap() == sent,
        "bytes come back as they were sent"
    );
    turn_until(&mut reactor, "the connection to close", |reactor| {
        reactor.count() == 1
    });
}
