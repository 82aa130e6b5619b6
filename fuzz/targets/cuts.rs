//! What the targets share: where a stream is cut, and how a reactor is driven to its end.

use std::time::Duration;

use slabloop::test::{Clock, Peer, run_until_quiet};
use slabloop::{PanicPolicy, Reactor};

/// More turns than these are no progress.
const MOST_TURNS: usize = 20_000;

/// Takes the first two bytes off, which say how the rest is cut. `None` if there are fewer.
pub(crate) fn split(data: &[u8]) -> Option<(u16, &[u8])> {
    let (cut, stream) = data.split_at_checked(2)?;
    Some((u16::from_le_bytes([cut[0], cut[1]]), stream))
}

/// The pieces that a stream comes in: 0 is a byte at a time, and all other numbers are a mixture of their own.
pub(crate) fn pieces(cut: u16, stream: &[u8]) -> Vec<&[u8]> {
    let mut rng = fastrand::Rng::with_seed(cut.into());
    let most = [1, 3, 16, 200, 5000][usize::from(cut) % 5];
    let mut rest = stream;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let count = rng.usize(1..=most).min(rest.len());
        let (piece, behind) = rest.split_at(count);
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

/// A reactor on a clock of the target's. What panics in a callback fails the target.
pub(crate) fn reactor() -> Reactor {
    let mut builder = Reactor::builder();
    builder
        .clock(Clock::new())
        .panic_policy(PanicPolicy::Propagate);
    builder.build().expect("a poller")
}

/// Turns until the peers' input is used up and nothing is left to do; `each` is called after each turn.
pub(crate) fn settle(reactor: &mut Reactor, peers: &[&Peer], mut each: impl FnMut(&mut Reactor)) {
    let mut last = usize::MAX;
    for _ in 0..MOST_TURNS {
        reactor
            .turn(Duration::ZERO)
            .expect("the wait does not fail");
        reactor.check_invariants();
        each(reactor);
        let unread = peers.iter().map(|peer| peer.unread()).sum();
        if unread == 0 || unread == last {
            break;
        }
        last = unread;
    }
    run_until_quiet(reactor, MOST_TURNS);
    reactor.check_invariants();
    each(reactor);
}
