//! The client of many connections on tokio's current-thread runtime: a task for each.
//!
//! Command line, parser of answers and counts are those of slabloop's example, so that the two differ in the loop
//! alone. No buffer is held while a task waits: `readable` and `try_read`, which tokio's documentation has for programs
//! of many connections that are idle for most of the time.

#[allow(dead_code, reason = "the parts that are slabloop's")]
#[path = "../../../../examples/head_client/main.rs"]
mod head_client;

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use head_client::answer::{self, Answer};
use head_client::common::{self, Failure};
use head_client::options::Options;
use head_client::random::Random;
use head_client::tally::{Fault, Loss, Tally};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::runtime;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

const TICK: Duration = Duration::from_millis(10);
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(30);

struct Client {
    address: SocketAddr,
    request: String,
    interval: RangeInclusive<Duration>,
    timeout: Duration,
    random: RefCell<Random>,
    tally: RefCell<Tally>,
}

impl Client {
    fn within(&self, range: &RangeInclusive<Duration>) -> Duration {
        self.random.borrow_mut().within(range)
    }

    /// One connection after another.
    async fn keep(self: Rc<Self>) {
        let mut longest = FIRST_DELAY;
        loop {
            longest = match self.converse().await {
                true => FIRST_DELAY,
                false => (longest * 2).min(LONGEST_DELAY),
            };
            sleep(self.within(&(Duration::ZERO..=longest))).await;
        }
    }

    /// A connection, until a request is lost. Whether any was answered.
    async fn converse(&self) -> bool {
        self.tally.borrow_mut().begun += 1;
        let fault = match timeout(self.timeout, TcpStream::connect(self.address)).await {
            Ok(Ok(stream)) => return self.ask_on(stream).await,
            Ok(Err(error)) => Fault::of(&error),
            Err(_) => Fault::ConnectTimeout,
        };
        self.tally.borrow_mut().fault(fault);
        false
    }

    async fn ask_on(&self, mut stream: TcpStream) -> bool {
        let _ = stream.set_nodelay(true);
        self.tally.borrow_mut().opened += 1;
        let mut is_proven = false;
        loop {
            self.tally.borrow_mut().requests += 1;
            let asked = Instant::now();
            let outcome = timeout(self.timeout, self.ask(&mut stream)).await;
            match outcome.unwrap_or(Err(Loss::Timeout)) {
                Ok(()) => self.tally.borrow_mut().answer(asked.elapsed()),
                Err(loss) => {
                    self.tally.borrow_mut().lose(loss);
                    return is_proven;
                }
            }
            is_proven = true;
            sleep(self.within(&self.interval)).await;
        }
    }

    async fn ask(&self, stream: &mut TcpStream) -> Result<(), Loss> {
        let sent = stream.write_all(self.request.as_bytes()).await;
        sent.map_err(|_| Loss::Reset)?;
        let mut partial = Vec::new();
        loop {
            stream.readable().await.map_err(|_| Loss::Reset)?;
            if let Some(outcome) = read(stream, &mut partial) {
                return outcome;
            }
        }
    }
}

/// Not a part of the task: its buffer is on the stack while it reads, and nowhere else.
fn read(stream: &TcpStream, partial: &mut Vec<u8>) -> Option<Result<(), Loss>> {
    let mut buffer = [0; 4096];
    let bytes = match stream.try_read(&mut buffer) {
        Ok(0) => return Some(Err(Loss::Closed)),
        Ok(count) => &buffer[..count],
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
        Err(_) => return Some(Err(Loss::Reset)),
    };
    let input = if partial.is_empty() {
        bytes
    } else {
        partial.extend_from_slice(bytes);
        partial.as_slice()
    };
    match answer::read(input) {
        Answer::Incomplete => {
            if partial.is_empty() {
                *partial = bytes.to_vec();
            }
            None
        }
        Answer::Final { status, .. } if status < 400 => Some(Ok(())),
        Answer::Final { .. } => Some(Err(Loss::Status)),
        Answer::TooLong => Some(Err(Loss::TooLong)),
        Answer::Interim(_) | Answer::NotHttp => Some(Err(Loss::NotHttp)),
    }
}

async fn run(client: &Rc<Client>, connections: usize, per_tick: usize) {
    let mut ticks = tokio::time::interval(TICK);
    let mut begun = 0;
    while begun < connections {
        ticks.tick().await;
        for _ in 0..per_tick.min(connections - begun) {
            drop(spawn_local(Rc::clone(client).keep()));
            begun += 1;
        }
    }
    std::future::pending().await
}

fn main() -> ExitCode {
    common::run("See the example head_client of slabloop.", |arguments| {
        let options = Options::parse(arguments)?;
        let address = common::look_up("--target", &options.target.server)?[0];
        let (path, host) = (&options.target.path, &options.target.host);
        let client = Rc::new(Client {
            address,
            request: format!(
                "HEAD {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: head_client\r\n\r\n"
            ),
            interval: options.interval.clone(),
            timeout: options.timeout,
            random: RefCell::new(Random::new()),
            tally: RefCell::new(Tally::new()),
        });
        let runtime = runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(Failure::io("cannot make a runtime"))?;
        let per_tick = usize::try_from(options.open_rate / 100).unwrap_or(1).max(1);
        let duration = options.duration.unwrap_or(Duration::from_secs(60));
        let all = run(&client, options.connections, per_tick);
        let limited = async { timeout(duration, all).await };
        // What is in flight then is unfinished, and the tasks go with their set.
        let _ = LocalSet::new().block_on(&runtime, limited);
        common::say(&client.tally.borrow().to_string());
        Ok(())
    })
}
