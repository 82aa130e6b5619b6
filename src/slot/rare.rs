//! What few slots have: behind one pointer, so that the others pay with no more than that.

use crate::slot::Slot;
use crate::slot::files::Files;
use crate::slot::put_back::PutBack;

/// There is one only while one of its parts is there.
#[derive(Debug, Default)]
pub(crate) struct Rare {
    /// Input that was put back, to be read before what the kernel has.
    pub(super) put_back: Option<PutBack>,
    /// Files that wait to be sent behind what is in the outbox. While there is one the slot is `Congested`, so
    /// that the ways of plain bytes need not ask.
    pub(super) files: Option<Files>,
}

impl<D> Slot<D> {
    /// To be given a part.
    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// A part has gone; with the last one the memory goes, too.
    pub(super) fn tidy(&mut self) {
        let rare = self.rare.as_deref();
        if rare.is_some_and(|rare| rare.put_back.is_none() && rare.files.is_none()) {
            self.rare = None;
        }
    }
}
