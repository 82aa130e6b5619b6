use std::io::{self, Write};

/// What a program wants to send, on its way to a non-blocking stream.
pub struct Outbox<S> {
    stream: S,
}

impl<S: Write> Outbox<S> {
    pub fn new(stream: S) -> Outbox<S> {
        Outbox { stream }
    }

    /// Sends all of `bytes`, now or later, behind all that was sent before.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write(bytes).map(|_taken| ())
    }

    /// What the loop calls once at the end of a turn in which something was sent, and in each turn in which
    /// the kernel has said that the stream is writable. Makes one call of `write` at most. Only an error
    /// that is final is returned.
    pub fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Whether the kernel has to be asked for writable. The loop looks after each `flush`.
    pub fn wants_writable(&self) -> bool {
        true
    }

    /// How many bytes wait.
    pub fn queued(&self) -> usize {
        0
    }
}
