//! A list that is worked through, with a place in it that outlives a panic.

/// What one step of a turn works through: a snapshot, with a cursor that survives a panic in the
/// middle, so that the rest of the batch still gets its turn.
#[derive(Debug)]
pub(crate) struct Batch<T> {
    items: Vec<T>,
    next: usize,
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Batch {
            items: Vec::new(),
            next: 0,
        }
    }
}

impl<T: Copy> Batch<T> {
    /// Takes over all of `list` and leaves it empty, swapping the memory of both. Something is left
    /// here only if a panic was let through; that goes first.
    pub(crate) fn load(&mut self, list: &mut Vec<T>) {
        if self.is_empty() {
            self.items.clear();
            std::mem::swap(&mut self.items, list);
        } else {
            self.items.drain(..self.next);
            self.items.append(list);
        }
        self.next = 0;
    }

    #[inline]
    pub(crate) fn next(&mut self) -> Option<T> {
        let item = self.items.get(self.next).copied();
        self.next += usize::from(item.is_some());
        item
    }

    /// The next `count`, once for each so many and if so many are left: for what is better done for all at once.
    #[inline]
    pub(crate) fn next_lot(&self, count: usize) -> Option<&[T]> {
        if self.next % count != 0 {
            return None;
        }
        self.items.get(self.next..self.next + count)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.next == self.items.len()
    }

    /// What was worked through, and is known until the next load.
    pub(crate) fn done(&self) -> &[T] {
        &self.items[..self.next]
    }

    /// Has `fill` add items behind those that are left, as some may be after a panic that was let through, or
    /// when there was no time for all.
    pub(crate) fn refill(&mut self, fill: impl FnOnce(&mut Vec<T>)) {
        // Not for a few: if each turn moved down all the rest, a long batch would take for ever.
        if self.next >= self.items.len() / 2 {
            self.items.drain(..self.next);
            self.next = 0;
        }
        fill(&mut self.items);
    }

    /// What is still to be worked through.
    pub(crate) fn left(&self) -> &[T] {
        &self.items[self.next..]
    }
}
