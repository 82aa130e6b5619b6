//! The simulated kernel as the reactor sees it: its sockets, and its wait.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mio::Token;
use slabloop::Socket;
use slabloop::testing::{Dialled, SimKernel, SimKind, SimSocket};

use super::kernel::{Net, address_of};

/// A descriptor. Dropping it closes it.
pub(crate) struct Descriptor {
    net: Net,
    end: usize,
    kind: SimKind,
}

impl Net {
    /// The end becomes a socket of the reactor's.
    pub(crate) fn socket(&self, end: usize) -> Socket {
        self.with(|kernel| kernel.descriptor(end));
        Socket::from(self.descriptor_of(end))
    }

    /// As [`Net::socket`], of one that counts as a descriptor already.
    pub(crate) fn descriptor_of(&self, end: usize) -> Box<dyn SimSocket> {
        let kind = self.with(|kernel| kernel.ends[end].kind);
        Box::new(Descriptor {
            net: self.clone(),
            end,
            kind,
        })
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        self.net.with(|kernel| kernel.drop_descriptor(self.end));
    }
}

impl SimSocket for Descriptor {
    fn kind(&self) -> SimKind {
        self.kind
    }

    /// Most do, and some streams go the longer way of what is no socket of the system's.
    fn stands_for_a_stream(&self) -> bool {
        self.kind == SimKind::Stream && self.net.with(|kernel| kernel.takes_short_ways(self.end))
    }

    fn register(&mut self, token: Token) -> io::Result<()> {
        self.net.with(|kernel| kernel.register(self.end, token))
    }

    fn deregister(&mut self) -> io::Result<()> {
        self.net.with(|kernel| kernel.deregister(self.end))
    }

    fn watch_room(&mut self, token: Token) -> io::Result<()> {
        self.net.with(|kernel| kernel.watch_room(self.end, token))
    }

    fn peer(&self) -> Option<SocketAddr> {
        let has_one =
            self.kind == SimKind::Stream && !self.net.with(|kernel| kernel.is_unix(self.end));
        has_one.then(|| address_of(self.end))
    }

    fn reset_when_closed(&self) {
        self.net.with(|kernel| kernel.reset_when_closed(self.end));
    }

    fn urgent_inline(&self, _: bool) -> Option<io::Result<()>> {
        Some(Ok(()))
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.kind == SimKind::PipeWriter {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.net.with(|kernel| kernel.recv(self.end, buffer))
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send_vectored(&[io::IoSlice::new(bytes)])
    }

    fn send_vectored(&mut self, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
        if self.kind == SimKind::PipeReader {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.net.with(|kernel| kernel.send(self.end, pieces))
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.net.with(|kernel| kernel.shutdown_write(self.end))
    }

    fn accept(&mut self) -> io::Result<Box<dyn SimSocket>> {
        let end = self.net.with(|kernel| kernel.accept(self.end))?;
        Ok(self.net.descriptor_of(end))
    }

    fn take_error(&mut self) -> io::Result<Option<io::Error>> {
        self.net.with(|kernel| kernel.take_error(self.end))
    }

    fn check_connected(&mut self) -> io::Result<()> {
        self.net.with(|kernel| kernel.check_connected(self.end))
    }
}

/// The wait.
pub(crate) struct Poller(pub(crate) Net);

impl SimKernel for Poller {
    fn wait(
        &mut self,
        timeout: Option<Duration>,
        events: &mut Vec<(Token, u32)>,
    ) -> io::Result<()> {
        self.0.with(|kernel| kernel.wait(timeout, events))
    }

    fn dial(&mut self, address: SocketAddr) -> Option<io::Result<Dialled>> {
        let dialled = self.0.with(|kernel| {
            // Of the addresses some are the reactor's own listeners'.
            let listener = (0..kernel.ends.len()).find(|end| {
                kernel.ends[*end].kind == SimKind::Listener && address_of(*end) == address
            });
            let (end, said) = kernel.dial(listener)?;
            let peer = kernel.ends[end].other;
            kernel.note_address(end, peer, address);
            Ok((end, said))
        });
        Some(dialled.map(|(end, said): (usize, _)| (self.0.descriptor_of(end), said)))
    }

    fn dial_udp(&mut self, peer: SocketAddr) -> Option<io::Result<Box<dyn SimSocket>>> {
        let dialled = self.0.with(|kernel| kernel.dial_datagram(peer));
        Some(dialled.map(|end| self.0.descriptor_of(end)))
    }
}
