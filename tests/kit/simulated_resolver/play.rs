//! The scene: a resolver, those who ask it and its servers on one stage, and what is looked at after each turn.

use std::rc::Rc;
use std::time::Duration;

use slabloop::kit::resolver::{DnsConfig, DnsResolver, DnsStats, Family};
use slabloop::{Context, Reactor};

use super::owner::Owner;
use super::server::{Mood, Servers, address_of_server};
use super::world::{Limits, NAMES, Outcome, Truth, World, truth, wire_name};
use crate::sim::scene::{Scene, Script, Tally};
use crate::sim::stage::Stage;

const SECOND: Duration = Duration::from_secs(1);

pub(crate) struct ResolverScene {
    stage: Stage,
    world: Rc<World>,
    resolver: DnsResolver,
    servers: Servers,
    /// When the last two waits ended.
    before: [Duration; 2],
    turns_since_end: u32,
}

impl Scene for ResolverScene {
    const NAME: &'static str = "resolver";
    const STEPS: &'static [(&'static str, u32)] = &[
        ("ask", 150),
        ("crowd", 10),
        ("known", 20),
        ("cancel", 10),
        ("end an owner", 8),
        ("mood", 20),
        ("servers", 300),
        ("turn", 420),
        ("sleep", 30),
        ("jump", 5),
        ("descriptors", 4),
        ("clear the cache", 4),
        ("close", 1),
    ];

    fn new(script: &Script) -> ResolverScene {
        let mut rng = fastrand::Rng::with_seed(script.seed ^ 0xd45);
        let mut builder = Reactor::builder();
        let mut stage = Stage::with_mix(script.seed, script.mix.clone(), false, &mut builder);
        let limits = Limits {
            cached: [0, 2, 100][rng.usize(..3)],
            lookups: [3, 1_000][rng.usize(..2)],
            in_flight: [1, 2, 100][rng.usize(..3)],
            deadline: SECOND * rng.u32(3..30),
            min_ttl: SECOND * [0, 2][rng.usize(..2)],
            max_ttl: SECOND * [20, 200_000][rng.usize(..2)],
            max_negative: SECOND * [3, 900][rng.usize(..2)],
            has_search: rng.bool(),
            only_v4: rng.u32(..3) == 0,
        };
        let servers = 1 + rng.usize(..3);
        let mut config = DnsConfig::new((0..servers).map(address_of_server));
        config
            .cache_entries(limits.cached)
            .max_lookups(limits.lookups)
            .max_in_flight(limits.in_flight)
            .deadline(limits.deadline)
            .ttl(limits.min_ttl, limits.max_ttl)
            .max_negative_ttl(limits.max_negative)
            .timeout(SECOND * rng.u32(1..4))
            .attempts(rng.u32(1..4))
            .rotate(rng.bool())
            .mixed_case(rng.u32(..3) > 0)
            .use_tcp(rng.u32(..8) == 0)
            .seed(script.seed);
        if limits.only_v4 {
            config.family(Family::V4);
        }
        if limits.has_search {
            config.search(["test"]).expect("a domain");
        }
        let world = World::new(stage.net.clone(), limits);
        let resolver = DnsResolver::new(&mut stage.reactor, config).expect("room");
        world.resolver.set(Some(resolver));
        let mut scene = ResolverScene {
            servers: Servers::new(stage.net.clone(), servers),
            stage,
            world,
            resolver,
            before: [Duration::ZERO; 2],
            turns_since_end: 0,
        };
        for _ in 0..3 {
            scene.add_owner();
        }
        scene
    }

    fn stage(&mut self) -> &mut Stage {
        &mut self.stage
    }

    fn step(&mut self, what: &'static str) {
        let world = Rc::clone(&self.world);
        match what {
            "ask" => self.with_owner(Owner::ask),
            "crowd" => {
                let name = world.below(NAMES);
                for _ in 0..20 {
                    self.with_owner(|owner, cx| owner.ask_for(cx, name, None));
                }
            }
            "known" => self.look_at_what_is_known(),
            "cancel" => self.with_owner(Owner::cancel),
            "end an owner" => {
                self.with_owner(|_, cx| cx.close());
                if world.owners.borrow().len() < 5 {
                    self.add_owner();
                }
                world.count("owners ended");
            }
            "mood" => self.servers.change_mood(&world),
            "servers" => self.servers.act(&world),
            "turn" => self.turn(Duration::from_millis([0, 5, 60][world.below(3)])),
            "sleep" => self.turn(SECOND * (1 + u32::try_from(world.below(8)).expect("few"))),
            "jump" => world.net.with(|kernel| {
                let time = Duration::from_millis(kernel.rng.u64(..100_000));
                kernel.clock.advance(time);
            }),
            "descriptors" => world.net.with(|kernel| {
                let left = [0, 1, usize::MAX - kernel.open][kernel.rng.usize(..3)];
                kernel.limit = kernel.open + left;
            }),
            "clear the cache" => {
                let resolver = self.resolver;
                self.with_owner(|_, cx| resolver.clear_cache(cx));
            }
            "close" => {
                if world.below(4) == 0 {
                    self.close();
                }
            }
            _ => unreachable!("{what} is no step"),
        }
    }

    fn finish(&mut self) {
        let world = Rc::clone(&self.world);
        world.is_ending.set(true);
        self.servers.moods.fill(Mood::Good);
        world.net.with(|kernel| {
            kernel.calm = true;
            kernel.limit = usize::MAX;
            kernel.all_rooms = Some(30_000);
            kernel.widen();
        });
        self.settle();
        if world.owners.borrow().is_empty() {
            self.add_owner();
        }
        if !world.is_closed.get() {
            // What is in the cache is over.
            let time = SECOND * 300_000;
            world.net.with(|kernel| kernel.clock.advance(time));
            for name in 0..NAMES {
                self.check_that_it_is_found(name);
            }
            self.close();
        }
        self.settle();
        self.check_nothing_is_left();
    }

    fn tally(&self) -> Tally {
        self.world.tally.borrow().clone()
    }
}

impl ResolverScene {
    fn add_owner(&mut self) {
        let owner = Owner::new(&self.world);
        let number = owner.number;
        let id = self.stage.reactor.add_service(owner).expect("room");
        self.world.owners.borrow_mut().push((number, id));
    }

    fn with_owner(&mut self, body: impl FnOnce(&mut Owner, &mut Context<'_>)) {
        let owners = self.world.owners.borrow().clone();
        let place = self.world.below(owners.len().max(1));
        match owners.get(place) {
            // (One that is ending does nothing any more.)
            Some((_, id)) => drop(self.stage.reactor.with(*id, body)),
            None => self.add_owner(),
        }
    }

    fn close(&mut self) {
        let resolver = self.resolver;
        let owner = self.world.owners.borrow().first().copied();
        let Some(mut cx) = owner.and_then(|(_, id)| self.stage.reactor.at(id)) else {
            return;
        };
        resolver.close(&mut cx);
        self.world.is_closed.set(true);
        self.world.count("closed");
    }

    fn stats(&mut self) -> DnsStats {
        let owner = self.world.owners.borrow().first().copied();
        let cx = owner.and_then(|(_, id)| self.stage.reactor.at(id));
        cx.map_or_else(DnsStats::default, |mut cx| self.resolver.stats(&mut cx))
    }

    fn look_at_what_is_known(&mut self) {
        let (world, resolver) = (Rc::clone(&self.world), self.resolver);
        let name = world.below(NAMES);
        let mut known = None;
        self.with_owner(|_, cx| known = resolver.known(cx, &wire_name(name)));
        if let Some(known) = known {
            let now = world.net.with(|kernel| kernel.turn_began);
            world.check_addresses(name, (world.now(), now), &known, known.origin());
        }
    }

    /// One turn, and what must hold after it.
    fn turn(&mut self, limit: Duration) {
        let world = Rc::clone(&self.world);
        self.stage.turn(limit);
        self.servers.note_what_was_read(&world);
        world.check_outcomes();
        world.turn_is_over();
        if world.is_closed.get() {
            self.turns_since_end += 1;
        }
        self.check_waits();
        let stats = self.stats();
        let Limits {
            cached,
            lookups,
            in_flight,
            ..
        } = world.limits;
        assert!(stats.cached <= cached, "bounds: {stats:?}");
        assert!(stats.in_flight <= in_flight, "bounds: {stats:?}");
        let asked = world.asked.borrow();
        let pending = asked
            .iter()
            .filter(|asked| matches!(asked.outcome, Outcome::Pending));
        let pending = pending.count();
        assert!(
            stats.waiting <= pending.min(lookups),
            "bounds: {pending} wait: {stats:?}"
        );
        let open = world.net.with(|kernel| kernel.open);
        assert!(
            open <= 2 * stats.in_flight,
            "bounds: {open} descriptors are open: {stats:?}"
        );
    }

    /// Nobody waits beyond the deadline.
    fn check_waits(&mut self) {
        let now = self.world.net.with(|kernel| kernel.turn_began);
        let [earlier, last] = self.before;
        self.before = [last, now];
        self.world.last_turn.set(now);
        let asked = self.world.asked.borrow();
        let owners = self.world.owners.borrow();
        let ended = self.world.ended.borrow();
        let turn = self.world.net.with(|kernel| kernel.turns);
        for (number, asked) in asked.iter().enumerate() {
            let has_ended = ended
                .get(&asked.owner)
                .is_some_and(|ended| turn > ended + 3);
            let is_kept = has_ended && asked.closure.strong_count() > 0;
            assert!(
                !is_kept,
                "left: the closure of {number}, whose owner has ended: {asked:?}"
            );
            let waits = matches!(asked.outcome, Outcome::Pending)
                && owners.iter().any(|(owner, _)| *owner == asked.owner);
            if waits {
                let is_late = asked.deadline.is_some_and(|deadline| deadline < earlier);
                assert!(
                    !is_late,
                    "deadline: {number} still waits at {earlier:?}: {asked:?}"
                );
                assert!(
                    self.turns_since_end < 4,
                    "closed: {number} still waits: {asked:?}"
                );
            }
        }
    }

    /// Everything that is on its way arrives.
    fn settle(&mut self) {
        let world = Rc::clone(&self.world);
        let mut turns = 0;
        loop {
            for _ in 0..5 {
                self.servers.act(&world);
                self.turn(Duration::from_millis(3));
            }
            let stats = self.stats();
            if stats.waiting + stats.in_flight + stats.queued == 0 {
                return;
            }
            turns += 1;
            assert!(
                turns < 10_000,
                "progress: it does not come to rest: {stats:?}"
            );
        }
    }

    /// Servers that answer are enough for the right outcome, and the cache for the next one.
    fn check_that_it_is_found(&mut self, name: usize) {
        let world = Rc::clone(&self.world);
        let mut known = truth(&wire_name(name));
        if let Truth::Alias(target) = known {
            known = truth(&wire_name(target));
        }
        for is_second in [false, true] {
            let number = world.asked.borrow().len();
            let before = self.stats();
            self.with_owner(|owner, cx| owner.ask_for(cx, name, Some(Duration::MAX)));
            if world.asked.borrow().len() == number {
                return;
            }
            self.settle();
            let asked = world.asked.borrow();
            let outcome = &asked[number].outcome;
            let has_both = |list: &[std::net::IpAddr]| {
                let v6 = list.iter().any(std::net::IpAddr::is_ipv6);
                list.iter().any(std::net::IpAddr::is_ipv4) && v6 != world.limits.only_v4
            };
            let is_right = match (known, outcome) {
                (Truth::Both, Outcome::Found(list, ..)) => has_both(list),
                (Truth::OnlyA, Outcome::Found(list, ..)) => {
                    list.iter().all(std::net::IpAddr::is_ipv4)
                }
                (Truth::NoAddress | Truth::NoSuchName, Outcome::Failed(failure)) => {
                    !matches!(failure, slabloop::kit::resolver::Failure::DeadlinePassed)
                }
                _ => false,
            };
            assert!(is_right, "progress: {name} ({known:?}) is {outcome:?}");
            drop(asked);
            let after = self.stats();
            // (What is denied is looked for below the search domains as well, or not, by how it is written.)
            let is_asked_once =
                !world.limits.has_search || matches!(known, Truth::Both | Truth::OnlyA);
            if is_second && world.limits.cached >= 4 && is_asked_once {
                let queries = |stats: &DnsStats| stats.udp_queries + stats.tcp_queries;
                assert_eq!(
                    queries(&before),
                    queries(&after),
                    "cache: {name} is asked again"
                );
            }
        }
    }

    fn check_nothing_is_left(&mut self) {
        let asked = self.world.asked.borrow();
        let left = asked
            .iter()
            .filter(|asked| asked.closure.strong_count() > 0);
        assert_eq!(left.count(), 0, "left: closures of lookups");
        drop(asked);
        for id in self.stage.reactor.ids() {
            if let Some(mut cx) = self.stage.reactor.at(id) {
                cx.abort();
            }
        }
        self.stage.turn(Duration::ZERO);
        self.stage.turn(Duration::ZERO);
        let timers = self.stage.reactor.timer_count();
        let open = self.world.net.with(|kernel| kernel.open);
        assert_eq!((timers, open), (0, 0), "left: timers and descriptors");
    }
}
