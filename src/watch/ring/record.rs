//! What a ring keeps: one small value for each thing that happened.

use std::io;
use std::time::Duration;

use crate::watch::ends::Cause;
use crate::watch::observer::{CallbackBegin, Crossing, Event, Interest, Kind, Step, TurnEnd};
use crate::world::ids::AnyId;

/// Something that happened, and when.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Record {
    /// The reactor's clock when it was reported: the time since the reactor was built. For a callback, its end.
    pub at: Duration,
    /// What it was.
    pub what: What,
}

/// What happened: one for each method of [`Observer`](crate::observe::Observer), but for a callback, of which there is
/// one record, when it has ended.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum What {
    /// A turn began; it is the one of this number.
    TurnBegan(u64),
    /// A step of the turn began.
    Step(Step),
    /// The wait has ended.
    WaitEnded {
        /// The number of events that it reported.
        events: usize,
    },
    /// The turn has ended.
    TurnEnded(TurnEnd),
    /// An event was merged; only if the ring [keeps](super::Ring::keep_events) them.
    Merged {
        /// Whose.
        id: AnyId,
        /// What it said.
        event: Event,
    },
    /// An event, a timer or a list entry was dropped because its dispatcher has ended; only if the ring
    /// [keeps](super::Ring::keep_events) events.
    Dropped {
        /// Its id.
        id: AnyId,
    },
    /// A callback has ended.
    Callback {
        /// What was reported when it began.
        begin: CallbackBegin,
        /// How long it ran.
        took: Duration,
        /// Bytes that it received.
        bytes_in: u64,
        /// Bytes that it sent.
        bytes_out: u64,
        /// How it ended.
        ended: Ended,
    },
    /// A dispatcher was added. Its name is in [`Ring::labels`](super::Ring::labels).
    Added {
        /// The dispatcher.
        id: AnyId,
        /// Whose callback added it.
        by: AnyId,
        /// What it is.
        kind: Kind,
    },
    /// A dispatcher was replaced by another one.
    Replaced {
        /// The dispatcher.
        id: AnyId,
    },
    /// A dispatcher's interest has changed.
    Interest {
        /// Whose.
        id: AnyId,
        /// What it is now.
        interest: Interest,
    },
    /// A mark of an outbox was crossed.
    Mark {
        /// Whose.
        id: AnyId,
        /// Which.
        crossing: Crossing,
        /// Bytes in the outbox.
        queued: usize,
    },
    /// A dispatcher is not read, because of the output queued on another one.
    Held {
        /// Which.
        id: AnyId,
        /// The dispatcher whose output is queued.
        sink: AnyId,
    },
    /// A dispatcher is read again.
    Released {
        /// Which.
        id: AnyId,
    },
    /// The flush wrote; only if the ring [keeps](super::Ring::keep_flushes) flushes.
    Flushed {
        /// Whose outbox.
        id: AnyId,
        /// Bytes written.
        written: usize,
        /// Bytes left.
        queued: usize,
    },
    /// A timer fired.
    Timer {
        /// Its owner; [`AnyId::NONE`] for the timer of a closure.
        id: AnyId,
        /// How late it fired.
        late: Duration,
    },
    /// A listener has paused.
    AcceptingPaused {
        /// Which.
        id: AnyId,
        /// Why.
        reason: Shortage,
    },
    /// A listener accepts again.
    AcceptingResumed {
        /// Which.
        id: AnyId,
    },
    /// A dispatcher has ended.
    Closed {
        /// Which.
        id: AnyId,
        /// Why.
        cause: Cause,
    },
}

/// How a callback ended: [`Outcome`](crate::observe::Outcome) without the error itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// It returned `Ok`.
    Done,
    /// It returned `WouldBlock`: there is nothing to do for now.
    WouldBlock,
    /// It returned another error.
    Failed(io::ErrorKind),
    /// It panicked.
    Panicked,
}

/// Why a listener has paused: [`Refusal`](crate::observe::Refusal) without the error itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shortage {
    /// The limit of connections was reached.
    Limit,
    /// Descriptors or memory have run out.
    Shortage(io::ErrorKind),
    /// Accepting failed in another way.
    Fault(io::ErrorKind),
    /// All outboxes together hold more than [`max_queued`](crate::Builder::max_queued).
    OverTotal,
}
