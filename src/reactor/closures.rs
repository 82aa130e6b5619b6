//! Closures that get the reactor itself: `call_later`, `call_every` and `defer`.

use std::any::Any;
use std::time::Duration;

use crate::context::Context;
use crate::reactor::Reactor;
use crate::state::running::Running;
use crate::state::{deadlines, observing, rates};
use crate::time::action::Action;
use crate::time::heap::Due;
use crate::time::timer_id::TimerId;
use crate::turn::closures::{Closure, Once};
use crate::watch::callback::Callback;
use crate::watch::observer::Step;
use crate::world::ids::AnyId;

/// # Timers
impl Reactor {
    /// Runs a closure once, on the reactor, when `after` has passed, never before. From inside a turn the time counts
    /// from the end of that turn at the latest; see [`Context::set_timer`].
    ///
    /// ```
    /// # use slabloop::Reactor;
    /// # use std::time::Duration;
    /// # fn main() -> std::io::Result<()> {
    /// let mut reactor = Reactor::new()?;
    /// reactor.call_every(Duration::from_secs(60), |reactor| {
    ///     println!("{} dispatchers", reactor.count());
    /// });
    /// reactor.call_later(Duration::from_millis(5), |reactor| reactor.stop());
    /// reactor.run()?;
    /// # Ok(()) }
    /// ```
    pub fn call_later(
        &mut self,
        after: Duration,
        closure: impl FnOnce(&mut Reactor) + 'static,
    ) -> TimerId {
        self.outside().call_later(after, closure)
    }

    /// Runs a closure on the reactor every `period`, on a fixed grid; see [`Context::set_interval`]. A closure that
    /// panics is cancelled.
    pub fn call_every(
        &mut self,
        period: Duration,
        closure: impl FnMut(&mut Reactor) + 'static,
    ) -> TimerId {
        self.outside().call_every(period, closure)
    }

    /// Cancels a timer of the reactor or of a dispatcher. A closure that is cancelled from inside a turn is dropped
    /// when the turn ends. Returns false if the timer has fired or was cancelled already.
    pub fn cancel_timer(&mut self, timer: TimerId) -> bool {
        let cancelled = deadlines::cancel_timer(&mut self.core.state, timer);
        if !self.in_turn {
            self.drop_cancelled_closures();
        }
        cancelled
    }

    /// Sets a timer to a new time; see [`Context::reset_timer`].
    pub fn reset_timer(&mut self, timer: TimerId, after: Duration) -> bool {
        self.outside().reset_timer(timer, after)
    }

    /// Lets [`run`](Reactor::run) return although this timer is set; see [`Context::unref_timer`].
    pub fn unref_timer(&mut self, timer: TimerId) -> bool {
        self.outside().unref_timer(timer)
    }

    /// Does what a timer is for that no dispatcher owns.
    pub(super) fn fire_own(&mut self, due: Due) {
        self.core.state.counters.timers += 1;
        self.core.state.observers.tell_fired(AnyId::NONE, due.at());
        let (timer, action) = self.core.state.timers.fire(due, self.core.state.now, None);
        match action {
            Action::Closure(number) => self.run_closure(timer, number),
            Action::Share(number) => rates::share_out(&mut self.core.state, number),
            _ => unreachable!("every other timer has an owner"),
        }
    }

    fn run_closure(&mut self, timer: TimerId, number: u32) {
        self.core.state.running = Running::closure(Callback::Closure);
        self.core.running_timer = Some(timer);
        observing::begin(&mut self.core.state, AnyId::NONE, Callback::Closure);
        match self.core.closures.take(number) {
            Some(Closure::Once(closure)) => closure(self),
            Some(Closure::Repeating(mut closure)) => {
                closure(self);
                let closure = Closure::Repeating(closure);
                self.core.closures.put_back(number, closure);
            }
            None => unreachable!("closures do not run inside one another"),
        }
        observing::end(&mut self.core.state, &Ok(()));
        self.core.state.running = Running::NOTHING;
        self.core.running_timer = None;
    }

    /// A part of step 6: what callbacks have deferred. What these defer in turn waits for the next turn.
    #[inline]
    pub(super) fn run_deferred(&mut self) {
        if !self.core.deferred.is_empty() {
            self.run_deferred_now();
        }
    }

    #[inline(never)]
    fn run_deferred_now(&mut self) {
        self.step(Step::Posts);
        self.deferred_left = self.core.deferred.len();
        self.contain(|reactor| {
            while reactor.deferred_left > 0 {
                reactor.deferred_left -= 1;
                let Some(closure) = reactor.core.deferred.pop_front() else {
                    break;
                };
                reactor.core.state.running = Running::closure(Callback::Deferred);
                let state = &mut reactor.core.state;
                observing::begin(state, AnyId::NONE, Callback::Deferred);
                closure(reactor);
                observing::end(&mut reactor.core.state, &Ok(()));
            }
            reactor.core.state.running = Running::NOTHING;
        });
    }

    /// Drops the closures whose timers were cancelled. Their captures are the user's, and may panic.
    pub(super) fn drop_cancelled_closures(&mut self) {
        if self.core.state.agenda.cancelled_closures.is_empty() {
            return;
        }
        while let Some(number) = self.core.state.agenda.cancelled_closures.pop() {
            self.core.state.running = Running::closure(Callback::Drop);
            drop(self.core.closures.remove(number));
        }
        self.core.state.running = Running::NOTHING;
    }
}

/// # Closures that run later
impl Context<'_> {
    /// Runs a closure on the reactor itself, when the running callback and this turn's other callbacks have
    /// returned. It is for actions that are not possible inside a callback, because the reactor is borrowed or because
    /// the dispatcher to be reached is itself running.
    ///
    /// Deferred closures run in the order of the calls, before posted closures and before this turn's output is
    /// written; those that `handle_close` defers run in the next turn. `defer` never fails, and the closure need not be
    /// `Send`. If the reactor is dropped first, the closure is dropped without having run.
    ///
    /// ```
    /// use slabloop::{Context, Dispatcher};
    /// use std::io;
    ///
    /// struct Upstream;
    /// impl Dispatcher for Upstream {
    ///     fn handle_close(&mut self, cx: &mut Context<'_>) {
    ///         // Connects again by name, which only the reactor can do: it may block.
    ///         cx.defer(|reactor| {
    ///             if let Err(error) = reactor.connect("db.example:5432", Upstream) {
    ///                 eprintln!("cannot reconnect: {error}");
    ///             }
    ///         });
    ///     }
    /// }
    /// ```
    pub fn defer(&mut self, closure: impl FnOnce(&mut Reactor) + 'static) {
        let deferred = on_reactor(closure);
        self.deferred().push_back(deferred);
    }

    /// Runs a closure once, on the reactor, when `after` has passed, never before; the time counts as for
    /// [`set_timer`](Context::set_timer). Unlike such a timer it does not end with the dispatcher that sets it, so
    /// [`handle_close`](crate::Dispatcher::handle_close) can use it to connect again after a pause.
    pub fn call_later(
        &mut self,
        after: Duration,
        closure: impl FnOnce(&mut Reactor) + 'static,
    ) -> TimerId {
        self.arm_closure(after, None, Closure::Once(on_reactor(closure)))
    }

    /// Runs a closure on the reactor every `period`; see [`Reactor::call_every`](crate::Reactor::call_every).
    pub fn call_every(
        &mut self,
        period: Duration,
        mut closure: impl FnMut(&mut Reactor) + 'static,
    ) -> TimerId {
        let closure = Box::new(move |reactor: &mut dyn Any| closure(as_reactor(reactor)));
        self.arm_closure(period, Some(period), Closure::Repeating(closure))
    }
}

fn on_reactor(closure: impl FnOnce(&mut Reactor) + 'static) -> Once {
    Box::new(move |reactor| closure(as_reactor(reactor)))
}

fn as_reactor(reactor: &mut dyn Any) -> &mut Reactor {
    reactor
        .downcast_mut()
        .expect("closures are run by the reactor")
}
