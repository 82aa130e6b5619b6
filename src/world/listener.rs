//! Listening sockets.

use std::any::Any;
use std::io;

use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use socket2::SockRef;

use crate::world::address::Address;
use crate::world::endpoint::{Endpoint, Kind};
use crate::world::io::Io;

/// A listener of either family, as the one endpoint that both are.
trait Listens: Source + Any {
    fn socket(&self) -> SockRef<'_>;

    /// The connection is non-blocking and close-on-exec from the start.
    fn take(&self) -> io::Result<(Io, Address)>;
}

impl Listens for TcpListener {
    fn socket(&self) -> SockRef<'_> {
        SockRef::from(self)
    }

    fn take(&self) -> io::Result<(Io, Address)> {
        let (stream, peer) = self.accept()?;
        let io = Io::stream(stream);
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        if let Some(stream) = io.socket() {
            // On Linux the connection has it from its listener.
            let nodelay = SockRef::from(self).tcp_nodelay();
            let _ = stream.set_tcp_nodelay(nodelay.unwrap_or(true));
        }
        Ok((io, peer.into()))
    }
}

impl Listens for UnixListener {
    fn socket(&self) -> SockRef<'_> {
        SockRef::from(self)
    }

    fn take(&self) -> io::Result<(Io, Address)> {
        let (stream, peer) = self.accept()?;
        let peer = peer
            .as_pathname()
            .map_or(Address::None, |path| Address::Unix(path.into()));
        Ok((Io::stream(stream), peer))
    }
}

impl<L: Listens> Endpoint for L {
    fn kind(&self) -> Kind {
        Kind::Listener
    }

    fn name(&self) -> &'static str {
        "a listener"
    }

    fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        Source::register(self, registry, token, Interest::READABLE)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        Source::deregister(self, registry)
    }

    fn socket(&self) -> Option<SockRef<'_>> {
        Some(Listens::socket(self))
    }

    fn accept(&mut self) -> io::Result<(Io, Address)> {
        self.take()
    }
}
