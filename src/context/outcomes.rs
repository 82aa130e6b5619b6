//! Why nothing was read, and why nothing can be sent.

use std::io;

use super::Context;
use crate::slot::life::{Fate, Input, Life, Output};
use crate::state::{closing, rates};
use crate::watch::about::About;
use crate::watch::ends::Cause;
use crate::world::endpoint::Kind;
use crate::world::errors::{Class, classify, copy_of, invalid, is_interrupted, unsupported};
use crate::world::layered::Layered;
use crate::world::metered::Direction;

impl Context<'_> {
    /// Why there is nothing to read without asking the kernel.
    #[cold]
    pub(super) fn recv_refused(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let slot = self.core.state.slots.slot_mut(self.id);
        if buffer.is_empty() {
            return Err(invalid(
                "recv into an empty buffer: the result would look like the end of the stream"
                    .to_owned(),
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
    pub(super) fn recv_stopped(&mut self, outcome: io::Result<usize>) -> io::Result<usize> {
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
                    if slot.io.layered().is_some_and(Layered::has_got) {
                        // A part of a record is no byte for the program, and the peer is not idle.
                        slot.touched = state.now;
                    }
                    if slot.readiness.output() != Output::Broken {
                        rates::waits(state, self.id, Direction::Read);
                        return Err(error);
                    }
                    // What the kernel still had has been delivered; now the failed write takes effect.
                    broken_pipe_or(&slot.fate)
                }
                // For a layer that zero is a cut, and as little one as it is an end.
                (_, Kind::Stream)
                    if error.kind() == io::ErrorKind::UnexpectedEof
                        && slot.readiness.output() == Output::Broken =>
                {
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
}

/// The error of a connection whose writes have failed.
fn broken_pipe_or(fate: &Fate) -> io::Error {
    let error = fate.error();
    error.map_or(io::ErrorKind::BrokenPipe.into(), copy_of)
}
