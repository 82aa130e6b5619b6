//! Random programs on a pool, beside a model that knows who has asked for what and what must hold of the outcomes.

#[path = "../util/pooling.rs"]
mod pooling;
#[path = "../util/mod.rs"]
mod util;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use pooling::*;
use proptest::prelude::*;
use slabloop::kit::pool::{Pool, PoolOptions, Reason, Ticket};
use slabloop::testing::SimClock;
use slabloop::{Accepted, AnyId, Context, Dispatcher, Id, Reactor};
use util::*;

const PLACES: usize = 3;
const TOTAL: usize = 4;
const EACH: usize = 2;
const MOST_WAITING: usize = 6;
const WAIT: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
enum Step {
    Ask(usize),
    Release(usize),
    Drop(usize),
    Discard(usize),
    Question(usize),
    Cancel(usize),
    /// A server's end of a connection goes, by a reset or in order.
    Kill(usize, bool),
    Advance(u64),
    Turn,
    /// Turns until nothing happens any more, and compares everything.
    Settle,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let which = 0..64_usize;
    let step = prop_oneof![
        8 => (0..PLACES).prop_map(Step::Ask),
        4 => which.clone().prop_map(Step::Release),
        2 => which.clone().prop_map(Step::Drop),
        1 => which.clone().prop_map(Step::Discard),
        2 => which.clone().prop_map(Step::Question),
        1 => which.clone().prop_map(Step::Cancel),
        2 => (which, any::<bool>()).prop_map(|(which, resets)| Step::Kill(which, resets)),
        1 => (0..8_000_u64).prop_map(Step::Advance),
        6 => Just(Step::Turn),
        3 => Just(Step::Settle),
    ];
    prop::collection::vec(step, 1..60)
}

/// The servers' ends of all connections, in the order of their arrival.
type Ends = Rc<RefCell<Vec<AnyId>>>;

struct Server(Ends);

impl Dispatcher for Server {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let id = cx.add(accepted, Echo)?;
        self.0.borrow_mut().push(id.any());
        Ok(())
    }
}

/// One that has asked.
#[derive(Debug)]
struct Asked {
    place: usize,
    ticket: Option<Ticket>,
    deadline: Duration,
    is_cancelled: bool,
}

struct Model {
    reactor: Reactor,
    clock: SimClock,
    now: Duration,
    places: Vec<Where>,
    ends: Ends,
    pool: Id<TestPool>,
    holder: Id<Holder>,
    shared: Shared,
    asked: Vec<Asked>,
}

impl Model {
    fn new() -> Model {
        let clock = SimClock::new();
        let mut reactor = Reactor::builder()
            .clock(clock.clone())
            .build()
            .expect("a poller");
        let ends = Ends::default();
        let places = (0..PLACES).map(|_| {
            let server = Server(Rc::clone(&ends));
            let id = reactor.listen("127.0.0.1:0", server).expect("a free port");
            Where::Tcp(reactor.local_addr(id).expect("it has one"))
        });
        let places = places.collect();
        let mut options = PoolOptions::new();
        options
            .max_connections(TOTAL)
            .max_per_destination(EACH)
            .max_waiting(MOST_WAITING)
            .wait_timeout(WAIT)
            .idle_timeout(Duration::from_secs(20))
            .max_age(Duration::from_secs(60));
        let shared = Shared::default();
        let pool = pool_of(&mut reactor, &options, &shared);
        let holder = holder(&mut reactor);
        Model {
            reactor,
            clock,
            now: Duration::ZERO,
            places,
            ends,
            pool,
            holder,
            shared,
            asked: Vec::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Ask(place) => self.ask(place),
            Step::Release(which) => {
                if let Some(lease) = self.lease(which) {
                    lease.release(&mut self.reactor.at(self.holder).expect("there"));
                }
            }
            Step::Drop(which) => drop(self.lease(which)),
            Step::Discard(which) => {
                if let Some(lease) = self.lease(which) {
                    lease.discard(&mut self.reactor.at(self.holder).expect("there"));
                }
            }
            Step::Question(which) => {
                self.reactor.with(self.holder, |this, cx| {
                    let count = this.leases.len().max(1);
                    if let Some(lease) = this.leases.values().nth(which % count) {
                        // It may be gone, and nobody has noticed.
                        let _ = lease.with(cx, |client, cx| client.ask(cx, None));
                    }
                });
            }
            Step::Cancel(which) => self.cancel(which),
            Step::Kill(which, resets) => self.kill(which, resets),
            Step::Advance(millis) => {
                let time = Duration::from_millis(millis);
                self.clock.advance(time);
                self.now += time;
                self.turn();
            }
            Step::Turn => self.turn(),
            Step::Settle => self.settle(),
        }
    }

    fn ask(&mut self, place: usize) {
        let tag = u32::try_from(self.asked.len()).expect("few");
        let waiting = gauges(&mut self.reactor, self.pool).waiting;
        let refused = self.refused().len();
        let ticket = ask(
            &mut self.reactor,
            self.pool,
            self.holder,
            &self.places[place],
            tag,
        );
        let refused_now = self.refused().len() > refused;
        if ticket.is_some() {
            assert!(waiting < MOST_WAITING);
        }
        assert!(!refused_now || waiting == MOST_WAITING);
        self.asked.push(Asked {
            place,
            ticket,
            deadline: self.now + WAIT,
            is_cancelled: false,
        });
    }

    /// One of the leases, taken from its holder.
    fn lease(&mut self, which: usize) -> Option<TestLease> {
        let taken = self.reactor.with(self.holder, |this, _| {
            let tag = *this.leases.keys().nth(which % this.leases.len().max(1))?;
            this.leases.remove(&tag)
        });
        taken.flatten()
    }

    fn cancel(&mut self, which: usize) {
        // One of the last, which may still wait.
        let Some(asked) = self.asked.iter_mut().rev().nth(which % 8) else {
            return;
        };
        if let Some(ticket) = asked.ticket {
            let cx = &mut self.reactor.at(self.holder).expect("there");
            asked.is_cancelled |= Pool::cancel(cx, self.pool, ticket);
        }
    }

    fn kill(&mut self, which: usize, resets: bool) {
        let ends = self.ends.borrow();
        let there: Vec<_> = ends
            .iter()
            .filter(|&&id| self.reactor.at(id).is_some())
            .collect();
        if let Some(&&id) = there.get(which % there.len().max(1)) {
            let mut end = self.reactor.at(id).expect("there");
            if resets { end.abort() } else { end.close() }
        }
    }

    fn order(&mut self) -> Vec<u32> {
        let order = self.reactor.with(self.holder, |this, _| this.order.clone());
        order.expect("there")
    }

    fn refused(&mut self) -> BTreeMap<u32, Reason> {
        let refused = self.reactor.with(self.holder, |this, _| {
            let refused = this
                .refusals
                .iter()
                .map(|(tag, refused)| (*tag, refused.reason()));
            let all: Vec<_> = refused.collect();
            let map: BTreeMap<_, _> = all.iter().copied().collect();
            assert_eq!(map.len(), all.len(), "each is told once");
            map
        });
        refused.expect("there")
    }

    /// What holds after each turn.
    fn turn(&mut self) {
        self.reactor.turn(Duration::ZERO).expect("the loop works");
        self.reactor.check_invariants();
        let now = gauges(&mut self.reactor, self.pool);
        assert_eq!(
            now.open + now.connecting + now.closing,
            self.shared.alive.get(),
            "{now:?}"
        );
        assert!(self.shared.alive.get() <= TOTAL);
        assert!(
            self.shared
                .alive_at
                .borrow()
                .values()
                .all(|&alive| alive <= EACH)
        );
        let order = self.order();
        // Whoever finds an idle connection has it at once, while the lease of one that has waited may be on its way.
        let waited = |tag: &&u32| self.asked[**tag as usize].ticket.is_some();
        for place in 0..PLACES {
            let served = order
                .iter()
                .filter(waited)
                .filter(|&&tag| self.asked[tag as usize].place == place);
            assert!(
                served.is_sorted_by(|one, next| one < next),
                "in their order: {order:?}"
            );
        }
        let refused = self.refused();
        for (tag, asked) in (0_u32..).zip(&self.asked) {
            let outcomes =
                usize::from(order.contains(&tag)) + usize::from(refused.contains_key(&tag));
            assert!(
                outcomes <= usize::from(!asked.is_cancelled),
                "{tag}: {asked:?}"
            );
            if refused.get(&tag) == Some(&Reason::Deadline) {
                assert!(asked.deadline <= self.now, "{tag}: {asked:?}");
            }
        }
    }

    /// Whether nothing is left to happen, and everything is as it has to be then; if not, what is not.
    fn unsettled(&mut self) -> Option<String> {
        let now = gauges(&mut self.reactor, self.pool);
        if now.connecting + now.closing > 0 {
            return Some(format!("on their way: {now:?}"));
        }
        let (order, refused) = (self.order(), self.refused());
        let waiting: Vec<_> = (0_u32..)
            .take(self.asked.len())
            .filter(|tag| {
                let has_outcome = order.contains(tag) || refused.contains_key(tag);
                !has_outcome && !self.asked[*tag as usize].is_cancelled
            })
            .collect();
        if waiting.len() != now.waiting {
            return Some(format!("waiting: {waiting:?}, {now:?}"));
        }
        let late = waiting
            .iter()
            .find(|&&tag| self.asked[tag as usize].deadline <= self.now);
        if let Some(late) = late {
            return Some(format!("{late} should have been told by now"));
        }
        let held = self.reactor.with(self.holder, |this, cx| {
            let leases = this
                .leases
                .iter()
                .filter(|(_, lease)| lease.at(cx).is_some());
            leases.map(|(tag, _)| *tag).collect::<Vec<_>>()
        });
        let held = held.expect("there");
        if held.len() != now.leased {
            return Some(format!("held: {held:?}, {now:?}"));
        }
        for tag in waiting {
            let place = self.asked[tag as usize].place;
            let leased_there = held
                .iter()
                .filter(|&&tag| self.asked[tag as usize].place == place);
            if leased_there.count() < EACH && held.len() < TOTAL {
                return Some(format!("{tag} waits, and there is room: {held:?}, {now:?}"));
            }
        }
        None
    }

    fn settle(&mut self) {
        let deadline = Instant::now() + DEADLINE;
        while let Some(what) = self.unsettled() {
            assert!(Instant::now() < deadline, "{what}");
            self.reactor
                .turn(Duration::from_millis(1))
                .expect("the loop works");
            self.turn();
        }
    }

    /// Everything comes back, everybody is served, and all ends.
    fn finish(mut self) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            self.settle();
            let Some(lease) = self.lease(0) else {
                break;
            };
            assert!(
                Instant::now() < deadline,
                "{:?}",
                gauges(&mut self.reactor, self.pool)
            );
            drop(lease);
            self.turn();
        }
        let now = gauges(&mut self.reactor, self.pool);
        assert_eq!((now.waiting, now.leased), (0, 0), "{now:?}");
        assert_eq!(now.made, now.discarded.total() + now.open as u64, "{now:?}");
        let served = self.order().len() as u64;
        let count = self.asked.len() as u64;
        assert_eq!(
            count,
            served + now.refused.total() + now.cancelled,
            "{now:?}"
        );
        Pool::shut_down(&mut self.reactor.at(self.holder).expect("there"), self.pool);
        let (pool, alive) = (self.pool, Rc::clone(&self.shared.alive));
        turn_until(&mut self.reactor, "the end of all", |reactor| {
            reactor.at(pool).is_none() && alive.get() == 0
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_pool_keeps_its_limits_and_its_order_whatever_happens(steps in steps()) {
        let mut model = Model::new();
        for step in &steps {
            model.step(step);
        }
        model.finish();
    }
}
