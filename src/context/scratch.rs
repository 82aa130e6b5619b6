//! A buffer of the reactor's, lent for as long as a read and what follows from it take.
//!
//! It is cleared when it is made and never again, and there is one for all connections: so a large read
//! costs neither its length in zeros nor memory on every connection that is idle.
//!
//! It begins at a cache line. The allocator puts what is large 16 bytes behind the start of a page, and there
//! some processors (AMD's, with fast short `rep movsb`) take five times as long to copy a page into it.

use super::Context;

/// Where the buffer begins is a multiple of this.
const LINE: usize = 64;

impl Context<'_> {
    /// Lends `body` a buffer of `length` bytes, in which anything may be. It is away meanwhile: a
    /// second request inside gets another, and after a panic the next one is made afresh.
    pub(crate) fn with_scratch<R>(
        &mut self,
        length: usize,
        body: impl FnOnce(&mut Self, &mut [u8]) -> R,
    ) -> R {
        let mut scratch = std::mem::take(&mut self.core.scratch);
        if scratch.len() < length.saturating_add(LINE) {
            scratch.resize(length.saturating_add(LINE), 0);
        }
        // (It need not tell; then it begins where it begins.)
        let start = scratch.as_ptr().align_offset(LINE).min(LINE);
        let result = body(self, &mut scratch[start..][..length]);
        if scratch.len() > self.core.scratch.len() {
            self.core.scratch = scratch;
        }
        result
    }
}
