//! How a dispatcher shows in log lines and in `Debug`.

use std::fmt;

use crate::core::Core;
use crate::ids::AnyId;
use crate::slots::{Life, Slot};
use crate::socket::Kind;

/// Shown as `Echo 7.3 (127.0.0.1:40513)`.
#[derive(Debug)]
pub(crate) struct Label<'a> {
    id: AnyId,
    slot: Option<&'a Slot>,
}

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.slot {
            Some(slot) => {
                let name = short_type_name((slot.type_name)());
                write!(f, "{name} {} ({})", self.id, slot.socket.address)
            }
            None if self.id == AnyId::NOBODY => f.write_str("reactor"),
            None => write!(f, "{}", self.id),
        }
    }
}

impl Core {
    /// How log lines name a dispatcher.
    pub(crate) fn label(&self, id: AnyId) -> Label<'_> {
        Label {
            id,
            slot: self.slots.get(id),
        }
    }

    /// What `Debug` shows of a dispatcher.
    pub(crate) fn describe(&self, id: AnyId, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slot = self.slots.slot(id);
        let state = match slot.life() {
            Life::Connecting => "connecting",
            Life::Listening => "listening",
            Life::Open if slot.socket.kind() == Kind::Stream => "connected",
            Life::Open => "open",
            Life::Flushing | Life::Draining => "closing",
            Life::Ended => "closed",
        };
        f.debug_struct(&short_type_name((slot.type_name)()))
            .field("id", &format_args!("{id}"))
            .field("state", &format_args!("{state}"))
            .field("address", &format_args!("{}", slot.socket.address))
            .field("readiness", &slot.readiness)
            .field("outbox", &slot.outbox)
            .finish()
    }
}

/// A type's name without the paths in it: `chat::Framed<chat::Member>` reads `Framed<Member>`.
pub(crate) fn short_type_name(full: &str) -> String {
    let mut short = String::with_capacity(full.len());
    let mut word_start = 0;
    let mut rest = full;
    while let Some(character) = rest.chars().next() {
        if rest.starts_with("::") {
            short.truncate(word_start);
            rest = &rest[2..];
            continue;
        }
        short.push(character);
        if !character.is_alphanumeric() && character != '_' {
            word_start = short.len();
        }
        rest = &rest[character.len_utf8()..];
    }
    short
}
