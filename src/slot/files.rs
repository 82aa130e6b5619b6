//! Files that wait to be sent, and the bytes that were sent behind them.
//!
//! Files and bytes leave in the order in which they were given:
//!
//! ```text
//!   outbox ──► file ──► its bytes behind ──► file ──► its bytes behind ──► …
//! ```
//!
//! The outbox is always what leaves first, so that everything about it holds as without files. While it has
//! bytes the first file waits; when the file is through, the bytes behind it become the outbox.
//!
//! A file that waits holds no memory, so its bytes count neither in what is queued nor against the hard cap.
//! Its connection counts as over its high mark instead: what feeds it is not read until it is through.

use std::collections::VecDeque;
use std::io;

use crate::slot::Slot;
use crate::slot::io::Door;
use crate::slot::outbox::Outbox;
use crate::time::clock::Tick;
use crate::world::errors::{Class, classify};
use crate::world::file::{Failure, FilePart};

/// How much is read of a file at a time where the kernel does not send it by itself.
const PIECE_BYTES: usize = 16 * 1024;

/// The files of one connection. There is at least one.
#[derive(Debug, Default)]
pub(crate) struct Files {
    queue: VecDeque<Waiting>,
    /// Bytes in the outboxes behind them.
    behind: usize,
}

/// A file, and what was sent behind it and before the next.
#[derive(Debug)]
struct Waiting {
    part: FilePart,
    behind: Outbox,
}

impl<D> Slot<D> {
    /// Whether anything is accepted for sending that the kernel has not taken: bytes or files.
    #[inline]
    pub(crate) fn has_output(&self) -> bool {
        !self.outbox.is_empty() || self.has_files()
    }

    #[inline]
    pub(crate) fn has_files(&self) -> bool {
        self.files().is_some()
    }

    #[inline]
    fn files(&self) -> Option<&Files> {
        self.rare.as_ref()?.files.as_deref()
    }

    #[inline]
    fn files_mut(&mut self) -> Option<&mut Files> {
        self.rare.as_mut()?.files.as_deref_mut()
    }

    /// Bytes queued, with those behind files and without those in files.
    #[inline]
    pub(crate) fn queued(&self) -> usize {
        self.outbox.len() + self.queued_behind_files()
    }

    /// Bytes queued behind files.
    #[inline]
    pub(crate) fn queued_behind_files(&self) -> usize {
        self.files().map_or(0, |files| files.behind)
    }

    /// Bytes in files that wait.
    pub(crate) fn queued_in_files(&self) -> u64 {
        let files = self.files().into_iter().flat_map(|files| &files.queue);
        files.fold(0, |sum, waiting| sum.saturating_add(waiting.part.left()))
    }

    /// Bytes accepted for sending that the kernel has not taken, wherever they are.
    pub(crate) fn unsent(&self) -> usize {
        let in_files = usize::try_from(self.queued_in_files()).unwrap_or(usize::MAX);
        self.queued().saturating_add(in_files)
    }

    /// How many files wait.
    pub(crate) fn files_waiting(&self) -> usize {
        self.files().map_or(0, |files| files.queue.len())
    }

    /// Queues a file, which is not empty, behind everything.
    pub(crate) fn push_file(&mut self, part: FilePart) {
        let behind = Outbox::new(self.outbox.marks);
        let files = self.rare().files.get_or_insert_default();
        files.queue.push_back(Waiting { part, behind });
    }

    /// Where bytes go that are sent now and number `bytes`: the outbox, or what is behind the last file.
    #[inline]
    pub(crate) fn outbox_for(&mut self, bytes: usize) -> &mut Outbox {
        let rare = self.rare.as_mut();
        match rare.and_then(|rare| rare.files.as_mut()) {
            None => &mut self.outbox,
            Some(files) => files.last(bytes),
        }
    }

    /// Has the kernel take up to `most` bytes of the first file.
    pub(crate) fn transmit_file(&mut self, most: usize, now: &Tick) -> Result<usize, Failure> {
        let (door, files) = self.door_and_files();
        let Some(first) = files.and_then(|files| files.queue.front_mut()) else {
            return Ok(0);
        };
        transmit(door, &mut first.part, most, now)
    }

    /// If the first file is through, the bytes behind it become the outbox, which is empty.
    pub(crate) fn pass_file(&mut self) {
        debug_assert!(self.outbox.is_empty(), "a file waits for the outbox");
        let Some(files) = self.files_mut() else {
            return;
        };
        let is_through = |first: &Waiting| first.part.left() == 0;
        if !files.queue.front().is_some_and(is_through) {
            return;
        }
        if let Some(passed) = files.queue.pop_front() {
            files.behind -= passed.behind.len();
            if files.queue.is_empty() {
                self.rare().files = None;
                self.tidy();
            }
            self.outbox = passed.behind;
        }
    }

    /// Takes all files out, and the bytes behind them, as outboxes.
    pub(crate) fn take_files(&mut self) -> impl Iterator<Item = Outbox> + use<D> {
        let files = self.rare.as_mut().and_then(|rare| rare.files.take());
        self.tidy();
        let waiting = files.into_iter().flat_map(|files| files.queue);
        waiting.map(|waiting| waiting.behind)
    }

    /// The outbox, and all that are behind files.
    #[cfg(feature = "testing")]
    pub(crate) fn outboxes(&self) -> impl Iterator<Item = Outbox> {
        let files = self.files().into_iter().flat_map(|files| &files.queue);
        std::iter::once(self.outbox).chain(files.map(|waiting| waiting.behind))
    }

    /// The connection has got other marks.
    pub(crate) fn remark_files(&mut self) {
        let marks = self.outbox.marks;
        let files = self
            .files_mut()
            .into_iter()
            .flat_map(|files| &mut files.queue);
        files.for_each(|waiting| waiting.behind.marks = marks);
    }
}

impl Files {
    #[cold]
    fn last(&mut self, bytes: usize) -> &mut Outbox {
        self.behind += bytes;
        let last = self.queue.back_mut();
        &mut last.expect("there is at least one file").behind
    }
}

/// By `sendfile` where the kernel can.
///
/// If it says that something is wrong it does not say with what, and one must be told from the other: a peer
/// that has gone is no error, a file that cannot be read is. So the piece is read and written instead, and
/// whichever fails is at fault.
fn transmit(
    mut door: Door<'_>,
    part: &mut FilePart,
    most: usize,
    now: &Tick,
) -> Result<usize, Failure> {
    let length = part.next(most);
    let mut reason = None;
    if !part.by_reading {
        let (file, offset) = (part.file(), part.offset());
        match door.again().transmit_file(file, offset, length, now) {
            Ok(0) => return Err(Failure::File(part.too_short())),
            Ok(sent) => {
                part.advance(sent);
                return Ok(sent);
            }
            Err(error) if classify(&error) == Class::NotNow => return Err(Failure::Socket(error)),
            Err(error) => {
                part.by_reading = true;
                let says_nothing = matches!(
                    error.kind(),
                    io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput
                );
                reason = Some(error).filter(|_| !says_nothing);
            }
        }
    }
    let mut piece = [0; PIECE_BYTES];
    let read = part.read(&mut piece[..length.min(PIECE_BYTES)]);
    let read = read.map_err(Failure::File)?;
    match door.transmit(&piece[..read], now) {
        Ok(sent) => {
            part.advance(sent);
            Ok(sent)
        }
        Err(error) if classify(&error) == Class::NotNow => Err(Failure::Socket(error)),
        // The kernel tells the error of a socket once, and did.
        Err(error) => Err(Failure::Socket(reason.unwrap_or(error))),
    }
}
