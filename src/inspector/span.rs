//! What is added up from one beat to the next.

use crate::observe::{CallbackEnd, Step};

/// How long each step has taken, in nanoseconds.
pub(super) type StepTimes = [u64; Step::ALL.len()];

/// The figures of one beat.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Span {
    /// When the beat before was made, in nanoseconds.
    pub(super) began: u64,
    pub(super) turns: u64,
    pub(super) events: u64,
    pub(super) stale: u64,
    pub(super) callbacks: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    /// In nanoseconds, as the next.
    pub(super) busy: u64,
}

impl Span {
    pub(super) fn beginning(began: u64) -> Span {
        Span {
            began,
            ..Span::default()
        }
    }

    #[inline]
    pub(super) fn count_callback(&mut self, end: &CallbackEnd<'_>, took: u64) {
        self.callbacks += 1;
        self.bytes_in += end.bytes_in;
        self.bytes_out += end.bytes_out;
        self.busy += took;
    }
}
