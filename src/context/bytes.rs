//! Reading and sending bytes: `recv`, `send` and `broadcast`, and what each outcome means.
//!
//! The usual case of both is kept short and apart; everything else is out of line.

use std::io;

use super::Context;
use crate::slot::life::{Fate, Input, Life, Output};
use crate::slot::readiness::Flag;
use crate::state::output::LARGE_BYTES;
use crate::state::{broadcast, closing, flow, output, rates};
use crate::watch::about::About;
use crate::watch::ends::Cause;
use crate::world::endpoint::Kind;
use crate::world::errors::{Class, classify, copy_of, invalid, is_interrupted, unsupported};
use crate::world::ids::AnyId;
use crate::world::metered::Direction;

/// # Reading and sending
impl Context<'_> {
    /// Reads what there is, up to the length of `buffer`, without waiting. Calls nothing.
    ///
    /// `Ok(0)` is the end of the stream, and nothing else is; the reactor has noticed it and will call
    /// [`handle_eof`](crate::Dispatcher::handle_eof) after this callback. (On a datagram socket it is an empty
    /// datagram.)
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is nothing now; passing it on with `?` is right. `InvalidInput` for an
    /// empty buffer, which would look like the end. `NotConnected` after `close` or `abort`. Otherwise
    /// what the kernel says; the connection ends after this callback.
    #[inline(always)]
    pub fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.recv_plain(buffer) {
            Ok(received) => Ok(received),
            Err(outcome) => self.recv_otherwise(buffer, outcome),
        }
    }

    /// The usual case: an open stream socket gives some bytes. Any other is an error here: with what the kernel
    /// said, if it was asked.
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

    /// Why there is nothing to read without asking the kernel.
    #[cold]
    pub(super) fn recv_refused(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let slot = self.core.state.slots.slot_mut(self.id);
        if buffer.is_empty() {
            return Err(invalid(
                "recv into an empty buffer: it would look like the end".to_owned(),
            ));
        }
        match slot.life() {
            Life::Connecting => Err(io::ErrorKind::WouldBlock.into()),
            Life::Listening => Err(unsupported("recv", "a listener")),
            Life::Open if slot.io.kind() == Kind::Service => {
                Err(unsupported("recv", slot.io.name()))
            }
            Life::Open if slot.readiness.input() == Input::PutBack => {
                Ok(slot.read_put_back(buffer))
            }
            Life::Open if slot.readiness.input().is_over() => Ok(0),
            Life::Open => Err(io::ErrorKind::WouldBlock.into()),
            Life::Broken => {
                let error = slot.fate.error();
                let error = error.map_or(io::ErrorKind::NotConnected.into(), copy_of);
                Err(About::wrap(self.id, "recv", error))
            }
            Life::ConnectingToClose
            | Life::ConnectingToReset
            | Life::Producing
            | Life::Flushing
            | Life::FlushingToReset
            | Life::Draining
            | Life::Ended => Err(self.refusal(io::ErrorKind::NotConnected, "recv after close")),
        }
    }

    /// The kernel gave no bytes: nothing now, the end, or an error.
    #[cold]
    fn recv_stopped(&mut self, outcome: io::Result<usize>) -> io::Result<usize> {
        let state = &mut self.core.state;
        let slot = state.slots.slot_mut(self.id);
        let error = match outcome {
            Ok(received) => {
                if slot.readiness.output() != Output::Broken {
                    slot.readiness.set_input(Input::Ended);
                    if state.running.id != self.id {
                        // Read by another dispatcher: its own callback follows in the next dispatch.
                        state.requeue(self.id);
                    }
                    return Ok(received);
                }
                // After a failed write a zero is no end of stream: the kernel tells an error once.
                broken_pipe_or(&slot.fate)
            }
            Err(error) if is_interrupted(&error) => return Err(error),
            Err(error) => match (classify(&error), slot.io.kind()) {
                (Class::NotNow, _) => {
                    if slot.readiness.output() != Output::Broken {
                        rates::waits(state, self.id, Direction::Read);
                        return Err(error);
                    }
                    // What the kernel still had has been delivered; now the failed write takes effect.
                    broken_pipe_or(&slot.fate)
                }
                (_, Kind::Stream) => error,
                (Class::Disconnect | Class::Fault, _) => return Err(error),
            },
        };
        closing::break_socket(state, self.id, &error);
        if state.running.id == self.id {
            return Err(error);
        }
        state.mark_dirty(self.id);
        Err(About::wrap(self.id, "recv", error))
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

    /// Sends `bytes`, all or none. Calls nothing: they are copied to the outbox, which is written once
    /// at the end of the turn, so many small sends cost one system call. (Of a large payload, with nothing
    /// queued before it, the kernel is given what it takes at once.) They leave in the order of the
    /// sends. Before the connection is established they wait for it. An empty slice is a no-op on a
    /// stream.
    ///
    /// On a connected datagram socket it is one datagram, and leaves at once or not at all.
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
    fn send_first(&mut self, bytes: &[u8]) -> bool {
        let state = &mut self.core.state;
        let slot = state.slots.slot_mut(self.id);
        if !(1..LARGE_BYTES).contains(&bytes.len()) || !slot.can_stage(bytes.len()) {
            return false;
        }
        let Some(place) = state.chunks.stage(&mut slot.outbox, bytes.len()) else {
            return false;
        };
        slot.output_moved = state.now;
        slot.readiness.set(Flag::Dirty);
        state.agenda.dirty.push(self.id);
        place.copy_from_slice(bytes);
        true
    }

    /// As [`Context::send_first`], of what others are sent as well: all share the copy that the first of
    /// them makes.
    #[inline(always)]
    fn send_shared(&mut self, bytes: &[u8], copy: &mut Option<u32>) -> bool {
        let Some(start) = *copy else {
            let is_sent = self.send_first(bytes);
            if is_sent {
                let slot = self.core.state.slots.slot(self.id);
                *copy = Some(slot.outbox.staged_at());
            }
            return is_sent;
        };
        let state = &mut self.core.state;
        let slot = state.slots.slot_mut(self.id);
        if !slot.can_stage(bytes.len()) {
            return false;
        }
        state
            .chunks
            .stage_shared(&mut slot.outbox, start, bytes.len());
        slot.output_moved = state.now;
        slot.readiness.set(Flag::Dirty);
        state.agenda.dirty.push(self.id);
        true
    }

    /// Sends more in the same turn, which is written with the first; or does whatever else it takes.
    #[inline(never)]
    fn send_further(&mut self, bytes: &[u8]) -> io::Result<()> {
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
            bytes = &bytes[output::write_at_once(state, self.id, bytes)..];
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

    /// Sends on what has no outbox, or says why nothing can be queued.
    #[cold]
    pub(super) fn send_unqueued(&mut self, bytes: &[u8]) -> io::Result<()> {
        let slot = self.core.state.slots.slot_mut(self.id);
        match slot.life() {
            Life::Connecting | Life::Open | Life::Producing => {}
            Life::Listening => return Err(unsupported("send", "a listener")),
            Life::Broken => {
                return Err(self.refusal(io::ErrorKind::BrokenPipe, "send on a broken connection"));
            }
            Life::ConnectingToClose
            | Life::ConnectingToReset
            | Life::Flushing
            | Life::FlushingToReset
            | Life::Draining
            | Life::Ended => {
                return Err(self.refusal(io::ErrorKind::NotConnected, "send after close"));
            }
        }
        if slot.io.kind() == Kind::Datagram {
            let sent = slot.io.send(bytes);
            return self.datagram_sent(sent);
        }
        if !slot.io.can_send() {
            return slot.io.send(bytes).map(|_| ());
        }
        if slot.readiness.is_done_sending() {
            return Err(self.refusal(
                io::ErrorKind::BrokenPipe,
                "send on a connection shut for writing",
            ));
        }
        let queued = slot.queued();
        Err(self.over_the_cap(queued, bytes.len()))
    }

    /// More is queued than the hard cap allows: the connection ends, and here is the error that says
    /// so, once for the caller and once for `handle_error`.
    #[cold]
    pub(crate) fn over_the_cap(&mut self, queued: usize, more: usize) -> io::Error {
        let cap = self.hard_cap();
        let state = &mut self.core.state;
        let text = format!(
            "{}: outbox over its hard cap: {queued} bytes queued, {more} more, cap {cap}",
            state.label(self.id),
        );
        let error = About::error(io::ErrorKind::QuotaExceeded, self.id, text.clone());
        state.counters.over_cap += 1;
        let kept = About::error(io::ErrorKind::QuotaExceeded, self.id, text);
        let slot = state.slots.slot_mut(self.id);
        let in_files = usize::try_from(slot.queued_in_files()).unwrap_or(usize::MAX);
        let unsent = queued.saturating_add(in_files);
        slot.fate.fail(Cause::OverCap { unsent }, kept);
        slot.enter(Life::Broken);
        state.mark_dirty(self.id);
        error
    }

    /// Sends `bytes` to each of `to`; how many took them. Each gets a copy in its outbox, and one write at
    /// the end of the turn however many messages it got. Those that are gone are skipped. One that
    /// would go over its hard cap gets none of it and is closed, by `handle_error` with an error that
    /// names it; the others are not affected.
    ///
    /// The calling dispatcher is not read while any receiver is over its high mark, but for at most
    /// [`broadcast_patience`](crate::Builder::broadcast_patience) per receiver that takes nothing.
    pub fn broadcast<I>(&mut self, to: I, bytes: &[u8]) -> usize
    where
        I: IntoIterator,
        I::Item: Into<AnyId>,
    {
        let mut reached = 0;
        let mut copy = None;
        for id in to {
            let id = id.into();
            let Some(mut receiver) = self.at(id) else {
                continue;
            };
            if receiver.send_shared(bytes, &mut copy) {
                reached += 1;
                continue;
            }
            // A refusal has been dealt with: the receiver ends, and gets its handle_error.
            if receiver.send_further(bytes).is_ok() {
                reached += 1;
                let state = &mut self.core.state;
                if state.slots.slot(id).readiness.has(Flag::Congested) {
                    broadcast::hold_sender(state, id);
                }
            }
        }
        reached
    }
}

/// The error of a connection whose writes have failed.
fn broken_pipe_or(fate: &Fate) -> io::Error {
    let error = fate.error();
    error.map_or(io::ErrorKind::BrokenPipe.into(), copy_of)
}
