//! Outgoing connections: starting them, and finding out what became of them.
//!
//! "Writable" is no proof that a connection stands: it comes with a refusal as well, and can come too
//! early. The order here is: the pending error, asked for once and kept, because asking clears it; then
//! the peer's address, which only a connection that stands has. Nowhere else is a socket asked for its
//! pending error: on an established one the question would turn a reset into a clean end of stream.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use crate::core::Core;
use crate::dispatcher::Dispatcher;
use crate::slot::life::{End, Life};
use crate::slot::readiness::Flag;
use crate::state::running::Callback;
use crate::time::timers::Action;
use crate::world::errors::{is_interrupted, is_not_connected};
use crate::world::ids::{AnyId, Id};
use crate::world::options::SocketOptions;
use crate::world::socket::Socket;

impl Core {
    pub(crate) fn connect<D: Dispatcher>(
        &mut self,
        address: SocketAddr,
        options: &SocketOptions,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        let socket = options.client(address)?;
        let outcome = socket.connect(&address.into());
        self.start_connecting(
            Socket::stream(socket).with_address(address),
            outcome,
            dispatcher,
        )
    }

    pub(crate) fn connect_unix<D: Dispatcher>(
        &mut self,
        path: &Path,
        options: &SocketOptions,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        let socket = options.unix_client()?;
        // A full queue says WouldBlock and is not in progress: nothing would ever come of it.
        let outcome = socket.connect(&socket2::SockAddr::unix(path)?);
        let socket = Socket::stream(socket).with_address(path.to_owned());
        self.start_connecting(socket, outcome, dispatcher)
    }

    /// Adds a socket whose `connect` has been called. What the kernel knew at once is returned;
    /// everything else, immediate success included, is told by a callback in a later turn.
    pub(crate) fn start_connecting<D: Dispatcher>(
        &mut self,
        socket: Socket,
        outcome: io::Result<()>,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        let stands = match outcome {
            Ok(()) => true,
            Err(error) if in_progress(&error) => false,
            Err(error) => return Err(error),
        };
        let id = self.admit(socket, dispatcher, Life::Connecting)?;
        if let Some(limit) = self.config.connect_timeout {
            self.arm_deadline(id.any(), limit, Action::ConnectDeadline);
        }
        if stands {
            self.slots.slot_mut(id.any()).readiness.set(Flag::Writable);
            self.requeue(id.any());
        }
        Ok(id)
    }

    /// An event has come for a connection attempt.
    pub(crate) fn finish_connect(&mut self, id: AnyId) {
        let slot = self.slots.slot_mut(id);
        match slot.socket.take_error() {
            Ok(None) => {}
            Ok(Some(error)) | Err(error) => return self.connect_failed(id, error),
        }
        match slot.socket.is_connected_to_itself() {
            Ok(false) => self.connected(id),
            Ok(true) => {
                let text = format!("{} is connected to itself", self.label(id));
                self.connect_failed(id, io::Error::new(io::ErrorKind::ConnectionRefused, text));
            }
            // It came too early. The event that counts is still to come.
            Err(error) if is_not_connected(&error) => slot.readiness.cant_write(),
            Err(error) => self.connect_failed(id, error),
        }
    }

    fn connected(&mut self, id: AnyId) {
        let slot = self.slots.slot_mut(id);
        slot.enter(Life::Open);
        slot.touched = self.now;
        self.timers
            .cancel_where(&mut slot.timers, |action| !action.is_users());
        let slot = self.slots.slot_mut(id);
        if slot.readiness.lower(Flag::CloseAsked) {
            slot.enter(Life::Flushing);
            self.mark_dirty(id);
            return;
        }
        if !slot.outbox.is_empty() || slot.readiness.has(Flag::ShutAsked) {
            self.mark_dirty(id);
        }
        if self.callback(id, Callback::Connect, |dispatcher, cx| {
            dispatcher.handle_connect(cx)
        }) {
            self.dispatch_open(id);
        } else {
            self.requeue(id);
        }
    }

    /// One `handle_error`, whatever the errno, and then the end; or the end alone if it was closed
    /// meanwhile.
    pub(crate) fn connect_failed(&mut self, id: AnyId, error: io::Error) {
        let slot = self.slots.slot_mut(id);
        // Nothing that handle_error does may keep it.
        slot.readiness.set(Flag::Broken);
        if !slot.readiness.has(Flag::CloseAsked) {
            self.report(id, error);
        }
        self.end(id, End::Failed);
    }
}

/// Whether a non-blocking `connect` goes on by itself. Interrupted means the same: calling it again
/// would be an error.
pub(crate) fn in_progress(error: &io::Error) -> bool {
    // std has no stable name for it, and libc is not among the dependencies.
    #[cfg(all(
        any(target_os = "linux", target_os = "android"),
        not(any(target_arch = "mips", target_arch = "mips64", target_arch = "sparc64"))
    ))]
    const EINPROGRESS: i32 = 115;
    #[cfg(all(target_os = "linux", any(target_arch = "mips", target_arch = "mips64")))]
    const EINPROGRESS: i32 = 150;
    #[cfg(any(
        not(any(target_os = "linux", target_os = "android")),
        all(target_os = "linux", target_arch = "sparc64")
    ))]
    const EINPROGRESS: i32 = 36;
    error.raw_os_error() == Some(EINPROGRESS) || is_interrupted(error)
}
