//! A connection on its way to another reactor.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::service::{Place, Service};
use super::{Inner, give};
use crate::{Detached, Id, Reactor};

/// A connection in the queue of posts of a reactor. If it is dropped there, because the reactor ends, another gets it.
pub(super) struct Parcel {
    crew: Arc<Inner>,
    contents: Option<(Detached, Place)>,
}

impl Parcel {
    pub(super) fn new(crew: &Arc<Inner>, connection: Detached, place: Place) -> Parcel {
        Parcel {
            crew: Arc::clone(crew),
            contents: Some((connection, place)),
        }
    }

    /// Runs on the other reactor.
    pub(super) fn deliver(mut self, reactor: &mut Reactor, id: Id<Service>) {
        // If the service is gone, the connection is still in here afterwards.
        let _ = reactor.call(id, |service, cx| {
            // During a shutdown nothing can be added: another gets it.
            if cx.is_shutting_down() {
                return Ok(());
            }
            match self.contents.take() {
                Some((connection, place)) => service.serve(cx, connection, place),
                None => Ok(()),
            }
        });
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        let Some((connection, place)) = self.contents.take() else {
            return;
        };
        drop(place);
        let counts = &self.crew.counts;
        match give(&self.crew, connection) {
            Ok(()) => {
                counts.passed_on.fetch_add(1, Ordering::Relaxed);
            }
            Err(refused) => {
                counts.closed.fetch_add(1, Ordering::Relaxed);
                log::warn!("{refused}; it is closed");
            }
        }
    }
}
