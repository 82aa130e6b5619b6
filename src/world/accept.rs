//! Accepted connections, and the errors of accepting.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::world::address::Address;
use crate::world::detached::{Detached, blocking, tcp, unix};
use crate::world::errors::{is_interrupted, is_would_block};
use crate::world::io::Io;
use crate::world::socket::Socket;

/// A connection that a listener has accepted, as an argument of
/// [`handle_accept`](crate::Dispatcher::handle_accept): [`add`](crate::Context::add) keeps it,
/// dropping it closes it.
///
/// ```
/// # use slabloop::{Accepted, Context, Dispatcher};
/// # use std::io;
/// # use std::net::TcpStream;
/// /// Serves each connection on a thread of its own.
/// struct Threads;
/// impl Dispatcher for Threads {
///     fn handle_accept(&mut self, _: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
///         println!("from {accepted}");
///         let stream = TcpStream::try_from(accepted)?; // In blocking mode.
///         std::thread::spawn(move || io::copy(&mut &stream, &mut &stream));
///         Ok(())
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Accepted {
    socket: Socket,
}

impl Accepted {
    pub(crate) fn new(io: Io, address: Address) -> Accepted {
        let socket = Socket::new(io).with_address(address);
        Accepted { socket }
    }

    /// The peer's address as `accept` returned it, even if the peer has disconnected since. `None` on a Unix socket.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.socket.address.inet()
    }

    /// The path of the peer, on a Unix socket whose peer has one; few clients do.
    #[must_use]
    pub fn peer_path(&self) -> Option<&Path> {
        self.socket.address.path()
    }

    /// Whether small writes leave at once.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    pub fn nodelay(&self) -> io::Result<bool> {
        let socket = self.socket.io.socket();
        socket.map_or(Ok(false), |socket| socket.tcp_nodelay())
    }
}

impl fmt::Display for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket.address.fmt(f)
    }
}

impl Accepted {
    fn into_fd(self) -> io::Result<(OwnedFd, Address)> {
        match self.socket.io {
            Io::Stream(socket) => Ok((socket.into(), self.socket.address)),
            Io::Other(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn into_blocking(self) -> io::Result<OwnedFd> {
        blocking(self.into_fd()?.0)
    }
}

/// For another reactor on another thread, with its address and without a system call: a [`Detached`] is `Send`.
/// `Unsupported` if the connection is a simulated one.
impl TryFrom<Accepted> for Detached {
    type Error = io::Error;

    fn try_from(accepted: Accepted) -> io::Result<Detached> {
        let (fd, address) = accepted.into_fd()?;
        Ok(Detached::new(fd, address, Vec::new(), Vec::new()))
    }
}

/// In blocking mode, to be used without the reactor. `InvalidInput` if it is not a TCP connection.
impl TryFrom<Accepted> for TcpStream {
    type Error = io::Error;

    fn try_from(accepted: Accepted) -> io::Result<TcpStream> {
        tcp(accepted.into_blocking()?)
    }
}

/// In blocking mode, to be used without the reactor. `InvalidInput` if it is not a Unix stream.
impl TryFrom<Accepted> for UnixStream {
    type Error = io::Error;

    fn try_from(accepted: Accepted) -> io::Result<UnixStream> {
        unix(accepted.into_blocking()?)
    }
}

impl From<Accepted> for Socket {
    fn from(accepted: Accepted) -> Socket {
        accepted.socket
    }
}

/// What an error of `accept` says. (These are not the classes of reads and writes: a connection that
/// was lost in the queue is no dispatcher's disconnect.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AcceptError {
    /// The queue is empty.
    NothingThere,
    /// One connection was lost before we took it; there may be others.
    OneLost,
    /// No descriptors or memory. It says nothing about whether a client is waiting.
    Shortage,
    /// The listener itself is no good any more.
    ListenerBroken,
    /// None of the above.
    Other,
}

pub(crate) fn classify_accept(error: &io::Error) -> AcceptError {
    if is_would_block(error) {
        return AcceptError::NothingThere;
    }
    if is_interrupted(error) {
        return AcceptError::OneLost;
    }
    if let Some(class) = error.raw_os_error().and_then(classify_accept_errno) {
        return class;
    }
    match error.kind() {
        io::ErrorKind::ConnectionAborted
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::Unsupported => AcceptError::OneLost,
        io::ErrorKind::OutOfMemory => AcceptError::Shortage,
        io::ErrorKind::InvalidInput => AcceptError::ListenerBroken,
        _ => AcceptError::Other,
    }
}

/// Those that `io::ErrorKind` has no name for, or too coarse a one.
fn classify_accept_errno(errno: i32) -> Option<AcceptError> {
    const EBADF: i32 = 9;
    const EACCES: i32 = 13;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    mod os {
        pub(super) const ENOBUFS: i32 = 105;
        pub(super) const ENOTSOCK: i32 = 88;
        pub(super) const ENOSYS: i32 = 38;
        /// EPROTO, ENONET, EHOSTDOWN, ENOPROTOOPT.
        pub(super) const LOST: &[i32] = &[71, 64, 112, 92];
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    mod os {
        pub(super) const ENOBUFS: i32 = 55;
        pub(super) const ENOTSOCK: i32 = 38;
        pub(super) const ENOSYS: i32 = 78;
        /// EPROTO (macOS, FreeBSD), EHOSTDOWN, ENOPROTOOPT.
        pub(super) const LOST: &[i32] = &[100, 92, 64, 42];
    }
    match errno {
        EMFILE | ENFILE | os::ENOBUFS => Some(AcceptError::Shortage),
        EBADF | os::ENOTSOCK => Some(AcceptError::ListenerBroken),
        // A security policy, or a filter of system calls: no connection was lost, and trying on would
        // spin. (By kind they look like EPERM and EOPNOTSUPP.)
        EACCES | os::ENOSYS => Some(AcceptError::Other),
        lost if os::LOST.contains(&lost) => Some(AcceptError::OneLost),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn every_errno_of_accept_has_its_class() {
        let of = |errno| classify_accept(&io::Error::from_raw_os_error(errno));
        assert_eq!(of(11), AcceptError::NothingThere);
        for errno in [4, 103, 71, 100, 101, 112, 113, 64, 92, 95, 1] {
            assert_eq!(of(errno), AcceptError::OneLost, "errno {errno}");
        }
        for errno in [24, 23, 105, 12] {
            assert_eq!(of(errno), AcceptError::Shortage, "errno {errno}");
        }
        for errno in [9, 22, 88] {
            assert_eq!(of(errno), AcceptError::ListenerBroken, "errno {errno}");
        }
        for errno in [5, 13, 38] {
            assert_eq!(of(errno), AcceptError::Other, "errno {errno}");
        }
    }
}
