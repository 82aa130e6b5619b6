//! Looks up names, as `host` or `dig +short` do, and connects to them if asked to.
//!
//! Shows both resolvers behind one trait, and a connection to the first address of a name that answers. All names
//! are looked up at the same time.
//!
//! ```text
//! cargo run --release --features resolver --example resolve -- localhost example.org
//! cargo run --release --features resolver --example resolve -- --server 192.0.2.53 --stats example.org
//! cargo run --release --features resolver --example resolve -- --connect 443 example.org
//! ```
//!
//! To see more: `RUST_LOG=info,slabloop=debug`.

mod common;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::{Failure, Limit, complain, say};
use lexopt::{Arg, Parser, ValueExt};
use slabloop::kit::resolver::{
    Addresses, ConnectError, Dial, DnsConfig, DnsResolver, Family, LookupError, Resolve,
    SystemConfig, SystemResolver,
};
use slabloop::{Context, Dispatcher, Id, Reactor};

/// Prints what comes, and stops the loop after the last.
struct Asker {
    waiting: usize,
    failed: usize,
}

impl Dispatcher for Asker {}

impl Asker {
    fn found(
        &mut self,
        cx: &mut Context<'_>,
        name: &str,
        began: Instant,
        outcome: Result<Addresses, LookupError>,
    ) -> io::Result<()> {
        let took = began.elapsed();
        match outcome {
            Ok(addresses) => {
                let origin = format!("{:?}", addresses.origin()).to_lowercase();
                let left = addresses.valid_until().map(|until| {
                    let left = until.saturating_duration_since(cx.now());
                    format!(", good for {} s", left.as_secs())
                });
                let left = left.unwrap_or_default();
                for address in addresses.iter() {
                    say(&format!("{name} {address}  ({origin}, {took:.1?}{left})"));
                }
            }
            Err(error) => self.failed(&error),
        }
        self.one_less(cx);
        Ok(())
    }

    fn connected(
        &mut self,
        cx: &mut Context<'_>,
        began: Instant,
        outcome: Result<Id<Connection>, ConnectError>,
    ) -> io::Result<()> {
        if let Err(error) = outcome {
            self.failed(&error);
            self.one_less(cx);
            return Ok(());
        }
        // The connection says the rest.
        log::debug!("established after {:.1?}", began.elapsed());
        Ok(())
    }

    fn failed(&mut self, error: &dyn std::error::Error) {
        complain(&error.to_string());
        self.failed += 1;
    }

    fn one_less(&mut self, cx: &mut Context<'_>) {
        self.waiting -= 1;
        if self.waiting == 0 {
            cx.stop();
        }
    }
}

/// Is told that it is connected, and closes.
struct Connection {
    name: String,
    began: Instant,
    asker: Id<Asker>,
}

impl Dispatcher for Connection {
    fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let took = self.began.elapsed();
        let peer = cx.peer().map(|peer| peer.to_string()).unwrap_or_default();
        say(&format!("{} connected to {peer}  ({took:.1?})", self.name));
        cx.abort();
        Ok(())
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        cx.with(self.asker, |asker, _| asker.failed(&error));
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        cx.with(self.asker, Asker::one_less);
    }
}

/// The command line.
struct Choice {
    names: Vec<String>,
    servers: Vec<SocketAddr>,
    use_system: bool,
    connect: Option<u16>,
    family: Family,
    deadline: Duration,
    show_stats: bool,
}

impl Choice {
    fn parse(mut parser: Parser) -> Result<Choice, Failure> {
        let mut choice = Choice {
            names: Vec::new(),
            servers: Vec::new(),
            use_system: false,
            connect: None,
            family: Family::Any,
            deadline: Duration::from_secs(10),
            show_stats: false,
        };
        while let Some(argument) = parser.next()? {
            match argument {
                Arg::Short('h') | Arg::Long("help") => return Err(Failure::Help),
                Arg::Long("version") => return Err(Failure::Version),
                Arg::Short('4') => choice.family = Family::V4,
                Arg::Short('6') => choice.family = Family::V6,
                Arg::Long("system") => choice.use_system = true,
                Arg::Long("stats") => choice.show_stats = true,
                Arg::Long("server") => {
                    let text = parser.value()?.string()?;
                    choice.servers.push(server(&text)?);
                }
                Arg::Long("connect") => {
                    let text = parser.value()?.string()?;
                    let port = text.parse().map_err(|_| {
                        Failure::Usage(format!("--connect {text}: expected a port, 1 to 65535"))
                    })?;
                    choice.connect = Some(port);
                }
                Arg::Long("deadline") => {
                    choice.deadline = common::seconds("--deadline", &mut parser, Limit::AboveZero)?;
                }
                Arg::Value(name) => choice.names.push(name.string()?),
                unexpected => return Err(unexpected.unexpected().into()),
            }
        }
        if choice.names.is_empty() {
            return Err(Failure::Usage("no name was given".to_owned()));
        }
        if choice.use_system && !choice.servers.is_empty() {
            let text =
                "--system asks the C library, which has servers of its own: leave out --server";
            return Err(Failure::Usage(text.to_owned()));
        }
        Ok(choice)
    }
}

fn server(text: &str) -> Result<SocketAddr, Failure> {
    let address = text.parse::<IpAddr>().map(|address| (address, 53).into());
    address.or_else(|_| text.parse()).map_err(|_| {
        let right = "an address, such as 192.0.2.53, 192.0.2.53:5353 or [2001:db8::53]:53";
        Failure::Usage(format!("--server {text}: expected {right}"))
    })
}

fn dns_config(choice: &Choice) -> io::Result<DnsConfig> {
    let mut config = if choice.servers.is_empty() {
        DnsConfig::system()?
    } else {
        DnsConfig::new(choice.servers.iter().copied())
    };
    config.family(choice.family);
    Ok(config)
}

const HELP: &str = "\
Looks up the addresses of names, all at the same time, and prints them, the best first.

Usage: resolve [OPTIONS] NAME...

  --server ADDRESS[:PORT]  queries this name server; may be repeated [those of /etc/resolv.conf]
  --system                 calls the C library instead, on threads: uses /etc/nsswitch.conf
  -4, -6                   addresses of one family only
  --connect PORT           connects to each name: to the first address that answers
  --deadline SECONDS       deadline for each name [10]
  --stats                  prints the counters at the end
  -h, --help               this text
      --version            the version of slabloop

The exit code is 1 if a name has no address, or no connection was established.
RUST_LOG sets the log level, for example RUST_LOG=info,slabloop=debug.

Examples:
  resolve localhost example.org
  resolve --connect 443 example.org
";

fn main() -> ExitCode {
    common::run(HELP, |arguments| {
        let choice = Choice::parse(arguments)?;
        let mut reactor = Reactor::new().map_err(Failure::io("cannot make a reactor"))?;
        let names = choice.names.len();
        let asker = Asker {
            waiting: names,
            failed: 0,
        };
        let asker = reactor
            .add_service(asker)
            .map_err(Failure::io("cannot add a dispatcher"))?;
        let doing = "cannot make a resolver";
        let mut dns = None;
        let resolver: Rc<dyn Resolve> = if choice.use_system {
            let mut config = SystemConfig::new();
            config.family(choice.family);
            let made = SystemResolver::new(&mut reactor, config);
            Rc::new(made.map_err(Failure::io(doing))?)
        } else {
            let config = dns_config(&choice).map_err(Failure::io(doing))?;
            let made = DnsResolver::new(&mut reactor, config);
            let made = made.map_err(Failure::io(doing))?;
            dns = Some(made);
            Rc::new(made)
        };
        for name in choice.names {
            let began = Instant::now();
            let Some(mut cx) = reactor.at(asker) else {
                break;
            };
            let Some(port) = choice.connect else {
                let shown = name.clone();
                let then = move |asker: &mut Asker, cx: &mut Context<'_>, outcome| {
                    asker.found(cx, &shown, began, outcome)
                };
                resolver.lookup_within(&mut cx, asker, &name, choice.deadline, then);
                continue;
            };
            let mut dial = Dial::new(&name, port);
            dial.deadline(choice.deadline);
            let connection = Connection { name, began, asker };
            dial.start(
                &mut cx,
                &resolver,
                asker,
                connection,
                move |asker, cx, outcome| asker.connected(cx, began, outcome),
            );
        }
        reactor.run().map_err(Failure::io("the loop failed"))?;
        let stats = dns.and_then(|dns| Some(dns.stats(&mut reactor.at(asker)?)));
        if let (true, Some(stats)) = (choice.show_stats, stats) {
            say(&format!("{stats:?}"));
        }
        match reactor.with(asker, |asker, _| asker.failed) {
            Some(0) => Ok(()),
            failed => {
                let failed = failed.unwrap_or(names);
                Err(Failure::Work(format!("{failed} of {names} failed")))
            }
        }
    })
}
