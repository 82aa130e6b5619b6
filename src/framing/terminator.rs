//! What ends a record, and how one is written.

use std::io;

use crate::world::errors::invalid;

/// What ends a record.
///
/// ```
/// use slabloop::framing::Terminator;
///
/// let http_head = Terminator::from("\r\n\r\n");
/// let body = Terminator::Length(1024);
/// assert_eq!(http_head, Terminator::Bytes(b"\r\n\r\n".to_vec()));
/// # let _ = body;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Terminator {
    /// A byte string, of at least one byte. It is not part of the record.
    Bytes(Vec<u8>),
    /// A number of bytes, counting down. When it is reached the terminator is `None`, unless the handler
    /// sets another. Zero is an immediate, empty record.
    Length(usize),
    /// Nothing: bytes are collected as they come, and no record is ever found.
    #[default]
    None,
    /// A line feed, with or without a carriage return before it. Neither is part of the record.
    Line,
    /// Netstrings, `5:hello,`: the length in decimal digits, a colon, the record, a comma.
    Netstring,
    /// A length of fixed width, most significant byte first, before each record.
    Prefixed(LengthPrefix),
}

/// A byte string that ends each record: `"\r\n".into()`.
impl From<&str> for Terminator {
    fn from(bytes: &str) -> Terminator {
        Terminator::Bytes(bytes.into())
    }
}

/// A byte string that ends each record.
impl From<&[u8]> for Terminator {
    fn from(bytes: &[u8]) -> Terminator {
        Terminator::Bytes(bytes.to_vec())
    }
}

/// A number of bytes.
impl From<usize> for Terminator {
    fn from(bytes: usize) -> Terminator {
        Terminator::Length(bytes)
    }
}

/// The width of a length before each record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LengthPrefix {
    /// One byte: records of up to 255 bytes.
    One,
    /// Two bytes: up to 65,535.
    Two,
    /// Four bytes: up to 4 GiB, and the maximum record length.
    Four,
}

impl LengthPrefix {
    pub(super) fn width(self) -> usize {
        match self {
            LengthPrefix::One => 1,
            LengthPrefix::Two => 2,
            LengthPrefix::Four => 4,
        }
    }
}

/// The encoding of one record.
pub(super) fn encode(terminator: &Terminator, record: &[u8]) -> io::Result<Vec<u8>> {
    let too_long = || {
        invalid(format!(
            "a record of {} bytes is too long for its length prefix",
            record.len()
        ))
    };
    let contains_its_end = || invalid("the record contains its own terminator".to_owned());
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
