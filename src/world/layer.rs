//! What may stand between a stream and its outbox, and changes bytes on their way: TLS, for one.
//!
//! A layer lies *below* the outbox. What is queued is what the program sent, so the high and low marks, the hard
//! cap, the stall timeout and the shutting of the write side mean what they mean without one. Above it nobody
//! knows that it is there: the slot holds a [`Layered`] stream in place of the bare one, and reads and writes it
//! by the same two doors.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use mio::{Registry, Token};
use socket2::SockRef;

use crate::world::endpoint::{Endpoint, Kind};
use crate::world::errors::{is_invalid_data, unsupported};
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
    io: &'a mut Io,
    unread: &'a mut VecDeque<u8>,
    seen: &'a mut Seen,
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
struct Seen {
    /// The last read was shorter than it might have been.
    short: bool,
    /// The last write found no room.
    full: bool,
    /// Bytes have come since this was last asked for.
    got: bool,
    /// Bytes have left since this was last asked for.
    gave: bool,
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

/// How far a layered stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The stream below is not established.
    Connecting,
    /// The layer is not through with its handshake.
    Handshaking,
    Established,
}

/// A stream with a layer on it.
pub(crate) struct Layered {
    below: Io,
    layer: Box<dyn Layer>,
    stage: Stage,
    /// It was not established when it was added.
    is_outgoing: bool,
    /// What was read before there was a layer: its first input.
    unread: VecDeque<u8>,
    /// What was accepted for sending before there was a layer. It leaves as it is, before the handshake.
    unsent: VecDeque<u8>,
    seen: Seen,
    /// The last read filled the buffer, or the kernel may have more.
    capped: bool,
    /// What arrives is only thrown away from now on.
    draining: bool,
    panicked: bool,
    /// What came was not what the layer understands.
    refused: bool,
}

impl Layered {
    pub(crate) fn new(
        below: Io,
        layer: Box<dyn Layer>,
        stage: Stage,
        (unread, unsent): (Vec<u8>, Vec<u8>),
    ) -> Layered {
        Layered {
            below,
            layer,
            stage,
            is_outgoing: stage == Stage::Connecting,
            unread: unread.into(),
            unsent: unsent.into(),
            seen: Seen::default(),
            capped: true,
            draining: false,
            panicked: false,
            refused: false,
        }
    }

    /// More input that was read before there was a layer.
    pub(crate) fn push_input(&mut self, bytes: Vec<u8>) {
        self.unread.extend(bytes);
    }

    /// Whether bytes wait that were accepted for sending before there was a layer.
    pub(crate) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// The stream below.
    pub(crate) fn below(&self) -> &Io {
        &self.below
    }

    pub(crate) fn below_mut(&mut self) -> &mut Io {
        &mut self.below
    }

    /// A layer needs a stream that goes in both directions, and nobody would make the handshake of one below it.
    pub(crate) fn check(below: &Io) -> io::Result<()> {
        let goes_both_ways = below.kind() == Kind::Stream && below.can_recv();
        if goes_both_ways && below.can_half_close() && below.as_layered().is_none() {
            return Ok(());
        }
        Err(unsupported("a layer", below.name()))
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.stage == Stage::Handshaking
    }

    pub(crate) fn is_outgoing(&self) -> bool {
        self.is_outgoing
    }

    /// The stream below is established.
    pub(crate) fn connected(&mut self) {
        self.stage = Stage::Handshaking;
    }

    /// Whether the handshake waits for room to write.
    pub(crate) fn is_full(&self) -> bool {
        self.seen.full
    }

    pub(crate) fn handshake(&mut self) -> io::Result<()> {
        self.seen.full = false;
        while !self.unsent.is_empty() {
            let outcome = self.below.send(self.unsent.make_contiguous());
            self.seen.full = outcome.is_err();
            self.unsent.drain(..outcome?);
        }
        self.call(|layer, below| layer.handshake(below))?;
        self.stage = Stage::Established;
        Ok(())
    }

    /// Whether bytes have come since this was last asked, although the layer may have nothing to show for them: a
    /// part of a record.
    pub(crate) fn has_got(&mut self) -> bool {
        std::mem::take(&mut self.seen.got)
    }

    /// Whether bytes have left since this was last asked that no outcome of a send tells of: the layer has nothing to
    /// report yet.
    pub(crate) fn has_given(&mut self) -> bool {
        std::mem::take(&mut self.seen.gave)
    }

    /// Whether the layer has failed for what the peer has sent.
    pub(crate) fn has_refused(&self) -> bool {
        self.refused
    }

    /// Whether the layer has told the peer why it refused what came.
    pub(crate) fn has_told_failure(&mut self) -> bool {
        let told = self.call(|layer, _| Ok(layer.has_told_failure()));
        self.refused && told.is_ok_and(|told| told)
    }

    /// The layer itself.
    pub(crate) fn layer(&self) -> &dyn Layer {
        &*self.layer
    }

    /// Calls the layer. It is called from steps of the reactor that call no users' code else, and that a panic must
    /// not leave half done.
    fn call<R>(
        &mut self,
        body: impl FnOnce(&mut dyn Layer, &mut Below<'_>) -> io::Result<R>,
    ) -> io::Result<R> {
        if self.panicked {
            return Err(io::Error::other("the layer has panicked"));
        }
        let mut below = Below {
            io: &mut self.below,
            unread: &mut self.unread,
            seen: &mut self.seen,
        };
        let layer = &mut *self.layer;
        catch_unwind(AssertUnwindSafe(|| body(layer, &mut below))).unwrap_or_else(|payload| {
            self.panicked = true;
            // It is a value of the user's, whose drop may panic as well.
            if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                std::mem::forget(second);
            }
            Err(io::Error::other("the layer panicked"))
        })
    }
}

impl Endpoint for Layered {
    fn kind(&self) -> Kind {
        Kind::Stream
    }

    fn name(&self) -> &'static str {
        "a stream with a layer"
    }

    fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.below.register(registry, token, self.is_outgoing)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.below.deregister(registry)
    }

    fn watch_room(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.below.watch_room(registry, token)
    }

    fn socket(&self) -> Option<SockRef<'_>> {
        self.below.socket()
    }

    fn set_nonblocking(&self) -> io::Result<()> {
        self.below.set_nonblocking()
    }

    fn can_send(&self) -> bool {
        true
    }

    fn can_half_close(&self) -> bool {
        true
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.draining {
            return self.below.recv(buffer);
        }
        // What an earlier read was answered says nothing about now: this one may be served without the kernel.
        self.seen.short = false;
        let full = buffer.len();
        let outcome = self.call(|layer, below| {
            let received = layer.recv(below, buffer)?;
            Ok((received, layer.holds_input()))
        });
        self.refused |= outcome.as_ref().is_err_and(is_invalid_data);
        let (received, holds_input) = outcome?;
        self.capped = !self.seen.short || received == full || holds_input;
        Ok(received)
    }

    fn was_capped(&self) -> bool {
        self.capped
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let outcome = self.call(|layer, below| layer.send(below, bytes));
        if outcome.is_ok() {
            // This tells that something has left.
            self.seen.gave = false;
        }
        outcome
    }

    fn send_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut sent = 0;
        for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
            match self.send(piece) {
                Ok(count) => {
                    sent += count;
                    if count < piece.len() {
                        // The rest of it goes before the next.
                        break;
                    }
                }
                // What has left is told now, the error when it comes again.
                Err(_) if sent > 0 => break,
                Err(error) => return Err(error),
            }
            if self.seen.full {
                break;
            }
        }
        self.seen.gave = false;
        Ok(sent)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.call(|layer, below| layer.finish(below))?;
        self.below.shutdown_write()
    }

    fn drain(&mut self) {
        self.draining = true;
        self.capped = false;
    }

    fn take_error(&mut self) -> io::Result<Option<io::Error>> {
        self.below.take_error()
    }

    fn check_connected(&mut self) -> io::Result<()> {
        match self.below.is_connected_to_itself()? {
            true => Err(io::ErrorKind::ConnectionRefused.into()),
            false => Ok(()),
        }
    }
}
