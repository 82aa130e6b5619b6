//! The head of a request: what is refused of it, and how it is passed on.

use std::io::Write as _;
use std::mem::MaybeUninit;

use httparse::Error;

use crate::config::Limits;
use crate::hops::{self, Hops};
use crate::http::framing::{
    Lengths, MOST_HEADERS, MOST_METHOD, has_bare_lf, names_a_version, too_long,
};
use crate::http::{Length, Status};
use crate::policy::Way;
use crate::refusal::Refusal;
use crate::target::{self, Target};

/// A request that was understood.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) way: Way,
    pub(crate) host: Box<str>,
    pub(crate) port: u16,
    pub(crate) is_head: bool,
    /// Done twice it has the same effect as once.
    pub(crate) is_idempotent: bool,
    /// It is for the proxy itself: `OPTIONS` with a `Max-Forwards` of 0.
    pub(crate) is_for_proxy: bool,
    /// HTTP/1.1, and not HTTP/1.0.
    pub(crate) is_1_1: bool,
    pub(crate) keep_alive: bool,
    pub(crate) length: Length,
    /// The head, as it is sent on.
    pub(crate) head: Vec<u8>,
}

#[derive(Debug)]
pub(crate) enum Parsed {
    /// And how many bytes it took.
    Complete(Box<Request>, usize),
    Partial,
    Refused(Refusal),
}

/// Reads the head at the beginning of `input`. `via` is this proxy's name.
pub(crate) fn parse(input: &[u8], limits: &Limits, via: &str) -> Parsed {
    let mut fields = [const { MaybeUninit::uninit() }; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut []);
    let refused = |status: Status| Parsed::Refused(status.into());
    match request.parse_with_uninit_headers(input, &mut fields[..limits.headers]) {
        Ok(httparse::Status::Complete(length)) if length > limits.head => {
            refused(Status::HEADERS_TOO_LARGE)
        }
        Ok(httparse::Status::Complete(length)) if has_bare_lf(&input[..length]) => {
            refused(Status::BAD_REQUEST)
        }
        Ok(httparse::Status::Complete(length)) => match understand(&request, limits, via) {
            Ok(request) => Parsed::Complete(Box::new(request), length),
            Err(refusal) => Parsed::Refused(refusal),
        },
        Ok(httparse::Status::Partial) => {
            too_long(input, limits.target, limits.head).map_or(Parsed::Partial, refused)
        }
        Err(Error::TooManyHeaders) => refused(Status::HEADERS_TOO_LARGE),
        Err(Error::Version) if names_a_version(input) => refused(Status::VERSION),
        Err(_) => refused(Status::BAD_REQUEST),
    }
}

fn understand(
    request: &httparse::Request<'_, '_>,
    limits: &Limits,
    via: &str,
) -> Result<Request, Refusal> {
    let method = request.method.unwrap_or_default();
    let target = request.path.unwrap_or_default();
    if target.len() > limits.target {
        return Err(Status::URI_TOO_LONG.into());
    }
    if method.len() > MOST_METHOD {
        return Err(Status::NOT_IMPLEMENTED.into());
    }
    let is_1_1 = request.version == Some(1);
    let (way, target) = match method {
        "CONNECT" => (Way::Tunnel, target::authority(target)?),
        // It would show what the proxy adds.
        "TRACE" => return Err(Status::NOT_ALLOWED.into()),
        _ => (Way::Http, target::absolute(target)?),
    };
    let hops = Hops::of(request.headers).ok_or(Status::BAD_REQUEST)?;
    let fields = Fields::of(request, via)?;
    // Two hosts may be two sites to two programs, and HTTP/1.1 wants one.
    if fields.hosts > 1 || is_1_1 && fields.hosts == 0 {
        return Err(Status::BAD_REQUEST.into());
    }
    let length = fields.lengths.together(is_1_1)?;
    if way == Way::Tunnel && !matches!(length, Length::Unsaid | Length::Bytes(0)) {
        return Err(Refusal::new(Status::BAD_REQUEST, "CONNECT has no body"));
    }
    let forwards = fields.forwards;
    let head = match way {
        Way::Tunnel => Vec::new(),
        Way::Http => {
            let mut head = Vec::with_capacity(512);
            write_line(&mut head, method, &target);
            write_fields(&mut head, request.headers, &hops, is_1_1, forwards);
            write_end(&mut head, length, is_1_1, via);
            head
        }
    };
    Ok(Request {
        way,
        host: target.host.into(),
        port: target.port,
        is_head: method == "HEAD",
        is_idempotent: matches!(method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE"),
        is_for_proxy: forwards == Some(0),
        is_1_1,
        keep_alive: hops.stays_open(is_1_1),
        length,
        head,
    })
}

/// What the fields that matter say.
#[derive(Default)]
struct Fields {
    hosts: usize,
    lengths: Lengths,
    /// How many proxies may pass on an OPTIONS. (Of other methods it is a field like any other.)
    forwards: Option<u32>,
}

impl Fields {
    fn of(request: &httparse::Request<'_, '_>, via: &str) -> Result<Fields, Refusal> {
        let mut found = Fields::default();
        let is_options = request.method == Some("OPTIONS");
        for field in &*request.headers {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            match field.name.len() {
                3 if is("via") && hops::has_been_at(field.value, via) => {
                    return Err(Refusal::new(Status::LOOP, "it has been here before"));
                }
                4 if is("host") => found.hosts += 1,
                6 if is("expect") && !field.value.eq_ignore_ascii_case(b"100-continue") => {
                    return Err(Status::EXPECTATION.into());
                }
                12 if is_options && is("max-forwards") => {
                    let text = std::str::from_utf8(field.value).unwrap_or_default();
                    let number = text.parse().map_err(|_| Status::BAD_REQUEST)?;
                    found.forwards = Some(number);
                }
                14 if is("content-length") => found.lengths.take_length(field.value)?,
                17 if is("transfer-encoding") => found.lengths.take_encoding(field.value)?,
                _ => {}
            }
        }
        Ok(found)
    }
}

/// The request line with a target as a server wants it, and `Host` by that target: what the client says of it in its own
/// field does not count (RFC 9112, 3.2.2).
fn write_line(head: &mut Vec<u8>, method: &str, target: &Target<'_>) {
    let Target { host, port, path } = target;
    let slash = if path.starts_with('/') { "" } else { "/" };
    // A vector takes everything.
    let _ = match (method, *path) {
        ("OPTIONS", "") => write!(head, "OPTIONS * HTTP/1.1\r\n"),
        _ => write!(head, "{method} {slash}{path} HTTP/1.1\r\n"),
    };
    let _ = match port {
        80 => write!(head, "Host: {host}\r\n"),
        _ => write!(head, "Host: {host}:{port}\r\n"),
    };
}

fn write_fields(
    head: &mut Vec<u8>,
    fields: &[httparse::Header<'_>],
    hops: &Hops<'_>,
    is_1_1: bool,
    forwards: Option<u32>,
) {
    for field in fields {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        let is_replaced = match field.name.len() {
            4 => is("host"),
            // A client of HTTP/1.0 does not know the answer to it.
            6 => is("expect") && !is_1_1,
            12 => is("max-forwards") && forwards.is_some(),
            14 => is("content-length"),
            _ => false,
        };
        if !is_replaced && !hops.has(field.name) {
            write_field(head, field);
        }
    }
    if let Some(left) = forwards {
        let _ = write!(head, "Max-Forwards: {}\r\n", left.saturating_sub(1));
    }
}

pub(crate) fn write_field(head: &mut Vec<u8>, field: &httparse::Header<'_>) {
    head.extend_from_slice(field.name.as_bytes());
    head.extend_from_slice(b": ");
    head.extend_from_slice(field.value);
    head.extend_from_slice(b"\r\n");
}

fn write_end(head: &mut Vec<u8>, length: Length, is_1_1: bool, via: &str) {
    let minor = u8::from(is_1_1);
    let _ = match length {
        Length::Unsaid => Ok(()),
        Length::Bytes(length) => write!(head, "Content-Length: {length}\r\n"),
        Length::Chunked => write!(head, "Transfer-Encoding: chunked\r\n"),
    };
    let _ = write!(head, "Via: 1.{minor} {via}\r\n\r\n");
}
