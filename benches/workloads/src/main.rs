//! Fixed amounts of work, to be run under a tool that counts: `workloads NAME LENGTH`.
//!
//! Everything happens on one thread and in one process, far ends included, and in the same order each
//! time. So a second run takes the same number of instructions, give or take a few that hang on the
//! clock, and the difference between two lengths is that much work and nothing else. Streams are Unix
//! socket pairs: what one end writes the other end can read when the call returns, which on TCP is for
//! the kernel to choose.
//!
//! `tests/instructions.rs` runs these under callgrind and says what a unit of each is; the counts of
//! the far ends' own calls are in its figures. `workloads serve CONNECTIONS` is the exception: an echo
//! server on TCP for counting system calls, which ends when that many connections have come and gone.

use std::error::Error;
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use slabloop::framing::{Framed, Framing, Handler, Terminator};
use slabloop::{Accepted, AnyId, Context, Dispatcher, Id, Reactor, TimerId};

type Outcome = Result<(), Box<dyn Error>>;

const MESSAGE: [u8; 64] = [b'm'; 64];

/// Tokens in the rings; libevent's benchmark has as many active connections.
const TOKENS: usize = 100;

fn main() -> Outcome {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().ok_or("which workload?")?;
    let length = arguments.next().ok_or("how long?")?.parse()?;
    match name.as_str() {
        "ring-200" => ring(200, length),
        "ring-1000" => ring(1_000, length),
        "ring-4000" => ring(4_000, length),
        "ring-send" => ring_by_send(1_000, length),
        "echo" => echo(length),
        "lines" => lines(length),
        "pipelined-sends" => pipelined_sends(length),
        "broadcast" => broadcast(length),
        "echo-both-ends" => echo_both_ends(length),
        "broadcast-both-ends" => broadcast_both_ends(length),
        "timer-cancelled" => timers_cancelled(length),
        "timer-fired" => timers_fired(length),
        "post" => posts(length),
        "serve" => serve(length),
        _ => Err(format!("no workload is called {name}").into()),
    }
}

/// The reactor of a workload. With the feature `observer` the third argument says who observes it: `by-nothing`, whose
/// methods are all empty, or `by-a-ring`.
#[cfg(not(feature = "observer"))]
fn reactor() -> io::Result<Reactor> {
    Reactor::new()
}

#[cfg(feature = "observer")]
fn reactor() -> io::Result<Reactor> {
    use slabloop::observe::{Observer, Ring};

    struct Nothing;
    impl Observer for Nothing {}

    let mut reactor = Reactor::new()?;
    match std::env::args().nth(3).as_deref() {
        Some("by-nothing") => reactor.observe(Nothing),
        Some("by-a-ring") => reactor.observe(Ring::new(10_000)),
        _ => {}
    }
    Ok(reactor)
}

/// Turns until `done` says so. Whatever these workloads wait for is there already.
fn turn_until(reactor: &mut Reactor, mut done: impl FnMut(&mut Reactor) -> bool) -> Outcome {
    for _ in 0..1_000 {
        if done(reactor) {
            return Ok(());
        }
        reactor.turn(Duration::ZERO)?;
    }
    Err("a thousand turns were not enough".into())
}

/// Socket pairs in a ring, and tokens of one byte that run round it; see the peers' `ring.rs`.
fn ring(pairs: usize, events: usize) -> Outcome {
    let mut reactor = reactor()?;
    let mut readers = Vec::new();
    let mut writers = Vec::new();
    for _ in 0..pairs {
        let (reader, writer) = UnixStream::pair()?;
        writer.set_nonblocking(true)?;
        readers.push(reader);
        writers.push(writer);
    }
    for token in 0..TOKENS {
        writers[token * pairs / TOKENS].write_all(b"t")?;
    }
    writers.rotate_left(1);
    let wanted = events as u64;
    for (reader, successor) in readers.into_iter().zip(writers) {
        reactor.add(reader, Pair { successor })?;
    }
    while reactor.counters().bytes_in < wanted {
        reactor.turn(None)?;
    }
    Ok(())
}

struct Pair {
    successor: UnixStream,
}

impl Dispatcher for Pair {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        // Room for more than the token: a short read says that there is nothing more.
        let mut token = [0; 64];
        let n = cx.recv(&mut token)?;
        let _ = self.successor.write(&token[..n])?;
        Ok(())
    }
}

/// As [`ring`], but the byte is sent on by the reactor: the writing ends are dispatchers as well.
fn ring_by_send(pairs: usize, events: usize) -> Outcome {
    let mut reactor = reactor()?;
    let mut readers = Vec::new();
    let mut writers = Vec::new();
    for _ in 0..pairs {
        let (reader, writer) = UnixStream::pair()?;
        readers.push(reader);
        writers.push(writer);
    }
    for token in 0..TOKENS {
        writers[token * pairs / TOKENS].write_all(b"t")?;
    }
    writers.rotate_left(1);
    let wanted = events as u64;
    for (reader, successor) in readers.into_iter().zip(writers) {
        let successor = reactor.add(successor, Writer)?;
        reactor.add(reader, Reader { successor })?;
    }
    while reactor.counters().bytes_in < wanted {
        reactor.turn(None)?;
    }
    Ok(())
}

struct Writer;

impl Dispatcher for Writer {}

struct Reader {
    successor: Id<Writer>,
}

impl Dispatcher for Reader {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut token = [0; 64];
        let n = cx.recv(&mut token)?;
        cx.at(self.successor)
            .map_or(Ok(()), |mut successor| successor.send(&token[..n]))
    }
}

/// A hundred connections; each gets a message and answers it in the same turn.
fn echo(messages: usize) -> Outcome {
    const CONNECTIONS: usize = 100;
    let mut reactor = reactor()?;
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let (server, client) = UnixStream::pair()?;
        let id = reactor.add(server, Echo)?;
        // So that the cost of noting that something moved is in the count, and the timer is armed.
        reactor
            .at(id)
            .ok_or("it was just added")?
            .set_idle_timeout(Duration::from_secs(3600));
        clients.push(client);
    }
    let mut answer = [0; MESSAGE.len()];
    for _ in 0..messages / CONNECTIONS {
        for client in &mut clients {
            client.write_all(&MESSAGE)?;
        }
        reactor.turn(Duration::ZERO)?;
        for client in &mut clients {
            client.read_exact(&mut answer)?;
        }
    }
    Ok(())
}

struct Echo;

impl Dispatcher for Echo {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        // Not 4 KiB, as programs have it: the C library clears so much by `rep stosb`, which callgrind
        // takes for one instruction a byte.
        let mut chunk = [0; 1024];
        let n = cx.recv(&mut chunk)?;
        cx.send(&chunk[..n])
    }
}

/// Lines of 64 bytes, as many in a segment as fit into 4 KiB, taken apart by the framing layer.
fn lines(count: usize) -> Outcome {
    let mut line = MESSAGE;
    line[MESSAGE.len() - 1] = b'\n';
    let segment = line.repeat(64);
    let mut reactor = reactor()?;
    let (server, mut client) = UnixStream::pair()?;
    let id = reactor.add(server, Framed::new(Terminator::Line, Lines { found: 0 })?)?;
    let mut sent = 0;
    while sent < count {
        client.write_all(&segment)?;
        sent += 64;
        turn_until(&mut reactor, |reactor| {
            reactor.with(id, |lines, _| lines.handler().found) == Some(sent)
        })?;
    }
    Ok(())
}

struct Lines {
    found: usize,
}

impl Handler for Lines {
    fn found_terminator(
        &mut self,
        _: &mut Context<'_>,
        _: &mut Framing,
        _: &[u8],
    ) -> io::Result<()> {
        self.found += 1;
        Ok(())
    }
}

/// Sixteen sends of one turn, which leave in one write.
fn pipelined_sends(count: usize) -> Outcome {
    const SENDS: usize = 16;
    let mut reactor = reactor()?;
    let (server, mut client) = UnixStream::pair()?;
    let id = reactor.add(server, Echo)?;
    let mut taken = [0; SENDS * MESSAGE.len()];
    for _ in 0..count / SENDS {
        let mut at = reactor.at(id).ok_or("the connection is gone")?;
        for _ in 0..SENDS {
            at.send(&MESSAGE)?;
        }
        reactor.turn(Duration::ZERO)?;
        client.read_exact(&mut taken)?;
    }
    Ok(())
}

/// A line of one member to a hundred; a unit is one receiver of one line.
fn broadcast(deliveries: usize) -> Outcome {
    const MEMBERS: usize = 100;
    let mut reactor = reactor()?;
    let mut members: Vec<AnyId> = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..MEMBERS {
        let (server, client) = UnixStream::pair()?;
        members.push(reactor.add(server, Echo)?.into());
        clients.push(client);
    }
    let mut heard = [0; MESSAGE.len()];
    for _ in 0..deliveries / MEMBERS {
        let mut first = reactor.at(members[0]).ok_or("a member is gone")?;
        first.broadcast(members.iter().copied(), &MESSAGE);
        reactor.turn(Duration::ZERO)?;
        for client in &mut clients {
            client.read_exact(&mut heard)?;
        }
    }
    Ok(())
}

/// As [`echo`], but the far ends are dispatchers too, and answer as well: nothing but the reactor is counted.
fn echo_both_ends(messages: usize) -> Outcome {
    const PAIRS: usize = 100;
    let mut reactor = reactor()?;
    for _ in 0..PAIRS {
        let (one, other) = UnixStream::pair()?;
        let one = reactor.add(one, Echo)?;
        reactor.add(other, Echo)?;
        let mut one = reactor.at(one).ok_or("it was just added")?;
        one.send(&MESSAGE)?;
    }
    let wanted = (messages * MESSAGE.len()) as u64;
    while reactor.counters().bytes_in < wanted {
        reactor.turn(Duration::ZERO)?;
    }
    Ok(())
}

/// As [`broadcast`], but the far ends are dispatchers too, which read what they hear.
fn broadcast_both_ends(deliveries: usize) -> Outcome {
    const MEMBERS: usize = 100;
    let mut reactor = reactor()?;
    let mut members: Vec<AnyId> = Vec::new();
    for _ in 0..MEMBERS {
        let (server, client) = UnixStream::pair()?;
        members.push(reactor.add(server, Echo)?.into());
        reactor.add(client, Hearer)?;
    }
    for _ in 0..deliveries / MEMBERS {
        let mut first = reactor.at(members[0]).ok_or("a member is gone")?;
        first.broadcast(members.iter().copied(), black_box(&MESSAGE));
        reactor.turn(Duration::ZERO)?;
    }
    Ok(())
}

struct Hearer;

impl Dispatcher for Hearer {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut heard = [0; 1024];
        black_box(cx.recv(&mut heard)?);
        Ok(())
    }
}

/// A reactor with ten thousand timers that are far off, and a dispatcher to set more on.
fn with_timers() -> Result<(Reactor, Id<Timed>), Box<dyn Error>> {
    let mut reactor = reactor()?;
    for hour in 1..=10_000 {
        reactor.call_later(Duration::from_secs(hour * 3600), |_| {});
    }
    // Its far end is gone and nothing is ever read: the socket is only there to hold the timers.
    let (server, _) = UnixStream::pair()?;
    let id = reactor.add(server, Timed { fired: 0 })?;
    let mut timed = reactor.at(id).ok_or("it was just added")?;
    timed.pause_reading();
    Ok((reactor, id))
}

struct Timed {
    fired: usize,
}

impl Dispatcher for Timed {
    fn handle_timer(&mut self, _: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        self.fired += 1;
        Ok(())
    }
}

/// Runs `body` on the dispatcher with the timers, in a turn as its own callbacks would.
fn in_a_turn(
    reactor: &mut Reactor,
    id: Id<Timed>,
    body: impl FnOnce(&mut Context<'_>) + 'static,
) -> Outcome {
    reactor.call_later(Duration::ZERO, move |reactor| {
        if let Some(mut timed) = reactor.at(id) {
            body(&mut timed);
        }
    });
    Ok(reactor.turn(Duration::ZERO)?)
}

/// Timers that are set and cancelled, a thousand at a time, as time-outs mostly are.
fn timers_cancelled(count: usize) -> Outcome {
    let (mut reactor, id) = with_timers()?;
    for _ in 0..count / 1_000 {
        in_a_turn(&mut reactor, id, |timed| {
            let seconds = (1..=1_000).map(Duration::from_secs);
            let set: Vec<_> = seconds.map(|after| timed.set_timer(after)).collect();
            for timer in set {
                timed.cancel_timer(timer);
            }
        })?;
    }
    Ok(())
}

/// Timers that are set and fire in the next turn, a thousand at a time.
fn timers_fired(count: usize) -> Outcome {
    let (mut reactor, id) = with_timers()?;
    let mut set = 0;
    while set < count {
        in_a_turn(&mut reactor, id, |timed| {
            for _ in 0..1_000 {
                timed.set_timer(Duration::ZERO);
            }
        })?;
        set += 1_000;
        turn_until(&mut reactor, |reactor| {
            reactor.with(id, |timed, _| timed.fired) == Some(set)
        })?;
    }
    Ok(())
}

/// Closures that are posted, a thousand at a time. From the same thread, so that no lock is waited for.
fn posts(count: usize) -> Outcome {
    // Counted, the program runs fifty times slower than on the clock, by which a turn's posts are cut short.
    let mut reactor = Reactor::builder()
        .posts_time(Duration::from_secs(3600))
        .build()?;
    let handle = reactor.handle();
    for _ in 0..count / 1_000 {
        for number in 0..1_000 {
            // With a capture: without one the box would not be allocated.
            handle
                .post(move |reactor| {
                    black_box((number, reactor.count()));
                })
                .map_err(|refused| refused.to_string())?;
        }
        reactor.turn(Duration::ZERO)?;
    }
    Ok(())
}

/// The echo server, until `connections` have come and gone.
fn serve(connections: usize) -> Outcome {
    let mut reactor = reactor()?;
    let server = reactor.listen("127.0.0.1:0", Server { left: connections })?;
    println!("{}", reactor.local_addr(server)?);
    // Should whoever started this be gone.
    reactor.call_later(Duration::from_secs(60), Reactor::stop);
    reactor.run()?;
    Ok(())
}

struct Server {
    left: usize,
}

impl Dispatcher for Server {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let server = cx.id();
        cx.add(accepted, Served { server })?;
        Ok(())
    }
}

struct Served {
    server: Id<Server>,
}

impl Dispatcher for Served {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        Echo.handle_read(cx)
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        cx.with(self.server, |server, cx| {
            server.left -= 1;
            if server.left == 0 {
                cx.stop();
            }
        });
    }
}
