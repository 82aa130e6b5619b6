//! Exercise 15: a test is as good as the faults that it finds. Here the test is tested.

#[cfg_attr(not(feature = "solution"), path = "start.rs")]
#[cfg_attr(feature = "solution", path = "solution.rs")]
mod code;

use std::io;
use std::time::Duration;

use slabloop::{Context, Dispatcher};

/// What is wrong with a dispatcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// It takes what one read brings for whole lines.
    EachReadBeginsANewLine,
    /// What stands behind the last whole line is thrown away.
    TheRestIsLost,
    /// It looks for CR LF in what is new, and never sees one that is cut in two.
    TheEndIsLookedForInOnePiece,
    /// It takes any CR for the end.
    CarriageReturnIsEnough,
    /// A line may have any length.
    NoBound,
    /// A line may have 99 bytes.
    TheBoundIsTooLow,
    /// It waits for ever.
    NoTimeout,
    /// It counts from the first byte, whatever comes after it.
    TheTimeoutIsNotRenewed,
}

/// The dispatcher of the protocol of lengths, right or not.
struct Lengths {
    fault: Fault,
    line: Vec<u8>,
    has_begun: bool,
}

impl Lengths {
    fn new(fault: Fault) -> Lengths {
        Lengths {
            fault,
            line: Vec::new(),
            has_begun: false,
        }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// Where the first line ends, and how long its end is.
    fn find_end(&self, new: usize) -> Option<(usize, usize)> {
        let from = match self.fault {
            Fault::TheEndIsLookedForInOnePiece => new,
            _ => 0,
        };
        let end: &[u8] = match self.fault {
            Fault::CarriageReturnIsEnough => b"\r",
            _ => b"\r\n",
        };
        let mut windows = self.line[from..].windows(end.len());
        windows
            .position(|window| window == end)
            .map(|at| (from + at, end.len()))
    }

    fn set_timeout(&mut self, cx: &mut Context<'_>) {
        let minute = Duration::from_secs(60);
        match self.fault {
            Fault::NoTimeout => {}
            Fault::TheTimeoutIsNotRenewed if self.has_begun => {}
            Fault::TheTimeoutIsNotRenewed => drop(cx.set_timer(minute)),
            _ => cx.set_idle_timeout(minute),
        }
        self.has_begun = true;
    }
}

impl Dispatcher for Lengths {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut chunk = [0; 4096];
        let count = cx.recv(&mut chunk)?;
        self.set_timeout(cx);
        if self.is(Fault::EachReadBeginsANewLine) {
            self.line.clear();
        }
        let mut new = self.line.len();
        self.line.extend_from_slice(&chunk[..count]);
        let most = match self.fault {
            Fault::TheBoundIsTooLow => 99,
            Fault::NoBound => usize::MAX,
            _ => 100,
        };
        let mut has_answered = false;
        while let Some((end, length)) = self.find_end(new) {
            if end > most {
                break;
            }
            cx.send(format!("{end}\r\n").as_bytes())?;
            self.line.drain(..end + length);
            if self.is(Fault::CarriageReturnIsEnough) && self.line.first() == Some(&b'\n') {
                self.line.remove(0);
            }
            (new, has_answered) = (0, true);
        }
        if self.is(Fault::TheRestIsLost) && has_answered {
            self.line.clear();
        }
        // The CR of an end that is not whole yet does not count.
        let length = self.line.strip_suffix(b"\r").unwrap_or(&self.line).len();
        if length > most {
            cx.abort();
        }
        Ok(())
    }

    fn handle_timer(&mut self, cx: &mut Context<'_>, _: slabloop::TimerId) -> io::Result<()> {
        cx.close();
        Ok(())
    }
}

#[track_caller]
fn finds(fault: Fault) {
    let passes = code::passes(|| Lengths::new(fault));
    assert!(
        !passes,
        "the test passes a dispatcher with this fault: {fault:?}"
    );
}

#[test]
fn a_dispatcher_without_fault_passes() {
    assert!(code::passes(|| Lengths::new(Fault::None)));
}

#[test]
fn a_peer_that_sends_a_byte_a_turn_finds_who_takes_a_read_for_a_line() {
    finds(Fault::EachReadBeginsANewLine);
    finds(Fault::TheEndIsLookedForInOnePiece);
}

#[test]
fn other_pieces_find_who_throws_away_what_is_behind_a_line() {
    finds(Fault::TheRestIsLost);
}

#[test]
fn a_carriage_return_in_a_line_finds_who_takes_it_for_the_end() {
    finds(Fault::CarriageReturnIsEnough);
}

#[test]
fn the_longest_line_and_one_that_is_longer_find_who_has_another_bound() {
    finds(Fault::NoBound);
    finds(Fault::TheBoundIsTooLow);
}

#[test]
fn a_clock_finds_who_waits_for_ever_and_who_does_not_wait_long_enough() {
    finds(Fault::NoTimeout);
    finds(Fault::TheTimeoutIsNotRenewed);
}
