//! One client: requests in, answers out, in order, one after the other.
//!
//! The usual request comes whole, in one read. It is parsed where it lies, in the buffer that the reactor lends, its file is
//! known, and the answer is one piece of memory: nothing is allocated, no timer is set, and one write sends it. All else
//! is apart from that: a head that comes in parts is kept, a body is read by `receiving.rs`, a file that is not known
//! is waited for.

use std::io;
use std::mem;
use std::rc::Rc;

use slabloop::{Context, Dispatcher, Timeout, TimerId};

use crate::answer::{After, Status, write_plain};
use crate::files;
use crate::head::{self, Head, Length, Method, Parsed};
use crate::receiving::{Ended, Receiving, Sink};
use crate::site::{Outcome, Site};
use crate::target;

/// What a timer is for.
const HEADER: u32 = 1;
const BODY: u32 = 2;
const REQUEST: u32 = 3;

/// What `/echo` and `/upload` take.
const POST_ONLY: &str = "POST";
/// And everything else.
const GET_ONLY: &str = "GET, HEAD";

pub(crate) struct Connection {
    site: Rc<Site>,
    phase: Phase,
    /// What was read and not used: a part of a head, or requests that wait for the answers before them.
    pending: Vec<u8>,
    /// So much of a head is known to be not all of it.
    partial: usize,
    /// There may be a whole request in `pending`.
    has_more: bool,
    /// A file is on its way.
    is_sending: bool,
    /// The connection is to be closed after it.
    is_last: bool,
    requests: u64,
    /// For the head or the body, with what it is for.
    timer: Option<(TimerId, u32)>,
    request_timer: Option<TimerId>,
}

enum Phase {
    /// A head comes next, or is coming.
    Head,
    Body(Box<Receiving>),
    /// A file is being opened. The head is kept until then.
    Opening(Box<[u8]>),
    Over,
}

impl Connection {
    pub(crate) fn new(site: Rc<Site>) -> Connection {
        Connection {
            site,
            phase: Phase::Head,
            pending: Vec::new(),
            partial: 0,
            has_more: false,
            is_sending: false,
            is_last: false,
            requests: 0,
            timer: None,
            request_timer: None,
        }
    }

    /// Takes what was read, behind what is left of before.
    #[inline]
    fn take(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        if self.pending.is_empty() {
            let used = self.consume(cx, bytes)?;
            if used < bytes.len() {
                self.pending.extend_from_slice(&bytes[used..]);
            }
        } else {
            self.take_more(cx, bytes)?;
        }
        self.review_timers(cx);
        Ok(())
    }

    #[inline(never)]
    fn take_more(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        let mut input = mem::take(&mut self.pending);
        input.extend_from_slice(bytes);
        let used = self.consume(cx, &input)?;
        if used < input.len() {
            input.drain(..used);
            self.pending = input;
        }
        Ok(())
    }

    /// How much of the input was used: whole heads, and of a body what there is.
    fn consume(&mut self, cx: &mut Context<'_>, input: &[u8]) -> io::Result<usize> {
        let mut at = 0;
        loop {
            let rest = &input[at..];
            match &mut self.phase {
                Phase::Head => {
                    if rest.is_empty() {
                        return Ok(at);
                    }
                    if !cx.is_reading() {
                        // Too much is queued, or a file is being sent. It goes on when there is room.
                        self.has_more = true;
                        cx.has_more_input(true);
                        return Ok(at);
                    }
                    let used = self.take_head(cx, rest)?;
                    if used == 0 {
                        return Ok(at);
                    }
                    at += used;
                }
                Phase::Body(receiving) => {
                    let (used, ended) = receiving.take(cx, rest)?;
                    at += used;
                    match ended {
                        Some(ended) => self.body_ended(cx, ended, at == input.len())?,
                        None => return Ok(at),
                    }
                }
                Phase::Opening(_) => return Ok(at),
                Phase::Over => return Ok(input.len()),
            }
        }
    }

    /// Reads a head, and begins to answer it. How long it was; 0 if it is not all there.
    #[inline]
    fn take_head(&mut self, cx: &mut Context<'_>, input: &[u8]) -> io::Result<usize> {
        if self.partial > 0 && self.is_still_partial(input) {
            return Ok(0);
        }
        // A line break too many, which some clients send behind a body. It counts as a request, so that it has an end.
        if input == b"\r\n" {
            self.requests += 1;
            return Ok(input.len());
        }
        let site = Rc::clone(&self.site);
        match head::parse(input, &site.limits) {
            Parsed::Complete(head, length) => {
                self.partial = 0;
                self.begin(cx, &site, &head, &input[..length], length == input.len())?;
                Ok(length)
            }
            Parsed::Partial => {
                self.partial = input.len();
                Ok(0)
            }
            Parsed::Refused(status) => {
                self.refuse(cx, None, status)?;
                Ok(input.len())
            }
        }
    }

    /// Whether what has come since the last look cannot complete the head: so that one that comes byte by byte is not
    /// parsed as often.
    fn is_still_partial(&mut self, input: &[u8]) -> bool {
        let new = &input[self.partial.saturating_sub(3).min(input.len())..];
        let limits = &self.site.limits;
        let is_whole = new.windows(2).any(|pair| pair == b"\n\n")
            || new.windows(3).any(|three| three == b"\n\r\n");
        let is_long = input.len() > limits.head.min(limits.target + 32);
        self.partial = input.len();
        !is_whole && !is_long
    }

    /// What is to become of the connection after the answer to this request.
    #[inline]
    fn after(&self, cx: &Context<'_>, head: &Head<'_>) -> After {
        let limit = self.site.limits.requests;
        let is_last = limit != 0 && self.requests >= limit;
        if !head.keep_alive || is_last || cx.is_shutting_down() {
            After::Closes
        } else if head.is_1_1 {
            After::Stays
        } else {
            After::StaysAndSays
        }
    }

    #[inline]
    fn begin(
        &mut self,
        cx: &mut Context<'_>,
        site: &Rc<Site>,
        head: &Head<'_>,
        raw: &[u8],
        is_all: bool,
    ) -> io::Result<()> {
        self.requests += 1;
        let after = self.after(cx, head);
        site.date.borrow_mut().refresh(cx.now());
        let is_bodiless = matches!(head.length, Length::Unsaid | Length::Bytes(0));
        if matches!(head.method, Method::Get | Method::Head) && is_bodiless {
            let path = target::path(head.target);
            {
                let cache = site.cache.borrow();
                if let Some(entry) = cache
                    .get(path)
                    .filter(|entry| site.is_fresh(entry, cx.now()))
                {
                    let is_sending = files::send(cx, site, head, entry, after)?;
                    return self.answered(cx, after, is_sending, is_all);
                }
            }
            if path == "/echo" || path == "/upload" {
                return self.not_allowed(cx, head, after, POST_ONLY);
            }
            let who = cx.id::<Connection>();
            return match site.find(cx, path, who) {
                Outcome::Later => {
                    self.phase = Phase::Opening(raw.into());
                    cx.pause_reading();
                    Ok(())
                }
                outcome => self.answer(cx, head, &outcome, after, is_all),
            };
        }
        self.begin_otherwise(cx, site, head, raw, after, is_all, is_bodiless)
    }

    /// A request with a body, or one that is refused.
    #[inline(never)]
    #[expect(clippy::too_many_arguments, reason = "what `begin` knows")]
    fn begin_otherwise(
        &mut self,
        cx: &mut Context<'_>,
        site: &Rc<Site>,
        head: &Head<'_>,
        raw: &[u8],
        after: After,
        is_all: bool,
        is_bodiless: bool,
    ) -> io::Result<()> {
        let sink = match target::path(head.target) {
            "/echo" => Some(Sink::Echo),
            "/upload" => Some(Sink::Count),
            _ => None,
        };
        // What is not read cannot be followed by another request.
        let after_refusal = if is_bodiless { after } else { After::Closes };
        let sink = match (head.method, sink) {
            (Method::Post, Some(sink)) => sink,
            (Method::Unknown, _) => {
                return self.plain(cx, Some(head), Status::NOT_IMPLEMENTED, After::Closes);
            }
            // A file takes no body.
            (Method::Get | Method::Head, None) => {
                return self.refuse(cx, Some(head), Status::TOO_LARGE);
            }
            (_, Some(_)) => return self.not_allowed(cx, head, after_refusal, POST_ONLY),
            (_, None) => return self.not_allowed(cx, head, after_refusal, GET_ONLY),
        };
        if head.length == Length::Unsaid {
            return self.plain(cx, Some(head), Status::LENGTH_REQUIRED, after);
        }
        match Receiving::new(site, head, raw, sink, after) {
            Ok(receiving) => {
                if head.expects_continue && is_all {
                    cx.send(b"HTTP/1.1 100 Continue\r\n\r\n")?;
                }
                self.phase = Phase::Body(Box::new(receiving));
                Ok(())
            }
            Err(status) => self.refuse(cx, Some(head), status),
        }
    }

    /// The file that was waited for, or what is to be said instead.
    pub(crate) fn found(&mut self, cx: &mut Context<'_>, outcome: &Outcome) -> io::Result<()> {
        let Phase::Opening(raw) = mem::replace(&mut self.phase, Phase::Head) else {
            return Ok(());
        };
        cx.resume_reading();
        if !self.pending.is_empty() {
            self.has_more = true;
            cx.has_more_input(true);
        }
        let site = Rc::clone(&self.site);
        site.date.borrow_mut().refresh(cx.now());
        if let Parsed::Complete(head, _) = head::parse(&raw, &site.limits) {
            let after = self.after(cx, &head);
            self.answer(cx, &head, outcome, after, self.pending.is_empty())?;
        }
        self.review_timers(cx);
        Ok(())
    }

    fn answer(
        &mut self,
        cx: &mut Context<'_>,
        head: &Head<'_>,
        outcome: &Outcome,
        after: After,
        is_all: bool,
    ) -> io::Result<()> {
        match outcome {
            Outcome::File(entry) => {
                let is_sending = files::send(cx, &self.site, head, entry, after)?;
                self.answered(cx, after, is_sending, is_all)
            }
            Outcome::Folder => {
                let to = target::with_slash(head.target);
                self.plain_with(
                    cx,
                    Some(head),
                    Status::MOVED,
                    after,
                    Some(("Location", &to)),
                )
            }
            Outcome::Nothing(status) => self.plain(cx, Some(head), *status, after),
            Outcome::Later => Ok(()),
        }
    }

    /// All of an answer is queued. `is_all`: and nothing more was read.
    #[inline]
    fn answered(
        &mut self,
        cx: &mut Context<'_>,
        after: After,
        is_sending: bool,
        is_all: bool,
    ) -> io::Result<()> {
        if let Some(timer) = self.request_timer.take() {
            cx.cancel_timer(timer);
        }
        if is_sending {
            self.is_sending = true;
            self.is_last = after == After::Closes;
            return cx.notify_when_sent();
        }
        if after == After::Closes {
            self.close(cx, is_all);
        }
        Ok(())
    }

    /// A client that has sent all that it had (`is_all`) sends nothing more, and need not be waited for. Others would lose
    /// the answer by a reset.
    #[inline]
    fn close(&mut self, cx: &mut Context<'_>, is_all: bool) {
        self.phase = Phase::Over;
        if is_all {
            cx.close_when_sent();
        } else {
            cx.close();
        }
    }

    fn body_ended(&mut self, cx: &mut Context<'_>, ended: Ended, is_all: bool) -> io::Result<()> {
        match (mem::replace(&mut self.phase, Phase::Head), ended) {
            (Phase::Body(receiving), Ended::Well) => {
                let after = receiving.finish(cx, &self.site)?;
                self.answered(cx, after, false, is_all)
            }
            // A part of the answer is out, and must not be taken for all of it.
            (Phase::Body(receiving), Ended::Badly(_)) if receiving.has_begun() => {
                self.phase = Phase::Over;
                cx.abort_when_sent();
                Ok(())
            }
            (_, Ended::Badly(status)) => self.refuse(cx, None, status),
            _ => Ok(()),
        }
    }

    fn not_allowed(
        &mut self,
        cx: &mut Context<'_>,
        head: &Head<'_>,
        after: After,
        allowed: &str,
    ) -> io::Result<()> {
        let allow = Some(("Allow", allowed));
        self.plain_with(cx, Some(head), Status::NOT_ALLOWED, after, allow)
    }

    /// Says what is wrong, and closes.
    fn refuse(
        &mut self,
        cx: &mut Context<'_>,
        head: Option<&Head<'_>>,
        status: Status,
    ) -> io::Result<()> {
        self.plain(cx, head, status, After::Closes)
    }

    fn plain(
        &mut self,
        cx: &mut Context<'_>,
        head: Option<&Head<'_>>,
        status: Status,
        after: After,
    ) -> io::Result<()> {
        self.plain_with(cx, head, status, after, None)
    }

    /// An answer without a file. More may be read that belongs to the request, so that closing waits for it.
    #[inline(never)]
    fn plain_with(
        &mut self,
        cx: &mut Context<'_>,
        head: Option<&Head<'_>>,
        status: Status,
        after: After,
        field: Option<(&str, &str)>,
    ) -> io::Result<()> {
        let site = Rc::clone(&self.site);
        site.date.borrow_mut().refresh(cx.now());
        let date = site.date.borrow();
        let mut buffer = site.scratch.borrow_mut();
        buffer.clear();
        let with_body = head.is_none_or(|head| head.method != Method::Head);
        write_plain(&mut buffer, status, date.text(), after, with_body, |head| {
            if let Some((name, value)) = field {
                head.field(name, value);
            }
        });
        cx.send(&buffer)?;
        if let Some(log) = &site.log {
            let bytes = if with_body {
                status.to_string().len() as u64 + 1
            } else {
                0
            };
            log.borrow_mut()
                .line(cx.peer(), head, status.0, bytes, &date);
        }
        self.answered(cx, after, false, false)
    }

    /// Sets the timers that what is in hand wants, and no others.
    #[inline]
    fn review_timers(&mut self, cx: &mut Context<'_>) {
        let wanted = match &self.phase {
            Phase::Head if self.pending.is_empty() || self.has_more => 0,
            Phase::Head => HEADER,
            Phase::Body(_) => BODY,
            Phase::Opening(_) | Phase::Over => 0,
        };
        let is_in_hand = wanted != 0 || self.is_sending || matches!(self.phase, Phase::Opening(_));
        let is_set = self.timer.map_or(0, |(_, tag)| tag);
        if wanted != is_set || is_in_hand != self.request_timer.is_some() {
            self.set_timers(cx, wanted, is_in_hand);
        }
    }

    #[inline(never)]
    fn set_timers(&mut self, cx: &mut Context<'_>, wanted: u32, is_in_hand: bool) {
        let limits = &self.site.limits;
        let is_set = self.timer.map_or(0, |(_, tag)| tag);
        if wanted != is_set {
            if let Some((timer, _)) = self.timer.take() {
                cx.cancel_timer(timer);
            }
            let limit = if wanted == HEADER {
                limits.header_time
            } else {
                limits.body_time
            };
            if wanted != 0 && !cx.is_closing() {
                self.timer = Some((cx.set_tagged_timer(limit, wanted), wanted));
            }
        }
        if !is_in_hand {
            if let Some(timer) = self.request_timer.take() {
                cx.cancel_timer(timer);
            }
        } else if self.request_timer.is_none() && !cx.is_closing() {
            self.request_timer = Some(cx.set_tagged_timer(limits.request_time, REQUEST));
        }
    }

    /// A request has taken too long.
    fn too_late(&mut self, cx: &mut Context<'_>, tag: u32) -> io::Result<()> {
        match mem::replace(&mut self.phase, Phase::Over) {
            // What is out is not all.
            Phase::Body(receiving) if receiving.has_begun() => cx.abort(),
            _ if self.is_sending => cx.abort(),
            Phase::Opening(_) => return self.refuse(cx, None, Status::UNAVAILABLE),
            _ => return self.refuse(cx, None, Status::TIMEOUT),
        }
        log::debug!("{}: timer {tag}: aborted", cx.label());
        Ok(())
    }
}

impl Dispatcher for Connection {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.has_more {
            self.has_more = false;
            cx.has_more_input(false);
            return self.take(cx, &[]);
        }
        cx.recv_with(|bytes, cx| self.take(cx, bytes))
    }

    /// A file is through.
    fn handle_sent(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.is_sending = false;
        if self.is_last {
            self.close(cx, self.pending.is_empty());
        }
        self.review_timers(cx);
        Ok(())
    }

    fn handle_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) -> io::Result<()> {
        self.too_late(cx, timer.tag())
    }

    /// All answers that are queued leave first. A body that has not come whole has no answer.
    fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match &self.phase {
            Phase::Body(receiving) if receiving.has_begun() => cx.abort_when_sent(),
            _ => cx.close(),
        }
        Ok(())
    }

    fn handle_shutdown(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.is_sending {
            self.is_last = true;
            return Ok(());
        }
        let is_idle = matches!(self.phase, Phase::Head) && self.pending.is_empty();
        if !is_idle {
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
        // A client that keeps a connection and needs it no longer is no fault.
        if Timeout::of(&error) != Some(Timeout::Idle) {
            cx.log_fault(&error);
        }
        cx.abort_when_sent();
    }
}
