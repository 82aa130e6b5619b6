//! A file as it is served: its head is written in advance, and a small one stands behind its head, so that an answer is one
//! piece of memory.

use std::cell::{Cell, RefCell, RefMut};
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use crate::answer::{After, Status, Writer};
use crate::conditions::{Validators, since_1970};
use crate::date::{self, Date};
use crate::open::{Opened, Stamp};

#[derive(Debug)]
pub(crate) struct Entry {
    /// The head of a 200, with an empty line at its end, and behind it the content if that is small.
    bytes: RefCell<Vec<u8>>,
    head: usize,
    date_at: usize,
    /// The second that is in the head.
    second: Cell<u64>,
    /// What is not in memory.
    pub(crate) file: Option<Arc<File>>,
    pub(crate) size: u64,
    etag: String,
    modified: u64,
    last_modified: String,
    content_type: String,
    /// `None` for the page that is built in.
    pub(crate) stamp: Option<Stamp>,
    /// When it was looked at last.
    pub(crate) checked: Cell<Instant>,
    /// Asked for since the cache last wanted to know.
    pub(crate) used: Cell<bool>,
}

/// What an entry is made of.
struct Parts {
    content: Option<Vec<u8>>,
    file: Option<Arc<File>>,
    size: u64,
    stamp: Option<Stamp>,
    etag: String,
    modified: std::time::SystemTime,
    content_type: String,
}

impl Entry {
    pub(crate) fn of_file(opened: Opened, now: Instant) -> Entry {
        let stamp = opened.stamp;
        Entry::new(
            Parts {
                file: opened.content.is_none().then(|| Arc::new(opened.file)),
                content: opened.content,
                size: stamp.size,
                stamp: Some(stamp),
                etag: stamp.etag(),
                modified: stamp.modified,
                content_type: opened.content_type,
            },
            now,
        )
    }

    /// What is served without a root.
    pub(crate) fn built_in(page: &str, now: Instant) -> Entry {
        Entry::new(
            Parts {
                content: Some(page.into()),
                file: None,
                size: page.len() as u64,
                stamp: None,
                etag: format!("\"{:x}\"", page.len()),
                modified: std::time::SystemTime::now(),
                content_type: "text/plain; charset=utf-8".to_owned(),
            },
            now,
        )
    }

    fn new(parts: Parts, now: Instant) -> Entry {
        let mut entry = Entry {
            bytes: RefCell::default(),
            head: 0,
            date_at: 0,
            second: Cell::new(0),
            file: parts.file,
            size: parts.size,
            etag: parts.etag,
            modified: since_1970(parts.modified).unwrap_or_default(),
            last_modified: httpdate::fmt_http_date(parts.modified.max(std::time::UNIX_EPOCH)),
            content_type: parts.content_type,
            stamp: parts.stamp,
            checked: Cell::new(now),
            used: Cell::new(false),
        };
        let mut bytes = Vec::new();
        let blank = "_".repeat(date::LENGTH);
        let mut head = Writer::begin(&mut bytes, Status::OK, &blank);
        head.field("Content-Type", &entry.content_type);
        head.field("Content-Length", entry.size);
        entry.validators_to(&mut head);
        head.end(After::Stays);
        let found = bytes
            .windows(date::LENGTH)
            .position(|piece| piece == blank.as_bytes());
        entry.date_at = found.unwrap_or_default();
        entry.head = bytes.len();
        bytes.extend_from_slice(parts.content.as_deref().unwrap_or_default());
        bytes.shrink_to_fit();
        *entry.bytes.borrow_mut() = bytes;
        entry
    }

    /// Head and content, with this date.
    #[inline]
    pub(crate) fn dated(&self, date: &Date) -> RefMut<'_, Vec<u8>> {
        let mut bytes = self.bytes.borrow_mut();
        if self.second.get() != date.second() {
            self.second.set(date.second());
            bytes[self.date_at..][..date::LENGTH].copy_from_slice(date.text().as_bytes());
        }
        bytes
    }

    /// How long the head is that comes first in it.
    pub(crate) fn head(&self) -> usize {
        self.head
    }

    /// Where in it a part of the content is.
    pub(crate) fn place(&self, part: &Range<u64>) -> Range<usize> {
        let index = |at: u64| self.head + usize::try_from(at).unwrap_or(usize::MAX);
        index(part.start)..index(part.end)
    }

    /// The memory that it takes, about.
    pub(crate) fn weight(&self) -> usize {
        self.bytes.borrow().capacity() + 512
    }

    pub(crate) fn content_type(&self) -> &str {
        &self.content_type
    }

    pub(crate) fn validators(&self) -> Validators<'_> {
        Validators {
            etag: &self.etag,
            modified: self.modified,
            size: self.size,
        }
    }

    /// What a client needs to ask again.
    pub(crate) fn validators_to(&self, head: &mut Writer<'_>) {
        head.field("Last-Modified", &self.last_modified);
        head.field("ETag", &self.etag);
        head.field("Accept-Ranges", "bytes");
    }
}
