//! The client of many connections on raw epoll: the floor for the others.
//!
//! Command line, parser of answers and counts are those of slabloop's example. A connection is a place in a list, and has
//! one time at which it is to do something: begin, ask, or give up. There is no backoff: the floor is for servers that
//! answer.

#[allow(dead_code, reason = "the parts that are slabloop's")]
#[path = "../../../../examples/head_client/main.rs"]
mod head_client;

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use head_client::answer::{self, Answer};
use head_client::common::{self, Failure};
use head_client::options::Options;
use head_client::random::Random;
use head_client::tally::{Fault, Loss, Tally};
use slabloop_peers::sys::{self, Epoll, Event, Interest};

const TICK: Duration = Duration::from_millis(10);
const DELAY: Duration = Duration::from_secs(1);
const READ_BYTES: usize = 4096;

struct Connection {
    stream: Option<TcpStream>,
    is_open: bool,
    /// When the request was sent that is in flight.
    asked: Option<Instant>,
    due: Instant,
    /// What has come of an answer that is not complete.
    partial: Vec<u8>,
}

struct Client {
    options: Options,
    address: SocketAddr,
    request: Vec<u8>,
    epoll: Epoll,
    connections: Vec<Connection>,
    /// The time of each connection, and its place.
    due: BTreeSet<(Instant, usize)>,
    random: Random,
    tally: Tally,
}

impl Client {
    fn new(options: Options) -> Result<Client, Failure> {
        let address = common::look_up("--target", &options.target.server)?[0];
        let (path, host) = (&options.target.path, &options.target.host);
        let request =
            format!("HEAD {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: head_client\r\n\r\n");
        let start = Instant::now();
        let per_tick = (options.open_rate / 100).max(1) as usize;
        let begins = (0..options.connections).map(|place| {
            let tick = u32::try_from(place / per_tick).unwrap_or(u32::MAX);
            start + TICK * tick
        });
        let connections: Vec<_> = begins
            .map(|due| Connection {
                stream: None,
                is_open: false,
                asked: None,
                due,
                partial: Vec::new(),
            })
            .collect();
        Ok(Client {
            address,
            request: request.into_bytes(),
            epoll: Epoll::new(1024).map_err(Failure::io("cannot make an epoll"))?,
            due: connections.iter().map(|one| one.due).zip(0..).collect(),
            connections,
            random: Random::new(),
            tally: Tally::new(),
            options,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let end = self.options.duration.map(|limit| Instant::now() + limit);
        let mut batch: Vec<Event> = Vec::new();
        loop {
            let now = Instant::now();
            if end.is_some_and(|end| end <= now) {
                return Ok(());
            }
            while let Some(&(due, place)) = self.due.first().filter(|(due, _)| *due <= now) {
                self.due.remove(&(due, place));
                self.act(place)?;
            }
            let next = self.due.first().map(|(due, _)| *due).into_iter();
            let next = next.chain(end).min();
            // In whole milliseconds, and not too early.
            let wait = next.map(|next| next.saturating_duration_since(Instant::now()));
            let wait = wait.map(|wait| wait + Duration::from_micros(999));
            batch.clear();
            batch.extend_from_slice(self.epoll.wait(wait)?);
            for event in &batch {
                self.event(*event)?;
            }
        }
    }

    fn due_after(&mut self, place: usize, delay: Duration) {
        let connection = &mut self.connections[place];
        self.due.remove(&(connection.due, place));
        connection.due = Instant::now() + delay;
        self.due.insert((connection.due, place));
    }

    /// Its time has come.
    fn act(&mut self, place: usize) -> io::Result<()> {
        let connection = &self.connections[place];
        match (&connection.stream, connection.asked) {
            (None, _) => self.begin(place),
            (Some(_), Some(_)) => {
                self.lose(place, Loss::Timeout);
                Ok(())
            }
            (Some(_), None) if connection.is_open => self.ask(place),
            (Some(_), None) => {
                self.not_made(place, Fault::ConnectTimeout);
                Ok(())
            }
        }
    }

    fn begin(&mut self, place: usize) -> io::Result<()> {
        self.tally.begun += 1;
        let stream = sys::start_connect(self.address)?;
        stream.set_nodelay(true)?;
        self.epoll.add(&stream, Interest::Stream, place)?;
        self.connections[place].stream = Some(stream);
        self.due_after(place, self.options.timeout);
        Ok(())
    }

    fn ask(&mut self, place: usize) -> io::Result<()> {
        let connection = &mut self.connections[place];
        let Some(stream) = &connection.stream else {
            return Ok(());
        };
        self.tally.requests += 1;
        connection.asked = Some(Instant::now());
        // A request is 70 bytes, and the one before it was answered: there is room for all of it.
        match sys::send(stream, &self.request) {
            Ok(_) => self.due_after(place, self.options.timeout),
            Err(_) => self.lose(place, Loss::Reset),
        }
        Ok(())
    }

    fn event(&mut self, event: Event) -> io::Result<()> {
        let place = event.key();
        let connection = &mut self.connections[place];
        // It has ended, and this event is an earlier one's.
        let Some(stream) = &connection.stream else {
            return Ok(());
        };
        if !connection.is_open {
            if let Some(error) = stream.take_error()? {
                self.not_made(place, Fault::of(&error));
                return Ok(());
            }
            connection.is_open = true;
            self.tally.opened += 1;
            return self.ask(place);
        }
        if event.is_readable() {
            self.read(place);
        }
        Ok(())
    }

    fn read(&mut self, place: usize) {
        let mut buffer = [0; READ_BYTES];
        let connection = &mut self.connections[place];
        let Some(stream) = &connection.stream else {
            return;
        };
        let bytes = match sys::recv(stream, &mut buffer) {
            Ok(0) => return self.lose(place, Loss::Closed),
            Ok(count) => &buffer[..count],
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(_) => return self.lose(place, Loss::Reset),
        };
        let input = if connection.partial.is_empty() {
            bytes
        } else {
            connection.partial.extend_from_slice(bytes);
            connection.partial.as_slice()
        };
        match answer::read(input) {
            Answer::Incomplete => {
                if connection.partial.is_empty() {
                    connection.partial = bytes.to_vec();
                }
            }
            Answer::Final { status, .. } if status < 400 => {
                connection.partial = Vec::new();
                if let Some(asked) = connection.asked.take() {
                    self.tally.answer(asked.elapsed());
                }
                let pause = self.random.within(&self.options.interval);
                self.due_after(place, pause);
            }
            Answer::Final { .. } => self.lose(place, Loss::Status),
            Answer::TooLong => self.lose(place, Loss::TooLong),
            Answer::Interim(_) | Answer::NotHttp => self.lose(place, Loss::NotHttp),
        }
    }

    fn lose(&mut self, place: usize, loss: Loss) {
        if self.connections[place].asked.is_some() {
            self.tally.lose(loss);
        }
        self.end(place);
    }

    fn not_made(&mut self, place: usize, fault: Fault) {
        self.tally.fault(fault);
        self.end(place);
    }

    /// Closes it; the next one begins after a while.
    fn end(&mut self, place: usize) {
        let connection = &mut self.connections[place];
        connection.stream = None;
        connection.is_open = false;
        connection.asked = None;
        connection.partial = Vec::new();
        self.due_after(place, DELAY);
    }
}

fn main() -> ExitCode {
    common::run("See the example head_client of slabloop.", |arguments| {
        let mut client = Client::new(Options::parse(arguments)?)?;
        client.run().map_err(Failure::io("the loop failed"))?;
        common::say(&client.tally.to_string());
        Ok(())
    })
}
