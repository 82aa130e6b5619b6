//! The bound on all outboxes together ([`max_queued`](crate::Builder::max_queued)).
//!
//! While it is exceeded every connection with anything queued counts as congested, and listeners accept
//! no connections. That lasts until less than half of it is held. What counts is the memory that the
//! outboxes hold, not the bytes in it: a chunk stays until its last byte has left.

use crate::state::{State, flow, listening};
use crate::world::ids::AnyId;
use crate::world::topics;

/// Compares what is queued with the bound, once a turn.
#[inline]
pub(crate) fn review<D>(state: &mut State<D>) {
    if state.over_total || state.chunks.held() > state.config.max_queued {
        tighten_or_relax(state);
    }
}

#[cold]
fn tighten_or_relax<D>(state: &mut State<D>) {
    let (held, most) = (state.chunks.held(), state.config.max_queued);
    let was_over = state.over_total;
    state.over_total = held > if was_over { most / 2 } else { most };
    let concerned: Vec<AnyId> = if state.over_total && was_over {
        // Every connection that got something to send since was flushed, and may have some of it left.
        state.agenda.flushing.done().to_vec()
    } else {
        state.slots.ids()
    };
    for id in concerned {
        if state.slots.get(id).is_some() {
            flow::review(state, id);
        }
    }
    if state.over_total && !was_over {
        state.counters.over_total += 1;
        if let Some(held_back) = state.log_limits.over_total.pass(state.now) {
            log::warn!(target: topics::FLOW,
                "all outboxes together hold {held} bytes, over max_queued; reading and accepting pause{held_back}"
            );
        }
    } else if !state.over_total {
        listening::resume_all(state);
    }
}
