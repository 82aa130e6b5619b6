//! Sending a file.

use std::fs::File;
use std::io;
use std::ops::RangeBounds;
use std::sync::Arc;

use super::Context;
use crate::slot::readiness::Flag;
use crate::state::files;
use crate::world::file::FilePart;

/// Most files that wait on one connection. Each holds a descriptor.
const MOST_FILES: usize = 256;

/// # Sending files
impl Context<'_> {
    /// Sends a part of a regular file, all of it with `..`: behind everything sent before, and before everything
    /// sent after. Calls nothing and reads nothing: the flush at the end of the turn has the kernel copy the file
    /// to the socket (`sendfile`), at most 256 KiB a connection and turn, and goes on when there is room again.
    /// The descriptor is closed when the last byte is with the kernel. A file of 20 MB took half the CPU time
    /// of reading it and sending what was read.
    ///
    /// `range` counts bytes from the file's beginning; a missing end is the file's length at the time of this
    /// call. The descriptor's own position is neither used nor moved, so that several connections can send one open
    /// file: give each a clone of an `Arc<File>`.
    ///
    /// ```
    /// use slabloop::{Context, Dispatcher};
    /// use std::fs::File;
    /// use std::io;
    ///
    /// struct Download;
    /// impl Dispatcher for Download {
    ///     fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///         cx.recv(&mut [0; 1024])?;
    ///         let file = File::open("/srv/files/large.iso")?;
    ///         let length = file.metadata()?.len();
    ///         cx.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes())?;
    ///         cx.send_file(file, ..length)?;
    ///         cx.close();
    ///         Ok(())
    ///     }
    /// }
    /// ```
    ///
    /// # What waits for it
    ///
    /// All that waits for bytes sent waits for a file: [`close`](Context::close),
    /// [`close_when_sent`](Context::close_when_sent), [`abort_when_sent`](Context::abort_when_sent),
    /// [`shutdown_write`](Context::shutdown_write), [`notify_when_sent`](Context::notify_when_sent) and
    /// [`Reactor::shutdown`](crate::Reactor::shutdown). The stall timeout and the close timeout count for it: the
    /// peer has to take something. [`abort`](Context::abort) throws it away.
    ///
    /// # Flow control
    ///
    /// A file that waits holds no memory: its bytes are not in [`queued`](Context::queued) and do not count
    /// against the hard cap. (They are in [`queued_in_files`](Context::queued_in_files), and in the `unsent` of a
    /// [`Cause`](crate::Cause).) The connection counts as over its high mark until its last file is through,
    /// whatever its size: what feeds it, itself by default, is not read, `handle_write` is not called, and
    /// [`try_send`](Context::try_send) says `WouldBlock`. Bytes sent behind the file are queued as usual, within
    /// the hard cap.
    ///
    /// # When the file changes
    ///
    /// A file that has become shorter, or cannot be read, ends the connection:
    /// [`handle_error`](crate::Dispatcher::handle_error) says why (`UnexpectedEof` for a file that is too
    /// short), also after `close`, and the peer of a TCP connection sees a reset. (Unix sockets and pipes have none: say
    /// before how much will come.) Other changes are not noticed:
    /// the peer gets what is in the file when it is copied, or when the network takes it. To replace a file
    /// that is being sent, rename another over it.
    ///
    /// Where the system or the socket cannot copy a file, it is read and written in pieces of 16 KiB: on pipes,
    /// on file systems without the call, and on all systems but Linux and Android. In either case a file that is
    /// not in memory makes the loop wait for the disk. Special file systems do not know how
    /// long their files are: in `/proc` they have no length, so that `..` sends nothing; in `/sys` they have 4,096
    /// bytes and end before, which is a reset.
    ///
    /// # Errors
    ///
    /// Nothing is sent then. `InvalidInput` if this is no regular file, is not open for reading, or has no such
    /// bytes. `QuotaExceeded` if 256 files wait on this connection; it stays as it is. What the system says when it
    /// is asked for the file's length. `NotConnected` and `BrokenPipe` as for [`send`](Context::send); `Unsupported`
    /// on anything but a stream.
    pub fn send_file(
        &mut self,
        file: impl Into<Arc<File>>,
        range: impl RangeBounds<u64>,
    ) -> io::Result<()> {
        self.send_part(FilePart::new(file.into(), &range)?)
    }

    /// Bytes of files that [`send_file`](Context::send_file) has accepted and the kernel has not taken.
    #[must_use]
    pub fn queued_in_files(&self) -> u64 {
        self.core.state.slots.slot(self.id).queued_in_files()
    }

    /// As [`send_file`](Context::send_file), for one that has been looked at.
    pub(crate) fn send_part(&mut self, part: FilePart) -> io::Result<()> {
        let slot = self.core.state.slots.slot(self.id);
        if slot.readiness.has(Flag::NoOutbox) || slot.io.is_closed() {
            return Err(self.not_for("send_file"));
        }
        if !slot.can_queue(0) {
            return self.send_unqueued(&[]);
        }
        if part.left() == 0 {
            return Ok(());
        }
        if slot.files_waiting() >= MOST_FILES {
            let text = format!("send_file: {MOST_FILES} files wait already");
            return Err(self.refusal(io::ErrorKind::QuotaExceeded, &text));
        }
        files::push(&mut self.core.state, self.id, part);
        Ok(())
    }
}
