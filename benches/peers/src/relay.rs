//! One direction of a relay: read here, write there, keep what did not fit.
//!
//! An echo server is a relay from a socket to itself, a proxy is two relays between two sockets.
//! The raw epoll, raw mio and calloop peers all need this piece and none of these libraries brings
//! it, so it stands here once. It is written for edge-triggered events: it remembers that a socket
//! may have more, and stops asking after a short read, which is a system call saved per message. A
//! short read proves nothing once the other side has closed (bytes and end of stream can share one
//! event, and no other follows), so after a hang-up it reads until the end itself.
//!
//! Flow control: nothing is read while something is pending, so a relay holds at most one scratch
//! buffer. There is no fairness: one connection that always has more would keep the loop. The load
//! generator never does that, and a floor should not pay for it.

use std::io::{self, ErrorKind, Read, Write};

/// What is known of the reading side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Read until there was no more; the next event will tell.
    Drained,
    /// An event said that there is something.
    MayHaveMore,
    /// An event said that no more will come: read until the end of stream shows.
    Closing,
    /// The end of stream has been read.
    Ended,
}

/// Where a relay stands after a call to [`Relay::pump`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It goes on with the next event on either socket.
    Waiting,
    /// The source has ended and all of it was written: shut the writing side, or close.
    Done,
}

/// Bytes on their way from one socket to another.
#[derive(Debug)]
pub struct Relay {
    source: Source,
    /// Read and not yet written; no allocation while it is empty.
    pending: Vec<u8>,
    /// How much of `pending` has gone out; zero when it is empty.
    written: usize,
}

impl Default for Relay {
    fn default() -> Self {
        Relay {
            source: Source::Drained,
            pending: Vec::new(),
            written: 0,
        }
    }
}

impl Relay {
    /// An event said that the source can be read.
    pub fn note_readable(&mut self) {
        if self.source == Source::Drained {
            self.source = Source::MayHaveMore;
        }
    }

    /// An event said that the source was closed by the other side, or broke.
    pub fn note_closed(&mut self) {
        if self.source != Source::Ended {
            self.source = Source::Closing;
        }
    }

    /// Bytes are waiting for room on the writing side.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        !self.pending.is_empty()
    }

    /// A level-triggered poller should report when the source can be read.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        self.source != Source::Ended && !self.is_blocked()
    }

    /// Moves what can be moved, through `scratch`.
    ///
    /// # Errors
    ///
    /// What a read or write said, other than "not now".
    pub fn pump<R: Read, W: Write>(
        &mut self,
        mut from: R,
        mut to: W,
        scratch: &mut [u8],
    ) -> io::Result<Progress> {
        loop {
            self.flush(&mut to)?;
            if !self.pending.is_empty() {
                return Ok(Progress::Waiting);
            }
            match self.source {
                Source::Drained => return Ok(Progress::Waiting),
                Source::Ended => return Ok(Progress::Done),
                Source::MayHaveMore | Source::Closing => {}
            }
            match from.read(scratch) {
                Ok(0) => self.source = Source::Ended,
                Ok(n) => {
                    if n < scratch.len() && self.source == Source::MayHaveMore {
                        self.source = Source::Drained;
                    }
                    self.write(&mut to, &scratch[..n])?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.source = Source::Drained
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn write(&mut self, to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
        let written = match to.write(bytes) {
            Ok(written) => written,
            Err(error) if not_now(&error) => 0,
            Err(error) => return Err(error),
        };
        self.pending.extend_from_slice(&bytes[written..]);
        Ok(())
    }

    fn flush(&mut self, to: &mut impl Write) -> io::Result<()> {
        while self.written < self.pending.len() {
            match to.write(&self.pending[self.written..]) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        if self.written > 0 {
            // The allocation goes too, so that a connection which was slow once does not stay
            // large.
            self.pending = Vec::new();
            self.written = 0;
        }
        Ok(())
    }
}

fn not_now(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    //! The relay without sockets: what it does with short writes, and with an end that comes along.

    use super::*;

    /// A sink that takes a few bytes and then says "not now".
    struct Narrow {
        room: usize,
        taken: Vec<u8>,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            let n = bytes.len().min(self.room);
            self.room -= n;
            self.taken.extend_from_slice(&bytes[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_does_not_fit_is_kept_and_goes_out_later() {
        let mut relay = Relay::default();
        let mut sink = Narrow {
            room: 3,
            taken: Vec::new(),
        };
        let mut scratch = [0; 64];
        relay.note_closed();
        let mut source: &[u8] = b"abcdefgh";
        assert_eq!(
            relay.pump(&mut source, &mut sink, &mut scratch).unwrap(),
            Progress::Waiting
        );
        assert_eq!(sink.taken, b"abc");
        sink.room = 100;
        assert_eq!(
            relay.pump(&mut source, &mut sink, &mut scratch).unwrap(),
            Progress::Done
        );
        assert_eq!(sink.taken, b"abcdefgh");
    }

    #[test]
    fn a_short_read_ends_the_turn_unless_the_source_is_closing() {
        let mut relay = Relay::default();
        let mut scratch = [0; 64];
        relay.note_readable();
        let mut source: &[u8] = b"abc";
        let progress = relay.pump(&mut source, Vec::new(), &mut scratch).unwrap();
        assert_eq!(progress, Progress::Waiting);
        relay.note_closed();
        let progress = relay.pump(&mut source, Vec::new(), &mut scratch).unwrap();
        assert_eq!(progress, Progress::Done);
    }
}
