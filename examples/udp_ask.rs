//! Asks a question by UDP, again if no answer comes, and prints the answer.
//!
//! Shows a connected datagram socket: the kernel lets through what comes from the server alone, and reports that no server
//! listens there. Datagrams get lost, so a timer asks again, with twice the time, and in the end gives up.
//!
//! ```text
//! cargo run --release --example udp_time
//! cargo run --release --example udp_ask
//! ```
//!
//! To see more: `RUST_LOG=info,slabloop=debug`. The page: `docs/how-to/udp.md`.

mod common;

use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use common::{Failure, Limit};
use slabloop::{Context, Dispatcher, Reactor, TimerId};

struct Question {
    text: String,
    wait: Duration,
    tries_left: usize,
    /// Why there is no answer, in the end.
    failure: Rc<RefCell<Option<String>>>,
}

impl Question {
    /// Sends the question, and sets a time for the answer.
    fn ask(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.tries_left -= 1;
        cx.set_timer(self.wait);
        self.wait *= 2;
        cx.send(self.text.as_bytes())
    }

    fn fail(&mut self, cx: &mut Context<'_>, why: String) {
        self.failure.replace(Some(why));
        cx.close();
    }
}

impl Dispatcher for Question {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut buffer = [0; 2048];
        let length = cx.recv(&mut buffer)?;
        let answer = String::from_utf8_lossy(&buffer[..length]);
        common::say(answer.trim_end());
        cx.close();
        Ok(())
    }

    fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        if self.tries_left == 0 {
            self.fail(cx, "no answer".to_owned());
            return Ok(());
        }
        log::info!("no answer yet; asking again");
        self.ask(cx)
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        self.fail(cx, error.to_string());
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        cx.stop();
    }
}

/// A socket on any free port that sends to `server`, and receives from it alone.
fn connected_to(server: SocketAddr) -> io::Result<UdpSocket> {
    let any = match server {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(server)?;
    Ok(socket)
}

const HELP: &str = "\
Sends a UDP datagram, again if no answer comes, and prints the answer.

Usage: udp_ask [OPTIONS]

  --connect HOST:PORT      the server [127.0.0.1:7010]
  --text TEXT              what to ask [time]
  --wait SECONDS           how long to wait for the first answer, then twice as long each time [1]
  --tries N                how often to ask [3]
  -h, --help               this text
      --version            the version of slabloop

RUST_LOG sets the log level, for example RUST_LOG=info,slabloop=debug.

Examples:
  udp_ask --connect localhost:7010 --wait 0.2
";

fn main() -> ExitCode {
    common::run(HELP, |arguments| {
        let failure = Rc::default();
        let mut host = "127.0.0.1:7010".to_owned();
        let mut question = Question {
            text: "time".to_owned(),
            wait: Duration::from_secs(1),
            tries_left: 3,
            failure: Rc::clone(&failure),
        };
        common::flags(arguments, |flag, parser| {
            match flag {
                "--connect" => host = common::host_and_port(flag, parser)?,
                "--text" => question.text = common::value(flag, parser, "a text")?,
                "--wait" => question.wait = common::seconds(flag, parser, Limit::AboveZero)?,
                "--tries" => question.tries_left = common::number(flag, parser, 1)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let server = common::look_up("--connect", &host)?[0];
        let socket = connected_to(server).map_err(Failure::io(&host))?;
        let mut reactor = Reactor::new().map_err(Failure::io("cannot make a reactor"))?;
        common::stop_on_signals(&mut reactor)?;
        let question = reactor.add(socket, question).map_err(Failure::io(&host))?;
        let asked = reactor.with(question, Question::ask).unwrap_or(Ok(()));
        asked.map_err(Failure::io(&host))?;
        reactor.run().map_err(Failure::io("the loop failed"))?;
        match failure.take() {
            Some(why) => Err(Failure::Work(format!("{host}: {why}"))),
            None => Ok(()),
        }
    })
}
