//! The two doors between the kernel and a stream's slot.
//!
//! Every byte of a stream comes in by [`Door::receive`] and goes out by [`Door::transmit`] (or its
//! vectored form, or the one for a file's). What the kernel answered becomes readiness at once, so the readiness
//! word cannot miss a `WouldBlock` or a short read. What else follows from an answer (an end, a callback, a
//! deadline) is decided by the caller.

use std::fs::File;
use std::io::{self, IoSlice, Read};

use crate::slot::Slot;
use crate::slot::files::Files;
use crate::slot::readiness::{Flag, Readiness};
use crate::time::clock::Tick;
use crate::world::errors::is_would_block;
use crate::world::io::Io;
use crate::world::stream::send;

/// A slot's socket, with what a read or a write of it changes.
#[derive(Debug)]
pub(crate) struct Door<'a> {
    socket: &'a mut Io,
    readiness: &'a mut Readiness,
    touched: &'a mut Tick,
}

impl<D> Slot<D> {
    #[inline(always)]
    pub(crate) fn door(&mut self) -> Door<'_> {
        self.door_and_files().0
    }

    /// The door beside the files that wait.
    #[inline(always)]
    pub(crate) fn door_and_files(&mut self) -> (Door<'_>, Option<&mut Files>) {
        let door = Door {
            socket: &mut self.io,
            readiness: &mut self.readiness,
            touched: &mut self.touched,
        };
        let rare = self.rare.as_deref_mut();
        (door, rare.and_then(|rare| rare.files.as_deref_mut()))
    }
}

impl Door<'_> {
    /// Reads once. A short read may mean that the kernel has no more, `WouldBlock` always does.
    ///
    /// (`now` is a reference so that it is read after the system call: kept across it, it would take a
    /// register from the caller.)
    pub(crate) fn receive(self, buffer: &mut [u8], now: &Tick) -> io::Result<usize> {
        let (outcome, capped) = match self.socket {
            Io::Stream(stream) => (stream.read(buffer), false),
            Io::Other(endpoint) => (endpoint.recv(buffer), endpoint.was_capped()),
        };
        match outcome {
            Ok(received) if received > 0 => {
                if received < buffer.len() && !capped {
                    self.readiness.read_short();
                }
                *self.touched = *now;
                Ok(received)
            }
            outcome => read_stopped(self.readiness, outcome),
        }
    }

    /// As [`Door::receive`], of a stream socket on which a short read does mean that the kernel has no more, see
    /// [`Readiness::may_recv_until_drained`]. `None` for what is no stream socket. (A simulated one goes the same way,
    /// so that simulated runs see it.)
    #[inline(always)]
    pub(crate) fn receive_until_drained(
        self,
        buffer: &mut [u8],
        now: &Tick,
    ) -> Option<io::Result<usize>> {
        let outcome = match self.socket {
            Io::Stream(stream) => stream.read(buffer),
            #[cfg(feature = "testing")]
            Io::Other(endpoint) if endpoint.stands_for_a_stream() => endpoint.recv(buffer),
            Io::Other(_) => return None,
        };
        match outcome {
            Ok(received) if received > 0 => {
                if received < buffer.len() {
                    self.readiness.clear(Flag::Readable);
                }
                *self.touched = *now;
                Some(Ok(received))
            }
            outcome => Some(read_stopped(self.readiness, outcome)),
        }
    }

    /// Writes once; never `Ok(0)`. That only a part was taken says nothing: only `WouldBlock` promises
    /// an event when there is room again.
    #[inline(always)]
    pub(crate) fn transmit(self, bytes: &[u8], now: &Tick) -> io::Result<usize> {
        let Io::Stream(stream) = &*self.socket else {
            let outcome = self.socket.send(bytes);
            return self.written(outcome, now);
        };
        let outcome = send(stream, bytes);
        self.written(outcome, now)
    }

    /// As [`Door::transmit`], for several pieces in one call.
    pub(crate) fn transmit_vectored(self, pieces: &[IoSlice<'_>], now: &Tick) -> io::Result<usize> {
        let outcome = self.socket.send_vectored(pieces);
        self.written(outcome, now)
    }

    /// As [`Door::transmit`], for `length` bytes of a file, which the kernel copies. `Ok(0)` if the file ends
    /// before, `Unsupported` where there is no such call.
    pub(crate) fn transmit_file(
        self,
        file: &File,
        offset: u64,
        length: usize,
        now: &Tick,
    ) -> io::Result<usize> {
        match self.socket.send_file(file, offset, length) {
            Ok(0) => Ok(0),
            outcome => self.written(outcome, now),
        }
    }

    /// The same door, for a first attempt.
    pub(crate) fn again(&mut self) -> Door<'_> {
        Door {
            socket: self.socket,
            readiness: self.readiness,
            touched: self.touched,
        }
    }

    #[inline(always)]
    fn written(self, outcome: io::Result<usize>, now: &Tick) -> io::Result<usize> {
        match outcome {
            Ok(written) => {
                *self.touched = *now;
                Ok(written)
            }
            Err(error) => Err(write_stopped(self.readiness, error)),
        }
    }
}

#[cold]
fn read_stopped(readiness: &mut Readiness, outcome: io::Result<usize>) -> io::Result<usize> {
    if outcome.as_ref().is_err_and(is_would_block) {
        readiness.cant_read();
    }
    outcome
}

#[cold]
#[inline(never)]
fn write_stopped(readiness: &mut Readiness, error: io::Error) -> io::Error {
    if is_would_block(&error) {
        readiness.cant_write();
    }
    error
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::slot::life::Life;
    use crate::slot::outbox::Marks;
    use crate::world::address::Address;
    use std::time::Duration;

    fn slot() -> (Slot<()>, UnixStream) {
        let (ours, peer) = UnixStream::pair().expect("descriptors");
        ours.set_nonblocking(true).expect("a socket");
        let socket = (Io::stream(ours), Address::None);
        let mut slot = Slot::new(Some(()), || "", socket, Life::Open, Marks::default());
        slot.readiness.set(Flag::Readable);
        slot.readiness.set(Flag::Writable);
        (slot, peer)
    }

    #[test]
    fn a_read_that_fills_the_buffer_leaves_the_slot_readable_and_a_short_one_does_not() {
        let (mut slot, mut peer) = slot();
        let now = Tick::default().after(Duration::from_secs(1));
        peer.write_all(b"12345").expect("room");
        let mut buffer = [0; 4];
        assert_eq!(slot.door().receive(&mut buffer, &now).ok(), Some(4));
        assert!(slot.readiness.has(Flag::Readable));
        assert_eq!(slot.door().receive(&mut buffer, &now).ok(), Some(1));
        assert!(!slot.readiness.has(Flag::Readable));
        assert_eq!(slot.touched, now);
    }

    #[test]
    fn a_read_that_would_block_clears_the_readiness_and_moves_no_time() {
        let (mut slot, _peer) = slot();
        let now = Tick::default().after(Duration::from_secs(1));
        let error = slot.door().receive(&mut [0; 4], &now);
        assert!(error.is_err_and(|error| is_would_block(&error)));
        assert!(!slot.readiness.has(Flag::Readable));
        assert_eq!(slot.touched, Tick::default());
    }

    #[test]
    fn the_end_of_the_stream_moves_no_time_and_can_be_read_again() {
        let (mut slot, peer) = slot();
        let now = Tick::default().after(Duration::from_secs(1));
        drop(peer);
        let mut buffer = [0; 4];
        assert_eq!(slot.door().receive(&mut buffer, &now).ok(), Some(0));
        let outcome = slot.door().receive_until_drained(&mut buffer, &now);
        assert_eq!(outcome.and_then(Result::ok), Some(0));
        assert!(slot.readiness.has(Flag::Readable));
        assert_eq!(slot.touched, Tick::default());
    }

    #[test]
    fn a_write_that_would_block_clears_the_readiness_and_one_in_part_does_not() {
        let (mut slot, _peer) = slot();
        let now = Tick::default().after(Duration::from_secs(1));
        let bytes = vec![7; 16 << 20];
        let taken = slot.door().transmit(&bytes, &now).expect("some room");
        assert!(taken < bytes.len() && slot.readiness.has(Flag::Writable));
        assert_eq!(slot.touched, now);
        while slot.readiness.has(Flag::Writable) {
            let _ = slot.door().transmit(&bytes, &now);
        }
        let error = slot.door().transmit(&bytes, &now);
        assert!(error.is_err_and(|error| is_would_block(&error)));
    }
}
