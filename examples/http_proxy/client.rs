//! One client: requests in, answers out, one after the other.
//!
//! While a request is worked on no other one is read: what a client sends meanwhile waits in the kernel, but for what came
//! with the last read. The answer is not read either if the client does not take it (`feeds`, in `upstream.rs`).

use std::io;
use std::mem;
use std::rc::Rc;

use slabloop::kit::limits::Place;
use slabloop::{Context, Dispatcher, Id, TimerId};

use crate::http::Status;
use crate::http::framing::is_still_partial;
use crate::job::Job;
use crate::proxy::Proxy;
use crate::request::{self, Parsed};
use crate::tunnel::Leg;
use crate::upstream::PIECE_BYTES;
use crate::watchdog::Watchdog;

pub(crate) struct Client {
    pub(crate) proxy: Rc<Proxy>,
    pub(crate) place: Option<Place>,
    pub(crate) phase: Phase,
    /// What was read and not used.
    pub(crate) pending: Vec<u8>,
    /// There may be something of use in `pending`.
    has_more: bool,
    /// So much of a head is known to be not all of it.
    partial: usize,
    watchdog: Watchdog,
    waits_for: WaitsFor,
}

pub(crate) enum Phase {
    /// A head comes next, or is coming.
    Head,
    /// A name is looked up, or a connection waited for.
    Waiting(Box<Job>),
    /// The connection of a tunnel is being made.
    Dialling(Box<Job>, Id<Leg>),
    /// The request is with the server, but for what is to come of its body.
    Exchange(Box<Job>),
    Over,
}

/// What of the client's is waited for, with a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WaitsFor {
    Nothing,
    Request,
    RestOfHead,
    Body,
}

impl Client {
    pub(crate) fn new(proxy: Rc<Proxy>, place: Option<Place>) -> Client {
        Client {
            proxy,
            place,
            phase: Phase::Head,
            pending: Vec::new(),
            has_more: false,
            partial: 0,
            watchdog: Watchdog::default(),
            waits_for: WaitsFor::Nothing,
        }
    }

    /// Takes what was read, behind what is left of before.
    fn take(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        if self.pending.is_empty() {
            let used = self.consume(cx, bytes)?;
            self.pending.extend_from_slice(&bytes[used..]);
        } else {
            let mut input = mem::take(&mut self.pending);
            input.extend_from_slice(bytes);
            let used = self.consume(cx, &input)?;
            if used < input.len() {
                input.drain(..used);
                self.pending = input;
            }
        }
        Ok(())
    }

    /// How much of the input was used.
    fn consume(&mut self, cx: &mut Context<'_>, input: &[u8]) -> io::Result<usize> {
        let mut at = 0;
        loop {
            let rest = &input[at..];
            match &mut self.phase {
                Phase::Head if rest.is_empty() => return Ok(at),
                Phase::Head if !cx.is_reading() => {
                    // Too much is queued for it. It goes on when there is room.
                    self.has_more = true;
                    cx.has_more_input(true);
                    return Ok(at);
                }
                Phase::Head => {
                    let used = self.take_head(cx, rest)?;
                    if used == 0 {
                        return Ok(at);
                    }
                    at += used;
                }
                Phase::Exchange(job) if job.body.is_some() => match job.forward(cx, rest) {
                    Ok(used) => {
                        at += used;
                        if job.body.is_some() {
                            return Ok(at);
                        }
                        cx.pause_reading();
                        let lease = job.lease.as_ref();
                        lease.map(|lease| lease.with(cx, |server, cx| server.wait(cx)));
                    }
                    Err(status) => {
                        self.give_up(cx, status.into())?;
                        return Ok(input.len());
                    }
                },
                Phase::Waiting(_) | Phase::Dialling(..) | Phase::Exchange(_) => return Ok(at),
                Phase::Over => return Ok(input.len()),
            }
        }
    }

    /// Reads a head, and begins to work on it. How long it was; 0 if it is not all there.
    fn take_head(&mut self, cx: &mut Context<'_>, input: &[u8]) -> io::Result<usize> {
        let limits = &self.proxy.limits;
        if self.partial > 0 && is_still_partial(input, self.partial, limits.target, limits.head) {
            self.partial = input.len();
            return Ok(0);
        }
        let proxy = Rc::clone(&self.proxy);
        match request::parse(input, &proxy.limits, &proxy.name) {
            Parsed::Complete(request, length) => {
                self.partial = 0;
                self.begin(cx, Box::new(Job::new(request)))?;
                Ok(length)
            }
            Parsed::Partial => {
                self.partial = input.len();
                Ok(0)
            }
            Parsed::Refused(refusal) => {
                self.refuse(cx, None, refusal)?;
                Ok(input.len())
            }
        }
    }

    /// Has what is pending looked at, as if it came now. (While input is being looked at, nothing is pending.)
    pub(crate) fn look_again(&mut self, cx: &mut Context<'_>) {
        if !self.pending.is_empty() {
            self.has_more = true;
            cx.has_more_input(true);
        }
    }

    /// Sets the deadline that what is waited for has.
    pub(crate) fn review(&mut self, cx: &mut Context<'_>) {
        let limits = &self.proxy.limits;
        let (waits_for, limit) = match &self.phase {
            Phase::Head if self.has_more => (WaitsFor::Nothing, None),
            Phase::Head if self.pending.is_empty() => (WaitsFor::Request, Some(limits.idle_time)),
            Phase::Head => (WaitsFor::RestOfHead, Some(limits.header_time)),
            Phase::Exchange(job) if job.body.is_some() => (WaitsFor::Body, Some(limits.body_time)),
            _ => (WaitsFor::Nothing, None),
        };
        // A byte more of a head gives no more time for it, of a body it does.
        if self.waits_for != waits_for || waits_for == WaitsFor::Body {
            self.waits_for = waits_for;
            self.watchdog.set(cx, limit);
        }
    }
}

impl Dispatcher for Client {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if mem::take(&mut self.has_more) {
            cx.has_more_input(false);
            self.take(cx, &[])?;
        } else {
            cx.recv_up_to(PIECE_BYTES, |bytes, cx| self.take(cx, bytes))?;
        }
        self.review(cx);
        Ok(())
    }

    fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        if !self.watchdog.is_due(cx) {
            return Ok(());
        }
        if self.waits_for == WaitsFor::Request {
            self.close(cx, true);
            return Ok(());
        }
        self.give_up(cx, Status::TIMEOUT.into())
    }

    /// What was asked for before is answered by then: while a request is worked on, the end waits.
    fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match mem::replace(&mut self.phase, Phase::Over) {
            Phase::Exchange(job) => {
                self.end_job(cx, job);
                cx.abort_when_sent();
            }
            _ => cx.close(),
        }
        Ok(())
    }

    fn handle_shutdown(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !matches!(self.phase, Phase::Head) || !self.pending.is_empty() {
            return Ok(());
        }
        // A request may have come that no callback has told of. It is answered.
        let mut buffer = [0; 4096];
        match cx.recv_now(&mut buffer) {
            Ok(0) => Ok(()),
            Ok(count) => self.take(cx, &buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.close(cx, true);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        cx.log_fault(&error);
        cx.abort_when_sent();
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        // A lease goes back by itself, and is of no more use.
        let Phase::Dialling(_, leg) = self.phase else {
            return;
        };
        if let Some(mut leg) = cx.at(leg) {
            leg.abort();
        }
    }
}
