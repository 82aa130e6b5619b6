//! The loop: one turn, step by step, and how it starts and stops.

mod adding;
mod closures;
mod embedding;
mod errands;
mod posts;
mod shutdown;
mod telling;
mod timers;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::context::Context;
use crate::handle::Job;
use crate::state::config::Config;
use crate::state::{State, classes, diagnostics, observing, output, total};
use crate::time::clock::{Clock, Tick};
use crate::turn::core::Core;
use crate::turn::{call, close, dispatch};
use crate::watch::observer::Step;
use crate::world::ids::AnyId;
use crate::world::mailbox::{Jobs, Mailbox};
use crate::world::poller::{Events, Poller};

pub use self::shutdown::Aborted;

/// A single-threaded event loop and everything in it: sockets, dispatchers, timers, posted closures.
///
/// ```no_run
/// # use slabloop::{Accepted, Context, Dispatcher, Reactor};
/// # use std::io;
/// # use std::time::Duration;
/// # struct Session; impl Dispatcher for Session {}
/// struct Listener;
/// impl Dispatcher for Listener {
///     fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
///         cx.add(accepted, Session)?;
///         Ok(())
///     }
/// }
///
/// fn main() -> io::Result<()> {
///     let mut reactor = Reactor::new()?;
///     let listener = reactor.listen("127.0.0.1:0", Listener)?;
///     println!("listening on {}", reactor.local_addr(listener)?);
///     reactor.run()?; // Until something calls `stop`.
///     reactor.shutdown(Duration::from_secs(5))?;
///     Ok(())
/// }
/// ```
///
/// A reactor stays on the thread that created it; other threads use a [`Handle`](crate::Handle). This does not compile:
///
/// ```compile_fail
/// let reactor = slabloop::Reactor::new().unwrap();
/// std::thread::spawn(move || drop(reactor));
/// ```
///
/// Do not use a reactor in a process forked from the one that created it: both would share one poller.
///
/// Dropping it closes every dispatcher, each with its `handle_close`; [`shutdown`](Reactor::shutdown)
/// sends queued output first.
pub struct Reactor {
    core: Core,
    events: Events,
    mailbox: Arc<Mailbox<Job>>,
    /// Posted closures that were taken off the queue and have not run.
    jobs: Jobs<Job>,
    /// The last look at the queue of posts left some behind.
    jobs_left_over: bool,
    /// What the number of posted closures that have run is to be at the end of this turn's step 6.
    posts_end: u64,
    /// When this turn began to run posted closures.
    posts_began: Tick,
    /// Deferred closures that this turn still runs.
    deferred_left: usize,
    /// Errands that this turn still runs.
    errands_left: usize,
    in_turn: bool,
}

/// # Running the loop
impl Reactor {
    pub(crate) fn assemble(
        config: Config,
        clock: Clock,
        events_per_wait: usize,
        post_capacity: usize,
    ) -> io::Result<Reactor> {
        let poller = Poller::new()?;
        let mailbox: Arc<Mailbox<Job>> = Arc::new(Mailbox::new(poller.waker()?, post_capacity));
        Ok(Reactor {
            core: Core::new(State::new(config, clock, poller), mailbox.clone()),
            mailbox,
            events: Events::with_capacity(events_per_wait),
            jobs: Jobs::new(),
            jobs_left_over: false,
            posts_end: 0,
            posts_began: Tick::default(),
            deferred_left: 0,
            errands_left: 0,
            in_turn: false,
        })
    }

    /// Runs turn after turn, until [`stop`](Reactor::stop) was called, or nothing is left that could
    /// ever wake it: no socket, no timer, no waiting post and no [`Handle`](crate::Handle).
    ///
    /// ```
    /// # use slabloop::Reactor;
    /// # use std::time::Duration;
    /// # fn main() -> std::io::Result<()> {
    /// let mut reactor = Reactor::new()?;
    /// reactor.call_later(Duration::from_millis(1), |_| println!("the only timer"));
    /// reactor.run()?; // Returns after it, because nothing is left.
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The system's error if waiting for events fails. (An interruption by a signal is not an error: the loop
    /// continues.) Such a failure is final, because a retry would spin; the reactor can still be shut down. Also an
    /// error when called from inside a turn, for example from a posted closure.
    pub fn run(&mut self) -> io::Result<()> {
        self.refuse_inside_a_turn("run")?;
        // From here on a post from this thread need not wake the loop: it looks before it sleeps. (With
        // `turn` another loop may be waiting for the descriptor, which knows nothing of our queue.)
        self.mailbox.set_awake(true);
        self.look_at_the_clock();
        let mut outcome = Ok(());
        while outcome.is_ok() && !self.take_stop() && self.could_be_woken() {
            outcome = self.pass(None);
        }
        self.mailbox.set_awake(false);
        self.core.state.observers.catch_up();
        outcome
    }

    /// Runs one turn, for tests and for embedding in another loop. Waits for at most `timeout`; `None` means
    /// without limit. `Duration::ZERO` does not wait. [`next_timeout`](Reactor::next_timeout) says when another loop has
    /// to call it.
    ///
    /// ```
    /// # use slabloop::Reactor;
    /// # use std::time::Duration;
    /// # fn main() -> std::io::Result<()> {
    /// let mut reactor = Reactor::new()?;
    /// reactor.handle().post(|_| println!("posted")).expect("there is room");
    /// reactor.turn(Duration::ZERO)?;
    /// assert_eq!(reactor.counters().posts, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`run`](Reactor::run).
    pub fn turn(&mut self, timeout: impl Into<Option<Duration>>) -> io::Result<()> {
        self.refuse_inside_a_turn("turn")?;
        self.look_at_the_clock();
        let outcome = self.pass(timeout.into());
        self.core.state.observers.catch_up();
        outcome
    }

    /// The turn. Everything else in this crate is a detail of one of these eight steps.
    fn pass(&mut self, limit: Option<Duration>) -> io::Result<()> {
        self.begin_turn();
        let timeout = self.timeout(limit); // 1: 0 if work was carried over, else until the next timer
        let waited = self.wait(timeout); //   2: the only place where the program sleeps
        self.merge(); //                      3: events become readiness bits
        self.dispatch(); //                   4: each ready slot once
        self.fire_timers(); //                5: all that have expired
        self.run_deferred(); //               6: what callbacks put off,
        self.run_posts(); //                     and what other threads handed over by now
        self.flush(); //                      7: one write for each dirty outbox
        self.close(); //                      8: only now is a slot free again
        self.end_turn();
        waited
    }

    /// Whether work is left that needs no event.
    fn has_work_left(&self) -> bool {
        !self.core.state.agenda.is_empty()
            || self.jobs_left_over
            || !self.jobs.is_empty()
            || !self.core.deferred.is_empty()
    }

    fn timeout(&mut self, limit: Option<Duration>) -> Option<Duration> {
        if self.has_work_left() || self.mailbox.is_woken() {
            return Some(Duration::ZERO);
        }
        let state = &mut self.core.state;
        let next_timer = match state.timers.next_due() {
            None | Some(Tick::NEVER) => None,
            Some(due) => Some(due.since(state.clock.now())),
        };
        match next_timer {
            // The poller rounds up to its own unit; rounding here as well would make timers late.
            Some(left) if left == Duration::ZERO || state.clock.runs() => {
                Some(limit.map_or(left, |limit| limit.min(left)))
            }
            _ => limit,
        }
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let state = &mut self.core.state;
        let waited = state.poller.wait(&mut self.events, timeout);
        state.now = state.clock.now();
        state.timers.begin_turn();
        state.agenda.was_cut_short = false;
        state.counters.turns += 1;
        state.counters.events += self.events.len() as u64;
        observing::end_wait(state, self.events.len());
        waited
    }

    /// With no slot left over from before, the ready list would be the events over again: then the
    /// dispatch merges each when it comes to it, which spares the list and a second look-up.
    fn merge(&mut self) {
        if !dispatch::can_dispatch_events(&self.core, self.events.len()) {
            let state = &mut self.core.state;
            state.observers.begin_list(self.events.len(), state.now);
            self.step(Step::Merge);
            dispatch::merge(&mut self.core, &mut self.events);
        }
    }

    fn dispatch(&mut self) {
        self.step(Step::Dispatch);
        if self.core.state.agenda.classes.are_used() {
            return self.dispatch_by_class();
        }
        let agenda = &mut self.core.state.agenda;
        agenda.dispatching.load(&mut agenda.ready);
        self.contain(|reactor| {
            dispatch::dispatch_ready(&mut reactor.core);
            dispatch::dispatch_events(&mut reactor.core, &mut reactor.events);
        });
    }

    #[inline(never)]
    fn dispatch_by_class(&mut self) {
        classes::line_up(&mut self.core.state);
        self.contain(|reactor| dispatch::dispatch_by_class(&mut reactor.core));
    }

    fn flush(&mut self) {
        self.step(Step::Flush);
        let agenda = &mut self.core.state.agenda;
        if !(agenda.dirty.is_empty() && agenda.flushing.is_empty()) {
            agenda.flushing.load(&mut agenda.dirty);
            output::flush(&mut self.core.state);
        }
        if !self.core.state.agenda.errands.is_empty() {
            self.run_errands();
        }
    }

    fn close(&mut self) {
        self.step(Step::Close);
        if self.core.state.agenda.has_ends() {
            self.close_ended();
        }
        let state = &mut self.core.state;
        total::review(state);
        diagnostics::review(state);
        state.timers.end_turn(&state.clock);
    }

    #[inline(never)]
    fn close_ended(&mut self) {
        self.contain(|reactor| {
            reactor.drop_cancelled_closures();
            close::close_step(&mut reactor.core);
        });
    }

    /// Runs a step that runs users' code. After a panic it goes on where it was: each step takes an
    /// item off its list before it serves it.
    fn contain(&mut self, step: impl Fn(&mut Reactor)) {
        while let Err(payload) = catch_unwind(AssertUnwindSafe(|| step(self))) {
            if let Some(payload) = call::absorb(&mut self.core, payload) {
                // The turn ends here, and the kernel reports an event once.
                dispatch::merge(&mut self.core, &mut self.events);
                self.end_turn();
                self.mailbox.set_awake(false);
                self.core.state.observers.catch_up();
                let state = &mut self.core.state;
                state.timers.end_turn(&state.clock);
                state.refusing = false;
                state.agenda.leaving.clear();
                state.agenda.was_cut_short = true;
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
        let from_a_handle = self.mailbox.take_stop();
        from_a_callback || from_a_handle
    }

    fn could_be_woken(&self) -> bool {
        let state = &self.core.state;
        state.slots.len() > state.services
            || self.has_work_left()
            || state.timers.keep_running()
            || self.mailbox.has_handles()
            || self.mailbox.has_jobs()
    }

    /// Makes [`run`](Reactor::run) return: after the current turn, or immediately if `run` is called later.
    ///
    /// ```
    /// # use slabloop::Reactor;
    /// # use std::time::Duration;
    /// # fn main() -> std::io::Result<()> {
    /// let mut reactor = Reactor::new()?;
    /// reactor.call_later(Duration::from_millis(1), |reactor| reactor.stop());
    /// let _handle = reactor.handle(); // Would keep `run` waiting for ever.
    /// reactor.run()?;
    /// # Ok(()) }
    /// ```
    pub fn stop(&mut self) {
        self.core.stop = true;
    }

    /// A context that is no dispatcher's, for what a reactor and a callback can both do. The last turn may be long
    /// past: what is added now has its deadlines from now on. (`at` spares the reading of the clock. What is sent there
    /// is offered before any deadline of it counts.)
    pub(crate) fn outside(&mut self) -> Context<'_> {
        self.note_outside();
        if !self.in_turn {
            let state = &mut self.core.state;
            state.now = state.clock.now();
        }
        Context::new(&mut self.core, AnyId::NONE)
    }

    /// How long until the next timer; `None` if there is none.
    #[cfg(feature = "test")]
    pub(crate) fn until_next_timer(&mut self) -> Option<Duration> {
        let state = &mut self.core.state;
        let now = state.clock.now();
        state.timers.date_all(now);
        state.timers.next_due().map(|due| due.since(now))
    }

    /// Whether the next turn would find nothing to do but what the system might have for it.
    #[cfg(feature = "test")]
    pub(crate) fn is_quiet(&mut self) -> bool {
        !self.has_work_left()
            && !self.mailbox.is_woken()
            && !self.mailbox.has_jobs()
            && self.core.state.poller.simulated.news.is_empty()
            && self.until_next_timer() != Some(Duration::ZERO)
    }

    #[cfg(feature = "test")]
    pub(crate) fn state(&self) -> &State<crate::turn::core::Tenant> {
        &self.core.state
    }

    #[cfg(feature = "test")]
    pub(crate) fn state_mut(&mut self) -> &mut State<crate::turn::core::Tenant> {
        &mut self.core.state
    }
}
