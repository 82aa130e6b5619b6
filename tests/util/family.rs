//! One body, three families: helpers for tests that run over IPv4, IPv6 and Unix sockets alike.
//!
//! A test of all families is a function that takes a [`Family`], and its name in the list of
//! [`over_all_families`]; a test of TCP alone stands in [`over_v4_and_v6`]. The macros make the `#[test]`
//! functions, `name::v4`, `name::v6` and `name::unix`, so that no family can be forgotten; a body that
//! stands in no list is an unused function, which the compiler reports.

#![allow(dead_code, unused_macros, reason = "each test file uses a part")]

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use slabloop::{Context, Dispatcher, Id, Reactor, Socket};

use crate::util::{Accepting, DEADLINE, Diary, Spy, turn_until};

/// The far end of a connection: blocking, with a deadline.
pub(crate) type Peer = socket2::Socket;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
    Unix,
}

/// The tests of a body for both kinds of internet address; stands in a module of its name.
macro_rules! over_inet {
    ($name:ident) => {
        #[test]
        fn v4() {
            super::$name(Family::V4);
        }

        #[test]
        fn v6() {
            if Family::V6.is_here() {
                super::$name(Family::V6);
            }
        }
    };
}
#[allow(unused_imports, reason = "each test file uses a part")]
pub(crate) use over_inet;

/// Makes three tests of each body.
macro_rules! over_all_families {
    ($($name:ident)*) => {
        $(mod $name {
            use crate::family::Family;

            crate::family::over_inet!($name);

            #[test]
            fn unix() {
                super::$name(Family::Unix);
            }
        })*
    };
}
#[allow(unused_imports, reason = "each test file uses a part")]
pub(crate) use over_all_families;

/// Makes two tests of each body: for what Unix sockets don't have.
macro_rules! over_v4_and_v6 {
    ($($name:ident)*) => {
        $(mod $name {
            use crate::family::Family;

            crate::family::over_inet!($name);
        })*
    };
}
#[allow(unused_imports, reason = "each test file uses a part")]
pub(crate) use over_v4_and_v6;

impl Family {
    /// Whether this host has it. If not, it says so.
    pub(crate) fn is_here(self) -> bool {
        let here = self == Family::Unix || TcpListener::bind(self.any_port()).is_ok();
        if !here {
            eprintln!("SKIPPED: this host has no {self:?}");
        }
        here
    }

    /// Loopback, any port.
    pub(crate) fn any_port(self) -> SocketAddr {
        let address = match self {
            Family::V4 => "127.0.0.1:0",
            Family::V6 => "[::1]:0",
            Family::Unix => unreachable!("Unix sockets have no ports"),
        };
        address.parse().expect("an address")
    }

    pub(crate) fn domain(self) -> socket2::Domain {
        match self {
            Family::V4 => socket2::Domain::IPV4,
            Family::V6 => socket2::Domain::IPV6,
            Family::Unix => socket2::Domain::UNIX,
        }
    }

    /// A listener of the reactor's, and where it listens.
    pub(crate) fn listen<D: Dispatcher>(
        self,
        reactor: &mut Reactor,
        dispatcher: D,
    ) -> (Id<D>, Place) {
        if self == Family::Unix {
            let place = Place::new_path();
            let Place::Path(path) = &place else {
                unreachable!("it was just made");
            };
            let id = reactor.listen_unix(&path.0, dispatcher);
            return (id.expect("a free path"), place);
        }
        let id = reactor.listen(self.any_port(), dispatcher);
        let id = id.expect("a free port");
        let address = reactor.local_addr(id).expect("a listener has an address");
        (id, Place::Inet(address))
    }

    /// As [`Family::listen`], with connections made by `make`.
    pub(crate) fn serve<D: Dispatcher>(
        self,
        reactor: &mut Reactor,
        make: impl FnMut() -> D + 'static,
    ) -> Place {
        self.listen(reactor, Accepting(make)).1
    }

    /// A connected pair: an end for the reactor, and the far end.
    pub(crate) fn pair(self) -> (socket2::Socket, Peer) {
        let (ours, peer): (socket2::Socket, Peer) = match self {
            Family::Unix => {
                let (ours, peer) = UnixStream::pair().expect("a pair of sockets");
                (ours.into(), peer.into())
            }
            Family::V4 | Family::V6 => {
                let listener = TcpListener::bind(self.any_port()).expect("a free port");
                let address = listener.local_addr().expect("a listener has an address");
                let peer = TcpStream::connect(address).expect("loopback connects");
                peer.set_nodelay(true).expect("tcp");
                let (ours, _) = listener.accept().expect("it is in the queue");
                (ours.into(), peer.into())
            }
        };
        with_deadline(&peer);
        (ours, peer)
    }

    /// As [`Family::pair`], with little room in the kernel on the way to the far end. (Not as little as it
    /// can be: on loopback a window of less than a segment makes TCP wait for its timers.)
    pub(crate) fn narrow_pair(self) -> (socket2::Socket, Peer) {
        let (ours, peer) = self.pair();
        ours.set_send_buffer_size(4096).expect("a size");
        peer.set_recv_buffer_size(64 * 1024).expect("a size");
        (ours, peer)
    }

    /// What `add` takes.
    pub(crate) fn socket(self, ours: socket2::Socket) -> Socket {
        match self {
            Family::Unix => UnixStream::from(OwnedFd::from(ours)).into(),
            Family::V4 | Family::V6 => TcpStream::from(OwnedFd::from(ours)).into(),
        }
    }

    /// A pair of which one end is in the reactor.
    pub(crate) fn added<D: Dispatcher>(
        self,
        reactor: &mut Reactor,
        dispatcher: D,
    ) -> (Id<D>, Peer) {
        let (ours, peer) = self.pair();
        let id = reactor.add(self.socket(ours), dispatcher);
        (id.expect("a stream can be added"), peer)
    }

    /// A pair of which one end is in the reactor, with input waiting for it since before it was added:
    /// its first turn sees that input.
    pub(crate) fn added_with_input<D: Dispatcher>(
        self,
        reactor: &mut Reactor,
        dispatcher: D,
        input: &[u8],
    ) -> (Id<D>, Peer) {
        let (ours, peer) = self.pair();
        (&peer).write_all(input).expect("room");
        until_arrived(&ours, input.len());
        let id = reactor.add(self.socket(ours), dispatcher);
        (id.expect("a stream can be added"), peer)
    }

    /// Both ends in one reactor, connected through a listener that is gone by then: the accepted one, and
    /// the one that connected, which has had its `handle_connect`.
    pub(crate) fn both_ends(
        self,
        reactor: &mut Reactor,
        server: Spy,
        client: Spy,
    ) -> (Id<Spy>, Id<Spy>) {
        let diary = client.diary.clone();
        let who = client.who;
        let mut server = Some(server);
        let made: Rc<RefCell<Option<Id<Spy>>>> = Rc::default();
        let keep = Rc::clone(&made);
        let accept = Taking(move |cx: &mut Context<'_>, accepted| {
            let id = cx.add(accepted, server.take().expect("one client"))?;
            *keep.borrow_mut() = Some(id);
            Ok(())
        });
        let (listener, place) = self.listen(reactor, accept);
        let client = place.connect(reactor, client).expect("it listens");
        turn_until(reactor, "both ends", |_| {
            diary.count(who, "connect") == 1 && made.borrow().is_some()
        });
        reactor.at(listener).expect("it listens").close();
        let closed = reactor.counters().closed;
        turn_until(reactor, "the listener's end", |reactor| {
            reactor.counters().closed > closed
        });
        let server = made.borrow().expect("it was accepted");
        (server, client)
    }

    /// Has our end see a reset and not an end of stream. On a Unix socket that takes something unread at
    /// the far end: see [`Family::arm_reset`].
    pub(crate) fn reset(self, peer: Peer) {
        if self != Family::Unix {
            peer.set_linger(Some(Duration::ZERO)).expect("tcp");
        }
        drop(peer);
    }

    /// What our end must have sent beforehand for [`Family::reset`] to be one.
    pub(crate) fn arm_reset(self, ours: &socket2::Socket) {
        if self == Family::Unix {
            (&*ours).write_all(b"never read").expect("room");
        }
    }
}

/// Accepts with a closure.
pub(crate) struct Taking<F>(pub(crate) F);

impl<F> Dispatcher for Taking<F>
where
    F: FnMut(&mut Context<'_>, slabloop::Accepted) -> io::Result<()> + 'static,
{
    fn handle_accept(
        &mut self,
        cx: &mut Context<'_>,
        accepted: slabloop::Accepted,
    ) -> io::Result<()> {
        (self.0)(cx, accepted)
    }
}

/// Where a listener listens. Clones are the same place; a path is removed with the last.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Inet(SocketAddr),
    Path(Rc<UnixPath>),
}

/// A path for a Unix socket that no other test has.
#[derive(Debug)]
pub(crate) struct UnixPath(pub(crate) PathBuf);

impl Drop for UnixPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Place {
    pub(crate) fn new_path() -> Place {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let file = format!("slabloop-family-{}-{number}", std::process::id());
        Place::Path(Rc::new(UnixPath(std::env::temp_dir().join(file))))
    }

    pub(crate) fn connect<D: Dispatcher>(
        &self,
        reactor: &mut Reactor,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        match self {
            Place::Inet(address) => reactor.connect(*address, dispatcher),
            Place::Path(path) => reactor.connect_unix(&path.0, dispatcher),
        }
    }

    pub(crate) fn connect_from<D: Dispatcher>(
        &self,
        cx: &mut Context<'_>,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        match self {
            Place::Inet(address) => cx.connect(*address, dispatcher),
            Place::Path(path) => cx.connect_unix(&path.0, dispatcher),
        }
    }

    /// Listens here a second time.
    pub(crate) fn listen_again<D: Dispatcher>(
        &self,
        reactor: &mut Reactor,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        match self {
            Place::Inet(address) => reactor.listen(*address, dispatcher),
            Place::Path(path) => reactor.listen_unix(&path.0, dispatcher),
        }
    }

    /// A client beside the reactor, connected as far as the kernel goes.
    pub(crate) fn client(&self) -> Peer {
        let peer: Peer = match self {
            Place::Inet(address) => {
                let peer = TcpStream::connect(address).expect("somebody listens");
                peer.set_nodelay(true).expect("tcp");
                peer.into()
            }
            Place::Path(path) => UnixStream::connect(&path.0)
                .expect("somebody listens")
                .into(),
        };
        with_deadline(&peer);
        peer
    }

    /// A listener beside the reactor.
    pub(crate) fn std_listener(family: Family) -> (OwnedFd, Place) {
        if family == Family::Unix {
            let place = Place::new_path();
            let Place::Path(path) = &place else {
                unreachable!("it was just made");
            };
            let listener = UnixListener::bind(&path.0).expect("a free path");
            return (listener.into(), place);
        }
        let listener = TcpListener::bind(family.any_port()).expect("a free port");
        let address = listener.local_addr().expect("a listener has an address");
        (listener.into(), Place::Inet(address))
    }
}

fn with_deadline(peer: &Peer) {
    peer.set_read_timeout(Some(DEADLINE)).expect("a time");
    peer.set_write_timeout(Some(DEADLINE)).expect("a time");
}

/// Waits until this many bytes lie in the socket's receive buffer.
pub(crate) fn until_arrived(socket: &socket2::Socket, bytes: usize) {
    let deadline = Instant::now() + DEADLINE;
    let mut place = vec![std::mem::MaybeUninit::new(0); bytes];
    while !matches!(socket.peek(&mut place), Ok(seen) if seen == bytes) {
        assert!(Instant::now() < deadline, "{bytes} bytes do not arrive");
        std::thread::yield_now();
    }
}

/// Waits, beside any reactor, until the kernel says this of a socket.
pub(crate) fn until_kernel_says(
    socket: &impl AsRawFd,
    what: &str,
    says: impl Fn(&mio::event::Event) -> bool,
) {
    let deadline = Instant::now() + DEADLINE;
    let all = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
    loop {
        // Registering anew reports the present state, so that nothing can be missed.
        let mut poll = Poll::new().expect("a poller");
        let mut events = Events::with_capacity(4);
        poll.registry()
            .register(&mut SourceFd(&socket.as_raw_fd()), Token(0), all)
            .expect("a socket can be polled");
        poll.poll(&mut events, Some(Duration::from_millis(5)))
            .expect("the wait does not fail");
        if events.iter().any(&says) {
            return;
        }
        assert!(Instant::now() < deadline, "the kernel never says: {what}");
    }
}

/// Everything until the end of the stream.
pub(crate) fn read_to_end(mut peer: &Peer) -> Vec<u8> {
    let mut all = Vec::new();
    peer.read_to_end(&mut all)
        .expect("the end comes before the deadline");
    all
}

/// Exactly this many bytes.
pub(crate) fn read_exactly(mut peer: &Peer, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    peer.read_exact(&mut bytes)
        .expect("they come before the deadline");
    bytes
}

/// Asserts that the loop is asleep: no event, no callback, no write and no wait for zero.
#[track_caller]
pub(crate) fn assert_asleep(reactor: &mut Reactor, when: &str) {
    // Output may still be leaving, which takes no event and no callback.
    loop {
        let writes = reactor.counters().writes;
        crate::util::settle(reactor);
        if reactor.counters().writes == writes {
            break;
        }
    }
    crate::util::assert_asleep(reactor, when);
}

/// Runs until somebody stops it or nothing is left. If it never ends, the test says so instead of hanging.
#[track_caller]
pub(crate) fn run_guarded(reactor: &mut Reactor) {
    let handle = reactor.handle().unref();
    let (ended, guard) = std::sync::mpsc::channel::<()>();
    let guard = std::thread::spawn(move || {
        let too_long = guard.recv_timeout(DEADLINE) == Err(RecvTimeoutError::Timeout);
        if too_long {
            handle.stop();
        }
        too_long
    });
    reactor.run().expect("the wait does not fail");
    drop(ended);
    assert!(!guard.join().expect("it does not panic"), "it never ends");
    reactor.check_invariants();
}

/// What a spy was told, the rumour of a read that found nothing left out of it.
pub(crate) fn told(diary: &Diary, who: &str) -> Vec<String> {
    let mut told = diary.of(who);
    told.dedup();
    told
}
