//! A query over UDP, on a socket of its own.
//!
//! The socket is bound to a port that the kernel picks at random, and connected: the kernel drops what any other
//! address sends, and reports at once if no process listens at the server's port.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::attempt::{self, End, Stray, Ticket};
use super::service::Service;
use super::wire::{Match, Query, is_cut};
use crate::{AnyId, Context, Dispatcher, Id, TimerId};

/// So many wrong datagrams, and the question is asked over TCP.
const MOST_STRAYS: u32 = 64;

/// Longest answer that is read; one that is longer counts as cut. More than was asked for.
const LONGEST_ANSWER: usize = 4096;

#[derive(Debug)]
pub(super) struct Udp {
    service: Id<Service>,
    ticket: Ticket,
    query: Query,
    /// Whether the letters have to come back as they were sent.
    strict: bool,
    strays: u32,
}

/// Sends the query. Nothing remains if that fails.
pub(super) fn ask(
    cx: &mut Context<'_>,
    server: SocketAddr,
    query: Query,
    strict: bool,
    limit: Duration,
    (service, ticket): (Id<Service>, Ticket),
) -> io::Result<AnyId> {
    let message = query.as_bytes().to_vec();
    let udp = Udp {
        service,
        ticket,
        query,
        strict,
        strays: 0,
    };
    let id = cx.connect_udp(server, udp)?;
    if let Some(mut cx) = cx.at(id) {
        // To a socket that is new there is room.
        if let Err(error) = cx.send(&message) {
            cx.abort();
            return Err(error);
        }
        cx.set_timer(limit);
    }
    Ok(id.any())
}

impl Udp {
    fn finish(&self, cx: &mut Context<'_>, end: End) {
        attempt::finish(cx, self.service, self.ticket, end);
    }

    fn stray(&mut self, cx: &mut Context<'_>, stray: Stray) {
        attempt::count(cx, self.service, stray);
        self.strays += 1;
        if self.strays == MOST_STRAYS {
            self.finish(cx, End::Guessed);
        }
    }
}

impl Dispatcher for Udp {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut buffer = [0; LONGEST_ANSWER];
        let length = match cx.recv(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => {
                self.finish(cx, End::Failed(error));
                return Ok(());
            }
        };
        let reply = &buffer[..length];
        let keeps_case = match self.query.check(reply) {
            Match::Ours => true,
            Match::OtherCase if self.strict => {
                attempt::count(cx, self.service, Stray::OtherCase);
                self.finish(cx, End::OtherCase);
                return Ok(());
            }
            Match::OtherCase => false,
            wrong => {
                let stray = match wrong {
                    Match::OtherId => Stray::OtherId,
                    Match::OtherQuestion => Stray::OtherQuestion,
                    _ => Stray::Garbage,
                };
                self.stray(cx, stray);
                return Ok(());
            }
        };
        if is_cut(reply) || cx.truncated() {
            self.finish(cx, End::Cut);
            return Ok(());
        }
        match self.query.read(reply) {
            Some(answer) => self.finish(cx, End::Answer { answer, keeps_case }),
            None => self.stray(cx, Stray::Garbage),
        }
        Ok(())
    }

    fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        self.finish(cx, End::TimedOut);
        Ok(())
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        self.finish(cx, End::Failed(error));
    }
}
