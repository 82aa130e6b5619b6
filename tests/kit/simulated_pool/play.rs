//! The scene: a pool, its holders and its servers on one stage, and what is looked at after each turn.

use std::rc::Rc;
use std::time::Duration;

use slabloop::kit::pool::{AfterFailure, Pool, PoolGauges, PoolOptions, Seat};
use slabloop::{Context, Id, Reactor};

use super::connection::Connection;
use super::holder::{Holder, How};
use super::server::{self, Server};
use super::world::{Limits, Outcome, PLACES, World, address_of_place};
use crate::sim::scene::{Scene, Script, Tally};
use crate::sim::stage::Stage;

const HOUR: Duration = Duration::from_secs(3_600);

pub(crate) struct PoolScene {
    stage: Stage,
    world: Rc<World>,
    pool: Id<Pool<usize, Connection>>,
    servers: Vec<Server>,
    /// When the last two waits ended.
    before: [Duration; 2],
    /// Turns since the pool was told to end.
    turns_since_end: u32,
}

impl Scene for PoolScene {
    const NAME: &'static str = "pool";
    const STEPS: &'static [(&'static str, u32)] = &[
        ("ask", 120),
        ("act", 90),
        ("cancel", 10),
        ("end a holder", 5),
        ("servers", 360),
        ("turn", 390),
        ("sleep", 10),
        ("jump", 3),
        ("refuse", 2),
        ("descriptors", 3),
        ("end the pool", 10),
    ];

    fn new(script: &Script) -> PoolScene {
        let mut rng = fastrand::Rng::with_seed(script.seed ^ 0x9001);
        let mut builder = Reactor::builder();
        builder
            .connect_timeout(Duration::from_secs(2))
            .close_timeout(Duration::from_secs(1));
        let is_queue_small = rng.u32(..6) == 0;
        if is_queue_small {
            builder.post_capacity(3);
        }
        let mut stage = Stage::with_mix(script.seed, script.mix.clone(), false, &mut builder);
        let each = 1 + rng.usize(..3);
        let limits = Limits {
            total: each + rng.usize(..4),
            each,
            waiting: [2, 6, 100][rng.usize(..3)],
            wait: Duration::from_secs(rng.u64(1..20)),
            probes: rng.bool(),
            is_queue_small,
        };
        stage.net.with(|kernel| kernel.is_frugal = !limits.probes);
        let world = World::new(stage.net.clone(), limits, rng.bool());
        let some = |rng: &mut fastrand::Rng, times: [u64; 2]| {
            let drawn = rng.usize(..3);
            times.get(drawn).map(|&time| Duration::from_secs(time))
        };
        let mut options = PoolOptions::new();
        options
            .max_connections(limits.total)
            .max_per_destination(limits.each)
            .max_waiting(limits.waiting)
            .wait_timeout(limits.wait)
            .idle_timeout(some(&mut rng, [2, 30]))
            .max_age(some(&mut rng, [5, 60]))
            .probe(limits.probes);
        let for_attempts = Rc::clone(&world);
        let for_failures = Rc::clone(&world);
        let pool = Pool::new(
            &options,
            move |cx: &mut Context<'_>, place: &usize, seat: Seat<usize, Connection>| {
                let world = &for_attempts;
                if world.refusing[*place].get() {
                    world.net.with(|kernel| kernel.refuses = true);
                }
                let connection = seat.hold(Connection::new(world, *place));
                cx.connect(address_of_place(*place), connection)
            },
        );
        let pool = pool
            .expect("limits in range")
            .seed(script.seed)
            .after_failure(move |place, _, _| {
                let world = &for_failures;
                world.failed[*place].set(Some(world.now()));
                world.count("failed attempts");
                let time = Duration::from_millis(world.below(2_000) as u64);
                match world.below(3) {
                    0 => AfterFailure::Tell,
                    1 => AfterFailure::Pause(time),
                    _ => AfterFailure::Retry(time),
                }
            });
        let pool = stage.reactor.add_service(pool).expect("room");
        world.pool.set(Some(pool));
        let mut scene = PoolScene {
            stage,
            world,
            pool,
            servers: Vec::new(),
            before: [Duration::ZERO; 2],
            turns_since_end: 0,
        };
        for _ in 0..3 {
            scene.add_holder();
        }
        scene
    }

    fn stage(&mut self) -> &mut Stage {
        &mut self.stage
    }

    fn step(&mut self, what: &'static str) {
        let world = Rc::clone(&self.world);
        match what {
            "ask" => self.with_holder(Holder::ask),
            "act" => self.with_holder(|holder, cx| {
                let place = holder.leases.len().max(1);
                let ask = holder.leases.keys().nth(holder.below(place)).copied();
                if let Some(ask) = ask {
                    holder.act(cx, ask);
                }
            }),
            "cancel" => self.with_holder(Holder::cancel),
            "end a holder" => {
                let holders = world.holders.borrow().clone();
                let Some((_, id)) = holders.get(world.below(holders.len().max(1))).copied() else {
                    return self.add_holder();
                };
                if let Some(mut cx) = self.stage.reactor.at(id) {
                    cx.close();
                }
                if holders.len() < 5 {
                    self.add_holder();
                }
                world.count("holders ended");
            }
            "servers" => {
                server::take_over(&mut self.servers, &self.stage, &world);
                server::act(&mut self.servers, &self.stage, &world);
            }
            "turn" => self.turn(Duration::from_millis([0, 5, 50][world.below(3)])),
            "sleep" => self.turn(Duration::from_secs(1 + world.below(10) as u64)),
            "jump" => world.net.with(|kernel| {
                let time = Duration::from_millis(kernel.rng.u64(..100_000));
                kernel.clock.advance(time);
            }),
            "refuse" => {
                let refusing = &world.refusing[world.below(PLACES)];
                refusing.set(!refusing.get() && world.below(2) == 0);
            }
            "descriptors" => world.net.with(|kernel| {
                let left = [0, 1, usize::MAX - kernel.open][kernel.rng.usize(..3)];
                kernel.limit = kernel.open + left;
            }),
            "end the pool" => self.end_the_pool(),
            _ => unreachable!("{what} is no step"),
        }
    }

    fn finish(&mut self) {
        let world = Rc::clone(&self.world);
        world.is_ending.set(true);
        world.net.with(|kernel| {
            kernel.calm = true;
            kernel.limit = usize::MAX;
            kernel.widen();
        });
        world
            .refusing
            .iter()
            .for_each(|refusing| refusing.set(false));
        let mut turns = 0;
        while let Some(what) = self.unsettled() {
            assert!(turns < 2_000, "progress: {what}");
            turns += 1;
            self.return_all();
            server::take_over(&mut self.servers, &self.stage, &world);
            server::finish(&mut self.servers, &self.stage, &world);
            self.turn(HOUR);
        }
        if let Some(gauges) = self.gauges() {
            self.check_books(&gauges);
            let cx = &mut self.stage.reactor.at(self.pool).expect("it is there");
            Pool::shut_down(cx, self.pool);
            world.is_shutting_down.set(true);
        }
        for _ in 0..50 {
            self.turn(HOUR);
        }
        self.check_nothing_is_left();
    }

    fn tally(&self) -> Tally {
        self.world.tally.borrow().clone()
    }
}

impl PoolScene {
    fn add_holder(&mut self) {
        let holder = Holder::new(&self.world);
        let number = holder.number;
        let id = self.stage.reactor.add_service(holder).expect("room");
        self.world.holders.borrow_mut().push((number, id));
    }

    fn with_holder(&mut self, body: impl FnOnce(&mut Holder, &mut Context<'_>)) {
        let holders = self.world.holders.borrow().clone();
        let Some((_, id)) = holders.get(self.world.below(holders.len().max(1))).copied() else {
            return self.add_holder();
        };
        // (One that is ending does nothing any more.)
        self.stage.reactor.with(id, body);
    }

    /// Told to by its program, or it ends by itself.
    fn end_the_pool(&mut self) {
        let world = &self.world;
        let how = world.below(150);
        let Some(mut cx) = self.stage.reactor.at(self.pool) else {
            return;
        };
        match how {
            0 | 1 => {
                Pool::shut_down(&mut cx, self.pool);
                world.is_shutting_down.set(true);
                world.count("shut down in the middle");
            }
            2 => {
                cx.abort();
                world.pool_ended.set(true);
                world.count("ended in the middle");
            }
            _ => {}
        }
    }

    fn gauges(&mut self) -> Option<PoolGauges> {
        let mut cx = self.stage.reactor.at(self.pool)?;
        Pool::gauges(&mut cx, self.pool)
    }

    /// One turn, and what must hold after it.
    fn turn(&mut self, limit: Duration) {
        let world = Rc::clone(&self.world);
        let carried = world.returning.replace(0);
        self.stage.turn(limit);
        if world.is_shutting_down.get() || world.pool_ended.get() {
            self.turns_since_end += 1;
        }
        self.check_waits();
        let Some(gauges) = self.gauges() else {
            assert!(
                world.is_shutting_down.get() || world.pool_ended.get(),
                "the pool is gone"
            );
            return;
        };
        let Limits { total, waiting, .. } = world.limits;
        let conns = world.conns.borrow();
        let there = conns.iter().filter(|conn| conn.is_there && !conn.is_taken);
        let there = there.count();
        let in_books = gauges.open + gauges.connecting + gauges.closing;
        assert_eq!(
            in_books, there,
            "gauges: what is in the books, and is there: {gauges:?}"
        );
        let open = world.descriptors(None);
        assert_eq!(open, there, "gauges: descriptors that are open");
        assert!(there <= total, "limits: {there} of {total}");
        let asks = world.asks.borrow();
        let pending = asks
            .iter()
            .filter(|ask| ask.outcome == Outcome::Pending)
            .count();
        assert!(
            gauges.waiting <= pending.min(waiting),
            "gauges: {pending} wait: {gauges:?}"
        );
        let lent = conns
            .iter()
            .filter(|conn| conn.is_there && conn.lent_to.is_some());
        let lent = lent.count();
        let most = lent + pending + carried + world.returning.get();
        assert!(
            (lent..=most).contains(&gauges.leased),
            "gauges: {lent} are lent, {most} at most: {gauges:?}"
        );
        assert_eq!(
            gauges.idle + gauges.leased,
            gauges.open,
            "gauges: {gauges:?}"
        );
    }

    /// Nobody waits beyond the end of the wait.
    fn check_waits(&mut self) {
        let now = self.world.net.with(|kernel| kernel.turn_began);
        let [earlier, last] = self.before;
        self.before = [last, now];
        let asks = self.world.asks.borrow();
        let holders = self.world.holders.borrow();
        for (number, ask) in asks.iter().enumerate() {
            let waits = ask.outcome == Outcome::Pending
                && holders.iter().any(|(holder, _)| *holder == ask.holder);
            if !waits {
                continue;
            }
            let is_late = ask.deadline.is_some_and(|deadline| deadline < earlier);
            assert!(
                !is_late,
                "deadline: {number} still waits at {earlier:?}: {ask:?}"
            );
            assert!(
                self.turns_since_end < 4,
                "shutdown: {number} still waits after it: {ask:?}"
            );
        }
    }

    fn return_all(&mut self) {
        let holders = self.world.holders.borrow().clone();
        for (_, id) in holders {
            self.stage.reactor.with(id, |holder, cx| {
                let asks: Vec<usize> = holder.leases.keys().copied().collect();
                for ask in asks {
                    holder.give_back(cx, ask, How::Release);
                }
            });
        }
    }

    /// What is still to happen.
    fn unsettled(&mut self) -> Option<String> {
        let gauges = self.gauges();
        let asks = self.world.asks.borrow();
        let holders = self.world.holders.borrow();
        let pending = asks.iter().enumerate().find(|(_, ask)| {
            ask.outcome == Outcome::Pending
                && holders.iter().any(|(holder, _)| *holder == ask.holder)
        });
        if let Some(pending) = pending {
            return Some(format!("it waits for ever: {pending:?}, {gauges:?}"));
        }
        let conns = self.world.conns.borrow();
        let lent = conns.iter().any(|conn| conn.lent_to.is_some());
        let moving = gauges.is_some_and(|gauges| {
            gauges.connecting + gauges.closing + gauges.leased + gauges.waiting > 0
        });
        (lent || moving).then(|| format!("it does not come to rest: {gauges:?}"))
    }

    /// At rest, and before the end.
    fn check_books(&self, gauges: &PoolGauges) {
        if self.world.is_shutting_down.get() {
            return;
        }
        let gone = gauges.discarded.total() + gauges.taken;
        assert_eq!(
            gauges.made,
            gone + gauges.open as u64,
            "books: made: {gauges:?}"
        );
        let asks = self.world.asks.borrow();
        let served = asks
            .iter()
            .filter(|ask| ask.outcome == Outcome::Leased)
            .count() as u64;
        let told = served + gauges.refused.total() + gauges.cancelled;
        let all = asks.len() as u64;
        let unheard = asks
            .iter()
            .filter(|ask| ask.outcome == Outcome::Pending)
            .count() as u64;
        assert!(
            told <= all && told + unheard >= all,
            "books: {all} asks, {served} served, {unheard} whose holder has ended: {gauges:?}"
        );
    }

    fn check_nothing_is_left(&mut self) {
        let world = Rc::clone(&self.world);
        let is_there = self.stage.reactor.at(self.pool).is_some();
        assert!(!is_there, "left: the pool, {:?}", self.gauges());
        let left: Vec<usize> = {
            let conns = world.conns.borrow();
            let there = conns.iter().enumerate().filter(|(_, conn)| conn.is_there);
            there
                .filter(|(_, conn)| !conn.is_taken)
                .map(|(number, _)| number)
                .collect()
        };
        assert!(left.is_empty(), "left: connections {left:?}");
        let closures = Rc::strong_count(&world.closures) - 1;
        assert_eq!(closures, 0, "left: closures of asks");
        for id in self.stage.reactor.ids() {
            if let Some(mut cx) = self.stage.reactor.at(id) {
                cx.abort();
            }
        }
        self.stage.turn(Duration::ZERO);
        self.stage.turn(Duration::ZERO);
        let (timers, open) = (
            self.stage.reactor.timer_count(),
            world.net.with(|kernel| kernel.open),
        );
        assert_eq!((timers, open), (0, 0), "left: timers and descriptors");
    }
}
