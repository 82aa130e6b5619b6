//! One callback: a request with the outcome of a job, and the status that answers it.

use std::io;
use std::time::Duration;

use slabloop::{Context, Dispatcher, Id, TimerId};

use super::doing::Ended;
use super::puller::Puller;
use crate::address::Url;

/// A longer head is none of an answer to this.
const LONGEST_HEAD: usize = 16 * 1024;

const MOST_FIELDS: usize = 64;

pub(crate) struct Post {
    puller: Id<Puller>,
    entry: String,
    attempt: String,
    request: Vec<u8>,
    answer: Vec<u8>,
    limit: Duration,
    is_told: bool,
}

impl Post {
    pub(crate) fn new(
        puller: Id<Puller>,
        entry: &str,
        attempt: &str,
        url: &Url,
        id: &str,
        outcome: &str,
        limit: Duration,
    ) -> Post {
        // The id is the idempotency key as well: the receiver can tell what it has had before.
        let request = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Idempotency-Key: {id}\r\nConnection: close\r\n\r\n{outcome}",
            url.path,
            url.host,
            outcome.len(),
        );
        Post {
            puller,
            entry: entry.to_owned(),
            attempt: attempt.to_owned(),
            request: request.into_bytes(),
            answer: Vec::new(),
            limit,
            is_told: false,
        }
    }

    /// The outcome is known.
    fn end(&mut self, cx: &mut Context<'_>, ended: Ended) {
        match ended {
            // The receiver may be about to say more, and is not to see a reset.
            Ended::Done(_) => cx.close(),
            _ => cx.abort(),
        }
        if !std::mem::replace(&mut self.is_told, true) {
            // (It is never busy: it calls no other dispatcher.)
            let _ = cx.call(self.puller, |puller, cx| {
                puller.ended(cx, &self.entry, &self.attempt, ended);
                Ok(())
            });
        }
    }

    /// Reads the status; `None` until it is all there. What follows it is of no interest.
    fn status(&self) -> Option<Result<u16, &'static str>> {
        let mut rest = &self.answer[..];
        loop {
            let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
            let mut response = httparse::Response::new(&mut fields);
            match response.parse(rest) {
                Ok(httparse::Status::Complete(length)) => match response.code.unwrap_or_default() {
                    // An interim answer; another follows.
                    100..200 => rest = &rest[length..],
                    code => return Some(Ok(code)),
                },
                Ok(httparse::Status::Partial) if self.answer.len() <= LONGEST_HEAD => return None,
                Ok(httparse::Status::Partial) => {
                    return Some(Err("the head of the answer is too long"));
                }
                Err(_) => return Some(Err("the answer is not HTTP")),
            }
        }
    }
}

impl Dispatcher for Post {
    fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.set_timer(self.limit);
        cx.send(&self.request)
    }

    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_up_to(LONGEST_HEAD, |bytes, _| {
            self.answer.extend_from_slice(bytes);
            Ok(())
        })?;
        match self.status() {
            None => {}
            Some(Ok(200..300)) => self.end(cx, Ended::Done(String::new())),
            Some(Ok(code)) => self.end(
                cx,
                Ended::failed(format!("the callback was answered by {code}")),
            ),
            Some(Err(why)) => self.end(cx, Ended::failed(format!("callback: {why}"))),
        }
        Ok(())
    }

    fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.end(
            cx,
            Ended::failed("callback: the receiver closed without an answer"),
        );
        Ok(())
    }

    fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        self.end(cx, Ended::failed("callback: the receiver does not answer"));
        Ok(())
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        self.end(cx, Ended::failed(format!("callback: {error}")));
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        let cause = cx.end_cause();
        let cause = cause.map_or_else(String::new, |cause| cause.to_string());
        self.end(cx, Ended::failed(format!("callback: {cause}")));
    }
}
