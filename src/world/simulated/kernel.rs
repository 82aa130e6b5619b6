//! For the crate's own tests: a kernel in place of epoll, and sockets whose every call a test answers.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mio::{Registry, Token};

use crate::world::address::Address;
use crate::world::endpoint::{Endpoint, Kind};
use crate::world::io::Io;
use crate::world::signals::Signals;
use crate::world::socket::Socket;

/// The bits of an invented event.
#[derive(Clone, Copy, Debug)]
pub struct Bits;

impl Bits {
    /// Input.
    pub const READABLE: u32 = Signals::READABLE;
    /// Room.
    pub const WRITABLE: u32 = Signals::WRITABLE;
    /// The peer has finished sending.
    pub const READ_CLOSED: u32 = Signals::READ_CLOSED;
    /// Both halves are shut.
    pub const HUNG_UP: u32 = Signals::HUNG_UP;
    /// An error is pending.
    pub const ERROR: u32 = Signals::ERROR;
    /// Urgent data.
    pub const URGENT: u32 = Signals::URGENT;
}

/// A kernel that a test supplies, in place of epoll.
pub trait SimKernel {
    /// Waits for at most `timeout` of whatever time the test keeps, and says what happened: the token
    /// that each socket was registered with, and [`Bits`].
    ///
    /// # Errors
    ///
    /// What the test wants the wait to fail with.
    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<(Token, u32)>)
    -> io::Result<()>;

    /// As `socket(2)` and `connect(2)` of a non-blocking stream: the socket, and what `connect` said. `None`
    /// leaves it to the system.
    ///
    /// # Errors
    ///
    /// Inside the `Option`: what `socket` failed with.
    fn dial(&mut self, _: SocketAddr) -> Option<io::Result<Dialled>> {
        None
    }

    /// As `socket(2)` and `connect(2)` of a UDP socket. `None` leaves it to the system.
    ///
    /// # Errors
    ///
    /// Inside the `Option`: what `socket` or `connect` failed with.
    fn dial_udp(&mut self, _: SocketAddr) -> Option<io::Result<Box<dyn SimSocket>>> {
        None
    }
}

/// A socket whose `connect` was called, and what that said.
pub type Dialled = (Box<dyn SimSocket>, io::Result<()>);

/// What a simulated socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimKind {
    /// A stream.
    Stream,
    /// A listener.
    Listener,
    /// A datagram socket.
    Datagram,
    /// The reading end of a pipe.
    PipeReader,
    /// The writing end of a pipe.
    PipeWriter,
}

/// A socket that a test supplies: all of its own, or a real one with faults in between.
pub trait SimSocket {
    /// What it is.
    fn kind(&self) -> SimKind;

    /// Whether the reactor takes it for a stream socket of the system's, and goes the short ways that only those have.
    fn stands_for_a_stream(&self) -> bool {
        false
    }

    /// It enters the poller. A socket of a simulated kernel notes the token.
    ///
    /// # Errors
    ///
    /// As the test wants.
    fn register(&mut self, _: Token) -> io::Result<()> {
        Ok(())
    }

    /// It leaves the poller.
    ///
    /// # Errors
    ///
    /// As the test wants.
    fn deregister(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// It asks for the events that say that there is room.
    ///
    /// # Errors
    ///
    /// As the test wants.
    fn watch_room(&mut self, _: Token) -> io::Result<()> {
        Ok(())
    }

    /// The peer's address; without one it stands for a Unix socket, whose peer sees no resets.
    fn peer(&self) -> Option<SocketAddr> {
        None
    }

    /// As `SO_LINGER` with a time of zero.
    fn reset_when_closed(&self) {}

    /// As `SO_OOBINLINE`; `None` where there is no such option.
    fn urgent_inline(&self, _: bool) -> Option<io::Result<()>> {
        None
    }

    /// As `recv(2)`.
    ///
    /// # Errors
    ///
    /// As the test wants.
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// As `send(2)`.
    ///
    /// # Errors
    ///
    /// As the test wants.
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// As `sendmsg(2)` with several pieces; takes the first of them, or a part of it.
    ///
    /// # Errors
    ///
    /// As the test wants.
    fn send_vectored(&mut self, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.send(pieces.first().map_or(&[], |first| first))
    }

    /// As `shutdown(2)`, the write side.
    ///
    /// # Errors
    ///
    /// As the test wants.
    fn shutdown_write(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// As `accept4(2)`.
    ///
    /// # Errors
    ///
    /// As the test wants.
    fn accept(&mut self) -> io::Result<Box<dyn SimSocket>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The pending error of a connection attempt.
    ///
    /// # Errors
    ///
    /// As the test wants.
    fn take_error(&mut self) -> io::Result<Option<io::Error>> {
        Ok(None)
    }

    /// Whether a connection attempt has succeeded: `NotConnected` if not yet.
    ///
    /// # Errors
    ///
    /// As the test wants.
    fn check_connected(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for dyn SimSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimSocket({:?})", self.kind())
    }
}

impl Endpoint for Box<dyn SimSocket> {
    fn kind(&self) -> Kind {
        match (**self).kind() {
            SimKind::Stream | SimKind::PipeReader | SimKind::PipeWriter => Kind::Stream,
            SimKind::Listener => Kind::Listener,
            SimKind::Datagram => Kind::Datagram,
        }
    }

    fn name(&self) -> &'static str {
        "a simulated socket"
    }

    fn stands_for_a_stream(&self) -> bool {
        (**self).stands_for_a_stream()
    }

    fn register(&mut self, _: &Registry, token: Token) -> io::Result<()> {
        (**self).register(token)
    }

    fn deregister(&mut self, _: &Registry) -> io::Result<()> {
        (**self).deregister()
    }

    fn watch_room(&mut self, _: &Registry, token: Token) -> io::Result<()> {
        (**self).watch_room(token)
    }

    fn reset_when_closed(&self) {
        (**self).reset_when_closed();
    }

    fn urgent_inline(&self, on: bool) -> Option<io::Result<()>> {
        (**self).urgent_inline(on)
    }

    fn can_recv(&self) -> bool {
        (**self).kind() != SimKind::PipeWriter
    }

    fn can_send(&self) -> bool {
        matches!((**self).kind(), SimKind::Stream | SimKind::PipeWriter)
    }

    fn can_half_close(&self) -> bool {
        (**self).kind() == SimKind::Stream
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (**self).recv(buffer)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (**self).send(bytes)
    }

    fn send_vectored(&mut self, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
        (**self).send_vectored(pieces)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        (**self).shutdown_write()
    }

    fn accept(&mut self) -> io::Result<(Io, Address)> {
        let socket = (**self).accept()?;
        let address = socket.peer().map_or(Address::None, Address::from);
        Ok((Io::Other(Box::new(socket)), address))
    }

    fn take_error(&mut self) -> io::Result<Option<io::Error>> {
        (**self).take_error()
    }

    fn check_connected(&mut self) -> io::Result<()> {
        (**self).check_connected()
    }
}

impl From<Box<dyn SimSocket>> for Socket {
    fn from(socket: Box<dyn SimSocket>) -> Socket {
        let address = socket.peer().map_or(Address::None, Address::from);
        Socket {
            address,
            ..Socket::other(socket)
        }
    }
}
