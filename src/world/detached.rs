//! A connection that has left its reactor.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::world::address::Address;
use crate::world::errors::invalid;
use crate::world::io::Io;
use crate::world::socket::Socket;

/// A connection that [`detach`](crate::Context::detach) has taken out of a reactor, with the bytes that were
/// read and not used, and those that were accepted for sending and not sent.
///
/// It is `Send`. [`add`](crate::Reactor::add) passes it to another reactor, where the unread bytes are read
/// first and the unsent ones are sent first. It can also be converted into a blocking stream of the standard library,
/// after both have been taken out. Dropping it closes the connection.
///
/// ```no_run
/// # use slabloop::{AnyId, Dispatcher, Reactor};
/// # fn hand_over(reactor: &mut Reactor, id: AnyId) -> std::io::Result<()> {
/// use std::io::{Read, Write};
/// use std::net::TcpStream;
///
/// let mut connection = reactor.detach(id)?;
/// std::thread::spawn(move || -> std::io::Result<()> {
///     let (unread, unsent) = (connection.take_unread(), connection.take_unsent());
///     let mut stream = TcpStream::try_from(connection)?;
///     stream.write_all(&unsent)?;
///     let mut request = unread;
///     stream.read_to_end(&mut request)?;
///     Ok(())
/// });
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Detached {
    socket: OwnedFd,
    address: Address,
    unread: Vec<u8>,
    unsent: Vec<u8>,
}

impl Detached {
    pub(crate) fn new(
        socket: OwnedFd,
        address: Address,
        unread: Vec<u8>,
        unsent: Vec<u8>,
    ) -> Detached {
        Detached {
            socket,
            address,
            unread,
            unsent,
        }
    }

    /// The peer's address; `None` on a Unix socket.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.address.inet()
    }

    /// The path of a peer on a Unix socket that has one.
    #[must_use]
    pub fn peer_path(&self) -> Option<&Path> {
        self.address.path()
    }

    /// Takes out the bytes that were read from the kernel and not used by a dispatcher.
    pub fn take_unread(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.unread)
    }

    /// Takes out the bytes that were accepted for sending and not taken by the kernel.
    pub fn take_unsent(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.unsent)
    }

    fn into_blocking(self) -> io::Result<OwnedFd> {
        if !(self.unread.is_empty() && self.unsent.is_empty()) {
            let (unread, unsent) = (self.unread.len(), self.unsent.len());
            return Err(invalid(format!(
                "take out the {unread} unread and {unsent} unsent bytes first: a plain stream cannot hold them"
            )));
        }
        blocking(self.socket)
    }
}

impl From<Detached> for Socket {
    fn from(detached: Detached) -> Socket {
        let mut socket = Socket::new(Io::stream(detached.socket));
        socket.address = detached.address;
        socket.unread = detached.unread;
        socket.unsent = detached.unsent;
        socket
    }
}

/// In blocking mode. `InvalidInput` while there are unread or unsent bytes, which would be lost, or if it is
/// not a TCP connection.
impl TryFrom<Detached> for TcpStream {
    type Error = io::Error;

    fn try_from(detached: Detached) -> io::Result<TcpStream> {
        tcp(detached.into_blocking()?)
    }
}

/// In blocking mode. `InvalidInput` while there are unread or unsent bytes, which would be lost, or if it is
/// not a Unix stream.
impl TryFrom<Detached> for UnixStream {
    type Error = io::Error;

    fn try_from(detached: Detached) -> io::Result<UnixStream> {
        unix(detached.into_blocking()?)
    }
}

/// Puts a socket back into blocking mode.
pub(super) fn blocking(fd: OwnedFd) -> io::Result<OwnedFd> {
    let socket = socket2::Socket::from(fd);
    socket.set_nonblocking(false)?;
    Ok(socket.into())
}

pub(super) fn tcp(fd: OwnedFd) -> io::Result<TcpStream> {
    let socket = socket2::Socket::from(fd);
    if socket.local_addr()?.as_socket().is_none() {
        return Err(invalid("not a TCP connection".to_owned()));
    }
    Ok(socket.into())
}

pub(super) fn unix(fd: OwnedFd) -> io::Result<UnixStream> {
    let socket = socket2::Socket::from(fd);
    if !socket.local_addr()?.is_unix() {
        return Err(invalid("not a Unix stream".to_owned()));
    }
    Ok(OwnedFd::from(socket).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detached(unread: &[u8], unsent: &[u8]) -> Detached {
        let (socket, _) = UnixStream::pair().expect("descriptors");
        let address = Address::from(Path::new("/run/peer").to_owned());
        Detached::new(socket.into(), address, unread.to_vec(), unsent.to_vec())
    }

    #[test]
    fn a_plain_stream_takes_over_only_when_no_bytes_would_be_lost() {
        for (unread, unsent) in [(&b"a"[..], &b""[..]), (b"", b"b"), (b"a", b"b")] {
            let mut full = detached(unread, unsent);
            let refused = UnixStream::try_from(detached(unread, unsent));
            let kind = refused.map_err(|error| error.kind()).map(drop);
            assert_eq!(kind, Err(io::ErrorKind::InvalidInput));
            assert_eq!(
                (&full.take_unread()[..], &full.take_unsent()[..]),
                (unread, unsent)
            );
            UnixStream::try_from(full).expect("both were taken out");
        }
    }

    #[test]
    fn the_path_of_its_peer_goes_with_it() {
        let detached = detached(b"", b"");
        assert_eq!(detached.peer_path(), Some(Path::new("/run/peer")));
        assert_eq!(detached.peer(), None);
    }
}
