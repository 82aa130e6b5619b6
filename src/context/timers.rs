//! Timers, and the timeouts of a connection.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Context;
use crate::state::deadlines;
use crate::time::action::Action;
use crate::time::timer_id::TimerId;
use crate::turn::closures::{Closure, Once};
use crate::watch::timeouts::Timeout;
use crate::world::ids::AnyId;

/// # Timers and timeouts
///
/// A timer never fires early. The time of a timer that is set inside a turn counts from a reading of the clock that is
/// taken after the call, at the latest when the turn ends, because reading the clock for each call would be expensive.
/// So a timer can be late by the rest of its turn, in which it could not fire anyway, and timers of equal length that
/// are set in one turn fire in the order of the calls. Outside of a turn, through [`Reactor::at`](crate::Reactor::at)
/// for example, the time counts from the call.
impl Context<'_> {
    /// Calls [`handle_timer`](crate::Dispatcher::handle_timer) once, when `after` has passed, never before. The time
    /// counts from the end of this turn at the latest. `Duration::MAX` means never.
    ///
    /// The timer ends with this dispatcher. If the dispatcher is closing already, the timer never fires (in
    /// `handle_close` this is logged); use [`call_later`](Context::call_later).
    ///
    /// ```
    /// # use slabloop::{Context, Dispatcher, TimerId};
    /// # use std::io;
    /// # use std::time::Duration;
    /// /// Closes if there is no answer after five seconds.
    /// struct Query { timer: Option<TimerId> }
    ///
    /// impl Dispatcher for Query {
    ///     fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///         self.timer = Some(cx.set_timer(Duration::from_secs(5)));
    ///         cx.send(b"time?\n")
    ///     }
    ///
    ///     fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///         if let Some(timer) = self.timer.take() {
    ///             cx.cancel_timer(timer);
    ///         }
    ///         cx.recv_with(|bytes, _| Ok(println!("{bytes:?}")))
    ///     }
    ///
    ///     fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
    ///         cx.close();
    ///         Ok(())
    ///     }
    /// }
    /// ```
    pub fn set_timer(&mut self, after: Duration) -> TimerId {
        self.set_user_timer(after, None)
    }

    /// Calls [`handle_timer`](crate::Dispatcher::handle_timer) every `period`, on a fixed grid: a late call does not
    /// delay the calls after it. If several periods were missed, it is called once for all of them. With a period of
    /// zero it is called once a turn, and the loop never sleeps.
    ///
    /// ```
    /// # use slabloop::{Context, Dispatcher};
    /// # use std::io;
    /// # use std::time::Duration;
    /// # struct Heartbeat;
    /// # impl Dispatcher for Heartbeat {
    /// fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///     cx.set_interval(Duration::from_secs(10));
    ///     Ok(())
    /// }
    /// # }
    /// ```
    pub fn set_interval(&mut self, period: Duration) -> TimerId {
        self.set_user_timer(period, Some(period))
    }

    /// Sets a timer as [`set_timer`](Context::set_timer) does, with a number that says what it is for. In
    /// `handle_timer`, [`TimerId::tag`] returns it, so that the ids of several timers need not be stored.
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
    /// [`set_timer`](Context::set_timer). Its id stays valid. A periodic timer begins a new grid then. A timer that is
    /// due in this turn and has not fired yet does not fire in it. Returns false, and sets nothing, if the timer has
    /// fired, was cancelled, or ended with its dispatcher.
    pub fn reset_timer(&mut self, timer: TimerId, after: Duration) -> bool {
        let state = &mut self.core.state;
        state.timers.reset(timer, after, &state.clock)
    }

    /// Lets [`run`](crate::Reactor::run) return although this timer is still set, if nothing else is left. It is for
    /// timers of services that only support other dispatchers. Returns false if the timer does not exist any more.
    pub fn unref_timer(&mut self, timer: TimerId) -> bool {
        self.core.state.timers.unref(timer)
    }

    /// The time of this turn, which is read once after the wait. It makes no system call. To measure how long something
    /// took, its precision is the length of a turn.
    #[must_use]
    pub fn now(&self) -> Instant {
        let state = &self.core.state;
        state.clock.instant(state.now)
    }

    /// Whether time passes by itself: not on a clock that a test moves.
    #[cfg(feature = "observer")]
    #[must_use]
    pub fn time_passes(&self) -> bool {
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

    /// Cancels a timer, in whatever state. It does not fire any more, even if it is due in this turn. Returns false if
    /// it has fired or was cancelled already.
    pub fn cancel_timer(&mut self, timer: TimerId) -> bool {
        deadlines::cancel_timer(&mut self.core.state, timer)
    }

    /// Ends the connection, with `handle_error` (`TimedOut`) and `handle_close`, when no byte has moved in either
    /// direction for this long. `None` turns the timeout off. Traffic resets it with a single memory write.
    ///
    /// ```
    /// # use slabloop::{Accepted, Context, Dispatcher};
    /// # use std::io;
    /// # use std::time::Duration;
    /// # struct Session; impl Dispatcher for Session {}
    /// # struct Listener;
    /// # impl Dispatcher for Listener {
    /// fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
    ///     let id = cx.add(accepted, Session)?;
    ///     if let Some(mut session) = cx.at(id) {
    ///         session.set_idle_timeout(Duration::from_secs(60));
    ///     }
    ///     Ok(())
    /// }
    /// # }
    /// ```
    pub fn set_idle_timeout(&mut self, limit: impl Into<Option<Duration>>) {
        self.set_timeout(Timeout::Idle, limit);
    }

    /// Sets a [timeout](Timeout) of this connection, in place of the reactor's. It counts from now, like a timer that
    /// is set now. `None` means no limit, except for [`Timeout::Close`] and [`Timeout::Handshake`], for which it
    /// restores the reactor's limit, because every closing connection and every handshake has to end. When the timeout
    /// expires, `handle_error` gets an error of kind `TimedOut`, of which [`Timeout::of`] says which timeout it was;
    /// then the connection ends. Nothing can be sent any more by then: an answer such as HTTP's 408 needs a
    /// [timer](Context::set_timer) in place of a timeout.
    ///
    /// ```
    /// use slabloop::{Context, Dispatcher, Timeout};
    /// use std::io;
    /// use std::time::Duration;
    ///
    /// struct Http;
    /// impl Dispatcher for Http {
    ///     fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///         // A request has begun. A client that sends a byte at a time is not idle, but slow.
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
