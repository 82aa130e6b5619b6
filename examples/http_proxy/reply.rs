//! The head of an answer: what is refused of it, and how it is passed on.

use std::io::Write as _;
use std::mem::MaybeUninit;

use crate::hops::Hops;
use crate::http::Length;
use crate::http::framing::MOST_HEADERS;
use crate::http::framing::{Lengths, has_bare_lf};
use crate::refusal::After;
use crate::request::write_field;

/// Most bytes of the head of an answer.
pub(crate) const MOST_HEAD: usize = 64 * 1024;

/// What the answer depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) is_head: bool,
    /// The client speaks HTTP/1.1, and not HTTP/1.0.
    pub(crate) is_1_1: bool,
    /// The client wants to keep its connection, and may.
    pub(crate) keep_alive: bool,
}

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    After(Length),
    /// When the server closes.
    AtClose,
}

/// An answer that was understood.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) ends: Ends,
    /// The body is sent on in chunks.
    pub(crate) in_chunks: bool,
    /// The server keeps its connection.
    pub(crate) keep_alive: bool,
    /// What becomes of the client's.
    pub(crate) after: After,
}

impl Reply {
    /// Another one follows.
    pub(crate) fn is_interim(&self) -> bool {
        self.status < 200
    }
}

#[derive(Debug)]
pub(crate) enum Parsed {
    /// And how many bytes it took.
    Complete(Reply, usize),
    Partial,
    /// What is wrong with it.
    Refused(&'static str),
}

/// Reads the head at the beginning of `input` and writes it to `out` as the client is to see it.
pub(crate) fn parse(
    input: &[u8],
    asked: Asked,
    via: &str,
    date: &str,
    out: &mut Vec<u8>,
) -> Parsed {
    let mut fields = [const { MaybeUninit::uninit() }; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut response, input, &mut fields) {
        Ok(httparse::Status::Complete(length)) if has_bare_lf(&input[..length]) => {
            Parsed::Refused("a line that ends without CR")
        }
        Ok(httparse::Status::Complete(length)) => match understand(&response, asked) {
            Ok((reply, hops)) => {
                write_head(out, &response, &reply, &hops, via, date);
                Parsed::Complete(reply, length)
            }
            Err(why) => Parsed::Refused(why),
        },
        Ok(httparse::Status::Partial) if input.len() > MOST_HEAD => {
            Parsed::Refused("its head is too long")
        }
        Ok(httparse::Status::Partial) => Parsed::Partial,
        Err(_) => Parsed::Refused("its head is no proper one"),
    }
}

fn understand<'a>(
    response: &httparse::Response<'_, 'a>,
    asked: Asked,
) -> Result<(Reply, Hops<'a>), &'static str> {
    let status = response.code.unwrap_or_default();
    // No request has asked for another protocol: `Upgrade` is not passed on.
    if !(100..1000).contains(&status) || status == 101 {
        return Err("its status is out of place");
    }
    let is_1_1 = response.version == Some(1);
    let hops = Hops::of(response.headers).ok_or("too many names in Connection")?;
    let mut lengths = Lengths::default();
    for field in &*response.headers {
        let taken = match field.name.len() {
            14 if field.name.eq_ignore_ascii_case("content-length") => {
                lengths.take_length(field.value)
            }
            17 if field.name.eq_ignore_ascii_case("transfer-encoding") => {
                lengths.take_encoding(field.value)
            }
            _ => Ok(()),
        };
        taken.map_err(|_| "the length of its body is not clear")?;
    }
    let length = lengths.together(is_1_1);
    let length = length.map_err(|_| "the length of its body is not clear")?;
    let is_bodiless = asked.is_head || status < 200 || status == 204 || status == 304;
    let ends = match length {
        _ if is_bodiless => Ends::After(Length::Bytes(0)),
        Length::Unsaid => Ends::AtClose,
        length => Ends::After(length),
    };
    let has_end = matches!(ends, Ends::After(Length::Unsaid | Length::Bytes(_)));
    let after = match asked {
        Asked {
            keep_alive: false, ..
        } => After::Closes,
        Asked { is_1_1: true, .. } => After::Stays,
        // The end of the connection is then the end of the body.
        _ if !has_end => After::Closes,
        _ => After::StaysAndSays,
    };
    let reply = Reply {
        status,
        ends,
        in_chunks: !has_end && asked.is_1_1,
        keep_alive: hops.stays_open(is_1_1) && ends != Ends::AtClose,
        after,
    };
    Ok((reply, hops))
}

fn write_head(
    out: &mut Vec<u8>,
    response: &httparse::Response<'_, '_>,
    reply: &Reply,
    hops: &Hops<'_>,
    via: &str,
    date: &str,
) {
    let minor = response.version.unwrap_or(1);
    let reason = response.reason.unwrap_or_default();
    // A vector takes everything.
    let _ = write!(out, "HTTP/1.1 {} {reason}\r\n", reply.status);
    let mut has_date = false;
    // Where there are chunks there is no length, and a length that is there says so of what HEAD leaves out.
    let has_length = !reply.in_chunks && !reply.is_interim() && reply.status != 204;
    for field in &*response.headers {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        let is_left_out = field.name.len() == 14 && is("content-length") && !has_length;
        has_date |= field.name.len() == 4 && is("date");
        if !is_left_out && !hops.has(field.name) {
            write_field(out, field);
        }
    }
    if !reply.is_interim() {
        if !has_date {
            let _ = write!(out, "Date: {date}\r\n");
        }
        if reply.in_chunks {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        out.extend_from_slice(reply.after.field());
    }
    let _ = write!(out, "Via: 1.{minor} {via}\r\n\r\n");
}
