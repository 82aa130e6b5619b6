//! A place in the queue, reserved before there is a job for it.

use std::fmt;

use crate::handle::Handle;
use crate::reactor::Reactor;
use crate::world::mailbox::Lane;

/// A reserved place in a reactor's queue of posts, made by [`Handle::reserve`]: its [`post`](Permit::post)
/// never fails for lack of room.
///
/// It is for jobs that must reach the loop whatever happens to the thread that posts them. For example, a resource
/// that the loop lends to another thread carries a permit, with which it returns when it is dropped:
///
/// ```
/// use std::thread;
///
/// use slabloop::{Permit, Reactor};
///
/// struct Lease {
///     number: u32,
///     permit: Option<Permit>,
/// }
///
/// impl Drop for Lease {
///     fn drop(&mut self) {
///         let number = self.number;
///         if let Some(permit) = self.permit.take() {
///             // An error means that the reactor is gone, and the lender with it.
///             let _ = permit.post(move |_| println!("{number} is back"));
///         }
///     }
/// }
///
/// let mut reactor = Reactor::builder().post_capacity(1).build()?;
/// // If there is no place for its return, the lease is not given away in the first place.
/// let lease = Lease { number: 7, permit: Some(reactor.handle().reserve()?) };
/// assert!(reactor.handle().post(|_| ()).is_err(), "the only place is held");
/// let worker = thread::spawn(move || drop(lease));
/// // The permit keeps `run` waiting, like a handle.
/// reactor.run()?;
/// assert_eq!(reactor.counters().posts, 1);
/// # worker.join().expect("it does not panic");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A permit that is dropped unused frees its place, for a thread that waits in [`Handle::post_wait`].
/// While it exists it keeps [`run`](Reactor::run) from returning, if the handle that made it does.
#[must_use = "a permit that is dropped unused frees its place"]
pub struct Permit {
    handle: Handle,
    /// The place is still the permit's own, not a job's.
    holds_place: bool,
}

impl Permit {
    pub(super) fn new(handle: Handle) -> Permit {
        Permit {
            handle,
            holds_place: true,
        }
    }

    /// Makes the reactor run `job`, as [`Handle::post`] does. Jobs run in the order of posting, not in the order of
    /// reservation. Never blocks.
    ///
    /// # Errors
    ///
    /// Returns the job if the reactor has been dropped.
    pub fn post<F>(self, job: F) -> Result<(), F>
    where
        F: FnOnce(&mut Reactor) + Send + 'static,
    {
        self.post_to(Lane::Ordinary, job)
    }

    /// Posts a job like [`post`](Permit::post), but it runs before all jobs that are not urgent; see
    /// [`Handle::post_urgent`].
    ///
    /// # Errors
    ///
    /// Returns the job if the reactor has been dropped.
    pub fn post_urgent<F>(self, job: F) -> Result<(), F>
    where
        F: FnOnce(&mut Reactor) + Send + 'static,
    {
        self.post_to(Lane::Urgent, job)
    }

    /// The handle inside goes after the job is queued, so that `run` always sees one of them.
    fn post_to<F>(mut self, lane: Lane, job: F) -> Result<(), F>
    where
        F: FnOnce(&mut Reactor) + Send + 'static,
    {
        self.holds_place = false;
        let handle = &self.handle;
        handle
            .mailbox
            .post_reserved(job, lane, |job| handle.pack(job))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.holds_place {
            self.handle.mailbox.give_back();
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("handle", &self.handle)
            .finish_non_exhaustive()
    }
}
