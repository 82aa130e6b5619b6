//! An echo server that asks every socket, all the time, and writes as if writing could not fail.
//!
//! Chapter 2 of the book: `docs/book/02-would-block.md`.
//!
//! ```text
//! cargo run --example book_02_busy_poll -- --demo idle
//! cargo run --example book_02_busy_poll -- --demo write --small-buffers
//! ```

mod shared;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use shared::{
    Failure, PATIENCE, QUIET, connect, cpu_time, listen, listen_quietly, median_of_200_echoes, run,
    say,
};
use socket2::{Domain, SockRef, Socket, Type};

/// What one read takes at most.
const PIECE: usize = 4096;

/// What the server does in the way that the flags say.
#[derive(Clone, Copy)]
struct Options {
    keep: bool,
    small_buffers: bool,
    sleep: Duration,
}

static ROUNDS: AtomicU64 = AtomicU64::new(0);
static FAILED_READS: AtomicU64 = AtomicU64::new(0);

struct Client {
    stream: TcpStream,
    address: SocketAddr,
    unsent: Vec<u8>,
}

fn serve(listener: &TcpListener, options: Options) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut clients = Vec::new();
    loop {
        match listener.accept() {
            Ok((stream, address)) => {
                stream.set_nonblocking(true)?;
                if options.small_buffers {
                    SockRef::from(&stream).set_send_buffer_size(1)?;
                }
                let unsent = Vec::new();
                clients.push(Client {
                    stream,
                    address,
                    unsent,
                });
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        clients.retain_mut(|client: &mut Client| match client.round(options) {
            Ok(goes_on) => goes_on,
            Err(error) => {
                say(format!("server: closes {}: {error}", client.address));
                false
            }
        });
        ROUNDS.fetch_add(1, Relaxed);
        thread::sleep(options.sleep);
    }
}

impl Client {
    /// Reads once and answers; `false` at the end of the stream.
    fn round(&mut self, options: Options) -> io::Result<bool> {
        if options.keep {
            self.send()?;
        }
        let mut buffer = [0; PIECE];
        let count = match self.stream.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                FAILED_READS.fetch_add(1, Relaxed);
                return Ok(true);
            }
            Err(error) => return Err(error),
        };
        if options.keep {
            self.unsent.extend_from_slice(&buffer[..count]);
        } else {
            self.stream.write_all(&buffer[..count])?;
        }
        Ok(true)
    }

    /// Sends what the kernel takes, and keeps the rest for the next round.
    fn send(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// One client that plays 200 rounds of ping-pong, and then is silent for a second.
fn demo_idle(options: Options) -> Result<(), Failure> {
    let mut client = connect(start(options)?)?;
    say(median_of_200_echoes(&mut client)?);

    let before = (ROUNDS.load(Relaxed), FAILED_READS.load(Relaxed), cpu_time());
    thread::sleep(Duration::from_secs(1));
    let rounds = ROUNDS.load(Relaxed) - before.0;
    let failed = FAILED_READS.load(Relaxed) - before.1;
    let busy = cpu_time() - before.2;
    say("then one second without traffic:");
    say(format!(
        "{rounds} rounds, {failed} reads that found nothing, {:.0} ms of CPU time",
        busy.as_secs_f64() * 1e3
    ));
    Ok(())
}

/// One client that sends a lot and reads the answer later.
fn demo_write(options: Options, bytes: usize) -> Result<(), Failure> {
    let server = start(options)?;
    let client = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    if options.small_buffers {
        client.set_recv_buffer_size(1)?;
    }
    client.connect(&server.into())?;
    let mut client = TcpStream::from(client);

    say(format!(
        "client: sends {bytes} bytes, and does not read yet"
    ));
    // If the server breaks the connection meanwhile, reading shows it.
    let _ = client.write_all(&vec![b'x'; bytes]);
    // Meanwhile the server reads all that it ever will. On a busy machine its thread may have to wait for a processor.
    let rounds = ROUNDS.load(Relaxed) + (bytes / PIECE + 2) as u64;
    thread::sleep(QUIET);
    while ROUNDS.load(Relaxed) < rounds {
        thread::sleep(QUIET);
    }
    say("client: reads");
    client.set_read_timeout(Some(PATIENCE))?;
    let (mut buffer, mut back) = ([0; 4096], 0);
    while back < bytes {
        match client.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(count) => back += count,
        }
    }
    match bytes - back {
        0 => say(format!("client: all {bytes} bytes came back")),
        lost => say(format!("client: {back} bytes came back, {lost} are lost")),
    }
    Ok(())
}

fn start(options: Options) -> io::Result<SocketAddr> {
    let listener = listen_quietly()?;
    let address = listener.local_addr()?;
    thread::spawn(move || serve(&listener, options));
    Ok(address)
}

const HELP: &str = "\
An echo server that asks every socket all the time whether there is something to read.

Usage: book_02_busy_poll [OPTIONS]

  --listen HOST:PORT   where to listen; port 0 takes any free one [127.0.0.1:7000]
  --sleep MS           sleeps so long after each round [0]
  --keep               keeps what the kernel does not take, and sends it later
  --small-buffers      the smallest buffers for sending that the kernel allows
  --demo idle|write    brings a client of its own and ends
  --bytes N            what the client of `--demo write` sends [100000]
  -h, --help           this text

Examples:
  book_02_busy_poll --listen 127.0.0.1:0 --sleep 10
  book_02_busy_poll --demo write --small-buffers --keep
";

fn main() -> ExitCode {
    run(HELP, |mut flags| {
        let address = flags.value("--listen", "an address such as 127.0.0.1:0")?;
        let sleep = flags.value("--sleep", "a number of milliseconds")?;
        let options = Options {
            keep: flags.has("--keep"),
            small_buffers: flags.has("--small-buffers"),
            sleep: Duration::from_millis(sleep.unwrap_or(0)),
        };
        let demo = flags.one_of("--demo", &["", "idle", "write"])?;
        let bytes = flags.value("--bytes", "a number of bytes")?;
        flags.end()?;
        match demo {
            "idle" => demo_idle(options),
            "write" => demo_write(options, bytes.unwrap_or(100_000)),
            _ => {
                let listener = listen(address.unwrap_or(([127, 0, 0, 1], 7000).into()))?;
                Ok(serve(&listener, options)?)
            }
        }
    })
}
