//! The content of one event, in bits that do not depend on the poller.

use mio::event::Event;

/// What one event says about one socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Signals(u32);

impl Signals {
    pub(crate) const READABLE: u32 = 1 << 0;
    pub(crate) const WRITABLE: u32 = 1 << 1;
    pub(crate) const READ_CLOSED: u32 = 1 << 2;
    pub(crate) const HUNG_UP: u32 = 1 << 3;
    pub(crate) const ERROR: u32 = 1 << 4;
    pub(crate) const URGENT: u32 = 1 << 5;

    pub(crate) const INPUT: Signals = Signals(Self::READABLE);

    /// All but readable and writable are hints in mio's terms: present where the system has them.
    #[inline]
    pub(crate) fn of(event: &Event) -> Signals {
        let just_readable = event.is_readable()
            && !event.is_priority()
            && !event.is_writable()
            && !event.is_error()
            && !event.is_read_closed();
        if just_readable {
            return Signals(Self::READABLE);
        }
        Signals::of_any(event)
    }

    #[inline]
    pub(crate) fn is_just_readable(self) -> bool {
        self.0 == Self::READABLE
    }

    #[inline(never)]
    fn of_any(event: &Event) -> Signals {
        let mut bits = 0;
        if event.is_readable() {
            bits |= Self::READABLE;
        }
        if event.is_writable() {
            bits |= Self::WRITABLE;
        }
        if event.is_read_closed() {
            bits |= Self::READ_CLOSED;
        }
        if event.is_write_closed() {
            bits |= Self::HUNG_UP;
        }
        if event.is_error() {
            bits |= Self::ERROR;
        }
        if event.is_priority() {
            bits |= Self::URGENT;
        }
        Signals(bits)
    }

    /// Whether a write that found no room is worth another try.
    #[inline]
    pub(crate) fn may_bring_room(self) -> bool {
        self.0 & (Self::WRITABLE | Self::HUNG_UP | Self::ERROR) != 0
    }

    #[inline]
    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    #[cfg(any(test, feature = "test"))]
    pub(crate) fn from_bits(bits: u32) -> Signals {
        Signals(bits)
    }
}

/// (Kqueue has an event for each direction.)
#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use mio::unix::SourceFd;
    use mio::{Events, Interest, Poll, Token, event::Source};

    use super::*;

    /// Guards against a hang.
    const DEADLINE: Duration = Duration::from_secs(60);

    /// What a poller's first event for `stream` says.
    fn seen(stream: &UnixStream, interest: Interest) -> Signals {
        let mut poll = Poll::new().expect("a poller");
        let mut events = Events::with_capacity(8);
        SourceFd(&stream.as_raw_fd())
            .register(poll.registry(), Token(1), interest)
            .expect("a socket");
        poll.poll(&mut events, Some(DEADLINE)).expect("no signal");
        assert!(!events.is_empty(), "there is an event");
        Signals::of(events.iter().next().expect("one"))
    }

    #[test]
    fn an_event_for_both_directions_says_so() {
        let (stream, mut peer) = UnixStream::pair().expect("descriptors");
        let both = Interest::READABLE | Interest::WRITABLE;
        assert_eq!(seen(&stream, both).bits(), Signals::WRITABLE);
        peer.write_all(b"x").expect("there is room");
        assert_eq!(
            seen(&stream, both).bits(),
            Signals::READABLE | Signals::WRITABLE
        );
        let input = seen(&stream, Interest::READABLE);
        assert_eq!(input, Signals::INPUT);
        assert!(input.is_just_readable() && !input.may_bring_room());
        assert!(!seen(&stream, both).is_just_readable());
        assert!(seen(&stream, both).may_bring_room());
    }
}
