//! The head of a request: what httparse finds, and what of it is refused.
//!
//! Whatever two programs in a chain could read in two ways is refused, and the connection closed: that is what request
//! smuggling lives on. httparse refuses a CR alone, a folded line and a space before the colon; here the lengths are looked at,
//! and an LF alone.

use std::mem::MaybeUninit;

use httparse::Error;

use crate::answer::Status;
use crate::config::Limits;

/// Most header fields that can be asked for with `--max-headers`.
pub(crate) const MOST_HEADERS: usize = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Head,
    Post,
    /// Known, and for nothing that is here.
    Other,
    Unknown,
}

/// How the body says where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// There is none, and nothing was said about it.
    Unsaid,
    Bytes(u64),
    Chunked,
}

/// What the answer depends on, as it was sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Conditions<'a> {
    pub(crate) if_none_match: Option<&'a [u8]>,
    pub(crate) if_modified_since: Option<&'a [u8]>,
    pub(crate) if_range: Option<&'a [u8]>,
    pub(crate) range: Option<&'a [u8]>,
}

/// A head that was understood.
#[derive(Debug)]
pub(crate) struct Head<'a> {
    pub(crate) method: Method,
    pub(crate) method_name: &'a str,
    /// As it was sent, but without scheme and host.
    pub(crate) target: &'a str,
    /// HTTP/1.1, and not HTTP/1.0.
    pub(crate) is_1_1: bool,
    pub(crate) keep_alive: bool,
    pub(crate) length: Length,
    pub(crate) expects_continue: bool,
    pub(crate) conditions: Conditions<'a>,
    pub(crate) referer: Option<&'a [u8]>,
    pub(crate) agent: Option<&'a [u8]>,
}

#[derive(Debug)]
pub(crate) enum Parsed<'a> {
    /// And how many bytes it took.
    Complete(Head<'a>, usize),
    Partial,
    Refused(Status),
}

/// Reads the head at the beginning of `input`.
pub(crate) fn parse<'a>(input: &'a [u8], limits: &Limits) -> Parsed<'a> {
    let mut fields = [const { MaybeUninit::uninit() }; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(input, &mut fields[..limits.headers]) {
        Ok(httparse::Status::Complete(length)) if length > limits.head => {
            Parsed::Refused(Status::HEADERS_TOO_LARGE)
        }
        Ok(httparse::Status::Complete(length)) if has_bare_lf(&input[..length]) => {
            Parsed::Refused(Status::BAD_REQUEST)
        }
        Ok(httparse::Status::Complete(length)) => match understand(&request, limits) {
            Ok(head) => Parsed::Complete(head, length),
            Err(status) => Parsed::Refused(status),
        },
        Ok(httparse::Status::Partial) => too_long(input, limits),
        Err(Error::TooManyHeaders) => Parsed::Refused(Status::HEADERS_TOO_LARGE),
        Err(Error::Version) if names_a_version(input) => Parsed::Refused(Status::VERSION),
        Err(_) => Parsed::Refused(Status::BAD_REQUEST),
    }
}

/// Whether the first line has a version in its place, and so is not just nonsense.
fn names_a_version(input: &[u8]) -> bool {
    let line = input.trim_ascii_start().split(|byte| *byte == b'\r').next();
    let mut words = line.unwrap_or_default().split(|byte| *byte == b' ');
    words.nth(2).is_some_and(|word| word.starts_with(b"HTTP/"))
}

/// What may still become a head, or is over a limit already.
fn too_long<'a>(input: &[u8], limits: &Limits) -> Parsed<'a> {
    let is_in_line = |input: &[u8]| !input.trim_ascii_start().contains(&b'\n');
    // Some room for the method.
    if input.len() > limits.target + 32 && is_in_line(input) {
        return Parsed::Refused(Status::URI_TOO_LONG);
    }
    if input.len() > limits.head {
        return Parsed::Refused(Status::HEADERS_TOO_LARGE);
    }
    Parsed::Partial
}

/// Whether a line ends without its CR. (Counted to the end, for so the compiler does many bytes at a time.)
fn has_bare_lf(head: &[u8]) -> bool {
    let pairs = head.iter().zip(head.get(1..).unwrap_or_default());
    let bare = pairs.filter(|(before, byte)| **byte == b'\n' && **before != b'\r');
    bare.count() > 0 || head.first() == Some(&b'\n')
}

/// What the fields that matter say.
#[derive(Default)]
struct Fields<'a> {
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
    conditions: Conditions<'a>,
    referer: Option<&'a [u8]>,
    agent: Option<&'a [u8]>,
}

fn understand<'a>(
    request: &httparse::Request<'_, 'a>,
    limits: &Limits,
) -> Result<Head<'a>, Status> {
    let method_name = request.method.unwrap_or_default();
    let method = method(method_name);
    let target = request.path.unwrap_or_default();
    if target.len() > limits.target {
        return Err(Status::URI_TOO_LONG);
    }
    let is_1_1 = request.version == Some(1);
    let mut fields = Fields::default();
    for header in &*request.headers {
        fields.take(header.name.as_bytes(), header.value)?;
    }
    // Two hosts may be two sites to two programs, and HTTP/1.1 wants one.
    if fields.hosts > 1 || is_1_1 && fields.hosts == 0 {
        return Err(Status::BAD_REQUEST);
    }
    let length = match (fields.length, fields.chunked) {
        (None, false) => Length::Unsaid,
        (Some(length), false) => Length::Bytes(length),
        (None, true) if is_1_1 => Length::Chunked,
        // Both, or chunks in HTTP/1.0, which has none.
        (_, true) => return Err(Status::BAD_REQUEST),
    };
    Ok(Head {
        method,
        method_name,
        target: path_of(target).ok_or(Status::BAD_REQUEST)?,
        is_1_1,
        keep_alive: !fields.close && (is_1_1 || fields.keep_alive),
        length,
        expects_continue: fields.expects_continue && is_1_1,
        conditions: fields.conditions,
        referer: fields.referer,
        agent: fields.agent,
    })
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "CONNECT" | "DELETE" | "OPTIONS" | "PATCH" | "PUT" | "TRACE" => Method::Other,
        _ => Method::Unknown,
    }
}

/// The target without scheme and host, which clients send to proxies and a server has to understand.
fn path_of(target: &str) -> Option<&str> {
    if target.starts_with('/') || target == "*" {
        return Some(target);
    }
    let scheme = target.get(..7)?;
    if !scheme.eq_ignore_ascii_case("http://") {
        // The host and port of a CONNECT, which is answered with 405.
        return target.contains(':').then_some("*");
    }
    match target[7..].find('/') {
        Some(slash) => Some(&target[7 + slash..]),
        None => Some("/"),
    }
}

impl<'a> Fields<'a> {
    /// By length first: most fields are none of these, and are passed by one comparison.
    fn take(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), Status> {
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        match name.len() {
            4 if is(b"host") => self.hosts += 1,
            5 if is(b"range") => self.conditions.range = Some(value),
            6 if is(b"expect") => {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Status::EXPECTATION);
                }
                self.expects_continue = true;
            }
            7 if is(b"referer") => self.referer = Some(value),
            8 if is(b"if-range") => self.conditions.if_range = Some(value),
            10 if is(b"connection") => self.take_connection(value),
            10 if is(b"user-agent") => self.agent = Some(value),
            13 if is(b"if-none-match") => self.conditions.if_none_match = Some(value),
            14 if is(b"content-length") => self.take_length(value)?,
            17 if is(b"if-modified-since") => self.conditions.if_modified_since = Some(value),
            17 if is(b"transfer-encoding") => self.take_encoding(value)?,
            _ => {}
        }
        Ok(())
    }

    fn take_connection(&mut self, value: &[u8]) {
        for word in value.split(|byte| *byte == b',') {
            let word = word.trim_ascii();
            self.close |= word.eq_ignore_ascii_case(b"close");
            self.keep_alive |= word.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// One length, of digits alone.
    fn take_length(&mut self, value: &[u8]) -> Result<(), Status> {
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
    fn take_encoding(&mut self, value: &[u8]) -> Result<(), Status> {
        if self.chunked {
            return Err(Status::BAD_REQUEST);
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Status::NOT_IMPLEMENTED);
        }
        self.chunked = true;
        Ok(())
    }
}
