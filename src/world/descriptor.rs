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

    /// Nothing is held back here.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::os::unix::net::UnixStream;
    #[cfg(target_os = "linux")]
    use std::time::Duration;

    use super::*;

    /// One of a socket that blocks, and the socket's peer.
    fn pair() -> (Descriptor, UnixStream) {
        let (ours, peer) = UnixStream::pair().expect("descriptors");
        (Descriptor::new(ours.into()), peer)
    }

    #[test]
    fn reads_and_writes_are_those_of_the_descriptor() {
        let (mut descriptor, mut peer) = pair();
        peer.write_all(b"abcdefgh").expect("there is room");
        let (mut first, mut second) = ([0; 3], [0; 9]);
        assert_eq!(descriptor.read(&mut first).ok(), Some(3));
        assert_eq!(&first, b"abc");
        let mut buffers = [&mut first[..], &mut second].map(IoSliceMut::new);
        assert_eq!(descriptor.read_vectored(&mut buffers).ok(), Some(5));
        assert_eq!((&first, &second[..2]), (b"def", &b"gh"[..]));

        assert_eq!(descriptor.write(b"ijk").ok(), Some(3));
        let pieces = [b"lm", b"no"].map(|piece| IoSlice::new(piece));
        assert_eq!(descriptor.write_vectored(&pieces).ok(), Some(4));
        descriptor.flush().expect("nothing is held back");
        let mut got = [0; 7];
        peer.read_exact(&mut got).expect("seven bytes were written");
        assert_eq!(&got, b"ijklmno");
        assert_eq!(descriptor.as_raw_fd(), descriptor.as_fd().as_raw_fd());
    }

    #[test]
    fn it_does_not_wait() {
        let (mut descriptor, _peer) = pair();
        descriptor.set_nonblocking().expect("a descriptor");
        assert!(
            SockRef::from(&descriptor.0)
                .nonblocking()
                .expect("its flags")
        );
        let nothing = descriptor.read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(nothing, Err(ErrorKind::WouldBlock));
    }

    /// Epoll says who is in already, and who is not.
    #[test]
    #[cfg(target_os = "linux")]
    fn it_is_in_the_poller_from_register_to_deregister() {
        let (mut descriptor, _peer) = pair();
        let mut poll = mio::Poll::new().expect("a poller");
        let (token, of) = (Token(1), Interest::READABLE);
        let absent = descriptor.reregister(poll.registry(), token, of);
        absent.expect_err("it is not in");
        for _ in 0..2 {
            let once = descriptor.register(poll.registry(), token, of);
            once.expect("it is not in");
            let both = descriptor.reregister(poll.registry(), token, of | Interest::WRITABLE);
            both.expect("it is in");
            let mut events = mio::Events::with_capacity(8);
            poll.poll(&mut events, Some(Duration::from_secs(60)))
                .expect("no signal");
            assert!(!events.is_empty(), "there is an event");
            assert!(events.iter().all(|event| event.is_writable()));
            descriptor.deregister(poll.registry()).expect("it is in");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_the_poller_cannot_wait_for_is_named() {
        let file = File::open("Cargo.toml");
        let mut descriptor = Descriptor::new(file.expect("there is one").into());
        let poll = mio::Poll::new().expect("a poller");
        let refused = descriptor.register(poll.registry(), Token(1), Interest::READABLE);
        let refused = refused.expect_err("a regular file");
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
        let number = descriptor.as_raw_fd();
        let text = refused.to_string();
        assert!(text.contains(&format!("descriptor {number}:")), "{text}");

        let (mut descriptor, _peer) = pair();
        let mut register = || descriptor.register(poll.registry(), Token(1), Interest::READABLE);
        register().expect("it is not in");
        let twice = register().expect_err("it is in");
        assert_eq!(
            twice.kind(),
            ErrorKind::AlreadyExists,
            "as the system says it"
        );
    }
}
