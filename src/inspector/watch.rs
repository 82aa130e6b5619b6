//! What is counted of callbacks: for the totals, and for the lints.

use std::time::Duration;

use crate::observe::{Callback, CallbackEnd, Outcome};

/// A callback of so many nanoseconds is long, for one that others wait for in each turn.
pub(super) const LONG: u64 = 1_000_000;

/// What is counted of callbacks, in any span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Tally {
    pub(super) callbacks: u64,
    /// In nanoseconds, as the next.
    pub(super) busy: u64,
    pub(super) queued: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

impl Tally {
    #[inline]
    pub(super) fn count(&mut self, end: &CallbackEnd<'_>, took: u64, queued: u64) {
        self.callbacks += 1;
        self.busy += took;
        self.queued += queued;
        self.bytes_in += end.bytes_in;
        self.bytes_out += end.bytes_out;
    }
}

/// What is counted of the callbacks of one beat, and of which slot.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Recent {
    pub(super) slot: usize,
    pub(super) callbacks: u32,
    /// In nanoseconds, as the next.
    pub(super) busy: u64,
    pub(super) queued: u64,
}

impl Recent {
    #[inline]
    pub(super) fn count(&mut self, took: u64, queued: u64) {
        self.callbacks = self.callbacks.saturating_add(1);
        self.busy += took;
        self.queued += queued;
    }
}

/// What the lints look at in one dispatcher. Most callbacks leave all of it alone.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Watch {
    /// Nanoseconds in callbacks that were [long](LONG) and not slow, and how many of them there were, in the second in
    /// hand, as the next.
    pub(super) long: u64,
    pub(super) longs: u32,
    /// Calls of `handle_write` that sent nothing, and those that did.
    pub(super) idle_writes: u32,
    pub(super) useful_writes: u32,
    /// Timers that fired.
    pub(super) timers: u32,
    /// Calls of `handle_read` in a row that took nothing, and when the first of them was.
    pub(super) unread: u32,
    pub(super) unread_since: Duration,
    /// Since when the outbox has been over its high mark.
    pub(super) over_high: Option<Duration>,
    /// What was queued, and the hard cap, when last looked at.
    pub(super) queued: usize,
    pub(super) hard_cap: usize,
    /// Since when the peer has had its end of stream, or bytes last moved after that.
    pub(super) half_open: Option<Duration>,
}

impl Watch {
    /// Takes in a callback that is more than a read of a few bytes.
    pub(super) fn count(&mut self, at: Duration, end: &CallbackEnd<'_>, took: u64, slow: bool) {
        if took >= LONG && !slow {
            self.long += took;
            self.longs += 1;
        }
        match end.begin.callback {
            Callback::Read if Watch::took_nothing(end) => {
                if self.unread == 0 {
                    self.unread_since = at;
                }
                self.unread = self.unread.saturating_add(1);
            }
            Callback::Read => self.unread = 0,
            Callback::Write if end.bytes_out > 0 => {
                self.useful_writes = self.useful_writes.saturating_add(1);
            }
            Callback::Write => self.idle_writes = self.idle_writes.saturating_add(1),
            _ => {}
        }
    }

    /// Whether a `handle_read` has left all input where it was.
    pub(super) fn took_nothing(end: &CallbackEnd<'_>) -> bool {
        end.bytes_in == 0 && matches!(end.outcome, Outcome::Done)
    }

    /// Another second begins.
    pub(super) fn begin_second(&mut self) {
        self.long = 0;
        self.longs = 0;
        self.idle_writes = 0;
        self.useful_writes = 0;
        self.timers = 0;
    }
}

/// A time in nanoseconds; they go on for 584 years.
#[inline]
pub(super) fn nanos(time: Duration) -> u64 {
    time.as_secs() * 1_000_000_000 + u64::from(time.subsec_nanos())
}
