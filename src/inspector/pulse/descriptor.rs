//! A timer of the kernel's that is a descriptor.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::mio::event::Source;
use crate::mio::unix::SourceFd;
use crate::mio::{Interest, Registry, Token};
use crate::{AnyId, Context, Dispatcher, Id, Socket};

use super::super::hub::Hub;

/// It is readable once a period.
pub(super) fn add(cx: &mut Context<'_>, hub: Id<Hub>, period: Duration) -> io::Result<AnyId> {
    let timer = Socket::foreign_with(Timer::new(period)?, Interest::READABLE);
    Ok(cx.add(timer, Beating { hub })?.any())
}

struct Timer(OwnedFd);

impl Timer {
    fn new(period: Duration) -> io::Result<Timer> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let period = Timespec::try_from(period).map_err(io::Error::other)?;
        let times = Itimerspec {
            it_interval: period,
            it_value: period,
        };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &times)?;
        Ok(Timer(timer))
    }

    /// Whether a period is over, or some. They are taken.
    fn take(&self) -> bool {
        rustix::io::read(&self.0, &mut [0; 8]).is_ok()
    }
}

impl Source for Timer {
    fn register(&mut self, registry: &Registry, token: Token, on: Interest) -> io::Result<()> {
        SourceFd(&self.0.as_raw_fd()).register(registry, token, on)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, on: Interest) -> io::Result<()> {
        SourceFd(&self.0.as_raw_fd()).reregister(registry, token, on)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.0.as_raw_fd()).deregister(registry)
    }
}

/// Has the hub make beats.
#[derive(Debug)]
struct Beating {
    hub: Id<Hub>,
}

impl Dispatcher for Beating {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut is_due = false;
        let _: io::Result<()> = cx.read_with(|timer: &mut Timer| {
            is_due = timer.take();
            // Nothing is left to be read.
            Err(io::ErrorKind::WouldBlock.into())
        });
        if is_due {
            return cx.with(self.hub, Hub::beat).unwrap_or(Ok(()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::mio::{Events, Poll};

    #[test]
    fn it_is_due_once_a_period_and_not_before() {
        let mut timer = Timer::new(Duration::from_millis(1)).unwrap();
        let mut poll = Poll::new().unwrap();
        let registry = poll.registry();
        timer
            .register(registry, Token(0), Interest::READABLE)
            .unwrap();
        for _ in 0..3 {
            poll.poll(&mut Events::with_capacity(1), None).unwrap();
            assert!(timer.take());
        }
        assert!(!Timer::new(Duration::from_secs(3600)).unwrap().take());
    }
}
