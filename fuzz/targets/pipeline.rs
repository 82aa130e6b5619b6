//! The example `pipeline`: one client asks, and the Redis behind answers what the input says.
//!
//! Holds: what comes back is what was answered, byte for byte and from the first on, and then a line for each command that
//! was not; it is the same wherever the answers are cut; what is held of them is bounded.

use slabloop::Reactor;
use slabloop::test::{Dials, Peer, dials, listener};

use crate::cuts::{pieces, reactor, settle, split};
use crate::pipeline::{Dialler, Door, LOST};

const COMMANDS: usize = 6;

const LONGEST: usize = 200;

fn ask() -> (Reactor, Dials, Peer, Peer) {
    let mut reactor = reactor();
    let dials = dials(&mut reactor);
    let address = "192.0.2.80:6379".parse().expect("an address");
    let dialler = reactor
        .add_service(Dialler::new(address, LONGEST))
        .expect("a place");
    let dialled = reactor.with(dialler, |dialler, cx| dialler.dial(cx));
    dialled.expect("it is there").expect("it dials");
    let redis = dials.next().expect("it dials");
    redis.establish();
    let (clients, socket) = listener();
    let tls = crate::pipeline::common::Tls::default();
    reactor.add(socket, Door { dialler, tls }).expect("a place");
    let client = clients.connect();
    settle(&mut reactor, &[], |_| {});
    for command in 0..COMMANDS {
        client.send(format!("get {command}\r\n"));
    }
    settle(&mut reactor, &[&client], |_| {});
    (reactor, dials, redis, client)
}

/// What the client gets of these answers.
fn answered<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let (mut reactor, _dials, redis, client) = ask();
    assert_eq!(
        redis.take_received(),
        b"get 0\r\nget 1\r\nget 2\r\nget 3\r\nget 4\r\nget 5\r\n"
    );
    for piece in pieces {
        redis.send(piece);
    }
    redis.half_close();
    settle(&mut reactor, &[&redis], |_| {});
    client.half_close();
    settle(&mut reactor, &[&client], |_| {});
    assert!(client.is_closed(), "it has all its answers");
    client.take_received()
}

pub(crate) fn target(data: &[u8]) {
    let Some((cut, stream)) = split(data) else {
        return;
    };
    // What is said here could not be told from what the example says.
    if stream.windows(LOST.len()).any(|window| window == LOST) {
        return;
    }
    let got = answered([stream]);
    assert_eq!(got, answered(pieces(cut, stream)), "cut {cut}");
    let (mut answers, mut lost) = (&got[..], 0);
    while let Some(rest) = answers.strip_suffix(LOST) {
        (answers, lost) = (rest, lost + 1);
    }
    assert!(lost <= COMMANDS, "{lost} answers to {COMMANDS} commands");
    assert!(stream.starts_with(answers), "{:?}", answers.escape_ascii());
    assert!(lost == COMMANDS || !answers.is_empty());
    let mut count = 0;
    while !answers.is_empty() {
        let length = length_of(answers);
        assert!(length <= LONGEST + 2, "an answer of {length} bytes");
        (answers, count) = (&answers[length..], count + 1);
    }
    assert_eq!(count + lost, COMMANDS, "an answer to each");
}

/// How long the first of these answers is.
fn length_of(answers: &[u8]) -> usize {
    let line = answers.windows(2).position(|pair| pair == b"\r\n");
    let line = line.expect("an answer is passed on whole");
    let text = answers[..line].get(1..).unwrap_or_default();
    let text = std::str::from_utf8(text).unwrap_or_default();
    // (Signs are as the example has them: `-0` is a length.)
    let number = usize::try_from(text.parse::<i64>().unwrap_or(0)).ok();
    let begin = line + 2;
    match answers[0] {
        b'$' => begin + number.map_or(0, |length| length + 2),
        b'*' => (0..number.unwrap_or(0)).fold(begin, |end, _| end + length_of(&answers[end..])),
        _ => begin,
    }
}
