//! A trace of the loop, turn by turn, for the viewer at <https://ui.perfetto.dev> or `chrome://tracing`.
//!
//! ```
//! use slabloop::Reactor;
//! use slabloop::trace::Trace;
//! use std::time::Duration;
//!
//! # fn main() -> std::io::Result<()> {
//! let mut reactor = Reactor::new()?;
//! # let directory = std::env::temp_dir().join(format!("slabloop-trace-{}", std::process::id()));
//! # std::fs::create_dir_all(&directory)?;
//! # let path = directory.join("run.json");
//! // let path = "run.json";
//! reactor.observe(Trace::to_file(&path)?);
//! reactor.handle().post(|_| {}).expect("there is room");
//! reactor.turn(Duration::ZERO)?;
//!
//! let trace = reactor.unobserve::<Trace>().expect("it was added");
//! let written = trace.finish()?;
//! assert_eq!(written.dropped, 0);
//! # assert!(std::fs::read_to_string(&path)?.contains("\"post\""));
//! # std::fs::remove_dir_all(&directory)?;
//! # Ok(()) }
//! ```
//!
//! # What the viewer shows
//!
//! | in the viewer | meaning |
//! |---|---|
//! | process *reactor*, thread *loop* | a slice for each turn; inside it one for each step; inside that one for each callback: `handle_read Echo 7.3` |
//! | process *dispatchers* | a thread for each dispatcher, named by type, id and address; a slice for its life, and inside it its callbacks again |
//! | counters of the reactor | dispatchers, connections, ready, timers, bytes queued, microseconds that a turn worked |
//! | instants | a dispatcher was added, was closed (with the cause), went over its high watermark, was held; a stale event; accepting was paused (with the reason); a slow callback |
//! | arrows | from the addition of a dispatcher to its first callback; from a partial write to the next write that sent something; from held to released; from where a closure was posted to its run |
//!
//! A click on a callback shows how long the dispatcher had been ready before, how many others waited meanwhile, the
//! number of bytes, and the outcome. The format is
//! [Chrome's](https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU); `docs/monitoring.md`
//! explains how to read a trace.
//!
//! # What a trace costs
//!
//! A trace costs about 400 bytes and 3 µs for each callback. Records are written into memory, and at the end of the
//! turn to the file, on the loop's thread. The size is bounded: at the [limit](Trace::size_limit) further records are
//! counted but not written, and the last record contains their number.

mod lanes;
mod observing;
mod record;
mod sink;
mod writing;

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use self::lanes::Lanes;
use self::sink::Sink;
use self::writing::{Levels, Now};

pub use self::sink::Written;

/// Perfetto's viewer holds a file of this size in a browser's tab without effort.
const SIZE_LIMIT: u64 = 64 * 1024 * 1024;

/// Longer than this, and a callback is marked.
const SLOW: Duration = Duration::from_millis(100);

/// Writes a trace of the loop. Add it by [`Reactor::observe`](crate::Reactor::observe) or
/// [`Builder::observer`](crate::Builder::observer). The trace is complete when it is [finished](Trace::finish) or
/// dropped.
pub struct Trace {
    sink: Sink,
    lanes: Lanes,
    now: Now,
    levels: Levels,
    slow: Duration,
    /// The number of the last arrow.
    flows: u64,
}

impl Trace {
    /// Writes the trace to `writer`, which is called at the end of turns, and must not block for long.
    ///
    /// ```
    /// use slabloop::Reactor;
    /// use slabloop::trace::Trace;
    ///
    /// let mut reactor = Reactor::new()?;
    /// reactor.observe(Trace::new(std::io::sink()).size_limit(1024 * 1024));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn new(writer: impl Write + 'static) -> Trace {
        Trace {
            sink: Sink::new(Box::new(writer), SIZE_LIMIT),
            lanes: Lanes::default(),
            now: Now::default(),
            levels: Levels::default(),
            slow: SLOW,
            flows: 0,
        }
    }

    /// Writes the trace to a file. An existing file is replaced.
    ///
    /// # Errors
    ///
    /// If the file cannot be created.
    pub fn to_file(path: impl AsRef<Path>) -> io::Result<Trace> {
        Ok(Trace::new(File::create(path)?))
    }

    /// The maximum size in bytes; default 64 MiB. Records beyond that are counted, not written. At least 4 KiB, so
    /// that the beginning and the end fit.
    #[must_use]
    pub fn size_limit(mut self, bytes: u64) -> Trace {
        self.sink.set_limit(bytes);
        self
    }

    /// The duration from which a callback is marked as slow; default 100 ms.
    #[must_use]
    pub fn slow_callback(mut self, threshold: Duration) -> Trace {
        self.slow = threshold;
        self
    }

    /// Writes the end, and reports the size. (A trace that is dropped is finished as well, but cannot report an
    /// error.)
    ///
    /// # Errors
    ///
    /// The first error of the writer. Nothing was written after it.
    ///
    /// # Example
    ///
    /// ```
    /// use slabloop::Reactor;
    /// use slabloop::trace::Trace;
    /// use std::time::Duration;
    ///
    /// let mut reactor = Reactor::new()?;
    /// reactor.observe(Trace::new(std::io::sink()));
    /// reactor.turn(Duration::ZERO)?;
    /// let trace = reactor.unobserve::<Trace>().expect("it was added");
    /// println!("{} records", trace.finish()?.records);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn finish(mut self) -> io::Result<Written> {
        self.end()
    }

    fn end(&mut self) -> io::Result<Written> {
        self.end_turn(self.now.last);
        self.write_lives(self.now.last);
        self.sink.finish(self.now.last)
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace")
            .field("written", &self.sink.written())
            .finish_non_exhaustive()
    }
}
