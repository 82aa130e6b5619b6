//! Step 7 of a turn: every dirty outbox is written, once.
//!
//! A hundred small sends in a turn cost one system call, and a broadcast one per member, however many
//! messages it carried. An outbox that could not be written whole is either dirty again (the kernel took
//! a part; the next turn asks for more) or waits for the event that says there is room again.

use std::io::{self, IoSlice};

use crate::core::Core;
use crate::slot::chunks::CHUNKS_PER_WRITE;
use crate::slot::life::Life;
use crate::slot::readiness::Flag;
use crate::time::timers::Action;
use crate::world::errors::{Class, classify, is_interrupted};
use crate::world::ids::AnyId;
use crate::world::socket::{Io, send};

/// From this size on a payload is offered to the kernel before it is copied: an echo of 16 KiB messages
/// took 9 % less processor time, of 256 KiB 14 %. Smaller ones are better off sharing a write.
pub(crate) const LARGE_BYTES: usize = 16 * 1024;

impl Core {
    /// The usual case, an open connection whose output fits one chunk and is taken whole, is kept apart.
    pub(crate) fn flush(&mut self) {
        while let Some(id) = self.flushing.next() {
            let Some(slot) = self.slots.get_mut(id) else {
                self.counters.stale += 1;
                continue;
            };
            slot.readiness.clear(Flag::Dirty);
            match &slot.socket.io {
                Io::Stream(stream)
                    if slot.readiness.writes_plainly() && slot.outbox.is_one_piece() =>
                {
                    self.counters.writes += 1;
                    match self
                        .buffers
                        .write_piece(&mut slot.outbox, |piece| send(stream, piece))
                    {
                        Ok(written) if slot.outbox.is_empty() => {
                            slot.touched = self.now;
                            slot.output_moved = self.now;
                            self.counters.bytes_out += written as u64;
                        }
                        outcome => self.after_a_write(id, outcome),
                    }
                }
                _ => self.flush_other(id),
            }
        }
    }

    /// The end of step 7: ends the connections that it found broken. By now every other outbox has been
    /// written, so no callback runs between two writes.
    pub(crate) fn tell_failed_writes(&mut self) {
        while let Some(id) = self.failing.pop_front() {
            if self.slots.get(id).is_some() {
                self.finish_broken(id, false);
            }
        }
    }

    #[inline(never)]
    fn flush_other(&mut self, id: AnyId) {
        let slot = self.slots.slot_mut(id);
        if slot.readiness.has(Flag::Broken) {
            // Its outbox went over the cap, or somebody else's read found it broken.
            return self.failing.push_back(id);
        }
        match slot.life() {
            Life::Open | Life::Flushing => {}
            Life::Connecting | Life::Listening | Life::Draining | Life::Ended => return,
        }
        if slot.outbox.is_empty() {
            return self.output_done(id);
        }
        if !slot.readiness.has(Flag::Writable) {
            return;
        }
        self.counters.writes += 1;
        let mut pieces = [IoSlice::new(&[]); CHUNKS_PER_WRITE];
        let count = self.buffers.gather(&slot.outbox, &mut pieces);
        let outcome = match pieces[..count] {
            [piece] => slot.socket.send(&piece),
            _ => slot.socket.send_vectored(&pieces[..count]),
        };
        self.after_a_write(id, outcome);
    }

    #[inline(never)]
    fn after_a_write(&mut self, id: AnyId, outcome: io::Result<usize>) {
        let slot = self.slots.slot_mut(id);
        match outcome {
            Ok(bytes) if bytes > 0 => {
                self.buffers.advance(&mut slot.outbox, bytes);
                slot.touched = self.now;
                slot.output_moved = self.now;
                self.counters.bytes_out += bytes as u64;
                if slot.outbox.is_empty()
                    && !slot.readiness.needs_more_after_a_write()
                    && slot.life() == Life::Open
                {
                    return;
                }
                self.write_went_on(id);
            }
            outcome => self.write_stopped(id, outcome),
        }
    }

    /// Has the kernel take what it will of a large payload, in place of copying it first; how much need
    /// not be queued. At most once a turn: the outbox is dirty from then on, and the next is queued.
    pub(crate) fn write_at_once(&mut self, id: AnyId, bytes: &[u8]) -> usize {
        let slot = self.slots.slot_mut(id);
        let Io::Stream(stream) = &slot.socket.io else {
            return 0;
        };
        let first = slot.readiness.sends_plainly() && slot.outbox.is_empty();
        if !first || !slot.readiness.raise(Flag::Dirty) {
            return 0;
        }
        self.dirty.push(id);
        self.counters.writes += 1;
        match send(stream, bytes) {
            Ok(written) => {
                slot.touched = self.now;
                self.counters.bytes_out += written as u64;
                written
            }
            // The flush will hear the same, and do what follows from it.
            Err(error) if classify(&error) == Class::NotNow => 0,
            // The kernel tells an error once. No callback runs inside another: the dispatch ends it, as
            // after a flush that failed.
            Err(error) => {
                slot.readiness.set(Flag::WriteBroken);
                slot.readiness.set(Flag::Readable);
                slot.broken_by.get_or_insert(error);
                self.requeue(id);
                bytes.len()
            }
        }
    }

    /// The kernel has taken something, and more follows from it than "done".
    #[cold]
    fn write_went_on(&mut self, id: AnyId) {
        self.slots.slot_mut(id).readiness.clear(Flag::Stuck);
        self.review_congestion(id);
        if self.slots.slot(id).outbox.is_empty() {
            self.output_done(id);
        } else {
            // Most likely the kernel is full, but only WouldBlock promises an event when it no longer is.
            self.mark_dirty(id);
        }
        self.requeue(id);
    }

    /// The kernel has taken nothing.
    #[cold]
    fn write_stopped(&mut self, id: AnyId, outcome: io::Result<usize>) {
        let error = outcome
            .err()
            .unwrap_or_else(|| io::ErrorKind::WouldBlock.into());
        if is_interrupted(&error) {
            return self.mark_dirty(id);
        }
        if classify(&error) != Class::NotNow {
            return self.write_failed(id, error);
        }
        let slot = self.slots.slot_mut(id);
        slot.readiness.cant_write();
        if slot.readiness.raise(Flag::WatchesRoom) {
            if let Err(error) = self.poller.watch_room(&mut slot.socket, id) {
                return self.write_failed(id, error);
            }
        }
        let deadline = match slot.life() {
            Life::Flushing => Some((self.config.close_timeout, Action::CloseDeadline)),
            _ => self
                .config
                .stall_timeout
                .map(|limit| (limit, Action::Stalled(limit))),
        };
        if let Some((limit, action)) = deadline {
            self.arm_deadline(id, limit, action);
        }
    }

    /// A write has failed for good: the outbox is dropped now, what input the kernel still has is
    /// delivered, then the connection ends.
    #[cold]
    pub(crate) fn write_failed(&mut self, id: AnyId, error: io::Error) {
        let discarded = self.discard_output(id);
        let slot = self.slots.slot_mut(id);
        let life = slot.life();
        slot.readiness.set(Flag::WriteBroken);
        slot.broken_by.get_or_insert(error);
        log::debug!(
            "{}: a write failed; {discarded} bytes not sent",
            self.label(id)
        );
        let slot = self.slots.slot_mut(id);
        if life > Life::Open || slot.is_over() {
            self.failing.push_back(id);
        } else {
            // There may be no event to come: the read has to find out for itself.
            slot.readiness.set(Flag::Readable);
            self.requeue(id);
        }
    }

    /// Nothing is queued any more: whatever was waiting for that happens now.
    fn output_done(&mut self, id: AnyId) {
        let slot = self.slots.slot_mut(id);
        match slot.life() {
            Life::Flushing => self.start_draining(id),
            Life::Open if slot.readiness.has(Flag::ShutAsked) => self.shut_now(id),
            _ => {}
        }
    }

    fn shut_now(&mut self, id: AnyId) {
        let slot = self.slots.slot_mut(id);
        if !slot.readiness.raise(Flag::ShutDone) {
            return;
        }
        if let Err(error) = slot.socket.shutdown_write() {
            return self.write_failed(id, error);
        }
        // With the peer's end of stream behind it, and its own sent, nothing can happen any more.
        self.requeue(id);
    }

    /// `shutdown_write` of the API: the write side is shut once the outbox is empty.
    pub(crate) fn shutdown_write(&mut self, id: AnyId) {
        let slot = self.slots.slot_mut(id);
        if !matches!(slot.life(), Life::Connecting | Life::Open) {
            return;
        }
        if !slot.socket.can_half_close() {
            if !slot.readiness.has(Flag::NoOutbox) {
                // A pipe has no other half to keep open.
                self.close(id);
            }
            return;
        }
        slot.readiness.clear(Flag::WantWrite);
        if slot.readiness.raise(Flag::ShutAsked) && slot.life() == Life::Open {
            self.mark_dirty(id);
        }
    }
}
