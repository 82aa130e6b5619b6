//! A Redis client on callbacks: one command, or load.
//!
//! Shows a client that survives restarts of its server, made of the kit's parts: `kit::pool` keeps the connections,
//! `kit::retry` spaces the attempts to connect, and [`Context::unsent`](slabloop::Context::unsent) returns, when a
//! connection has ended, which requests were not sent. Each request is answered exactly once: *done*, with the
//! server's reply; *not sent*, so that it is safe to send it again; or *unknown*: it was sent, and may have been done or
//! not. Kill the server while it runs, and look at the sums.
//!
//! | file | content |
//! |---|---|
//! | `client.rs` | which connection a request uses, which requests wait, which are refused |
//! | `connection.rs` | pipelining; the outcome of requests when a connection ends |
//! | `server.rs` | where the server is, and the password |
//! | `settings.rs`, `shared.rs` | limits; commands that are refused, because connections are shared |
//! | `request.rs` | the three outcomes, exactly one for each request |
//! | `resp.rs` | the protocol, and its limits |
//! | `load.rs`, `latency.rs` | the load, and its report |
//! | `print.rs` | replies as redis-cli prints them |
//!
//! ```text
//! redis-server --port 6379
//! cargo run --release --features examples --example redis_client -- set a 1
//! cargo run --release --features examples --example redis_client -- --rate 10000 --duration 10
//! ```

#[path = "../common/mod.rs"]
mod common;
mod latency;
mod load;
mod print;
#[path = "../common/redis/mod.rs"]
mod redis;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;
use std::time::Duration;

use slabloop::{Context, Dispatcher, Id, Reactor};

use common::{Dialer, Failure, Limit, UpstreamFlags};
use load::{Load, Plan};
use redis::{Client, Connection, Outcome, Reply, Server, Settings, Version};

/// The command line, parsed.
struct Wanted {
    settings: Settings,
    dialer: Dialer,
    plan: Plan,
    drain: Duration,
    for_people: bool,
    command: Vec<Vec<u8>>,
}

fn parse(mut parser: lexopt::Parser) -> Result<Wanted, Failure> {
    let mut server = Server::local();
    let mut settings = Settings::new(([127, 0, 0, 1], 6379).into());
    let mut plan = Plan {
        rate: None,
        at_a_time: 0,
        duration: None,
    };
    let mut upstream = UpstreamFlags::default();
    let mut drain = Duration::from_secs(5);
    let mut for_people = io::stdout().is_terminal();
    let mut command: Vec<OsString> = Vec::new();
    while let Some(argument) = parser.next()? {
        let flag = match argument {
            lexopt::Arg::Short('h') => return Err(Failure::Help),
            lexopt::Arg::Short('3') => "resp3".to_owned(),
            lexopt::Arg::Long(flag) => flag.to_owned(),
            lexopt::Arg::Value(word) => {
                // What follows is the command's, whatever it looks like.
                command.push(word);
                command.extend(parser.raw_args()?);
                break;
            }
            unexpected => return Err(unexpected.unexpected().into()),
        };
        match flag.as_str() {
            "help" => return Err(Failure::Help),
            "version" => return Err(Failure::Version),
            "connect" => {
                let named = Server::of_short(parser.value()?);
                let wrong = |why| Failure::Usage(format!("--connect: {why}"));
                server = named.map_err(wrong)?;
            }
            "connections" => {
                settings.connections = common::number("--connections", &mut parser, 1)?;
            }
            "pipeline" => settings.pipeline = common::number("--pipeline", &mut parser, 1)?,
            "waiting" => settings.max_waiting = common::number("--waiting", &mut parser, 1)?,
            "timeout" => {
                settings.timeout = common::seconds("--timeout", &mut parser, Limit::AboveZero)?;
            }
            "max-reply" => settings.max_reply = common::number("--max-reply", &mut parser, 1)?,
            "resp3" => settings.version = Version::Resp3,
            "rate" => plan.rate = Some(rate(&mut parser)?),
            "duration" => {
                let limit = Limit::AboveZero;
                plan.duration = Some(common::seconds("--duration", &mut parser, limit)?);
            }
            "drain" => drain = common::seconds("--drain", &mut parser, Limit::Any)?,
            "no-raw" => for_people = true,
            other if upstream.take(other, &mut parser)? => {}
            other => return Err(Failure::Usage(format!("unknown option --{other}"))),
        }
    }
    settings.server = common::look_up("--connect", &server.name)?[0];
    settings.login = server.login;
    let dialers = upstream.dialers(&[server.name])?;
    plan.at_a_time = (settings.connections * settings.pipeline) as u64;
    // What there is at a time without a rate is no overload.
    settings.max_waiting = settings
        .max_waiting
        .max(settings.connections * settings.pipeline);
    Ok(Wanted {
        settings,
        dialer: dialers.into_iter().next().unwrap_or_default(),
        plan,
        drain,
        for_people,
        command: command.into_iter().map(OsString::into_vec).collect(),
    })
}

fn rate(parser: &mut lexopt::Parser) -> Result<u32, Failure> {
    let right = "requests a second, from 1 to 10000000";
    match common::value("--rate", parser, right)? {
        rate @ 1..=10_000_000 => Ok(rate),
        rate => Err(Failure::Usage(format!("--rate {rate}: expected {right}"))),
    }
}

fn run(wanted: Wanted) -> Result<(), Failure> {
    let mut reactor = Reactor::new().map_err(Failure::io("cannot make a reactor"))?;
    let (settings, dialer) = (wanted.settings.clone(), wanted.dialer.clone());
    let client = Client::start(&mut reactor, &wanted.settings, move |cx, server, seat| {
        dialer.connect(cx, *server, seat.hold(Connection::new(&settings)))
    });
    let client = client.map_err(Failure::io("cannot make a client"))?;
    common::stop_on_signals(&mut reactor)?;
    if wanted.command.is_empty() {
        run_load(&mut reactor, client, &wanted)
    } else {
        run_once(&mut reactor, client, &wanted)
    }
}

/// Waits for the answer to one command.
#[derive(Default)]
struct Once {
    outcome: Option<Outcome>,
}

impl Dispatcher for Once {}

fn run_once(reactor: &mut Reactor, client: Id<Client>, wanted: &Wanted) -> Result<(), Failure> {
    let once = reactor.add_service(Once::default());
    let once = once.map_err(Failure::io("cannot add a dispatcher"))?;
    if let Some(mut cx) = reactor.at(once) {
        let deliver = |once: &mut Once, cx: &mut Context<'_>, outcome| {
            once.outcome = Some(outcome);
            cx.stop();
            Ok(())
        };
        Client::request(&mut cx, client, once, &wanted.command, deliver);
    }
    reactor.run().map_err(Failure::io("the loop failed"))?;
    let outcome = reactor.with(once, |once, _| once.outcome.take()).flatten();
    match outcome {
        Some(Outcome::Done(reply)) => print_reply(&reply, wanted.for_people),
        Some(Outcome::NotSent(why)) => Err(Failure::Work(format!("not sent: {why}"))),
        Some(Outcome::Unknown(why)) => {
            let text = format!("sent, and no answer came: {why}; it may have been done");
            Err(Failure::Work(text))
        }
        None => Err(Failure::Work(
            "interrupted: it may have been done".to_owned(),
        )),
    }
}

fn print_reply(reply: &Reply, for_people: bool) -> Result<(), Failure> {
    let mut text = if for_people {
        print::for_people(reply).into_bytes()
    } else {
        print::raw(reply)
    };
    if !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    io::stdout()
        .write_all(&text)
        .map_err(Failure::io("cannot print"))?;
    match (reply, reply.refusal()) {
        (_, Some(refusal)) => Err(Failure::Work(format!("not done: {refusal}"))),
        (Reply::Error(_), None) => Err(Failure::Work("the server has refused it".to_owned())),
        _ => Ok(()),
    }
}

fn run_load(reactor: &mut Reactor, client: Id<Client>, wanted: &Wanted) -> Result<(), Failure> {
    let load = Load::new(client, wanted.plan, std::time::Instant::now());
    let load = reactor.add_service(load);
    let load = load.map_err(Failure::io("cannot add a dispatcher"))?;
    reactor.with(load, |load, cx| load.begin(cx));
    reactor.run().map_err(Failure::io("the loop failed"))?;
    // What is in flight is waited for, but not for ever.
    let is_done = reactor.with(load, |load, cx| {
        Client::drain(cx, client, wanted.drain);
        load.finish()
    });
    if is_done == Some(false) {
        reactor.run().map_err(Failure::io("the loop failed"))?;
    }
    reactor.with(load, |load, cx| load.report(cx));
    reactor
        .shutdown(Duration::from_secs(1))
        .map_err(Failure::io("the loop failed"))?;
    Ok(())
}

const HELP: &str = "\
A Redis client: runs one command and prints the reply as redis-cli does, or, without one, generates load
(SET, GET and INCR) and prints the outcomes of the requests, each second and at the end.

Usage: redis_client [OPTIONS] [COMMAND [ARGUMENTS..]]

  --connect HOST:PORT      the server, or redis://USER:PASSWORD@HOST:PORT [127.0.0.1:6379]
  --connections N          maximum number of connections [4]
  --pipeline N             maximum number of requests in flight on each connection [64]
  --waiting N              maximum number of requests that wait for a connection [10000]
  --timeout SECONDS        the longest time from a request to its answer [1]
  --max-reply BYTES        a longer reply closes its connection [67108864]
  -3, --resp3              use RESP3, if the server supports it
  --no-raw                 print replies for people, even if the output is no terminal
  --rate R                 load: requests per second [as fast as answers come]
  --duration SECONDS       load: how long [until Ctrl-C]
  --drain SECONDS          time limit for the outstanding answers at shutdown [5]
  --upstream-tls           use TLS with the server; build with --features examples,tls
  --upstream-name NAME     the name in its certificate [HOST]
  --upstream-ca FILE       trusted certificates (PEM); without it those of the system, which needs
                           the feature system-roots
  -h, --help               this text
      --version            the version of slabloop

Each request is answered once: done, with the server's reply, which may be an error; not sent, so that
it is safe to send it again; or unknown: sent, and no answer came. Commands that change the connection
itself (SELECT, MULTI, SUBSCRIBE and the like) are refused, for connections are shared.
REDISCLI_AUTH has the server's password, if it wants one and it is not in --connect; a command line can be
read by other users of the machine.
RUST_LOG sets the log level, for example RUST_LOG=info,slabloop=debug.

Examples:
  redis_client set greeting hello
  redis_client --rate 10000 --connections 4 --duration 10
";

fn main() -> ExitCode {
    common::run(HELP, |arguments| run(parse(arguments)?))
}
