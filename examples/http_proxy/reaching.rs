//! The way of a request to its server: may it go, where to, and a connection there.

use std::io;
use std::rc::Rc;

use slabloop::kit::pool::{Acquired, Lease, Pool, Reason, Refused};
use slabloop::kit::resolver::{Failure, LookupError, Resolve};
use slabloop::{Cause, Context, Id};

use crate::client::{Client, Phase};
use crate::http::Status;
use crate::job::Job;
use crate::policy::Way;
use crate::rate_limit::Verdict;
use crate::refusal::Refusal;
use crate::reply::Asked;
use crate::tunnel::Leg;
use crate::upstream::Upstream;

type Outcome = Result<slabloop::kit::resolver::Addresses, LookupError>;
type Leased = Result<Lease<std::net::SocketAddr, Upstream>, Refused>;

impl Client {
    /// A request has been read. Where the client's rate is shared, whether it is within that is asked first.
    pub(crate) fn begin(&mut self, cx: &mut Context<'_>, job: Box<Job>) -> io::Result<()> {
        let proxy = Rc::clone(&self.proxy);
        let (Some(rate), Some(client)) = (&proxy.rate, cx.peer()) else {
            return self.admit(cx, job, Ok(()));
        };
        let me = cx.id::<Client>();
        let told = |client: &mut Client, cx: &mut Context<'_>, verdict| match client.take_waiting()
        {
            Some(job) => client.admit(cx, job, verdict),
            None => Ok(()),
        };
        match rate.take(cx, client.ip(), me, told) {
            Some(verdict) => self.admit(cx, job, verdict),
            None => {
                cx.pause_reading();
                self.phase = Phase::Waiting(job);
                Ok(())
            }
        }
    }

    fn admit(&mut self, cx: &mut Context<'_>, job: Box<Job>, verdict: Verdict) -> io::Result<()> {
        let proxy = Rc::clone(&self.proxy);
        let request = &job.request;
        if let Err(refusal) = proxy.admit(cx.now(), verdict) {
            return self.refuse(cx, Some(job), refusal);
        }
        if request.is_for_proxy {
            return self.refuse(cx, Some(job), Status::OK.into());
        }
        if !proxy.policy.may_use_port(request.port, request.way) {
            return self.forbid(cx, job, "not this port");
        }
        cx.pause_reading();
        if let Some(addresses) = proxy.resolver.known(cx, &request.host) {
            return self.found(cx, job, Ok(addresses));
        }
        let (me, limit) = (cx.id::<Client>(), proxy.limits.wait_time);
        let resolver = &proxy.resolver;
        resolver.lookup_within(
            cx,
            me,
            &request.host,
            limit,
            |client, cx, outcome| match client.take_waiting() {
                Some(job) => client.found(cx, job, outcome),
                None => Ok(()),
            },
        );
        self.phase = Phase::Waiting(job);
        Ok(())
    }

    fn take_waiting(&mut self) -> Option<Box<Job>> {
        match std::mem::replace(&mut self.phase, Phase::Head) {
            Phase::Waiting(job) => Some(job),
            other => {
                self.phase = other;
                None
            }
        }
    }

    /// Says that this proxy does not connect there, and notes who asked.
    fn forbid(&mut self, cx: &mut Context<'_>, job: Box<Job>, why: &'static str) -> io::Result<()> {
        let (host, port) = (&job.request.host, job.request.port);
        let label = cx.label().to_string();
        let note = format_args!("{label} asks for {host}:{port}: refused: {why}");
        self.proxy.note(cx.now(), note);
        self.refuse(cx, Some(job), Refusal::new(Status::FORBIDDEN, why))
    }

    fn found(
        &mut self,
        cx: &mut Context<'_>,
        mut job: Box<Job>,
        outcome: Outcome,
    ) -> io::Result<()> {
        let addresses = match outcome {
            Ok(addresses) => addresses,
            Err(error) => {
                log::debug!("{}: {error}", cx.label());
                return self.refuse(cx, Some(job), not_found(error.failure()));
            }
        };
        let request = &job.request;
        let policy = &self.proxy.policy;
        match policy.choose(&request.host, request.port, request.way, &addresses) {
            Ok(chosen) => job.addresses = chosen.into(),
            Err(why) => return self.forbid(cx, job, why),
        }
        self.reach(cx, job)
    }

    fn reach(&mut self, cx: &mut Context<'_>, job: Box<Job>) -> io::Result<()> {
        match job.request.way {
            Way::Http => self.acquire(cx, job),
            Way::Tunnel => self.dial(cx, job),
        }
    }

    /// The connection to the first of the addresses has failed: tries the next, if there is one.
    fn try_next(
        &mut self,
        cx: &mut Context<'_>,
        mut job: Box<Job>,
        refusal: Refusal,
    ) -> io::Result<()> {
        job.addresses.pop_front();
        if job.addresses.is_empty() || cx.is_shutting_down() {
            return self.refuse(cx, Some(job), refusal);
        }
        self.reach(cx, job)
    }

    /// Asks the pool for a connection to the first of the addresses.
    pub(crate) fn acquire(&mut self, cx: &mut Context<'_>, job: Box<Job>) -> io::Result<()> {
        let (Some(&address), Some(pool)) = (job.addresses.front(), self.proxy.pool()) else {
            return self.refuse(cx, Some(job), Status::UNAVAILABLE.into());
        };
        let (me, limit) = (cx.id::<Client>(), self.proxy.limits.wait_time);
        let acquired = Pool::acquire_within(
            cx,
            pool,
            &address,
            me,
            limit,
            |client: &mut Client, cx, outcome| {
                // Without a job the lease is dropped, and goes back.
                match client.take_waiting() {
                    Some(job) => client.leased(cx, job, outcome),
                    None => Ok(()),
                }
            },
        );
        match acquired {
            Acquired::Now(outcome) => self.leased(cx, job, outcome),
            Acquired::Later(_) => {
                self.phase = Phase::Waiting(job);
                Ok(())
            }
        }
    }

    /// Sends the request to its server, as far as it is there.
    fn leased(
        &mut self,
        cx: &mut Context<'_>,
        mut job: Box<Job>,
        outcome: Leased,
    ) -> io::Result<()> {
        let lease = match outcome {
            Ok(lease) => lease,
            Err(refused) => {
                log::debug!("{}: {refused}", cx.label());
                return match refused.reason() {
                    Reason::Connect(kind) => self.try_next(cx, job, unreachable(kind)),
                    _ => self.refuse(cx, Some(job), not_leased(refused.reason())),
                };
            }
        };
        let asked = Asked {
            is_head: job.request.is_head,
            is_1_1: job.request.is_1_1,
            keep_alive: job.request.keep_alive,
        };
        job.tries += 1;
        let (me, server) = (cx.id::<Client>(), lease.id());
        let head = &job.request.head;
        let sent = lease.with(cx, |upstream, cx| upstream.ask(cx, me, asked, head));
        let has_body = job.body.is_some();
        job.lease = Some(lease);
        self.phase = Phase::Exchange(job);
        if !matches!(sent, Ok(Ok(()))) {
            return self.failed(cx, crate::upstream::Failed::Stale);
        }
        if has_body {
            cx.feeds(server);
            cx.resume_reading();
            self.look_again(cx);
        }
        self.review(cx);
        Ok(())
    }

    /// Begins to connect to the first of the addresses, for a tunnel.
    fn dial(&mut self, cx: &mut Context<'_>, job: Box<Job>) -> io::Result<()> {
        let Some(&address) = job.addresses.front() else {
            return self.refuse(cx, Some(job), Status::BAD_GATEWAY.into());
        };
        let leg = Leg::dialling(cx.id::<Client>());
        match cx.connect(address, leg) {
            Ok(leg) => {
                self.phase = Phase::Dialling(job, leg);
                Ok(())
            }
            Err(error) => self.try_next(cx, job, unreachable(error.kind())),
        }
    }

    pub(crate) fn not_connected(&mut self, cx: &mut Context<'_>, cause: Cause) -> io::Result<()> {
        let kind = match cause {
            Cause::ConnectFailed(kind) => kind,
            Cause::ConnectTimeout => io::ErrorKind::TimedOut,
            _ => io::ErrorKind::Other,
        };
        match std::mem::replace(&mut self.phase, Phase::Head) {
            Phase::Dialling(job, _) => self.try_next(cx, job, unreachable(kind)),
            other => {
                self.phase = other;
                Ok(())
            }
        }
    }

    /// The tunnel is there. This dispatcher gives way to one of its legs.
    pub(crate) fn connected(&mut self, cx: &mut Context<'_>, server: Id<Leg>) -> io::Result<()> {
        let Phase::Dialling(job, _) = std::mem::replace(&mut self.phase, Phase::Over) else {
            return Ok(());
        };
        if self.proxy.logs_access {
            crate::access::line(cx, &job.request, 200, 0);
        }
        cx.send(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
        cx.has_more_input(false);
        let pending = std::mem::take(&mut self.pending);
        Leg::establish(cx, server, &pending, self.place.take())?;
        cx.set_idle_timeout(self.proxy.limits.tunnel_time);
        cx.resume_reading();
        Ok(())
    }
}

fn unreachable(kind: io::ErrorKind) -> Refusal {
    match kind {
        io::ErrorKind::TimedOut => {
            Refusal::new(Status::GATEWAY_TIMEOUT, "the server does not connect")
        }
        _ => Refusal::new(Status::BAD_GATEWAY, "the server cannot be reached"),
    }
}

fn not_found(failure: Failure) -> Refusal {
    match failure {
        Failure::InvalidName | Failure::NoSuchName | Failure::NoAddress => {
            Refusal::new(Status::BAD_GATEWAY, "no such host")
        }
        Failure::DeadlinePassed | Failure::Unanswered => Refusal::new(
            Status::GATEWAY_TIMEOUT,
            "the lookup of the host takes too long",
        ),
        _ => Refusal::new(Status::UNAVAILABLE, "the host cannot be looked up"),
    }
}

fn not_leased(reason: Reason) -> Refusal {
    let why = match reason {
        Reason::Deadline => "no connection to the server was free in time",
        Reason::ShutDown => "the proxy is shutting down",
        _ => "too many requests wait for a connection",
    };
    Refusal::new(Status::UNAVAILABLE, why)
}
