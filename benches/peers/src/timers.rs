//! Timers: a million armed and cancelled, then a million armed and fired.
//!
//! A server with a time-out for every client arms and cancels all day and fires hardly ever, so the
//! three are timed apart, in nanoseconds of the program's own CPU time. Times due are the
//! same for every loop: without a pattern, spread over [`Options::spread`], drawn before the clock
//! starts. Those to fire are all due when the loop gets to look, so that it never waits and the
//! figure is the cost of finding them and of calling back.
//!
//! Every program arms in the memory that it has never touched, as a growing server does.

use std::thread;
use std::time::Duration;

use crate::cli::{self, Result};
use crate::sys;

const FLAGS: &str = "--timers N, --cancel C and --spread-ms S";

/// How many, and how far apart.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Timers armed at a time.
    pub timers: usize,
    /// How many of them are cancelled; a loop that searches for each can't do all in an hour.
    pub cancel: usize,
    /// They are due within this time.
    pub spread: Duration,
}

impl Options {
    /// Takes the options from the command line.
    ///
    /// # Errors
    ///
    /// Unknown flags, unusable values, and more to cancel than to arm.
    pub fn from_args() -> Result<Self> {
        let expected = "a whole number of at least 1";
        let (mut timers, mut cancel, mut spread_ms) = (100_000, None, 1_000);
        let mut parser = lexopt::Parser::from_env();
        while let Some(flag) = cli::next_flag(&mut parser)? {
            match flag.as_str() {
                "timers" => timers = cli::value(&mut parser, &flag, expected)?,
                "cancel" => cancel = Some(cli::value(&mut parser, &flag, expected)?),
                "spread-ms" => spread_ms = cli::value(&mut parser, &flag, expected)?,
                _ => return Err(cli::unknown(&flag, FLAGS)),
            }
        }
        let cancel = cancel.unwrap_or(timers);
        if timers == 0 {
            return Err(cli::wrong("timers", timers, expected));
        }
        if cancel == 0 || cancel > timers {
            let expected = format!("between 1 and --timers, {timers}");
            return Err(cli::wrong("cancel", cancel, &expected));
        }
        if spread_ms == 0 {
            return Err(cli::wrong("spread-ms", spread_ms, expected));
        }
        Ok(Options {
            timers,
            cancel,
            spread: Duration::from_millis(spread_ms),
        })
    }

    /// When each of them is due, counted from its arming.
    #[must_use]
    pub fn delays(&self) -> Vec<Duration> {
        let spread_us = u64::try_from(self.spread.as_micros()).unwrap_or(u64::MAX);
        let mut state = 1_u64;
        let mut next = || {
            // Knuth's linear congruential generator; its upper bits are the good ones. The C and
            // Python peers draw the same numbers.
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            Duration::from_micros((state >> 33) % spread_us)
        };
        (0..self.timers).map(|_| next()).collect()
    }

    /// Waits until all that have been armed are due, and a little longer for loops that count in
    /// milliseconds.
    pub fn wait_until_due(&self) {
        thread::sleep(self.spread + Duration::from_millis(10));
    }
}

/// CPU time, lap by lap.
#[derive(Debug)]
pub struct Laps {
    begun_ns: u64,
    text: String,
}

impl Laps {
    /// Starts the clock.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn start() -> Result<Self> {
        Ok(Laps {
            begun_ns: sys::processor_time_ns()?,
            text: String::new(),
        })
    }

    /// Starts the clock again: what was done since the last lap is not counted.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn restart(&mut self) -> Result<()> {
        self.begun_ns = sys::processor_time_ns()?;
        Ok(())
    }

    /// Ends a lap, in which so many things named `what` were done, and starts the next.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn end(&mut self, what: &str, count: usize) -> Result<()> {
        let now_ns = sys::processor_time_ns()?;
        let each_ns = (now_ns - self.begun_ns) as f64 / count as f64;
        self.text.push_str(&format!("{what}_ns={each_ns:.2} "));
        self.restart()
    }

    /// Prints the one line that the runner reads.
    pub fn report(&self) {
        println!("{}", self.text.trim_end());
    }
}
