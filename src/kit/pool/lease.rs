//! A leased connection.

use std::fmt;
use std::io;

use crate::kit::pool::{Key, Pool, Reusable};
use crate::{AnyId, Context, Id, Permit, Reactor, Unreached};

/// A connection of a pool, on loan. When the lease is dropped, the connection returns to the pool, and no context is
/// needed for that: in this turn if it is dropped by a callback that runs before the posted closures, otherwise in
/// the next. So a dispatcher that keeps the lease in a field returns it when it ends, panics or is
/// [replaced](Context::replace). [`release`](Lease::release) returns it at once, and costs less.
///
/// A lease can be sent to another thread and dropped there: its place in the reactor's queue of posts was
/// [reserved](crate::Handle::reserve) when it was made.
///
/// The connection may end while it is leased. [`with`](Lease::with) then returns an error. To be notified, the holder
/// calls `cx.watch(lease.id())`, and its [`handle_gone`](crate::Dispatcher::handle_gone) is called. The place in the
/// pool is free at once, even if the lease is kept.
#[must_use = "a lease that is dropped goes back to its pool"]
pub struct Lease<K: Key, D: Reusable> {
    pub(super) pool: Id<Pool<K, D>>,
    pub(super) connection: Id<D>,
    pub(super) place: usize,
    pub(super) number: u64,
    /// Until it has gone back by another way.
    pub(super) permit: Option<Permit>,
}

impl<K: Key, D: Reusable> Lease<K, D> {
    /// The connection's id. Do not use it after the lease is gone: another holder may have the connection then.
    #[must_use]
    pub fn id(&self) -> Id<D> {
        self.connection
    }

    /// Runs a closure on the connection, as [`Context::try_with`] does.
    ///
    /// # Errors
    ///
    /// [`Unreached::Gone`] if the connection has ended. [`Unreached::Busy`] if its own callback is running.
    ///
    /// # Example
    ///
    /// ```
    /// use slabloop::kit::pool::{Key, Lease, Reusable};
    /// use slabloop::{Context, Dispatcher};
    /// use std::io;
    ///
    /// # struct Connection { outstanding: u32 }
    /// # impl Dispatcher for Connection {}
    /// # impl Reusable for Connection {
    /// #     fn is_reusable(&mut self, _: &mut Context<'_>) -> bool { true }
    /// # }
    /// fn request<K: Key>(cx: &mut Context<'_>, lease: &Lease<K, Connection>) -> io::Result<()> {
    ///     let sent = lease.with(cx, |connection, cx| {
    ///         connection.outstanding += 1;
    ///         cx.send(b"PING\r\n")
    ///     });
    ///     sent.map_err(io::Error::other)? // the connection may have ended meanwhile
    /// }
    /// ```
    pub fn with<R>(
        &self,
        cx: &mut Context<'_>,
        body: impl FnOnce(&mut D, &mut Context<'_>) -> R,
    ) -> Result<R, Unreached> {
        cx.try_with(self.connection, body)
    }

    /// A context for the connection's socket, as from [`Context::at`]. `None` if the connection has ended.
    #[must_use]
    pub fn at<'c>(&self, cx: &'c mut Context<'_>) -> Option<Context<'c>> {
        cx.at(self.connection)
    }

    /// Returns the connection. The first waiting request gets it in this turn or the next. If the connection's own
    /// callback is running, the connection is checked when that has returned.
    pub fn release(mut self, cx: &mut Context<'_>) {
        let (place, number) = (self.place, self.number);
        let permit = self.permit.take();
        let returned = cx.try_with(self.pool, |pool, cx| pool.give_back(cx, place, number));
        match returned {
            Ok(()) => {}
            // The pool itself is lending: then by the queue.
            Err(Unreached::Busy) => self.permit = permit,
            Err(_) => close(cx.at(self.connection)),
        }
    }

    /// Returns the connection as broken: it is aborted and not used again. Nothing happens if it has ended already.
    ///
    /// ```
    /// use slabloop::Context;
    /// use slabloop::kit::pool::{Key, Lease, Reusable};
    ///
    /// fn done<K: Key, D: Reusable>(cx: &mut Context<'_>, lease: Lease<K, D>, answer_is_valid: bool) {
    ///     match answer_is_valid {
    ///         true => lease.release(cx),
    ///         false => lease.discard(cx),
    ///     }
    /// }
    /// ```
    pub fn discard(mut self, cx: &mut Context<'_>) {
        self.permit = None;
        let (place, number) = (self.place, self.number);
        cx.with(self.pool, |pool, _| pool.note_broken(place, number));
        if let Some(mut connection) = cx.at(self.connection) {
            connection.abort();
        }
    }

    /// Takes the connection out of the pool for good, for example because it is upgraded to another protocol. It now
    /// belongs to the holder, and its place in the pool is free.
    ///
    /// # Errors
    ///
    /// `NotConnected` if it has ended. `ResourceBusy` from inside the `connect` closure, where the pool itself is
    /// running; the connection then returns to the pool.
    pub fn take(mut self, cx: &mut Context<'_>) -> io::Result<Id<D>> {
        let (place, number) = (self.place, self.number);
        let told = cx.try_with(self.pool, |pool, cx| pool.let_go(cx, place, number));
        if told == Err(Unreached::Busy) {
            let text = "pool: a lease cannot be taken while the pool is itself running";
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
        }
        self.permit = None;
        if cx.at(self.connection).is_none() {
            let text = format!("pool: connection {} has ended", self.connection);
            return Err(io::Error::new(io::ErrorKind::NotConnected, text));
        }
        Ok(self.connection)
    }
}

impl<K: Key, D: Reusable> Drop for Lease<K, D> {
    fn drop(&mut self) {
        let Some(permit) = self.permit.take() else {
            return;
        };
        let Lease {
            pool,
            connection,
            place,
            number,
            ..
        } = *self;
        // Refused only if the reactor is gone, and the connection with it.
        let _ =
            permit.post(move |reactor| give_back(reactor, pool, connection.any(), place, number));
    }
}

fn give_back<K: Key, D: Reusable>(
    reactor: &mut Reactor,
    pool: Id<Pool<K, D>>,
    connection: AnyId,
    place: usize,
    number: u64,
) {
    let returned = reactor.with(pool, |pool, cx| pool.give_back(cx, place, number));
    if returned.is_none() {
        close(reactor.at(connection));
    }
}

/// A connection whose pool is gone.
fn close(connection: Option<Context<'_>>) {
    if let Some(mut connection) = connection {
        connection.close();
    }
}

impl<K: Key, D: Reusable> fmt::Debug for Lease<K, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}
