//! Step 5 of a turn: the timers that are due, dispatchers' and the reactor's own, in the order of their times.

use crate::reactor::Reactor;
use crate::state::budget;
use crate::turn::timers;
use crate::watch::observer::Step;
use crate::world::ids::AnyId;

/// So many due timers are fetched from memory at a time.
const FETCHED: usize = 16;

impl Reactor {
    pub(super) fn fire_timers(&mut self) {
        let state = &self.core.state;
        if state.timers.may_be_due(state.now) || !state.agenda.firing.is_empty() {
            self.fire_due_timers();
        }
    }

    /// Apart, so that the steps that run for each message have the registers of the turn to themselves.
    #[inline(never)]
    fn fire_due_timers(&mut self) {
        self.step(Step::Timers);
        let state = &mut self.core.state;
        let (timers, now) = (&mut state.timers, state.now);
        state.agenda.firing.refill(|due| timers.collect(now, due));
        budget::begin_part(state, budget::OTHER_SHARE, 0);
        self.contain(|reactor| {
            loop {
                let state = &mut reactor.core.state;
                if let Some(lot) = state.agenda.firing.next_lot(FETCHED) {
                    state.timers.fetch(lot);
                }
                let Some(due) = state.agenda.firing.next() else {
                    break;
                };
                match reactor.core.state.timers.owner_of_due(due) {
                    // Cancelled since, by one that fired before it for example.
                    None => continue,
                    Some(AnyId::NONE) => reactor.fire_own(due),
                    Some(owner) => timers::fire(&mut reactor.core, owner, due),
                }
                if budget::is_up(&reactor.core.state) {
                    break;
                }
            }
        });
    }
}
