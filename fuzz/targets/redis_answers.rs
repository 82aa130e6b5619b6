//! The replies that the example `redis_client` reads.
//!
//! Holds: the same replies, and the same end, wherever they are cut; what a server says of any shape is read as it was said,
//! and so are commands; no reply is longer than the limit, and none deeper or of more elements than its bytes allow.

#[path = "../../examples/common/redis/resp.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod resp;

use self::resp::{Input, Reply, encode};
use crate::cuts::{pieces, split};

const LONGEST: usize = 300;

/// All that is read, and whether it ended in a fault.
fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Reply>, Option<String>, bool) {
    let mut input = Input::new(LONGEST);
    let mut replies = Vec::new();
    for piece in pieces {
        input.extend(piece);
        loop {
            match input.next() {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => break,
                Err(error) => return (replies, Some(error.to_string()), true),
            }
        }
    }
    let is_empty = input.is_empty();
    (replies, None, is_empty)
}

fn elements(reply: &Reply, depth: usize) -> usize {
    assert!(depth <= 40, "a reply that is {depth} deep");
    let all = |replies: &[Reply]| {
        replies
            .iter()
            .map(|reply| elements(reply, depth + 1))
            .sum::<usize>()
    };
    1 + match reply {
        Reply::Array(parts) | Reply::Set(parts) | Reply::Push(parts) => all(parts),
        Reply::Map(pairs) => pairs
            .iter()
            .map(|(key, value)| elements(key, depth + 1) + elements(value, depth + 1))
            .sum(),
        _ => 0,
    }
}

/// Says a reply that the bytes choose, as a server would.
fn say(choices: &mut impl Iterator<Item = u8>, depth: usize, out: &mut Vec<u8>) -> Reply {
    let choice = choices.next().unwrap_or(0);
    let number = usize::from(choice >> 4);
    let text: Vec<u8> = (0..number)
        .map(|_| choices.next().unwrap_or(b' '))
        .collect();
    let word: Vec<u8> = text.iter().map(|byte| byte % 64 + b' ').collect();
    let line = |out: &mut Vec<u8>, kind: u8, text: &[u8]| {
        out.push(kind);
        out.extend_from_slice(text);
        out.extend_from_slice(b"\r\n");
    };
    let parts = if depth < 3 { number % 4 } else { 0 };
    let count = parts.to_string();
    let mut all = |out: &mut Vec<u8>| (0..parts).map(|_| say(choices, depth + 1, out)).collect();
    match choice & 15 {
        0 | 1 => {
            line(out, b'+', &word);
            Reply::Simple(word)
        }
        2 => {
            line(out, b'-', &word);
            Reply::Error(String::from_utf8(word).expect("ASCII"))
        }
        3 => {
            let number = i64::from(choice) - 100;
            line(out, b':', number.to_string().as_bytes());
            Reply::Integer(number)
        }
        4 | 5 => {
            line(out, b'$', text.len().to_string().as_bytes());
            out.extend_from_slice(&text);
            out.extend_from_slice(b"\r\n");
            Reply::Bulk(text)
        }
        6 => {
            line(out, b'$', b"-1");
            Reply::Nil
        }
        7 => {
            line(out, b'_', b"");
            Reply::Nil
        }
        8 => {
            line(out, b'#', if number > 7 { b"t" } else { b"f" });
            Reply::Boolean(number > 7)
        }
        9 | 10 => {
            line(out, b'*', count.as_bytes());
            Reply::Array(all(out))
        }
        11 => {
            line(out, b'~', count.as_bytes());
            Reply::Set(all(out))
        }
        12 => {
            line(out, b'>', count.as_bytes());
            Reply::Push(all(out))
        }
        _ => {
            line(out, b'%', count.as_bytes());
            let mut pair = || (say(choices, depth + 1, out), say(choices, depth + 1, out));
            Reply::Map((0..parts).map(|_| pair()).collect())
        }
    }
}

pub(crate) fn target(data: &[u8]) {
    let Some((cut, stream)) = split(data) else {
        return;
    };
    let whole = read([stream]);
    // (No number is itself that is none, but its text is.)
    assert_eq!(
        format!("{whole:?}"),
        format!("{:?}", read(pieces(cut, stream))),
        "cut {cut}"
    );
    for reply in &whole.0 {
        let count = elements(reply, 0);
        // The shortest is three bytes: `_`, CR, LF.
        assert!(count * 3 <= LONGEST, "{count} elements in {LONGEST} bytes");
    }

    let (mut bytes, mut said) = (Vec::new(), Vec::new());
    let mut choices = stream.iter().copied().take(60);
    while choices.size_hint().0 > 0 {
        let mut one = Vec::new();
        let reply = say(&mut choices, 0, &mut one);
        if one.len() <= LONGEST {
            bytes.extend(one);
            said.push(reply);
        }
    }
    assert_eq!(read(pieces(cut, &bytes)), (said, None, true), "cut {cut}");

    let arguments: Vec<_> = stream.split(|byte| *byte == 0).take(8).collect();
    let bytes = encode(&arguments);
    if bytes.len() <= LONGEST {
        let written = arguments.iter().map(|bytes| Reply::Bulk(bytes.to_vec()));
        let written = Reply::Array(written.collect());
        assert_eq!(read(pieces(cut, &bytes)), (vec![written], None, true));
    }
}
