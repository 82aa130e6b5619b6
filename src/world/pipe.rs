//! The two ends of a pipe.

use std::io::{self, IoSlice, Read, Write};

use mio::event::Source;
use mio::unix::pipe::{Receiver, Sender};
use mio::{Interest, Registry, Token};

use crate::world::endpoint::{Endpoint, Kind};

impl Endpoint for Receiver {
    fn kind(&self) -> Kind {
        Kind::Stream
    }

    fn name(&self) -> &'static str {
        "the reading end of a pipe"
    }

    fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        Source::register(self, registry, token, Interest::READABLE)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        Source::deregister(self, registry)
    }

    fn set_nonblocking(&self) -> io::Result<()> {
        Receiver::set_nonblocking(self, true)
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read(buffer)
    }
}

impl Endpoint for Sender {
    fn kind(&self) -> Kind {
        Kind::Stream
    }

    fn name(&self) -> &'static str {
        "the writing end of a pipe"
    }

    fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        Source::register(self, registry, token, Interest::WRITABLE)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        Source::deregister(self, registry)
    }

    fn set_nonblocking(&self) -> io::Result<()> {
        Sender::set_nonblocking(self, true)
    }

    fn can_recv(&self) -> bool {
        false
    }

    fn can_send(&self) -> bool {
        true
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write(bytes)
    }

    fn send_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write_vectored(pieces)
    }
}

#[cfg(test)]
mod tests {
    use mio::unix::pipe;
    use socket2::SockRef;

    use super::*;

    #[test]
    fn both_ends_are_in_the_poller_from_register_to_deregister() {
        fn check(mut end: impl Endpoint) {
            let poll = mio::Poll::new().expect("a poller");
            for _ in 0..2 {
                end.register(poll.registry(), Token(1)).expect("once");
                end.deregister(poll.registry()).expect("it is in");
            }
        }
        let (sender, receiver) = pipe::new().expect("descriptors");
        check(sender);
        check(receiver);
    }

    #[test]
    fn an_end_that_waits_does_not_wait_any_more() {
        let (mut sender, mut receiver) = pipe::new().expect("descriptors");
        assert_eq!(Endpoint::name(&sender), "the writing end of a pipe");
        assert_eq!(Endpoint::name(&receiver), "the reading end of a pipe");
        // As they are after a child had them.
        sender.set_nonblocking(false).expect("a pipe");
        receiver.set_nonblocking(false).expect("a pipe");
        Endpoint::set_nonblocking(&receiver).expect("a pipe");
        assert!(SockRef::from(&receiver).nonblocking().expect("its flags"));
        let nothing = receiver.recv(&mut [0; 8]).map_err(|error| error.kind());
        assert_eq!(nothing, Err(io::ErrorKind::WouldBlock));
        Endpoint::set_nonblocking(&sender).expect("a pipe");
        assert!(SockRef::from(&sender).nonblocking().expect("its flags"));
        while sender.send(&[0; 4096]).is_ok() {}
        assert!(receiver.recv(&mut [0; 8]).is_ok());
    }
}
