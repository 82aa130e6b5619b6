//! Options of the sockets that the crate makes itself, applied through `socket2`.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, SockRef, TcpKeepalive, Type};

use crate::world::errors::invalid;

/// Options for [`listen_with`](crate::Reactor::listen_with),
/// [`connect_with`](crate::Reactor::connect_with), their Unix counterparts
/// [`listen_unix_with`](crate::Reactor::listen_unix_with) and
/// [`connect_unix_with`](crate::Reactor::connect_unix_with), and
/// [`bind_udp_with`](crate::Reactor::bind_udp_with).
///
/// The options of a listener also apply to the connections that it accepts. Options that have no meaning for
/// a kind of socket are ignored (`nodelay` on a Unix socket, `source_address` on a listener).
/// All sockets are non-blocking and close-on-exec, whatever the options. Values are checked when the
/// socket is created.
///
/// ```
/// # use slabloop::{Dispatcher, Reactor};
/// use slabloop::SocketOptions;
/// use std::time::Duration;
///
/// # struct Listener; impl Dispatcher for Listener {}
/// # fn main() -> std::io::Result<()> {
/// # let mut reactor = Reactor::new()?;
/// let mut options = SocketOptions::new();
/// options.reuse_port(true).keepalive(Duration::from_secs(60));
/// reactor.listen_with("127.0.0.1:0", &options, Listener)?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    backlog: u32,
    reuse_port: bool,
    nodelay: bool,
    keepalive: Option<Duration>,
    receive_buffer: Option<usize>,
    send_buffer: Option<usize>,
    only_v6: Option<bool>,
    source_address: Option<SocketAddr>,
    tcp_user_timeout: Option<Duration>,
    connect_timeout: ConnectTimeout,
}

/// The deadline of one connection attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConnectTimeout {
    /// What the builder says.
    Usual,
    /// What was set for this attempt.
    Own(Option<Duration>),
}

/// Connections that the kernel may hold for a listener. The usual 1,024 loses some when ten thousand
/// arrive at once; the kernel lowers it to `net.core.somaxconn` by itself.
pub(crate) const BACKLOG: u32 = 4096;

impl Default for SocketOptions {
    fn default() -> SocketOptions {
        SocketOptions {
            backlog: BACKLOG,
            reuse_port: false,
            nodelay: true,
            keepalive: None,
            receive_buffer: None,
            send_buffer: None,
            only_v6: None,
            source_address: None,
            tcp_user_timeout: None,
            connect_timeout: ConnectTimeout::Usual,
        }
    }
}

impl SocketOptions {
    /// The defaults: backlog 4,096, `TCP_NODELAY` on, everything else as in the system.
    #[must_use]
    pub fn new() -> SocketOptions {
        SocketOptions::default()
    }

    /// The number of connections that the kernel may queue until they are accepted, at least 1. Default: 4,096. The
    /// kernel limits it (`net.core.somaxconn`, 4,096 on current Linux).
    pub fn backlog(&mut self, connections: u32) -> &mut Self {
        self.backlog = connections;
        self
    }

    /// `SO_REUSEPORT`: lets several sockets listen on one port, in this process or in others. Default: off.
    ///
    /// The kernel distributes new connections among them. When one of them closes, the connections in its
    /// queue that have not been accepted are reset.
    pub fn reuse_port(&mut self, on: bool) -> &mut Self {
        self.reuse_port = on;
        self
    }

    /// `TCP_NODELAY`: small writes leave immediately. Default: on. (The outbox already combines the small sends of a
    /// turn.)
    pub fn nodelay(&mut self, on: bool) -> &mut Self {
        self.nodelay = on;
        self
    }

    /// `SO_KEEPALIVE`: probes a silent peer after this time, in whole seconds, at least one. Default: off. If the peer
    /// does not answer, the connection ends with a `handle_error` with `TimedOut`.
    pub fn keepalive(&mut self, after: Duration) -> &mut Self {
        self.keepalive = Some(after);
        self
    }

    /// `SO_RCVBUF`: the size of the kernel's receive buffer in bytes. Linux doubles it, and has a minimum. Default: the
    /// system's.
    pub fn receive_buffer(&mut self, bytes: usize) -> &mut Self {
        self.receive_buffer = Some(bytes);
        self
    }

    /// `SO_SNDBUF`: the size of the kernel's send buffer in bytes. Linux doubles it, and has a minimum. Default: the
    /// system's.
    pub fn send_buffer(&mut self, bytes: usize) -> &mut Self {
        self.send_buffer = Some(bytes);
        self
    }

    /// `IPV6_V6ONLY`: whether an IPv6 socket is for IPv6 alone. Default: the system's choice (on Linux usually off, so
    /// that `[::]` serves both).
    pub fn only_v6(&mut self, on: bool) -> &mut Self {
        self.only_v6 = Some(on);
        self
    }

    /// The local address of a TCP connection. Default: the system's choice. It is for machines
    /// with several addresses, and for peers that accept only certain addresses or ports.
    ///
    /// With port 0 the system chooses the port. It does so before the peer is known, so all connections
    /// from one source address share the range of ephemeral ports (about 28,000 on Linux).
    ///
    /// With any other port the address is reused, so that a program can connect from the port again after an
    /// earlier connection has ended. If this side closed the earlier connection first, the system may refuse a new one
    /// to the same peer with `AddrNotAvailable` for about a minute (TIME_WAIT).
    ///
    /// If the address cannot be used, the call that connects fails with an error that
    /// names the address: `AddrNotAvailable` if this machine does not have it, `AddrInUse` if the port is
    /// in use, `PermissionDenied` for a privileged port, `InvalidInput` if one of the two addresses is IPv4 and the
    /// other IPv6. Of the addresses of a host name only those of the same family are tried.
    ///
    /// ```
    /// use slabloop::{Context, Dispatcher, Id, SocketOptions};
    /// use std::io;
    /// use std::net::{IpAddr, SocketAddr};
    ///
    /// struct Client;
    /// impl Dispatcher for Client {}
    ///
    /// fn dial(cx: &mut Context<'_>, from: IpAddr, to: SocketAddr) -> io::Result<Id<Client>> {
    ///     let mut options = SocketOptions::new();
    ///     options.source_address(SocketAddr::new(from, 0));
    ///     cx.connect_with(to, &options, Client)
    /// }
    /// ```
    pub fn source_address(&mut self, address: SocketAddr) -> &mut Self {
        self.source_address = Some(address);
        self
    }

    /// `TCP_USER_TIMEOUT`: how long sent data may be without acknowledgement by the peer before
    /// the system ends the connection. Default: the system's, many minutes. From 1 ms to 2,147,483,647 ms
    /// (24 days), in whole milliseconds; a fraction is dropped.
    ///
    /// The connection then ends with a `handle_error` with `TimedOut`. This option also replaces the number of probes
    /// that [`keepalive`](SocketOptions::keepalive) sends. The
    /// [stall timeout](crate::Builder::stall_timeout) is different: it ends the connection of a peer that acknowledges
    /// but does not read.
    ///
    /// It is available on Linux, Android and Fuchsia. Elsewhere, connecting or listening with it fails with
    /// `Unsupported`.
    ///
    /// ```
    /// use slabloop::SocketOptions;
    /// use std::time::Duration;
    ///
    /// let mut options = SocketOptions::new();
    /// options.tcp_user_timeout(Duration::from_secs(20));
    /// ```
    pub fn tcp_user_timeout(&mut self, limit: Duration) -> &mut Self {
        self.tcp_user_timeout = Some(limit);
        self
    }

    /// How long this connection attempt may take before it ends in `TimedOut`, in place of
    /// [`Builder::connect_timeout`](crate::Builder::connect_timeout), for TCP and Unix sockets. It counts from the call
    /// that connects. It must be more than zero; `None` leaves it to the system, whose timeout is minutes.
    ///
    /// ```
    /// use slabloop::SocketOptions;
    /// use std::time::Duration;
    ///
    /// let mut options = SocketOptions::new();
    /// options.connect_timeout(Duration::from_millis(500));
    /// ```
    pub fn connect_timeout(&mut self, limit: impl Into<Option<Duration>>) -> &mut Self {
        self.connect_timeout = ConnectTimeout::Own(limit.into());
        self
    }

    /// The deadline of an attempt, if the builder's is `usual`.
    pub(crate) fn connect_limit(&self, usual: Option<Duration>) -> Option<Duration> {
        match self.connect_timeout {
            ConnectTimeout::Usual => usual,
            ConnectTimeout::Own(limit) => limit,
        }
    }

    /// A TCP listener on `address`, with the address reused: a server must be able to restart while
    /// old connections of its port are still timing out.
    pub(crate) fn listener(&self, address: SocketAddr) -> io::Result<socket2::Socket> {
        let socket = self.inet(address, Type::STREAM, Protocol::TCP)?;
        socket.set_reuse_address(true)?;
        self.apply_tcp(&SockRef::from(&socket))?;
        socket.bind(&address.into())?;
        socket.listen(self.checked_backlog()?)?;
        Ok(socket)
    }

    pub(crate) fn unix_listener(&self, path: &Path) -> io::Result<socket2::Socket> {
        let socket = nonblocking(Domain::UNIX, Type::STREAM, None)?;
        self.apply_buffers(&socket)?;
        socket.bind(&SockAddr::unix(path)?)?;
        socket.listen(self.checked_backlog()?)?;
        Ok(socket)
    }

    /// A TCP socket whose `connect` to `address` has been called, and what the kernel knew at once.
    pub(crate) fn dial(
        &self,
        address: SocketAddr,
    ) -> io::Result<(socket2::Socket, io::Result<()>)> {
        self.check_connect_timeout()?;
        if !self.suits_source(address) {
            return Err(self.wrong_family(address));
        }
        let socket = self.inet(address, Type::STREAM, Protocol::TCP)?;
        self.apply_tcp(&SockRef::from(&socket))?;
        let Some(source) = self.source_address else {
            let outcome = socket.connect(&address.into());
            return Ok((socket, outcome));
        };
        if source.port() != 0 {
            // The port may still be held by a connection that has ended.
            socket.set_reuse_address(true)?;
        }
        socket
            .bind(&source.into())
            .map_err(|error| about_source(source, error))?;
        // With some addresses and ports, only here does it show that they cannot be used.
        let outcome = socket.connect(&address.into());
        let outcome = outcome.map_err(|error| match error.kind() {
            io::ErrorKind::AddrNotAvailable
            | io::ErrorKind::AddrInUse
            | io::ErrorKind::InvalidInput => about_source(source, error),
            _ => error,
        });
        Ok((socket, outcome))
    }

    /// Whether a connection to `address` may come from the source address, as far as the family goes.
    pub(crate) fn suits_source(&self, address: SocketAddr) -> bool {
        self.source_address
            .is_none_or(|source| source.is_ipv4() == address.is_ipv4())
    }

    /// The error if it may not.
    pub(crate) fn wrong_family(&self, address: SocketAddr) -> io::Error {
        let source = self.source_address.map(|source| source.to_string());
        let source = source.unwrap_or_default();
        invalid(format!(
            "source_address {source}: {address} is of another family"
        ))
    }

    /// As [`SocketOptions::dial`], a Unix socket.
    pub(crate) fn dial_unix(&self, path: &Path) -> io::Result<(socket2::Socket, io::Result<()>)> {
        self.check_connect_timeout()?;
        let socket = nonblocking(Domain::UNIX, Type::STREAM, None)?;
        self.apply_buffers(&socket)?;
        // A full queue says WouldBlock and is not in progress: nothing would ever come of it.
        let outcome = socket.connect(&SockAddr::unix(path)?);
        Ok((socket, outcome))
    }

    pub(crate) fn udp(&self, address: SocketAddr) -> io::Result<socket2::Socket> {
        let socket = self.inet(address, Type::DGRAM, Protocol::UDP)?;
        socket.bind(&address.into())?;
        Ok(socket)
    }

    fn inet(
        &self,
        address: SocketAddr,
        kind: Type,
        protocol: Protocol,
    ) -> io::Result<socket2::Socket> {
        let socket = nonblocking(Domain::for_address(address), kind, Some(protocol))?;
        if let (Some(only_v6), true) = (self.only_v6, address.is_ipv6()) {
            socket.set_only_v6(only_v6)?;
        }
        if self.reuse_port {
            socket.set_reuse_port(true)?;
        }
        self.apply_buffers(&socket)?;
        Ok(socket)
    }

    /// Before `listen` or `connect`: buffers decide the window that the handshake offers.
    fn apply_buffers(&self, socket: &socket2::Socket) -> io::Result<()> {
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(bytes) = self.send_buffer {
            socket.set_send_buffer_size(bytes)?;
        }
        Ok(())
    }

    /// What an accepted connection inherits from its listener on Linux, and gets set elsewhere.
    fn apply_tcp(&self, socket: &SockRef<'_>) -> io::Result<()> {
        if self.nodelay {
            socket.set_tcp_nodelay(true)?;
        }
        if let Some(after) = self.keepalive {
            if after < Duration::from_secs(1) {
                return Err(invalid(format!(
                    "keepalive of {after:?}: it must be at least 1 s"
                )));
            }
            socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(after))?;
        }
        if let Some(limit) = self.tcp_user_timeout {
            // The kernel takes a signed number of milliseconds, and zero for its own default.
            if limit.as_millis() < 1 || i32::try_from(limit.as_millis()).is_err() {
                return Err(invalid(format!(
                    "tcp_user_timeout of {limit:?}: it must be 1 ms to {} ms",
                    i32::MAX
                )));
            }
            set_user_timeout(socket, limit)?;
        }
        Ok(())
    }

    fn check_connect_timeout(&self) -> io::Result<()> {
        match self.connect_timeout {
            ConnectTimeout::Own(Some(Duration::ZERO)) => Err(invalid(
                "connect_timeout of 0: it must be more than zero, or None".to_owned(),
            )),
            ConnectTimeout::Own(_) | ConnectTimeout::Usual => Ok(()),
        }
    }

    fn checked_backlog(&self) -> io::Result<i32> {
        match i32::try_from(self.backlog) {
            Ok(backlog) if backlog >= 1 => Ok(backlog),
            _ => Err(invalid(format!(
                "backlog of {}: it must be 1 to {}",
                self.backlog,
                i32::MAX
            ))),
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android", target_os = "fuchsia"))]
fn set_user_timeout(socket: &SockRef<'_>, limit: Duration) -> io::Result<()> {
    socket.set_tcp_user_timeout(Some(limit))
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "fuchsia")))]
fn set_user_timeout(_: &SockRef<'_>, _: Duration) -> io::Result<()> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "tcp_user_timeout: this system does not have the option",
    ))
}

/// The system's errors do not say which of the two addresses they are about.
fn about_source(source: SocketAddr, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("source_address {source}: {error}"))
}

fn nonblocking(
    domain: Domain,
    kind: Type,
    protocol: Option<Protocol>,
) -> io::Result<socket2::Socket> {
    // `new` sets close-on-exec, in the same call where the system can.
    let socket = socket2::Socket::new(domain, kind, protocol)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A TCP socket to which these options were applied.
    fn applied(options: &SocketOptions) -> io::Result<socket2::Socket> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let socket = options.inet(any, Type::STREAM, Protocol::TCP)?;
        options.apply_tcp(&SockRef::from(&socket))?;
        Ok(socket)
    }

    #[test]
    fn keepalive_is_a_second_or_more() {
        let keepalive = |after| {
            let mut options = SocketOptions::new();
            let socket = applied(options.keepalive(after));
            socket.and_then(|socket| socket.keepalive())
        };
        assert_eq!(keepalive(Duration::from_secs(1)).ok(), Some(true));
        assert_eq!(keepalive(Duration::from_secs(60)).ok(), Some(true));
        for short in [Duration::ZERO, Duration::from_nanos(999_999_999)] {
            let error = keepalive(short).expect_err("less than a second");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn each_option_stays_when_another_is_added() {
        let mut options = SocketOptions::new();
        options
            .nodelay(false)
            .keepalive(Duration::from_secs(60))
            .send_buffer(16 * 1024)
            .receive_buffer(32 * 1024)
            .reuse_port(true);
        let socket = applied(&options).expect("good options");
        assert!(!socket.tcp_nodelay().expect("a socket"));
        assert!(socket.keepalive().expect("a socket"));
        assert!(socket.reuse_port().expect("a socket"));
        // Linux doubles them.
        let sizes = [socket.send_buffer_size(), socket.recv_buffer_size()];
        let sizes = sizes.map(|size| size.expect("a socket"));
        assert!((16 * 1024..=32 * 1024).contains(&sizes[0]), "{sizes:?}");
        assert!((32 * 1024..=64 * 1024).contains(&sizes[1]), "{sizes:?}");
    }
}
