//! One query to one server: what UDP and TCP have in common.

use std::io;

use super::service::Service;
use super::wire::Answer;
use crate::{Context, Id};

/// Identifies an attempt to the code that made it. The outcome of one that is no longer awaited is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) flight: usize,
    pub(super) side: usize,
    /// Never used again.
    pub(super) serial: u64,
}

/// What came of an attempt.
#[derive(Debug)]
pub(super) enum End {
    Answer {
        answer: Answer,
        /// Whether the letters of the question came back as they were sent.
        keeps_case: bool,
    },
    /// The answer did not fit into a datagram.
    Cut,
    /// The right answer in wrong letters.
    OtherCase,
    /// So many wrong datagrams arrived that an attacker may be guessing.
    Guessed,
    TimedOut,
    Failed(io::Error),
}

/// What came in and was no answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stray {
    OtherId,
    OtherQuestion,
    OtherCase,
    Garbage,
}

/// Reports to the resolver, and ends the attempt.
pub(super) fn finish(cx: &mut Context<'_>, service: Id<Service>, ticket: Ticket, end: End) {
    // Sooner than the next query: as many descriptors as possible are free for it.
    cx.abort();
    cx.with(service, |service, cx| {
        service.attempt_ended(cx, ticket, end)
    });
}

/// Counts what is no answer, and logs it, one line a second at most.
pub(super) fn count(cx: &mut Context<'_>, service: Id<Service>, stray: Stray) {
    cx.with(service, |service, _| service.count(stray));
    let what = match stray {
        Stray::OtherId => "the id of another query",
        Stray::OtherQuestion => "another question",
        Stray::OtherCase => "the question in another letter case",
        Stray::Garbage => "no DNS message",
    };
    let error = io::Error::new(io::ErrorKind::InvalidData, what);
    cx.log_fault_in("not accepted as an answer", &error);
}
