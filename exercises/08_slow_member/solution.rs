use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};

/// Not more than this is queued for one member, in bytes.
pub const LIMIT: usize = 4096;

/// What to do with a member who does not read as fast as the others talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The oldest lines are thrown away, and the member stays.
    DropOldest,
    /// The member is dropped: nothing more is sent, and the connection is to be closed.
    DropMember,
}

/// What a chat room has to send to one of its members.
pub struct Member {
    policy: Policy,
    /// Each with its newline.
    lines: VecDeque<Vec<u8>>,
    /// How much of the first line has been written.
    written: usize,
    dropped: bool,
}

impl Member {
    pub fn new(policy: Policy) -> Member {
        Member {
            policy,
            lines: VecDeque::new(),
            written: 0,
            dropped: false,
        }
    }

    /// Someone has said something. A line is never longer than a quarter of `LIMIT`.
    pub fn push(&mut self, line: &str) {
        if self.dropped {
            return;
        }
        let line = format!("{line}\n").into_bytes();
        match self.policy {
            Policy::DropOldest => self.make_room(line.len()),
            Policy::DropMember => self.dropped = self.queued() + line.len() > LIMIT,
        }
        if self.dropped {
            self.lines = VecDeque::new();
            self.written = 0;
        } else {
            self.lines.push_back(line);
        }
    }

    /// Throws away the oldest lines. Not one of which the member has a part already: the rest of it would be missing,
    /// and the line after it would begin in the middle of a line.
    fn make_room(&mut self, length: usize) {
        let first = usize::from(self.written > 0);
        while self.queued() + length > LIMIT && self.lines.len() > first {
            self.lines.remove(first);
        }
    }

    /// Bytes that are queued.
    pub fn queued(&self) -> usize {
        let queued: usize = self.lines.iter().map(Vec::len).sum();
        queued - self.written
    }

    /// Whether the connection is to be closed.
    pub fn is_dropped(&self) -> bool {
        self.dropped
    }

    /// The socket takes bytes: writes until it takes no more, or everything is written.
    pub fn flush(&mut self, socket: &mut impl Write) -> io::Result<()> {
        while let Some(line) = self.lines.front() {
            match socket.write(&line[self.written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            if self.written == line.len() {
                self.lines.pop_front();
                self.written = 0;
            }
        }
        Ok(())
    }

    /// Which policy this member is under.
    pub fn policy(&self) -> Policy {
        self.policy
    }
}
