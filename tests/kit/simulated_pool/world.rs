//! What the scene knows: every connection, every ask, and what must be true of them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use slabloop::Id;
use slabloop::kit::pool::{Pool, Reason};

use super::connection::Connection;
use super::holder::Holder;
use crate::sim::kernel::Net;
use crate::sim::scene::Tally;

pub(crate) const PLACES: usize = 3;

/// A destination of the pool. None of them has a listener on the stage.
pub(crate) fn address_of_place(place: usize) -> SocketAddr {
    let last = u8::try_from(place).expect("few");
    SocketAddr::from(([192, 0, 2, last], 7))
}

/// Says that the server means no answer.
pub(crate) const UNSOLICITED: u64 = u64::MAX;

/// A connection of the pool's, or an attempt.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) place: usize,
    /// Of the kernel; the far one is the server's.
    pub(crate) end: usize,
    pub(crate) is_there: bool,
    pub(crate) is_ready: bool,
    /// It was told of its end.
    pub(crate) is_over: bool,
    pub(crate) is_taken: bool,
    /// The ask whose lease is in a holder's hands.
    pub(crate) lent_to: Option<usize>,
    /// Questions without an answer, and who asked them.
    pub(crate) outstanding: VecDeque<(u64, usize)>,
    pub(crate) has_unread: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Pending,
    Leased,
    Refused(Reason),
    Cancelled,
}

/// One request for a connection.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) place: usize,
    /// The serial number of its holder.
    pub(crate) holder: usize,
    pub(crate) began: Duration,
    pub(crate) deadline: Option<Duration>,
    pub(crate) has_waited: bool,
    pub(crate) outcome: Outcome,
    /// The connection that it got.
    pub(crate) conn: Option<usize>,
}

/// The limits of this run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) total: usize,
    pub(crate) each: usize,
    pub(crate) waiting: usize,
    pub(crate) wait: Duration,
    pub(crate) probes: bool,
    /// The queue of posts has few places for leases to come back by.
    pub(crate) is_queue_small: bool,
}

pub(crate) struct World {
    pub(crate) net: Net,
    pub(crate) limits: Limits,
    /// Servers greet, and connections wait for that.
    pub(crate) greets: bool,
    pub(crate) pool: Cell<Option<Id<Pool<usize, Connection>>>>,
    pub(crate) conns: RefCell<Vec<Conn>>,
    pub(crate) asks: RefCell<Vec<Ask>>,
    pub(crate) holders: RefCell<Vec<(usize, Id<Holder>)>>,
    /// Places at which the next attempts are refused.
    pub(crate) refusing: [Cell<bool>; PLACES],
    /// When an attempt there failed last.
    pub(crate) failed: [Cell<Option<Duration>>; PLACES],
    /// The last one of those who waited that was served there.
    pub(crate) served: [Cell<Option<usize>>; PLACES],
    /// Leases that were dropped in this turn or before it: they come back by the queue.
    pub(crate) returning: Cell<usize>,
    pub(crate) tokens: Cell<u64>,
    pub(crate) next_holder: Cell<usize>,
    pub(crate) is_shutting_down: Cell<bool>,
    pub(crate) pool_ended: Cell<bool>,
    /// No holder starts anything new.
    pub(crate) is_ending: Cell<bool>,
    /// Every closure that waits in the pool has a clone.
    pub(crate) closures: Rc<()>,
    pub(crate) tally: RefCell<Tally>,
}

impl World {
    pub(crate) fn new(net: Net, limits: Limits, greets: bool) -> Rc<World> {
        Rc::new(World {
            net,
            limits,
            greets,
            pool: Cell::new(None),
            conns: RefCell::default(),
            asks: RefCell::default(),
            holders: RefCell::default(),
            refusing: Default::default(),
            failed: Default::default(),
            served: Default::default(),
            returning: Cell::new(0),
            tokens: Cell::new(0),
            next_holder: Cell::new(0),
            is_shutting_down: Cell::new(false),
            pool_ended: Cell::new(false),
            is_ending: Cell::new(false),
            closures: Rc::new(()),
            tally: RefCell::default(),
        })
    }

    pub(crate) fn below(&self, bound: usize) -> usize {
        self.net.with(|kernel| kernel.rng.usize(..bound))
    }

    pub(crate) fn now(&self) -> Duration {
        self.net.with(|kernel| kernel.clock.now())
    }

    pub(crate) fn count(&self, what: &'static str) {
        *self.tally.borrow_mut().entry(what).or_default() += 1;
    }

    /// A rule that does not hold, told after the turn: a panic in a callback would be contained.
    pub(crate) fn breaks(&self, rule: String) {
        self.net.with(|kernel| kernel.breaks(|| rule));
    }

    /// Those that count against the limits, of all places or of one: their descriptors are open.
    pub(crate) fn descriptors(&self, place: Option<usize>) -> usize {
        let conns = self.conns.borrow();
        let there = conns.iter().filter(|conn| {
            let is_open = |end: usize| self.net.with(|kernel| !kernel.ends[end].closed);
            !conn.is_taken
                && place.is_none_or(|place| place == conn.place)
                && conn.is_there
                && is_open(conn.end)
        });
        there.count()
    }

    /// An attempt begins: never one too many.
    pub(crate) fn conn_begins(&self, place: usize) -> usize {
        let Limits { total, each, .. } = self.limits;
        let (all, there) = (self.descriptors(None), self.descriptors(Some(place)));
        if all >= total || there >= each {
            self.breaks(format!(
                "limits: one more to {place}, where {there} of {each} are open, and {all} of {total}"
            ));
        }
        if self.is_shutting_down.get() {
            self.breaks(format!("shutdown: an attempt to {place} after it"));
        }
        let end = self.net.with(|kernel| kernel.ends.len());
        let mut conns = self.conns.borrow_mut();
        conns.push(Conn {
            place,
            end,
            is_there: true,
            is_ready: false,
            is_over: false,
            is_taken: false,
            lent_to: None,
            outstanding: VecDeque::new(),
            has_unread: false,
        });
        conns.len() - 1
    }

    /// An ask has its outcome, in a holder's callback.
    pub(crate) fn told(&self, ask: usize, outcome: Outcome) {
        let now = self.now();
        let mut asks = self.asks.borrow_mut();
        let this = &mut asks[ask];
        if this.outcome != Outcome::Pending {
            let before = this.outcome;
            self.breaks(format!(
                "once: ask {ask} is told {outcome:?}, and was {before:?}"
            ));
            return;
        }
        this.outcome = outcome;
        let Outcome::Refused(reason) = outcome else {
            return;
        };
        let (place, began, has_waited) = (this.place, this.began, this.has_waited);
        let is_early = this.deadline.is_none_or(|deadline| now < deadline);
        let limits = &self.limits;
        let is_wrong = match reason {
            Reason::Deadline => is_early,
            Reason::TooManyWaiting => {
                let pending = asks.iter().filter(|ask| ask.outcome == Outcome::Pending);
                has_waited || pending.count() < limits.waiting
            }
            Reason::Connect(_) => self.failed[place].get().is_none_or(|failed| failed < began),
            Reason::Paused => has_waited || self.failed[place].get().is_none(),
            Reason::ShutDown | Reason::Gone => {
                !self.is_shutting_down.get() && !self.pool_ended.get()
            }
            Reason::NoPlace => !limits.is_queue_small,
            _ => true,
        };
        if is_wrong {
            self.breaks(format!(
                "reason: ask {ask} is refused for {reason:?}, and that is not so"
            ));
        }
        self.count(match reason {
            Reason::Deadline => "refused: deadline",
            Reason::TooManyWaiting => "refused: too many wait",
            Reason::Connect(_) => "refused: connect",
            Reason::Paused => "refused: pause",
            Reason::NoPlace => "refused: no place",
            _ => "refused: it ends",
        });
    }

    /// A holder got a lease of a connection.
    pub(crate) fn lent(&self, ask: usize, number: usize, at_once: bool) {
        let (place, has_waited) = {
            let mut asks = self.asks.borrow_mut();
            asks[ask].conn = Some(number);
            (asks[ask].place, asks[ask].has_waited)
        };
        let mut conns = self.conns.borrow_mut();
        let conn = &mut conns[number];
        let others = conn.lent_to.replace(ask);
        if conn.is_taken || others.is_some() {
            self.breaks(format!(
                "another's: {number} is lent to {ask}, and {others:?} has it"
            ));
        }
        if conn.place != place {
            self.breaks(format!(
                "another's: {number} goes to {}, not {place}",
                conn.place
            ));
        }
        // (To one who has waited it is given later in the turn, and its server may have said something since.)
        let has_unread = at_once && conn.has_unread;
        if !conn.outstanding.is_empty() || has_unread || !conn.is_ready {
            self.breaks(format!("broken: {number} is lent to {ask} as {conn:?}"));
        }
        // What has waited for its turn may have ended since it was lent.
        if at_once && (!conn.is_there || conn.is_over) {
            self.breaks(format!("broken: {number} is lent to {ask}, and is over"));
        }
        if at_once && self.limits.probes {
            // The kernel was asked, and had nothing to say; unless a fault kept it from that.
            let what = self.net.with(|kernel| kernel.would_say(conn.end));
            if let Some(what) = what {
                self.breaks(format!("broken: {number} is lent to {ask} and has {what}"));
            }
        }
        if has_waited && self.served[place].replace(Some(ask)) > Some(ask) {
            self.breaks(format!(
                "order: {ask} at {place} is served behind a later one"
            ));
        }
        if self.is_shutting_down.get() && at_once {
            self.breaks(format!("shutdown: {ask} gets a connection after it"));
        }
        self.count("leases");
    }

    /// A lease is in a holder's hands no longer.
    pub(crate) fn gives_back(&self, ask: usize) {
        let conn = self.asks.borrow()[ask].conn;
        if let Some(conn) = conn {
            let mut conns = self.conns.borrow_mut();
            if conns[conn].lent_to == Some(ask) {
                conns[conn].lent_to = None;
            }
        }
    }
}
