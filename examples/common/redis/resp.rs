//! Redis' protocol, RESP2 and RESP3: commands out, replies in.
//!
//! The crate `resp-rs` decodes, and gets one whole reply at a time from [`Input`], which finds where it ends. So a reply
//! that comes in many pieces is not decoded, or copied, from its beginning with each of them, and what a reply may take
//! of memory is bounded before it is taken.

use std::fmt;
use std::io;

use resp_rs::resp3::{Frame, parse_frame};

/// What a server answers. Attributes of RESP3 are dropped: they are hints.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    /// A short text, such as `OK`.
    Simple(Vec<u8>),
    /// The server has refused, or failed: nothing is known to be done, unless the command says otherwise.
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Nil,
    Array(Vec<Reply>),
    Boolean(bool),
    Double(f64),
    BigNumber(Vec<u8>),
    Verbatim(Vec<u8>),
    Map(Vec<(Reply, Reply)>),
    Set(Vec<Reply>),
    /// Sent unasked; no answer to anything.
    Push(Vec<Reply>),
}

/// Errors by which a server says that it has done nothing, and what would help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It reads its data from disk: try again in a while.
    Loading,
    /// Another node has the key: ask there.
    Moved { slot: u16, to: String },
    /// Another node has the key for now: ask there, after `ASKING`.
    Ask { slot: u16, to: String },
    /// A script runs, the master is away, a slot is being moved: try again in a while.
    TryAgain,
    /// It wants a login.
    NoAuth,
}

impl Reply {
    /// What to make of an error, as far as it is one that says that nothing was done.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        let Reply::Error(text) = self else {
            return None;
        };
        let mut words = text.split(' ');
        let code = words.next()?;
        let mut elsewhere = || Some((words.next()?.parse().ok()?, words.next()?.to_owned()));
        match code {
            "LOADING" => Some(Refusal::Loading),
            "MOVED" => elsewhere().map(|(slot, to)| Refusal::Moved { slot, to }),
            "ASK" => elsewhere().map(|(slot, to)| Refusal::Ask { slot, to }),
            "TRYAGAIN" | "BUSY" | "MASTERDOWN" | "CLUSTERDOWN" => Some(Refusal::TryAgain),
            "NOAUTH" => Some(Refusal::NoAuth),
            _ => None,
        }
    }

    /// An error, for the log.
    pub(crate) fn as_error(&self) -> io::Error {
        let what = self
            .refusal()
            .map_or_else(String::new, |what| format!(" ({what})"));
        let Reply::Error(text) = self else {
            return malformed("no error");
        };
        let kind = match text.split(' ').next() {
            Some("NOAUTH" | "NOPERM") => io::ErrorKind::PermissionDenied,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, format!("the server says {text}{what}"))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Loading => f.write_str("the server reads its data from disk: try again soon"),
            Refusal::Moved { slot, to } => {
                write!(
                    f,
                    "slot {slot} is at {to}: connect there (this is no client for clusters)"
                )
            }
            Refusal::Ask { slot, to } => {
                write!(
                    f,
                    "slot {slot} is moving to {to} (this is no client for clusters)"
                )
            }
            Refusal::TryAgain => f.write_str("the server cannot do it now: try again soon"),
            Refusal::NoAuth => {
                f.write_str("the server wants a password, and this client was given none")
            }
        }
    }
}

/// Which protocol a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Resp2,
    Resp3,
}

/// A command as it is sent: an array of bulk strings.
pub(crate) fn encode<A: AsRef<[u8]>>(arguments: &[A]) -> Vec<u8> {
    let length = |argument: &A| argument.as_ref().len() + 16;
    let mut bytes = Vec::with_capacity(16 + arguments.iter().map(length).sum::<usize>());
    let number = |bytes: &mut Vec<u8>, kind: u8, number: usize| {
        bytes.push(kind);
        bytes.extend_from_slice(number.to_string().as_bytes());
        bytes.extend_from_slice(b"\r\n");
    };
    number(&mut bytes, b'*', arguments.len());
    for argument in arguments {
        let argument = argument.as_ref();
        number(&mut bytes, b'$', argument.len());
        bytes.extend_from_slice(argument);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// A line that is no bulk string: a status, an error, a number.
const LONGEST_LINE: usize = 64 * 1024;

/// Elements of one reply, all levels together. Each costs some 60 bytes of memory, however short it is.
const MOST_ELEMENTS: usize = 1 << 20;

const DEEPEST: usize = 32;

/// A buffer that has grown larger is not kept.
const MEMORY_KEPT: usize = 256 * 1024;

/// What has been received and not been taken as a reply.
#[derive(Debug)]
pub(crate) struct Input {
    max_reply: usize,
    bytes: Vec<u8>,
    /// Where the first reply begins that has not been taken.
    start: usize,
    /// How far the reply that begins there has been looked through: to the beginning of one of its elements.
    scanned: usize,
    /// The arrays that are open there, from the outermost: how many elements are still to come.
    open: Vec<Open>,
    elements: usize,
}

#[derive(Debug)]
struct Open {
    left: usize,
    /// It stands before what it belongs to, and is no element of its own.
    is_attribute: bool,
}

impl Input {
    /// Replies of at most `max_reply` bytes, as they are sent.
    pub(crate) fn new(max_reply: usize) -> Input {
        Input {
            max_reply,
            bytes: Vec::new(),
            start: 0,
            scanned: 0,
            open: Vec::new(),
            elements: 0,
        }
    }

    /// Whether all that was received has been taken: no reply has begun.
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        if self.is_empty() {
            self.bytes.clear();
            (self.scanned, self.start) = (0, 0);
        } else if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.scanned -= self.start;
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next reply, if it is there as a whole.
    ///
    /// # Errors
    ///
    /// `InvalidData` if this is no RESP, or more than the limits allow. Nothing that follows can be made sense of.
    pub(crate) fn next(&mut self) -> io::Result<Option<Reply>> {
        loop {
            let Some(end) = self.element()? else {
                return Ok(None);
            };
            self.scanned = end;
            if self.open.is_empty() {
                break;
            }
        }
        let reply = decode(&self.bytes[self.start..self.scanned])?;
        (self.start, self.elements) = (self.scanned, 0);
        if self.is_empty() && self.bytes.capacity() > MEMORY_KEPT {
            self.bytes = Vec::new();
            (self.start, self.scanned) = (0, 0);
        }
        Ok(Some(reply))
    }

    /// Looks at one element: where it ends, if it is there as a whole. Of an array that is its first line; its parts
    /// follow.
    fn element(&mut self) -> io::Result<Option<usize>> {
        let rest = &self.bytes[self.scanned..];
        let Some(&kind) = rest.first() else {
            return Ok(None);
        };
        if !b"+-:$*_,#(!=%~>|".contains(&kind) {
            let text = format!("a reply that begins with {:?}", char::from(kind));
            return Err(malformed(&text));
        }
        let window = &rest[..rest.len().min(LONGEST_LINE)];
        let Some(line) = window.windows(2).position(|pair| pair == b"\r\n") else {
            if window.len() == LONGEST_LINE {
                return Err(malformed("a line without an end"));
            }
            return Ok(None);
        };
        let number = match kind {
            b'$' | b'!' | b'=' | b'*' | b'~' | b'>' | b'%' | b'|' => length(&rest[1..line])?,
            _ => None,
        };
        let mut end = self.scanned + line + 2;
        let mut parts = 0;
        match (kind, number) {
            (b'$' | b'!' | b'=', Some(length)) => {
                let content = end;
                end = content.saturating_add(length).saturating_add(2);
                self.check_size(end)?;
                if self.bytes.len() < end {
                    return Ok(None);
                }
                if self.bytes[content + length..end] != *b"\r\n" {
                    return Err(malformed("a string that does not end where it says"));
                }
            }
            (b'%' | b'|', Some(pairs)) => parts = pairs.saturating_mul(2),
            (_, Some(elements)) => parts = elements,
            (_, None) => {}
        }
        self.check_size(end)?;
        self.note(kind == b'|', parts)?;
        Ok(Some(end))
    }

    fn check_size(&self, end: usize) -> io::Result<()> {
        if end - self.start <= self.max_reply {
            return Ok(());
        }
        let text = format!("a reply of more than {} bytes", self.max_reply);
        Err(malformed(&text))
    }

    /// An element has come, which has so many parts: what is open now.
    fn note(&mut self, is_attribute: bool, parts: usize) -> io::Result<()> {
        self.elements += 1;
        if parts > MOST_ELEMENTS || self.elements > MOST_ELEMENTS {
            let text = format!("a reply of more than {MOST_ELEMENTS} elements");
            return Err(malformed(&text));
        }
        if parts > 0 {
            if self.open.len() == DEEPEST {
                let text = format!("a reply of more than {DEEPEST} levels");
                return Err(malformed(&text));
            }
            let left = parts;
            self.open.push(Open { left, is_attribute });
            return Ok(());
        }
        if is_attribute {
            self.stands_before_another();
            return Ok(());
        }
        // The last of an array completes that, too.
        while let Some(innermost) = self.open.last_mut() {
            innermost.left -= 1;
            if innermost.left > 0 {
                break;
            }
            let is_attribute = innermost.is_attribute;
            self.open.pop();
            if is_attribute {
                self.stands_before_another();
                break;
            }
        }
        Ok(())
    }

    /// An attribute is complete: what it belongs to is still to come.
    fn stands_before_another(&mut self) {
        if self.open.is_empty() {
            let (left, is_attribute) = (1, false);
            self.open.push(Open { left, is_attribute });
        }
    }
}

/// A length, or `None` for -1, which stands for nil.
fn length(digits: &[u8]) -> io::Result<Option<usize>> {
    if digits == b"-1" {
        return Ok(None);
    }
    let text = std::str::from_utf8(digits).ok();
    let text = text.filter(|text| text.bytes().all(|digit| digit.is_ascii_digit()));
    match text.and_then(|text| text.parse().ok()) {
        Some(length) => Ok(Some(length)),
        None => Err(malformed("a length that is no number")),
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("no RESP: {what}"))
}

/// One reply, which is there as a whole.
fn decode(reply: &[u8]) -> io::Result<Reply> {
    let mut rest = reply.to_vec().into();
    loop {
        let (frame, behind) = parse_frame(rest).map_err(|error| malformed(&error.to_string()))?;
        if !matches!(frame, Frame::Attribute(_)) {
            return if behind.is_empty() {
                reply_of(frame)
            } else {
                Err(malformed("a reply that ends before its end"))
            };
        }
        rest = behind;
    }
}

fn reply_of(frame: Frame) -> io::Result<Reply> {
    let all = |frames: Vec<Frame>| frames.into_iter().map(reply_of).collect::<io::Result<_>>();
    Ok(match frame {
        Frame::SimpleString(text) => Reply::Simple(text.into()),
        Frame::Error(text) | Frame::BlobError(text) => {
            Reply::Error(String::from_utf8_lossy(&text).into_owned())
        }
        Frame::Integer(number) => Reply::Integer(number),
        Frame::BulkString(Some(bytes)) => Reply::Bulk(bytes.into()),
        Frame::Null | Frame::BulkString(None) | Frame::Array(None) => Reply::Nil,
        Frame::Boolean(yes) => Reply::Boolean(yes),
        Frame::Double(number) => Reply::Double(number),
        Frame::SpecialFloat(name) => Reply::Double(match &name[..] {
            b"inf" => f64::INFINITY,
            b"-inf" => f64::NEG_INFINITY,
            _ => f64::NAN,
        }),
        Frame::BigNumber(digits) => Reply::BigNumber(digits.into()),
        // Behind three letters that name its format, and a colon.
        Frame::VerbatimString { payload } => {
            Reply::Verbatim(payload.get(4..).unwrap_or_default().to_vec())
        }
        Frame::Array(Some(elements)) => Reply::Array(all(elements)?),
        Frame::Set(elements) => Reply::Set(all(elements)?),
        Frame::Push(elements) => Reply::Push(all(elements)?),
        Frame::Map(pairs) => {
            let pairs = pairs.into_iter();
            let pairs = pairs.map(|(key, value)| Ok((reply_of(key)?, reply_of(value)?)));
            Reply::Map(pairs.collect::<io::Result<_>>()?)
        }
        // No Redis sends streams.
        other => return Err(malformed(&format!("{other:?}"))),
    })
}
