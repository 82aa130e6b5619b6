//! Datagram sockets.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::SockRef;

use crate::world::endpoint::{Endpoint, Kind};

macro_rules! datagram_endpoint {
    ($socket:ty, $name:literal) => {
        impl Endpoint for $socket {
            fn kind(&self) -> Kind {
                Kind::Datagram
            }

            fn name(&self) -> &'static str {
                $name
            }

            fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
                SourceFd(&self.as_raw_fd()).register(registry, token, Interest::READABLE)
            }

            fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
                SourceFd(&self.as_raw_fd()).deregister(registry)
            }

            fn watch_room(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
                let both = Interest::READABLE | Interest::WRITABLE;
                SourceFd(&self.as_raw_fd()).reregister(registry, token, both)
            }

            fn socket(&self) -> Option<SockRef<'_>> {
                Some(SockRef::from(self))
            }

            fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                <$socket>::recv(self, buffer)
            }

            fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
                <$socket>::send(self, bytes)
            }
        }
    };
}

datagram_endpoint!(UdpSocket, "a UDP socket");
datagram_endpoint!(UnixDatagram, "a Unix datagram socket");
