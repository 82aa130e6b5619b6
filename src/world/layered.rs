//! A stream with a layer on it, in the place of the bare one.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind};

use mio::{Registry, Token};
use socket2::SockRef;

use crate::world::endpoint::{Endpoint, Kind};
use crate::world::errors::{is_invalid_data, unsupported};
use crate::world::io::Io;
use crate::world::layer::{Below, Layer, Seen};

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

    /// A layer needs a stream that goes in both directions, and the handshake of one below it would never be made.
    pub(crate) fn check(below: &Io) -> io::Result<()> {
        // What can be closed by halves is a stream, and goes both ways.
        if below.can_half_close() && below.as_layered().is_none() {
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

    #[cfg(feature = "test")]
    fn report_to(&mut self, news: &crate::world::simulated::news::News) {
        self.below.report_to(news);
    }

    #[cfg(feature = "test")]
    fn is_simulated_attempt(&self) -> bool {
        matches!(&self.below, Io::Other(below) if below.is_simulated_attempt())
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

    fn reset_when_closed(&self) {
        self.below.reset_when_closed();
    }

    /// An urgent byte has not come through the layer: it would lie in the middle of a record.
    fn urgent_inline(&self, _: bool) -> Option<io::Result<()>> {
        None
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
