//! A forward proxy: HTTP/1.1 for clients that may not, or do not want to, reach servers by themselves.
//!
//! Shows connections to servers that are kept and lent by `kit::pool`, names that are looked up beside the loop, limits by
//! `kit::limits`, bodies of any size that pass through without being kept, and a dispatcher that gives way to another when
//! `CONNECT` makes a tunnel of its connection. `docs/http-proxy.md` says what it passes on, what it refuses, and why.
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
Passes HTTP/1.1 requests on to the servers that they name, and makes tunnels by CONNECT.

Usage: http_proxy [OPTIONS]

  --allow HOST:PORT        connects there although it is a private address, or an unusual port; given more than
                           once, to all of them. Others are private addresses, ports below 1024 but 80, and
                           for CONNECT all ports but 443: 403
  --name NAME              the proxy's name in Via; each of a chain wants another [slabloop]
  --name-server ADDR:PORT  where names are looked up; given more than once, one after the other [/etc/resolv.conf]
  --access-log             a line for each request in the log
  --listen HOST:PORT       where to listen; port 0 takes any free one [127.0.0.1:7009]
  --tls-cert FILE          clients speak TLS, with this certificate (PEM); build with --features examples,tls
  --tls-key FILE           its private key (PEM)

Limits of clients:
  --max-connections N      clients at once; more wait until others leave [no limit]
  --max-per-peer N         connections of one address (IPv6: of one /64); more are closed [100]
  --rate N                 requests a second of one address, else 429; 0: any number [100]
  --rate-all N             requests a second in all, else 503; 0: any number [10000]
  --max-head BYTES         of a request's head, else 431 [16384]
  --max-target BYTES       of the target in it, else 414 [8192]
  --max-headers N          fields in it, 128 at most, else 431 [64]
  --header-timeout SECONDS   from the first byte of a head to the last, else 408 [10]
  --body-timeout SECONDS     without a byte of a body that is to come, else 408 [60]
  --send-timeout SECONDS     without the other side taking a byte, else it is cut off [60]
  --idle-timeout SECONDS     between two requests [60]
  --tunnel-timeout SECONDS   without a byte in either direction of a tunnel [300]

Limits of servers:
  --max-upstreams N        connections to all of them [1024]
  --max-per-upstream N     and to one [64]
  --connect-timeout SECONDS  for one address, else 504 [5]
  --wait-timeout SECONDS     for the lookup of a name, and for a connection to be free, else 503 or 504 [15]
  --answer-timeout SECONDS   without a byte of an answer, else 504 or it is cut off [60]
  --upstream-idle-timeout SECONDS  between two requests; shorter than the servers' [30]

  --drain SECONDS          how long requests in hand may take at the end [5]
  --duration SECONDS       ends by itself after so long [never]
  -h, --help               this text
      --version            the version of slabloop

RUST_LOG sets the log level, for example RUST_LOG=info,slabloop=debug.

Examples:
  http_proxy --listen [::]:3128 --allow intranet.example:80 --allow 10.0.0.7:8443
";

fn main() -> ExitCode {
    common::run(HELP, |arguments| {
        let mut limits = Limits::default();
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
