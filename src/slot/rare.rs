//! What few slots have: behind one pointer, so that the others pay with no more than that.

use crate::slot::Slot;
use crate::slot::files::Files;
use crate::slot::links::Links;
use crate::slot::put_back::PutBack;
use crate::watch::timeouts::Timeouts;
use crate::world::ids::AnyId;

/// There is one only while one of its parts is there.
#[derive(Debug, Default)]
pub(crate) struct Rare {
    /// Its neighbours in flow control, and the links of watching.
    pub(super) links: Option<Box<Links>>,
    /// The connection that this one's input is written to, if that is not itself.
    feeds: Option<AnyId>,
    /// Timeouts of its own, in place of the reactor's.
    timeouts: Option<Box<Timeouts>>,
    /// Input that was put back, to be read before what the kernel has.
    pub(super) put_back: Option<Box<PutBack>>,
    /// Files that wait to be sent behind what is in the outbox. While there is one the slot is `Congested`, so
    /// that the ways of plain bytes need not ask.
    pub(super) files: Option<Box<Files>>,
    /// Bytes that were accepted for sending and thrown away.
    thrown_away: usize,
}

impl Rare {
    fn is_empty(&self) -> bool {
        self.links.is_none()
            && self.feeds.is_none()
            && self.timeouts.is_none()
            && self.put_back.is_none()
            && self.files.is_none()
            && self.thrown_away == 0
    }
}

impl<D> Slot<D> {
    /// To be given a part.
    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// A part has gone; with the last one the memory goes, too.
    pub(super) fn tidy(&mut self) {
        if self.rare.as_deref().is_some_and(Rare::is_empty) {
            self.rare = None;
        }
    }

    /// The connection that this one's input is written to: while it is over its high mark, this one is not
    /// read. Itself, unless `feeds` said otherwise; `NONE` if it feeds none.
    pub(crate) fn feeds(&self) -> AnyId {
        let other = self.rare.as_ref().and_then(|rare| rare.feeds);
        other.unwrap_or(self.id)
    }

    pub(crate) fn set_feeds(&mut self, sink: AnyId) {
        self.rare().feeds = Some(sink).filter(|&sink| sink != self.id);
        self.tidy();
    }

    /// Bytes that were accepted for sending and thrown away, those of files apart.
    pub(crate) fn thrown_away(&self) -> usize {
        self.rare.as_ref().map_or(0, |rare| rare.thrown_away)
    }

    pub(crate) fn note_thrown_away(&mut self, bytes: usize) {
        if bytes > 0 {
            self.rare().thrown_away += bytes;
        }
    }

    pub(crate) fn timeouts(&self) -> Option<&Timeouts> {
        self.rare.as_ref()?.timeouts.as_deref()
    }

    pub(crate) fn timeouts_mut(&mut self) -> &mut Timeouts {
        self.rare().timeouts.get_or_insert_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot::life::Life;
    use crate::slot::links::Link;
    use crate::slot::outbox::Marks;
    use crate::world::address::Address;
    use crate::world::io::Io;

    #[test]
    fn a_slot_with_none_of_it_has_no_memory_for_it() {
        let socket = (Io::closed(), Address::None);
        let mut slot = Slot::new(Some(()), || "", socket, Life::Open, Marks::default());
        slot.id = AnyId::new(1, 1);
        let other = AnyId::new(2, 1);
        assert_eq!(slot.feeds(), slot.id);
        slot.note_thrown_away(0);
        assert!(slot.rare.is_none());
        slot.set_feeds(other);
        slot.link(Link::Feeder, other);
        slot.put_back(b"input");
        assert_eq!(slot.feeds(), other);
        slot.set_feeds(slot.id);
        assert_eq!(slot.take_put_back(), b"input");
        assert!(slot.rare.is_some());
        assert!(slot.unlink(Link::Feeder, other));
        assert!(slot.rare.is_none());
    }
}
