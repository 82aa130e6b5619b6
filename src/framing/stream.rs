//! The state of one stream's framing, as its handler sees it: what ends records, and what is sent.

use std::fs::File;
use std::io::{self, Read};
use std::ops::RangeBounds;
use std::sync::Arc;

use super::decoder::{Decoder, Step, too_long};
use super::handler::Handler;
use super::producers::Producers;
use super::terminator::{Terminator, encode};
use crate::context::Context;
use crate::world::file::FilePart;

/// The state of the layer, as its handler sees it.
#[derive(Debug)]
pub struct Framing {
    pub(super) decoder: Decoder,
    pub(super) max_record: usize,
    pub(super) producers: Producers,
    /// What the default `collect_incoming` has gathered of the current record.
    pub(super) record: Vec<u8>,
    /// Input that the decoder held when the terminator was changed, to be looked at again.
    pub(super) again: Vec<u8>,
    /// Bytes of the current record so far, gathered or not.
    pub(super) length: usize,
    /// Records found since input was last used up: only lengths of zero make more than one.
    pub(super) records_without_input: u8,
    /// Whether `close_when_done` was called.
    pub(super) closing: bool,
    /// Whether the input made no sense: no record after it could be told from rubbish.
    pub(super) malformed: bool,
}

impl Framing {
    pub(super) fn new(terminator: Terminator, max_record: usize) -> io::Result<Framing> {
        Ok(Framing {
            decoder: Decoder::new(terminator, max_record)?,
            max_record,
            producers: Producers::default(),
            record: Vec::new(),
            again: Vec::new(),
            length: 0,
            records_without_input: 0,
            closing: false,
            malformed: false,
        })
    }

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

/// What the dispatcher does with it.
impl Framing {
    #[inline]
    pub(super) fn step(&mut self, input: &[u8]) -> io::Result<Step> {
        let step = self.decoder.step(input, self.max_record);
        self.malformed |= step.is_err();
        step
    }

    #[inline]
    pub(super) fn use_up<'i>(&mut self, input: &mut &'i [u8], count: usize) -> &'i [u8] {
        let (used, rest) = input.split_at(count);
        *input = rest;
        if count > 0 {
            self.records_without_input = 0;
        }
        used
    }

    /// Hands a piece of data to the handler, if the record may be that long.
    #[inline]
    pub(super) fn take<H: Handler>(
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
    pub(super) fn take_back<H: Handler>(
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
    pub(super) fn found<H: Handler>(
        &mut self,
        handler: &mut H,
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
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
