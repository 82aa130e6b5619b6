//! Items at fixed places, each of which can be in a few doubly linked lists. So an item that ends leaves every queue
//! in constant time, and a hit on the pool allocates nothing.

use std::ops::{Index, IndexMut};

use slab::Slab;

/// No place.
const NONE: usize = usize::MAX;

/// The position of an item in one list.
#[derive(Clone, Copy, Debug)]
struct Link {
    previous: usize,
    next: usize,
    is_listed: bool,
}

const UNLISTED: Link = Link {
    previous: NONE,
    next: NONE,
    is_listed: false,
};

/// The items. Each can be in `LISTS` lists at once.
#[derive(Debug)]
pub(super) struct Items<T, const LISTS: usize>(Slab<(T, [Link; LISTS])>);

impl<T, const LISTS: usize> Items<T, LISTS> {
    pub(super) fn new() -> Self {
        Items(Slab::new())
    }

    /// Puts an item in the first free place; which one that is.
    pub(super) fn insert(&mut self, item: T) -> usize {
        self.0.insert((item, [UNLISTED; LISTS]))
    }

    /// Takes an item out. It must be in no list.
    pub(super) fn remove(&mut self, place: usize) -> T {
        let (item, links) = self.0.remove(place);
        debug_assert!(links.iter().all(|link| !link.is_listed), "still listed");
        item
    }

    pub(super) fn get(&self, place: usize) -> Option<&T> {
        self.0.get(place).map(|(item, _)| item)
    }

    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        self.0.get_mut(place).map(|(item, _)| item)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All places that are taken, in no particular order.
    pub(super) fn places(&self) -> Vec<usize> {
        self.0.iter().map(|(place, _)| place).collect()
    }
}

impl<T, const LISTS: usize> Index<usize> for Items<T, LISTS> {
    type Output = T;

    fn index(&self, place: usize) -> &T {
        &self.0[place].0
    }
}

impl<T, const LISTS: usize> IndexMut<usize> for Items<T, LISTS> {
    fn index_mut(&mut self, place: usize) -> &mut T {
        &mut self.0[place].0
    }
}

/// One list over items, first in, first out, unless asked otherwise. `which` of an item's links it uses is fixed:
/// two lists of one number never hold the same item.
#[derive(Debug)]
pub(super) struct List {
    which: usize,
    first: usize,
    last: usize,
    len: usize,
}

impl List {
    pub(super) fn new(which: usize) -> List {
        List {
            which,
            first: NONE,
            last: NONE,
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn first(&self) -> Option<usize> {
        (self.first != NONE).then_some(self.first)
    }

    pub(super) fn last(&self) -> Option<usize> {
        (self.last != NONE).then_some(self.last)
    }

    /// The place after this one, which is listed.
    pub(super) fn after<T, const N: usize>(
        &self,
        items: &Items<T, N>,
        place: usize,
    ) -> Option<usize> {
        let next = items.0[place].1[self.which].next;
        (next != NONE).then_some(next)
    }

    /// Adds an item at the end. False, and nothing is done, if it is listed already.
    pub(super) fn push<T, const N: usize>(
        &mut self,
        items: &mut Items<T, N>,
        place: usize,
    ) -> bool {
        let link = &mut items.0[place].1[self.which];
        if link.is_listed {
            return false;
        }
        *link = Link {
            previous: self.last,
            next: NONE,
            is_listed: true,
        };
        match self.last {
            NONE => self.first = place,
            last => items.0[last].1[self.which].next = place,
        }
        self.last = place;
        self.len += 1;
        true
    }

    /// Takes an item out, wherever it is. False if it is not listed.
    pub(super) fn remove<T, const N: usize>(
        &mut self,
        items: &mut Items<T, N>,
        place: usize,
    ) -> bool {
        let link = std::mem::replace(&mut items.0[place].1[self.which], UNLISTED);
        if !link.is_listed {
            return false;
        }
        match link.previous {
            NONE => self.first = link.next,
            previous => items.0[previous].1[self.which].next = link.next,
        }
        match link.next {
            NONE => self.last = link.previous,
            next => items.0[next].1[self.which].previous = link.previous,
        }
        self.len -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all<const N: usize>(list: &List, items: &Items<char, N>) -> String {
        let mut text = String::new();
        let mut place = list.first();
        while let Some(here) = place {
            text.push(items[here]);
            place = list.after(items, here);
        }
        assert_eq!(text.len(), list.len());
        assert_eq!(text.chars().last(), list.last().map(|last| items[last]));
        text
    }

    #[test]
    fn an_item_leaves_from_the_middle_of_one_list_and_stays_in_the_other() {
        let mut items: Items<char, 2> = Items::new();
        let (mut one, mut two) = (List::new(0), List::new(1));
        let places: Vec<_> = "abcd".chars().map(|c| items.insert(c)).collect();
        for &place in &places {
            assert!(one.push(&mut items, place) && two.push(&mut items, place));
            assert!(!one.push(&mut items, place), "it is there already");
        }
        assert!(one.remove(&mut items, places[1]) && !one.remove(&mut items, places[1]));
        assert_eq!(
            (all(&one, &items), all(&two, &items)),
            ("acd".into(), "abcd".into())
        );
        assert!(one.remove(&mut items, places[3]) && one.remove(&mut items, places[0]));
        assert_eq!(all(&one, &items), "c");
        assert!(one.remove(&mut items, places[2]) && one.is_empty());
        assert_eq!((one.first(), one.last()), (None, None));
        assert!(two.remove(&mut items, places[2]));
        assert_eq!(items.remove(places[2]), 'c');
        assert_eq!(all(&two, &items), "abd");
    }
}
