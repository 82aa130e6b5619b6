//! Another dispatcher for a socket, another reactor for a connection, and input that is read again.

use std::io;

use super::Context;
use crate::dispatcher::Dispatcher;
use crate::slot::life::Life;
use crate::turn::replace;
use crate::world::detached::Detached;
use crate::world::endpoint::Kind;
use crate::world::ids::{AnyId, Id};

/// # Changing what serves a connection
impl Context<'_> {
    /// Replaces this dispatcher by another one: an HTTP connection becomes a WebSocket, or the connection attempt
    /// that won a race becomes the client. The socket, its outbox, marks and links stay, and so does the id: the
    /// returned id is the same, with the new type. With the old typed id, [`with`](Context::with) returns `None` from
    /// then on; [`at`](Context::at) works with either.
    ///
    /// The change takes place when the running callback has returned. The old dispatcher is then dropped with its
    /// timers, without `handle_close`; the timeouts of the connection stay. Input that it had read and not used
    /// ([`take_unread`](Dispatcher::take_unread)) is read first by the new one.
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
    /// `NotConnected` if this dispatcher is closing or has ended; `next` is dropped.
    pub fn replace<N: Dispatcher>(&mut self, next: N) -> io::Result<Id<N>> {
        if !self.core.state.slots.slot(self.id).readiness.is_live() {
            return Err(self.refusal(io::ErrorKind::NotConnected, "replace after close"));
        }
        let type_name = std::any::type_name::<N>;
        replace::replace(self.core, self.id, Box::new(next), type_name);
        Ok(Id::new(self.id))
    }

    /// Takes another dispatcher's connection out of the reactor, with the input that was read and not used and the
    /// output that was accepted and not sent. The dispatcher's `handle_close` is called at the end of the turn, with
    /// [`Cause::Detached`](crate::Cause::Detached). To detach its own connection, a callback uses
    /// [`defer`](Context::defer) and [`Reactor::detach`](crate::Reactor::detach). [`Detached`] has an example.
    ///
    /// # Errors
    ///
    /// `NotFound` if the dispatcher has ended. `InvalidInput` if its own callback is running, if it is not an open
    /// connection (still connecting, closing, or a listener), or if a layer has unsent output or a file
    /// waits. `Unsupported` for anything but a stream socket. In all these cases the connection is unchanged.
    pub fn detach(&mut self, id: impl Into<AnyId>) -> io::Result<Detached> {
        let id = id.into();
        let slot = self.core.state.slots.get(id);
        if slot.is_none_or(|slot| slot.life() == Life::Ended) {
            let text = format!("{id} cannot be detached: it has ended");
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        replace::detach(self.core, id)
    }

    /// Returns input to the connection, before all input that is still to be read: the next `recv` delivers it, and
    /// `handle_read` is called for it. It is for a dispatcher that has read too far, into the next protocol. The size
    /// is not limited: return no more than was read.
    ///
    /// ```
    /// # use slabloop::{Context, Dispatcher};
    /// # use std::io;
    /// # struct Http; impl Dispatcher for Http {}
    /// # struct ProxyHeader;
    /// # impl Dispatcher for ProxyHeader {
    /// fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///     let mut buffer = [0; 512];
    ///     let count = cx.recv(&mut buffer)?;
    ///     let header = buffer[..count].iter().position(|&byte| byte == b'\n').unwrap_or(0);
    ///     cx.unread(&buffer[header..count])?; // `Http` reads it first.
    ///     cx.replace(Http)?;
    ///     Ok(())
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `NotConnected` before the connection is established and after `close`; `Unsupported` on anything but a stream.
    pub fn unread(&mut self, bytes: &[u8]) -> io::Result<()> {
        let slot = self.core.state.slots.slot(self.id);
        match slot.life() {
            Life::Open if slot.io.kind() == Kind::Stream => {}
            Life::Open | Life::Listening => return Err(self.not_for("unread")),
            Life::Connecting => {
                let what = "unread before the connection is established";
                return Err(self.refusal(io::ErrorKind::NotConnected, what));
            }
            _ => return Err(self.refusal(io::ErrorKind::NotConnected, "unread after close")),
        }
        self.core.state.slots.slot_mut(self.id).put_back(bytes);
        self.core.state.requeue(self.id);
        Ok(())
    }
}
