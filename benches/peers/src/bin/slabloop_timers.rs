//! Timers on slabloop: set by dispatchers on themselves, a thousand each.
//!
//! A dispatcher for each timer would need a million sockets. What a dispatcher has many of is
//! chained, and is cancelled as fast as what it has one of. See `slabloop_peers::timers`.

use std::cell::Cell;
use std::io;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use slabloop::{Context, Dispatcher, Id, Reactor, TimerId};
use slabloop_peers::cli::{self, Doing, Result};
use slabloop_peers::timers::{Laps, Options};

const EACH: usize = 1_000;

struct Client {
    to_fire: Rc<Cell<usize>>,
}

impl Dispatcher for Client {
    fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        self.to_fire.set(self.to_fire.get() - 1);
        if self.to_fire.get() == 0 {
            cx.stop();
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    cli::run(|| time_timers(&Options::from_args()?))
}

fn time_timers(options: &Options) -> Result<()> {
    let delays = options.delays();
    let to_fire = Rc::new(Cell::new(options.timers));
    let mut reactor = Reactor::new()?;
    let mut clients = Vec::new();
    let mut far_ends = Vec::new();
    for number in 0..options.timers.div_ceil(EACH) {
        let (near, far) = UnixStream::pair().doing(format!("socket pair {number}"))?;
        let to_fire = Rc::clone(&to_fire);
        clients.push(reactor.add(near, Client { to_fire })?);
        far_ends.push(far);
    }
    let mut armed = Vec::with_capacity(options.timers);

    let mut laps = Laps::start()?;
    arm(&mut reactor, &clients, &delays, |timer| armed.push(timer));
    laps.end("arm", options.timers)?;
    for timer in &armed[..options.cancel] {
        reactor.cancel_timer(*timer);
    }
    laps.end("cancel", options.cancel)?;
    for timer in &armed[options.cancel..] {
        reactor.cancel_timer(*timer);
    }

    arm(&mut reactor, &clients, &delays, drop);
    options.wait_until_due();
    laps.restart()?;
    reactor.run()?;
    laps.end("fire", options.timers)?;
    laps.report();
    Ok(())
}

fn arm(
    reactor: &mut Reactor,
    clients: &[Id<Client>],
    delays: &[Duration],
    mut armed: impl FnMut(TimerId),
) {
    for (client, delays) in clients.iter().zip(delays.chunks(EACH)) {
        let Some(mut cx) = reactor.at(*client) else {
            continue;
        };
        for delay in delays {
            armed(cx.set_timer(*delay));
        }
    }
}
