//! The dispatcher between a socket and a [`Handler`].

use std::io;

use super::decoder::Step;
use super::handler::Handler;
use super::stream::Framing;
use super::terminator::Terminator;
use crate::context::Context;
use crate::dispatcher::Dispatcher;
use crate::time::timer_id::TimerId;
use crate::watch::ends::Cause;
use crate::world::ids::AnyId;

/// A dispatcher that splits its input into records for a [`Handler`]. The [module page](crate::framing) has an example.
#[derive(Debug)]
pub struct Framed<H> {
    handler: H,
    framing: Framing,
    /// Input that has been received and not handed out; empty except after a pause or a full turn.
    input: Vec<u8>,
    records_per_turn: usize,
}

/// Room for any line that a person types, and a bound on what a peer can make us hold.
const MAX_RECORD: usize = 64 * 1024;

/// Enough to keep a busy stream busy, few enough that a segment of one-byte records does not hold up
/// the others.
const RECORDS_PER_TURN: usize = 256;

/// Taken from the kernel at a time.
const READ_BYTES: usize = 16 * 1024;

impl<H: Handler> Framed<H> {
    /// A dispatcher that frames a connection for `handler`.
    ///
    /// ```
    /// # use slabloop::framing::{Framed, Framing, Handler, LengthPrefix, Terminator};
    /// # use slabloop::{Context, Reactor};
    /// # use std::io;
    /// struct Print;
    /// impl Handler for Print {
    ///     fn found_terminator(
    ///         &mut self,
    ///         _: &mut Context<'_>,
    ///         _: &mut Framing,
    ///         record: &[u8],
    ///     ) -> io::Result<()> {
    ///         println!("{} bytes", record.len());
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # fn connect(reactor: &mut Reactor) -> io::Result<()> {
    /// let framed = Framed::new(Terminator::Prefixed(LengthPrefix::Four), Print)?;
    /// reactor.connect("127.0.0.1:7000", framed.max_record(1024 * 1024))?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidInput` for empty [`Terminator::Bytes`], and for a [`Terminator::Length`] over 64 KiB.
    pub fn new(terminator: Terminator, handler: H) -> io::Result<Framed<H>> {
        Ok(Framed {
            handler,
            framing: Framing::new(terminator, MAX_RECORD)?,
            input: Vec::new(),
            records_per_turn: RECORDS_PER_TURN,
        })
    }

    /// Sets the maximum length of a record, in bytes. Default: 64 KiB. A longer record is an error, `InvalidData`,
    /// as soon as that is known. With [`Terminator::None`] there are no records and no maximum.
    #[must_use]
    pub fn max_record(mut self, bytes: usize) -> Framed<H> {
        self.framing.max_record = bytes;
        self
    }

    /// Sets the largest number of records that are delivered in one turn. Default: 256. The others follow in the next
    /// turn. Zero counts as one: with none at all nothing would ever be delivered.
    #[must_use]
    pub fn records_per_turn(mut self, records: usize) -> Framed<H> {
        self.records_per_turn = records.max(1);
        self
    }

    /// The handler, for access through [`Context::with`].
    pub fn handler(&mut self) -> &mut H {
        &mut self.handler
    }

    /// The state of the framing, for access through [`Context::with`].
    pub fn framing(&mut self) -> &mut Framing {
        &mut self.framing
    }

    /// The handler and the state of the framing.
    pub fn parts(&mut self) -> (&mut H, &mut Framing) {
        (&mut self.handler, &mut self.framing)
    }

    /// The bytes of memory that are kept for input.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    #[must_use]
    pub fn input_memory(&self) -> usize {
        self.input.capacity() + self.framing.record.capacity() + self.framing.again.capacity()
    }

    /// Hands out what is in `input`, and keeps what is left of it.
    fn hand_out(&mut self, cx: &mut Context<'_>, input: &[u8]) -> io::Result<()> {
        let again = std::mem::take(&mut self.framing.again);
        let joined;
        let mut rest = if again.is_empty() {
            input
        } else {
            joined = [&again, input].concat();
            &joined
        };
        let result = self.hand_out_records(cx, &mut rest);
        // Kept also if a callback failed: the connection may outlive that, and misses nothing.
        if !self.framing.malformed {
            self.input = rest.to_vec();
        }
        result
    }

    /// Hands out what is in `input`, and takes off it what was used up.
    fn hand_out_records(&mut self, cx: &mut Context<'_>, input: &mut &[u8]) -> io::Result<()> {
        let Framed {
            handler,
            framing,
            records_per_turn,
            ..
        } = self;
        let mut records = 0;
        // Looked at after each call: a handler may close, which ends the reading as well, pause, or be
        // held by what it has sent.
        while records < *records_per_turn && cx.is_reading() && !framing.closing {
            match framing.step(input)? {
                Step::NeedMore => break,
                Step::Data(count) => {
                    let piece = framing.use_up(input, count);
                    framing.take(handler, cx, piece)?;
                }
                Step::GiveBack(count) => {
                    framing.take_back(handler, cx, count)?;
                    if !framing.again.is_empty() {
                        // The handler has changed the terminator, and this comes before the rest.
                        break;
                    }
                }
                Step::Framing(count) => {
                    framing.use_up(input, count);
                }
                Step::Record(count) => {
                    framing.use_up(input, count);
                    records += 1;
                    framing.found(handler, cx)?;
                }
            }
        }
        Ok(())
    }
}

impl<H: Handler> Dispatcher for Framed<H> {
    fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.handler.handle_connect(cx, &mut self.framing)
    }

    fn handle_handshake(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.handler.handle_handshake(cx, &mut self.framing)
    }

    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.framing.closing {
            // Somebody has switched it on again.
            cx.pause_reading();
            return Ok(());
        }
        let result = if self.input.is_empty() && !self.framing.decoder.is_complete() {
            cx.with_scratch(READ_BYTES, |cx, scratch| {
                let count = cx.recv(scratch)?;
                self.hand_out(cx, &scratch[..count])
            })
        } else {
            let held = std::mem::take(&mut self.input);
            self.hand_out(cx, &held)
        };
        // With nothing left an idle connection holds no buffer.
        if self.framing.record.is_empty() {
            self.framing.record = Vec::new();
        }
        cx.has_more_input(!self.input.is_empty() || self.framing.decoder.is_complete());
        result
    }

    fn handle_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.framing.producers.pump(cx)?;
        if self.framing.producers.is_empty() {
            cx.stop_writing();
        }
        Ok(())
    }

    fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Framed {
            handler, framing, ..
        } = self;
        // What looked like the beginning of a terminator was data.
        let held = framing.decoder.take_held();
        if !held.is_empty() {
            framing.take(handler, cx, &held)?;
        }
        self.handler.handle_eof(cx, &mut self.framing)
    }

    fn handle_shutdown(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.handler.handle_shutdown(cx, &mut self.framing)
    }

    fn handle_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) -> io::Result<()> {
        self.handler.handle_timer(cx, &mut self.framing, timer)
    }

    fn handle_sent(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.handler.handle_sent(cx, &mut self.framing)
    }

    fn handle_gone(&mut self, cx: &mut Context<'_>, id: AnyId, cause: Cause) -> io::Result<()> {
        self.handler.handle_gone(cx, &mut self.framing, id, cause)
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        self.handler.handle_error(cx, error);
        if self.framing.malformed {
            cx.close();
        }
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        self.handler.handle_close(cx);
    }

    /// What has come of an unfinished record and was not handed out, and all behind it. The next input begins a
    /// record.
    fn take_unread(&mut self) -> Vec<u8> {
        let framing = &mut self.framing;
        let gathered = std::mem::take(&mut framing.record);
        let mut unread = framing.decoder.take_begun(gathered);
        framing.length = 0;
        unread.append(&mut framing.again);
        unread.append(&mut self.input);
        unread
    }
}
