//! The loop: one turn, step by step, and how it starts, stops and shuts down.

mod closures;
mod setup;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::core::Core;
use crate::handle::Job;
use crate::reactor::closures::Closures;
use crate::slot::life::{End, Life};
use crate::state::config::Config;
use crate::state::running::{Callback, Running};
use crate::time::clock::{Clock, Tick};
use crate::world::ids::AnyId;
use crate::world::mailbox::Mailbox;
use crate::world::poller::{News, Poller};
use crate::world::socket::Kind;

/// A connection that [`Reactor::shutdown`](crate::Reactor::shutdown) had to cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Aborted {
    /// Whose it was; nobody's by now.
    pub id: AnyId,
    /// Bytes accepted for sending that the kernel had not taken. Zero if all had left and only the
    /// peer's end of stream was still awaited.
    pub unsent: usize,
}

/// A single-threaded event loop and everything in it: sockets, dispatchers, timers, posted closures.
///
/// A reactor stays on the thread that made it; other threads use a [`Handle`](crate::Handle).
///
/// ```compile_fail
/// let reactor = slabloop::Reactor::new().unwrap();
/// std::thread::spawn(move || drop(reactor));
/// ```
///
/// It is not to be used in a process forked from the one that made it: both would share one poller.
///
/// Dropping it closes every dispatcher, each with its `handle_close`; [`shutdown`](Reactor::shutdown)
/// lets queued output leave first.
pub struct Reactor {
    core: Core,
    news: News,
    jobs: VecDeque<Job>,
    /// The last look at the queue of posts left some behind.
    jobs_left_over: bool,
    closures: Closures,
    in_turn: bool,
}

impl Reactor {
    pub(crate) fn assemble(
        config: Config,
        clock: Clock,
        events_per_wait: usize,
        post_capacity: usize,
    ) -> io::Result<Reactor> {
        let poller = Poller::new()?;
        let mailbox = Arc::new(Mailbox::new(poller.waker()?, post_capacity));
        Ok(Reactor {
            core: Core::new(config, clock, poller, mailbox),
            news: News::with_capacity(events_per_wait),
            jobs: VecDeque::new(),
            jobs_left_over: false,
            closures: Closures::default(),
            in_turn: false,
        })
    }

    /// Runs turn after turn, until [`stop`](Reactor::stop) was called, or nothing is left that could
    /// ever wake it: no dispatcher, no timer, no waiting post and no [`Handle`](crate::Handle).
    ///
    /// # Errors
    ///
    /// What the wait reports, except that a signal came: retrying would spin. The reactor can still be
    /// shut down. An error at once when called from inside a turn, as a posted closure might.
    pub fn run(&mut self) -> io::Result<()> {
        self.refuse_inside_a_turn("run")?;
        while !self.take_stop() && self.could_be_woken() {
            self.pass(None)?;
        }
        Ok(())
    }

    /// One turn, for tests and for embedding in another loop. Waits for at most `timeout`; `None` means
    /// for as long as it takes. `Duration::ZERO` and `Some(Duration::ZERO)` both only look.
    ///
    /// # Errors
    ///
    /// As [`run`](Reactor::run).
    pub fn turn(&mut self, timeout: impl Into<Option<Duration>>) -> io::Result<()> {
        self.refuse_inside_a_turn("turn")?;
        self.pass(timeout.into())
    }

    /// The turn. Everything else in this crate is a detail of one of these eight lines.
    fn pass(&mut self, limit: Option<Duration>) -> io::Result<()> {
        self.in_turn = true;
        let timeout = self.timeout(limit); // 1: 0 if work was carried over, else until the next timer
        let waited = self.wait(timeout); //   2: the only place where the program sleeps
        self.merge(); //                      3: events become readiness bits
        self.dispatch(); //                   4: each ready slot once
        self.fire_timers(); //                5: all that have expired
        self.run_posts(); //                  6: what other threads handed over by now
        self.flush(); //                      7: one write for each dirty outbox
        self.close(); //                      8: only now is a slot free again
        self.in_turn = false;
        waited
    }

    /// Whether work is left that needs no event. After a panic that was let through that may be
    /// anything.
    fn has_work_left(&self) -> bool {
        let core = &self.core;
        !core.ready.is_empty()
            || !core.dirty.is_empty()
            || !core.ending.is_empty()
            || !core.dispatching.is_empty()
            || !core.firing.is_empty()
            || !core.flushing.is_empty()
            || !core.failing.is_empty()
            || !core.cancelled_closures.is_empty()
            || !core.closed.is_empty()
            || self.jobs_left_over
            || !self.jobs.is_empty()
    }

    fn timeout(&mut self, limit: Option<Duration>) -> Option<Duration> {
        if self.has_work_left() {
            return Some(Duration::ZERO);
        }
        let core = &mut self.core;
        let next_timer = match core.timers.next_due() {
            None | Some(Tick::NEVER) => None,
            Some(due) => Some(due.since(core.clock.now())),
        };
        match next_timer {
            // The poller rounds up to its own unit; rounding here as well would make timers late.
            Some(left) if left == Duration::ZERO || core.clock.runs() => {
                Some(limit.map_or(left, |limit| limit.min(left)))
            }
            _ => limit,
        }
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let waited = self.core.poller.wait(&mut self.news, timeout);
        self.core.now = self.core.clock.now();
        self.core.timers.begin_turn();
        self.core.counters.turns += 1;
        self.core.counters.events += self.news.len() as u64;
        waited
    }

    /// With nobody waiting from before, the ready list would be the events over again: then the dispatch
    /// merges each when it comes to it, which spares the list and a second look-up.
    fn merge(&mut self) {
        if !self.core.can_dispatch_news() {
            self.core.merge(&mut self.news);
        }
    }

    fn dispatch(&mut self) {
        self.core.dispatching.load(&mut self.core.ready);
        self.contain(|reactor| {
            reactor.core.dispatch();
            reactor.core.dispatch_news(&mut reactor.news);
        });
    }

    fn fire_timers(&mut self) {
        if self.core.timers.may_be_due(self.core.now) || !self.core.firing.is_empty() {
            self.fire_due_timers();
        }
    }

    /// Apart, so that the steps that run for each message have the registers of the turn to themselves.
    #[inline(never)]
    fn fire_due_timers(&mut self) {
        let core = &mut self.core;
        core.firing.refill(|due| core.timers.collect(core.now, due));
        self.contain(|reactor| {
            while let Some(due) = reactor.core.firing.next() {
                match reactor.core.timers.owner_of_due(due) {
                    // Cancelled by one that fired before it.
                    None => {}
                    Some(AnyId::NOBODY) => reactor.run_closure(due),
                    Some(owner) => reactor.core.fire(owner, due),
                }
            }
        });
    }

    fn run_posts(&mut self) {
        let most = self.core.config.posts_per_turn;
        self.jobs_left_over =
            self.core
                .mailbox
                .take_jobs(most, self.jobs_left_over, &mut self.jobs);
        self.contain(|reactor| {
            while let Some(job) = reactor.jobs.pop_front() {
                reactor.core.counters.posts += 1;
                reactor.core.running = Running {
                    callback: Callback::Post,
                    ..Running::NOTHING
                };
                job(reactor);
            }
            reactor.core.running = Running::NOTHING;
        });
    }

    fn flush(&mut self) {
        self.core.flushing.load(&mut self.core.dirty);
        self.contain(|reactor| {
            reactor.core.flush();
            reactor.core.tell_failed_writes();
        });
    }

    fn close(&mut self) {
        self.contain(|reactor| {
            reactor.drop_cancelled_closures();
            reactor.core.close_step();
        });
        self.core.review_total();
    }

    /// Runs a step that runs users' code. After a panic it goes on where it was: each step takes an
    /// item off its list before it serves it.
    fn contain(&mut self, step: impl Fn(&mut Reactor)) {
        while let Err(payload) = catch_unwind(AssertUnwindSafe(|| step(self))) {
            if let Some(payload) = self.core.absorb(payload) {
                // The turn ends here, and the kernel tells news once.
                self.core.merge(&mut self.news);
                self.in_turn = false;
                self.core.refusing = false;
                resume_unwind(payload);
            }
        }
    }

    fn refuse_inside_a_turn(&self, operation: &str) -> io::Result<()> {
        if self.in_turn {
            return Err(io::Error::other(format!(
                "{operation} called from inside a turn"
            )));
        }
        Ok(())
    }

    fn take_stop(&mut self) -> bool {
        let from_a_callback = std::mem::take(&mut self.core.stop);
        let from_a_handle = self.core.mailbox.take_stop();
        from_a_callback || from_a_handle
    }

    fn could_be_woken(&mut self) -> bool {
        self.core.slots.len() > 0
            || self.has_work_left()
            || self
                .core
                .timers
                .next_due()
                .is_some_and(|due| due != Tick::NEVER)
            || self.core.mailbox.has_handles()
            || self.core.mailbox.has_jobs()
    }

    /// Has [`run`](Reactor::run) return: after the turn in hand, or at once if it is called later.
    pub fn stop(&mut self) {
        self.core.stop = true;
    }

    /// Closes in good order: listeners at once, so that new clients are refused; then every connection
    /// as by [`Context::close`](crate::Context::close), while other dispatchers go on; and after
    /// `deadline` at the latest whatever is left is aborted. Everybody gets `handle_close`. Returns what had to be aborted.
    ///
    /// Connections in a listener's queue that were not accepted are reset by the kernel. Nothing can be
    /// added while it lasts; afterwards the reactor is empty and can be used again. Timers and posts
    /// run on meanwhile.
    ///
    /// # Errors
    ///
    /// As [`run`](Reactor::run); what is left is then aborted all the same.
    pub fn shutdown(&mut self, deadline: Duration) -> io::Result<Vec<Aborted>> {
        self.refuse_inside_a_turn("shutdown")?;
        let end = self.core.clock.now().after(deadline);
        self.core.refusing = true;
        let kinds: Vec<_> = self
            .core
            .slots
            .iter()
            .map(|(id, s)| (id, s.socket.kind()))
            .collect();
        for (id, kind) in kinds {
            match kind {
                Kind::Listener => self.core.end(id, End::Closed),
                Kind::Stream => self.core.close(id),
                Kind::Datagram | Kind::Foreign => {}
            }
        }
        let mut outcome = Ok(());
        while outcome.is_ok() && self.core.connections > 0 {
            let left = end.since(self.core.clock.now());
            if left == Duration::ZERO {
                break;
            }
            outcome = self.pass(Some(left));
        }
        let aborted = self.abort_connections();
        self.core.end_all();
        self.close_outside_a_turn();
        outcome.map(|()| aborted)
    }

    fn abort_connections(&mut self) -> Vec<Aborted> {
        let left =
            self.core.slots.iter().filter(|(_, slot)| {
                slot.socket.kind() == Kind::Stream && slot.life() != Life::Ended
            });
        let left: Vec<_> = left
            .map(|(id, slot)| Aborted {
                id,
                unsent: slot.outbox.len(),
            })
            .collect();
        for aborted in &left {
            self.core.abort(aborted.id);
        }
        self.core.counters.aborted += left.len() as u64;
        left
    }

    /// Closes every dispatcher at once, each with its `handle_close`. From inside a turn they close at
    /// its end.
    pub fn close_all(&mut self) {
        self.core.end_all();
        if !self.in_turn {
            self.close_outside_a_turn();
        }
    }

    fn close_outside_a_turn(&mut self) {
        let propagated = self.core.close_now();
        self.core.refusing = false;
        if let Some(payload) = propagated {
            resume_unwind(payload);
        }
    }

    pub(crate) fn mailbox(&self) -> &Arc<Mailbox<Job>> {
        &self.core.mailbox
    }

    #[cfg(feature = "testing")]
    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    #[cfg(feature = "testing")]
    pub(crate) fn core_mut(&mut self) -> &mut Core {
        &mut self.core
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        let waiting = self.core.mailbox.close();
        self.core.refusing = true;
        self.core.end_all();
        let _propagated = self.core.close_now();
        // One by one, for the drop of each may panic.
        let mut panics = 0;
        for closure in std::mem::take(&mut self.closures).into_all() {
            panics += drop_contained(closure);
        }
        for job in std::mem::take(&mut self.jobs).into_iter().chain(waiting) {
            panics += drop_contained(job);
        }
        if panics > 0 {
            log::error!("reactor: {panics} closures panicked when they were dropped");
        }
        self.core.log_limits.finish();
    }
}

/// Drops a value of the user's; how many panics it took, none or one. They must not leave our own drop.
fn drop_contained<T>(value: T) -> usize {
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(value)));
    // The payload is the user's, too.
    dropped.map_err(std::mem::forget).is_err().into()
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor")
            .field("dispatchers", &self.core.slots.len())
            .field("connections", &self.core.connections)
            .field("ready", &self.core.ready.len())
            .field("timers", &self.core.timers.len())
            .field("queued_bytes", &self.core.buffers.queued())
            .finish_non_exhaustive()
    }
}

/// The poller's descriptor: readable when a turn would find events. For embedding in another loop,
/// together with [`Reactor::turn`].
impl AsFd for Reactor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.core.poller.registry().as_fd()
    }
}

impl AsRawFd for Reactor {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}
