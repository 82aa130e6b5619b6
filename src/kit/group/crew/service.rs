//! The side of a reactor that gets connections.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use super::Inner;
use crate::{Context, Detached, Dispatcher, Handle, Id};

/// A reactor, as the others see it.
pub(super) struct Server {
    pub(super) handle: Handle,
    pub(super) id: Id<Service>,
    pub(super) load: Arc<Load>,
}

/// What a reactor and the others both count.
#[derive(Debug, Default)]
pub(super) struct Load {
    connections: AtomicUsize,
    /// It shuts down, and takes no more. One that has ended is not in the list.
    is_closed: AtomicBool,
}

impl Load {
    pub(super) fn count(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(super) fn is_open(&self) -> bool {
        !self.is_closed.load(Ordering::Acquire)
    }

    /// A place, if there are fewer than `most`.
    pub(super) fn take(self: &Arc<Load>, most: usize) -> Option<Place> {
        let more = |count: usize| (count < most).then_some(count + 1);
        let taken = self
            .connections
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.ok().map(|_| Place {
            load: Arc::clone(self),
        })
    }
}

/// A connection's place in a reactor of a [`Crew`](super::Crew): it counts until it is dropped. A field of the
/// connection's dispatcher, so that it cannot be forgotten.
#[must_use = "the connection counts as long as its place exists"]
pub struct Place {
    load: Arc<Load>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.load.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("connections", &self.load.count())
            .finish()
    }
}

type Serve = Box<dyn FnMut(&mut Context<'_>, Detached, Place) -> io::Result<()>>;

/// The dispatcher that gets a reactor's connections from a [`Crew`](super::Crew), added by
/// [`enroll`](super::Crew::enroll).
pub struct Service {
    serve: Serve,
    crew: Weak<Inner>,
    load: Arc<Load>,
}

impl Service {
    pub(super) fn new(serve: Serve, crew: Weak<Inner>, load: &Arc<Load>) -> Service {
        Service {
            serve,
            crew,
            load: Arc::clone(load),
        }
    }

    pub(super) fn serve(
        &mut self,
        cx: &mut Context<'_>,
        connection: Detached,
        place: Place,
    ) -> io::Result<()> {
        (self.serve)(cx, connection, place)
    }
}

impl Dispatcher for Service {
    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        // One connection could not be served; the next can.
        cx.log_fault(&error);
    }

    fn handle_shutdown(&mut self, _: &mut Context<'_>) -> io::Result<()> {
        self.load.is_closed.store(true, Ordering::Release);
        Ok(())
    }

    fn handle_close(&mut self, _: &mut Context<'_>) {
        if let Some(crew) = self.crew.upgrade() {
            crew.dismiss(&self.load);
        }
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("connections", &self.load.count())
            .field("is_open", &self.load.is_open())
            .finish_non_exhaustive()
    }
}
