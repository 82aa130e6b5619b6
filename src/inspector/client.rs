//! One connection to the inspector: a request, and its answer or a stream of beats.

use std::io;
use std::rc::Rc;
use std::time::Duration;

#[cfg(feature = "trace")]
use crate::TimerId;
use crate::{Context, Dispatcher, Id, Timeout};

use super::hub::Hub;
use super::page;
use super::replay::Replay;
use super::reply::{self, Media, Reply};
use super::request::{MOST_BYTES, Refused, Request};
#[cfg(feature = "trace")]
use super::tracing::{self, Tracing};

/// How long the head of a request may take.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// The timeout for a client that does not read.
const STALL_TIME: Duration = Duration::from_secs(15);
/// Low mark, high mark and hard cap: whatever the program's are, a beat fits.
const MARKS: (usize, usize, usize) = (32 * 1024, 64 * 1024, 1024 * 1024);

/// What a connection needs to know of the inspector.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) hub: Id<Hub>,
    /// Names by which it may be asked for.
    pub(super) hosts: Rc<[String]>,
    pub(super) replay: Option<Replay>,
    /// How many connections there are: as many as there are of this.
    pub(super) places: Rc<()>,
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Client {
    server: Server,
    state: State,
}

#[derive(Debug)]
enum State {
    /// What has come of the head.
    Asking(Vec<u8>),
    Answering(Reply),
    /// It is a page, and gets beats.
    Watching,
    /// It waits for a trace.
    #[cfg(feature = "trace")]
    Tracing(Tracing),
}

impl Client {
    pub(super) fn new(server: Server) -> Client {
        let state = State::Asking(Vec::new());
        Client { server, state }
    }

    /// Once, when it has been added. With `busy` it gets an answer to try later.
    pub(super) fn begin(&mut self, cx: &mut Context<'_>, busy: bool) -> io::Result<()> {
        let (low, high, cap) = MARKS;
        cx.set_marks(low, high, cap)?;
        cx.set_timeout(Timeout::Request, HEAD_TIME);
        cx.set_timeout(Timeout::Stall, STALL_TIME);
        cx.set_timeout(Timeout::Close, STALL_TIME);
        cx.set_timeout(Timeout::Idle, None);
        if busy {
            let why = "too many connections to the inspector; close another page";
            self.answer(cx, Reply::sorry(false, "503 Service Unavailable", why));
        }
        Ok(())
    }

    fn answer(&mut self, cx: &mut Context<'_>, reply: Reply) {
        self.state = State::Answering(reply);
        cx.set_timeout(Timeout::Request, None);
        cx.start_writing();
    }

    fn take_in(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        let State::Asking(head) = &mut self.state else {
            // What comes after a request is of no interest.
            return Ok(());
        };
        let room = MOST_BYTES - head.len();
        head.extend_from_slice(&bytes[..bytes.len().min(room)]);
        match self.request(cx) {
            Ok(None) => Ok(()),
            Ok(Some(request)) => self.serve(cx, &request),
            Err(refused) => {
                self.answer(cx, Reply::refused(refused));
                Ok(())
            }
        }
    }

    /// The request, if it is whole and may be answered.
    fn request(&self, cx: &Context<'_>) -> Result<Option<Request>, Refused> {
        let State::Asking(head) = &self.state else {
            return Ok(None);
        };
        let request = Request::parse(head)?;
        if let Some(request) = &request {
            let local = cx.local_addr().ok().map(|address| address.ip());
            request.check(local, &self.server.hosts)?;
        }
        Ok(request)
    }

    fn serve(&mut self, cx: &mut Context<'_>, request: &Request) -> io::Result<()> {
        let is_head = request.is_head;
        let json = |pieces| Reply::ok(is_head, Media::Json, pieces);
        let reply = match (request.path.as_str(), &self.server.replay) {
            ("/", replay) => page::reply(is_head, replay.is_some()),
            ("/snapshot.json" | "/recording.json", Some(replay)) => {
                json(vec![Rc::clone(&replay.bytes)])
            }
            // No event source comes again after this.
            ("/events", Some(_)) => Reply::sorry(true, "204 No Content", ""),
            (_, Some(_)) => not_here(is_head, "this is a recording"),
            ("/events", None) if is_head => Reply::ok(true, Media::Events, Vec::new()),
            ("/events", None) => return self.watch(cx),
            ("/snapshot.json", None) => json(self.ask_hub(cx, Hub::snapshot)?),
            ("/recording.json", None) => json(self.ask_hub(cx, Hub::recording)?),
            ("/lints.json", None) => json(Hub::lints(cx)?),
            ("/metrics", None) => metrics(cx, is_head),
            #[cfg(feature = "trace")]
            ("/trace.json", None) if is_head => json(Vec::new()),
            #[cfg(feature = "trace")]
            ("/trace.json", None) => return self.begin_trace(cx),
            #[cfg(not(feature = "trace"))]
            ("/trace.json", None) => not_here(is_head, "built without the feature trace"),
            _ => not_here(is_head, "there is no such page"),
        };
        self.answer(cx, reply);
        Ok(())
    }

    fn ask_hub(
        &self,
        cx: &mut Context<'_>,
        ask: impl FnOnce(&mut Hub, &mut Context<'_>) -> io::Result<Vec<Rc<[u8]>>>,
    ) -> io::Result<Vec<Rc<[u8]>>> {
        cx.with(self.server.hub, ask)
            .unwrap_or_else(|| Err(io::ErrorKind::NotConnected.into()))
    }

    /// Sends beats from now on.
    fn watch(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.state = State::Watching;
        cx.set_timeout(Timeout::Request, None);
        cx.send(&reply::head("200 OK", Media::Events, None, None))?;
        // How long an event source waits before it comes again.
        cx.send(b"retry: 500\n\n")?;
        let page = cx.any_id();
        cx.with(self.server.hub, |hub, cx| hub.join(cx, page));
        Ok(())
    }
}

#[cfg(feature = "trace")]
impl Client {
    /// The answer comes when the trace is whole.
    fn begin_trace(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.set_timeout(Timeout::Request, None);
        match Tracing::begin(cx) {
            Some(tracing) => {
                self.state = State::Tracing(tracing);
                cx.set_timer(tracing::LENGTH);
            }
            None => {
                let why = "a trace is being written already";
                self.answer(cx, Reply::sorry(false, "409 Conflict", why));
            }
        }
        Ok(())
    }

    fn end_trace(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if let State::Tracing(tracing) = &self.state {
            let trace = tracing.end(cx)?;
            self.answer(cx, Reply::ok(false, Media::Json, vec![trace]));
        }
        Ok(())
    }
}

impl Dispatcher for Client {
    #[cfg(feature = "trace")]
    fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        self.end_trace(cx)
    }

    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_with(|bytes, cx| self.take_in(cx, bytes))
    }

    fn handle_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let State::Answering(reply) = &mut self.state else {
            cx.stop_writing();
            return Ok(());
        };
        match reply.next() {
            Some(piece) => cx.send(piece),
            None => {
                cx.close();
                Ok(())
            }
        }
    }

    fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        // One that has asked may end its stream and wait for the answer.
        if matches!(self.state, State::Asking(_) | State::Watching) {
            cx.close();
        }
        Ok(())
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        log::debug!("{}: {error}", cx.label());
        cx.abort();
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        let page = cx.any_id();
        cx.with(self.server.hub, |hub, cx| hub.leave(cx, page));
        #[cfg(feature = "trace")]
        if let State::Tracing(tracing) = &self.state {
            // One that did not wait for it.
            let _ = tracing.end(cx);
        }
    }
}

fn not_here(is_head: bool, why: &str) -> Reply {
    Reply::sorry(is_head, "404 Not Found", why)
}

/// Prometheus' text.
#[cfg(feature = "metrics")]
fn metrics(cx: &mut Context<'_>, is_head: bool) -> Reply {
    let text = cx.metrics().to_prometheus().into_bytes();
    Reply::ok(is_head, Media::Metrics, vec![text.into()])
}

#[cfg(not(feature = "metrics"))]
fn metrics(_: &mut Context<'_>, is_head: bool) -> Reply {
    not_here(is_head, "built without the feature metrics")
}
