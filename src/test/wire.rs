//! A simulated connection: what both ends know of it, and the reactor's end as its endpoint.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use mio::{Registry, Token};

use crate::world::address::Address;
use crate::world::endpoint::{Endpoint, Kind};
use crate::world::io::Io;
use crate::world::signals::Signals;
use crate::world::simulated::news::News;
use crate::world::socket::Socket;

/// What the peer does, in order.
#[derive(Debug)]
pub(super) enum Input {
    /// A piece: one `recv` with enough room gets all of it. Never empty.
    Piece(VecDeque<u8>),
    /// One `recv` fails.
    Error(io::Error),
    /// Nothing follows.
    End,
}

/// Whether there is a connection.
#[derive(Debug)]
pub(super) enum Link {
    /// An attempt that the peer has not answered.
    Attempt,
    /// An attempt that failed, with the error until it is asked for.
    Failed(Option<io::Error>),
    Up,
    /// A reset came from the peer. The first call gets to know it by `ConnectionReset`.
    Reset {
        told: bool,
    },
}

/// What became of the reactor's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Its write side is shut: the peer reads to an end.
    pub(super) end: bool,
    /// The peer got a reset.
    pub(super) reset: bool,
    pub(super) closed: bool,
}

/// A connection, as both of its ends have it.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) link: Link,
    pub(super) input: VecDeque<Input>,
    /// In which turn the first of the input is there.
    arrives: u64,
    /// What the dispatcher sent and the test has not taken.
    pub(super) output: VecDeque<u8>,
    pub(super) room: usize,
    pub(super) most_per_write: usize,
    pub(super) write_errors: VecDeque<io::Error>,
    /// The peer has closed, and answers what comes with a reset.
    pub(super) gone: bool,
    pub(super) seen: Seen,
    resets_when_closed: bool,
    /// The reactor asked for events that say that there is room.
    watches_room: bool,
    /// A write found no room, and an event is owed for it.
    blocked: bool,
    place: Option<(News, Token)>,
}

/// A connection that both ends hold.
pub(super) type Shared = Rc<RefCell<Wire>>;

impl Wire {
    pub(super) fn shared(link: Link) -> Shared {
        Rc::new(RefCell::new(Wire {
            link,
            input: VecDeque::new(),
            arrives: 0,
            output: VecDeque::new(),
            room: usize::MAX,
            most_per_write: usize::MAX,
            write_errors: VecDeque::new(),
            gone: false,
            seen: Seen::default(),
            resets_when_closed: false,
            watches_room: false,
            blocked: false,
            place: None,
        }))
    }

    fn turn(&self) -> u64 {
        self.place.as_ref().map_or(0, |(news, _)| news.turn())
    }

    fn report(&self, bits: u32) {
        if let (Some((news, token)), 1..) = (&self.place, bits) {
            news.merge(*token, bits);
        }
    }

    /// What epoll would say of it now.
    fn signals(&self) -> u32 {
        let room = if self.watches_room && self.free() > 0 {
            Signals::WRITABLE
        } else {
            0
        };
        match self.link {
            Link::Attempt => 0,
            Link::Failed(_) | Link::Reset { .. } => {
                Signals::READABLE
                    | Signals::READ_CLOSED
                    | Signals::HUNG_UP
                    | Signals::ERROR
                    | Signals::WRITABLE
            }
            Link::Up => match self.input.front() {
                None => room,
                Some(Input::End) => room | Signals::READABLE | Signals::READ_CLOSED,
                Some(_) => room | Signals::READABLE,
            },
        }
    }

    /// The next turn finds what there is, and an event that says so.
    pub(super) fn announce(&mut self) {
        self.arrives = self.turn() + 1;
        self.report(self.signals());
    }

    /// The peer does something more. It comes in a turn of its own, after all that comes before it was taken.
    #[track_caller]
    pub(super) fn push(&mut self, input: Input) {
        let ended = matches!(self.input.back(), Some(Input::End)) || self.gone;
        assert!(!ended, "the peer has ended its stream and can send no more");
        let is_first = self.input.is_empty();
        self.input.push_back(input);
        if is_first {
            self.announce();
        }
    }

    /// There is room again, or an event for a write that a script let fail.
    pub(super) fn may_write_again(&mut self) {
        if self.blocked && self.free() > 0 && self.watches_room {
            self.blocked = false;
            self.report(Signals::WRITABLE);
        }
    }

    /// The peer answers an attempt; true if there was one to be answered.
    pub(super) fn answer(&mut self, link: Link) -> bool {
        let waits = matches!(self.link, Link::Attempt);
        if waits {
            self.link = link;
            self.announce();
            // How an attempt ends is told by an event that says that there is room, whether there is or not.
            self.report(Signals::WRITABLE);
        }
        waits
    }

    /// The peer resets the connection, or refuses the attempt.
    pub(super) fn reset(&mut self) {
        self.input.clear();
        let error = io::ErrorKind::ConnectionReset.into();
        if !self.answer(Link::Failed(Some(error))) && matches!(self.link, Link::Up) {
            self.link = Link::Reset { told: false };
            self.announce();
        }
    }

    fn free(&self) -> usize {
        self.room.saturating_sub(self.output.len())
    }

    /// What a call says on a connection that is not up.
    fn check_up(&mut self) -> io::Result<()> {
        match &mut self.link {
            Link::Up => Ok(()),
            Link::Attempt | Link::Failed(_) => Err(io::ErrorKind::NotConnected.into()),
            Link::Reset { told: false } => {
                self.link = Link::Reset { told: true };
                Err(io::ErrorKind::ConnectionReset.into())
            }
            Link::Reset { told: true } => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.check_up() {
            // As after a reset that was reported.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(0),
            outcome => outcome?,
        }
        if self.turn() < self.arrives {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let taken = match self.input.front_mut() {
            None => return Err(io::ErrorKind::WouldBlock.into()),
            Some(Input::End) => return Ok(0),
            Some(Input::Piece(piece)) => {
                let taken = buffer.len().min(piece.len());
                for (to, from) in buffer.iter_mut().zip(piece.drain(..taken)) {
                    *to = from;
                }
                if !piece.is_empty() {
                    return Ok(taken);
                }
                self.input.pop_front();
                Ok(taken)
            }
            Some(Input::Error(_)) => match self.input.pop_front() {
                Some(Input::Error(error)) => Err(error),
                _ => unreachable!("it was looked at"),
            },
        };
        if !self.input.is_empty() {
            self.announce();
        }
        taken
    }

    fn send(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.check_up()?;
        if let Some(error) = self.write_errors.pop_front() {
            if error.kind() == io::ErrorKind::WouldBlock {
                self.blocked = true;
                self.may_write_again();
            }
            return Err(error);
        }
        if self.seen.end {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let wanted: usize = pieces.iter().map(|piece| piece.len()).sum();
        if self.gone {
            self.reset();
            return Ok(wanted);
        }
        let taken = wanted.min(self.free()).min(self.most_per_write);
        if taken == 0 && wanted > 0 {
            self.blocked = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let bytes = pieces.iter().flat_map(|piece| piece.iter().copied());
        self.output.extend(bytes.take(taken));
        Ok(taken)
    }

    /// The listener was closed before it was accepted.
    pub(super) fn refuse_unaccepted(&mut self) {
        self.seen.closed = true;
        self.seen.reset = true;
    }

    /// The reactor's end is closed.
    fn close(&mut self) {
        self.place = None;
        let unread = self
            .input
            .iter()
            .any(|input| matches!(input, Input::Piece(_)));
        self.seen.closed = true;
        if matches!(self.link, Link::Up) {
            let resets = unread || self.resets_when_closed;
            self.seen.reset |= resets;
            self.seen.end |= !resets;
        }
    }
}

/// The reactor's end.
#[derive(Debug)]
pub(super) struct End {
    wire: Shared,
    news: Option<News>,
}

impl End {
    fn new(wire: &Shared) -> End {
        End {
            wire: wire.clone(),
            news: None,
        }
    }

    /// As what a listener has accepted.
    pub(super) fn io(wire: &Shared) -> Io {
        Io::Other(Box::new(End::new(wire)))
    }

    /// As what can be added.
    pub(super) fn socket(wire: &Shared, peer: SocketAddr) -> Socket {
        let connecting = matches!(wire.borrow().link, Link::Attempt);
        Socket {
            connecting,
            ..Socket::other(End::new(wire)).with_address(Address::from(peer))
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.wire.borrow_mut().close();
    }
}

impl Endpoint for End {
    fn kind(&self) -> Kind {
        Kind::Stream
    }

    fn name(&self) -> &'static str {
        "a simulated connection"
    }

    fn report_to(&mut self, news: &News) {
        self.news = Some(news.clone());
    }

    fn is_simulated_attempt(&self) -> bool {
        matches!(self.wire.borrow().link, Link::Attempt | Link::Failed(_))
    }

    fn register(&mut self, _: &Registry, token: Token) -> io::Result<()> {
        let mut wire = self.wire.borrow_mut();
        wire.place = self.news.clone().map(|news| (news, token));
        // An attempt asks for room from the start, for that is how it is answered.
        wire.watches_room = !matches!(wire.link, Link::Up);
        wire.announce();
        Ok(())
    }

    fn deregister(&mut self, _: &Registry) -> io::Result<()> {
        self.wire.borrow_mut().place = None;
        Ok(())
    }

    fn watch_room(&mut self, _: &Registry, _: Token) -> io::Result<()> {
        let mut wire = self.wire.borrow_mut();
        wire.watches_room = true;
        wire.may_write_again();
        Ok(())
    }

    fn reset_when_closed(&self) {
        self.wire.borrow_mut().resets_when_closed = true;
    }

    fn urgent_inline(&self, _: bool) -> Option<io::Result<()>> {
        Some(Ok(()))
    }

    fn can_send(&self) -> bool {
        true
    }

    fn can_half_close(&self) -> bool {
        true
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wire.borrow_mut().recv(buffer)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send_vectored(&[IoSlice::new(bytes)])
    }

    fn send_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.wire.borrow_mut().send(pieces)
    }

    fn send_file(&mut self, file: &File, offset: u64, length: usize) -> io::Result<usize> {
        const MOST: usize = 64 * 1024;
        let mut bytes = vec![0; length.min(MOST)];
        let read = file.read_at(&mut bytes, offset)?;
        if read == 0 {
            return Ok(0);
        }
        self.send(&bytes[..read])
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        let mut wire = self.wire.borrow_mut();
        wire.seen.end |= matches!(wire.link, Link::Up);
        Ok(())
    }

    fn take_error(&mut self) -> io::Result<Option<io::Error>> {
        match &mut self.wire.borrow_mut().link {
            Link::Failed(error) => Ok(error.take()),
            _ => Ok(None),
        }
    }

    fn check_connected(&mut self) -> io::Result<()> {
        match self.wire.borrow().link {
            Link::Attempt | Link::Failed(_) => Err(io::ErrorKind::NotConnected.into()),
            Link::Up | Link::Reset { .. } => Ok(()),
        }
    }
}
