//! Step 6 of a turn: closures that were posted, within a budget in number and in time.

use std::sync::Arc;

use crate::handle::Job;
use crate::reactor::Reactor;
use crate::state::running::{Callback, Running};
use crate::turn::call;
use crate::world::ids::AnyId;
use crate::world::mailbox::Mailbox;

/// Posted closures that run between two looks at the clock.
const POSTS_PER_LOOK: u32 = 32;

impl Reactor {
    pub(super) fn run_posts(&mut self) {
        let most = self.core.state.config.posts_per_turn;
        let most = most.saturating_sub(self.jobs.len());
        self.jobs_left_over = self
            .mailbox
            .take_jobs(most, self.jobs_left_over, &mut self.jobs);
        if self.jobs.is_empty() {
            return;
        }
        self.posts_began = self.core.state.clock.now();
        self.contain(|reactor| {
            let measured = reactor.core.state.config.slow_callback.is_some();
            reactor.core.state.running = Running::closure(Callback::Post);
            while !reactor.jobs.is_empty() {
                for _ in 0..POSTS_PER_LOOK {
                    let Some(job) = reactor.jobs.pop_front() else {
                        break;
                    };
                    reactor.core.state.counters.posts += 1;
                    if measured {
                        reactor.run_measured(job);
                    } else {
                        job(reactor);
                    }
                }
                if reactor.posts_took_long() {
                    break;
                }
            }
            reactor.core.state.running = Running::NOTHING;
        });
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
        took >= state.config.posts_time
    }

    pub(crate) fn mailbox(&self) -> &Arc<Mailbox<Job>> {
        &self.mailbox
    }
}
