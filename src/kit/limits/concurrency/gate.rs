//! The queue before the slots, and the dispatcher that serves it.
//!
//! Users' closures are called, and dropped, only while the gate is not borrowed: they may hold slots, and ask for
//! more.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{ConcurrencyBuilder, ConcurrencyGauges, Order, Shed, Slot};
use crate::{AnyId, Cause, Context, Dispatcher, Handle, Id, Permit, Reactor, TimerId, Unreached};

type Answer = Box<dyn FnOnce(&mut Reactor, Result<Slot, Shed>) -> Result<(), Unreached>>;

/// A request that asks for a slot.
pub(super) struct Waiter {
    id: AnyId,
    since: Instant,
    answer: Answer,
}

impl Waiter {
    pub(super) fn new<D: Dispatcher>(
        id: Id<D>,
        since: Instant,
        then: impl FnOnce(&mut D, &mut Context<'_>, Result<Slot, Shed>) -> io::Result<()> + 'static,
    ) -> Waiter {
        Waiter {
            id: id.any(),
            since,
            answer: Box::new(move |reactor, result| {
                // If it is gone, or panics, the slot is dropped with the closure.
                reactor.call(id, |dispatcher, cx| then(dispatcher, cx, result))
            }),
        }
    }
}

pub(super) struct Gate {
    settings: ConcurrencyBuilder,
    in_use: usize,
    /// In the order of their coming.
    waiting: VecDeque<Waiter>,
    attendant: Id<Attendant>,
    handle: Handle,
    /// The place in the queue of posts for the next wake-up. Without it a timer serves those that wait.
    wake: Option<Permit>,
    /// The attendant has been woken, and has not come yet.
    woken: bool,
    /// For the deadline of the first of those that wait, or earlier.
    timer: Option<TimerId>,
    gauges: ConcurrencyGauges,
}

impl Gate {
    pub(super) fn new(
        settings: ConcurrencyBuilder,
        handle: Handle,
        wake: Permit,
        attendant: Id<Attendant>,
    ) -> Gate {
        Gate {
            settings,
            in_use: 0,
            waiting: VecDeque::new(),
            attendant,
            handle,
            wake: Some(wake),
            woken: false,
            timer: None,
            gauges: ConcurrencyGauges::default(),
        }
    }

    /// Whether a newcomer gets a slot at once.
    pub(super) fn is_free(&self) -> bool {
        self.in_use < self.settings.limit && self.waiting.is_empty()
    }

    pub(super) fn gauges(&self) -> ConcurrencyGauges {
        ConcurrencyGauges {
            in_use: self.in_use,
            waiting: self.waiting.len(),
            ..self.gauges
        }
    }

    /// A slot comes back.
    pub(super) fn leave(&mut self) {
        self.in_use -= 1;
        self.wake_if_due();
    }

    /// Wakes the attendant if a request can be served. This may be called from anywhere, a `Drop` included, so there
    /// is no context to do it with.
    fn wake_if_due(&mut self) {
        if self.woken || self.waiting.is_empty() || self.in_use >= self.settings.limit {
            return;
        }
        let attendant = self.attendant;
        if let Some(permit) = self.wake.take() {
            // Refused only by a reactor that is gone.
            let posted = permit.post(move |reactor| {
                let gate = reactor.with(attendant, |attendant, _| attendant.gate.clone());
                if let Some(gate) = gate.flatten() {
                    serve(reactor, &gate);
                }
            });
            self.woken = posted.is_ok();
        }
    }

    /// The next to be served.
    fn next(&mut self) -> Option<Waiter> {
        if self.in_use >= self.settings.limit {
            return None;
        }
        match self.settings.order {
            Order::Fifo => self.waiting.pop_front(),
            Order::Lifo => self.waiting.pop_back(),
        }
    }

    /// Queues a request. Returns the one that is refused: this one or, for its sake, another.
    fn push(&mut self, waiter: Waiter) -> Option<(Waiter, Shed)> {
        if self.waiting.len() < self.settings.queue {
            self.waiting.push_back(waiter);
            return None;
        }
        self.gauges.shed += 1;
        match self.waiting.pop_front() {
            Some(oldest) if self.settings.shed_oldest => {
                self.waiting.push_back(waiter);
                Some((oldest, Shed::Displaced))
            }
            Some(oldest) => {
                self.waiting.push_front(oldest);
                Some((waiter, Shed::QueueFull))
            }
            None => Some((waiter, Shed::QueueFull)),
        }
    }

    /// Takes the requests of a dispatcher that has ended out of the queue.
    fn forget(&mut self, id: AnyId) -> VecDeque<Waiter> {
        let waiting = std::mem::take(&mut self.waiting);
        let (gone, waiting) = waiting.into_iter().partition(|waiter| waiter.id == id);
        self.waiting = waiting;
        let gone: VecDeque<Waiter> = gone;
        self.gauges.gone += gone.len() as u64;
        gone
    }

    fn pop_expired(&mut self, now: Instant) -> Option<Waiter> {
        let deadline = self.settings.deadline;
        let oldest = self.waiting.front()?;
        if now.saturating_duration_since(oldest.since) < deadline {
            return None;
        }
        self.gauges.expired += 1;
        self.waiting.pop_front()
    }

    /// After how long the attendant has to look at the queue without being woken.
    fn look_in(&self, now: Instant) -> Option<Duration> {
        /// Between two tries to get a place in the queue of posts.
        const WITHOUT_WAKE: Duration = Duration::from_millis(10);
        let oldest = self.waiting.front()?;
        let waited = now.saturating_duration_since(oldest.since);
        let left = self.settings.deadline.saturating_sub(waited);
        if self.wake.is_none() && !self.woken {
            return Some(left.min(WITHOUT_WAKE));
        }
        (self.settings.deadline < Duration::MAX).then_some(left)
    }

    /// Sets the attendant's timer; `cx` is that one's.
    fn set_timer(&mut self, cx: &mut Context<'_>) {
        let look_in = self.look_in(cx.now());
        match (self.timer, look_in) {
            (Some(timer), Some(look_in)) if cx.reset_timer(timer, look_in) => {}
            (_, Some(look_in)) => self.timer = Some(cx.set_timer(look_in)),
            (Some(timer), None) => {
                cx.cancel_timer(timer);
                self.timer = None;
            }
            (None, None) => {}
        }
    }
}

/// Takes a slot, which is known to be free.
pub(super) fn grant(gate: &Rc<RefCell<Gate>>, waited: Duration) -> Slot {
    let mut open = gate.borrow_mut();
    open.in_use += 1;
    open.gauges.granted += 1;
    open.gauges.longest_wait = open.gauges.longest_wait.max(waited);
    Slot(Rc::clone(gate))
}

/// A request comes: it gets a slot, or waits, or it or another one is shed.
pub(super) fn enter(gate: &Rc<RefCell<Gate>>, cx: &mut Context<'_>, waiter: Waiter) {
    let attendant = gate.borrow().attendant;
    let Some(mut attendant) = cx.at(attendant) else {
        return answer_later(gate, cx, waiter, Err(Shed::Closed));
    };
    if gate.borrow().is_free() {
        let slot = grant(gate, Duration::ZERO);
        return answer_later(gate, &mut attendant, waiter, Ok(slot));
    }
    let id = waiter.id;
    let shed = gate.borrow_mut().push(waiter);
    if let Some((shed, why)) = shed {
        answer_later(gate, &mut attendant, shed, Err(why));
    }
    // So that the request of a dispatcher that has ended takes no place in the queue.
    attendant.watch(id);
    let mut open = gate.borrow_mut();
    if open.timer.is_none() {
        open.set_timer(&mut attendant);
    }
}

/// Answers when the running callback has returned, for it may be that of the dispatcher that is to be called.
fn answer_later(
    gate: &Rc<RefCell<Gate>>,
    cx: &mut Context<'_>,
    waiter: Waiter,
    result: Result<Slot, Shed>,
) {
    let gate = Rc::clone(gate);
    cx.defer(move |reactor| answer(&gate, reactor, waiter, result));
}

fn answer(
    gate: &Rc<RefCell<Gate>>,
    reactor: &mut Reactor,
    waiter: Waiter,
    result: Result<Slot, Shed>,
) {
    let granted = result.is_ok();
    let reached = (waiter.answer)(reactor, result);
    if granted && reached == Err(Unreached::Gone) {
        let gauges = &mut gate.borrow_mut().gauges;
        gauges.granted -= 1;
        gauges.gone += 1;
    }
}

/// Refuses requests that have waited for too long, and gives free slots to others. No more than were waiting at the
/// beginning: those that ask again are for the next turn.
fn serve(reactor: &mut Reactor, gate: &Rc<RefCell<Gate>>) {
    let (attendant, most) = {
        let open = &mut *gate.borrow_mut();
        open.woken = false;
        if open.wake.is_none() {
            open.wake = open.handle.reserve().ok();
        }
        (open.attendant, open.waiting.len())
    };
    let Some(now) = reactor.at(attendant).map(|attendant| attendant.now()) else {
        return;
    };
    for _ in 0..most {
        let Some(waiter) = gate.borrow_mut().pop_expired(now) else {
            break;
        };
        let waited = now.saturating_duration_since(waiter.since);
        answer(gate, reactor, waiter, Err(Shed::Deadline { waited }));
    }
    for _ in 0..most {
        let Some(waiter) = gate.borrow_mut().next() else {
            break;
        };
        let slot = grant(gate, now.saturating_duration_since(waiter.since));
        answer(gate, reactor, waiter, Ok(slot));
    }
    if let Some(mut attendant) = reactor.at(attendant) {
        let open = &mut *gate.borrow_mut();
        open.wake_if_due();
        open.set_timer(&mut attendant);
    }
}

/// The dispatcher that keeps the deadlines, and detects the ends of waiting dispatchers.
pub(super) struct Attendant {
    gate: Option<Rc<RefCell<Gate>>>,
}

impl Attendant {
    pub(super) fn new() -> Attendant {
        Attendant { gate: None }
    }

    pub(super) fn attend(&mut self, gate: Rc<RefCell<Gate>>) {
        self.gate = Some(gate);
    }
}

impl Dispatcher for Attendant {
    fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        if let Some(gate) = &self.gate {
            gate.borrow_mut().timer = None;
            let gate = Rc::clone(gate);
            cx.defer(move |reactor| serve(reactor, &gate));
        }
        Ok(())
    }

    fn handle_gone(&mut self, cx: &mut Context<'_>, id: AnyId, _: Cause) -> io::Result<()> {
        if let Some(gate) = &self.gate {
            let gone = gate.borrow_mut().forget(id);
            // It may hold slots, which come back here.
            drop(gone);
            gate.borrow_mut().set_timer(cx);
        }
        Ok(())
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        if let Some(gate) = self.gate.take() {
            let waiting = std::mem::take(&mut gate.borrow_mut().waiting);
            for waiter in waiting {
                answer_later(&gate, cx, waiter, Err(Shed::Closed));
            }
        }
    }
}
