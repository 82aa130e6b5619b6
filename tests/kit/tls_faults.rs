//! TLS when things go wrong: bytes that come one at a time, streams that are cut anywhere, rubbish, and handshakes that
//! need more than one attempt.

#[path = "../util/log_lines.rs"]
mod log_lines;
#[path = "../util/noting.rs"]
mod noting;
#[path = "util/tls.rs"]
mod setup;
#[path = "../util/mod.rs"]
mod util;
#[path = "../util/wire.rs"]
mod wire;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use log_lines::{keep_log, take_log};
use setup::*;
use slabloop::testing::SimClock;
use slabloop::tls::rustls::pki_types::{CertificateDer, ServerName};
use slabloop::tls::rustls::version::{TLS12, TLS13};
use slabloop::tls::rustls::{
    ClientConnection, ServerConnection, StreamOwned, SupportedProtocolVersion,
};
use slabloop::tls::{Acceptor, Connector};
use slabloop::{Id, Reactor, Socket};
use util::{DEADLINE, pattern, settle, turn_for, turn_until};

#[test]
fn what_comes_and_is_taken_a_byte_at_a_time_arrives_whole() {
    for version in BOTH {
        let configs = configs(version);
        let mut reactor = Reactor::new().expect("a reactor");
        let noting = Noting::default();
        let mut peer = Peer::new(&configs);
        let id = peer.add(&mut reactor, &configs, noting.clone());
        for _ in 0..4 {
            let bytes = peer.spoken();
            trickle(&mut peer, &mut reactor, id, &bytes);
        }
        assert!(!peer.connection.is_handshaking());
        let mut bytes = peer.encrypt(&pattern(1, 300));
        bytes.extend(peer.encrypt(&pattern(2, 300)));
        trickle(&mut peer, &mut reactor, id, &bytes);
        assert!(*noting.got.borrow() == [pattern(1, 300), pattern(2, 300)].concat());
        reactor
            .at(id)
            .expect("open")
            .send(&pattern(3, 300))
            .expect("room");
        let answer = trickle(&mut peer, &mut reactor, id, &[]);
        assert!(answer == pattern(3, 300));
        assert_eq!(noting.notes(), [""; 0]);
    }
}

/// Sends byte by byte, and then takes byte by byte what there is; the plaintext of it.
fn trickle(peer: &mut Peer, reactor: &mut Reactor, id: Id<Noting>, bytes: &[u8]) -> Vec<u8> {
    for byte in bytes {
        peer.wire.input(reactor, id, &[*byte]);
        come_to_rest(reactor);
    }
    loop {
        let before = peer.wire.taken();
        peer.wire.make_room(reactor, id, 1);
        come_to_rest(reactor);
        if peer.wire.taken() == before {
            peer.wire.take_room();
            return peer.hear();
        }
    }
}

/// Sends in two parts, if there are so many bytes.
fn in_two(peer: &Peer, reactor: &mut Reactor, id: Id<Noting>, bytes: &[u8], first: usize) {
    let (first, second) = bytes.split_at(first.min(bytes.len()));
    for part in [first, second] {
        if !part.is_empty() {
            peer.wire.input(reactor, id, part);
            come_to_rest(reactor);
        }
    }
}

#[test]
fn a_handshake_and_records_that_come_in_two_parts_cut_anywhere_arrive_whole() {
    for version in BOTH {
        let configs = configs(version);
        let mut reactor = Reactor::new().expect("a reactor");
        let mut longest = 1;
        let mut cut = 0;
        while cut < longest {
            cut += 1;
            let noting = Noting::default();
            let mut peer = Peer::new(&configs);
            let id = peer.add(&mut reactor, &configs, noting.clone());
            peer.wire.make_room(&mut reactor, id, 1_000_000);
            while peer.connection.is_handshaking() {
                let bytes = peer.spoken();
                longest = longest.max(bytes.len());
                in_two(&peer, &mut reactor, id, &bytes, cut);
                peer.hear();
            }
            let mut bytes = peer.encrypt(b"first");
            bytes.extend(peer.encrypt(b"second"));
            peer.connection.send_close_notify();
            bytes.extend(peer.spoken());
            longest = longest.max(bytes.len());
            in_two(&peer, &mut reactor, id, &bytes, cut);
            assert_eq!(*noting.got.borrow(), b"firstsecond", "cut at {cut}");
            assert_eq!(noting.notes(), ["eof"], "cut at {cut}");
            reactor.at(id).expect("open").abort();
        }
        assert!(cut > 150, "a ClientHello is longer: {cut}");
    }
}

/// How a stream may be cut.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    End,
    Reset,
}

impl Cut {
    const BOTH: [Cut; 2] = [Cut::End, Cut::Reset];

    fn apply(self, peer: &Peer, reactor: &mut Reactor, id: Id<Noting>) {
        match self {
            Cut::End => peer.wire.end_input(reactor, id),
            Cut::Reset => peer
                .wire
                .break_input(reactor, id, ErrorKind::ConnectionReset),
        }
        come_to_rest(reactor);
    }
}

#[test]
fn a_stream_cut_after_any_byte_has_no_end_without_close_notify_and_loses_no_record() {
    for version in BOTH {
        let configs = configs(version);
        let mut reactor = Reactor::new().expect("a reactor");
        for cut in Cut::BOTH {
            let mut length = 1;
            let mut place = 0;
            while place <= length {
                let (mut peer, id, noting) = Peer::listened_to(&mut reactor, &configs, 1_000_000);
                let mut bytes = peer.encrypt(b"first");
                let one = bytes.len();
                bytes.extend(peer.encrypt(b"second"));
                let two = bytes.len();
                peer.connection.send_close_notify();
                bytes.extend(peer.spoken());
                length = bytes.len();
                peer.wire.input(&mut reactor, id, &bytes[..place]);
                cut.apply(&peer, &mut reactor, id);
                let expected: &[u8] = match place {
                    _ if place >= two => b"firstsecond",
                    _ if place >= one => b"first",
                    _ => b"",
                };
                let context = format!("{cut:?} after {place} of {length}");
                assert_eq!(*noting.got.borrow(), expected, "{context}");
                let notes = noting.notes();
                match cut {
                    _ if place == length => assert_eq!(notes[0], "eof", "{context}"),
                    Cut::End => {
                        assert!(notes[0].contains("without close_notify"), "{notes:?}");
                        assert_eq!(notes[1..], ["Error(UnexpectedEof)"], "{context}");
                    }
                    Cut::Reset => assert_eq!(notes, ["Reset"], "{context}"),
                }
                if let Some(mut cx) = reactor.at(id) {
                    cx.abort();
                }
                place += 1;
            }
        }
    }
}

#[test]
fn a_handshake_cut_after_any_byte_fails_and_has_no_end() {
    for version in BOTH {
        let configs = configs(version);
        let mut reactor = Reactor::new().expect("a reactor");
        for (cut, flight) in Cut::BOTH.into_iter().flat_map(|cut| [(cut, 0), (cut, 1)]) {
            let mut length = 1;
            let mut place = 0;
            while place < length {
                let noting = Noting::default();
                let mut peer = Peer::new(&configs);
                let id = peer.add(&mut reactor, &configs, noting.clone());
                peer.wire.make_room(&mut reactor, id, 1_000_000);
                if flight == 1 {
                    peer.say(&mut reactor, id);
                    come_to_rest(&mut reactor);
                    peer.hear();
                }
                let bytes = peer.spoken();
                length = bytes.len();
                peer.wire.input(&mut reactor, id, &bytes[..place]);
                cut.apply(&peer, &mut reactor, id);
                let notes = noting.notes();
                let context = format!("{cut:?} in flight {flight} after {place}: {notes:?}");
                assert_eq!(notes.len(), 2, "{context}");
                assert!(notes[0].contains("the handshake failed"), "{context}");
                assert!(notes[1].starts_with("HandshakeFailed"), "{context}");
                place += 1;
            }
        }
    }
}

/// Bytes that a client may send in place of a handshake, and what is said of them.
fn rubbish() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    // A ClientHello of 16 MB, as far as it gets.
    let mut huge = vec![22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff];
    huge.resize(5 + 0x4000, 7);
    let pieces = [22, 3, 1, 0x40, 0].into_iter().chain([7; 0x4000]);
    huge.extend(pieces.cycle().take(10 * (5 + 0x4000)));
    vec![
        (
            "plain HTTP",
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
            "corrupt message",
        ),
        ("zeros", vec![0; 1000], "corrupt message"),
        (
            "SSL 2",
            vec![0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10, 1, 0, 0x80],
            "corrupt message",
        ),
        (
            "a record of 64 KiB",
            vec![22, 3, 1, 0xff, 0xff, 1, 2, 3],
            "corrupt message",
        ),
        (
            "a ClientHello of nothing",
            vec![22, 3, 1, 0, 4, 1, 0, 0, 0],
            "corrupt message",
        ),
        ("an alert", vec![21, 3, 3, 0, 2, 2, 40], "fatal alert"),
        (
            "data before the handshake",
            vec![23, 3, 3, 0, 3, 1, 2, 3],
            "received unexpected message",
        ),
        ("a ClientHello of 16 MB", huge, "corrupt message"),
    ]
}

/// An echo beside the connections of a test, which is none of theirs.
struct Neighbour {
    peer: Peer,
    id: Id<Echo>,
}

impl Neighbour {
    fn new(reactor: &mut Reactor, configs: &Configs) -> Neighbour {
        let (peer, id, _) = Peer::greeted(reactor, configs, 1_000_000);
        Neighbour { peer, id }
    }

    fn is_served(&mut self, reactor: &mut Reactor) {
        let bytes = self.peer.encrypt(b"still there?");
        self.peer.wire.input(reactor, self.id, &bytes);
        come_to_rest(reactor);
        assert_eq!(self.peer.hear(), b"still there?");
    }
}

/// The one line about a peer's fault, which is at debug; and none above that.
fn the_line(wanted: &str) {
    let lines = take_log();
    let loud = lines.iter().any(|(level, _)| *level < log::Level::Debug);
    assert!(!loud, "{lines:?}");
    let told = lines.iter().filter(|(_, line)| line.contains(wanted));
    assert_ne!(told.count(), 0, "{wanted:?} is not in {lines:?}");
}

#[test]
fn rubbish_in_place_of_a_handshake_ends_its_connection_alone_with_a_word_at_debug() {
    for version in BOTH {
        let configs = configs(version);
        let clock = SimClock::new();
        let mut reactor = Reactor::builder()
            .clock(clock.clone())
            .build()
            .expect("a reactor");
        let mut neighbour = Neighbour::new(&mut reactor, &configs);
        for (what, bytes, wanted) in rubbish() {
            clock.advance(Duration::from_secs(2));
            let peer = Peer::new(&configs);
            // Its handle_error is the default.
            let id = peer.add(&mut reactor, &configs, util::Echo);
            peer.wire.make_room(&mut reactor, id, 1000);
            keep_log();
            peer.wire.input(&mut reactor, id, &bytes);
            come_to_rest(&mut reactor);
            assert!(reactor.at(id).is_none(), "{what}");
            the_line(wanted);
            let unread = peer.wire.unread();
            assert!(bytes.len() - unread < 100_000, "{what}: {unread} left");
            neighbour.is_served(&mut reactor);
        }
    }
}

#[test]
fn a_flood_of_rubbish_is_one_line_a_second() {
    let configs = configs(&TLS13);
    let clock = SimClock::new();
    let mut reactor = Reactor::builder()
        .clock(clock.clone())
        .build()
        .expect("a reactor");
    keep_log();
    for _ in 0..2 {
        for _ in 0..50 {
            let peer = Peer::new(&configs);
            let id = peer.add(&mut reactor, &configs, util::Echo);
            peer.wire.input(&mut reactor, id, &[0; 10]);
            come_to_rest(&mut reactor);
        }
        clock.advance(Duration::from_secs(2));
    }
    let mut told = take_log();
    told.retain(|(_, line)| line.contains("corrupt message"));
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[1].1.ends_with("(49 more like this were not logged)"),
        "{told:?}"
    );
}

/// What a peer whose handshake is through may send, and what is said of it.
type Damage = (&'static str, fn(&mut Peer) -> Vec<u8>, &'static str);

const DAMAGES: [Damage; 4] = [
    (
        "a record with a wrong MAC",
        a_wrong_mac,
        "cannot decrypt peer's message",
    ),
    ("an alert in the midst", an_alert, "received fatal alert"),
    (
        "no record",
        |_| b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        "corrupt message",
    ),
    (
        "a record of 64 KiB",
        |_| vec![23, 3, 3, 0xff, 0xff],
        "corrupt message",
    ),
];

fn a_wrong_mac(peer: &mut Peer) -> Vec<u8> {
    let mut record = peer.encrypt(b"changed on its way");
    *record.last_mut().expect("some bytes") ^= 1;
    record
}

/// It has got rubbish itself, so it says.
fn an_alert(peer: &mut Peer) -> Vec<u8> {
    let mut rubbish: &[u8] = &[0; 10];
    peer.connection.read_tls(&mut rubbish).expect("memory");
    peer.connection.process_new_packets().expect_err("rubbish");
    peer.spoken()
}

#[test]
fn damage_after_the_handshake_ends_its_connection_alone_with_a_word_at_debug() {
    for version in BOTH {
        let configs = configs(version);
        let clock = SimClock::new();
        let mut reactor = Reactor::builder()
            .clock(clock.clone())
            .build()
            .expect("a reactor");
        let mut neighbour = Neighbour::new(&mut reactor, &configs);
        for (what, damage, wanted) in DAMAGES {
            clock.advance(Duration::from_secs(2));
            let mut peer = Peer::new(&configs);
            let id = peer.add(&mut reactor, &configs, util::Echo);
            peer.greet(&mut reactor, id, 1000);
            let mut bytes = peer.encrypt(b"before it");
            bytes.extend(damage(&mut peer));
            keep_log();
            peer.wire.input(&mut reactor, id, &bytes);
            come_to_rest(&mut reactor);
            assert!(reactor.at(id).is_none(), "{what}");
            the_line(wanted);
            assert!(reactor.counters().bytes_in >= 9, "{what}: it came before");
            neighbour.is_served(&mut reactor);
        }
    }
}

/// A certificate chain of 60 KB: what is behind the first certificate is not needed, and sent all the same.
fn long_chain(identity: &Identity) -> Vec<CertificateDer<'static>> {
    let count = 60_000 / identity.certificate.len();
    vec![identity.certificate.clone(); count]
}

/// Two ends of a stream of which ours takes a few KiB at a time.
fn narrow_pair() -> (UnixStream, UnixStream) {
    let (ours, theirs) = util::unix_pair();
    socket2::SockRef::from(&ours)
        .set_send_buffer_size(4096)
        .expect("a socket");
    (ours, theirs)
}

#[test]
fn a_server_with_more_to_say_in_its_handshake_than_there_is_room_for_gets_through() {
    for version in BOTH {
        let mut configs = configs(version);
        configs.use_chain(version, long_chain(&configs.identity));
        let mut reactor = Reactor::new().expect("a reactor");
        let (ours, theirs) = narrow_pair();
        let layer = Acceptor::new(Arc::clone(&configs.server)).session();
        let socket = Socket::from(ours).layered(layer.expect("a config"));
        reactor.add(socket, util::Echo).expect("a stream");
        let name = ServerName::try_from("localhost").expect("a name");
        let connection =
            ClientConnection::new(Arc::clone(&configs.client), name).expect("a config");
        let mut client = StreamOwned::new(connection, theirs);
        // It begins, and listens only when the reactor has found no room.
        client.conn.write_tls(&mut client.sock).expect("room");
        settle(&mut reactor);
        turn_with(&mut reactor, move || {
            client.write_all(b"hello").expect("room");
            client.read_exact(&mut [0; 5]).expect("an answer");
        });
    }
}

#[test]
fn a_client_with_more_to_say_in_its_handshake_than_there_is_room_for_gets_through() {
    for version in BOTH {
        let identity = Identity::new("client");
        let (configs, with) =
            Configs::with_client_certificate(version, &identity, long_chain(&identity));
        let mut reactor = Reactor::new().expect("a reactor");
        let (ours, theirs) = narrow_pair();
        let layer = Connector::new(with).session("localhost").expect("a name");
        let id = reactor
            .add(Socket::from(ours).layered(layer), util::Echo)
            .expect("a stream");
        reactor.at(id).expect("added").send(b"hello").expect("room");
        let connection = ServerConnection::new(Arc::clone(&configs.server)).expect("a config");
        let mut server = StreamOwned::new(connection, theirs);
        settle(&mut reactor);
        // It says what it has to say, and listens only when the reactor has found no room.
        server.conn.read_tls(&mut server.sock).expect("its hello");
        server.conn.process_new_packets().expect("its hello");
        while server.conn.wants_write() {
            server.conn.write_tls(&mut server.sock).expect("room");
        }
        settle(&mut reactor);
        turn_with(&mut reactor, move || {
            server.read_exact(&mut [0; 5]).expect("its bytes");
        });
    }
}

#[test]
fn a_handshake_with_more_to_read_than_one_step_reads_goes_on_by_itself() {
    for version in BOTH {
        let identity = Identity::new("client");
        let (mut configs, with) =
            Configs::with_client_certificate(version, &identity, long_chain(&identity));
        configs.client = with;
        let mut reactor = Reactor::new().expect("a reactor");
        // All of it in one event: none follows.
        Peer::listened_to(&mut reactor, &configs, 1000);
    }
}

#[test]
fn a_handshake_that_a_signal_interrupts_goes_on_by_itself() {
    for version in BOTH {
        let configs = configs(version);
        let mut reactor = Reactor::new().expect("a reactor");
        let noting = Noting::default();
        let mut peer = Peer::new(&configs);
        let id = peer.add(&mut reactor, &configs, noting.clone());
        while peer.connection.is_handshaking() {
            peer.wire.make_room(&mut reactor, id, 100_000);
            peer.wire.interrupt(2);
            peer.say(&mut reactor, id);
            // It is no callback and no event that shows it at work.
            for _ in 0..5 {
                turn_for(&mut reactor, Duration::ZERO);
            }
            assert_eq!(noting.notes(), [""; 0]);
            peer.hear();
        }
    }
}

/// So many clients that send a ClientHello a byte at a time, ten seconds long, and one beside them whose handshake is
/// through.
fn trickled_handshakes(version: &'static SupportedProtocolVersion, count: u64) {
    let configs = configs(version);
    let (clock, mut reactor) = with_handshake_timeout();
    let mut neighbour = Neighbour::new(&mut reactor, &configs);
    let (address, _) = serve_tls(&mut reactor, &configs);
    let hello = Peer::new(&configs).spoken();
    let before = resident();
    let mut clients = Vec::new();
    for number in 1..=count {
        clients.push(TcpStream::connect(address).expect("it listens"));
        if number % 100 == 0 || number == count {
            turn_until(&mut reactor, "all are accepted", |reactor| {
                reactor.counters().accepted == number
            });
        }
    }
    for byte in &hello[..20] {
        for client in &mut clients {
            client.write_all(&[*byte]).expect("room");
        }
        clock.advance(Duration::from_millis(499));
        settle(&mut reactor);
        neighbour.is_served(&mut reactor);
    }
    let each = resident().saturating_sub(before) / count;
    eprintln!(
        "{count} handshakes over {}: {each} bytes resident each",
        name_of(version)
    );
    let ends = reactor.counters().ends;
    assert_eq!(ends.handshake_timeout, 0, "{ends:?}");
    clock.advance(Duration::from_millis(21));
    turn_until(&mut reactor, "all have ended", |reactor| {
        reactor.counters().ends.handshake_timeout == count
    });
    neighbour.is_served(&mut reactor);
    for client in &mut clients {
        client.set_read_timeout(Some(DEADLINE)).expect("a time");
        assert_ne!(client.read(&mut [0]).ok(), Some(1));
    }
}

/// This process' resident memory in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("procfs");
    let pages = statm.split(' ').nth(1).expect("a field");
    pages.parse::<u64>().expect("a number") * 4096
}

#[test]
fn a_handshake_a_byte_at_a_time_ends_at_its_deadline_and_holds_up_nobody() {
    trickled_handshakes(&TLS12, 300);
    trickled_handshakes(&TLS13, 300);
}

/// 9,000 of them on real sockets, both ends in this process.
///
/// ```text
/// cargo test -p slabloop-kit-tests --test tls_faults -- --ignored --nocapture 9000
/// ```
#[test]
#[ignore = "18,000 descriptors, and up to a minute"]
fn the_same_with_9000_handshakes() {
    trickled_handshakes(&TLS13, 9_000);
}
