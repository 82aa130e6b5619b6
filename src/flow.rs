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
//!   falls below the low mark  ────────►  released, served in the next turn if input is left
//!   dies                      ────────►  released, feed nobody from now on
//! ```
//!
//! The low mark lies well under the high one (half, by default), so that a byte more or less does not
//! switch anybody off and on; Envoy does it for the same reason.

use crate::core::Core;
use crate::readiness::Flag;
use crate::slots::{AnyId, Life};

impl Core {
    /// Has `source` feed `sink` from now on; a sink that is gone means nobody.
    pub(crate) fn feeds(&mut self, source: AnyId, sink: AnyId) {
        if self.slots.slot(source).life == Life::Ended {
            return;
        }
        self.unlink_source(source);
        let congested = match self.slots.get_mut(sink) {
            Some(slot) if slot.life != Life::Ended => {
                if sink != source {
                    slot.feeders.push(source);
                }
                slot.readiness.has(Flag::Congested)
            }
            _ => {
                self.slots.slot_mut(source).feeds = AnyId::NOBODY;
                self.release(source);
                return;
            }
        };
        self.slots.slot_mut(source).feeds = sink;
        if congested {
            self.slots.slot_mut(source).readiness.set(Flag::Held);
        } else {
            self.release(source);
        }
    }

    /// Compares an outbox with its marks, and holds or releases whoever feeds it.
    pub(crate) fn review_congestion(&mut self, sink: AnyId) {
        let slot = self.slots.slot_mut(sink);
        let congested = slot.readiness.has(Flag::Congested);
        if !congested && slot.outbox.is_over_high() {
            slot.readiness.set(Flag::Congested);
            self.for_each_feeder(sink, |core, source| {
                core.slots.slot_mut(source).readiness.set(Flag::Held);
            });
        } else if congested && slot.outbox.is_below_low() {
            slot.readiness.clear(Flag::Congested);
            self.for_each_feeder(sink, Core::release);
        }
    }

    /// Throws away what a connection has queued; how much it was. What was held for it is released.
    pub(crate) fn discard_output(&mut self, id: AnyId) -> usize {
        let discarded = self.buffers.discard(&mut self.slots.slot_mut(id).outbox);
        self.review_congestion(id);
        discarded
    }

    /// The sink has ended: whoever fed it feeds nobody, and is released.
    pub(crate) fn forget_sink(&mut self, sink: AnyId) {
        for source in std::mem::take(&mut self.slots.slot_mut(sink).feeders) {
            self.slots.slot_mut(source).feeds = AnyId::NOBODY;
            self.release(source);
        }
    }

    /// Takes a source off its sink's list.
    pub(crate) fn unlink_source(&mut self, source: AnyId) {
        let sink = self.slots.slot(source).feeds;
        if sink == source {
            return;
        }
        let Some(slot) = self.slots.get_mut(sink) else {
            return;
        };
        if let Some(place) = slot.feeders.iter().position(|&feeder| feeder == source) {
            slot.feeders.swap_remove(place);
        }
    }

    fn release(&mut self, source: AnyId) {
        self.slots.slot_mut(source).readiness.clear(Flag::Held);
        self.requeue(source);
    }

    fn for_each_feeder(&mut self, sink: AnyId, each: impl Fn(&mut Core, AnyId)) {
        if self.slots.slot(sink).feeds == sink {
            each(self, sink);
        }
        let feeders = std::mem::take(&mut self.slots.slot_mut(sink).feeders);
        for &source in &feeders {
            each(self, source);
        }
        self.slots.slot_mut(sink).feeders = feeders;
    }
}
