//! The head of a request: what httparse finds, and what of it is refused.
//!
//! Whatever two programs in a chain could read in two ways is refused, and the connection closed: that is what request
//! smuggling lives on. httparse refuses a CR alone, a folded line and a space before the colon; here the lengths are looked at,
//! the host, and an LF alone.

use std::mem::MaybeUninit;

use httparse::Error;

pub(crate) use super::Length;
use super::Status;
use super::fields::Fields;
use super::framing::{MOST_HEADERS, has_bare_lf, names_a_version, too_long};
use super::limits::Limits;
use super::target;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Head,
    Post,
    /// Known, and for nothing that is here.
    Other,
    Unknown,
}

/// What the answer depends on, as it was sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Conditions<'a> {
    pub(crate) if_match: Option<&'a [u8]>,
    pub(crate) if_unmodified_since: Option<&'a [u8]>,
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
    pub(crate) idempotency_key: Option<&'a [u8]>,
}

impl Head<'_> {
    /// Whether a body follows, of at least one byte or chunk.
    #[inline]
    pub(crate) fn has_body(&self) -> bool {
        !matches!(self.length, Length::Unsaid | Length::Bytes(0))
    }
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
        Ok(httparse::Status::Partial) => {
            too_long(input, limits.target, limits.head).map_or(Parsed::Partial, Parsed::Refused)
        }
        Err(Error::TooManyHeaders) => Parsed::Refused(Status::HEADERS_TOO_LARGE),
        Err(Error::Version) if names_a_version(input) => Parsed::Refused(Status::VERSION),
        Err(_) => Parsed::Refused(Status::BAD_REQUEST),
    }
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
    if is_1_1 && !fields.has_host {
        return Err(Status::BAD_REQUEST);
    }
    Ok(Head {
        method,
        method_name,
        target: target::without_host(target, method_name).ok_or(Status::BAD_REQUEST)?,
        is_1_1,
        keep_alive: !fields.close && (is_1_1 || fields.keep_alive),
        length: fields.lengths.together(is_1_1)?,
        expects_continue: fields.expects_continue && is_1_1,
        conditions: fields.conditions,
        referer: fields.referer,
        agent: fields.agent,
        idempotency_key: fields.idempotency_key,
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
