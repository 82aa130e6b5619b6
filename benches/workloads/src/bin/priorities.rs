//! One quick client among many slow connections, with and without a priority and a limit to the turn's time.
//!
//! ```text
//! cargo run --profile bench-peers -p slabloop-workloads --bin priorities [ROUNDS]
//! ```
//!
//! 200 connections always have input, and take 200 µs of CPU time a callback. One client asks an echo in the
//! same reactor over loopback's TCP, from another thread, and waits between two questions for a time that differs.
//! Printed are how long its answers take, and how many callbacks the slow ones get. A turn without a limit takes
//! 40 ms. It wants two processors that have nothing else to do; where they have, the settings take turns, each has
//! several rounds of a second, and the best one of its slow callbacks is shown.

use std::error::Error;
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use slabloop::{Accepted, Context, Dispatcher, Priority, Reactor};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const CONNECTIONS: usize = 200;
const WORK: Duration = Duration::from_micros(200);
const ROUND: Duration = Duration::from_secs(1);

/// More than a connection can read, a byte a callback.
static INPUT: [u8; 64 * 1024] = [b'x'; 64 * 1024];

fn main() -> Outcome<()> {
    let rounds = std::env::args()
        .nth(1)
        .map_or(Ok(10), |text| text.parse())?;
    let mut settings = Vec::new();
    for (priority, micros) in [
        (Priority::Normal, None),
        (Priority::High, None),
        (Priority::Normal, Some(200)),
        (Priority::High, Some(200)),
        (Priority::High, Some(1_000)),
        (Priority::High, Some(5_000)),
    ] {
        settings.push((priority, micros.map(Duration::from_micros), Vec::new(), 0.0));
    }
    for _ in 0..rounds {
        for (priority, turn_time, answers, best) in &mut settings {
            let (more, slow) = measure(*priority, *turn_time)?;
            answers.extend(more);
            *best = slow.max(*best);
        }
    }
    println!("quick one, turn_time     p50 ms   p99 ms  answers   slow callbacks a second");
    for (priority, turn_time, mut answers, best) in settings {
        answers.sort_unstable();
        let percentile = |percent: usize| {
            let place = answers.len().saturating_sub(1) * percent / 100;
            let took: Duration = answers.get(place).copied().unwrap_or_default();
            took.as_secs_f64() * 1e3
        };
        let setting = format!("{priority:?}, {turn_time:?}");
        let (p50, p99, count) = (percentile(50), percentile(99), answers.len());
        println!("{setting:<22} {p50:>8.3} {p99:>8.3} {count:>8} {best:>10.0}");
    }
    Ok(())
}

/// How long each answer took, and how many callbacks the slow ones got in a second.
fn measure(priority: Priority, turn_time: Option<Duration>) -> Outcome<(Vec<Duration>, f64)> {
    let mut reactor = Reactor::builder().turn_time(turn_time).build()?;
    let mut peers = Vec::new();
    for _ in 0..CONNECTIONS {
        let (ours, mut peer) = UnixStream::pair()?;
        peer.write_all(&INPUT)?;
        reactor.add(ours, Slow)?;
        peers.push(peer);
    }
    let server = reactor.listen("127.0.0.1:0", Server { priority })?;
    let address = reactor.local_addr(server)?;
    let done = Arc::new(AtomicBool::new(false));
    let client = {
        let done = Arc::clone(&done);
        thread::spawn(move || ask(address, &done))
    };
    reactor.call_later(ROUND, Reactor::stop);
    let started = Instant::now();
    reactor.run()?;
    // It has stopped when the turn was over.
    let took = started.elapsed();
    // The slow ones read a byte a callback, the quick one as much as it is sent.
    let counters = reactor.counters();
    done.store(true, Ordering::Release);
    drop(reactor);
    let answers = client.join().map_err(|_| "the client has panicked")??;
    let slow = (counters.bytes_in - counters.bytes_out) as f64;
    Ok((answers, slow / took.as_secs_f64()))
}

/// Asks until `done`; how long each answer took.
fn ask(address: SocketAddr, done: &AtomicBool) -> Outcome<Vec<Duration>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut answers = Vec::new();
    let mut random: u32 = 1;
    while !done.load(Ordering::Acquire) {
        // Up to 65 ms, more than a turn without a limit: so that it does not ask in step with the turns.
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        thread::sleep(Duration::from_micros(u64::from(random >> 16)));
        let asked = Instant::now();
        let answered = stream
            .write_all(b"?")
            .and_then(|()| stream.read_exact(&mut [0]));
        if answered.is_err() {
            break;
        }
        answers.push(asked.elapsed());
    }
    Ok(answers)
}

struct Server {
    priority: Priority,
}

impl Dispatcher for Server {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let id = cx.add(accepted, Echo)?;
        if let Some(mut echo) = cx.at(id) {
            echo.set_priority(self.priority);
        }
        Ok(())
    }
}

struct Echo;

impl Dispatcher for Echo {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut chunk = [0; 64];
        let n = cx.recv(&mut chunk)?;
        cx.send(&chunk[..n])
    }
}

struct Slow;

impl Dispatcher for Slow {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv(&mut [0])?;
        let started = Instant::now();
        while black_box(started.elapsed()) < WORK {}
        Ok(())
    }
}
