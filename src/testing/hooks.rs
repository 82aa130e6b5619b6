//! What a test may do to a reactor, and see of it.

use std::io;
use std::time::Duration;

use mio::Token;

use crate::reactor::Reactor;
use crate::world::ids::AnyId;
use crate::world::options::SocketOptions;
use crate::world::simulated::kernel::{SimKernel, SimSocket};
use crate::world::socket::Socket;

impl Reactor {
    /// Has the next turn find this event, beside what the kernel says.
    #[doc(hidden)]
    pub fn inject(&mut self, id: impl Into<AnyId>, bits: u32) {
        self.inject_token(id.into().token(), bits);
    }

    /// As `inject`, under any token at all.
    #[doc(hidden)]
    pub fn inject_token(&mut self, token: Token, bits: u32) {
        self.state_mut().poller.simulated.news.report(token, bits);
    }

    /// Replaces epoll.
    #[doc(hidden)]
    pub fn set_kernel(&mut self, kernel: Box<dyn SimKernel>) {
        self.state_mut().poller.simulated.kernel = Some(kernel);
    }

    /// The timeouts that the waits since the last call were given.
    #[doc(hidden)]
    pub fn take_waits(&mut self) -> Vec<Option<Duration>> {
        std::mem::take(&mut self.state_mut().poller.simulated.waits)
    }

    /// How long until the next timer; `None` if there is none.
    #[doc(hidden)]
    pub fn next_timer(&mut self) -> Option<Duration> {
        self.until_next_timer()
    }

    /// How many timers are set, the reactor's own deadlines included.
    #[doc(hidden)]
    #[must_use]
    pub fn timer_count(&self) -> usize {
        self.state().timers.len()
    }

    /// How often a timer has been armed, a repeat's next time included.
    #[doc(hidden)]
    #[must_use]
    pub fn timers_armed(&self) -> u64 {
        self.state().timers.armed()
    }

    /// Bytes queued in all outboxes, and the slab's capacity.
    #[doc(hidden)]
    #[must_use]
    pub fn memory(&self) -> (usize, usize) {
        (self.state().chunks.queued(), self.state().slots.capacity())
    }

    /// Bytes of memory that all outboxes hold, which is what `max_queued` bounds.
    #[doc(hidden)]
    #[must_use]
    pub fn held_memory(&self) -> usize {
        self.state().chunks.held()
    }

    /// Every dispatcher there is, and how much is queued on it, in the order of their slots.
    #[doc(hidden)]
    #[must_use]
    pub fn outboxes(&self) -> Vec<(AnyId, usize)> {
        let slots = self.state().slots.iter();
        slots.map(|(id, slot)| (id, slot.queued())).collect()
    }

    /// Gives a socket that was made elsewhere a send buffer of this size. (Its receive buffer cannot
    /// be made smaller any more without the kernel dropping what the peer was told there is room for.)
    #[doc(hidden)]
    pub fn narrow(&mut self, id: impl Into<AnyId>, bytes: usize) -> io::Result<()> {
        let slot = self.state().slots.slot(id.into());
        let socket = slot.io.socket().ok_or(io::ErrorKind::NotConnected)?;
        socket.set_send_buffer_size(bytes)
    }

    /// What the kernel has for `TCP_USER_TIMEOUT`.
    #[doc(hidden)]
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn tcp_user_timeout(&self, id: impl Into<AnyId>) -> io::Result<Option<Duration>> {
        let slot = self.state().slots.slot(id.into());
        let socket = slot.io.socket().ok_or(io::ErrorKind::NotConnected)?;
        socket.tcp_user_timeout()
    }

    /// Starts a connection attempt on a simulated socket.
    #[doc(hidden)]
    pub fn connect_simulated<D: crate::Dispatcher>(
        &mut self,
        socket: Box<dyn SimSocket>,
        dispatcher: D,
    ) -> io::Result<crate::Id<D>> {
        let pending = Err(io::ErrorKind::Interrupted.into());
        let usual = SocketOptions::default();
        self.outside()
            .start_connecting(Socket::from(socket), pending, &usual, dispatcher)
    }

    /// Adds a socket whose `connect` the test has made itself, or pretends to have, with this outcome.
    #[doc(hidden)]
    pub fn connect_prepared<D: crate::Dispatcher>(
        &mut self,
        socket: impl Into<Socket>,
        outcome: io::Result<()>,
        dispatcher: D,
    ) -> io::Result<crate::Id<D>> {
        let usual = SocketOptions::default();
        self.outside()
            .start_connecting(socket.into(), outcome, &usual, dispatcher)
    }
}
