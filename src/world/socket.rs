//! The sockets that a slot can own.
//!
//! The reactor owns the socket, not the dispatcher: the readiness cache must see every read and write,
//! or it lies. This file makes the system calls and nothing else; what their results mean is decided
//! in `context.rs` (reading), `flush.rs` (writing), `accept.rs` and `connect.rs`.

use std::any::Any;
use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;

use mio::event::Source;
use mio::unix::{SourceFd, pipe};
use mio::{Interest, Registry, Token};
use socket2::SockRef;

use crate::world::address::Address;

/// What [`add`](crate::Reactor::add) takes: a socket, a pipe's end, or a foreign event source.
///
/// Made with `From` from the streams, listeners and datagram sockets of `std` and of `mio`, from the
/// ends of a `mio` pipe, from a child process's standard streams, and from what a listener
/// [`Accepted`](crate::Accepted); or with [`Socket::foreign`]. It is made non-blocking when it is added.
#[derive(Debug)]
pub struct Socket {
    pub(crate) io: Io,
    /// Whether it may still be in blocking mode.
    pub(crate) blocking: bool,
    /// The peer; for a listener and a datagram socket its own address. As far as it is known.
    pub(crate) address: Address,
}

/// The kinds of socket. Streams first and all alike, because theirs is the hot path.
pub(crate) enum Io {
    /// A connected, or connecting, TCP or Unix stream.
    Stream(socket2::Socket),
    TcpListener(mio::net::TcpListener),
    UnixListener(mio::net::UnixListener),
    Udp(UdpSocket),
    UnixDatagram(UnixDatagram),
    PipeReader(pipe::Receiver),
    PipeWriter(pipe::Sender),
    Foreign(Box<dyn Foreign>),
    #[cfg(feature = "testing")]
    Simulated(Box<dyn crate::world::simulated::SimSocket>),
    /// The socket has been closed; the slot is about to go.
    Closed,
}

/// An event source from outside, kept by type so that its dispatcher can have it back by reference.
pub(crate) trait Foreign: Source + Any {}

impl<S: Source + Any> Foreign for S {}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Io::Stream(_) => "Stream",
            Io::TcpListener(_) => "TcpListener",
            Io::UnixListener(_) => "UnixListener",
            Io::Udp(_) => "UdpSocket",
            Io::UnixDatagram(_) => "UnixDatagram",
            Io::PipeReader(_) => "PipeReader",
            Io::PipeWriter(_) => "PipeWriter",
            Io::Foreign(_) => "Foreign",
            #[cfg(feature = "testing")]
            Io::Simulated(_) => "Simulated",
            Io::Closed => "Closed",
        })
    }
}

/// What a socket is for, which is all that most decisions depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Stream,
    Listener,
    Datagram,
    Foreign,
}

impl Socket {
    /// Any other [`mio::event::Source`]: an inotify descriptor, a timerfd, a signal source.
    ///
    /// Its dispatcher gets `handle_read` and `handle_write` like any other, and reads or writes it
    /// with [`Context::read_with`](crate::Context::read_with) and
    /// [`Context::write_with`](crate::Context::write_with), through which the reactor learns when it
    /// is drained. `recv`, `send` and the outbox are not for it.
    pub fn foreign(source: impl Source + 'static) -> Socket {
        Socket {
            io: Io::Foreign(Box::new(source)),
            blocking: false,
            address: Address::None,
        }
    }

    pub(crate) fn closed() -> Socket {
        Socket {
            io: Io::Closed,
            blocking: false,
            address: Address::None,
        }
    }

    /// Takes the socket out, and leaves its address for log lines.
    pub(crate) fn take(&mut self) -> Socket {
        Socket {
            io: std::mem::replace(&mut self.io, Io::Closed),
            ..Socket::closed()
        }
    }

    /// A stream that is non-blocking already.
    pub(crate) fn stream(fd: impl Into<OwnedFd>) -> Socket {
        Socket {
            io: Io::Stream(socket2::Socket::from(fd.into())),
            blocking: false,
            address: Address::None,
        }
    }

    pub(crate) fn tcp_listener(fd: impl Into<OwnedFd>) -> Socket {
        let listener = std::net::TcpListener::from(fd.into());
        Socket {
            io: Io::TcpListener(mio::net::TcpListener::from_std(listener)),
            blocking: false,
            address: Address::None,
        }
    }

    /// A listener that was made elsewhere gets the default of those that are made here: connections
    /// inherit no-delay from it. A refusal leaves a slower listener, not a broken one.
    fn given_listener(listener: std::net::TcpListener) -> Socket {
        let _ = SockRef::from(&listener).set_tcp_nodelay(true);
        Socket::tcp_listener(listener)
    }

    pub(crate) fn unix_listener(fd: impl Into<OwnedFd>) -> Socket {
        let listener = std::os::unix::net::UnixListener::from(fd.into());
        Socket {
            io: Io::UnixListener(mio::net::UnixListener::from_std(listener)),
            blocking: false,
            address: Address::None,
        }
    }

    pub(crate) fn udp(fd: impl Into<OwnedFd>) -> Socket {
        Socket {
            io: Io::Udp(UdpSocket::from(fd.into())),
            blocking: false,
            address: Address::None,
        }
    }

    fn unix_datagram(fd: impl Into<OwnedFd>) -> Socket {
        let socket = UnixDatagram::from(fd.into());
        Socket {
            io: Io::UnixDatagram(socket),
            blocking: false,
            address: Address::None,
        }
    }

    pub(crate) fn with_address(self, address: impl Into<Address>) -> Socket {
        Socket {
            address: address.into(),
            ..self
        }
    }

    fn maybe_blocking(self) -> Socket {
        Socket {
            blocking: true,
            ..self
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match &self.io {
            Io::Stream(_) | Io::PipeReader(_) | Io::PipeWriter(_) => Kind::Stream,
            Io::TcpListener(_) | Io::UnixListener(_) => Kind::Listener,
            Io::Udp(_) | Io::UnixDatagram(_) => Kind::Datagram,
            Io::Foreign(_) | Io::Closed => Kind::Foreign,
            #[cfg(feature = "testing")]
            Io::Simulated(socket) => socket.kind().into(),
        }
    }

    pub(crate) fn is_listener(&self) -> bool {
        self.kind() == Kind::Listener
    }

    /// The socket behind this, for options and addresses; none for pipes and foreign sources.
    pub(crate) fn as_ref(&self) -> Option<SockRef<'_>> {
        match &self.io {
            Io::Stream(socket) => Some(SockRef::from(socket)),
            Io::Udp(socket) => Some(SockRef::from(socket)),
            Io::UnixDatagram(socket) => Some(SockRef::from(socket)),
            Io::TcpListener(listener) => Some(SockRef::from(listener)),
            Io::UnixListener(listener) => Some(SockRef::from(listener)),
            Io::PipeReader(_) | Io::PipeWriter(_) | Io::Foreign(_) | Io::Closed => None,
            #[cfg(feature = "testing")]
            Io::Simulated(_) => None,
        }
    }

    /// Asks the kernel for the address that log lines show, where nobody has said it yet. A peer that
    /// is already gone has none, and that is no error.
    pub(crate) fn learn_address(&mut self) {
        if self.address != Address::None {
            return;
        }
        let Some(socket) = self.as_ref() else { return };
        let address = match self.kind() {
            Kind::Stream => socket.peer_addr(),
            Kind::Listener | Kind::Datagram | Kind::Foreign => socket.local_addr(),
        };
        if let Ok(address) = address {
            self.address = address.into();
        }
    }

    /// Puts it into non-blocking mode unless it is known to be.
    pub(crate) fn make_nonblocking(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.blocking) {
            return Ok(());
        }
        match &self.io {
            Io::PipeReader(pipe) => pipe.set_nonblocking(true),
            Io::PipeWriter(pipe) => pipe.set_nonblocking(true),
            _ => self
                .as_ref()
                .map_or(Ok(()), |socket| socket.set_nonblocking(true)),
        }
    }

    /// Enters it into the poller. `room` asks for the events that say that there is room to write.
    ///
    /// Interest lives in the slot: asking the kernel to change it back and forth would be a system call
    /// each time. A connection attempt waits for room from the start, a source that is only written or
    /// not ours asks for it as well; a stream or datagram socket asks once, when its first
    /// write finds none (see [`Socket::watch_room`]). Most never do, and are spared an event when they
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
        let both = Interest::READABLE | Interest::WRITABLE;
        match &mut self.io {
            Io::Stream(socket) => {
                let interest = if room {
                    stream_interest() | Interest::WRITABLE
                } else {
                    stream_interest()
                };
                SourceFd(&socket.as_raw_fd()).register(registry, token, interest)
            }
            Io::Udp(socket) => {
                SourceFd(&socket.as_raw_fd()).register(registry, token, Interest::READABLE)
            }
            Io::UnixDatagram(socket) => {
                SourceFd(&socket.as_raw_fd()).register(registry, token, Interest::READABLE)
            }
            Io::TcpListener(listener) => listener.register(registry, token, Interest::READABLE),
            Io::UnixListener(listener) => listener.register(registry, token, Interest::READABLE),
            Io::PipeReader(pipe) => pipe.register(registry, token, Interest::READABLE),
            Io::PipeWriter(pipe) => pipe.register(registry, token, Interest::WRITABLE),
            Io::Foreign(source) => source.register(registry, token, both),
            Io::Closed => Ok(()),
            #[cfg(feature = "testing")]
            Io::Simulated(socket) => socket.register(token),
        }
    }

    /// Asks for the events that say that there is room again. The kernel looks at once, so room that
    /// came between the failed write and this call is reported.
    pub(crate) fn watch_room(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        match &mut self.io {
            Io::Stream(socket) => SourceFd(&socket.as_raw_fd()).reregister(
                registry,
                token,
                stream_interest() | Interest::WRITABLE,
            ),
            Io::Udp(socket) => SourceFd(&socket.as_raw_fd()).reregister(registry, token, both),
            Io::UnixDatagram(socket) => {
                SourceFd(&socket.as_raw_fd()).reregister(registry, token, both)
            }
            // All others that can be written have been asking from the start.
            _ => Ok(()),
        }
    }

    pub(crate) fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match &mut self.io {
            Io::Stream(socket) => SourceFd(&socket.as_raw_fd()).deregister(registry),
            Io::Udp(socket) => SourceFd(&socket.as_raw_fd()).deregister(registry),
            Io::UnixDatagram(socket) => SourceFd(&socket.as_raw_fd()).deregister(registry),
            Io::TcpListener(listener) => listener.deregister(registry),
            Io::UnixListener(listener) => listener.deregister(registry),
            Io::PipeReader(pipe) => pipe.deregister(registry),
            Io::PipeWriter(pipe) => pipe.deregister(registry),
            Io::Foreign(source) => source.deregister(registry),
            Io::Closed => Ok(()),
            #[cfg(feature = "testing")]
            Io::Simulated(socket) => socket.deregister(),
        }
    }

    #[inline]
    pub(crate) fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.io {
            Io::Stream(socket) => socket.read(buffer),
            other => other.recv_other(buffer),
        }
    }

    #[inline]
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.io {
            Io::Stream(socket) => send(socket, bytes),
            other => other.send_other(bytes),
        }
    }

    pub(crate) fn send_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match &mut self.io {
            Io::Stream(socket) => socket.send_vectored_with_flags(pieces, MSG_NOSIGNAL),
            Io::PipeWriter(pipe) => pipe.write_vectored(pieces),
            #[cfg(feature = "testing")]
            Io::Simulated(socket) => socket.send_vectored(pieces),
            other => other.send_other(pieces.first().map_or(&[], |first| first)),
        }
    }

    pub(crate) fn shutdown_write(&mut self) -> io::Result<()> {
        match &mut self.io {
            Io::Stream(socket) => socket.shutdown(Shutdown::Write),
            #[cfg(feature = "testing")]
            Io::Simulated(socket) => socket.shutdown_write(),
            _ => Ok(()),
        }
    }

    /// The error that a connection attempt ended in, if it has. Asking clears it: ask once, while
    /// connecting, and never on an established connection, where it would turn a reset into an end
    /// of stream.
    pub(crate) fn take_error(&mut self) -> io::Result<Option<io::Error>> {
        match &mut self.io {
            Io::Stream(socket) => socket.take_error(),
            #[cfg(feature = "testing")]
            Io::Simulated(socket) => socket.take_error(),
            _ => Ok(None),
        }
    }

    /// The peer's and the own address of a stream; equal if it is connected to itself.
    pub(crate) fn is_connected_to_itself(&mut self) -> io::Result<bool> {
        match &mut self.io {
            Io::Stream(socket) => {
                let peer = socket.peer_addr()?;
                // Unix sockets can't connect to themselves, and unnamed ones all look alike.
                Ok(peer.as_socket().is_some()
                    && socket.local_addr()?.as_socket() == peer.as_socket())
            }
            #[cfg(feature = "testing")]
            Io::Simulated(socket) => socket.check_connected().map(|()| false),
            _ => Ok(false),
        }
    }

    /// The foreign source, if it is one and of this type.
    pub(crate) fn as_foreign<S: Source + Any>(&mut self) -> Option<&mut S> {
        match &mut self.io {
            Io::Foreign(source) => (&mut **source as &mut dyn Any).downcast_mut::<S>(),
            _ => None,
        }
    }

    /// Whether closing should first shut the write side and wait for the peer's end of stream.
    pub(crate) fn can_half_close(&self) -> bool {
        match &self.io {
            Io::Stream(_) => true,
            #[cfg(feature = "testing")]
            Io::Simulated(socket) => socket.kind() == crate::world::simulated::SimKind::Stream,
            _ => false,
        }
    }

    /// Whether there is a reading side.
    pub(crate) fn can_recv(&self) -> bool {
        !matches!(self.io, Io::PipeWriter(_))
    }

    /// Whether a `send` may be queued on it.
    pub(crate) fn can_send(&self) -> bool {
        self.kind() == Kind::Stream && !matches!(self.io, Io::PipeReader(_))
    }
}

impl Io {
    #[cold]
    pub(crate) fn recv_other(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Io::PipeReader(pipe) => pipe.read(buffer),
            Io::Udp(socket) => socket.recv(buffer),
            Io::UnixDatagram(socket) => socket.recv(buffer),
            #[cfg(feature = "testing")]
            Io::Simulated(socket) => socket.recv(buffer),
            Io::PipeWriter(_) => Err(unsupported("recv", "the writing end of a pipe")),
            Io::TcpListener(_) | Io::UnixListener(_) => Err(unsupported("recv", "a listener")),
            Io::Foreign(_) => Err(unsupported("recv", "a foreign source; use read_with")),
            Io::Stream(_) | Io::Closed => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    #[cold]
    fn send_other(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Io::PipeWriter(pipe) => pipe.write(bytes),
            Io::Udp(socket) => socket.send(bytes),
            Io::UnixDatagram(socket) => socket.send(bytes),
            #[cfg(feature = "testing")]
            Io::Simulated(socket) => socket.send(bytes),
            Io::PipeReader(_) => Err(unsupported("send", "the reading end of a pipe")),
            Io::TcpListener(_) | Io::UnixListener(_) => Err(unsupported("send", "a listener")),
            Io::Foreign(_) => Err(unsupported("send", "a foreign source; use write_with")),
            Io::Stream(_) | Io::Closed => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// Writes to a stream socket.
#[inline]
pub(crate) fn send(socket: &socket2::Socket, bytes: &[u8]) -> io::Result<usize> {
    socket.send_with_flags(bytes, MSG_NOSIGNAL)
}

fn stream_interest() -> Interest {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return Interest::READABLE | Interest::PRIORITY;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    return Interest::READABLE;
}

/// A write to a peer that has gone must be an error, not a signal that ends the process. Rust programs
/// ignore SIGPIPE, but a C program that embeds the reactor need not. (Pipes know no such flag.)
#[cfg(any(target_os = "linux", target_os = "android"))]
const MSG_NOSIGNAL: i32 = 0x4000;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const MSG_NOSIGNAL: i32 = 0;

pub(crate) fn unsupported(operation: &str, on: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!("{operation} is not for {on}"),
    )
}

macro_rules! socket_from {
    ($($source:ty => $make:expr;)*) => {
        $(impl From<$source> for Socket {
            fn from(source: $source) -> Socket {
                let make: fn($source) -> Socket = $make;
                make(source).maybe_blocking()
            }
        })*
    };
}

// mio's own are made non-blocking too: `from_raw_fd` and `from_std` take what they are given.
socket_from! {
    std::net::TcpStream => |s| Socket::stream(s);
    mio::net::TcpStream => |s| Socket::stream(s);
    std::os::unix::net::UnixStream => |s| Socket::stream(s);
    mio::net::UnixStream => |s| Socket::stream(s);
    std::net::TcpListener => |s| Socket::given_listener(s);
    mio::net::TcpListener => |s| Socket::given_listener(std::net::TcpListener::from(s));
    std::os::unix::net::UnixListener => |s| Socket::unix_listener(s);
    mio::net::UnixListener => |s| Socket::unix_listener(s);
    UdpSocket => |s| Socket::udp(s);
    mio::net::UdpSocket => |s| Socket::udp(UdpSocket::from(s));
    UnixDatagram => |s| Socket::unix_datagram(s);
    mio::net::UnixDatagram => |s| Socket::unix_datagram(s);
    pipe::Receiver => |p| Socket { io: Io::PipeReader(p), blocking: true, address: Address::None };
    pipe::Sender => |p| Socket { io: Io::PipeWriter(p), blocking: true, address: Address::None };
    std::process::ChildStdin => |p| Socket::from(pipe::Sender::from(p));
    std::process::ChildStdout => |p| Socket::from(pipe::Receiver::from(p));
    std::process::ChildStderr => |p| Socket::from(pipe::Receiver::from(p));
}
