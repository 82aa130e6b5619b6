//! A stream that takes and gives exactly what a test says: no kernel buffers to hide in.

#![allow(dead_code, reason = "each test file uses a part")]

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::rc::Rc;

use slabloop::testing::{Bits, SimKind, SimSocket};
use slabloop::{AnyId, Reactor, Socket};

/// The test's end. Clones are the same wire.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wire(Rc<RefCell<State>>);

#[derive(Debug, Default)]
struct State {
    /// What a read gives.
    input: Vec<u8>,
    input_ended: bool,
    /// Reads fail with this once the input is read.
    input_broken: Option<io::ErrorKind>,
    /// What was written and taken.
    output: Vec<u8>,
    /// How much more is taken before a write says `WouldBlock`.
    room: usize,
    /// The next so many writes are interrupted by a signal.
    interruptions: usize,
    /// The next so many writes that find no room are interrupted instead.
    interruptions_if_full: usize,
    /// Writes fail with this from now on.
    broken: Option<io::ErrorKind>,
    writes: usize,
    reads: usize,
}

impl Wire {
    /// One that takes `room` bytes.
    pub(crate) fn new(room: usize) -> Wire {
        let wire = Wire::default();
        wire.0.borrow_mut().room = room;
        wire
    }

    /// One that takes everything.
    pub(crate) fn open() -> Wire {
        Wire::new(usize::MAX)
    }

    /// The reactor's end.
    pub(crate) fn socket(&self) -> Socket {
        let end: Box<dyn SimSocket> = Box::new(End(self.clone()));
        Socket::from(end)
    }

    /// Lets `bytes` more be taken, and tells the reactor.
    pub(crate) fn make_room(&self, reactor: &mut Reactor, id: impl Into<AnyId>, bytes: usize) {
        let mut state = self.0.borrow_mut();
        state.room = state.room.saturating_add(bytes);
        reactor.inject(id, Bits::WRITABLE);
    }

    /// Has the next `count` writes interrupted.
    pub(crate) fn interrupt(&self, count: usize) {
        self.0.borrow_mut().interruptions = count;
    }

    /// Has the next `count` writes that find no room interrupted.
    pub(crate) fn interrupt_if_full(&self, count: usize) {
        self.0.borrow_mut().interruptions_if_full = count;
    }

    /// Has every write fail from now on, and tells the reactor as the kernel would.
    pub(crate) fn break_with(
        &self,
        reactor: &mut Reactor,
        id: impl Into<AnyId>,
        kind: io::ErrorKind,
    ) {
        self.0.borrow_mut().broken = Some(kind);
        reactor.inject(id, Bits::WRITABLE);
    }

    /// Takes back what room is left.
    pub(crate) fn take_room(&self) {
        self.0.borrow_mut().room = 0;
    }

    /// As [`Wire::break_with`], and the reactor is not told.
    pub(crate) fn break_silently(&self, kind: io::ErrorKind) {
        self.0.borrow_mut().broken = Some(kind);
    }

    /// Sends `bytes` to the reactor.
    pub(crate) fn input(&self, reactor: &mut Reactor, id: impl Into<AnyId>, bytes: &[u8]) {
        self.0.borrow_mut().input.extend_from_slice(bytes);
        reactor.inject(id, Bits::READABLE);
    }

    /// Ends the stream to the reactor, behind what was sent.
    pub(crate) fn end_input(&self, reactor: &mut Reactor, id: impl Into<AnyId>) {
        self.0.borrow_mut().input_ended = true;
        reactor.inject(id, Bits::READABLE | Bits::READ_CLOSED);
    }

    /// Breaks the stream to the reactor, behind what was sent.
    pub(crate) fn break_input(
        &self,
        reactor: &mut Reactor,
        id: impl Into<AnyId>,
        kind: io::ErrorKind,
    ) {
        self.0.borrow_mut().input_broken = Some(kind);
        reactor.inject(id, Bits::READABLE | Bits::READ_CLOSED);
    }

    pub(crate) fn output(&self) -> Vec<u8> {
        self.0.borrow().output.clone()
    }

    pub(crate) fn taken(&self) -> usize {
        self.0.borrow().output.len()
    }

    pub(crate) fn writes(&self) -> usize {
        self.0.borrow().writes
    }

    pub(crate) fn reads(&self) -> usize {
        self.0.borrow().reads
    }

    pub(crate) fn unread(&self) -> usize {
        self.0.borrow().input.len()
    }
}

struct End(Wire);

impl SimSocket for End {
    fn kind(&self) -> SimKind {
        SimKind::Stream
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.0.0.borrow_mut();
        state.reads += 1;
        let count = buffer.len().min(state.input.len());
        if let (0, Some(kind)) = (count, state.input_broken) {
            return Err(kind.into());
        }
        if count == 0 && !state.input_ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        buffer[..count].copy_from_slice(&state.input[..count]);
        state.input.drain(..count);
        Ok(count)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send_vectored(&[IoSlice::new(bytes)])
    }

    fn send_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.0.0.borrow_mut();
        state.writes += 1;
        if let Some(kind) = state.broken {
            return Err(kind.into());
        }
        if state.interruptions > 0 {
            state.interruptions -= 1;
            return Err(io::ErrorKind::Interrupted.into());
        }
        let before = state.room;
        for piece in pieces {
            let count = piece.len().min(state.room);
            state.output.extend_from_slice(&piece[..count]);
            state.room -= count;
        }
        match before - state.room {
            0 if state.interruptions_if_full > 0 => {
                state.interruptions_if_full -= 1;
                Err(io::ErrorKind::Interrupted.into())
            }
            0 => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        // The other side answers with its own end.
        self.0.0.borrow_mut().input_ended = true;
        Ok(())
    }
}
