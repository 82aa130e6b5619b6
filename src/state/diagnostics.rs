//! Slips of a program that would pass in silence: in debug builds each gets a sentence in the log, one a second at
//! most.
//!
//! A release build has none of this. (A callback that takes long is found by `observing.rs`, in every build.)

use std::collections::VecDeque;
use std::time::Duration;

use crate::slot::life::{Input, Life};
use crate::state::State;
use crate::time::clock::Tick;
use crate::world::endpoint::Kind;
use crate::world::ids::AnyId;
use crate::world::topics;

const ON: bool = cfg!(debug_assertions);

/// Calls in as many turns, one after the other, without a byte taken: more than any program makes that waits for
/// something, and a moment's work for one that spins.
const UNREAD_CALLS: u32 = 1000;

/// How long a connection may stay open after its peer has finished sending, with no byte sent.
const HALF_OPEN: Duration = Duration::from_secs(10);

/// Connections that are watched after their peer's end. What is beyond is not watched.
const HALF_OPEN_WATCHED: usize = 1024;

/// What is remembered for it.
#[derive(Debug, Default)]
pub(crate) struct Diagnostics {
    /// By place of the slot: whose input was left unread, the turn in which it was last, and in how many in a row.
    unread: Vec<(AnyId, u64, u32)>,
    /// Whose peer has finished sending, and since when nothing was sent, as far as is known.
    half_open: VecDeque<(AnyId, Tick)>,
}

/// A slot goes back on the ready list.
#[inline(always)]
pub(crate) fn note_listed<D>(state: &mut State<D>, id: AnyId) {
    if ON {
        look_for_unread_input(state, id);
    }
}

fn look_for_unread_input<D>(state: &mut State<D>, id: AnyId) {
    let slot = state.slots.slot(id);
    let takes_bytes = matches!(slot.io.kind(), Kind::Stream | Kind::Datagram);
    let was_used = slot.touched == state.now;
    if slot.life() != Life::Open || !slot.readiness.can_read() || !takes_bytes || was_used {
        return;
    }
    let turn = state.counters.turns;
    let unread = &mut state.diagnostics.unread;
    if id.index() >= unread.len() {
        unread.resize(id.index() + 1, (AnyId::NONE, 0, 0));
    }
    let (known, last, calls) = &mut unread[id.index()];
    let goes_on = *known == id && *last + 1 == turn;
    let count = if goes_on { *calls + 1 } else { 1 };
    (*known, *last, *calls) = (id, turn, count);
    if count != UNREAD_CALLS {
        return;
    }
    if let Some(held_back) = state.log_limits.unread.pass(state.now) {
        log::warn!(target: topics::CALLBACK,
            "{}: handle_read was called {count} times in a row and read nothing; it is called as long as there is \
             input: read it, or call pause_reading{held_back}",
            state.label(id)
        );
    }
}

/// `handle_eof` has returned.
#[inline(always)]
pub(crate) fn note_end_of_input<D>(state: &mut State<D>, id: AnyId) {
    if ON && state.diagnostics.half_open.len() < HALF_OPEN_WATCHED {
        state.diagnostics.half_open.push_back((id, state.now));
    }
}

/// Looks at those whose peer finished sending long ago, once a turn.
#[inline(always)]
pub(crate) fn review<D>(state: &mut State<D>) {
    if ON {
        review_half_open(state);
    }
}

fn review_half_open<D>(state: &mut State<D>) {
    while let Some(&(id, since)) = state.diagnostics.half_open.front() {
        if state.now.since(since) < HALF_OPEN {
            return;
        }
        state.diagnostics.half_open.pop_front();
        let Some(slot) = state.slots.get(id) else {
            continue;
        };
        if slot.life() != Life::Open || slot.readiness.input() != Input::Told {
            continue;
        }
        if slot.touched > since || slot.queued() > 0 {
            // It is at work. (The next look comes ten seconds after this one, so that the list stays in order.)
            state.diagnostics.half_open.push_back((id, state.now));
            continue;
        }
        if let Some(held_back) = state.log_limits.half_open.pass(state.now) {
            log::warn!(target: topics::CALLBACK,
                "{}: still open {HALF_OPEN:?} after its peer has finished sending, with nothing sent since; unless it \
                 has an answer to send, close it in handle_eof{held_back}",
                state.label(id)
            );
        }
    }
}
