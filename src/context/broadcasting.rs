//! Sending to many: one copy of the bytes, and one look at each receiver.

use super::Context;
use crate::slot::readiness::Flag;
use crate::state::broadcast;
use crate::world::ids::AnyId;

/// # Sending to many
impl Context<'_> {
    /// Sends `bytes` to each of `to`, and returns how many accepted them. The bytes are copied to each outbox, which is
    /// written once at the end of the turn, however many messages were sent. Dispatchers that have ended are skipped.
    /// A receiver whose outbox would go over its hard cap gets none of the bytes and is closed, with an error for its
    /// `handle_error`; the others are not affected.
    ///
    /// The calling dispatcher is not read while any receiver is over its high mark, for at most
    /// [`broadcast_patience`](crate::Builder::broadcast_patience) per receiver that takes nothing.
    ///
    /// ```
    /// # use slabloop::{AnyId, Context, Dispatcher};
    /// # use std::io;
    /// struct Room { members: Vec<AnyId> }
    /// impl Dispatcher for Room {}
    ///
    /// impl Room {
    ///     fn say(&mut self, cx: &mut Context<'_>, line: &str) {
    ///         let reached = cx.broadcast(self.members.iter().copied(), line.as_bytes());
    ///         println!("sent to {reached} of {} members", self.members.len());
    ///     }
    /// }
    /// ```
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
            // A refusal has been dealt with: the receiver ends, after its handle_error.
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
        state.agenda.add_dirty(self.id, slot, state.now);
        true
    }
}
