//! A line server that stays useful under overload.
//!
//! Shows the limits of the kit: connections per peer, requests per second of each connection, and requests in progress
//! at once, with a bounded queue. Each line is a request, which takes a while and is then answered.
//!
//! ```text
//! cargo run --release --features limits --example limited -- --rate 5 --concurrency 2 --queue 2
//! seq 20 | nc -N 127.0.0.1 7005
//! ```
//!
//! To see more: `RUST_LOG=info,slabloop=debug`.

mod common;

use std::collections::HashMap;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use common::{Failure, Limit, Options};
use slabloop::framing::{Framed, Framing, Handler, Terminator};
use slabloop::kit::limits::{
    Concurrency, PerPeer, Place, PrefixLengths, Quota, Shed, Slot, TokenBucket,
};
use slabloop::{Accepted, Context, Dispatcher, Reactor, TimerId};

/// A longer line ends its sender's connection.
const LONGEST_LINE: usize = 1024;

/// How often the log says how things are.
const GAUGES_EVERY: Duration = Duration::from_secs(10);

struct Listener {
    per_peer: PerPeer,
    requests: TokenBucket,
    limit: Concurrency,
    work: Duration,
    tls: common::Tls,
    proxied: common::Proxied,
}

impl Dispatcher for Listener {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        common::accept(self, cx, accepted)
    }
}

impl common::Welcome for Listener {
    fn proxied(&self) -> &common::Proxied {
        &self.proxied
    }

    /// Behind a load balancer, the peer is the client that it names.
    fn welcome(&mut self, cx: &mut Context<'_>, client: common::Client) -> io::Result<()> {
        let peer = client.peer().map(|peer| peer.ip());
        // A refusal closes the connection, and is logged once a second at most.
        let place = peer.map(|peer| self.per_peer.admit(peer)).transpose()?;
        let served = Client {
            _place: place,
            requests: self.requests.clone(),
            limit: self.limit.clone(),
            work: self.work,
            waiting: 0,
            working: HashMap::new(),
            ended: false,
        };
        let served = Framed::new(Terminator::Line, served)?;
        client.serve(cx, &self.tls, served.max_record(LONGEST_LINE))?;
        Ok(())
    }
}

struct Client {
    _place: Option<Place>,
    requests: TokenBucket,
    limit: Concurrency,
    work: Duration,
    /// Requests without a slot.
    waiting: usize,
    /// Requests that are worked on, each with its timer. If the client goes their slots go to others.
    working: HashMap<TimerId, (Slot, String)>,
    /// It has finished sending.
    ended: bool,
}

impl Client {
    /// A request has come to the head of the queue, or is turned away.
    fn begin(
        &mut self,
        cx: &mut Context<'_>,
        slot: Result<Slot, Shed>,
        line: String,
    ) -> io::Result<()> {
        self.waiting -= 1;
        match slot {
            Ok(slot) => {
                let timer = cx.set_timer(self.work);
                self.working.insert(timer, (slot, line));
            }
            Err(shed) => cx.send(format!("503 {line}: {shed}\n").as_bytes())?,
        }
        self.close_if_done(cx);
        Ok(())
    }

    fn close_if_done(&mut self, cx: &mut Context<'_>) {
        let is_done = self.waiting == 0 && self.working.is_empty();
        if is_done && (self.ended || cx.is_shutting_down()) {
            cx.close();
        }
    }
}

impl Handler for Client {
    fn found_terminator(
        &mut self,
        cx: &mut Context<'_>,
        _: &mut Framing,
        line: &[u8],
    ) -> io::Result<()> {
        let line = String::from_utf8_lossy(line).into_owned();
        if let Err(refused) = self.requests.take(cx.now(), 1) {
            return cx.send(format!("429 {line}: {refused}\n").as_bytes());
        }
        self.waiting += 1;
        let id = cx.id::<Framed<Client>>();
        self.limit.acquire(cx, id, |client, cx, slot| {
            client.handler().begin(cx, slot, line)
        });
        Ok(())
    }

    fn handle_timer(
        &mut self,
        cx: &mut Context<'_>,
        _: &mut Framing,
        timer: TimerId,
    ) -> io::Result<()> {
        if let Some((slot, line)) = self.working.remove(&timer) {
            drop(slot);
            cx.send(format!("200 {line}\n").as_bytes())?;
            self.close_if_done(cx);
        }
        Ok(())
    }

    fn handle_eof(&mut self, cx: &mut Context<'_>, _: &mut Framing) -> io::Result<()> {
        self.ended = true;
        self.close_if_done(cx);
        Ok(())
    }

    /// It stays until its requests are answered.
    fn handle_shutdown(&mut self, cx: &mut Context<'_>, _: &mut Framing) -> io::Result<()> {
        self.close_if_done(cx);
        Ok(())
    }
}

const HELP: &str = "\
Answers each line after a while, within limits: 200 when the work is done, 429 for too many requests per
second, 503 for too many at once.

Usage: limited [OPTIONS]

  --listen HOST:PORT       where to listen; port 0 selects a free one [127.0.0.1:7005]
  --max-per-peer N         connections of one address (IPv6: of one /64) [10]
  --rate N                 requests per second of one connection [100]
  --concurrency N          requests in progress at once [4]
  --queue N                requests that may wait [16]
  --deadline SECONDS       how long a request may wait [2]
  --work SECONDS           how long a request takes [0.1]
  --max-connections N      clients served at once; further ones wait in the kernel [no limit]
  --idle-timeout SECONDS   closes a client after SECONDS without traffic [never]
  --drain SECONDS          time limit for the requests in progress at shutdown [5]
  --tls-cert FILE          serve TLS with this certificate (PEM); build with --features tls
  --tls-key FILE           its private key (PEM)
  --proxy-protocol         clients come through a load balancer that names them in a PROXY header (v1 or v2)
  --proxy-from ADDRESSES   whose headers are believed, such as 10.0.0.0/8,10.1.0.5; all others are turned away.
                           Name your load balancers and no one else: a header can name any client
                           [127.0.0.0/8,::1]
  --proxy-timeout SECONDS  time limit for the header [5]
  --duration SECONDS       stops after this time [never]
  -h, --help               this text
      --version            the version of slabloop

RUST_LOG sets the log level, for example RUST_LOG=info,slabloop=debug.
";

/// The limits, as the command line has them.
struct Limits {
    per_peer: u32,
    rate: u32,
    concurrency: usize,
    queue: usize,
    deadline: Duration,
    work: Duration,
}

impl Limits {
    fn listener(
        &self,
        reactor: &mut Reactor,
        tls: common::Tls,
        proxied: common::Proxied,
    ) -> io::Result<Listener> {
        Ok(Listener {
            per_peer: PerPeer::new(self.per_peer, PrefixLengths::default())?,
            requests: TokenBucket::new(Quota::per_second(self.rate))?,
            limit: Concurrency::builder()
                .limit(self.concurrency)
                .queue(self.queue)
                .deadline(self.deadline)
                .build(reactor)?,
            work: self.work,
            tls,
            proxied,
        })
    }
}

fn main() -> ExitCode {
    common::run(HELP, |arguments| {
        let mut limits = Limits {
            per_peer: 10,
            rate: 100,
            concurrency: 4,
            queue: 16,
            deadline: Duration::from_secs(2),
            work: Duration::from_millis(100),
        };
        let mut proxied = common::Proxied::default();
        let options = Options::parse(arguments, "127.0.0.1:7005", |flag, parser| {
            let name = format!("--{flag}");
            let whole = "a whole number";
            match flag {
                "max-per-peer" => limits.per_peer = common::value(&name, parser, whole)?,
                "rate" => limits.rate = common::value(&name, parser, whole)?,
                "concurrency" => limits.concurrency = common::value(&name, parser, whole)?,
                "queue" => limits.queue = common::value(&name, parser, whole)?,
                "deadline" => limits.deadline = common::seconds(&name, parser, Limit::AboveZero)?,
                "work" => limits.work = common::seconds(&name, parser, Limit::Any)?,
                _ => return proxied.take(flag, parser),
            }
            Ok(true)
        })?;
        let reactor = common::builder(&options, 1).build();
        let mut reactor = reactor.map_err(Failure::io("cannot make a reactor"))?;
        let proxied = proxied.checked()?;
        let listener = limits.listener(&mut reactor, options.tls.clone(), proxied);
        let listener = listener.map_err(|error| Failure::Usage(error.to_string()))?;
        let (per_peer, limit) = (listener.per_peer.clone(), listener.limit.clone());
        let timer = reactor.call_every(GAUGES_EVERY, move |_| {
            log::info!("{:?} {:?}", per_peer.gauges(), limit.gauges());
        });
        reactor.unref_timer(timer);
        common::listen(&mut reactor, &options, listener)?;
        common::serve(reactor, &options)
    })
}
