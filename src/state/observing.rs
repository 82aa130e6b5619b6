//! What is reported to observers of callbacks, turns and dispatchers: the values that they get are put together here.
//!
//! What happens to one slot is reported where it happens, by
//! [`Observers::tell`](crate::watch::observers::Observers::tell).

use std::fmt;
use std::io;

use crate::slot::Slot;
use crate::slot::life::Life;
use crate::slot::readiness::Flag;
use crate::state::State;
use crate::watch::callback::Callback;
use crate::watch::observer::{
    Added, CallbackBegin, CallbackEnd, Interest, Kind, Outcome, Step, TurnEnd,
};
use crate::watch::observers::Begun;
use crate::watch::reports::Reports;
use crate::world::address::Address;
use crate::world::ids::{AnyId, short_type_name};
use crate::world::topics;

/// The closure that is about to run was posted then. (Threads post in real time: on a simulated clock that is unknown.)
#[cfg(feature = "observer")]
pub(crate) fn note_posted<D>(state: &mut State<D>, posted: std::time::Instant) {
    if let Some(posted) = state.clock.tick(posted) {
        state.observers.wait_since(posted);
    }
}

/// A piece of the program's code is about to run.
#[inline(always)]
pub(crate) fn begin<D>(state: &mut State<D>, id: AnyId, callback: Callback) {
    if state.observers.is_on() {
        begin_measured(state, id, callback);
    }
}

/// It has returned, with this result.
#[inline(always)]
pub(crate) fn end<D>(state: &mut State<D>, result: &io::Result<()>) {
    if state.observers.is_on() {
        end_measured(state, Outcome::of(result));
    }
}

/// It has panicked.
#[cold]
pub(crate) fn end_by_panic<D>(state: &mut State<D>) {
    end_measured(state, Outcome::Panicked);
}

#[cold]
#[inline(never)]
fn begin_measured<D>(state: &mut State<D>, id: AnyId, callback: Callback) {
    let shared = state.observers.take_shared_reading();
    let now = shared.unwrap_or_else(|| state.clock.now());
    let begin = CallbackBegin {
        id,
        callback,
        queued: state.observers.take_queued(now),
        waiting: waiting_beside(state, id),
    };
    state.observers.begin(Begun {
        begin,
        started: now,
        bytes_in: state.counters.bytes_in,
        accepted: accepted(state),
    });
}

/// Nothing follows if its beginning was not measured.
#[cold]
#[inline(never)]
fn end_measured<D>(state: &mut State<D>, outcome: Outcome<'_>) {
    let Some(begun) = state.observers.take_begun() else {
        return;
    };
    state.observers.set_at(state.clock.now());
    let end = CallbackEnd {
        begin: begun.begin,
        took: state.observers.at().since(begun.started),
        bytes_in: state.counters.bytes_in - begun.bytes_in,
        bytes_out: accepted(state) - begun.accepted,
        outcome,
    };
    review_slow(state, &end);
    state.observers.tell_callback_ended(&end);
}

/// Counts a callback that took long, and logs it once a second at most.
fn review_slow<D>(state: &mut State<D>, end: &CallbackEnd<'_>) {
    if end.took > state.observers.slowest {
        state.observers.slowest = end.took;
        state.counters.slowest_us = u64::try_from(end.took.as_micros()).unwrap_or(u64::MAX);
    }
    let threshold = state.observers.threshold();
    if threshold.is_none_or(|threshold| end.took <= threshold) {
        return;
    }
    state.counters.slow_callbacks += 1;
    if let Some(held_back) = state.log_limits.slow.pass(state.observers.at()) {
        log::warn!(target: topics::CALLBACK,
            "{} kept the loop for {:?} in {}{}{held_back}",
            state.label(end.begin.id), end.took, end.begin.callback, Cost(&end.begin)
        );
    }
}

/// What a callback has cost others, and they it, as far as there is anything to say.
struct Cost<'a>(&'a CallbackBegin);

impl fmt::Display for Cost<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let &Cost(begin) = self;
        let mut before = "; ";
        if !begin.queued.is_zero() {
            write!(f, "; its event had waited {:?}", begin.queued)?;
            before = ", and ";
        }
        match begin.waiting {
            0 => Ok(()),
            1 => write!(f, "{before}1 other dispatcher waited meanwhile"),
            many => write!(f, "{before}{many} other dispatchers waited meanwhile"),
        }
    }
}

/// How many others are ready and wait.
fn waiting_beside<D>(state: &State<D>, id: AnyId) -> usize {
    let agenda = &state.agenda;
    let all = agenda.dispatching.left().len() + agenda.classes.len() + agenda.ready.len();
    let slot = state.slots.get(id);
    all - usize::from(slot.is_some_and(|slot| slot.readiness.has(Flag::Queued)))
}

/// All bytes that were ever accepted for sending: the kernel has them, or an outbox, or they were thrown away.
fn accepted<D>(state: &State<D>) -> u64 {
    state.counters.bytes_out + (state.chunks.queued() + state.chunks.discarded()) as u64
}

/// A turn begins, and with it the wait.
#[inline(always)]
pub(crate) fn begin_turn<D>(state: &mut State<D>) {
    if state.observers.are_there() {
        begin_told_turn(state);
    }
}

#[cold]
#[inline(never)]
fn begin_told_turn<D>(state: &mut State<D>) {
    if state.observers.have_newcomers() {
        welcome(state);
    }
    state.observers.begin_turn();
    state.observers.callbacks_before = state.counters.callbacks;
    let turn = state.counters.turns + 1;
    state.observers.report(Reports::TURN_BEGAN, |observer, at| {
        observer.turn_began(at, turn);
    });
    enter(state, Step::Wait);
}

/// The wait is over, and the clock was read.
#[inline(always)]
pub(crate) fn end_wait<D>(state: &mut State<D>, events: usize) {
    if state.observers.are_there() {
        state.observers.set_at(state.now);
        state.observers.events = events;
        state.observers.end_wait();
        state.observers.report(Reports::STEPS, |observer, at| {
            observer.wait_ended(at, events);
        });
    }
}

/// A step begins that has something to do. The wait and the callbacks have just read the clock, and what lies between
/// is short; but for the flush, which is followed by the close.
#[inline]
pub(crate) fn begin_step<D>(state: &mut State<D>, step: Step) {
    if step == Step::Close {
        read_clock(state);
    }
    enter(state, step);
}

/// Time may have passed in which nothing was told.
pub(crate) fn read_clock<D>(state: &mut State<D>) {
    state.observers.set_at(state.clock.now());
}

fn enter<D>(state: &mut State<D>, step: Step) {
    if state.observers.enter(Some(step)) {
        state.observers.report(Reports::STEPS, |observer, at| {
            observer.step_began(at, step);
        });
    }
}

/// The turn is over. `posts` counts those that wait.
#[inline(always)]
pub(crate) fn end_turn<D>(state: &mut State<D>, posts: impl FnOnce() -> usize) {
    if state.observers.are_there() {
        end_told_turn(state, posts());
    }
}

#[cold]
#[inline(never)]
fn end_told_turn<D>(state: &mut State<D>, posts: usize) {
    state.observers.set_at(state.clock.now());
    state.observers.enter(None);
    let end = TurnEnd {
        turn: state.counters.turns,
        began: state.observers.turn_began(),
        waited: state.observers.waited,
        events: state.observers.events,
        callbacks: state.counters.callbacks - state.observers.callbacks_before,
        ready: state.agenda.ready.len() + state.agenda.classes.len(),
        timers: state.timers.len(),
        posts,
        queued_bytes: state.chunks.queued(),
        connections: state.connections,
        dispatchers: state.slots.len(),
    };
    state.observers.tell_turn_ended(end);
}

/// New observers begin: the existing dispatchers are reported to them, and from then on everything.
pub(crate) fn welcome<D>(state: &mut State<D>) {
    if !state.observers.have_newcomers() {
        return;
    }
    state.observers.set_at(state.clock.now());
    if !state.observers.is_on() {
        // Nobody has noted since when they are ready.
        for &id in state.agenda.ready.iter().chain(state.agenda.classes.iter()) {
            state.observers.stamp(id, state.observers.at());
        }
    }
    let slots = state.slots.iter();
    for (id, slot) in slots.filter(|(_, slot)| slot.life() != Life::Ended) {
        let shown = Shown::of(slot);
        let added = shown.added(id, AnyId::NONE);
        state
            .observers
            .tell_newcomers(|observer, at| observer.added(at, &added));
    }
    state.observers.let_newcomers_in();
}

/// An event, a timer or an entry of a list named a dispatcher that is gone.
#[cold]
pub(crate) fn stale<D>(state: &mut State<D>, id: AnyId) {
    state.counters.stale += 1;
    state
        .observers
        .tell(|observer, at| observer.event_dropped(at, id));
}

/// A dispatcher was added.
#[inline(always)]
pub(crate) fn added<D>(state: &mut State<D>, id: AnyId) {
    if state.observers.are_there() {
        let shown = Shown::of(state.slots.slot(id));
        let added = shown.added(id, state.running.id);
        state
            .observers
            .tell(|observer, at| observer.added(at, &added));
    }
}

/// Another has taken its place.
#[inline(always)]
pub(crate) fn replaced<D>(state: &mut State<D>, id: AnyId) {
    if state.observers.are_there() {
        let shown = Shown::of(state.slots.slot(id));
        let added = shown.added(id, state.running.id);
        state
            .observers
            .tell(|observer, at| observer.replaced(at, &added));
    }
}

/// How a dispatcher is shown to observers.
struct Shown<'a> {
    type_name: String,
    kind: Kind,
    address: &'a Address,
}

impl<'a> Shown<'a> {
    fn of<D>(slot: &'a Slot<D>) -> Shown<'a> {
        Shown {
            type_name: short_type_name((slot.type_name)()),
            kind: slot.io.kind().into(),
            address: &slot.address,
        }
    }

    fn added(&self, id: AnyId, by: AnyId) -> Added<'_> {
        Added {
            id,
            by,
            type_name: &self.type_name,
            kind: self.kind,
            address: self.address,
        }
    }
}

/// The flush has written something of an outbox.
#[inline(always)]
pub(crate) fn flushed<D>(state: &mut State<D>, id: AnyId, written: usize) {
    if state.observers.want(Reports::FLUSHES) {
        let queued = state.slots.slot(id).queued();
        state.observers.report(Reports::FLUSHES, |observer, at| {
            observer.flushed(at, id, written, queued);
        });
    }
}

/// What a dispatcher is called for, and what becomes of that by `change`.
#[inline]
pub(crate) fn change_interest<D>(
    state: &mut State<D>,
    id: AnyId,
    change: impl FnOnce(&mut Slot<D>),
) {
    let slot = state.slots.slot_mut(id);
    let before = interest(slot);
    change(slot);
    let after = interest(slot);
    if before != after {
        state.observers.report(Reports::INTEREST, |observer, at| {
            observer.interest_changed(at, id, after);
        });
    }
}

fn interest<D>(slot: &Slot<D>) -> Interest {
    Interest {
        reading: slot.readiness.has(Flag::WantRead),
        writing: slot.readiness.has(Flag::WantWrite),
    }
}
