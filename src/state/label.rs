//! How a dispatcher shows in log lines and in `Debug`.

use std::fmt;

use crate::slot::life::Life;
use crate::state::State;
use crate::world::address::Address;
use crate::world::endpoint::Kind;
use crate::world::ids::{AnyId, TypeName, short_type_name};

/// Shown as `Echo 7.3 (127.0.0.1:40513)`, or `Echo 7.3 (the reading end of a pipe)`, or with the type of a
/// foreign source.
#[derive(Debug)]
pub(crate) struct Label<'a> {
    id: AnyId,
    /// The type's name and the address; `None` if the dispatcher is gone.
    of: Option<(TypeName, &'a Address)>,
}

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.of {
            Some((type_name, address)) => {
                let name = short_type_name(type_name());
                write!(f, "{name} {} ({address})", self.id)
            }
            None if self.id == AnyId::NONE => f.write_str("reactor"),
            None => write!(f, "{}", self.id),
        }
    }
}

impl<D> State<D> {
    /// How log lines name a dispatcher.
    pub(crate) fn label(&self, id: AnyId) -> Label<'_> {
        Label {
            id,
            of: self
                .slots
                .get(id)
                .map(|slot| (slot.type_name, &slot.address)),
        }
    }

    /// What `Debug` shows of a dispatcher.
    pub(crate) fn describe(&self, id: AnyId, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slot = self.slots.slot(id);
        let state = match slot.life() {
            Life::Connecting => "connecting",
            Life::Broken => "broken",
            Life::Listening => "listening",
            Life::Open if slot.io.kind() == Kind::Stream => "connected",
            Life::Open => "open",
            Life::ConnectingToClose
            | Life::ConnectingToReset
            | Life::Producing
            | Life::Flushing
            | Life::FlushingToReset
            | Life::Draining => "closing",
            Life::Ended => "closed",
        };
        let mut shown = f.debug_struct(&short_type_name((slot.type_name)()));
        shown
            .field("id", &format_args!("{id}"))
            .field("state", &format_args!("{state}"))
            .field("address", &format_args!("{}", slot.address))
            .field("readiness", &slot.readiness)
            .field("outbox", &slot.outbox);
        if slot.has_files() {
            shown.field("queued_in_files", &slot.queued_in_files());
        }
        shown.finish()
    }
}
