//! The sockets and other sources that programs pass to the reactor.

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

/// The argument of [`add`](crate::Reactor::add): a socket, the end of a pipe, or a foreign event source.
///
/// It is made with `From` from the streams, listeners and datagram sockets of `std` and of `mio`, from the
/// ends of a `mio` pipe, from a child process's standard streams, and from a connection that a listener has
/// [`Accepted`](crate::Accepted); or with [`Socket::from_fd`], [`Socket::foreign`] and
/// [`Socket::connecting`]. It is made non-blocking when it is added.
///
/// ```
/// # use slabloop::{Context, Dispatcher, Reactor};
/// use std::io;
/// use std::process::{Command, Stdio};
///
/// struct Output;
/// impl Dispatcher for Output {
///     fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
///         cx.recv_with(|bytes, _| Ok(print!("{}", String::from_utf8_lossy(bytes))))
///     }
/// }
///
/// # fn main() -> io::Result<()> {
/// let mut child = Command::new("echo").arg("hello").stdout(Stdio::piped()).spawn()?;
/// let mut reactor = Reactor::new()?;
/// if let Some(stdout) = child.stdout.take() {
///     reactor.add(stdout, Output)?; // `impl Into<Socket>`
/// }
/// reactor.run()?; // Returns at the end of the output.
/// # child.wait()?;
/// # Ok(()) }
/// ```
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
    /// Any other [`mio::event::Source`]. (For a file descriptor use [`from_fd`](Socket::from_fd).)
    ///
    /// `handle_read` and `handle_write` of its dispatcher are called as usual. They read and write it
    /// with [`Context::read_with`](crate::Context::read_with) and
    /// [`Context::write_with`](crate::Context::write_with), whose result tells the reactor when it
    /// is drained. `recv`, `send` and the outbox are not available. It has to be non-blocking already.
    pub fn foreign(source: impl Source + 'static) -> Socket {
        Socket::foreign_with(source, Interest::READABLE | Interest::WRITABLE)
    }

    /// A [`foreign`](Socket::foreign) source with a given interest: the poller reports only these events.
    /// A source that is only read needs no events for writing.
    ///
    /// The other direction has no events, so after a `WouldBlock` it is not known when it is ready again. For a source
    /// that is only written, `handle_read` is not called.
    pub fn foreign_with(source: impl Source + 'static, interest: Interest) -> Socket {
        Socket::other(Foreign {
            source,
            interest,
            prepare: |_| Ok(()),
        })
    }

    /// Any descriptor that the poller can wait for: an inotify, timerfd, eventfd or pidfd descriptor, or a terminal.
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
    /// The poller reports the events of `interest` and no others. The descriptor
    /// belongs to the reactor from then on and is closed with its dispatcher. It is made non-blocking when it
    /// is added. That flag belongs to the open file, which other processes may share: a terminal becomes
    /// non-blocking for the shell as well.
    ///
    /// `add` refuses regular files and directories, for which the poller cannot wait, with `PermissionDenied`.
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
    /// [`add`](crate::Reactor::add) calls no callback. In a later turn comes either `handle_connect`, or one
    /// `handle_error` and then `handle_close`, as for [`connect`](crate::Reactor::connect), also if the
    /// connection was established, or had failed, before it was added. The attempt times out after
    /// [`Builder::connect_timeout`](crate::Builder::connect_timeout), counted from `add`. Bytes sent
    /// before the connection is established are queued.
    ///
    /// Add it only if `connect` succeeded or is in progress, and do not read its pending
    /// error (`take_error`) before, which the system reports only once. If `connect` failed immediately or was not
    /// called, or the error was read, then `handle_error` gets `NotConnected` on Linux and Android; elsewhere
    /// the attempt times out.
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

    /// A TCP stream that begins to connect to `address`. Use it instead of [`connect`](crate::Reactor::connect) for
    /// a connection with a [layer](Socket::layered), and [`add`](crate::Reactor::add) it like [`Socket::connecting`].
    ///
    /// # Errors
    ///
    /// An error that the system reports immediately: no route, no descriptor left.
    pub fn dial(address: SocketAddr) -> io::Result<Socket> {
        Socket::dial_with(address, &SocketOptions::default())
    }

    /// [`dial`](Socket::dial) with options. (The connect timeout is the reactor's.)
    ///
    /// # Errors
    ///
    /// As [`dial`](Socket::dial), and the error of an option, which names it.
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

    /// Adds a layer to a stream, TLS for example. Everything that is sent and received goes through it from the first
    /// byte on; the dispatcher works as without it.
    ///
    /// The layer's handshake comes first, before any callback. The reactor runs it, even if the dispatcher has paused
    /// reading; bytes sent before are queued. When it has finished,
    /// [`handle_handshake`](crate::Dispatcher::handle_handshake) is called, and then `handle_connect` if the stream
    /// was [connecting](Socket::connecting). A handshake that fails, or has not finished within
    /// [`Builder::handshake_timeout`](crate::Builder::handshake_timeout), leads to one `handle_error` and then
    /// `handle_close`.
    ///
    /// For a connection in use (STARTTLS) call [`Context::start_layer`](crate::Context::start_layer). A
    /// [`Detached`](crate::Detached) connection can get a layer, too: its unsent bytes leave unchanged before the
    /// handshake, and its unread bytes are input of the layer, never of the program.
    ///
    /// [Rate limits](crate::Context::set_read_rate) apply below the layer: they count the bytes that the kernel moves. A
    /// stream with a layer cannot be detached. [`add`](crate::Reactor::add) refuses a layer on anything but a stream,
    /// and a second layer.
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
            return Err(wrong("this is not a socket"));
        };
        match socket.r#type() {
            Ok(Type::STREAM) => {}
            Ok(_) => return Err(wrong("this is not a stream socket")),
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
