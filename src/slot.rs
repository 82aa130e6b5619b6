//! One dispatcher's place: its socket, its outbox and its state.
//!
//! What is here concerns one slot alone. It calls no callback and looks at no neighbour, so it is tested
//! without a reactor. `D` is what sits in the slot: a dispatcher, as the layers above know.

pub(crate) mod chunks;
pub(crate) mod files;
pub(crate) mod io;
pub(crate) mod life;
pub(crate) mod links;
pub(crate) mod outbox;
pub(crate) mod pauses;
pub(crate) mod priority;
pub(crate) mod put_back;
pub(crate) mod rare;
pub(crate) mod readiness;
mod staging;

use std::io::ErrorKind;

use crate::slot::life::{Fate, Input, Life, Output};
use crate::slot::outbox::{Marks, Outbox};
use crate::slot::pauses::Pauses;
use crate::slot::priority::Priority;
use crate::slot::rare::Rare;
use crate::slot::readiness::{Flag, Readiness};
use crate::time::clock::Tick;
use crate::time::timers::TimerList;
use crate::watch::ends::Cause;
use crate::world::address::Address;
use crate::world::endpoint::Kind;
use crate::world::ids::{AnyId, TypeName};
use crate::world::io::Io;
use crate::world::layered::Layered;

/// A dispatcher and all that belongs to it.
#[derive(Debug)]
pub(crate) struct Slot<D> {
    pub(crate) readiness: Readiness,
    /// Its own id, whole: an id is compared with it at once. `NONE` in a place that is retired.
    pub(crate) id: AnyId,
    /// `None` while one of its callbacks, or a `with` closure, runs; and in a place that has run out of
    /// generations.
    pub(crate) dispatcher: Option<D>,
    pub(crate) io: Io,
    /// The peer; for a listener and a datagram socket its own address. As far as it is known.
    pub(crate) address: Address,
    pub(crate) outbox: Outbox,
    /// When bytes last moved in either direction; what idle timeouts look at.
    pub(crate) touched: Tick,
    /// When the kernel last took output, or output began to wait; what stall deadlines look at.
    pub(crate) output_moved: Tick,
    /// How many congested connections hold this one; the `Held` flag says whether any.
    pub(crate) holds: u32,
    /// The class in which it is served.
    pub(crate) priority: Priority,
    /// The error that broke the connection, and then how it ended.
    pub(crate) fate: Fate,
    /// Why it is not read; the `WantRead` flag says whether for any reason.
    pub(crate) pauses: Pauses,
    /// What few slots have.
    pub(crate) rare: Option<Box<Rare>>,
    /// The timers that die with this slot.
    pub(crate) timers: TimerList,
    /// The dispatcher's type, for log lines.
    pub(crate) type_name: TypeName,
    /// It was added while it was connecting: this side is the client.
    pub(crate) is_outgoing: bool,
}

impl<D> Slot<D> {
    pub(crate) fn new(
        dispatcher: Option<D>,
        type_name: TypeName,
        (io, address): (Io, Address),
        life: Life,
        marks: Marks,
    ) -> Slot<D> {
        Slot {
            readiness: Readiness::starting(life),
            id: AnyId::NONE,
            dispatcher,
            io,
            address,
            outbox: Outbox::new(marks),
            touched: Tick::default(),
            output_moved: Tick::default(),
            holds: 0,
            priority: Priority::Normal,
            fate: Fate::default(),
            pauses: Pauses::default(),
            rare: None,
            timers: TimerList::default(),
            type_name,
            is_outgoing: false,
        }
    }

    /// What is in a vacant place, and in one that has run out of generations: an ended slot.
    pub(crate) fn tombstone() -> Slot<D> {
        let socket = (Io::closed(), Address::None);
        Slot::new(None, || "", socket, Life::Ended, Marks::default())
    }

    /// Its state of life. Kept with the other bits, so that one comparison recognises the usual case.
    #[inline]
    pub(crate) fn life(&self) -> Life {
        self.readiness.life()
    }

    #[inline]
    pub(crate) fn enter(&mut self, life: Life) {
        self.readiness.enter(life);
    }

    /// The dispatcher, for a callback, after which it is put back.
    #[inline]
    pub(crate) fn take_dispatcher(&mut self) -> D {
        self.dispatcher
            .take()
            .expect("no callback runs inside another, so the dispatcher is in its slot")
    }

    /// Whether the dispatch step has anything to do for this slot.
    #[inline]
    pub(crate) fn has_work(&self) -> bool {
        self.readiness.is_just_readable() || self.has_rare_work()
    }

    #[inline(never)]
    fn has_rare_work(&self) -> bool {
        if self.readiness.is_open() {
            return self.readiness.can_read()
                || self.readiness.has_more_than_input()
                    && (self.readiness.eof_due()
                        || self.can_produce()
                        || self.readiness.priority_due()
                        || self.is_over());
        }
        match self.life() {
            Life::Listening => {
                self.readiness.has(Flag::Readable)
                    && !self.readiness.has(Flag::AcceptPaused)
                    && self.pauses.is_empty()
            }
            Life::Connecting | Life::ConnectingToClose | Life::ConnectingToReset => {
                self.readiness.has(Flag::Writable)
                    || self.readiness.has(Flag::Readable) && self.io.is_handshaking()
            }
            Life::Producing => self.can_produce() || self.is_over(),
            Life::Draining => self.readiness.has(Flag::Readable),
            // A broken one is on the dirty list, or its callback is running.
            Life::Open | Life::Broken | Life::Flushing | Life::FlushingToReset | Life::Ended => {
                false
            }
        }
    }

    /// Whether `handle_write` is due.
    pub(crate) fn can_produce(&self) -> bool {
        self.readiness.has(Flag::WantWrite)
            && self.readiness.has(Flag::Writable)
            && !self.readiness.is_done_sending()
            && self.outbox.is_below_low()
            && !self.has_files()
    }

    /// Whether a producer has output that is still to be sent: `handle_write` is asked for, or a layer
    /// above the outbox says so.
    pub(crate) fn is_producing(&self) -> bool {
        (self.readiness.has(Flag::WantWrite) || self.readiness.has(Flag::MoreOutput))
            && !self.readiness.is_done_sending()
    }

    /// Whether the next flush has anything to do for this slot.
    #[inline]
    pub(crate) fn can_flush(&self) -> bool {
        (self.has_output() || self.is_shutting())
            && self.readiness.has(Flag::Writable)
            && (matches!(self.life(), Life::Open | Life::Producing) || self.life().is_flushing())
    }

    /// Whether the write side is to be shut as soon as it can be.
    pub(crate) fn is_shutting(&self) -> bool {
        self.life().is_flushing()
            || self.readiness.output() == Output::Shutting && !self.readiness.has(Flag::MoreOutput)
    }

    /// Whether a `send` of this many bytes, the first of a turn, can do without a chunk: they leave with the next
    /// flush, and nothing else is to be thought of.
    #[inline]
    pub(crate) fn can_stage(&self, bytes: usize) -> bool {
        self.readiness.can_queue_first()
            && self.outbox.is_empty()
            && self.outbox.stays_below_high(bytes)
    }

    /// Whether a `send` of this many bytes goes straight to the outbox.
    #[inline]
    pub(crate) fn can_queue(&self, bytes: usize) -> bool {
        matches!(self.life(), Life::Open | Life::Connecting | Life::Producing)
            && !self.readiness.is_done_sending()
            && !self.readiness.has(Flag::NoOutbox)
            && self
                .outbox
                .has_room_for(bytes.saturating_add(self.queued_behind_files()))
    }

    /// Whether an open connection has come to its end with no callback left that would notice.
    pub(crate) fn is_over(&self) -> bool {
        let readiness = self.readiness;
        let not_read = !readiness.has(Flag::WantRead);
        match (readiness.input(), readiness.output()) {
            (input, Output::Broken) => return not_read || input.is_over(),
            (Input::Told, Output::Shut) => return true,
            _ => {}
        }
        if !readiness.at_an_end() || self.io.kind() != Kind::Stream {
            return false;
        }
        // With the end delivered no read is left that would bring out what the kernel has to say, and
        // while the user has switched reading off none will be made. A write would: if output is
        // queued, the flush finds out.
        if readiness.input() == Input::Told {
            return !self.has_output();
        }
        not_read && readiness.has(Flag::Error)
    }

    /// As [`has_output`](Slot::has_output), and counts what leaves before a layer's handshake.
    pub(crate) fn owes_output(&self) -> bool {
        self.has_output() || self.has_unsent_before_the_layer()
    }

    fn has_unsent_before_the_layer(&self) -> bool {
        self.io.as_layered().is_some_and(Layered::has_unsent)
    }

    /// Whether an end for this cause may leave the peer with a part of what it was to get.
    pub(crate) fn leaves_a_part_by(&self, cause: Cause) -> bool {
        if self.io.is_handshaking() && !self.has_unsent_before_the_layer() {
            // Nothing of it has left, and the peer knows: it sees a handshake that failed, and why if that is not
            // overtaken by a reset.
            return false;
        }
        self.owes_output() || self.is_cut_short_by(cause)
    }

    /// The same, although the outbox is empty: a producer was at work, or a callback failed half-way.
    fn is_cut_short_by(&self, cause: Cause) -> bool {
        match cause {
            Cause::Finished
            | Cause::Reset
            | Cause::ConnectFailed(_)
            | Cause::ConnectTimeout
            | Cause::HandshakeFailed(_)
            | Cause::HandshakeTimeout
            | Cause::Detached => false,
            Cause::Idle | Cause::CloseTimeout { .. } | Cause::Aborted | Cause::Shutdown => {
                self.is_producing()
            }
            Cause::Stalled { .. }
            | Cause::OverCap { .. }
            | Cause::Panic
            | Cause::RequestTimeout => true,
            // In `handle_error` it may have said goodbye, and closed gracefully.
            Cause::Error(_) => !self.life().is_flushing() && self.life() != Life::Draining,
        }
    }

    /// Whether this error of a stream with a layer is caused by the peer alone, and indicates no fault of this program:
    /// the peer does not speak the layer's protocol, or was disconnected. Errors of a server that this program chose do
    /// not count, until it has identified itself.
    pub(crate) fn is_peers_fault(&self, error: &std::io::Error) -> bool {
        let Some(layered) = self.io.as_layered() else {
            return false;
        };
        let in_the_handshake = matches!(
            self.fate.so_far(),
            Some(Cause::HandshakeFailed(_) | Cause::HandshakeTimeout)
        );
        let is_clients = !self.is_outgoing && (in_the_handshake || layered.has_refused());
        is_clients || !in_the_handshake && error.kind() == ErrorKind::UnexpectedEof
    }

    /// Whether a callback has left nothing behind that needs a look: still open, not broken, the end of
    /// the stream not just seen.
    #[inline]
    pub(crate) fn may_go_on(&self) -> bool {
        self.readiness.is_live() && self.readiness.is_sound_after_a_callback()
    }

    /// Whether its id is on a list that outlives a turn.
    pub(crate) fn is_listed(&self) -> bool {
        [Flag::Queued, Flag::Dirty, Flag::AcceptPaused]
            .iter()
            .any(|flag| self.readiness.has(*flag))
    }
}
