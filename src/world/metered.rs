//! A stream socket that may read and write only so much, until it is given more.
//!
//! A rate limit is kept out of the way of all other streams: the slot of a limited one holds this in place of
//! the bare socket. What there is too little of looks like a kernel that says `WouldBlock`; the code that grants more
//! (`state/rates.rs`) sets the readiness again, as an event would.

use std::fs::File;
use std::io::{self, IoSlice, Read};
use std::net::Shutdown;
use std::os::fd::AsRawFd;

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::SockRef;

use crate::world::endpoint::{Endpoint, Kind};
use crate::world::stream::{send, send_file, send_vectored, stream_interest};

/// The two directions of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// How much one direction may still move, and from which bucket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    /// The number of the bucket.
    pub(crate) bucket: usize,
    /// Bytes.
    pub(crate) left: usize,
}

/// A stream socket with an allowance in one direction or in both.
#[derive(Debug)]
pub(crate) struct Metered {
    socket: socket2::Socket,
    read: Option<Allowance>,
    write: Option<Allowance>,
    /// The last read got less than was asked for because no more was allowed: the kernel may have more.
    capped: bool,
}

impl Metered {
    pub(crate) fn new(socket: socket2::Socket) -> Metered {
        Metered {
            socket,
            read: None,
            write: None,
            capped: false,
        }
    }

    pub(crate) fn allowance(&mut self, direction: Direction) -> &mut Option<Allowance> {
        match direction {
            Direction::Read => &mut self.read,
            Direction::Write => &mut self.write,
        }
    }

    pub(crate) fn is_unlimited(&self) -> bool {
        self.read.is_none() && self.write.is_none()
    }

    pub(crate) fn into_socket(self) -> socket2::Socket {
        self.socket
    }
}

/// So many of `wanted` bytes may move; `WouldBlock` if none.
fn allowed(allowance: Option<Allowance>, wanted: usize) -> io::Result<usize> {
    match allowance {
        Some(Allowance { left: 0, .. }) => Err(io::ErrorKind::WouldBlock.into()),
        Some(Allowance { left, .. }) => Ok(wanted.min(left)),
        None => Ok(wanted),
    }
}

fn used(allowance: &mut Option<Allowance>, bytes: usize) {
    if let Some(allowance) = allowance {
        allowance.left -= bytes;
    }
}

impl Endpoint for Metered {
    fn kind(&self) -> Kind {
        Kind::Stream
    }

    fn name(&self) -> &'static str {
        "a stream socket"
    }

    fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        SourceFd(&self.socket.as_raw_fd()).register(registry, token, stream_interest())
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.socket.as_raw_fd()).deregister(registry)
    }

    fn watch_room(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = stream_interest() | Interest::WRITABLE;
        SourceFd(&self.socket.as_raw_fd()).reregister(registry, token, interest)
    }

    fn socket(&self) -> Option<SockRef<'_>> {
        Some(SockRef::from(&self.socket))
    }

    fn can_send(&self) -> bool {
        true
    }

    fn can_half_close(&self) -> bool {
        true
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = allowed(self.read, buffer.len())?;
        self.capped = count < buffer.len();
        let received = self.socket.read(&mut buffer[..count])?;
        used(&mut self.read, received);
        Ok(received)
    }

    fn was_capped(&self) -> bool {
        self.capped
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = allowed(self.write, bytes.len())?;
        let sent = send(&self.socket, &bytes[..count])?;
        used(&mut self.write, sent);
        Ok(sent)
    }

    fn send_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let total = pieces.iter().map(|piece| piece.len()).sum();
        if allowed(self.write, total)? < total {
            // It need not all go in one call: no more than a part is allowed anyway.
            return self.send(pieces.first().map_or(&[], |first| first));
        }
        let sent = send_vectored(&self.socket, pieces)?;
        used(&mut self.write, sent);
        Ok(sent)
    }

    fn send_file(&mut self, file: &File, offset: u64, length: usize) -> io::Result<usize> {
        let count = allowed(self.write, length)?;
        let sent = send_file(&self.socket, file, offset, count)?;
        used(&mut self.write, sent);
        Ok(sent)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Write)
    }

    fn take_error(&mut self) -> io::Result<Option<io::Error>> {
        self.socket.take_error()
    }

    fn check_connected(&mut self) -> io::Result<()> {
        self.socket.peer_addr().map(|_| ())
    }
}
