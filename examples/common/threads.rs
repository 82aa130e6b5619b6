//! `--threads N`: a server with one reactor, or with several that listen on one port.

use std::io;
use std::time::Duration;

use lexopt::Parser;
use slabloop::kit::group::{Group, GroupError, Member, SharedPort};
use slabloop::{Counters, Dispatcher, Reactor};

use super::{Failure, Options, signals};

/// More than a group can have are no threads, but a typing error.
const MOST_THREADS: usize = 1024;

/// Takes the flag `--threads`. False if it is another.
///
/// # Errors
///
/// [`Failure::Usage`] if its value is missing or wrong.
pub fn threads_flag(flag: &str, parser: &mut Parser, threads: &mut usize) -> Result<bool, Failure> {
    if flag == "threads" {
        *threads = super::number("--threads", parser, 1)?;
        if *threads > MOST_THREADS {
            let text = format!("--threads {threads}: expected at most {MOST_THREADS}");
            return Err(Failure::Usage(text));
        }
    }
    Ok(flag == "threads")
}

/// Serves until a signal or `--duration`, then drains, and prints the totals. `begin` makes a reactor and the
/// dispatcher of its listener, on the thread of that reactor. `command` is how to try the server, as for
/// [`listen_and_try`](super::listen_and_try).
///
/// # Errors
///
/// As [`listen`](super::listen); with several reactors also the name of the one that failed.
pub fn serve_on_threads<D: Dispatcher>(
    options: &Options,
    threads: usize,
    command: impl FnOnce(&str, u16) -> String,
    begin: impl Fn() -> Result<(Reactor, D), Failure> + Send + Sync + 'static,
) -> Result<(), Failure> {
    if threads == 1 {
        let (mut reactor, listener) = begin()?;
        super::listen_and_try(&mut reactor, options, listener, command)?;
        return super::serve(&mut reactor, options);
    }
    let asked = options.listen.clone();
    let port = SharedPort::new(asked.as_str()).map_err(|error| cannot_listen(&asked, &error))?;
    let listeners = port.clone();
    let set_up = move |_: &Member| {
        let (mut reactor, listener) = begin()?;
        let listening = listeners.listen(&mut reactor, listener);
        listening.map_err(|error| cannot_listen(&asked, &error))?;
        Ok(reactor)
    };
    serve_as_group(options, threads, set_up, || {
        if let Some(address) = port.local_addr() {
            super::say_where(address, command);
        }
    })
}

/// Runs the reactors that `set_up` makes, each on its thread, until a signal or `--duration`; then drains, and prints
/// the totals of all. `ready` is called when all listen.
///
/// # Errors
///
/// What failed first, with the name of its thread.
pub fn serve_as_group(
    options: &Options,
    threads: usize,
    set_up: impl Fn(&Member) -> Result<Reactor, Failure> + Send + Sync + 'static,
    ready: impl FnOnce(),
) -> Result<(), Failure> {
    refuse_what_is_of_one_loop(options)?;
    let (duration, drain) = (options.duration, options.drain);
    let hand_over = options.hand_over.clone();
    let builder = Group::builder().threads(threads).drain(drain);
    let group = builder.start(move |member| {
        let mut reactor = set_up(member).map_err(as_error)?;
        if member.index() == 0 {
            stop_on_signals(&mut reactor, drain)?;
            hand_over.refuse(&mut reactor, "there is no hand-over with --threads above 1")?;
            if let Some(duration) = duration {
                reactor.call_later(duration, Reactor::stop);
            }
        }
        let ended = member.run(&mut reactor)?;
        Ok((reactor.counters(), ended.aborted.len()))
    });
    let group = group.map_err(|error| first_of(&error))?;
    ready();
    let reports = group.join().map_err(|error| first_of(&error))?;
    let mut totals = Counters::default();
    for (counters, _) in &reports {
        add(&mut totals, counters);
    }
    let aborted = reports.iter().map(|(_, aborted)| aborted).sum();
    super::say_totals(&totals, aborted);
    Ok(())
}

/// The first Ctrl-C or SIGTERM ends all reactors.
fn stop_on_signals(reactor: &mut Reactor, drain: Duration) -> io::Result<()> {
    signals::watch_with(reactor, move || {
        super::complain(&format!(
            "draining for up to {drain:?}; Ctrl-C again ends it now"
        ));
    })
}

/// A page or a file about one of several loops would look like one about all, and a listener that was inherited is one.
fn refuse_what_is_of_one_loop(options: &Options) -> Result<(), Failure> {
    if options.inherited.address.is_some() {
        let text = "LISTEN_FDS: a listener that was inherited does not go with --threads above 1";
        return Err(Failure::Usage(text.to_owned()));
    }
    let flag = match options {
        _ if options.inspect.is_on() => "--inspect",
        _ if options.trace.is_on() => "--trace",
        _ => return Ok(()),
    };
    Err(Failure::Usage(format!(
        "{flag} shows one loop, and does not go with --threads above 1"
    )))
}

/// What failed first. What fails after it usually has the same cause.
fn first_of(error: &GroupError) -> Failure {
    let first = error.failures().iter().map(ToString::to_string).next();
    Failure::Work(first.unwrap_or_default())
}

pub(super) fn cannot_listen(asked: &str, error: &io::Error) -> Failure {
    let way_out = "--listen 127.0.0.1:0 takes any free port";
    Failure::Work(format!("cannot listen on {asked}: {error}; {way_out}"))
}

fn as_error(failure: Failure) -> io::Error {
    match failure {
        Failure::Work(text) | Failure::Usage(text) => io::Error::other(text),
        other => io::Error::other(format!("{other:?}")),
    }
}

fn add(totals: &mut Counters, one: &Counters) {
    totals.accepted += one.accepted;
    totals.bytes_in += one.bytes_in;
    totals.bytes_out += one.bytes_out;
    totals.turns += one.turns;
    totals.callbacks += one.callbacks;
    totals.slowest_us = totals.slowest_us.max(one.slowest_us);
}
