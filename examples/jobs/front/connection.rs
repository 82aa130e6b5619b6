//! One client: requests in, answers out, in order, one after the other.
//!
//! A request is taken when the kernel has the answer to the one before. So there is one request in hand for each client,
//! and what is kept of it is a head, a body of bounded size, and what one read has brought behind them.

use std::io;
use std::mem;
use std::rc::Rc;

use slabloop::{Context, Dispatcher, Timeout, TimerId};

use super::Front;
use super::routes::{Asked, Route};
use crate::http::answer::After;
use crate::http::body::{Body, Step};
use crate::http::deadlines::{Deadlines, Late, Part};
use crate::http::framing::is_still_partial;
use crate::http::head::{self, Head, Parsed};
use crate::http::{Length, Status};

pub(crate) struct Connection {
    pub(crate) front: Rc<Front>,
    pub(crate) phase: Phase,
    /// What was read and not used.
    pending: Vec<u8>,
    /// So much of a head is known to be not all of it.
    partial: usize,
    requests: u64,
    deadlines: Deadlines,
}

pub(crate) enum Phase {
    /// A head comes next, or is coming.
    Head,
    Body(Box<Receiving>),
    /// Redis is asked.
    Waiting(Asked),
    /// An answer is with the kernel soon, and the next request is not taken before.
    Sending,
    Over,
}

/// A job on its way in.
pub(crate) struct Receiving {
    asked: Asked,
    body: Body,
    bytes: Vec<u8>,
}

impl Connection {
    pub(crate) fn new(cx: &Context<'_>, front: Rc<Front>) -> Connection {
        Connection {
            front,
            phase: Phase::Head,
            pending: Vec::new(),
            partial: 0,
            requests: 0,
            deadlines: Deadlines::new(cx.now()),
        }
    }

    fn take(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        if matches!(self.phase, Phase::Head) && self.pending.is_empty() && !bytes.is_empty() {
            self.deadlines.begin(cx, &self.front.limits);
        }
        self.pending.extend_from_slice(bytes);
        let input = mem::take(&mut self.pending);
        let used = self.consume(cx, &input)?;
        self.pending = input;
        self.pending.drain(..used);
        self.review_deadlines(cx);
        Ok(())
    }

    /// How much of the input was used.
    fn consume(&mut self, cx: &mut Context<'_>, input: &[u8]) -> io::Result<usize> {
        let mut at = 0;
        loop {
            let rest = &input[at..];
            match &mut self.phase {
                Phase::Head if rest.is_empty() => return Ok(at),
                Phase::Head => match self.take_head(cx, rest)? {
                    0 => return Ok(at),
                    used => at += used,
                },
                Phase::Body(receiving) => {
                    let taken = receiving.take(rest);
                    let (used, is_all) = match taken {
                        Ok(taken) => taken,
                        Err(status) => {
                            self.refuse(cx, status)?;
                            return Ok(input.len());
                        }
                    };
                    at += used;
                    if !is_all {
                        return Ok(at);
                    }
                    if let Phase::Body(receiving) = mem::replace(&mut self.phase, Phase::Head) {
                        self.post(cx, receiving.asked, &receiving.bytes)?;
                    }
                }
                Phase::Waiting(_) | Phase::Sending => {
                    cx.pause_reading();
                    return Ok(at);
                }
                Phase::Over => return Ok(input.len()),
            }
        }
    }

    /// Reads a head. How long it was; 0 if it is not all there.
    fn take_head(&mut self, cx: &mut Context<'_>, input: &[u8]) -> io::Result<usize> {
        let front = Rc::clone(&self.front);
        let limits = &front.limits;
        if self.partial > 0 && is_still_partial(input, self.partial, limits.target, limits.head) {
            self.partial = input.len();
            return Ok(0);
        }
        match head::parse(input, limits) {
            Parsed::Complete(head, length) => {
                self.partial = 0;
                self.requests += 1;
                let is_last = limits.requests != 0 && self.requests >= limits.requests;
                let closes = is_last || cx.is_shutting_down();
                match Route::of(&head, closes) {
                    Ok(asked) if matches!(asked.route, Route::Post { .. }) => {
                        self.begin_body(cx, asked, &head, length == input.len())?;
                    }
                    // What is not read cannot be followed by another request.
                    Ok(_) if head.has_body() => self.refuse(cx, Status::TOO_LARGE)?,
                    Ok(asked) => self.get(cx, asked)?,
                    Err(refused) => self.answer(cx, &refused.0, &refused.1)?,
                }
                Ok(length)
            }
            Parsed::Partial => {
                self.partial = input.len();
                Ok(0)
            }
            Parsed::Refused(status) => {
                self.refuse(cx, status)?;
                Ok(input.len())
            }
        }
    }

    /// A job follows. `is_all`: nothing of it has come.
    fn begin_body(
        &mut self,
        cx: &mut Context<'_>,
        asked: Asked,
        head: &Head<'_>,
        is_all: bool,
    ) -> io::Result<()> {
        if head.length == Length::Unsaid {
            return self.refuse(cx, Status::LENGTH_REQUIRED);
        }
        let body = match Body::new(head.length, self.front.limits.body) {
            Ok(body) => body,
            Err(status) => return self.refuse(cx, status),
        };
        // A client that has sent a part of the body does not wait for a 100.
        if head.expects_continue && is_all {
            cx.send(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let bytes = Vec::new();
        self.phase = Phase::Body(Box::new(Receiving { asked, body, bytes }));
        Ok(())
    }

    /// All of an answer is queued.
    pub(crate) fn answered(&mut self, cx: &mut Context<'_>, after: After) -> io::Result<()> {
        if after == After::Closes || cx.is_shutting_down() {
            self.phase = Phase::Over;
            cx.close();
            return Ok(());
        }
        self.phase = Phase::Sending;
        cx.pause_reading();
        cx.notify_when_sent()
    }

    fn review_deadlines(&mut self, cx: &mut Context<'_>) {
        let part = match &self.phase {
            Phase::Head if self.pending.is_empty() => None,
            Phase::Head => Some(Part::Head),
            Phase::Body(_) => Some(Part::Body),
            Phase::Waiting(_) | Phase::Sending | Phase::Over => None,
        };
        self.deadlines.review(cx, &self.front.limits, part);
    }
}

impl Receiving {
    /// How much of the input belongs to the body, and whether that is its end.
    fn take(&mut self, input: &[u8]) -> Result<(usize, bool), Status> {
        let mut at = 0;
        loop {
            let (step, used) = self.body.take(&input[at..])?;
            at += used;
            match step {
                Step::End => return Ok((at, true)),
                Step::Data(piece) => self.bytes.extend_from_slice(piece),
                Step::Framing => {}
            }
            if used == 0 {
                return Ok((at, false));
            }
        }
    }
}

impl Dispatcher for Connection {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_with(|bytes, cx| self.take(cx, bytes))
    }

    /// The kernel has the answer.
    fn handle_sent(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if matches!(self.phase, Phase::Sending) {
            self.phase = Phase::Head;
            cx.resume_reading();
            if !self.pending.is_empty() {
                self.deadlines.begin(cx, &self.front.limits);
                return self.take(cx, &[]);
            }
        }
        Ok(())
    }

    fn handle_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) -> io::Result<()> {
        let is_idle = matches!(self.phase, Phase::Head) && self.pending.is_empty();
        let late = self.deadlines.due(cx, &self.front.limits, timer, !is_idle);
        match (late, &self.phase) {
            (None, _) => Ok(()),
            (Some(Late::Part), Phase::Head | Phase::Body(_)) => self.refuse(cx, Status::TIMEOUT),
            (Some(_), _) => {
                log::debug!("{}: a request took too long", cx.label());
                cx.abort();
                Ok(())
            }
        }
    }

    fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match &mut self.phase {
            // It may still read.
            Phase::Waiting(asked) => asked.after = After::Closes,
            _ => cx.close(),
        }
        Ok(())
    }

    /// A request that is in hand is answered.
    fn handle_shutdown(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match &self.phase {
            Phase::Head if self.pending.is_empty() => cx.close(),
            Phase::Sending => cx.close(),
            _ => {}
        }
        Ok(())
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        // A client that keeps a connection and needs it no longer is no fault.
        if Timeout::of(&error) != Some(Timeout::Idle) {
            cx.log_fault(&error);
        }
        cx.abort_when_sent();
    }
}
