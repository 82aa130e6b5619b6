//! Posts: closures that one thread hands to the loop on another, as fast as it can.
//!
//! The queue has room for all of them, so that nobody waits for room and a post costs what the
//! queue and the wake-up cost. A closure carries its number, so that it has to be put into a box as
//! most closures have, and does next to nothing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::cli::{self, Result};
use crate::sys;

/// The number of the next to run.
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// How many closures, from `--posts`.
///
/// # Errors
///
/// Unknown flags and unusable values.
pub fn count_from_args() -> Result<usize> {
    let expected = "a whole number of at least 1";
    let mut posts = 1_000_000;
    let mut parser = lexopt::Parser::from_env();
    while let Some(flag) = cli::next_flag(&mut parser)? {
        match flag.as_str() {
            "posts" => posts = cli::value(&mut parser, &flag, expected)?,
            _ => return Err(cli::unknown(&flag, "--posts N")),
        }
    }
    if posts == 0 {
        return Err(cli::wrong("posts", posts, expected));
    }
    Ok(posts)
}

/// What a posted closure does: they run in the order of posting.
///
/// # Panics
///
/// If one is out of order.
#[inline]
pub fn run(number: usize) {
    assert_eq!(NEXT.load(Ordering::Relaxed), number, "a post out of order");
    // Only the loop's thread writes: a store, not a locked addition.
    NEXT.store(number + 1, Ordering::Relaxed);
}

/// The time of a run, by the clock and of both threads' processors.
#[derive(Debug)]
pub struct Watch {
    begun: Instant,
    begun_ns: u64,
}

impl Watch {
    /// Starts it; before the thread that posts is.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn start() -> Result<Self> {
        Ok(Watch {
            begun_ns: sys::processor_time_ns()?,
            begun: Instant::now(),
        })
    }

    /// Prints the one line that the runner reads.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn report(&self, posts: usize) -> Result<()> {
        self.report_as("post", posts as u64)
    }

    /// The same line for things of another name.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn report_as(&self, what: &str, count: u64) -> Result<()> {
        let per_second = count as f64 / self.begun.elapsed().as_secs_f64();
        let spent_ns = sys::processor_time_ns()? - self.begun_ns;
        let each_ns = spent_ns as f64 / count as f64;
        println!("per_second={per_second:.0} ns_per_{what}={each_ns:.2}");
        Ok(())
    }
}
