//! Where the bodies of requests and answers end, for both HTTP examples.
//!
//! Holds: pieces and end are the same wherever the input is cut, and those of a reader that sees it whole; a body that is
//! written in chunks reads as it was, to the byte behind it.

use crate::cuts::{pieces, split};
use crate::http::Length;
use crate::http::body::{Body, Step};

const LIMIT: u64 = 500;

/// What is read: the body, and what is behind it; `None`: not all of it is there.
type Read = Result<(Vec<u8>, Option<usize>), ()>;

fn read<'a>(length: Length, pieces: impl IntoIterator<Item = &'a [u8]>) -> Read {
    let mut body = Body::new(length, LIMIT).map_err(|_| ())?;
    let (mut data, mut at) = (Vec::new(), 0);
    for piece in pieces {
        let mut rest = piece;
        loop {
            let (step, used) = body.take(rest).map_err(|_| ())?;
            assert!(used <= rest.len());
            (rest, at) = (&rest[used..], at + used);
            match step {
                Step::Data(bytes) => data.extend_from_slice(bytes),
                Step::Framing => {}
                Step::End => return Ok((data, Some(at))),
            }
            if rest.is_empty() {
                break;
            }
        }
    }
    // A body of a known length knows that it is over without a byte more.
    match body.take(&[]) {
        Ok((Step::End, 0)) => Ok((data, Some(at))),
        Ok(_) => Ok((data, None)),
        Err(_) => Err(()),
    }
}

/// RFC 9112, section 7.1, of the whole input.
fn chunked(input: &[u8]) -> Read {
    let (mut data, mut at) = (Vec::new(), 0);
    let is_text = |byte: &u8| *byte == b'\t' || *byte >= b' ' && *byte != 0x7f;
    // A line up to its CR LF; none if more of it is to come.
    let line = |at: usize| -> Result<Option<&[u8]>, ()> {
        let rest = &input[at..];
        let end = rest.iter().position(|byte| !is_text(byte));
        match end.map(|end| (end, &rest[end..])) {
            None => Ok(Some(rest).filter(|_| false)),
            Some((_, [b'\r'])) => Ok(None),
            Some((end, [b'\r', b'\n', ..])) => Ok(Some(&rest[..end])),
            Some(_) => Err(()),
        }
    };
    loop {
        let digits = input[at..]
            .iter()
            .take_while(|byte| byte.is_ascii_hexdigit())
            .count();
        let behind = input.get(at + digits);
        if digits > 16 || behind.is_some_and(|byte| digits == 0 || *byte != b';' && *byte != b'\r')
        {
            return Err(());
        }
        let Some(text) = line(at)? else {
            return Ok((data, None));
        };
        let size = std::str::from_utf8(&text[..digits]).map_err(|_| ())?;
        let size = u64::from_str_radix(size, 16).map_err(|_| ())?;
        at += text.len() + 2;
        if size == 0 {
            break;
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let rest = &input[at..];
        let chunk = &rest[..size.min(rest.len())];
        data.extend_from_slice(chunk);
        if data.len() as u64 > LIMIT {
            return Err(());
        }
        at += chunk.len();
        match input[at..] {
            [] | [b'\r'] => return Ok((data, None)),
            [b'\r', b'\n', ..] => at += 2,
            _ => return Err(()),
        }
    }
    loop {
        if matches!(input.get(at), Some(b' ' | b'\t')) {
            return Err(());
        }
        let Some(trailer) = line(at)? else {
            return Ok((data, None));
        };
        at += trailer.len() + 2;
        if trailer.is_empty() {
            return Ok((data, Some(at)));
        }
    }
}

pub(crate) fn target(data: &[u8]) {
    let Some((cut, stream)) = split(data) else {
        return;
    };
    // (Beyond 8 KiB of extensions and trailers the model is another.)
    let stream = &stream[..stream.len().min(8 * 1024)];
    let expected = chunked(stream);
    assert_eq!(read(Length::Chunked, [stream]), expected, "in one piece");
    assert_eq!(
        read(Length::Chunked, pieces(cut, stream)),
        expected,
        "cut {cut}"
    );

    let length = u64::from(cut % 300);
    let whole = read(Length::Bytes(length), [stream]);
    assert_eq!(
        read(Length::Bytes(length), pieces(cut, stream)),
        whole,
        "{length} bytes"
    );
    let bytes = usize::from(cut % 300);
    let is_all = stream.len() >= bytes;
    let body = &stream[..bytes.min(stream.len())];
    assert_eq!(whole, Ok((body.to_vec(), is_all.then_some(bytes))));

    let body = &stream[..stream.len().min(500)];
    let mut written = Vec::new();
    for piece in pieces(cut ^ 0x55, body) {
        written.extend_from_slice(format!("{:X};x=\"y\"\r\n", piece.len()).as_bytes());
        written.extend_from_slice(piece);
        written.extend_from_slice(b"\r\n");
    }
    written.extend_from_slice(b"000\r\nT: 1\r\n\r\n");
    let end = written.len();
    written.extend_from_slice(b"GET / HTTP/1.1\r\n");
    let again = read(Length::Chunked, pieces(cut, &written));
    assert_eq!(again, Ok((body.to_vec(), Some(end))));
}
