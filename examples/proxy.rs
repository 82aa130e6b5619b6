//! A TCP proxy: two connections per session, each feeding the other.
//!
//! Shows `feeds` (a slow reader on one side stops the reading on the other), connecting from inside a
//! callback, half-close in both directions, how a reset or an unreachable upstream reaches the client as a
//! reset, and how sessions finish when the proxy is shut down. Bytes that a client
//! sends before its upstream connection is established wait, bounded, in the outbox of that connection; while
//! there are other addresses to try they are not read.
//!
//! ```text
//! cargo run --release --example echo_server
//! cargo run --release --example proxy -- --upstream 127.0.0.1:7000
//! printf hi | nc -N 127.0.0.1 7002
//! ```
//!
//! With the feature `examples`, each client has a rate of connections, in this process or over several (`--rate`,
//! `--shared-limit`). With the feature `tls`, either side can use TLS. Only the sockets differ, the dispatchers of the sessions do not.
//!
//! To see more: `RUST_LOG=info,slabloop=debug`.

pub(crate) mod common;
#[cfg_attr(feature = "examples", path = "common/rate_limit/mod.rs")]
#[cfg_attr(not(feature = "examples"), path = "common/rate_limit/absent.rs")]
mod rate_limit;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use common::{Failure, Limit, Options, UpstreamFlags};
use rate_limit::{Exhausted, RateFlags, RateLimit};
use slabloop::{Accepted, Cause, Context, Dispatcher, End, Id, Pause};

/// A server to connect to.
#[derive(Clone, Default)]
pub(crate) struct Upstream {
    /// To be tried one after another.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) dialer: common::Dialer,
}

/// The listener: takes clients and gives each an upstream, in turn.
#[derive(Default)]
pub(crate) struct Front {
    pub(crate) upstreams: Vec<Upstream>,
    pub(crate) next: usize,
    pub(crate) tls: common::Tls,
    pub(crate) proxied: common::Proxied,
    pub(crate) rate: Option<RateLimit>,
}

impl Dispatcher for Front {
    /// What this returns closes the connection, and is logged once a second at most.
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        common::accept(self, cx, accepted)
    }
}

impl common::Welcome for Front {
    fn proxied(&self) -> &common::Proxied {
        &self.proxied
    }

    fn welcome(&mut self, cx: &mut Context<'_>, client: common::Client) -> io::Result<()> {
        let peer = client.peer();
        let leg = Leg {
            other: None,
            established: true,
            fallbacks: Upstream::default(),
        };
        let client = client.serve(cx, &self.tls, leg)?;
        let (Some(rate), Some(peer)) = (&self.rate, peer) else {
            self.begin(cx, client);
            return Ok(());
        };
        let me = cx.id::<Front>();
        let told = move |front: &mut Front, cx: &mut Context<'_>, verdict: Result<(), _>| {
            front.told(cx, client, peer, verdict)
        };
        match rate.take(cx, peer.ip(), me, told) {
            Some(verdict) => self.told(cx, client, peer, verdict),
            None => {
                if let Some(mut client) = cx.at(client) {
                    client.pause_reading_for(Pause::Connect);
                }
                Ok(())
            }
        }
    }
}

impl Front {
    /// Whether the client is within its rate.
    fn told(
        &mut self,
        cx: &mut Context<'_>,
        client: Id<Leg>,
        peer: SocketAddr,
        verdict: Result<(), Exhausted>,
    ) -> io::Result<()> {
        let Err(Exhausted { retry_after }) = verdict else {
            self.begin(cx, client);
            return Ok(());
        };
        if let Some(mut client) = cx.at(client) {
            client.close_when_sent();
        }
        let text = format!("{peer}: too many connections; the next is due in {retry_after:?}");
        Err(io::Error::new(io::ErrorKind::QuotaExceeded, text))
    }

    /// Gives a client its upstream, if it has not gone meanwhile.
    fn begin(&mut self, cx: &mut Context<'_>, client: Id<Leg>) {
        if cx.at(client).is_none() {
            return;
        }
        let upstream = &self.upstreams[self.next];
        self.next = (self.next + 1) % self.upstreams.len();
        let connected = connect_upstream(cx, client, upstream);
        if let (Err(error), Some(mut client)) = (connected, cx.at(client)) {
            let addresses = &upstream.addresses;
            client.log_fault_in(format_args!("cannot reach upstream {addresses:?}"), &error);
            client.abort();
        }
    }
}

/// Starts a connection to the first of the addresses with which that works, and ties it to the client's.
fn connect_upstream(cx: &mut Context<'_>, client: Id<Leg>, upstream: &Upstream) -> io::Result<()> {
    let [address, others @ ..] = &*upstream.addresses else {
        return Err(io::ErrorKind::AddrNotAvailable.into());
    };
    let fallbacks = Upstream {
        addresses: others.to_vec(),
        dialer: upstream.dialer.clone(),
    };
    let leg = Leg {
        other: Some(client),
        established: false,
        fallbacks: fallbacks.clone(),
    };
    let server = match upstream.dialer.connect(cx, *address, leg) {
        Ok(server) => server,
        Err(_) if !others.is_empty() => {
            return connect_upstream(cx, client, &fallbacks);
        }
        Err(error) => return Err(error),
    };
    cx.with(client, |leg, cx| {
        leg.other = Some(server);
        // What was sent to an address that fails could not be sent to the next.
        if others.is_empty() {
            cx.resume_reading_for(Pause::Connect);
        } else {
            cx.pause_reading_for(Pause::Connect);
        }
    });
    for (leg, other) in [(client, server), (server, client)] {
        let Some(mut leg) = cx.at(leg) else { continue };
        leg.feeds(other);
        // Over TLS there is no urgent data.
        if leg.layer().is_none() {
            leg.urgent_inline(true)?;
        }
    }
    Ok(())
}

/// What is moved at a time: less makes large messages dearer, more makes the other sessions wait.
const PIECE_BYTES: usize = 128 * 1024;

/// One of the two connections of a session.
struct Leg {
    other: Option<Id<Leg>>,
    /// Not yet, for a connection that is being made.
    established: bool,
    /// What is left of the upstream, to be tried if this connection cannot be made.
    fallbacks: Upstream,
}

impl Leg {
    fn other<'a>(&self, cx: &'a mut Context<'_>) -> Option<Context<'a>> {
        cx.at(self.other?)
    }

    /// Leaves the client to a new connection, if it is still there and there is another address to try.
    fn try_next_address(&mut self, cx: &mut Context<'_>) {
        let client = self.other.filter(|&client| cx.at(client).is_some());
        if let (Some(client), false) = (client, self.fallbacks.addresses.is_empty()) {
            match connect_upstream(cx, client, &self.fallbacks) {
                Ok(()) => self.other = None,
                Err(error) => cx.log_fault_in("cannot reach another address either", &error),
            }
        }
    }
}

impl Dispatcher for Leg {
    fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.established = true;
        if let Some(mut other) = self.other(cx) {
            other.resume_reading_for(Pause::Connect);
        }
        Ok(())
    }

    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_up_to(PIECE_BYTES, |bytes, cx| {
            self.other(cx).map_or(Ok(()), |mut other| other.send(bytes))
        })
    }

    /// The end of one stream is the end of that stream, not of the session: the answer may be to come.
    fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if let Some(mut other) = self.other(cx) {
            other.shutdown_write();
        }
        Ok(())
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        if self.established {
            cx.log_fault(&error);
        } else {
            // The label names the upstream's address.
            cx.log_fault_in("cannot reach upstream", &error);
        }
        cx.abort();
    }

    /// A session in progress goes on to its natural end, as long as the drain lasts.
    fn handle_shutdown(&mut self, _: &mut Context<'_>) -> io::Result<()> {
        Ok(())
    }

    /// A session ends with either of its legs. A failure must not look like a clean end to the other peer.
    fn handle_close(&mut self, cx: &mut Context<'_>) {
        // Where a server has answered no other address is tried: not after a reset at once, nor after a handshake
        // that failed.
        match cx.end_cause() {
            Some(Cause::ConnectFailed(io::ErrorKind::ConnectionReset)) => {}
            Some(Cause::ConnectFailed(_) | Cause::ConnectTimeout) => self.try_next_address(cx),
            _ => {}
        }
        let broke = cx.how_it_ended() != Some(End::Closed);
        let Some(mut other) = self.other(cx) else {
            return;
        };
        if broke {
            other.abort_when_sent()
        } else {
            other.close()
        }
    }
}

const HELP: &str = "\
Forwards TCP connections to an upstream server, in both directions.

Usage: proxy [OPTIONS]

  --listen HOST:PORT          where to listen; port 0 selects a free one [127.0.0.1:7002]
  --upstream HOST:PORT        where to connect to; if given more than once, they are used in turn; the
                              addresses of a name are tried one after the other [127.0.0.1:7000]
  --upstream-tls              use TLS with the upstream; build with --features tls
  --upstream-name NAME        the name in its certificate [the host of --upstream]
  --upstream-ca FILE          trusted certificates (PEM) [those of the system; build with --features system-roots]
  --connect-timeout SECONDS   timeout of connecting to each address, and of a TLS handshake on either
                              side [10]
  --threads N                 threads, each with a loop and a listener of its own [1]
  --max-connections N         clients of each thread at once; further ones wait in the kernel [no limit]
  --rate N                    connections per second of one address (IPv6: of one /64), further ones are
                              closed; 0: no limit; build with --features examples [0]
  --burst N                   connections of one address at once after a quiet time [N of --rate]
  --shared-limit URL          redis://HOST:PORT: --rate is that over all processes that use this Redis
  --shared-wait SECONDS       for its answer; else the process decides by itself [0.05]
  --shared-by N               processes that share it; without Redis each gives an Nth of the rate [1]
  --shared-name NAME          what is shared: processes with the same name share it [proxy]
  --idle-timeout SECONDS      closes a session after SECONDS without traffic on one side [never]
  --drain SECONDS             time limit for the open sessions at shutdown [5]
  --linger SECONDS            after SIGUSR2, once a new process has taken over: how long open connections are served before
                              they are drained; build with --features restart [10]
  --ready-timeout SECONDS     how long that new process may take to be ready [10]
  --tls-cert FILE             serve TLS to clients with this certificate (PEM); build with --features tls
  --tls-key FILE              its private key (PEM)
  --proxy-protocol            clients come through a load balancer that names them in a PROXY header (v1 or v2)
  --proxy-from ADDRESSES      whose headers are believed, such as 10.0.0.0/8,10.1.0.5; all others are turned away.
                              Name your load balancers and no one else: a header can name any client
                              [127.0.0.0/8,::1]
  --proxy-timeout SECONDS     time limit for the header [5]
  --inspect HOST:PORT         shows the loop in a browser; build with --features inspector
  --replay FILE               shows a recording of the inspector instead of the loop
  --trace FILE                writes a trace of the loop, for ui.perfetto.dev; build with --features trace
  --duration SECONDS          stops after this time [never]
  -h, --help                  this text
      --version               the version of slabloop

REDISCLI_AUTH has the password of Redis, if it wants one. So may the URL, redis://USER:PASSWORD@HOST:PORT, but a
command line can be read by other users of the machine.
RUST_LOG sets the log level, for example RUST_LOG=info,slabloop=debug.

Examples:
  proxy --upstream 127.0.0.1:7000
  proxy --listen [::]:8080 --upstream 10.0.0.1:80 --upstream 10.0.0.2:80
  proxy --upstream 10.0.0.1:443 --upstream-tls --upstream-name example.com --upstream-ca ca.pem
";

fn main() -> ExitCode {
    common::run(HELP, |arguments| {
        let mut upstreams = Vec::new();
        let mut upstream_flags = UpstreamFlags::default();
        let mut proxied = common::Proxied::default();
        let mut hand_over = common::HandOver::default();
        let mut rate = RateFlags::new("proxy", 0);
        let mut connect_timeout = Duration::from_secs(10);
        let mut threads = 1;
        let mut options = Options::parse(arguments, "127.0.0.1:7002", |flag, parser| {
            match flag {
                "upstream" => upstreams.push(common::host_and_port("--upstream", parser)?),
                "connect-timeout" => {
                    connect_timeout =
                        common::seconds("--connect-timeout", parser, Limit::AboveZero)?;
                }
                "threads" => return common::threads_flag(flag, parser, &mut threads),
                _ if proxied.take(flag, parser)? => {}
                _ if hand_over.take(flag, parser)? => {}
                _ if rate.take(flag, parser)? => {}
                _ => return upstream_flags.take(flag, parser),
            }
            Ok(true)
        })?;
        options.hand_over = hand_over.on_signal();
        if upstreams.is_empty() {
            upstreams.push("127.0.0.1:7000".to_owned());
        }
        let dialers = upstream_flags.dialers(&upstreams)?;
        let upstreams = upstreams.iter().zip(dialers).map(|(name, dialer)| {
            let addresses = common::look_up("--upstream", name)?;
            Ok(Upstream { addresses, dialer })
        });
        let upstreams = upstreams.collect::<Result<Vec<_>, Failure>>()?;
        refuse_itself(&upstreams, &options.listen)?;
        let proxied = proxied.checked()?;
        let (own, command) = (options.clone(), common::try_bytes(&options));
        common::serve_on_threads(&options, threads, command, move || {
            let reactor = common::builder(&own, 2)
                .connect_timeout(connect_timeout)
                .handshake_timeout(connect_timeout)
                .build();
            let mut reactor = reactor.map_err(Failure::io("cannot make a reactor"))?;
            let front = Front {
                upstreams: upstreams.clone(),
                next: 0,
                tls: own.tls.clone(),
                proxied: proxied.clone(),
                rate: rate.build(&mut reactor)?,
            };
            Ok((reactor, front))
        })
    })
}

/// A proxy that connects to itself would do so until no descriptor is left.
fn refuse_itself(upstreams: &[Upstream], listen: &str) -> Result<(), Failure> {
    let addresses = || upstreams.iter().flat_map(|upstream| &upstream.addresses);
    for own in listen.to_socket_addrs().into_iter().flatten() {
        let itself = addresses().find(|upstream| {
            upstream.port() == own.port() && leads_to(upstream.ip(), own.ip().to_canonical())
        });
        if let Some(upstream) = itself {
            let text =
                format!("--upstream {upstream}: this is the proxy itself; name another server");
            return Err(Failure::Usage(text));
        }
    }
    Ok(())
}

/// Whether connecting to `upstream` reaches the listener at `own`, on the same port.
fn leads_to(upstream: IpAddr, own: IpAddr) -> bool {
    let upstream = match upstream.to_canonical() {
        // Not an address of any host; the system takes it for this machine.
        IpAddr::V4(any) if any.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(any) if any.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        named => named,
    };
    // An address that can be bound is one of this machine's.
    upstream == own || own.is_unspecified() && TcpListener::bind((upstream, 0)).is_ok()
}
