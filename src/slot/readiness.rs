//! The readiness cache: level semantics on a poller that reports edges.
//!
//! The kernel reports *changes*, once: "input came", "there is room again". A dispatcher that reads
//! half of its input and returns would never hear of the other half. So each slot remembers the
//! *state* that the changes add up to, and the ready list turns state back into calls:
//!
//! ```text
//!            event says so                  recv, flush or accept got WouldBlock,
//!          ┌──────────────────────────┐     or a read was short
//!          │                          ▼                       │
//!      can't read ◄──────────────  may read  ◄── stays while input is left ──┐
//!                  (cant_read)        │                                      │
//!                                     │ and reading is wanted, not held:     │
//!                                     ▼                                      │
//!                                 ready list ── handle_read, once a turn ────┘
//! ```
//!
//! Two independent questions make the four states, for each direction:
//!
//! | | wanted | not wanted |
//! |---|---|---|
//! | **may** (the kernel said so) | on the ready list | waits; nothing spins, nothing is lost |
//! | **can't** (the kernel said `WouldBlock`) | asleep until an event | asleep |
//!
//! A short read means "drained" only if the read side was not reported closed: data and end of stream
//! can come in one event, and no other follows. So the closed, hung-up and error bits are sticky, and
//! while one is set only `WouldBlock` or the end itself clears the read bit. An urgent byte splits the
//! reads around it, so it suspends the rule as well.
//!
//! One thing splits reads and cannot be seen from here: a message with descriptors (`SCM_RIGHTS`) on a
//! Unix stream. `recv` is not for such streams, for the kernel drops the descriptors; what lay behind
//! the message is then delivered with the next event. Reading once more after every short read would
//! cost every Unix stream a system call a message.
//!
//! The idea of keeping *what the kernel said* apart from *what the program wants*, and the verbs, are
//! HAProxy's (`fd.c`); the closed-side clause was learnt by nginx, netty and tokio before us.

use std::fmt;

use crate::slot::life::{Input, Life, Output};
use crate::world::signals::Signals;

/// The state of one slot: what the kernel said, what the dispatcher wants, what holds it back, which lists
/// it is on, and in the top nine bits the three state machines of `life.rs`. One word, because every event
/// reads and writes it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Readiness(u32);

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:expr;)*) => {
        /// The flags of [`Readiness`]; the first six bits are those of [`Signals`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Flag { $($(#[$doc])* $name,)* }

        impl Flag {
            const fn bit(self) -> u32 {
                match self { $(Flag::$name => $bit,)* }
            }

            const ALL: &'static [Flag] = &[$(Flag::$name,)*];
        }
    };
}

flags! {
    /// Kernel: a read may give something.
    Readable = Signals::READABLE;
    /// Kernel: a write may be taken.
    Writable = Signals::WRITABLE;
    /// Kernel, sticky: the peer has finished sending.
    ReadClosed = Signals::READ_CLOSED;
    /// Kernel, sticky: both halves are shut.
    HungUp = Signals::HUNG_UP;
    /// Kernel, sticky: an error waits to be picked up.
    Error = Signals::ERROR;
    /// Kernel: an urgent byte came; set until a read says `WouldBlock`.
    Urgent = Signals::URGENT;
    /// An urgent byte came that `handle_priority` has not been called for.
    UrgentUntold = 1 << 6;
    /// A layer above the socket has input left to deliver.
    More = 1 << 7;
    /// Wanted: `handle_read`. On from the start.
    WantRead = 1 << 8;
    /// Wanted: `handle_write`. Off until asked for.
    WantWrite = 1 << 9;
    /// Wanted: `handle_priority`. Off until asked for.
    WantPriority = 1 << 10;
    /// Held: the connection that this one feeds is over its high mark.
    Held = 1 << 11;
    /// Held: the listener must not accept for now.
    AcceptPaused = 1 << 12;
    /// This one's own outbox went over its high mark and has not come below the low one since.
    Congested = 1 << 13;
    /// A layer above the outbox has so much queued that this one counts as over its high mark.
    LayerFull = 1 << 14;
    /// Its peer has taken nothing for so long that it holds up no broadcast any more.
    Stuck = 1 << 15;
    /// On the ready list.
    Queued = 1 << 16;
    /// On the dirty list.
    Dirty = 1 << 17;
    /// The kernel has been asked to say when there is room.
    WatchesRoom = 1 << 18;
    /// What kind of socket this is: one without an outbox (datagrams, foreign sources).
    NoOutbox = 1 << 19;
    /// A layer above the outbox has output of its own that is still to be sent.
    MoreOutput = 1 << 20;
    /// Another dispatcher is to take this place when the running callback has returned.
    Replaced = 1 << 21;
    /// Wanted: `handle_sent`, once, when the outbox is empty.
    WantSent = 1 << 22;
}

/// Where the state machines are kept. Zero is the usual state of each.
const LIFE_SHIFT: u32 = u32::BITS - Life::BITS;
const LIFE: u32 = !0 << LIFE_SHIFT;
const OUTPUT_SHIFT: u32 = LIFE_SHIFT - Output::BITS;
const OUTPUT: u32 = ((1 << Output::BITS) - 1) << OUTPUT_SHIFT;
const INPUT_SHIFT: u32 = OUTPUT_SHIFT - Input::BITS;
const INPUT: u32 = ((1 << Input::BITS) - 1) << INPUT_SHIFT;

/// While none of these is set an open slot can have no work but reading.
const BEYOND_READING: u32 = Signals::HUNG_UP
    | Signals::ERROR
    | Flag::UrgentUntold.bit()
    | Flag::WantWrite.bit()
    | Flag::More.bit()
    | Flag::Replaced.bit()
    | INPUT
    | OUTPUT;

/// What a callback can have left behind that asks for a look.
const AFTER_A_CALLBACK: u32 = Flag::Replaced.bit() | INPUT | OUTPUT;

/// What an emptied outbox may let happen: a release, a shut, a producer's turn, an end.
const AFTER_A_WRITE: u32 =
    Flag::Congested.bit() | Flag::WantWrite.bit() | Flag::WantSent.bit() | INPUT | OUTPUT;

const READ_MASK: u32 = Flag::WantRead.bit() | Flag::Held.bit() | INPUT | Flag::Readable.bit();
const READ_WHEN: u32 = Flag::WantRead.bit() | Flag::Readable.bit();

/// With one of these a short read does not mean that the kernel has no more: an end or an error may follow.
const NOT_DRAINED: u32 = Signals::READ_CLOSED | Signals::HUNG_UP | Signals::ERROR | Signals::URGENT;

impl Readiness {
    #[inline]
    pub(crate) fn life(self) -> Life {
        Life::from_code(self.0 as i32 >> LIFE_SHIFT)
    }

    /// With nothing known, wanted or held.
    pub(crate) fn starting(life: Life) -> Readiness {
        Readiness((life as u32) << LIFE_SHIFT)
    }

    #[inline]
    pub(crate) fn enter(&mut self, life: Life) {
        debug_assert!(self.life() <= life, "a life only moves forward: {self:?}");
        self.set_life(life);
    }

    /// The one way back: an open stream has got a layer, whose handshake comes before anything else.
    pub(crate) fn connect_again(&mut self) {
        debug_assert_eq!(self.life(), Life::Open);
        self.set_life(Life::Connecting);
    }

    #[inline]
    fn set_life(&mut self, life: Life) {
        self.0 = self.0 & !LIFE | (life as u32) << LIFE_SHIFT;
    }

    #[inline]
    pub(crate) fn input(self) -> Input {
        Input::from_code((self.0 & INPUT) >> INPUT_SHIFT)
    }

    pub(crate) fn set_input(&mut self, input: Input) {
        self.0 = self.0 & !INPUT | (input as u32) << INPUT_SHIFT;
    }

    #[inline]
    pub(crate) fn output(self) -> Output {
        Output::from_code((self.0 & OUTPUT) >> OUTPUT_SHIFT)
    }

    pub(crate) fn set_output(&mut self, output: Output) {
        self.0 = self.0 & !OUTPUT | (output as u32) << OUTPUT_SHIFT;
    }

    /// As [`Life::is_live`], in one comparison.
    #[inline]
    pub(crate) fn is_live(self) -> bool {
        (self.0 as i32) >> LIFE_SHIFT <= Life::Open as i32
    }

    /// Whether the life is [`Life::Open`].
    #[inline]
    pub(crate) fn is_open(self) -> bool {
        self.0 & LIFE == 0
    }

    #[inline]
    pub(crate) fn has(self, flag: Flag) -> bool {
        self.0 & flag.bit() != 0
    }

    #[inline]
    pub(crate) fn set(&mut self, flag: Flag) {
        self.0 |= flag.bit();
    }

    #[inline]
    pub(crate) fn clear(&mut self, flag: Flag) {
        self.0 &= !flag.bit();
    }

    /// Sets the flag; true if it was clear before.
    #[inline]
    pub(crate) fn raise(&mut self, flag: Flag) -> bool {
        let was_clear = self.0 & flag.bit() == 0;
        self.0 |= flag.bit();
        was_clear
    }

    /// Takes in what an event said.
    ///
    /// Error and hang-up set both directions, so that the next read or write brings out the errno:
    /// they can come without either, and then it is the only event there will be.
    #[inline]
    pub(crate) fn merge(&mut self, signals: Signals) {
        const UNUSUAL: u32 = Signals::HUNG_UP | Signals::ERROR | Signals::URGENT;
        self.0 |= signals.bits();
        if signals.bits() & UNUSUAL != 0 {
            if signals.bits() & (Signals::HUNG_UP | Signals::ERROR) != 0 {
                self.0 |= Signals::READABLE | Signals::WRITABLE;
            }
            if signals.bits() & Signals::URGENT != 0 {
                self.set(Flag::UrgentUntold);
            }
        }
    }

    /// A write has failed for good. No event need follow, so a short read is no reason to wait for one: reads go on
    /// until the kernel has nothing more, and then the connection ends.
    pub(crate) fn break_output(&mut self) {
        self.set_output(Output::Broken);
        self.set(Flag::ReadClosed);
    }

    /// A read said `WouldBlock`.
    #[inline]
    pub(crate) fn cant_read(&mut self) {
        self.0 &= !(Flag::Readable.bit() | Flag::Urgent.bit());
    }

    /// A write said `WouldBlock`.
    #[inline]
    pub(crate) fn cant_write(&mut self) {
        self.clear(Flag::Writable);
    }

    /// A read on a stream came back shorter than the buffer. It spares the read that would only say
    /// `WouldBlock`, except where a short read does not mean "drained".
    #[inline]
    pub(crate) fn read_short(&mut self) {
        if self.0 & NOT_DRAINED == 0 {
            self.clear(Flag::Readable);
        }
    }

    /// Whether `handle_read` is due: input or its end may be there, it is wanted, and nothing holds it.
    #[inline]
    pub(crate) fn can_read(self) -> bool {
        self.0 & READ_MASK == READ_WHEN || self.can_deliver_without_the_kernel()
    }

    /// Whether this is an open slot, not on the ready list, whose `handle_read` is due, and nothing else
    /// can be.
    #[inline]
    pub(crate) fn is_just_readable(self) -> bool {
        self.0 & (READ_MASK | BEYOND_READING | LIFE | Flag::Queued.bit()) == READ_WHEN
    }

    /// Takes in an event that said no more than that there is input. See [`Readiness::is_just_readable`].
    #[inline]
    pub(crate) fn becomes_just_readable(&mut self) -> bool {
        self.set(Flag::Readable);
        self.is_just_readable()
    }

    /// Whether this is an open slot with no work left.
    #[inline]
    pub(crate) fn has_no_work(self) -> bool {
        self.0 & (Signals::READABLE | BEYOND_READING | LIFE) == 0
    }

    /// Whether this is an open slot that can have no work but reading.
    #[inline]
    pub(crate) fn can_only_read(self) -> bool {
        self.0 & (BEYOND_READING | LIFE) == 0
    }

    /// A layer that holds input back delivers it even after the socket has said its last; and what was put
    /// back is there.
    #[inline]
    fn can_deliver_without_the_kernel(self) -> bool {
        (self.has(Flag::More) || self.input() == Input::PutBack)
            && self.has(Flag::WantRead)
            && !self.has(Flag::Held)
    }

    /// Whether a `recv` should ask the kernel at all.
    #[inline]
    pub(crate) fn may_recv(self) -> bool {
        const WHEN: u32 = Flag::Readable.bit();
        self.0 & (WHEN | INPUT | LIFE) == WHEN
    }

    /// As [`Readiness::may_recv`], and a short read means that the kernel has no more.
    #[inline]
    pub(crate) fn may_recv_until_drained(self) -> bool {
        self.may_recv() && self.0 & NOT_DRAINED == 0
    }

    /// Whether what is sent on this open connection leaves with the next flush, and nothing else is to
    /// be thought of.
    #[inline]
    pub(crate) fn can_queue_and_forget(self) -> bool {
        const WHEN: u32 = Flag::Writable.bit();
        const NOT: u32 = Flag::NoOutbox.bit() | Flag::Congested.bit() | OUTPUT | LIFE;
        self.0 & (WHEN | NOT) == WHEN
    }

    /// As [`Readiness::can_queue_and_forget`], and it is not on the dirty list.
    #[inline]
    pub(crate) fn can_queue_first(self) -> bool {
        self.can_queue_and_forget() && !self.has(Flag::Dirty)
    }

    /// Whether output of this open connection may be written, and nothing follows from it once it is.
    #[inline]
    pub(crate) fn can_write_and_forget(self) -> bool {
        const WHEN: u32 = Flag::Writable.bit();
        self.0 & (WHEN | AFTER_A_WRITE | LIFE) == WHEN
    }

    /// Whether the write side is shut, is about to be, or has failed. A layer that has accepted output
    /// before `shutdown_write` still sends it.
    #[inline]
    pub(crate) fn is_done_sending(self) -> bool {
        self.0 & OUTPUT != 0 && !(self.output() == Output::Shutting && self.has(Flag::MoreOutput))
    }

    /// Whether anything but plain reading may be due.
    #[inline]
    pub(crate) fn has_more_than_input(self) -> bool {
        self.0 & BEYOND_READING != 0
    }

    /// Whether a callback has left neither an end nor a failure behind.
    #[inline]
    pub(crate) fn is_sound_after_a_callback(self) -> bool {
        self.0 & AFTER_A_CALLBACK == 0
    }

    /// Whether an emptied outbox lets something else happen: a release, a shut, a producer's turn.
    #[inline]
    pub(crate) fn needs_more_after_a_write(self) -> bool {
        self.0 & AFTER_A_WRITE != 0
    }

    /// Whether `handle_eof` is due.
    #[inline]
    pub(crate) fn eof_due(self) -> bool {
        self.input() == Input::Ended && !self.has(Flag::More)
    }

    /// Whether `handle_priority` is due.
    #[inline]
    pub(crate) fn priority_due(self) -> bool {
        self.has(Flag::UrgentUntold) && self.has(Flag::WantPriority)
    }

    /// Whether the kernel reported a hang-up or an error, both of which can come with no other event
    /// to follow.
    #[inline]
    pub(crate) fn at_an_end(self) -> bool {
        self.0 & (Signals::HUNG_UP | Signals::ERROR) != 0
    }

    /// Nothing is wanted any more: no callback but `handle_close` will come.
    pub(crate) fn want_nothing(&mut self) {
        self.stop_reading();
        self.clear(Flag::WantWrite);
        self.clear(Flag::WantSent);
        self.clear(Flag::MoreOutput);
    }

    /// Nothing that arrives is wanted any more.
    pub(crate) fn stop_reading(&mut self) {
        self.clear(Flag::WantRead);
        self.clear(Flag::WantPriority);
        self.clear(Flag::More);
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?}, input {:?}, output {:?}, ",
            self.life(),
            self.input(),
            self.output()
        )?;
        f.debug_set()
            .entries(Flag::ALL.iter().filter(|flag| self.has(**flag)))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading() -> Readiness {
        let mut readiness = Readiness::default();
        readiness.set(Flag::WantRead);
        readiness
    }

    #[test]
    fn short_read_means_drained_only_while_the_read_side_is_open() {
        for (signals, drained) in [
            (0, true),
            (Signals::READ_CLOSED, false),
            (Signals::HUNG_UP, false),
            (Signals::ERROR, false),
            (Signals::URGENT, false),
        ] {
            let mut readiness = reading();
            readiness.merge(Signals::from_bits(Signals::READABLE | signals));
            readiness.read_short();
            assert_eq!(!readiness.can_read(), drained, "{readiness:?}");
            readiness.cant_read();
            assert!(!readiness.can_read());
        }
    }

    #[test]
    fn error_and_hang_up_set_both_directions() {
        for signals in [
            Signals::ERROR,
            Signals::HUNG_UP,
            Signals::ERROR | Signals::HUNG_UP,
        ] {
            let mut readiness = reading();
            readiness.merge(Signals::from_bits(signals));
            assert!(
                readiness.can_read() && readiness.has(Flag::Writable),
                "{readiness:?}"
            );
            assert!(!readiness.has(Flag::UrgentUntold), "{readiness:?}");
        }
    }

    #[test]
    fn a_pause_drops_no_readiness() {
        let mut readiness = reading();
        readiness.merge(Signals::from_bits(Signals::READABLE));
        readiness.clear(Flag::WantRead);
        assert!(!readiness.can_read());
        readiness.set(Flag::WantRead);
        assert!(readiness.can_read());
        readiness.set(Flag::Held);
        assert!(!readiness.can_read());
    }

    #[test]
    fn no_two_flags_share_a_bit_and_none_is_a_state_machines() {
        let all = Flag::ALL.iter().fold(LIFE | INPUT | OUTPUT, |seen, flag| {
            assert_eq!(seen & flag.bit(), 0, "{flag:?}");
            seen | flag.bit()
        });
        let machines = Life::BITS + Input::BITS + Output::BITS;
        assert_eq!(
            all.count_ones() as usize,
            Flag::ALL.len() + machines as usize
        );
    }

    #[test]
    fn the_state_machines_do_not_touch_each_other_nor_the_flags() {
        let mut readiness = reading();
        readiness.set_output(Output::Shutting);
        readiness.set_input(Input::Told);
        readiness.enter(Life::Flushing);
        readiness.set_output(Output::Broken);
        assert_eq!(readiness.life(), Life::Flushing);
        assert_eq!(readiness.input(), Input::Told);
        assert_eq!(readiness.output(), Output::Broken);
        assert!(readiness.has(Flag::WantRead));
    }

    type Question = fn(Readiness) -> bool;

    /// The questions that choose a short way, each as the usual case answers it.
    const SHORT_WAYS: [(&str, Question); 11] = [
        ("just readable", Readiness::is_just_readable),
        ("can only read", Readiness::can_only_read),
        ("no work once it is read", |mut readiness| {
            readiness.clear(Flag::Readable);
            readiness.has_no_work()
        }),
        ("recv", Readiness::may_recv),
        ("drain", Readiness::may_recv_until_drained),
        ("queue", Readiness::can_queue_and_forget),
        ("queue first", Readiness::can_queue_first),
        ("write", Readiness::can_write_and_forget),
        ("input is all", |readiness| !readiness.has_more_than_input()),
        ("sound", Readiness::is_sound_after_a_callback),
        ("a write is all", |readiness| {
            !readiness.needs_more_after_a_write()
        }),
    ];

    #[test]
    fn an_open_slot_takes_every_short_way_but_those_that_something_else_bars() {
        let mut usual = reading();
        assert!(usual.has_no_work());
        usual.merge(Signals::from_bits(Signals::WRITABLE));
        assert!(usual.becomes_just_readable() && usual.has(Flag::Readable));
        assert!(!usual.has_no_work());
        type Change = fn(&mut Readiness);
        // What happens, and which ways it bars.
        let changes: [(Change, &[&str]); 21] = [
            (|_| {}, &[]),
            (|r| r.clear(Flag::WantRead), &["just readable"]),
            (|r| r.set(Flag::Held), &["just readable"]),
            (|r| r.set(Flag::Queued), &["just readable"]),
            (|r| r.set(Flag::Dirty), &["queue first"]),
            (Readiness::cant_read, &["just readable", "recv", "drain"]),
            (Readiness::cant_write, &["queue", "queue first", "write"]),
            (|r| r.set(Flag::NoOutbox), &["queue", "queue first"]),
            (
                |r| r.set(Flag::Congested),
                &["queue", "queue first", "write", "a write is all"],
            ),
            (|r| r.set(Flag::WantSent), &["write", "a write is all"]),
            (
                |r| r.set(Flag::WantWrite),
                &[
                    "just readable",
                    "can only read",
                    "no work once it is read",
                    "write",
                    "input is all",
                    "a write is all",
                ],
            ),
            (
                |r| r.set(Flag::More),
                &[
                    "just readable",
                    "can only read",
                    "no work once it is read",
                    "input is all",
                ],
            ),
            (
                |r| r.set(Flag::UrgentUntold),
                &[
                    "just readable",
                    "can only read",
                    "no work once it is read",
                    "input is all",
                ],
            ),
            (
                |r| r.set(Flag::Replaced),
                &[
                    "just readable",
                    "can only read",
                    "no work once it is read",
                    "input is all",
                    "sound",
                ],
            ),
            (|r| r.set(Flag::ReadClosed), &["drain"]),
            (|r| r.set(Flag::Urgent), &["drain"]),
            (
                |r| r.set(Flag::HungUp),
                &[
                    "just readable",
                    "can only read",
                    "no work once it is read",
                    "drain",
                    "input is all",
                ],
            ),
            (
                |r| r.set(Flag::Error),
                &[
                    "just readable",
                    "can only read",
                    "no work once it is read",
                    "drain",
                    "input is all",
                ],
            ),
            (
                |r| r.set_input(Input::Ended),
                &[
                    "just readable",
                    "can only read",
                    "no work once it is read",
                    "recv",
                    "drain",
                    "write",
                    "input is all",
                    "sound",
                    "a write is all",
                ],
            ),
            (
                |r| r.set_output(Output::Broken),
                &[
                    "just readable",
                    "can only read",
                    "no work once it is read",
                    "queue",
                    "queue first",
                    "write",
                    "input is all",
                    "sound",
                    "a write is all",
                ],
            ),
            (
                |r| r.enter(Life::Broken),
                &[
                    "just readable",
                    "can only read",
                    "no work once it is read",
                    "recv",
                    "drain",
                    "queue",
                    "queue first",
                    "write",
                ],
            ),
        ];
        for (change, expected) in changes {
            let mut readiness = usual;
            change(&mut readiness);
            let barred = SHORT_WAYS
                .iter()
                .filter(|(_, is_taken)| !is_taken(readiness));
            let barred: Vec<&str> = barred.map(|(way, _)| *way).collect();
            assert_eq!(barred, expected, "{readiness:?}");
        }
    }
}
