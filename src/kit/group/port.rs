//! One port for the listeners of several reactors.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};

use socket2::{Domain, Socket, Type};

use crate::{Dispatcher, Id, Reactor, SocketOptions};

/// An address on which several reactors listen, each with a listener of its own (`SO_REUSEPORT`). The kernel chooses
/// the listener of each new connection, by a hash of its addresses and ports. Clones are the same port.
///
/// With port 0 the first that listens gets a free port, and all others listen on that one.
///
/// # Connections that are not accepted yet
///
/// Each listener has a queue of its own. If one of the listeners closes, the kernel resets the connections in its
/// queue, though others listen on the port (unless `net.ipv4.tcp_migrate_req` is set, Linux 5.14). A [`Group`] that
/// shuts down therefore accepts what is in the queues before it closes the listeners.
///
/// # Other processes
///
/// With `SO_REUSEPORT` a second process of the same user could listen on the port as well, and would get a part of the
/// connections, which is rarely what was meant. So [`listen`](SharedPort::listen) looks first, and reports `AddrInUse`.
/// [`and_other_processes`](SharedPort::and_other_processes) allows it.
///
/// [`Group`]: super::Group
///
/// ```
/// use slabloop::kit::group::SharedPort;
/// use slabloop::{Dispatcher, Reactor};
///
/// struct Listener;
/// impl Dispatcher for Listener {}
///
/// # fn main() -> std::io::Result<()> {
/// let port = SharedPort::new("127.0.0.1:0")?;
/// let (mut one, mut two) = (Reactor::new()?, Reactor::new()?); // usually on two threads
/// let first = port.listen(&mut one, Listener)?;
/// let second = port.listen(&mut two, Listener)?;
/// assert_eq!(one.local_addr(first)?, two.local_addr(second)?);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct SharedPort {
    asked: Vec<SocketAddr>,
    options: SocketOptions,
    /// Other processes may listen on it, too.
    is_open: bool,
    bound: Arc<Mutex<Option<SocketAddr>>>,
}

impl SharedPort {
    /// A port on this address. A host name is looked up, which blocks; its first usable address is taken.
    ///
    /// # Errors
    ///
    /// If the name has no address. Whether the address can be used is seen when the first reactor listens.
    pub fn new(address: impl ToSocketAddrs) -> io::Result<SharedPort> {
        SharedPort::with(address, &SocketOptions::new())
    }

    /// [`new`](SharedPort::new) with options of the listeners. Their `reuse_port` is on, whatever `options` say.
    ///
    /// # Errors
    ///
    /// As [`new`](SharedPort::new).
    pub fn with(address: impl ToSocketAddrs, options: &SocketOptions) -> io::Result<SharedPort> {
        let asked: Vec<_> = address.to_socket_addrs()?.collect();
        if asked.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the name has no address",
            ));
        }
        let mut options = options.clone();
        options.reuse_port(true);
        Ok(SharedPort {
            asked,
            options,
            is_open: false,
            bound: Arc::default(),
        })
    }

    /// Allows other processes to listen on the port at the same time: for a restart in which the new process starts
    /// before the old one ends. (They must be of the same user and set `SO_REUSEPORT`, too.)
    #[must_use]
    pub fn and_other_processes(mut self) -> SharedPort {
        self.is_open = true;
        self
    }

    /// Listens on the port; `handle_accept` of `dispatcher` is called for each connection that the kernel gives to
    /// this listener.
    ///
    /// # Errors
    ///
    /// As [`Reactor::listen_with`].
    pub fn listen<D: Dispatcher>(&self, reactor: &mut Reactor, dispatcher: D) -> io::Result<Id<D>> {
        // Held to the end: the others wait for the port of the first.
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(address) = *bound {
            return reactor.listen_with(address, &self.options, dispatcher);
        }
        let id = reactor.listen_with(&*self.candidates()?, &self.options, dispatcher)?;
        *bound = Some(reactor.local_addr(id)?);
        Ok(id)
    }

    /// The address with the real port; `None` before the first reactor listens.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        *self.bound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The addresses on which nobody listens.
    fn candidates(&self) -> io::Result<Vec<SocketAddr>> {
        if self.is_open {
            return Ok(self.asked.clone());
        }
        let mut free = Vec::new();
        let mut refused = Ok(());
        for &address in &self.asked {
            match try_alone(address) {
                Ok(()) => free.push(address),
                Err(error) => refused = Err(error),
            }
        }
        if free.is_empty() {
            refused?;
        }
        Ok(free)
    }
}

/// Binds the address as one that is not shared, for a moment. It does not listen, so no client sees it.
fn try_alone(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        // A listener of another for IPv4 may be meant.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())
}
