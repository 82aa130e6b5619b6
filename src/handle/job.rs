//! A closure on its way to the reactor's thread.

#[cfg(feature = "observer")]
use std::time::Instant;

use crate::reactor::Reactor;
use crate::world::mailbox::Mailbox;

/// See the head of this file.
pub(crate) struct Job {
    run: Box<dyn FnOnce(&mut Reactor) + Send>,
    /// When it was posted, if somebody wants to know how long posts wait.
    #[cfg(feature = "observer")]
    posted: Option<Instant>,
}

impl Job {
    pub(super) fn new<F>(job: F, mailbox: &Mailbox<Job>) -> Job
    where
        F: FnOnce(&mut Reactor) + Send + 'static,
    {
        #[cfg(not(feature = "observer"))]
        let _ = mailbox;
        Job {
            run: Box::new(job),
            #[cfg(feature = "observer")]
            posted: mailbox.are_posts_timed().then(Instant::now),
        }
    }

    pub(crate) fn run(self, reactor: &mut Reactor) {
        (self.run)(reactor);
    }

    #[cfg(feature = "observer")]
    pub(crate) fn posted(&self) -> Option<Instant> {
        self.posted
    }
}
