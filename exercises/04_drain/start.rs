use std::io::{self, ErrorKind, Read};

/// Not more than this is read in one turn, in bytes, so that other connections are served as well.
pub const BUDGET: usize = 16 * 1024;

/// Reads a stream whose events are edge-triggered: an event comes when something *arrives*, and not again
/// for what has arrived before.
#[derive(Default)]
pub struct Reader {
    ready: bool,
    finished: bool,
}

impl Reader {
    /// The kernel has reported an event.
    pub fn on_event(&mut self) {
        self.ready = true;
    }

    /// Whether `turn` is to be called again without waiting for an event. The loop sleeps if not.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Whether the end of the stream has been seen.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Reads what there is, `BUDGET` bytes at most, and puts it behind `input`.
    pub fn turn(&mut self, stream: &mut impl Read, input: &mut Vec<u8>) -> io::Result<()> {
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(0) => self.finished = true,
            Ok(count) => input.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        self.ready = false;
        Ok(())
    }
}
