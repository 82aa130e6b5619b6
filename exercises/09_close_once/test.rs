//! Exercise 9: `handle_close` comes exactly once, and a graceful close loses nothing.

#[cfg_attr(not(feature = "solution"), path = "start.rs")]
#[cfg_attr(feature = "solution", path = "solution.rs")]
mod code;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;

use code::{Connection, Socket};

/// A connection as the kernel has it, from both ends.
#[derive(Default)]
struct Wire {
    /// What the peer has sent and the server has not read.
    unread: VecDeque<u8>,
    peer_has_ended: bool,
    peer_has_reset: bool,
    /// What the server has written and the peer has not received.
    sent: VecDeque<u8>,
    received: Vec<u8>,
    server_has_ended: bool,
    server_has_closed: bool,
    /// The server's kernel has sent a reset.
    was_reset: bool,
    closes_handled: usize,
}

/// How much the kernel takes while the peer receives nothing.
const ROOM: usize = 64;

impl Wire {
    fn reset(&mut self) {
        self.was_reset = true;
        self.sent.clear();
    }

    fn peer_sends(&mut self, count: usize) {
        if self.server_has_closed {
            return self.reset();
        }
        if !self.peer_has_ended && !self.peer_has_reset {
            self.unread.extend(std::iter::repeat_n(b'?', count));
        }
    }

    fn peer_receives(&mut self, count: usize) {
        let count = count.min(self.sent.len());
        self.received.extend(self.sent.drain(..count));
    }

    fn peer_resets(&mut self) {
        self.peer_has_reset = true;
        self.sent.clear();
        self.unread.clear();
    }
}

/// The server's end of it.
struct End(Rc<RefCell<Wire>>);

impl Read for End {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut wire = self.0.borrow_mut();
        if wire.peer_has_reset {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if wire.unread.is_empty() && !wire.peer_has_ended {
            return Err(ErrorKind::WouldBlock.into());
        }
        wire.unread.read(buffer)
    }
}

impl Write for End {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut wire = self.0.borrow_mut();
        if wire.peer_has_reset || wire.server_has_ended {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let count = bytes.len().min(ROOM - wire.sent.len());
        if count == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        wire.sent.extend(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for End {
    fn shutdown_write(&mut self) -> io::Result<()> {
        self.0.borrow_mut().server_has_ended = true;
        Ok(())
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let mut wire = self.0.borrow_mut();
        wire.server_has_closed = true;
        // The rule of this chapter.
        if !wire.unread.is_empty() {
            wire.reset();
        }
    }
}

fn start() -> (Rc<RefCell<Wire>>, Connection<End>) {
    let wire = Rc::new(RefCell::new(Wire::default()));
    let seen = wire.clone();
    let connection = Connection::new(End(wire.clone()), move || {
        let mut wire = seen.borrow_mut();
        wire.closes_handled += 1;
        assert!(wire.server_has_closed, "handle_close before the close");
    });
    (wire, connection)
}

/// A peer that receives all that comes, and ends its stream when it has seen the end of the server's.
fn polite_peer(wire: &Rc<RefCell<Wire>>, connection: &mut Connection<End>) {
    for _ in 0..200 {
        let mut wire = wire.borrow_mut();
        wire.peer_receives(10);
        if wire.server_has_ended && wire.sent.is_empty() {
            wire.peer_has_ended = true;
        }
        drop(wire);
        connection.turn();
    }
}

#[test]
fn handle_close_comes_once_when_everything_calls_close() {
    let (wire, mut connection) = start();
    connection.close();
    connection.close();
    connection.abort();
    connection.abort();
    connection.close_timeout();
    connection.turn();
    assert_eq!(wire.borrow().closes_handled, 1);
}

#[test]
fn long_reply_leaves_before_the_close() {
    let (wire, mut connection) = start();
    connection.send(&[b'!'; 1000]);
    connection.close();
    polite_peer(&wire, &mut connection);
    let wire = wire.borrow();
    assert_eq!(wire.received.len(), 1000, "the rest was thrown away");
    assert_eq!(wire.closes_handled, 1);
}

#[test]
fn unread_request_does_not_eat_the_reply() {
    let (wire, mut connection) = start();
    wire.borrow_mut().peer_sends(500);
    connection.turn();
    connection.send(b"too large");
    connection.close();
    // It goes on sending, for it has not seen the reply yet.
    wire.borrow_mut().peer_sends(100);
    polite_peer(&wire, &mut connection);
    let wire = wire.borrow();
    assert!(!wire.was_reset, "the peer sees a reset");
    assert_eq!(wire.received, b"too large");
    assert_eq!(wire.closes_handled, 1);
}

#[test]
fn half_close_is_answered_in_full() {
    let (wire, mut connection) = start();
    wire.borrow_mut().peer_sends(5);
    wire.borrow_mut().peer_has_ended = true;
    connection.send(&[b'!'; 300]);
    polite_peer(&wire, &mut connection);
    let wire = wire.borrow();
    assert_eq!(wire.received.len(), 300);
    assert_eq!(wire.closes_handled, 1);
}

#[test]
fn peer_that_never_ends_is_closed_at_the_timeout() {
    let (wire, mut connection) = start();
    connection.close_timeout();
    assert_eq!(wire.borrow().closes_handled, 0, "it is open");
    connection.close();
    connection.turn();
    connection.close_timeout();
    assert_eq!(wire.borrow().closes_handled, 1);
}

/// Numbers that look random and are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % 1_000_003).unwrap() % limit
    }
}

#[test]
fn whatever_happens_in_whatever_order_handle_close_comes_once_and_a_graceful_close_loses_nothing() {
    for seed in 1..=5000 {
        let mut random = Random(seed);
        let (wire, mut connection) = start();
        let mut story = Vec::new();
        let (mut expected, mut closing, mut is_polite) = (0, false, true);
        for _ in 0..random.below(12) {
            let step = random.below(12);
            let count = random.below(100) + 1;
            match step {
                0 | 1 => {
                    story.push(format!("send {count}"));
                    connection.send(&vec![b'!'; count]);
                    let wire = wire.borrow();
                    if !closing && !wire.server_has_ended && !wire.server_has_closed {
                        expected += count;
                    }
                }
                2 | 3 => {
                    story.push(format!("the peer sends {count}"));
                    wire.borrow_mut().peer_sends(count);
                }
                4 | 5 => {
                    story.push("close".to_owned());
                    closing = true;
                    connection.close();
                }
                6 => {
                    story.push(format!("the peer receives {count}"));
                    wire.borrow_mut().peer_receives(count);
                }
                7 if random.below(4) == 0 => {
                    story.push("the peer resets".to_owned());
                    is_polite = false;
                    wire.borrow_mut().peer_resets();
                }
                8 if random.below(4) == 0 => {
                    story.push("abort".to_owned());
                    is_polite = false;
                    connection.abort();
                }
                9 if random.below(4) == 0 && closing => {
                    story.push("the close timeout".to_owned());
                    is_polite = false;
                    connection.close_timeout();
                }
                _ => {
                    story.push("a turn".to_owned());
                    connection.turn();
                }
            }
            assert!(wire.borrow().closes_handled <= 1, "{seed}: {story:?}");
        }
        connection.close();
        polite_peer(&wire, &mut connection);
        let wire = wire.borrow();
        let closes = wire.closes_handled;
        assert_eq!(closes, 1, "{seed}: handle_close {closes} times: {story:?}");
        if is_polite {
            let received = wire.received.len();
            assert_eq!(received, expected, "{seed}: bytes lost: {story:?}");
            assert!(!wire.was_reset, "{seed}: a reset: {story:?}");
        }
    }
}
