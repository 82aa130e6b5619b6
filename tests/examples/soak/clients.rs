//! The unruly clients, on bare mio: each sends bytes that follow from its number, and compares what comes back.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;

/// How a client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Sends, reads, and closes its sending side at the end.
    Talks,
    /// Sends everything and closes its sending side before it reads.
    FinishesEarly,
    /// Does not read for a while, and then does.
    Stalls,
    /// Sends and never reads, and resets.
    Floods,
    /// Resets in the middle.
    Resets,
    /// Leaves as soon as it has come.
    Vanishes,
    /// Says nothing for a while, and leaves.
    Idles,
}

const MANNERS: [Manner; 7] = [
    Manner::Talks,
    Manner::FinishesEarly,
    Manner::Stalls,
    Manner::Floods,
    Manner::Resets,
    Manner::Vanishes,
    Manner::Idles,
];

/// How often each of them comes.
const WEIGHTS: [usize; MANNERS.len()] = [4, 2, 3, 1, 2, 2, 6];

/// A client that has got nothing for this long waits for something that will not come.
const PATIENCE: Duration = Duration::from_secs(60);

struct Client {
    stream: TcpStream,
    number: u64,
    manner: Manner,
    /// Bytes to be sent, bytes sent, and bytes that came back.
    total: u64,
    sent: u64,
    received: u64,
    has_finished: bool,
    /// When a pause is over, and when something last happened.
    pause_ends: Instant,
    moved: Instant,
}

/// What becomes of a client.
enum Outcome {
    Goes,
    /// It has got what it should get, or has left as it meant to.
    Ended,
    Fault(String),
}

/// What all of them came to.
#[derive(Debug, Default)]
pub(crate) struct Report {
    ended: [u64; MANNERS.len()],
    echoed: u64,
    not_connected: u64,
    pub(crate) faults: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "clients:")?;
        for (manner, ended) in MANNERS.iter().zip(self.ended) {
            write!(f, " {manner:?} {ended},")?;
        }
        let mebibytes = self.echoed >> 20;
        write!(
            f,
            " and {} that had no descriptor; {mebibytes} MiB compared",
            self.not_connected
        )
    }
}

/// The byte at an offset of a client's stream: one in a wrong place shows whose it is.
fn byte(number: u64, offset: u64) -> u8 {
    let mixed = number.wrapping_mul(31) ^ offset.wrapping_mul(7) ^ (offset >> 8);
    mixed.to_le_bytes()[0]
}

fn any_manner(random: &mut fastrand::Rng) -> Manner {
    let mut drawn = random.usize(..WEIGHTS.iter().sum::<usize>());
    for (manner, weight) in MANNERS.into_iter().zip(WEIGHTS) {
        match drawn.checked_sub(weight) {
            Some(left) => drawn = left,
            None => return manner,
        }
    }
    unreachable!("less than the sum of all weights")
}

impl Client {
    fn new(stream: TcpStream, number: u64, random: &mut fastrand::Rng) -> Client {
        let manner = any_manner(random);
        let (total, pause) = match manner {
            Manner::Talks | Manner::Resets => (random.u64(1..256 << 10), 0),
            Manner::FinishesEarly => (random.u64(0..64 << 10), 0),
            Manner::Stalls => (random.u64(1..1 << 20), random.u64(100..5000)),
            Manner::Floods => (8 << 20, random.u64(100..3000)),
            Manner::Vanishes => (0, 0),
            Manner::Idles => (0, random.u64(100..20_000)),
        };
        let now = Instant::now();
        Client {
            stream,
            number,
            manner,
            total,
            sent: 0,
            received: 0,
            has_finished: false,
            pause_ends: now + Duration::from_millis(pause),
            moved: now,
        }
    }

    /// Does whatever can be done.
    fn drive(&mut self, buffer: &mut [u8], now: Instant) -> Outcome {
        match self.step(buffer, now) {
            Ok(outcome) => outcome,
            // Connecting, or interrupted: there will be another event, or the next look at all of them.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotConnected | ErrorKind::Interrupted
                ) =>
            {
                Outcome::Goes
            }
            Err(error) => self.fault(&error.to_string()),
        }
    }

    fn fault(&self, what: &str) -> Outcome {
        let Client {
            number,
            manner,
            total,
            sent,
            received,
            ..
        } = self;
        Outcome::Fault(format!(
            "client {number} ({manner:?}, {total} bytes): {what}, with {sent} sent and {received} received"
        ))
    }

    fn step(&mut self, buffer: &mut [u8], now: Instant) -> io::Result<Outcome> {
        let pauses = now < self.pause_ends;
        match self.manner {
            Manner::Vanishes => return Ok(Outcome::Ended),
            Manner::Idles if !pauses => return Ok(Outcome::Ended),
            Manner::Floods if !pauses => return self.reset(),
            Manner::Resets if self.received > self.total / 2 => return self.reset(),
            _ => {}
        }
        self.send(buffer, now)?;
        let reads = match self.manner {
            Manner::Floods => false,
            Manner::Stalls => !pauses,
            Manner::FinishesEarly => self.has_finished,
            _ => true,
        };
        if reads {
            return self.receive(buffer, now);
        }
        Ok(Outcome::Goes)
    }

    fn send(&mut self, buffer: &mut [u8], now: Instant) -> io::Result<()> {
        while self.sent < self.total {
            let left = usize::try_from(self.total - self.sent).unwrap_or(usize::MAX);
            let size = left.min(buffer.len());
            for (place, slot) in (self.sent..).zip(&mut buffer[..size]) {
                *slot = byte(self.number, place);
            }
            match (&self.stream).write(&buffer[..size]) {
                Ok(taken) => (self.sent, self.moved) = (self.sent + taken as u64, now),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        if !self.has_finished && !matches!(self.manner, Manner::Idles | Manner::Floods) {
            self.stream.shutdown(Shutdown::Write)?;
            self.has_finished = true;
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8], now: Instant) -> io::Result<Outcome> {
        loop {
            match (&self.stream).read(buffer) {
                Ok(0) if self.has_finished && self.received == self.total => {
                    return Ok(Outcome::Ended);
                }
                Ok(0) => return Ok(self.fault("the end of the stream")),
                Ok(count) => {
                    for (place, byte_there) in (self.received..).zip(&buffer[..count]) {
                        if *byte_there != byte(self.number, place) {
                            return Ok(self.fault(&format!("a wrong byte at {place}")));
                        }
                    }
                    (self.received, self.moved) = (self.received + count as u64, now);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Outcome::Goes),
                Err(error) => return Err(error),
            }
        }
    }

    fn reset(&self) -> io::Result<Outcome> {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))?;
        Ok(Outcome::Ended)
    }
}

/// Keeps `count` of them going until `ended`; those that are on their way then may finish.
pub(crate) fn run(
    address: SocketAddr,
    count: usize,
    seed: u64,
    ended: &AtomicBool,
) -> io::Result<Report> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut clients: Vec<Option<Client>> = (0..count).map(|_| None).collect();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut buffer = vec![0; 16 << 10];
    let mut report = Report::default();
    let mut number = 0;
    loop {
        let wait = Duration::from_millis(20);
        match poll.poll(&mut events, Some(wait)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let is_ending = ended.load(Ordering::Relaxed);
        let now = Instant::now();
        for event in &events {
            look(&mut clients[event.token().0], &mut buffer, now, &mut report);
        }
        // Pauses end without an event, and free places are taken, some in each round.
        let mut newcomers = 250;
        for (index, place) in clients.iter_mut().enumerate() {
            look(place, &mut buffer, now, &mut report);
            if place.is_none() && !is_ending && newcomers > 0 {
                newcomers -= 1;
                number += 1;
                let Ok(mut stream) = TcpStream::connect(address) else {
                    report.not_connected += 1;
                    continue;
                };
                let interest = Interest::READABLE | Interest::WRITABLE;
                poll.registry()
                    .register(&mut stream, Token(index), interest)?;
                *place = Some(Client::new(stream, number, &mut random));
            }
        }
        if report.faults.len() >= 10 || (is_ending && clients.iter().all(Option::is_none)) {
            return Ok(report);
        }
    }
}

fn look(place: &mut Option<Client>, buffer: &mut [u8], now: Instant, report: &mut Report) {
    let Some(client) = place else { return };
    let outcome = match client.drive(buffer, now) {
        Outcome::Goes if now - client.moved > PATIENCE => client.fault("nothing for a minute"),
        outcome => outcome,
    };
    match outcome {
        Outcome::Goes => return,
        Outcome::Ended => {
            report.echoed += client.received;
            report.ended[client.manner as usize] += 1;
        }
        Outcome::Fault(fault) => report.faults.push(fault),
    }
    *place = None;
}
