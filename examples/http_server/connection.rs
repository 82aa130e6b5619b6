//! One client: requests in, answers out, in order, one after the other.
//!
//! The usual request comes whole, in one read. It is parsed where it lies, in the buffer that the reactor lends, its file is
//! known, and the answer is one piece of memory: nothing is allocated, no timer is set, and one write sends it. All else
//! is apart from that:
//!
//! | what | where |
//! |---|---|
//! | a head that comes in parts is kept, and so are requests behind one that has to wait | `input.rs` |
//! | a client has a rate | `admitting.rs` |
//! | which answer a request gets | `routes.rs` |
//! | an answer is sent, and the connection closed after it or kept | `answering.rs` |
//! | a body is read | `receiving.rs` |
//! | something takes too long | `deadlines.rs` |
//!
//! Requests may be pipelined. Those that come in one piece are answered in one go, until the reactor says that enough is queued;
//! no more is read until the kernel has all of their answers. So what is queued is bounded, and so is the time that the
//! requests in hand can take.

use std::io;
use std::mem;
use std::rc::Rc;

use slabloop::{Context, Dispatcher, Timeout, TimerId};

use crate::answer::Status;
use crate::deadlines::{Deadlines, Late, Part};
use crate::receiving::Receiving;
use crate::site::Site;

pub(crate) struct Connection {
    pub(crate) site: Rc<Site>,
    pub(crate) phase: Phase,
    /// What was read and not used: a part of a head, or requests that wait for the answers before them.
    pub(crate) pending: Vec<u8>,
    /// So much of a head is known to be not all of it.
    pub(crate) partial: usize,
    /// Nothing is read until the kernel has all answers.
    waits: bool,
    /// A request was taken since the last deadline began.
    pub(crate) is_answered: bool,
    pub(crate) requests: u64,
    pub(crate) deadlines: Deadlines,
}

pub(crate) enum Phase {
    /// A head comes next, or is coming.
    Head,
    Body(Box<Receiving>),
    /// Whether the client is within its rate is being asked. The head is kept until then.
    Asking(Box<[u8]>),
    /// A file is being opened. The head is kept until then.
    Opening(Box<[u8]>),
    /// The last answer is queued. `is_all`: the client has sent nothing after its request.
    Over {
        is_all: bool,
    },
}

impl Connection {
    pub(crate) fn new(cx: &Context<'_>, site: Rc<Site>) -> Connection {
        Connection {
            site,
            phase: Phase::Head,
            pending: Vec::new(),
            partial: 0,
            waits: false,
            is_answered: false,
            requests: 0,
            deadlines: Deadlines::new(cx.now()),
        }
    }

    /// Reads no more until the kernel has all that is queued.
    pub(crate) fn wait(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.waits = true;
        cx.pause_reading();
        cx.notify_when_sent()
    }

    #[inline]
    pub(crate) fn review_deadlines(&mut self, cx: &mut Context<'_>) {
        let part = match &self.phase {
            Phase::Head if self.pending.is_empty() || self.waits => None,
            Phase::Head => Some(Part::Head),
            Phase::Body(_) => Some(Part::Body),
            Phase::Asking(_) | Phase::Opening(_) | Phase::Over { .. } => None,
        };
        self.deadlines.review(cx, &self.site.limits.http, part);
    }

    /// A request has taken too long. What is out of its answer is not all, and must not be taken for it.
    fn too_late(&mut self, cx: &mut Context<'_>, late: Late) -> io::Result<()> {
        let is_cut = match &self.phase {
            Phase::Body(receiving) => receiving.has_begun(),
            Phase::Head | Phase::Asking(_) | Phase::Opening(_) => late == Late::Whole && owes(cx),
            Phase::Over { .. } => true,
        };
        if is_cut {
            log::debug!("{}: a request took too long", cx.label());
            cx.abort();
            return Ok(());
        }
        let status = match &self.phase {
            Phase::Asking(_) | Phase::Opening(_) => Status::UNAVAILABLE,
            _ => Status::TIMEOUT,
        };
        self.refuse(cx, None, status)
    }
}

/// Whether something is queued that the kernel has not taken.
#[inline]
pub(crate) fn owes(cx: &Context<'_>) -> bool {
    cx.queued() > 0 || cx.queued_in_files() > 0
}

impl Dispatcher for Connection {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        // The client asks for more than it takes.
        if cx.queued() > 0 && matches!(self.phase, Phase::Head) {
            return self.wait(cx);
        }
        cx.recv_with(|bytes, cx| self.take(cx, bytes))
    }

    /// The kernel has everything that was waited for.
    fn handle_sent(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if let Phase::Over { is_all } = self.phase {
            return self.close(cx, is_all);
        }
        if mem::take(&mut self.waits) {
            cx.resume_reading();
            self.take(cx, &[])?;
        }
        Ok(())
    }

    fn handle_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) -> io::Result<()> {
        // (What waits while nothing is owed is about to be told so, and begins then.)
        let has_none = self.pending.is_empty() || self.waits;
        let is_idle = matches!(self.phase, Phase::Head) && has_none && !owes(cx);
        let limits = &self.site.limits.http;
        match self.deadlines.due(cx, limits, timer, !is_idle) {
            Some(late) => self.too_late(cx, late),
            None => Ok(()),
        }
    }

    /// All answers that are queued leave first. A body that has not come whole has no answer.
    fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match &self.phase {
            Phase::Body(receiving) if receiving.has_begun() => receiving.cut_off(cx, &self.site),
            _ => return self.close(cx, true),
        }
        Ok(())
    }

    fn handle_shutdown(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !matches!(self.phase, Phase::Head) {
            return Ok(());
        }
        if owes(cx) {
            return self.close(cx, self.pending.is_empty());
        }
        if !self.pending.is_empty() {
            return Ok(());
        }
        // A request may have come that no callback has told of. It is answered.
        let mut buffer = [0; 4096];
        match cx.recv_now(&mut buffer) {
            Ok(0) => Ok(()),
            Ok(count) => self.take(cx, &buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.close(cx, true),
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
