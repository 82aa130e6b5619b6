//! Listening sockets.

use std::io;

use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use socket2::SockRef;

use crate::world::address::Address;
use crate::world::endpoint::{Endpoint, Io, Kind};

macro_rules! listener_endpoint {
    ($listener:ty, $accept:expr) => {
        impl Endpoint for $listener {
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
                Some(SockRef::from(self))
            }

            /// The connection is non-blocking and close-on-exec from the start.
            fn accept(&mut self) -> io::Result<(Io, Address)> {
                let accept: fn(&$listener) -> io::Result<(Io, Address)> = $accept;
                accept(self)
            }
        }
    };
}

listener_endpoint!(TcpListener, |listener| {
    let (stream, peer) = listener.accept()?;
    let io = Io::stream(stream);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    if let Some(stream) = io.socket() {
        // On Linux the connection has it from its listener.
        let nodelay = SockRef::from(listener).tcp_nodelay();
        let _ = stream.set_tcp_nodelay(nodelay.unwrap_or(true));
    }
    Ok((io, peer.into()))
});

listener_endpoint!(UnixListener, |listener| {
    let (stream, peer) = listener.accept()?;
    let peer = peer
        .as_pathname()
        .map_or(Address::None, |path| Address::Unix(path.into()));
    Ok((Io::stream(stream), peer))
});
