//! The names of dispatchers, for records that have room for ids alone.

use std::collections::HashMap;

use crate::watch::observer::{Added, Kind};
use crate::watch::ring::record::{Record, What};
use crate::world::ids::AnyId;

/// The names of dispatchers, by id.
#[derive(Clone, Debug, Default)]
pub struct Labels(HashMap<AnyId, Label>);

/// How a dispatcher is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Label {
    /// The name of its type, without modules.
    pub type_name: String,
    /// The peer's address, or the listener's own, as it was when it was added. A peer can choose the name of a Unix
    /// socket: this is hostile text.
    pub address: String,
    /// What it is.
    pub kind: Kind,
}

impl Labels {
    /// The name of a dispatcher, if it lives or its end is still on record.
    #[must_use]
    pub fn get(&self, id: AnyId) -> Option<&Label> {
        self.0.get(&id)
    }

    /// All of them, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (AnyId, &Label)> {
        self.0.iter().map(|(&id, label)| (id, label))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn note(&mut self, added: &Added<'_>) {
        let label = Label {
            type_name: added.type_name.to_owned(),
            address: added.address.to_string(),
            kind: added.kind,
        };
        self.0.insert(added.id, label);
    }

    /// A record is thrown away. With the end of a dispatcher goes its name.
    pub(super) fn forget(&mut self, record: &Record) {
        if let What::Closed { id, .. } = record.what {
            self.0.remove(&id);
        }
    }
}
