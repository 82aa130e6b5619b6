//! A stream socket that may read and write only so much, until it is given more.
//!
//! A rate limit is kept out of the way of all other streams: the slot of a limited one holds this in place of
//! the bare socket. What there is too little of looks like a kernel that says `WouldBlock`; the code that grants more
//! (`state/rates.rs`) sets the readiness again, as an event would.

use std::fs::File;
use std::io::{self, IoSlice, Read};
use std::net::Shutdown;
use std::os::fd::AsRawFd;

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::SockRef;

use crate::world::endpoint::{Endpoint, Kind};
use crate::world::stream::{send, send_file, send_vectored, stream_interest};

/// The two directions of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// How much one direction may still move, and from which bucket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    /// The number of the bucket.
    pub(crate) bucket: usize,
    /// Bytes.
    pub(crate) left: usize,
}

/// A stream socket with an allowance in one direction or in both.
#[derive(Debug)]
pub(crate) struct Metered {
    socket: socket2::Socket,
    read: Option<Allowance>,
    write: Option<Allowance>,
    /// The last read got less than was asked for because no more was allowed: the kernel may have more.
    capped: bool,
}

impl Metered {
    pub(crate) fn new(socket: socket2::Socket) -> Metered {
        Metered {
            socket,
            read: None,
            write: None,
            capped: false,
        }
    }

    pub(crate) fn allowance(&mut self, direction: Direction) -> &mut Option<Allowance> {
        match direction {
            Direction::Read => &mut self.read,
            Direction::Write => &mut self.write,
        }
    }

    pub(crate) fn is_unlimited(&self) -> bool {
        self.read.is_none() && self.write.is_none()
    }

    pub(crate) fn into_socket(self) -> socket2::Socket {
        self.socket
    }
}

/// So many of `wanted` bytes may move; `WouldBlock` if none.
fn allowed(allowance: Option<Allowance>, wanted: usize) -> io::Result<usize> {
    match allowance {
        Some(Allowance { left: 0, .. }) => Err(io::ErrorKind::WouldBlock.into()),
        Some(Allowance { left, .. }) => Ok(wanted.min(left)),
        None => Ok(wanted),
    }
}

fn used(allowance: &mut Option<Allowance>, bytes: usize) {
    if let Some(allowance) = allowance {
        allowance.left -= bytes;
    }
}

impl Endpoint for Metered {
    fn kind(&self) -> Kind {
        Kind::Stream
    }

    fn name(&self) -> &'static str {
        "a stream socket"
    }

    fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        SourceFd(&self.socket.as_raw_fd()).register(registry, token, stream_interest())
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.socket.as_raw_fd()).deregister(registry)
    }

    fn watch_room(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = stream_interest() | Interest::WRITABLE;
        SourceFd(&self.socket.as_raw_fd()).reregister(registry, token, interest)
    }

    fn socket(&self) -> Option<SockRef<'_>> {
        Some(SockRef::from(&self.socket))
    }

    fn can_send(&self) -> bool {
        true
    }

    fn can_half_close(&self) -> bool {
        true
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = allowed(self.read, buffer.len())?;
        self.capped = count < buffer.len();
        let received = self.socket.read(&mut buffer[..count])?;
        used(&mut self.read, received);
        Ok(received)
    }

    fn was_capped(&self) -> bool {
        self.capped
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = allowed(self.write, bytes.len())?;
        let sent = send(&self.socket, &bytes[..count])?;
        used(&mut self.write, sent);
        Ok(sent)
    }

    fn send_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let total = pieces.iter().map(|piece| piece.len()).sum();
        if allowed(self.write, total)? < total {
            // It need not all go in one call: no more than a part is allowed anyway.
            return self.send(pieces.first().map_or(&[], |first| first));
        }
        let sent = send_vectored(&self.socket, pieces)?;
        used(&mut self.write, sent);
        Ok(sent)
    }

    fn send_file(&mut self, file: &File, offset: u64, length: usize) -> io::Result<usize> {
        let count = allowed(self.write, length)?;
        let sent = send_file(&self.socket, file, offset, count)?;
        used(&mut self.write, sent);
        Ok(sent)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Write)
    }

    fn take_error(&mut self) -> io::Result<Option<io::Error>> {
        self.socket.take_error()
    }

    fn check_connected(&mut self) -> io::Result<()> {
        self.socket.peer_addr().map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use socket2::{Domain, Type};

    use super::*;
    use crate::world::io::Io;

    /// Guards against a hang.
    const DEADLINE: Duration = Duration::from_secs(60);

    /// A connected one, and its peer.
    fn pair() -> (Metered, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let peer = TcpStream::connect(address).expect("loopback connects");
        let (ours, _) = listener.accept().expect("it is in the queue");
        ours.set_nonblocking(true).expect("a socket");
        (Metered::new(ours.into()), peer)
    }

    fn of(left: usize) -> Option<Allowance> {
        Some(Allowance { bucket: 0, left })
    }

    #[test]
    fn a_read_is_capped_where_less_is_allowed_than_was_asked_for() {
        let (mut metered, mut peer) = pair();
        peer.write_all(b"abcdefgh").expect("there is room");
        metered.socket.set_nonblocking(false).expect("a socket");
        let mut buffer = [0; 4];
        assert_eq!(metered.recv(&mut buffer).ok(), Some(4));
        assert!(!metered.was_capped(), "without a limit");
        metered.read = of(4);
        assert_eq!(metered.recv(&mut buffer[..2]).ok(), Some(2));
        assert!(!metered.was_capped(), "as much as was asked for");
        assert_eq!(metered.recv(&mut buffer).ok(), Some(2));
        let mut io = Io::Other(Box::new(metered));
        assert!(io.was_capped(), "half as much");
        let nothing = io.recv(&mut buffer).map_err(|error| error.kind());
        assert_eq!(nothing, Err(io::ErrorKind::WouldBlock));
    }

    #[test]
    fn pieces_leave_together_up_to_exactly_what_is_allowed() {
        let pieces = [b"abc", b"def"].map(|piece| IoSlice::new(piece));
        let sent = |allowance| {
            let (mut metered, _peer) = pair();
            metered.write = allowance;
            let sent = metered.send_vectored(&pieces).ok();
            (sent, metered.write.map(|allowance| allowance.left))
        };
        assert_eq!(sent(None), (Some(6), None));
        assert_eq!(sent(of(7)), (Some(6), Some(1)));
        assert_eq!(sent(of(6)), (Some(6), Some(0)));
        assert_eq!(sent(of(5)), (Some(3), Some(2)));
        assert_eq!(sent(of(2)), (Some(2), Some(0)));
        assert_eq!(sent(of(0)), (None, Some(0)));
    }

    #[test]
    fn options_and_questions_reach_the_socket() {
        let (mut metered, _peer) = pair();
        assert_eq!(metered.name(), "a stream socket");
        metered.check_connected().expect("it has a peer");
        metered.reset_when_closed();
        let linger = metered.socket.linger().expect("a socket");
        assert_eq!(linger, Some(Duration::ZERO));
        metered.urgent_inline(true).expect("TCP").expect("it can");
        assert!(metered.socket.out_of_band_inline().expect("a socket"));
        assert!(metered.socket().is_some());

        let unconnected = socket2::Socket::new(Domain::IPV4, Type::STREAM, None);
        let mut metered = Metered::new(unconnected.expect("a descriptor"));
        let error = metered.check_connected().map_err(|error| error.kind());
        assert_eq!(error, Err(io::ErrorKind::NotConnected));
    }

    #[test]
    fn why_an_attempt_failed_is_asked_of_the_socket() {
        // A port that is bound and does not listen refuses.
        let closed = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor");
        let any = "127.0.0.1:0".parse::<std::net::SocketAddr>().expect("one");
        closed.bind(&any.into()).expect("a free port");
        let address = closed.local_addr().expect("it is bound");

        let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor");
        socket.set_nonblocking(true).expect("a socket");
        let mut poll = mio::Poll::new().expect("a poller");
        let mut metered = Metered::new(socket);
        let outcome = metered.socket.connect(&address);
        outcome.expect_err("it goes on by itself, or is refused");
        metered.register(poll.registry(), Token(1)).expect("it can");
        metered
            .watch_room(poll.registry(), Token(1))
            .expect("it is");
        let mut events = mio::Events::with_capacity(8);
        poll.poll(&mut events, Some(DEADLINE)).expect("no signal");
        assert!(!events.is_empty(), "there is an event");
        let error = metered.take_error().expect("a socket");
        let error = error.map(|error| error.kind());
        assert_eq!(error, Some(io::ErrorKind::ConnectionRefused));
    }

    /// Epoll says who is in already, and who is not.
    #[test]
    #[cfg(target_os = "linux")]
    fn it_is_in_the_poller_from_register_to_deregister() {
        let (mut metered, _peer) = pair();
        let mut poll = mio::Poll::new().expect("a poller");
        let mut events = mio::Events::with_capacity(8);
        for _ in 0..2 {
            metered.register(poll.registry(), Token(1)).expect("once");
            let twice = metered.register(poll.registry(), Token(1));
            twice.expect_err("it is in already");
            metered
                .watch_room(poll.registry(), Token(1))
                .expect("it is");
            poll.poll(&mut events, Some(DEADLINE)).expect("no signal");
            assert!(!events.is_empty(), "there is an event");
            assert!(events.iter().all(|event| event.is_writable()));
            metered.deregister(poll.registry()).expect("it is in");
        }
        metered.deregister(poll.registry()).expect_err("it is out");
    }
}
