//! A front for Redis: any number of clients over one connection, which pipelines.
//!
//! Shows a client of another server that many dispatchers share without `Rc<RefCell<_>>`: the clients hold the id of
//! the connection, the connection holds the ids of the waiting clients, and [`Context::call`] delivers each answer.
//! A service watches the connection and opens a new one when it is lost. Commands are lines
//! (Redis calls them inline); answers come back as Redis sends them.
//!
//! ```text
//! redis-server --port 6379
//! cargo run --release --example pipeline
//! printf 'set a 1\nget a\n' | nc -N 127.0.0.1 7003
//! ```
//!
//! To see more: `RUST_LOG=info,slabloop=debug`.

pub(crate) mod common;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use common::{Failure, Options};
use slabloop::framing::{Framed, Framing, Handler, Terminator};
use slabloop::{Accepted, AnyId, Cause, Context, Dispatcher, Id, TimerId};

type AskerId = Id<Framed<Asker>>;
type LinkId = Id<Framed<Link>>;

/// How long after the connection was lost a new one is made.
const RECONNECT_AFTER: Duration = Duration::from_millis(500);

/// A longer command ends its client's connection.
const LONGEST_COMMAND: usize = 64 * 1024;

/// A longer answer ends the connection to Redis, and with it the commands that wait.
const LONGEST_ANSWER: usize = 64 * 1024 * 1024;

/// More answers than this may not be awaited by one client; it is not read meanwhile.
const MOST_WAITING: usize = 1024;

pub(crate) const LOST: &[u8] =
    b"-ERR the connection to Redis was lost; the command may have run\r\n";
const NOT_THERE: &[u8] = b"-ERR Redis cannot be reached\r\n";

/// Makes the connection, and makes it anew when it is lost.
pub(crate) struct Dialler {
    address: SocketAddr,
    /// Most bytes of one answer.
    longest_answer: usize,
    link: Option<LinkId>,
}

impl Dialler {
    pub(crate) fn new(address: SocketAddr, longest_answer: usize) -> Dialler {
        Dialler {
            address,
            longest_answer,
            link: None,
        }
    }

    pub(crate) fn dial(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let link = Link {
            waiting: VecDeque::new(),
            answer: Vec::new(),
            longest_answer: self.longest_answer,
            parts: 1,
            is_bulk: false,
        };
        let link = Framed::new(Terminator::Bytes(b"\r\n".to_vec()), link)?;
        match cx.connect(self.address, link.max_record(self.longest_answer)) {
            Ok(link) => {
                cx.watch(link);
                self.link = Some(link);
            }
            Err(error) => {
                cx.log_fault_in("cannot reach Redis", &error);
                cx.set_timer(RECONNECT_AFTER);
            }
        }
        Ok(())
    }
}

impl Dispatcher for Dialler {
    fn handle_gone(&mut self, cx: &mut Context<'_>, _: AnyId, _: Cause) -> io::Result<()> {
        self.link = None;
        if !cx.is_shutting_down() {
            cx.set_timer(RECONNECT_AFTER);
        }
        Ok(())
    }

    fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        self.dial(cx)
    }
}

/// The connection to Redis. Answers come in the order of the commands.
struct Link {
    waiting: VecDeque<AskerId>,
    /// What has come of the current answer.
    answer: Vec<u8>,
    longest_answer: usize,
    /// Parts of it that are still to come: an array has one for each of its elements.
    parts: usize,
    /// The next record is the content of a bulk string.
    is_bulk: bool,
}

impl Link {
    fn ask(&mut self, cx: &mut Context<'_>, asker: AskerId, command: &[u8]) -> io::Result<()> {
        cx.send(command)?;
        cx.send(b"\r\n")?;
        self.waiting.push_back(asker);
        Ok(())
    }
}

impl Handler for Link {
    fn found_terminator(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
        record: &[u8],
    ) -> io::Result<()> {
        // Of many short parts as well as of one that is long.
        if self.answer.len() + record.len() > self.longest_answer {
            let text = format!("an answer of more than {} bytes", self.longest_answer);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        self.answer.extend_from_slice(record);
        if std::mem::take(&mut self.is_bulk) {
            framing.set_terminator(Terminator::Bytes(b"\r\n".to_vec()))?;
        } else {
            self.answer.extend_from_slice(b"\r\n");
            let length = || {
                let text = record
                    .get(1..)
                    .and_then(|text| std::str::from_utf8(text).ok());
                let length = text.and_then(|text| text.parse::<i64>().ok());
                length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no Redis answer"))
            };
            match record.first() {
                Some(b'$') => {
                    // A negative length is a value that is not there, and nothing follows.
                    if let Ok(bytes) = usize::try_from(length()?) {
                        self.is_bulk = true;
                        // The content, and the end of its line.
                        return framing.set_terminator(Terminator::Length(bytes + 2));
                    }
                }
                // (What has more parts than can be counted is too long before they have come.)
                Some(b'*') => {
                    let parts = usize::try_from(length()?).unwrap_or(0);
                    self.parts = self.parts.saturating_add(parts);
                }
                _ => {}
            }
        }
        self.parts -= 1;
        if self.parts > 0 {
            return Ok(());
        }
        self.parts = 1;
        let answer = std::mem::take(&mut self.answer);
        if let Some(asker) = self.waiting.pop_front() {
            // One that has left, or that fails, is no concern of the others.
            let _ = cx.call(asker, |asker, cx| asker.handler().answered(cx, &answer));
        }
        if cx.is_shutting_down() && self.waiting.is_empty() {
            cx.close();
        }
        Ok(())
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        cx.log_fault_in("the connection to Redis", &error);
        cx.abort();
    }

    /// It stays until those who wait have their answers.
    fn handle_shutdown(&mut self, cx: &mut Context<'_>, _: &mut Framing) -> io::Result<()> {
        if self.waiting.is_empty() {
            cx.close();
        }
        Ok(())
    }

    /// No client waits for ever.
    fn handle_close(&mut self, cx: &mut Context<'_>) {
        for asker in std::mem::take(&mut self.waiting) {
            let _ = cx.call(asker, |asker, cx| asker.handler().answered(cx, LOST));
        }
    }
}

/// A client of ours.
struct Asker {
    dialler: Id<Dialler>,
    /// Commands that are not answered.
    waiting: usize,
    /// It has finished sending.
    ended: bool,
}

impl Asker {
    fn answered(&mut self, cx: &mut Context<'_>, answer: &[u8]) -> io::Result<()> {
        self.waiting -= 1;
        if self.waiting < MOST_WAITING / 2 {
            cx.resume_reading();
        }
        cx.send(answer)?;
        self.close_if_done(cx);
        Ok(())
    }

    fn close_if_done(&mut self, cx: &mut Context<'_>) {
        if self.waiting == 0 && (self.ended || cx.is_shutting_down()) {
            cx.close();
        }
    }
}

impl Handler for Asker {
    fn found_terminator(
        &mut self,
        cx: &mut Context<'_>,
        _: &mut Framing,
        command: &[u8],
    ) -> io::Result<()> {
        if command.is_empty() {
            return Ok(());
        }
        let me = cx.id();
        let link = cx.with(self.dialler, |dialler, _| dialler.link).flatten();
        let asked = link.and_then(|link| {
            // While the connection takes no more this client is not read.
            cx.feeds(link);
            cx.with(link, |link, cx| link.handler().ask(cx, me, command))
        });
        match asked {
            Some(Ok(())) => {
                self.waiting += 1;
                if self.waiting == MOST_WAITING {
                    cx.pause_reading();
                }
                Ok(())
            }
            Some(Err(_)) | None => cx.send(NOT_THERE),
        }
    }

    fn handle_eof(&mut self, cx: &mut Context<'_>, _: &mut Framing) -> io::Result<()> {
        self.ended = true;
        self.close_if_done(cx);
        Ok(())
    }

    fn handle_shutdown(&mut self, cx: &mut Context<'_>, _: &mut Framing) -> io::Result<()> {
        self.close_if_done(cx);
        Ok(())
    }
}

pub(crate) struct Door {
    pub(crate) dialler: Id<Dialler>,
    pub(crate) tls: common::Tls,
}

impl Dispatcher for Door {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let asker = Asker {
            dialler: self.dialler,
            waiting: 0,
            ended: false,
        };
        let framed = Framed::new(Terminator::Line, asker)?;
        let socket = self.tls.socket(accepted)?;
        let id = cx.add(socket, framed.max_record(LONGEST_COMMAND))?;
        // An answer is sent whole.
        cx.at(id).map_or(Ok(()), |mut asker| {
            asker.set_marks(32 * 1024, 64 * 1024, 2 * LONGEST_ANSWER)
        })
    }
}

const HELP: &str = "\
Serves any number of clients over one connection to Redis, which pipelines. A client sends commands
as lines and gets the answers in order, as Redis sends them. Commands that keep the connection for
themselves (SUBSCRIBE, MONITOR, BLPOP) are not supported.

Usage: pipeline [OPTIONS]

  --listen HOST:PORT       where to listen; port 0 selects a free one [127.0.0.1:7003]
  --upstream HOST:PORT     where Redis is [127.0.0.1:6379]
  --max-connections N      clients served at once; further ones wait in the kernel [no limit]
  --idle-timeout SECONDS   closes a client, or the connection to Redis, after SECONDS without traffic [never]
  --drain SECONDS          time limit for the outstanding answers at shutdown [5]
  --tls-cert FILE          serve TLS with this certificate (PEM); build with --features tls
  --tls-key FILE           its private key (PEM)
  --duration SECONDS       stops after this time [never]
  -h, --help               this text
      --version            the version of slabloop

RUST_LOG sets the log level, for example RUST_LOG=info,slabloop=debug.

Examples:
  pipeline --upstream 10.0.0.1:6379
";

fn main() -> ExitCode {
    common::run(HELP, |arguments| {
        let mut upstream = "127.0.0.1:6379".to_owned();
        let options = Options::parse(arguments, "127.0.0.1:7003", |flag, parser| {
            if flag != "upstream" {
                return Ok(false);
            }
            upstream = common::host_and_port("--upstream", parser)?;
            Ok(true)
        })?;
        let address = common::look_up("--upstream", &upstream)?[0];
        let reactor = common::builder(&options, 1).build();
        let mut reactor = reactor.map_err(Failure::io("cannot make a reactor"))?;
        let dialler = reactor.add_service(Dialler::new(address, LONGEST_ANSWER));
        let dialler = dialler.map_err(Failure::io("cannot add a dispatcher"))?;
        let dialled = reactor.with(dialler, |dialler, cx| dialler.dial(cx));
        dialled
            .unwrap_or(Ok(()))
            .map_err(Failure::io("cannot connect"))?;
        let tls = options.tls.clone();
        common::listen(&mut reactor, &options, Door { dialler, tls })?;
        common::serve(reactor, &options)
    })
}
