//! Where the body of a request ends: after so many bytes, or by chunks.
//!
//! Chunks are read by their grammar to the byte: digits, an extension that is passed over, CRLF. What is more lenient here
//! than in the program before it, or less, is a way to smuggle a request.

use super::{Length, Status};

/// Most bytes of chunk extensions and trailers in one body.
const MOST_OVERHEAD: usize = 8 * 1024;

/// More digits than these are no size.
const MOST_DIGITS: u32 = 16;

/// What one step of reading a body finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// A piece of it.
    Data(&'a [u8]),
    /// Nothing of it, and there may be more in the input.
    Framing,
    End,
}

/// A body that is being read.
#[derive(Debug)]
pub(crate) struct Body {
    framing: Framing,
    /// Bytes of it that have come.
    pub(crate) received: u64,
    limit: u64,
}

#[derive(Debug)]
enum Framing {
    Bytes(u64),
    Chunked(Chunked),
}

#[derive(Debug)]
struct Chunked {
    state: State,
    /// Of the chunk's size, or of the chunk.
    left: u64,
    digits: u32,
    overhead: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the beginning of a line.
    Trailer,
    InTrailer,
    TrailerLf,
    LastLf,
    Done,
}

impl Body {
    /// `Err` if it says in advance that it is too large.
    pub(crate) fn new(length: Length, limit: u64) -> Result<Body, Status> {
        let framing = match length {
            Length::Unsaid => Framing::Bytes(0),
            Length::Bytes(length) if length > limit => return Err(Status::TOO_LARGE),
            Length::Bytes(length) => Framing::Bytes(length),
            Length::Chunked => Framing::Chunked(Chunked {
                state: State::Size,
                left: 0,
                digits: 0,
                overhead: 0,
            }),
        };
        Ok(Body {
            framing,
            received: 0,
            limit,
        })
    }

    /// Takes something from the beginning of `input`, and says how much. Asked again until the input is empty or the end
    /// has come.
    pub(crate) fn take<'a>(&mut self, input: &'a [u8]) -> Result<(Step<'a>, usize), Status> {
        let (step, used) = match &mut self.framing {
            Framing::Bytes(0) => (Step::End, 0),
            Framing::Bytes(left) => {
                let piece = first(input, *left);
                *left -= piece.len() as u64;
                (Step::Data(piece), piece.len())
            }
            Framing::Chunked(chunked) => chunked.take(input)?,
        };
        if let Step::Data(piece) = step {
            self.received += piece.len() as u64;
            if self.received > self.limit {
                return Err(Status::TOO_LARGE);
            }
        }
        Ok((step, used))
    }
}

impl Chunked {
    fn take<'a>(&mut self, input: &'a [u8]) -> Result<(Step<'a>, usize), Status> {
        if self.state == State::Done {
            return Ok((Step::End, 0));
        }
        if self.state == State::Data {
            let piece = first(input, self.left);
            self.left -= piece.len() as u64;
            if self.left == 0 {
                self.state = State::DataCr;
            }
            return Ok((Step::Data(piece), piece.len()));
        }
        for (index, byte) in input.iter().enumerate() {
            self.state = self.next(*byte).ok_or(Status::BAD_REQUEST)?;
            match self.state {
                State::Data => return Ok((Step::Framing, index + 1)),
                State::Done => return Ok((Step::End, index + 1)),
                _ => {}
            }
        }
        Ok((Step::Framing, input.len()))
    }

    /// One byte that is no data; `None` if it may not stand here.
    fn next(&mut self, byte: u8) -> Option<State> {
        let is_text = byte == b'\t' || byte >= b' ' && byte != 0x7f;
        Some(match (self.state, byte) {
            (State::Size, _) if byte.is_ascii_hexdigit() => {
                self.digits += 1;
                let digit = char::from(byte).to_digit(16)?;
                self.left = self.left << 4 | u64::from(digit);
                (self.digits <= MOST_DIGITS).then_some(State::Size)?
            }
            (State::Size, b';') if self.digits > 0 => self.overhead(State::Extension)?,
            (State::Size, b'\r') if self.digits > 0 => State::SizeLf,
            (State::Extension, b'\r') => State::SizeLf,
            (State::Extension, _) if is_text => self.overhead(State::Extension)?,
            (State::SizeLf, b'\n') => {
                self.digits = 0;
                match self.left {
                    0 => State::Trailer,
                    _ => State::Data,
                }
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size,
            (State::Trailer, b'\r') => State::LastLf,
            // A line that begins with a blank would go on with the one before.
            (State::Trailer, b' ' | b'\t') => return None,
            (State::InTrailer, b'\r') => State::TrailerLf,
            (State::Trailer | State::InTrailer, _) if is_text => self.overhead(State::InTrailer)?,
            (State::TrailerLf, b'\n') => State::Trailer,
            (State::LastLf, b'\n') => State::Done,
            _ => return None,
        })
    }

    fn overhead(&mut self, then: State) -> Option<State> {
        self.overhead += 1;
        (self.overhead <= MOST_OVERHEAD).then_some(then)
    }
}

fn first(input: &[u8], most: u64) -> &[u8] {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    &input[..input.len().min(most)]
}
