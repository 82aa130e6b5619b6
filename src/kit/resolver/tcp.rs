//! A query over TCP (RFC 7766): for answers that do not fit into a datagram, and where guessing must be impossible.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::attempt::{self, End, Stray, Ticket};
use super::service::Service;
use super::wire::{Match, Query};
use crate::{AnyId, Context, Dispatcher, Id, TimerId};

/// The length before each message.
const PREFIX_BYTES: usize = 2;

#[derive(Debug)]
pub(super) struct Tcp {
    service: Id<Service>,
    ticket: Ticket,
    query: Query,
    /// What has come so far: one message, so 64 KiB at most.
    received: Vec<u8>,
}

/// Connects, and sends the query.
pub(super) fn ask(
    cx: &mut Context<'_>,
    server: SocketAddr,
    query: Query,
    limit: Duration,
    (service, ticket): (Id<Service>, Ticket),
) -> io::Result<AnyId> {
    let length = u16::try_from(query.as_bytes().len()).unwrap_or_default();
    let message = [&length.to_be_bytes(), query.as_bytes()].concat();
    let tcp = Tcp {
        service,
        ticket,
        query,
        received: Vec::new(),
    };
    let id = cx.connect(server, tcp)?;
    if let Some(mut cx) = cx.at(id) {
        cx.send(&message)?;
        cx.set_timer(limit);
    }
    Ok(id.any())
}

impl Tcp {
    fn finish(&self, cx: &mut Context<'_>, end: End) {
        attempt::finish(cx, self.service, self.ticket, end);
    }

    /// Bytes that are still to come, as far as that is known.
    fn missing(&self) -> usize {
        let whole = match self.received.first_chunk::<PREFIX_BYTES>() {
            Some(length) => PREFIX_BYTES + usize::from(u16::from_be_bytes(*length)),
            None => PREFIX_BYTES,
        };
        whole - self.received.len()
    }

    fn judge(&self, cx: &mut Context<'_>) {
        let reply = &self.received[PREFIX_BYTES..];
        let (stray, keeps_case) = match self.query.check(reply) {
            Match::Ours => (None, true),
            Match::OtherCase => (None, false),
            Match::OtherId => (Some(Stray::OtherId), false),
            Match::OtherQuestion => (Some(Stray::OtherQuestion), false),
            Match::Garbage => (Some(Stray::Garbage), false),
        };
        let answer = match stray {
            None => self.query.read(reply),
            Some(_) => None,
        };
        if let Some(answer) = answer {
            self.finish(cx, End::Answer { answer, keeps_case });
            return;
        }
        attempt::count(cx, self.service, stray.unwrap_or(Stray::Garbage));
        let error = io::Error::new(io::ErrorKind::InvalidData, "no answer to the question came");
        self.finish(cx, End::Failed(error));
    }
}

impl Dispatcher for Tcp {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        // As much as the message has, or its length.
        let missing = self.missing();
        let start = self.received.len();
        self.received.resize(start + missing, 0);
        let outcome = cx.recv(&mut self.received[start..]);
        self.received
            .truncate(start + *outcome.as_ref().unwrap_or(&0));
        outcome?;
        if self.received.len() >= PREFIX_BYTES && self.missing() == 0 {
            self.judge(cx);
        }
        Ok(())
    }

    fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let text = "the server ended the connection without an answer";
        let error = io::Error::new(io::ErrorKind::UnexpectedEof, text);
        self.finish(cx, End::Failed(error));
        Ok(())
    }

    fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        self.finish(cx, End::TimedOut);
        Ok(())
    }

    /// The answer is still awaited.
    fn handle_shutdown(&mut self, _: &mut Context<'_>) -> io::Result<()> {
        Ok(())
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        self.finish(cx, End::Failed(error));
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        // A disconnect comes without an error. One that is not awaited any more is dropped.
        let error = io::Error::new(io::ErrorKind::ConnectionReset, "the connection was reset");
        let end = End::Failed(error);
        cx.with(self.service, |service, cx| {
            service.attempt_ended(cx, self.ticket, end);
        });
    }
}
