//! A time server for datagrams: a client that sends `time` gets the seconds since 1970.
//!
//! Shows a UDP socket in the loop: each datagram is a whole, with the address that it came from; what the kernel has no
//! room for is lost, and the client asks again.
//!
//! ```text
//! cargo run --release --example udp_time
//! cargo run --release --example udp_ask
//! ```
//!
//! To see more: `RUST_LOG=info,slabloop=debug`. The page: `docs/how-to/udp.md`.

mod common;

use std::io;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use common::{Failure, Limit};
use slabloop::{Context, Dispatcher, Reactor};

/// So many datagrams are answered before the others in the loop have their turn.
const BATCH: usize = 64;

struct Time;

impl Dispatcher for Time {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut buffer = [0; 64];
        for _ in 0..BATCH {
            // `WouldBlock` when none is left, which is no error. With more left this is called again.
            let (length, from) = cx.recv_from(&mut buffer)?;
            // The sender's address may be forged, to have the answer sent to a victim. So an answer is hardly
            // longer than its question, and is no question itself: two servers cannot be set on each other.
            if cx.truncated() || buffer[..length].trim_ascii() != b"time" {
                log::debug!("no question, from {from}");
                continue;
            }
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let answer = format!("{}\n", now.map_err(io::Error::other)?.as_secs());
            match cx.send_to(answer.as_bytes(), from) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    log::debug!("no room for an answer to {from}");
                }
                sent => sent?,
            }
        }
        Ok(())
    }
}

const HELP: &str = "\
Answers each UDP datagram that says `time` with the seconds since 1970.

Usage: udp_time [OPTIONS]

  --listen HOST:PORT       where to listen; port 0 takes any free one [127.0.0.1:7010]
  --duration SECONDS       ends by itself after so long [never]
  -h, --help               this text
      --version            the version of slabloop

RUST_LOG sets the log level, for example RUST_LOG=info,slabloop=debug.

Examples:
  udp_time --listen 127.0.0.1:0
";

fn main() -> ExitCode {
    common::run(HELP, |arguments| {
        let mut listen = "127.0.0.1:7010".to_owned();
        let mut duration = None;
        common::flags(arguments, |flag, parser| {
            match flag {
                "--listen" => listen = common::host_and_port(flag, parser)?,
                "--duration" => duration = Some(common::seconds(flag, parser, Limit::AboveZero)?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let mut reactor = Reactor::new().map_err(Failure::io("cannot make a reactor"))?;
        let id = reactor.bind_udp(listen.as_str(), Time).map_err(|error| {
            let way_out = "--listen 127.0.0.1:0 takes any free port";
            Failure::Work(format!("cannot listen on {listen}: {error}; {way_out}"))
        })?;
        let address = reactor.local_addr(id);
        let address = address.map_err(Failure::io("cannot tell the address"))?;
        common::stop_on_signals(&mut reactor)?;
        common::say(&format!("listening on {address}"));
        common::say(&format!("try: udp_ask --connect {address}"));
        let aborted = common::run_and_drain(&mut reactor, duration, Duration::ZERO)?;
        common::say_totals(&reactor.counters(), aborted);
        Ok(())
    })
}
