//! How long the steps of a turn may run users' code ([`turn_time`](crate::Builder::turn_time)).
//!
//! Each part of a turn (a class of the ready, the timers, the posts) gets what is left of the turn's time, and at
//! least a share of its own: one that took too long shortens what comes after it and starves none. The clock is
//! looked at after a callback and never in one, so a part takes one callback too many at the most. Without a
//! `turn_time`, the default, nothing here reads the clock.

use std::time::Duration;

use crate::state::State;

/// The share of the timers, and that of the posts, in per cent.
pub(crate) const OTHER_SHARE: u32 = 25;

/// A part of the turn begins. It may use what is left of the turn's time but `reserved`, and `share` in any
/// case; both in per cent of the whole.
pub(crate) fn begin_part<D>(state: &mut State<D>, share: u32, reserved: u32) {
    let Some(whole) = state.config.turn_time else {
        return;
    };
    let now = state.clock.now();
    let left = state.now.after(whole).since(now);
    let left = left.saturating_sub(per_cent(whole, reserved));
    state.part_ends = now.after(left.max(per_cent(whole, share)));
}

/// Whether the time of this part is up. What was not served waits for the next turn.
#[inline]
pub(crate) fn is_up<D>(state: &State<D>) -> bool {
    state.config.turn_time.is_some() && state.clock.now() >= state.part_ends
}

fn per_cent(whole: Duration, share: u32) -> Duration {
    whole / 100 * share
}
