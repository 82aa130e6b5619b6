//! A TCP proxy: two connections a session, each half feeding the other.
//!
//! Shows `feeds` (a slow reader on one side stops the reading on the other), connecting from inside a
//! callback, half-close in both directions, and how a reset travels as a reset. Bytes that a client
//! sends before its upstream is there wait, bounded, in the outbox of the connection being made.
//!
//! ```text
//! cargo run --release --example echo_server
//! cargo run --release --example proxy -- --upstream 127.0.0.1:7000
//! printf hi | nc -N 127.0.0.1 7002
//! ```
//!
//! To see more: `RUST_LOG=slabloop=debug`.

mod common;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use common::{Failure, Limit, Options};
use slabloop::{Accepted, AnyId, Context, Dispatcher, End};

/// The listener: takes clients and gives each an upstream, in turn.
pub(crate) struct Front {
    pub(crate) upstreams: Vec<SocketAddr>,
    pub(crate) next: usize,
    pub(crate) idle_timeout: Option<Duration>,
}

impl Dispatcher for Front {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let upstream = self.upstreams[self.next];
        self.next = (self.next + 1) % self.upstreams.len();
        // If this fails at once, the error names the cause and dropping `accepted` ends the client.
        let server = cx.connect(
            upstream,
            Leg {
                other: None,
                stands: false,
            },
        )?;
        let client = cx.add(
            accepted,
            Leg {
                other: Some(server.any()),
                stands: true,
            },
        );
        let client = client.inspect_err(|_| {
            if let Some(mut server) = cx.at(server) {
                server.abort();
            }
        })?;
        cx.with(server, |leg, _| leg.other = Some(client.any()));
        for (leg, other) in [(client, server), (server, client)] {
            let Some(mut leg) = cx.at(leg) else { continue };
            leg.feeds(other);
            leg.set_idle_timeout(self.idle_timeout);
            leg.urgent_inline(true)?;
        }
        Ok(())
    }
}

/// One of the two connections of a session.
struct Leg {
    other: Option<AnyId>,
    /// Whether the connection was ever there: not yet, for one that is being made.
    stands: bool,
}

impl Leg {
    fn other<'a>(&self, cx: &'a mut Context<'_>) -> Option<Context<'a>> {
        cx.at(self.other?)
    }
}

impl Dispatcher for Leg {
    fn handle_connect(&mut self, _: &mut Context<'_>) -> io::Result<()> {
        self.stands = true;
        Ok(())
    }

    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut chunk = [0; 16 * 1024];
        let n = cx.recv(&mut chunk)?;
        self.other(cx)
            .map_or(Ok(()), |mut other| other.send(&chunk[..n]))
    }

    /// The end of one stream is the end of that stream, not of the session: the answer may be to come.
    fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if let Some(mut other) = self.other(cx) {
            other.shutdown_write();
        }
        Ok(())
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        if self.stands {
            cx.log_fault(&error);
        } else {
            log::warn!("cannot reach upstream: {}: {error}", cx.label());
            // Reset before anybody looked: it did stand, and the client is to see a reset, too.
            self.stands = error.kind() == io::ErrorKind::ConnectionReset;
        }
        cx.abort();
    }

    /// A session ends with either of its legs. A break must not look like a clean end over there.
    fn handle_close(&mut self, cx: &mut Context<'_>) {
        let broke = self.stands && cx.how_it_ended() != Some(End::Closed);
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
Passes TCP connections on to an upstream server, in both directions.

Usage: proxy [OPTIONS]

  --listen HOST:PORT          where to listen; port 0 takes any free one [127.0.0.1:7002]
  --upstream HOST:PORT        where to connect to; given more than once, they are taken in turn
                              [127.0.0.1:7000]
  --connect-timeout SECONDS   how long an upstream has to answer [10]
  --max-connections N         clients at once; more wait until others leave [no limit]
  --idle-timeout SECONDS      ends a session of which one side moved no byte for so long [never]
  --drain SECONDS             how long queued output may take to leave at the end [5]
  --duration SECONDS          ends by itself after so long [never]
  -h, --help                  this text

Examples:
  proxy --upstream 127.0.0.1:7000
  proxy --listen [::]:8080 --upstream 10.0.0.1:80 --upstream 10.0.0.2:80
";

fn main() -> ExitCode {
    common::run(HELP, |arguments| {
        let mut upstreams = Vec::new();
        let mut connect_timeout = Duration::from_secs(10);
        let options = Options::parse(arguments, "127.0.0.1:7002", |flag, parser| {
            match flag {
                "upstream" => upstreams.push(common::host_and_port("--upstream", parser)?),
                "connect-timeout" => {
                    connect_timeout =
                        common::seconds("--connect-timeout", parser, Limit::AboveZero)?;
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        if upstreams.is_empty() {
            upstreams.push("127.0.0.1:7000".to_owned());
        }
        let upstreams = upstreams
            .iter()
            .map(|name| look_up(name))
            .collect::<Result<Vec<_>, _>>()?;
        let front = Front {
            upstreams,
            next: 0,
            idle_timeout: options.idle_timeout,
        };
        refuse_itself(&front.upstreams, &options.listen)?;
        let reactor = common::builder(&options, 2)
            .connect_timeout(connect_timeout)
            .build();
        let mut reactor = reactor.map_err(Failure::io("cannot make a reactor"))?;
        common::listen(&mut reactor, &options, front)?;
        common::serve(reactor, &options)
    })
}

/// Names are looked up before the loop starts, because it blocks.
fn look_up(name: &str) -> Result<SocketAddr, Failure> {
    let found = name.to_socket_addrs().map(|mut addresses| addresses.next());
    match found {
        Ok(Some(address)) => Ok(address),
        Ok(None) => Err(Failure::Work(format!("--upstream {name}: no such name"))),
        Err(error) => Err(Failure::Work(format!("--upstream {name}: {error}"))),
    }
}

/// A proxy that connects to itself would do so until no descriptor is left.
fn refuse_itself(upstreams: &[SocketAddr], listen: &str) -> Result<(), Failure> {
    for own in listen.to_socket_addrs().into_iter().flatten() {
        let itself = upstreams.iter().find(|upstream| {
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

/// Whether connecting to `upstream` reaches who listens at `own`, on the same port.
fn leads_to(upstream: IpAddr, own: IpAddr) -> bool {
    let upstream = match upstream.to_canonical() {
        // Nobody is called that; the system takes it for this machine.
        IpAddr::V4(any) if any.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(any) if any.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        named => named,
    };
    // An address that can be bound is one of this machine's.
    upstream == own || own.is_unspecified() && TcpListener::bind((upstream, 0)).is_ok()
}
