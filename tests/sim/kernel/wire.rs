//! What happens on the wire, and whom it wakes.

use slabloop::testing::SimKind;

use super::{ECONNREFUSED, ECONNRESET, EPIPE, Fate, Kernel, Link, poll};
use crate::sim::faults::Fault;

impl Kernel {
    pub(super) fn mask(&self, end: usize) -> u32 {
        let e = &self.ends[end];
        let mut mask = 0;
        match e.kind {
            SimKind::Listener => {
                if !e.backlog.is_empty() {
                    mask |= poll::IN;
                }
                return mask;
            }
            SimKind::Datagram => {
                if !e.datagrams.is_empty() {
                    mask |= poll::IN;
                }
                if e.errno.is_some() {
                    mask |= poll::ERR;
                }
                return mask | poll::OUT;
            }
            SimKind::PipeReader => {
                if !e.input.is_empty() {
                    mask |= poll::IN;
                }
                if e.input_ended {
                    mask |= poll::HUP;
                }
                return mask;
            }
            SimKind::PipeWriter => {
                let reader = &self.ends[e.other];
                if reader.closed {
                    mask |= poll::ERR;
                }
                if reader.closed || reader.free() > 0 {
                    mask |= poll::OUT;
                }
                return mask;
            }
            SimKind::Stream => {}
        }
        if let Link::Connecting { .. } = e.link {
            return 0;
        }
        if e.errno.is_some() {
            mask |= poll::ERR;
        }
        if !e.input.is_empty() || e.input_ended || e.reset {
            mask |= poll::IN;
        }
        if e.input_ended || e.reset {
            mask |= poll::RDHUP;
        }
        let far = &self.ends[e.other];
        if e.reset || e.input_ended && (e.output_shut || e.unix && far.closed) {
            mask |= poll::HUP;
        }
        if e.reset || e.output_shut || far.closed || far.free() * 3 >= far.room {
            mask |= poll::OUT;
        }
        mask
    }

    /// Something happened that those who asked for `what` are told.
    pub(super) fn wake(&mut self, end: usize, what: u32) {
        let e = &mut self.ends[end];
        if e.token.is_some() && what & (e.interest | poll::ERR | poll::HUP) != 0 {
            e.edge = true;
        }
    }

    pub(super) fn made_room(&mut self, writer: usize) {
        let e = &self.ends[writer];
        if e.closed || !e.no_space {
            return;
        }
        if self.mask(writer) & poll::OUT != 0 {
            self.ends[writer].no_space = false;
            self.wake(writer, poll::OUT);
        }
    }

    pub(super) fn end_arrives(&mut self, end: usize) {
        self.ends[end].input_ended = true;
        self.wake(end, poll::IN | poll::RDHUP | poll::HUP);
    }

    pub(crate) fn reset_arrives(&mut self, end: usize, errno: i32) {
        let e = &mut self.ends[end];
        if e.closed || e.reset {
            return;
        }
        e.reset = true;
        // (Who has had an end of stream knows of the reset only when it writes.)
        e.ended_before_reset = e.input_ended;
        e.errno = Some(if e.input_ended { EPIPE } else { errno });
        e.input_ended = true;
        if !self.ends[end].ended_before_reset && self.fault(Fault::BytesLostInReset) {
            let kept = self.rng.usize(..=self.ends[end].input.len());
            self.ends[end].input.truncate(kept);
        }
        self.wake(end, !0);
    }

    pub(super) fn close(&mut self, end: usize) {
        let e = &mut self.ends[end];
        e.closed = true;
        let (kind, other) = (e.kind, e.other);
        let resets = e.resets_when_closed || !e.input.is_empty();
        let backlog = std::mem::take(&mut e.backlog);
        for waiting in backlog {
            self.ends[waiting].resets_when_closed = true;
            self.close(waiting);
        }
        if other == usize::MAX || self.ends[other].closed {
            return;
        }
        match kind {
            SimKind::Listener | SimKind::Datagram => {}
            SimKind::PipeReader => self.wake(other, poll::ERR | poll::OUT),
            SimKind::PipeWriter => self.end_arrives(other),
            SimKind::Stream if self.ends[end].unix => {
                if !self.ends[end].input.is_empty() {
                    self.ends[other].errno = Some(ECONNRESET);
                }
                self.ends[other].input_ended = true;
                self.wake(other, !0);
            }
            SimKind::Stream if resets => self.reset_arrives(other, ECONNRESET),
            SimKind::Stream => self.end_arrives(other),
        }
    }

    pub(super) fn attempts_go_on(&mut self) {
        for end in 0..self.ends.len() {
            let e = &mut self.ends[end];
            let Link::Connecting { waits, fate } = &mut e.link else {
                continue;
            };
            if e.closed || *fate == Fate::Never {
                continue;
            }
            if *waits > 0 {
                *waits -= 1;
                continue;
            }
            let fate = *fate;
            let other = e.other;
            e.link = Link::Up;
            if fate == Fate::Refused {
                e.reset = true;
                e.input_ended = true;
                e.errno = Some(ECONNREFUSED);
                self.ends[other].closed = true;
                self.wake(end, !0);
            } else {
                self.ends[other].link = Link::Up;
                let pending = self.mask(end);
                self.wake_if_wanted(end, pending);
            }
        }
    }
}
