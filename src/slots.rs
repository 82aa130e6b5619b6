//! Where dispatchers live: the slab and its slots. Their names are in `ids.rs`.

use std::io;
use std::ops::Deref;

use slab::Slab;

use crate::clock::Tick;
use crate::close::End;
use crate::dispatcher::Dispatcher;
use crate::ids::{AnyId, LAST_GENERATION, TOKEN_INDEX_MASK};
use crate::outbox::{Marks, Outbox};
use crate::readiness::Readiness;
use crate::socket::Socket;
use crate::timers::TimerList;

/// Where a slot stands between being added and being freed. It only ever moves forward.
///
/// Zero is the usual case: the bits of a [`Readiness`] in which nothing unusual is set are then those of
/// an open slot as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Life {
    /// An outgoing connection whose fate is not known yet.
    Connecting = -2,
    /// Accepting.
    Listening = -1,
    /// Able to send and receive.
    Open = 0,
    /// `close()` was called: queued output is still leaving, nothing is read.
    Flushing = 1,
    /// All output is with the kernel and the write side is shut: what arrives is thrown away.
    Draining = 2,
    /// Over. Only `handle_close` is left to come.
    Ended = 3,
}

/// One dispatcher and all that belongs to it.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) readiness: Readiness,
    pub(crate) generation: u32,
    /// `None` while one of its callbacks, or a `with` closure, runs.
    pub(crate) dispatcher: Option<Box<dyn Dispatcher>>,
    pub(crate) socket: Socket,
    pub(crate) outbox: Outbox,
    /// When bytes last moved in either direction; what idle time-outs look at.
    pub(crate) touched: Tick,
    /// When the kernel last took output, or output began to wait; what stall deadlines look at.
    pub(crate) output_moved: Tick,
    /// The connection that this one's input is written to: while it is over its high mark, this one
    /// is not read. Itself, unless `feeds` said otherwise.
    pub(crate) feeds: AnyId,
    /// Who else feeds this one.
    pub(crate) feeders: RareList,
    /// Whose broadcasts have to wait for this one to drain.
    pub(crate) broadcasters: RareList,
    /// How many congested connections hold this one; the `Held` flag says whether any.
    pub(crate) holds: u32,
    /// The error that broke the connection. The first one is kept: the kernel tells it once.
    pub(crate) broken_by: Option<io::Error>,
    /// How it ended, once it has.
    pub(crate) end: Option<End>,
    /// The timers that die with this slot.
    pub(crate) timers: TimerList,
    /// The dispatcher's type, for log lines. A function is half as long as the name's reference.
    pub(crate) type_name: fn() -> &'static str,
}

impl Slot {
    pub(crate) fn new(
        dispatcher: Box<dyn Dispatcher>,
        type_name: fn() -> &'static str,
        socket: Socket,
        marks: Marks,
    ) -> Slot {
        Slot {
            readiness: Readiness::default(),
            generation: 0,
            dispatcher: Some(dispatcher),
            socket,
            outbox: Outbox::new(marks),
            touched: Tick::default(),
            output_moved: Tick::default(),
            feeds: AnyId::NOBODY,
            feeders: RareList::default(),
            broadcasters: RareList::default(),
            holds: 0,
            broken_by: None,
            end: None,
            timers: TimerList::default(),
            type_name,
        }
    }
}

impl Slot {
    /// Where it stands. Kept with the other bits, so that one comparison tells the usual case.
    #[inline]
    pub(crate) fn life(&self) -> Life {
        self.readiness.life()
    }

    /// The dispatcher, for a callback, after which it is put back.
    #[inline]
    pub(crate) fn take_dispatcher(&mut self) -> Box<dyn Dispatcher> {
        self.dispatcher
            .take()
            .expect("no callback runs inside another, so the dispatcher is in its slot")
    }

    #[inline]
    pub(crate) fn enter(&mut self, life: Life) {
        self.readiness.enter(life);
    }
}

/// A list of ids that is empty in most slots, where it takes one word.
#[derive(Debug, Default)]
#[expect(clippy::box_collection, reason = "three words would be in every slot")]
pub(crate) struct RareList(Option<Box<Vec<AnyId>>>);

impl RareList {
    pub(crate) fn push(&mut self, id: AnyId) {
        self.0.get_or_insert_default().push(id);
    }

    pub(crate) fn remove(&mut self, id: AnyId) {
        let Some(ids) = &mut self.0 else { return };
        if let Some(place) = ids.iter().position(|&other| other == id) {
            ids.swap_remove(place);
        }
    }

    /// All of them; none is left.
    pub(crate) fn take(&mut self) -> Vec<AnyId> {
        self.0.take().map_or_else(Vec::new, |ids| *ids)
    }
}

impl Deref for RareList {
    type Target = [AnyId];

    fn deref(&self) -> &[AnyId] {
        self.0.as_ref().map_or(&[], |ids| ids)
    }
}

/// All slots, and the generation of each place.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    slab: Slab<Slot>,
    /// The generation that a place's next tenant gets. As long as the slab has ever been.
    generations: Vec<u32>,
    /// Places whose generation is used up; they stay occupied by an ended slot for ever.
    retired: usize,
}

impl Slots {
    /// How many dispatchers there are.
    pub(crate) fn len(&self) -> usize {
        self.slab.len() - self.retired
    }

    #[cfg(feature = "testing")]
    pub(crate) fn capacity(&self) -> usize {
        self.slab.capacity()
    }

    /// The id that the next [`Slots::insert`] will give, so that a socket can be registered under it
    /// before there is anything to take back.
    pub(crate) fn vacant_id(&self) -> io::Result<AnyId> {
        let key = self.slab.vacant_key();
        let index = u32::try_from(key)
            .ok()
            .filter(|_| key < TOKEN_INDEX_MASK)
            .ok_or_else(|| {
                io::Error::other(format!("no slot left: {} dispatchers exist", self.len()))
            })?;
        Ok(AnyId::new(
            index,
            self.generations.get(key).copied().unwrap_or(1),
        ))
    }

    pub(crate) fn insert(&mut self, id: AnyId, mut slot: Slot) {
        slot.generation = id.generation();
        slot.feeds = id;
        let key = self.slab.insert(slot);
        debug_assert_eq!(
            key,
            id.index(),
            "the slab fills the place that vacant_key names"
        );
        if key == self.generations.len() {
            self.generations.push(id.generation());
        }
    }

    /// The slot that `id` names, if its dispatcher is still there. The generation is compared here,
    /// and this is the only way from an id that anybody kept to a slot.
    pub(crate) fn get(&self, id: AnyId) -> Option<&Slot> {
        self.slab
            .get(id.index())
            .filter(|slot| slot.generation == id.generation())
    }

    pub(crate) fn get_mut(&mut self, id: AnyId) -> Option<&mut Slot> {
        self.slab
            .get_mut(id.index())
            .filter(|slot| slot.generation == id.generation())
    }

    /// The slot of an id that was looked up earlier in this step: slots are freed in the close step
    /// only, so it is still there.
    pub(crate) fn slot(&self, id: AnyId) -> &Slot {
        self.slab
            .get(id.index())
            .expect("slots are freed in the close step only")
    }

    /// As [`Slots::slot`].
    pub(crate) fn slot_mut(&mut self, id: AnyId) -> &mut Slot {
        self.slab
            .get_mut(id.index())
            .expect("slots are freed in the close step only")
    }

    /// Frees the place and raises its generation: from here on the id names nobody.
    pub(crate) fn remove(&mut self, id: AnyId) -> Option<Slot> {
        self.get(id)?;
        let generation = &mut self.generations[id.index()];
        let slot = if *generation == LAST_GENERATION {
            self.retired += 1;
            let mut tombstone = Slot::new(
                Box::new(Retired),
                std::any::type_name::<Retired>,
                Socket::closed(),
                Marks::default(),
            );
            tombstone.enter(Life::Ended);
            std::mem::replace(&mut self.slab[id.index()], tombstone)
        } else {
            *generation += 1;
            self.slab.remove(id.index())
        };
        Some(slot)
    }

    /// Every dispatcher's id and slot. Only for what is asked of all at once, never within a turn.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (AnyId, &Slot)> {
        self.slab.iter().filter_map(|(key, slot)| {
            // Generation 0 is never issued: it marks a retired place.
            let id = AnyId::new(u32::try_from(key).ok()?, slot.generation);
            (slot.generation != 0).then_some((id, slot))
        })
    }

    #[cfg(test)]
    fn set_next_generation(&mut self, index: usize, generation: u32) {
        self.generations[index] = generation;
    }
}

/// Sits in a place that has run out of generations.
#[derive(Debug)]
struct Retired;

impl Dispatcher for Retired {}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot() -> Slot {
        Slot::new(
            Box::new(Retired),
            std::any::type_name::<Retired>,
            Socket::closed(),
            Marks::default(),
        )
    }

    fn add(slots: &mut Slots) -> AnyId {
        let id = slots.vacant_id().expect("a small slab has room");
        slots.insert(id, slot());
        id
    }

    #[test]
    fn id_of_a_freed_slot_does_not_reach_the_newcomer() {
        let mut slots = Slots::default();
        let old = add(&mut slots);
        slots.remove(old);
        let new = add(&mut slots);
        assert_eq!(
            old.index(),
            new.index(),
            "the slab reuses the place at once"
        );
        assert!(slots.get(old).is_none() && slots.get_mut(old).is_none());
        assert!(slots.get(new).is_some());
        assert!(slots.remove(old).is_none());
    }

    #[test]
    fn slot_about_to_wrap_is_retired_and_never_reissued() {
        let mut slots = Slots::default();
        let first = add(&mut slots);
        slots.remove(first);
        slots.set_next_generation(0, LAST_GENERATION);
        let last = add(&mut slots);
        assert_eq!(last, AnyId::new(0, LAST_GENERATION));
        assert!(slots.remove(last).is_some());
        assert!(slots.get(last).is_none());
        assert_eq!(slots.len(), 0);
        assert_eq!(slots.iter().count(), 0);
        assert_eq!(add(&mut slots).index(), 1, "the place stays taken");
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn slot_is_no_larger_than_three_cache_lines() {
        assert!(size_of::<Slot>() <= 192, "{}", size_of::<Slot>());
    }
}
