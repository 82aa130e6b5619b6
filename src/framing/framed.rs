//! The dispatcher that stands between a socket and a [`Handler`].

use std::io::{self, Read};

use super::decoder::{Decoder, LengthPrefix, Step, Terminator, too_long};
use super::producers::Producers;
use crate::context::Context;
use crate::dispatcher::Dispatcher;
use crate::outbox::invalid;
use crate::timers::TimerId;

/// What is called with the records of a framed stream.
///
/// The callbacks of [`Dispatcher`] that a handler may want are here again with the same meaning and the
/// same defaults; reading and writing belong to the layer. `cx` is the connection's own context, as
/// ever. `framing` is the layer: the terminator, the maximum, the producers.
#[expect(unused_variables, reason = "the names are documentation")]
pub trait Handler: Sized + 'static {
    /// A record is complete; its end is not part of it.
    ///
    /// *Inside:* anything, changing the terminator included, which holds from the very next byte.
    /// *After:* the next record, if it is there already: up to
    /// [`records_per_turn`](Framed::records_per_turn) of them in a turn. After a close, an error, or
    /// while reading is paused or held, none.
    ///
    /// # Errors
    ///
    /// As for any callback; see [`Dispatcher`](Dispatcher#what-a-returned-error-does).
    fn found_terminator(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
        record: &[u8],
    ) -> io::Result<()>;

    /// A piece of the current record has come, never an empty one. The default gathers it, for
    /// `found_terminator` to have the record whole. A handler that takes pieces itself gets an empty
    /// record there. With [`Terminator::None`] there are only pieces.
    ///
    /// # Errors
    ///
    /// As for any callback.
    fn collect_incoming(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
        piece: &[u8],
    ) -> io::Result<()> {
        framing.record.extend_from_slice(piece);
        Ok(())
    }

    /// As [`Dispatcher::handle_connect`].
    ///
    /// # Errors
    ///
    /// As for any callback.
    fn handle_connect(&mut self, cx: &mut Context<'_>, framing: &mut Framing) -> io::Result<()> {
        Ok(())
    }

    /// The peer has finished sending, and every record was handed out. What has come of an unfinished
    /// one is in [`Framing::unfinished`]. The default sends what is queued, producers included, and
    /// closes.
    ///
    /// # Errors
    ///
    /// As for any callback.
    fn handle_eof(&mut self, cx: &mut Context<'_>, framing: &mut Framing) -> io::Result<()> {
        framing.close_when_done(cx);
        Ok(())
    }

    /// As [`Dispatcher::handle_timer`].
    ///
    /// # Errors
    ///
    /// As for any callback.
    fn handle_timer(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
        timer: TimerId,
    ) -> io::Result<()> {
        Ok(())
    }

    /// As [`Dispatcher::handle_error`]. A record that is too long or malformed comes here as
    /// `InvalidData`; an implementation may still say why before it closes.
    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        cx.log_fault(&error);
        cx.close();
    }

    /// As [`Dispatcher::handle_close`].
    fn handle_close(&mut self, cx: &mut Context<'_>) {}
}

/// The state of the layer, as its handler sees it.
#[derive(Debug)]
pub struct Framing {
    decoder: Decoder,
    max_record: usize,
    producers: Producers,
    /// What the default `collect_incoming` has gathered of the current record.
    record: Vec<u8>,
    /// Bytes of the current record so far, gathered or not.
    length: usize,
    closing: bool,
}

impl Framing {
    /// Changes what ends the record that begins with the next byte.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for empty [`Terminator::Bytes`] and for a [`Terminator::Length`] over the maximum.
    pub fn set_terminator(&mut self, terminator: Terminator) -> io::Result<()> {
        self.decoder.set(terminator, self.max_record)
    }

    /// What ends the current record; a [`Terminator::Length`] shows what is still to come.
    #[must_use]
    pub fn terminator(&self) -> Terminator {
        self.decoder.terminator()
    }

    /// What has been gathered of a record that is not complete.
    #[must_use]
    pub fn unfinished(&self) -> &[u8] {
        &self.record
    }

    /// Sends bytes, after everything pushed before them, producers included.
    ///
    /// # Errors
    ///
    /// As [`Context::send`]; `QuotaExceeded` if more than the hard cap waits behind a producer.
    pub fn push(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        if self.producers.is_empty() {
            return cx.send(bytes);
        }
        self.producers.push_bytes(cx, bytes)
    }

    /// Sends one record in the form that the current terminator reads: with its end behind it, or its
    /// length before it.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the record cannot be told from its end (it contains the terminator), or is too
    /// long for its length prefix. Otherwise as [`Framing::push`].
    pub fn push_record(&mut self, cx: &mut Context<'_>, record: &[u8]) -> io::Result<()> {
        let encoded = encode(&self.decoder.terminator(), record)?;
        self.push(cx, &encoded)
    }

    /// Sends what `producer` gives, a piece at a time, each drawn only when the outbox is below its low
    /// mark, until a read gives nothing. The read must not block: it runs in the loop. Its errors are
    /// the connection's.
    pub fn push_producer(&mut self, cx: &mut Context<'_>, producer: impl Read + 'static) {
        if cx.is_closing() || self.closing {
            return;
        }
        self.producers.push(producer);
        cx.start_writing();
    }

    /// Closes once everything pushed has been sent, the last producer included; at once if nothing is
    /// left. From here on nothing is read.
    pub fn close_when_done(&mut self, cx: &mut Context<'_>) {
        self.closing = true;
        if self.producers.is_empty() {
            cx.close();
        } else {
            cx.pause_reading();
        }
    }
}

/// One record as it travels.
fn encode(terminator: &Terminator, record: &[u8]) -> io::Result<Vec<u8>> {
    let too_long = || {
        invalid(format!(
            "a record of {} bytes is too long for its prefix",
            record.len()
        ))
    };
    let contains_its_end = || invalid("the record contains what would end it".to_owned());
    match terminator {
        Terminator::None | Terminator::Length(_) => Ok(record.to_vec()),
        Terminator::Line if record.contains(&b'\n') => Err(contains_its_end()),
        Terminator::Line => Ok([record, b"\n"].concat()),
        Terminator::Bytes(end) => {
            let encoded = [record, end].concat();
            // The end may also begin inside the record: only the last place will do.
            let first = encoded.windows(end.len()).position(|window| window == end);
            if first == Some(record.len()) {
                Ok(encoded)
            } else {
                Err(contains_its_end())
            }
        }
        Terminator::Netstring => {
            Ok([format!("{}:", record.len()).as_bytes(), record, b","].concat())
        }
        Terminator::Prefixed(LengthPrefix::One) => {
            let length = u8::try_from(record.len()).map_err(|_| too_long())?;
            Ok([&length.to_be_bytes(), record].concat())
        }
        Terminator::Prefixed(LengthPrefix::Two) => {
            let length = u16::try_from(record.len()).map_err(|_| too_long())?;
            Ok([&length.to_be_bytes(), record].concat())
        }
        Terminator::Prefixed(LengthPrefix::Four) => {
            let length = u32::try_from(record.len()).map_err(|_| too_long())?;
            Ok([&length.to_be_bytes(), record].concat())
        }
    }
}

/// A dispatcher that cuts its input into records for a [`Handler`].
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
    /// Frames a connection for `handler`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for empty [`Terminator::Bytes`], and for a [`Terminator::Length`] over 64 KiB.
    pub fn new(terminator: Terminator, handler: H) -> io::Result<Framed<H>> {
        let framing = Framing {
            decoder: Decoder::new(terminator, MAX_RECORD)?,
            max_record: MAX_RECORD,
            producers: Producers::default(),
            record: Vec::new(),
            length: 0,
            closing: false,
        };
        Ok(Framed {
            handler,
            framing,
            input: Vec::new(),
            records_per_turn: RECORDS_PER_TURN,
        })
    }

    /// The longest record that is accepted, in bytes; default 64 KiB. A longer one ends in `InvalidData`
    /// as soon as that is known. With [`Terminator::None`] there are no records, and no maximum.
    #[must_use]
    pub fn max_record(mut self, bytes: usize) -> Framed<H> {
        self.framing.max_record = bytes;
        self
    }

    /// Most records handed out in one turn; default 256. The others follow in the next.
    #[must_use]
    pub fn records_per_turn(mut self, records: usize) -> Framed<H> {
        self.records_per_turn = records.max(1);
        self
    }

    /// The handler, for whoever reaches this through [`Context::with`].
    pub fn handler(&mut self) -> &mut H {
        &mut self.handler
    }

    /// The layer, likewise.
    pub fn framing(&mut self) -> &mut Framing {
        &mut self.framing
    }

    /// The handler and the layer at once.
    pub fn parts(&mut self) -> (&mut H, &mut Framing) {
        (&mut self.handler, &mut self.framing)
    }

    /// Hands out what is in `input`; how much of it was used up.
    fn hand_out(&mut self, cx: &mut Context<'_>, input: &[u8]) -> io::Result<usize> {
        let Framed {
            handler,
            framing,
            records_per_turn,
            ..
        } = self;
        let mut used = 0;
        let mut records = 0;
        let mut empty_in_a_row = 0;
        // Looked at after each call: a handler may close, pause, or be held by what it has sent.
        while records < *records_per_turn && cx.is_reading() && !cx.is_closing() {
            let step = framing.decoder.step(&input[used..], framing.max_record)?;
            let found = match step {
                Step::NeedMore => break,
                Step::Data(count) => {
                    let piece = &input[used..used + count];
                    used += count;
                    framing.take(handler, cx, piece)?;
                    framing.decoder.ended_with_data()
                }
                Step::GiveBack(count) => {
                    let piece = framing.decoder.given_back(count).to_vec();
                    framing.take(handler, cx, &piece)?;
                    false
                }
                Step::Framing(count) => {
                    used += count;
                    false
                }
                Step::Record(count) => {
                    used += count;
                    empty_in_a_row += usize::from(count == 0);
                    true
                }
            };
            if empty_in_a_row > 1 {
                let text = "two records of length zero with no byte between them";
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            if used > 0 {
                empty_in_a_row = empty_in_a_row.min(1);
            }
            if found && !cx.is_closing() {
                records += 1;
                framing.found(handler, cx)?;
            }
        }
        Ok(used)
    }
}

impl Framing {
    /// Hands a piece of data to the handler, if the record may be that long.
    fn take<H: Handler>(
        &mut self,
        handler: &mut H,
        cx: &mut Context<'_>,
        piece: &[u8],
    ) -> io::Result<()> {
        self.length += piece.len();
        if self.length > self.max_record && self.decoder.terminator() != Terminator::None {
            return Err(too_long(self.max_record));
        }
        handler.collect_incoming(cx, self, piece)
    }

    /// A record is complete.
    fn found<H: Handler>(&mut self, handler: &mut H, cx: &mut Context<'_>) -> io::Result<()> {
        self.length = 0;
        let mut record = std::mem::take(&mut self.record);
        let result = handler.found_terminator(cx, self, &record);
        // The memory is kept for the next record, unless this one was unusually long.
        if self.record.capacity() == 0 && record.capacity() <= READ_BYTES {
            record.clear();
            self.record = record;
        }
        result
    }
}

impl<H: Handler> Dispatcher for Framed<H> {
    fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.handler.handle_connect(cx, &mut self.framing)
    }

    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !self.input.is_empty() || self.framing.decoder.is_complete() {
            let input = std::mem::take(&mut self.input);
            let used = self.hand_out(cx, &input)?;
            self.input = input;
            self.input.drain(..used);
        } else {
            let mut chunk = [0; READ_BYTES];
            let count = cx.recv(&mut chunk)?;
            let used = self.hand_out(cx, &chunk[..count])?;
            self.input.extend_from_slice(&chunk[used..count]);
        }
        if self.input.is_empty() {
            // An idle connection holds no buffer.
            self.input = Vec::new();
        }
        cx.has_more_input(!self.input.is_empty());
        Ok(())
    }

    fn handle_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.framing.producers.pump(cx)?;
        if self.framing.producers.is_empty() {
            cx.stop_writing();
            if self.framing.closing {
                cx.close();
            }
        }
        Ok(())
    }

    fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.handler.handle_eof(cx, &mut self.framing)
    }

    fn handle_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) -> io::Result<()> {
        self.handler.handle_timer(cx, &mut self.framing, timer)
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        self.handler.handle_error(cx, error);
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        self.handler.handle_close(cx);
    }
}
