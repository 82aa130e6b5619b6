//! A part of a regular file, on its way to a socket.

use std::fs::File;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::world::errors::{invalid, is_interrupted};

/// What is still to be sent of a file. The descriptor's own position is neither used nor moved, so several
/// connections can send the same open file.
#[derive(Debug)]
pub(crate) struct FilePart {
    file: Arc<File>,
    offset: u64,
    left: u64,
    /// The kernel does not copy this file to this socket by itself: it is read and written instead.
    pub(crate) by_reading: bool,
}

impl FilePart {
    /// The bytes in `range` of `file`; a missing end is the file's length now. `InvalidInput` if that is no
    /// regular file, is not open for reading, or has no such bytes.
    pub(crate) fn new(file: Arc<File>, range: &impl RangeBounds<u64>) -> io::Result<FilePart> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(invalid(format!(
                "not a regular file but {}, which has no length",
                name_of(metadata.file_type())
            )));
        }
        // Asks for no bytes, only whether it may be read: later a part would have been promised already.
        if let Err(error) = file.read_at(&mut [], 0) {
            return Err(invalid(format!(
                "the file is not open for reading: {error}"
            )));
        }
        let length = metadata.len();
        let start = match range.start_bound() {
            Bound::Included(&start) => Some(start),
            Bound::Excluded(&before) => before.checked_add(1),
            Bound::Unbounded => Some(0),
        };
        let end = match range.end_bound() {
            Bound::Included(&last) => last.checked_add(1),
            Bound::Excluded(&end) => Some(end),
            Bound::Unbounded => Some(length),
        };
        match (start, end) {
            (Some(start), Some(end)) if start <= end && end <= length => Ok(FilePart {
                file,
                offset: start,
                left: end - start,
                by_reading: false,
            }),
            _ => Err(invalid(format!(
                "the file has {length} bytes; the range {:?} to {:?} is not within it",
                range.start_bound(),
                range.end_bound()
            ))),
        }
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes that are still to be sent.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// How many bytes come next, if `most` are wanted.
    pub(crate) fn next(&self, most: usize) -> usize {
        usize::try_from(self.left).map_or(most, |left| left.min(most))
    }

    /// So many bytes have been sent.
    pub(crate) fn advance(&mut self, sent: usize) {
        self.offset += sent as u64;
        self.left -= sent as u64;
    }

    /// Reads what comes next, at least one byte.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.file.read_at(buffer, self.offset) {
                Ok(0) => return Err(self.too_short()),
                Err(error) if is_interrupted(&error) => {}
                outcome => return outcome,
            }
        }
    }

    /// The error of a file that has become shorter since it was queued.
    pub(crate) fn too_short(&self) -> io::Error {
        let text = format!(
            "the file has become shorter: it ends at byte {} or before, with {} more to be sent",
            self.offset, self.left
        );
        io::Error::new(io::ErrorKind::UnexpectedEof, text)
    }
}

fn name_of(kind: std::fs::FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

/// Why nothing of a file was sent.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The file cannot be read.
    File(io::Error),
    /// The socket takes nothing, now or for good.
    Socket(io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This source file.
    fn file() -> (Arc<File>, u64) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/world/file.rs");
        let file = File::open(path).expect("the source is here");
        let length = file.metadata().expect("it is open").len();
        (Arc::new(file), length)
    }

    fn part(range: impl RangeBounds<u64>) -> Option<(u64, u64)> {
        let part = FilePart::new(file().0, &range);
        part.map(|part| (part.offset, part.left)).ok()
    }

    #[test]
    fn a_range_is_what_the_file_has_and_nothing_beyond_it() {
        let (_, length) = file();
        assert_eq!(part(..), Some((0, length)));
        assert_eq!(part(10..), Some((10, length - 10)));
        assert_eq!(part(10..=19), Some((10, 10)));
        assert_eq!(part(..length), Some((0, length)));
        assert_eq!(part(length..), Some((length, 0)));
        assert_eq!(part((Bound::Excluded(3), Bound::Excluded(5))), Some((4, 1)));
        assert_eq!(part(length + 1..), None);
        assert_eq!(part(..length + 1), None);
        assert_eq!(part(..=u64::MAX), None);
        #[expect(clippy::reversed_empty_ranges, reason = "that is what is tested")]
        let reversed = 5..3;
        assert_eq!(part(reversed), None);
    }

    #[test]
    fn what_is_no_regular_file_is_named() {
        let file = File::open("/dev/null").expect("there is one");
        let error = FilePart::new(Arc::new(file), &(..)).expect_err("a device");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("a device"), "{error}");
    }
}
