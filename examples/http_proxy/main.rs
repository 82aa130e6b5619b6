//! A forward proxy: HTTP/1.1 for clients that cannot, or should not, connect to servers directly.
//!
//! Shows connections to servers from `kit::pool`, name lookup without blocking, limits by `kit::limits`, bodies of any
//! size that pass through without being buffered, and a dispatcher that is replaced by another when `CONNECT` turns its
//! connection into a tunnel. `docs/http-proxy.md` describes what it forwards, what it refuses, and why.
//!
//! ```text
//! cargo run --release --features examples --example http_proxy
//! curl -x http://127.0.0.1:7009 http://example.org/
//! curl -x http://127.0.0.1:7009 https://example.org/
//! ```
//!
//! To see more: `RUST_LOG=info,slabloop=debug,http_proxy=debug`.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/http/mod.rs"]
mod http;
#[path = "../common/rate_limit/mod.rs"]
mod rate_limit;

mod access;
mod answering;
mod client;
mod config;
mod ending;
mod hops;
mod job;
mod policy;
mod proxy;
mod reaching;
mod refusal;
mod reply;
mod request;
mod target;
mod tunnel;
mod upstream;
mod watchdog;

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;

use common::{Failure, Options};
use lexopt::{Parser, ValueExt};
use slabloop::kit::resolver::DnsConfig;
use slabloop::{Accepted, Context, Dispatcher};

use client::Client;
use config::Limits;
use policy::Policy;
use proxy::{Proxy, Settings};
use rate_limit::RateFlags;

struct Listener {
    proxy: Rc<Proxy>,
    tls: common::Tls,
}

impl Dispatcher for Listener {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let peer = accepted.peer().map(|peer| peer.ip());
        // A refusal closes the connection, and is logged once a second at most.
        let place = peer
            .map(|peer| self.proxy.per_peer.admit(peer))
            .transpose()?;
        let client = Client::new(Rc::clone(&self.proxy), place);
        let client = cx.add(self.tls.socket(accepted)?, client)?;
        // Its time for the first request begins.
        cx.with(client, |client, cx| client.review(cx));
        Ok(())
    }
}

const HELP: &str = "\
Forwards HTTP/1.1 requests to the servers that they name, and opens tunnels by CONNECT.

Usage: http_proxy [OPTIONS]

  --allow HOST:PORT        allows this destination, although the address is private or the port unusual; may be
                           repeated. Otherwise 403 for private addresses, for ports below 1024 except 80, and
                           for CONNECT to ports other than 443
  --name NAME              the proxy's name in Via; different for each proxy of a chain [slabloop]
  --name-server ADDR:PORT  name server; if given more than once, they are tried in order [/etc/resolv.conf]
  --access-log             logs a line for each request
  --listen HOST:PORT       where to listen; port 0 selects a free one [127.0.0.1:7009]
  --tls-cert FILE          serve TLS to clients with this certificate (PEM); build with --features examples,tls
  --tls-key FILE           its private key (PEM)

Limits of clients:
  --max-connections N      clients at once; further ones wait in the kernel [no limit]
  --max-per-peer N         connections of one address (IPv6: of one /64); further ones are closed [100]
  --rate N                 requests per second of one address (IPv6: of one /64), else 429; 0: no limit [100]
  --burst N                requests of one address at once after a quiet time [N of --rate]
  --rate-all N             requests per second of all clients, else 503; 0: no limit [10000]
  --max-head BYTES         size of a request's head, else 431 [16384]
  --max-target BYTES       size of the target, else 414 [8192]
  --max-headers N          fields of the head, at most 128, else 431 [64]
  --header-timeout SECONDS   from the first byte of a head to the last, else 408 [10]
  --body-timeout SECONDS     without a byte of an incomplete body, else 408 [60]
  --send-timeout SECONDS     without progress in sending, else the connection is reset [60]
  --idle-timeout SECONDS     between two requests [60]
  --tunnel-timeout SECONDS   without a byte in either direction of a tunnel [300]

A rate over several processes:
  --shared-limit URL       redis://HOST:PORT: --rate is that over all processes that use this Redis
  --shared-wait SECONDS    for its answer; else the process decides by itself [0.05]
  --shared-by N            processes that share it; without Redis each gives an Nth of the rate [1]
  --shared-name NAME       what is shared: processes with the same name share it [http_proxy]

Limits of servers:
  --max-upstreams N        connections to all servers [1024]
  --max-per-upstream N     connections to one server [64]
  --connect-timeout SECONDS  for one address, else 504 [5]
  --wait-timeout SECONDS     for the lookup of a name, and for a free connection, else 503 or 504 [15]
  --answer-timeout SECONDS   without a byte of an answer, else 504 or a reset [60]
  --upstream-idle-timeout SECONDS  between two requests; choose less than the servers' [30]

  --drain SECONDS          time limit for the requests in progress at shutdown [5]
  --duration SECONDS       stops after this time [never]
  -h, --help               this text
      --version            the version of slabloop

REDISCLI_AUTH has the password of Redis, if it wants one. So may the URL, redis://USER:PASSWORD@HOST:PORT, but a
command line can be read by other users of the machine.
RUST_LOG sets the log level, for example RUST_LOG=info,slabloop=debug.

Examples:
  http_proxy --listen [::]:3128 --allow intranet.example:80 --allow 10.0.0.7:8443
";

fn main() -> ExitCode {
    common::run(HELP, |arguments| {
        let mut limits = Limits::default();
        let mut rate = RateFlags::new("http_proxy", 100);
        let mut policy = Policy::default();
        let (mut name, mut servers, mut logs_access) = ("slabloop".to_owned(), Vec::new(), false);
        let options = Options::parse(arguments, "127.0.0.1:7009", |flag, parser| {
            match flag {
                "allow" => policy.allow(&common::host_and_port("--allow", parser)?),
                "name" => name = pseudonym(parser)?,
                "name-server" => {
                    let right = "ADDRESS:PORT, such as 192.0.2.53:53";
                    servers.push(common::value::<SocketAddr>("--name-server", parser, right)?);
                }
                "access-log" => logs_access = true,
                _ if rate.take(flag, parser)? => {}
                _ => return limits.take(flag, parser),
            }
            Ok(true)
        })?;
        limits.idle_time = options.idle_timeout.unwrap_or(limits.idle_time);
        let mut builder = common::builder(&options, 2);
        // Clients, servers and tunnels have limits of their own.
        builder.idle_timeout(None);
        builder.connect_timeout(limits.connect_time);
        builder.stall_timeout(limits.send_time);
        let reactor = builder.build();
        let mut reactor = reactor.map_err(Failure::io("cannot make a reactor"))?;
        let dns = match servers.is_empty() {
            true => DnsConfig::system().map_err(Failure::io("cannot look up names"))?,
            false => DnsConfig::new(servers),
        };
        let settings = Settings {
            limits,
            rate: rate.build(&mut reactor)?,
            policy,
            name,
            dns,
            logs_access,
        };
        let proxy = Proxy::new(&mut reactor, settings);
        let proxy = proxy.map_err(|error| Failure::Usage(error.to_string()))?;
        let tls = options.tls.clone();
        let listener = Listener { proxy, tls };
        let scheme = if options.tls.is_on() { "https" } else { "http" };
        common::listen_and_try(&mut reactor, &options, listener, |host, port| {
            format!("curl -x {scheme}://{host}:{port} http://example.org/")
        })?;
        common::serve(&mut reactor, &options)
    })
}

/// A name that can stand in `Via`.
fn pseudonym(parser: &mut Parser) -> Result<String, Failure> {
    let name = parser.value()?.string()?;
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_good) {
        let right = "letters, digits, and - . _ :";
        return Err(Failure::Usage(format!("--name {name}: expected {right}")));
    }
    Ok(name)
}
