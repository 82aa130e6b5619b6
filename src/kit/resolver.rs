//! Names to addresses, and connections to names, without blocking the loop.
//!
//! Two resolvers stand behind one trait, [`Resolve`]. [`SystemResolver`] asks the C library, on worker threads, and so
//! obeys all that `nsswitch.conf` says. [`DnsResolver`] asks name servers itself, on the loop, knows how long an answer
//! holds, and needs no thread. [`connect_host`] connects to a name: to whichever of its addresses answers first.
//!
//! ```no_run
//! use slabloop::kit::resolver::{connect_host, ConnectError, DnsConfig, DnsResolver};
//! use slabloop::{Context, Dispatcher, Id, Reactor};
//! use std::io;
//!
//! /// What talks to the server.
//! struct Client;
//! impl Dispatcher for Client {
//!     fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
//!         cx.send(b"hello\n")
//!     }
//! }
//!
//! /// What wants it.
//! struct Owner { resolver: DnsResolver }
//! impl Dispatcher for Owner {}
//!
//! impl Owner {
//!     fn dial(&mut self, cx: &mut Context<'_>) {
//!         let me: Id<Owner> = cx.id();
//!         connect_host(cx, &self.resolver, me, "example.org", 80, Client, Owner::dialled);
//!     }
//!
//!     fn dialled(
//!         &mut self,
//!         _: &mut Context<'_>,
//!         outcome: Result<Id<Client>, ConnectError>,
//!     ) -> io::Result<()> {
//!         // Says which address failed for what reason.
//!         outcome?;
//!         Ok(())
//!     }
//! }
//!
//! fn main() -> io::Result<()> {
//!     let mut reactor = Reactor::new()?;
//!     let resolver = DnsResolver::new(&mut reactor, DnsConfig::system()?)?;
//!     let owner = reactor.add_service(Owner { resolver })?;
//!     reactor.with(owner, Owner::dial);
//!     reactor.run()
//! }
//! ```

mod attempt;
mod cache;
mod config;
mod dns;
mod error;
mod eyeballs;
mod files;
mod flight;
mod hosts;
mod name;
pub mod order;
mod random;
mod service;
mod serving;
mod system;
mod tcp;
mod udp;
mod waiters;
mod wire;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::{AnyId, Context, Dispatcher, Id, Reactor};

pub use self::config::{DnsConfig, Family};
pub use self::dns::{DnsResolver, DnsStats};
pub use self::error::{Failure, LookupError};
pub use self::eyeballs::{ConnectError, Dial, Dialling, connect_host};
pub use self::system::{SystemConfig, SystemResolver, SystemStats};
pub use self::waiters::Lookup;

/// What a lookup gives.
pub type Outcome = Result<Addresses, LookupError>;

/// What is called with the outcome of a lookup, boxed; see [`Resolve::start`].
pub type Then = Box<dyn FnOnce(&mut Reactor, Outcome)>;

/// Looks up the addresses of names.
///
/// A resolver is a small handle; what it stands for lives in the reactor that it was made with. With the context of
/// another reactor it is as if it were closed. `Rc<dyn Resolve>` is a resolver as well.
pub trait Resolve {
    /// Looks up `name`, and calls `then` on the dispatcher `id` with the outcome, as if it were one of its callbacks
    /// ([`Context::call`]).
    ///
    /// *When:* once, never from inside this call: later in this turn if the answer is known (a literal address, a
    /// name in the hosts file or in the cache), else when it comes or the resolver's deadline passes. Not at all after
    /// [`cancel`](Resolve::cancel), or if the dispatcher has ended by then. *Inside:* anything, further lookups
    /// included. What it returns follows [the table](Dispatcher#what-a-returned-error-does). Answers that are known
    /// come in the order of the calls.
    ///
    /// While a lookup waits, [`run`](Reactor::run) does not return. If the dispatcher ends before, the lookup is
    /// cancelled in the turn after.
    ///
    /// ```no_run
    /// use slabloop::kit::resolver::{Addresses, DnsResolver, LookupError, Resolve};
    /// use slabloop::{Context, Dispatcher};
    /// use std::io;
    ///
    /// struct Client;
    /// impl Dispatcher for Client {}
    ///
    /// struct Dialler { resolver: DnsResolver }
    /// impl Dispatcher for Dialler {}
    ///
    /// impl Dialler {
    ///     fn dial(&mut self, cx: &mut Context<'_>) {
    ///         let me = cx.id();
    ///         self.resolver.lookup(cx, me, "example.org", Dialler::found);
    ///     }
    ///
    ///     fn found(
    ///         &mut self,
    ///         cx: &mut Context<'_>,
    ///         outcome: Result<Addresses, LookupError>,
    ///     ) -> io::Result<()> {
    ///         // The first is the best. (`connect_host` would try the others as well.)
    ///         for address in outcome?.with_port(80).take(1) {
    ///             cx.connect(address, Client)?;
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// ```
    fn lookup<D: Dispatcher>(
        &self,
        cx: &mut Context<'_>,
        id: Id<D>,
        name: &str,
        then: impl FnOnce(&mut D, &mut Context<'_>, Outcome) -> io::Result<()> + 'static,
    ) -> Lookup
    where
        Self: Sized,
    {
        self.start(cx, id.any(), name, None, boxed(id, then))
    }

    /// As [`lookup`](Resolve::lookup), with a deadline of its own: when `limit` has passed, the outcome is
    /// [`Failure::DeadlinePassed`]. `Duration::MAX` means no deadline; then what the servers have together counts.
    fn lookup_within<D: Dispatcher>(
        &self,
        cx: &mut Context<'_>,
        id: Id<D>,
        name: &str,
        limit: Duration,
        then: impl FnOnce(&mut D, &mut Context<'_>, Outcome) -> io::Result<()> + 'static,
    ) -> Lookup
    where
        Self: Sized,
    {
        self.start(cx, id.any(), name, Some(limit), boxed(id, then))
    }

    /// What the other two do, for resolvers of one's own to implement. `owner` is the dispatcher that wants to know:
    /// when it has ended ([`Context::watch`]) the lookup is of no use any more. `then` is to be called as
    /// [`lookup`](Resolve::lookup) says, with the reactor, so from [`defer`](Context::defer) or the like. `None`
    /// means the resolver's own deadline.
    fn start(
        &self,
        cx: &mut Context<'_>,
        owner: AnyId,
        name: &str,
        limit: Option<Duration>,
        then: Then,
    ) -> Lookup;

    /// Forgets a lookup: what was given for its outcome is dropped without a call. False if it was called already, or
    /// cancelled. Other lookups of the same name go on.
    fn cancel(&self, cx: &mut Context<'_>, lookup: Lookup) -> bool;
}

fn boxed<D: Dispatcher>(
    id: Id<D>,
    then: impl FnOnce(&mut D, &mut Context<'_>, Outcome) -> io::Result<()> + 'static,
) -> Then {
    Box::new(move |reactor, outcome| {
        // One that has gone no longer wants to know; what it does with the answer is its own affair.
        let _ = reactor.call(id, |dispatcher, cx| then(dispatcher, cx, outcome));
    })
}

impl<R: Resolve + ?Sized> Resolve for Rc<R> {
    fn start(
        &self,
        cx: &mut Context<'_>,
        owner: AnyId,
        name: &str,
        limit: Option<Duration>,
        then: Then,
    ) -> Lookup {
        (**self).start(cx, owner, name, limit, then)
    }

    fn cancel(&self, cx: &mut Context<'_>, lookup: Lookup) -> bool {
        (**self).cancel(cx, lookup)
    }
}

/// The addresses of a name, at least one, the best first (RFC 6724). Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Addresses {
    list: Rc<[IpAddr]>,
    origin: Origin,
    until: Option<Instant>,
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// The name was an address itself, or `localhost`.
    Literal,
    /// The hosts file.
    Hosts,
    /// It was known from before.
    Cache,
    /// It was asked for: of name servers, or of the C library.
    Asked,
}

impl Addresses {
    pub(self) fn new(list: Rc<[IpAddr]>, origin: Origin, until: Option<Instant>) -> Addresses {
        Addresses {
            list,
            origin,
            until,
        }
    }

    /// Where the answer came from.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Until when it holds, by the reactor's clock ([`Context::now`]); `None` if nothing says so.
    #[must_use]
    pub fn valid_until(&self) -> Option<Instant> {
        self.until
    }

    /// The addresses with a port, to be connected to.
    pub fn with_port(&self, port: u16) -> impl Iterator<Item = SocketAddr> + '_ {
        self.list.iter().map(move |&address| (address, port).into())
    }
}

impl Deref for Addresses {
    type Target = [IpAddr];

    fn deref(&self) -> &[IpAddr] {
        &self.list
    }
}

impl fmt::Debug for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} from {:?}", self.list, self.origin)
    }
}

/// An address that is written as one, an IPv6 one with or without brackets.
fn literal(name: &str) -> Option<IpAddr> {
    let bare = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    match bare {
        Some(bare) => bare.parse().ok().map(IpAddr::V6),
        // No name begins otherwise and is an address.
        None if name.starts_with(|c: char| c.is_ascii_hexdigit() || c == ':') => name.parse().ok(),
        None => None,
    }
}
