//! A reactor from outside its callbacks: what a program sets up before `run`, and reads between turns.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;

use super::Reactor;
use crate::context::Context;
use crate::dispatcher::Dispatcher;
use crate::state::gauges;
use crate::state::rates::RateGroup;
use crate::state::running::Running;
use crate::turn::visit::Unreached;
use crate::watch::counters::Counters;
use crate::watch::ends::Cause;
use crate::watch::gauges::Gauges;
use crate::watch::rate::Rate;
use crate::world::detached::Detached;
use crate::world::errors::in_progress;
use crate::world::ids::{AnyId, Id};
use crate::world::options::SocketOptions;
use crate::world::socket::Socket;

/// # Adding and reaching dispatchers
impl Reactor {
    /// Adds a socket with its dispatcher: a stream that is connected already, one that is still
    /// [connecting](Socket::connecting), a listener, a datagram socket, the end of a pipe, a
    /// [foreign](Socket::foreign) source, or what a listener [`Accepted`](crate::Accepted). It is made
    /// non-blocking, belongs to the reactor from then on, and is closed with its dispatcher. No callback is called
    /// immediately, and `handle_connect` only if the socket is still connecting.
    ///
    /// ```
    /// # use slabloop::{Context, Dispatcher, Reactor};
    /// # use std::io;
    /// use std::io::Read;
    /// use std::os::unix::net::UnixStream;
    ///
    /// struct Greeter;
    /// impl Dispatcher for Greeter {
    ///     fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///         cx.recv_with(|bytes, cx| cx.send(&[b"hello ", bytes].concat()))
    ///     }
    /// }
    ///
    /// # fn main() -> io::Result<()> {
    /// let (ours, mut theirs) = UnixStream::pair()?;
    /// let mut reactor = Reactor::new()?;
    /// reactor.add(ours, Greeter)?;
    /// # use std::io::Write;
    /// theirs.write_all(b"ada")?;
    /// theirs.shutdown(std::net::Shutdown::Write)?;
    /// reactor.turn(None)?;
    /// let mut greeting = [0; 9];
    /// theirs.read_exact(&mut greeting)?;
    /// assert_eq!(&greeting, b"hello ada");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The system's error if the socket cannot be registered; a regular file, for example, cannot be.
    /// `InvalidInput` if a [connecting](Socket::connecting) one is not a stream socket. In case of an error the socket
    /// is closed and the dispatcher dropped. Its `handle_close` is not called, because it was never added.
    pub fn add<D: Dispatcher>(
        &mut self,
        socket: impl Into<Socket>,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        self.outside().admit_socket(socket.into(), dispatcher)
    }

    /// Adds a dispatcher without a socket: an object with state, timers and an id by which others reach it with
    /// [`with`](Context::with), such as a chat room, a connection pool or a statistic. Its callbacks are
    /// `handle_timer`, `handle_gone`, `handle_shutdown`, `handle_error` and `handle_close`.
    ///
    /// It does not keep [`run`](Reactor::run) from returning. Its timers do, unless
    /// [`unref_timer`](Context::unref_timer) says otherwise.
    ///
    /// ```
    /// use slabloop::{Context, Dispatcher, Reactor};
    ///
    /// struct Score(u32);
    /// impl Dispatcher for Score {}
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let mut reactor = Reactor::new()?;
    /// let score = reactor.add_service(Score(0))?;
    /// reactor.with(score, |score, _| score.0 += 10);
    /// assert_eq!(reactor.with(score, |score, _| score.0), Some(10));
    /// reactor.run()?; // Returns at once: nothing could ever wake it.
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// During [`shutdown`](Reactor::shutdown) nothing can be added.
    pub fn add_service<D: Dispatcher>(&mut self, dispatcher: D) -> io::Result<Id<D>> {
        self.outside().add_service(dispatcher)
    }

    /// Listens on a TCP address; `handle_accept` of `dispatcher` is called for each connection. Port 0 means any free
    /// port; [`local_addr`](Reactor::local_addr) returns it. A host name is looked up, which blocks, and the first
    /// usable address is taken.
    ///
    /// ```
    /// # use slabloop::{Dispatcher, Reactor};
    /// # struct Listener; impl Dispatcher for Listener {}
    /// # fn main() -> std::io::Result<()> {
    /// let mut reactor = Reactor::new()?;
    /// let listener = reactor.listen("127.0.0.1:0", Listener)?;
    /// println!("listening on {}", reactor.local_addr(listener)?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The system's error: address in use, permission denied, no such address.
    pub fn listen<D: Dispatcher>(
        &mut self,
        address: impl ToSocketAddrs,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        self.listen_with(address, &SocketOptions::default(), dispatcher)
    }

    /// [`listen`](Reactor::listen) with options.
    ///
    /// # Errors
    ///
    /// As [`listen`](Reactor::listen), and `InvalidInput` for an option out of its range.
    pub fn listen_with<D: Dispatcher>(
        &mut self,
        address: impl ToSocketAddrs,
        options: &SocketOptions,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        let listener = first_that_works(address, |address| options.listener(address))?;
        self.outside()
            .admit_socket(Socket::tcp_listener(listener), dispatcher)
    }

    /// Listens on a Unix socket at `path`, which must not exist yet. The file stays when the listener
    /// closes; the program has to remove it.
    ///
    /// # Errors
    ///
    /// The system's error: address in use if the path exists, permission denied.
    pub fn listen_unix<D: Dispatcher>(
        &mut self,
        path: impl AsRef<Path>,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        self.outside().listen_unix(path, dispatcher)
    }

    /// [`listen_unix`](Reactor::listen_unix) with options.
    ///
    /// # Errors
    ///
    /// As [`listen_unix`](Reactor::listen_unix), and `InvalidInput` for an option out of its range.
    pub fn listen_unix_with<D: Dispatcher>(
        &mut self,
        path: impl AsRef<Path>,
        options: &SocketOptions,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        self.outside().listen_unix_with(path, options, dispatcher)
    }

    /// Connects to a TCP address. No callback is called immediately; in a later turn comes either `handle_connect`, or
    /// one `handle_error` and then `handle_close`. The attempt times out after
    /// [30 s](crate::Builder::connect_timeout). Bytes sent before the connection is established are queued.
    /// A host name is looked up, which blocks, and the first address is taken that the system does not refuse
    /// immediately.
    ///
    /// The reactor never connects again by itself. [`handle_close`](Dispatcher::handle_close) has an example that does.
    ///
    /// ```
    /// # use slabloop::{Context, Dispatcher, Reactor};
    /// # use std::io;
    /// struct Client;
    /// impl Dispatcher for Client {
    ///     fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///         println!("connected to {:?}", cx.peer());
    ///         cx.close();
    ///         Ok(())
    ///     }
    ///
    ///     fn handle_error(&mut self, _: &mut Context<'_>, error: io::Error) {
    ///         println!("cannot connect: {error}");
    ///     }
    /// }
    ///
    /// # fn main() -> io::Result<()> {
    /// let mut reactor = Reactor::new()?;
    /// reactor.connect("127.0.0.1:9", Client)?;
    /// reactor.run()
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// An error that is known immediately: no such name, no route, no descriptor left. Then nothing was added.
    pub fn connect<D: Dispatcher>(
        &mut self,
        address: impl ToSocketAddrs,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        self.connect_with(address, &SocketOptions::default(), dispatcher)
    }

    /// [`connect`](Reactor::connect) with options.
    ///
    /// # Errors
    ///
    /// As [`connect`](Reactor::connect); `InvalidInput` for an option out of its range, `Unsupported` for
    /// one that the system does not have; and the errors of
    /// [`source_address`](SocketOptions::source_address) for a local address that cannot be used.
    pub fn connect_with<D: Dispatcher>(
        &mut self,
        address: impl ToSocketAddrs,
        options: &SocketOptions,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        let mut dispatcher = Some(dispatcher);
        let mut found = address.to_socket_addrs()?.peekable();
        let first = found.peek().copied().ok_or_else(no_address)?;
        let mut candidates = found
            .filter(|candidate| options.suits_source(*candidate))
            .peekable();
        while let Some(candidate) = candidates.next() {
            let (socket, outcome) = self.outside().dial(candidate, options)?;
            let refused = outcome.as_ref().is_err_and(|error| !in_progress(error));
            if refused && candidates.peek().is_some() {
                continue;
            }
            let Some(dispatcher) = dispatcher.take() else {
                break;
            };
            return self
                .outside()
                .start_connecting(socket, outcome, options, dispatcher);
        }
        Err(options.wrong_family(first))
    }

    /// Connects to a Unix socket. As with [`connect`](Reactor::connect), `handle_connect` is called in a later
    /// turn, although the kernel connects immediately.
    ///
    /// # Errors
    ///
    /// An error that is known immediately: no such path, no listener, or `WouldBlock` if the listener's queue
    /// is full. Then nothing was added.
    pub fn connect_unix<D: Dispatcher>(
        &mut self,
        path: impl AsRef<Path>,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        self.outside().connect_unix(path, dispatcher)
    }

    /// [`connect_unix`](Reactor::connect_unix) with options.
    ///
    /// # Errors
    ///
    /// As [`connect_unix`](Reactor::connect_unix), and `InvalidInput` for an option out of its range.
    pub fn connect_unix_with<D: Dispatcher>(
        &mut self,
        path: impl AsRef<Path>,
        options: &SocketOptions,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        self.outside().connect_unix_with(path, options, dispatcher)
    }

    /// Binds a UDP socket; `handle_read` of `dispatcher` is called when datagrams are waiting.
    /// [`Context::send_to`] has an example of a dispatcher.
    ///
    /// # Errors
    ///
    /// As [`listen`](Reactor::listen).
    pub fn bind_udp<D: Dispatcher>(
        &mut self,
        address: impl ToSocketAddrs,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        self.bind_udp_with(address, &SocketOptions::default(), dispatcher)
    }

    /// [`bind_udp`](Reactor::bind_udp) with options.
    ///
    /// # Errors
    ///
    /// As [`bind_udp`](Reactor::bind_udp), and `InvalidInput` for an option out of its range.
    pub fn bind_udp_with<D: Dispatcher>(
        &mut self,
        address: impl ToSocketAddrs,
        options: &SocketOptions,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        let socket = first_that_works(address, |address| options.udp(address))?;
        self.outside().admit_socket(Socket::udp(socket), dispatcher)
    }

    /// The local address of a dispatcher's socket; for a listener on port 0, with the real port. It costs a system
    /// call, except for a listener.
    ///
    /// # Errors
    ///
    /// `NotFound` if the dispatcher has ended, `Unsupported` if its socket has no such address.
    pub fn local_addr(&self, id: impl Into<AnyId>) -> io::Result<SocketAddr> {
        let id = id.into();
        match self.core.state.slots.get(id) {
            Some(_) => self.core.state.local_addr(id),
            None => Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("{id} has ended"),
            )),
        }
    }

    /// A dispatcher's context, to use its socket from outside a callback; see [`Context::at`]. `None` if it has ended.
    ///
    /// ```
    /// # use slabloop::{AnyId, Reactor};
    /// fn say(reactor: &mut Reactor, id: AnyId, line: &str) -> std::io::Result<()> {
    ///     match reactor.at(id) {
    ///         Some(mut connection) => connection.send(line.as_bytes()),
    ///         None => Err(std::io::ErrorKind::NotFound.into()),
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn at(&mut self, id: impl Into<AnyId>) -> Option<Context<'_>> {
        self.note_outside();
        Context::reach(&mut self.core, id.into())
    }

    /// Runs a closure on a dispatcher, from outside a callback; see [`Context::with`]. `None` if it has ended.
    /// [`add_service`](Reactor::add_service) has an example.
    pub fn with<D: Dispatcher, R>(
        &mut self,
        id: Id<D>,
        body: impl FnOnce(&mut D, &mut Context<'_>) -> R,
    ) -> Option<R> {
        self.outside().with(id, body)
    }

    /// Runs a closure on a dispatcher, from outside a callback; see [`Context::try_with`].
    ///
    /// # Errors
    ///
    /// [`Unreached::Gone`]; the closure did not run.
    pub fn try_with<D: Dispatcher, R>(
        &mut self,
        id: Id<D>,
        body: impl FnOnce(&mut D, &mut Context<'_>) -> R,
    ) -> Result<R, Unreached> {
        self.outside().try_with(id, body)
    }

    /// Runs a closure on a dispatcher as if it were a callback of it; see [`Context::call`].
    ///
    /// # Errors
    ///
    /// As [`Context::call`].
    pub fn call<D: Dispatcher>(
        &mut self,
        id: Id<D>,
        body: impl FnOnce(&mut D, &mut Context<'_>) -> io::Result<()>,
    ) -> Result<(), Unreached> {
        self.outside().call(id, body)
    }

    /// Takes a connection out of the reactor; see [`Context::detach`].
    ///
    /// # Errors
    ///
    /// As [`Context::detach`].
    pub fn detach(&mut self, id: impl Into<AnyId>) -> io::Result<Detached> {
        self.outside().detach(id)
    }

    /// Why a dispatcher ended; see [`Context::end_of`].
    #[must_use]
    pub fn end_of(&self, id: impl Into<AnyId>) -> Option<Cause> {
        self.core.state.slots.end_of(id.into())
    }

    /// Everything that has been counted since the reactor was built.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            posts_refused: self.mailbox.refused(),
            ..self.core.state.counters
        }
    }

    /// What the reactor holds at this moment; see [`Context::gauges`].
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        Gauges {
            posts_waiting: self.mailbox.waiting() + self.jobs.len(),
            ..gauges::gauges(&self.core.state)
        }
    }

    /// Creates a limit that several connections share; see [`Context::rate_group`].
    ///
    /// # Errors
    ///
    /// As [`Context::rate_group`].
    pub fn rate_group(&mut self, rate: Rate) -> io::Result<RateGroup> {
        self.outside().rate_group(rate)
    }

    /// The ids of all dispatchers, in no particular order.
    #[must_use]
    pub fn ids(&self) -> Vec<AnyId> {
        self.core.state.slots.ids()
    }

    /// The number of dispatchers.
    #[must_use]
    pub fn count(&self) -> usize {
        self.core.state.slots.len()
    }

    /// Describes the current state of a dispatcher; see [`Context::describe`]. `None` if it has ended.
    #[cfg(feature = "observer")]
    #[cfg_attr(docsrs, doc(cfg(feature = "observer")))]
    #[must_use]
    pub fn describe(
        &self,
        id: impl Into<AnyId>,
    ) -> Option<crate::state::description::Description<'_>> {
        crate::state::description::describe(&self.core.state, id.into())
    }

    /// Between turns no callback is running, whichever was the last: nothing settles what a context breaks now
    /// but the next turn.
    pub(crate) fn note_outside(&mut self) {
        if !self.in_turn {
            self.core.state.running = Running::NOTHING;
        }
    }
}

fn first_that_works<T>(
    address: impl ToSocketAddrs,
    mut attempt: impl FnMut(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut last = no_address();
    for candidate in address.to_socket_addrs()? {
        match attempt(candidate) {
            Ok(made) => return Ok(made),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn no_address() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the name has no address")
}
