//! What makes the observers of each reactor that a builder builds.

use std::fmt;
use std::sync::Arc;

use crate::watch::observer::Observer;
use crate::watch::observers::Observers;

/// Makes an observer and adds it.
type Make = dyn Fn(&mut Observers) + Send + Sync;

/// Shared by the builder's clones; a builder may go to another thread, so what is in it may, too.
#[derive(Clone, Default)]
pub(crate) struct Makers(Vec<Arc<Make>>);

impl Makers {
    pub(crate) fn add<O: Observer>(&mut self, make: impl Fn() -> O + Send + Sync + 'static) {
        self.0
            .push(Arc::new(move |observers| observers.add(make())));
    }

    pub(crate) fn add_all(&self, observers: &mut Observers) {
        for make in &self.0 {
            make(observers);
        }
    }
}

impl fmt::Debug for Makers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Makers({})", self.0.len())
    }
}
