//! Exercise 2: what the kernel does not take is kept, but not any amount of it.

#[cfg_attr(not(feature = "solution"), path = "start.rs")]
#[cfg_attr(feature = "solution", path = "solution.rs")]
mod code;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;

use code::{Echo, LIMIT};

/// A connection without a kernel: the test says what arrives, and how much room there is for writing.
#[derive(Clone, Default)]
struct Wire(Rc<RefCell<Sides>>);

#[derive(Default)]
struct Sides {
    arriving: VecDeque<u8>,
    client_has_finished: bool,
    room: usize,
    sent: Vec<u8>,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut sides = self.0.borrow_mut();
        if sides.arriving.is_empty() && !sides.client_has_finished {
            return Err(ErrorKind::WouldBlock.into());
        }
        sides.arriving.read(buffer)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut sides = self.0.borrow_mut();
        let count = bytes.len().min(sides.room);
        if count == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        sides.room -= count;
        sides.sent.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes in which a gap or a repetition shows.
fn text(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at % 251) as u8).collect()
}

fn wire(arriving: &[u8]) -> Wire {
    let wire = Wire::default();
    wire.0.borrow_mut().arriving.extend(arriving);
    wire
}

#[test]
fn what_the_kernel_takes_in_pieces_comes_back_whole() {
    let wire = wire(&text(10_000));
    let mut echo = Echo::new(wire.clone());
    for _ in 0..200 {
        wire.0.borrow_mut().room = 100;
        assert!(echo.round().unwrap(), "the client is still there");
    }
    assert_eq!(wire.0.borrow().sent, text(10_000));
}

#[test]
fn a_client_that_does_not_read_cannot_fill_the_memory() {
    let wire = wire(&text(1_000_000));
    let mut echo = Echo::new(wire.clone());
    for _ in 0..1000 {
        assert!(echo.round().unwrap());
        assert!(echo.unsent() <= LIMIT, "{} bytes wait", echo.unsent());
    }
    // It reads after all.
    for _ in 0..1000 {
        wire.0.borrow_mut().room = 10_000;
        echo.round().unwrap();
    }
    assert!(
        wire.0.borrow().sent == text(1_000_000),
        "not what the client sent"
    );
}

#[test]
fn a_client_that_has_finished_sending_still_gets_its_answer() {
    let wire = wire(&text(10_000));
    wire.0.borrow_mut().client_has_finished = true;
    let mut echo = Echo::new(wire.clone());
    for round in 0.. {
        assert!(round < 1000, "it never ends");
        wire.0.borrow_mut().room = 1000;
        if !echo.round().unwrap() {
            break;
        }
    }
    assert_eq!(wire.0.borrow().sent.len(), 10_000);
}
