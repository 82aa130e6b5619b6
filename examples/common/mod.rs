//! What all example servers share: the command line, the first lines on stdout, signals, the drain, the
//! totals and the exit code. The reactor part of each example stays as short as the README's.

#![allow(dead_code, reason = "each example uses a part")]
#![allow(unreachable_pub, reason = "a module of each example, not of a crate")]

#[cfg_attr(not(feature = "restart"), path = "no_hand_over.rs")]
mod hand_over;
mod inherited;
mod inspect;
#[cfg(feature = "restart")]
mod notify;
mod options;
mod proxied;
pub mod proxy_header;
mod signals;
mod stdin;
mod threads;
mod tls;
mod trace;

#[allow(unused_imports, reason = "each example uses a part")]
pub use hand_over::HandOver;
#[allow(unused_imports, reason = "each example uses a part")]
pub use inspect::Inspect;
#[allow(unused_imports, reason = "each example uses a part")]
pub use options::{Failure, Limit, Options, flags, host_and_port, look_up, number, seconds, value};
#[allow(unused_imports, reason = "each example uses a part")]
pub use proxied::{Client, Proxied, Welcome, accept};
#[allow(unused_imports, reason = "each example uses a part")]
pub use stdin::stdin_stream;
#[allow(unused_imports, reason = "each example uses a part")]
pub use threads::{serve_as_group, serve_on_threads, threads_flag};
#[allow(unused_imports, reason = "each example uses a part")]
pub use tls::{Dialer, Tls, UpstreamFlags};
#[allow(unused_imports, reason = "each example uses a part")]
pub use trace::TraceFile;

use std::borrow::BorrowMut;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use slabloop::{Builder, Counters, Dispatcher, Id, Reactor};

/// Longer than this in one callback, and the log names it.
const SLOW_CALLBACK: Duration = Duration::from_millis(100);

/// Runs an example's `body` and turns its failure into one line on stderr and an exit code: 1 if it
/// could not do its work, 2 for wrong usage.
pub fn run(help: &str, body: impl FnOnce(lexopt::Parser) -> Result<(), Failure>) -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    match body(lexopt::Parser::from_env()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Help) => {
            say(help.trim_end());
            ExitCode::SUCCESS
        }
        Err(Failure::Version) => {
            say(concat!("slabloop ", env!("CARGO_PKG_VERSION")));
            ExitCode::SUCCESS
        }
        Err(Failure::Usage(text)) => {
            complain(&format!("{text}; see --help"));
            ExitCode::from(2)
        }
        Err(Failure::Work(text)) => {
            complain(&text);
            ExitCode::FAILURE
        }
    }
}

/// A builder with the limits that every example has. `per_client` streams make up one client.
pub fn builder(options: &Options, per_client: usize) -> Builder {
    let mut builder = Reactor::builder();
    builder.slow_callback(SLOW_CALLBACK);
    builder.idle_timeout(options.idle_timeout);
    if let Some(clients) = options.max_connections {
        // Room for one more whole client is what a listener waits for before it accepts.
        builder.max_connections(clients.saturating_mul(per_client) + 1 - per_client);
    }
    builder
}

/// Listens where the options say, prints where that is, and how to try it. From that line on a signal shuts the
/// program down gracefully.
///
/// # Errors
///
/// A sentence that names the address, the cause and a way out; or that signals cannot be caught.
pub fn listen<D: Dispatcher>(
    reactor: &mut Reactor,
    options: &Options,
    listener: D,
) -> Result<Id<D>, Failure> {
    listen_and_try(reactor, options, listener, try_bytes(options))
}

/// How to try a server that takes any bytes: the command for a host as it stands in a URL, and a port.
pub fn try_bytes(options: &Options) -> impl Fn(&str, u16) -> String + use<> {
    let is_tls = options.tls.is_on();
    move |host, port| {
        if is_tls {
            format!("openssl s_client -quiet -connect {host}:{port}")
        } else {
            // It wants the bare address.
            format!("nc {} {port}", host.trim_matches(['[', ']']))
        }
    }
}

/// As [`listen`], for a server that is tried otherwise: `command` gets a host as it stands in a URL, and a port.
///
/// # Errors
///
/// As [`listen`].
pub fn listen_and_try<D: Dispatcher>(
    reactor: &mut Reactor,
    options: &Options,
    listener: D,
    command: impl FnOnce(&str, u16) -> String,
) -> Result<Id<D>, Failure> {
    options.trace.begin(reactor)?;
    let asked = options.listen.as_str();
    let id = open(reactor, options, listener);
    let id = id.map_err(|error| threads::cannot_listen(asked, &error))?;
    let address = reactor
        .local_addr(id)
        .map_err(Failure::io("cannot tell the address"))?;
    stop_on_signals(reactor)?;
    let watched = options.hand_over.watch(reactor, id.into());
    watched.map_err(Failure::io("cannot watch for SIGUSR2"))?;
    say_where(address, command);
    options.inspect.begin(reactor)?;
    #[cfg(feature = "restart")]
    notify::ready();
    Ok(id)
}

/// The first lines of a server.
pub fn say_where(address: SocketAddr, command: impl FnOnce(&str, u16) -> String) {
    say(&format!("listening on {address}"));
    say(&format!(
        "try: {}",
        command(&reachable_host(address), address.port())
    ));
}

/// The listener that was inherited, or else one at the address that was asked for.
fn open<D: Dispatcher>(reactor: &mut Reactor, options: &Options, listener: D) -> io::Result<Id<D>> {
    let asked = options.listen.as_str();
    let socket = match options.inherited.take() {
        Some(inherited) => Some(inherited),
        None => options.hand_over.listener(asked)?,
    };
    match socket {
        Some(socket) => {
            options.hand_over.keep(&socket)?;
            reactor.add(socket, listener)
        }
        None => reactor.listen(asked, listener),
    }
}

/// Has the first Ctrl-C or SIGTERM stop the loop.
///
/// # Errors
///
/// That signals cannot be caught.
pub fn stop_on_signals(reactor: &mut Reactor) -> Result<(), Failure> {
    signals::watch(reactor).map_err(Failure::io("cannot watch for signals"))
}

/// Where a client on this machine reaches a server that listens on every address, as it stands in a URL.
fn reachable_host(address: SocketAddr) -> String {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => "127.0.0.1".to_owned(),
        IpAddr::V6(ip) if ip.is_unspecified() => "[::1]".to_owned(),
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// Runs until a signal or `--duration`; then drains, and prints the totals. Takes the reactor, or borrows it if
/// there is something to do after that.
///
/// # Errors
///
/// If the loop itself fails.
pub fn serve(reactor: impl BorrowMut<Reactor>, options: &Options) -> Result<(), Failure> {
    serve_then(reactor, options, |_| Ok(()))
}

/// As [`serve`], with something that is done between the end of the loop and the drain, while all can still be sent and
/// received.
///
/// # Errors
///
/// As [`serve`], and those of `farewell`.
pub fn serve_then(
    mut reactor: impl BorrowMut<Reactor>,
    options: &Options,
    farewell: impl FnOnce(&mut Reactor) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let reactor = reactor.borrow_mut();
    run_for(reactor, options.duration)?;
    let lingered = options.hand_over.linger(reactor);
    lingered.map_err(Failure::io("the loop failed"))?;
    farewell(reactor)?;
    let aborted = drain(reactor, options.drain)?;
    options.trace.end(reactor)?;
    say_totals(&options.inspect.without_own(reactor), aborted);
    Ok(())
}

/// Runs until something stops the loop, or for `duration`; then drains. How many connections it had to abort.
///
/// # Errors
///
/// If the loop itself fails.
pub fn run_and_drain(
    reactor: &mut Reactor,
    duration: Option<Duration>,
    limit: Duration,
) -> Result<usize, Failure> {
    run_for(reactor, duration)?;
    drain(reactor, limit)
}

fn run_for(reactor: &mut Reactor, duration: Option<Duration>) -> Result<(), Failure> {
    if let Some(duration) = duration {
        reactor.call_later(duration, Reactor::stop);
    }
    reactor.run().map_err(Failure::io("the loop failed"))
}

fn drain(reactor: &mut Reactor, limit: Duration) -> Result<usize, Failure> {
    let open = reactor.gauges().connections;
    if open > 0 {
        let sockets = if open == 1 { "socket" } else { "sockets" };
        complain(&format!(
            "draining {open} {sockets} for up to {limit:?}; Ctrl-C again ends it now"
        ));
    }
    let aborted = reactor.shutdown(limit);
    let aborted = aborted.map_err(Failure::io("the loop failed"))?;
    Ok(aborted.len())
}

/// The last line of a server.
pub fn say_totals(counters: &Counters, aborted: usize) {
    say(&format!(
        "totals: connections={} in={} out={} turns={} callbacks={} slowest_us={} aborted={aborted}",
        counters.accepted,
        counters.bytes_in,
        counters.bytes_out,
        counters.turns,
        counters.callbacks,
        counters.slowest_us,
    ));
}

/// A line on stdout, at once. A reader that has gone away must not end a server.
pub fn say(line: &str) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// A line on stderr.
pub fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{}: {line}", program());
}

/// The name that this program was started by, as its messages begin.
fn program() -> String {
    let path = std::env::args_os().next().unwrap_or_default();
    let name = std::path::Path::new(&path).file_stem().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
