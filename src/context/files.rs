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
    /// Sends a part of a regular file, or all of it with `..`: after everything sent before, and before everything
    /// sent later. The call itself reads nothing: in the flush at the end of the turn the kernel copies the file to the
    /// socket (`sendfile`), at most 256 KiB per connection and turn, and continues when there is room again. The
    /// descriptor is closed when the kernel has taken the last byte. For a file of 20 MB this took half the CPU time
    /// of `read` and `send`.
    ///
    /// `range` counts bytes from the file's beginning; a missing end means the file's length at the time of this
    /// call. The descriptor's own position is neither used nor moved, so several connections can send one open
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
    /// # Operations that wait for it
    ///
    /// Everything that waits for sent bytes also waits for a file: [`close`](Context::close),
    /// [`close_when_sent`](Context::close_when_sent), [`abort_when_sent`](Context::abort_when_sent),
    /// [`shutdown_write`](Context::shutdown_write), [`notify_when_sent`](Context::notify_when_sent) and
    /// [`Reactor::shutdown`](crate::Reactor::shutdown). The stall timeout and the close timeout apply to it as well.
    /// [`abort`](Context::abort) discards it.
    ///
    /// # Flow control
    ///
    /// A file that waits holds no memory: its bytes are not in [`queued`](Context::queued) and do not count
    /// against the hard cap. (They are in [`queued_in_files`](Context::queued_in_files), and in the `unsent` of a
    /// [`Cause`](crate::Cause).) The connection counts as over its high mark until its last file has been sent,
    /// whatever its size: its sources, by default the connection itself, are not read, `handle_write` is not called,
    /// and [`try_send`](Context::try_send) returns `WouldBlock`. Bytes sent after the file are queued as usual, within
    /// the hard cap.
    ///
    /// # When the file changes
    ///
    /// A file that has become shorter, or cannot be read, ends the connection:
    /// [`handle_error`](crate::Dispatcher::handle_error) gets the reason (`UnexpectedEof` for a file that is too
    /// short), also after `close`, and the peer of a TCP connection sees a reset. (Unix sockets and pipes have no
    /// reset: announce the length first.) Other changes are not detected: the peer gets the file's content at the time
    /// when it is copied, or when the network takes it. To replace a file that is being sent, rename another over it.
    ///
    /// Where the system or the socket cannot copy a file, it is read and written in pieces of 16 KiB: on pipes,
    /// on file systems without `sendfile`, and on all systems but Linux and Android. In either case the loop waits for
    /// the disk if the file is not in memory. Special file systems report wrong lengths: in `/proc` files have length
    /// 0, so `..` sends nothing; in `/sys` they have 4,096 bytes and end earlier, which causes a reset.
    ///
    /// # Errors
    ///
    /// In case of an error nothing is sent. `InvalidInput` if `file` is not a regular file, is not open for reading,
    /// or does not have the bytes of `range`. `QuotaExceeded` if 256 files wait on this connection, which is unchanged.
    /// The system's error if the file's length cannot be read. `NotConnected` and `BrokenPipe` as for
    /// [`send`](Context::send); `Unsupported` on anything but a stream.
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
            let text = format!("send_file: {MOST_FILES} files are waiting already");
            return Err(self.refusal(io::ErrorKind::QuotaExceeded, &text));
        }
        files::push(&mut self.core.state, self.id, part);
        Ok(())
    }
}
