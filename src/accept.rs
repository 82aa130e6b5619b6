//! Accepting: a batch a turn, and the four classes of what can go wrong.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use crate::core::Core;
use crate::dispatcher::Dispatcher;
use crate::slot::life::{End, Life};
use crate::slot::readiness::Flag;
use crate::state::running::Callback;
use crate::time::timers::Action;
use crate::world::accept::{AcceptError, classify_accept};
use crate::world::ids::{AnyId, Id};
use crate::world::options::SocketOptions;
use crate::world::socket::Socket;

impl Core {
    pub(crate) fn listen<D: Dispatcher>(
        &mut self,
        address: SocketAddr,
        options: &SocketOptions,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        let socket = options.listener(address)?;
        self.add(Socket::tcp_listener(socket), dispatcher)
    }

    pub(crate) fn listen_unix<D: Dispatcher>(
        &mut self,
        path: &Path,
        options: &SocketOptions,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        let socket = options.unix_listener(path)?;
        self.add(
            Socket::unix_listener(socket).with_address(path.to_owned()),
            dispatcher,
        )
    }

    /// Takes what waits, up to the batch, and then lets the others have their turn. One per event would
    /// strand the rest: the event says that there is somebody, not how many.
    pub(crate) fn accept_batch(&mut self, id: AnyId) {
        for _ in 0..self.config.accept_batch {
            if self.slots.slot(id).life() != Life::Listening {
                return;
            }
            if self.connections >= self.config.max_connections {
                return self.pause_at_limit(id);
            }
            if self.tight {
                // Resumed when enough has drained: see `review_total`.
                return self.pause(id);
            }
            match self.slots.slot_mut(id).socket.accept() {
                Ok(accepted) => {
                    self.counters.accepted += 1;
                    self.callback(id, Callback::Accept, |dispatcher, cx| {
                        dispatcher.handle_accept(cx, accepted)
                    });
                }
                Err(error) => match classify_accept(&error) {
                    AcceptError::NothingThere => {
                        self.slots.slot_mut(id).readiness.cant_read();
                        return;
                    }
                    AcceptError::OneLost => {
                        self.counters.accept_lost += 1;
                        log::debug!("{}: a connection was lost: {error}", self.label(id));
                    }
                    AcceptError::Shortage => return self.pause_for_shortage(id, &error),
                    AcceptError::ListenerBroken => {
                        self.counters.accept_faults += 1;
                        self.report(id, error);
                        return self.end(id, End::Failed);
                    }
                    AcceptError::Other => {
                        self.counters.accept_faults += 1;
                        self.report(id, error);
                        return self.pause_with_retry(id);
                    }
                },
            }
        }
        self.requeue(id);
    }

    /// Out of something. An edge-triggered listener that just gave up would be deaf until somebody new
    /// connects, and one that tried on would spin. So it keeps its readiness, and tries again after a
    /// while, and whenever a socket of ours closes.
    fn pause_for_shortage(&mut self, id: AnyId, error: &io::Error) {
        self.counters.accept_shortages += 1;
        if let Some(held_back) = self.log_limits.shortage.pass(self.now) {
            log::warn!(
                "{}: cannot accept: {error}; pausing{held_back}",
                self.label(id)
            );
        }
        self.pause_with_retry(id);
    }

    fn pause_with_retry(&mut self, id: AnyId) {
        if self.slots.slot(id).life() != Life::Listening {
            return;
        }
        self.pause(id);
        self.arm_deadline(id, self.config.accept_retry, Action::AcceptRetry);
    }

    /// As many as allowed are being served: no timer, for only a close changes that.
    fn pause_at_limit(&mut self, id: AnyId) {
        self.counters.accept_limited += 1;
        let limit = self.config.max_connections;
        if let Some(held_back) = self.log_limits.at_limit.pass(self.now) {
            log::warn!(
                "{}: {limit} connections are open; accepting no more{held_back}",
                self.label(id)
            );
        }
        self.pause(id);
    }

    fn pause(&mut self, id: AnyId) {
        if self.slots.slot_mut(id).readiness.raise(Flag::AcceptPaused) {
            self.paused_listeners.push(id);
        }
    }

    /// A socket has closed: whoever waited for that tries again.
    pub(crate) fn resume_listeners(&mut self) {
        while let Some(id) = self.paused_listeners.pop() {
            self.resume_listener(id);
        }
    }

    /// The retry timer is up.
    pub(crate) fn retry_accept(&mut self, id: AnyId) {
        self.paused_listeners.retain(|&paused| paused != id);
        self.resume_listener(id);
    }

    fn resume_listener(&mut self, id: AnyId) {
        let Some(slot) = self.slots.get_mut(id) else {
            return;
        };
        slot.readiness.clear(Flag::AcceptPaused);
        self.timers.cancel_where(&mut slot.timers, |action| {
            matches!(action, Action::AcceptRetry)
        });
        self.requeue(id);
    }
}
