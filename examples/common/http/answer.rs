//! Writing the heads of answers, and whole answers that are a status and a word.

use std::fmt::{self, Write as _};
use std::io::Write as _;

pub(crate) use super::Status;

/// What becomes of the connection, as the answer says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// HTTP/1.1 says it by saying nothing.
    Stays,
    /// HTTP/1.0 wants to hear it.
    StaysAndSays,
    Closes,
}

impl After {
    pub(crate) fn field(self) -> &'static str {
        match self {
            After::Stays => "",
            After::StaysAndSays => "Connection: keep-alive\r\n",
            After::Closes => "Connection: close\r\n",
        }
    }
}

/// A head that is being written, at the end of a buffer.
pub(crate) struct Writer<'a>(&'a mut Vec<u8>);

impl<'a> Writer<'a> {
    /// Begins with the status line, `Server` and `Date`.
    pub(crate) fn begin(buffer: &'a mut Vec<u8>, status: Status, date: &str) -> Writer<'a> {
        let mut writer = Writer(buffer);
        writer.line(format_args!(
            "HTTP/1.1 {status}\r\nServer: slabloop\r\nDate: {date}"
        ));
        writer
    }

    pub(crate) fn field(&mut self, name: &str, value: impl fmt::Display) {
        self.line(format_args!("{name}: {value}"));
    }

    pub(crate) fn end(self, after: After) {
        self.0.extend_from_slice(after.field().as_bytes());
        self.0.extend_from_slice(b"\r\n");
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        // A vector takes everything.
        let _ = write!(self.0, "{line}\r\n");
    }
}

/// An answer whose body is its status in words; how long that is. `more` writes fields of its own.
pub(crate) fn write_plain(
    buffer: &mut Vec<u8>,
    status: Status,
    date: &str,
    after: After,
    with_body: bool,
    more: impl FnOnce(&mut Writer<'_>),
) -> u64 {
    let mut body = String::new();
    let _ = writeln!(body, "{status}");
    let mut head = Writer::begin(buffer, status, date);
    head.field("Content-Type", "text/plain; charset=utf-8");
    head.field("Content-Length", body.len());
    more(&mut head);
    head.end(after);
    if !with_body {
        return 0;
    }
    buffer.extend_from_slice(body.as_bytes());
    body.len() as u64
}
