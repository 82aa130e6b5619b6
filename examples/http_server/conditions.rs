//! Whether the client has the file already, and which part of it is wanted.

use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::head::Conditions;

/// What is to be sent of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Whole,
    Part(Range<u64>),
    /// The client has it.
    NotModified,
    /// It is not the file that the client speaks of.
    Failed,
    /// There are no such bytes.
    Unsatisfiable,
}

/// What is known of a file's state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Validators<'a> {
    pub(crate) etag: &'a str,
    /// Seconds since 1970.
    pub(crate) modified: u64,
    pub(crate) size: u64,
}

impl Conditions<'_> {
    /// There are any, so that it depends.
    pub(crate) fn is_any(&self) -> bool {
        self.if_none_match.is_some()
            || self.if_modified_since.is_some()
            || self.range.is_some()
            || self.if_match.is_some()
            || self.if_unmodified_since.is_some()
    }

    /// In the order of RFC 9110, section 13.2.2.
    pub(crate) fn wanted(&self, file: Validators<'_>, is_get: bool) -> Wanted {
        let is_another = match (self.if_match, self.if_unmodified_since) {
            (Some(tags), _) => !names(tags, file.etag, false),
            (None, Some(date)) => seconds(date).is_some_and(|since| file.modified > since),
            (None, None) => false,
        };
        if is_another {
            return Wanted::Failed;
        }
        let has_it = match (self.if_none_match, self.if_modified_since) {
            (Some(tags), _) => names(tags, file.etag, true),
            (None, Some(date)) => seconds(date).is_some_and(|since| file.modified <= since),
            (None, None) => false,
        };
        if has_it {
            return Wanted::NotModified;
        }
        match self.range {
            Some(range) if is_get && self.range_holds(file) => part(range, file.size),
            _ => Wanted::Whole,
        }
    }

    /// `If-Range`: the part is wanted if the file is still the one that the client has another part of.
    fn range_holds(&self, file: Validators<'_>) -> bool {
        match self.if_range {
            None => true,
            Some(tag) if tag.starts_with(b"\"") => tag == file.etag.as_bytes(),
            Some(date) => seconds(date) == Some(file.modified),
        }
    }
}

/// Whether a list of tags has this one, or is `*`. `or_weak`: one that is marked as weak will do.
fn names(tags: &[u8], etag: &str, or_weak: bool) -> bool {
    let is_it = |tag: &[u8]| {
        let tag = tag.trim_ascii();
        let weak = tag.strip_prefix(b"W/").filter(|_| or_weak);
        weak.unwrap_or(tag) == etag.as_bytes()
    };
    tags.trim_ascii() == b"*" || tags.split(|byte| *byte == b',').any(is_it)
}

fn seconds(date: &[u8]) -> Option<u64> {
    let date = httpdate::parse_http_date(std::str::from_utf8(date).ok()?).ok()?;
    since_1970(date)
}

pub(crate) fn since_1970(time: SystemTime) -> Option<u64> {
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

/// One range of bytes. Several are answered with the whole, which is allowed, and so is what is no range.
fn part(range: &[u8], size: u64) -> Wanted {
    let parsed = std::str::from_utf8(range).ok().and_then(|range| {
        let (unit, range) = range.split_once('=')?;
        let (first, last) = range.trim().split_once('-')?;
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        Some((number(first)?, number(last)?))
    });
    let range = match parsed {
        Some((Some(first), None)) => first..size,
        Some((Some(first), Some(last))) if first <= last => first..last.saturating_add(1).min(size),
        Some((None, Some(last))) => size.saturating_sub(last)..size,
        _ => return Wanted::Whole,
    };
    if range.is_empty() {
        return Wanted::Unsatisfiable;
    }
    Wanted::Part(range)
}

/// `Some(None)` if there is nothing, `None` if it is no number.
fn number(text: &str) -> Option<Option<u64>> {
    if text.is_empty() {
        return Some(None);
    }
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    // One that is too large for the type is beyond every file.
    is_number.then(|| Some(text.parse().unwrap_or(u64::MAX)))
}
