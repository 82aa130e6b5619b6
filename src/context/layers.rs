//! The layer on a stream: to be looked at, and put there in the middle.

use std::io;

use super::Context;
use crate::state::layering;
use crate::turn::replace;
use crate::world::layer::Layer;

/// # Layers
impl Context<'_> {
    /// The layer on this stream, if it has one. Downcast it to its type to query it.
    #[must_use]
    pub fn layer(&mut self) -> Option<&dyn Layer> {
        let slot = self.core.state.slots.slot_mut(self.id);
        slot.io.layered().map(|layered| layered.layer())
    }

    /// Adds a layer to a stream that is in use, as for STARTTLS or a tunnel through a proxy. For a stream that has
    /// the layer from its first byte on, see [`Socket::layered`](crate::Socket::layered).
    ///
    /// What was sent before leaves unchanged; then the reactor runs the handshake; what is sent afterwards goes
    /// through the layer. When the handshake has finished,
    /// [`handle_handshake`](crate::Dispatcher::handle_handshake) is called. Until then nothing is read, and the
    /// connection behaves like one that is not established yet. A handshake that fails, or has not finished within
    /// [`Builder::handshake_timeout`](crate::Builder::handshake_timeout), leads to one `handle_error` and then
    /// `handle_close`.
    ///
    /// Input that arrived before the layer goes to the layer, not to the program: a peer that sends a command right
    /// after STARTTLS, to have it taken for an encrypted one, breaks its own handshake. This applies to input in the
    /// kernel, to input returned by [`unread`](Context::unread), and to input that the dispatcher has read and not used
    /// and returns from [`take_unread`](crate::Dispatcher::take_unread), as [`Framed`](crate::framing::Framed) does. A
    /// dispatcher that reads ahead without `take_unread` must not use what it has read after the command.
    ///
    /// ```
    /// use std::io;
    ///
    /// use slabloop::framing::{Framing, Handler};
    /// use slabloop::{Context, Layer};
    ///
    /// /// Begins in plaintext and changes to TLS on request. `L` is `tls::Session`, for example.
    /// struct Mail<L> {
    ///     session: fn() -> io::Result<L>,
    /// }
    ///
    /// impl<L: Layer> Handler for Mail<L> {
    ///     fn found_terminator(
    ///         &mut self,
    ///         cx: &mut Context<'_>,
    ///         framing: &mut Framing,
    ///         line: &[u8],
    ///     ) -> io::Result<()> {
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
    /// `NotConnected` if this is not an open connection (still connecting, or closing), or one direction has ended.
    /// `InvalidInput` if more than 64 KiB are queued, or a file or a producer has more to send: wait for
    /// [`handle_sent`](crate::Dispatcher::handle_sent). `Unsupported` if the stream has a layer already, or is not
    /// bidirectional. In all these cases the connection is unchanged and the layer is dropped.
    pub fn start_layer(&mut self, layer: impl Layer) -> io::Result<()> {
        layering::start(&mut self.core.state, self.id, || Box::new(layer))?;
        replace::hand_over_input(self.core, self.id);
        Ok(())
    }
}
