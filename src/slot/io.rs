//! The two doors between the kernel and a stream's slot.
//!
//! Every byte of a stream comes in by [`Door::receive`] and goes out by [`Door::transmit`] (or its
//! vectored form). What the kernel answered becomes readiness in the same breath, so the readiness word
//! cannot miss a `WouldBlock` or a short read. What else follows from an answer (an end, a callback, a
//! deadline) is decided by the caller.

use std::io::{self, IoSlice, Read};

use crate::slot::Slot;
use crate::slot::outbox::Outbox;
use crate::slot::readiness::Readiness;
use crate::time::clock::Tick;
use crate::world::endpoint::{Io, send};
use crate::world::errors::is_would_block;

/// A slot's socket, with what a read or a write of it changes.
#[derive(Debug)]
pub(crate) struct Door<'a> {
    socket: &'a mut Io,
    readiness: &'a mut Readiness,
    touched: &'a mut Tick,
    output_moved: &'a mut Tick,
}

impl<D> Slot<D> {
    /// The door beside the outbox, so that the bytes of one can go through the other.
    #[inline(always)]
    pub(crate) fn door_and_outbox(&mut self) -> (Door<'_>, &mut Outbox) {
        let door = Door {
            socket: &mut self.io,
            readiness: &mut self.readiness,
            touched: &mut self.touched,
            output_moved: &mut self.output_moved,
        };
        (door, &mut self.outbox)
    }

    #[inline(always)]
    pub(crate) fn door(&mut self) -> Door<'_> {
        self.door_and_outbox().0
    }
}

impl Door<'_> {
    /// Reads once. A short read may mean that the kernel has no more, `WouldBlock` always does.
    ///
    /// (`now` is a reference so that it is read after the system call: kept across it, it would take a
    /// register from the caller.)
    #[inline(always)]
    pub(crate) fn receive(self, buffer: &mut [u8], now: &Tick) -> io::Result<usize> {
        let outcome = match self.socket {
            Io::Stream(stream) => stream.read(buffer),
            _ => self.socket.recv(buffer),
        };
        match outcome {
            Ok(received) if received > 0 => {
                if received < buffer.len() {
                    self.readiness.read_short();
                }
                *self.touched = *now;
                Ok(received)
            }
            outcome => read_stopped(self.readiness, outcome),
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

    #[inline(always)]
    fn written(self, outcome: io::Result<usize>, now: &Tick) -> io::Result<usize> {
        match outcome {
            Ok(written) => {
                *self.touched = *now;
                *self.output_moved = *now;
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
