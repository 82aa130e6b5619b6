//! What Redis says about entries of a stream.

use crate::queue::text;
use crate::redis::Reply;

/// An entry: its id in the stream, and the job that it stands for.
pub(crate) type Entry = (String, String);

/// The answer to XREADGROUP for one stream.
pub(crate) fn read(reply: &Reply) -> Vec<Entry> {
    let Reply::Array(streams) = reply else {
        return Vec::new();
    };
    match streams.first() {
        Some(Reply::Array(stream)) if stream.len() == 2 => list(&stream[1]),
        _ => Vec::new(),
    }
}

/// The answer to XAUTOCLAIM: where to go on, and what was claimed.
pub(crate) fn claimed(reply: &Reply) -> Option<(String, Vec<Entry>)> {
    match reply {
        Reply::Array(parts) if parts.len() >= 2 => Some((text(&parts[0])?, list(&parts[1]))),
        _ => None,
    }
}

fn list(reply: &Reply) -> Vec<Entry> {
    let Reply::Array(entries) = reply else {
        return Vec::new();
    };
    entries.iter().filter_map(entry).collect()
}

/// One that has no job, because somebody else has added or deleted it, stands for a job without a name.
fn entry(reply: &Reply) -> Option<Entry> {
    let Reply::Array(parts) = reply else {
        return None;
    };
    let job = match parts.get(1) {
        Some(Reply::Array(fields)) => fields
            .chunks_exact(2)
            .find(|pair| text(&pair[0]).as_deref() == Some("id"))
            .and_then(|pair| text(&pair[1])),
        _ => None,
    };
    Some((text(parts.first()?)?, job.unwrap_or_default()))
}
