//! Output that is drawn, not pushed: a producer is asked for its next piece only when there is room.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Cursor, Read};

use crate::context::Context;

/// How much is asked of a producer at a time.
const PIECE_BYTES: usize = 16 * 1024;

/// The queue of producers. Bytes that are pushed behind a producer wait in it, as a producer.
#[derive(Default)]
pub(super) struct Producers {
    queue: VecDeque<Box<dyn Read>>,
    /// Bytes that were pushed behind a producer and are not sent yet.
    waiting: usize,
}

impl Producers {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn push(&mut self, producer: impl Read + 'static) {
        self.queue.push_back(Box::new(producer));
    }

    /// Queues bytes behind what is there, within the connection's hard cap.
    pub(super) fn push_bytes(&mut self, cx: &Context<'_>, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > cx.hard_cap().saturating_sub(self.waiting) {
            let text = format!(
                "{}: {} bytes wait behind a producer",
                cx.label(),
                self.waiting
            );
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, text));
        }
        self.waiting += bytes.len();
        self.queue.push_back(Box::new(Cursor::new(bytes.to_vec())));
        Ok(())
    }

    /// Sends pieces until the outbox is no longer below its low mark, or nothing is left.
    pub(super) fn pump(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut piece = [0; PIECE_BYTES];
        while let Some(producer) = self.queue.front_mut() {
            if !cx.wants_output() {
                return Ok(());
            }
            match producer.read(&mut piece) {
                Ok(0) => {
                    self.queue.pop_front();
                }
                Ok(count) => {
                    self.waiting = self.waiting.saturating_sub(count);
                    cx.send(&piece[..count])?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.waiting = 0;
        Ok(())
    }
}

impl fmt::Debug for Producers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Producers({})", self.queue.len())
    }
}
