//! A client: any number of requests from any dispatchers, over a few connections that pipeline.
//!
//! The client is a service, reached by its id. It leases connections from a pool as long as it has requests for them,
//! and gives them back when all are answered. A request goes to a connection with room, or waits in line for one; the
//! line and what is in flight on each connection are bounded, and so is the time that a request takes.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use slabloop::kit::bucket::Quota;
use slabloop::kit::pool::{
    Acquired, AfterFailure, Lease, Pool, PoolGauges, PoolOptions, Pooled, Reason, Refused, Seat,
};
use slabloop::kit::retry::{Backoff, Budget};
use slabloop::{Context, Dispatcher, Id, Reactor, TimerId};

use super::connection::Connection;
use super::request::{Answered, Answers, Outcome, Request};
use super::resp::encode;
use super::settings::Settings;
use super::shared;

pub(crate) type Connections = Pool<SocketAddr, Connection>;
type Leased = Lease<SocketAddr, Connection>;

/// Attempts to connect after a failure come after a random time up to this, doubled with each failure,
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// and up to this in the end.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

const SHUTTING_DOWN: &str = "the client is shutting down";
const ENDED: &str = "the client has ended";

/// What a client holds, and has counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) issued: u64,
    pub(crate) answered: Answered,
    /// Requests that wait for a connection with room.
    pub(crate) waiting: usize,
    pub(crate) pool: PoolGauges,
}

impl Gauges {
    pub(crate) fn in_flight(&self) -> u64 {
        self.issued - self.answered.total() - self.waiting as u64
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// No more requests are taken, and those in flight are waited for.
    Draining,
    /// They are not waited for any more.
    Over,
}

pub(crate) struct Client {
    settings: Settings,
    pool: Id<Connections>,
    stage: Stage,
    /// Connections that it has leased.
    lanes: Vec<Option<Leased>>,
    /// Where the next request is tried first.
    next_lane: usize,
    /// Leases that it has asked for.
    coming: usize,
    waiting: VecDeque<Request>,
    /// When the first in line has waited long enough; late if that one has gone.
    timer: Option<TimerId>,
    end_of_drain: Option<TimerId>,
    issued: u64,
    answers: Answers,
}

impl Client {
    /// Adds a client, and a pool for it whose connections are made by `connect`.
    pub(crate) fn start(
        reactor: &mut Reactor,
        settings: &Settings,
        connect: impl FnMut(
            &mut Context<'_>,
            &SocketAddr,
            Seat<SocketAddr, Connection>,
        ) -> io::Result<Id<Pooled<SocketAddr, Connection>>>
        + 'static,
    ) -> io::Result<Id<Client>> {
        let mut options = PoolOptions::new();
        options
            .max_connections(settings.connections)
            .max_per_destination(settings.connections)
            .max_waiting(settings.connections);
        let pool = Connections::new(&options, connect)?.after_failure(reconnecting()?);
        let pool = reactor.add_service(pool)?;
        Client::with_pool(reactor, settings, pool)
    }

    /// Adds a client that shares a pool with others.
    pub(crate) fn with_pool(
        reactor: &mut Reactor,
        settings: &Settings,
        pool: Id<Connections>,
    ) -> io::Result<Id<Client>> {
        let lanes = (0..settings.connections).map(|_| None).collect();
        reactor.add_service(Client {
            settings: settings.clone(),
            pool,
            stage: Stage::Open,
            lanes,
            next_lane: 0,
            coming: 0,
            waiting: VecDeque::new(),
            timer: None,
            end_of_drain: None,
            issued: 0,
            answers: Rc::new(Cell::new(Answered::default())),
        })
    }

    /// Makes a request: a command and its arguments. `deliver` is called with `holder`, as a callback of it, once and
    /// never before this has returned; not if the holder has ended.
    pub(crate) fn request<H: Dispatcher, A: AsRef<[u8]>>(
        cx: &mut Context<'_>,
        client: Id<Client>,
        holder: Id<H>,
        arguments: &[A],
        deliver: impl FnOnce(&mut H, &mut Context<'_>, Outcome) -> io::Result<()> + 'static,
    ) {
        let refused = shared::refusal(arguments);
        let mut made = Some((encode(arguments), deliver));
        // (It is never busy: it calls no other dispatcher.)
        cx.with(client, |client, cx| {
            let Some((bytes, deliver)) = made.take() else {
                return;
            };
            let deadline = cx.now() + client.settings.timeout;
            client.issued += 1;
            let request = Request::new(bytes, deadline, &client.answers, holder, deliver);
            match refused.or_else(|| client.refusal(&request)) {
                Some(why) => request.answer_later(cx, Outcome::NotSent(why.into())),
                None => client.accept(cx, request),
            }
        });
        if let Some((_, deliver)) = made {
            cx.defer(move |reactor| {
                let outcome = Outcome::NotSent(ENDED.into());
                let _ = reactor.call(holder, |holder, cx| deliver(holder, cx, outcome));
            });
        }
    }

    /// What it holds and has counted.
    pub(crate) fn gauges(cx: &mut Context<'_>, client: Id<Client>) -> Gauges {
        let gauges = cx.with(client, |client, cx| Gauges {
            issued: client.issued,
            answered: client.answers.get(),
            waiting: client.waiting.len(),
            pool: Pool::gauges(cx, client.pool).unwrap_or_default(),
        });
        gauges.unwrap_or_default()
    }

    /// Takes no more requests. Those that wait are answered, and those in flight have `limit` to be.
    pub(crate) fn drain(cx: &mut Context<'_>, client: Id<Client>, limit: Duration) {
        cx.with(client, |client, cx| {
            client.stage = Stage::Draining;
            client.refuse_all(cx, SHUTTING_DOWN);
            client.end_of_drain = Some(cx.set_timer(limit));
        });
    }

    fn refusal(&self, request: &Request) -> Option<&'static str> {
        if self.stage != Stage::Open {
            return Some(SHUTTING_DOWN);
        }
        if request.bytes.len() > self.settings.max_request {
            return Some("the request is too large");
        }
        None
    }

    fn accept(&mut self, cx: &mut Context<'_>, request: Request) {
        // No waiting request is overtaken.
        if !self.waiting.is_empty() {
            self.line_up(cx, request, None);
            return self.ask_for_those_that_wait(cx);
        }
        let (another, refused) = match self.lease(cx) {
            Ok(lane) => (lane, None),
            Err(refused) => (None, Some(refused)),
        };
        let first = another.unwrap_or(self.next_lane);
        let mut request = request;
        for step in 0..self.lanes.len() {
            let lane = (first + step) % self.lanes.len();
            match self.send_over(cx, lane, request) {
                None => {
                    self.next_lane = lane + 1;
                    return;
                }
                Some(back) => request = back,
            }
        }
        self.line_up(cx, request, refused);
    }

    /// Leases another connection, if there may be one more. The lane that it is, if there is one at once.
    fn lease(&mut self, cx: &mut Context<'_>) -> Result<Option<usize>, Refused> {
        if self.open_lanes() + self.coming >= self.lanes.len() || self.stage != Stage::Open {
            return Ok(None);
        }
        let me = cx.id::<Client>();
        let (pool, server, limit) = (self.pool, self.settings.server, self.settings.timeout);
        match Pool::acquire_within(cx, pool, &server, me, limit, Client::acquired) {
            Acquired::Now(lease) => Ok(self.open_lane(cx, lease?)),
            Acquired::Later(_) => {
                self.coming += 1;
                Ok(None)
            }
        }
    }

    fn open_lanes(&self) -> usize {
        self.lanes.iter().flatten().count()
    }

    /// None if the connection has just ended.
    fn open_lane(&mut self, cx: &mut Context<'_>, lease: Leased) -> Option<usize> {
        let me = cx.id::<Client>();
        let lane = self.lanes.iter().position(Option::is_none)?;
        let told = lease.with(cx, |connection, _| connection.used_by(Some((me, lane))));
        told.ok()?;
        self.lanes[lane] = Some(lease);
        Some(lane)
    }

    /// Sends a request over a lane; gives it back if that has no room.
    fn send_over(&self, cx: &mut Context<'_>, lane: usize, request: Request) -> Option<Request> {
        let Some(lease) = &self.lanes[lane] else {
            return Some(request);
        };
        let mut request = Some(request);
        let _ = lease.with(cx, |connection, cx| {
            if connection.has_room(cx) {
                request = request
                    .take()
                    .and_then(|request| connection.send(cx, request).err());
            }
        });
        request
    }

    fn line_up(&mut self, cx: &mut Context<'_>, request: Request, refused: Option<Refused>) {
        let why: Rc<str> = match refused {
            Some(refused) if self.open_lanes() + self.coming == 0 => refused.to_string().into(),
            _ if self.waiting.len() >= self.settings.max_waiting => {
                "as many requests wait as may".into()
            }
            _ => {
                if self.timer.is_none() {
                    let left = request.deadline.saturating_duration_since(cx.now());
                    self.timer = Some(cx.set_timer(left));
                }
                self.waiting.push_back(request);
                return;
            }
        };
        request.answer_later(cx, Outcome::NotSent(why));
    }

    /// A lease has come, or none is to be had.
    fn acquired(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Result<Leased, Refused>,
    ) -> io::Result<()> {
        self.coming -= 1;
        match outcome {
            Ok(lease) => {
                if let Some(lane) = self.open_lane(cx, lease) {
                    self.fill(cx, lane);
                }
            }
            Err(refused) => self.goes_without(cx, &refused),
        }
        self.ask_for_those_that_wait(cx);
        self.end_if_done(cx);
        Ok(())
    }

    /// Sends what waits over a lane that has room. Without any use for the lane it is given back.
    fn fill(&mut self, cx: &mut Context<'_>, lane: usize) {
        while let Some(request) = self.next_waiting(cx) {
            if let Some(back) = self.send_over(cx, lane, request) {
                self.waiting.push_front(back);
                break;
            }
        }
        let quiet = self.lanes[lane].as_ref().map(|lease| {
            lease.with(cx, |connection, _| {
                let is_quiet = connection.is_quiet();
                if is_quiet {
                    connection.used_by(None);
                }
                is_quiet
            })
        });
        if quiet == Some(Ok(true)) {
            self.has_become_quiet(cx, lane);
        }
    }

    /// The first in line. Those that have waited too long are answered.
    pub(crate) fn next_waiting(&mut self, cx: &mut Context<'_>) -> Option<Request> {
        while let Some(request) = self.waiting.pop_front() {
            if request.deadline > cx.now() {
                return Some(request);
            }
            request.answer_later(
                cx,
                Outcome::NotSent("no connection had room in time".into()),
            );
        }
        None
    }

    /// No lease is to be had now.
    fn goes_without(&mut self, cx: &mut Context<'_>, refused: &Refused) {
        // At its deadline the first in line is answered anyway, and the others have theirs.
        if self.open_lanes() + self.coming == 0 && refused.reason() != Reason::Deadline {
            self.refuse_all(cx, &refused.to_string());
        }
    }

    fn refuse_all(&mut self, cx: &mut Context<'_>, why: &str) {
        let why: Rc<str> = why.into();
        for request in self.waiting.drain(..) {
            request.answer_later(cx, Outcome::NotSent(Rc::clone(&why)));
        }
    }

    /// All requests of a lane are answered, and none waits.
    pub(crate) fn has_become_quiet(&mut self, cx: &mut Context<'_>, lane: usize) {
        if let Some(lease) = self.lanes[lane].take() {
            lease.release(cx);
        }
        self.end_if_done(cx);
    }

    /// The connection of a lane has ended, and answers what was in flight there.
    pub(crate) fn has_lost(&mut self, cx: &mut Context<'_>, lane: usize) {
        if let Some(lease) = self.lanes[lane].take() {
            lease.discard(cx);
        }
        self.ask_for_those_that_wait(cx);
        self.end_if_done(cx);
    }

    fn ask_for_those_that_wait(&mut self, cx: &mut Context<'_>) {
        while !self.waiting.is_empty() {
            match self.lease(cx) {
                Ok(Some(lane)) => self.fill(cx, lane),
                Ok(None) => return,
                Err(refused) => return self.goes_without(cx, &refused),
            }
        }
    }

    fn end_if_done(&mut self, cx: &mut Context<'_>) {
        if cx.is_shutting_down() && self.open_lanes() + self.coming == 0 {
            cx.close();
        }
    }
}

impl Dispatcher for Client {
    fn handle_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) -> io::Result<()> {
        if self.end_of_drain == Some(timer) {
            self.stage = Stage::Over;
            // They tell those that wait for answers when they close.
            for lease in self.lanes.iter_mut().filter_map(Option::take) {
                lease.discard(cx);
            }
            return Ok(());
        }
        self.timer = None;
        while self
            .waiting
            .front()
            .is_some_and(|first| first.deadline <= cx.now())
        {
            if let Some(request) = self.next_waiting(cx) {
                self.waiting.push_front(request);
            }
        }
        if let Some(first) = self.waiting.front() {
            let left = first.deadline.saturating_duration_since(cx.now());
            self.timer = Some(cx.set_timer(left));
        }
        Ok(())
    }

    /// It ends with the last of its requests.
    fn handle_shutdown(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.stage = Stage::Draining;
        self.refuse_all(cx, SHUTTING_DOWN);
        self.end_if_done(cx);
        Ok(())
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        self.refuse_all(cx, ENDED);
    }
}

/// What follows when an attempt to connect has failed. While the budget pays for further attempts, requests wait for
/// them; when it does not, they are refused at once until the next attempt. Requests are refused at once also after a login
/// that failed, which seldom succeeds a moment later. The log gets one warning of it.
fn reconnecting() -> io::Result<impl FnMut(&SocketAddr, &io::Error, u32) -> AfterFailure> {
    let mut backoff = Backoff::builder()
        .base(FIRST_PAUSE)
        .cap(LONGEST_PAUSE)
        .build()?;
    let budget = Budget::new(0, 0, Quota::per_second(2).burst(10))?;
    let mut is_told = false;
    Ok(move |server: &SocketAddr, error: &io::Error, failures| {
        if failures == 1 {
            backoff.reset();
            is_told = false;
        }
        let pause = backoff.next().unwrap_or(LONGEST_PAUSE);
        let is_refused = error.kind() == io::ErrorKind::PermissionDenied;
        if is_refused && !std::mem::replace(&mut is_told, true) {
            log::warn!("redis at {server}: {error}; it is tried again");
        } else {
            log::debug!("cannot connect to {server}: {error}; again in {pause:?}");
        }
        if !is_refused && budget.spend(Instant::now()) {
            AfterFailure::Retry(pause)
        } else {
            AfterFailure::Pause(pause)
        }
    })
}
