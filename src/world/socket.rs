//! What users hand to the reactor.

use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;

use mio::event::Source;
use mio::unix::pipe;
use socket2::SockRef;

use crate::world::address::Address;
use crate::world::endpoint::{Endpoint, Io};
use crate::world::foreign::Foreign;

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
    /// Bytes that are to be read before what the kernel has.
    pub(crate) unread: Vec<u8>,
    /// Bytes that are to be sent before all others.
    pub(crate) unsent: Vec<u8>,
}

impl Socket {
    /// Any other [`mio::event::Source`]: an inotify descriptor, a timerfd, a signal source.
    ///
    /// Its dispatcher gets `handle_read` and `handle_write` like any other, and reads or writes it
    /// with [`Context::read_with`](crate::Context::read_with) and
    /// [`Context::write_with`](crate::Context::write_with), through which the reactor learns when it
    /// is drained. `recv`, `send` and the outbox are not for it.
    pub fn foreign(source: impl Source + 'static) -> Socket {
        Socket::other(Foreign(source))
    }

    pub(crate) fn new(io: Io) -> Socket {
        Socket {
            io,
            blocking: false,
            address: Address::None,
            unread: Vec::new(),
            unsent: Vec::new(),
        }
    }

    /// Anything but a stream; non-blocking already.
    pub(crate) fn other(endpoint: impl Endpoint) -> Socket {
        Socket::new(Io::Other(Box::new(endpoint)))
    }

    /// A stream that is non-blocking already.
    pub(crate) fn stream(fd: impl Into<OwnedFd>) -> Socket {
        Socket::new(Io::stream(fd))
    }

    pub(crate) fn tcp_listener(fd: impl Into<OwnedFd>) -> Socket {
        let listener = std::net::TcpListener::from(fd.into());
        Socket::other(mio::net::TcpListener::from_std(listener))
    }

    /// A listener that was made elsewhere gets the default of those that are made here: connections
    /// inherit no-delay from it. A refusal leaves a slower listener, not a broken one.
    fn given_listener(listener: std::net::TcpListener) -> Socket {
        let _ = SockRef::from(&listener).set_tcp_nodelay(true);
        Socket::tcp_listener(listener)
    }

    pub(crate) fn unix_listener(fd: impl Into<OwnedFd>) -> Socket {
        let listener = std::os::unix::net::UnixListener::from(fd.into());
        Socket::other(mio::net::UnixListener::from_std(listener))
    }

    pub(crate) fn udp(fd: impl Into<OwnedFd>) -> Socket {
        Socket::other(UdpSocket::from(fd.into()))
    }

    fn unix_datagram(fd: impl Into<OwnedFd>) -> Socket {
        Socket::other(UnixDatagram::from(fd.into()))
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
    pipe::Receiver => |p| Socket::other(p);
    pipe::Sender => |p| Socket::other(p);
    std::process::ChildStdin => |p| Socket::from(pipe::Sender::from(p));
    std::process::ChildStdout => |p| Socket::from(pipe::Receiver::from(p));
    std::process::ChildStderr => |p| Socket::from(pipe::Receiver::from(p));
}
