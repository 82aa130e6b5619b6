//! Where dispatchers live: the slab and its slots. Their names are in `world/ids.rs`.

use std::io;

use crate::slot::Slot;
use crate::watch::ends::Cause;
use crate::world::ids::{AnyId, LAST_GENERATION, TOKEN_INDEX_MASK};

/// All slots, and the generation of each place.
#[derive(Debug)]
pub(crate) struct Slots<D> {
    /// Every place, taken or not: a vacant one holds an ended slot that no id names, so that a look-up need
    /// not ask whether there is one.
    slots: Vec<Slot<D>>,
    /// The generation that the next slot of each place gets.
    generations: Vec<u32>,
    /// Why the last slot of each place ended, as far as the last place of which one has ended.
    last_ends: Vec<Option<Cause>>,
    /// Places that can be used again; the last that became vacant is the first.
    vacant: Vec<u32>,
    /// Places whose generation is used up; they stay occupied by an ended slot.
    retired: usize,
}

const GONE: &str = "slots are freed in the close step only";

impl<D> Default for Slots<D> {
    fn default() -> Self {
        Slots {
            slots: Vec::new(),
            generations: Vec::new(),
            last_ends: Vec::new(),
            vacant: Vec::new(),
            retired: 0,
        }
    }
}

impl<D> Slots<D> {
    /// How many dispatchers there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.vacant.len() - self.retired
    }

    #[cfg(feature = "testing")]
    pub(crate) fn capacity(&self) -> usize {
        self.slots.capacity()
    }

    /// The id that the next [`Slots::insert`] will give, so that a socket can be registered under it
    /// before there is anything to take back.
    pub(crate) fn vacant_id(&self) -> io::Result<AnyId> {
        let key = self
            .vacant
            .last()
            .map_or(self.slots.len(), |&index| index as usize);
        let index = u32::try_from(key)
            .ok()
            .filter(|_| key < TOKEN_INDEX_MASK)
            .ok_or_else(|| {
                io::Error::other(format!(
                    "no slot left for a dispatcher: {} exist already",
                    self.len()
                ))
            })?;
        Ok(AnyId::new(
            index,
            self.generations.get(key).copied().unwrap_or(1),
        ))
    }

    pub(crate) fn insert(&mut self, id: AnyId, mut slot: Slot<D>) {
        slot.id = id;
        match self.vacant.pop() {
            Some(index) => {
                debug_assert_eq!(index as usize, id.index(), "as vacant_id said");
                self.slots[index as usize] = slot;
            }
            None => {
                debug_assert_eq!(self.slots.len(), id.index(), "as vacant_id said");
                self.slots.push(slot);
                self.generations.push(id.generation());
            }
        }
    }

    /// The slot that `id` names, if its dispatcher is still there. The generation is compared here,
    /// and this is the only way from an id that was kept to a slot.
    pub(crate) fn get(&self, id: AnyId) -> Option<&Slot<D>> {
        let slot = self.slots.get(id.index())?;
        // (Not by `filter`, which is compiled to three questions.)
        if slot.id == id { Some(slot) } else { None }
    }

    pub(crate) fn get_mut(&mut self, id: AnyId) -> Option<&mut Slot<D>> {
        let slot = self.slots.get_mut(id.index())?;
        if slot.id == id { Some(slot) } else { None }
    }

    /// The slot of an id that was looked up earlier in this step: slots are freed in the close step
    /// only, so it is still there.
    pub(crate) fn slot(&self, id: AnyId) -> &Slot<D> {
        let slot = self.slots.get(id.index()).expect(GONE);
        debug_assert_eq!(slot.id, id, "{GONE}");
        slot
    }

    /// As [`Slots::slot`].
    pub(crate) fn slot_mut(&mut self, id: AnyId) -> &mut Slot<D> {
        self.get_by_index(id).expect(GONE)
    }

    /// As [`Slots::slot_mut`], for a caller that has something to say before it panics.
    pub(crate) fn get_by_index(&mut self, id: AnyId) -> Option<&mut Slot<D>> {
        let slot = self.slots.get_mut(id.index())?;
        debug_assert_eq!(slot.id, id, "{GONE}");
        Some(slot)
    }

    /// Frees the place and raises its generation: from here on the id is not valid.
    pub(crate) fn remove(&mut self, id: AnyId) -> Option<Slot<D>> {
        let last_end = self.get(id)?.fate.cause();
        if id.index() >= self.last_ends.len() {
            self.last_ends.resize(id.index() + 1, None);
        }
        self.last_ends[id.index()] = last_end;
        let generation = &mut self.generations[id.index()];
        if *generation == LAST_GENERATION {
            self.retired += 1;
        } else {
            *generation += 1;
            let index = u32::try_from(id.index()).expect("an id's index has 32 bits");
            self.vacant.push(index);
        }
        let slot = &mut self.slots[id.index()];
        Some(std::mem::replace(slot, Slot::tombstone()))
    }

    /// Why a dispatcher ended: one that waits for its `handle_close`, or the last one of its place.
    pub(crate) fn end_of(&self, id: AnyId) -> Option<Cause> {
        if let Some(slot) = self.get(id) {
            return slot.fate.cause();
        }
        let generation = self.generations.get(id.index())?;
        let was_last = *generation == id.generation().wrapping_add(1);
        let last_end = self.last_ends.get(id.index()).copied().flatten();
        last_end.filter(|_| was_last)
    }

    /// Every dispatcher's id and slot. Only for what is asked of all at once, never within a turn.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (AnyId, &Slot<D>)> {
        let slots = self.slots.iter().map(|slot| (slot.id, slot));
        slots.filter(|&(id, _)| id != AnyId::NONE)
    }

    /// The ids of all dispatchers.
    pub(crate) fn ids(&self) -> Vec<AnyId> {
        self.iter().map(|(id, _)| id).collect()
    }

    #[cfg(test)]
    fn set_next_generation(&mut self, index: usize, generation: u32) {
        self.generations[index] = generation;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot::life::Life;
    use crate::slot::outbox::Marks;
    use crate::world::address::Address;
    use crate::world::io::Io;

    fn slot() -> Slot<()> {
        let socket = (Io::closed(), Address::None);
        Slot::new(Some(()), || "", socket, Life::Open, Marks::default())
    }

    fn add(slots: &mut Slots<()>) -> AnyId {
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
    fn slot_takes_no_more_than_its_share_of_an_idle_connection() {
        assert!(size_of::<Slot<Box<dyn Fn()>>>() <= 176);
    }
}
