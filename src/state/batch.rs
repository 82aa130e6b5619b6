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

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(count: u32) -> Batch<u32> {
        let mut batch = Batch::default();
        batch.load(&mut (0..count).collect());
        batch
    }

    /// Works through the next `count`.
    fn pass(batch: &mut Batch<u32>, count: usize) {
        for _ in 0..count {
            batch.next().expect("there are more");
        }
    }

    #[test]
    fn each_is_handed_out_once_and_those_that_are_left_come_before_a_new_list() {
        let mut batch = batch(3);
        pass(&mut batch, 2);
        assert_eq!((batch.done(), batch.left()), (&[0, 1][..], &[2][..]));
        let mut more = vec![3, 4];
        batch.load(&mut more);
        assert!(more.is_empty() && batch.done().is_empty());
        assert_eq!(batch.left(), [2, 3, 4]);
        pass(&mut batch, 3);
        assert!(batch.is_empty() && batch.next().is_none());
        assert_eq!(batch.done(), [2, 3, 4], "until the next load");
        batch.load(&mut vec![5]);
        assert_eq!(batch.left(), [5]);
    }

    #[test]
    fn a_lot_is_handed_out_once_for_each_so_many_and_only_whole() {
        let mut batch = batch(10);
        let mut lots = Vec::new();
        for place in 0..10 {
            if let Some(lot) = batch.next_lot(4) {
                lots.push((place, lot.to_vec()));
            }
            pass(&mut batch, 1);
        }
        assert_eq!(lots, [(0, vec![0, 1, 2, 3]), (4, vec![4, 5, 6, 7])]);
    }

    #[test]
    fn a_refill_moves_those_that_are_left_once_they_are_the_smaller_half() {
        for (done, kept) in [(4, 4), (5, 0), (10, 0)] {
            let mut batch = batch(10);
            pass(&mut batch, done);
            batch.refill(|items| items.push(10));
            assert_eq!(batch.done().len(), kept, "after {done} of 10");
            let left: Vec<u32> = (0..=10).skip(done).collect();
            assert_eq!(batch.left(), left);
        }
    }
}
