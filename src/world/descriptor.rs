//! A descriptor of any kind, as an event source.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::SockRef;

/// A source made by [`Socket::from_fd`](crate::Socket::from_fd), which has an example. The closures of
/// [`Context::read_with`](crate::Context::read_with) and [`write_with`](crate::Context::write_with) get it as their
/// argument.
///
/// It is non-blocking. `read` and `write` are the system calls; for others use
/// [`as_fd`](AsFd::as_fd). It is closed with its dispatcher.
#[derive(Debug)]
pub struct Descriptor(File);

impl Descriptor {
    pub(crate) fn new(fd: OwnedFd) -> Descriptor {
        Descriptor(File::from(fd))
    }

    /// The flag belongs to the open file, whatever that is: the call is not for sockets alone.
    pub(crate) fn set_nonblocking(&self) -> io::Result<()> {
        SockRef::from(&self.0).set_nonblocking(true)
    }

    fn registered(&self, outcome: io::Result<()>) -> io::Result<()> {
        outcome.map_err(|error| match error.kind() {
            // Epoll's EPERM.
            io::ErrorKind::PermissionDenied => io::Error::new(
                error.kind(),
                format!(
                    "the poller cannot wait for descriptor {}: is it a regular file or a directory?",
                    self.as_raw_fd()
                ),
            ),
            _ => error,
        })
    }
}

impl Read for Descriptor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.0.read_vectored(buffers)
    }
}

impl Write for Descriptor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write_vectored(pieces)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Source for Descriptor {
    fn register(&mut self, registry: &Registry, token: Token, of: Interest) -> io::Result<()> {
        let outcome = SourceFd(&self.as_raw_fd()).register(registry, token, of);
        self.registered(outcome)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, of: Interest) -> io::Result<()> {
        SourceFd(&self.as_raw_fd()).reregister(registry, token, of)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.as_raw_fd()).deregister(registry)
    }
}
