//! What the kernel does, asked of the kernel: on bare mio, std and socket2, without the crate.
//!
//! The readiness cache, the accept batch and the closing states each answer to a fact about epoll and
//! sockets that no manual page promises. Each fact has a probe here, so that a kernel which behaves
//! otherwise is noticed as such, and is not hunted as a bug in the reactor. The pretended sockets of
//! other tests behave by the same facts.
//!
//! mio registers edge-triggered, always; "readable" asks for IN and RDHUP. The probes look at the bits
//! as epoll gave them, which mio shows in its events' detailed `Debug` form.

#![cfg(target_os = "linux")]

mod util;

use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::process::Command;
use std::time::{Duration, Instant};

use mio::unix::{SourceFd, pipe};
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, SockRef, Socket, Type};
use util::{DEADLINE, reset, tcp_pair};

const R: Interest = Interest::READABLE;
const W: Interest = Interest::WRITABLE;

/// How long nothing must be said to count as silence. Loopback delivers within the sending call, so an
/// event that were to come would be there already.
const SILENCE: Duration = Duration::from_millis(20);

/// One descriptor in a poller of its own.
struct Watch {
    poll: Poll,
    events: Events,
    fd: RawFd,
}

/// The bits of one event, by their names in epoll.
type Bits = BTreeSet<&'static str>;

impl Watch {
    fn new(socket: &impl AsRawFd, interest: Interest) -> Watch {
        let poll = Poll::new().unwrap();
        let fd = socket.as_raw_fd();
        poll.registry()
            .register(&mut SourceFd(&fd), Token(7), interest)
            .unwrap();
        Watch {
            poll,
            events: Events::with_capacity(8),
            fd,
        }
    }

    /// What one wait brings; at most one event, since there is one descriptor.
    fn poll(&mut self, timeout: Duration) -> Option<Bits> {
        self.poll.poll(&mut self.events, Some(timeout)).unwrap();
        let mut events = self.events.iter();
        let event = events.next()?;
        assert!(events.next().is_none(), "one descriptor, one event");
        assert_eq!(event.token(), Token(7));
        let text = format!("{event:#?}");
        let names = [
            ("EPOLLIN", "IN"),
            ("EPOLLPRI", "PRI"),
            ("EPOLLOUT", "OUT"),
            ("EPOLLERR", "ERR"),
            ("EPOLLHUP", "HUP"),
            ("EPOLLRDHUP", "RDHUP"),
        ];
        let said = names.iter().filter(|(long, _)| text.contains(long));
        Some(said.map(|(_, short)| *short).collect())
    }

    /// The next event.
    #[track_caller]
    fn next(&mut self) -> Bits {
        self.poll(DEADLINE).expect("an event comes")
    }

    /// Asserts which bits the next event has.
    #[track_caller]
    fn says(&mut self, bits: &[&'static str]) {
        assert_eq!(self.next(), bits.iter().copied().collect::<Bits>());
    }

    #[track_caller]
    fn is_silent(&mut self, why: &str) {
        assert_eq!(self.poll(SILENCE), None, "{why}");
    }

    /// Waits until an event has all these bits; others before it are dropped.
    #[track_caller]
    fn until(&mut self, bits: &[&'static str]) {
        let deadline = Instant::now() + DEADLINE;
        while !self
            .poll(SILENCE)
            .is_some_and(|said| bits.iter().all(|bit| said.contains(bit)))
        {
            assert!(Instant::now() < deadline, "{bits:?} never come");
        }
    }
}

/// A pair whose first end does not block, as in a reactor.
fn pair() -> (TcpStream, TcpStream) {
    let (ours, peer) = tcp_pair();
    ours.set_nonblocking(true).unwrap();
    (ours, peer)
}

#[track_caller]
fn refused(outcome: io::Result<usize>, kind: ErrorKind) {
    assert_eq!(outcome.map_err(|error| error.kind()), Err(kind));
}

/// Waits, in a poller beside the one that is observed, until the socket is in this state.
#[track_caller]
fn until_state(socket: &impl AsRawFd, bits: &[&'static str]) {
    Watch::new(socket, R | W | Interest::PRIORITY).until(bits);
}

/// Writes until the kernel takes no more; how much it took.
fn fill(stream: &mut impl Write) -> usize {
    let mut taken = 0;
    loop {
        match stream.write(&[7; 16 << 10]) {
            Ok(bytes) => taken += bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return taken,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn input_left_unread_is_not_announced_again() {
    let (mut ours, mut peer) = pair();
    let mut watch = Watch::new(&ours, R);
    peer.write_all(b"12345678").unwrap();
    watch.says(&["IN"]);
    watch.is_silent("it was said once");
    assert_eq!(ours.read(&mut [0; 3]).unwrap(), 3);
    watch.is_silent("five bytes are left, and nothing is said of them");
}

#[test]
fn new_input_after_a_partial_read_is_a_new_event() {
    let (mut ours, mut peer) = pair();
    let mut watch = Watch::new(&ours, R);
    peer.write_all(b"12345678").unwrap();
    watch.says(&["IN"]);
    assert_eq!(ours.read(&mut [0; 3]).unwrap(), 3);
    peer.write_all(b"9").unwrap();
    watch.says(&["IN"]);
}

#[test]
fn registering_again_with_the_same_mask_announces_pending_input_again() {
    let (ours, mut peer) = pair();
    let mut watch = Watch::new(&ours, R);
    peer.write_all(b"1").unwrap();
    watch.says(&["IN"]);
    watch.is_silent("it was said once");
    let fd = watch.fd;
    watch
        .poll
        .registry()
        .reregister(&mut SourceFd(&fd), Token(7), R)
        .unwrap();
    watch.says(&["IN"]);
}

#[test]
fn a_listener_with_connections_left_is_silent_until_one_more_comes() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let mut watch = Watch::new(&listener, R);
    let _three: Vec<_> = (0..3)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    watch.says(&["IN"]);
    let _first = listener.accept().unwrap();
    watch.is_silent("two wait, and nothing is said of them");
    let _fourth = TcpStream::connect(address).unwrap();
    watch.says(&["IN"]);
    for _ in 0..3 {
        listener.accept().unwrap();
    }
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn data_and_end_of_stream_come_in_one_event_and_no_other_follows() {
    let (mut ours, mut peer) = pair();
    let mut watch = Watch::new(&ours, R);
    peer.write_all(b"12345678").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    until_state(&ours, &["RDHUP"]);
    watch.says(&["IN", "RDHUP"]);
    assert_eq!(ours.read(&mut [0; 64]).unwrap(), 8, "a short read");
    watch.is_silent("the end of the stream has been announced");
    assert_eq!(ours.read(&mut [0; 64]).unwrap(), 0);
    assert_eq!(ours.read(&mut [0; 64]).unwrap(), 0, "and again");
}

#[test]
fn an_end_of_stream_after_the_data_was_announced_is_an_event_of_its_own() {
    let (mut ours, mut peer) = pair();
    let mut watch = Watch::new(&ours, R);
    peer.write_all(b"12345678").unwrap();
    watch.says(&["IN"]);
    peer.shutdown(Shutdown::Write).unwrap();
    watch.says(&["IN", "RDHUP"]);
    assert_eq!(ours.read(&mut [0; 64]).unwrap(), 8);
    watch.is_silent("both have been announced");
}

#[test]
fn a_socket_watched_for_both_says_out_once_and_with_each_input() {
    let (ours, mut peer) = pair();
    let mut watch = Watch::new(&ours, R | W);
    watch.says(&["OUT"]);
    watch.is_silent("an idle socket costs no event");
    for _ in 0..2 {
        peer.write_all(b"1").unwrap();
        watch.says(&["IN", "OUT"]);
        watch.is_silent("one event for one arrival");
    }
}

#[test]
fn a_full_socket_is_silent_until_it_has_drained_and_then_says_out() {
    let (mut ours, mut peer) = pair();
    SockRef::from(&ours).set_send_buffer_size(4096).unwrap();
    SockRef::from(&peer).set_recv_buffer_size(4096).unwrap();
    let mut watch = Watch::new(&ours, R | W);
    watch.says(&["OUT"]);
    let taken = fill(&mut ours);
    watch.is_silent("there is no room");
    peer.read_exact(&mut vec![0; taken]).unwrap();
    watch.until(&["OUT"]);
    assert!(ours.write(b"1").is_ok());
}

#[test]
fn a_reset_sets_every_bit_and_is_told_to_the_first_call_only() {
    let (mut ours, peer) = pair();
    let mut watch = Watch::new(&ours, R | W);
    watch.says(&["OUT"]);
    reset(peer);
    watch.says(&["IN", "OUT", "ERR", "HUP", "RDHUP"]);
    refused(ours.read(&mut [0; 8]), ErrorKind::ConnectionReset);
    assert_eq!(
        ours.read(&mut [0; 8]).unwrap(),
        0,
        "as if it were an end of stream"
    );
    refused(ours.write(b"1"), ErrorKind::BrokenPipe);
    watch.is_silent("it was said once");
}

#[test]
fn asking_for_the_pending_error_turns_a_reset_into_a_clean_end_of_stream() {
    let (mut ours, peer) = pair();
    reset(peer);
    until_state(&ours, &["ERR"]);
    let error = ours.take_error().unwrap().expect("a reset is pending");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(ours.take_error().unwrap().is_none());
    assert_eq!(ours.read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn a_refused_connection_sets_every_bit_and_tells_its_error_once() {
    // Bound and not listening: nobody else can get the port meanwhile.
    let closed = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    closed
        .bind(
            &"127.0.0.1:0"
                .parse::<std::net::SocketAddr>()
                .unwrap()
                .into(),
        )
        .unwrap();
    let ours = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    ours.set_nonblocking(true).unwrap();
    let outcome = ours.connect(&closed.local_addr().unwrap());
    assert_eq!(
        outcome.unwrap_err().raw_os_error(),
        Some(115),
        "in progress"
    );
    let mut watch = Watch::new(&ours, R | W);
    watch.says(&["IN", "OUT", "ERR", "HUP", "RDHUP"]);
    let error = ours.take_error().unwrap().expect("it was refused");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert!(
        ours.take_error().unwrap().is_none(),
        "asked twice, it says that all is well"
    );
    assert_eq!(
        ours.peer_addr().unwrap_err().kind(),
        ErrorKind::NotConnected
    );
}

#[test]
fn a_socket_that_was_never_connected_says_out_and_hang_up() {
    let ours = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    ours.set_nonblocking(true).unwrap();
    Watch::new(&ours, R | W).says(&["OUT", "HUP"]);
    assert!(ours.take_error().unwrap().is_none(), "and has no error");
    assert_eq!(
        ours.peer_addr().unwrap_err().kind(),
        ErrorKind::NotConnected
    );
}

#[test]
fn an_error_or_a_hang_up_can_be_all_that_an_event_says() {
    // A datagram that nobody takes: the socket there listens to somebody else only.
    let elsewhere = UdpSocket::bind("127.0.0.1:0").unwrap();
    elsewhere.connect(elsewhere.local_addr().unwrap()).unwrap();
    let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
    ours.set_nonblocking(true).unwrap();
    ours.connect(elsewhere.local_addr().unwrap()).unwrap();
    let mut watch = Watch::new(&ours, R);
    ours.send(b"anybody?").unwrap();
    watch.says(&["ERR"]);
    refused(ours.recv(&mut [0; 8]), ErrorKind::ConnectionRefused);
    refused(ours.recv(&mut [0; 8]), ErrorKind::WouldBlock);

    let (mut full, reader) = pipe::new().unwrap();
    fill(&mut full);
    let mut watch = Watch::new(&full, W);
    watch.is_silent("there is no room");
    drop(reader);
    watch.says(&["ERR"]);
    refused(full.write(b"1"), ErrorKind::BrokenPipe);

    let (writer, mut empty) = pipe::new().unwrap();
    let mut watch = Watch::new(&empty, R);
    watch.is_silent("there is nothing");
    drop(writer);
    watch.says(&["HUP"]);
    assert_eq!(empty.read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn shutting_the_own_half_says_out_and_the_other_half_hang_up() {
    let (ours, peer) = pair();
    let mut watch = Watch::new(&ours, R | W);
    watch.says(&["OUT"]);
    ours.shutdown(Shutdown::Write).unwrap();
    watch.says(&["OUT"]);
    peer.shutdown(Shutdown::Write).unwrap();
    watch.until(&["IN", "OUT", "RDHUP", "HUP"]);
}

#[test]
fn an_urgent_byte_is_no_input_and_vanishes_and_splits_the_reads_around_it() {
    let (mut ours, mut peer) = pair();
    let mut plain = Watch::new(&ours, R);
    let mut priority = Watch::new(&ours, R | Interest::PRIORITY);
    SockRef::from(&peer).send_out_of_band(b"!").unwrap();
    priority.says(&["PRI"]);
    plain.is_silent("an urgent byte is no input");
    refused(ours.read(&mut [0; 8]), ErrorKind::WouldBlock);

    let (mut ours_split, mut peer_split) = pair();
    peer_split.write_all(b"ab").unwrap();
    SockRef::from(&peer_split).send_out_of_band(b"!").unwrap();
    peer_split.write_all(b"cd").unwrap();
    until_state(&ours_split, &["IN", "PRI"]);
    let mut buffer = [0; 8];
    for piece in [b"ab", b"cd"] {
        assert_eq!(ours_split.read(&mut buffer).unwrap(), 2, "up to the mark");
        assert_eq!(&buffer[..2], piece);
    }
    refused(ours_split.read(&mut buffer), ErrorKind::WouldBlock);

    // In line it stays in its place, and reads stop before it all the same.
    SockRef::from(&ours).set_out_of_band_inline(true).unwrap();
    peer.write_all(b"ab").unwrap();
    SockRef::from(&peer).send_out_of_band(b"!").unwrap();
    peer.write_all(b"cd").unwrap();
    until_state(&ours, &["IN", "PRI"]);
    let mut read = || {
        let length = ours.read(&mut buffer).unwrap();
        buffer[..length].to_vec()
    };
    assert_eq!([read(), read()], [b"ab".to_vec(), b"!cd".to_vec()]);
}

#[test]
fn an_empty_datagram_reads_as_zero_and_a_long_one_is_cut_without_a_word() {
    let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
    ours.set_nonblocking(true).unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.connect(ours.local_addr().unwrap()).unwrap();
    let mut watch = Watch::new(&ours, R);
    peer.send(&[]).unwrap();
    watch.says(&["IN"]);
    assert_eq!(ours.recv(&mut [0; 10]).unwrap(), 0);
    peer.send(&[7; 100]).unwrap();
    watch.says(&["IN"]);
    assert_eq!(ours.recv(&mut [0; 10]).unwrap(), 10);
    refused(ours.recv(&mut [0; 10]), ErrorKind::WouldBlock);
}

#[test]
fn a_closed_descriptor_goes_on_being_reported_while_a_duplicate_lives() {
    let (ours, mut peer) = pair();
    let mut watch = Watch::new(&ours, R);
    let duplicate = ours.try_clone().unwrap();
    drop(ours);
    peer.write_all(b"1").unwrap();
    watch.says(&["IN"]);
    (&duplicate).read_exact(&mut [0]).unwrap();
    drop(duplicate);
    peer.write_all(b"2").unwrap();
    watch.is_silent("with the last duplicate it is gone");
}

const CHILD: &str = "KERNEL_PROBE_OUT_OF_DESCRIPTORS";

/// Two facts: a listener that ran into the descriptor limit stays silent when the limit is lifted, and
/// at the limit accept reports it even when nobody is waiting.
#[test]
fn out_of_descriptors_a_listener_goes_deaf_and_accept_says_so_even_without_a_client() {
    let child = Command::new("sh")
        .args(["-c", "ulimit -n 40; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "out_of_descriptors_child",
            "--nocapture",
            "--ignored",
        ])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout);
    let errors = String::from_utf8_lossy(&child.stderr);
    assert!(
        child.status.success() && text.contains("1 passed"),
        "{text}\n{errors}"
    );
}

#[test]
#[ignore = "the child process of another test"]
fn out_of_descriptors_child() {
    const EMFILE: Option<i32> = Some(24);
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let lonely = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    lonely.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let mut watch = Watch::new(&listener, R);
    let _first = TcpStream::connect(address).unwrap();
    watch.says(&["IN"]);

    let mut ballast = Vec::new();
    let full = loop {
        match std::fs::File::open("/dev/null") {
            Ok(file) => ballast.push(file),
            Err(error) => break error,
        }
    };
    assert_eq!(full.raw_os_error(), EMFILE);
    assert_eq!(listener.accept().unwrap_err().raw_os_error(), EMFILE);
    assert_eq!(
        lonely.accept().unwrap_err().raw_os_error(),
        EMFILE,
        "though nobody waits there"
    );
    watch.is_silent("the client is still in the queue, and nothing is said of it");
    ballast.clear();
    watch.is_silent("not even when there are descriptors again");
    let _second = TcpStream::connect(address).unwrap();
    watch.says(&["IN"]);
    listener.accept().unwrap();
    listener.accept().unwrap();
    assert_eq!(lonely.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn accept_succeeds_on_a_connection_that_was_reset_already() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    reset(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
    let (mut accepted, from) = listener.accept().unwrap();
    assert!(
        from.ip().is_loopback(),
        "accept itself still knows the address"
    );
    until_state(&accepted, &["ERR"]);
    assert_eq!(
        accepted.peer_addr().unwrap_err().kind(),
        ErrorKind::NotConnected
    );
    refused(accepted.read(&mut [0; 8]), ErrorKind::ConnectionReset);
}

/// Reads until the end or an error.
fn read_all(stream: &mut TcpStream) -> (usize, io::Result<()>) {
    let mut buffer = vec![0; 64 << 10];
    let mut received = 0;
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return (received, Ok(())),
            Ok(length) => received += length,
            Err(error) => return (received, Err(error)),
        }
    }
}

#[test]
fn closing_with_input_unread_throws_away_what_the_kernel_had_accepted() {
    let (mut ours, mut peer) = pair();
    peer.write_all(b"unread").unwrap();
    until_state(&ours, &["IN"]);
    let taken = fill(&mut ours);
    drop(ours);
    let (received, end) = read_all(&mut peer);
    assert!(received < taken, "of {taken} bytes all arrived");
    assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);

    // A small reply has left before the close, so it proves nothing.
    let (mut ours, mut peer) = pair();
    peer.write_all(b"unread").unwrap();
    until_state(&ours, &["IN"]);
    ours.write_all(b"reply").unwrap();
    drop(ours);
    assert_eq!(read_all(&mut peer).0, 5);
}

#[test]
fn loopback_swallows_megabytes_for_a_stalled_peer_unless_the_buffers_are_small() {
    let (mut ours, _peer) = pair();
    let with_defaults = fill(&mut ours);
    assert!(
        with_defaults > 1 << 20,
        "{with_defaults} bytes: tests that rely on a full socket may have less to wait for"
    );

    let (mut ours, peer) = pair();
    SockRef::from(&ours).set_send_buffer_size(4096).unwrap();
    SockRef::from(&peer).set_recv_buffer_size(4096).unwrap();
    let with_small = fill(&mut ours);
    assert!(
        with_small < 256 << 10,
        "{with_small} bytes with buffers of 4 KiB"
    );
}

#[test]
fn bytes_that_arrived_before_a_reset_can_still_be_read() {
    let (mut ours, mut peer) = pair();
    peer.write_all(b"last words").unwrap();
    reset(peer);
    until_state(&ours, &["IN", "ERR"]);
    let mut buffer = [0; 64];
    assert_eq!(ours.read(&mut buffer).unwrap(), 10);
    assert_eq!(&buffer[..10], b"last words");
    refused(ours.read(&mut buffer), ErrorKind::ConnectionReset);
}

#[test]
fn a_socket_connected_to_its_own_address_talks_to_itself() {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket
        .bind(
            &"127.0.0.1:0"
                .parse::<std::net::SocketAddr>()
                .unwrap()
                .into(),
        )
        .unwrap();
    let address = socket.local_addr().unwrap();
    socket.connect(&address).unwrap();
    assert_eq!(socket.peer_addr().unwrap().as_socket(), address.as_socket());
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(b"hello?").unwrap();
    let mut buffer = [0; 6];
    stream.read_exact(&mut buffer).unwrap();
    assert_eq!(&buffer, b"hello?");
}

/// mio's closed and error flags are derived from several bits; the pretended events of other tests
/// derive them likewise.
#[test]
fn mio_derives_its_flags_from_the_bits_as_the_reactor_takes_them() {
    let flags = |watch: &mut Watch| {
        watch.poll.poll(&mut watch.events, Some(DEADLINE)).unwrap();
        let event = watch.events.iter().next().expect("an event comes");
        let flags = [
            ("readable", event.is_readable()),
            ("writable", event.is_writable()),
            ("read closed", event.is_read_closed()),
            ("write closed", event.is_write_closed()),
            ("error", event.is_error()),
            ("priority", event.is_priority()),
        ];
        let set = flags.into_iter().filter(|(_, set)| *set);
        set.map(|(name, _)| name).collect::<Vec<_>>()
    };

    let (writer, empty) = pipe::new().unwrap();
    drop(writer);
    let hang_up_alone = flags(&mut Watch::new(&empty, R));
    assert_eq!(
        hang_up_alone,
        ["read closed", "write closed"],
        "and neither readable nor writable"
    );

    let (mut full, reader) = pipe::new().unwrap();
    fill(&mut full);
    drop(reader);
    assert_eq!(flags(&mut Watch::new(&full, W)), ["write closed", "error"]);

    let (ours, peer) = pair();
    peer.shutdown(Shutdown::Write).unwrap();
    until_state(&ours, &["RDHUP"]);
    assert_eq!(
        flags(&mut Watch::new(&ours, R)),
        ["readable", "read closed"]
    );

    let (ours, peer) = pair();
    SockRef::from(&peer).send_out_of_band(b"!").unwrap();
    until_state(&ours, &["PRI"]);
    let urgent_alone = flags(&mut Watch::new(&ours, R | Interest::PRIORITY));
    assert_eq!(
        urgent_alone,
        ["readable", "priority"],
        "readable, with nothing to read"
    );
}
