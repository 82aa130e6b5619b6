//! A clock and sockets that a test supplies, in place of the system's.
//!
//! The seam is the same one that mio sits behind: a poller that hands out events, sockets as endpoints,
//! one clock. The reactor above it is not a different reactor. Sockets that a test supplies report their events
//! to [`News`], which every poller has and looks at beside the system's; so they can be added to any reactor, beside
//! real ones.

pub(crate) mod clock;
#[cfg(feature = "testing")]
pub(crate) mod kernel;
pub(crate) mod news;

use std::fmt;
use std::io;
use std::net::SocketAddr;
#[cfg(feature = "testing")]
use std::time::Duration;

use mio::Token;

use crate::world::signals::Signals;
use crate::world::simulated::news::News;
use crate::world::socket::Socket;

/// Makes the socket of a connection attempt, and says what `connect` said.
pub(crate) type Dialler = Box<dyn FnMut(SocketAddr) -> (Socket, io::Result<()>)>;

/// Timeouts of waits that are kept, if no test takes them. (Without a bound a long run would look as if the reactor lost
/// memory.)
#[cfg(feature = "testing")]
const MOST_WAITS: usize = 10_000;

/// What the poller keeps of all this.
#[derive(Default)]
pub(crate) struct Simulated {
    pub(crate) news: News,
    /// Who makes the sockets of connection attempts, if not the system.
    pub(crate) dialler: Option<Dialler>,
    #[cfg(feature = "testing")]
    pub(crate) kernel: Option<Box<dyn kernel::SimKernel>>,
    /// The timeouts handed to the wait.
    #[cfg(feature = "testing")]
    pub(crate) waits: Vec<Option<Duration>>,
}

impl Simulated {
    /// The wait of a kernel that a test supplies in place of epoll.
    #[cfg(feature = "testing")]
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> Option<io::Result<()>> {
        if self.waits.len() < MOST_WAITS {
            self.waits.push(timeout);
        }
        let kernel = self.kernel.as_mut()?;
        let mut events = Vec::new();
        let outcome = kernel.wait(timeout, &mut events);
        for (token, bits) in events {
            self.news.report(token, bits);
        }
        Some(outcome)
    }

    /// The socket of an attempt to connect; `None` leaves it to the system.
    pub(crate) fn dial(
        &mut self,
        address: SocketAddr,
    ) -> Option<io::Result<(Socket, io::Result<()>)>> {
        #[cfg(feature = "testing")]
        if let Some(dialled) = self.kernel.as_mut().and_then(|kernel| kernel.dial(address)) {
            return Some(dialled.map(|(socket, said)| (Socket::from(socket), said)));
        }
        self.dialler.as_mut().map(|dial| Ok(dial(address)))
    }

    /// A datagram socket that is connected to an address; `None` leaves it to the system.
    #[cfg(feature = "testing")]
    pub(crate) fn dial_udp(&mut self, peer: SocketAddr) -> Option<io::Result<Socket>> {
        let dialled = self.kernel.as_mut()?.dial_udp(peer)?;
        Some(dialled.map(Socket::from))
    }

    pub(crate) fn hand_over(&mut self, events: &mut Vec<(Token, Signals)>) {
        let news = self.news.next_turn();
        events.extend(
            news.into_iter()
                .map(|(token, bits)| (token, Signals::from_bits(bits))),
        );
    }
}

impl fmt::Debug for Simulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulated")
            .field("news", &self.news)
            .finish_non_exhaustive()
    }
}
