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
    /// Suspends `handle_read` until [`resume_reading`](Context::resume_reading) is called. Nothing is lost: input
    /// waits in the kernel, and when the receive window is full the peer has to stop sending. A reset still ends the
    /// connection; the end of the stream waits.
    ///
    /// A listener accepts nobody until then: clients wait in the kernel, in its queue.
    ///
    /// ```
    /// # use slabloop::{Context, Dispatcher, TimerId};
    /// # use std::io;
    /// # use std::time::Duration;
    /// /// Answers one request a second.
    /// struct Slow;
    ///
    /// impl Dispatcher for Slow {
    ///     fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///         cx.recv_with(|_, cx| cx.send(b"done\n"))?;
    ///         cx.pause_reading();
    ///         cx.set_timer(Duration::from_secs(1));
    ///         Ok(())
    ///     }
    ///
    ///     fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
    ///         cx.resume_reading();
    ///         Ok(())
    ///     }
    /// }
    /// ```
    pub fn pause_reading(&mut self) {
        self.pause_reading_for(Pause::Application);
    }

    /// Undoes [`pause_reading`](Context::pause_reading). Input that arrived meanwhile is delivered in the next
    /// turn at the latest, never from inside this call.
    pub fn resume_reading(&mut self) {
        self.resume_reading_for(Pause::Application);
    }

    /// Suspends reading as [`pause_reading`](Context::pause_reading) does, for a given reason. Reading resumes when no
    /// reason is left. So a component that waits for a handshake and the program above it can pause and resume
    /// independently.
    pub fn pause_reading_for(&mut self, reason: Pause) {
        self.change_interest(|slot| slot.pause_reading(reason));
        self.core.state.requeue(self.id);
    }

    /// Removes one reason; see [`pause_reading_for`](Context::pause_reading_for).
    pub fn resume_reading_for(&mut self, reason: Pause) {
        self.change_interest(|slot| slot.resume_reading(reason));
        self.core.state.requeue(self.id);
    }

    /// Whether reading is paused for this reason.
    #[must_use]
    pub fn is_paused_for(&self, reason: Pause) -> bool {
        self.core.state.slots.slot(self.id).pauses.has(reason)
    }

    /// Whether input is being read: it is not paused, not held by flow control, and no other dispatcher is about
    /// to replace this one. It is for layers that buffer input and deliver it piece by piece.
    #[must_use]
    #[inline]
    pub fn is_reading(&self) -> bool {
        let readiness = self.core.state.slots.slot(self.id).readiness;
        let is_leaving = readiness.has(Flag::Replaced);
        readiness.has(Flag::WantRead) && !readiness.has(Flag::Held) && !is_leaving
    }

    /// Sets whether a layer above the socket holds input that it has not delivered. While it does,
    /// `handle_read` is called although the socket may have no input, and `handle_eof` waits.
    pub fn has_more_input(&mut self, more: bool) {
        let slot = self.core.state.slots.slot_mut(self.id);
        if more && slot.life() == Life::Open {
            slot.readiness.set(Flag::More);
        } else {
            slot.readiness.clear(Flag::More);
        }
        self.core.state.requeue(self.id);
    }

    /// Asks for [`handle_write`](crate::Dispatcher::handle_write) whenever the socket can take more and the outbox is
    /// below its low mark. It is for producers of endless or large output; a reply needs only `send`. The page of
    /// `handle_write` has an example.
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

    /// Asks for [`handle_priority`](crate::Dispatcher::handle_priority) when urgent data arrives. On Linux and
    /// Android only; elsewhere it has no effect.
    pub fn watch_priority(&mut self) {
        let slot = self.core.state.slots.slot_mut(self.id);
        if slot.readiness.is_live() {
            slot.readiness.set(Flag::WantPriority);
        }
        self.core.state.requeue(self.id);
    }

    /// Declares where this connection's input goes (backpressure). While `sink` has more than its high mark queued,
    /// this connection is not read; when the queue has fallen below the low mark, it is read again. The default sink is
    /// the connection itself, which is right for a server that answers on the same connection. When the sink ends, its
    /// sources are released. An id that is no longer valid removes the link: then the connection is never held.
    ///
    /// ```
    /// # use slabloop::{AnyId, Context};
    /// /// Joins the two connections of a proxy: neither reads faster than the other can write.
    /// fn join(cx: &mut Context<'_>, client: AnyId, upstream: AnyId) {
    ///     if let Some(mut client) = cx.at(client) {
    ///         client.feeds(upstream);
    ///     }
    ///     if let Some(mut upstream) = cx.at(upstream) {
    ///         upstream.feeds(client);
    ///     }
    /// }
    /// ```
    pub fn feeds(&mut self, sink: impl Into<AnyId>) {
        flow::feeds(&mut self.core.state, self.id, sink.into());
    }

    /// Removes the link to a sink: this connection is read however much is queued anywhere. The hard cap still
    /// applies.
    pub fn feeds_nobody(&mut self) {
        flow::feeds(&mut self.core.state, self.id, AnyId::NONE);
    }

    /// Sets this dispatcher's own low mark, high mark and hard cap, in bytes; see
    /// [`Builder::high_mark`](crate::Builder::high_mark).
    ///
    /// ```
    /// # use slabloop::{Context, Dispatcher};
    /// # use std::io;
    /// # struct Replica;
    /// # impl Dispatcher for Replica {
    /// fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///     cx.set_marks(512 << 10, 1 << 20, 64 << 20) // low, high, cap
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidInput` unless 0 < low <= high <= cap <= 4 GiB and the cap is not below what is queued.
    pub fn set_marks(&mut self, low: usize, high: usize, cap: usize) -> io::Result<()> {
        let marks = Marks::new(low, high, cap)?;
        flow::set_marks(&mut self.core.state, self.id, marks)
    }

    /// Sets this dispatcher's priority class: of the dispatchers that are ready in a turn, those of class
    /// [`High`](Priority::High) are served first, then [`Normal`](Priority::Normal), then [`Low`](Priority::Low).
    /// Every dispatcher begins as `Normal`; accepted connections do not inherit the class of their listener. (This is
    /// unrelated to [`handle_priority`](crate::Dispatcher::handle_priority), which is about urgent data.)
    ///
    /// It takes effect in the next turn and may be called at any time, also on a connection that is not
    /// established yet. The class applies to every callback that an event causes, `handle_accept` and `handle_connect`
    /// included. Timers fire in the order of their times, regardless of class. What the high class sends is written
    /// before the others are served.
    ///
    /// No class starves: without a [`turn_time`](crate::Builder::turn_time) all ready dispatchers are served in each
    /// turn, and with one each class has its share. A class only changes the order within a turn, so it does not help
    /// a dispatcher that becomes ready during a long turn: set a `turn_time` for that as well.
    ///
    /// As long as any dispatcher has a class other than `Normal`, every callback costs a little more, because ready
    /// dispatchers are sorted first.
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
