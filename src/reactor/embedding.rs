//! What another loop needs to run this one; and `Debug`.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use crate::reactor::Reactor;

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = &self.core.state;
        let ready = state.agenda.ready.len() + state.agenda.classes.len();
        f.debug_struct("Reactor")
            .field("dispatchers", &state.slots.len())
            .field("connections", &state.connections)
            .field("ready", &ready)
            .field("timers", &state.timers.len())
            .field("queued_bytes", &state.chunks.queued())
            .finish_non_exhaustive()
    }
}

impl Reactor {
    /// How long another loop may leave this reactor alone, unless its [descriptor](Reactor#impl-AsFd-for-Reactor)
    /// becomes readable before. `None` means for as long as it takes; zero means that a turn has work at once.
    ///
    /// The descriptor speaks of sockets and of what other threads post. It does not speak of timers and timeouts,
    /// nor of work that is carried over to the next turn: of those this does. It is what `turn(None)` would wait
    /// for at most, so it is never too long, and it holds until something is done to the reactor: ask after the last
    /// such thing, just before the other loop waits. If it is over, or the descriptor is readable, call
    /// [`turn`](Reactor::turn) with `Duration::ZERO`. A loop that can only wait whole milliseconds rounds up; if it
    /// rounds down, it spins shortly before each timer.
    ///
    /// [`stop`](Reactor::stop) concerns [`run`](Reactor::run) alone. The other loop decides by itself when it ends.
    ///
    /// ```
    /// use std::io;
    /// use std::os::fd::AsRawFd;
    /// use std::time::Duration;
    ///
    /// use slabloop::Reactor;
    /// use slabloop::mio::unix::SourceFd;
    /// use slabloop::mio::{Events, Interest, Poll, Token};
    ///
    /// const REACTOR: Token = Token(0);
    ///
    /// fn main() -> io::Result<()> {
    ///     let mut reactor = Reactor::new()?;
    ///     reactor.call_later(Duration::from_millis(5), |_| println!("a timer of the reactor's"));
    ///
    ///     // The other loop; its own sources have other tokens.
    ///     let mut other = Poll::new()?;
    ///     let mut source = SourceFd(&reactor.as_raw_fd());
    ///     other.registry().register(&mut source, REACTOR, Interest::READABLE)?;
    ///     let mut events = Events::with_capacity(64);
    ///     while let Some(timeout) = reactor.next_timeout() {
    ///         other.poll(&mut events, Some(timeout))?;
    ///         reactor.turn(Duration::ZERO)?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn next_timeout(&mut self) -> Option<Duration> {
        // A wait brings no more events than its buffer takes, and a poller that watches ours by edges has seen
        // the only one there is.
        if self.events.is_full() {
            return Some(Duration::ZERO);
        }
        self.timeout(None)
    }
}

/// The poller's descriptor: readable when a turn would find events or posts. For embedding in another loop,
/// together with [`Reactor::turn`] and [`Reactor::next_timeout`]; for nothing but waiting.
impl AsFd for Reactor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.core.state.poller.registry().as_fd()
    }
}

impl AsRawFd for Reactor {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}
