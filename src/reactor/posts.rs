//! Step 6 of a turn: closures that were posted, the urgent ones first, within a budget in number and in
//! time.

use std::sync::Arc;

use crate::handle::Job;
use crate::reactor::Reactor;
use crate::state::running::Running;
use crate::state::{budget, observing};
use crate::watch::callback::Callback;
use crate::watch::observer::Step;
use crate::world::ids::AnyId;
use crate::world::mailbox::{Lane, Mailbox};

/// Posted closures that run between two looks at the clock, unless the turn's time is limited.
const POSTS_PER_LOOK: u64 = 32;

/// Posted closures that are taken off the queue at a time: moving a million of them would take longer than
/// a turn may.
const POSTS_PER_FETCH: usize = 4096;

impl Reactor {
    /// The step: what had been posted when it began, within the budgets.
    pub(super) fn run_posts(&mut self) {
        let most = self.core.state.config.posts_per_turn;
        let waiting = self.fetch_posts(most);
        if self.jobs.is_empty() {
            return;
        }
        self.step(Step::Posts);
        let count = most.min(self.jobs.len() + waiting);
        self.posts_end = self.core.state.counters.posts + count as u64;
        self.posts_began = self.core.state.clock.now();
        budget::begin_part(&mut self.core.state, budget::OTHER_SHARE, 0);
        self.contain(Reactor::run_fetched_posts);
    }

    /// Has so many in hand, but takes not too many off the queue at a time; how many still wait there.
    fn fetch_posts(&mut self, most: usize) -> usize {
        let most = most.min(POSTS_PER_FETCH);
        let waiting = self
            .mailbox
            .take_jobs(most, self.jobs_left_over, &mut self.jobs);
        self.jobs_left_over = waiting > 0;
        waiting
    }

    fn run_fetched_posts(&mut self) {
        let turn_time = self.core.state.config.turn_time;
        let posts_per_look = turn_time.map_or(POSTS_PER_LOOK, |_| 1);
        self.core.state.running = Running::closure(Callback::Post);
        while self.posts_left() > 0 && !self.jobs.is_empty() {
            // Both up to the same number: a look comes after so many, however few of them were urgent.
            let look = self.core.state.counters.posts + posts_per_look;
            let end = self.posts_end.min(look);
            self.run_lane(Lane::Urgent, end);
            self.run_lane(Lane::Ordinary, end);
            if self.posts_took_long() {
                break;
            }
            if self.jobs.is_empty() && self.posts_left() > 0 {
                let most = usize::try_from(self.posts_left()).unwrap_or(usize::MAX);
                self.fetch_posts(most);
            }
        }
        self.core.state.running = Running::NOTHING;
    }

    /// Runs jobs until so many have run altogether, or there are no more. Inlined, so that neither of the
    /// two loops asks which lane it is.
    #[inline(always)]
    fn run_lane(&mut self, lane: Lane, end: u64) {
        let measured = self.core.state.observers.is_on();
        for _ in self.core.state.counters.posts..end {
            let Some(job) = self.jobs.lane(lane).pop_front() else {
                break;
            };
            self.core.state.counters.posts += 1;
            if measured {
                self.run_measured(job);
            } else {
                job.run(self);
            }
        }
    }

    /// How many this step may still run. Counted by those that ran, so that a panic changes nothing.
    fn posts_left(&self) -> u64 {
        self.posts_end - self.core.state.counters.posts
    }

    #[cold]
    fn run_measured(&mut self, job: Job) {
        #[cfg(feature = "observer")]
        if let Some(posted) = job.posted() {
            observing::note_posted(&mut self.core.state, posted);
        }
        observing::begin(&mut self.core.state, AnyId::NONE, Callback::Post);
        job.run(self);
        observing::end(&mut self.core.state, &Ok(()));
    }

    /// Whether the time for the posts of this turn is up. The rest is run in the next one.
    fn posts_took_long(&self) -> bool {
        let state = &self.core.state;
        let took = state.clock.now().since(self.posts_began);
        took >= state.config.posts_time || budget::is_up(state)
    }

    pub(crate) fn mailbox(&self) -> &Arc<Mailbox<Job>> {
        &self.mailbox
    }
}
