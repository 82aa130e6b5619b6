//! The example `http_server`, with the page that is built in: one client, who sends what the input says.
//!
//! Holds: what comes back is answers, whole but for the last; they are the same wherever the requests are cut; a connection
//! that has ended is let go; what is kept of a head is bounded.

use std::cmp::Ordering;
use std::rc::Rc;
use std::sync::Arc;

use slabloop::Dispatcher;
use slabloop::test::listener;
use slabloop::{Accepted, Context};

use crate::config::Limits;
use crate::connection::Connection;
use crate::cuts::{pieces, reactor, settle, split};
use crate::site::Site;

const HEAD: usize = 400;

struct Front(Rc<Site>);

impl Dispatcher for Front {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> std::io::Result<()> {
        let connection = Connection::new(cx, Rc::clone(&self.0));
        cx.add(accepted, connection)?;
        Ok(())
    }
}

fn limits() -> Limits {
    let http = crate::http::Limits {
        head: HEAD,
        target: 200,
        headers: 8,
        body: 600,
        requests: 20,
        ..crate::http::Limits::default()
    };
    Limits {
        http,
        ..Limits::default()
    }
}

/// What the client gets.
fn answered<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut reactor = reactor();
    let (clients, socket) = listener();
    let site = Site::new(limits(), None, None, None, None, Arc::default());
    let site = Rc::new(site);
    reactor.add(socket, Front(site)).expect("a place");
    let client = clients.connect();
    for piece in pieces {
        client.send(piece);
    }
    client.half_close();
    settle(&mut reactor, &[&client], |reactor| {
        for id in reactor.ids() {
            let Some(id) = reactor.at(id).and_then(|mut cx| cx.typed::<Connection>()) else {
                continue;
            };
            let pending = reactor.with(id, |connection, _| connection.pending.len());
            // A head, or a piece that waits for the answers before it.
            let most = HEAD + 16 * 1024;
            assert!(pending.unwrap_or(0) <= most, "{pending:?} bytes are kept");
        }
    });
    assert!(
        client.is_closed(),
        "the client has ended, and the connection has not"
    );
    client.take_received()
}

/// One answer of the server's.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    head: Vec<u8>,
    body: Vec<u8>,
    is_whole: bool,
}

/// The answers, as a client reads them.
fn read(mut rest: &[u8]) -> Vec<Answer> {
    let mut answers = Vec::new();
    while !rest.is_empty() {
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut answer = httparse::Response::new(&mut fields);
        let length = match answer.parse(rest) {
            Ok(httparse::Status::Complete(length)) => length,
            other => panic!("{other:?}: {:?}", rest.escape_ascii().to_string()),
        };
        let status = answer.code.expect("it is whole");
        let mut head = format!("{status}").into_bytes();
        let (mut size, mut chunked) = (None, false);
        for field in &*answer.headers {
            if field.name.eq_ignore_ascii_case("content-length") {
                let text = std::str::from_utf8(field.value).expect("digits");
                assert!(
                    size.replace(text.parse::<usize>().expect("a number"))
                        .is_none()
                );
            } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
                assert!(!chunked && field.value == b"chunked");
                chunked = true;
            }
            // The clock is the system's.
            if !field.name.eq_ignore_ascii_case("date")
                && !field.name.eq_ignore_ascii_case("last-modified")
            {
                head.extend_from_slice(field.name.as_bytes());
                head.extend_from_slice(field.value);
            }
        }
        assert!(size.is_none() || !chunked, "two lengths");
        rest = &rest[length..];
        let is_interim = status < 200;
        let is_bare = is_interim || status == 304;
        let (body, used, is_whole) = match (is_bare, size) {
            (true, _) => (Vec::new(), 0, true),
            (_, Some(size)) => {
                let used = size.min(rest.len());
                (rest[..used].to_vec(), used, used == size)
            }
            _ if chunked => chunks(rest),
            _ => panic!("an answer without a length: {status}"),
        };
        rest = &rest[used..];
        assert!(is_whole || rest.is_empty());
        // A client that sends its body at once is not told to.
        if !is_interim {
            answers.push(Answer {
                status,
                head,
                body,
                is_whole,
            });
        }
    }
    answers
}

/// Chunks of the server's own, which has no extensions and no trailers.
fn chunks(input: &[u8]) -> (Vec<u8>, usize, bool) {
    let (mut body, mut at) = (Vec::new(), 0);
    while let Some(line) = input[at..].windows(2).position(|pair| pair == b"\r\n") {
        let digits = std::str::from_utf8(&input[at..at + line]).expect("digits");
        let size = usize::from_str_radix(digits, 16).expect("a size");
        let begin = at + line + 2;
        let Some(chunk) = input.get(begin..begin + size + 2) else {
            break;
        };
        assert!(chunk.ends_with(b"\r\n"));
        body.extend_from_slice(&chunk[..size]);
        at = begin + size + 2;
        if size == 0 {
            return (body, at, true);
        }
    }
    (body, input.len(), false)
}

/// Whether a request may be a HEAD, whose answer says a length and has none: to tell which is which takes a server.
fn may_have_a_head(stream: &[u8]) -> bool {
    stream.windows(5).any(|word| word == b"HEAD ")
}

pub(crate) fn target(data: &[u8]) {
    let Some((cut, stream)) = split(data) else {
        return;
    };
    let (whole, cut_up) = (answered([stream]), answered(pieces(cut, stream)));
    if may_have_a_head(stream) {
        return;
    }
    let (mut whole, mut cut_up) = (read(&whole), read(&cut_up));
    // Of a body that turns out to be none an answer may have begun by then, which depends on the cut. And so does whether a
    // head that is never finished is seen to be none before the client has ended.
    let is_bad = |answers: &[Answer]| {
        let last = answers.last();
        last.is_some_and(|last| !last.is_whole || last.status >= 400)
    };
    match whole.len().cmp(&cut_up.len()) {
        Ordering::Equal if is_bad(&whole) && is_bad(&cut_up) => {
            whole.pop();
            cut_up.pop();
        }
        Ordering::Greater if is_bad(&whole) => drop(whole.pop()),
        Ordering::Less if is_bad(&cut_up) => drop(cut_up.pop()),
        _ => {}
    }
    assert_eq!(whole, cut_up, "cut {cut}");
}
