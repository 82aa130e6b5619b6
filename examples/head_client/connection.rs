//! One connection: a HEAD, its answer, a pause, and again.
//!
//! It has one timer, which is either the pause or the time for an answer, and no buffer: an answer that comes in
//! one piece is read where the reactor lends it. Only the beginning of one that comes in several is kept.

use std::io;
use std::mem;
use std::rc::Rc;
use std::time::Instant;

use slabloop::kit::retry::Backoff;
use slabloop::{Cause, Context, Dispatcher, Id, TimerId};

use super::answer::{self, Answer};
use super::director::{Director, Plan};
use super::tally::{Fault, Loss};

pub(crate) struct Connection {
    plan: Rc<Plan>,
    director: Id<Director>,
    state: State,
    /// The pause, or the time for the answer.
    timer: Option<TimerId>,
    /// When the request was sent that is in flight.
    asked: Option<Instant>,
    /// What has come of an answer that is not complete.
    partial: Vec<u8>,
    /// The delays of the attempts before, if they failed.
    backoff: Option<Box<Backoff>>,
    /// It takes the place of one that was in its pause, and has a pause of its own before it asks.
    pauses_first: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting,
    /// Established, and nothing answered yet.
    Open,
    /// It has brought an answer: what comes next is not another failure of the same attempt.
    Proven,
    /// It has done what a server should not do: the next one waits.
    Faulty,
}

impl Connection {
    pub(crate) fn new(
        plan: Rc<Plan>,
        director: Id<Director>,
        backoff: Option<Box<Backoff>>,
        pauses_first: bool,
    ) -> Connection {
        Connection {
            plan,
            director,
            state: State::Connecting,
            timer: None,
            asked: None,
            partial: Vec::new(),
            backoff,
            pauses_first,
        }
    }

    fn ask(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.plan.tally.borrow_mut().requests += 1;
        self.asked = Some(Instant::now());
        self.timer = Some(cx.set_timer(self.plan.timeout));
        cx.send(&self.plan.request)
    }

    fn received(&mut self, cx: &mut Context<'_>, bytes: &[u8]) {
        let mut kept = mem::take(&mut self.partial);
        let mut input = if kept.is_empty() {
            bytes
        } else {
            kept.extend_from_slice(bytes);
            &kept
        };
        while !input.is_empty() && !cx.is_closing() {
            if self.asked.is_none() {
                return self.surplus(cx, input.len());
            }
            match answer::read(input) {
                Answer::Incomplete => {
                    self.partial = input.to_vec();
                    return;
                }
                Answer::Interim(bytes) => input = &input[bytes..],
                Answer::Final {
                    bytes,
                    status,
                    keeps,
                } => {
                    input = &input[bytes..];
                    self.answered(cx, status, keeps);
                }
                Answer::NotHttp => self.lose(cx, Loss::NotHttp),
                Answer::TooLong => self.lose(cx, Loss::TooLong),
            }
        }
    }

    fn answered(&mut self, cx: &mut Context<'_>, status: u16, keeps: bool) {
        let Some(asked) = self.asked.take() else {
            return;
        };
        self.backoff = None;
        self.state = State::Proven;
        if status < 400 {
            self.plan.tally.borrow_mut().answer(asked.elapsed());
            self.plan.budget.earn();
        } else if self.plan.tally.borrow_mut().lose(Loss::Status) == 1 {
            log::warn!("{}: an answer of status {status}", cx.label());
        }
        if cx.is_shutting_down() {
            cx.close_when_sent();
        } else if !keeps {
            self.plan.tally.borrow_mut().ended += 1;
            cx.close();
        } else if let Some(timer) = self.timer {
            cx.reset_timer(timer, self.plan.pause());
        }
    }

    /// Nothing if there is no request in flight.
    fn count_loss(&mut self, cx: &mut Context<'_>, loss: Loss) {
        if self.asked.take().is_none() {
            return;
        }
        self.state = State::Faulty;
        // The first of a kind is worth a line; ten thousand of them are not.
        if self.plan.tally.borrow_mut().lose(loss) == 1 {
            log::warn!("{}: a request was lost: {loss:?}", cx.label());
        }
    }

    /// The request is lost, and with it the connection: a late answer would be taken for the next one's.
    fn lose(&mut self, cx: &mut Context<'_>, loss: Loss) {
        self.count_loss(cx, loss);
        cx.abort();
    }

    fn surplus(&mut self, cx: &mut Context<'_>, bytes: usize) {
        if self.plan.tally.borrow_mut().fault(Fault::Surplus) == 1 {
            let label = cx.label();
            log::warn!("{label}: {bytes} unsolicited bytes: a body to a HEAD?");
        }
        self.state = State::Faulty;
        cx.abort();
    }
}

impl Dispatcher for Connection {
    fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.state = State::Open;
        {
            let mut tally = self.plan.tally.borrow_mut();
            tally.opened += 1;
            tally.open += 1;
        }
        if self.pauses_first {
            self.timer = Some(cx.set_timer(self.plan.pause()));
            return Ok(());
        }
        self.ask(cx)
    }

    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_with(|bytes, cx| {
            self.received(cx, bytes);
            Ok(())
        })
    }

    fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        if self.asked.is_some() {
            self.lose(cx, Loss::Timeout);
            return Ok(());
        }
        self.ask(cx)
    }

    fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match (self.asked, self.partial.is_empty()) {
            (Some(_), true) => self.lose(cx, Loss::Closed),
            (Some(_), false) => self.lose(cx, Loss::Cut),
            (None, _) => {
                self.plan.tally.borrow_mut().ended += 1;
                cx.close();
            }
        }
        Ok(())
    }

    /// Waits for the requests in flight. The other connections have nothing to receive: their end is not waited for.
    fn handle_shutdown(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.asked.is_none() {
            cx.close_when_sent();
        }
        Ok(())
    }

    /// Counted in `handle_close`, by its cause. The first one is told in full.
    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        let is_first = self.plan.tally.borrow().errors() == 0;
        let level = if is_first {
            log::Level::Warn
        } else {
            log::Level::Debug
        };
        log::log!(level, "{}: {error}", cx.label());
        cx.abort();
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        let cause = cx.end_cause().unwrap_or(Cause::Finished);
        // What the program itself ends was neither answered nor lost.
        let is_over = cause == Cause::Shutdown;
        match cause {
            _ if is_over => {}
            _ if self.state == State::Connecting => {
                self.plan.not_made(Fault::of_cause(cause), &cause);
            }
            Cause::Reset if self.asked.is_none() => self.plan.tally.borrow_mut().ended += 1,
            Cause::Reset => self.count_loss(cx, Loss::Reset),
            _ => self.count_loss(cx, Loss::Other),
        }
        if self.state != State::Connecting {
            self.plan.tally.borrow_mut().open -= 1;
        }
        let backoff = self.backoff.take();
        let is_proven = self.state == State::Proven;
        cx.with(self.director, |director, cx| {
            director.replace(cx, is_proven, backoff);
        });
    }
}
