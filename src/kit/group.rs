//! Several reactors, each on a thread of its own: a server that uses all processors.
//!
//! A reactor is one thread. A [`Group`] starts several threads, and each of them makes its own reactor with its own
//! dispatchers, in a closure that runs on that thread. Nothing is shared between them unless the program shares it, so
//! dispatchers stay as they are: without locks, and free to use `Rc`.
//!
//! ```
//! use slabloop::kit::group::{Group, SharedPort};
//! use slabloop::{Accepted, Context, Dispatcher, Reactor};
//! use std::io;
//!
//! struct Listener;
//! impl Dispatcher for Listener {
//!     fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
//!         cx.add(accepted, Echo)?;
//!         Ok(())
//!     }
//! }
//!
//! struct Echo;
//! impl Dispatcher for Echo {
//!     fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
//!         cx.recv_with(|bytes, cx| cx.send(bytes))
//!     }
//! }
//!
//! # fn main() -> io::Result<()> {
//! let port = SharedPort::new("127.0.0.1:0")?;
//! let listeners = port.clone();
//! let group = Group::builder().threads(2).name("echo").start(move |member| {
//!     let mut reactor = Reactor::new()?;
//!     listeners.listen(&mut reactor, Listener)?;
//!     member.run(&mut reactor)?; // until the group shuts down
//!     Ok(reactor.counters().accepted)
//! })?;
//! println!("listening on {:?}", port.local_addr());
//! # group.handle().shut_down();
//! let accepted: u64 = group.join()?.iter().sum();
//! # assert_eq!(accepted, 0);
//! # Ok(()) }
//! ```
//!
//! # How connections are distributed
//!
//! | way | who chooses | use |
//! |---|---|---|
//! | [`SharedPort`]: each reactor has a listener on the same port | the kernel, by a hash of the addresses | many short connections |
//! | [`Crew`]: one reactor accepts, all serve | the program: in turn, or the reactor with the fewest connections | few, long or very unequal connections |
//!
//! `docs/several-reactors.md` in the repository compares them, with figures.
//!
//! # How a group ends
//!
//! All reactors end together, whatever ends first:
//!
//! | event | what follows |
//! |---|---|
//! | [`GroupHandle::shut_down`], from any thread or callback | a graceful shutdown |
//! | one reactor's `run` returns, because a callback called [`stop`](crate::Context::stop) | the same |
//! | one closure returns an error, or a reactor's `run` fails | the same; [`join`](Group::join) returns the error with the name of the thread |
//! | a panic leaves one closure | the same |
//! | the [`Group`] is dropped | the same, but nobody waits for it |
//!
//! (A panic in a callback is contained by its reactor and ends one dispatcher. It leaves `run` only under
//! [`PanicPolicy::Propagate`](crate::PanicPolicy::Propagate).)
//!
//! A graceful shutdown has one deadline for all. Each reactor first accepts what waits in the queues of its listeners,
//! and serves what has been handed over to it. When all have done that, each calls
//! [`Reactor::shutdown`](crate::Reactor::shutdown) with the time that is left.
//!
//! To stop at a signal, one of the reactors watches it (feature `signals`):
//!
//! ```ignore
//! if member.index() == 0 {
//!     let group = member.group().clone();
//!     reactor.signals([SIGINT, SIGTERM], move |_: &mut Context<'_>, _: i32| {
//!         group.shut_down();
//!         Ok(())
//!     })?;
//! }
//! ```

#[cfg(feature = "affinity")]
mod affinity;
mod builder;
mod crew;
mod error;
mod member;
mod port;
mod shared;

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use self::shared::Shared;

#[cfg(feature = "affinity")]
#[cfg_attr(docsrs, doc(cfg(feature = "affinity")))]
pub use self::affinity::processors;
pub use self::builder::Builder;
pub use self::crew::{Choice, Crew, CrewGauges, Place, Refusal, Refused, Service};
pub use self::error::{Failure, Fault, GroupError};
pub use self::member::{Ended, Member, Reason};
pub use self::port::SharedPort;
pub use self::shared::GroupHandle;

/// Several reactors on threads of their own, started by [`Builder::start`].
///
/// Dropping it begins the graceful shutdown and does not wait: call [`join`](Group::join), or the end of `main` ends
/// the threads in the middle of it.
#[must_use = "dropping a group shuts it down"]
pub struct Group<T> {
    shared: Arc<Shared>,
    values: Receiver<(usize, T)>,
}

impl Group<()> {
    /// A builder with the default settings.
    ///
    /// ```
    /// use slabloop::Reactor;
    /// use slabloop::kit::group::Group;
    /// use std::time::Duration;
    ///
    /// let group = Group::builder().threads(2).name("web").drain(Duration::from_secs(30)).start(|member| {
    ///     let mut reactor = Reactor::new()?;
    ///     member.run(&mut reactor)?;
    ///     Ok(())
    /// })?;
    /// group.handle().shut_down();
    /// group.join()?;
    /// # Ok::<(), slabloop::kit::group::GroupError>(())
    /// ```
    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }
}

impl<T> Group<T> {
    /// A handle, by which any thread can shut the group down and reach each reactor.
    #[must_use]
    pub fn handle(&self) -> GroupHandle {
        GroupHandle::new(&self.shared)
    }

    /// Waits until all threads have ended. It does not end them: see [how a group ends](self#how-a-group-ends).
    ///
    /// Do not call it in a callback of one of the reactors, which would wait for itself.
    ///
    /// Returns what the closures returned, in the order of the threads.
    ///
    /// A thread can hang, in a callback that blocks for ever. So from the deadline of the shutdown on, `join` waits no
    /// longer than [`grace`](Builder::grace); what is left is reported as [`Fault::Stuck`] and keeps running until the
    /// process ends.
    ///
    /// # Errors
    ///
    /// Each thread whose closure returned an error or panicked, or that is stuck, with its name; the first is the one
    /// that failed first.
    pub fn join(self) -> Result<Vec<T>, GroupError> {
        let failures = self.shared.wait_for_end();
        if !failures.is_empty() {
            return Err(GroupError::new(failures));
        }
        let mut values: Vec<_> = self.values.try_iter().collect();
        values.sort_by_key(|(index, _)| *index);
        Ok(values.into_iter().map(|(_, value)| value).collect())
    }
}

impl<T> Drop for Group<T> {
    fn drop(&mut self) {
        self.handle().shut_down();
    }
}

impl<T> fmt::Debug for Group<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("handle", &self.handle())
            .finish_non_exhaustive()
    }
}
