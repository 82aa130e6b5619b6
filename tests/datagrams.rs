//! What the kernel is asked about datagram sockets: whether something has come, always; whether there is
//! room, only once there was none.
//!
//! What arrives on them, and their errors, are in `readiness.rs`.

mod util;

#[path = "util/family.rs"]
mod family;

use std::cell::Cell;
use std::io;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::rc::Rc;

use family::assert_asleep;
use slabloop::{Context, Dispatcher, Reactor};
use util::*;

/// Sends back what it gets; counts its callbacks and sends one datagram when told of room.
#[derive(Default)]
struct Answering {
    reads: Rc<Cell<usize>>,
    told_of_room: Rc<Cell<usize>>,
}

impl Dispatcher for Answering {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut datagram = [0; 64];
        let length = cx.recv(&mut datagram)?;
        self.reads.set(self.reads.get() + 1);
        cx.send(&datagram[..length])
    }

    fn handle_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.told_of_room.set(self.told_of_room.get() + 1);
        cx.send(b"room")
    }
}

/// The kernel reports room with every datagram that leaves, to whoever has asked.
#[test]
fn a_datagram_socket_brings_one_event_for_each_datagram_and_none_while_idle() {
    const MESSAGES: usize = 10;
    let mut reactor = Reactor::new().expect("a poller");
    let (ours, theirs) = UnixDatagram::pair().expect("descriptors");
    let unix = Answering::default();
    let unix_reads = Rc::clone(&unix.reads);
    reactor.add(ours, unix).expect("a datagram socket");

    let ours = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let peer = UdpSocket::bind("127.0.0.1:0").expect("a port");
    ours.connect(peer.local_addr().expect("bound"))
        .expect("an address");
    peer.connect(ours.local_addr().expect("bound"))
        .expect("an address");
    peer.set_read_timeout(Some(DEADLINE)).expect("positive");
    theirs.set_read_timeout(Some(DEADLINE)).expect("positive");
    let udp = Answering::default();
    let udp_reads = Rc::clone(&udp.reads);
    reactor.add(ours, udp).expect("a datagram socket");

    settle(&mut reactor);
    assert_eq!(reactor.counters().events, 0, "nothing has happened to them");

    let mut answer = [0; 64];
    for sent in 1..=MESSAGES {
        theirs.send(b"hello").expect("room");
        peer.send(b"hello").expect("room");
        turn_until(&mut reactor, "both", |_| {
            unix_reads.get() == sent && udp_reads.get() == sent
        });
        assert_eq!(theirs.recv(&mut answer).expect("an answer"), 5);
        assert_eq!(peer.recv(&mut answer).expect("an answer"), 5);
        settle(&mut reactor);
    }
    assert_eq!(reactor.counters().events, 2 * MESSAGES as u64);
}

#[test]
fn a_full_datagram_socket_is_told_of_room_when_there_is_some_and_not_before() {
    let mut reactor = Reactor::new().expect("a poller");
    let (ours, theirs) = UnixDatagram::pair().expect("descriptors");
    theirs.set_nonblocking(true).expect("a socket");
    let answering = Answering::default();
    let told = Rc::clone(&answering.told_of_room);
    let id = reactor.add(ours, answering).expect("a datagram socket");
    reactor.at(id).expect("just added").start_writing();
    for round in ["the first", "the second", "the third"] {
        let before = told.get();
        turn_until(&mut reactor, round, |_| told.get() > before);
        settle(&mut reactor);
        let refused = reactor.at(id).expect("open").send(b"one more");
        let kind = refused.expect_err("its peer has read nothing").kind();
        assert_eq!(kind, io::ErrorKind::WouldBlock, "{round}");
        assert_asleep(&mut reactor, "while it is full");
        let mut datagram = [0; 64];
        while theirs.recv(&mut datagram).is_ok() {}
    }
}
