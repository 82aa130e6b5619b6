//! Adding dispatchers from inside a callback. What is said of [`Reactor`](crate::Reactor)'s verbs of the same
//! names holds here.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use super::Context;
use crate::dispatcher::Dispatcher;
use crate::world::ids::Id;
use crate::world::options::SocketOptions;
use crate::world::socket::Socket;

impl Context<'_> {
    /// As [`Reactor::add`](crate::Reactor::add). The newcomer's first callback comes in a later turn.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn add<D: Dispatcher>(
        &mut self,
        socket: impl Into<Socket>,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        self.core.add(socket.into(), dispatcher)
    }

    /// As [`Reactor::listen`](crate::Reactor::listen), but takes an address only.
    ///
    /// # Errors
    ///
    /// As there.
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
        self.core.listen(address, options, dispatcher)
    }

    /// As [`Reactor::connect`](crate::Reactor::connect), but takes an address only.
    ///
    /// # Errors
    ///
    /// As there.
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
        self.core.connect(address, options, dispatcher)
    }

    /// As [`Reactor::connect_unix`](crate::Reactor::connect_unix).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn connect_unix<D: Dispatcher>(
        &mut self,
        path: impl AsRef<Path>,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        self.core
            .connect_unix(path.as_ref(), &SocketOptions::default(), dispatcher)
    }
}
