//! A buffer of the reactor's, lent for as long as a read and what follows from it take.
//!
//! It is cleared when it is made and never again, and there is one for all connections: so a large read
//! costs neither its length in zeros nor memory on every connection that is idle.

use super::Context;

impl Context<'_> {
    /// Lends `body` a buffer of `length` bytes, in which anything may be. It is away meanwhile: a
    /// second request inside gets another, and after a panic the next one is made afresh.
    pub(crate) fn with_scratch<R>(
        &mut self,
        length: usize,
        body: impl FnOnce(&mut Self, &mut [u8]) -> R,
    ) -> R {
        let mut scratch = std::mem::take(&mut self.core.scratch);
        if scratch.len() < length {
            scratch.resize(length, 0);
        }
        let result = body(self, &mut scratch[..length]);
        if scratch.len() > self.core.scratch.len() {
            self.core.scratch = scratch;
        }
        result
    }
}
