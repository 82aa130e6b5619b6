//! A clock, a kernel and sockets that a test supplies, in place of the system's.
//!
//! The seam is the same one that mio sits behind: a poller that hands out events, sockets as endpoints,
//! one clock. The reactor above it is not a different reactor.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mio::{Registry, Token};

use crate::world::address::Address;
use crate::world::endpoint::{Endpoint, Kind};
use crate::world::io::Io;
use crate::world::signals::Signals;
use crate::world::socket::Socket;

/// A clock that moves only when the test moves it. Clones are the same clock.
///
/// Waiting does not make it pass, so on it timers do not bound the wait: the test moves the clock, or
/// its kernel does, which then says so by [`SimClock::passes_while_waiting`].
#[derive(Clone, Debug, Default)]
pub struct SimClock(Arc<SimTime>);

#[derive(Debug)]
struct SimTime {
    start: Instant,
    nanos: AtomicU64,
    reads: AtomicU64,
    passes: AtomicBool,
}

impl Default for SimTime {
    fn default() -> SimTime {
        SimTime {
            start: Instant::now(),
            nanos: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            passes: AtomicBool::new(false),
        }
    }
}

impl SimClock {
    /// A clock at zero.
    #[must_use]
    pub fn new() -> SimClock {
        SimClock::default()
    }

    /// The time since the clock was made.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.0.reads.fetch_add(1, Ordering::Relaxed);
        Duration::from_nanos(self.0.nanos.load(Ordering::Relaxed))
    }

    /// How often it has been read.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.0.reads.load(Ordering::Relaxed)
    }

    /// From now on timers bound the wait, as on a real clock: the test's kernel moves this one by the
    /// timeout of each wait.
    pub fn passes_while_waiting(&self) {
        self.0.passes.store(true, Ordering::Relaxed);
    }

    /// The instant that counts as the clock's zero.
    pub(crate) fn start(&self) -> Instant {
        self.0.start
    }

    pub(crate) fn passes(&self) -> bool {
        self.0.passes.load(Ordering::Relaxed)
    }

    /// Moves it on.
    ///
    /// # Panics
    ///
    /// If it were moved past 584 years.
    pub fn advance(&self, by: Duration) {
        let by =
            u64::try_from(by.as_nanos()).expect("a simulated clock moves by less than 584 years");
        self.0.nanos.fetch_add(by, Ordering::Relaxed);
    }
}

/// The bits of an invented event.
#[derive(Clone, Copy, Debug)]
pub struct Bits;

impl Bits {
    /// Input.
    pub const READABLE: u32 = Signals::READABLE;
    /// Room.
    pub const WRITABLE: u32 = Signals::WRITABLE;
    /// The peer has finished sending.
    pub const READ_CLOSED: u32 = Signals::READ_CLOSED;
    /// Both halves are shut.
    pub const HUNG_UP: u32 = Signals::HUNG_UP;
    /// An error is pending.
    pub const ERROR: u32 = Signals::ERROR;
    /// Urgent data.
    pub const URGENT: u32 = Signals::URGENT;
}

/// A kernel that a test supplies, in place of epoll.
pub trait SimKernel {
    /// Waits for at most `timeout` of whatever time the test keeps, and says what happened: the token
    /// that each socket was registered with, and [`Bits`].
    ///
    /// # Errors
    ///
    /// What the test wants the wait to fail with.
    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<(Token, u32)>)
    -> io::Result<()>;

    /// As `socket(2)` and `connect(2)` of a non-blocking stream: the socket, and what `connect` said. `None`
    /// leaves it to the system.
    ///
    /// # Errors
    ///
    /// Inside the `Option`: what `socket` failed with.
    fn dial(&mut self, _: SocketAddr) -> Option<io::Result<Dialled>> {
        None
    }
}

/// A socket whose `connect` was called, and what that said.
pub type Dialled = (Box<dyn SimSocket>, io::Result<()>);

/// What a simulated socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimKind {
    /// A stream.
    Stream,
    /// A listener.
    Listener,
    /// A datagram socket.
    Datagram,
    /// The reading end of a pipe.
    PipeReader,
    /// The writing end of a pipe.
    PipeWriter,
}

/// A socket that a test supplies: all of its own, or a real one with faults in between.
pub trait SimSocket {
    /// What it is.
    fn kind(&self) -> SimKind;

    /// It enters the poller. A socket of a simulated kernel notes the token.
    ///
    /// # Errors
    ///
    /// As the test wants.
    fn register(&mut self, _: Token) -> io::Result<()> {
        Ok(())
    }

    /// It leaves the poller.
    ///
    /// # Errors
    ///
    /// As the test wants.
    fn deregister(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// It asks for the events that say that there is room.
    ///
    /// # Errors
    ///
    /// As the test wants.
    fn watch_room(&mut self, _: Token) -> io::Result<()> {
        Ok(())
    }

    /// The peer's address; without one it stands for a Unix socket, whose peer sees no resets.
    fn peer(&self) -> Option<SocketAddr> {
        None
    }

    /// As `SO_LINGER` with a time of zero.
    fn reset_when_closed(&self) {}

    /// As `SO_OOBINLINE`; `None` where there is no such option.
    fn urgent_inline(&self, _: bool) -> Option<io::Result<()>> {
        None
    }

    /// As `recv(2)`.
    ///
    /// # Errors
    ///
    /// As the test wants.
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// As `send(2)`.
    ///
    /// # Errors
    ///
    /// As the test wants.
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// As `sendmsg(2)` with several pieces; takes the first of them, or a part of it.
    ///
    /// # Errors
    ///
    /// As the test wants.
    fn send_vectored(&mut self, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.send(pieces.first().map_or(&[], |first| first))
    }

    /// As `shutdown(2)`, the write side.
    ///
    /// # Errors
    ///
    /// As the test wants.
    fn shutdown_write(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// As `accept4(2)`.
    ///
    /// # Errors
    ///
    /// As the test wants.
    fn accept(&mut self) -> io::Result<Box<dyn SimSocket>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The pending error of a connection attempt.
    ///
    /// # Errors
    ///
    /// As the test wants.
    fn take_error(&mut self) -> io::Result<Option<io::Error>> {
        Ok(None)
    }

    /// Whether a connection attempt has succeeded: `NotConnected` if not yet.
    ///
    /// # Errors
    ///
    /// As the test wants.
    fn check_connected(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for dyn SimSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimSocket({:?})", self.kind())
    }
}

impl Endpoint for Box<dyn SimSocket> {
    fn kind(&self) -> Kind {
        match (**self).kind() {
            SimKind::Stream | SimKind::PipeReader | SimKind::PipeWriter => Kind::Stream,
            SimKind::Listener => Kind::Listener,
            SimKind::Datagram => Kind::Datagram,
        }
    }

    fn name(&self) -> &'static str {
        "a simulated socket"
    }

    fn register(&mut self, _: &Registry, token: Token) -> io::Result<()> {
        (**self).register(token)
    }

    fn deregister(&mut self, _: &Registry) -> io::Result<()> {
        (**self).deregister()
    }

    fn watch_room(&mut self, _: &Registry, token: Token) -> io::Result<()> {
        (**self).watch_room(token)
    }

    fn reset_when_closed(&self) {
        (**self).reset_when_closed();
    }

    fn urgent_inline(&self, on: bool) -> Option<io::Result<()>> {
        (**self).urgent_inline(on)
    }

    fn can_recv(&self) -> bool {
        (**self).kind() != SimKind::PipeWriter
    }

    fn can_send(&self) -> bool {
        matches!((**self).kind(), SimKind::Stream | SimKind::PipeWriter)
    }

    fn can_half_close(&self) -> bool {
        (**self).kind() == SimKind::Stream
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (**self).recv(buffer)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (**self).send(bytes)
    }

    fn send_vectored(&mut self, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
        (**self).send_vectored(pieces)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        (**self).shutdown_write()
    }

    fn accept(&mut self) -> io::Result<(Io, Address)> {
        let socket = (**self).accept()?;
        let address = socket.peer().map_or(Address::None, Address::from);
        Ok((Io::Other(Box::new(socket)), address))
    }

    fn take_error(&mut self) -> io::Result<Option<io::Error>> {
        (**self).take_error()
    }

    fn check_connected(&mut self) -> io::Result<()> {
        (**self).check_connected()
    }
}

impl From<Box<dyn SimSocket>> for Socket {
    fn from(socket: Box<dyn SimSocket>) -> Socket {
        let address = socket.peer().map_or(Address::None, Address::from);
        Socket {
            address,
            ..Socket::other(socket)
        }
    }
}

/// What the poller keeps of all this.
#[derive(Default)]
pub(crate) struct Simulated {
    pub(crate) kernel: Option<Box<dyn SimKernel>>,
    pub(crate) events: Vec<(Token, u32)>,
    /// The timeouts handed to the wait.
    pub(crate) waits: Vec<Option<Duration>>,
}

impl Simulated {
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> Option<io::Result<()>> {
        self.waits.push(timeout);
        Some(self.kernel.as_mut()?.wait(timeout, &mut self.events))
    }

    pub(crate) fn dial(&mut self, address: SocketAddr) -> Option<io::Result<Dialled>> {
        self.kernel.as_mut()?.dial(address)
    }

    pub(crate) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    pub(crate) fn hand_over(&mut self, news: &mut Vec<(Token, Signals)>) {
        let events = self.events.drain(..);
        news.extend(events.map(|(token, bits)| (token, Signals::from_bits(bits))));
    }
}

impl fmt::Debug for Simulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulated")
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}
