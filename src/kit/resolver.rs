//! Name lookup, and connections to names, without blocking the loop.
//!
//! There are two resolvers with one trait, [`Resolve`]. [`SystemResolver`] calls the C library on worker threads, and
//! so respects `nsswitch.conf`. [`DnsResolver`] queries name servers itself, on the loop; it knows how long an answer
//! is valid, and needs no thread. [`connect_host`] connects to a name: to the first of its addresses that answers.
//!
//! ```no_run
//! use slabloop::kit::resolver::{connect_host, ConnectError, DnsConfig, DnsResolver};
//! use slabloop::{Context, Dispatcher, Id, Reactor};
//! use std::io;
//!
//! /// The connection to the server.
//! struct Client;
//! impl Dispatcher for Client {
//!     fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
//!         cx.send(b"hello\n")
//!     }
//! }
//!
//! /// The dispatcher that asks for the connection.
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
//!         // The error names each address and why it failed.
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

/// The outcome of a lookup.
pub type Outcome = Result<Addresses, LookupError>;

/// The boxed closure that is called with the outcome of a lookup; see [`Resolve::start`].
pub type Then = Box<dyn FnOnce(&mut Reactor, Outcome)>;

/// Looks up the addresses of names.
///
/// A resolver is a small handle; its state is in the reactor that it was made with. With the context of another
/// reactor it behaves as if it were closed. `Rc<dyn Resolve>` is a resolver as well.
///
/// ```
/// use slabloop::kit::resolver::{DnsConfig, DnsResolver, Resolve, SystemConfig, SystemResolver};
/// use slabloop::Reactor;
/// use std::rc::Rc;
///
/// /// The choice of a resolver as an option of the program.
/// fn resolver(reactor: &mut Reactor, system: bool) -> std::io::Result<Rc<dyn Resolve>> {
///     Ok(match system {
///         true => Rc::new(SystemResolver::new(reactor, SystemConfig::new())?),
///         false => Rc::new(DnsResolver::new(reactor, DnsConfig::system()?)?),
///     })
/// }
/// ```
pub trait Resolve {
    /// Looks up `name`, and calls `then` on the dispatcher `id` with the outcome, as if it were one of its callbacks
    /// ([`Context::call`]).
    ///
    /// *When:* `then` is called once, and never from inside this call. If the answer is known (a literal address, a
    /// name in the hosts file or in the cache), it is called later in this turn, otherwise when the answer arrives or
    /// the resolver's deadline passes. It is not called after [`cancel`](Resolve::cancel), or if the dispatcher has
    /// ended. Known answers are delivered in the order of the calls. *Inside:* anything is allowed, further lookups
    /// as well. What it returns follows [the table](Dispatcher#what-a-returned-error-does).
    ///
    /// While a lookup waits, [`run`](Reactor::run) does not return. If the dispatcher ends before the outcome, the
    /// lookup is cancelled in the next turn.
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

    /// Like [`lookup`](Resolve::lookup), with a deadline for this lookup: when `limit` has passed, the outcome is
    /// [`Failure::DeadlinePassed`]. `Duration::MAX` means no deadline; then only the timeouts of the servers apply.
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

    /// The basis of the other two; a resolver of your own implements this method. `owner` is the dispatcher that
    /// asked: when it has ended ([`Context::watch`]), the lookup can be dropped. Call `then` at the times that
    /// [`lookup`](Resolve::lookup) describes, with the reactor, for example from [`defer`](Context::defer). A `limit`
    /// of `None` means the resolver's own deadline.
    fn start(
        &self,
        cx: &mut Context<'_>,
        owner: AnyId,
        name: &str,
        limit: Option<Duration>,
        then: Then,
    ) -> Lookup;

    /// Cancels a lookup: its closure is dropped and is not called. Returns `false` if it was called or cancelled
    /// before, and for a lookup that was refused ([`Failure::Overloaded`], [`Failure::Closed`]): its closure is called
    /// all the same, in this turn or the next. Other lookups of the same name are not affected.
    fn cancel(&self, cx: &mut Context<'_>, lookup: Lookup) -> bool;
}

fn boxed<D: Dispatcher>(
    id: Id<D>,
    then: impl FnOnce(&mut D, &mut Context<'_>, Outcome) -> io::Result<()> + 'static,
) -> Then {
    Box::new(move |reactor, outcome| {
        // The dispatcher may have ended; what it returns is handled as for any callback.
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

/// The addresses of a name, at least one, sorted by preference (RFC 6724). Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Addresses {
    list: Rc<[IpAddr]>,
    origin: Origin,
    until: Option<Instant>,
}

/// The source of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// The name was an address itself, or `localhost`.
    Literal,
    /// The hosts file.
    Hosts,
    /// The cache.
    Cache,
    /// A query to the name servers, or a call of the C library.
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

    /// The source of the answer.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Until when the answer is valid, by the reactor's clock ([`Context::now`]); `None` if that is unknown.
    #[must_use]
    pub fn valid_until(&self) -> Option<Instant> {
        self.until
    }

    /// The addresses with a port, as socket addresses.
    ///
    /// ```
    /// use slabloop::kit::resolver::Addresses;
    /// use std::net::SocketAddr;
    ///
    /// fn first(addresses: &Addresses, port: u16) -> SocketAddr {
    ///     addresses.with_port(port).next().expect("there is at least one")
    /// }
    /// ```
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

/// The address if the name is a literal one; an IPv6 address may be in brackets.
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
