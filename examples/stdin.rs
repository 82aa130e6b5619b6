//! Counts what comes on stdin, whatever that is, in a loop that goes on doing other things.
//!
//! Shows both ways: a thread that copies stdin to a socket, which works for everything, and stdin itself in the
//! loop, which works for pipes and terminals.
//!
//! ```text
//! seq 1000 | cargo run --release --example stdin
//! cargo run --release --example stdin < README.md
//! cargo run --release --example stdin -- --direct < README.md     # refused, and why
//! ```
//!
//! To see more: `RUST_LOG=info,slabloop=debug`. The page: `docs/how-to/stdin.md`.

mod common;

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::time::Duration;

use common::Failure;
use slabloop::mio::Interest;
use slabloop::{Context, Descriptor, Dispatcher, Reactor, Socket};

#[derive(Default)]
struct Count {
    lines: usize,
    bytes: usize,
}

impl Count {
    fn add(&mut self, bytes: &[u8]) {
        self.lines += bytes.iter().filter(|byte| **byte == b'\n').count();
        self.bytes += bytes.len();
    }

    fn end(&self, cx: &mut Context<'_>) {
        common::say(&format!("lines={} bytes={}", self.lines, self.bytes));
        cx.stop();
    }
}

/// The socket that a thread copies stdin to: a stream like any other.
#[derive(Default)]
struct ByThread(Count);

impl Dispatcher for ByThread {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_with(|bytes, _| {
            self.0.add(bytes);
            Ok(())
        })
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        self.0.end(cx);
    }
}

/// Standard input itself: a descriptor that the reactor does not know how to read.
#[derive(Default)]
struct Direct(Count);

impl Dispatcher for Direct {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        match cx.read_with(|stdin: &mut Descriptor| stdin.read(&mut buffer))? {
            0 => cx.close(),
            count => self.0.add(&buffer[..count]),
        }
        Ok(())
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        self.0.end(cx);
    }
}

/// Adds stdin itself to the loop. Another descriptor of the same open file, so that the loop may close it.
fn add_directly(reactor: &mut Reactor) -> Result<(), Failure> {
    let stdin: io::Result<OwnedFd> = io::stdin().as_fd().try_clone_to_owned();
    let stdin = stdin.map_err(Failure::io("--direct: stdin"))?;
    let stdin = Socket::from_fd(stdin, Interest::READABLE);
    match reactor.add(stdin, Direct::default()) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let text = "--direct: stdin is a file, or /dev/null, which no loop can wait for; \
                        without --direct a thread reads it, or try `cat FILE | stdin --direct`";
            Err(Failure::Work(text.to_owned()))
        }
        Err(error) => Err(Failure::io("--direct: cannot wait for stdin")(error)),
    }
}

const HELP: &str = "\
Counts the lines and bytes of stdin. The loop goes on meanwhile: each second it says so in the log.

Usage: stdin [OPTIONS]

  --direct                 waits for stdin itself, without a thread: pipes and terminals only
  -h, --help               this text
      --version            the version of slabloop

RUST_LOG sets the log level, for example RUST_LOG=info,slabloop=debug.

Examples:
  seq 1000 | stdin
  stdin < README.md
";

fn main() -> ExitCode {
    common::run(HELP, |arguments| {
        let mut direct = false;
        common::flags(arguments, |flag, _| {
            direct |= flag == "--direct";
            Ok(flag == "--direct")
        })?;
        let mut reactor = Reactor::new().map_err(Failure::io("cannot make a reactor"))?;
        common::stop_on_signals(&mut reactor)?;
        reactor.call_every(Duration::from_secs(1), |_| log::info!("the loop goes on"));
        if direct {
            add_directly(&mut reactor)?;
        } else {
            let added =
                common::stdin_stream().and_then(|stdin| reactor.add(stdin, ByThread::default()));
            added.map_err(Failure::io("cannot read stdin"))?;
        }
        let outcome = reactor.run().map_err(Failure::io("the loop failed"));
        if direct {
            // The flag belongs to the open file, and others use that as well: a shell its terminal.
            let stdin = io::stdin();
            let _ = socket2::SockRef::from(&stdin).set_nonblocking(false);
        }
        outcome
    })
}
