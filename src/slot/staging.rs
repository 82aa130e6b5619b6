//! The staging buffer: what is sent first in a turn, of all outboxes, side by side.
//!
//! Most of what is sent is a few bytes that the kernel takes whole at the end of the turn. They are copied
//! here, written from here, and need no chunk. The buffer is filled from the front and emptied all at once, when
//! the flush has looked at every outbox that has bytes in it.

use std::ops::Range;

use crate::slot::chunks::Chunks;
use crate::slot::outbox::{Outbox, STAGED};

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

impl Chunks {
    /// Sets what an empty outbox holds to as many bytes of the staging buffer, for the caller to fill. The next
    /// flush must look at it. `None`, and nothing is changed, if the buffer has no room.
    #[inline(always)]
    pub(crate) fn stage(&mut self, outbox: &mut Outbox, bytes: usize) -> Option<&mut [u8]> {
        let (start, place) = self.staging.take(bytes)?;
        hold_staged(outbox, start, bytes);
        self.queued += bytes;
        Some(place)
    }

    /// Sets what an empty outbox holds to bytes that are in the staging buffer already, for another one.
    #[inline]
    pub(crate) fn stage_shared(&mut self, outbox: &mut Outbox, start: u32, bytes: usize) {
        debug_assert!(start as usize + bytes <= self.staging.taken());
        hold_staged(outbox, start, bytes);
        self.queued += bytes;
    }

    /// As [`Chunks::stage`], behind what the outbox holds already, if that is staged and the last in the buffer.
    #[inline]
    pub(crate) fn stage_more(&mut self, outbox: &mut Outbox, bytes: usize) -> Option<&mut [u8]> {
        if !outbox.is_staged() || outbox.staged().end != self.staging.taken() {
            return None;
        }
        let (_, place) = self.staging.take(bytes)?;
        outbox.grow(bytes);
        self.queued += bytes;
        Some(place)
    }

    /// As [`Chunks::append`], for an outbox that the next flush looks at: what can be staged is.
    pub(crate) fn stage_or_append(&mut self, outbox: &mut Outbox, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.staging.grow(bytes.len());
        let place = if outbox.is_empty() {
            self.stage(outbox, bytes.len())
        } else {
            self.stage_more(outbox, bytes.len())
        };
        match place {
            Some(place) => place.copy_from_slice(bytes),
            None => self.append(outbox, bytes),
        }
    }

    /// Copies what is staged into a chunk of the outbox's own.
    pub(crate) fn unstage(&mut self, outbox: &mut Outbox) {
        if outbox.is_staged() {
            self.copy_staged(outbox);
        }
    }

    #[cold]
    #[inline(never)]
    fn copy_staged(&mut self, outbox: &mut Outbox) {
        let place = outbox.staged();
        self.queued -= place.len();
        *outbox = Outbox::new(outbox.marks);
        let staging = std::mem::take(&mut self.staging);
        self.append(outbox, staging.get(place));
        self.staging = staging;
    }

    /// The flush has looked at every staged outbox: none is left.
    #[inline]
    pub(crate) fn clear_staged(&mut self) {
        self.staging.clear();
    }

    /// What a staged outbox holds.
    #[inline]
    pub(crate) fn staged(&self, outbox: &Outbox) -> &[u8] {
        self.staging.get(outbox.staged())
    }

    /// The kernel has taken all that a staged outbox held.
    #[inline]
    pub(crate) fn staged_is_written(&mut self, outbox: &mut Outbox, written: usize) {
        debug_assert_eq!(written, outbox.len(), "all of it is written");
        self.queued -= written;
        outbox.unstage();
    }
}

/// An empty outbox holds these bytes of the staging buffer from now on.
#[inline(always)]
fn hold_staged(outbox: &mut Outbox, start: u32, bytes: usize) {
    debug_assert!(outbox.is_empty(), "what is queued goes first");
    (outbox.head, outbox.sent) = (STAGED, start);
    outbox.grow(bytes);
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

    #[test]
    fn it_does_not_grow_for_what_fits_nor_for_what_never_will() {
        let mut staging = Staging::default();
        for (bytes, length) in [
            (1, FIRST_BYTES),
            (FIRST_BYTES, FIRST_BYTES),
            (MOST_BYTES + 1, FIRST_BYTES),
            (FIRST_BYTES + 1, 2 * FIRST_BYTES),
            (MOST_BYTES, MOST_BYTES),
        ] {
            staging.grow(bytes);
            assert_eq!(staging.buffer.len(), length, "for {bytes}");
        }
    }
}
