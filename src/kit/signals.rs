//! Signals of the system, as callbacks on the loop.
//!
//! ```no_run
//! use slabloop::kit::signals::{SIGINT, SIGTERM};
//! use slabloop::{Context, Reactor};
//!
//! fn main() -> std::io::Result<()> {
//!     let mut reactor = Reactor::new()?;
//!     reactor.signals([SIGINT, SIGTERM], |cx: &mut Context<'_>, _: i32| {
//!         cx.stop();
//!         Ok(())
//!     })?;
//!     // Listeners go here.
//!     reactor.run()
//! }
//! ```
//!
//! A signal handler may do next to nothing, so the one that is installed here only notes the signal and wakes
//! the loop. The callback runs later, in a turn, where everything is allowed. A loop that is kept by
//! a long callback hears of the signal when that callback returns.
//!
//! # Signals coalesce
//!
//! A signal that comes again before its callback has run is one call, not two, as the kernel itself does it.
//! Different signals are different calls, in no order that could be relied on, each in a turn of its own. So a
//! callback is told *that* a signal came, never how often: after `SIGCHLD`, look at every child.

use std::fmt;
use std::io;

use mio::Interest;
use signal_hook::consts::FORBIDDEN;
use signal_hook_mio::v1_0::Signals as Source;

use crate::context::Context;
use crate::dispatcher::Dispatcher;
use crate::reactor::Reactor;
use crate::world::errors::invalid;
use crate::world::ids::Id;
use crate::world::socket::Socket;

pub use super::numbers::*;

/// What is called when a signal came.
///
/// Closures that take a context and a number implement it; their arguments need their types written out:
/// `|cx: &mut Context<'_>, signal: i32| ..`.
#[expect(unused_variables, reason = "the names are documentation")]
pub trait SignalHandler: 'static {
    /// A signal came, once or more often since the last call.
    ///
    /// *When:* once a turn, with one signal; the next that waits comes in the next turn. *Inside:* anything:
    /// [`stop`](Context::stop), [`close_all`](Context::close_all), other dispatchers. *Panic:* closes, and
    /// from then on the signals are ignored.
    ///
    /// # Errors
    ///
    /// Whatever the implementation returns: as for any callback, a fault goes to `handle_error`.
    fn handle_signal(&mut self, cx: &mut Context<'_>, signal: i32) -> io::Result<()>;

    /// As [`Dispatcher::handle_error`]. The default logs, and goes on.
    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        cx.log_fault(&error);
    }

    /// As [`Dispatcher::handle_close`].
    fn handle_close(&mut self, cx: &mut Context<'_>) {}
}

impl<F> SignalHandler for F
where
    F: FnMut(&mut Context<'_>, i32) -> io::Result<()> + 'static,
{
    fn handle_signal(&mut self, cx: &mut Context<'_>, signal: i32) -> io::Result<()> {
        self(cx, signal)
    }
}

/// The dispatcher that waits for signals, made by [`Reactor::signals`].
pub struct Signals<H> {
    handler: H,
}

impl<H> Signals<H> {
    /// The handler, for whoever reaches this through [`Context::with`].
    pub fn handler(&mut self) -> &mut H {
        &mut self.handler
    }
}

impl<H> fmt::Debug for Signals<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signals").finish_non_exhaustive()
    }
}

impl<H: SignalHandler> Dispatcher for Signals<H> {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        // One a turn: the others stay noted in the source, which is asked again until it has none.
        let signal = cx.read_with(|source: &mut Source| {
            let next = source.pending().next();
            next.ok_or_else(|| io::ErrorKind::WouldBlock.into())
        })?;
        self.handler.handle_signal(cx, signal)
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        self.handler.handle_error(cx, error);
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        self.handler.handle_close(cx);
    }
}

impl Reactor {
    /// Has `handler` called on the loop when one of `signals` comes to this process. (Feature `signals`.)
    ///
    /// What the signal did before, ending the process for example, it does no more: not even after this
    /// dispatcher has closed, for a handler that is installed once stays, and then does nothing. Other users
    /// of the same signal in this process (a second reactor, the crate `signal-hook`) hear of it as
    /// well. Child processes begin with the default action.
    ///
    /// Like any other dispatcher it keeps [`run`](Reactor::run) from returning by itself, and is not waited
    /// for by [`shutdown`](Reactor::shutdown).
    ///
    /// # Errors
    ///
    /// `InvalidInput` for no signal at all, for a number that is no signal's, and for signals that cannot be
    /// caught (`SIGKILL`, `SIGSTOP`) or must not be (`SIGILL`, `SIGFPE`, `SIGSEGV`). What the system says when
    /// a handler is installed.
    pub fn signals<H: SignalHandler>(
        &mut self,
        signals: impl IntoIterator<Item = i32>,
        handler: H,
    ) -> io::Result<Id<Signals<H>>> {
        self.outside().signals(signals, handler)
    }
}

impl Context<'_> {
    /// As [`Reactor::signals`].
    ///
    /// # Errors
    ///
    /// As [`Reactor::signals`].
    pub fn signals<H: SignalHandler>(
        &mut self,
        signals: impl IntoIterator<Item = i32>,
        handler: H,
    ) -> io::Result<Id<Signals<H>>> {
        let signals: Vec<i32> = signals.into_iter().collect();
        check(&signals)?;
        let source = Source::new(&signals).map_err(|error| {
            io::Error::new(error.kind(), format!("signals {signals:?}: {error}"))
        })?;
        self.add(
            Socket::foreign_with(source, Interest::READABLE),
            Signals { handler },
        )
    }
}

/// What signal-hook would panic for.
fn check(signals: &[i32]) -> io::Result<()> {
    /// Above those of every system.
    const TOO_HIGH: i32 = 128;
    if signals.is_empty() {
        return Err(invalid("signals: none is given".to_owned()));
    }
    for &signal in signals {
        if !(1..TOO_HIGH).contains(&signal) {
            return Err(invalid(format!("signals: {signal} is no signal's number")));
        }
        if FORBIDDEN.contains(&signal) {
            return Err(invalid(format!(
                "signals: signal {signal} cannot be handled"
            )));
        }
    }
    Ok(())
}
