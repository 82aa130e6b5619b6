//! What may stand between a stream and its outbox, and changes bytes on their way: TLS, for one.
//!
//! A layer lies *below* the outbox. What is queued is what the program sent, so the high and low marks, the hard
//! cap, the stall timeout and the shutting of the write side mean what they mean without one. Above it nobody
//! knows that it is there: the slot holds a layered stream (`layered.rs`) in place of the bare one, and reads and writes it
//! by the same two doors.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice, Read, Write};

use crate::world::io::Io;

/// Changes the bytes of a stream on their way between the program and the kernel.
///
/// A layer is given to a socket by [`Socket::layered`](crate::Socket::layered). The reactor calls its methods
/// from its own steps, never from two places at once; each gets the stream below it. A layer is made for one
/// connection, reads and writes it only there, and never waits: what [`Below`] answers with `WouldBlock`, it
/// passes on. The feature `tls` has one.
///
/// The contract is the one of OpenSSL's `SSL_read` and `SSL_write` on a non-blocking socket.
///
/// A panic in a layer counts as an error of its connection, which ends; the layer is not called again.
///
/// ```
/// use std::io::{self, Read, Write};
///
/// use slabloop::{Below, Layer};
///
/// /// Hides what is said from nobody.
/// struct Xor(u8);
///
/// impl Layer for Xor {
///     fn handshake(&mut self, _: &mut Below<'_>) -> io::Result<()> {
///         Ok(())
///     }
///
///     fn recv(&mut self, below: &mut Below<'_>, buffer: &mut [u8]) -> io::Result<usize> {
///         let count = below.read(buffer)?;
///         buffer[..count].iter_mut().for_each(|byte| *byte ^= self.0);
///         Ok(count)
///     }
///
///     fn send(&mut self, below: &mut Below<'_>, bytes: &[u8]) -> io::Result<usize> {
///         // Each byte alone changes to one byte: a part that was taken is a part that was sent.
///         let hidden: Vec<u8> = bytes.iter().map(|byte| byte ^ self.0).collect();
///         below.write(&hidden)
///     }
///
///     fn finish(&mut self, _: &mut Below<'_>) -> io::Result<()> {
///         Ok(())
///     }
/// }
/// ```
pub trait Layer: Any {
    /// What is said before the program's own bytes; `Ok` when both sides are through with it, and what this
    /// side had to say is with the kernel. Called when the stream is established, and again whenever it has
    /// become readable or writable, until it succeeds.
    ///
    /// # Errors
    ///
    /// `WouldBlock` while it is not finished. Anything else ends the connection: `handle_error` gets it.
    fn handshake(&mut self, below: &mut Below<'_>) -> io::Result<()>;

    /// Reads what the peer's program has sent, as much as there is and as `buffer` takes.
    ///
    /// `Ok(0)` is the end of the stream as the layer itself knows it. If the stream below ends and the layer can
    /// tell that this is not the end of what the peer had to say, that is an error, `UnexpectedEof`.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if nothing is there now; not while the layer holds something that it could give. Anything
    /// else ends the connection, `InvalidData` for what the peer has sent and must not.
    fn recv(&mut self, below: &mut Below<'_>, buffer: &mut [u8]) -> io::Result<usize>;

    /// Whether `recv` may have something to give without reading from below: bytes, the end of the stream, an error.
    /// Asked after each `recv` that gave bytes.
    ///
    /// That it may is right for every layer, and costs a read that finds nothing. A layer that says no although it
    /// holds something may wait with it for ever: the kernel has told all that it had to tell.
    fn holds_input(&self) -> bool {
        true
    }

    /// Sends from the front of `bytes`, which are not empty; how many of them have left with all that they were
    /// changed to. If the kernel takes only a part of what some were changed to, they do not count yet: the
    /// layer keeps the rest, a bounded amount, and the same bytes come again, perhaps fewer or more of them.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if none have left. Anything else ends the connection.
    fn send(&mut self, below: &mut Below<'_>, bytes: &[u8]) -> io::Result<usize>;

    /// Says that nothing more will be sent. Nothing is sent afterwards; reading goes on.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if the kernel takes nothing now: it is called again. Anything else ends the connection.
    fn finish(&mut self, below: &mut Below<'_>) -> io::Result<()>;

    /// Whether the peer was sent word of the failure of `recv`, which it can take for no end of the stream. Asked when
    /// `recv` has failed. The stream then ends so that the peer can read it, and not in a reset, which may overtake it.
    fn has_told_failure(&self) -> bool {
        false
    }
}

/// The stream below a [`Layer`], to be read and written without waiting. It cannot be kept.
pub struct Below<'a> {
    pub(super) io: &'a mut Io,
    pub(super) unread: &'a mut VecDeque<u8>,
    pub(super) seen: &'a mut Seen,
}

impl Below<'_> {
    /// Whether the last read found less than it asked for: most likely the kernel has no more.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.seen.short
    }
}

impl fmt::Debug for Below<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Below({})", self.io.name())
    }
}

/// What the kernel has answered.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The last read was shorter than it might have been.
    pub(super) short: bool,
    /// The last write found no room.
    pub(super) full: bool,
    /// Bytes have come since this was last asked for.
    pub(super) got: bool,
    /// Bytes have left since this was last asked for.
    pub(super) gave: bool,
}

impl Seen {
    fn note_write(&mut self, outcome: &io::Result<usize>) {
        self.full = outcome.is_err();
        self.gave |= matches!(outcome, Ok(1..));
    }
}

impl Read for Below<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.unread.is_empty() {
            self.seen.short = false;
            return self.unread.read(buffer);
        }
        let outcome = self.io.recv(buffer);
        self.seen.short = match &outcome {
            Ok(count) => *count < buffer.len() && !self.io.was_capped(),
            Err(_) => true,
        };
        self.seen.got |= matches!(outcome, Ok(1..));
        outcome
    }
}

impl Write for Below<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let outcome = self.io.send(bytes);
        self.seen.note_write(&outcome);
        outcome
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let outcome = self.io.send_vectored(pieces);
        self.seen.note_write(&outcome);
        outcome
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
