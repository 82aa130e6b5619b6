//! Simulated clients of a listener.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use mio::{Registry, Token};

use super::peer::Peer;
use super::wire::{End, Link};
use crate::world::address::Address;
use crate::world::endpoint::{Endpoint, Kind};
use crate::world::io::Io;
use crate::world::signals::Signals;
use crate::world::simulated::news::News;
use crate::world::socket::Socket;

/// The clients of a listener, played by the test. Clones are the same. Made by [`listener`].
#[derive(Clone, Debug)]
pub struct Clients(Rc<RefCell<Queue>>);

/// What waits to be accepted.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<io::Result<Peer>>,
    /// How many have come.
    came: u16,
    closed: bool,
    place: Option<(News, Token)>,
}

impl Queue {
    fn report(&self) {
        if let (Some((news, token)), false) = (&self.place, self.waiting.is_empty()) {
            news.merge(*token, Signals::READABLE);
        }
    }
}

/// A listener without a port: the test's clients, and the socket to be given to
/// [`Reactor::add`](crate::Reactor::add) with the listener's dispatcher.
///
/// ```
/// use slabloop::test::{listener, run_until_quiet};
/// use slabloop::{Accepted, Context, Dispatcher, Reactor};
/// use std::io;
///
/// struct Daytime;
/// impl Dispatcher for Daytime {
///     fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
///         let id = cx.add(accepted, Client)?;
///         cx.at(id).expect("it was just added").send(b"Sun Nov 29 01:02:03 2026\r\n")?;
///         cx.at(id).expect("it is there").close();
///         Ok(())
///     }
/// }
///
/// struct Client;
/// impl Dispatcher for Client {}
///
/// # fn main() -> io::Result<()> {
/// let mut reactor = Reactor::new()?;
/// let (clients, socket) = listener();
/// reactor.add(socket, Daytime)?;
///
/// let client = clients.connect();
/// run_until_quiet(&mut reactor, 10);
/// assert_eq!(client.take_received(), b"Sun Nov 29 01:02:03 2026\r\n");
/// assert!(client.is_ended());
/// # Ok(()) }
/// ```
#[must_use]
pub fn listener() -> (Clients, Socket) {
    let clients = Clients(Rc::default());
    let socket = Socket::other(Listener {
        queue: clients.0.clone(),
        news: None,
    });
    (clients, socket)
}

impl Clients {
    /// A client more, which waits to be accepted. The first has the address 192.0.2.1:49153, the next the next
    /// port.
    ///
    /// # Panics
    ///
    /// If the listener is closed.
    #[must_use]
    #[track_caller]
    pub fn connect(&self) -> Peer {
        let port = 49_153_u16.wrapping_add(self.0.borrow().came);
        self.connect_from(SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), port)))
    }

    /// As [`connect`](Clients::connect), from this address, which is what
    /// [`Accepted::peer`](crate::Accepted::peer) says.
    ///
    /// # Panics
    ///
    /// If the listener is closed.
    #[must_use]
    #[track_caller]
    pub fn connect_from(&self, address: SocketAddr) -> Peer {
        let peer = Peer::new(Link::Up, address);
        self.push(Ok(peer.clone()));
        peer
    }

    /// Has one `accept` fail, behind the clients that wait: with EMFILE (24) descriptors have run out, with
    /// `ConnectionAborted` a client is gone before it was accepted.
    ///
    /// # Panics
    ///
    /// If the listener is closed.
    #[track_caller]
    pub fn fail_accept(&self, error: impl Into<io::Error>) {
        self.push(Err(error.into()));
    }

    #[track_caller]
    fn push(&self, next: io::Result<Peer>) {
        let mut queue = self.0.borrow_mut();
        assert!(!queue.closed, "the listener is closed");
        queue.came = queue.came.wrapping_add(1);
        queue.waiting.push_back(next);
        queue.report();
    }

    /// How many wait to be accepted.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.borrow().waiting.len()
    }

    /// Whether the listener's socket is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.borrow().closed
    }
}

/// The reactor's end.
#[derive(Debug)]
struct Listener {
    queue: Rc<RefCell<Queue>>,
    news: Option<News>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut queue = self.queue.borrow_mut();
        queue.closed = true;
        queue.place = None;
        for peer in queue.waiting.drain(..).flatten() {
            peer.wire().borrow_mut().refuse_unaccepted();
        }
    }
}

impl Endpoint for Listener {
    fn kind(&self) -> Kind {
        Kind::Listener
    }

    fn name(&self) -> &'static str {
        "a simulated listener"
    }

    fn report_to(&mut self, news: &News) {
        self.news = Some(news.clone());
    }

    fn register(&mut self, _: &Registry, token: Token) -> io::Result<()> {
        let mut queue = self.queue.borrow_mut();
        queue.place = self.news.clone().map(|news| (news, token));
        queue.report();
        Ok(())
    }

    fn deregister(&mut self, _: &Registry) -> io::Result<()> {
        self.queue.borrow_mut().place = None;
        Ok(())
    }

    fn accept(&mut self) -> io::Result<(Io, Address)> {
        let next = self.queue.borrow_mut().waiting.pop_front();
        let peer = next.unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()))?;
        Ok((End::io(peer.wire()), Address::from(peer.address())))
    }
}
