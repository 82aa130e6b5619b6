//! A body on its way in, and what is made of it: sent back piece by piece, or counted.

use std::fmt::Write as _;
use std::io;

use slabloop::Context;

use crate::answer::{After, Status, Writer};
use crate::body::{Body, Step};
use crate::head::{self, Head, Length, Parsed};
use crate::site::Site;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sink {
    /// `/echo`: the answer begins with the first piece.
    Echo,
    /// `/upload`: the answer is how many bytes there were.
    Count,
}

/// How a body has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Well,
    Badly(Status),
}

pub(crate) struct Receiving {
    body: Body,
    length: Length,
    sink: Sink,
    after: After,
    date: String,
    has_begun: bool,
    /// For the log; empty without one.
    head: Box<[u8]>,
}

impl Receiving {
    /// `Err` if the body says that it is too large.
    pub(crate) fn new(
        site: &Site,
        head: &Head<'_>,
        raw: &[u8],
        sink: Sink,
        after: After,
    ) -> Result<Receiving, Status> {
        Ok(Receiving {
            body: Body::new(head.length, site.limits.http.body)?,
            length: head.length,
            sink,
            after,
            date: site.date.borrow().text().to_owned(),
            has_begun: false,
            head: site.log.as_ref().map_or(&[][..], |_| raw).into(),
        })
    }

    /// Whether a part of the answer has been sent.
    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// How much of the input belongs to the body, and how that has ended if it has.
    pub(crate) fn take(
        &mut self,
        cx: &mut Context<'_>,
        input: &[u8],
    ) -> io::Result<(usize, Option<Ended>)> {
        let mut at = 0;
        loop {
            let (step, used) = match self.body.take(&input[at..]) {
                Ok(step) => step,
                Err(status) => return Ok((input.len(), Some(Ended::Badly(status)))),
            };
            at += used;
            match step {
                Step::End => return Ok((at, Some(Ended::Well))),
                Step::Data(piece) if !piece.is_empty() && self.sink == Sink::Echo => {
                    self.echo(cx, piece)?;
                }
                Step::Data(_) | Step::Framing => {}
            }
            if used == 0 {
                return Ok((at, None));
            }
        }
    }

    fn echo(&mut self, cx: &mut Context<'_>, piece: &[u8]) -> io::Result<()> {
        self.begin(cx)?;
        if self.length != Length::Chunked {
            return cx.send(piece);
        }
        cx.send(format!("{:x}\r\n", piece.len()).as_bytes())?;
        cx.send(piece)?;
        cx.send(b"\r\n")
    }

    /// The head of an echo.
    fn begin(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.has_begun {
            return Ok(());
        }
        self.has_begun = true;
        let mut bytes = Vec::new();
        let mut head = Writer::begin(&mut bytes, Status::OK, &self.date);
        head.field("Content-Type", "application/octet-stream");
        match self.length {
            Length::Bytes(length) => head.field("Content-Length", length),
            _ => head.field("Transfer-Encoding", "chunked"),
        }
        head.end(self.after);
        cx.send(&bytes)
    }

    /// Sends what is left of the answer.
    pub(crate) fn finish(mut self, cx: &mut Context<'_>, site: &Site) -> io::Result<After> {
        // It may have taken a while.
        if cx.is_shutting_down() {
            self.after = After::Closes;
        }
        let received = self.body.received;
        let mut sent = received;
        match self.sink {
            Sink::Echo => {
                self.begin(cx)?;
                if self.length == Length::Chunked {
                    cx.send(b"0\r\n\r\n")?;
                }
            }
            Sink::Count => {
                let mut body = String::new();
                let _ = writeln!(body, "{received} bytes");
                sent = body.len() as u64;
                let mut bytes = Vec::new();
                let mut head = Writer::begin(&mut bytes, Status::OK, &self.date);
                head.field("Content-Type", "text/plain; charset=utf-8");
                head.field("Content-Length", body.len());
                head.end(self.after);
                bytes.extend_from_slice(body.as_bytes());
                cx.send(&bytes)?;
            }
        }
        self.note(cx, site, sent);
        Ok(self.after)
    }

    /// Cuts the answer off: what was echoed is not all, and must not be taken for it.
    pub(crate) fn cut_off(&self, cx: &mut Context<'_>, site: &Site) {
        self.note(cx, site, self.body.received);
        cx.abort_when_sent();
    }

    /// Writes to the log that it was answered.
    fn note(&self, cx: &Context<'_>, site: &Site, bytes: u64) {
        let Some(log) = &site.log else {
            return;
        };
        if let Parsed::Complete(head, _) = head::parse(&self.head, &site.limits.http) {
            let mut log = log.borrow_mut();
            log.line(
                cx.peer(),
                Some(&head),
                Status::OK.0,
                bytes,
                &site.date.borrow(),
            );
        }
    }
}
