use std::io::{self, ErrorKind, Write};

/// What a program wants to send, on its way to a non-blocking stream.
pub struct Outbox<S> {
    stream: S,
    bytes: Vec<u8>,
    /// How many of `bytes` the kernel has taken. They are removed when all are, or when they are the
    /// larger part: so each byte is moved once on average, however small the pieces are that the kernel
    /// takes.
    sent: usize,
}

impl<S: Write> Outbox<S> {
    pub fn new(stream: S) -> Outbox<S> {
        Outbox {
            stream,
            bytes: Vec::new(),
            sent: 0,
        }
    }

    /// Sends all of `bytes`, now or later, behind all that was sent before.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// What the loop calls once at the end of a turn in which something was sent, and in each turn in which
    /// the kernel has said that the stream is writable. Makes one call of `write` at most. Only an error
    /// that is final is returned.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.queued() == 0 {
            return Ok(());
        }
        match self.stream.write(&self.bytes[self.sent..]) {
            Ok(count) => self.sent += count,
            Err(error) if is_not_now(&error) => {}
            Err(error) => return Err(error),
        }
        if self.sent > self.bytes.len() / 2 {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        Ok(())
    }

    /// Whether the kernel has to be asked for writable. The loop looks after each `flush`.
    pub fn wants_writable(&self) -> bool {
        self.queued() > 0
    }

    /// How many bytes wait.
    pub fn queued(&self) -> usize {
        self.bytes.len() - self.sent
    }
}

fn is_not_now(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
