//! Exercise 7: nothing is lost, little is asked, and the loop can sleep.

#[cfg_attr(not(feature = "solution"), path = "start.rs")]
#[cfg_attr(feature = "solution", path = "solution.rs")]
mod code;

use std::cell::RefCell;
use std::io::{self, ErrorKind, Write};
use std::rc::Rc;

use code::Outbox;

/// A stream under a level-triggered poller, and what the test sees of it.
#[derive(Clone, Default)]
struct Wire(Rc<RefCell<Kernel>>);

#[derive(Default)]
struct Kernel {
    taken: Vec<u8>,
    /// How many bytes it takes before it is full.
    room: usize,
    calls: usize,
    /// What the next call says instead.
    error: Option<ErrorKind>,
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kernel = self.0.borrow_mut();
        kernel.calls += 1;
        if let Some(error) = kernel.error.take() {
            return Err(error.into());
        }
        if kernel.room == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = bytes.len().min(kernel.room);
        kernel.room -= count;
        kernel.taken.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Wire {
    fn with_room(room: usize) -> Wire {
        let wire = Wire::default();
        wire.has_room(room);
        wire
    }

    fn has_room(&self, room: usize) {
        self.0.borrow_mut().room = room;
    }

    fn calls(&self) -> usize {
        self.0.borrow().calls
    }

    fn taken(&self) -> Vec<u8> {
        self.0.borrow().taken.clone()
    }

    fn fails_once(&self, error: ErrorKind) {
        self.0.borrow_mut().error = Some(error);
    }
}

fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at % 251) as u8).collect()
}

#[test]
fn a_hundred_small_sends_cost_one_call() {
    let wire = Wire::with_room(usize::MAX);
    let mut outbox = Outbox::new(wire.clone());
    for _ in 0..100 {
        outbox.send(b"a line of 20 bytes.\n").unwrap();
    }
    outbox.flush().unwrap();
    assert_eq!(wire.calls(), 1, "calls of write for 100 sends and a flush");
    assert_eq!(wire.taken(), b"a line of 20 bytes.\n".repeat(100));
}

#[test]
fn what_the_kernel_does_not_take_leaves_later_and_in_order() {
    for piece in [1, 7, 100, 4096, 100_000] {
        let wire = Wire::default();
        let mut outbox = Outbox::new(wire.clone());
        let page = pattern(10_000);
        for part in page.chunks(333) {
            let sent = outbox.send(part);
            assert!(sent.is_ok(), "a send of {} bytes said {sent:?}", part.len());
            wire.has_room(piece);
            outbox.flush().unwrap();
        }
        for _ in 0..page.len() {
            wire.has_room(piece);
            outbox.flush().unwrap();
        }
        assert_eq!(wire.taken().len(), page.len(), "{piece} bytes at a time");
        assert!(wire.taken() == page, "{piece} at a time: out of order");
        assert_eq!(outbox.queued(), 0);
    }
}

#[test]
fn not_now_is_no_error_and_loses_nothing() {
    for error in [ErrorKind::WouldBlock, ErrorKind::Interrupted] {
        let wire = Wire::with_room(usize::MAX);
        let mut outbox = Outbox::new(wire.clone());
        wire.fails_once(error);
        let sent = outbox.send(b"important");
        assert!(sent.is_ok(), "a send said {error:?}");
        let flushed = outbox.flush();
        assert!(flushed.is_ok(), "a flush said {error:?}");
        outbox.flush().unwrap();
        assert_eq!(wire.taken(), b"important");
    }
}

#[test]
fn one_flush_is_one_write() {
    let wire = Wire::with_room(10);
    let mut outbox = Outbox::new(wire.clone());
    outbox.send(&pattern(1000)).unwrap();
    outbox.flush().unwrap();
    assert_eq!(wire.calls(), 1, "others are waiting for their turn");
    assert_eq!(outbox.queued(), 990);
}

#[test]
fn writable_is_asked_for_while_something_waits_and_no_longer() {
    let wire = Wire::with_room(10);
    let mut outbox = Outbox::new(wire.clone());
    assert!(!outbox.wants_writable(), "nothing was sent: the loop spins");
    outbox.send(b"fits").unwrap();
    outbox.flush().unwrap();
    assert!(!outbox.wants_writable(), "all is taken: the loop spins");
    outbox.send(&pattern(100)).unwrap();
    outbox.flush().unwrap();
    assert!(outbox.wants_writable(), "the rest would wait for ever");
    outbox.flush().unwrap();
    assert!(outbox.wants_writable(), "it still waits");
    wire.has_room(1000);
    outbox.flush().unwrap();
    assert!(!outbox.wants_writable(), "all is taken: the loop spins");
}

#[test]
fn a_flush_of_nothing_calls_nothing() {
    let wire = Wire::with_room(10);
    let mut outbox = Outbox::new(wire.clone());
    outbox.flush().unwrap();
    outbox.send(b"x").unwrap();
    outbox.flush().unwrap();
    outbox.flush().unwrap();
    assert_eq!(wire.calls(), 1);
}

#[test]
fn an_error_that_is_final_comes_out() {
    let wire = Wire::with_room(10);
    let mut outbox = Outbox::new(wire.clone());
    wire.fails_once(ErrorKind::BrokenPipe);
    let first = outbox.send(b"x").and_then(|()| outbox.flush());
    assert_eq!(first.unwrap_err().kind(), ErrorKind::BrokenPipe);
}
