//! The requests that the example `http_proxy` reads, and passes on.
//!
//! Holds: a head is found at one place, wherever it is cut; what is passed on is one head, with one host, at most one length
//! and nothing that concerns the client's connection, and reads as the same request.

use crate::config::Limits;
use crate::cuts::split;
use crate::http::Length;
use crate::policy::Way;
use crate::request::{Parsed, Request, parse};

const VIA: &str = "fuzz";

fn limits() -> Limits {
    Limits {
        head: 600,
        target: 300,
        headers: 10,
        ..Limits::default()
    }
}

pub(crate) fn target(data: &[u8]) {
    let Some((_, stream)) = split(data) else {
        return;
    };
    let limits = limits();
    let (request, length) = match parse(stream, &limits, VIA) {
        Parsed::Complete(request, length) => (request, length),
        Parsed::Partial => {
            let most = limits.head.max(limits.target + 32);
            return assert!(
                stream.len() <= most,
                "{} bytes are waited for",
                stream.len()
            );
        }
        Parsed::Refused(_) => return,
    };
    for end in 0..length {
        match parse(&stream[..end], &limits, VIA) {
            Parsed::Partial => {}
            Parsed::Refused(refusal) => {
                panic!("whole it is taken, at {end} of {length}: {refusal:?}")
            }
            Parsed::Complete(..) => panic!("it ends at {length}, and at {end}"),
        }
    }
    match parse(&stream[..length], &limits, VIA) {
        Parsed::Complete(again, end) => assert_eq!((end, &again.head), (length, &request.head)),
        other => panic!("what follows changes it: {other:?}"),
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._[:]".contains(&byte);
    assert!(!request.host.is_empty() && request.host.bytes().all(is_name));
    assert!(request.port > 0);
    match request.way {
        Way::Tunnel => assert!(request.head.is_empty()),
        Way::Http => look_at_head(&request, &stream[..length]),
    }
}

/// The head that is passed on, as a server reads it.
fn look_at_head(request: &Request, from: &[u8]) {
    let head = &request.head;
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut passed_on = httparse::Request::new(&mut fields);
    let end = passed_on.parse(head).expect("a proper head");
    assert_eq!(
        end,
        httparse::Status::Complete(head.len()),
        "one head, and nothing behind"
    );
    let breaks = head.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(breaks, passed_on.headers.len() + 2, "a line for each field");
    let count = |name: &str| {
        let named = passed_on
            .headers
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case(name));
        named.count()
    };
    assert_eq!((count("host"), count("via") >= 1), (1, true));
    let lengths = (count("content-length"), count("transfer-encoding"));
    assert_eq!(
        lengths,
        match request.length {
            Length::Unsaid => (0, 0),
            Length::Bytes(_) => (1, 0),
            Length::Chunked => (0, 1),
        }
    );
    for name in [
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "te",
        "upgrade",
        "trailer",
    ] {
        assert_eq!(count(name), 0, "{name} is passed on");
    }
    let target = passed_on.path.expect("it is whole");
    assert!(target.starts_with('/') || target == "*", "{target}");
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut asked = httparse::Request::new(&mut fields);
    asked.parse(from).expect("it was read");
    assert_eq!(asked.method, passed_on.method);
}
