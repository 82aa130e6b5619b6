//! One request, and how it is answered: exactly once.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Instant;

use slabloop::{Context, Dispatcher, Id, Reactor};

use super::resp::Reply;

/// What became of a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// The server has answered. An answer may be an [error](Reply::Error).
    Done(Reply),
    /// No byte of it was sent: it is not done, and it is safe to send it again.
    NotSent(Rc<str>),
    /// It was sent, in part at least, and no answer came: the server may have done it, or may not.
    Unknown(Rc<str>),
}

/// How many requests were answered, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) done: u64,
    pub(crate) not_sent: u64,
    pub(crate) unknown: u64,
    /// Of all these, those whose asker was gone.
    pub(crate) undelivered: u64,
    /// Requests that were thrown away without an answer. There is none.
    pub(crate) dropped: u64,
}

impl Answered {
    pub(crate) fn total(&self) -> u64 {
        self.done + self.not_sent + self.unknown
    }
}

pub(crate) type Answers = Rc<Cell<Answered>>;

/// From where an answer is given: a callback, or what was deferred.
pub(crate) enum From<'a, 'c> {
    Callback(&'a mut Context<'c>),
    Loop(&'a mut Reactor),
}

type Deliver = Box<dyn FnOnce(From<'_, '_>, Outcome) -> bool>;

/// A request that has no answer yet. Its one way out is [`answer`](Request::answer).
pub(crate) struct Request {
    /// As it is sent; empty once it is.
    pub(crate) bytes: Vec<u8>,
    pub(crate) deadline: Instant,
    deliver: Option<Deliver>,
    answers: Answers,
}

impl Request {
    pub(crate) fn new<H: Dispatcher>(
        bytes: Vec<u8>,
        deadline: Instant,
        answers: &Answers,
        holder: Id<H>,
        deliver: impl FnOnce(&mut H, &mut Context<'_>, Outcome) -> io::Result<()> + 'static,
    ) -> Request {
        let deliver: Deliver = Box::new(move |from, outcome| {
            let told = match from {
                From::Callback(cx) => cx.call(holder, |holder, cx| deliver(holder, cx, outcome)),
                From::Loop(reactor) => {
                    reactor.call(holder, |holder, cx| deliver(holder, cx, outcome))
                }
            };
            told.is_ok()
        });
        Request {
            bytes,
            deadline,
            deliver: Some(deliver),
            answers: Rc::clone(answers),
        }
    }

    /// Tells the asker. Its faults and its panics are its own.
    pub(crate) fn answer(mut self, from: From<'_, '_>, outcome: Outcome) {
        let mut counts = self.answers.get();
        match outcome {
            Outcome::Done(_) => counts.done += 1,
            Outcome::NotSent(_) => counts.not_sent += 1,
            Outcome::Unknown(_) => counts.unknown += 1,
        }
        self.answers.set(counts);
        let told = self
            .deliver
            .take()
            .is_some_and(|deliver| deliver(from, outcome));
        if !told {
            let mut counts = self.answers.get();
            counts.undelivered += 1;
            self.answers.set(counts);
        }
    }

    /// The same, when the callbacks of this turn have returned: for places where the asker may be running.
    pub(crate) fn answer_later(self, cx: &mut Context<'_>, outcome: Outcome) {
        cx.defer(move |reactor| self.answer(From::Loop(reactor), outcome));
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if self.deliver.is_some() {
            let mut counts = self.answers.get();
            counts.dropped += 1;
            self.answers.set(counts);
        }
    }
}
