//! The seam to the kernel: registering and waiting, the only place where the program sleeps.
//!
//! Events enter the turn here and nowhere else, and the clock is the other half of the seam
//! (`clock.rs`), so the same reactor runs on a kernel and a clock that a test supplies. Without the
//! feature `testing` there is nothing but mio behind it.

use std::io;
use std::time::Duration;

use mio::{Events, Poll, Registry, Waker};

use crate::errors::is_interrupted;
use crate::readiness::Signals;
use crate::slots::AnyId;
use crate::socket::Socket;

/// What the waker's event is known by: an id that no slot ever has.
pub(crate) const WAKER: AnyId = AnyId::NOBODY;

#[derive(Debug)]
pub(crate) struct Poller {
    poll: Poll,
    events: Events,
    #[cfg(feature = "testing")]
    pub(crate) simulated: crate::testing::Simulated,
}

impl Poller {
    pub(crate) fn new(events_per_wait: usize) -> io::Result<Poller> {
        Ok(Poller {
            poll: Poll::new()?,
            events: Events::with_capacity(events_per_wait),
            #[cfg(feature = "testing")]
            simulated: crate::testing::Simulated::default(),
        })
    }

    pub(crate) fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    pub(crate) fn waker(&self) -> io::Result<Waker> {
        Waker::new(self.poll.registry(), WAKER.token())
    }

    pub(crate) fn register(&self, socket: &mut Socket, id: AnyId, room: bool) -> io::Result<()> {
        socket.register(self.poll.registry(), id.token(), room)
    }

    pub(crate) fn watch_room(&self, socket: &mut Socket, id: AnyId) -> io::Result<()> {
        socket.watch_room(self.poll.registry(), id.token())
    }

    pub(crate) fn deregister(&self, socket: &mut Socket) -> io::Result<()> {
        socket.deregister(self.poll.registry())
    }

    /// Waits until something happens or `timeout` is over; `None` waits for ever.
    ///
    /// A signal ends the wait with no events, as if the time were over: the turn goes on and the next
    /// one works out its time-out afresh. Every other failure is final; retrying it would spin.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        /// Twenty days. The kernel counts milliseconds in 32 bits, and mio before 1.2.1 lets a longer
        /// time wrap around. Cut short, it is one more turn.
        const LONGEST: Duration = Duration::from_secs(20 * 24 * 3600);
        let timeout = timeout.map(|timeout| timeout.min(LONGEST));
        match self.ask_the_kernel(timeout) {
            Err(error) if is_interrupted(&error) => {
                self.events.clear();
                Ok(())
            }
            outcome => outcome,
        }
    }

    fn ask_the_kernel(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        #[cfg(feature = "testing")]
        if let Some(outcome) = self.simulated.wait(timeout) {
            self.events.clear();
            return outcome;
        }
        #[cfg(feature = "testing")]
        let timeout = if self.simulated.has_events() {
            Some(Duration::ZERO)
        } else {
            timeout
        };
        self.poll.poll(&mut self.events, timeout)
    }

    /// Hands over what the last wait brought.
    #[inline]
    pub(crate) fn drain(&mut self, mut each: impl FnMut(AnyId, Signals)) {
        for event in &self.events {
            each(AnyId::from_token(event.token()), Signals::of(event));
        }
        #[cfg(feature = "testing")]
        for (token, signals) in self.simulated.drain() {
            each(AnyId::from_token(token), signals);
        }
    }
}
