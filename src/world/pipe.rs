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
