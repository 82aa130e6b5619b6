//! A connection in the hands of its holder.

use std::fmt;
use std::io;

use crate::kit::pool::{Key, Pool, Reusable};
use crate::{AnyId, Context, Id, Permit, Reactor, Unreached};

/// A connection of a pool, lent. Dropped, it goes back: in this turn if a callback before the posts drops it, in the
/// next one otherwise, and that needs no context. So a dispatcher that keeps it as a field gives it back by ending,
/// by a panic, by being [replaced](Context::replace). [`release`](Lease::release) does it at once and costs less.
///
/// It can be sent to another thread, and comes back from there all the same: its place in the reactor's queue of posts
/// was [reserved](crate::Handle::reserve) when it was made.
///
/// The connection may die while it is leased. [`with`](Lease::with) says so at the next use; to be told, the holder
/// watches it: `cx.watch(lease.id())` has [`handle_gone`](crate::Dispatcher::handle_gone) called. Its place in the
/// pool is free at once, whatever becomes of the lease.
#[must_use = "dropped it goes back to its pool"]
pub struct Lease<K: Key, D: Reusable> {
    pub(super) pool: Id<Pool<K, D>>,
    pub(super) connection: Id<D>,
    pub(super) place: usize,
    pub(super) number: u64,
    /// Until it has gone back by another way.
    pub(super) permit: Option<Permit>,
}

impl<K: Key, D: Reusable> Lease<K, D> {
    /// The connection's id. It can be kept, but is not to be used when the lease is gone: another holder may have the
    /// connection then.
    #[must_use]
    pub fn id(&self) -> Id<D> {
        self.connection
    }

    /// Runs a closure on the connection, as [`Context::try_with`] does.
    ///
    /// # Errors
    ///
    /// [`Unreached::Gone`] if the connection has died. [`Unreached::Busy`] if its own callback is running.
    pub fn with<R>(
        &self,
        cx: &mut Context<'_>,
        body: impl FnOnce(&mut D, &mut Context<'_>) -> R,
    ) -> Result<R, Unreached> {
        cx.try_with(self.connection, body)
    }

    /// The connection's socket, as [`Context::at`] reaches it. `None` if it has died.
    #[must_use]
    pub fn at<'c>(&self, cx: &'c mut Context<'_>) -> Option<Context<'c>> {
        cx.at(self.connection)
    }

    /// Gives the connection back. The first in line has it in this turn, or the next; if its own callback is
    /// running, it is looked at when that has returned.
    pub fn release(mut self, cx: &mut Context<'_>) {
        let (place, number) = (self.place, self.number);
        let permit = self.permit.take();
        let returned = cx.try_with(self.pool, |pool, cx| pool.give_back(cx, place, number));
        match returned {
            Ok(()) => {}
            // It is itself lending: then by the queue.
            Err(Unreached::Busy) => self.permit = permit,
            Err(_) => close(cx.at(self.connection)),
        }
    }

    /// Gives the connection back as broken: it is aborted, and not used again. Nothing follows if it has died.
    pub fn discard(mut self, cx: &mut Context<'_>) {
        self.permit = None;
        let (place, number) = (self.place, self.number);
        cx.with(self.pool, |pool, _| pool.note_broken(place, number));
        if let Some(mut connection) = cx.at(self.connection) {
            connection.abort();
        }
    }

    /// Takes the connection out of the pool for good, for example because it is upgraded to another protocol. It is
    /// the holder's from here on, and its place in the pool is free.
    ///
    /// # Errors
    ///
    /// `NotConnected` if it has died. `ResourceBusy` from inside the closure that connects, where the pool is itself
    /// running; the connection goes back.
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
