//! Step 6 of a turn: closures that were posted, within a budget in number and in time.

use std::sync::Arc;

use crate::handle::Job;
use crate::reactor::Reactor;
use crate::state::budget;
use crate::state::running::{Callback, Running};
use crate::turn::call;
use crate::world::ids::AnyId;
use crate::world::mailbox::Mailbox;

/// Posted closures that run between two looks at the clock, unless the turn's time is limited.
const POSTS_PER_LOOK: u32 = 32;

/// Posted closures that are taken off the queue at a time: moving a million of them would take longer than
/// a turn may.
const POSTS_PER_FETCH: usize = 4096;

impl Reactor {
    /// The step: what had been posted when it began, within the budgets.
    pub(super) fn run_posts(&mut self) {
        let most = self.core.state.config.posts_per_turn;
        let most = most.saturating_sub(self.jobs.len());
        let waiting = self.fetch_posts(most);
        if self.jobs.is_empty() {
            return;
        }
        self.posts_left = waiting.min(most.saturating_sub(self.jobs.len()));
        self.posts_began = self.core.state.clock.now();
        budget::begin_part(&mut self.core.state, budget::OTHER_SHARE, 0);
        self.contain(Reactor::run_fetched_posts);
    }

    /// Takes so many off the queue, but not too many at a time; how many still wait.
    fn fetch_posts(&mut self, most: usize) -> usize {
        let most = most.min(POSTS_PER_FETCH);
        let waiting = self
            .mailbox
            .take_jobs(most, self.jobs_left_over, &mut self.jobs);
        self.jobs_left_over = waiting > 0;
        waiting
    }

    fn run_fetched_posts(&mut self) {
        let config = &self.core.state.config;
        let measured = config.slow_callback.is_some();
        let posts_per_look = config.turn_time.map_or(POSTS_PER_LOOK, |_| 1);
        self.core.state.running = Running::closure(Callback::Post);
        while !self.jobs.is_empty() {
            for _ in 0..posts_per_look {
                let Some(job) = self.jobs.pop_front() else {
                    break;
                };
                self.core.state.counters.posts += 1;
                if measured {
                    self.run_measured(job);
                } else {
                    job(self);
                }
            }
            if self.posts_took_long() {
                break;
            }
            if self.jobs.is_empty() && self.posts_left > 0 {
                self.fetch_posts(self.posts_left);
                self.posts_left -= self.jobs.len().min(self.posts_left);
            }
        }
        self.core.state.running = Running::NOTHING;
    }

    #[cold]
    fn run_measured(&mut self, job: Job) {
        let started = call::start_measure(&self.core);
        job(self);
        if let Some(started) = started {
            call::measure(&mut self.core, AnyId::NONE, Callback::Post, started);
        }
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
