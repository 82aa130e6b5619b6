//! A slot's neighbours: in flow control, and those that watch its end. Most slots have none.

use std::collections::BTreeSet;

use crate::slot::Slot;
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
pub(crate) struct Links {
    feeders: BTreeSet<AnyId>,
    broadcasters: BTreeSet<AnyId>,
    receivers: BTreeSet<AnyId>,
    watchers: BTreeSet<AnyId>,
    watched: BTreeSet<AnyId>,
}

impl Links {
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

impl<D> Slot<D> {
    /// Adds a neighbour. False if it was one already.
    pub(crate) fn link(&mut self, link: Link, id: AnyId) -> bool {
        let links = self.rare().links.get_or_insert_default();
        links.of(link).insert(id)
    }

    /// Removes a neighbour. False if it was none.
    pub(crate) fn unlink(&mut self, link: Link, id: AnyId) -> bool {
        let removed = self.links().is_some_and(|links| links.of(link).remove(&id));
        self.tidy_links();
        removed
    }

    /// All of one kind; none is left.
    pub(crate) fn take_links(&mut self, link: Link) -> BTreeSet<AnyId> {
        let links = self.links();
        let taken = links.map_or_else(BTreeSet::new, |links| std::mem::take(links.of(link)));
        self.tidy_links();
        taken
    }

    /// Gives back what was taken.
    pub(crate) fn restore_links(&mut self, link: Link, ids: BTreeSet<AnyId>) {
        if !ids.is_empty() {
            *self.rare().links.get_or_insert_default().of(link) = ids;
        }
    }

    fn links(&mut self) -> Option<&mut Links> {
        self.rare.as_mut()?.links.as_deref_mut()
    }

    fn tidy_links(&mut self) {
        let Some(rare) = &mut self.rare else {
            return;
        };
        if rare.links.as_deref().is_some_and(Links::is_empty) {
            rare.links = None;
            self.tidy();
        }
    }

    #[cfg(feature = "testing")]
    pub(crate) fn all_links(&self, link: Link) -> Vec<AnyId> {
        let links = self.rare.as_ref().and_then(|rare| rare.links.as_deref());
        let Some(links) = links else {
            return Vec::new();
        };
        let set = match link {
            Link::Feeder => &links.feeders,
            Link::Broadcaster => &links.broadcasters,
            Link::Receiver => &links.receivers,
            Link::Watcher => &links.watchers,
            Link::Watched => &links.watched,
        };
        set.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot::life::Life;
    use crate::slot::outbox::Marks;
    use crate::world::address::Address;
    use crate::world::io::Io;

    #[test]
    fn neighbours_of_one_kind_are_apart_from_those_of_another_and_none_takes_no_memory() {
        let socket = (Io::closed(), Address::None);
        let mut slot = Slot::new(Some(()), || "", socket, Life::Open, Marks::default());
        let (one, two) = (AnyId::new(1, 1), AnyId::new(2, 1));
        assert!(slot.link(Link::Feeder, one) && !slot.link(Link::Feeder, one));
        assert!(slot.link(Link::Broadcaster, two));
        assert!(!slot.unlink(Link::Receiver, one) && !slot.unlink(Link::Feeder, two));
        let feeders = slot.take_links(Link::Feeder);
        assert_eq!(feeders.iter().copied().collect::<Vec<_>>(), [one]);
        slot.restore_links(Link::Feeder, feeders);
        assert!(slot.unlink(Link::Feeder, one) && slot.unlink(Link::Broadcaster, two));
        assert!(slot.rare.is_none());
    }
}
