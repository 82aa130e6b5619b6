//! The replies that the example `redis_client` reads.
//!
//! Holds: the same replies, and the same end, wherever they are cut; what is read again from what was written is the same;
//! no reply is longer than the limit, and none deeper or of more elements than its bytes allow.

#[path = "../../examples/redis_client/resp.rs"]
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

    let arguments: Vec<_> = stream.split(|byte| *byte == 0).take(8).collect();
    let bytes = encode(&arguments);
    if bytes.len() <= LONGEST {
        let written = arguments.iter().map(|bytes| Reply::Bulk(bytes.to_vec()));
        let written = Reply::Array(written.collect());
        assert_eq!(read(pieces(cut, &bytes)), (vec![written], None, true));
    }
}
