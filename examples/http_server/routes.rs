//! What a request asks for: which answer it gets.

use std::io;
use std::mem;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use slabloop::Context;

use crate::answer::{After, Status};
use crate::connection::{Connection, Phase};
use crate::files;
use crate::head::{self, Head, Length, Method, Parsed};
use crate::receiving::{Receiving, Sink};
use crate::site::{Outcome, Site};
use crate::target;

/// What `/echo` and `/upload` take.
const POST_ONLY: &str = "POST";
/// And everything else.
const GET_ONLY: &str = "GET, HEAD";

impl Connection {
    /// Begins to answer a request. `is_all`: nothing was read behind its head.
    #[inline]
    pub(crate) fn begin(
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
        let asks_for_a_file = matches!(head.method, Method::Get | Method::Head);
        if !asks_for_a_file || head.has_body() {
            return self.begin_otherwise(cx, site, head, raw, after, is_all);
        }
        let path = target::path(head.target);
        {
            let cache = site.cache.borrow();
            let known = cache.get(path);
            if let Some(entry) = known.filter(|entry| site.is_fresh(entry, cx.now())) {
                files::send(cx, site, head, entry, after)?;
                return self.answered(cx, after, is_all);
            }
        }
        if sink(path).is_some() {
            return self.not_allowed(cx, head, after, POST_ONLY);
        }
        let who = cx.id::<Connection>();
        match site.find(cx, path, who) {
            Outcome::Later => {
                self.phase = Phase::Opening(raw.into());
                cx.pause_reading();
                Ok(())
            }
            outcome => self.answer(cx, head, &outcome, after, is_all),
        }
    }

    /// A request with a body, or one that is refused.
    #[inline(never)]
    fn begin_otherwise(
        &mut self,
        cx: &mut Context<'_>,
        site: &Rc<Site>,
        head: &Head<'_>,
        raw: &[u8],
        after: After,
        is_all: bool,
    ) -> io::Result<()> {
        // What is not read cannot be followed by another request.
        let after_refusal = if head.has_body() {
            After::Closes
        } else {
            after
        };
        let sink = match (head.method, sink(target::path(head.target))) {
            (Method::Post, Some(sink)) => sink,
            (Method::Unknown, _) => return self.refuse(cx, Some(head), Status::NOT_IMPLEMENTED),
            // A file takes no body.
            (Method::Get | Method::Head, None) => {
                return self.refuse(cx, Some(head), Status::TOO_LARGE);
            }
            (_, Some(_)) => return self.not_allowed(cx, head, after_refusal, POST_ONLY),
            (_, None) => return self.not_allowed(cx, head, after_refusal, GET_ONLY),
        };
        if head.length == Length::Unsaid {
            return self.plain(cx, Some(head), Status::LENGTH_REQUIRED, after, None);
        }
        match Receiving::new(site, head, raw, sink, after) {
            Ok(receiving) => {
                // A client that has sent a part of the body does not wait for a 100.
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
        let Phase::Opening(raw) = &mut self.phase else {
            // It took too long, and that was said.
            return Ok(());
        };
        let raw = mem::take(raw);
        self.phase = Phase::Head;
        cx.resume_reading();
        let site = Rc::clone(&self.site);
        site.date.borrow_mut().refresh(cx.now());
        // It was understood before.
        if let Parsed::Complete(head, _) = head::parse(&raw, &site.limits.http) {
            let after = self.after(cx, &head);
            self.answer(cx, &head, outcome, after, self.pending.is_empty())?;
        }
        self.go_on(cx)
    }

    /// What was waited for is there: looks at what is behind that request.
    pub(crate) fn go_on(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let takes_more = matches!(self.phase, Phase::Head | Phase::Body(_));
        if takes_more && !self.pending.is_empty() {
            self.wait(cx)?;
        }
        self.review_deadlines(cx);
        Ok(())
    }

    /// What is to become of the connection after the answer to this request.
    #[inline]
    pub(crate) fn after(&self, cx: &Context<'_>, head: &Head<'_>) -> After {
        let limit = self.site.limits.http.requests;
        let is_last = limit != 0 && self.requests >= limit;
        if !head.keep_alive
            || is_last
            || self.site.leaving.load(Ordering::Relaxed)
            || cx.is_shutting_down()
        {
            After::Closes
        } else if head.is_1_1 {
            After::Stays
        } else {
            After::StaysAndSays
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
        self.plain(cx, Some(head), Status::NOT_ALLOWED, after, allow)
    }
}

/// What is made of a body that is sent to this path.
fn sink(path: &str) -> Option<Sink> {
    match path {
        "/echo" => Some(Sink::Echo),
        "/upload" => Some(Sink::Count),
        _ => None,
    }
}
