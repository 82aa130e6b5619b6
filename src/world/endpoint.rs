//! The rarer kinds of what a slot owns: a trait for all that is no stream socket.

use std::any::Any;
use std::fs::File;
use std::io::{self, IoSlice};
use std::time::Duration;

use mio::{Registry, Token};
use socket2::SockRef;

use crate::world::address::Address;
use crate::world::errors::unsupported;
use crate::world::io::Io;

/// What a socket is for, which is all that most decisions depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Stream,
    Listener,
    Datagram,
    Foreign,
    /// There is no socket.
    Service,
    /// The socket has been closed; the slot is about to go.
    Closed,
}

/// What is no stream socket: listeners, datagram sockets, the ends of pipes, foreign event sources, and
/// in tests the sockets that a test supplies. Every method that a kind has no use for has a default.
pub(crate) trait Endpoint: Any {
    fn kind(&self) -> Kind;

    /// With its article, as error messages name it.
    fn name(&self) -> &'static str;

    /// What log lines show where a socket has its address: the name, or a type's with its path.
    fn what(&self) -> &'static str {
        self.name()
    }

    fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()>;

    fn deregister(&mut self, registry: &Registry) -> io::Result<()>;

    /// Where one that a test supplies reports its events, once it is registered.
    #[cfg(feature = "test")]
    fn report_to(&mut self, _: &crate::world::simulated::news::News) {}

    /// Whether its `connect` was called and no system knows of it.
    #[cfg(feature = "test")]
    fn is_simulated_attempt(&self) -> bool {
        false
    }

    /// Whether one that a test supplies goes the short ways of a stream socket of the system's.
    #[cfg(feature = "testing")]
    fn stands_for_a_stream(&self) -> bool {
        false
    }

    /// Asks for the events that say that there is room again. Those that can be written, other than
    /// datagram sockets, have been asking from the start.
    fn watch_room(&mut self, _: &Registry, _: Token) -> io::Result<()> {
        Ok(())
    }

    /// The socket behind this, for options and addresses; none for pipes and foreign sources.
    fn socket(&self) -> Option<SockRef<'_>> {
        None
    }

    fn set_nonblocking(&self) -> io::Result<()> {
        self.socket()
            .map_or(Ok(()), |socket| socket.set_nonblocking(true))
    }

    /// Has the kernel send a reset when the socket is closed, and keep nothing for the peer.
    fn reset_when_closed(&self) {
        if let Some(socket) = self.socket() {
            let _ = socket.set_linger(Some(Duration::ZERO));
        }
    }

    /// Puts urgent bytes in their place among the others. `None` where there is no such thing.
    fn urgent_inline(&self, on: bool) -> Option<io::Result<()>> {
        Some(self.socket()?.set_out_of_band_inline(on))
    }

    fn can_recv(&self) -> bool {
        true
    }

    /// Whether a `send` may be queued on it.
    fn can_send(&self) -> bool {
        false
    }

    /// Whether closing should first shut the write side and wait for the peer's end of stream.
    fn can_half_close(&self) -> bool {
        false
    }

    fn recv(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(unsupported("recv", self.name()))
    }

    /// Whether the last read got little because no more was allowed, which says nothing about the kernel.
    fn was_capped(&self) -> bool {
        false
    }

    fn send(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(unsupported("send", self.name()))
    }

    fn send_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.send(pieces.first().map_or(&[], |first| first))
    }

    /// `length` bytes of a file from `offset` on, copied by the kernel; see [`send_file`].
    fn send_file(&mut self, _: &File, _: u64, _: usize) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Shuts the write side. `WouldBlock` if there is something to say before that, and no room: to be called
    /// again.
    fn shutdown_write(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// What arrives is only thrown away from now on, and need not be understood.
    fn drain(&mut self) {}

    fn accept(&mut self) -> io::Result<(Io, Address)> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn take_error(&mut self) -> io::Result<Option<io::Error>> {
        Ok(None)
    }

    /// `NotConnected` if a connection attempt has not succeeded.
    fn check_connected(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is left when the socket has been closed.
pub(super) struct Closed;

impl Endpoint for Closed {
    fn kind(&self) -> Kind {
        Kind::Closed
    }

    fn name(&self) -> &'static str {
        "a closed socket"
    }

    fn register(&mut self, _: &Registry, _: Token) -> io::Result<()> {
        Ok(())
    }

    fn deregister(&mut self, _: &Registry) -> io::Result<()> {
        Ok(())
    }

    fn recv(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::NotConnected.into())
    }

    fn send(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::NotConnected.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_closed_socket_is_not_connected() {
        let mut closed = Io::closed();
        assert!(closed.is_closed());
        assert_eq!(closed.name(), "a closed socket");
        let received = closed.recv(&mut [0]).map_err(|error| error.kind());
        assert_eq!(received, Err(io::ErrorKind::NotConnected));
        let sent = closed.send(b"x").map_err(|error| error.kind());
        assert_eq!(sent, Err(io::ErrorKind::NotConnected));
    }

    /// Has only what every kind must have, and a `send`.
    struct Least(Vec<u8>);

    impl Endpoint for Least {
        fn kind(&self) -> Kind {
            Kind::Datagram
        }

        fn name(&self) -> &'static str {
            "the least"
        }

        fn register(&mut self, _: &Registry, _: Token) -> io::Result<()> {
            Ok(())
        }

        fn deregister(&mut self, _: &Registry) -> io::Result<()> {
            Ok(())
        }

        fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.extend_from_slice(bytes);
            Ok(bytes.len())
        }
    }

    #[test]
    fn what_sends_one_piece_at_a_time_sends_the_first_of_several() {
        let mut least = Least(Vec::new());
        let pieces = [&b"first"[..], b"second"].map(IoSlice::new);
        assert_eq!(least.send_vectored(&pieces).ok(), Some(5));
        assert_eq!(least.0, b"first");
        assert_eq!(least.send_vectored(&[]).ok(), Some(0));
        #[cfg(feature = "test")]
        assert!(!least.is_simulated_attempt());
    }

    #[test]
    fn what_is_of_another_type_is_given_back() {
        let io = Io::Other(Box::new(Least(b"kept".to_vec())));
        let io = io.into_other::<Closed>().err().expect("it is of another");
        let least = io.into_other::<Least>().expect("it is of this type");
        assert_eq!(least.0, b"kept");
    }
}
