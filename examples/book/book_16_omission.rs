//! A server that stops for half a second, and two ways to count what its clients noticed of it.
//!
//! Chapter 16 of the book: `docs/book/16-measuring.md`.
//!
//! ```text
//! cargo run --example book_16_omission
//! cargo run --example book_16_omission -- --freeze 0
//! ```

mod shared;

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use shared::{Failure, Flags, connect, run, say};
use slabloop::{Accepted, Context, Dispatcher, Reactor};

/// How many requests there are, and the time from one to the next.
const REQUESTS: u32 = 500;
const EVERY: Duration = Duration::from_millis(4);

/// The request that meets chapter 12's mistake.
const FROZEN: u32 = 200;

struct Door {
    freeze: Duration,
}

impl Dispatcher for Door {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let (freeze, requests) = (self.freeze, 0);
        cx.add(accepted, Echo { freeze, requests })?;
        cx.close(); // There is one client only.
        Ok(())
    }
}

struct Echo {
    freeze: Duration,
    requests: u32,
}

impl Dispatcher for Echo {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut request = [0];
        if cx.recv(&mut request)? == 0 {
            return Ok(());
        }
        self.requests += 1;
        if self.requests == FROZEN {
            thread::sleep(self.freeze);
        }
        cx.send(&request)
    }
}

/// When one request was due, was sent, and was answered.
struct Request {
    due: Instant,
    sent: Instant,
    answered: Instant,
}

/// A client with one connection: the next request is sent when it is due, and the last has been answered.
fn client(address: SocketAddr) -> io::Result<Vec<Request>> {
    let mut stream = connect(address)?;
    let begin = Instant::now();
    let mut requests = Vec::new();
    for number in 0..REQUESTS {
        let due = begin + number * EVERY;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let sent = Instant::now();
        stream.write_all(b"x")?;
        stream.read_exact(&mut [0])?;
        requests.push(Request {
            due,
            sent,
            answered: Instant::now(),
        });
    }
    Ok(requests)
}

fn print(how: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |per_mille: usize| {
        let rank = (times.len() * per_mille).div_ceil(1000);
        times[rank.max(1) - 1].as_secs_f64() * 1e3
    };
    let columns = [500, 900, 990, 1000].map(at);
    let columns: String = columns.iter().map(|ms| format!("{ms:9.2}")).collect();
    say(format!("{how:24}{columns}"));
}

fn program(mut flags: Flags) -> Result<(), Failure> {
    let freeze = flags.value("--freeze", "a number of milliseconds")?;
    flags.end()?;
    let freeze = Duration::from_millis(freeze.unwrap_or(500));
    let mut reactor = Reactor::builder().slow_callback(None).build()?;
    let listener = reactor.listen("127.0.0.1:0", Door { freeze })?;
    let address = reactor.local_addr(listener)?;
    let client = thread::spawn(move || client(address));
    reactor.run()?;
    let requests = client.join().expect("the client does not panic")?;

    let names = ["p50", "p90", "p99", "max"];
    let names: String = names.iter().map(|name| format!("{name:>9}")).collect();
    say(format!("{:24}{names}", "ms"));
    let from = |begin: fn(&Request) -> Instant| {
        let times = requests.iter();
        times
            .map(|request| request.answered - begin(request))
            .collect()
    };
    print("since it was sent", from(|request| request.sent));
    print("since it was due", from(|request| request.due));
    Ok(())
}

const HELP: &str = "\
Sends 500 requests, one every 4 ms, to a server that stops once, and prints percentiles of how long they took: since
each was sent, and since each was due.

Usage: book_16_omission [OPTIONS]

  --freeze MS     for how long the server stops, at request 200 [500]
  -h, --help      this text

Examples:
  book_16_omission
  book_16_omission --freeze 0
";

fn main() -> ExitCode {
    run(HELP, program)
}
