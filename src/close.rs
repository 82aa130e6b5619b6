//! Closing in all its forms, and step 8 of a turn.
//!
//! ```text
//!              close()                  outbox empty:              end of stream, error
//!                                       write side shut            or deadline
//!   Open ──────────────► Flushing ─────────────────────► Draining ─────────────────────► Ended
//!     │                     │ write fails, deadline                                        ▲
//!     └─────────────────────┴──────────────────────────────────────────────────────────────┘
//!       abort(), reset, error, panic, cap, deadline, close_all, the reactor dropped
//! ```
//!
//! Many roads lead to `Ended` and one function enters it, [`Core::end`]; one function leads from there
//! to `handle_close`, [`Core::close_step`]. That is what makes it exactly once, and last.
//!
//! Why draining: a socket that is closed with unread input makes the kernel answer with a reset, and a
//! reset throws away what the peer has not read yet, replies that the kernel had accepted included. So
//! the write side is shut, and what still arrives is read and thrown away until the peer has finished
//! too, or the deadline has come.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::core::Core;
use crate::slot::Slot;
use crate::slot::life::{End, Life};
use crate::slot::readiness::Flag;
use crate::state::running::{Callback, Running};
use crate::time::timers::Action;
use crate::world::address::Address;
use crate::world::errors::{is_interrupted, is_would_block};
use crate::world::ids::AnyId;
use crate::world::socket::{Io, Kind, Socket};

impl Core {
    /// `close()` of the API.
    pub(crate) fn close(&mut self, id: AnyId) {
        let slot = self.slots.slot_mut(id);
        let readiness = slot.readiness;
        match slot.life() {
            Life::Connecting if !slot.outbox.is_empty() => {
                // Bytes were accepted for sending: they leave first, if the connection comes to stand.
                slot.readiness.set(Flag::CloseAsked);
                slot.readiness.want_nothing();
                self.cancel_user_timers(id);
            }
            Life::Open
                if slot.socket.can_send()
                    && !readiness.has(Flag::WriteBroken)
                    && !readiness.has(Flag::Broken) =>
            {
                slot.enter(Life::Flushing);
                slot.readiness.want_nothing();
                self.layer_is_full(id, false);
                self.cancel_user_timers(id);
                if !self.slots.slot(id).outbox.is_empty()
                    && !self.slots.slot(id).readiness.has(Flag::Writable)
                {
                    // The flush that would arm it has been and gone.
                    self.arm_deadline(id, self.config.close_timeout, Action::CloseDeadline);
                }
                self.mark_dirty(id);
            }
            Life::Connecting | Life::Listening | Life::Open => self.end(id, End::Closed),
            Life::Flushing | Life::Draining | Life::Ended => {}
        }
    }

    /// `abort()` of the API.
    pub(crate) fn abort(&mut self, id: AnyId) {
        let slot = self.slots.slot(id);
        if matches!(slot.life(), Life::Open | Life::Flushing | Life::Draining)
            && matches!(slot.socket.address, Address::Inet(_))
            && slot.socket.kind() == Kind::Stream
        {
            if let Some(socket) = slot.socket.as_ref() {
                // With nothing to linger for the kernel sends a reset, and keeps nothing for the peer.
                let _ = socket.set_linger(Some(Duration::ZERO));
            }
        }
        self.end(id, End::Aborted);
    }

    /// `abort_when_sent()` of the API.
    pub(crate) fn abort_when_sent(&mut self, id: AnyId) {
        self.slots.slot_mut(id).readiness.set(Flag::AbortWhenSent);
        self.close(id);
    }

    /// The one way into `Ended`: the slot waits for its `handle_close`, and for nothing else.
    pub(crate) fn end(&mut self, id: AnyId, how: End) {
        let slot = self.slots.slot_mut(id);
        if slot.life() == Life::Ended {
            return;
        }
        slot.enter(Life::Ended);
        slot.end = Some(how);
        slot.readiness.want_nothing();
        // Here and not in the close step: one that is due in this very turn must not fire any more.
        self.timers.cancel_where(&mut slot.timers, |_| true);
        self.discard_output(id);
        self.forget_sink(id);
        self.unlink_source(id);
        self.ending.push_back(id);
    }

    /// Ends every dispatcher.
    pub(crate) fn end_all(&mut self) {
        let all: Vec<AnyId> = self.slots.iter().map(|(id, _)| id).collect();
        for id in all {
            self.end(id, End::Aborted);
        }
    }

    fn cancel_user_timers(&mut self, id: AnyId) {
        let slot = self.slots.slot_mut(id);
        if !slot.timers.is_empty() {
            self.timers.cancel_where(&mut slot.timers, Action::is_users);
        }
    }

    /// The outbox of a closing connection is empty.
    pub(crate) fn start_draining(&mut self, id: AnyId) {
        let slot = self.slots.slot_mut(id);
        // A hang-up alone is no reason to skip it: once both halves are shut the kernel reports one, and
        // there may still be unread input here and an unread reply over there.
        let peer_is_done = slot.readiness.has(Flag::EofSeen) || slot.readiness.has(Flag::Error);
        if slot.readiness.has(Flag::AbortWhenSent) {
            return self.abort(id);
        }
        if peer_is_done || !slot.socket.can_half_close() {
            return self.end(id, End::Closed);
        }
        // An error here means that the peer is gone already.
        if !slot.readiness.has(Flag::ShutDone) && slot.socket.shutdown_write().is_err() {
            return self.end(id, End::Closed);
        }
        slot.enter(Life::Draining);
        self.timers
            .cancel_where(&mut slot.timers, |action| !action.is_users());
        self.arm_deadline(id, self.config.close_timeout, Action::CloseDeadline);
        self.requeue(id);
    }

    /// Throws away what a draining connection has received, a bounded amount a turn.
    pub(crate) fn drain(&mut self, id: AnyId) {
        const READS: usize = 4;
        let mut discarded = [0; 16 * 1024];
        for _ in 0..READS {
            let slot = self.slots.slot_mut(id);
            match slot.socket.recv(&mut discarded) {
                Ok(0) => return self.end(id, End::Closed),
                Ok(received) => {
                    if received < discarded.len() {
                        slot.readiness.read_short();
                    }
                    if !slot.readiness.has(Flag::Readable) {
                        break;
                    }
                }
                Err(error) if is_would_block(&error) => {
                    slot.readiness.cant_read();
                    break;
                }
                Err(error) if is_interrupted(&error) => {}
                Err(_) => return self.end(id, End::Lost),
            }
        }
        self.requeue(id);
    }

    /// Step 8. Each slot that is over: out of the poller and off every list first, users' code second,
    /// and only then is the place free. Resumed where it was if users' code panics.
    pub(crate) fn close_step(&mut self) {
        // Whoever is ended by another's handle_close is closed in the same step; but no more than
        // there were, or closing could go on for ever.
        let mut budget = self.slots.len();
        loop {
            while let Some(id) = self.closed.pop() {
                self.free(id);
            }
            if budget == 0 {
                break;
            }
            budget -= 1;
            let Some(&id) = self.ending.front() else {
                break;
            };
            // It stays in front until its socket is gone: a foreign source is users' code, and if it
            // panics the slot is still owed its handle_close.
            let slot = self.slots.get(id);
            if slot.is_some_and(|slot| !matches!(slot.socket.io, Io::Closed)) {
                self.unhook(id);
            }
            self.ending.pop_front();
            self.closed.push(id);
            let result = self.call(id, Callback::Close, |dispatcher, cx| {
                dispatcher.handle_close(cx);
                Ok(())
            });
            debug_assert!(result.is_ok(), "handle_close returns nothing");
        }
        self.running = Running::NOTHING;
        self.purge_lists();
    }

    /// Takes a slot out of the poller and closes its socket.
    /// Deregistering comes before closing: epoll goes on reporting a closed descriptor for as long as a
    /// duplicate of it lives somewhere.
    fn unhook(&mut self, id: AnyId) {
        let slot = self.slots.slot_mut(id);
        self.connections -= usize::from(slot.socket.kind() == Kind::Stream);
        let mut socket = Socket::closed();
        std::mem::swap(&mut socket.io, &mut slot.socket.io);
        self.resume_listeners();
        log::debug!("{}: closed", self.label(id));
        self.running = Running {
            id,
            callback: Callback::Drop,
        };
        if let Err(error) = self.poller.deregister(&mut socket) {
            log::debug!("{id}: deregistering: {error}");
        }
        drop(socket);
    }

    /// Frees the place. The dispatcher is dropped last, when nothing can be left half done if its own
    /// drop panics.
    fn free(&mut self, id: AnyId) {
        let Some(slot) = self.slots.remove(id) else {
            return;
        };
        self.counters.closed += 1;
        self.lists_need_purging |= slot.is_listed();
        self.running = Running {
            id,
            callback: Callback::Drop,
        };
        drop(slot);
    }

    /// Takes ids of the freed off the lists, all at once: one by one it would be quadratic.
    fn purge_lists(&mut self) {
        if !std::mem::take(&mut self.lists_need_purging) {
            return;
        }
        let slots = &self.slots;
        self.ready.retain(|&id| slots.get(id).is_some());
        self.dirty.retain(|&id| slots.get(id).is_some());
        self.paused_listeners.retain(|&id| slots.get(id).is_some());
    }

    /// Runs the close step outside a turn, for those who end everything. Panics are contained: whoever
    /// lets them through asked for those of callbacks, and must not lose the others' `handle_close`.
    pub(crate) fn close_now(&mut self) -> Option<Box<dyn std::any::Any + Send>> {
        let mut first = None;
        while !(self.ending.is_empty() && self.closed.is_empty()) {
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| self.close_step())) {
                let propagated = self.absorb(payload);
                first = first.or(propagated);
            }
        }
        first
    }
}

impl Slot {
    fn is_listed(&self) -> bool {
        [Flag::Queued, Flag::Dirty, Flag::AcceptPaused]
            .iter()
            .any(|flag| self.readiness.has(*flag))
    }
}
