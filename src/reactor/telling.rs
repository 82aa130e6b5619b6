//! Adding and reaching observers, and what is reported to them of the turn.

use crate::reactor::Reactor;
use crate::state::observing;
use crate::watch::observer::Step;

#[cfg(feature = "observer")]
use crate::watch::observer::Observer;
#[cfg(feature = "observer")]
use crate::watch::observers::Makers;

/// # Observers
#[cfg(feature = "observer")]
impl Reactor {
    /// Adds an observer, to which everything is reported from now on; see [`Observer`]. The existing dispatchers are
    /// reported first. If called from inside a turn, for example by a posted closure, it begins with the next turn.
    ///
    /// There may be several observers, and several of one type: [`observer`](Reactor::observer) and
    /// [`unobserve`](Reactor::unobserve) find the first of them.
    pub fn observe<O: Observer>(&mut self, observer: O) {
        self.core.state.observers.add(observer);
        self.welcome();
    }

    /// The first observer of this type. `None` if there is none, or if it panicked and was removed.
    #[must_use]
    pub fn observer<O: Observer>(&self) -> Option<&O> {
        self.core.state.observers.find()
    }

    /// The first observer of this type, mutable; see [`observer`](Reactor::observer).
    pub fn observer_mut<O: Observer>(&mut self) -> Option<&mut O> {
        self.core.state.observers.find_mut()
    }

    /// Removes and returns the first observer of this type: nothing is reported to it from then on. Without any
    /// observer the clock is not read for each callback.
    pub fn unobserve<O: Observer>(&mut self) -> Option<O> {
        let removed = self.core.state.observers.remove();
        self.mailbox
            .time_posts(self.core.state.observers.are_there());
        removed
    }

    pub(crate) fn observed_by(mut self, makers: &Makers) -> Reactor {
        makers.add_all(&mut self.core.state.observers);
        self.welcome();
        self
    }

    fn welcome(&mut self) {
        self.mailbox
            .time_posts(self.core.state.observers.are_there());
        if !self.in_turn {
            observing::welcome(&mut self.core.state);
        }
    }
}

impl Reactor {
    /// What is told next comes after something of the program's own, which may have taken long.
    #[inline(always)]
    pub(super) fn look_at_the_clock(&mut self) {
        if self.core.state.observers.are_there() {
            observing::read_clock(&mut self.core.state);
        }
    }

    #[inline(always)]
    pub(super) fn begin_turn(&mut self) {
        self.in_turn = true;
        observing::begin_turn(&mut self.core.state);
    }

    #[inline(always)]
    pub(super) fn end_turn(&mut self) {
        self.in_turn = false;
        observing::end_turn(&mut self.core.state, || {
            self.mailbox.waiting() + self.jobs.len()
        });
    }

    /// A step is about to begin, and is told if it has anything to do.
    #[inline(always)]
    pub(super) fn step(&mut self, step: Step) {
        if self.core.state.observers.are_there() {
            self.tell_step(step);
        }
    }

    #[cold]
    #[inline(never)]
    fn tell_step(&mut self, step: Step) {
        let agenda = &self.core.state.agenda;
        let has_work = match step {
            Step::Merge => !self.events.is_empty(),
            Step::Dispatch => {
                let ready = agenda.ready.len() + agenda.dispatching.left().len();
                // Events that were not merged are dispatched as well.
                ready + agenda.classes.len() + self.events.len() > 0
            }
            Step::Flush => {
                let written = agenda.dirty.is_empty() && agenda.flushing.is_empty();
                !written || !agenda.errands.is_empty()
            }
            Step::Close => agenda.has_ends(),
            // These are told where it is known that there is something.
            Step::Wait | Step::Timers | Step::Posts => true,
        };
        if has_work {
            observing::begin_step(&mut self.core.state, step);
        }
    }
}
