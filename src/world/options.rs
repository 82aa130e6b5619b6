//! Options of the sockets that the crate makes itself, applied through `socket2`.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, SockRef, TcpKeepalive, Type};

use crate::world::errors::invalid;

/// Options for [`listen_with`](crate::Reactor::listen_with),
/// [`connect_with`](crate::Reactor::connect_with) and
/// [`bind_udp_with`](crate::Reactor::bind_udp_with).
///
/// What is set on a listener holds for the connections that it accepts. Options that mean nothing for
/// the kind of socket at hand are ignored (`nodelay` on a Unix socket). All sockets are non-blocking
/// and close-on-exec, whatever the options.
///
/// ```
/// use slabloop::SocketOptions;
/// use std::time::Duration;
///
/// let mut options = SocketOptions::new();
/// options.reuse_port(true).keepalive(Duration::from_secs(60));
/// ```
#[derive(Clone, Debug)]
pub struct SocketOptions {
    backlog: u32,
    reuse_port: bool,
    nodelay: bool,
    keepalive: Option<Duration>,
    receive_buffer: Option<usize>,
    send_buffer: Option<usize>,
    only_v6: Option<bool>,
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
        }
    }
}

impl SocketOptions {
    /// The defaults: backlog 4,096, no-delay on, everything else as the system has it.
    #[must_use]
    pub fn new() -> SocketOptions {
        SocketOptions::default()
    }

    /// Connections that the kernel may hold until they are accepted; default 4,096. The kernel caps it
    /// (`net.core.somaxconn`, 4,096 on current Linux). At least 1.
    pub fn backlog(&mut self, connections: u32) -> &mut Self {
        self.backlog = connections;
        self
    }

    /// Lets several sockets listen on one port, in this process or in others; default off.
    ///
    /// The kernel spreads new connections over them. When one of them closes, the connections in its
    /// queue that have not been accepted are reset.
    pub fn reuse_port(&mut self, on: bool) -> &mut Self {
        self.reuse_port = on;
        self
    }

    /// `TCP_NODELAY`: small writes leave at once; default on. The outbox joins small sends already.
    pub fn nodelay(&mut self, on: bool) -> &mut Self {
        self.nodelay = on;
        self
    }

    /// Probes a silent peer after this time, in whole seconds, at least one; default off. A peer that
    /// does not answer ends in `handle_error` with `TimedOut`.
    pub fn keepalive(&mut self, after: Duration) -> &mut Self {
        self.keepalive = Some(after);
        self
    }

    /// The kernel's receive buffer in bytes; Linux doubles it, and has a minimum. Default: its own.
    pub fn receive_buffer(&mut self, bytes: usize) -> &mut Self {
        self.receive_buffer = Some(bytes);
        self
    }

    /// The kernel's send buffer in bytes; Linux doubles it, and has a minimum. Default: its own.
    pub fn send_buffer(&mut self, bytes: usize) -> &mut Self {
        self.send_buffer = Some(bytes);
        self
    }

    /// Whether an IPv6 listener leaves IPv4 alone; default: the system's choice (on Linux, usually not,
    /// so that `[::]` serves both).
    pub fn only_v6(&mut self, on: bool) -> &mut Self {
        self.only_v6 = Some(on);
        self
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

    /// A TCP socket, ready to be connected to `address`.
    pub(crate) fn client(&self, address: SocketAddr) -> io::Result<socket2::Socket> {
        let socket = self.inet(address, Type::STREAM, Protocol::TCP)?;
        self.apply_tcp(&SockRef::from(&socket))?;
        Ok(socket)
    }

    pub(crate) fn unix_client(&self) -> io::Result<socket2::Socket> {
        let socket = nonblocking(Domain::UNIX, Type::STREAM, None)?;
        self.apply_buffers(&socket)?;
        Ok(socket)
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
    pub(crate) fn apply_tcp(&self, socket: &SockRef<'_>) -> io::Result<()> {
        if self.nodelay {
            socket.set_tcp_nodelay(true)?;
        }
        if let Some(after) = self.keepalive {
            if after < Duration::from_secs(1) {
                return Err(invalid(format!(
                    "keep-alive after {after:?}: at least one second"
                )));
            }
            socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(after))?;
        }
        Ok(())
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
