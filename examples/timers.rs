//! Timers: once, again and again, put off, cancelled, told apart by a number.
//!
//! Shows that a timer belongs to a dispatcher, and ends with it; and that `run` returns when no timer is left.
//!
//! ```text
//! cargo run --release --example timers
//! ```
//!
//! To see more: `RUST_LOG=info,slabloop=debug`. The page: `docs/how-to/timers.md`.

mod common;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use common::{Failure, Limit};
use slabloop::{Context, Dispatcher, Reactor, TimerId};

/// What a timer is for, as `handle_timer` sees it. Timers that were set without a number have 0.
const REMINDER: u32 = 1;
const DEADLINE: u32 = 2;

/// A service: a dispatcher without a socket. With a socket the calls are the same.
struct Clock {
    unit: Duration,
    ticks: u32,
    interval: Option<TimerId>,
    deadline: Option<TimerId>,
}

impl Clock {
    fn start(&mut self, cx: &mut Context<'_>) {
        self.interval = Some(cx.set_interval(self.unit));
        self.deadline = Some(cx.set_tagged_timer(self.unit * 10, DEADLINE));
    }

    fn tick(&mut self, cx: &mut Context<'_>) {
        self.ticks += 1;
        common::say(&format!("tick {}", self.ticks));
        if let Some(deadline) = self.deadline {
            // One call in place of two, and its id stays.
            cx.reset_timer(deadline, self.unit * 10);
        }
        if self.ticks == 3 {
            if let Some(interval) = self.interval.take() {
                cx.cancel_timer(interval);
            }
            cx.set_tagged_timer(self.unit, REMINDER);
        }
    }
}

impl Dispatcher for Clock {
    fn handle_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) -> io::Result<()> {
        match timer.tag() {
            REMINDER => common::say("reminder, one unit after the last tick"),
            DEADLINE => {
                common::say("deadline, ten units after the last tick");
                // Goes with its dispatcher, and is never heard of.
                cx.set_timer(self.unit);
                cx.close();
            }
            _ => self.tick(cx),
        }
        Ok(())
    }

    fn handle_close(&mut self, _: &mut Context<'_>) {
        common::say("closed");
    }
}

const HELP: &str = "\
Shows timers: an interval of three ticks, a reminder, and a deadline that each tick puts off.

Usage: timers [OPTIONS]

  --unit SECONDS           the length of a tick [0.05]
  -h, --help               this text
      --version            the version of slabloop

RUST_LOG sets the log level, for example RUST_LOG=info,slabloop=debug.

Examples:
  timers --unit 1
";

fn main() -> ExitCode {
    common::run(HELP, |arguments| {
        let mut unit = Duration::from_millis(50);
        common::flags(arguments, |flag, parser| {
            if flag == "--unit" {
                unit = common::seconds(flag, parser, Limit::AboveZero)?;
            }
            Ok(flag == "--unit")
        })?;
        let mut reactor = Reactor::new().map_err(Failure::io("cannot make a reactor"))?;
        reactor.call_later(unit / 2, |_| common::say("a closure, called once"));
        let clock = Clock {
            unit,
            ticks: 0,
            interval: None,
            deadline: None,
        };
        let clock = reactor.add_service(clock);
        let clock = clock.map_err(Failure::io("cannot add a service"))?;
        reactor.with(clock, Clock::start);
        // Returns when no timer is left.
        reactor.run().map_err(Failure::io("the loop failed"))
    })
}
