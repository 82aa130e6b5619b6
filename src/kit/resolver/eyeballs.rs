//! A connection to a name: its addresses are tried one after the other, with a short delay, until one answers ("happy
//! eyeballs", RFC 8305).

mod error;
mod race;

use std::fmt;
use std::io;
use std::time::Duration;

use self::error::{Reason, Target};
use self::race::{Finish, Race};
use super::Resolve;
use crate::{Context, Dispatcher, Id, Socket, SocketOptions};

pub use self::error::ConnectError;

/// Puts a layer on the socket, say.
type Prepare = Box<dyn FnOnce(Socket) -> io::Result<Socket>>;

/// Connects to a name, and gives the connection to `dispatcher`: [`Dial`] with its defaults.
///
/// *What follows:* `then` is called on the dispatcher `owner`, once, and never from inside this call. On success it
/// gets the id of `dispatcher`, which has been added; its [`handle_connect`](Dispatcher::handle_connect) is called in
/// a later turn. Otherwise it gets an error that names each address and the result for it; `dispatcher` was then
/// dropped without `handle_close`, because it was never added. If `owner` has ended, `then` is not called, but the
/// connection is still added.
///
/// ```
/// use slabloop::kit::resolver::{Resolve, connect_host};
/// use slabloop::{Context, Dispatcher, Id};
///
/// struct Client;
/// impl Dispatcher for Client {}
///
/// struct Owner { client: Option<Id<Client>> }
/// impl Dispatcher for Owner {}
///
/// fn dial(cx: &mut Context<'_>, resolver: &(impl Resolve + Clone + 'static), owner: Id<Owner>) {
///     connect_host(cx, resolver, owner, "example.org", 80, Client, |owner: &mut Owner, _, outcome| {
///         owner.client = Some(outcome?);
///         Ok(())
///     });
/// }
/// ```
pub fn connect_host<O: Dispatcher, D: Dispatcher>(
    cx: &mut Context<'_>,
    resolver: &(impl Resolve + Clone + 'static),
    owner: Id<O>,
    name: &str,
    port: u16,
    dispatcher: D,
    then: impl FnOnce(&mut O, &mut Context<'_>, Result<Id<D>, ConnectError>) -> io::Result<()> + 'static,
) -> Dialling {
    Dial::new(name, port).start(cx, resolver, owner, dispatcher, then)
}

/// A connection to a name that is to be opened, with more settings than [`connect_host`].
///
/// The name's addresses are sorted (RFC 6724), with the families alternating, and tried one after the other. The next
/// attempt begins when the one before has failed, or has had no answer for the time of [`stagger`](Dial::stagger);
/// both then continue in parallel. The first connection that is established is kept, and all others are closed at
/// once.
///
/// ```
/// use slabloop::kit::resolver::{Dial, DnsResolver};
/// use slabloop::{Context, Dispatcher, Id};
/// use std::time::Duration;
///
/// struct Client;
/// impl Dispatcher for Client {}
/// struct Owner;
/// impl Dispatcher for Owner {}
///
/// fn dial(cx: &mut Context<'_>, resolver: &DnsResolver, owner: Id<Owner>) {
///     let mut dial = Dial::new("example.org", 443);
///     dial.deadline(Duration::from_secs(5));
///     // With TLS: dial.prepare(move |socket| Ok(socket.layered(connector.session("example.org")?)));
///     dial.start(cx, resolver, owner, Client, |_, _, outcome| {
///         outcome?;
///         Ok(())
///     });
/// }
/// ```
pub struct Dial {
    name: String,
    port: u16,
    options: SocketOptions,
    stagger: Duration,
    deadline: Duration,
    prepare: Option<Prepare>,
}

impl Dial {
    /// A connection to `name`, which may also be a literal address.
    #[must_use]
    pub fn new(name: &str, port: u16) -> Dial {
        Dial {
            name: name.to_owned(),
            port,
            options: SocketOptions::new(),
            stagger: Duration::from_millis(250),
            deadline: Duration::from_secs(30),
            prepare: None,
        }
    }

    /// The socket options of each attempt.
    pub fn options(&mut self, options: SocketOptions) -> &mut Self {
        self.options = options;
        self
    }

    /// How long to wait for an attempt before the next begins in parallel. Default: 250 ms. The value is clamped to
    /// the bounds of RFC 8305, 10 ms to 2 s.
    pub fn stagger(&mut self, delay: Duration) -> &mut Self {
        self.stagger = delay.clamp(Duration::from_millis(10), Duration::from_secs(2));
        self
    }

    /// The deadline of the whole, including the lookup. The handshake of a layer comes later and has its own limit
    /// ([`Builder::handshake_timeout`](crate::Builder::handshake_timeout)). Default: 30 s; `Duration::MAX` means no
    /// limit.
    pub fn deadline(&mut self, limit: Duration) -> &mut Self {
        self.deadline = limit;
        self
    }

    /// A closure that is called with the connected socket before it is added, for example to add a
    /// [layer](Socket::layered). If it returns an error, connecting fails with that.
    ///
    /// ```
    /// # #[cfg(feature = "tls")] {
    /// use slabloop::kit::resolver::Dial;
    /// use slabloop::tls::Connector;
    ///
    /// fn https(connector: Connector, host: &str) -> Dial {
    ///     let mut dial = Dial::new(host, 443);
    ///     let name = host.to_owned();
    ///     dial.prepare(move |socket| Ok(socket.layered(connector.session(&name)?)));
    ///     dial
    /// }
    /// # }
    /// ```
    pub fn prepare(
        &mut self,
        prepare: impl FnOnce(Socket) -> io::Result<Socket> + 'static,
    ) -> &mut Self {
        self.prepare = Some(Box::new(prepare));
        self
    }

    /// Starts connecting; see [`connect_host`] for what follows.
    pub fn start<O: Dispatcher, D: Dispatcher>(
        self,
        cx: &mut Context<'_>,
        resolver: &(impl Resolve + Clone + 'static),
        owner: Id<O>,
        dispatcher: D,
        then: impl FnOnce(&mut O, &mut Context<'_>, Result<Id<D>, ConnectError>) -> io::Result<()>
        + 'static,
    ) -> Dialling {
        let Dial {
            name,
            port,
            options,
            stagger,
            deadline: limit,
            prepare,
        } = self;
        let whole = Target { name, port };
        let target = whole.clone();
        let finish: Finish = Box::new(move |reactor, outcome| {
            let outcome = outcome.and_then(|socket| {
                let socket = match prepare {
                    Some(prepare) => prepare(socket),
                    None => Ok(socket),
                };
                let added = socket.and_then(|socket| reactor.add(socket, dispatcher));
                added.map_err(|error| ConnectError::new(target, Reason::NotAdded(error)))
            });
            let _ = reactor.call(owner, |owner, cx| then(owner, cx, outcome));
        });
        let race = Race::new(whole.clone(), options, stagger, limit);
        let number = race.number;
        match cx.add_service(race) {
            Ok(id) => {
                cx.with(id, |race, cx| race.begin(cx, resolver.clone(), finish));
                Dialling {
                    race: Some((id, number)),
                }
            }
            Err(error) => {
                let error = ConnectError::new(whole, Reason::NotAdded(error));
                cx.defer(move |reactor| finish(reactor, Err(error)));
                Dialling { race: None }
            }
        }
    }
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dial")
            .field("name", &self.name)
            .field("port", &self.port)
            .field("stagger", &self.stagger)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// Identifies a connection that is being opened, to [cancel](Dialling::cancel) it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialling {
    /// With its own number.
    race: Option<(Id<Race>, u64)>,
}

impl Dialling {
    /// Cancels it: all attempts are closed, and the dispatcher and the closure are dropped. Returns `false` if it had
    /// an outcome before.
    pub fn cancel(self, cx: &mut Context<'_>) -> bool {
        let Some((race, number)) = self.race else {
            return false;
        };
        let cancelled = cx.with(race, |race, cx| race.number == number && race.cancel(cx));
        cancelled.unwrap_or(false)
    }
}
