//! Redis is asked, and the process decides where it does not answer.
//!
//! The time that a caller can lose is bounded by the wait, and how many wait by [`MOST_OPEN`]. After some failures in a row a
//! breaker opens: nobody waits any more, and once a second one question is asked for which nobody waits, until it is
//! answered.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use slabloop::kit::limits::{Prefix, PrefixLengths};
use slabloop::kit::retry::{Breaker, Permit, State};
use slabloop::{Context, Dispatcher, Id, Reactor, TimerId};

use super::refusals::Refusals;
use super::script::{Answer, By, Question};
use super::waiting::{Then, Waiter, Waiting};
use super::{Limit, Verdict, common, redis};
use redis::{Client, Connection, Outcome};

/// Questions that Redis has not answered. More are decided here.
const MOST_OPEN: usize = 1024;

/// Failures in a row after which Redis is not waited for.
const FAILURES: u32 = 3;

/// How long it is not asked then.
const OPEN_FOR: Duration = Duration::from_secs(1);

/// When a connection is given up on which an answer is missing, at the earliest. Questions are given up before that.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// Questions and answers are short.
const MOST_BYTES: usize = 64 * 1024;

pub(crate) struct Settings {
    pub(crate) server: redis::Server,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) name: String,
    pub(crate) rate: u32,
    pub(crate) burst: u32,
    pub(crate) wait: Duration,
}

/// What a limit needs to ask Redis.
pub(crate) struct Shared {
    settings: Settings,
    question: Question,
    client: Id<Client>,
    attendant: Id<Attendant>,
    breaker: Breaker,
    waiting: RefCell<Waiting>,
    refusals: RefCell<Refusals>,
    status: RefCell<Status>,
}

struct Status {
    stage: Stage,
    /// Questions that are with the client.
    open: usize,
    timer: Option<TimerId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It has not been heard of.
    Starting,
    Answering,
    Away {
        since: Instant,
    },
    /// The reactor has shut down what is here.
    Over,
}

/// Has the callbacks.
pub(crate) struct Attendant {
    limit: Option<Rc<Limit>>,
}

impl Shared {
    pub(crate) fn new(reactor: &mut Reactor, settings: Settings) -> io::Result<Shared> {
        let mut with_redis = redis::Settings::new(settings.addresses[0]);
        with_redis.login = settings.server.login.clone();
        with_redis.connections = 2;
        with_redis.pipeline = MOST_OPEN / 2;
        with_redis.max_waiting = MOST_OPEN;
        with_redis.timeout = ANSWER_TIME.max(2 * settings.wait);
        (with_redis.max_reply, with_redis.max_request) = (MOST_BYTES, MOST_BYTES);
        let for_connections = with_redis.clone();
        // A name may have several addresses, one of which answers.
        let mut addresses = settings.addresses.clone().into_iter().cycle();
        let client = Client::start(reactor, &with_redis, move |cx, server, seat| {
            let address = addresses.next().unwrap_or(*server);
            cx.connect(address, seat.hold(Connection::new(&for_connections)))
        })?;
        let breaker = Breaker::builder()
            .consecutive(FAILURES)
            .open_for(OPEN_FOR)
            .build()?;
        Ok(Shared {
            question: Question::new(&settings.name, settings.rate, settings.burst),
            settings,
            client,
            attendant: reactor.add_service(Attendant { limit: None })?,
            breaker,
            waiting: RefCell::default(),
            refusals: RefCell::default(),
            status: RefCell::new(Status {
                stage: Stage::Starting,
                open: 0,
                timer: None,
            }),
        })
    }

    fn stage(&self) -> Stage {
        self.status.borrow().stage
    }

    /// Puts a question, for which `then` waits.
    fn ask(
        &self,
        cx: &mut Context<'_>,
        by: By,
        client: Prefix,
        permit: Permit,
        then: Option<Then>,
    ) {
        let deadline = cx.now() + self.settings.wait;
        let waiter = Waiter {
            client,
            deadline,
            permit,
            then,
        };
        let number = self.waiting.borrow_mut().join(waiter);
        self.set_timer(cx);
        self.send(cx, by, client, number);
    }

    fn send(&self, cx: &mut Context<'_>, by: By, client: Prefix, number: u64) {
        self.status.borrow_mut().open += 1;
        let words = self.question.words(by, client);
        let deliver = move |attendant: &mut Attendant, cx: &mut Context<'_>, outcome: Outcome| {
            if let Some(limit) = &attendant.limit {
                answered(limit, cx, by, number, &outcome);
            }
            Ok(())
        };
        Client::request(cx, self.client, self.attendant, &words, deliver);
    }

    /// For the first that waits. If that one leaves, it is too early, and is set again.
    fn set_timer(&self, cx: &mut Context<'_>) {
        let Some(deadline) = self.waiting.borrow().next_deadline() else {
            return;
        };
        let mut status = self.status.borrow_mut();
        if status.timer.is_none() {
            let left = deadline.saturating_duration_since(cx.now());
            status.timer = cx
                .at(self.attendant)
                .map(|mut attendant| attendant.set_timer(left));
        }
    }

    /// It has answered: says so, if that is news.
    fn has_answered(&self, now: Instant) {
        let stage = &mut self.status.borrow_mut().stage;
        let server = &self.settings.server.name;
        match *stage {
            Stage::Starting => log::info!("rate limit: shared by way of redis at {server}"),
            Stage::Away { since } => {
                let after = now.saturating_duration_since(since).as_secs_f64();
                log::info!(
                    "rate limit: redis at {server} answers again after {after:.1} s: shared again"
                );
            }
            Stage::Answering | Stage::Over => return,
        }
        *stage = Stage::Answering;
    }
}

/// Asks for the first time, for which nobody waits: so it is said at once whether Redis is there.
pub(crate) fn start(limit: &Rc<Limit>, reactor: &mut Reactor) {
    let Some(shared) = &limit.shared else {
        return;
    };
    reactor.with(shared.attendant, |attendant, cx| {
        attendant.limit = Some(Rc::clone(limit));
        if let Ok(permit) = shared.breaker.allow(cx.now()) {
            let nobody = IpAddr::from(Ipv4Addr::UNSPECIFIED);
            let nobody = Prefix::of(nobody, PrefixLengths::default());
            shared.ask(cx, By::Text, nobody, permit, None);
        }
    });
}

/// Asks, or decides. With `None`, `then` gets the verdict.
pub(crate) fn take(
    limit: &Rc<Limit>,
    cx: &mut Context<'_>,
    client: Prefix,
    then: Then,
) -> Option<Verdict> {
    let now = cx.now();
    let Some(shared) = limit
        .shared
        .as_ref()
        .filter(|shared| shared.stage() != Stage::Over)
    else {
        return Some(limit.decide(now, client));
    };
    if let Some(refusal) = shared.refusals.borrow_mut().of(client, now) {
        limit.count(|counts| counts.remembered += 1);
        return Some(Err(refusal));
    }
    let has_failed = shared.breaker.state(now) != State::Closed;
    if !has_failed && shared.status.borrow().open >= MOST_OPEN {
        limit.count(|counts| counts.crowded += 1);
        return Some(limit.decide(now, client));
    }
    match shared.breaker.allow(now) {
        Ok(permit) if !has_failed => {
            shared.ask(cx, By::Sha1, client, permit, Some(then));
            None
        }
        Ok(trial) => {
            // It may have been restarted, and have forgotten the script.
            shared.ask(cx, By::Text, client, trial, None);
            Some(limit.decide(now, client))
        }
        Err(_) => Some(limit.decide(now, client)),
    }
}

/// An answer has come, or none can.
fn answered(limit: &Rc<Limit>, cx: &mut Context<'_>, by: By, number: u64, outcome: &Outcome) {
    let Some(shared) = &limit.shared else {
        return;
    };
    shared.status.borrow_mut().open -= 1;
    let answer = Answer::of(outcome);
    if by == By::Sha1 && answer == Answer::NoScript {
        let waiter = shared.waiting.borrow().client(number);
        if let Some(client) = waiter {
            shared.send(cx, By::Text, client, number);
        }
        return;
    }
    // Without one it was too late, and was decided here.
    let Some(waiter) = shared.waiting.borrow_mut().leave(number) else {
        return;
    };
    let verdict = match answer {
        Answer::Decided(verdict) => verdict,
        Answer::NoScript => return has_failed(limit, cx, waiter, "it does not keep the script"),
        Answer::Nothing(why) => return has_failed(limit, cx, waiter, &why),
    };
    waiter.permit.success(cx.now());
    shared.has_answered(cx.now());
    if let Err(refusal) = verdict {
        let mut refusals = shared.refusals.borrow_mut();
        refusals.remember(waiter.client, refusal, cx.now());
    }
    if let Some(then) = waiter.then {
        limit.count(|counts| counts.shared(verdict.is_ok()));
        then(cx, verdict);
    }
}

/// One has waited in vain: decides. If that was one too many, nobody waits any more.
fn has_failed(limit: &Rc<Limit>, cx: &mut Context<'_>, waiter: Waiter, why: &str) {
    let now = cx.now();
    waiter.permit.failure(now);
    decide_late(limit, cx, waiter.client, waiter.then);
    let Some(shared) = &limit.shared else {
        return;
    };
    let is_given_up = matches!(shared.breaker.state(now), State::Open { .. });
    let is_news = match shared.stage() {
        Stage::Starting => true,
        Stage::Answering => is_given_up,
        Stage::Away { .. } | Stage::Over => false,
    };
    if is_news {
        shared.status.borrow_mut().stage = Stage::Away { since: now };
        limit.count(|counts| counts.outages += 1);
        let server = &shared.settings.server.name;
        log::warn!(
            "rate limit: redis at {server} does not answer: {why}; each process decides by its part of the limit"
        );
    }
    if is_given_up {
        decide_all(limit, cx);
    }
}

fn decide_late(limit: &Limit, cx: &mut Context<'_>, client: Prefix, then: Option<Then>) {
    if let Some(then) = then {
        let verdict = limit.decide(cx.now(), client);
        then(cx, verdict);
    }
}

/// Redis is not asked any more, and what it has not answered does not keep the program.
fn end(limit: &Rc<Limit>, cx: &mut Context<'_>) {
    if let Some(shared) = &limit.shared {
        shared.status.borrow_mut().stage = Stage::Over;
        decide_all(limit, cx);
        Client::drain(cx, shared.client, Duration::ZERO);
    }
}

/// Nobody waits any more.
fn decide_all(limit: &Rc<Limit>, cx: &mut Context<'_>) {
    let Some(shared) = &limit.shared else {
        return;
    };
    let all = shared.waiting.borrow_mut().leave_all();
    for waiter in all {
        // What becomes of these questions says nothing new.
        waiter.permit.cancel();
        decide_late(limit, cx, waiter.client, waiter.then);
    }
}

impl Dispatcher for Attendant {
    /// The first has waited long enough, and perhaps others.
    fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        let Some(limit) = &self.limit else {
            return Ok(());
        };
        let Some(shared) = &limit.shared else {
            return Ok(());
        };
        shared.status.borrow_mut().timer = None;
        let now = cx.now();
        loop {
            let Some(waiter) = shared.waiting.borrow_mut().leave_first(now) else {
                break;
            };
            let is_waited_for = waiter.then.is_some();
            limit.count(|counts| counts.late += u64::from(is_waited_for));
            let why = format!("no answer within {:?}", shared.settings.wait);
            has_failed(limit, cx, waiter, &why);
        }
        shared.set_timer(cx);
        Ok(())
    }

    /// Those that wait are told at once, so that they have the rest of the time for their answers.
    fn handle_shutdown(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if let Some(limit) = &self.limit {
            end(limit, cx);
        }
        Ok(())
    }

    /// All connections have closed.
    fn handle_close(&mut self, cx: &mut Context<'_>) {
        if let Some(limit) = self.limit.take() {
            end(&limit, cx);
            common::say(&format!("rate limit: {}", limit.counts.get()));
        }
    }
}
