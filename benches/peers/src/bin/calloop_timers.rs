//! Timers on calloop: a `Timer` source for each.
//!
//! Removing one before its time searches the queue, so the runner has fewer of them cancelled. See
//! `slabloop_peers::timers`.

use std::process::ExitCode;
use std::time::Duration;

use calloop::timer::{TimeoutAction, Timer};
use calloop::{EventLoop, LoopHandle, RegistrationToken};
use slabloop_peers::cli::{self, Doing, Result};
use slabloop_peers::timers::{Laps, Options};

/// How many have fired goes through the data that `dispatch` hands on.
type Fired = usize;

fn main() -> ExitCode {
    cli::run(|| time_timers(&Options::from_args()?))
}

fn time_timers(options: &Options) -> Result<()> {
    let delays = options.delays();
    let event_loop = EventLoop::<Fired>::try_new().doing("making the event loop")?;
    let mut armed = Vec::with_capacity(options.timers);
    let mut laps = Laps::start()?;
    arm(&event_loop.handle(), &delays, |token| armed.push(token))?;
    laps.end("arm", options.timers)?;
    for token in &armed[..options.cancel] {
        event_loop.handle().remove(*token);
    }
    laps.end("cancel", options.cancel)?;
    // Those that are still set go with their loop.
    drop(event_loop);

    let mut event_loop = EventLoop::<Fired>::try_new().doing("making the event loop")?;
    arm(&event_loop.handle(), &delays, drop)?;
    options.wait_until_due();
    let mut fired = 0;
    laps.restart()?;
    while fired < options.timers {
        event_loop.dispatch(None, &mut fired).doing("dispatching")?;
    }
    laps.end("fire", options.timers)?;
    laps.report();
    Ok(())
}

fn arm(
    handle: &LoopHandle<'_, Fired>,
    delays: &[Duration],
    mut armed: impl FnMut(RegistrationToken),
) -> Result<()> {
    for delay in delays {
        let token = handle.insert_source(Timer::from_duration(*delay), |_, (), fired| {
            *fired += 1;
            TimeoutAction::Drop
        });
        armed(token.doing("adding a timer")?);
    }
    Ok(())
}
