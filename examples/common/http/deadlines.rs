//! How long a client may take for a request: for its head, for its body, and in all.
//!
//! A request that comes whole and is answered at once sets no timer. The deadline of the whole is a timer that is set once and
//! left alone: when it is due it looks at when the requests in hand began, and goes on if that is not so long ago. So it
//! costs a request one look at the time of the turn, which is no system call.

use std::time::Instant;

use slabloop::{Context, TimerId};

use super::limits::Limits;

/// What has a deadline of its own, as the tag of its timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Head = 1,
    Body,
}

/// What took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    Part,
    Whole,
}

/// The tag of the timer for the whole.
const WHOLE: u32 = 0;

#[derive(Debug)]
pub(crate) struct Deadlines {
    /// When the requests in hand began: the first of them, if several came in one piece.
    since: Instant,
    whole: Option<TimerId>,
    part: Option<(TimerId, Part)>,
}

impl Deadlines {
    pub(crate) fn new(now: Instant) -> Deadlines {
        Deadlines {
            since: now,
            whole: None,
            part: None,
        }
    }

    /// A request begins, and all before it are with the kernel.
    #[inline]
    pub(crate) fn begin(&mut self, cx: &mut Context<'_>, limits: &Limits) {
        self.since = cx.now();
        if self.whole.is_none() {
            self.whole = Some(cx.set_tagged_timer(limits.request_time, WHOLE));
        }
    }

    /// Which part of a request is on its way, if one is.
    #[inline]
    pub(crate) fn review(&mut self, cx: &mut Context<'_>, limits: &Limits, wanted: Option<Part>) {
        if self.part.map(|(_, part)| part) != wanted {
            self.set(cx, limits, wanted);
        }
    }

    #[inline(never)]
    fn set(&mut self, cx: &mut Context<'_>, limits: &Limits, wanted: Option<Part>) {
        if let Some((timer, _)) = self.part.take() {
            cx.cancel_timer(timer);
        }
        if let Some(part) = wanted {
            let limit = match part {
                Part::Head => limits.header_time,
                Part::Body => limits.body_time,
            };
            self.part = Some((cx.set_tagged_timer(limit, part as u32), part));
        }
    }

    /// A timer is due: what took too long, if anything did. `is_busy`: a request is in hand, or an answer.
    pub(crate) fn due(
        &mut self,
        cx: &mut Context<'_>,
        limits: &Limits,
        timer: TimerId,
        is_busy: bool,
    ) -> Option<Late> {
        if timer.tag() != WHOLE {
            self.part = None;
            return Some(Late::Part);
        }
        self.whole = None;
        let spent = cx.now().saturating_duration_since(self.since);
        let left = limits.request_time.saturating_sub(spent);
        if is_busy && left.is_zero() {
            return Some(Late::Whole);
        }
        if is_busy {
            self.whole = Some(cx.set_tagged_timer(left, WHOLE));
        }
        None
    }
}
