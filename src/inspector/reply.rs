//! Answers: a head with the headers that keep a browser strict, and a body in pieces.

use std::collections::VecDeque;
use std::rc::Rc;

use super::request::Refused;

/// A piece is sent when there is room for it, so that one that reads slowly costs little.
const PIECE: usize = 32 * 1024;

/// What is left to be sent of an answer.
#[derive(Debug, Default)]
pub(super) struct Reply {
    pieces: VecDeque<(Rc<[u8]>, usize)>,
}

/// The type of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    Html,
    Json,
    Text,
    Events,
    #[cfg(feature = "metrics")]
    Metrics,
}

impl Media {
    fn name(self) -> &'static str {
        match self {
            Media::Html => "text/html; charset=utf-8",
            Media::Json => "application/json",
            Media::Text => "text/plain; charset=utf-8",
            Media::Events => "text/event-stream",
            #[cfg(feature = "metrics")]
            Media::Metrics => crate::metrics::CONTENT_TYPE,
        }
    }
}

/// What the page may do, which is nothing but to run its own script and style and to ask this server.
fn policy(nonce: Option<&str>) -> String {
    let own = nonce.map_or(String::new(), |nonce| {
        format!("; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; img-src data:")
    });
    format!("default-src 'none'{own}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
}

/// The head of an answer. Without a length the end of the stream ends it.
pub(super) fn head(
    status: &str,
    media: Media,
    length: Option<usize>,
    nonce: Option<&str>,
) -> Vec<u8> {
    let length = length.map_or(String::new(), |length| {
        format!("Content-Length: {length}\r\n")
    });
    let allow = if status.starts_with("405") {
        "Allow: GET, HEAD\r\n"
    } else {
        ""
    };
    let (media, policy) = (media.name(), policy(nonce));
    let head = format!(
        "HTTP/1.1 {status}\r\n\
         Content-Type: {media}\r\n\
         {length}{allow}\
         Cache-Control: no-store\r\n\
         Content-Security-Policy: {policy}\r\n\
         Cross-Origin-Opener-Policy: same-origin\r\n\
         Cross-Origin-Resource-Policy: same-origin\r\n\
         Referrer-Policy: no-referrer\r\n\
         X-Content-Type-Options: nosniff\r\n\
         Connection: close\r\n\r\n"
    );
    head.into_bytes()
}

impl Reply {
    /// An answer with this body, or with its head alone.
    pub(super) fn new(
        is_head: bool,
        status: &str,
        media: Media,
        nonce: Option<&str>,
        body: Vec<Rc<[u8]>>,
    ) -> Reply {
        let length = body.iter().map(|piece| piece.len()).sum();
        let head = head(status, media, Some(length), nonce);
        let mut pieces = VecDeque::from([(Rc::from(head), 0)]);
        if !is_head {
            pieces.extend(body.into_iter().map(|piece| (piece, 0)));
        }
        Reply { pieces }
    }

    /// One that is good.
    pub(super) fn ok(is_head: bool, media: Media, body: Vec<Rc<[u8]>>) -> Reply {
        Reply::new(is_head, "200 OK", media, None, body)
    }

    /// One that says in a line why there is nothing.
    pub(super) fn sorry(is_head: bool, status: &str, why: &str) -> Reply {
        let body = format!("{why}\n").into_bytes();
        Reply::new(is_head, status, Media::Text, None, vec![body.into()])
    }

    /// What a request gets that is not answered.
    pub(super) fn refused(refused: Refused) -> Reply {
        let (status, why) = match refused {
            Refused::Malformed => ("400 Bad Request", "the request is malformed"),
            Refused::TooLarge => (
                "431 Request Header Fields Too Large",
                "the head of the request is too large",
            ),
            Refused::Method => (
                "405 Method Not Allowed",
                "only GET and HEAD: nothing can be changed here",
            ),
            Refused::Foreign => (
                "403 Forbidden",
                "the inspector answers only to this machine's addresses, localhost, and names that Options::host allows",
            ),
        };
        Reply::sorry(false, status, why)
    }

    /// The next bytes to be sent; `None` if that was all.
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        while let Some((piece, sent)) = self.pieces.front() {
            if *sent < piece.len() {
                break;
            }
            self.pieces.pop_front();
        }
        let (piece, sent) = self.pieces.front_mut()?;
        let from = *sent;
        *sent = piece.len().min(from + PIECE);
        Some(&piece[from..*sent])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_leaves_in_pieces_and_whole() {
        let large: Rc<[u8]> = vec![b'x'; PIECE + 10].into();
        let small: Rc<[u8]> = b"end".as_slice().into();
        let mut reply = Reply::ok(false, Media::Json, vec![large, Rc::new([]), small]);
        let mut sent = Vec::new();
        while let Some(piece) = reply.next() {
            assert!(!piece.is_empty() && piece.len() <= PIECE);
            sent.extend_from_slice(piece);
        }
        let text = String::from_utf8(sent).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let length = format!("Content-Length: {}", PIECE + 13);
        assert!(head.contains(&length), "{head}");
        assert_eq!(body.len(), PIECE + 13);
        assert!(body.ends_with("xend"));
    }

    #[test]
    fn a_head_alone_tells_the_length_that_the_body_would_have() {
        let body: Rc<[u8]> = b"four".as_slice().into();
        let mut reply = Reply::ok(true, Media::Json, vec![body]);
        let head = String::from_utf8(reply.next().unwrap().to_vec()).unwrap();
        assert!(head.contains("Content-Length: 4") && head.ends_with("\r\n\r\n"));
        assert!(reply.next().is_none());
    }
}
