//! No fault, but a slow motion: the loop sleeps between its turns, so that more is ready in each.

use std::io;
use std::thread;
use std::time::Duration;

use slabloop::Reactor;
use slabloop::observe::{Observer, TurnEnd};

/// An observer is told of each turn, and what it does is part of no callback. (It is asked not to block; here that is
/// what it is for.)
struct Delay(Duration);

impl Observer for Delay {
    fn turn_ended(&mut self, _: Duration, _: &TurnEnd) {
        thread::sleep(self.0);
    }
}

pub(crate) fn delay(reactor: &mut Reactor, time: Duration) -> io::Result<()> {
    reactor.observe(Delay(time));
    Ok(())
}
