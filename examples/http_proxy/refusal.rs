//! Answers of the proxy's own: a status and a reason.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use crate::http::Status;

/// Why a request is not passed on, or has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: Status,
    pub(crate) why: &'static str,
    /// When it may be tried again.
    pub(crate) after: Option<Duration>,
}

impl Refusal {
    pub(crate) const fn new(status: Status, why: &'static str) -> Refusal {
        let after = None;
        Refusal { status, why, after }
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Refusal {
        Refusal::new(status, "")
    }
}

/// What becomes of the client's connection, as the answer says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// HTTP/1.1 says it by saying nothing.
    Stays,
    /// HTTP/1.0 wants to hear it.
    StaysAndSays,
    Closes,
}

impl After {
    pub(crate) fn field(self) -> &'static [u8] {
        match self {
            After::Stays => b"",
            After::StaysAndSays => b"Connection: keep-alive\r\n",
            After::Closes => b"Connection: close\r\n",
        }
    }
}

/// The whole answer; to a HEAD without its body.
pub(crate) fn write(
    refusal: Refusal,
    date: &str,
    via: &str,
    after: After,
    with_body: bool,
) -> Vec<u8> {
    let Refusal { status, why, .. } = refusal;
    let mut text = status.to_string();
    if !why.is_empty() {
        let _ = write!(text, ": {why}");
    }
    text.push('\n');
    let mut answer = Vec::with_capacity(256);
    // A vector takes everything.
    let _ = write!(
        answer,
        "HTTP/1.1 {status}\r\nDate: {date}\r\nVia: 1.1 {via}\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n",
        text.len()
    );
    if let Some(wait) = refusal.after {
        let _ = write!(answer, "Retry-After: {}\r\n", wait.as_secs().max(1));
    }
    if matches!(status, Status::NOT_ALLOWED | Status::OK) {
        let _ = write!(
            answer,
            "Allow: CONNECT, DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT\r\n"
        );
    }
    answer.extend_from_slice(after.field());
    answer.extend_from_slice(b"\r\n");
    if with_body {
        answer.extend_from_slice(text.as_bytes());
    }
    answer
}
