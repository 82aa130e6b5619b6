//! Bytes accepted for sending and not yet written: one connection's queue and its marks.
//!
//! An outbox is a few integers. Its bytes are in chunks of the reactor's (`chunks.rs`), so an idle
//! connection holds no buffer at all.

use std::fmt;
use std::io;
use std::ops::Range;

use crate::world::errors::invalid;

/// How much one outbox may hold before something has to happen.
///
/// Above `high` the sources that feed it are not read; below `low` they are again; over `cap` the
/// connection is closed. Kept as `u32`: a cap of 4 GiB for one connection is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) low: u32,
    pub(crate) high: u32,
    pub(crate) cap: u32,
}

impl Default for Marks {
    fn default() -> Marks {
        Marks {
            low: 32 * 1024,
            high: 64 * 1024,
            cap: 1024 * 1024,
        }
    }
}

impl Marks {
    pub(crate) fn new(low: usize, high: usize, cap: usize) -> io::Result<Marks> {
        let fits = |name: &str, bytes: usize| {
            u32::try_from(bytes)
                .map_err(|_| invalid(format!("{name} of {bytes} bytes is over 4 GiB")))
        };
        let marks = Marks {
            low: fits("low mark", low)?,
            high: fits("high mark", high)?,
            cap: fits("hard cap", cap)?,
        };
        if low == 0 || low > high || high > cap {
            return Err(invalid(format!(
                "marks must satisfy 0 < low <= high <= cap; got low {low}, high {high}, cap {cap}"
            )));
        }
        Ok(marks)
    }
}

/// The end of a chain of chunks, and its beginning where there is none.
pub(super) const NO_CHUNK: u32 = u32::MAX;

/// In place of a chunk: what is queued is in the staging buffer.
pub(super) const STAGED: u32 = u32::MAX - 1;

/// One connection's queue. The bytes are in the chunks.
#[derive(Clone, Copy)]
pub(crate) struct Outbox {
    pub(super) head: u32,
    pub(super) tail: u32,
    /// Bytes of the first chunk that are written already; where it begins if it is staged.
    pub(super) sent: u32,
    pub(super) len: u32,
    pub(crate) marks: Marks,
}

impl Outbox {
    pub(crate) fn new(marks: Marks) -> Outbox {
        Outbox {
            head: NO_CHUNK,
            tail: NO_CHUNK,
            sent: 0,
            len: 0,
            marks,
        }
    }

    /// Bytes that are queued.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether what is queued is in the staging buffer.
    #[inline]
    pub(crate) fn is_staged(&self) -> bool {
        self.head == STAGED
    }

    /// Where in the staging buffer it is, if it is staged.
    #[inline]
    pub(super) fn staged(&self) -> Range<usize> {
        let start = self.sent as usize;
        start..start + self.len()
    }

    /// Where in the staging buffer it begins, if it is staged.
    #[inline]
    pub(crate) fn staged_at(&self) -> u32 {
        self.sent
    }

    /// What was staged is gone, and nothing else is queued.
    #[inline]
    pub(super) fn unstage(&mut self) {
        self.head = NO_CHUNK;
        self.sent = 0;
        self.len = 0;
    }

    #[inline]
    pub(super) fn grow(&mut self, bytes: usize) {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "below the cap, which is a u32"
        )]
        {
            self.len += bytes as u32;
        }
    }

    #[inline]
    pub(crate) fn has_room_for(&self, bytes: usize) -> bool {
        bytes <= (self.marks.cap - self.len.min(self.marks.cap)) as usize
    }

    /// Whether as many bytes more leave it at its high mark or below.
    #[inline]
    pub(crate) fn stays_below_high(&self, bytes: usize) -> bool {
        self.len as u64 + bytes as u64 <= self.marks.high as u64
    }

    #[inline]
    pub(crate) fn is_over_high(&self) -> bool {
        self.len > self.marks.high
    }

    #[inline]
    pub(crate) fn is_below_low(&self) -> bool {
        self.len < self.marks.low
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outbox({} of {} bytes queued)", self.len, self.marks.cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_validated_with_a_sentence() {
        assert!(Marks::new(1, 1, 1).is_ok());
        for (low, high, cap) in [(0, 1, 1), (2, 1, 3), (1, 3, 2), (1, 1, 5 << 30)] {
            let error = Marks::new(low, high, cap).expect_err("bad marks are refused");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        }
    }
}
