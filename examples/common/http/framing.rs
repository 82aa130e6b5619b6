//! What says where a head and a body end. Whatever two programs in a chain could read in two ways is refused: that is what
//! request smuggling lives on. (httparse refuses a CR alone, a folded line and a space before the colon.)

use lexopt::Parser;

use super::Status;
use crate::common::{self, Failure};

/// Most header fields that can be asked for with `--max-headers`.
pub(crate) const MOST_HEADERS: usize = 128;

/// The value of `--max-headers`.
pub(crate) fn most_headers(name: &str, parser: &mut Parser) -> Result<usize, Failure> {
    let headers = common::number(name, parser, 1)?;
    if headers > MOST_HEADERS {
        let text = format!("{name} {headers}: at most {MOST_HEADERS}");
        return Err(Failure::Usage(text));
    }
    Ok(headers)
}

/// How a body says where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// There is none, and nothing was said about it.
    Unsaid,
    Bytes(u64),
    Chunked,
}

/// What the fields of a head say about the length of its body.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lengths {
    length: Option<u64>,
    chunked: bool,
}

impl Lengths {
    /// One length, of digits alone.
    pub(crate) fn take_length(&mut self, value: &[u8]) -> Result<(), Status> {
        let digits = value.iter().all(u8::is_ascii_digit);
        let text = std::str::from_utf8(value).ok().filter(|_| digits);
        let length = text.and_then(|text| text.parse().ok());
        if self.length.is_some() || length.is_none() {
            return Err(Status::BAD_REQUEST);
        }
        self.length = length;
        Ok(())
    }

    /// `chunked`, once, and nothing else.
    pub(crate) fn take_encoding(&mut self, value: &[u8]) -> Result<(), Status> {
        if self.chunked {
            return Err(Status::BAD_REQUEST);
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Status::NOT_IMPLEMENTED);
        }
        self.chunked = true;
        Ok(())
    }

    /// Refused are both, and chunks in HTTP/1.0, which has none.
    pub(crate) fn together(self, is_1_1: bool) -> Result<Length, Status> {
        match (self.length, self.chunked) {
            (None, false) => Ok(Length::Unsaid),
            (Some(length), false) => Ok(Length::Bytes(length)),
            (None, true) if is_1_1 => Ok(Length::Chunked),
            (_, true) => Err(Status::BAD_REQUEST),
        }
    }
}

/// Whether a line ends without its CR. (Counted to the end, for so the compiler does many bytes at a time.)
pub(crate) fn has_bare_lf(head: &[u8]) -> bool {
    let pairs = head.iter().zip(head.get(1..).unwrap_or_default());
    let bare = pairs.filter(|(before, byte)| **byte == b'\n' && **before != b'\r');
    bare.count() > 0 || head.first() == Some(&b'\n')
}

/// Whether the first line has a version in its place, `HTTP/` and two digits with a dot, and so is not just nonsense.
pub(crate) fn names_a_version(input: &[u8]) -> bool {
    let line = input.trim_ascii_start().split(|byte| *byte == b'\r').next();
    let mut words = line.unwrap_or_default().split(|byte| *byte == b' ');
    let number = words.nth(2).and_then(|word| word.strip_prefix(b"HTTP/"));
    matches!(number, Some([major, b'.', minor]) if major.is_ascii_digit() && minor.is_ascii_digit())
}

/// Room in the first line for what is not the target.
const AROUND_TARGET: usize = 32;

/// Most bytes of a method: the version, two blanks and a CR are in that room as well. One that is longer would be taken or
/// not by where the network has cut the line.
pub(crate) const MOST_METHOD: usize = AROUND_TARGET - " HTTP/1.1 \r".len();

/// What a head is refused with that is not complete: `None` if it may still become one.
pub(crate) fn too_long(input: &[u8], most_target: usize, most_head: usize) -> Option<Status> {
    let line = input.trim_ascii_start();
    if line.len() > most_target + AROUND_TARGET && !line.contains(&b'\n') {
        return Some(Status::URI_TOO_LONG);
    }
    (input.len() > most_head).then_some(Status::HEADERS_TOO_LARGE)
}

/// Whether what has come since the last look, when there were `seen` bytes, cannot complete a head, and is not too
/// long for one: so that one that comes byte by byte is not parsed as often.
pub(crate) fn is_still_partial(
    input: &[u8],
    seen: usize,
    most_target: usize,
    most_head: usize,
) -> bool {
    let new = &input[seen.saturating_sub(3).min(input.len())..];
    let is_whole = new.windows(2).any(|pair| pair == b"\n\n")
        || new.windows(3).any(|three| three == b"\n\r\n");
    !is_whole && input.len() <= most_head.min(most_target + AROUND_TARGET)
}
