//! Lists of neighbours: empty in most slots, and then one word.

use std::ops::Deref;

use crate::world::ids::AnyId;

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
