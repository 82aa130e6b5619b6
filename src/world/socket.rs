//! What users hand to the reactor.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;

use mio::Interest;
use mio::event::Source;
use mio::unix::pipe;
use socket2::{SockRef, Type};

use crate::world::address::Address;
use crate::world::descriptor::Descriptor;
use crate::world::endpoint::Endpoint;
use crate::world::errors::{in_progress, invalid};
use crate::world::foreign::Foreign;
use crate::world::io::Io;
use crate::world::layer::Layer;
use crate::world::layered::{Layered, Stage};
use crate::world::options::SocketOptions;

/// What [`add`](crate::Reactor::add) takes: a socket, a pipe's end, or a foreign event source.
///
/// Made with `From` from the streams, listeners and datagram sockets of `std` and of `mio`, from the
/// ends of a `mio` pipe, from a child process's standard streams, and from what a listener
/// [`Accepted`](crate::Accepted); or with [`Socket::from_fd`], [`Socket::foreign`] and
/// [`Socket::connecting`]. It is made non-blocking when it is added.
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
    /// Its `connect` was called elsewhere and has not been looked at since.
    pub(crate) connecting: bool,
}

impl Socket {
    /// Any other [`mio::event::Source`], of whatever type. (For a bare descriptor there is
    /// [`from_fd`](Socket::from_fd).)
    ///
    /// Its dispatcher gets `handle_read` and `handle_write` like any other, and reads or writes it
    /// with [`Context::read_with`](crate::Context::read_with) and
    /// [`Context::write_with`](crate::Context::write_with), through which the reactor learns when it
    /// is drained. `recv`, `send` and the outbox are not for it. It has to be non-blocking already.
    pub fn foreign(source: impl Source + 'static) -> Socket {
        Socket::foreign_with(source, Interest::READABLE | Interest::WRITABLE)
    }

    /// [`foreign`](Socket::foreign) with an interest of its own: the poller reports this and nothing else.
    /// A source that is only read needs no events that say that it may be written.
    ///
    /// The direction that was left out has no events, so nothing says when it is ready again after a
    /// `WouldBlock`. One that is only written gets no `handle_read`.
    pub fn foreign_with(source: impl Source + 'static, interest: Interest) -> Socket {
        Socket::other(Foreign {
            source,
            interest,
            prepare: |_| Ok(()),
        })
    }

    /// Any descriptor that can be waited for: an inotify, timerfd, eventfd or pidfd descriptor, a terminal.
    ///
    /// It is a [foreign](Socket::foreign_with) source of type [`Descriptor`](crate::Descriptor), and is read
    /// and written through that:
    ///
    /// ```
    /// use std::io::{self, Read};
    /// use std::os::fd::OwnedFd;
    ///
    /// use slabloop::mio::Interest;
    /// use slabloop::{Context, Descriptor, Dispatcher, Reactor, Socket};
    ///
    /// /// A timerfd or an eventfd: each read gives a count, in eight bytes.
    /// struct Ticker;
    ///
    /// impl Dispatcher for Ticker {
    ///     fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///         let mut count = [0; 8];
    ///         cx.read_with(|timer: &mut Descriptor| timer.read_exact(&mut count))?;
    ///         println!("{} more", u64::from_ne_bytes(count));
    ///         Ok(())
    ///     }
    /// }
    ///
    /// fn watch(reactor: &mut Reactor, timer: OwnedFd) -> io::Result<()> {
    ///     reactor.add(Socket::from_fd(timer, Interest::READABLE), Ticker)?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// `interest` is what the poller is asked to report; what is left out has no events. The descriptor
    /// belongs to the reactor from here on and is closed with its dispatcher. It is made non-blocking when it
    /// is added. That flag belongs to the open file, which others may share: a terminal becomes
    /// non-blocking for the shell as well.
    ///
    /// What cannot be waited for, a regular file or a directory, is refused by `add` with
    /// `PermissionDenied`.
    pub fn from_fd(fd: impl Into<OwnedFd>, interest: Interest) -> Socket {
        let source = Foreign {
            source: Descriptor::new(fd.into()),
            interest,
            prepare: Descriptor::set_nonblocking,
        };
        Socket::other(source).maybe_blocking()
    }

    /// A TCP or Unix stream whose `connect` was called elsewhere, on a non-blocking socket, and may still
    /// be in progress: one with options that [`SocketOptions`](crate::SocketOptions) does not have, for
    /// example, or one that another library has begun to connect.
    ///
    /// [`add`](crate::Reactor::add) calls nothing. In a later turn follows either `handle_connect`, or one
    /// `handle_error` and then `handle_close`, as for [`connect`](crate::Reactor::connect): also if the
    /// connection was established, or had failed, before it was added. The attempt times out after
    /// [`Builder::connect_timeout`](crate::Builder::connect_timeout), counted from `add`. Bytes sent
    /// before the connection is established are queued.
    ///
    /// Add it only if `connect` succeeded or said that it is in progress, and do not ask for its pending
    /// error (`take_error`) before, which the system tells once. If `connect` failed at once or was not
    /// called, or the error is gone, then `handle_error` gets `NotConnected` on Linux and Android; elsewhere
    /// the attempt ends by its deadline.
    ///
    /// With the `socket2` crate:
    ///
    /// ```
    /// use slabloop::{Dispatcher, Reactor, Socket};
    /// use std::io;
    /// use std::net::SocketAddr;
    ///
    /// struct Client;
    /// impl Dispatcher for Client {}
    ///
    /// fn dial(reactor: &mut Reactor, address: SocketAddr) -> io::Result<()> {
    ///     let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    ///     socket.set_nonblocking(true)?;
    ///     socket.set_ttl_v4(5)?;
    ///     match socket.connect(&address.into()) {
    ///         Ok(()) => {}
    ///         // EINPROGRESS, which std has no stable name for.
    ///         Err(error) if error.raw_os_error() == Some(115) => {}
    ///         Err(error) => return Err(error),
    ///     }
    ///     reactor.add(Socket::connecting(socket), Client)?;
    ///     Ok(())
    /// }
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// # let mut reactor = Reactor::new().unwrap();
    /// # if cfg!(target_os = "linux") {
    /// #     dial(&mut reactor, listener.local_addr().unwrap()).unwrap();
    /// # }
    /// ```
    pub fn connecting(stream: impl Into<OwnedFd>) -> Socket {
        Socket {
            connecting: true,
            ..Socket::stream(stream).maybe_blocking()
        }
    }

    /// A TCP stream that begins to connect to `address`, to be added: for what [`connect`](crate::Reactor::connect)
    /// has no argument for, a [layer](Socket::layered). All else is as for [`Socket::connecting`].
    ///
    /// # Errors
    ///
    /// What the system says at once: no route, no descriptor left.
    pub fn dial(address: SocketAddr) -> io::Result<Socket> {
        Socket::dial_with(address, &SocketOptions::default())
    }

    /// As [`dial`](Socket::dial), with options. (The connect timeout is the reactor's.)
    ///
    /// # Errors
    ///
    /// As [`dial`](Socket::dial), and what an option meets, by name.
    pub fn dial_with(address: SocketAddr, options: &SocketOptions) -> io::Result<Socket> {
        let (socket, outcome) = options.dial(address)?;
        match outcome {
            Err(error) if !in_progress(&error) => Err(error),
            _ => Ok(Socket {
                connecting: true,
                ..Socket::stream(socket).with_address(address)
            }),
        }
    }

    /// Puts a layer on a stream: TLS, for one. All that is sent and received goes through it from the first byte
    /// on; the dispatcher sees what it would see without.
    ///
    /// The layer's handshake comes first, before any callback, driven by the reactor whatever the dispatcher
    /// pauses; bytes sent before are queued. When it is through,
    /// [`handle_handshake`](crate::Dispatcher::handle_handshake) is called, and `handle_connect` behind it if the stream
    /// was [connecting](Socket::connecting). A handshake that fails, or is not through within
    /// [`Builder::handshake_timeout`](crate::Builder::handshake_timeout), ends in one `handle_error`, and then
    /// `handle_close`.
    ///
    /// A connection in use gets its layer by [`Context::start_layer`](crate::Context::start_layer), as STARTTLS wants
    /// it. So does one that was [`Detached`](crate::Detached): what was not sent leaves as it is, before the
    /// handshake, and what was read and not used is the layer's input, never the program's.
    ///
    /// [Rate limits](crate::Context::set_read_rate) hold below the layer: they count what the kernel moves. A stream
    /// with a layer cannot be detached. What is no stream, or has a layer already, is refused by
    /// [`add`](crate::Reactor::add).
    #[must_use]
    pub fn layered(self, layer: impl Layer) -> Socket {
        let stage = if self.connecting {
            Stage::Connecting
        } else {
            Stage::Handshaking
        };
        let before = (self.unread, self.unsent);
        let layered = Layered::new(self.io, Box::new(layer), stage, before);
        Socket {
            io: Io::Other(Box::new(layered)),
            unread: Vec::new(),
            unsent: Vec::new(),
            ..self
        }
    }

    /// A descriptor can be anything, and on much that is not a stream an attempt would never end.
    pub(crate) fn check_connecting(&self) -> io::Result<()> {
        #[cfg(feature = "test")]
        if matches!(&self.io, Io::Other(endpoint) if endpoint.is_simulated_attempt()) {
            return Ok(());
        }
        let wrong = |what: &str| invalid(format!("Socket::connecting: {what}"));
        let Some(socket) = self.io.socket() else {
            return Err(wrong("this is no socket"));
        };
        match socket.r#type() {
            Ok(Type::STREAM) => {}
            Ok(_) => return Err(wrong("this is no stream socket")),
            Err(error) => return Err(wrong(&error.to_string())),
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if socket.is_listener()? {
            return Err(wrong("this is a listener"));
        }
        Ok(())
    }

    pub(crate) fn new(io: Io) -> Socket {
        Socket {
            io,
            blocking: false,
            address: Address::None,
            unread: Vec::new(),
            unsent: Vec::new(),
            connecting: false,
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
