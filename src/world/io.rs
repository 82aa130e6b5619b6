//! What a slot owns: a stream socket, or one of the rarer kinds behind a trait.
//!
//! The reactor owns the socket, not the dispatcher: the readiness cache must see every read and write,
//! or it lies. This file makes the system calls and nothing else; what their results mean is decided
//! above. Streams stand apart from all others because theirs is the hot path.

use std::any::Any;
use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token, event::Source};
use socket2::SockRef;

use crate::world::address::Address;
use crate::world::endpoint::{Closed, Endpoint, Kind};
use crate::world::layered::Layered;
use crate::world::stream::{send, send_file, send_vectored, stream_interest};

/// A stream, or another kind of socket or event source.
pub(crate) enum Io {
    /// A connected, or connecting, TCP or Unix stream.
    Stream(socket2::Socket),
    Other(Box<dyn Endpoint>),
}

impl Io {
    /// A stream that is non-blocking already.
    pub(crate) fn stream(fd: impl Into<OwnedFd>) -> Io {
        Io::Stream(socket2::Socket::from(fd.into()))
    }

    pub(crate) fn closed() -> Io {
        // Without fields it takes no memory from the allocator.
        Io::Other(Box::new(Closed))
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Io::Stream(_) => Kind::Stream,
            Io::Other(endpoint) => endpoint.kind(),
        }
    }

    /// Whether it takes the short ways of a stream socket with nothing in between.
    #[inline]
    pub(crate) fn is_stream_socket(&self) -> bool {
        match self {
            Io::Stream(_) => true,
            #[cfg(feature = "testing")]
            Io::Other(endpoint) => endpoint.stands_for_a_stream(),
            #[cfg(not(feature = "testing"))]
            Io::Other(_) => false,
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.kind() == Kind::Closed
    }

    /// With its article, as error messages name it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Io::Stream(_) => "a stream socket",
            Io::Other(endpoint) => endpoint.name(),
        }
    }

    /// The endpoint, if it is of this type.
    pub(crate) fn as_other<E: Endpoint>(&mut self) -> Option<&mut E> {
        match self {
            Io::Stream(_) => None,
            Io::Other(endpoint) => (&mut **endpoint as &mut dyn Any).downcast_mut::<E>(),
        }
    }

    /// The endpoint itself, if it is of this type; otherwise all of it again.
    pub(crate) fn into_other<E: Endpoint>(self) -> Result<E, Io> {
        match self {
            Io::Other(endpoint) if (&*endpoint as &dyn Any).is::<E>() => {
                let any: Box<dyn Any> = endpoint;
                let endpoint = any.downcast().expect("it has just been looked at");
                Ok(*endpoint)
            }
            io => Err(io),
        }
    }

    /// The socket behind this, for options and addresses; none for pipes and foreign sources.
    pub(crate) fn socket(&self) -> Option<SockRef<'_>> {
        match self {
            Io::Stream(socket) => Some(SockRef::from(socket)),
            Io::Other(endpoint) => endpoint.socket(),
        }
    }

    pub(crate) fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Io::Stream(socket) => socket.set_nonblocking(true),
            Io::Other(endpoint) => endpoint.set_nonblocking(),
        }
    }

    /// Has the kernel send a reset when the socket is closed, and keep nothing for the peer.
    pub(crate) fn reset_when_closed(&self) {
        match self {
            Io::Stream(socket) => {
                let _ = socket.set_linger(Some(Duration::ZERO));
            }
            Io::Other(endpoint) => endpoint.reset_when_closed(),
        }
    }

    /// Puts urgent bytes in their place among the others. `None` where there is no such thing.
    pub(crate) fn urgent_inline(&self, on: bool) -> Option<io::Result<()>> {
        match self {
            Io::Stream(socket) => Some(socket.set_out_of_band_inline(on)),
            Io::Other(endpoint) => endpoint.urgent_inline(on),
        }
    }

    /// Asks the kernel for the address that log lines show: a stream's peer, and any other socket's own.
    /// A peer that is already gone has none, and that is no error. What is no socket says what it is.
    pub(crate) fn address(&self) -> Address {
        let socket = match self {
            Io::Stream(socket) => SockRef::from(socket),
            Io::Other(endpoint) => match endpoint.socket() {
                Some(socket) => socket,
                None => return Address::What(endpoint.what()),
            },
        };
        let address = match self.kind() {
            Kind::Stream => socket.peer_addr(),
            Kind::Listener | Kind::Datagram | Kind::Foreign | Kind::Service | Kind::Closed => {
                socket.local_addr()
            }
        };
        address.map_or(Address::None, Address::from)
    }

    /// Enters it into the poller. `room` asks for the events that say that there is room to write.
    ///
    /// Interest lives in the slot: asking the kernel to change it back and forth would be a system call
    /// each time. A connection attempt waits for room from the start, a source that is only written or
    /// not ours asks for it as well; a stream or datagram socket asks once, when its first
    /// write finds none (see [`Io::watch_room`]). Most never do, and are spared an event when they
    /// are added and, on datagram and Unix sockets, one for every message that has left the kernel.
    ///
    /// Urgent data is asked for on every stream that may carry some, because an urgent byte cuts the
    /// reads around it short, and a short read must not then be taken for "drained".
    pub(crate) fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        room: bool,
    ) -> io::Result<()> {
        match self {
            Io::Stream(socket) => {
                let interest = if room {
                    stream_interest() | Interest::WRITABLE
                } else {
                    stream_interest()
                };
                SourceFd(&socket.as_raw_fd()).register(registry, token, interest)
            }
            Io::Other(endpoint) => endpoint.register(registry, token),
        }
    }

    /// Asks for the events that say that there is room again. The kernel looks at once, so room that
    /// came between the failed write and this call is reported.
    pub(crate) fn watch_room(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Io::Stream(socket) => SourceFd(&socket.as_raw_fd()).reregister(
                registry,
                token,
                stream_interest() | Interest::WRITABLE,
            ),
            Io::Other(endpoint) => endpoint.watch_room(registry, token),
        }
    }

    /// A socket that a test supplies has its events from here on reported there.
    #[cfg(feature = "test")]
    pub(crate) fn report_to(&mut self, news: &crate::world::simulated::news::News) {
        if let Io::Other(endpoint) = self {
            endpoint.report_to(news);
        }
    }

    pub(crate) fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Io::Stream(socket) => SourceFd(&socket.as_raw_fd()).deregister(registry),
            Io::Other(endpoint) => endpoint.deregister(registry),
        }
    }

    /// Takes one connection from a listener's queue, with the peer's address.
    pub(crate) fn accept(&mut self) -> io::Result<(Io, Address)> {
        match self {
            Io::Stream(_) => Err(io::ErrorKind::Unsupported.into()),
            Io::Other(endpoint) => endpoint.accept(),
        }
    }

    pub(crate) fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Io::Stream(socket) => socket.read(buffer),
            Io::Other(endpoint) => endpoint.recv(buffer),
        }
    }

    /// Whether the last read got little although there may be more.
    pub(crate) fn was_capped(&self) -> bool {
        match self {
            Io::Stream(_) => false,
            Io::Other(endpoint) => endpoint.was_capped(),
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Io::Stream(socket) => send(socket, bytes),
            Io::Other(endpoint) => endpoint.send(bytes),
        }
    }

    /// `length` bytes of a file from `offset` on, copied by the kernel; see [`send_file`].
    pub(crate) fn send_file(
        &mut self,
        file: &File,
        offset: u64,
        length: usize,
    ) -> io::Result<usize> {
        match self {
            Io::Stream(socket) => send_file(socket, file, offset, length),
            Io::Other(endpoint) => endpoint.send_file(file, offset, length),
        }
    }

    pub(crate) fn send_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Io::Stream(socket) => send_vectored(socket, pieces),
            Io::Other(endpoint) => endpoint.send_vectored(pieces),
        }
    }

    pub(crate) fn shutdown_write(&mut self) -> io::Result<()> {
        match self {
            Io::Stream(socket) => socket.shutdown(Shutdown::Write),
            Io::Other(endpoint) => endpoint.shutdown_write(),
        }
    }

    /// What arrives is only thrown away from now on, and need not be understood.
    pub(crate) fn drain(&mut self) {
        if let Io::Other(endpoint) = self {
            endpoint.drain();
        }
    }

    /// The layer on a stream, if it has one.
    pub(crate) fn layered(&mut self) -> Option<&mut Layered> {
        self.as_other()
    }

    /// As [`Io::layered`], to look at.
    pub(crate) fn as_layered(&self) -> Option<&Layered> {
        match self {
            Io::Stream(_) => None,
            Io::Other(endpoint) => (&**endpoint as &dyn Any).downcast_ref(),
        }
    }

    /// The stream itself, below a layer if it has one.
    pub(crate) fn below_layers(&mut self) -> &mut Io {
        if self.as_layered().is_none() {
            return self;
        }
        self.layered().expect("it was looked at").below_mut()
    }

    /// Whether the stream is established and its layer has not finished its handshake.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.as_layered().is_some_and(Layered::is_handshaking)
    }

    /// The error that a connection attempt ended in, if it has. Asking clears it: ask once, while
    /// connecting, and never on an established connection, where it would turn a reset into an end
    /// of stream.
    pub(crate) fn take_error(&mut self) -> io::Result<Option<io::Error>> {
        match self {
            Io::Stream(socket) => socket.take_error(),
            Io::Other(endpoint) => endpoint.take_error(),
        }
    }

    /// Whether a stream's peer is the stream itself; `NotConnected` if it has no peer yet.
    pub(crate) fn is_connected_to_itself(&mut self) -> io::Result<bool> {
        match self {
            Io::Stream(socket) => {
                let peer = socket.peer_addr()?;
                // Unix sockets can't connect to themselves, and unnamed ones all look alike.
                Ok(peer.as_socket().is_some()
                    && socket.local_addr()?.as_socket() == peer.as_socket())
            }
            Io::Other(endpoint) => endpoint.check_connected().map(|()| false),
        }
    }

    /// Whether a connection attempt that has neither failed nor a peer can still come to anything. If not,
    /// `connect` was not called, or its error was asked for before. An error is the attempt's own, which
    /// came just now.
    ///
    /// An attempt in progress has nothing to read yet, a socket that is not connecting has no use for
    /// reading. So it is on Linux; other systems give the same answer for both.
    pub(crate) fn may_still_connect(&mut self) -> io::Result<bool> {
        let Io::Stream(socket) = self else {
            return Ok(true);
        };
        if cfg!(not(any(target_os = "linux", target_os = "android"))) {
            return Ok(true);
        }
        match socket.peek(&mut [MaybeUninit::uninit()]) {
            // Its end, as after a failure; or it was established and ended a moment ago.
            Ok(0) => Ok(socket.peer_addr().is_ok()),
            Ok(_) => Ok(true),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(true),
                // TCP says the first, Unix sockets the second.
                io::ErrorKind::NotConnected | io::ErrorKind::InvalidInput => Ok(false),
                _ => Err(error),
            },
        }
    }

    /// Whether closing should first shut the write side and wait for the peer's end of stream.
    pub(crate) fn can_half_close(&self) -> bool {
        match self {
            Io::Stream(_) => true,
            Io::Other(endpoint) => endpoint.can_half_close(),
        }
    }

    /// Whether there is a reading side.
    pub(crate) fn can_recv(&self) -> bool {
        match self {
            Io::Stream(_) => true,
            Io::Other(endpoint) => endpoint.can_recv(),
        }
    }

    /// Whether "room to write" means anything, so that `handle_write` can follow.
    pub(crate) fn can_produce(&self) -> bool {
        !matches!(self.kind(), Kind::Listener | Kind::Service | Kind::Closed)
    }

    /// Whether a `send` may be queued on it.
    pub(crate) fn can_send(&self) -> bool {
        match self {
            Io::Stream(_) => true,
            Io::Other(endpoint) => endpoint.can_send(),
        }
    }
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
