//! Timers, and the timeouts of a connection.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Context;
use crate::state::deadlines;
use crate::time::action::Action;
use crate::time::timers::TimerId;
use crate::turn::closures::{Closure, Once};
use crate::watch::timeouts::Timeout;
use crate::world::ids::AnyId;

/// # Timers and timeouts
///
/// A timer is never early: it fires when its time has passed since it was set, or later. What is set in a turn
/// does not count from the call, for which the clock would have to be read each time, but from a reading that is
/// taken afterwards: when the turn ends, or when 32 timers wait for it. So it is later by what its turn still
/// takes at most, in which no timer that it sets can fire anyway; and timers of equal length that are set in one
/// turn fire in the order of the calls. Outside of a turn, through
/// [`Reactor::at`](crate::Reactor::at) for example, each counts from the call.
impl Context<'_> {
    /// Calls [`handle_timer`](crate::Dispatcher::handle_timer) once, when `after` has passed, never before.
    /// It counts from the end of this turn at the latest, see above. The timer dies with this dispatcher: set on
    /// one that is closing it never fires, and in `handle_close` that is logged. Any duration is good; `Duration::MAX` means never.
    pub fn set_timer(&mut self, after: Duration) -> TimerId {
        self.set_user_timer(after, None)
    }

    /// Calls [`handle_timer`](crate::Dispatcher::handle_timer) every `period`, on a fixed grid that begins
    /// as the time of a [`set_timer`](Context::set_timer) does: a late call delays none of the others. A call that
    /// missed several periods comes once. With a period of zero it comes once a turn, and the loop never sleeps.
    pub fn set_interval(&mut self, period: Duration) -> TimerId {
        self.set_user_timer(period, Some(period))
    }

    /// As [`set_timer`](Context::set_timer), with a number that says what it is for:
    /// [`TimerId::tag`] of the timer that `handle_timer` gets. It spares keeping the ids of several timers.
    ///
    /// ```
    /// use slabloop::{Context, Dispatcher, TimerId};
    /// use std::io;
    /// use std::time::Duration;
    ///
    /// const PING: u32 = 1;
    /// const GIVE_UP: u32 = 2;
    ///
    /// struct Client;
    /// impl Dispatcher for Client {
    ///     fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///         cx.set_tagged_timer(Duration::from_secs(30), PING);
    ///         cx.set_tagged_timer(Duration::from_secs(90), GIVE_UP);
    ///         Ok(())
    ///     }
    ///
    ///     fn handle_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) -> io::Result<()> {
    ///         match timer.tag() {
    ///             PING => cx.send(b"ping\n"),
    ///             _ => Err(io::ErrorKind::TimedOut.into()),
    ///         }
    ///     }
    /// }
    /// ```
    pub fn set_tagged_timer(&mut self, after: Duration, tag: u32) -> TimerId {
        let timer = self.set_user_timer(after, None);
        self.core.state.timers.tag(timer, tag)
    }

    /// Sets a timer that has not fired to a new time, `after` from now, counted as for
    /// [`set_timer`](Context::set_timer); its id stays. A periodic one begins a new grid then. False, and nothing is
    /// set, if it has fired, was cancelled or died with its dispatcher. One that is due in this very turn and has not
    /// fired yet does not fire in it.
    pub fn reset_timer(&mut self, timer: TimerId, after: Duration) -> bool {
        let state = &mut self.core.state;
        state.timers.reset(timer, after, &state.clock)
    }

    /// Has [`run`](crate::Reactor::run) return although this timer is still set, if nothing else is left; false
    /// if it is gone. For the timers of services that only accompany what others do.
    pub fn unref_timer(&mut self, timer: TimerId) -> bool {
        self.core.state.timers.unref(timer)
    }

    /// The time of this turn, read once after the wait; no system call. For measuring how long something took
    /// this is precise to the length of a turn.
    #[must_use]
    pub fn now(&self) -> Instant {
        let state = &self.core.state;
        state.clock.instant(state.now)
    }

    /// Whether time passes by itself: not on a clock that a test moves.
    #[cfg(feature = "inspector")]
    pub(crate) fn time_passes(&self) -> bool {
        self.core.state.clock.runs()
    }

    pub(crate) fn arm_closure(
        &mut self,
        after: Duration,
        period: Option<Duration>,
        closure: Closure,
    ) -> TimerId {
        let action = self.core.closures.add(closure);
        let state = &mut self.core.state;
        state
            .timers
            .arm_after(after, &state.clock, period, AnyId::NONE, None, action)
    }

    pub(crate) fn deferred(&mut self) -> &mut VecDeque<Once> {
        &mut self.core.deferred
    }

    fn set_user_timer(&mut self, after: Duration, period: Option<Duration>) -> TimerId {
        let state = &mut self.core.state;
        deadlines::set_timer(state, self.id, after, period, Action::Callback)
    }

    /// Cancels a timer, in whatever state; false if it has fired or is gone already. It will not fire
    /// any more, even if it is due in this very turn.
    pub fn cancel_timer(&mut self, timer: TimerId) -> bool {
        deadlines::cancel_timer(&mut self.core.state, timer)
    }

    /// Ends the connection, by `handle_error` with `TimedOut` and `handle_close`, when no byte has moved
    /// in either direction for this long; `None` turns it off. Traffic costs it one store.
    pub fn set_idle_timeout(&mut self, limit: impl Into<Option<Duration>>) {
        self.set_timeout(Timeout::Idle, limit);
    }

    /// Gives this connection a [timeout](Timeout) of its own, in place of the reactor's; it counts from now,
    /// as a timer that is set now.
    /// `None` means no limit, but for [`Timeout::Close`] and [`Timeout::Handshake`]: each closing connection and each
    /// handshake has an end, and `None` is the reactor's. When it expires, `handle_error` gets an error of kind
    /// `TimedOut`, by which [`Timeout::of`] tells which it was, and then the connection ends. Nothing can be sent any
    /// more by then: an answer such as HTTP's 408 needs a [timer](Context::set_timer) in place of a timeout.
    ///
    /// ```
    /// use slabloop::{Context, Dispatcher, Timeout};
    /// use std::io;
    /// use std::time::Duration;
    ///
    /// struct Http;
    /// impl Dispatcher for Http {
    ///     fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///         // A request has begun. Whoever sends it a byte at a time is not idle, but too slow.
    ///         cx.set_timeout(Timeout::Request, Duration::from_secs(30));
    ///         Ok(())
    ///     }
    ///
    ///     fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
    ///         match Timeout::of(&error) {
    ///             Some(timeout) => log::info!("{}: ended by the {timeout}", cx.label()),
    ///             None => cx.log_fault(&error),
    ///         }
    ///         cx.close();
    ///     }
    /// }
    /// ```
    pub fn set_timeout(&mut self, timeout: Timeout, limit: impl Into<Option<Duration>>) {
        deadlines::set_timeout(&mut self.core.state, self.id, timeout, limit.into());
    }
}
