//! One answer to a HEAD: where its head ends, and what it says about the connection.

/// A longer head is no answer.
pub(crate) const LONGEST_HEAD: usize = 16 * 1024;

/// More header fields are no answer either.
const MOST_FIELDS: usize = 96;

/// What the bytes so far are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The head has not come to its end.
    Incomplete,
    /// A head of 1xx, which so many bytes make up: the answer is still to come.
    Interim(usize),
    /// The answer.
    Final {
        /// Bytes of the head. Nothing follows it: what a HEAD asks for has no body, whatever its fields say.
        bytes: usize,
        /// From 200 up.
        status: u16,
        /// The connection may be used again.
        keeps: bool,
    },
    /// This is not HTTP/1, or an unsolicited 101.
    NotHttp,
    /// The head is longer than [`LONGEST_HEAD`].
    TooLong,
}

/// Reads the head at the beginning of `input`.
pub(crate) fn read(input: &[u8]) -> Answer {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    match head.parse(input) {
        Ok(httparse::Status::Partial) if input.len() > LONGEST_HEAD => Answer::TooLong,
        Ok(httparse::Status::Partial) => Answer::Incomplete,
        Ok(httparse::Status::Complete(bytes)) => match head.code.unwrap_or(0) {
            // The peer would speak something else from here on.
            0..=99 | 101 => Answer::NotHttp,
            100..=199 => Answer::Interim(bytes),
            status => Answer::Final {
                bytes,
                status,
                keeps: keeps(&head),
            },
        },
        Err(httparse::Error::TooManyHeaders) => Answer::TooLong,
        Err(_) => Answer::NotHttp,
    }
}

/// HTTP/1.1 keeps a connection unless it says otherwise, HTTP/1.0 if it says so.
fn keeps(head: &httparse::Response<'_, '_>) -> bool {
    let says = |wanted: &str| {
        let connection = head
            .headers
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case("connection"));
        let mut tokens = connection.flat_map(|field| field.value.split(|byte| *byte == b','));
        tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes()))
    };
    match head.version {
        Some(1) => !says("close"),
        _ => says("keep-alive") && !says("close"),
    }
}
