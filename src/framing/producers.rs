//! Output from producers: a producer is asked for its next piece only when there is room. Files wait
//! in the same queue.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Cursor, Read};

use crate::context::Context;
use crate::world::errors::{is_interrupted, is_would_block};
use crate::world::file::FilePart;

/// How much is asked of a producer at a time.
const PIECE_BYTES: usize = 16 * 1024;

/// With more waiting than this the sources of the connection are held: each producer may keep a file open.
const MANY: usize = 16;

/// With as many waiting no file is taken any more.
const MOST: usize = 256;

/// The queue of producers, and of what was pushed behind one and has to wait for its turn.
#[derive(Default)]
pub(super) struct Producers {
    queue: VecDeque<Output>,
    /// Bytes that were pushed and wait behind a producer.
    waiting: usize,
    /// So much is queued here that the connection counts as congested.
    full: bool,
}

enum Output {
    Drawn(Box<dyn Read>),
    /// Pieces that follow one another are gathered here, so that many small ones cost no more than
    /// their bytes.
    Pushed(Cursor<Vec<u8>>),
    /// It goes to the connection's own queue in one step, and is sent from there.
    File(FilePart),
}

impl Producers {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn push(&mut self, cx: &mut Context<'_>, producer: impl Read + 'static) {
        self.queue.push_back(Output::Drawn(Box::new(producer)));
        self.review(cx);
    }

    /// Queues a file behind what is there.
    pub(super) fn push_file(&mut self, cx: &mut Context<'_>, part: FilePart) -> io::Result<()> {
        if self.queue.len() >= MOST {
            let text = format!("push_file: {MOST} producers and files are waiting already");
            return Err(cx.refusal(io::ErrorKind::QuotaExceeded, &text));
        }
        if part.left() > 0 {
            self.queue.push_back(Output::File(part));
            self.review(cx);
        }
        Ok(())
    }

    /// Queues bytes behind what is there, within the connection's hard cap.
    pub(super) fn push_bytes(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        let queued = cx.queued() + self.waiting;
        if bytes.len() > cx.hard_cap().saturating_sub(queued) {
            return Err(cx.over_the_cap(queued, bytes.len()));
        }
        self.waiting += bytes.len();
        match self.queue.back_mut() {
            Some(Output::Pushed(pushed)) => pushed.get_mut().extend_from_slice(bytes),
            _ => {
                let pushed = Cursor::new(bytes.to_vec());
                self.queue.push_back(Output::Pushed(pushed));
            }
        }
        self.review(cx);
        Ok(())
    }

    /// Sends pieces until the outbox is no longer below its low mark, or nothing is left.
    pub(super) fn pump(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut piece = [0; PIECE_BYTES];
        while cx.wants_output() {
            if let Some(part) = self.next_if_file() {
                cx.send_part(part)?;
                continue;
            }
            let Some(output) = self.queue.front_mut() else {
                break;
            };
            // Up to the high mark and not over it: a producer never stops its own connection's reading.
            let room = cx.room_below_high().min(PIECE_BYTES);
            let drawn = match output {
                Output::Drawn(producer) => producer.read(&mut piece[..room]),
                Output::Pushed(pushed) => pushed
                    .read(&mut piece[..room])
                    .inspect(|count| self.waiting -= count),
                Output::File(_) => unreachable!("it has just been looked for"),
            };
            match drawn {
                Ok(0) => {
                    self.queue.pop_front();
                }
                Ok(count) => cx.send(&piece[..count])?,
                Err(error) if is_interrupted(&error) => {}
                Err(error) if is_would_block(&error) => {
                    // It has nothing now; asked again every turn, it would keep the loop from sleeping.
                    cx.stop_writing();
                    break;
                }
                Err(error) => {
                    // It has failed for good; asked again, it would fail again.
                    self.queue.pop_front();
                    self.review(cx);
                    return Err(error);
                }
            }
        }
        self.review(cx);
        Ok(())
    }

    /// Takes out what is next, if that is a file.
    fn next_if_file(&mut self) -> Option<FilePart> {
        match self.queue.pop_front()? {
            Output::File(part) => Some(part),
            other => {
                self.queue.push_front(other);
                None
            }
        }
    }

    /// Holds the sources that feed this connection while much is queued here, as if it were in the outbox.
    fn review(&mut self, cx: &mut Context<'_>) {
        cx.has_more_output(!self.queue.is_empty());
        let (low, high) = cx.marks();
        let full = if self.full {
            self.waiting >= low || self.queue.len() > MANY / 2
        } else {
            self.waiting > high || self.queue.len() > MANY
        };
        if full != self.full {
            self.full = full;
            cx.layer_is_full(full);
        }
    }
}

impl fmt::Debug for Producers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, waiting) = (self.queue.len(), self.waiting);
        write!(
            f,
            "Producers({count}, {waiting} pushed bytes wait behind them)"
        )
    }
}
