//! The system calls.

use std::io;

use mio::Token;
use slabloop::testing::SimKind;

use super::{
    EADDRNOTAVAIL, EAGAIN, ECONNRESET, EINPROGRESS, EINTR, EMFILE, ENOMEM, ENOTCONN, EPIPE, Fate,
    Kernel, LARGE, Link, byte_at, os, poll,
};
use crate::sim::faults::Fault;

impl Kernel {
    pub(super) fn call(&mut self, name: &'static str, end: usize) {
        self.calls += 1;
        self.trace.step(name, end as u64, 0);
        let used_after_close = self.ends[end].closed;
        if used_after_close {
            self.breaks(|| format!("12: {name} of end {end}, which is closed"));
        }
    }

    pub(super) fn said(&mut self, outcome: io::Result<usize>) -> io::Result<usize> {
        let code = match &outcome {
            Ok(count) => *count as u64,
            Err(error) => 1 << 32 | error.raw_os_error().unwrap_or(0) as u64,
        };
        self.trace.step("=", code, 0);
        outcome
    }

    pub(crate) fn register(&mut self, end: usize, token: Token) -> io::Result<()> {
        self.call("epoll_ctl add", end);
        if self.fault(Fault::RegisterErrno) {
            return Err(os(self.any_errno()));
        }
        let e = &mut self.ends[end];
        e.registrations += 1;
        let again = e.registrations > 1;
        e.token = Some(token);
        e.interest = match e.kind {
            SimKind::Stream => poll::IN | poll::RDHUP,
            SimKind::PipeWriter => poll::OUT,
            SimKind::Listener | SimKind::Datagram | SimKind::PipeReader => poll::IN,
        };
        if e.dialled {
            e.interest |= poll::OUT;
            e.room_watches = 1;
            e.knows_room = e.link == Link::Up;
        }
        if again {
            self.breaks(|| format!("11: end {end} is registered twice"));
        }
        let pending = self.mask(end);
        self.wake_if_wanted(end, pending);
        Ok(())
    }

    pub(super) fn wake_if_wanted(&mut self, end: usize, pending: u32) {
        if pending != 0 {
            self.wake(end, pending);
        }
    }

    pub(crate) fn watch_room(&mut self, end: usize, token: Token) -> io::Result<()> {
        self.call("epoll_ctl mod", end);
        if self.fault(Fault::WatchRoomErrno) {
            let errno = self.any_errno();
            self.has_to_find_out(end);
            return Err(os(errno));
        }
        let e = &mut self.ends[end];
        e.room_watches += 1;
        let wrong = e.token != Some(token) || e.room_watches > 1;
        e.interest |= poll::OUT;
        if wrong {
            self.breaks(|| format!("11: end {end} asks for room twice, or under another id"));
        }
        let pending = self.mask(end);
        self.wake_if_wanted(end, pending);
        Ok(())
    }

    /// A write has failed, and no event need follow: the reactor reads until there is nothing more.
    fn has_to_find_out(&mut self, end: usize) {
        self.ends[end].knows_input = true;
        self.ends[end].knows_end = true;
        self.ends[end].write_failed = true;
    }

    pub(crate) fn deregister(&mut self, end: usize) -> io::Result<()> {
        self.call("epoll_ctl del", end);
        let e = &mut self.ends[end];
        e.edge = false;
        match e.token.take() {
            Some(token) => self.ghosts.push(token),
            None => self.breaks(|| format!("11: end {end} is deregistered and was not registered")),
        }
        if self.fault(Fault::DeregisterErrno) {
            return Err(os(self.any_errno()));
        }
        Ok(())
    }

    pub(crate) fn drop_descriptor(&mut self, end: usize) {
        self.call("close", end);
        self.open -= 1;
        if self.ends[end].token.is_some() {
            self.breaks(|| format!("12: end {end} is closed while the poller has it"));
            self.ends[end].token = None;
        }
        self.close(end);
    }

    pub(crate) fn reset_when_closed(&mut self, end: usize) {
        self.call("setsockopt linger", end);
        self.ends[end].resets_when_closed = true;
    }

    /// The run lets the reactor ask once without having been told: it called `recv_now`.
    pub(crate) fn may_ask(&mut self, end: usize) {
        self.ends[end].knows_input = true;
    }

    /// A connection dies of an errno: this side's call has reported it, the other side sees a reset.
    pub(super) fn dies(&mut self, end: usize) {
        let e = &mut self.ends[end];
        e.reset = true;
        e.input_ended = true;
        e.errno = None;
        e.input.clear();
        e.knows_input = true;
        e.knows_room = true;
        let (kind, other) = (e.kind, e.other);
        if kind == SimKind::Stream && !self.ends[other].closed {
            self.reset_arrives(other, ECONNRESET);
        }
        self.wake(end, !0);
    }

    pub(crate) fn recv(&mut self, end: usize, buffer: &mut [u8]) -> io::Result<usize> {
        self.call("recv", end);
        let outcome = self.try_recv(end, buffer);
        self.said(outcome)
    }

    pub(super) fn try_recv(&mut self, end: usize, buffer: &mut [u8]) -> io::Result<usize> {
        // (Of an error that was told the reactor may ask for the errno at any time.)
        if self.is_frugal && !self.ends[end].knows_input && !self.ends[end].knows_error {
            self.breaks(|| {
                format!(
                    "11: end {end} is read after WouldBlock or a short read, and no event since"
                )
            });
        }
        if self.fault(Fault::ReadInterrupted) {
            return Err(os(EINTR));
        }
        if self.fault(Fault::ReadWouldBlock) {
            self.ends[end].knows_input = false;
            let pending = self.mask(end);
            self.wake_if_wanted(end, pending & !poll::OUT);
            return Err(os(EAGAIN));
        }
        if self.fault(Fault::ReadErrno) {
            let errno = self.any_errno();
            if self.ends[end].kind != SimKind::Datagram {
                self.dies(end);
            }
            return Err(os(errno));
        }
        if self.ends[end].kind == SimKind::Datagram {
            return self.recv_datagram(end, buffer);
        }
        let e = &mut self.ends[end];
        if e.input.is_empty() {
            if e.ended_before_reset {
                return Ok(0);
            }
            if let Some(errno) = e.errno.take() {
                return Err(os(errno));
            }
            if e.input_ended {
                e.zero_after_reset = e.reset;
                return Ok(0);
            }
            e.knows_input = false;
            return Err(os(EAGAIN));
        }
        let mut count = buffer.len().min(e.input.len());
        if count > 1 && self.fault(Fault::ShortRead) {
            count = self.rng.usize(1..count);
            self.wake(end, poll::IN);
        }
        let e = &mut self.ends[end];
        for (place, byte) in buffer.iter_mut().zip(e.input.drain(..count)) {
            *place = byte;
        }
        e.received += count as u64;
        if count < buffer.len() && !e.knows_end {
            e.knows_input = false;
        }
        let other = e.other;
        self.made_room(other);
        Ok(count)
    }

    pub(super) fn recv_datagram(&mut self, end: usize, buffer: &mut [u8]) -> io::Result<usize> {
        let e = &mut self.ends[end];
        if let Some(errno) = e.errno.take() {
            return Err(os(errno));
        }
        let Some(datagram) = e.datagrams.pop_front() else {
            e.knows_input = false;
            return Err(os(EAGAIN));
        };
        let count = datagram.len().min(buffer.len());
        buffer[..count].copy_from_slice(&datagram[..count]);
        e.received += 1;
        Ok(count)
    }

    pub(crate) fn send(&mut self, end: usize, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.call("send", end);
        let outcome = self.try_send(end, pieces);
        if let Err(error) = &outcome {
            let finds_out = self.ends[end].kind == SimKind::Stream;
            if finds_out && !matches!(error.raw_os_error(), Some(EAGAIN | EINTR)) {
                self.has_to_find_out(end);
            }
        }
        self.said(outcome)
    }

    pub(super) fn try_send(&mut self, end: usize, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let total: usize = pieces.iter().map(|piece| piece.len()).sum();
        if self.ends[end].kind == SimKind::Datagram {
            if self.fault(Fault::WriteErrno) {
                return Err(os(self.any_errno()));
            }
            if let Some(errno) = self.ends[end].errno.take() {
                return Err(os(errno));
            }
            self.ends[end].sent += 1;
            let other = self.ends[end].other;
            if self.ends[other].closed {
                self.datagram_refused(end);
            } else if self.ends[other].datagrams.len() < 16 {
                let datagram = pieces.iter().flat_map(|piece| piece.iter().copied());
                self.ends[other].datagrams.push_back(datagram.collect());
                self.wake(other, poll::IN);
            }
            return Ok(total);
        }
        if total >= LARGE && self.takes_short_ways(end) && !self.ends[end].large_in_turn {
            self.ends[end].large_in_turn = true;
        } else {
            self.ends[end].writes_in_turn += 1;
        }
        if self.is_frugal && self.ends[end].writes_in_turn > self.writes_a_turn {
            self.breaks(|| format!("11: end {end} is written too often in a turn"));
        }
        if self.is_frugal && !self.ends[end].knows_room {
            self.breaks(|| {
                format!("11: end {end} is written after WouldBlock, and no event since")
            });
        }
        if self.fault(Fault::WriteInterrupted) {
            return Err(os(EINTR));
        }
        if self.fault(Fault::WriteErrno) {
            let errno = self.any_errno();
            self.dies(end);
            return Err(os(errno));
        }
        let e = &mut self.ends[end];
        if let Some(errno) = e.errno.take() {
            return Err(os(errno));
        }
        if let Link::Connecting { .. } = e.link {
            self.breaks(|| format!("end {end} is written before it is connected"));
            return Err(os(ENOTCONN));
        }
        if e.reset || e.output_shut {
            return Err(os(EPIPE));
        }
        let other = e.other;
        if self.ends[other].closed {
            if self.ends[end].kind == SimKind::PipeWriter || self.ends[end].unix {
                return Err(os(EPIPE));
            }
            // They leave, nobody takes them, and the answer is a reset.
            let count = total.min(self.ends[other].room);
            self.check_written(end, pieces, count);
            self.reset_arrives(end, ECONNRESET);
            return Ok(count);
        }
        let free = self.ends[other].free();
        if free == 0 || self.fault(Fault::WriteWouldBlock) {
            let e = &mut self.ends[end];
            e.no_space = true;
            e.knows_room = false;
            self.made_room(end);
            return Err(os(EAGAIN));
        }
        let mut count = total.min(free);
        if count > 1 && self.fault(Fault::PartialWrite) {
            count = self.rng.usize(1..count);
        }
        let mut left = count;
        for piece in pieces {
            let part = piece.len().min(left);
            self.ends[other].input.extend(&piece[..part]);
            left -= part;
        }
        self.check_written(end, pieces, count);
        self.wake(other, poll::IN);
        Ok(count)
    }

    /// Oracle 1, at the earliest moment: what goes out is what follows in the stream.
    pub(super) fn check_written(&mut self, end: usize, pieces: &[io::IoSlice<'_>], count: usize) {
        let sent = self.ends[end].sent;
        if self.checks_bytes {
            let bytes = pieces.iter().flat_map(|piece| piece.iter()).take(count);
            let wrong = bytes
                .zip(sent..)
                .find(|(byte, offset)| **byte != byte_at(end, *offset));
            if let Some((_, offset)) = wrong {
                self.breaks(|| format!("1: end {end} sends a wrong byte at {offset}"));
            }
        }
        self.ends[end].sent = sent + count as u64;
    }

    pub(crate) fn shutdown_write(&mut self, end: usize) -> io::Result<()> {
        self.call("shutdown", end);
        if self.ends[end].output_shut {
            self.breaks(|| format!("11: end {end} is shut twice"));
        }
        if self.ends[end].reset {
            self.has_to_find_out(end);
            return Err(os(ENOTCONN));
        }
        if self.fault(Fault::ShutdownErrno) {
            self.has_to_find_out(end);
            self.dies(end);
            return Err(os(self.any_errno()));
        }
        self.ends[end].output_shut = true;
        let other = self.ends[end].other;
        if !self.ends[other].closed {
            self.end_arrives(other);
        }
        self.wake(end, poll::OUT | poll::HUP);
        Ok(())
    }

    /// Takes one from the queue: its end.
    pub(crate) fn accept(&mut self, listener: usize) -> io::Result<usize> {
        self.call("accept4", listener);
        let outcome = self.try_accept(listener);
        self.said(outcome)
    }

    pub(super) fn try_accept(&mut self, listener: usize) -> io::Result<usize> {
        if !self.ends[listener].knows_input {
            self.breaks(|| {
                format!("11: listener {listener} is asked, and no event since WouldBlock")
            });
        }
        if self.open >= self.limit || self.fault(Fault::NoDescriptor) {
            self.ends[listener].accept_failed = true;
            return Err(os(EMFILE));
        }
        if self.fault(Fault::AcceptErrno) {
            self.ends[listener].accept_failed = true;
            let errno = self.any_errno();
            if self.rng.bool() {
                if let Some(lost) = self.ends[listener].backlog.pop_front() {
                    self.ends[lost].resets_when_closed = true;
                    self.close(lost);
                }
            }
            return Err(os(errno));
        }
        let Some(end) = self.ends[listener].backlog.pop_front() else {
            self.ends[listener].knows_input = false;
            return Err(os(EAGAIN));
        };
        self.ends[listener].accept_failed = false;
        self.descriptor(end);
        Ok(end)
    }

    /// As `socket` and `connect`: the attempt's end, and what `connect` said.
    pub(crate) fn dial(&mut self, listener: Option<usize>) -> io::Result<(usize, io::Result<()>)> {
        self.calls += 1;
        if self.open >= self.limit || self.fault(Fault::NoDescriptor) {
            return Err(os(EMFILE));
        }
        if self.fault(Fault::DialErrno) {
            return Err(os([ENOMEM, EADDRNOTAVAIL][self.rng.usize(..2)]));
        }
        let never = self.fault(Fault::NoAnswer);
        let refused = std::mem::take(&mut self.refuses) || self.fault(Fault::Refused);
        let waits = if self.is_prompt { 0 } else { self.rng.u32(..6) };
        let fate = match (never, refused) {
            (true, _) => Fate::Never,
            (_, true) => Fate::Refused,
            _ => Fate::Established,
        };
        let link = Link::Connecting { waits, fate };
        let ours = self.new_end(SimKind::Stream, false, link);
        let peer = self.new_end(SimKind::Stream, false, link);
        self.tie(ours, peer);
        self.ends[ours].dialled = true;
        // Only the attempt's side counts the waits.
        self.ends[peer].link = Link::Connecting {
            waits: 0,
            fate: Fate::Never,
        };
        self.descriptor(ours);
        let listener = listener.filter(|listener| !self.ends[*listener].closed);
        if let (Some(listener), Fate::Established) = (listener, fate) {
            self.ends[peer].link = Link::Up;
            self.ends[listener].backlog.push_back(peer);
            self.wake(listener, poll::IN);
        }
        if fate == Fate::Established && !self.is_prompt && self.rng.u32(..8) == 0 {
            self.ends[ours].link = Link::Up;
            self.ends[peer].link = Link::Up;
            return Ok((ours, Ok(())));
        }
        let said = if self.rng.u32(..8) == 0 {
            EINTR
        } else {
            EINPROGRESS
        };
        Ok((ours, Err(os(said))))
    }

    pub(crate) fn take_error(&mut self, end: usize) -> io::Result<Option<io::Error>> {
        self.call("getsockopt error", end);
        if self.fault(Fault::TakeErrorErrno) {
            self.dies(end);
            return Err(os(self.any_errno()));
        }
        Ok(self.ends[end].errno.take().map(os))
    }

    pub(crate) fn check_connected(&mut self, end: usize) -> io::Result<()> {
        self.call("getpeername", end);
        if let Link::Connecting { .. } = self.ends[end].link {
            // The reactor forgets the room that it was told of, and waits for the next event.
            self.ends[end].knows_room = false;
            return Err(os(ENOTCONN));
        }
        if self.fault(Fault::NotConnectedYet) {
            self.ends[end].knows_room = false;
            self.wake(end, poll::OUT);
            return Err(os(ENOTCONN));
        }
        Ok(())
    }
}
