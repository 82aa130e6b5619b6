use std::io::{self, ErrorKind, Read, Write};

/// Not more than this may wait for one client, in bytes.
pub const LIMIT: usize = 64 * 1024;

/// One client of the server of chapter 2. The stream does not block.
pub struct Echo<S> {
    stream: S,
    unsent: Vec<u8>,
    /// The client has finished sending.
    at_end: bool,
}

impl<S: Read + Write> Echo<S> {
    pub fn new(stream: S) -> Echo<S> {
        Echo {
            stream,
            unsent: Vec::new(),
            at_end: false,
        }
    }

    /// How many bytes wait for the client, in this program.
    pub fn unsent(&self) -> usize {
        self.unsent.len()
    }

    /// One round: sends what the kernel takes, reads once. `false` when nothing is left to do for this
    /// client, so that the server can close the connection.
    pub fn round(&mut self) -> io::Result<bool> {
        self.send()?;
        let mut buffer = [0; 4096];
        // What is not read waits in the kernel, and then at the client, which cannot send any more.
        let room = LIMIT.saturating_sub(self.unsent.len()).min(buffer.len());
        if room > 0 && !self.at_end {
            match self.stream.read(&mut buffer[..room]) {
                Ok(0) => self.at_end = true,
                Ok(count) => self.unsent.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(!self.at_end || !self.unsent.is_empty())
    }

    fn send(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
