//! One reactor accepts, several serve: connections are handed over.

mod gauges;
mod parcel;
mod refused;
mod service;

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::parcel::Parcel;
use self::service::{Load, Server};
use crate::{Context, Detached, Id, Permit, Reactor};

pub use self::gauges::CrewGauges;
pub use self::refused::{Refusal, Refused};
pub use self::service::{Place, Service};

/// Reactors to which connections are handed over. Clones are the same crew; it is `Send` and `Sync`.
///
/// Each reactor that is to serve connections [`enroll`](Crew::enroll)s with a closure. Any thread hands connections
/// over: usually it is a reactor with the only listener, which can be of the crew itself. It need not be a
/// [`Group`](super::Group), but in a group the shutdown is in the right order.
///
/// ```
/// use slabloop::kit::group::{Choice, Crew, Group, Place};
/// use slabloop::{Accepted, Context, Detached, Dispatcher, Reactor};
/// use std::io;
///
/// struct Front { crew: Crew }
/// impl Dispatcher for Front {
///     fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
///         // A refusal closes the connection. The default handle_error logs it.
///         Ok(self.crew.hand_over(accepted.try_into()?)?)
///     }
/// }
///
/// struct Echo { _place: Place }
/// impl Dispatcher for Echo {
///     fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
///         cx.recv_with(|bytes, cx| cx.send(bytes))
///     }
/// }
///
/// # fn main() -> io::Result<()> {
/// let crew = Crew::new(Choice::FewestConnections, 10_000)?;
/// let group = Group::builder().threads(2).start(move |member| {
///     let mut reactor = Reactor::new()?;
///     crew.enroll(&mut reactor, |cx: &mut Context<'_>, connection: Detached, place: Place| {
///         cx.add(connection, Echo { _place: place })?;
///         Ok(())
///     })?;
///     if member.index() == 0 {
///         reactor.listen("127.0.0.1:0", Front { crew: crew.clone() })?;
///     }
///     member.run(&mut reactor)?;
///     Ok(())
/// })?;
/// # group.handle().shut_down();
/// group.join()?;
/// # Ok(()) }
/// ```
///
/// # No connection is lost on the way
///
/// - A hand-over is a post, whose place in the queue of the other reactor is reserved first. A reactor whose queue is
///   full, or that has `most` connections, is passed over.
/// - If no reactor takes it, [`hand_over`](Crew::hand_over) returns the connection: it can be served where it is.
/// - If the reactor ends before it has served the connection, another gets it. If there is no other, the connection is
///   closed, which is counted ([`CrewGauges::closed`]) and logged.
/// - A [`Detached`] connection takes the bytes along that were read and not used, and those that were not yet sent.
///
/// # What a hand-over costs
///
/// One allocation, and a wake-up of the other thread if that sleeps.
#[derive(Clone)]
pub struct Crew {
    inner: Arc<Inner>,
}

/// How a [`Crew`] chooses the reactor for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Choice {
    /// One after the other.
    RoundRobin,
    /// The reactor with the fewest [`Place`]s; of several, one after the other.
    FewestConnections,
}

pub(super) struct Inner {
    choice: Choice,
    /// Connections of one reactor.
    most: usize,
    servers: Mutex<Vec<Arc<Server>>>,
    next: AtomicUsize,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    handed_over: AtomicU64,
    passed_on: AtomicU64,
    refused: AtomicU64,
    closed: AtomicU64,
}

impl Crew {
    /// A crew without a reactor. Each has at most `most` connections, those on their way to it included; at least 1.
    /// (It is counted by [`Place`]s.)
    ///
    /// # Errors
    ///
    /// `InvalidInput` if `most` is 0.
    pub fn new(choice: Choice, most: usize) -> io::Result<Crew> {
        if most == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "connections of a reactor: at most 0: expected at least 1",
            ));
        }
        Ok(Crew {
            inner: Arc::new(Inner {
                choice,
                most,
                servers: Mutex::default(),
                next: AtomicUsize::new(0),
                counts: Counts::default(),
            }),
        })
    }

    /// From now on connections are handed over to `reactor` as well. `serve` is called there for each.
    ///
    /// It is a callback of the service whose id is returned: an error that it returns is logged, and closes the
    /// connection if `serve` has not added it. A panic in it ends the service: the reactor gets no more connections.
    /// Closing the service does the same: `reactor.at(id).map(|mut cx| cx.close())`.
    ///
    /// Give the [`Place`] to the connection's dispatcher: it counts the connection until it is dropped.
    ///
    /// The crew has a handle of the reactor, which keeps [`run`](Reactor::run) from returning for lack of work.
    ///
    /// # Errors
    ///
    /// As [`Reactor::add_service`].
    pub fn enroll<S>(&self, reactor: &mut Reactor, serve: S) -> io::Result<Id<Service>>
    where
        S: FnMut(&mut Context<'_>, Detached, Place) -> io::Result<()> + 'static,
    {
        let load = Arc::new(Load::default());
        let service = Service::new(Box::new(serve), Arc::downgrade(&self.inner), &load);
        let id = reactor.add_service(service)?;
        let handle = reactor.handle();
        let server = Server { handle, id, load };
        self.inner.servers().push(Arc::new(server));
        Ok(id)
    }

    /// Hands a connection over to a reactor of the crew, which may be that of this thread. Never blocks, and never
    /// calls `serve` directly. The order of connections is kept on each reactor.
    ///
    /// For a connection that a listener has accepted: `crew.hand_over(accepted.try_into()?)`. For a connection in use,
    /// [`detach`](Context::detach) it first, which a callback does for its own connection by
    /// [`defer`](Context::defer).
    ///
    /// # Errors
    ///
    /// [`Refused`], with the connection: no reactor is left, or all are full. `?` closes it.
    ///
    /// ```
    /// use slabloop::kit::group::Crew;
    /// use slabloop::{Accepted, Context, Dispatcher};
    /// use std::io;
    ///
    /// struct Echo;
    /// impl Dispatcher for Echo {}
    ///
    /// /// Serves a connection here if no other reactor takes it.
    /// fn share(crew: &Crew, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
    ///     if let Err(refused) = crew.hand_over(accepted.try_into()?) {
    ///         cx.add(refused.into_connection(), Echo)?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn hand_over(&self, connection: Detached) -> Result<(), Refused> {
        let counts = &self.inner.counts;
        match give(&self.inner, connection) {
            Ok(()) => {
                counts.handed_over.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Err(refused) => {
                counts.refused.fetch_add(1, Ordering::Relaxed);
                Err(refused)
            }
        }
    }

    /// The counters, and the present number of connections of each reactor.
    #[must_use]
    pub fn gauges(&self) -> CrewGauges {
        let counts = &self.inner.counts;
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let servers = self.inner.servers();
        CrewGauges {
            handed_over: get(&counts.handed_over),
            passed_on: get(&counts.passed_on),
            refused: get(&counts.refused),
            closed: get(&counts.closed),
            connections: servers.iter().map(|server| server.load.count()).collect(),
        }
    }
}

/// Posts a connection to one of the reactors.
fn give(inner: &Arc<Inner>, connection: Detached) -> Result<(), Refused> {
    let (server, place, permit) = match inner.choose() {
        Ok(chosen) => chosen,
        Err(refusal) => return Err(Refused::new(refusal, connection)),
    };
    let (id, parcel) = (server.id, Parcel::new(inner, connection, place));
    // If the reactor has been dropped since, the parcel finds another when it is dropped.
    let _ = permit.post(move |reactor| parcel.deliver(reactor, id));
    Ok(())
}

impl Inner {
    /// No user code runs under the lock, so it cannot be poisoned by a panic of theirs.
    fn servers(&self) -> MutexGuard<'_, Vec<Arc<Server>>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A reactor with room, and a place in its queue.
    fn choose(&self) -> Result<(Arc<Server>, Place, Permit), Refusal> {
        let servers = self.servers();
        let open = || servers.iter().filter(|server| server.load.is_open());
        let count = open().count();
        if count == 0 {
            return Err(Refusal::NoReactor);
        }
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % count;
        let in_turn = || open().cycle().skip(turn).take(count);
        let favourite = match self.choice {
            Choice::RoundRobin => None,
            Choice::FewestConnections => in_turn().min_by_key(|server| server.load.count()),
        };
        let mut candidates = favourite.into_iter().chain(in_turn());
        let taken = candidates.find_map(|server| {
            let place = server.load.take(self.most)?;
            let permit = server.handle.reserve().ok()?;
            Some((Arc::clone(server), place, permit))
        });
        taken.ok_or(Refusal::Full)
    }

    /// A reactor takes no more connections.
    fn dismiss(&self, load: &Arc<Load>) {
        let mut servers = self.servers();
        let at = servers
            .iter()
            .position(|server| Arc::ptr_eq(&server.load, load));
        let gone = at.map(|at| servers.remove(at));
        drop(servers);
        // Its handle, which may wake the loop.
        drop(gone);
    }
}

impl fmt::Debug for Crew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crew")
            .field("choice", &self.inner.choice)
            .field("most", &self.inner.most)
            .field("gauges", &self.gauges())
            .finish_non_exhaustive()
    }
}
