//! The name of a timer.

use std::fmt;

/// Identifies a timer. Like an id it is never reissued: cancelling a timer that has fired, or that ended with
/// its dispatcher, does nothing.
///
/// ```
/// # use slabloop::{Context, Dispatcher, TimerId};
/// # use std::io;
/// # use std::time::Duration;
/// struct Session { retry: Option<TimerId> }
///
/// impl Dispatcher for Session {
///     fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
///         self.retry = Some(cx.set_timer(Duration::from_millis(500)));
///         cx.set_tagged_timer(Duration::from_secs(10), 1);
///         Ok(())
///     }
///
///     fn handle_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) -> io::Result<()> {
///         if Some(timer) == self.retry {
///             return cx.send(b"again\n");
///         }
///         assert_eq!(timer.tag(), 1);
///         Err(io::ErrorKind::TimedOut.into())
///     }
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId {
    /// The index, and above it the tag: two words fit into two registers.
    place: u64,
    pub(super) serial: u64,
}

impl TimerId {
    pub(super) fn new(index: u32, tag: u32, serial: u64) -> TimerId {
        let place = u64::from(index) | u64::from(tag) << 32;
        TimerId { place, serial }
    }

    pub(super) fn index(self) -> u32 {
        (self.place & 0xffff_ffff) as u32
    }

    /// The tag from [`set_tagged_timer`](crate::Context::set_tagged_timer); 0 for all other timers.
    #[must_use]
    pub fn tag(self) -> u32 {
        (self.place >> 32) as u32
    }
}

impl fmt::Display for TimerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "timer {}", self.serial)
    }
}

impl fmt::Debug for TimerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TimerId({})", self.serial)
    }
}
