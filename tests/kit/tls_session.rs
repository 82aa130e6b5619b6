//! A TLS session called directly, over a stream whose every read and write a test wrote down.

#[path = "../util/noting.rs"]
mod noting;
#[path = "../util/scripted.rs"]
mod scripted;
#[path = "util/tls.rs"]
mod setup;
#[path = "../util/mod.rs"]
mod util;
#[path = "../util/wire.rs"]
mod wire;

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::sync::Arc;

use rustix::io::Errno;
use scripted::Script;
use setup::*;
use slabloop::tls::rustls::version::{TLS12, TLS13};
use slabloop::tls::{Acceptor, Session};
use slabloop::{Below, Dispatcher, Layer, Reactor};
use util::{pattern, settle};

/// Takes the one call of the reactor's that brings the stream below, and calls the session as the test wants.
struct Driven<F> {
    session: Session,
    body: Option<F>,
    is_done: Rc<Cell<bool>>,
}

impl<F: FnOnce(&mut Session, &mut Below<'_>) + 'static> Layer for Driven<F> {
    fn handshake(&mut self, below: &mut Below<'_>) -> io::Result<()> {
        let body = self.body.take().expect("it is called once");
        body(&mut self.session, below);
        self.is_done.set(true);
        Err(io::Error::other("the test is over"))
    }

    fn recv(&mut self, _: &mut Below<'_>, _: &mut [u8]) -> io::Result<usize> {
        unreachable!("there is no handshake")
    }

    fn send(&mut self, _: &mut Below<'_>, _: &[u8]) -> io::Result<usize> {
        unreachable!("there is no handshake")
    }

    fn finish(&mut self, _: &mut Below<'_>) -> io::Result<()> {
        unreachable!("there is no handshake")
    }
}

struct Quiet;

impl Dispatcher for Quiet {}

/// A server's session and what is below it, with the handshake made.
struct Room<'a, 'b> {
    session: &'a mut Session,
    below: &'a mut Below<'b>,
    script: Script,
    peer: Peer,
}

impl Room<'_, '_> {
    fn greet(&mut self) {
        for _ in 0..4 {
            let bytes = self.peer.spoken();
            if !bytes.is_empty() {
                self.will_come([Ok(&bytes[..])]);
            }
            if let Err(error) = self.session.handshake(self.below) {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
            }
            let mut answer = &self.script.with(|state| std::mem::take(&mut state.sent))[..];
            while !answer.is_empty() {
                let connection = &mut self.peer.connection;
                connection.read_tls(&mut answer).expect("memory");
                connection.process_new_packets().expect("a good answer");
            }
        }
        assert!(!self.peer.connection.is_handshaking());
        self.script.with(|state| state.recv.clear());
    }

    /// Has the next reads below answered so.
    fn will_come<'c>(&self, answers: impl IntoIterator<Item = Result<&'c [u8], i32>>) {
        let answers = answers.into_iter().map(|answer| answer.map(<[u8]>::to_vec));
        self.script.with(|state| state.recv.extend(answers));
    }

    fn will_have_no_room(&self) {
        self.script
            .with(|state| state.send.push_back(Err(Errno::AGAIN.raw_os_error())));
    }

    fn recv(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        let outcome = self.session.recv(self.below, buffer);
        outcome.map_err(|error| error.kind())
    }

    fn send(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        let outcome = self.session.send(self.below, bytes);
        outcome.map_err(|error| error.kind())
    }
}

/// Calls `body` with a session whose handshake is made.
fn with_session(configs: &Configs, body: impl FnOnce(&mut Room<'_, '_>) + 'static) {
    let mut reactor = Reactor::new().expect("a reactor");
    let script = Script::default();
    let peer = Peer::new(configs);
    let session = Acceptor::new(Arc::clone(&configs.server)).session();
    let is_done = Rc::new(Cell::new(false));
    let below = script.stream();
    let layer = Driven {
        session: session.expect("a config"),
        is_done: Rc::clone(&is_done),
        body: Some(move |session: &mut Session, below: &mut Below<'_>| {
            let mut room = Room {
                session,
                below,
                script,
                peer,
            };
            room.greet();
            body(&mut room);
        }),
    };
    reactor.add(below.layered(layer), Quiet).expect("a stream");
    settle(&mut reactor);
    // A panic of a layer's is caught by the reactor.
    assert!(is_done.get(), "a check has failed: see above");
}

#[test]
fn a_record_whose_last_part_comes_with_the_last_read_of_a_step_is_handed_out_in_it() {
    for version in BOTH {
        with_session(&configs(version), |room| {
            let record = room.peer.encrypt(b"in eight parts");
            // As many as one step reads.
            let parts: Vec<&[u8]> = record.chunks(record.len().div_ceil(8)).collect();
            assert_eq!(parts.len(), 8);
            room.will_come(parts.into_iter().map(Ok));
            let mut buffer = [0; 100];
            assert_eq!(room.recv(&mut buffer), Ok(14));
            assert_eq!(&buffer[..14], b"in eight parts");
        });
    }
}

#[test]
fn a_record_that_takes_more_reads_than_a_step_has_comes_in_the_next_step() {
    for version in BOTH {
        with_session(&configs(version), |room| {
            let record = room.peer.encrypt(b"in nine");
            let (first, rest) = record.split_at(8);
            room.will_come(first.chunks(1).map(Ok));
            room.will_come([Ok(rest)]);
            let mut buffer = [0; 100];
            assert_eq!(room.recv(&mut buffer), Err(ErrorKind::Interrupted));
            assert_eq!(room.recv(&mut buffer), Ok(7));
            assert_eq!(&buffer[..7], b"in nine");
        });
    }
}

#[test]
fn a_stream_that_breaks_behind_some_bytes_gives_the_bytes_and_then_its_error() {
    for (answer, kind, holds) in [
        (Errno::CONNRESET, ErrorKind::ConnectionReset, true),
        (Errno::AGAIN, ErrorKind::WouldBlock, false),
    ] {
        with_session(&configs(&TLS13), move |room| {
            // The record fills what one read asks for, so that another follows.
            let message = pattern(1, 4096 - 22);
            let record = room.peer.encrypt(&message);
            assert_eq!(record.len(), 4096);
            room.will_come([Ok(&record[..]), Err(answer.raw_os_error())]);
            let mut buffer = vec![0; 100_000];
            assert_eq!(room.recv(&mut buffer), Ok(message.len()));
            assert!(buffer[..message.len()] == message);
            assert_eq!(room.script.with(|state| state.recv.len()), 0);
            assert_eq!(room.session.holds_input(), holds);
            // What has broken is not read again, and where it was only empty, more comes at once.
            let record = room.peer.encrypt(b"more");
            room.will_come([Ok(&record[..])]);
            let expected = if holds { Err(kind) } else { Ok(4) };
            assert_eq!(room.recv(&mut buffer), expected);
        });
    }
}

#[test]
fn when_keys_wear_out_what_left_before_is_reported_and_then_the_error() {
    let configs = configs_with(&[&TLS12], &short_lived_keys());
    with_session(&configs, |room| {
        // The keys are good for 100 records, of which 64 are kept for alerts: 35 are left.
        let record = 16 * 1024;
        let message = pattern(1, 40 * record);
        assert_eq!(room.send(&message), Ok(35 * record));
        assert_eq!(room.send(&message[35 * record..]), Err(ErrorKind::Other));
    });
}

#[test]
fn a_peer_is_told_why_it_is_refused_if_there_is_room_for_the_alert() {
    for version in BOTH {
        for has_room in [true, false] {
            with_session(&configs(version), move |room| {
                assert!(!room.session.has_told_failure(), "nothing has failed");
                room.will_come([Ok(&b"this is no record"[..])]);
                if !has_room {
                    room.will_have_no_room();
                }
                let outcome = room.recv(&mut [0; 100]);
                assert_eq!(outcome, Err(ErrorKind::InvalidData));
                assert_eq!(room.session.has_told_failure(), has_room);
            });
        }
    }
}
