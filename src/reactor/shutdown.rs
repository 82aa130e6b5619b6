//! The end of a reactor: graceful shutdown, `close_all`, and dropping.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use crate::reactor::Reactor;
use crate::slot::life::Life;
use crate::state::closing;
use crate::turn::{close, errands};
use crate::watch::ends::Cause;
use crate::world::endpoint::Kind;
use crate::world::ids::AnyId;
use crate::world::mailbox::Jobs;
use crate::world::topics;

/// A connection that [`Reactor::shutdown`] had to abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Aborted {
    /// The dispatcher's id, which is no longer valid.
    pub id: AnyId,
    /// Bytes accepted for sending that the kernel had not taken. Zero if everything had left and only the
    /// peer's end of stream was missing.
    pub unsent: usize,
}

impl fmt::Display for Aborted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {} bytes unsent", self.id, self.unsent)
    }
}

/// # Shutting down
impl Reactor {
    /// Shuts down gracefully, as Go's `http.Server.Shutdown` does:
    ///
    /// 1. All listeners close, so that new clients are refused.
    /// 2. [`handle_shutdown`](crate::Dispatcher::handle_shutdown) of every other dispatcher is called; its default
    ///    closes a connection when everything queued or produced for it has been sent.
    /// 3. Turns run until no connection is left, or `deadline` has passed. Timers and posts run as usual; nothing can
    ///    be added.
    /// 4. The connections that are left are aborted: their peers see a reset.
    ///
    /// `handle_close` of every dispatcher is called. Returns the connections that had to be aborted. Afterwards the
    /// reactor is empty and can be used again. (Connections in a listener's queue that were not accepted are reset by
    /// the kernel.)
    ///
    /// ```
    /// # use slabloop::{Dispatcher, Reactor};
    /// # use std::time::Duration;
    /// # struct Listener; impl Dispatcher for Listener {}
    /// # fn main() -> std::io::Result<()> {
    /// # let mut reactor = Reactor::new()?;
    /// # reactor.listen("127.0.0.1:0", Listener)?;
    /// # reactor.stop();
    /// reactor.run()?; // Returns when, for example, a signal handler has called `stop`.
    /// for aborted in reactor.shutdown(Duration::from_secs(10))? {
    ///     eprintln!("{}: {} bytes not sent", aborted.id, aborted.unsent);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`run`](Reactor::run); the connections that are left are aborted in this case, too.
    pub fn shutdown(&mut self, deadline: Duration) -> io::Result<Vec<Aborted>> {
        self.refuse_inside_a_turn("shutdown")?;
        let state = &mut self.core.state;
        let end = state.clock.now().after(deadline);
        state.refusing = true;
        for id in state.slots.ids() {
            match state.slots.slot(id).io.kind() {
                Kind::Listener => closing::end(state, id, Cause::Finished),
                _ => state.agenda.leaving.push_back(id),
            }
        }
        self.look_at_the_clock();
        self.announce_shutdown();
        let mut outcome = Ok(());
        while outcome.is_ok() && self.core.state.connections > 0 {
            let left = end.since(self.core.state.clock.now());
            if left == Duration::ZERO {
                break;
            }
            outcome = self.pass(Some(left));
        }
        let aborted = self.abort_connections();
        closing::end_all(&mut self.core.state);
        self.close_outside_a_turn();
        outcome.map(|()| aborted)
    }

    fn announce_shutdown(&mut self) {
        self.in_turn = true;
        self.contain(|reactor| errands::announce_shutdown(&mut reactor.core));
        self.in_turn = false;
    }

    fn abort_connections(&mut self) -> Vec<Aborted> {
        let state = &mut self.core.state;
        let left = state
            .slots
            .iter()
            .filter(|(_, slot)| slot.io.kind() == Kind::Stream && slot.life() != Life::Ended);
        let left: Vec<_> = left
            .map(|(id, slot)| Aborted {
                id,
                unsent: slot.unsent(),
            })
            .collect();
        for aborted in &left {
            closing::abort(state, aborted.id, Cause::Shutdown);
        }
        state.counters.aborted += left.len() as u64;
        left
    }

    /// Closes every dispatcher at once, each with its `handle_close`. From inside a turn they close at
    /// its end.
    pub fn close_all(&mut self) {
        closing::end_all(&mut self.core.state);
        if !self.in_turn {
            self.close_outside_a_turn();
        }
    }

    fn close_outside_a_turn(&mut self) {
        let propagated = close::close_now(&mut self.core);
        self.core.state.refusing = false;
        if let Some(payload) = propagated {
            resume_unwind(payload);
        }
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        let waiting = self.mailbox.close();
        self.core.state.refusing = true;
        closing::end_all(&mut self.core.state);
        let _propagated = close::close_now(&mut self.core);
        // One by one, for the drop of each may panic.
        let mut panics = 0;
        for closure in std::mem::take(&mut self.core.closures).into_all() {
            panics += drop_contained(closure);
        }
        for closure in std::mem::take(&mut self.core.deferred) {
            panics += drop_contained(closure);
        }
        let taken = std::mem::replace(&mut self.jobs, Jobs::new());
        for job in taken.into_all().into_iter().chain(waiting) {
            panics += drop_contained(job);
        }
        if panics > 0 {
            log::error!(target: topics::CALLBACK, "reactor dropped: the destructors of {panics} closures panicked");
        }
        self.core.state.log_limits.finish();
    }
}

/// Drops a value of the user's; how many panics it took, none or one. They must not leave our own drop.
fn drop_contained<T>(value: T) -> usize {
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(value)));
    // The payload is the user's, too.
    dropped.map_err(std::mem::forget).is_err().into()
}
