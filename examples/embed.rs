//! A reactor in a loop that is not its own.
//!
//! Shows the three things that the other loop does: it watches the reactor's descriptor, waits no longer than
//! `next_timeout` says, and after each wait has the reactor take a turn that does not wait. The other loop here is one of
//! mio with a socket of its own; glib, Qt or a game would do the same.
//!
//! ```text
//! cargo run --release --example embed
//! ```
//!
//! To see more: `RUST_LOG=info,slabloop=debug`. The page: `docs/how-to/embedding.md`.

mod common;

use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use common::Failure;
use slabloop::mio::net::UnixStream;
use slabloop::mio::unix::SourceFd;
use slabloop::mio::{Events, Interest, Poll, Token};
use slabloop::{Dispatcher, Reactor};

/// What the other loop knows its sources by.
const REACTOR: Token = Token(0);
const OWN: Token = Token(1);

/// One end of a socket pair, the other end of which belongs to the other loop.
struct Voice;

impl Dispatcher for Voice {}

/// The loop of the rest of the program, until its own socket has had an answer.
fn other_loop(reactor: &mut Reactor, mut own: UnixStream) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let fd = reactor.as_raw_fd();
    poll.registry()
        .register(&mut SourceFd(&fd), REACTOR, Interest::READABLE)?;
    poll.registry()
        .register(&mut own, OWN, Interest::READABLE)?;
    let mut events = Events::with_capacity(64);
    loop {
        // Never longer than until the reactor's next timer; a real loop has timers of its own as well.
        match poll.poll(&mut events, reactor.next_timeout()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            waited => waited?,
        }
        if events.iter().any(|event| event.token() == OWN) {
            let mut buffer = [0; 64];
            match own.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
                Ok(count) => {
                    let text = String::from_utf8_lossy(&buffer[..count]);
                    common::say(&format!("other loop: has read {text:?}"));
                    return Ok(());
                }
            }
        }
        // Its descriptor is readable, or a timer is due, or neither: a turn with nothing to do is cheap.
        reactor.turn(Duration::ZERO)?;
    }
}

const HELP: &str = "\
Runs a reactor inside another loop, has them talk, and ends.

Usage: embed [OPTIONS]

  -h, --help               this text
      --version            the version of slabloop

RUST_LOG sets the log level, for example RUST_LOG=info,slabloop=debug.
";

fn main() -> ExitCode {
    common::run(HELP, |arguments| {
        common::flags(arguments, |_, _| Ok(false))?;
        let mut reactor = Reactor::new().map_err(Failure::io("cannot make a reactor"))?;
        let (ours, own) = UnixStream::pair().map_err(Failure::io("cannot make a socket"))?;
        let voice = reactor.add(ours, Voice);
        let voice = voice.map_err(Failure::io("cannot add a socket"))?;
        // A timer, a thread that posts, output to a socket: all that a reactor does.
        reactor.call_later(Duration::from_millis(20), move |reactor| {
            common::say("reactor: a timer is due; starts a thread");
            let handle = reactor.handle();
            thread::spawn(move || {
                let posted = handle.post(move |reactor| {
                    common::say("reactor: the thread has posted; sends");
                    if let Some(mut voice) = reactor.at(voice) {
                        let _ = voice.send(b"hello");
                    }
                });
                posted.expect("the reactor is there, and nothing else in its queue");
            });
        });
        other_loop(&mut reactor, own).map_err(Failure::io("the loop failed"))
    })
}
