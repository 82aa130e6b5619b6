//! Counts primes on threads: a line with a number is answered by the count of primes up to it.
//!
//! Shows the pool of threads (`kit::workers`): long work that does not block the loop, which echoes every other line at
//! once meanwhile; answers in the order of the lines, although the work ends in any order; a clear answer when the pool
//! is full; a bound on the jobs of one client, by backpressure; jobs that are cancelled when their client disconnects;
//! and a graceful shutdown.
//!
//! ```text
//! cargo run --release --features workers --example primes
//! printf '1000000\nhello\n' | nc -N 127.0.0.1 7004
//! ```
//!
//! To see more: `RUST_LOG=info,slabloop=debug`.

mod common;

use std::collections::VecDeque;
use std::io;
use std::process::ExitCode;

use common::{Failure, Options};
use slabloop::framing::{Framed, Framing, Handler, Terminator};
use slabloop::kit::workers::{Job, WorkerPanic, Workers};
use slabloop::{Accepted, Context, Dispatcher, Id};

/// A longer line ends its client's connection.
const LONGEST_LINE: usize = 1024;

/// A larger number is refused: a thread cannot be interrupted.
const LARGEST: u32 = 5_000_000;

/// Lines of one client that are not answered yet. With so many its next ones wait in the socket.
const MOST_IN_HAND: usize = 16;

struct Door {
    workers: Workers,
    tls: common::Tls,
}

impl Dispatcher for Door {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let client = Client {
            workers: self.workers.clone(),
            answers: VecDeque::new(),
            sent: 0,
            leaving: false,
        };
        let client = Framed::new(Terminator::Line, client)?;
        let socket = self.tls.socket(accepted)?;
        cx.add(socket, client.max_record(LONGEST_LINE))?;
        Ok(())
    }
}

/// What becomes of a line.
enum Answer {
    /// A job works at it, or waits for a thread.
    Awaited(Job),
    /// It is there, and goes out when all before it have.
    Ready(String),
}

/// One connection.
struct Client {
    workers: Workers,
    /// In the order of the lines.
    answers: VecDeque<Answer>,
    /// How many have gone out: the number of the first in `answers`.
    sent: u64,
    /// No line comes any more: closes after the last answer.
    leaving: bool,
}

impl Client {
    /// What a line is answered with, as far as it is known.
    fn answer(&self, cx: &mut Context<'_>, line: &str) -> Answer {
        let limit = match line.parse::<u32>() {
            Ok(limit) if limit <= LARGEST => limit,
            Ok(_) => return Answer::Ready(format!("error: {line} is more than {LARGEST}")),
            Err(_) => return Answer::Ready(line.to_owned()),
        };
        let number = self.sent + self.answers.len() as u64;
        let me: Id<Framed<Client>> = cx.id();
        let work = move || count_primes(limit);
        let spawned = self.workers.spawn(cx, me, work, move |framed, cx, primes| {
            let (client, framing) = framed.parts();
            client.computed(cx, framing, number, limit, primes)
        });
        match spawned {
            Ok(job) => Answer::Awaited(job),
            // What was refused is not kept: the client knows it, and asks again if it wants to.
            Err(refused) => Answer::Ready(format!("busy: {limit}: {refused}; try again later")),
        }
    }

    /// A job is done.
    fn computed(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
        number: u64,
        limit: u32,
        primes: Result<usize, WorkerPanic>,
    ) -> io::Result<()> {
        let text = match primes {
            Ok(primes) => format!("{limit}: {primes} primes"),
            Err(panic) => format!("error: {limit}: {panic}"),
        };
        let index = usize::try_from(number - self.sent).map_err(io::Error::other)?;
        self.answers[index] = Answer::Ready(text);
        self.send(cx, framing)
    }

    /// Sends the answers that are next, and reads on if there is room for more lines.
    fn send(&mut self, cx: &mut Context<'_>, framing: &mut Framing) -> io::Result<()> {
        while let Some(Answer::Ready(text)) = self.answers.front() {
            framing.push(cx, format!("{text}\n").as_bytes())?;
            self.answers.pop_front();
            self.sent += 1;
        }
        if self.leaving {
            if self.answers.is_empty() {
                framing.close_when_done(cx);
            }
        } else if self.answers.len() < MOST_IN_HAND {
            cx.resume_reading();
        } else {
            cx.pause_reading();
        }
        Ok(())
    }

    /// Takes no more lines, and closes when all are answered.
    fn leave(&mut self, cx: &mut Context<'_>, framing: &mut Framing) -> io::Result<()> {
        self.leaving = true;
        cx.pause_reading();
        self.send(cx, framing)
    }
}

impl Handler for Client {
    fn found_terminator(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
        line: &[u8],
    ) -> io::Result<()> {
        let line = String::from_utf8_lossy(line);
        let answer = self.answer(cx, line.trim());
        self.answers.push_back(answer);
        self.send(cx, framing)
    }

    fn handle_eof(&mut self, cx: &mut Context<'_>, framing: &mut Framing) -> io::Result<()> {
        self.leave(cx, framing)
    }

    fn handle_shutdown(&mut self, cx: &mut Context<'_>, framing: &mut Framing) -> io::Result<()> {
        self.leave(cx, framing)
    }

    fn handle_close(&mut self, _: &mut Context<'_>) {
        // Its client has ended. A thread that has begun a job finishes it.
        for answer in &self.answers {
            if let Answer::Awaited(job) = answer {
                job.cancel();
            }
        }
    }
}

/// How many primes there are up to `limit`, the slow way.
fn count_primes(limit: u32) -> usize {
    let is_prime = |candidate: &u32| {
        let divisors = (2..).take_while(|divisor| divisor * divisor <= *candidate);
        divisors.into_iter().all(|divisor| candidate % divisor != 0)
    };
    (2..=limit).filter(is_prime).count()
}

const HELP: &str = "\
Answers each line with a number by the count of primes up to it, and echoes all other lines. The
answers have the order of the lines. If the queue of the threads is full, the answer is `busy`.

Usage: primes [OPTIONS]

  --listen HOST:PORT       where to listen; port 0 selects a free one [127.0.0.1:7004]
  --threads N              threads that count [as many as run in parallel]
  --queue N                numbers that wait for a thread [64]
  --max-connections N      clients served at once; further ones wait in the kernel [no limit]
  --idle-timeout SECONDS   closes a client after SECONDS without traffic [never]
  --drain SECONDS          time limit for the answers at shutdown, and again for the threads [5]
  --tls-cert FILE          serve TLS with this certificate (PEM); build with --features tls
  --tls-key FILE           its private key (PEM)
  --duration SECONDS       stops after this time [never]
  -h, --help               this text
      --version            the version of slabloop

RUST_LOG sets the log level, for example RUST_LOG=info,slabloop=debug.

Examples:
  primes --listen 127.0.0.1:0 --threads 2 --queue 8
";

fn main() -> ExitCode {
    common::run(HELP, |arguments| {
        let mut pool = Workers::builder().name("primes").queue(64);
        let options = Options::parse(arguments, "127.0.0.1:7004", |flag, parser| {
            pool = match flag {
                "threads" => pool
                    .clone()
                    .threads(common::number("--threads", parser, 1)?),
                "queue" => pool.clone().queue(common::number("--queue", parser, 1)?),
                _ => return Ok(false),
            };
            Ok(true)
        })?;
        let reactor = common::builder(&options, 1).build();
        let mut reactor = reactor.map_err(Failure::io("cannot make a reactor"))?;
        let workers = pool.build(&mut reactor);
        let workers = workers.map_err(Failure::io("cannot start the threads"))?;
        let door = Door {
            workers: workers.clone(),
            tls: options.tls.clone(),
        };
        common::listen(&mut reactor, &options, door)?;
        // Clients get the answers that they wait for while their connections drain.
        common::serve(&mut reactor, &options)?;
        let stopped = workers.shutdown(&mut reactor, options.drain);
        let stopped = stopped.map_err(Failure::io("the loop failed"))?;
        let gauges = workers.gauges();
        common::say(&format!(
            "jobs: done={} refused={} cancelled={} dropped={} left={} busy_ms={}",
            gauges.finished,
            gauges.refused,
            gauges.cancelled,
            stopped.dropped.len(),
            stopped.left.len(),
            gauges.busy.as_millis(),
        ));
        Ok(())
    })
}
