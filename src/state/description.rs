//! The description of a dispatcher for tools, in plain values.

use std::fmt;

use crate::slot::life::Life;
use crate::slot::readiness::Flag;
use crate::state::State;
use crate::watch::observer::{Interest, Kind};
use crate::world::ids::{AnyId, short_type_name};

/// One dispatcher as it is now, for tools that show a reactor: see
/// [`Context::describe`](crate::Context::describe).
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Description<'a> {
    /// The dispatcher.
    pub id: AnyId,
    /// The full name of the type that was added; [`short_name`](Description::short_name) is without modules.
    pub type_name: &'static str,
    /// What it was added with.
    pub kind: Kind,
    /// The peer's address, or the listener's own; what it is, if it has none. A peer may have chosen it.
    pub address: &'a dyn fmt::Display,
    /// How far its life has come.
    pub stage: Stage,
    /// What it asks to be called for.
    pub interest: Interest,
    /// Whether it waits in the ready list.
    pub is_ready: bool,
    /// The dispatcher that it feeds and for whose full outbox it is not read, or itself. [`AnyId::NONE`] if it
    /// is read; if it waits for the receivers of a broadcast, which are many, its own id.
    pub held_by: AnyId,
    /// Bytes accepted for sending that the kernel has not taken.
    pub queued: usize,
    /// Its outbox' low mark, in bytes.
    pub low_mark: usize,
    /// Its outbox' high mark, in bytes.
    pub high_mark: usize,
    /// Its outbox' hard cap, in bytes.
    pub hard_cap: usize,
}

/// How far a dispatcher's life has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// A connection that is not established yet.
    Connecting,
    /// Accepting, or paused.
    Listening,
    /// Able to work.
    Open,
    /// It has failed, or was closed, and what is queued is still leaving.
    Closing,
    /// Over: only `handle_close` is left to come.
    Closed,
}

impl Stage {
    /// Its name in small letters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Stage::Connecting => "connecting",
            Stage::Listening => "listening",
            Stage::Open => "open",
            Stage::Closing => "closing",
            Stage::Closed => "closed",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Description<'_> {
    /// The type's name without the paths in it: `Framed<Member>`.
    #[must_use]
    pub fn short_name(&self) -> String {
        short_type_name(self.type_name)
    }
}

impl fmt::Debug for Description<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Description")
            .field("id", &self.id)
            .field("type_name", &self.type_name)
            .field("kind", &self.kind)
            .field("address", &format_args!("{}", self.address))
            .field("stage", &self.stage)
            .field("interest", &self.interest)
            .field("is_ready", &self.is_ready)
            .field("held_by", &self.held_by)
            .field("queued", &self.queued)
            .field("low_mark", &self.low_mark)
            .field("high_mark", &self.high_mark)
            .field("hard_cap", &self.hard_cap)
            .finish()
    }
}

/// The dispatcher `id` as it is now; `None` if it is gone.
pub(crate) fn describe<D>(state: &State<D>, id: AnyId) -> Option<Description<'_>> {
    let slot = state.slots.get(id)?;
    let readiness = slot.readiness;
    let held_by = if !readiness.has(Flag::Held) {
        AnyId::NONE
    } else if is_congested(state, slot.feeds()) {
        slot.feeds()
    } else {
        id
    };
    let marks = slot.outbox.marks;
    Some(Description {
        id,
        type_name: (slot.type_name)(),
        kind: slot.io.kind().into(),
        address: &slot.address,
        stage: stage(slot.life()),
        interest: Interest {
            reading: readiness.has(Flag::WantRead),
            writing: readiness.has(Flag::WantWrite),
        },
        is_ready: readiness.has(Flag::Queued),
        held_by,
        queued: slot.queued(),
        low_mark: marks.low as usize,
        high_mark: marks.high as usize,
        hard_cap: marks.cap as usize,
    })
}

fn is_congested<D>(state: &State<D>, sink: AnyId) -> bool {
    let sink = state.slots.get(sink);
    sink.is_some_and(|sink| sink.readiness.has(Flag::Congested))
}

fn stage(life: Life) -> Stage {
    match life {
        Life::Connecting => Stage::Connecting,
        Life::Listening => Stage::Listening,
        Life::Open => Stage::Open,
        Life::Broken
        | Life::ConnectingToClose
        | Life::ConnectingToReset
        | Life::Producing
        | Life::Flushing
        | Life::FlushingToReset
        | Life::Draining => Stage::Closing,
        Life::Ended => Stage::Closed,
    }
}
