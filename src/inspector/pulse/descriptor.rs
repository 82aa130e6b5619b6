//! A timer of the kernel's that is a descriptor.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::mio::Interest;
use crate::{AnyId, Context, Descriptor, Dispatcher, Id, Socket};

use super::super::hub::Hub;

/// It is readable once a period.
pub(super) fn add(cx: &mut Context<'_>, hub: Id<Hub>, period: Duration) -> io::Result<AnyId> {
    let timer = Socket::from_fd(timer(period)?, Interest::READABLE);
    Ok(cx.add(timer, Beating { hub })?.any())
}

fn timer(period: Duration) -> io::Result<OwnedFd> {
    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
    let period = Timespec::try_from(period).map_err(io::Error::other)?;
    let times = Itimerspec {
        it_interval: period,
        it_value: period,
    };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &times)?;
    Ok(timer)
}

/// Whether a period is over, or some. They are taken.
fn take(timer: &mut impl Read) -> bool {
    timer.read(&mut [0; 8]).is_ok()
}

/// Has the hub make beats.
#[derive(Debug)]
struct Beating {
    hub: Id<Hub>,
}

impl Dispatcher for Beating {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut is_due = false;
        let _: io::Result<()> = cx.read_with(|timer: &mut Descriptor| {
            is_due = take(timer);
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

    use std::fs::File;
    use std::os::fd::AsRawFd;

    use crate::mio::unix::SourceFd;
    use crate::mio::{Events, Poll, Token};

    #[test]
    fn it_is_due_once_a_period_and_not_before() {
        let due = |period| timer(period).map(File::from);
        let mut timer = due(Duration::from_millis(1)).unwrap();
        let mut poll = Poll::new().unwrap();
        let registry = poll.registry();
        registry
            .register(
                &mut SourceFd(&timer.as_raw_fd()),
                Token(0),
                Interest::READABLE,
            )
            .unwrap();
        for _ in 0..3 {
            poll.poll(&mut Events::with_capacity(1), None).unwrap();
            assert!(take(&mut timer));
        }
        assert!(!take(&mut due(Duration::from_secs(3600)).unwrap()));
    }
}
