//! The end of a request: an answer that is whole, one that is cut, or one of the proxy's own.

use std::io;
use std::mem;
use std::rc::Rc;

use slabloop::Context;

use crate::client::{Client, Phase};
use crate::http::Status;
use crate::job::Job;
use crate::refusal::{self, After, Refusal};
use crate::upstream::{Failed, Whole};

impl Client {
    /// The server has begun to answer.
    pub(crate) fn begun(&mut self, status: u16, after: After) {
        if let Phase::Exchange(job) = &mut self.phase {
            job.begun = Some((status, after));
        }
    }

    /// Whether the connection is good for another request after this one. What is still to come of a body, the server does
    /// not want: it has answered.
    pub(crate) fn may_stay(&self, cx: &Context<'_>) -> bool {
        let is_whole = matches!(&self.phase, Phase::Exchange(job) if job.body.is_none());
        is_whole && !cx.is_shutting_down()
    }

    /// Whether it is this client that is waited for, to send or to take what is sent to it.
    pub(crate) fn is_to_move(&self, cx: &Context<'_>) -> bool {
        let sends = matches!(&self.phase, Phase::Exchange(job) if job.body.is_some());
        sends || cx.queued() > 0
    }

    /// The answer is whole.
    pub(crate) fn answered(&mut self, cx: &mut Context<'_>, whole: Whole) -> io::Result<()> {
        let Phase::Exchange(mut job) = mem::replace(&mut self.phase, Phase::Head) else {
            return Ok(());
        };
        let is_whole = job.body.is_none();
        if let Some(lease) = job.lease.take() {
            if whole.is_reusable && is_whole {
                lease.release(cx);
            } else {
                lease.discard(cx);
            }
        }
        let (status, after) = job.begun.unwrap_or((0, After::Closes));
        self.log(cx, &job, status, whole.bytes);
        if after == After::Closes {
            self.close(cx, is_whole);
        } else {
            self.go_on(cx);
        }
        Ok(())
    }

    /// There is no answer, or not all of it.
    pub(crate) fn failed(&mut self, cx: &mut Context<'_>, why: Failed) -> io::Result<()> {
        let Phase::Exchange(job) = &mut self.phase else {
            return Ok(());
        };
        // (It has ended already.)
        job.lease = None;
        if why == Failed::Stale && job.may_be_repeated() {
            let Phase::Exchange(job) = mem::replace(&mut self.phase, Phase::Head) else {
                return Ok(());
            };
            return self.acquire(cx, job);
        }
        let refusal = match why {
            Failed::Stale | Failed::Cut => {
                Refusal::new(Status::BAD_GATEWAY, "the server has hung up")
            }
            Failed::Timeout => Refusal::new(Status::GATEWAY_TIMEOUT, "the server does not answer"),
            Failed::Wrong(why) => Refusal::new(Status::BAD_GATEWAY, why),
        };
        self.give_up(cx, refusal)
    }

    /// Ends an exchange that cannot be finished. What is out of an answer must not be taken for all of it.
    pub(crate) fn give_up(&mut self, cx: &mut Context<'_>, refusal: Refusal) -> io::Result<()> {
        match mem::replace(&mut self.phase, Phase::Over) {
            Phase::Exchange(job) if job.begun.is_some() => {
                self.end_job(cx, job);
                cx.abort_when_sent();
                Ok(())
            }
            Phase::Exchange(job) | Phase::Waiting(job) => self.refuse(cx, Some(job), refusal),
            _ => self.refuse(cx, None, refusal),
        }
    }

    pub(crate) fn end_job(&mut self, cx: &mut Context<'_>, mut job: Box<Job>) {
        if let Some(lease) = job.lease.take() {
            lease.discard(cx);
        }
        let status = job.begun.map_or(0, |(status, _)| status);
        self.log(cx, &job, status, 0);
    }

    /// Says why not. What is not read of a body cannot be followed by another request.
    pub(crate) fn refuse(
        &mut self,
        cx: &mut Context<'_>,
        job: Option<Box<Job>>,
        refusal: Refusal,
    ) -> io::Result<()> {
        let proxy = Rc::clone(&self.proxy);
        proxy.date.borrow_mut().refresh(cx.now());
        let stays = |job: &Job| job.request.keep_alive && job.body.is_none();
        let after = match &job {
            Some(job) if cx.is_shutting_down() || !stays(job) => After::Closes,
            Some(job) if job.request.is_1_1 => After::Stays,
            Some(_) => After::StaysAndSays,
            None => After::Closes,
        };
        let with_body = job.as_ref().is_none_or(|job| !job.request.is_head);
        let answer = {
            let date = proxy.date.borrow();
            refusal::write(refusal, date.text(), &proxy.name, after, with_body)
        };
        cx.send(&answer)?;
        if let Some(mut job) = job {
            job.begun = Some((refusal.status.0, after));
            self.end_job(cx, job);
        }
        if after == After::Closes {
            self.close(cx, false);
        } else {
            self.go_on(cx);
        }
        Ok(())
    }

    /// The next request, if there is one.
    fn go_on(&mut self, cx: &mut Context<'_>) {
        self.phase = Phase::Head;
        cx.feeds(cx.any_id());
        cx.resume_reading();
        self.look_again(cx);
        self.review(cx);
    }

    /// A client that has sent all that it had (`is_all`) sends nothing more, and need not be waited for. Others would lose
    /// the answer by a reset.
    pub(crate) fn close(&mut self, cx: &mut Context<'_>, is_all: bool) {
        self.phase = Phase::Over;
        if is_all && self.pending.is_empty() {
            cx.close_when_sent();
        } else {
            cx.close();
        }
    }

    fn log(&self, cx: &Context<'_>, job: &Job, status: u16, bytes: u64) {
        if self.proxy.logs_access {
            crate::access::line(cx, &job.request, status, bytes);
        }
    }
}
