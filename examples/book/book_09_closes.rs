//! A reply that the close ate, and the five ways in which a connection ends.
//!
//! Chapter 9 of the book: `docs/book/09-five-ways-to-close.md`.
//!
//! ```text
//! cargo run --example book_09_closes
//! cargo run --example book_09_closes -- --client sends-on
//! cargo run --example book_09_closes -- --close lingering
//! cargo run --example book_09_closes -- --ways
//! ```

mod shared;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use shared::{Failure, PATIENCE, QUIET, connect, listen_quietly, run, say};
use slabloop::{Accepted, Context, Dispatcher, Reactor};
use socket2::SockRef;

/// How long the client's request is, in bytes. The server reads less of it.
const REQUEST: usize = 100_000;

/// One request, its reply, and a close. Without slabloop: these are the system's calls.
struct Scene {
    lingering: bool,
    sends_on: bool,
    reply: usize,
}

impl Scene {
    fn play(&self) -> Result<(), Failure> {
        let listener = listen_quietly()?;
        let mut client = connect(listener.local_addr()?)?;
        let (mut server, _) = listener.accept()?;
        client.set_read_timeout(Some(PATIENCE))?;

        client.write_all(&vec![b'?'; REQUEST])?;
        say(format!("client: sends {REQUEST} bytes"));
        self.answer(&mut server)?;
        let server = self.close(server)?;
        if self.sends_on {
            for _ in 0..2 {
                let outcome = client.write(b"more");
                say(format!("client: sends more; {}", in_words(&outcome)));
            }
        }
        let (received, end) = read_all(&mut client);
        say(format!("client: receives {received} bytes, then {end}"));
        drop(client);
        if let Some(server) = server {
            finish(server)?;
        }
        Ok(())
    }

    /// Reads the beginning of the request, which is enough, and gives the reply to the kernel.
    fn answer(&self, server: &mut TcpStream) -> io::Result<()> {
        let read = server.read(&mut [0; 4096])?;
        say(format!("server: reads {read} of them"));
        server.set_nonblocking(true)?;
        let taken = server.write(&vec![b'!'; self.reply])?;
        say(format!("server: replies; the kernel takes {taken} bytes"));
        Ok(())
    }

    /// Closes, or begins to.
    fn close(&self, server: TcpStream) -> io::Result<Option<TcpStream>> {
        if self.lingering {
            server.shutdown(Shutdown::Write)?;
            say("server: shuts its write side");
            return Ok(Some(server));
        }
        drop(server);
        say("server: closes");
        Ok(None)
    }
}

/// The rest of a lingering close: reads what the client still sends, until its end.
fn finish(mut server: TcpStream) -> io::Result<()> {
    server.set_nonblocking(false)?;
    server.set_read_timeout(Some(PATIENCE))?;
    let (discarded, end) = read_all(&mut server);
    say(format!("server: throws {discarded} bytes away, then {end}"));
    drop(server);
    say("server: closes");
    Ok(())
}

/// Reads until there is nothing more: how much that was, and why it ended.
fn read_all(stream: &mut TcpStream) -> (usize, String) {
    let mut buffer = vec![0; 64 << 10];
    let mut received = 0;
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return (received, "the end of the stream".to_owned()),
            Ok(count) => received += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return (received, "nothing more".to_owned());
            }
            Err(error) => return (received, error.kind().to_string()),
        }
    }
}

fn in_words(outcome: &io::Result<usize>) -> String {
    match outcome {
        Ok(_) => "the kernel takes it".to_owned(),
        Err(error) => error.kind().to_string(),
    }
}

struct Listener;

impl Dispatcher for Listener {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        cx.add(accepted, Server)?;
        Ok(())
    }
}

/// Says which callbacks come.
struct Server;

impl Dispatcher for Server {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_with(|bytes, cx| {
            let text = String::from_utf8_lossy(bytes);
            say(format!("    handle_read: {text:?}"));
            match bytes {
                b"quit" => {
                    cx.send(b"goodbye")?;
                    cx.close();
                    // Neither of these changes anything.
                    cx.close();
                    Err(ErrorKind::InvalidData.into())
                }
                b"nonsense" => Err(ErrorKind::InvalidData.into()),
                _ => Ok(()),
            }
        })
    }

    fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        say("    handle_eof: sends \"thank you\" and closes");
        cx.send(b"thank you")?;
        cx.close();
        Ok(())
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        say(format!("    handle_error: {error}"));
        cx.abort_when_sent();
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        let cause = cx.end_cause().expect("it has ended");
        say(format!("    handle_close: {cause}"));
    }
}

/// Turns until nothing happens any more.
fn settle(reactor: &mut Reactor) -> io::Result<()> {
    loop {
        let before = reactor.counters().callbacks;
        reactor.turn(QUIET / 3)?;
        if reactor.counters().callbacks == before {
            return Ok(());
        }
    }
}

/// A client that has sent `text`, and does something then.
fn way(
    reactor: &mut Reactor,
    address: SocketAddr,
    title: &str,
    text: &str,
    then: impl FnOnce(TcpStream) -> io::Result<Option<TcpStream>>,
) -> io::Result<()> {
    say(title);
    let mut client = connect(address)?;
    client.write_all(text.as_bytes())?;
    let client = then(client)?;
    settle(reactor)?;
    if let Some(mut client) = client {
        client.set_read_timeout(Some(PATIENCE))?;
        let mut received = Vec::new();
        let end = match client.read_to_end(&mut received) {
            Ok(_) => "the end of the stream".to_owned(),
            Err(error) => error.kind().to_string(),
        };
        let received = String::from_utf8_lossy(&received).into_owned();
        say(format!("  the client receives {received:?}, then {end}"));
        drop(client);
        settle(reactor)?;
    }
    Ok(())
}

fn five_ways() -> io::Result<()> {
    let mut reactor = Reactor::new()?;
    let listener = reactor.listen("127.0.0.1:0", Listener)?;
    let address = reactor.local_addr(listener).expect("it listens");
    let mut way = |title, text, then: fn(TcpStream) -> io::Result<Option<TcpStream>>| {
        way(&mut reactor, address, title, text, then)
    };
    way("1. the client closes", "hello", |_| Ok(None))?;
    way(
        "2. the client shuts its write side, and reads on",
        "hello",
        |client| {
            client.shutdown(Shutdown::Write)?;
            Ok(Some(client))
        },
    )?;
    way("3. the client resets", "hello", |client| {
        SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
        Ok(None)
    })?;
    way("4. a callback fails", "nonsense", |client| Ok(Some(client)))?;
    way("5. the server closes, twice", "quit", |client| {
        Ok(Some(client))
    })
}

const HELP: &str = "\
A server replies to a request that it has not read to its end, and closes.

Usage: book_09_closes [OPTIONS]

  --close at-once|lingering    how the server closes [at-once]
  --client reads|sends-on      what the client does next [reads]
  --reply BYTES                how long the reply is, 1 to 3000000 [1000000]
  --ways                       in place of that, five ways in which a connection ends, with their callbacks
  -h, --help                   this text

Examples:
  book_09_closes --client sends-on
  book_09_closes --close lingering
  book_09_closes --ways
";

fn main() -> ExitCode {
    run(HELP, |mut flags| {
        let lingering = flags.one_of("--close", &["at-once", "lingering"])? == "lingering";
        let sends_on = flags.one_of("--client", &["reads", "sends-on"])? == "sends-on";
        let what = "a number of bytes from 1 to 3000000";
        let reply = flags.value("--reply", what)?.unwrap_or(1_000_000);
        if !(1..=3_000_000).contains(&reply) {
            return Err(Failure::Usage(format!("--reply wants {what}, not {reply}")));
        }
        let ways = flags.has("--ways");
        flags.end()?;
        if ways {
            return Ok(five_ways()?);
        }
        let scene = Scene {
            lingering,
            sends_on,
            reply,
        };
        scene.play()
    })
}
