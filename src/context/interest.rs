//! When a connection is read and when its producer is called: pausing, writing, and flow control.

use std::io;

use super::Context;
use crate::slot::Slot;
use crate::slot::life::Life;
use crate::slot::outbox::Marks;
use crate::slot::pauses::Pause;
use crate::slot::priority::Priority;
use crate::slot::readiness::Flag;
use crate::state::{classes, closing, flow, observing};
use crate::turn::core::Tenant;
use crate::world::ids::AnyId;

/// # Pausing, producing and flow control
impl Context<'_> {
    /// Suspends `handle_read` until [`resume_reading`](Context::resume_reading) is called. Nothing is
    /// lost meanwhile; what arrives waits in the kernel, whose window fills up. A reset still ends
    /// the connection, the end of the stream waits.
    pub fn pause_reading(&mut self) {
        self.pause_reading_for(Pause::Application);
    }

    /// Undoes [`pause_reading`](Context::pause_reading). What arrived meanwhile is delivered in the next
    /// turn at the latest; never from inside this call.
    pub fn resume_reading(&mut self) {
        self.resume_reading_for(Pause::Application);
    }

    /// As [`pause_reading`](Context::pause_reading), for a reason of its own: reading goes on when no reason
    /// holds any more. So a layer that waits for its handshake, and the program above it, pause and resume
    /// without knowing of each other.
    pub fn pause_reading_for(&mut self, reason: Pause) {
        self.change_interest(|slot| slot.pause_reading(reason));
        self.core.state.requeue(self.id);
    }

    /// Takes one reason back; see [`pause_reading_for`](Context::pause_reading_for).
    pub fn resume_reading_for(&mut self, reason: Pause) {
        self.change_interest(|slot| slot.resume_reading(reason));
        self.core.state.requeue(self.id);
    }

    /// Whether reading is paused for this reason.
    #[must_use]
    pub fn is_paused_for(&self, reason: Pause) -> bool {
        self.core.state.slots.slot(self.id).pauses.has(reason)
    }

    /// Whether input is being read: not paused, not held by the flow control, and no other dispatcher about
    /// to take this one's place. For layers that hold input back and hand it out piece by piece.
    #[must_use]
    #[inline]
    pub fn is_reading(&self) -> bool {
        let readiness = self.core.state.slots.slot(self.id).readiness;
        let is_leaving = readiness.has(Flag::Replaced);
        readiness.has(Flag::WantRead) && !readiness.has(Flag::Held) && !is_leaving
    }

    /// Says whether a layer above the socket holds input that it has not handed out. While it does,
    /// `handle_read` is called although the socket may have nothing, and `handle_eof` waits.
    pub fn has_more_input(&mut self, more: bool) {
        let slot = self.core.state.slots.slot_mut(self.id);
        if more && slot.life() == Life::Open {
            slot.readiness.set(Flag::More);
        } else {
            slot.readiness.clear(Flag::More);
        }
        self.core.state.requeue(self.id);
    }

    /// Asks for [`handle_write`](crate::Dispatcher::handle_write) whenever the socket takes more and the
    /// outbox is below its low mark. For producers of endless or large output; a reply needs only
    /// `send`.
    pub fn start_writing(&mut self) {
        self.change_interest(|slot| {
            if slot.readiness.is_live() && slot.io.can_produce() {
                slot.readiness.set(Flag::WantWrite);
            }
        });
        self.core.state.requeue(self.id);
    }

    /// Undoes [`start_writing`](Context::start_writing).
    pub fn stop_writing(&mut self) {
        self.change_interest(|slot| slot.readiness.clear(Flag::WantWrite));
        closing::review_producer(&mut self.core.state, self.id);
    }

    /// Asks for [`handle_priority`](crate::Dispatcher::handle_priority) when urgent data comes. Linux and
    /// Android; elsewhere nothing follows.
    pub fn watch_priority(&mut self) {
        let slot = self.core.state.slots.slot_mut(self.id);
        if slot.readiness.is_live() {
            slot.readiness.set(Flag::WantPriority);
        }
        self.core.state.requeue(self.id);
    }

    /// Declares where this connection's input goes. While `sink` has more than its high mark queued, this
    /// connection is not read; below the low mark it is read again. The default sink is the connection
    /// itself, which is right for a server that answers on the same connection; each half of a proxy feeds
    /// the other. When the sink ends, its sources are released. An id that is no longer valid removes the
    /// link: the connection is never held.
    pub fn feeds(&mut self, sink: impl Into<AnyId>) {
        flow::feeds(&mut self.core.state, self.id, sink.into());
    }

    /// Removes the link to a sink: input is read whatever is queued anywhere. The hard cap still holds.
    pub fn feeds_nobody(&mut self) {
        flow::feeds(&mut self.core.state, self.id, AnyId::NONE);
    }

    /// This dispatcher's own low mark, high mark and hard cap, in bytes; see
    /// [`Builder::high_mark`](crate::Builder::high_mark).
    ///
    /// # Errors
    ///
    /// `InvalidInput` unless 0 < low <= high <= cap <= 4 GiB and the cap is not below what is queued.
    pub fn set_marks(&mut self, low: usize, high: usize, cap: usize) -> io::Result<()> {
        let marks = Marks::new(low, high, cap)?;
        flow::set_marks(&mut self.core.state, self.id, marks)
    }

    /// Gives this dispatcher a class: of those that are ready in a turn the [`High`](Priority::High) ones are
    /// served first, then the [`Normal`](Priority::Normal), then the [`Low`](Priority::Low). Every dispatcher
    /// begins as `Normal`, and what a listener accepts does not inherit its class. (Not to be confused with
    /// [`handle_priority`](crate::Dispatcher::handle_priority), which is about urgent data.)
    ///
    /// It takes effect in the next turn, and may be called at any time, also on a connection that is not
    /// established yet. The class holds for all that an event brings about, `handle_accept` and `handle_connect`
    /// included. Timers fire in the order of their times, whoever set them. What the high class sends is written
    /// before the others are served.
    ///
    /// No class starves: without a [`turn_time`](crate::Builder::turn_time) all that are ready are served in each
    /// turn, and with one each class has its share. By itself a class changes the order within a turn, and so does
    /// not help one that becomes ready while a long turn is under way: for that set a `turn_time` as well.
    ///
    /// As long as there is a dispatcher whose class is not `Normal`, every callback costs a little more, for it
    /// goes by a list.
    ///
    /// ```
    /// use slabloop::{Accepted, Context, Dispatcher, Priority};
    /// use std::io;
    ///
    /// struct Backups;
    /// impl Dispatcher for Backups {
    ///     fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
    ///         let id = cx.add(accepted, Backup)?;
    ///         if let Some(mut backup) = cx.at(id) {
    ///             backup.set_priority(Priority::Low);
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// struct Backup;
    /// impl Dispatcher for Backup {}
    /// ```
    pub fn set_priority(&mut self, priority: Priority) {
        classes::set_priority(&mut self.core.state, self.id, priority);
    }

    fn change_interest(&mut self, change: impl FnOnce(&mut Slot<Tenant>)) {
        observing::change_interest(&mut self.core.state, self.id, change);
    }

    /// This dispatcher's class; see [`set_priority`](Context::set_priority).
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.core.state.slots.slot(self.id).priority
    }
}
