//! Operating system signals as callbacks on the loop.
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
//! Very little is allowed inside a signal handler, so the one that is installed here only records the signal and
//! wakes the loop. The callback runs later, in a turn, where everything is allowed. If a long callback is running,
//! the signal is handled after that callback has returned.
//!
//! # Signals coalesce
//!
//! A signal that arrives again before its callback has run causes one call, not two; the kernel does the same.
//! Different signals cause different calls, each in a turn of its own, in no guaranteed order. So a callback means
//! *that* a signal arrived, never how often: after `SIGCHLD`, check every child.

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

/// The callback for signals.
///
/// Closures with a context and a number as parameters implement it. The types of the parameters must be written out:
/// `|cx: &mut Context<'_>, signal: i32| ..`.
///
/// ```
/// use slabloop::kit::signals::{SIGHUP, SignalHandler};
/// use slabloop::Context;
///
/// /// Reads its configuration again at `SIGHUP`, and stops at any other signal.
/// struct Control { reloads: u32 }
///
/// impl SignalHandler for Control {
///     fn handle_signal(&mut self, cx: &mut Context<'_>, signal: i32) -> std::io::Result<()> {
///         match signal {
///             SIGHUP => self.reloads += 1,
///             _ => cx.stop(),
///         }
///         Ok(())
///     }
/// }
/// ```
#[expect(unused_variables, reason = "the names are documentation")]
pub trait SignalHandler: 'static {
    /// A signal has arrived, once or several times since the last call.
    ///
    /// *When:* once a turn, with one signal; the next pending one follows in the next turn. *Inside:* anything is
    /// allowed: [`stop`](Context::stop), [`close_all`](Context::close_all), calls to other dispatchers. *Panic:*
    /// closes this dispatcher, and from then on the signals are ignored.
    ///
    /// # Errors
    ///
    /// Whatever the implementation returns. As for any callback, an error is passed to `handle_error`.
    fn handle_signal(&mut self, cx: &mut Context<'_>, signal: i32) -> io::Result<()>;

    /// Something failed: see [`Dispatcher::handle_error`]. The default logs the error and continues.
    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        cx.log_fault(&error);
    }

    /// The dispatcher has ended: see [`Dispatcher::handle_close`].
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
    /// The handler, for code that reaches this dispatcher through [`Context::with`].
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
        // One a turn: the others stay recorded in the source, which is read again until it has none.
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
    /// Has `handler` called on the loop when this process receives one of `signals`. (Feature `signals`.)
    ///
    /// The default action of the signal, such as ending the process, does not happen any more. It does not return
    /// when this dispatcher has closed either: the installed handler stays, and then does nothing. Other users of the
    /// same signal in this process (a second reactor, the crate `signal-hook`) still receive it. Child processes
    /// start with the default action.
    ///
    /// Like any other dispatcher, this one keeps [`run`](Reactor::run) from returning by itself.
    /// [`shutdown`](Reactor::shutdown) does not wait for it.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if `signals` is empty, has a number that is not a signal's, or has a signal that cannot be
    /// caught (`SIGKILL`, `SIGSTOP`) or must not be (`SIGILL`, `SIGFPE`, `SIGSEGV`). The system's error if the
    /// handler cannot be installed.
    ///
    /// # Example
    ///
    /// ```no_run
    /// use slabloop::kit::signals::{SIGINT, SIGTERM};
    /// use slabloop::{Context, Reactor};
    ///
    /// let mut reactor = Reactor::new()?;
    /// reactor.signals([SIGINT, SIGTERM], |cx: &mut Context<'_>, _: i32| {
    ///     cx.stop();
    ///     Ok(())
    /// })?;
    /// reactor.run()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn signals<H: SignalHandler>(
        &mut self,
        signals: impl IntoIterator<Item = i32>,
        handler: H,
    ) -> io::Result<Id<Signals<H>>> {
        self.outside().signals(signals, handler)
    }
}

impl Context<'_> {
    /// Has `handler` called when this process receives one of `signals`: see [`Reactor::signals`].
    ///
    /// # Errors
    ///
    /// Those of [`Reactor::signals`].
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

/// Refuses the signals for which signal-hook would panic.
fn check(signals: &[i32]) -> io::Result<()> {
    /// Above those of every system.
    const TOO_HIGH: i32 = 128;
    if signals.is_empty() {
        return Err(invalid("signals: the list is empty".to_owned()));
    }
    for &signal in signals {
        if !(1..TOO_HIGH).contains(&signal) {
            return Err(invalid(format!(
                "signals: {signal} is not the number of a signal"
            )));
        }
        if FORBIDDEN.contains(&signal) {
            return Err(invalid(format!(
                "signals: signal {signal} cannot be handled"
            )));
        }
    }
    Ok(())
}
