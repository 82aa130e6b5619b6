//! Adding dispatchers from inside a callback: the counterparts of [`Reactor`](crate::Reactor)'s methods of the same
//! names.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::Context;
use crate::dispatcher::Dispatcher;
use crate::slot::life::Life;
use crate::slot::readiness::Flag;
use crate::state::deadlines;
use crate::world::endpoint::Kind;
use crate::world::errors::in_progress;
use crate::world::ids::Id;
use crate::world::options::SocketOptions;
use crate::world::service::Service;
use crate::world::socket::Socket;

/// # Adding dispatchers
impl Context<'_> {
    /// Adds a socket with its dispatcher; see [`Reactor::add`](crate::Reactor::add). The new dispatcher's first
    /// callback comes in a later turn.
    ///
    /// ```
    /// # use slabloop::{Accepted, Context, Dispatcher};
    /// # use std::io;
    /// # struct Session; impl Dispatcher for Session {}
    /// # struct Listener;
    /// # impl Dispatcher for Listener {
    /// fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
    ///     let id = cx.add(accepted, Session)?;
    ///     if let Some(mut session) = cx.at(id) {
    ///         session.send(b"welcome\n")?;
    ///     }
    ///     Ok(())
    /// }
    /// # }
    /// ```
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

    /// Adds a dispatcher without a socket; see [`Reactor::add_service`](crate::Reactor::add_service).
    ///
    /// # Errors
    ///
    /// As [`Reactor::add_service`](crate::Reactor::add_service).
    pub fn add_service<D: Dispatcher>(&mut self, dispatcher: D) -> io::Result<Id<D>> {
        self.admit_socket(Socket::other(Service), dispatcher)
    }

    /// Listens on a TCP address; see [`Reactor::listen`](crate::Reactor::listen). Takes no name, only an address.
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

    /// [`listen`](Context::listen) with options; see [`Reactor::listen_with`](crate::Reactor::listen_with).
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

    /// Connects to a TCP address; see [`Reactor::connect`](crate::Reactor::connect). Takes no name, only an address:
    /// looking up a name would block the loop.
    ///
    /// ```
    /// # use slabloop::{Accepted, AnyId, Context, Dispatcher};
    /// # use std::io;
    /// # use std::net::SocketAddr;
    /// # struct Client; impl Dispatcher for Client {}
    /// # struct Upstream { client: AnyId }
    /// # impl Dispatcher for Upstream {}
    /// struct Front { upstream: SocketAddr }
    ///
    /// impl Dispatcher for Front {
    ///     fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
    ///         let client = cx.add(accepted, Client)?;
    ///         cx.connect(self.upstream, Upstream { client: client.any() })?;
    ///         Ok(())
    ///     }
    /// }
    /// ```
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

    /// [`connect`](Context::connect) with options; see [`Reactor::connect_with`](crate::Reactor::connect_with).
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
        let (socket, outcome) = self.dial(address, options)?;
        self.start_connecting(socket, outcome, options, dispatcher)
    }

    /// Listens on a Unix socket; see [`Reactor::listen_unix`](crate::Reactor::listen_unix).
    ///
    /// # Errors
    ///
    /// As [`Reactor::listen_unix`](crate::Reactor::listen_unix).
    pub fn listen_unix<D: Dispatcher>(
        &mut self,
        path: impl AsRef<Path>,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        self.listen_unix_with(path, &SocketOptions::default(), dispatcher)
    }

    /// [`listen_unix`](Context::listen_unix) with options.
    ///
    /// # Errors
    ///
    /// As [`Reactor::listen_unix_with`](crate::Reactor::listen_unix_with).
    pub fn listen_unix_with<D: Dispatcher>(
        &mut self,
        path: impl AsRef<Path>,
        options: &SocketOptions,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        let path = path.as_ref();
        let socket = options.unix_listener(path)?;
        let socket = Socket::unix_listener(socket).with_address(path.to_owned());
        self.admit_socket(socket, dispatcher)
    }

    /// Connects to a Unix socket; see [`Reactor::connect_unix`](crate::Reactor::connect_unix).
    ///
    /// # Errors
    ///
    /// As [`Reactor::connect_unix`](crate::Reactor::connect_unix).
    pub fn connect_unix<D: Dispatcher>(
        &mut self,
        path: impl AsRef<Path>,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        self.connect_unix_with(path, &SocketOptions::default(), dispatcher)
    }

    /// [`connect_unix`](Context::connect_unix) with options.
    ///
    /// # Errors
    ///
    /// As [`Reactor::connect_unix_with`](crate::Reactor::connect_unix_with).
    pub fn connect_unix_with<D: Dispatcher>(
        &mut self,
        path: impl AsRef<Path>,
        options: &SocketOptions,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        let path = path.as_ref();
        let (socket, outcome) = options.dial_unix(path)?;
        let socket = Socket::stream(socket).with_address(path.to_owned());
        self.start_connecting(socket, outcome, options, dispatcher)
    }

    /// Binds a UDP socket; see [`Reactor::bind_udp`](crate::Reactor::bind_udp). Takes no name, only an address.
    ///
    /// # Errors
    ///
    /// As [`Reactor::bind_udp`](crate::Reactor::bind_udp).
    pub fn bind_udp<D: Dispatcher>(
        &mut self,
        address: SocketAddr,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        self.bind_udp_with(address, &SocketOptions::default(), dispatcher)
    }

    /// [`bind_udp`](Context::bind_udp) with options; see [`Reactor::bind_udp_with`](crate::Reactor::bind_udp_with).
    ///
    /// # Errors
    ///
    /// As [`Reactor::bind_udp_with`](crate::Reactor::bind_udp_with).
    pub fn bind_udp_with<D: Dispatcher>(
        &mut self,
        address: SocketAddr,
        options: &SocketOptions,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        let socket = options.udp(address)?;
        self.admit_socket(Socket::udp(socket), dispatcher)
    }

    /// Opens a UDP socket on any free port and connects it to `peer`: it receives datagrams from there and from nowhere
    /// else, [`send`](Context::send) sends one there, and an ICMP error of the peer's host is reported. This does not
    /// wait, and no callback says that it is done. Takes no name, only an address.
    ///
    /// ```
    /// # use slabloop::{Context, Dispatcher, Reactor};
    /// # use std::io;
    /// # use std::net::SocketAddr;
    /// /// One question, one answer.
    /// struct Question;
    ///
    /// impl Dispatcher for Question {
    ///     fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///         let mut buffer = [0; 1500];
    ///         let _answer = cx.recv(&mut buffer)?;
    ///         cx.close();
    ///         Ok(())
    ///     }
    /// }
    ///
    /// fn ask(cx: &mut Context<'_>, server: SocketAddr) -> io::Result<()> {
    ///     let id = cx.connect_udp(server, Question)?;
    ///     cx.at(id).map_or(Ok(()), |mut cx| cx.send(b"what time is it?"))
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// The kernel's, for example that there is no route to the peer. Also if the reactor has no slot left, or is
    /// shutting down.
    pub fn connect_udp<D: Dispatcher>(
        &mut self,
        peer: SocketAddr,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        #[cfg(feature = "testing")]
        if let Some(dialled) = self.core.state.poller.simulated.dial_udp(peer) {
            return self.admit_socket(dialled?, dispatcher);
        }
        let any: SocketAddr = match peer {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = SocketOptions::default().udp(any)?;
        socket.connect(&peer.into())?;
        self.admit_socket(Socket::udp(socket), dispatcher)
    }

    /// A stream whose `connect` was called, and what that said.
    pub(crate) fn dial(
        &mut self,
        address: SocketAddr,
        options: &SocketOptions,
    ) -> io::Result<(Socket, io::Result<()>)> {
        #[cfg(feature = "test")]
        if let Some(dialled) = self.core.state.poller.simulated.dial(address) {
            return dialled.map(|(socket, said)| (socket.with_address(address), said));
        }
        let (socket, outcome) = options.dial(address)?;
        Ok((Socket::stream(socket).with_address(address), outcome))
    }

    /// Adds a socket as it is: a stream that is connected, or connecting without our doing, a listener,
    /// a datagram socket, a foreign source.
    pub(crate) fn admit_socket<D: Dispatcher>(
        &mut self,
        socket: Socket,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        if socket.connecting {
            socket.check_connecting()?;
            // What has become of it by now, a failure too, the kernel tells once it is registered.
            let limit = self.core.state.config.connect_timeout;
            return self.admit_connecting(socket, limit, dispatcher);
        }
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
        options: &SocketOptions,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        let established = match outcome {
            Ok(()) => true,
            Err(error) if in_progress(&error) => false,
            Err(error) => return Err(error),
        };
        let limit = options.connect_limit(self.core.state.config.connect_timeout);
        let id = self.admit_connecting(socket, limit, dispatcher)?;
        if established {
            let state = &mut self.core.state;
            state.slots.slot_mut(id.any()).readiness.set(Flag::Writable);
            state.requeue(id.any());
        }
        Ok(id)
    }

    fn admit_connecting<D: Dispatcher>(
        &mut self,
        socket: Socket,
        limit: Option<Duration>,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        let id = self.admit(socket, dispatcher, Life::Connecting)?;
        if let Some(limit) = limit {
            deadlines::arm_connecting(&mut self.core.state, id.any(), limit);
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
