//! Output that is drawn, not pushed: a producer is asked for its next piece only when there is room.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Cursor, Read};

use crate::context::Context;
use crate::world::errors::{is_interrupted, is_would_block};

/// How much is asked of a producer at a time.
const PIECE_BYTES: usize = 16 * 1024;

/// With more waiting than this whoever causes output is held: each may keep a file open.
const MANY: usize = 16;

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
}

impl Producers {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn push(&mut self, cx: &mut Context<'_>, producer: impl Read + 'static) {
        self.queue.push_back(Output::Drawn(Box::new(producer)));
        self.review(cx);
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
        while let Some(output) = self.queue.front_mut() {
            if !cx.wants_output() {
                break;
            }
            // Up to the high mark and not over it: a producer never stops its own connection's reading.
            let room = cx.room_below_high().min(PIECE_BYTES);
            let drawn = match output {
                Output::Drawn(producer) => producer.read(&mut piece[..room]),
                Output::Pushed(pushed) => pushed
                    .read(&mut piece[..room])
                    .inspect(|count| self.waiting -= count),
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

    /// Has whoever feeds this connection held while much is queued here, as if it were in the outbox.
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
