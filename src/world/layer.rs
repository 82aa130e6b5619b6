//! What may stand between a stream and its outbox, and changes bytes on their way: TLS, for one.
//!
//! A layer lies *below* the outbox. What is queued is what the program sent, so the high and low marks, the hard cap,
//! the stall timeout and the shutting of the write side mean what they mean without one. The layers above do not know
//! of it: the slot holds a layered stream (`layered.rs`) in place of the bare one, and reads and writes it by the same
//! two doors.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice, Read, Write};

use crate::world::io::Io;

/// Changes the bytes of a stream on their way between the program and the kernel.
///
/// [`Socket::layered`](crate::Socket::layered) adds a layer to a socket. The reactor calls its methods
/// from its own steps, never concurrently; each gets the stream below it. A layer belongs to one
/// connection, reads and writes only inside these methods, and never waits: it returns the `WouldBlock` that it gets
/// from [`Below`]. The feature `tls` has a layer.
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
/// /// An example only: it hides nothing.
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
///         // Each byte becomes one byte, so a part that was taken is a part that was sent.
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
    /// Runs the handshake, before the program's own bytes. Returns `Ok` when both sides have finished it and the kernel
    /// has taken all of this side's output. It is called when the stream is established, and again whenever it has
    /// become readable or writable, until it succeeds.
    ///
    /// # Errors
    ///
    /// `WouldBlock` while it is not finished. Anything else ends the connection: `handle_error` gets it.
    fn handshake(&mut self, below: &mut Below<'_>) -> io::Result<()>;

    /// Reads what the peer's program has sent, as much as is available and fits into `buffer`.
    ///
    /// `Ok(0)` is the end of the stream as defined by the layer. If the stream below ends and the layer knows that
    /// this is not the proper end (truncation), that is an error, `UnexpectedEof`.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if nothing is available now; not while the layer holds input that it could return. Any
    /// other error ends the connection: `InvalidData` for malformed input.
    fn recv(&mut self, below: &mut Below<'_>, buffer: &mut [u8]) -> io::Result<usize>;

    /// Whether `recv` may have a result without reading from below: bytes, the end of the stream, or an error.
    /// It is called after each `recv` that returned bytes.
    ///
    /// Returning true is correct for every layer, and costs a read that finds nothing. If a layer returns false
    /// although it holds input, that input may be stuck, because the kernel sends no further event.
    fn holds_input(&self) -> bool {
        true
    }

    /// Sends from the front of `bytes`, which are not empty, and returns how many of them have left with their complete
    /// encoding. If the kernel takes only a part of an encoding, its bytes do not count yet: the
    /// layer keeps the rest, a bounded amount, and gets the same bytes again in the next call, perhaps fewer or more.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if none have left. Any other error ends the connection.
    fn send(&mut self, below: &mut Below<'_>, bytes: &[u8]) -> io::Result<usize>;

    /// Tells the peer that nothing more will be sent. Nothing is sent afterwards; reading continues.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if the kernel takes nothing now: then it is called again. Any other error ends the connection.
    fn finish(&mut self, below: &mut Below<'_>) -> io::Result<()>;

    /// Whether the layer has sent the peer a message about the failure of `recv`, so that the peer cannot take the
    /// failure for the end of the stream. It is called when `recv` has failed. If true, the connection ends without a
    /// reset, which might overtake the message.
    fn has_told_failure(&self) -> bool {
        false
    }
}

/// The stream below a [`Layer`], which the layer reads and writes without waiting. It cannot be stored.
pub struct Below<'a> {
    pub(super) io: &'a mut Io,
    pub(super) unread: &'a mut VecDeque<u8>,
    pub(super) seen: &'a mut Seen,
}

impl Below<'_> {
    /// Whether the last read returned less than it asked for, so that the kernel most likely has no more.
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
