//! A worker: takes jobs from the queue, does them on threads, and tells their outcomes where that was asked for.

mod asking;
mod doing;
mod entries;
mod post;
mod puller;
mod recording;

use std::io;
use std::rc::Rc;
use std::time::Duration;

use lexopt::Parser;
use slabloop::kit::retry::{Backoff, BackoffBuilder};
use slabloop::kit::workers::Workers;
use slabloop::{Id, Reactor};

use crate::address::Allowed;
use crate::common::{self, Failure, Limit};
use crate::names::Lane;
use crate::queue::{Queue, QueueFlags};

use doing::Doing;
use puller::Puller;

/// A read that finds nothing is answered after so long. A worker that is told to end waits for it.
const LONGEST_BLOCK: Duration = Duration::from_secs(1);

const LONGEST_TICK: Duration = Duration::from_millis(250);

/// How long the last words to Redis may take.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What a worker is to observe.
pub(crate) struct Rules {
    pub(crate) queue: Queue,
    /// Its name among the consumers of the group.
    pub(crate) consumer: String,
    tries: usize,
    callback_tries: usize,
    pub(crate) visibility: Duration,
    pub(crate) block: Duration,
    backoff: BackoffBuilder,
}

impl Rules {
    /// Most attempts.
    pub(crate) fn tries(&self, lane: Lane) -> usize {
        match lane {
            Lane::Work => self.tries,
            Lane::Callback => self.callback_tries,
        }
    }

    /// How often it is looked whether anything is due. A claim is extended in time, with some to spare.
    pub(crate) fn tick(&self) -> Duration {
        LONGEST_TICK.min(self.visibility / 8)
    }

    /// How long to wait after so many attempts: a random time up to the longest pause of that attempt.
    pub(crate) fn pause(&self, tries: u64) -> Duration {
        let attempt = usize::try_from(tries.saturating_sub(1)).unwrap_or(usize::MAX);
        // (Its longest pause is reached long before.)
        let pause = self.backoff.build().ok();
        pause
            .and_then(|mut pauses: Backoff| pauses.nth(attempt.min(64)))
            .unwrap_or_default()
    }
}

struct Flags {
    queue: QueueFlags,
    callback_to: Vec<String>,
    callbacks: usize,
    callback_timeout: Duration,
    jobs: usize,
    tries: usize,
    callback_tries: usize,
    pause: Duration,
    longest_pause: Duration,
    visibility: Duration,
    drain: Duration,
    duration: Option<Duration>,
}

fn parse(arguments: Parser) -> Result<Flags, Failure> {
    let mut flags = Flags {
        queue: QueueFlags::default(),
        callback_to: Vec::new(),
        callbacks: 16,
        callback_timeout: Duration::from_secs(10),
        jobs: std::thread::available_parallelism().map_or(1, usize::from),
        tries: 5,
        callback_tries: 20,
        pause: Duration::from_secs(1),
        longest_pause: Duration::from_secs(60),
        visibility: Duration::from_secs(30),
        drain: Duration::from_secs(5),
        duration: None,
    };
    common::flags(arguments, |flag, parser| {
        let above_zero = |parser: &mut Parser| common::seconds(flag, parser, Limit::AboveZero);
        match flag {
            "--callback-to" => flags.callback_to.push(common::host_and_port(flag, parser)?),
            "--callbacks" => flags.callbacks = common::number(flag, parser, 1)?,
            "--callback-timeout" => flags.callback_timeout = above_zero(parser)?,
            "--jobs" => flags.jobs = common::number(flag, parser, 1)?,
            "--tries" => flags.tries = common::number(flag, parser, 1)?,
            "--callback-tries" => flags.callback_tries = common::number(flag, parser, 1)?,
            "--pause" => flags.pause = above_zero(parser)?,
            "--longest-pause" => flags.longest_pause = above_zero(parser)?,
            "--visibility" => flags.visibility = above_zero(parser)?,
            "--drain" => flags.drain = common::seconds(flag, parser, Limit::Any)?,
            "--duration" => flags.duration = Some(above_zero(parser)?),
            _ => return flags.queue.take(flag.trim_start_matches('-'), parser),
        }
        Ok(true)
    })?;
    if flags.visibility < Duration::from_millis(100) {
        let text = "--visibility: expected at least 0.1 seconds, or no claim is extended in time";
        return Err(Failure::Usage(text.to_owned()));
    }
    Ok(flags)
}

/// Nobody else's: a claim is by this name.
fn consumer() -> Result<String, Failure> {
    let mut bytes = [0; 4];
    let read = std::fs::File::open("/dev/urandom")
        .and_then(|mut file| io::Read::read_exact(&mut file, &mut bytes));
    read.map_err(Failure::io("cannot read /dev/urandom"))?;
    let number = u32::from_ne_bytes(bytes);
    Ok(format!("worker-{}-{number:08x}", std::process::id()))
}

pub(crate) fn run(arguments: Parser) -> Result<(), Failure> {
    let flags = parse(arguments)?;
    let mut builder = Reactor::builder();
    builder.connect_timeout(flags.callback_timeout);
    let mut reactor = builder
        .build()
        .map_err(Failure::io("cannot make a reactor"))?;
    let backoff = Backoff::builder()
        .base(flags.pause)
        .cap(flags.longest_pause.max(flags.pause));
    let rules = Rc::new(Rules {
        queue: flags.queue.open(&mut reactor)?,
        consumer: consumer()?,
        tries: flags.tries,
        callback_tries: flags.callback_tries,
        visibility: flags.visibility,
        block: LONGEST_BLOCK.min(flags.visibility / 3),
        backoff,
    });
    let allowed = Allowed::look_up(&flags.callback_to)?;
    let threads = Workers::builder()
        .threads(flags.jobs)
        .queue(2 * flags.jobs)
        .name("jobs")
        .build(&mut reactor);
    let threads = threads.map_err(Failure::io("cannot start threads"))?;
    let lanes = [
        (Lane::Work, flags.jobs, Doing::Work(threads)),
        (
            Lane::Callback,
            flags.callbacks,
            Doing::Callbacks(allowed, flags.callback_timeout),
        ),
    ];
    let mut pullers = Vec::new();
    for (lane, places, doing) in lanes {
        let blocking = rules.queue.blocking(&mut reactor, rules.block)?;
        let puller = Puller::new(Rc::clone(&rules), lane, places, doing, blocking);
        let puller = reactor.add_service(puller);
        pullers.push(puller.map_err(Failure::io("cannot add a dispatcher"))?);
    }
    common::stop_on_signals(&mut reactor)?;
    for puller in &pullers {
        reactor.with(*puller, |puller, cx| puller.begin(cx));
    }
    common::say(&format!("working as {}", rules.consumer));
    if let Some(duration) = flags.duration {
        reactor.call_later(duration, Reactor::stop);
    }
    reactor.run().map_err(Failure::io("the loop failed"))?;
    finish(&mut reactor, &pullers, flags.drain)
}

/// What is in hand is finished, or left to other workers; then the last line.
fn finish(reactor: &mut Reactor, pullers: &[Id<Puller>], drain: Duration) -> Result<(), Failure> {
    until_all_are_quiet(reactor, pullers, drain, |puller, _| puller.stop())?;
    let left: usize = pullers
        .iter()
        .filter_map(|puller| reactor.with(*puller, |puller, _| puller.in_hand()))
        .sum();
    until_all_are_quiet(reactor, pullers, LAST_WORDS, Puller::leave)?;
    let mut counts = puller::Counts::default();
    for puller in pullers {
        counts += reactor
            .with(*puller, |puller, _| puller.counts())
            .unwrap_or_default();
    }
    common::say(&format!(
        "jobs: done={} failed={} dead={} claimed={} lost={} left={left}",
        counts.done, counts.failed, counts.dead, counts.claimed, counts.lost
    ));
    Ok(())
}

fn until_all_are_quiet(
    reactor: &mut Reactor,
    pullers: &[Id<Puller>],
    limit: Duration,
    mut change: impl FnMut(&mut Puller, &mut slabloop::Context<'_>),
) -> Result<(), Failure> {
    for puller in pullers {
        reactor.with(*puller, &mut change);
    }
    let is_quiet = |reactor: &mut Reactor| {
        pullers
            .iter()
            .all(|puller| reactor.with(*puller, |puller, _| puller.is_quiet()) != Some(false))
    };
    let is_late = Rc::new(std::cell::Cell::new(false));
    let late = Rc::clone(&is_late);
    let timer = reactor.call_later(limit, move |reactor| {
        late.set(true);
        reactor.stop();
    });
    while !is_late.get() && !is_quiet(reactor) {
        // A puller that becomes quiet stops the loop.
        reactor.run().map_err(Failure::io("the loop failed"))?;
    }
    reactor.cancel_timer(timer);
    Ok(())
}
