//! What all connections share: limits, rates, the pool, the resolver, the date.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use slabloop::kit::limits::{PerPeer, PrefixLengths, Quota, TokenBucket};
use slabloop::kit::pool::{Pool, PoolOptions, Seat};
use slabloop::kit::resolver::{DnsConfig, DnsResolver};
use slabloop::{Context, Id, Reactor};

use crate::config::Limits;
use crate::http::Status;
use crate::http::date::Date;
use crate::policy::Policy;
use crate::rate_limit::{RateLimit, Verdict, whole_seconds};
use crate::refusal::Refusal;
use crate::upstream::Upstream;

/// Requests that may wait for a connection.
const MOST_WAITING: usize = 4096;

pub(crate) type Upstreams = Pool<SocketAddr, Upstream>;

pub(crate) struct Proxy {
    pub(crate) limits: Limits,
    pub(crate) policy: Policy,
    /// Its name in `Via`.
    pub(crate) name: String,
    pub(crate) resolver: DnsResolver,
    pub(crate) date: RefCell<Date>,
    pub(crate) per_peer: PerPeer,
    pub(crate) logs_access: bool,
    pool: OnceCell<Id<Upstreams>>,
    /// Of each client.
    pub(crate) rate: Option<RateLimit>,
    rate_all: Option<RefCell<TokenBucket>>,
    notes: RefCell<TokenBucket>,
    unsaid: Cell<u64>,
}

/// What is chosen on the command line.
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    pub(crate) rate: Option<RateLimit>,
    pub(crate) policy: Policy,
    pub(crate) name: String,
    pub(crate) dns: DnsConfig,
    pub(crate) logs_access: bool,
}

impl Proxy {
    pub(crate) fn new(reactor: &mut Reactor, settings: Settings) -> io::Result<Rc<Proxy>> {
        let limits = settings.limits;
        let rate_all = match limits.rate_all {
            0 => None,
            rate => Some(TokenBucket::new(Quota::per_second(rate))?),
        };
        let mut options = PoolOptions::new();
        options
            .max_connections(limits.upstreams)
            .max_per_destination(limits.per_upstream)
            .max_waiting(MOST_WAITING)
            .idle_timeout(limits.upstream_idle_time);
        let proxy = Rc::new(Proxy {
            per_peer: PerPeer::new(limits.per_peer, PrefixLengths::default())?,
            limits,
            policy: settings.policy,
            name: settings.name,
            resolver: DnsResolver::new(reactor, settings.dns)?,
            date: RefCell::new(Date::new(Instant::now())),
            logs_access: settings.logs_access,
            pool: OnceCell::new(),
            rate: settings.rate,
            rate_all: rate_all.map(RefCell::new),
            notes: RefCell::new(TokenBucket::new(Quota::per_second(1).burst(5))?),
            unsaid: Cell::new(0),
        });
        let shared = Rc::clone(&proxy);
        let connect = move |cx: &mut Context<'_>, address: &SocketAddr, seat: Seat<_, _>| {
            cx.connect(*address, seat.hold(Upstream::new(Rc::clone(&shared))))
        };
        let pool = reactor.add_service(Pool::new(&options, connect)?)?;
        let _ = proxy.pool.set(pool);
        Ok(proxy)
    }

    /// `None` only before it is made.
    pub(crate) fn pool(&self) -> Option<Id<Upstreams>> {
        self.pool.get().copied()
    }

    /// Counts a request, whose client is within its rate or is not, against the rate of all.
    pub(crate) fn admit(&self, now: Instant, verdict: Verdict) -> Result<(), Refusal> {
        verdict.map_err(|exhausted| Refusal {
            after: Some(whole_seconds(exhausted.retry_after)),
            ..Refusal::new(Status::TOO_MANY, "from this client in this second")
        })?;
        if let Some(rate) = &self.rate_all {
            let taken = rate.borrow_mut().take(now, 1);
            taken.map_err(|exhausted| Refusal {
                after: Some(whole_seconds(exhausted.retry_after)),
                ..Refusal::new(Status::UNAVAILABLE, "too many requests in this second")
            })?;
        }
        Ok(())
    }

    /// A warning that a client can cause: one a second, and how many were left out.
    pub(crate) fn note(&self, now: Instant, what: fmt::Arguments<'_>) {
        if self.notes.borrow_mut().take(now, 1).is_err() {
            self.unsaid.set(self.unsaid.get() + 1);
            return;
        }
        match self.unsaid.replace(0) {
            0 => log::warn!("{what}"),
            unsaid => log::warn!("{what} (and {unsaid} more before)"),
        }
    }
}
