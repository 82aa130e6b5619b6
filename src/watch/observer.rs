//! What is reported to an observer of the loop.
//!
//! The trait takes plain values, and so belongs to a low layer: nothing here knows what a slot or a dispatcher is.
//! `watch/observers.rs` calls it.

use std::any::Any;
use std::fmt;
use std::io;
use std::time::Duration;

use crate::watch::callback::Callback;
use crate::watch::ends::Cause;
use crate::watch::reports::Reports;
use crate::world::endpoint;
use crate::world::ids::AnyId;
use crate::world::signals::Signals;

/// Watches the loop at work. Every method has an empty default.
///
/// A reactor has any number of observers: from [`Builder::observer`](crate::Builder::observer), or added at run time by
/// [`Reactor::observe`](crate::Reactor::observe) and [`Context::observe`](crate::Context::observe). Everything is
/// reported to all of them, in the order in which they were added. Without an observer nothing is measured.
///
/// # Contract
///
/// - An observer that is added in the middle of a turn begins with the next; one that is added between turns at once.
///   In either case the existing dispatchers are reported first, by [`added`](Observer::added). So whatever begins also
///   ends: a callback is within a step, and a step within a turn. (But `handle_shutdown`, and `handle_close` in
///   [`shutdown`](crate::Reactor::shutdown), [`close_all`](crate::Reactor::close_all) and when a reactor is dropped,
///   come between turns.)
/// - The methods are called on the loop's thread, in the middle of its work: their cost delays every connection. They
///   must not block.
/// - They cannot reach the reactor. The program reads what they gather through
///   [`Reactor::observer`](crate::Reactor::observer) and [`Context::observer`](crate::Context::observer).
/// - `at` is the reactor's clock: the time since it was built, never less than in the call before. It is the latest
///   *reading*, for a reading costs some 40 ns: in the middle of a callback it is the time when the callback began, and
///   a step begins when the wait or the last callback before it was over.
/// - An observer that panics is removed, and the log says so. The loop goes on.
///
/// The [module page](crate::observe) has an example.
#[expect(unused_variables, reason = "each observer uses what it wants")]
pub trait Observer: Any {
    /// Which of the frequent reports it is told; by default all. Asked when it is added, and again after each
    /// [`turn_ended`](Observer::turn_ended) (after several, if they were [late](Observer::accepts_delay)), so that it may look
    /// more closely for a while.
    fn wants(&self) -> Reports {
        Reports::ALL
    }

    /// Whether the ends of `handle_read` and `handle_write`, and of turns, may be reported late, up to 32 of them at once.
    /// They cost less so: the code of an observer is fetched into the processor's cache once for many of them, and not in
    /// every turn. By default false. Asked after [`turn_ended`](Observer::turn_ended); what is reported is
    /// late if all observers accept it.
    ///
    /// The order stays as it is: what is late is reported before anything else is, with its own time. It is also reported
    /// before [`observer_mut`](crate::Context::observer_mut) returns, before any other callback or closure runs, and
    /// before [`run`](crate::Reactor::run) or [`turn`](crate::Reactor::turn) return. (So only
    /// [`observer`](crate::Context::observer), in a `handle_read` or `handle_write`, may show an observer that lacks some.)
    fn accepts_delay(&self) -> bool {
        false
    }

    /// A turn begins. `turn` counts from 1.
    fn turn_began(&mut self, at: Duration, turn: u64) {}

    /// A step of the turn begins, and the one before has ended. Steps without work are omitted.
    fn step_began(&mut self, at: Duration, step: Step) {}

    /// The wait has ended; `events` were reported. (It began with [`Step::Wait`].)
    fn wait_ended(&mut self, at: Duration, events: usize) {}

    /// The turn has ended.
    fn turn_ended(&mut self, at: Duration, end: &TurnEnd) {}

    /// An event was merged into the readiness of a socket.
    fn event_merged(&mut self, at: Duration, id: AnyId, event: Event) {}

    /// An event, a timer or a list entry was dropped because its dispatcher has ended. This is harmless, and common
    /// after closing.
    fn event_dropped(&mut self, at: Duration, id: AnyId) {}

    /// A callback, or another piece of the program's code, begins.
    fn callback_began(&mut self, at: Duration, begin: &CallbackBegin) {}

    /// The callback has returned, or panicked.
    fn callback_ended(&mut self, at: Duration, end: &CallbackEnd<'_>) {}

    /// A dispatcher was added.
    fn added(&mut self, at: Duration, added: &Added<'_>) {}

    /// A dispatcher was replaced by another one ([`Context::replace`](crate::Context::replace)), with the same id and
    /// socket.
    fn replaced(&mut self, at: Duration, replaced: &Added<'_>) {}

    /// A dispatcher's interest changed: whether it is called for input, and for room for output.
    fn interest_changed(&mut self, at: Duration, id: AnyId, interest: Interest) {}

    /// An outbox rose over its high mark, or has fallen below its low mark again. `queued` is in bytes.
    fn mark_crossed(&mut self, at: Duration, id: AnyId, crossing: Crossing, queued: usize) {}

    /// A dispatcher is not read from now on, because `sink`, which it feeds, is over its high mark.
    fn held(&mut self, at: Duration, id: AnyId, sink: AnyId) {}

    /// A dispatcher that was held is read again.
    fn released(&mut self, at: Duration, id: AnyId) {}

    /// The flush has written `written` bytes of an outbox, or of a file that was sent; `queued` are left in the outbox.
    fn flushed(&mut self, at: Duration, id: AnyId, written: usize, queued: usize) {}

    /// A timer fired, `late` after it was due. `id` is [`AnyId::NONE`] for a closure's timer.
    fn timer_fired(&mut self, at: Duration, id: AnyId, late: Duration) {}

    /// A listener has paused accepting.
    fn accepting_paused(&mut self, at: Duration, id: AnyId, reason: Refusal<'_>) {}

    /// A listener accepts again.
    fn accepting_resumed(&mut self, at: Duration, id: AnyId) {}

    /// A dispatcher has ended. Its `handle_close` comes at the end of the turn.
    fn closed(&mut self, at: Duration, id: AnyId, cause: Cause) {}
}

/// The steps of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Step {
    /// The only place where the program sleeps.
    Wait,
    /// Events are merged into the readiness of slots.
    Merge,
    /// Each ready dispatcher is called once.
    Dispatch,
    /// Expired timers fire.
    Timers,
    /// Deferred closures and posted closures run.
    Posts,
    /// Each outbox with something to send is written once.
    Flush,
    /// `handle_close` is called, and slots are freed.
    Close,
}

impl Step {
    /// All of them, in order.
    pub const ALL: [Step; 7] = [
        Step::Wait,
        Step::Merge,
        Step::Dispatch,
        Step::Timers,
        Step::Posts,
        Step::Flush,
        Step::Close,
    ];

    /// Its name in small letters, as metrics and traces show it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Step::Wait => "wait",
            Step::Merge => "merge",
            Step::Dispatch => "dispatch",
            Step::Timers => "timers",
            Step::Posts => "posts",
            Step::Flush => "flush",
            Step::Close => "close",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What one event says about one socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Event {
    /// There is input, or a connection to be accepted.
    pub readable: bool,
    /// There is room for output, or a connection was established.
    pub writable: bool,
    /// The peer has ended its stream.
    pub read_closed: bool,
    /// Both directions have ended.
    pub hung_up: bool,
    /// The socket has an error.
    pub error: bool,
    /// There is urgent data.
    pub urgent: bool,
}

impl From<Signals> for Event {
    fn from(signals: Signals) -> Event {
        let has = |bit| signals.bits() & bit != 0;
        Event {
            readable: has(Signals::READABLE),
            writable: has(Signals::WRITABLE),
            read_closed: has(Signals::READ_CLOSED),
            hung_up: has(Signals::HUNG_UP),
            error: has(Signals::ERROR),
            urgent: has(Signals::URGENT),
        }
    }
}

/// The beginning of a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallbackBegin {
    /// The dispatcher; [`AnyId::NONE`] for closures, which belong to none.
    pub id: AnyId,
    /// Which callback.
    pub callback: Callback,
    /// How long the dispatcher was ready before: since the end of the wait that reported it, or since the callback that
    /// left work over. For a posted closure: since it was posted, if the reactor had an observer then. Zero for all
    /// others, and for posts on a simulated clock.
    pub queued: Duration,
    /// How many other dispatchers are ready and wait for their callback.
    pub waiting: usize,
}

/// The end of a callback.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CallbackEnd<'a> {
    /// What was reported when it began.
    pub begin: CallbackBegin,
    /// How long it ran. Calls of other dispatchers from within it are part of it.
    pub took: Duration,
    /// Bytes that it received.
    pub bytes_in: u64,
    /// Bytes that it sent: taken by the kernel or accepted for sending.
    pub bytes_out: u64,
    /// How it ended.
    pub outcome: Outcome<'a>,
}

/// How a callback ended.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Outcome<'a> {
    /// It returned `Ok`.
    Done,
    /// It returned an error of the kind [`WouldBlock`](io::ErrorKind::WouldBlock): there is nothing to do for now.
    WouldBlock,
    /// It returned another error.
    Failed(&'a io::Error),
    /// It panicked.
    Panicked,
}

impl<'a> Outcome<'a> {
    pub(crate) fn of(result: &'a io::Result<()>) -> Outcome<'a> {
        match result {
            Ok(()) => Outcome::Done,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Outcome::WouldBlock,
            Err(error) => Outcome::Failed(error),
        }
    }
}

/// A new dispatcher.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Added<'a> {
    /// The dispatcher.
    pub id: AnyId,
    /// Whose callback added it; [`AnyId::NONE`] outside of one.
    pub by: AnyId,
    /// The name of its type, without modules.
    pub type_name: &'a str,
    /// What it is.
    pub kind: Kind,
    /// The peer's address, or the listener's own. Empty if there is none.
    pub address: &'a dyn fmt::Display,
}

impl fmt::Debug for Added<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Added")
            .field("id", &self.id)
            .field("by", &self.by)
            .field("type_name", &self.type_name)
            .field("kind", &self.kind)
            .field("address", &format_args!("{}", self.address))
            .finish()
    }
}

/// How long the loop waits and works; see [`Context::turn_times`](crate::Context::turn_times).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TurnTimes {
    /// When the turn began, since the reactor was built.
    pub began: Duration,
    /// How long it has waited for events.
    pub waited: Duration,
    /// How long each step has taken, in nanoseconds and in the order of [`Step::ALL`], summed over all observed turns.
    pub steps: [u64; Step::ALL.len()],
}

/// The kind of a dispatcher, by what it was added with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A stream socket, or the end of a pipe.
    Stream,
    /// A listener.
    Listener,
    /// A datagram socket.
    Datagram,
    /// An event source of the program's own.
    Foreign,
    /// No socket.
    Service,
}

impl From<endpoint::Kind> for Kind {
    fn from(kind: endpoint::Kind) -> Kind {
        match kind {
            endpoint::Kind::Stream => Kind::Stream,
            endpoint::Kind::Listener => Kind::Listener,
            endpoint::Kind::Datagram => Kind::Datagram,
            endpoint::Kind::Foreign => Kind::Foreign,
            endpoint::Kind::Service | endpoint::Kind::Closed => Kind::Service,
        }
    }
}

/// The events for which a dispatcher is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Interest {
    /// Input.
    pub reading: bool,
    /// Room for output.
    pub writing: bool,
}

/// Which mark of an outbox was crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Crossing {
    /// Upwards, over the high mark.
    OverHigh,
    /// Downwards, below the low mark.
    BelowLow,
}

/// Why a listener has paused accepting.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Refusal<'a> {
    /// The reactor has reached its limit of connections.
    Limit,
    /// Descriptors or memory have run out.
    Shortage(&'a io::Error),
    /// Accepting has failed in another way, with a call of `handle_error`.
    Fault(&'a io::Error),
    /// All outboxes together hold more than [`max_queued`](crate::Builder::max_queued).
    OverTotal,
}

/// The end of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TurnEnd {
    /// Which turn.
    pub turn: u64,
    /// When it began, and its wait.
    pub began: Duration,
    /// How long it waited.
    pub waited: Duration,
    /// Events that its wait reported.
    pub events: usize,
    /// Callbacks made.
    pub callbacks: u64,
    /// Dispatchers that are still ready.
    pub ready: usize,
    /// Timers that are set, the reactor's own included.
    pub timers: usize,
    /// Posted closures that are still waiting.
    pub posts: usize,
    /// Bytes in all outboxes.
    pub queued_bytes: usize,
    /// Streams that exist.
    pub connections: usize,
    /// Dispatchers that exist.
    pub dispatchers: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_to_do_is_no_failure_of_a_callback() {
        let outcome = |kind: io::ErrorKind| format!("{:?}", Outcome::of(&Err(kind.into())));
        assert_eq!(outcome(io::ErrorKind::WouldBlock), "WouldBlock");
        assert_eq!(
            outcome(io::ErrorKind::ConnectionReset),
            "Failed(Kind(ConnectionReset))"
        );
        assert!(matches!(Outcome::of(&Ok(())), Outcome::Done));
    }
}
