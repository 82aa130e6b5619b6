//! An event closes a connection that it was never about: asyncore's bug, replayed.
//!
//! Chapter 5 of the book: `docs/book/05-names-for-sockets.md`.
//!
//! ```text
//! cargo run --example book_05_stale_token
//! cargo run --example book_05_stale_token -- --names generation
//! cargo run --example book_05_stale_token -- --free late
//! ```

mod shared;

use std::collections::HashMap;
use std::hint::black_box;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Instant;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use shared::{Failure, PATIENCE, QUIET, connect, hear, run, say};
use slab::Slab;

const LISTENER: Token = Token(usize::MAX);

#[derive(Clone, Copy, Default)]
struct Options {
    /// Tokens carry the generation of a slot as well as its index.
    generations: bool,
    /// A closed connection keeps its slot until all events in hand have been handled.
    free_late: bool,
}

struct Client {
    letter: char,
    stream: TcpStream,
    token: Token,
    closed: bool,
}

struct Server {
    poll: Poll,
    listener: TcpListener,
    clients: Slab<Client>,
    letters: std::ops::RangeInclusive<char>,
    /// How many connections there have been.
    generation: usize,
    options: Options,
}

impl Server {
    fn new(options: Options) -> io::Result<Server> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(([127, 0, 0, 1], 0).into())?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        let (clients, letters, generation) = (Slab::new(), 'A'..='Z', 0);
        Ok(Server {
            poll,
            listener,
            clients,
            letters,
            generation,
            options,
        })
    }

    /// Waits once, and handles all events that were reported.
    fn turn(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(16);
        self.poll.poll(&mut events, Some(QUIET))?;
        let count = events.iter().count();
        say(format!(
            "server: one wait, {count} event{}",
            if count == 1 { "" } else { "s" }
        ));
        for event in &events {
            match event.token() {
                LISTENER => self.accept()?,
                token => self.handle(token, event.is_read_closed())?,
            }
        }
        self.clients.retain(|_, client| !client.closed);
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        say("  event for the listener");
        loop {
            let (mut stream, _) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let letter = self.letters.next().expect("fewer than 26 clients");
            let entry = self.clients.vacant_entry();
            let index = entry.key();
            let token = self.options.token(index, self.generation);
            self.generation += 1;
            self.poll
                .registry()
                .register(&mut stream, token, Interest::READABLE)?;
            entry.insert(Client {
                letter,
                stream,
                token,
                closed: false,
            });
            say(format!("    {letter} is accepted: index {index}"));
        }
    }

    /// The client that a token names.
    fn named(&mut self, token: Token) -> Option<&mut Client> {
        let client = self.clients.get_mut(index_of(token))?;
        (client.token == token && !client.closed).then_some(client)
    }

    fn handle(&mut self, token: Token, peer_closed: bool) -> io::Result<()> {
        let what = if peer_closed {
            "the peer has closed"
        } else {
            "readable"
        };
        say(format!("  event for {}: {what}", self.options.name(token)));
        let Some(client) = self.named(token) else {
            say("    no such connection: dropped");
            return Ok(());
        };
        let letter = client.letter;
        say(format!("    goes to {letter}"));
        if peer_closed {
            self.close(letter);
            return Ok(());
        }
        let mut buffer = [0; 64];
        let count = match client.stream.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            count => count?,
        };
        let text = String::from_utf8_lossy(&buffer[..count]);
        say(format!("    {letter} sent {text:?}"));
        match text
            .strip_prefix("kick ")
            .and_then(|rest| rest.chars().next())
        {
            Some(letter) => self.close(letter),
            None => client.stream.write_all(&buffer[..count])?,
        }
        Ok(())
    }

    fn close(&mut self, letter: char) {
        let found = self
            .clients
            .iter()
            .find(|(_, client)| client.letter == letter);
        let Some((index, _)) = found else { return };
        if self.options.free_late {
            self.clients[index].closed = true;
            say(format!(
                "    {letter} is closed; index {index} is free after this turn"
            ));
        } else {
            self.clients.remove(index);
            say(format!("    {letter} is closed; index {index} is free"));
        }
    }

    fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Options {
    fn token(self, index: usize, generation: usize) -> Token {
        match self.generations {
            false => Token(index),
            true => Token(generation << 32 | index),
        }
    }

    fn name(self, token: Token) -> String {
        match self.generations {
            false => format!("token {}", token.0),
            true => format!("token {}, generation {}", index_of(token), token.0 >> 32),
        }
    }
}

fn index_of(token: Token) -> usize {
    token.0 & 0xffff_ffff
}

fn replay(options: Options) -> Result<(), Failure> {
    let mut server = Server::new(options)?;
    let address = server.address()?;
    let mut a = connect(address)?;
    let b = connect(address)?;
    server.turn()?;

    say("A sends \"kick B\"; C connects; B closes its end");
    a.write_all(b"kick B")?;
    let mut c = connect(address)?;
    drop(b);
    server.turn()?;

    match hear(&c, QUIET)?.as_deref() {
        Some("") => say("C's client: closed by the server, before it had sent a byte"),
        _ => {
            c.write_all(b"hello")?;
            server.turn()?;
            say(format!("C's client receives: {:?}", hear(&c, PATIENCE)?));
        }
    }
    Ok(())
}

/// What it costs to find a connection, by what its name is.
fn measure() {
    const COUNT: usize = 10_000;
    let mut map = HashMap::new();
    let mut slab = Slab::new();
    for name in 0..COUNT {
        map.insert(name, (name, 1));
        slab.insert((name, 1));
    }
    // Not one after the other, or the processor guesses what comes.
    let names: Vec<usize> = (0..COUNT).map(|at| at * 7919 % COUNT).collect();
    let time_of = |find: &dyn Fn(usize) -> usize| {
        let one = || {
            let start = Instant::now();
            black_box(
                names
                    .iter()
                    .map(|name| find(black_box(*name)))
                    .sum::<usize>(),
            );
            start.elapsed().as_secs_f64() * 1e9 / COUNT as f64
        };
        // The best of many: other programs can only make it slower.
        (0..500)
            .map(|_| one())
            .min_by(f64::total_cmp)
            .expect("500 times")
    };
    let by_map = time_of(&|name| map[&name].0);
    let by_index = time_of(&|name| slab[name].0);
    let by_both = time_of(&|name| match slab.get(name) {
        Some((found, generation)) if *generation == black_box(1) => *found,
        _ => 0,
    });
    say(format!("a hash map by descriptor:      {by_map:5.1} ns"));
    say(format!("a slab by index:               {by_index:5.1} ns"));
    say(format!("by index, generation compared: {by_both:5.1} ns"));
}

const HELP: &str = "\
Plays how an event meets a connection that it was never about. Brings its own clients and ends.

Usage: book_05_stale_token [OPTIONS]

  --names index|generation   what a token is made of [index]
  --free now|late            when the slot of a closed connection can be used again [now]
  --measure                  what it costs to find a connection, and ends
  -h, --help                 this text

Examples:
  book_05_stale_token
  book_05_stale_token --names generation
";

fn main() -> ExitCode {
    run(HELP, |mut flags| {
        let options = Options {
            generations: flags.one_of("--names", &["index", "generation"])? == "generation",
            free_late: flags.one_of("--free", &["now", "late"])? == "late",
        };
        let costs = flags.has("--measure");
        flags.end()?;
        if costs {
            measure();
            return Ok(());
        }
        replay(options)
    })
}
