//! Timers on slabloop: set on dispatchers in a turn, as they would do it themselves; a thousand each.
//!
//! A dispatcher for each timer would need a million sockets. What a dispatcher has many of is
//! chained, and is cancelled as fast as what it has one of. See `slabloop_peers::timers`.

use std::cell::{Cell, RefCell};
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
    let delays: Rc<[Duration]> = options.delays().into();
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
    let clients: Rc<[Id<Client>]> = clients.into();
    let armed = Rc::new(RefCell::new(Vec::with_capacity(options.timers)));
    let in_turn = {
        let (clients, delays, armed) = (clients.clone(), delays.clone(), armed.clone());
        move |reactor: &mut Reactor| {
            let mut armed = armed.borrow_mut();
            arm(reactor, &clients, &delays, |timer| armed.push(timer));
        }
    };

    let mut laps = Laps::start()?;
    reactor.call_later(Duration::ZERO, in_turn);
    reactor.turn(Duration::ZERO)?;
    laps.end("arm", options.timers)?;
    let armed = armed.take();
    for timer in &armed[..options.cancel] {
        reactor.cancel_timer(*timer);
    }
    laps.end("cancel", options.cancel)?;
    for timer in &armed[options.cancel..] {
        reactor.cancel_timer(*timer);
    }

    reactor.call_later(Duration::ZERO, move |reactor| {
        arm(reactor, &clients, &delays, drop);
    });
    reactor.turn(Duration::ZERO)?;
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
