//! A kernel in a few hundred lines: streams, listeners, datagram sockets and pipes with bounded buffers, and an
//! edge-triggered poller. It keeps to what was measured of the real one, and does on demand what that does once a year.
//!
//! An *end* is one side of a connection. Those of the reactor are descriptors (`ours`); the others are in the hands of
//! the run, which plays the peers. Every choice is drawn from one generator, so a seed is a run.
//!
//! The kernel also knows what the reactor can know: which edges it was told of, and which calls have told it that
//! there is nothing more. From that follow most of the oracles here: no call without a reason, no sleep with one.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use mio::Token;
use slabloop::testing::{SimClock, SimKind};

use super::faults::{Fault, Injected, Mix};
use super::trace::Trace;

mod calls;
mod ends;
mod wait;
mod wire;

pub(crate) const EINTR: i32 = 4;
const ENOMEM: i32 = 12;
const EAGAIN: i32 = 11;
const EMFILE: i32 = 24;
const EPIPE: i32 = 32;
const ENOTCONN: i32 = 107;
pub(crate) const ECONNRESET: i32 = 104;
const ECONNREFUSED: i32 = 111;
const EINPROGRESS: i32 = 115;
const EADDRNOTAVAIL: i32 = 99;
const ENETUNREACH: i32 = 101;

/// From this size on a payload is offered to the kernel before it is queued.
const LARGE: usize = 16 * 1024;

/// What epoll calls them.
mod poll {
    pub(super) const IN: u32 = 1;
    pub(super) const OUT: u32 = 4;
    pub(super) const ERR: u32 = 8;
    pub(super) const HUP: u32 = 16;
    pub(super) const RDHUP: u32 = 0x2000;
}

pub(crate) fn os(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

/// The byte at a place of what an end sends: one that is out of place names its origin.
pub(crate) fn byte_at(end: usize, offset: u64) -> u8 {
    let mixed = ((end as u64 + 1) << 40 | offset).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed.to_le_bytes()[7]
}

/// `count` bytes from a place on.
pub(crate) fn bytes_at(end: usize, offset: u64, count: usize) -> Vec<u8> {
    (0..count as u64)
        .map(|i| byte_at(end, offset + i))
        .collect()
}

fn nanos_of(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// It is being made; so many waits are to come before something becomes of it.
    Connecting {
        waits: u32,
        fate: Fate,
    },
    Up,
    /// A listener, or a datagram socket.
    None,
}

/// What is to become of a connection attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Established,
    Refused,
    Never,
}

/// One side of a connection, or a listener.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) kind: SimKind,
    /// The reactor's, and so a descriptor.
    pub(crate) ours: bool,
    pub(crate) link: Link,
    pub(crate) other: usize,
    /// What has arrived, and how much fits.
    input: VecDeque<u8>,
    datagrams: VecDeque<Vec<u8>>,
    backlog: VecDeque<usize>,
    room: usize,
    /// The other side has finished.
    input_ended: bool,
    output_shut: bool,
    /// The pending error.
    errno: Option<i32>,
    pub(crate) reset: bool,
    /// The other side's end of stream came before its reset, and is what reads say from then on.
    ended_before_reset: bool,
    /// A Unix socket: no resets, and a write to who has closed fails at once.
    unix: bool,
    /// A read gave zero because a reset had been told already: no end of stream.
    pub(crate) zero_after_reset: bool,
    resets_when_closed: bool,
    pub(crate) closed: bool,
    token: Option<Token>,
    interest: u32,
    /// A write has found no room since there last was some.
    no_space: bool,
    /// On the poller's ready list.
    edge: bool,
    /// What the reactor was told and has not used up: input, room, an end or an error.
    pub(crate) knows_input: bool,
    pub(crate) knows_room: bool,
    /// Since which turn it knows of room.
    room_since: u64,
    knows_end: bool,
    knows_error: bool,
    /// A write, or what belongs to one, has told the reactor that there will be no other.
    pub(crate) write_failed: bool,
    /// An attempt of the reactor's, whose slot asks for room from the start.
    dialled: bool,
    /// Where that went: of both sides.
    pub(crate) dialled_to: Option<SocketAddr>,
    /// A listener whose last `accept` failed, which waits before it tries again.
    pub(crate) accept_failed: bool,
    registrations: u32,
    room_watches: u32,
    writes_in_turn: u32,
    /// One of them was of a large payload, which is offered before the turn's own write.
    large_in_turn: bool,
    /// Bytes that the kernel took from this end, and that this end has read.
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// For the run: the last thing that a peer saw.
    pub(crate) saw: Option<Saw>,
}

/// How a peer's input ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Saw {
    End,
    Error(i32),
}

impl End {
    fn free(&self) -> usize {
        self.room.saturating_sub(self.input.len())
    }
}

type BeforeSleep = Rc<dyn Fn(&Kernel, Option<Duration>) -> Result<(), String>>;
type InWait = Box<dyn FnMut()>;

/// All of it.
pub(crate) struct Kernel {
    pub(crate) rng: fastrand::Rng,
    pub(crate) mix: Mix,
    pub(crate) injected: Injected,
    pub(crate) clock: SimClock,
    pub(crate) trace: Trace,
    pub(crate) ends: Vec<End>,
    /// Descriptors that are open, and how many may be.
    pub(crate) open: usize,
    pub(crate) limit: usize,
    /// No faults from now on.
    pub(crate) calm: bool,
    /// The next attempt is refused.
    pub(crate) refuses: bool,
    /// An attempt is answered in the first wait.
    pub(crate) is_prompt: bool,
    /// How much every buffer holds, if that is not drawn.
    pub(crate) all_rooms: Option<usize>,
    /// Waiting makes no time pass.
    pub(crate) frozen: bool,
    pub(crate) turns: u64,
    /// The time when the last wait ended.
    pub(crate) turn_began: Duration,
    pub(crate) calls: u64,
    /// Events that this wait reported, and what the wait was given.
    pub(crate) reported: usize,
    pub(crate) slept: bool,
    pub(crate) stale: u64,
    pub(crate) wait_failed: bool,
    ghosts: Vec<Token>,
    broken_rule: Option<String>,
    /// Whether what the reactor writes follows [`byte_at`].
    pub(crate) checks_bytes: bool,
    /// Whether no call is made without a reason. (A layer asks once more than a bare stream would.)
    pub(crate) is_frugal: bool,
    /// How often a turn writes one connection: once, or once for each class.
    pub(crate) writes_a_turn: u32,
    pub(crate) before_sleep: Option<BeforeSleep>,
    pub(crate) in_wait: Option<InWait>,
}

/// The kernel, shared by its sockets, the poller and the run.
#[derive(Clone)]
pub(crate) struct Net(pub(crate) Rc<RefCell<Kernel>>);

impl Net {
    pub(crate) fn new(seed: u64, mix: Mix) -> Net {
        let clock = SimClock::new();
        clock.passes_while_waiting();
        Net(Rc::new(RefCell::new(Kernel {
            rng: fastrand::Rng::with_seed(seed),
            mix,
            injected: Injected::NONE,
            clock,
            trace: Trace::default(),
            ends: Vec::new(),
            open: 0,
            limit: usize::MAX,
            calm: false,
            refuses: false,
            is_prompt: false,
            all_rooms: None,
            frozen: false,
            turns: 0,
            turn_began: Duration::ZERO,
            calls: 0,
            reported: 0,
            slept: false,
            stale: 0,
            wait_failed: false,
            ghosts: Vec::new(),
            broken_rule: None,
            checks_bytes: true,
            is_frugal: true,
            writes_a_turn: 1,
            before_sleep: None,
            in_wait: None,
        })))
    }

    pub(crate) fn with<R>(&self, body: impl FnOnce(&mut Kernel) -> R) -> R {
        body(&mut self.0.borrow_mut())
    }
}

/// The address of an end's peer: port and host tell the end.
pub(crate) fn address_of(end: usize) -> SocketAddr {
    let low = u8::try_from(end % 250).expect("below 250") + 1;
    let high = u8::try_from(end / 250 % 250).expect("below 250");
    SocketAddr::from((Ipv4Addr::new(10, 0, high, low), 1))
}

/// What goes wrong, and what does not hold.
impl Kernel {
    /// A rule that does not hold. Noted, because a panic in a callback would be contained.
    pub(crate) fn breaks(&mut self, rule: impl FnOnce() -> String) {
        if self.broken_rule.is_none() {
            let rule = rule();
            self.trace.line(|| format!("BROKEN: {rule}"));
            self.broken_rule = Some(rule);
        }
    }

    pub(crate) fn broken_rule(&self) -> Option<String> {
        self.broken_rule.clone()
    }

    pub(crate) fn fault(&mut self, fault: Fault) -> bool {
        let comes = !self.calm && self.mix.comes(fault, &mut self.rng);
        if comes {
            self.injected.0[fault as usize] += 1;
            self.trace.line(|| format!("  fault: {fault:?}"));
        }
        comes
    }

    /// Any errno but those that mean "not now".
    pub(super) fn any_errno(&mut self) -> i32 {
        loop {
            let errno = self.rng.i32(1..134);
            if errno != EAGAIN && errno != EINTR {
                return errno;
            }
        }
    }
}
