//! What follows from what a callback returned, and from a socket that broke.

use std::io;

use crate::core::Core;
use crate::slot::life::{End, Life};
use crate::slot::readiness::Flag;
use crate::state::about::About;
use crate::state::running::Callback;
use crate::world::errors::{Class, classify, copy_of};
use crate::world::ids::AnyId;
use crate::world::socket::Kind;

impl Core {
    /// What follows a callback that failed, closed, broke its socket or saw the end of its stream.
    #[cold]
    pub(crate) fn settle(&mut self, id: AnyId, callback: Callback, result: io::Result<()>) -> bool {
        let slot = self.slots.slot(id);
        let broken = slot.readiness.has(Flag::Broken);
        if slot.life() > Life::Open {
            // It closed itself: what it returns changes nothing.
            if broken {
                self.end(id, End::Lost);
            }
            return false;
        }
        let mut may_go_on = true;
        let mut told = false;
        if let Err(error) = result {
            match self.meaning_for(id, callback, &error) {
                Class::NotNow => {}
                Class::Disconnect => {
                    log::debug!("{}: {error}", self.label(id));
                    self.end(id, End::Lost);
                    return false;
                }
                Class::Fault => {
                    self.report(id, error);
                    (may_go_on, told) = (callback == Callback::Accept, true);
                }
            }
        }
        if self.slots.slot(id).readiness.has(Flag::Broken) {
            self.finish_broken(id, told);
            return false;
        }
        if self.slots.slot(id).life() > Life::Open {
            return false;
        }
        if may_go_on && self.slots.slot(id).readiness.eof_due() {
            return self.tell_eof(id);
        }
        may_go_on
    }

    /// The class of an error that a callback returned.
    fn meaning_for(&self, id: AnyId, callback: Callback, error: &io::Error) -> Class {
        if About::whom(error).is_some_and(|whom| whom != id) {
            log::debug!("{}: {callback} passed on: {error}", self.label(id));
            return Class::NotNow;
        }
        match classify(error) {
            // Only a stream has a peer to lose. From a listener or a datagram socket it is somebody
            // else's disconnect, and must not close this one.
            Class::Disconnect if self.slots.slot(id).socket.kind() != Kind::Stream => Class::Fault,
            class => class,
        }
    }

    /// Calls `handle_eof`, once.
    pub(crate) fn tell_eof(&mut self, id: AnyId) -> bool {
        self.slots.slot_mut(id).readiness.set(Flag::EofTold);
        self.callback(id, Callback::Eof, |dispatcher, cx| {
            dispatcher.handle_eof(cx)
        })
    }

    /// Calls `handle_error`.
    pub(crate) fn report(&mut self, id: AnyId, error: io::Error) {
        self.counters.errors += 1;
        let result = self.call(id, Callback::Error, |dispatcher, cx| {
            dispatcher.handle_error(cx, error);
            Ok(())
        });
        debug_assert!(result.is_ok(), "handle_error returns nothing");
    }

    /// Ends a connection whose socket broke. A disconnect is no error; a fault is reported, unless the
    /// dispatcher has been `told` of it already.
    #[cold]
    pub(crate) fn finish_broken(&mut self, id: AnyId, told: bool) {
        let slot = self.slots.slot_mut(id);
        if slot.life() == Life::Ended {
            return;
        }
        // From here on it is past saving: nothing that handle_error does may revive it.
        slot.readiness.set(Flag::Broken);
        // With no error to show it was only over: both sides have finished.
        let mut how = if slot.readiness.has(Flag::Error) {
            End::Lost
        } else {
            End::Closed
        };
        let error = slot.broken_by.take();
        if let Some(error) = error {
            let fault = classify(&error) == Class::Fault;
            how = if fault { End::Failed } else { End::Lost };
            log::debug!("{}: broken: {error}", self.label(id));
            if fault && !told && self.slots.slot(id).life() <= Life::Open {
                self.report(id, error);
            }
        }
        self.end(id, how);
    }

    /// Notes that the socket of `id` failed for good; the first error is the one that counts.
    pub(crate) fn break_socket(&mut self, id: AnyId, error: &io::Error) {
        let slot = self.slots.slot_mut(id);
        slot.readiness.set(Flag::Broken);
        slot.broken_by.get_or_insert_with(|| copy_of(error));
    }
}
