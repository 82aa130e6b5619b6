//! What must hold between any two turns, checked by tests after each.

use std::collections::HashMap;

use crate::reactor::Reactor;
use crate::slot::life::Life;
use crate::slot::links::Link;
use crate::slot::readiness::Flag;
use crate::state::{State, flow};
use crate::time::action::Action;
use crate::turn::core::Tenant;
use crate::world::endpoint::Kind;
use crate::world::ids::AnyId;

impl Reactor {
    /// Walks everything and panics with the first sentence that does not hold.
    ///
    /// # Panics
    ///
    /// That is what it is for.
    #[doc(hidden)]
    pub fn check_invariants(&self) {
        let state = self.state();
        check_lists(state);
        check_slots(state);
        check_flow(state);
        check_counts(state);
        state
            .chunks
            .check(&mut state.slots.iter().flat_map(|(_, slot)| slot.outboxes()));
        check_firing(state);
    }
}

fn check_lists(state: &State<Tenant>) {
    let (waiting, reasons) = (state.agenda.classes.iter(), state.agenda.classes.reasons());
    let ready: Vec<AnyId> = waiting.chain(&state.agenda.ready).copied().collect();
    let special = state
        .slots
        .iter()
        .filter(|(_, slot)| slot.priority.is_special());
    assert_eq!(
        special.count() + usize::from(state.config.turn_time.is_some()),
        reasons,
        "the reasons to serve by class are counted"
    );
    assert_eq!(
        ready.len(),
        state.agenda.classes.len() + state.agenda.ready.len(),
        "those that wait in order of class are counted"
    );
    let lists: [(&str, &[AnyId], Flag); 3] = [
        ("ready", &ready, Flag::Queued),
        ("dirty", &state.agenda.dirty, Flag::Dirty),
        ("paused", &state.agenda.paused, Flag::AcceptPaused),
    ];
    for (name, list, flag) in lists {
        let mut seen = std::collections::HashSet::new();
        for &id in list {
            assert!(seen.insert(id), "{id} is on the {name} list once");
            let slot = state
                .slots
                .get(id)
                .unwrap_or_else(|| panic!("{id} on the {name} list is alive"));
            assert!(
                slot.readiness.has(flag),
                "{id} is on the {name} list and its flag says so"
            );
        }
        let flagged = state
            .slots
            .iter()
            .filter(|(_, slot)| slot.readiness.has(flag))
            .count();
        assert_eq!(
            flagged,
            list.len(),
            "every slot whose flag says so is on the {name} list"
        );
    }
    let mut seen = std::collections::HashSet::new();
    for &id in &state.agenda.ending {
        assert!(seen.insert(id), "{id} waits for its handle_close once");
        assert!(
            state.slots.get(id).is_some(),
            "{id} waits for its handle_close and is alive"
        );
    }
    assert!(
        state.agenda.closed.is_empty(),
        "a slot that had its handle_close has been freed"
    );
    assert!(
        state.agenda.dispatching.is_empty() && state.agenda.flushing.is_empty(),
        "the steps have finished"
    );
}

/// Due timers that there was no time for are in order, and each timer is either in the heap or among them.
fn check_firing(state: &State<Tenant>) {
    let left = state.agenda.firing.left();
    assert!(
        left.is_empty() || state.config.turn_time.is_some(),
        "only a limited turn leaves due timers to the next"
    );
    assert!(
        // (Of one time a periodic one may come behind others that were set after it.)
        left.windows(2).all(|pair| pair[0].at() <= pair[1].at()),
        "due timers are left over in the order of their times"
    );
    let left = left.iter();
    let alive = left.filter(|&&due| state.timers.owner_of_due(due).is_some());
    let list_of = |owner| state.slots.get(owner).map(|slot| slot.timers);
    state.timers.check(alive.count(), list_of);
}

fn check_slots(state: &State<Tenant>) {
    for (id, slot) in state.slots.iter() {
        let readiness = slot.readiness;
        let queued: usize = slot.outboxes().map(|outbox| outbox.len()).sum();
        assert_eq!(slot.queued(), queued, "{id} counts the bytes behind files");
        assert!(
            slot.dispatcher.is_some(),
            "{id} holds its dispatcher between callbacks"
        );
        assert!(
            !slot.io.is_closed() || slot.life() == Life::Ended,
            "{id} has a socket until it has ended"
        );
        if slot.readiness.is_live() && slot.io.can_recv() {
            assert_eq!(
                readiness.has(Flag::WantRead),
                slot.pauses.is_empty(),
                "{id} is read unless there is a reason not to"
            );
        }
        if slot.has_work() {
            assert!(
                readiness.has(Flag::Queued),
                "{id} has work and is on the ready list: {slot:?}"
            );
        }
        if slot.outbox.is_staged() {
            assert!(
                readiness.has(Flag::Dirty),
                "{id} is staged and the next flush looks at it: {slot:?}"
            );
        }
        if slot.can_flush() {
            assert!(
                readiness.has(Flag::Dirty),
                "{id} can be flushed and is dirty: {slot:?}"
            );
        }
        if slot.life() == Life::Ended {
            assert!(
                state.agenda.ending.contains(&id),
                "{id} has ended and waits for its handle_close"
            );
            assert!(!slot.has_output(), "{id} has ended and keeps no output");
        }
        if slot.life() == Life::Listening && readiness.has(Flag::AcceptPaused) {
            let retries = state.timers.has(slot.timers, &Action::AcceptRetry);
            let at_limit = state.connections >= state.config.max_connections;
            assert!(
                retries || at_limit || state.over_total,
                "{id} is paused and something will resume it"
            );
        }
        // An attempt has one unless its options say otherwise, and nothing but an attempt has one; and what was an
        // attempt until its outbox went over the cap, which the next flush ends.
        let is_attempt = matches!(
            slot.life(),
            Life::Connecting | Life::ConnectingToClose | Life::ConnectingToReset | Life::Broken
        );
        if !is_attempt {
            let armed = state.timers.has(slot.timers, &Action::ConnectDeadline);
            assert!(!armed, "{id} is not connecting and has no deadline for it");
        }
        if slot.life().is_flushing() || slot.life() == Life::Draining {
            let armed = state.timers.has(slot.timers, &Action::CloseDeadline);
            let working = readiness.has(Flag::Dirty) || readiness.has(Flag::Queued);
            assert!(
                armed || working,
                "{id} is closing and has a deadline: {slot:?}"
            );
        }
        if slot.life() == Life::Broken {
            assert!(
                readiness.has(Flag::Dirty),
                "{id} is broken and the next flush ends it: {slot:?}"
            );
        }
    }
}

fn check_flow(state: &State<Tenant>) {
    let mut held_for: HashMap<AnyId, u32> = HashMap::new();
    for (_, slot) in state.slots.iter() {
        for source in slot.all_links(Link::Broadcaster) {
            *held_for.entry(source).or_default() += 1;
        }
    }
    for (id, slot) in state.slots.iter() {
        let feeds = slot.feeds();
        let sink = state.slots.get(feeds);
        let fed = sink.is_some_and(|sink| sink.readiness.has(Flag::Congested));
        let broadcasts = held_for.get(&id).copied().unwrap_or(0);
        if slot.life() != Life::Ended {
            let holds = u32::from(fed) + broadcasts;
            assert_eq!(
                slot.holds, holds,
                "{id} is held by {feeds} and by its broadcasts"
            );
            assert_eq!(
                slot.readiness.has(Flag::Held),
                holds > 0,
                "{id} is held, and its flag says so"
            );
        }
        if feeds != id && feeds != AnyId::NONE && slot.life() != Life::Ended {
            let known = sink.is_some_and(|sink| sink.all_links(Link::Feeder).contains(&id));
            assert!(known, "{feeds} knows that {id} feeds it");
        }
        for feeder in slot.all_links(Link::Feeder) {
            let source = state.slots.get(feeder);
            assert!(
                source.is_some_and(|source| source.feeds() == id),
                "{feeder} feeds {id}"
            );
        }
        if slot.readiness.has(Flag::Congested) {
            assert!(
                !slot.outbox.is_below_low() || flow::counts_as_full(state, slot),
                "{id} is congested and not below its low mark"
            );
        } else {
            assert!(
                !slot.outbox.is_over_high()
                    && !slot.readiness.has(Flag::LayerFull)
                    && !slot.has_files(),
                "{id} is over its high mark, or a file waits, and it is congested"
            );
        }
    }
}

fn check_counts(state: &State<Tenant>) {
    let counted = state.counters.added - state.counters.closed;
    assert_eq!(
        counted,
        state.slots.len() as u64,
        "added less closed is occupied"
    );
    let waiting = state.agenda.ending.len() as u64;
    assert_eq!(
        state.counters.ends.total(),
        state.counters.closed + waiting,
        "every end has a cause"
    );
    let streams = state
        .slots
        .iter()
        .filter(|(_, slot)| slot.io.kind() == Kind::Stream)
        .count();
    assert_eq!(
        streams, state.connections,
        "connections are the streams there are"
    );
}
