//! Ctrl-C in two stages, and SIGTERM likewise: the first stops the loop gracefully, the second ends
//! the process at once, also when a callback blocks the loop, because the handler itself does it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::flag;
use slabloop::kit::signals::{SIGINT, SIGTERM};
use slabloop::{Context, Reactor};

/// What a shell expects of a process that a signal ended.
const ENDED_BY_SIGNAL: i32 = 128;

/// Has the first SIGINT or SIGTERM stop the loop.
///
/// # Errors
///
/// What the system says when a handler is installed.
pub fn watch(reactor: &mut Reactor) -> io::Result<()> {
    watch_with(reactor, || ())
}

/// As [`watch`]; `first` is called when the first signal has come.
///
/// # Errors
///
/// As [`watch`].
pub fn watch_with(reactor: &mut Reactor, mut first: impl FnMut() + 'static) -> io::Result<()> {
    let second = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag clear, and sets it.
        flag::register_conditional_shutdown(signal, ENDED_BY_SIGNAL + signal, Arc::clone(&second))?;
        flag::register(signal, Arc::clone(&second))?;
    }
    reactor.signals([SIGINT, SIGTERM], move |cx: &mut Context<'_>, _: i32| {
        first();
        cx.stop();
        Ok(())
    })?;
    Ok(())
}
