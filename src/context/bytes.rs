//! Reading and sending bytes: `recv` and `send`.
//!
//! The usual case of both is kept short and apart, and everything else is out of line. The errors of
//! both, when nothing was read or nothing can be sent, are in `outcomes.rs`.

use std::io;

use super::Context;
use crate::slot::readiness::Flag;
use crate::state::at_once::{LARGE_BYTES, write_at_once};
use crate::state::flow;
use crate::world::endpoint::Kind;

/// # Reading and sending
impl Context<'_> {
    /// Reads the input that is available, up to the length of `buffer`. It does not wait and calls no callback.
    ///
    /// On a stream, `Ok(0)` means the end of the stream and nothing else;
    /// [`handle_eof`](crate::Dispatcher::handle_eof) is called after this callback. On a datagram socket it means an
    /// empty datagram.
    ///
    /// ```
    /// # use slabloop::{Context, Dispatcher};
    /// # use std::io;
    /// # struct Session { request: Vec<u8> }
    /// # impl Dispatcher for Session {
    /// fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///     let mut buffer = [0; 4096];
    ///     // If there is nothing to read, `?` returns `WouldBlock`. It is not treated as an error.
    ///     let count = cx.recv(&mut buffer)?;
    ///     self.request.extend_from_slice(&buffer[..count]);
    ///     Ok(())
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `WouldBlock` if no input is available now; return it with `?`. `InvalidInput` for an empty buffer, for
    /// which the result would look like the end of the stream. `NotConnected` after `close` or `abort`. Otherwise the
    /// kernel's error; the connection ends after this callback.
    #[inline(always)]
    pub fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.recv_plain(buffer) {
            Ok(received) => Ok(received),
            Err(outcome) => self.recv_otherwise(buffer, outcome),
        }
    }

    /// The usual case: an open stream socket gives some bytes. Any other is an error here: with the kernel's answer,
    /// if it was asked.
    #[inline(always)]
    fn recv_plain(&mut self, buffer: &mut [u8]) -> Result<usize, Option<io::Result<usize>>> {
        let state = &mut self.core.state;
        let slot = state.slots.slot_mut(self.id);
        if buffer.is_empty() || !slot.readiness.may_recv_until_drained() {
            return Err(None);
        }
        let Some(outcome) = slot.door().receive_until_drained(buffer, &state.now) else {
            return Err(None);
        };
        match outcome {
            Ok(received) if received > 0 => {
                state.counters.bytes_in += received as u64;
                Ok(received)
            }
            outcome => Err(Some(outcome)),
        }
    }

    /// Every other case. (One function: with a choice of several the compiler would have each `recv` test a
    /// result that it knows.)
    #[cold]
    #[inline(never)]
    fn recv_otherwise(
        &mut self,
        buffer: &mut [u8],
        outcome: Option<io::Result<usize>>,
    ) -> io::Result<usize> {
        if let Some(outcome) = outcome {
            return self.recv_stopped(outcome);
        }
        let state = &mut self.core.state;
        let slot = state.slots.slot_mut(self.id);
        if buffer.is_empty() || !slot.readiness.may_recv() {
            return self.recv_refused(buffer);
        }
        if slot.io.kind() == Kind::Datagram {
            return self.recv_datagram(buffer);
        }
        match slot.door().receive(buffer, &state.now) {
            Ok(received) if received > 0 => {
                state.counters.bytes_in += received as u64;
                Ok(received)
            }
            outcome => self.recv_stopped(outcome),
        }
    }

    /// Reads and throws away, for default callbacks.
    pub(crate) fn discard(&mut self) -> io::Result<usize> {
        if self.core.state.slots.slot(self.id).io.kind() == Kind::Foreign {
            // Only its dispatcher knows how to read it; asked again and again it would spin.
            self.pause_reading();
            return Ok(0);
        }
        self.with_scratch(16 * 1024, |cx, buffer| cx.recv(buffer))
    }

    /// Sends `bytes`, all or none. It does not wait and calls no callback: the bytes are copied to the outbox,
    /// which is written once at the end of the turn, so many small sends cost one system call. (A large payload with
    /// nothing queued before it is offered to the kernel at once.) Bytes leave in the order of the sends. Those that
    /// are sent before the connection is established wait for it. On a stream, an empty slice does nothing.
    ///
    /// On a connected datagram socket, `bytes` are one datagram, which is sent at once or not at all.
    ///
    /// ```
    /// # use slabloop::{Context, Dispatcher};
    /// # use std::io;
    /// # struct Greeter;
    /// # impl Dispatcher for Greeter {
    /// fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///     cx.send(b"HELLO ")?;
    ///     cx.send(b"ada\n") // One write for both, at the end of the turn.
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `QuotaExceeded` if the outbox would go over its hard cap: nothing of `bytes` is sent, and this
    /// connection ends with `handle_error` and `handle_close`. `NotConnected` after `close` or `abort`,
    /// `BrokenPipe` after [`shutdown_write`](Context::shutdown_write) or a failed write. `WouldBlock` on
    /// a datagram socket whose buffer is full. `Unsupported` on listeners and foreign sources.
    #[inline]
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.send_first(bytes) {
            Ok(())
        } else {
            self.send_further(bytes)
        }
    }

    /// The usual case: the first of this turn, on an open connection with nothing queued. False, and nothing
    /// is done, if it is any other. (The copy comes last: what a call needs kept costs a register each.)
    #[inline(always)]
    pub(super) fn send_first(&mut self, bytes: &[u8]) -> bool {
        let state = &mut self.core.state;
        let slot = state.slots.slot_mut(self.id);
        if !(1..LARGE_BYTES).contains(&bytes.len()) || !slot.can_stage(bytes.len()) {
            return false;
        }
        let Some(place) = state.chunks.stage(&mut slot.outbox, bytes.len()) else {
            return false;
        };
        state.agenda.add_dirty(self.id, slot, state.now);
        place.copy_from_slice(bytes);
        true
    }

    /// Sends more in the same turn, which is written with the first; or does whatever else it takes.
    #[inline(never)]
    pub(super) fn send_further(&mut self, bytes: &[u8]) -> io::Result<()> {
        let state = &mut self.core.state;
        let slot = state.slots.slot_mut(self.id);
        if slot.readiness.can_queue_and_forget() && slot.outbox.stays_below_high(bytes.len()) {
            if let Some(place) = state.chunks.stage_more(&mut slot.outbox, bytes.len()) {
                place.copy_from_slice(bytes);
                return Ok(());
            }
        }
        self.send_with_marks(bytes)
    }

    /// Sends what is large, or where the kernel is known to be full, or the high mark is near or exceeded.
    #[inline(never)]
    fn send_with_marks(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let state = &mut self.core.state;
        if !state.slots.slot(self.id).can_queue(bytes.len()) {
            return self.send_unqueued(bytes);
        }
        let is_large = bytes.len() >= LARGE_BYTES;
        if is_large {
            bytes = &bytes[write_at_once(state, self.id, bytes)..];
        }
        let slot = state.slots.slot_mut(self.id);
        if !slot.has_output() {
            slot.output_moved = state.now;
        }
        if is_large || !slot.readiness.can_queue_and_forget() {
            state.chunks.append(slot.outbox_for(bytes.len()), bytes);
        } else {
            state.chunks.stage_or_append(&mut slot.outbox, bytes);
        }
        if slot.can_flush() && slot.readiness.raise(Flag::Dirty) {
            state.agenda.dirty.push(self.id);
        }
        if slot.outbox.is_over_high() || state.over_total {
            flow::review(state, self.id);
        }
        Ok(())
    }
}
