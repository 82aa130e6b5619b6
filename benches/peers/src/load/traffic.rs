//! The connections and the messages on them.
//!
//! A connection carries one message at a time: send it whole, get it back whole, be idle. What is
//! sent is a window into one block of noise, at an offset that changes with every message, so that
//! a byte out of place or left over from the message before is noticed by a plain comparison.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::options::{Options, Pace};
use crate::cli::{Doing, Error, Result};
use crate::sys::{self, Epoll, Interest};

/// Offsets into the noise: a prime, so that it does not fall in step with powers of two.
pub(super) const OFFSETS: u64 = 251;

/// What one read takes at most.
const SCRATCH_BYTES: usize = 256 * 1024;

/// Nothing has come back for so long: the server hangs, and saying so beats waiting on.
const PATIENCE: Duration = Duration::from_secs(60);

/// Latencies up to ten minutes, to three digits.
const LATENCY_MAX_NS: u64 = 600_000_000_000;

struct Connection {
    stream: TcpStream,
    /// Where in the noise the message on its way starts.
    offset: usize,
    sent: usize,
    received: usize,
    /// When the message went out or was due; `None` while idle.
    since: Option<Instant>,
}

/// All connections, and the latencies since they were last forgotten.
pub struct Traffic {
    connections: Vec<Connection>,
    /// Idle connections, the one that has been idle longest in front.
    idle: VecDeque<usize>,
    epoll: Epoll,
    noise: Vec<u8>,
    size: usize,
    /// Numbers all messages ever sent.
    started: u64,
    latency_ns: Histogram<u64>,
    scratch: Vec<u8>,
}

impl std::fmt::Debug for Traffic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Traffic")
            .field("connections", &self.connections.len())
            .field("idle", &self.idle.len())
            .field("started", &self.started)
            .finish_non_exhaustive()
    }
}

impl Traffic {
    /// Makes all connections, one after the other.
    ///
    /// One at a time never fills the server's backlog; how a server takes them all at once is
    /// another experiment, [`arrivals`](super::arrivals).
    ///
    /// # Errors
    ///
    /// The first connection that fails, with its number.
    pub fn connect(options: &Options) -> Result<Self> {
        let epoll = Epoll::new(1_024)?;
        let mut connections = Vec::with_capacity(options.connections);
        for number in 0..options.connections {
            let stream = match sys::loopback_source(number, options.connect) {
                Some((source, target)) => sys::connect_from(source, target),
                None => TcpStream::connect(options.connect),
            };
            let what = format!(
                "connection {number} of {} to {}",
                options.connections, options.connect
            );
            let stream = stream.doing(what)?;
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            epoll.add(&stream, Interest::Stream, number)?;
            connections.push(Connection {
                stream,
                offset: 0,
                sent: 0,
                received: 0,
                since: None,
            });
        }
        let latency_ns =
            Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3).doing("latency histogram")?;
        Ok(Traffic {
            idle: (0..connections.len()).collect(),
            connections,
            epoll,
            noise: noise(options.size + OFFSETS as usize),
            size: options.size,
            started: 0,
            latency_ns,
            scratch: vec![0; SCRATCH_BYTES],
        })
    }

    /// Sends `messages` and waits for all of them; `progress` is told how many are home, of how
    /// many.
    ///
    /// # Errors
    ///
    /// A connection that ends, bytes that differ, and a server that falls silent.
    pub fn run(
        &mut self,
        messages: u64,
        pace: Pace,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<()> {
        let start = Instant::now();
        let (mut sent, mut home) = (0, 0);
        let mut last_news = start;
        let mut batch = Vec::new();
        while home < messages {
            while sent < messages && !self.idle.is_empty() {
                let now = Instant::now();
                let due = match pace {
                    Pace::Closed { in_flight } if (sent - home) as usize >= in_flight => break,
                    Pace::Closed { .. } => now,
                    Pace::Open { rate } => start + due_after(sent, rate.get()),
                };
                if due > now {
                    break;
                }
                self.start_message(due)?;
                sent += 1;
            }
            // By the clock one waits without sleeping: the client has a processor to itself, and a
            // sleep of epoll's grain of a millisecond would be most of what is measured.
            let timeout = match pace {
                Pace::Closed { .. } => Duration::from_secs(1),
                Pace::Open { .. } if sent == messages => Duration::from_secs(1),
                Pace::Open { .. } => Duration::ZERO,
            };
            batch.clear();
            batch.extend_from_slice(self.epoll.wait(Some(timeout))?);
            let before = home;
            for event in &batch {
                home += self.advance(event.key())?;
            }
            if home > before {
                last_news = Instant::now();
                progress(home, messages);
            } else if sent > home && last_news.elapsed() > PATIENCE {
                let missing = sent - home;
                return Err(Error::Failed(format!(
                    "{missing} messages have not come back for a minute"
                )));
            } else if sent == home {
                last_news = Instant::now();
            }
        }
        Ok(())
    }

    /// Starts the record of latencies anew.
    pub fn forget_latencies(&mut self) {
        self.latency_ns.reset();
    }

    /// The latencies, in nanoseconds.
    #[must_use]
    pub fn latency_ns(&self) -> &Histogram<u64> {
        &self.latency_ns
    }

    fn start_message(&mut self, since: Instant) -> Result<()> {
        let Some(number) = self.idle.pop_front() else {
            return Ok(());
        };
        let connection = &mut self.connections[number];
        connection.offset = (self.started % OFFSETS) as usize;
        connection.sent = 0;
        connection.received = 0;
        connection.since = Some(since);
        self.started += 1;
        self.send(number)
    }

    /// Does what an event made possible; returns how many messages came home by it, none or one.
    fn advance(&mut self, number: usize) -> Result<u64> {
        if self.connections[number].since.is_some() {
            self.send(number)?;
        }
        self.receive(number)
    }

    fn send(&mut self, number: usize) -> Result<()> {
        let connection = &mut self.connections[number];
        while connection.sent < self.size {
            let rest =
                &self.noise[connection.offset + connection.sent..connection.offset + self.size];
            match connection.stream.write(rest) {
                Ok(written) => connection.sent += written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                outcome => drop(outcome.doing(format!("sending on connection {number}"))?),
            }
        }
        Ok(())
    }

    fn receive(&mut self, number: usize) -> Result<u64> {
        let connection = &mut self.connections[number];
        loop {
            match connection.stream.read(&mut self.scratch) {
                Ok(0) => {
                    return Err(Error::Failed(format!(
                        "connection {number} was closed by the server"
                    )));
                }
                Ok(n) => {
                    let at = connection.offset + connection.received;
                    connection.received += n;
                    if connection.received > self.size
                        || self.scratch[..n] != self.noise[at..at + n]
                    {
                        return Err(Error::Failed(format!(
                            "connection {number}: what came back is not what was sent"
                        )));
                    }
                    if connection.received == self.size {
                        // A message is home when its last byte is; a byte too many shows at the
                        // next read.
                        return Ok(self.finish(number));
                    }
                    // Short: there is no more, and the next edge will tell.
                    if n < self.scratch.len() {
                        return Ok(0);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
                outcome => drop(outcome.doing(format!("receiving on connection {number}"))?),
            }
        }
    }

    fn finish(&mut self, number: usize) -> u64 {
        let Some(since) = self.connections[number].since.take() else {
            return 0;
        };
        let nanos = u64::try_from(since.elapsed().as_nanos()).unwrap_or(LATENCY_MAX_NS);
        self.latency_ns.saturating_record(nanos.max(1));
        self.idle.push_back(number);
        1
    }
}

/// When message number `count` is due.
fn due_after(count: u64, rate: u64) -> Duration {
    Duration::from_secs(count / rate) + Duration::from_nanos(count % rate * 1_000_000_000 / rate)
}

/// Bytes without a pattern, the same on every run (xorshift).
pub(super) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}
