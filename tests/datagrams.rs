//! What the kernel is asked about datagram sockets: whether something has come, always; whether there is
//! room, only once there was none.
//!
//! What arrives on them, and their errors, are in `readiness.rs`.

mod util;

#[path = "util/family.rs"]
mod family;

use std::cell::{Cell, RefCell};
use std::io;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
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
    let counters = reactor.counters();
    assert_eq!(counters.events, 2 * MESSAGES as u64);
    let bytes = 2 * MESSAGES as u64 * 5;
    assert_eq!((counters.bytes_in, counters.bytes_out), (bytes, bytes));
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

/// A path of this test's own, which ends with it.
struct SocketFile(PathBuf);

impl SocketFile {
    fn new(name: &str) -> SocketFile {
        let name = format!("slabloop-datagrams-{}-{name}", std::process::id());
        SocketFile(std::env::temp_dir().join(name))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What came, whether it was cut, and from where.
type Came = (Vec<u8>, bool, Option<PathBuf>);

/// Sends each datagram back to where it came from, and notes it.
#[derive(Clone, Default)]
struct ByPath(Rc<RefCell<Vec<Came>>>);

impl Dispatcher for ByPath {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut datagram = [0; 8];
        let (length, from) = cx.recv_from_path(&mut datagram)?;
        let seen = (datagram[..length].to_vec(), cx.truncated(), from.clone());
        self.0.borrow_mut().push(seen);
        match from {
            Some(path) => cx.send_to_path(b"got it", path),
            None => Ok(()),
        }
    }
}

#[test]
fn unix_datagrams_go_to_a_path_and_come_from_one() {
    let (here, there) = (SocketFile::new("here"), SocketFile::new("there"));
    let mut reactor = Reactor::new().expect("a poller");
    let ours = UnixDatagram::bind(&here.0).expect("a path");
    let by_path = ByPath::default();
    let id = reactor.add(ours, by_path.clone()).expect("a socket");
    let peer = UnixDatagram::bind(&there.0).expect("a path");
    peer.set_read_timeout(Some(DEADLINE)).expect("positive");
    let nameless = UnixDatagram::unbound().expect("a descriptor");

    peer.send_to(b"hello", &here.0).expect("room");
    nameless
        .send_to(b"longer than eight", &here.0)
        .expect("room");
    turn_until(&mut reactor, "both have come", |_| {
        by_path.0.borrow().len() == 2
    });
    let expected = [
        (b"hello".to_vec(), false, Some(there.0.clone())),
        (b"longer t".to_vec(), true, None),
    ];
    assert_eq!(*by_path.0.borrow(), expected);
    let mut answer = [0; 16];
    let length = peer.recv(&mut answer).expect("an answer");
    assert_eq!(&answer[..length], b"got it");

    // Nobody is there any more; the socket itself is as it was.
    drop(peer);
    let mut cx = reactor.at(id).expect("open");
    let refused = cx.send_to_path(b"hello?", &there.0).expect_err("nobody");
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    let nothing = cx
        .recv_from_path(&mut answer)
        .expect_err("nothing has come");
    assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    assert!(!cx.is_closing());
}

#[test]
fn paths_and_addresses_are_refused_by_sockets_that_have_the_other() {
    let mut reactor = Reactor::new().expect("a poller");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = udp.local_addr().expect("bound");
    let udp = reactor.add(udp, ByPath::default()).expect("a socket");
    let (ours, theirs) = UnixDatagram::pair().expect("descriptors");
    let unix = reactor.add(ours, ByPath::default()).expect("a socket");

    let mut cx = reactor.at(udp).expect("open");
    let refused = cx.send_to_path(b"x", "/nowhere").expect_err("a UDP socket");
    assert_eq!(refused.kind(), io::ErrorKind::Unsupported);
    assert!(refused.to_string().contains("send_to_path"), "{refused}");
    let mut cx = reactor.at(unix).expect("open");
    let refused = cx.send_to(b"x", address).expect_err("a Unix socket");
    assert_eq!(refused.kind(), io::ErrorKind::Unsupported);
    assert!(refused.to_string().contains("send_to"), "{refused}");

    // And so is receiving, once something has come.
    let refusals = Rc::new(RefCell::new(Vec::new()));
    let noted = Rc::clone(&refusals);
    let (ours, peer) = UnixDatagram::pair().expect("descriptors");
    let asks_for_an_address = Spy::new("unix", &Diary::default()).on_read(move |cx| {
        let error = cx.recv_from(&mut [0; 8]).expect_err("a Unix socket");
        noted.borrow_mut().push((error.kind(), error.to_string()));
        cx.recv(&mut [0; 8]).map(|_| ())
    });
    reactor.add(ours, asks_for_an_address).expect("a socket");
    peer.send(b"x").expect("room");
    turn_until(&mut reactor, "it has been asked", |_| {
        !refusals.borrow().is_empty()
    });
    let refusals = refusals.borrow();
    assert_eq!(refusals[0].0, io::ErrorKind::Unsupported);
    assert!(refusals[0].1.contains("recv_from"), "{refusals:?}");
    drop(theirs);
}

/// Keeps what it reads, and the errors that it is told.
#[derive(Default)]
struct Keeping {
    read: Rc<RefCell<Vec<Vec<u8>>>>,
    errors: Rc<RefCell<Vec<io::ErrorKind>>>,
}

impl Dispatcher for Keeping {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut datagram = [0; 64];
        let length = cx.recv(&mut datagram)?;
        self.read.borrow_mut().push(datagram[..length].to_vec());
        Ok(())
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        self.errors.borrow_mut().push(error.kind());
        cx.close();
    }
}

#[test]
fn a_connected_udp_socket_hears_its_peer_alone_and_is_told_that_nobody_listens() {
    for any in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(peer) = UdpSocket::bind(any) else {
            assert!(any.starts_with('['), "{any}");
            eprintln!("no IPv6 here: skipped");
            continue;
        };
        let stranger = UdpSocket::bind(any).expect("a port");
        peer.set_read_timeout(Some(DEADLINE)).expect("positive");
        let address = peer.local_addr().expect("bound");
        let mut reactor = Reactor::new().expect("a poller");
        let owner = reactor.add_service(Answering::default()).expect("room");
        let keeping = Keeping::default();
        let (read, errors) = (Rc::clone(&keeping.read), Rc::clone(&keeping.errors));
        let mut cx = reactor.at(owner).expect("there");
        let id = cx.connect_udp(address, keeping).expect("a socket");
        cx.at(id).expect("there").send(b"hello").expect("room");
        let mut buffer = [0; 64];
        let (length, from) = peer.recv_from(&mut buffer).expect("it was sent");
        assert_eq!(&buffer[..length], b"hello");

        stranger.send_to(b"it is me", from).expect("it is bound");
        peer.send_to(b"welcome", from).expect("it is bound");
        turn_until(&mut reactor, "the answer", |_| read.borrow().len() == 1);
        settle(&mut reactor);
        assert_eq!(*read.borrow(), [b"welcome".to_vec()]);

        drop(peer);
        reactor.at(id).expect("there").send(b"?").expect("room");
        turn_until(&mut reactor, "the refusal", |_| errors.borrow().len() == 1);
        assert_eq!(*errors.borrow(), [io::ErrorKind::ConnectionRefused]);
    }
}

#[test]
fn a_datagram_stays_where_it_is_without_a_buffer_for_it_or_after_a_close() {
    let mut reactor = Reactor::new().expect("a poller");
    let (ours, theirs) = UnixDatagram::pair().expect("descriptors");
    let seen = Rc::new(RefCell::new(Vec::new()));
    let noted = Rc::clone(&seen);
    let spy = Spy::new("reads", &Diary::default()).on_read(move |cx| {
        let refused = cx.recv_from_path(&mut []).expect_err("no buffer").kind();
        let mut datagram = [0; 8];
        let length = cx.recv(&mut datagram)?;
        noted
            .borrow_mut()
            .push((refused, datagram[..length].to_vec()));
        // Nor does one that has ended take what is there.
        cx.close();
        let late = cx.recv_from_path(&mut datagram).expect_err("it has ended");
        noted.borrow_mut().push((late.kind(), Vec::new()));
        Ok(())
    });
    reactor.add(ours, spy).expect("a socket");
    theirs.send(b"hello").expect("room");
    theirs.send(b"more").expect("room");
    turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
    let expected = [
        (io::ErrorKind::InvalidInput, b"hello".to_vec()),
        (io::ErrorKind::NotConnected, Vec::new()),
    ];
    assert_eq!(*seen.borrow(), expected);
}

/// On a stream it would be the end, of which the closure is not told.
#[test]
fn an_empty_datagram_is_lent_like_any_other() {
    let mut reactor = Reactor::new().expect("a poller");
    let (ours, theirs) = UnixDatagram::pair().expect("descriptors");
    let seen = Rc::new(RefCell::new(Vec::new()));
    let noted = Rc::clone(&seen);
    let spy = Spy::new("reads", &Diary::default()).on_read(move |cx| {
        cx.recv_with(|datagram, _| {
            noted.borrow_mut().push(datagram.to_vec());
            Ok(())
        })
    });
    reactor.add(ours, spy).expect("a socket");
    for datagram in [&b"one"[..], b"", b"two"] {
        theirs.send(datagram).expect("room");
    }
    turn_until(&mut reactor, "all three", |_| seen.borrow().len() == 3);
    assert_eq!(*seen.borrow(), [&b"one"[..], b"", b"two"]);
}
