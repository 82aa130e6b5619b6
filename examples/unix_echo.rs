//! An echo server on a Unix socket.
//!
//! Shows what is different from TCP: a path in place of an address, which is a file. It is left behind by a server that
//! is killed, and then in the way of the next one; and who may connect is a matter of the file's permissions.
//!
//! ```text
//! cargo run --release --example unix_echo
//! printf hi | nc -N -U /tmp/slabloop.sock
//! ```
//!
//! To see more: `RUST_LOG=info,slabloop=debug`. The page: `docs/how-to/unix-sockets.md`.

mod common;

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use common::{Failure, Limit};
use slabloop::{Accepted, Context, Dispatcher, Reactor};

struct Listener;

impl Dispatcher for Listener {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        cx.add(accepted, Echo)?;
        Ok(())
    }
}

struct Echo;

impl Dispatcher for Echo {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_with(|bytes, cx| cx.send(bytes))
    }
}

/// Removes a socket on which no server listens any more. Anything else that is there stays, and `listen_unix` says so.
fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    match UnixStream::connect(path) {
        Err(error) if is_socket && error.kind() == io::ErrorKind::ConnectionRefused => {
            log::info!(
                "removing {}, which a server has left behind",
                path.display()
            );
            fs::remove_file(path)
        }
        _ => Ok(()),
    }
}

/// The file of a socket, which goes when this does.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            log::warn!("cannot remove {}: {error}", self.0.display());
        }
    }
}

const HELP: &str = "\
Sends every byte back to the client that sent it, on a Unix socket.

Usage: unix_echo [OPTIONS]

  --listen PATH            where to listen; the file must not exist, but for a socket that is not used
                           any more [/tmp/slabloop.sock]
  --drain SECONDS          how long queued output may take to leave at the end [5]
  --duration SECONDS       ends by itself after so long [never]
  -h, --help               this text
      --version            the version of slabloop

RUST_LOG sets the log level, for example RUST_LOG=info,slabloop=debug.

Examples:
  unix_echo --listen /run/user/1000/echo.sock
";

fn main() -> ExitCode {
    common::run(HELP, |arguments| {
        let mut path = PathBuf::from("/tmp/slabloop.sock");
        let (mut drain, mut duration) = (Duration::from_secs(5), None);
        common::flags(arguments, |flag, parser| {
            match flag {
                "--listen" => path = parser.value()?.into(),
                "--drain" => drain = common::seconds(flag, parser, Limit::Any)?,
                "--duration" => duration = Some(common::seconds(flag, parser, Limit::AboveZero)?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let name = path.display().to_string();
        remove_stale(&path).map_err(Failure::io(&format!("cannot remove {name}")))?;
        let mut reactor = Reactor::new().map_err(Failure::io("cannot make a reactor"))?;
        reactor.listen_unix(&path, Listener).map_err(|error| {
            let way_out = "--listen PATH takes another file";
            Failure::Work(format!("cannot listen on {name}: {error}; {way_out}"))
        })?;
        let _file = SocketFile(path);
        common::stop_on_signals(&mut reactor)?;
        common::say(&format!("listening on {name}"));
        common::say(&format!("try: nc -U {name}"));
        let aborted = common::run_and_drain(&mut reactor, duration, drain)?;
        common::say_totals(&reactor.counters(), aborted);
        Ok(())
    })
}
