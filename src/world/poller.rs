//! The seam to the kernel: registering and waiting, the only place where the program sleeps.
//!
//! Events enter the turn here and nowhere else, and the clock is the other half of the seam
//! (`clock.rs`), so the same reactor runs on sockets and a clock that a test supplies. Without the
//! feature `test` there is nothing but mio behind it.

use std::io;
use std::time::Duration;

#[cfg(feature = "test")]
use mio::Token;
use mio::{Poll, Registry, Waker};

use crate::world::errors::is_interrupted;
use crate::world::ids::AnyId;
use crate::world::io::Io;
use crate::world::signals::Signals;

/// What the waker's event is known by: an id that no slot ever has.
pub(crate) const WAKER: AnyId = AnyId::NONE;

#[derive(Debug)]
pub(crate) struct Poller {
    poll: Poll,
    #[cfg(feature = "test")]
    pub(crate) simulated: crate::world::simulated::Simulated,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Poller> {
        Ok(Poller {
            poll: Poll::new()?,
            #[cfg(feature = "test")]
            simulated: crate::world::simulated::Simulated::default(),
        })
    }

    pub(crate) fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    pub(crate) fn waker(&self) -> io::Result<Waker> {
        Waker::new(self.poll.registry(), WAKER.token())
    }

    pub(crate) fn register(&self, io: &mut Io, id: AnyId, room: bool) -> io::Result<()> {
        #[cfg(feature = "test")]
        io.report_to(&self.simulated.news);
        io.register(self.poll.registry(), id.token(), room)
    }

    pub(crate) fn watch_room(&self, io: &mut Io, id: AnyId) -> io::Result<()> {
        io.watch_room(self.poll.registry(), id.token())
    }

    pub(crate) fn deregister(&self, io: &mut Io) -> io::Result<()> {
        io.deregister(self.poll.registry())
    }

    /// Waits until something happens or `timeout` is over; `None` waits without limit.
    ///
    /// A signal ends the wait with no events, as if the time were over: the turn goes on and the next
    /// one works out its timeout afresh. Every other failure is final; retrying it would spin.
    pub(crate) fn wait(
        &mut self,
        events: &mut Events,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        /// Twenty days. The kernel counts milliseconds in 32 bits, and mio before 1.2.1 lets a longer
        /// time wrap around. Cut short, it is one more turn.
        const LONGEST: Duration = Duration::from_secs(20 * 24 * 3600);
        let timeout = timeout.map(|timeout| timeout.min(LONGEST));
        events.taken = 0;
        let outcome = self.ask_the_kernel(&mut events.reported, timeout);
        #[cfg(feature = "test")]
        self.simulated.hand_over(&mut events.simulated);
        match outcome {
            Err(error) if is_interrupted(&error) => {
                events.reported.clear();
                Ok(())
            }
            outcome => outcome,
        }
    }

    fn ask_the_kernel(
        &mut self,
        events: &mut mio::Events,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        #[cfg(feature = "testing")]
        if let Some(outcome) = self.simulated.wait(timeout) {
            events.clear();
            return outcome;
        }
        #[cfg(feature = "test")]
        let timeout = if self.simulated.news.is_empty() {
            timeout
        } else {
            Some(Duration::ZERO)
        };
        self.poll.poll(events, timeout)
    }
}

/// What a wait brought, and how much of that has been taken. Apart from the [`Poller`], so that
/// callbacks can have the poller while events are being worked through.
#[derive(Debug)]
pub(crate) struct Events {
    reported: mio::Events,
    taken: usize,
    #[cfg(feature = "test")]
    simulated: Vec<(Token, Signals)>,
}

impl Events {
    pub(crate) fn with_capacity(events_per_wait: usize) -> Events {
        Events {
            reported: mio::Events::with_capacity(events_per_wait),
            taken: 0,
            #[cfg(feature = "test")]
            simulated: Vec::new(),
        }
    }

    /// How many events the wait brought.
    pub(crate) fn len(&self) -> usize {
        let events = self.reported.iter().count();
        #[cfg(feature = "test")]
        let events = events + self.simulated.len();
        events
    }

    /// Whether the wait brought as many events as it can: there may be more.
    pub(crate) fn is_full(&self) -> bool {
        self.reported.iter().count() == self.reported.capacity()
    }

    /// Whether there is nothing to hand over.
    pub(crate) fn is_empty(&self) -> bool {
        #[cfg(feature = "test")]
        if !self.simulated.is_empty() {
            return false;
        }
        self.reported.is_empty()
    }

    /// Hands over what has not been handed over yet. If `each` panics the next call goes on behind
    /// the event that it was given.
    #[inline]
    pub(crate) fn take(&mut self, mut each: impl FnMut(AnyId, Signals)) {
        let mut rest = self.reported.iter();
        if self.taken > 0 {
            rest.nth(self.taken - 1);
        }
        let mut cursor = Cursor {
            count: self.taken,
            taken: &mut self.taken,
        };
        for event in rest {
            cursor.count += 1;
            each(AnyId::from_token(event.token()), Signals::of(event));
        }
        drop(cursor);
        #[cfg(feature = "test")]
        while !self.simulated.is_empty() {
            let (token, signals) = self.simulated.remove(0);
            each(AnyId::from_token(token), signals);
        }
    }
}

/// How many events have been taken: counted in a register, and written down at the end, also by a panic.
struct Cursor<'a> {
    count: usize,
    taken: &'a mut usize,
}

impl Drop for Cursor<'_> {
    fn drop(&mut self) {
        *self.taken = self.count;
    }
}
