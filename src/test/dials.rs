//! Attempts to connect that go to the test in place of the network.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use super::peer::Peer;
use super::wire::Link;
use crate::reactor::Reactor;

/// The attempts to connect of a reactor, which the test answers. Made by [`dials`].
#[derive(Clone, Debug)]
pub struct Dials(Rc<RefCell<VecDeque<Peer>>>);

/// Has the test answer all attempts to connect that this reactor makes from here on by
/// [`connect`](crate::Context::connect) and [`connect_with`](crate::Context::connect_with): they reach no network. It is
/// for clients that connect by themselves, perhaps again and again.
///
/// (Unix sockets, and sockets that [`Socket::dial`](crate::Socket::dial) makes, are the system's still.)
///
/// ```
/// use slabloop::test::{dials, run_until_quiet};
/// use slabloop::{Context, Dispatcher, Reactor};
/// use std::io;
///
/// struct Client;
/// impl Dispatcher for Client {
///     fn handle_close(&mut self, cx: &mut Context<'_>) {
///         // The other address.
///         let other = "192.0.2.81:80".parse().expect("an address");
///         cx.connect(other, Client).expect("a socket");
///     }
/// }
///
/// # fn main() -> io::Result<()> {
/// let mut reactor = Reactor::new()?;
/// let dials = dials(&mut reactor);
/// reactor.connect("192.0.2.80:80", Client)?;
///
/// let first = dials.next().expect("it has begun");
/// assert_eq!(first.address().to_string(), "192.0.2.80:80");
/// first.refuse(io::ErrorKind::ConnectionRefused);
/// run_until_quiet(&mut reactor, 10);
/// assert_eq!(dials.next().expect("a second one").address().to_string(), "192.0.2.81:80");
/// # Ok(()) }
/// ```
pub fn dials(reactor: &mut Reactor) -> Dials {
    let dials = Dials(Rc::default());
    let made = dials.0.clone();
    reactor.state_mut().poller.simulated.dialler = Some(Box::new(move |address| {
        let peer = Peer::new(Link::Attempt, address);
        let socket = peer.socket();
        made.borrow_mut().push_back(peer);
        (socket, Err(io::ErrorKind::Interrupted.into()))
    }));
    dials
}

impl Dials {
    /// The next attempt, as the peer that is to [`establish`](Peer::establish) or [`refuse`](Peer::refuse) it; its
    /// [`address`](Peer::address) is the one that was dialled. `None` if no more has been made.
    #[must_use]
    pub fn next(&self) -> Option<Peer> {
        self.0.borrow_mut().pop_front()
    }
}
