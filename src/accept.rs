//! Accepting: a batch a turn, and the four classes of what can go wrong.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use crate::calling::Callback;
use crate::close::End;
use crate::core::Core;
use crate::dispatcher::Dispatcher;
use crate::errors::{is_interrupted, is_would_block};
use crate::ids::{AnyId, Id};
use crate::options::SocketOptions;
use crate::readiness::Flag;
use crate::slots::Life;
use crate::socket::{Address, Io, Socket};
use crate::timers::Action;

/// A connection that a listener has taken, and whose fate its
/// [`handle_accept`](Dispatcher::handle_accept) decides: [`add`](crate::Context::add) keeps it,
/// dropping it closes it.
#[derive(Debug)]
pub struct Accepted {
    socket: Socket,
}

impl Accepted {
    /// The peer's address, as the accept call itself gave it: it is there even if the peer has gone
    /// since. `None` on a Unix socket.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.socket.address.inet()
    }

    /// The path of a peer on a Unix socket that has one, which few clients do.
    #[must_use]
    pub fn peer_path(&self) -> Option<&Path> {
        self.socket.address.path()
    }

    /// Whether small writes leave at once.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    pub fn nodelay(&self) -> io::Result<bool> {
        self.socket
            .as_ref()
            .map_or(Ok(false), |socket| socket.tcp_nodelay())
    }

    #[cfg(feature = "testing")]
    pub(crate) fn simulated(socket: Box<dyn crate::testing::SimSocket>) -> Accepted {
        Accepted {
            socket: Socket::from(socket),
        }
    }
}

impl fmt::Display for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket.address.fmt(f)
    }
}

impl From<Accepted> for Socket {
    fn from(accepted: Accepted) -> Socket {
        accepted.socket
    }
}

impl Socket {
    /// Takes one connection from the queue: non-blocking and close-on-exec from the start.
    fn accept(&mut self) -> io::Result<Accepted> {
        match &mut self.io {
            Io::TcpListener(listener) => {
                let (stream, peer) = listener.accept()?;
                let socket = Socket::stream(stream).with_address(peer);
                #[cfg(not(any(target_os = "linux", target_os = "android")))]
                if let Some(stream) = socket.as_ref() {
                    // On Linux the connection has it from its listener.
                    let nodelay = socket2::SockRef::from(&*listener).tcp_nodelay();
                    let _ = stream.set_tcp_nodelay(nodelay.unwrap_or(true));
                }
                Ok(Accepted { socket })
            }
            Io::UnixListener(listener) => {
                let (stream, peer) = listener.accept()?;
                let peer = peer
                    .as_pathname()
                    .map_or(Address::None, |path| Address::Unix(path.into()));
                Ok(Accepted {
                    socket: Socket::stream(stream).with_address(peer),
                })
            }
            #[cfg(feature = "testing")]
            Io::Simulated(socket) => socket.accept().map(Accepted::simulated),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

/// What an error of `accept` says. (These are not the classes of reads and writes: a connection that
/// was lost in the queue is nobody's disconnect.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AcceptError {
    /// The queue is empty.
    NothingThere,
    /// One connection was lost before we took it; there may be others.
    OneLost,
    /// No descriptors or memory. It says nothing about whether anybody is waiting.
    Shortage,
    /// The listener itself is no good any more.
    ListenerBroken,
    /// None of the above.
    Other,
}

fn classify_accept(error: &io::Error) -> AcceptError {
    use io::ErrorKind as Kind;
    if is_would_block(error) {
        return AcceptError::NothingThere;
    }
    if is_interrupted(error) {
        return AcceptError::OneLost;
    }
    if let Some(class) = error.raw_os_error().and_then(classify_accept_errno) {
        return class;
    }
    match error.kind() {
        Kind::ConnectionAborted
        | Kind::ConnectionReset
        | Kind::PermissionDenied
        | Kind::HostUnreachable
        | Kind::NetworkUnreachable
        | Kind::NetworkDown
        | Kind::Unsupported => AcceptError::OneLost,
        Kind::OutOfMemory => AcceptError::Shortage,
        Kind::InvalidInput => AcceptError::ListenerBroken,
        _ => AcceptError::Other,
    }
}

/// Those that `io::ErrorKind` has no name for, or too coarse a one.
fn classify_accept_errno(errno: i32) -> Option<AcceptError> {
    const EBADF: i32 = 9;
    const EACCES: i32 = 13;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    mod os {
        pub(super) const ENOBUFS: i32 = 105;
        pub(super) const ENOTSOCK: i32 = 88;
        pub(super) const ENOSYS: i32 = 38;
        /// EPROTO, ENONET, EHOSTDOWN, ENOPROTOOPT.
        pub(super) const LOST: &[i32] = &[71, 64, 112, 92];
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    mod os {
        pub(super) const ENOBUFS: i32 = 55;
        pub(super) const ENOTSOCK: i32 = 38;
        pub(super) const ENOSYS: i32 = 78;
        /// EPROTO (macOS, FreeBSD), EHOSTDOWN, ENOPROTOOPT.
        pub(super) const LOST: &[i32] = &[100, 92, 64, 42];
    }
    match errno {
        EMFILE | ENFILE | os::ENOBUFS => Some(AcceptError::Shortage),
        EBADF | os::ENOTSOCK => Some(AcceptError::ListenerBroken),
        // A security policy, or a filter of system calls: no connection was lost, and trying on would
        // spin. (By kind they look like EPERM and EOPNOTSUPP.)
        EACCES | os::ENOSYS => Some(AcceptError::Other),
        lost if os::LOST.contains(&lost) => Some(AcceptError::OneLost),
        _ => None,
    }
}

impl Core {
    pub(crate) fn listen<D: Dispatcher>(
        &mut self,
        address: SocketAddr,
        options: &SocketOptions,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        let socket = options.listener(address)?;
        self.add(Socket::tcp_listener(socket), dispatcher)
    }

    pub(crate) fn listen_unix<D: Dispatcher>(
        &mut self,
        path: &Path,
        options: &SocketOptions,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        let socket = options.unix_listener(path)?;
        self.add(
            Socket::unix_listener(socket).with_address(path.to_owned()),
            dispatcher,
        )
    }

    /// Takes what waits, up to the batch, and then lets the others have their turn. One per event would
    /// strand the rest: the event says that there is somebody, not how many.
    pub(crate) fn accept_batch(&mut self, id: AnyId) {
        for _ in 0..self.config.accept_batch {
            if self.slots.slot(id).life() != Life::Listening {
                return;
            }
            if self.connections >= self.config.max_connections {
                return self.pause_at_limit(id);
            }
            if self.tight {
                // Resumed when enough has drained: see `review_total`.
                return self.pause(id);
            }
            match self.slots.slot_mut(id).socket.accept() {
                Ok(accepted) => {
                    self.counters.accepted += 1;
                    self.callback(id, Callback::Accept, |dispatcher, cx| {
                        dispatcher.handle_accept(cx, accepted)
                    });
                }
                Err(error) => match classify_accept(&error) {
                    AcceptError::NothingThere => {
                        self.slots.slot_mut(id).readiness.cant_read();
                        return;
                    }
                    AcceptError::OneLost => {
                        self.counters.accept_lost += 1;
                        log::debug!("{}: a connection was lost: {error}", self.label(id));
                    }
                    AcceptError::Shortage => return self.pause_for_shortage(id, &error),
                    AcceptError::ListenerBroken => {
                        self.counters.accept_faults += 1;
                        self.report(id, error);
                        return self.end(id, End::Failed);
                    }
                    AcceptError::Other => {
                        self.counters.accept_faults += 1;
                        self.report(id, error);
                        return self.pause_with_retry(id);
                    }
                },
            }
        }
        self.requeue(id);
    }

    /// Out of something. An edge-triggered listener that just gave up would be deaf until somebody new
    /// connects, and one that tried on would spin. So it keeps its readiness, and tries again after a
    /// while, and whenever a socket of ours closes.
    fn pause_for_shortage(&mut self, id: AnyId, error: &io::Error) {
        self.counters.accept_shortages += 1;
        if let Some(held_back) = self.log_limits.shortage.pass(self.now) {
            log::warn!(
                "{}: cannot accept: {error}; pausing{held_back}",
                self.label(id)
            );
        }
        self.pause_with_retry(id);
    }

    fn pause_with_retry(&mut self, id: AnyId) {
        if self.slots.slot(id).life() != Life::Listening {
            return;
        }
        self.pause(id);
        self.arm_deadline(id, self.config.accept_retry, Action::AcceptRetry);
    }

    /// As many as allowed are being served: no timer, for only a close changes that.
    fn pause_at_limit(&mut self, id: AnyId) {
        self.counters.accept_limited += 1;
        let limit = self.config.max_connections;
        if let Some(held_back) = self.log_limits.at_limit.pass(self.now) {
            log::warn!(
                "{}: {limit} connections are open; accepting no more{held_back}",
                self.label(id)
            );
        }
        self.pause(id);
    }

    fn pause(&mut self, id: AnyId) {
        if self.slots.slot_mut(id).readiness.raise(Flag::AcceptPaused) {
            self.paused_listeners.push(id);
        }
    }

    /// A socket has closed: whoever waited for that tries again.
    pub(crate) fn resume_listeners(&mut self) {
        while let Some(id) = self.paused_listeners.pop() {
            self.resume_listener(id);
        }
    }

    /// The retry timer is up.
    pub(crate) fn retry_accept(&mut self, id: AnyId) {
        self.paused_listeners.retain(|&paused| paused != id);
        self.resume_listener(id);
    }

    fn resume_listener(&mut self, id: AnyId) {
        let Some(slot) = self.slots.get_mut(id) else {
            return;
        };
        slot.readiness.clear(Flag::AcceptPaused);
        self.timers.cancel_where(&mut slot.timers, |action| {
            matches!(action, Action::AcceptRetry)
        });
        self.requeue(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn every_errno_of_accept_has_its_class() {
        let of = |errno| classify_accept(&io::Error::from_raw_os_error(errno));
        assert_eq!(of(11), AcceptError::NothingThere);
        for errno in [4, 103, 71, 100, 101, 112, 113, 64, 92, 95, 1] {
            assert_eq!(of(errno), AcceptError::OneLost, "errno {errno}");
        }
        for errno in [24, 23, 105, 12] {
            assert_eq!(of(errno), AcceptError::Shortage, "errno {errno}");
        }
        for errno in [9, 22, 88] {
            assert_eq!(of(errno), AcceptError::ListenerBroken, "errno {errno}");
        }
        for errno in [5, 13, 38] {
            assert_eq!(of(errno), AcceptError::Other, "errno {errno}");
        }
    }
}
