//! Where records go: a turn's worth of memory, then the writer, up to a limit.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use super::record::{LOOP, Record};

/// What every trace begins with. Each later record brings the comma before it.
const HEAD: &str = concat!(
    "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n",
    "{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":1,\"args\":{\"name\":\"reactor\"}},\n",
    "{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":1,\"tid\":1,\"args\":{\"name\":\"loop\"}},\n",
    "{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":2,\"args\":{\"name\":\"dispatchers\"}}",
);

/// And ends with.
const TAIL: &str = "\n]}\n";

/// Kept for the last record and the tail.
const RESERVE: u64 = 512;

const LEAST: u64 = 4 * 1024;

/// What one turn may take: some 5,000 callbacks. Of those beyond, a turn's slice still says how many there were.
const TURN_LIMIT: usize = 2 * 1024 * 1024;

/// The size of a trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// Bytes written.
    pub bytes: u64,
    /// Records written.
    pub records: u64,
    /// Records that were not, because of the size limit.
    pub dropped: u64,
}

/// Records on their way to the writer.
pub(super) struct Sink {
    writer: Box<dyn Write>,
    limit: u64,
    /// The records of this turn.
    turn: String,
    turn_records: u64,
    written: Written,
    /// A turn did not fit; nothing is written any more but the end.
    is_full: bool,
    is_finished: bool,
    failed: Option<io::Error>,
}

impl Sink {
    pub(super) fn new(writer: Box<dyn Write>, limit: u64) -> Sink {
        let mut sink = Sink {
            writer,
            limit,
            turn: String::new(),
            turn_records: 0,
            written: Written::default(),
            is_full: false,
            is_finished: false,
            failed: None,
        };
        sink.write(HEAD);
        sink.written.records = 3;
        sink
    }

    pub(super) fn set_limit(&mut self, bytes: u64) {
        self.limit = bytes.max(LEAST);
    }

    pub(super) fn written(&self) -> Written {
        self.written
    }

    /// Where the next record goes, if there is room; else it counts as dropped.
    pub(super) fn room(&mut self) -> Option<&mut String> {
        if self.is_full || self.turn.len() >= TURN_LIMIT {
            self.written.dropped += 1;
            return None;
        }
        Some(self.always())
    }

    /// As [`Sink::room`], for the few records that a turn has of itself: slices without what holds them are of no use.
    pub(super) fn always(&mut self) -> &mut String {
        self.turn_records += 1;
        self.turn.push_str(",\n");
        &mut self.turn
    }

    /// The turn is over: all its records are written, or none.
    pub(super) fn end_turn(&mut self) {
        let size = self.turn.len() as u64;
        self.is_full |= self.written.bytes + size + RESERVE > self.limit;
        if self.is_full {
            self.written.dropped += self.turn_records;
        } else {
            let turn = std::mem::take(&mut self.turn);
            self.write(&turn);
            self.written.records += self.turn_records;
            self.turn = turn;
        }
        self.turn.clear();
        self.turn_records = 0;
    }

    /// Writes the last record and the end; once.
    pub(super) fn finish(&mut self, at: Duration) -> io::Result<Written> {
        if !std::mem::replace(&mut self.is_finished, true) {
            let mut last = String::from(",\n");
            let mut record = Record::new(&mut last, 'i', LOOP, at, "end of trace");
            record.field("s", "g");
            record.begin_args();
            record.number("dropped_records", self.written.dropped);
            record.number("limit_bytes", self.limit);
            record.end();
            self.write(&last);
            self.written.records += 1;
            self.write(TAIL);
            if self.failed.is_none() {
                self.failed = self.writer.flush().err();
            }
        }
        match self.failed.take() {
            Some(error) => Err(error),
            None => Ok(self.written),
        }
    }

    fn write(&mut self, text: &str) {
        if self.failed.is_some() {
            return;
        }
        match self.writer.write_all(text.as_bytes()) {
            Ok(()) => self.written.bytes += text.len() as u64,
            Err(error) => {
                self.failed = Some(error);
                self.is_full = true;
            }
        }
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink")
            .field("limit", &self.limit)
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}
