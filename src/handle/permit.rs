//! A place in the queue, taken before there is a job for it.

use std::fmt;

use crate::handle::{Handle, pack};
use crate::reactor::Reactor;
use crate::world::mailbox::Lane;

/// A place in a reactor's queue of posts, made by [`Handle::reserve`]: its [`post`](Permit::post) is
/// never refused for want of room.
///
/// It is for what must reach the loop, whatever happens to the thread that has to post it. A thing that
/// the loop lends to another thread takes a permit along, and gives itself back when it is dropped:
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
///             // An error says that the reactor is gone, and with it whoever lent this.
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
/// // The permit keeps `run` waiting, as a handle does.
/// reactor.run()?;
/// assert_eq!(reactor.counters().posts, 1);
/// # worker.join().expect("it does not panic");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Dropped unused it gives its place back, and a thread that waits in [`Handle::post_wait`] gets it.
/// While it lives it counts as the handle does that made it: one that counts keeps
/// [`run`](Reactor::run) from returning.
#[must_use = "dropped unused it gives its place back"]
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

    /// Has the reactor run `job`, as [`Handle::post`] does, in the order of posting: the job stands where
    /// it is posted, not where the place was taken. Never blocks, and is never refused while the reactor
    /// lives.
    ///
    /// # Errors
    ///
    /// The job, if the reactor has been dropped.
    pub fn post<F>(self, job: F) -> Result<(), F>
    where
        F: FnOnce(&mut Reactor) + Send + 'static,
    {
        self.post_to(Lane::Ordinary, job)
    }

    /// As [`post`](Permit::post), but the job runs before all that are not urgent, as with
    /// [`Handle::post_urgent`].
    ///
    /// # Errors
    ///
    /// The job, if the reactor has been dropped.
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
        self.handle.mailbox.post_reserved(job, lane, pack)
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
