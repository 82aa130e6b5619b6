//! A connection that is opened again whenever it ends.

mod event;

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use super::{Backoff, Breaker, Budget, Permit};
use crate::{AnyId, Cause, Context, Dispatcher, Id, Reactor, TimerId};

pub use self::event::Event;

/// Keeps one connection up: opens it, waits for its end, opens it again.
///
/// It is a dispatcher without a socket, which watches the connection that the `dial` closure made. The connection's
/// dispatcher, of type `D`, needs no code for this, and is a new one each time.
///
/// ```no_run
/// use slabloop::kit::retry::Reconnect;
/// use slabloop::{Context, Dispatcher, Reactor};
/// use std::io;
///
/// struct Client;
/// impl Dispatcher for Client {
///     fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
///         cx.send(b"hello\n")
///     }
/// }
///
/// fn main() -> io::Result<()> {
///     let mut reactor = Reactor::new()?;
///     let address = ([127, 0, 0, 1], 7000).into();
///     Reconnect::new(move |cx: &mut Context<'_>| cx.connect(address, Client))
///         .report(|cx, event| println!("{}: {event}", cx.label()))
///         .start(&mut reactor)?;
///     reactor.run()
/// }
/// ```
///
/// # When a connection is opened
///
/// The first attempt is made in the next turn. After each end of the connection, whatever its cause, and after each
/// error that `dial` returns, the next attempt follows after a delay of the [`Backoff`]. If a [`Breaker`] or a
/// [`Budget`] refuses the attempt, it is asked again after a delay of the same kind; this does not count as an
/// attempt. The breaker is asked before every attempt, the budget before every one but the very first.
///
/// The backoff starts again from its base after a connection was up for [`stable_after`](Reconnect::stable_after): a
/// server that accepts and then closes at once is no success. The same holds for the budget and the breaker: a
/// connection that was up for that long is a success, one that ended before is a failure. A connection is up when its
/// `handle_connect` is due or was called. This is checked every eighth of `stable_after`, and at least once a second;
/// the time counts from the check that finds it up.
///
/// # When reconnecting ends
///
/// It ends at [`shutdown`](Reactor::shutdown), at once; when the backoff's limit is reached; when the connection was
/// [detached](Context::detach); and when `report` or other code closes the context of this dispatcher. The connection
/// is then left open. A panic in one of the closures ends it, as it ends any dispatcher.
pub struct Reconnect<D> {
    dial: Box<Dial<D>>,
    report: Box<Report>,
    backoff: Backoff,
    /// The delays after refusals of the budget and the breaker, which must not count as attempts.
    hold: Backoff,
    budget: Option<Budget>,
    breaker: Option<Breaker>,
    stable_after: Duration,
    link: Option<Link<D>>,
    /// For the next attempt, or for the next look at the link.
    timer: Option<TimerId>,
    /// The very first attempt has been made.
    begun: bool,
}

type Dial<D> = dyn FnMut(&mut Context<'_>) -> io::Result<Id<D>>;
type Report = dyn FnMut(&mut Context<'_>, Event<'_>);

/// The connection of this moment.
struct Link<D> {
    id: Id<D>,
    /// Since when it is known to be established.
    up_since: Option<Instant>,
    stable: bool,
    /// Until it is stable or has ended.
    permit: Option<Permit>,
}

const DEFAULT_STABLE_AFTER: Duration = Duration::from_secs(10);

impl<D: Dispatcher> Reconnect<D> {
    /// Reconnecting with the default [`Backoff`], without budget and breaker. `dial` opens a connection, usually with
    /// [`connect`](Context::connect); its context is the one of this dispatcher.
    #[must_use]
    pub fn new(dial: impl FnMut(&mut Context<'_>) -> io::Result<Id<D>> + 'static) -> Reconnect<D> {
        Reconnect {
            dial: Box::new(dial),
            report: Box::new(|_, _| ()),
            backoff: Backoff::default(),
            hold: Backoff::default(),
            budget: None,
            breaker: None,
            stable_after: DEFAULT_STABLE_AFTER,
            link: None,
            timer: None,
            begun: false,
        }
    }

    /// The delays between attempts. The default is [`Backoff::default`].
    ///
    /// ```
    /// use slabloop::kit::retry::{Backoff, Reconnect};
    /// use slabloop::{Context, Dispatcher, Reactor};
    /// use std::net::SocketAddr;
    /// use std::time::Duration;
    ///
    /// # struct Link;
    /// # impl Dispatcher for Link {}
    /// let server: SocketAddr = "127.0.0.1:7000".parse()?;
    /// let backoff = Backoff::builder().cap(Duration::from_secs(5)).build()?;
    /// let mut reactor = Reactor::new()?;
    /// let reconnect = Reconnect::new(move |cx: &mut Context<'_>| cx.connect(server, Link))
    ///     .backoff(backoff)
    ///     .stable_after(Duration::from_secs(30))
    ///     .start(&mut reactor)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn backoff(mut self, mut backoff: Backoff) -> Reconnect<D> {
        self.hold = backoff.without_limit();
        self.backoff = backoff;
        self
    }

    /// Makes each attempt but the very first cost one retry of this budget. Give a clone of the same budget to each
    /// client that is to share it.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Reconnect<D> {
        self.budget = Some(budget);
        self
    }

    /// Asks this circuit breaker before each attempt. Share it with other clients of the same server.
    #[must_use]
    pub fn breaker(mut self, breaker: Breaker) -> Reconnect<D> {
        self.breaker = Some(breaker);
        self
    }

    /// How long a connection must be up to count as a success; default 10 s.
    #[must_use]
    pub fn stable_after(mut self, time: Duration) -> Reconnect<D> {
        self.stable_after = time;
        self
    }

    /// Calls `report` with each [`Event`], for the log and for decisions. The context is the one of this dispatcher:
    /// [`close`](Context::close) on it ends the reconnecting.
    ///
    /// ```
    /// use slabloop::kit::retry::Reconnect;
    /// use slabloop::{Context, Dispatcher};
    ///
    /// # struct Link;
    /// # impl Dispatcher for Link {}
    /// fn logged(reconnect: Reconnect<Link>) -> Reconnect<Link> {
    ///     reconnect.report(|cx: &mut Context<'_>, event| {
    ///         eprintln!("{event}");
    ///         if event.is_last() {
    ///             cx.stop();
    ///         }
    ///     })
    /// }
    /// ```
    #[must_use]
    pub fn report(
        mut self,
        report: impl FnMut(&mut Context<'_>, Event<'_>) + 'static,
    ) -> Reconnect<D> {
        self.report = Box::new(report);
        self
    }

    /// Adds it to the reactor. The first attempt follows in the next turn; no callback is called from inside this
    /// call.
    ///
    /// # Errors
    ///
    /// If the reactor is [shutting down](Reactor::shutdown), nothing can be added.
    pub fn start(self, reactor: &mut Reactor) -> io::Result<Id<Reconnect<D>>> {
        let id = reactor.add_service(self)?;
        reactor.with(id, |this, cx| this.set_timer(cx, Duration::ZERO));
        Ok(id)
    }

    /// Adds it to the reactor from inside a callback: see [`start`](Reconnect::start).
    ///
    /// # Errors
    ///
    /// Those of [`start`](Reconnect::start).
    pub fn start_in(self, cx: &mut Context<'_>) -> io::Result<Id<Reconnect<D>>> {
        let id = cx.add_service(self)?;
        cx.with(id, |this, cx| this.set_timer(cx, Duration::ZERO));
        Ok(id)
    }

    /// The present connection, which may still be connecting; `None` between two attempts.
    #[must_use]
    pub fn link(&self) -> Option<Id<D>> {
        self.link.as_ref().map(|link| link.id)
    }

    fn set_timer(&mut self, cx: &mut Context<'_>, after: Duration) {
        self.timer = Some(cx.set_timer(after));
    }

    /// An attempt, if it is allowed.
    fn attempt(&mut self, cx: &mut Context<'_>) {
        let permit = match self.breaker.as_ref().map(|breaker| breaker.allow(cx.now())) {
            None => None,
            Some(Ok(permit)) => Some(permit),
            Some(Err(open)) => return self.wait(cx, open.until),
        };
        if self.begun && self.budget.as_ref().is_some_and(|b| !b.spend(cx.now())) {
            give_back(permit);
            return self.wait(cx, None);
        }
        self.begun = true;
        self.hold.reset();
        let attempt = self.backoff.attempts().saturating_add(1);
        (self.report)(cx, Event::Trying { attempt });
        if cx.is_closing() {
            give_back(permit);
            return;
        }
        match (self.dial)(cx) {
            Ok(id) => {
                self.link = Some(Link {
                    id,
                    up_since: None,
                    stable: false,
                    permit,
                });
                if cx.watch(id) {
                    self.set_timer(cx, self.look_every());
                } else {
                    let cause = cx.end_of(id).unwrap_or(Cause::Finished);
                    self.ended(cx, cause);
                }
            }
            Err(error) => {
                if let Some(permit) = permit {
                    permit.failure(cx.now());
                }
                let retry_in = self.backoff.next();
                let error = &error;
                (self.report)(cx, Event::Failed { error, retry_in });
                self.go_on(cx, retry_in);
            }
        }
    }

    /// Asks again later: not before `until`, and not at the same time as all others that were refused.
    fn wait(&mut self, cx: &mut Context<'_>, until: Option<Instant>) {
        let fixed = until.map_or(Duration::ZERO, |until| until - cx.now());
        let retry_in = fixed + self.hold.next().unwrap_or_default();
        (self.report)(cx, Event::Held { retry_in });
        self.go_on(cx, Some(retry_in));
    }

    fn ended(&mut self, cx: &mut Context<'_>, cause: Cause) {
        let Some(link) = self.link.take() else {
            return;
        };
        if let Some(permit) = link.permit {
            permit.failure(cx.now());
        }
        let retry_in = match cause {
            Cause::Detached => None,
            _ => self.backoff.next(),
        };
        (self.report)(cx, Event::Ended { cause, retry_in });
        self.go_on(cx, retry_in);
    }

    /// If `report` has closed the context, that one gets no timer any more.
    fn go_on(&mut self, cx: &mut Context<'_>, retry_in: Option<Duration>) {
        match retry_in {
            Some(delay) => self.set_timer(cx, delay),
            None => cx.close(),
        }
    }

    /// Checks the state of the connection.
    fn look(&mut self, cx: &mut Context<'_>) {
        let Some(link) = &mut self.link else {
            return;
        };
        let connecting = cx.at(link.id).is_none_or(|link| link.is_connecting());
        if link.up_since.is_none() && !connecting {
            link.up_since = Some(cx.now());
        }
        match link.up_since {
            None => self.set_timer(cx, self.look_every()),
            Some(since) => match self.stable_after.checked_sub(cx.now() - since) {
                None | Some(Duration::ZERO) => self.is_stable(cx),
                Some(left) => self.set_timer(cx, left),
            },
        }
    }

    fn is_stable(&mut self, cx: &mut Context<'_>) {
        let Some(link) = &mut self.link else {
            return;
        };
        link.stable = true;
        if let Some(permit) = link.permit.take() {
            permit.success(cx.now());
        }
        self.backoff.reset();
        if let Some(budget) = &self.budget {
            budget.earn();
        }
        (self.report)(cx, Event::Stable);
    }

    fn look_every(&self) -> Duration {
        const LEAST: Duration = Duration::from_millis(5);
        const MOST: Duration = Duration::from_secs(1);
        (self.stable_after / 8).clamp(LEAST, MOST)
    }
}

impl<D: Dispatcher> Dispatcher for Reconnect<D> {
    fn handle_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) -> io::Result<()> {
        if self.timer == Some(timer) {
            self.timer = None;
            match self.link {
                Some(_) => self.look(cx),
                None => self.attempt(cx),
            }
        }
        Ok(())
    }

    fn handle_gone(&mut self, cx: &mut Context<'_>, id: AnyId, cause: Cause) -> io::Result<()> {
        let Some(link) = self.link.as_ref().filter(|link| link.id.any() == id) else {
            return Ok(());
        };
        let up_for = link.up_since.map(|since| cx.now() - since);
        // Its timer may be due in this very turn.
        if !link.stable && up_for.is_some_and(|up_for| up_for >= self.stable_after) {
            self.is_stable(cx);
        }
        if let Some(timer) = self.timer.take() {
            cx.cancel_timer(timer);
        }
        self.ended(cx, cause);
        Ok(())
    }

    fn handle_shutdown(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.close();
        Ok(())
    }

    fn handle_close(&mut self, _: &mut Context<'_>) {
        // The connection may stay open. Its end is no failure that was observed here.
        let permit = self.link.take().and_then(|link| link.permit);
        give_back(permit);
    }
}

/// The attempt was not made, or its outcome is unknown.
fn give_back(permit: Option<Permit>) {
    if let Some(permit) = permit {
        permit.cancel();
    }
}

impl<D> fmt::Debug for Reconnect<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconnect")
            .field("link", &self.link.as_ref().map(|link| link.id))
            .field("backoff", &self.backoff)
            .finish_non_exhaustive()
    }
}
