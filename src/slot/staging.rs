//! The staging buffer: what is sent first in a turn, of all outboxes, side by side.
//!
//! Most of what is sent is a few bytes that the kernel takes whole at the end of the turn. They are copied
//! here, written from here, and need no chunk. The buffer is filled from the front and emptied all at once, when
//! the flush has looked at every outbox that has bytes in it.

use std::ops::Range;

/// The buffer grows up to this, and no further: it is to stay in the cache.
const MOST_BYTES: usize = 128 * 1024;

/// What it starts with.
const FIRST_BYTES: usize = 4 * 1024;

#[derive(Debug, Default)]
pub(super) struct Staging {
    /// Its full length is initialised, so that a part of it can be handed out to be written to.
    buffer: Vec<u8>,
    /// How much of it is taken.
    taken: usize,
}

impl Staging {
    /// The next `bytes` bytes, for the caller to fill, and where they begin. `None` if the buffer is full.
    #[inline(always)]
    pub(super) fn take(&mut self, bytes: usize) -> Option<(u32, &mut [u8])> {
        let start = self.taken;
        let place = self.buffer.get_mut(start..start + bytes)?;
        self.taken += bytes;
        #[expect(clippy::cast_possible_truncation, reason = "the buffer is small")]
        Some((start as u32, place))
    }

    /// Makes room for as many bytes more, unless that would be too much.
    pub(super) fn grow(&mut self, bytes: usize) {
        let needed = self.taken.saturating_add(bytes);
        if needed > self.buffer.len() && needed <= MOST_BYTES {
            let doubled = needed.max(2 * self.buffer.len()).max(FIRST_BYTES);
            self.buffer.resize(doubled.min(MOST_BYTES), 0);
        }
    }

    /// What an outbox has here.
    #[inline]
    pub(super) fn get(&self, place: Range<usize>) -> &[u8] {
        &self.buffer[place]
    }

    /// Bytes that are taken.
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    #[inline]
    pub(super) fn clear(&mut self) {
        self.taken = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_as_needed_up_to_its_bound_and_keeps_what_is_in_it() {
        let mut staging = Staging::default();
        assert!(staging.take(1).is_none(), "it begins without memory");
        staging.grow(3);
        let (start, place) = staging.take(3).expect("it has grown");
        place.copy_from_slice(b"abc");
        assert_eq!(start, 0);
        staging.grow(MOST_BYTES - 3);
        let (start, _) = staging.take(MOST_BYTES - 3).expect("it has grown");
        assert_eq!((start, staging.get(0..3)), (3, &b"abc"[..]));
        staging.grow(1);
        staging.grow(usize::MAX);
        assert!(staging.take(1).is_none(), "it is full");
        staging.clear();
        assert!(staging.take(MOST_BYTES).is_some());
    }
}
