//! The dispatcher that stands between a socket and a [`Handler`].

use std::fs::File;
use std::io::{self, Read};
use std::ops::RangeBounds;
use std::sync::Arc;

use super::decoder::{Decoder, LengthPrefix, Step, Terminator, too_long};
use super::handler::Handler;
use super::producers::Producers;
use crate::context::Context;
use crate::dispatcher::Dispatcher;
use crate::time::timers::TimerId;
use crate::watch::ends::Cause;
use crate::world::errors::invalid;
use crate::world::file::FilePart;
use crate::world::ids::AnyId;

/// The state of the layer, as its handler sees it.
#[derive(Debug)]
pub struct Framing {
    decoder: Decoder,
    max_record: usize,
    producers: Producers,
    /// What the default `collect_incoming` has gathered of the current record.
    record: Vec<u8>,
    /// Input that the decoder held when the terminator was changed, to be looked at again.
    again: Vec<u8>,
    /// Bytes of the current record so far, gathered or not.
    length: usize,
    /// Records found since input was last used up: only lengths of zero make more than one.
    records_without_input: u8,
    /// Whether `close_when_done` was called.
    closing: bool,
    /// Whether the input made no sense: no record after it could be told from rubbish.
    malformed: bool,
}

impl Framing {
    /// Changes what ends records, from the next byte on.
    ///
    /// In the middle of a record what has been gathered of it stays. Bytes that were held back because
    /// the old terminator may begin with them, or that were half of an old length, are looked at again
    /// under the new one, as in asynchat: with the next input, before it.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for empty [`Terminator::Bytes`] and for a [`Terminator::Length`] over the maximum.
    pub fn set_terminator(&mut self, terminator: Terminator) -> io::Result<()> {
        let held = self.decoder.held();
        self.decoder.set(terminator, self.max_record)?;
        self.again.extend(held);
        Ok(())
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
    /// As [`Context::send`]; what waits behind a producer counts towards the marks and the hard cap.
    /// `NotConnected` after [`close_when_done`](Framing::close_when_done).
    pub fn push(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        if self.closing || cx.is_closing() {
            return Err(cx.refusal(io::ErrorKind::NotConnected, "push after close"));
        }
        if self.producers.is_empty() {
            return cx.send(bytes);
        }
        if !cx.can_send() {
            let what = "push on a connection shut for writing";
            return Err(cx.refusal(io::ErrorKind::BrokenPipe, what));
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
    /// mark, until a read gives nothing. The read must not block: it runs in the loop. One that has nothing yet
    /// says `WouldBlock`, and is asked again after [`resume_producers`](Framing::resume_producers). Its
    /// errors are the connection's, and its end.
    ///
    /// Does nothing on a connection that is closing or shut for writing. While many producers wait,
    /// those who feed this connection are held, as by a full outbox.
    pub fn push_producer(&mut self, cx: &mut Context<'_>, producer: impl Read + 'static) {
        if self.closing || cx.is_closing() || !cx.can_send() {
            return;
        }
        self.producers.push(cx, producer);
        cx.start_writing();
    }

    /// Sends a part of a regular file, after everything pushed before it, producers included, and before
    /// everything pushed after it; see [`Context::send_file`]. While it is being sent no record is handed out.
    ///
    /// ```
    /// use slabloop::Context;
    /// use slabloop::framing::{Framing, Handler};
    /// use std::fs::File;
    /// use std::io;
    ///
    /// struct Mailbox;
    /// impl Handler for Mailbox {
    ///     fn found_terminator(&mut self, cx: &mut Context<'_>, framing: &mut Framing, _: &[u8]) -> io::Result<()> {
    ///         framing.push(cx, b"+OK\r\n")?;
    ///         framing.push_file(cx, File::open("/var/mail/ada/1")?, ..)?;
    ///         framing.push(cx, b"\r\n.\r\n")
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Context::send_file`]; `QuotaExceeded` also if 256 producers and files wait here. `NotConnected` after
    /// [`close_when_done`](Framing::close_when_done).
    pub fn push_file(
        &mut self,
        cx: &mut Context<'_>,
        file: impl Into<Arc<File>>,
        range: impl RangeBounds<u64>,
    ) -> io::Result<()> {
        if self.closing || cx.is_closing() {
            return Err(cx.refusal(io::ErrorKind::NotConnected, "push_file after close"));
        }
        if self.producers.is_empty() {
            return cx.send_file(file, range);
        }
        let part = FilePart::new(file.into(), &range)?;
        if !cx.can_send() {
            let what = "push_file on a connection shut for writing";
            return Err(cx.refusal(io::ErrorKind::BrokenPipe, what));
        }
        self.producers.push_file(cx, part)
    }

    /// Asks the producers again, after one has said `WouldBlock` and then got something to give. Until
    /// then it is not asked, and the loop sleeps.
    pub fn resume_producers(&mut self, cx: &mut Context<'_>) {
        if !self.producers.is_empty() {
            cx.start_writing();
        }
    }

    /// Closes once everything pushed has been sent, the last producer included; at once if nothing is
    /// left. From here on nothing is read.
    pub fn close_when_done(&mut self, cx: &mut Context<'_>) {
        self.closing = true;
        cx.close_when_done();
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
        // A carriage return at its end would be taken for a part of the line's.
        Terminator::Line if record.contains(&b'\n') || record.ends_with(b"\r") => {
            Err(contains_its_end())
        }
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
            again: Vec::new(),
            length: 0,
            records_without_input: 0,
            closing: false,
            malformed: false,
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

    /// Bytes of memory that are kept for input.
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

impl Framing {
    #[inline]
    fn step(&mut self, input: &[u8]) -> io::Result<Step> {
        let step = self.decoder.step(input, self.max_record);
        self.malformed |= step.is_err();
        step
    }

    #[inline]
    fn use_up<'i>(&mut self, input: &mut &'i [u8], count: usize) -> &'i [u8] {
        let (used, rest) = input.split_at(count);
        *input = rest;
        if count > 0 {
            self.records_without_input = 0;
        }
        used
    }

    /// Hands a piece of data to the handler, if the record may be that long.
    #[inline]
    fn take<H: Handler>(
        &mut self,
        handler: &mut H,
        cx: &mut Context<'_>,
        piece: &[u8],
    ) -> io::Result<()> {
        self.length += piece.len();
        if self.length > self.max_record && self.decoder.terminator() != Terminator::None {
            self.malformed = true;
            return Err(too_long(self.max_record));
        }
        handler.collect_incoming(cx, self, piece)
    }

    /// Hands what had matched of the terminator to the handler, as data. (Out of line: it is rare.)
    #[cold]
    fn take_back<H: Handler>(
        &mut self,
        handler: &mut H,
        cx: &mut Context<'_>,
        count: usize,
    ) -> io::Result<()> {
        let piece = self.decoder.given_back(count).to_vec();
        self.take(handler, cx, &piece)
    }

    /// What `collect_incoming` does by default.
    pub(super) fn gather(&mut self, piece: &[u8]) -> io::Result<()> {
        if self.record.len() + piece.len() > self.max_record {
            self.malformed = true;
            return Err(too_long(self.max_record));
        }
        self.record.extend_from_slice(piece);
        Ok(())
    }

    /// A record is complete.
    #[inline]
    fn found<H: Handler>(&mut self, handler: &mut H, cx: &mut Context<'_>) -> io::Result<()> {
        // The end of a body whose bytes came before is one, an empty record after it is two.
        const MOST: u8 = 2;
        self.records_without_input += 1;
        if self.records_without_input > MOST {
            self.malformed = true;
            let text = "one record of length zero after another, with no byte between them";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        self.length = 0;
        let mut record = std::mem::take(&mut self.record);
        let result = handler.found_terminator(cx, self, &record);
        if self.record.capacity() == 0 {
            // The next record of this turn goes into the same memory.
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
