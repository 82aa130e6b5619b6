//! Another dispatcher for a socket, another reactor for a connection, and input that is read again.

use std::io;

use super::Context;
use crate::dispatcher::Dispatcher;
use crate::slot::life::Life;
use crate::turn::replace;
use crate::world::detached::Detached;
use crate::world::ids::{AnyId, Id};

/// # Changing what serves a connection
impl Context<'_> {
    /// Puts another dispatcher in the place of this one: an HTTP connection becomes a WebSocket, the attempt
    /// that won a race becomes the client. The socket, its outbox, marks and links stay, and so does the id:
    /// the one returned is the same, under the new type. The old typed id reaches nobody by
    /// [`with`](Context::with) from then on; [`at`](Context::at) works with either.
    ///
    /// The change is made when the running callback has returned. The old dispatcher is dropped then, without
    /// `handle_close`, and its timers with it; the deadlines of the connection stay. What it had read and not
    /// used ([`take_unread`](Dispatcher::take_unread)) the new one reads first.
    ///
    /// ```
    /// use slabloop::{Context, Dispatcher};
    /// use std::io;
    ///
    /// struct Greeting;
    /// impl Dispatcher for Greeting {
    ///     fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///         cx.recv(&mut [0])?;
    ///         cx.replace(Echo)?;
    ///         Ok(())
    ///     }
    /// }
    ///
    /// struct Echo;
    /// impl Dispatcher for Echo {
    ///     fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///         cx.recv_with(|bytes, cx| cx.send(bytes))
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// `NotConnected` if this one is closing or has ended; `next` is dropped.
    pub fn replace<N: Dispatcher>(&mut self, next: N) -> io::Result<Id<N>> {
        if !self.core.state.slots.slot(self.id).readiness.is_live() {
            return Err(self.refusal(io::ErrorKind::NotConnected, "replace after close"));
        }
        let type_name = std::any::type_name::<N>;
        replace::replace(self.core, self.id, Box::new(next), type_name);
        Ok(Id::new(self.id))
    }

    /// Takes another dispatcher's connection out of the reactor, with what was read and not used and what was
    /// accepted for sending and not sent. Its dispatcher gets `handle_close` at the end of the turn, with
    /// [`Cause::Detached`](crate::Cause::Detached). To detach its own connection, a callback uses
    /// [`defer`](Context::defer) and [`Reactor::detach`](crate::Reactor::detach).
    ///
    /// # Errors
    ///
    /// `NotFound` if it is gone. `InvalidInput` if its own callback is running, if it is not an open
    /// connection (still connecting, closing, a listener), or if a layer has output that is not sent, or a file
    /// waits. Only stream sockets can be detached; others are `Unsupported`. It stays as it is then.
    pub fn detach(&mut self, id: impl Into<AnyId>) -> io::Result<Detached> {
        let id = id.into();
        let slot = self.core.state.slots.get(id);
        if slot.is_none_or(|slot| slot.life() == Life::Ended) {
            let text = format!("{id} cannot be detached: it is gone");
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        replace::detach(self.core, id)
    }

    /// Puts input back, in front of all that is still to be read: the next `recv` gives it. `handle_read` is
    /// called for it as for what arrives. For a protocol that has read into the next one. There is no
    /// bound: no more than what was read.
    ///
    /// # Errors
    ///
    /// `NotConnected` after `close`; `Unsupported` on anything but a stream.
    pub fn unread(&mut self, bytes: &[u8]) -> io::Result<()> {
        let slot = self.core.state.slots.slot(self.id);
        if slot.life() != Life::Open {
            return Err(self.refusal(io::ErrorKind::NotConnected, "unread after close"));
        }
        if slot.io.kind() != crate::world::endpoint::Kind::Stream {
            return Err(self.not_for("unread"));
        }
        self.core.state.slots.slot_mut(self.id).put_back(bytes);
        self.core.state.requeue(self.id);
        Ok(())
    }
}
