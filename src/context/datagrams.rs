//! Datagrams: sent at once or not at all, and received whole before they are cut to the caller's buffer.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use super::Context;
use crate::slot::life::Life;
use crate::slot::readiness::Flag;
use crate::world::errors::{is_would_block, unsupported};
use crate::world::io::Io;

/// # Datagrams
impl Context<'_> {
    /// Sends one datagram to `to`, at once or not at all.
    ///
    /// ```
    /// # use slabloop::{Context, Dispatcher};
    /// # use std::io;
    /// /// Returns each datagram to its sender.
    /// struct UdpEcho;
    ///
    /// impl Dispatcher for UdpEcho {
    ///     fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///         let mut buffer = [0; 1500];
    ///         let (count, from) = cx.recv_from(&mut buffer)?;
    ///         cx.send_to(&buffer[..count], from)
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// `WouldBlock` if the socket's buffer is full, in which case the datagram was not sent; after
    /// [`start_writing`](Context::start_writing), `handle_write` is called when there is room again.
    /// Otherwise the kernel's error. `Unsupported` if this is not a UDP socket.
    pub fn send_to(&mut self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        let slot = self.core.state.slots.slot_mut(self.id);
        let Some(socket) = slot.io.as_other::<UdpSocket>() else {
            return Err(self.not_for("send_to"));
        };
        let sent = socket.send_to(bytes, to);
        self.datagram_sent(sent)
    }

    /// Sends one datagram on a Unix datagram socket; see [`Context::send_to`]. The kernel reports that the receiver has
    /// room again only on a connected socket. On any other, after `WouldBlock`, call
    /// [`stop_writing`](Context::stop_writing) and use a timer to try again; otherwise `handle_write` is called in
    /// every turn.
    ///
    /// # Errors
    ///
    /// As [`Context::send_to`], and `InvalidInput` for a path that is too long.
    pub fn send_to_path(&mut self, bytes: &[u8], to: impl AsRef<Path>) -> io::Result<()> {
        let slot = self.core.state.slots.slot_mut(self.id);
        let Some(socket) = slot.io.as_other::<UnixDatagram>() else {
            return Err(self.not_for("send_to_path"));
        };
        let sent = socket.send_to(bytes, to);
        self.datagram_sent(sent)
    }

    pub(super) fn datagram_sent(&mut self, sent: io::Result<usize>) -> io::Result<()> {
        let slot = self.core.state.slots.slot_mut(self.id);
        match sent {
            Ok(bytes) => {
                slot.touched = self.core.state.now;
                self.core.state.counters.bytes_out += bytes as u64;
                Ok(())
            }
            Err(error) => {
                if is_would_block(&error) {
                    if !slot.readiness.has(Flag::WatchesRoom) {
                        self.core.state.poller.watch_room(&mut slot.io, self.id)?;
                        slot.readiness.set(Flag::WatchesRoom);
                    }
                    slot.readiness.cant_write();
                }
                Err(error)
            }
        }
    }

    /// Receives one datagram and its sender.
    ///
    /// A datagram longer than `buffer` is truncated; [`Context::truncated`] reports that. [`Context::send_to`] has an
    /// example.
    ///
    /// # Errors
    ///
    /// As [`Context::recv`]; `Unsupported` if this is not a UDP socket.
    pub fn recv_from(&mut self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.take_datagram(buffer, |io, scratch| match io.as_other::<UdpSocket>() {
            Some(socket) => socket.recv_from(scratch),
            None => Err(unsupported("recv_from", io.name())),
        })
    }

    /// Receives one datagram and its sender on a Unix datagram socket; see [`Context::recv_from`]. The sender may have
    /// no path.
    ///
    /// # Errors
    ///
    /// As [`Context::recv`]; `Unsupported` if this is not a Unix datagram socket.
    pub fn recv_from_path(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Option<PathBuf>)> {
        self.take_datagram(buffer, |io, scratch| {
            let Some(socket) = io.as_other::<UnixDatagram>() else {
                return Err(unsupported("recv_from_path", io.name()));
            };
            let (length, from) = socket.recv_from(scratch)?;
            Ok((length, from.as_pathname().map(Path::to_owned)))
        })
    }

    pub(super) fn recv_datagram(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (length, ()) = self.take_datagram(buffer, |io, scratch| Ok((io.recv(scratch)?, ())))?;
        Ok(length)
    }

    /// The kernel cuts a datagram that does not fit, without a word. So it lands whole in a buffer of
    /// the reactor's, and is cut, and known to be cut, on the way out.
    fn take_datagram<A>(
        &mut self,
        buffer: &mut [u8],
        receive: impl FnOnce(&mut Io, &mut [u8]) -> io::Result<(usize, A)>,
    ) -> io::Result<(usize, A)> {
        /// More than UDP carries, and more than a Unix datagram socket takes unless told otherwise.
        const LONGEST: usize = 256 * 1024;
        let core = &mut *self.core;
        let slot = core.state.slots.slot_mut(self.id);
        let open = slot.life() == Life::Open;
        if buffer.is_empty() || !open || !slot.readiness.has(Flag::Readable) {
            return Err(match self.recv_refused(buffer) {
                Err(error) => error,
                Ok(_) => io::ErrorKind::WouldBlock.into(),
            });
        }
        core.scratch.resize(LONGEST, 0);
        match receive(&mut slot.io, &mut core.scratch) {
            Ok((received, from)) => {
                let length = received.min(buffer.len());
                buffer[..length].copy_from_slice(&core.scratch[..length]);
                core.truncated = received > buffer.len() || received == LONGEST;
                slot.touched = core.state.now;
                core.state.counters.bytes_in += received as u64;
                Ok((length, from))
            }
            Err(error) => {
                // Anything else concerns one datagram; the socket stays, and so does what else waits.
                if is_would_block(&error) {
                    slot.readiness.cant_read();
                }
                Err(error)
            }
        }
    }

    /// Whether the datagram last received, on any socket, was longer than the buffer given for it.
    #[must_use]
    pub fn truncated(&self) -> bool {
        self.core.truncated
    }
}
