//! What the scene knows: what every server has ever said and when it was read, every lookup, and what must be true of
//! their outcomes.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::{Rc, Weak};
use std::time::Duration;

use slabloop::Id;
use slabloop::kit::resolver::{DnsResolver, Failure, Origin};

use super::message::serial_of;
use super::owner::Owner;
use crate::sim::kernel::Net;
use crate::sim::scene::Tally;

/// What there is to know: names below `test`, of which some stand for others, and some for nothing.
pub(crate) const NAMES: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Truth {
    Both,
    /// It has no IPv6.
    OnlyA,
    NoAddress,
    NoSuchName,
    /// It stands for another.
    Alias(usize),
}

pub(crate) fn truth(name: &str) -> Truth {
    let label = name
        .strip_suffix(".test")
        .and_then(|label| label.strip_prefix('n'));
    match label.and_then(|label| label.parse().ok()) {
        Some(0..3) => Truth::Both,
        Some(3) => Truth::OnlyA,
        Some(4) => Truth::NoAddress,
        Some(5) => Truth::Alias(0),
        Some(6) => Truth::Alias(3),
        _ => Truth::NoSuchName,
    }
}

pub(crate) fn wire_name(name: usize) -> String {
    format!("n{name}.test")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Address,
    Alias,
    Denial,
    /// It must never come out.
    Lie,
}

/// One thing that a server has said of a name. Its place in the list is its serial number.
#[derive(Clone, Debug)]
pub(crate) struct Saying {
    pub(crate) name: String,
    pub(crate) said: Said,
    /// As long as it may be kept; `None` if not at all.
    pub(crate) ttl: Option<Duration>,
    /// When the reactor has read it last.
    read: Option<Duration>,
    /// And until when who asks may still be given it as the answer to a question on its way.
    shared_until: Option<Duration>,
}

#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Pending,
    Cancelled,
    /// And until when it says that it is valid.
    Found(Vec<IpAddr>, Origin, Option<Duration>),
    Failed(Failure),
}

#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) name: usize,
    pub(crate) owner: usize,
    pub(crate) began: Duration,
    /// What the reactor's clock said then: it is read once a turn.
    pub(crate) turn_began: Duration,
    pub(crate) deadline: Option<Duration>,
    /// How many waited already.
    pub(crate) waited: usize,
    /// It was refused, and so cannot be cancelled.
    pub(crate) is_refused: bool,
    pub(crate) outcome: Outcome,
    pub(crate) is_checked: bool,
    /// The closure that waits for the outcome has the other end of it.
    pub(crate) closure: Weak<()>,
}

/// What this run is configured with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) cached: usize,
    pub(crate) lookups: usize,
    pub(crate) in_flight: usize,
    pub(crate) deadline: Duration,
    pub(crate) min_ttl: Duration,
    pub(crate) max_ttl: Duration,
    pub(crate) max_negative: Duration,
    pub(crate) has_search: bool,
    pub(crate) only_v4: bool,
}

/// How long the second family is waited for, as the resolver's default.
pub(crate) const GRACE: Duration = Duration::from_millis(50);

pub(crate) struct World {
    pub(crate) net: Net,
    pub(crate) limits: Limits,
    pub(crate) resolver: Cell<Option<DnsResolver>>,
    pub(crate) sayings: RefCell<Vec<Saying>>,
    pub(crate) asked: RefCell<Vec<Asked>>,
    pub(crate) owners: RefCell<Vec<(usize, Id<Owner>)>>,
    pub(crate) next_owner: Cell<usize>,
    /// Those that have ended, and in which turn.
    pub(crate) ended: RefCell<BTreeMap<usize, u64>>,
    pub(crate) is_closed: Cell<bool>,
    /// When the wait before the last one ended. (What is known is given out a turn later at most.)
    pub(crate) last_turn: Cell<Duration>,
    pub(crate) is_ending: Cell<bool>,
    pub(crate) tally: RefCell<Tally>,
}

impl World {
    pub(crate) fn new(net: Net, limits: Limits) -> Rc<World> {
        Rc::new(World {
            net,
            limits,
            resolver: Cell::new(None),
            sayings: RefCell::default(),
            asked: RefCell::default(),
            owners: RefCell::default(),
            next_owner: Cell::new(0),
            ended: RefCell::default(),
            is_closed: Cell::new(false),
            last_turn: Cell::default(),
            is_ending: Cell::new(false),
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

    pub(crate) fn breaks(&self, rule: String) {
        self.net.with(|kernel| kernel.breaks(|| rule));
    }

    /// A server says something: its serial number.
    pub(crate) fn says(&self, name: &str, said: Said, ttl: Option<u32>) -> u32 {
        let Limits {
            min_ttl,
            max_ttl,
            max_negative,
            ..
        } = self.limits;
        let ttl = ttl.map(|ttl| Duration::from_secs(ttl.into()));
        let ttl = ttl.map(|ttl| match said {
            Said::Denial => ttl.min(max_negative),
            // The bounds are for what it leads to.
            Said::Alias => ttl,
            _ => ttl.clamp(min_ttl, max_ttl),
        });
        let mut sayings = self.sayings.borrow_mut();
        sayings.push(Saying {
            name: name.to_owned(),
            said,
            ttl,
            read: None,
            shared_until: None,
        });
        u32::try_from(sayings.len() - 1).expect("few")
    }

    /// The reactor has read these, in the turn that has just ended.
    pub(crate) fn were_read(&self, serials: &[u32]) {
        let now = self.now();
        let mut sayings = self.sayings.borrow_mut();
        for serial in serials {
            let saying = &mut sayings[*serial as usize];
            saying.read = Some(now);
            saying.shared_until = None;
        }
    }

    /// A turn is over: the time for which a question on its way is waited for may be, too.
    pub(crate) fn turn_is_over(&self) {
        let now = self.now();
        for saying in self.sayings.borrow_mut().iter_mut() {
            let is_over = saying.read.is_some_and(|read| now >= read + GRACE);
            if is_over && saying.shared_until.is_none() {
                saying.shared_until = Some(now);
            }
        }
    }

    /// A lookup has its outcome.
    pub(crate) fn told(&self, number: usize, outcome: Outcome) {
        let mut asked = self.asked.borrow_mut();
        let before = &mut asked[number].outcome;
        if !matches!(before, Outcome::Pending) {
            self.breaks(format!(
                "once: {number} is told {outcome:?}, and was {before:?}"
            ));
        }
        *before = outcome;
    }

    /// Whether a saying could be given out at a time, to one who began to ask then.
    fn is_fresh(saying: &Saying, began: Duration, at: Duration) -> bool {
        let Some(read) = saying.read else {
            return false;
        };
        let is_shared = saying.shared_until.is_none_or(|until| began <= until);
        let is_valid = saying.ttl.is_some_and(|ttl| at < read + ttl);
        is_shared || is_valid
    }

    /// What must be true of every outcome that has come in this turn.
    pub(crate) fn check_outcomes(&self) {
        let now = self.now();
        let mut asked = self.asked.borrow_mut();
        for asked in asked.iter_mut() {
            if asked.is_checked || matches!(asked.outcome, Outcome::Pending) {
                continue;
            }
            asked.is_checked = true;
            match &asked.outcome {
                Outcome::Found(list, origin, until) => {
                    // (What was known when the resolver was closed is given out by its end, later still.)
                    let at = match self.is_closed.get() {
                        true => asked.turn_began,
                        false => asked.turn_began.max(self.last_turn.get()),
                    };
                    self.check_addresses(asked.name, (asked.began, at), list, *origin);
                    assert!(
                        until.is_none_or(|until| at < until),
                        "expiry: it says so itself, at {at:?}: {asked:?}"
                    );
                }
                Outcome::Failed(failure) => {
                    let refuses = matches!(failure, Failure::Overloaded | Failure::Closed);
                    assert!(
                        refuses || !asked.is_refused,
                        "once: it could not be cancelled: {asked:?}"
                    );
                    let is_so = match failure {
                        Failure::DeadlinePassed => {
                            self.count("failure: deadline");
                            asked.deadline.is_some_and(|deadline| now >= deadline)
                        }
                        Failure::Overloaded => {
                            self.count("failure: overload");
                            asked.waited >= self.limits.lookups
                        }
                        Failure::NoSuchName => {
                            self.count("failure: name");
                            self.is_denied(asked)
                        }
                        Failure::NoAddress => {
                            self.count("failure: address");
                            self.is_denied(asked)
                        }
                        Failure::ServerFailed => {
                            self.count("failure: servers");
                            true
                        }
                        Failure::Unanswered => {
                            self.count("failure: unanswered");
                            true
                        }
                        Failure::Closed => self.is_closed.get(),
                        _ => false,
                    };
                    assert!(is_so, "reason: {failure:?} is not so at {now:?}: {asked:?}");
                }
                Outcome::Cancelled => self.count("cancelled"),
                Outcome::Pending => {}
            }
        }
    }

    fn targets(name: usize) -> [String; 2] {
        let own = wire_name(name);
        match truth(&own) {
            Truth::Alias(target) => [own, wire_name(target)],
            _ => [own.clone(), own],
        }
    }

    /// One denial may be followed by a long search for other names.
    fn is_denied(&self, asked: &Asked) -> bool {
        let targets = World::targets(asked.name);
        let sayings = self.sayings.borrow();
        let mut denials = sayings
            .iter()
            .filter(|saying| saying.said == Said::Denial && targets.contains(&saying.name));
        denials.any(|denial| World::is_fresh(denial, asked.began, asked.turn_began))
    }

    pub(crate) fn check_addresses(
        &self,
        name: usize,
        (began, at): (Duration, Duration),
        list: &[IpAddr],
        origin: Origin,
    ) {
        self.count(match origin {
            Origin::Cache => "addresses: cache",
            _ => "addresses: asked",
        });
        let [own, target] = World::targets(name);
        assert!(!list.is_empty(), "answers: of {own} none came out");
        let is_from_cache = origin == Origin::Cache;
        assert!(
            !is_from_cache || self.limits.cached > 0,
            "cache: it has no place"
        );
        let sayings = self.sayings.borrow();
        for address in list {
            let serial = serial_of(*address);
            let saying = sayings.get(serial as usize);
            let saying = saying.unwrap_or_else(|| panic!("answers: nobody has said {address}"));
            let is_ours = saying.said == Said::Address && saying.name == target;
            assert!(
                is_ours,
                "answers: {address} is given to {own}, and was {saying:?}"
            );
            assert!(
                World::is_fresh(saying, began, at),
                "expiry: {address} for {own}, asked at {began:?}, {origin:?} at {at:?}: {saying:?}"
            );
        }
        if own != target {
            let mut aliases = sayings
                .iter()
                .filter(|saying| saying.said == Said::Alias && saying.name == own);
            // (What its target has is kept for the least time, whatever the alias says; and who asks while the target
            // is asked for shares what comes of that.)
            let is_kept = self.limits.min_ttl > Duration::ZERO || origin == Origin::Asked;
            assert!(
                aliases.any(|alias| {
                    World::is_fresh(alias, began, at) || is_kept && alias.read.is_some()
                }),
                "expiry: the alias {own}, asked at {began:?}, {origin:?} at {at:?}: {sayings:?}"
            );
        }
    }
}
