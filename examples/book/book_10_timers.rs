//! Timers that burn the processor, that drift, and that are too early.
//!
//! Chapter 10 of the book: `docs/book/10-time.md`.
//!
//! ```text
//! cargo run --example book_10_timers
//! cargo run --example book_10_timers -- --round up
//! cargo run --example book_10_timers -- --show drift
//! cargo run --example book_10_timers -- --show stale
//! ```

mod shared;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use mio::{Events, Poll};
use shared::{Failure, cpu_time, run, say};

/// How a wait is made of what is left until a timer is due.
#[derive(Clone, Copy)]
struct Waiting {
    /// To whole milliseconds, up and not down.
    round_up: bool,
    /// The timer fires when the wait is over, without a look at the clock.
    trusting: bool,
}

impl Waiting {
    /// What `epoll_wait` is given: it counts in whole milliseconds.
    fn timeout(self, left: Duration) -> Duration {
        let millis = match self.round_up {
            false => left.as_millis(),
            true => left.as_nanos().div_ceil(1_000_000),
        };
        Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }
}

const TIMERS: usize = 50;
const DELAY: Duration = Duration::from_millis(10);

/// What became of the timers.
#[derive(Default)]
struct Tally {
    waits: u32,
    /// Those that did not wait.
    at_once: u32,
    early: u32,
    earliest: Duration,
    late: u32,
    latest: Duration,
}

/// One timer after the other, and nothing else to do: real waits, the real clock.
fn wait_for_timers(waiting: Waiting) -> Result<(), Failure> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1);
    let mut tally = Tally::default();
    let worked_before = cpu_time();
    for _ in 0..TIMERS {
        let due = Instant::now() + DELAY;
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let timeout = waiting.timeout(left);
            poll.poll(&mut events, Some(timeout))?;
            tally.waits += 1;
            tally.at_once += u32::from(timeout.is_zero());
            if waiting.trusting {
                break;
            }
        }
        fire(&mut tally, due, Instant::now());
    }
    let worked = (cpu_time() - worked_before).as_secs_f64() * 1e3;
    let millis = |span: Duration| span.as_secs_f64() * 1e3;
    say(format!("{TIMERS} timers of {DELAY:?}, one after the other"));
    say(format!("waits:     {}", tally.waits));
    say(format!("of 0 ms:   {}", tally.at_once));
    say(format!("processor: {worked:.1} ms"));
    let (early, earliest) = (tally.early, millis(tally.earliest));
    say(format!("early:     {early}, by {earliest:.2} ms at most"));
    let (late, latest) = (tally.late, millis(tally.latest));
    say(format!("late:      {late}, by {latest:.2} ms at most"));
    Ok(())
}

fn fire(tally: &mut Tally, due: Instant, now: Instant) {
    if now < due {
        tally.early += 1;
        tally.earliest = tally.earliest.max(due - now);
    } else {
        tally.late += 1;
        tally.latest = tally.latest.max(now - due);
    }
}

/// When something that is done every `PERIOD` is done again.
#[derive(Clone, Copy)]
enum Next {
    /// A period after it was done.
    Delay,
    /// A period after it should have been done.
    Each,
    /// At the first point of the grid that is still to come.
    Grid,
}

/// In milliseconds, as all times from here on: the clock is one that the program moves.
const PERIOD: u64 = 100;

impl Next {
    /// `due` is when it should have been called, `called` when it was, `done` when it returned.
    fn due(self, due: u64, called: u64, done: u64) -> u64 {
        match self {
            Next::Delay => done + PERIOD,
            Next::Each => due + PERIOD,
            Next::Grid => due + PERIOD * ((called - due) / PERIOD + 1),
        }
    }
}

/// Nine calls. Each takes 3 ms, except one.
fn repeat(next: Next) {
    say(format!("every {PERIOD} ms:"));
    let mut clock = 0;
    let mut due = PERIOD;
    for number in 1..=9 {
        // The wait.
        clock = clock.max(due);
        let called = clock;
        let takes = if number == 4 { 250 } else { 3 };
        say(format!(
            "  call {number}: due at {due:4}, called at {called:4}, takes {takes:3}"
        ));
        // The callback.
        clock += takes;
        due = next.due(due, called, clock);
    }
}

/// Two callbacks in one turn; the second sets a timer.
fn set_after_a_long_callback(from_reading: bool) {
    let (block, patience, answer_takes) = (50, 20, 10);
    let mut clock = 0;
    say("turn 1: the clock is read: 0 ms");
    let reading = clock;
    clock += block;
    say(format!("  A's callback takes {block} ms"));
    let asked = clock;
    let from = if from_reading { reading } else { clock };
    let due = from + patience;
    say(format!(
        "  B asks its client, and sets a timer of {patience} ms: due at {due} ms"
    ));
    let answer = asked + answer_takes;

    // The wait ends with the timer or with the answer; both are events of the next turn.
    clock = clock.max(due.min(answer));
    say(format!("turn 2: the clock is read: {clock} ms"));
    if due <= clock {
        let had = clock - asked;
        say("  B's timer fires, and B gives up");
        say(format!(
            "  its client had {had} ms, and needed {answer_takes}"
        ));
    } else {
        say("  the client's answer is there");
    }
}

const HELP: &str = "\
Timers that burn the processor, that drift, and that are too early. Ends by itself.

Usage: book_10_timers [OPTIONS]

  --show waits|drift|stale     which of three mistakes [waits]

  With waits, on the real clock:
  --round down|up              how a wait is rounded to whole milliseconds [down]
  --trust                      a timer fires when the wait is over, without a look at the clock

  With drift, on a clock that the program moves:
  --next delay|each|grid       when a repeated call is due again: a period after it was done, a period
                               after it was due, or at the next time of the grid [delay]

  With stale, on such a clock as well:
  --count-from reading|call    what a timer counts from: the turn's reading of the clock, or the time of
                               the call that sets it [reading]

  -h, --help                   this text

Examples:
  book_10_timers --round up
  book_10_timers --show drift --next grid
";

fn main() -> ExitCode {
    run(HELP, |mut flags| {
        let show = flags.one_of("--show", &["waits", "drift", "stale"])?;
        let waiting = Waiting {
            round_up: flags.one_of("--round", &["down", "up"])? == "up",
            trusting: flags.has("--trust"),
        };
        let next = match flags.one_of("--next", &["delay", "each", "grid"])? {
            "delay" => Next::Delay,
            "each" => Next::Each,
            _ => Next::Grid,
        };
        let from_reading = flags.one_of("--count-from", &["reading", "call"])? == "reading";
        flags.end()?;
        match show {
            "waits" => wait_for_timers(waiting)?,
            "drift" => repeat(next),
            _ => set_after_a_long_callback(from_reading),
        }
        Ok(())
    })
}
