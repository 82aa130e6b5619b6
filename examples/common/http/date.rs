//! The date as HTTP writes it, written once a second.

use std::fmt::Write;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long an HTTP date is, always.
pub(crate) const LENGTH: usize = 29;

#[derive(Debug)]
pub(crate) struct Date {
    text: String,
    /// Seconds since 1970.
    second: u64,
    until: Instant,
}

impl Date {
    pub(crate) fn new(now: Instant) -> Date {
        Date {
            text: String::with_capacity(LENGTH),
            second: 0,
            until: now,
        }
    }

    /// Reads the system's clock if the second that was written may be over.
    #[inline]
    pub(crate) fn refresh(&mut self, now: Instant) {
        if now >= self.until {
            self.write(now);
        }
    }

    #[cold]
    fn write(&mut self, now: Instant) {
        let time = SystemTime::now();
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.second = since.as_secs();
        self.until =
            now + Duration::from_secs(1) - Duration::from_nanos(since.subsec_nanos().into());
        self.text.clear();
        let _ = write!(self.text, "{}", httpdate::HttpDate::from(time));
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn second(&self) -> u64 {
        self.second
    }
}
