//! The ready batch of a turn, as far as there are places.

use crate::AnyId;

/// The events that a turn took in, in their order: which dispatchers were ready, and for what.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) turn: u64,
    pub(super) chips: Vec<Chip>,
    /// Events beyond the last place.
    pub(super) more: u64,
}

/// One dispatcher in a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chip {
    pub(super) id: AnyId,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// It was gone.
    pub(super) stale: bool,
    /// It was still ready after its callback, and served again in the next turn.
    pub(super) again: bool,
}

/// Where those are that found no place.
const NO_PLACE: u8 = u8::MAX;

/// Chips that are kept of a turn.
const MOST_CHIPS: usize = 64;

impl Batch {
    /// The place of the chip, or none.
    #[inline]
    pub(super) fn push(&mut self, chip: Chip) -> u8 {
        if self.chips.len() == MOST_CHIPS {
            self.more += 1;
            return NO_PLACE;
        }
        self.chips.push(chip);
        u8::try_from(self.chips.len() - 1).unwrap_or(NO_PLACE)
    }

    /// The dispatcher at this place was still ready after its callback.
    pub(super) fn mark_again(&mut self, place: u8, id: AnyId) {
        if let Some(chip) = self
            .chips
            .get_mut(usize::from(place))
            .filter(|chip| chip.id == id)
        {
            chip.again = true;
        }
    }

    /// Whether this dispatcher is the one at this place.
    #[inline]
    pub(super) fn has(&self, place: u8, id: AnyId) -> bool {
        let chip = self.chips.get(usize::from(place));
        chip.is_some_and(|chip| chip.id == id)
    }

    pub(super) fn begin(&mut self, turn: u64) {
        self.turn = turn;
        self.chips.clear();
        self.more = 0;
    }
}

/// Of how many turns of a beat each event is looked at. Of a busy loop's, which are hundreds a beat, these are a few
/// percent; of a quiet one's they are all.
const TURNS: u32 = 16;

/// In which turns events are looked at: the first ones of each beat.
#[derive(Debug, Default)]
pub(super) struct Sampling {
    /// Turns of this beat that have ended.
    turns: u32,
    is_off: bool,
}

impl Sampling {
    #[inline]
    pub(super) fn is_on(&self) -> bool {
        !self.is_off
    }

    /// Whether the batch of the turn in hand may be shown. That of the last one tells only who in the batch before it was
    /// served again.
    pub(super) fn shows_turn(&self) -> bool {
        self.turns < TURNS
    }

    /// Whether no event is looked at before the next beat begins.
    pub(super) fn rests(&self) -> bool {
        self.is_off && self.turns > TURNS
    }

    pub(super) fn end_turn(&mut self) {
        self.turns = self.turns.saturating_add(1);
        self.is_off = self.turns > TURNS;
    }

    /// Another beat begins, with the next turn that ends.
    pub(super) fn begin_beat(&mut self) {
        self.turns = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The turns in whose middle events were looked at, and those whose batch may be shown.
    fn sampled(sampling: &mut Sampling) -> (Vec<u32>, Vec<u32>) {
        let (mut on, mut shown) = (vec![], vec![]);
        for turn in 1..=20 {
            if sampling.is_on() {
                on.push(turn);
            }
            if sampling.shows_turn() {
                shown.push(turn);
            }
            sampling.end_turn();
        }
        (on, shown)
    }

    #[test]
    fn events_are_looked_at_in_the_first_turns_of_a_beat_and_one_more() {
        let first = Vec::from_iter(1..=16);
        let and_one_more = Vec::from_iter(1..=17);
        let mut sampling = Sampling::default();
        assert_eq!(sampled(&mut sampling), (and_one_more, first.clone()));
        // What is looked at changes between two turns, and not in the one in which a beat is made.
        sampling.begin_beat();
        let but_the_first = Vec::from_iter(2..=17);
        assert_eq!(sampled(&mut sampling), (but_the_first, first));
    }
}
