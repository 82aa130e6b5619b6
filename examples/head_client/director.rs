//! Who opens connections: at a bounded pace, and those that were lost again after a delay.

use std::cell::RefCell;
use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::Duration;

use slabloop::kit::bucket::{Quota, TokenBucket};
use slabloop::kit::retry::{Backoff, Budget};
use slabloop::{Context, Dispatcher, Id, Reactor, TimerId};

use super::common::Dialer;
use super::connection::Connection;
use super::random::Random;
use super::tally::{Fault, Tally};

/// Connections are begun so often, several at a time.
const TICK: Duration = Duration::from_millis(10);

/// What all connections have in common.
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    pub(crate) dialer: Dialer,
    /// As it is sent.
    pub(crate) request: Vec<u8>,
    /// From an answer to the next request.
    pub(crate) interval: RangeInclusive<Duration>,
    /// For an answer.
    pub(crate) timeout: Duration,
    /// For attempts after a failure, of all connections together.
    pub(crate) budget: Budget,
    pub(crate) random: RefCell<Random>,
    pub(crate) tally: RefCell<Tally>,
}

impl Plan {
    pub(crate) fn pause(&self) -> Duration {
        self.random.borrow_mut().within(&self.interval)
    }

    /// A connection could not be made.
    pub(crate) fn not_made(&self, fault: Fault, why: &dyn Display) {
        if self.tally.borrow_mut().fault(fault) == 1 {
            log::warn!("{}: {why}{}", self.address, fault.way_out());
        }
    }
}

/// So many retries a second there are in any case, for a rate of opening.
fn floor(open_rate: u32) -> Quota {
    Quota::per_second((open_rate / 10).max(1))
}

/// The budget of a plan: a retry for ten answers, and a tenth of the rate of opening in any case.
///
/// # Errors
///
/// For a rate that is out of its range.
pub(crate) fn budget(open_rate: u32) -> io::Result<Budget> {
    Budget::new(10, open_rate, floor(open_rate))
}

pub(crate) struct Director {
    plan: Rc<Plan>,
    pace: TokenBucket,
    /// To be opened: so many for the first time, so many in place of those that the server has ended in good order, and
    /// those after a failure, whose delay has passed.
    fresh: usize,
    again: usize,
    #[allow(
        clippy::vec_box,
        reason = "a connection holds it in a box, and passes it on"
    )]
    retries: Vec<Box<Backoff>>,
    is_ticking: bool,
}

impl Director {
    /// Begins to open `connections`, no more than `open_rate` a second and a fiftieth of that at once.
    ///
    /// # Errors
    ///
    /// For a rate of 0.
    pub(crate) fn start(
        reactor: &mut Reactor,
        plan: Rc<Plan>,
        connections: usize,
        open_rate: u32,
    ) -> io::Result<Id<Director>> {
        // Two ticks' worth: a tick that comes late is made up for.
        let quota = Quota::per_second(open_rate).burst((open_rate / 50).max(1));
        let director = Director {
            plan,
            pace: TokenBucket::new(quota)?,
            fresh: connections,
            again: 0,
            retries: Vec::new(),
            is_ticking: false,
        };
        let id = reactor.add_service(director)?;
        reactor.with(id, Director::open);
        Ok(id)
    }

    /// A connection is over, and there is to be another: at once, if this one has brought an answer. The next request is
    /// due after a pause in any case, or a server that ends each connection would be asked all the time.
    pub(crate) fn replace(
        &mut self,
        cx: &mut Context<'_>,
        is_proven: bool,
        backoff: Option<Box<Backoff>>,
    ) {
        if is_proven {
            self.again += 1;
            self.open(cx);
        } else {
            self.retry_later(cx, backoff.unwrap_or_default());
        }
    }

    fn retry_later(&mut self, cx: &mut Context<'_>, mut backoff: Box<Backoff>) {
        let (Some(delay), false) = (backoff.next(), cx.is_shutting_down()) else {
            return;
        };
        let me = cx.id::<Director>();
        cx.call_later(delay, move |reactor| {
            reactor.with(me, |director, cx| director.retry(cx, backoff));
        });
    }

    fn retry(&mut self, cx: &mut Context<'_>, backoff: Box<Backoff>) {
        if self.plan.budget.spend(cx.now()) {
            self.retries.push(backoff);
            self.open(cx);
        } else {
            self.retry_later(cx, backoff);
        }
    }

    fn open(&mut self, cx: &mut Context<'_>) {
        while self.waiting() > 0 && !self.is_ticking && !cx.is_shutting_down() {
            match self.pace.take(cx.now(), 1) {
                Ok(()) => self.open_one(cx),
                Err(refused) => {
                    self.is_ticking = true;
                    cx.set_timer(refused.retry_after.max(TICK));
                }
            }
        }
    }

    fn waiting(&self) -> usize {
        self.fresh + self.again + self.retries.len()
    }

    fn open_one(&mut self, cx: &mut Context<'_>) {
        let backoff = self.retries.pop();
        let kept = backoff.clone();
        let pauses_first = backoff.is_none() && self.again > 0;
        match backoff {
            Some(_) => {}
            None if pauses_first => self.again -= 1,
            None => self.fresh -= 1,
        }
        let plan = &self.plan;
        plan.tally.borrow_mut().begun += 1;
        let connection = Connection::new(Rc::clone(plan), cx.id(), backoff, pauses_first);
        if let Err(error) = plan.dialer.connect(cx, plan.address, connection) {
            plan.not_made(Fault::of(&error), &error);
            self.retry_later(cx, kept.unwrap_or_default());
        }
    }
}

impl Dispatcher for Director {
    fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        self.is_ticking = false;
        self.open(cx);
        Ok(())
    }
}
