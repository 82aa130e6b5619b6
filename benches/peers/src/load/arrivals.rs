//! Ten thousand clients that arrive at once: how fast they are served, and whether all of them are.
//!
//! All sockets are made and bound before the clock starts. Then each is connected and its message
//! sent as soon as the kernel takes it, which over loopback is at once; in between, answers are
//! taken in, so that nothing but the client's own pace keeps the server waiting.
//!
//! *What a full backlog looks like.* A listener whose queue is full does not refuse: the kernel
//! drops the newcomer's first segment, and the newcomer sends it again after a second, then after
//! two more. Nothing is lost and everything works, only some clients wait very long. So the kernel
//! is asked about each connection at the end, whether it had to send anything twice.

use std::io::{ErrorKind, Read, Write};
use std::mem;
use std::net::{SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use super::observe::Process;
use super::options::Options;
use super::traffic::{OFFSETS, noise};
use crate::cli::{Doing, Error, Result};
use crate::sys::{self, Epoll, Event, Interest};

/// Connections begun between two looks for answers: fewer looks would let answers wait, more would
/// slow the arrivals down.
const AT_ONCE: usize = 64;

/// No news for so long: who is not answered by then is lost. Longer than the pause after the third
/// time that the kernel turned somebody away.
const PATIENCE: Duration = Duration::from_secs(10);

/// What became of them.
#[derive(Debug)]
pub struct Outcome {
    /// From the first connect to the last answer.
    pub elapsed: Duration,
    /// The longest that any waited for its answer.
    pub slowest: Duration,
    /// Answered, but had to send something twice, as one does that a full backlog turned away.
    pub delayed: usize,
    /// Refused, reset, closed, or not answered at all.
    pub lost: usize,
}

struct Client {
    stream: TcpStream,
    sent: usize,
    received: usize,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    ToCome,
    Waiting { since: Instant },
    Answered,
    Lost,
}

/// Everybody who is to arrive.
pub struct Arrivals {
    clients: Vec<Client>,
    target: SocketAddrV4,
    epoll: Epoll,
    /// Kept for its memory.
    batch: Vec<Event>,
    /// Every client's message is a window into it, so that an answer which belongs to another shows.
    noise: Vec<u8>,
    size: usize,
    /// One byte longer than a message, so that a byte too many shows as well.
    scratch: Vec<u8>,
    waiting: usize,
    slowest: Duration,
}

impl std::fmt::Debug for Arrivals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arrivals")
            .field("clients", &self.clients.len())
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}

impl Arrivals {
    /// Makes the sockets, which are not connected yet.
    ///
    /// # Errors
    ///
    /// A server that is not on IPv4 loopback, or want of descriptors.
    pub fn prepare(options: &Options) -> Result<Self> {
        let Some((_, target)) = sys::loopback_source(0, options.connect) else {
            return Err(Error::Usage(format!(
                "--connect: '{}' is not on IPv4 loopback, as --arrive wants it",
                options.connect
            )));
        };
        let epoll = Epoll::new(1_024)?;
        let mut clients = Vec::with_capacity(options.connections);
        for number in 0..options.connections {
            let source = sys::loopback_source(number, options.connect).map(|(source, _)| source);
            let what = format!("socket {number} of {}", options.connections);
            let stream = sys::prepare(source.unwrap_or(*target.ip())).doing(what)?;
            epoll.add(&stream, Interest::Stream, number)?;
            clients.push(Client {
                stream,
                sent: 0,
                received: 0,
                state: State::ToCome,
            });
        }
        Ok(Arrivals {
            clients,
            target,
            epoll,
            batch: Vec::new(),
            noise: noise(options.size + OFFSETS as usize),
            size: options.size,
            scratch: vec![0; options.size + 1],
            waiting: 0,
            slowest: Duration::ZERO,
        })
    }

    /// Lets all of them arrive at a server that runs, and waits until each has its answer.
    ///
    /// # Errors
    ///
    /// An answer that is not what was sent. Who gets none is in the outcome.
    pub fn run(&mut self) -> Result<Outcome> {
        let start = Instant::now();
        for number in 0..self.clients.len() {
            self.arrive(number);
            if (number + 1) % AT_ONCE == 0 {
                self.take_answers(Duration::ZERO)?;
            }
        }
        self.await_answers(start)
    }

    /// Lets all of them arrive at a server that is stopped; the clock starts when it goes on. Then
    /// the queue is full from the start, and the client has little to do: it is the server's own
    /// pace that shows.
    ///
    /// # Errors
    ///
    /// As [`Arrivals::run`], and a process that can't be stopped.
    pub fn run_from_queue(&mut self, server: &Process) -> Result<Outcome> {
        let suspended = server.suspend()?;
        for number in 0..self.clients.len() {
            self.arrive(number);
        }
        let start = Instant::now();
        drop(suspended);
        self.await_answers(start)
    }

    fn await_answers(&mut self, start: Instant) -> Result<Outcome> {
        let mut last_news = Instant::now();
        while self.waiting > 0 && last_news.elapsed() < PATIENCE {
            let before = self.waiting;
            self.take_answers(Duration::from_secs(1))?;
            if self.waiting < before {
                last_news = Instant::now();
            }
        }
        let elapsed = last_news.duration_since(start);

        let (mut delayed, mut lost) = (0, 0);
        for client in &self.clients {
            if !matches!(client.state, State::Answered) {
                lost += 1;
            } else if sys::retransmitted(&client.stream)? > 0 {
                delayed += 1;
            }
        }
        Ok(Outcome {
            elapsed,
            slowest: self.slowest,
            delayed,
            lost,
        })
    }

    fn arrive(&mut self, number: usize) {
        let client = &mut self.clients[number];
        client.state = State::Waiting {
            since: Instant::now(),
        };
        self.waiting += 1;
        match sys::connect_at_once(&client.stream, self.target) {
            Ok(()) => self.send(number),
            Err(_) => self.lose(number),
        }
    }

    fn take_answers(&mut self, timeout: Duration) -> Result<()> {
        let mut batch = mem::take(&mut self.batch);
        batch.clear();
        batch.extend_from_slice(self.epoll.wait(Some(timeout))?);
        for event in &batch {
            // Who has yet to connect is reported as hung up.
            if matches!(self.clients[event.key()].state, State::Waiting { .. }) {
                self.send(event.key());
                self.receive(event.key())?;
            }
        }
        self.batch = batch;
        Ok(())
    }

    fn send(&mut self, number: usize) {
        let message = message(&self.noise, number, self.size);
        let client = &mut self.clients[number];
        while client.sent < message.len() {
            match client.stream.write(&message[client.sent..]) {
                Ok(count) => client.sent += count,
                // Not connected yet, or no room: the next edge tells.
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.lose(number),
            }
        }
    }

    fn receive(&mut self, number: usize) -> Result<()> {
        let message = message(&self.noise, number, self.size);
        let client = &mut self.clients[number];
        let State::Waiting { since } = client.state else {
            return Ok(());
        };
        // One read: there is room for more than is to come, so what it leaves behind is a new edge.
        match client.stream.read(&mut self.scratch) {
            Ok(0) => self.lose(number),
            Ok(count) => {
                let rest = &message[client.received..];
                if !rest.starts_with(&self.scratch[..count]) {
                    return Err(Error::Failed(format!(
                        "connection {number}: what came back is not what was sent"
                    )));
                }
                client.received += count;
                if count == rest.len() {
                    client.state = State::Answered;
                    self.waiting -= 1;
                    self.slowest = self.slowest.max(since.elapsed());
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.lose(number),
        }
        Ok(())
    }

    fn lose(&mut self, number: usize) {
        self.clients[number].state = State::Lost;
        self.waiting -= 1;
    }
}

fn message(noise: &[u8], number: usize, size: usize) -> &[u8] {
    let offset = number % OFFSETS as usize;
    &noise[offset..offset + size]
}
