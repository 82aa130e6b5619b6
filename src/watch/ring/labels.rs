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
    /// The peer's address, or the listener's own, at the time when it was added. A peer can choose the name of a Unix
    /// socket: do not trust this text.
    pub address: String,
    /// The kind of its socket.
    pub kind: Kind,
}

impl Labels {
    /// The name of a dispatcher, if it exists or its end is still on record.
    #[must_use]
    pub fn get(&self, id: AnyId) -> Option<&Label> {
        self.0.get(&id)
    }

    /// All names, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (AnyId, &Label)> {
        self.0.iter().map(|(&id, label)| (id, label))
    }

    /// The number of names.
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

    /// A record is discarded. The name of a dispatcher is removed with the record of its end.
    pub(super) fn forget(&mut self, record: &Record) {
        if let What::Closed { id, .. } = record.what {
            self.0.remove(&id);
        }
    }
}
