//! One connection: requests go out one behind the other, and replies come back in the same order.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use slabloop::kit::pool::Reusable;
use slabloop::{Cause, Context, Dispatcher, Id, TimerId};

use super::client::Client;
use super::request::{From, Outcome, Request};
use super::resp::{Input, Reply, Version, encode};
use super::server::Login;
use super::settings::Settings;

/// No more requests are sent while so many bytes are queued.
const HIGH_MARK: usize = 64 * 1024;

const READ_SIZE: usize = 64 * 1024;

/// How far a connection is with its greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Greeting {
    /// `AUTH` is to be answered, and then the rest.
    Login,
    /// `HELLO 3` is to be answered, and then `PING`.
    Hello,
    /// `PING` is to be answered: a server that is loading its data says so here.
    Ping,
    Over,
}

impl Greeting {
    /// After the login.
    fn in_version(version: Version) -> Greeting {
        match version {
            Version::Resp2 => Greeting::Ping,
            Version::Resp3 => Greeting::Hello,
        }
    }
}

/// A connection to Redis, kept by a pool and used by a [`Client`] that has leased it.
#[derive(Debug)]
pub(crate) struct Connection {
    settings: Settings,
    greeting: Greeting,
    input: Input,
    /// Who sends over it, and by which of its lanes.
    user: Option<(Id<Client>, usize)>,
    in_flight: VecDeque<InFlight>,
    /// Bytes given to `send` since it was made.
    accepted: u64,
    timer: Option<TimerId>,
    /// Why it ends, if that is known here.
    fault: Option<Rc<str>>,
}

struct InFlight {
    /// How many bytes were given to `send` before it.
    start: u64,
    request: Request,
}

impl std::fmt::Debug for InFlight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InFlight")
            .field("start", &self.start)
            .finish_non_exhaustive()
    }
}

impl Connection {
    pub(crate) fn new(settings: &Settings) -> Connection {
        Connection {
            settings: settings.clone(),
            greeting: match settings.login {
                Some(_) => Greeting::Login,
                None => Greeting::in_version(settings.version),
            },
            input: Input::new(settings.max_reply),
            user: None,
            in_flight: VecDeque::new(),
            accepted: 0,
            timer: None,
            fault: None,
        }
    }

    /// It is leased, or given back.
    pub(crate) fn used_by(&mut self, user: Option<(Id<Client>, usize)>) {
        self.user = user;
    }

    /// Whether another request may be sent now. If only the outbox is in the way, `handle_write` will ask for it.
    pub(crate) fn has_room(&self, cx: &mut Context<'_>) -> bool {
        if self.in_flight.len() >= self.settings.pipeline || cx.is_closing() {
            return false;
        }
        let has_room = cx.queued() < HIGH_MARK;
        if !has_room {
            cx.start_writing();
        }
        has_room
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Sends a request. It is given back if nothing can be sent here any more.
    pub(crate) fn send(
        &mut self,
        cx: &mut Context<'_>,
        mut request: Request,
    ) -> Result<(), Request> {
        let start = self.accepted;
        if self.send_bytes(cx, &request.bytes).is_err() {
            return Err(request);
        }
        request.bytes = Vec::new();
        if self.timer.is_none() {
            let left = request.deadline.saturating_duration_since(cx.now());
            self.timer = Some(cx.set_timer(left));
        }
        self.in_flight.push_back(InFlight { start, request });
        Ok(())
    }

    fn send_bytes(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        cx.send(bytes)?;
        self.accepted += bytes.len() as u64;
        Ok(())
    }

    /// Sends what waits for room.
    fn refill(&mut self, cx: &mut Context<'_>) {
        let Some((client, lane)) = self.user else {
            return;
        };
        while self.has_room(cx) {
            let next = cx.with(client, |client, cx| client.next_waiting(cx));
            let Some(request) = next.flatten() else {
                break;
            };
            if let Err(request) = self.send(cx, request) {
                request.answer_later(cx, Outcome::NotSent("the connection has just ended".into()));
                break;
            }
        }
        if self.in_flight.is_empty() && !cx.is_closing() {
            self.user = None;
            cx.with(client, |client, cx| client.has_become_quiet(cx, lane));
        }
    }

    fn replied(&mut self, cx: &mut Context<'_>, reply: Reply) -> io::Result<()> {
        if let Reply::Push(_) = reply {
            log::debug!("{}: sent unasked, and not looked at: {reply:?}", cx.label());
            return Ok(());
        }
        if self.greeting != Greeting::Over {
            return self.greeted(cx, &reply);
        }
        match self.in_flight.pop_front() {
            Some(first) => {
                first
                    .request
                    .answer(From::Callback(cx), Outcome::Done(reply));
                Ok(())
            }
            None => Err(fault("an unsolicited reply")),
        }
    }

    fn greeted(&mut self, cx: &mut Context<'_>, reply: &Reply) -> io::Result<()> {
        match (self.greeting, reply) {
            (Greeting::Login, reply) => {
                Login::answered(reply)?;
                self.greeting = Greeting::in_version(self.settings.version);
            }
            (Greeting::Hello, Reply::Map(_)) => self.greeting = Greeting::Ping,
            (Greeting::Hello, Reply::Error(text)) if text.starts_with("ERR unknown command") => {
                log::debug!("{}: it does not speak RESP3", cx.label());
                self.greeting = Greeting::Ping;
            }
            (Greeting::Ping, Reply::Simple(text)) if text == b"PONG" => {
                self.greeting = Greeting::Over;
                if let Some(timer) = self.timer.take() {
                    cx.cancel_timer(timer);
                }
            }
            (_, Reply::Error(_)) => return Err(reply.as_error()),
            _ => return Err(fault("a greeting that is none of Redis")),
        }
        Ok(())
    }
}

impl Reusable for Connection {
    fn is_reusable(&mut self, _: &mut Context<'_>) -> bool {
        self.in_flight.is_empty() && self.input.is_empty()
    }

    fn is_ready(&mut self) -> bool {
        self.greeting == Greeting::Over
    }
}

impl Dispatcher for Connection {
    fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        // A request fits whole behind whatever is queued. Replies are read whatever is queued.
        let cap = HIGH_MARK + self.settings.max_request;
        cx.set_marks(HIGH_MARK / 2, HIGH_MARK, cap)?;
        cx.feeds_nobody();
        self.timer = Some(cx.set_timer(self.settings.timeout));
        // In one piece. What follows a login that is refused does no harm, and requests do not follow before the end.
        let mut greeting = self
            .settings
            .login
            .as_ref()
            .map_or_else(Vec::new, Login::command);
        if self.settings.version == Version::Resp3 {
            greeting.extend(encode(&["HELLO", "3"]));
        }
        greeting.extend(encode(&["PING"]));
        self.send_bytes(cx, &greeting)
    }

    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_up_to(READ_SIZE, |bytes, _| {
            self.input.extend(bytes);
            Ok(())
        })?;
        while let Some(reply) = self.input.next()? {
            self.replied(cx, reply)?;
        }
        self.refill(cx);
        Ok(())
    }

    fn handle_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.stop_writing();
        self.refill(cx);
        Ok(())
    }

    fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.fault = Some("the server has closed the connection".into());
        if self.greeting != Greeting::Over {
            return Err(fault("the server has closed the connection"));
        }
        // What is queued can do no good any more.
        cx.abort();
        Ok(())
    }

    fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        self.timer = None;
        if self.greeting != Greeting::Over {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the server does not greet",
            ));
        }
        // One timer for all that are in flight: deadlines are in the order of the requests.
        let Some(first) = self.in_flight.front() else {
            return Ok(());
        };
        let left = first.request.deadline.saturating_duration_since(cx.now());
        if left > Duration::ZERO {
            self.timer = Some(cx.set_timer(left));
            return Ok(());
        }
        // The answer may come yet, and would be taken for the next one's.
        self.fault = Some("no answer in time, to this request or to one before it".into());
        cx.abort();
        Ok(())
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        cx.log_fault(&error);
        self.fault = Some(error.to_string().into());
        cx.abort();
    }

    /// No request is left without an answer.
    fn handle_close(&mut self, cx: &mut Context<'_>) {
        let sent = self.accepted - cx.unsent() as u64;
        let cause = cx.end_cause().unwrap_or(Cause::Aborted);
        let why = self
            .fault
            .take()
            .unwrap_or_else(|| cause.to_string().into());
        if let Some((client, lane)) = self.user.take() {
            cx.with(client, |client, cx| client.has_lost(cx, lane));
        }
        for InFlight { start, request } in self.in_flight.drain(..) {
            let why = Rc::clone(&why);
            let outcome = if start < sent {
                Outcome::Unknown(why)
            } else {
                Outcome::NotSent(why)
            };
            request.answer(From::Callback(cx), outcome);
        }
    }
}

fn fault(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
