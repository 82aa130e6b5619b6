//! The answers that the example `http_proxy` reads, and passes on.
//!
//! Holds: a head is found at one place, wherever it is cut; what the client gets is one head, of the same status, that says in
//! one way where the body ends, and so as the proxy will send it.

use crate::cuts::split;
use crate::http::Length;
use crate::refusal::After;
use crate::reply::{Asked, Ends, MOST_HEAD, Parsed, Reply, parse};

const DATE: &str = "Sun, 29 Nov 2026 01:02:03 GMT";

fn read(stream: &[u8], asked: Asked) -> (Parsed, Vec<u8>) {
    let mut out = Vec::new();
    (parse(stream, asked, "fuzz", DATE, &mut out), out)
}

pub(crate) fn target(data: &[u8]) {
    let Some((how, stream)) = split(data) else {
        return;
    };
    let asked = Asked {
        is_head: how & 1 == 1,
        is_1_1: how & 2 == 0,
        keep_alive: how & 4 == 0,
    };
    let (parsed, out) = read(stream, asked);
    let (reply, length) = match parsed {
        Parsed::Complete(reply, length) => (reply, length),
        Parsed::Partial => return assert!(stream.len() <= MOST_HEAD && out.is_empty()),
        Parsed::Refused(_) => return assert!(out.is_empty(), "refused, and something is said"),
    };
    // (A look at every place costs the square of the length.)
    for end in (0..length).rev().take(300) {
        let (parsed, out) = read(&stream[..end], asked);
        assert!(
            matches!(parsed, Parsed::Partial),
            "at {end} of {length}: {parsed:?}"
        );
        assert!(out.is_empty());
    }
    let again = read(&stream[..length], asked);
    assert!(matches!(again.0, Parsed::Complete(_, end) if end == length));
    assert_eq!(again.1, out, "what follows changes it");
    look_at_head(&reply, asked, &out);
}

/// The head as the client reads it.
fn look_at_head(reply: &Reply, asked: Asked, out: &[u8]) {
    let mut fields = [httparse::EMPTY_HEADER; 160];
    let mut answer = httparse::Response::new(&mut fields);
    let end = answer.parse(out).expect("a proper head");
    assert_eq!(
        end,
        httparse::Status::Complete(out.len()),
        "one head, and nothing behind"
    );
    let breaks = out.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(breaks, answer.headers.len() + 2, "a line for each field");
    assert_eq!(answer.code, Some(reply.status));
    assert_ne!(reply.status, 101);
    let count = |name: &str| {
        let named = answer
            .headers
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case(name));
        named.count()
    };
    let lengths = (count("content-length"), count("transfer-encoding"));
    let is_bodiless =
        asked.is_head || reply.is_interim() || reply.status == 204 || reply.status == 304;
    if reply.is_interim() {
        assert_eq!(lengths, (0, 0), "an interim answer has no body");
        return;
    }
    assert!(count("date") >= 1);
    match reply.ends {
        Ends::After(Length::Bytes(_)) => {
            assert!(lengths.1 == 0 && !reply.in_chunks);
            assert!(is_bodiless || lengths.0 == 1, "a body without its length");
        }
        Ends::After(Length::Unsaid) => assert!(is_bodiless),
        Ends::After(Length::Chunked) | Ends::AtClose => {
            assert_eq!(lengths, (0, usize::from(asked.is_1_1)));
            assert_eq!(reply.in_chunks, asked.is_1_1);
            assert!(
                asked.is_1_1 || reply.after == After::Closes,
                "a body without an end"
            );
        }
    }
    let says = |word: &str| {
        let named = answer
            .headers
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case("connection"));
        named.filter(|field| field.value == word.as_bytes()).count()
    };
    assert_eq!(says("close"), usize::from(reply.after == After::Closes));
    assert_eq!(
        count("connection"),
        usize::from(reply.after != After::Stays)
    );
}
