//! A reactor from outside its callbacks: what a program sets up before it runs, and looks at between
//! turns.

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

impl Reactor {
    /// Adds a socket with its dispatcher: a stream that is connected already, one that is still
    /// [connecting](Socket::connecting), a listener, a datagram socket, the end of a pipe, a
    /// [foreign](Socket::foreign) source, or what a listener [`Accepted`](crate::Accepted). It is made
    /// non-blocking, belongs to the reactor from here on, and is closed with its dispatcher. Calls
    /// nothing; there is no `handle_connect` for it, unless it is one that is connecting.
    ///
    /// # Errors
    ///
    /// What the system says when the socket is registered; a regular file, for one, cannot be.
    /// `InvalidInput` if a [connecting](Socket::connecting) one is no stream socket. The socket is then closed and the dispatcher dropped, without `handle_close`, for it was never added.
    pub fn add<D: Dispatcher>(
        &mut self,
        socket: impl Into<Socket>,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        self.outside().admit_socket(socket.into(), dispatcher)
    }

    /// Adds a dispatcher without a socket: something with state, timers and an id that others reach by
    /// [`with`](Context::with), such as a chat room, a connection pool or a statistic. It gets `handle_timer`,
    /// `handle_shutdown`, `handle_error` and `handle_close`.
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
    /// reactor.run()?; // Nothing could ever wake it.
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// During [`shutdown`](Reactor::shutdown) nothing can be added.
    pub fn add_service<D: Dispatcher>(&mut self, dispatcher: D) -> io::Result<Id<D>> {
        self.outside().add_service(dispatcher)
    }

    /// Listens on a TCP address; `dispatcher` gets `handle_accept`. Port 0 means any free port, which
    /// [`local_addr`](Reactor::local_addr) tells. A name is looked up, which blocks, and the first
    /// address that can be listened on is taken.
    ///
    /// # Errors
    ///
    /// What the system says: address in use, permission denied, no such address.
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
    /// closes; removing it is the user's.
    ///
    /// # Errors
    ///
    /// What the system says: address in use if the path exists, permission denied.
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

    /// Connects to a TCP address. Calls nothing; in a later turn follows either `handle_connect`, or one
    /// `handle_error` and then `handle_close`. The attempt times out after
    /// [30 s](crate::Builder::connect_timeout). Bytes sent before the connection is established are queued.
    /// A name is looked up, which blocks, and the first address is taken that the system does not refuse
    /// at once.
    ///
    /// The reactor never tries again by itself. To reconnect after a while, tell a dispatcher that stays: a
    /// timer of this one dies with it.
    ///
    /// # Errors
    ///
    /// What is known at once: no such name, no route, no descriptor. Nothing was added then.
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
    /// one that the system does not have; and what
    /// [`source_address`](SocketOptions::source_address) tells of an address that cannot be used.
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

    /// Connects to a Unix socket. As [`connect`](Reactor::connect), `handle_connect` comes in a later
    /// turn, although the kernel connects at once.
    ///
    /// # Errors
    ///
    /// What is known at once: no such path, no listener, or `WouldBlock` if the listener's queue
    /// is full. Nothing was added then.
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

    /// Binds a UDP socket; `dispatcher` gets `handle_read` when datagrams wait.
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

    /// The address of a dispatcher's socket; for a listener on port 0, with the real port. A listener's
    /// is known, others' costs a system call.
    ///
    /// # Errors
    ///
    /// `NotFound` if the dispatcher is gone, `Unsupported` if its socket has no such address.
    pub fn local_addr(&self, id: impl Into<AnyId>) -> io::Result<SocketAddr> {
        let id = id.into();
        match self.core.state.slots.get(id) {
            Some(_) => self.core.state.local_addr(id),
            None => Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("{id} is gone"),
            )),
        }
    }

    /// Reaches a dispatcher's socket, as [`Context::at`] does from inside a callback.
    #[must_use]
    pub fn at(&mut self, id: impl Into<AnyId>) -> Option<Context<'_>> {
        self.note_outside();
        Context::reach(&mut self.core, id.into())
    }

    /// Runs a closure on a dispatcher, as [`Context::with`] does from inside a callback.
    pub fn with<D: Dispatcher, R>(
        &mut self,
        id: Id<D>,
        body: impl FnOnce(&mut D, &mut Context<'_>) -> R,
    ) -> Option<R> {
        self.outside().with(id, body)
    }

    /// Runs a closure on a dispatcher, as [`Context::try_with`] does from inside a callback.
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

    /// Runs a closure on a dispatcher as if it were a callback, as [`Context::call`] does.
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

    /// Takes a connection out of the reactor, as [`Context::detach`] does from inside a callback.
    ///
    /// # Errors
    ///
    /// As [`Context::detach`].
    pub fn detach(&mut self, id: impl Into<AnyId>) -> io::Result<Detached> {
        self.outside().detach(id)
    }

    /// Why a dispatcher ended, as [`Context::end_of`] does from inside a callback.
    #[must_use]
    pub fn end_of(&self, id: impl Into<AnyId>) -> Option<Cause> {
        self.core.state.slots.end_of(id.into())
    }

    /// What has been counted since the reactor was built.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            posts_refused: self.mailbox.refused(),
            ..self.core.state.counters
        }
    }

    /// What there is at this moment, as [`Context::gauges`].
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        Gauges {
            posts_waiting: self.mailbox.waiting() + self.jobs.len(),
            ..gauges::gauges(&self.core.state)
        }
    }

    /// Makes a limit that several connections share, as [`Context::rate_group`].
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

    /// How many dispatchers there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.core.state.slots.len()
    }

    /// A dispatcher as it is now, as [`Context::describe`]. `None` if it is gone.
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
