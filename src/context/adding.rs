//! Adding dispatchers from inside a callback. What is said of [`Reactor`](crate::Reactor)'s verbs of the same
//! names holds here.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use super::Context;
use crate::dispatcher::Dispatcher;
use crate::slot::life::Life;
use crate::slot::readiness::Flag;
use crate::state::deadlines;
use crate::time::timers::Action;
use crate::world::endpoint::Kind;
use crate::world::errors::in_progress;
use crate::world::ids::Id;
use crate::world::options::SocketOptions;
use crate::world::service::Service;
use crate::world::socket::Socket;

impl Context<'_> {
    /// As [`Reactor::add`](crate::Reactor::add). The newcomer's first callback comes in a later turn.
    ///
    /// # Errors
    ///
    /// As [`Reactor::add`](crate::Reactor::add).
    pub fn add<D: Dispatcher>(
        &mut self,
        socket: impl Into<Socket>,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        self.admit_socket(socket.into(), dispatcher)
    }

    /// As [`Reactor::add_service`](crate::Reactor::add_service).
    ///
    /// # Errors
    ///
    /// As [`Reactor::add_service`](crate::Reactor::add_service).
    pub fn add_service<D: Dispatcher>(&mut self, dispatcher: D) -> io::Result<Id<D>> {
        self.admit_socket(Socket::other(Service), dispatcher)
    }

    /// As [`Reactor::listen`](crate::Reactor::listen), but takes an address only.
    ///
    /// # Errors
    ///
    /// As [`Reactor::listen`](crate::Reactor::listen).
    pub fn listen<D: Dispatcher>(
        &mut self,
        address: SocketAddr,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        self.listen_with(address, &SocketOptions::default(), dispatcher)
    }

    /// As [`Reactor::listen_with`](crate::Reactor::listen_with), but takes an address only.
    ///
    /// # Errors
    ///
    /// As [`Reactor::listen`](crate::Reactor::listen).
    pub fn listen_with<D: Dispatcher>(
        &mut self,
        address: SocketAddr,
        options: &SocketOptions,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        let listener = options.listener(address)?;
        self.admit_socket(Socket::tcp_listener(listener), dispatcher)
    }

    /// As [`Reactor::connect`](crate::Reactor::connect), but takes an address only.
    ///
    /// # Errors
    ///
    /// As [`Reactor::connect`](crate::Reactor::connect).
    pub fn connect<D: Dispatcher>(
        &mut self,
        address: SocketAddr,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        self.connect_with(address, &SocketOptions::default(), dispatcher)
    }

    /// As [`Reactor::connect_with`](crate::Reactor::connect_with), but takes an address only.
    ///
    /// # Errors
    ///
    /// As [`Reactor::connect`](crate::Reactor::connect).
    pub fn connect_with<D: Dispatcher>(
        &mut self,
        address: SocketAddr,
        options: &SocketOptions,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        let socket = options.client(address)?;
        let outcome = socket.connect(&address.into());
        let socket = Socket::stream(socket).with_address(address);
        self.start_connecting(socket, outcome, dispatcher)
    }

    /// As [`Reactor::listen_unix`](crate::Reactor::listen_unix).
    ///
    /// # Errors
    ///
    /// As [`Reactor::listen_unix`](crate::Reactor::listen_unix).
    pub(crate) fn listen_unix<D: Dispatcher>(
        &mut self,
        path: &Path,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        let socket = SocketOptions::default().unix_listener(path)?;
        let socket = Socket::unix_listener(socket).with_address(path.to_owned());
        self.admit_socket(socket, dispatcher)
    }

    /// As [`Reactor::connect_unix`](crate::Reactor::connect_unix).
    ///
    /// # Errors
    ///
    /// As [`Reactor::connect_unix`](crate::Reactor::connect_unix).
    pub fn connect_unix<D: Dispatcher>(
        &mut self,
        path: impl AsRef<Path>,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        let path = path.as_ref();
        let socket = SocketOptions::default().unix_client()?;
        // A full queue says WouldBlock and is not in progress: nothing would ever come of it.
        let outcome = socket.connect(&socket2::SockAddr::unix(path)?);
        let socket = Socket::stream(socket).with_address(path.to_owned());
        self.start_connecting(socket, outcome, dispatcher)
    }

    /// Adds a socket that needs no further set-up: a connected stream, a listener, a datagram socket, a
    /// foreign source.
    pub(crate) fn admit_socket<D: Dispatcher>(
        &mut self,
        socket: Socket,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        let life = if socket.io.kind() == Kind::Listener {
            Life::Listening
        } else {
            Life::Open
        };
        self.admit(socket, dispatcher, life)
    }

    /// Adds a socket whose `connect` has been called. What the kernel knew at once is returned;
    /// everything else, immediate success included, is reported by a callback in a later turn.
    pub(crate) fn start_connecting<D: Dispatcher>(
        &mut self,
        socket: Socket,
        outcome: io::Result<()>,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        let established = match outcome {
            Ok(()) => true,
            Err(error) if in_progress(&error) => false,
            Err(error) => return Err(error),
        };
        let id = self.admit(socket, dispatcher, Life::Connecting)?;
        let state = &mut self.core.state;
        if let Some(limit) = state.config.connect_timeout {
            deadlines::arm(state, id.any(), limit, Action::ConnectDeadline);
        }
        if established {
            state.slots.slot_mut(id.any()).readiness.set(Flag::Writable);
            state.requeue(id.any());
        }
        Ok(id)
    }

    fn admit<D: Dispatcher>(
        &mut self,
        socket: Socket,
        dispatcher: D,
        life: Life,
    ) -> io::Result<Id<D>> {
        let type_name = std::any::type_name::<D>;
        let state = &mut self.core.state;
        let id = state.admit(socket, Box::new(dispatcher), type_name, life)?;
        Ok(Id::new(id))
    }
}
