//! Flow control: who is not read while whose outbox is full.
//!
//! Every dispatcher *feeds* one connection, itself unless it said otherwise. When a connection's outbox
//! crosses its high mark it is *congested*, and whoever feeds it is *held*: its input stays in the
//! kernel, whose window closes, until the peer at the far end stops sending. Below the low mark they
//! are all released. So bytes wait at their source, and memory here is bounded without any code of the
//! user's.
//!
//! ```text
//!      outbox of the sink                 those who feed it
//!   ───────────────────────────────────────────────────────────
//!   rises over the high mark  ────────►  held: not read
//!   falls below the low mark  ────────►  released, served by the next turn if input is left
//!   dies                      ────────►  released, feed nobody from now on
//! ```
//!
//! A broadcast has no single sink. Whoever causes one is held for each receiver that it takes over its
//! high mark, until that one is below its low mark again. A receiver that takes nothing at all must not
//! hold up the others, though: after [a while](crate::Builder::broadcast_patience) it holds nobody, its
//! queue grows, and the hard cap ends it.
//!
//! All outboxes together may have [a bound](crate::Builder::max_queued) as well. While it is exceeded
//! every connection with anything queued counts as congested, and nobody new is accepted.
//!
//! The low mark lies well under the high one (half, by default), so that a byte more or less does not
//! switch anybody off and on; Envoy does it for the same reason.

use crate::core::Core;
use crate::slot::Slot;
use crate::slot::life::Life;
use crate::slot::readiness::Flag;
use crate::time::timers::Action;
use crate::world::ids::AnyId;
use crate::world::socket::Kind;

impl Core {
    /// Has `source` feed `sink` from now on; a sink that is gone means nobody.
    pub(crate) fn feeds(&mut self, source: AnyId, sink: AnyId) {
        if self.slots.slot(source).life() == Life::Ended {
            return;
        }
        self.unlink_source(source);
        let Some(slot) = self
            .slots
            .get_mut(sink)
            .filter(|slot| slot.life() != Life::Ended)
        else {
            self.slots.slot_mut(source).feeds = AnyId::NOBODY;
            return;
        };
        let congested = slot.readiness.has(Flag::Congested);
        if sink != source {
            slot.feeders.push(source);
        }
        self.slots.slot_mut(source).feeds = sink;
        if congested {
            self.hold(source);
        }
    }

    /// Compares an outbox with its marks, and holds or releases whoever feeds it.
    pub(crate) fn review_congestion(&mut self, sink: AnyId) {
        let slot = self.slots.slot(sink);
        let congested = slot.readiness.has(Flag::Congested);
        let full = self.counts_as_full(slot);
        let slot = self.slots.slot_mut(sink);
        if !congested && (full || slot.outbox.is_over_high()) {
            slot.readiness.set(Flag::Congested);
            self.for_each_feeder(sink, Core::hold);
        } else if congested && !full && slot.outbox.is_below_low() {
            slot.readiness.clear(Flag::Congested);
            self.for_each_feeder(sink, Core::release);
            self.release_broadcasters(sink);
        }
    }

    /// Whether a connection is to be treated as over its high mark although its outbox is not.
    pub(crate) fn counts_as_full(&self, slot: &Slot) -> bool {
        slot.readiness.has(Flag::LayerFull) || self.tight && !slot.outbox.is_empty()
    }

    /// Compares all outboxes together with their bound, once a turn.
    #[inline]
    pub(crate) fn review_total(&mut self) {
        if self.tight || self.buffers.queued() > self.config.max_queued {
            self.tighten_or_relax();
        }
    }

    #[cold]
    fn tighten_or_relax(&mut self) {
        let (queued, most) = (self.buffers.queued(), self.config.max_queued);
        let was_tight = self.tight;
        self.tight = queued > if was_tight { most / 2 } else { most };
        let concerned: Vec<AnyId> = if self.tight && was_tight {
            // Whoever got something to send since was flushed, and has some of it left.
            self.flushing.done().to_vec()
        } else {
            self.slots.iter().map(|(id, _)| id).collect()
        };
        for id in concerned {
            if self.slots.get(id).is_some() {
                self.review_congestion(id);
            }
        }
        if self.tight && !was_tight {
            self.counters.over_total += 1;
            if let Some(held_back) = self.log_limits.over_total.pass(self.now) {
                log::warn!("{queued} bytes are queued in all; holding input{held_back}");
            }
        } else if !self.tight {
            self.resume_listeners();
        }
    }

    /// A layer above the outbox says whether it has so much queued that it counts as over the mark.
    pub(crate) fn layer_is_full(&mut self, sink: AnyId, full: bool) {
        let slot = self.slots.slot_mut(sink);
        if full && matches!(slot.life(), Life::Connecting | Life::Open) {
            slot.readiness.set(Flag::LayerFull);
        } else {
            slot.readiness.clear(Flag::LayerFull);
        }
        self.review_congestion(sink);
    }

    /// Throws away what a connection has queued; how much it was. Who was held for it is released.
    pub(crate) fn discard_output(&mut self, id: AnyId) -> usize {
        let slot = self.slots.slot_mut(id);
        slot.readiness.clear(Flag::LayerFull);
        let discarded = self.buffers.discard(&mut slot.outbox);
        self.review_congestion(id);
        discarded
    }

    /// The sink has ended, its output is discarded: whoever fed it feeds nobody.
    pub(crate) fn forget_sink(&mut self, sink: AnyId) {
        for source in self.slots.slot_mut(sink).feeders.take() {
            self.slots.slot_mut(source).feeds = AnyId::NOBODY;
        }
    }

    /// Takes a source off its sink's list, and from under its hold.
    pub(crate) fn unlink_source(&mut self, source: AnyId) {
        let sink = self.slots.slot(source).feeds;
        let Some(slot) = self.slots.get_mut(sink) else {
            return;
        };
        slot.feeders.remove(source);
        if slot.readiness.has(Flag::Congested) {
            self.release(source);
        }
    }

    /// A broadcast that the running dispatcher caused has taken `sink` over its high mark, or found it
    /// there: the cause is held until it has drained.
    pub(crate) fn hold_broadcaster(&mut self, sink: AnyId) {
        let source = self.running.id;
        let reads = self.slots.get(source).is_some_and(|slot| {
            slot.socket.kind() == Kind::Stream && slot.life() <= Life::Open && slot.feeds != sink
        });
        let slot = self.slots.slot_mut(sink);
        if !reads || slot.readiness.has(Flag::Stuck) || slot.broadcasters.contains(&source) {
            return;
        }
        slot.broadcasters.push(source);
        self.hold(source);
        let patience = self.config.broadcast_patience;
        self.arm_deadline(sink, patience, Action::Patience(patience));
    }

    /// Those who were held for a broadcast to `sink` go on.
    pub(crate) fn release_broadcasters(&mut self, sink: AnyId) {
        for source in self.slots.slot_mut(sink).broadcasters.take() {
            if self.slots.get(source).is_some() {
                self.release(source);
            }
        }
    }

    fn hold(&mut self, source: AnyId) {
        let slot = self.slots.slot_mut(source);
        slot.holds += 1;
        slot.readiness.set(Flag::Held);
    }

    fn release(&mut self, source: AnyId) {
        let slot = self.slots.slot_mut(source);
        slot.holds -= 1;
        if slot.holds == 0 {
            slot.readiness.clear(Flag::Held);
            self.requeue(source);
        }
    }

    fn for_each_feeder(&mut self, sink: AnyId, each: impl Fn(&mut Core, AnyId)) {
        if self.slots.slot(sink).feeds == sink {
            each(self, sink);
        }
        let feeders = std::mem::take(&mut self.slots.slot_mut(sink).feeders);
        for &source in feeders.iter() {
            each(self, source);
        }
        self.slots.slot_mut(sink).feeders = feeders;
    }
}
