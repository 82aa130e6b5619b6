//! The layer on a stream: to be looked at, and put there in the middle.

use std::io;

use super::Context;
use crate::state::layering;
use crate::turn::replace;
use crate::world::layer::Layer;

/// # Layers
impl Context<'_> {
    /// The layer on this stream, if it has one, to be asked for what its type tells.
    #[must_use]
    pub fn layer(&mut self) -> Option<&dyn Layer> {
        let slot = self.core.state.slots.slot_mut(self.id);
        slot.io.layered().map(|layered| layered.layer())
    }

    /// Puts a layer on a stream that is in use: STARTTLS, or a tunnel behind a proxy's greeting. For one that has it
    /// from its first byte on, see [`Socket::layered`](crate::Socket::layered).
    ///
    /// What was sent before leaves as it is, then comes the handshake, driven by the reactor, and then what is sent
    /// afterwards, through the layer. When the handshake is through,
    /// [`handle_handshake`](crate::Dispatcher::handle_handshake) is called. Until then nothing is read; all that holds
    /// for a connection that is being made holds for this one. A handshake that fails, or is not through within
    /// [`Builder::handshake_timeout`](crate::Builder::handshake_timeout), ends in one `handle_error`, and then
    /// `handle_close`.
    ///
    /// Input that came before the layer is the layer's, not the program's: a peer that sends a command behind its
    /// STARTTLS, in the hope that it is taken for one that came encrypted, breaks its handshake. That holds for what
    /// the kernel has, for what was put back by [`unread`](Context::unread), and for what the dispatcher has read
    /// and not used, if it tells by [`take_unread`](crate::Dispatcher::take_unread), as
    /// [`Framed`](crate::framing::Framed) does. A dispatcher that reads without these must not use what it has read
    /// behind the command.
    ///
    /// ```
    /// use std::io;
    ///
    /// use slabloop::framing::{Framing, Handler};
    /// use slabloop::{Context, Layer};
    ///
    /// /// Speaks plaintext until it is asked not to. `L` is `tls::Session`, for one.
    /// struct Mail<L> {
    ///     session: fn() -> io::Result<L>,
    /// }
    ///
    /// impl<L: Layer> Handler for Mail<L> {
    ///     fn found_terminator(&mut self, cx: &mut Context<'_>, framing: &mut Framing, line: &[u8]) -> io::Result<()> {
    ///         if line != b"STARTTLS" {
    ///             return framing.push(cx, b"502 what?\r\n");
    ///         }
    ///         let session = (self.session)()?;
    ///         framing.push(cx, b"220 go ahead\r\n")?;
    ///         cx.start_layer(session)
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// `NotConnected` if it is not an open connection (still connecting, closing), or has ended in one direction.
    /// `InvalidInput` if more than 64 KiB are queued, or a file or a producer has more to send: wait for
    /// [`handle_sent`](crate::Dispatcher::handle_sent). `Unsupported` if it has a layer already, or is not a stream
    /// in both directions. Everything stays as it is then, and the layer is dropped.
    pub fn start_layer(&mut self, layer: impl Layer) -> io::Result<()> {
        layering::start(&mut self.core.state, self.id, || Box::new(layer))?;
        replace::hand_over_input(self.core, self.id);
        Ok(())
    }
}
