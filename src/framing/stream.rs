//! The state of one stream's framing, as its handler sees it: the terminator, and the output.

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

/// The framing of one stream, as its [`Handler`] sees it: the terminator, and the output.
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
    /// Whether the input was malformed, so that the beginning of the next record is not known.
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

    /// Sets what ends records, from the next byte on.
    ///
    /// In the middle of a record, the part that has been gathered is kept. Bytes that were held back because
    /// the old terminator may begin with them, or that were part of an old length, are examined again
    /// with the new one, as in asynchat, before the next input.
    ///
    /// ```
    /// # use slabloop::framing::{Framing, Handler, Terminator};
    /// # use slabloop::Context;
    /// # use std::io;
    /// /// Lines such as `5`, each followed by a body of that many bytes.
    /// struct Bodies { in_body: bool }
    ///
    /// impl Handler for Bodies {
    ///     fn found_terminator(
    ///         &mut self,
    ///         _: &mut Context<'_>,
    ///         framing: &mut Framing,
    ///         record: &[u8],
    ///     ) -> io::Result<()> {
    ///         self.in_body = !self.in_body;
    ///         if !self.in_body {
    ///             return framing.set_terminator(Terminator::Line); // `record` is the body.
    ///         }
    ///         let length = std::str::from_utf8(record).ok().and_then(|text| text.parse().ok());
    ///         let length = length.ok_or(io::ErrorKind::InvalidData)?;
    ///         framing.set_terminator(Terminator::Length(length))
    ///     }
    /// }
    /// ```
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

    /// The terminator of the current record. A [`Terminator::Length`] holds the number of bytes still to come.
    #[must_use]
    pub fn terminator(&self) -> Terminator {
        self.decoder.terminator()
    }

    /// The gathered part of a record that is not complete.
    #[must_use]
    pub fn unfinished(&self) -> &[u8] {
        &self.record
    }

    /// Sends bytes, after everything pushed before them, producers included.
    ///
    /// # Errors
    ///
    /// As [`Context::send`]; bytes that wait behind a producer count towards the marks and the hard cap.
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

    /// Sends one record in the encoding of the current terminator: followed by the terminator, or preceded by its
    /// length.
    ///
    /// ```
    /// # use slabloop::framing::{Framing, Handler};
    /// # use slabloop::Context;
    /// # use std::io;
    /// struct Echo;
    /// impl Handler for Echo {
    ///     fn found_terminator(
    ///         &mut self,
    ///         cx: &mut Context<'_>,
    ///         framing: &mut Framing,
    ///         record: &[u8],
    ///     ) -> io::Result<()> {
    ///         framing.push_record(cx, record)
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the record contains the terminator, or is too long for its length prefix. Otherwise as
    /// [`Framing::push`].
    pub fn push_record(&mut self, cx: &mut Context<'_>, record: &[u8]) -> io::Result<()> {
        let encoded = encode(&self.decoder.terminator(), record)?;
        self.push(cx, &encoded)
    }

    /// Sends the output of `producer` piece by piece until a read returns 0. Each piece is read only when the outbox is
    /// below its low mark. The read runs in the loop and must not block: a producer that has nothing yet returns
    /// `WouldBlock`, and is asked again after [`resume_producers`](Framing::resume_producers). Any other error is a
    /// failure of the connection and ends it.
    ///
    /// It does nothing on a connection that is closing or shut for writing. While many producers wait,
    /// the sources that feed this connection are held, as by a full outbox.
    ///
    /// ```
    /// # use slabloop::framing::{Framing, Handler};
    /// # use slabloop::Context;
    /// # use std::io::{self, Read};
    /// struct Zeros;
    /// impl Handler for Zeros {
    ///     fn found_terminator(
    ///         &mut self,
    ///         cx: &mut Context<'_>,
    ///         framing: &mut Framing,
    ///         _: &[u8],
    ///     ) -> io::Result<()> {
    ///         // 1 GiB, never in memory as a whole.
    ///         framing.push_producer(cx, io::repeat(b'0').take(1 << 30));
    ///         framing.close_when_done(cx);
    ///         Ok(())
    ///     }
    /// }
    /// ```
    pub fn push_producer(&mut self, cx: &mut Context<'_>, producer: impl Read + 'static) {
        if self.closing || cx.is_closing() || !cx.can_send() {
            return;
        }
        self.producers.push(cx, producer);
        cx.start_writing();
    }

    /// Sends a part of a regular file, after everything pushed before it, producers included, and before
    /// everything pushed after it; see [`Context::send_file`]. While it is being sent no record is delivered.
    ///
    /// ```
    /// use slabloop::Context;
    /// use slabloop::framing::{Framing, Handler};
    /// use std::fs::File;
    /// use std::io;
    ///
    /// struct Mailbox;
    /// impl Handler for Mailbox {
    ///     fn found_terminator(
    ///         &mut self,
    ///         cx: &mut Context<'_>,
    ///         framing: &mut Framing,
    ///         _: &[u8],
    ///     ) -> io::Result<()> {
    ///         framing.push(cx, b"+OK\r\n")?;
    ///         framing.push_file(cx, File::open("/var/mail/ada/1")?, ..)?;
    ///         framing.push(cx, b"\r\n.\r\n")
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Context::send_file`]; `QuotaExceeded` also if 256 producers and files are waiting. `NotConnected` after
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

    /// Asks the producers again. Call it when a producer that returned `WouldBlock` has output again; until then it is
    /// not asked, and the loop sleeps.
    pub fn resume_producers(&mut self, cx: &mut Context<'_>) {
        if !self.producers.is_empty() {
            cx.start_writing();
        }
    }

    /// Closes when everything pushed has been sent, the last producer included; immediately if nothing is
    /// left. Nothing is read from then on.
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
