//! The test's end of a simulated connection.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::wire::{End, Input, Link, Shared, Wire};
use crate::world::socket::Socket;

/// The peer of a dispatcher, played by the test: it sends what the test says, in the pieces that the test says, and
/// keeps what the dispatcher sends. Clones are the same peer.
///
/// What a peer does arrives in a later turn of the reactor, in order. **Each piece arrives in a turn of its own**,
/// after the one before it was read: a `recv` with enough room gets exactly one. So a test decides where a stream is
/// cut, which on a real socket depends on the network, and how full the dispatcher's buffers are.
///
/// A peer that is dropped does nothing more; the connection stays. [`close`](Peer::close) it, or
/// [`reset`](Peer::reset) it.
///
/// ```
/// use slabloop::test::{connection, run_until_quiet};
/// use slabloop::{Context, Dispatcher, Reactor};
/// use std::io;
///
/// struct Echo;
/// impl Dispatcher for Echo {
///     fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
///         cx.recv_with(|bytes, cx| cx.send(bytes))
///     }
/// }
///
/// # fn main() -> io::Result<()> {
/// let mut reactor = Reactor::new()?;
/// let (peer, socket) = connection();
/// reactor.add(socket, Echo)?;
///
/// peer.send_in_pieces(b"hello", 1);
/// peer.half_close();
/// run_until_quiet(&mut reactor, 20);
/// assert_eq!(peer.take_received(), b"hello");
/// assert!(peer.is_closed());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Peer {
    wire: Shared,
    address: SocketAddr,
}

/// Where simulated peers are, if nothing else is said: 192.0.2.1, an address for documentation that no network has,
/// port 49152.
const USUAL_PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 49_152);

/// A connection that is established: the test's end, and the socket to be given to
/// [`Reactor::add`](crate::Reactor::add), with any dispatcher and in any reactor. For the dispatcher the peer's
/// address is 192.0.2.1:49152.
///
/// The socket is a stream like another, with few exceptions: it has no address of its own, no options of the system's,
/// cannot be [detached](crate::Context::detach), and takes no
/// [rate limit](crate::Context::set_read_rate).
#[must_use]
pub fn connection() -> (Peer, Socket) {
    Peer::with_socket(Link::Up)
}

/// As [`connection`], but the dispatcher is the client and the connection is not established: the attempt goes on
/// until the peer has [answered](Peer::establish) or [refused](Peer::refuse), or until
/// [`Builder::connect_timeout`](crate::Builder::connect_timeout). What the dispatcher sends before is queued.
///
/// ```
/// use slabloop::test::{connecting, run_until_quiet};
/// use slabloop::{Context, Dispatcher, Reactor};
/// use std::io;
///
/// struct Client;
/// impl Dispatcher for Client {
///     fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
///         cx.send(b"HELO there\r\n")
///     }
/// }
///
/// # fn main() -> io::Result<()> {
/// let mut reactor = Reactor::new()?;
/// let (server, socket) = connecting();
/// reactor.add(socket, Client)?;
/// run_until_quiet(&mut reactor, 10);
/// assert_eq!(server.take_received(), b"");
///
/// server.establish();
/// run_until_quiet(&mut reactor, 10);
/// assert_eq!(server.take_received(), b"HELO there\r\n");
/// # Ok(()) }
/// ```
#[must_use]
pub fn connecting() -> (Peer, Socket) {
    Peer::with_socket(Link::Attempt)
}

impl Peer {
    fn with_socket(link: Link) -> (Peer, Socket) {
        let peer = Peer::new(link, USUAL_PEER);
        let socket = peer.socket();
        (peer, socket)
    }

    pub(super) fn new(link: Link, address: SocketAddr) -> Peer {
        let wire = Wire::shared(link);
        Peer { wire, address }
    }

    pub(super) fn socket(&self) -> Socket {
        End::socket(&self.wire, self.address)
    }

    pub(super) fn wire(&self) -> &Shared {
        &self.wire
    }

    /// The address that the dispatcher sees.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// # What the dispatcher reads
impl Peer {
    /// Sends bytes as one piece; nothing if there are none.
    ///
    /// # Panics
    ///
    /// After [`half_close`](Peer::half_close) or [`close`](Peer::close): it has said that no more follows.
    #[track_caller]
    pub fn send(&self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        if !bytes.is_empty() {
            self.push(Input::Piece(bytes.iter().copied().collect()));
        }
    }

    /// Sends bytes in pieces of `size` bytes, the last of what is left. With 1 it is the peer that sends one
    /// byte a turn, which finds most faults of parsers.
    ///
    /// # Panics
    ///
    /// If `size` is 0, and as [`send`](Peer::send).
    #[track_caller]
    pub fn send_in_pieces(&self, bytes: impl AsRef<[u8]>, size: usize) {
        assert!(size > 0, "pieces of 0 bytes never end");
        for piece in bytes.as_ref().chunks(size) {
            self.send(piece);
        }
    }

    /// Has one `recv` of the dispatcher fail, behind all that was sent before: an [`io::ErrorKind`], or an errno by
    /// [`io::Error::from_raw_os_error`]. `WouldBlock` is an event with nothing to read behind it; what is sent
    /// afterwards arrives.
    ///
    /// # Panics
    ///
    /// As [`send`](Peer::send).
    #[track_caller]
    pub fn fail_read(&self, error: impl Into<io::Error>) {
        self.push(Input::Error(error.into()));
    }

    /// Ends the peer's stream behind all that was sent before; what the dispatcher sends still arrives. Has no effect the
    /// second time.
    #[track_caller]
    pub fn half_close(&self) {
        let ended = matches!(self.wire.borrow().input.back(), Some(Input::End));
        if !ended {
            self.push(Input::End);
        }
    }

    /// As [`half_close`](Peer::half_close), and the first that the dispatcher sends from here on is lost and answered
    /// with a reset, as by a program that has closed its socket.
    #[track_caller]
    pub fn close(&self) {
        self.half_close();
        self.wire.borrow_mut().gone = true;
    }

    /// Resets the connection, now: pieces that were not read yet are lost. In the next turn the dispatcher's
    /// first read or write fails with `ConnectionReset`. An attempt that was not answered fails with it.
    pub fn reset(&self) {
        self.wire.borrow_mut().reset();
    }

    #[track_caller]
    fn push(&self, input: Input) {
        self.wire.borrow_mut().push(input);
    }

    /// How many pieces and errors have not been read yet.
    #[must_use]
    pub fn unread(&self) -> usize {
        let wire = self.wire.borrow();
        let comes_to_an_end = matches!(wire.input.back(), Some(Input::End));
        wire.input.len() - usize::from(comes_to_an_end)
    }
}

/// # What the dispatcher sends
impl Peer {
    /// Takes what the dispatcher has sent since the last call. If there was no [room](Peer::set_room), there is now.
    #[must_use]
    pub fn take_received(&self) -> Vec<u8> {
        let mut wire = self.wire.borrow_mut();
        let received = wire.output.drain(..).collect();
        wire.may_write_again();
        received
    }

    /// How many bytes the dispatcher may have under way that the test has not [taken](Peer::take_received), as if the
    /// system's buffers were so small; without limit by default. Beyond them a write says `WouldBlock`. With 0 this is
    /// the client that does not read.
    pub fn set_room(&self, bytes: usize) {
        let mut wire = self.wire.borrow_mut();
        wire.room = bytes;
        wire.may_write_again();
    }

    /// At most so many bytes are taken in one write, so that each is a short one; without limit by default.
    ///
    /// # Panics
    ///
    /// If it is 0; for that there is [`set_room`](Peer::set_room).
    pub fn set_most_per_write(&self, bytes: usize) {
        assert!(bytes > 0, "a write that takes nothing is WouldBlock");
        self.wire.borrow_mut().most_per_write = bytes;
    }

    /// Has the next write of the dispatcher fail; with several calls the next ones, in order. After a `WouldBlock` the
    /// event that says that there is room comes in the next turn, if there is.
    pub fn fail_write(&self, error: impl Into<io::Error>) {
        self.wire.borrow_mut().write_errors.push_back(error.into());
    }

    /// Whether the dispatcher has ended its stream: it has shut its write side, or was closed without an error.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.wire.borrow().seen.end
    }

    /// Whether the dispatcher's socket is closed. (After [`Context::close`](crate::Context::close) this takes
    /// until the peer has ended its stream as well, or until
    /// [`Builder::close_timeout`](crate::Builder::close_timeout).)
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.wire.borrow().seen.closed
    }

    /// Whether the dispatcher's end was closed with a reset: by [`Context::abort`](crate::Context::abort) and its like, or
    /// with pieces unread.
    #[must_use]
    pub fn is_reset(&self) -> bool {
        self.wire.borrow().seen.reset
    }
}

/// # Attempts to connect
impl Peer {
    /// Answers an attempt: the connection is established. Nothing if it is already, or has failed.
    pub fn establish(&self) {
        self.wire.borrow_mut().answer(Link::Up);
    }

    /// Has an attempt fail: with `ConnectionRefused`, `HostUnreachable`, any errno. Nothing if it was answered before.
    pub fn refuse(&self, error: impl Into<io::Error>) {
        let failed = Link::Failed(Some(error.into()));
        self.wire.borrow_mut().answer(failed);
    }
}
