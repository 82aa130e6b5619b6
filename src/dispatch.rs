//! Steps 3 and 4 of a turn: events become readiness, readiness becomes callbacks.
//!
//! Each slot on the ready list is served once: one callback of a kind, then, if it is still ready, to
//! the back of the list for the next turn. That is the whole of fairness.

use std::io;

use crate::core::Core;
use crate::dispatcher::Dispatcher;
use crate::slot::Slot;
use crate::slot::life::Life;
use crate::slot::readiness::Flag;
use crate::state::running::Callback;
use crate::world::ids::AnyId;
use crate::world::poller::{News, WAKER};
use crate::world::signals::Signals;
use crate::world::socket::Kind;

impl Slot {
    /// Whether the dispatch step has anything to do for this slot.
    #[inline]
    pub(crate) fn has_work(&self) -> bool {
        self.readiness.is_just_readable() || self.has_other_work()
    }

    #[inline(never)]
    fn has_other_work(&self) -> bool {
        match self.life() {
            Life::Open => {
                self.readiness.can_read()
                    || self.readiness.is_unusual()
                        && (self.readiness.eof_due()
                            || self.can_produce()
                            || self.readiness.priority_due()
                            || self.is_over())
            }
            Life::Listening => {
                self.readiness.has(Flag::Readable) && !self.readiness.has(Flag::AcceptPaused)
            }
            Life::Connecting => self.readiness.has(Flag::Writable),
            Life::Draining => self.readiness.has(Flag::Readable),
            Life::Flushing | Life::Ended => false,
        }
    }

    /// Whether `handle_write` is due.
    pub(crate) fn can_produce(&self) -> bool {
        self.readiness.has(Flag::WantWrite)
            && self.readiness.has(Flag::Writable)
            && !self.readiness.is_done_sending()
            && self.outbox.is_below_low()
    }

    /// Whether the next flush has anything to do for this slot.
    #[inline]
    pub(crate) fn can_flush(&self) -> bool {
        !self.outbox.is_empty()
            && self.readiness.has(Flag::Writable)
            && matches!(self.life(), Life::Open | Life::Flushing)
    }

    /// Whether a `send` of this many bytes goes straight to the outbox.
    #[inline]
    pub(crate) fn can_queue(&self, bytes: usize) -> bool {
        matches!(self.life(), Life::Open | Life::Connecting)
            && !self.readiness.is_done_sending()
            && !self.readiness.has(Flag::NoOutbox)
            && self.outbox.has_room_for(bytes)
    }

    /// Whether an open connection has come to its end with no callback left that would notice.
    pub(crate) fn is_over(&self) -> bool {
        let readiness = self.readiness;
        let nobody_reads = !readiness.has(Flag::WantRead);
        if readiness.has(Flag::Broken) {
            return true;
        }
        if readiness.has(Flag::WriteBroken) {
            return nobody_reads || readiness.has(Flag::EofSeen);
        }
        if readiness.has(Flag::EofTold) && readiness.has(Flag::ShutDone) {
            return true;
        }
        if !readiness.at_an_end() || self.socket.kind() != Kind::Stream {
            return false;
        }
        // With the end delivered no read is left that would bring out what the kernel has to say, and
        // while the user has switched reading off none will be made. A write would: if output is
        // queued, the flush finds out.
        if readiness.has(Flag::EofTold) {
            return self.outbox.is_empty();
        }
        nobody_reads && readiness.has(Flag::Error)
    }

    /// The usual case after a callback: still open, nothing broken, the end not just seen.
    #[inline]
    pub(crate) fn nothing_unusual_after_a_callback(&self) -> bool {
        self.life() <= Life::Open && self.readiness.is_plain_after_a_callback()
    }
}

impl Core {
    /// Step 3. An event finds its slot by index, and its generation is compared; the bits it sets put
    /// the slot on the ready list, the dirty list, both or neither.
    pub(crate) fn merge(&mut self, news: &mut News) {
        news.take(|id, signals| {
            if self.note(id, signals) {
                self.slots.slot_mut(id).readiness.set(Flag::Queued);
                self.ready.push(id);
            }
        });
    }

    /// Takes in one event. True if its slot has work for the dispatch and is not on the ready list.
    fn note(&mut self, id: AnyId, signals: Signals) -> bool {
        let Some(slot) = self.slots.get_mut(id) else {
            if id != WAKER {
                // Epoll goes on reporting a closed descriptor while a duplicate of it lives.
                self.counters.stale += 1;
                log::trace!("event for {id}, which is gone");
            }
            return false;
        };
        slot.readiness.merge(signals);
        if signals.may_bring_room() && slot.can_flush() && slot.readiness.raise(Flag::Dirty) {
            self.dirty.push(id);
        }
        slot.has_work() && !slot.readiness.has(Flag::Queued)
    }

    /// Step 4, for the ready list.
    pub(crate) fn dispatch(&mut self) {
        let measured = self.config.slow_callback.is_some();
        while let Some(id) = self.dispatching.next() {
            let Some(slot) = self.slots.get_mut(id) else {
                self.counters.stale += 1;
                continue;
            };
            slot.readiness.clear(Flag::Queued);
            if slot.readiness.is_just_readable() && !measured {
                let dispatcher = slot.take_dispatcher();
                self.read(id, dispatcher);
            } else {
                self.serve(id);
            }
        }
    }

    /// Whether nobody is left over from the turn before, who would come first and might be in the news
    /// as well. (While callbacks are measured all go by the list: the short way has no clock in it.)
    pub(crate) fn can_dispatch_news(&self) -> bool {
        self.ready.is_empty() && self.dispatching.is_empty() && self.config.slow_callback.is_none()
    }

    /// Step 4, for events that step 3 has left to it.
    #[inline(never)]
    pub(crate) fn dispatch_news(&mut self, news: &mut News) {
        news.take(|id, signals| {
            if signals.is_just_readable()
                && let Some(slot) = self.slots.get_mut(id)
            {
                slot.readiness.set(Flag::Readable);
                if slot.readiness.is_just_readable() {
                    let dispatcher = slot.take_dispatcher();
                    return self.read(id, dispatcher);
                }
            }
            self.dispatch_other_news(id, signals);
        });
    }

    #[inline(never)]
    fn dispatch_other_news(&mut self, id: AnyId, signals: Signals) {
        if self.note(id, signals) {
            self.serve(id);
        }
    }

    /// The usual case, an open connection with input and nothing else that could be due: one look
    /// before the callback and one after it.
    #[inline(always)]
    fn read(&mut self, id: AnyId, dispatcher: Box<dyn Dispatcher>) {
        let (result, slot) = self.run(id, dispatcher, Callback::Read, |dispatcher, cx| {
            dispatcher.handle_read(cx)
        });
        if result.is_err() || !slot.readiness.is_served() {
            self.after_unusual_read(id, result);
        }
    }

    #[inline(never)]
    fn after_unusual_read(&mut self, id: AnyId, result: io::Result<()>) {
        let usual = result.is_ok() && self.slots.slot(id).readiness.is_usual();
        if !usual && self.settle(id, Callback::Read, result) {
            self.serve_the_rest(id);
        }
        self.requeue(id);
    }

    /// Whatever is due.
    fn serve(&mut self, id: AnyId) {
        match self.slots.slot(id).life() {
            Life::Open => self.dispatch_open(id),
            Life::Listening => self.accept_batch(id),
            Life::Connecting => self.finish_connect(id),
            Life::Draining => self.drain(id),
            Life::Flushing | Life::Ended => {}
        }
    }

    /// Serves one open slot: read, end of stream, write, priority, each at most once, and a look
    /// before each whether the one before has closed it.
    pub(crate) fn dispatch_open(&mut self, id: AnyId) {
        if !self.slots.slot(id).readiness.can_read()
            || self.callback(id, Callback::Read, |dispatcher, cx| {
                dispatcher.handle_read(cx)
            })
        {
            self.serve_the_rest(id);
        }
        self.requeue(id);
    }

    /// All but reading. False if its dispatch ended early.
    fn serve_the_rest(&mut self, id: AnyId) -> bool {
        if self.slots.slot(id).readiness.eof_due() && !self.tell_eof(id) {
            return false;
        }
        if self.slots.slot(id).can_produce()
            && !self.callback(id, Callback::Write, |dispatcher, cx| {
                dispatcher.handle_write(cx)
            })
        {
            return false;
        }
        let slot = self.slots.slot_mut(id);
        if slot.readiness.priority_due() {
            slot.readiness.clear(Flag::UrgentUntold);
            if !self.callback(id, Callback::Priority, |d, cx| d.handle_priority(cx)) {
                return false;
            }
        }
        if self.slots.slot(id).is_over() {
            self.bring_out_the_errno(id);
            self.finish_broken(id, false);
            return false;
        }
        true
    }

    /// Reads, for a connection that nobody reads any more, until the kernel says why it is over. What
    /// arrived meanwhile has no reader.
    #[cold]
    fn bring_out_the_errno(&mut self, id: AnyId) {
        const READS: usize = 64;
        let slot = self.slots.slot_mut(id);
        if slot.broken_by.is_some() || !slot.readiness.has(Flag::Error) {
            return;
        }
        if !slot.socket.can_recv() {
            // The writing end of a pipe: its one error is a reader that has gone.
            slot.broken_by = Some(io::ErrorKind::BrokenPipe.into());
            return;
        }
        let mut discarded = [0; 4096];
        for _ in 0..READS {
            match slot.socket.recv(&mut discarded) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) => {
                    slot.broken_by = Some(error);
                    return;
                }
            }
        }
    }
}
