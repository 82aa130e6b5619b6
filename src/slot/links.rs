//! A slot's neighbours in flow control. Most slots have none, and then it is one word.

use std::collections::BTreeSet;

use crate::world::ids::AnyId;

/// What a neighbour is to this slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// It feeds this one.
    Feeder,
    /// Its broadcasts wait for this one to drain.
    Broadcaster,
    /// This one's broadcasts wait for it to drain.
    Receiver,
    /// It is told when this one ends.
    Watcher,
    /// This one is told when it ends.
    Watched,
}

/// Sets of neighbours. Adding, removing and asking take logarithmic time, for their number is in the hands
/// of peers.
#[derive(Debug, Default)]
pub(crate) struct Links(Option<Box<Sets>>);

#[derive(Debug, Default)]
struct Sets {
    feeders: BTreeSet<AnyId>,
    broadcasters: BTreeSet<AnyId>,
    receivers: BTreeSet<AnyId>,
    watchers: BTreeSet<AnyId>,
    watched: BTreeSet<AnyId>,
}

impl Sets {
    fn of(&mut self, link: Link) -> &mut BTreeSet<AnyId> {
        match link {
            Link::Feeder => &mut self.feeders,
            Link::Broadcaster => &mut self.broadcasters,
            Link::Receiver => &mut self.receivers,
            Link::Watcher => &mut self.watchers,
            Link::Watched => &mut self.watched,
        }
    }

    fn is_empty(&self) -> bool {
        let all = [
            &self.feeders,
            &self.broadcasters,
            &self.receivers,
            &self.watchers,
            &self.watched,
        ];
        all.iter().all(|set| set.is_empty())
    }
}

impl Links {
    /// False if it was there already.
    pub(crate) fn add(&mut self, link: Link, id: AnyId) -> bool {
        self.0.get_or_insert_default().of(link).insert(id)
    }

    /// False if it was not there.
    pub(crate) fn remove(&mut self, link: Link, id: AnyId) -> bool {
        let Some(sets) = &mut self.0 else {
            return false;
        };
        let removed = sets.of(link).remove(&id);
        if sets.is_empty() {
            self.0 = None;
        }
        removed
    }

    /// All of one kind; none is left.
    pub(crate) fn take(&mut self, link: Link) -> BTreeSet<AnyId> {
        let Some(sets) = &mut self.0 else {
            return BTreeSet::new();
        };
        let taken = std::mem::take(sets.of(link));
        if sets.is_empty() {
            self.0 = None;
        }
        taken
    }

    /// Gives back what was taken.
    pub(crate) fn restore(&mut self, link: Link, ids: BTreeSet<AnyId>) {
        if !ids.is_empty() {
            *self.0.get_or_insert_default().of(link) = ids;
        }
    }

    #[cfg(feature = "testing")]
    pub(crate) fn all(&self, link: Link) -> Vec<AnyId> {
        let Some(sets) = &self.0 else {
            return Vec::new();
        };
        let set = match link {
            Link::Feeder => &sets.feeders,
            Link::Broadcaster => &sets.broadcasters,
            Link::Receiver => &sets.receivers,
            Link::Watcher => &sets.watchers,
            Link::Watched => &sets.watched,
        };
        set.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_one_kind_are_apart_from_those_of_another_and_none_takes_no_memory() {
        let (one, two) = (AnyId::new(1, 1), AnyId::new(2, 1));
        let mut links = Links::default();
        assert!(links.add(Link::Feeder, one) && !links.add(Link::Feeder, one));
        assert!(links.add(Link::Broadcaster, two));
        assert!(!links.remove(Link::Receiver, one) && !links.remove(Link::Feeder, two));
        let feeders = links.take(Link::Feeder);
        assert_eq!(feeders.iter().copied().collect::<Vec<_>>(), [one]);
        links.restore(Link::Feeder, feeders);
        assert!(links.remove(Link::Feeder, one) && links.remove(Link::Broadcaster, two));
        assert!(links.0.is_none());
        assert_eq!(size_of::<Links>(), size_of::<usize>());
    }
}
