//! The one way in: a socket is registered and gets its slot.

use std::io;

use crate::slot::Slot;
use crate::slot::life::Life;
use crate::slot::readiness::Flag;
use crate::state::{State, deadlines, flow, observing};
use crate::world::address::Address;
use crate::world::endpoint::Kind;
use crate::world::ids::{AnyId, TypeName};
use crate::world::layered::Layered;
use crate::world::socket::Socket;
use crate::world::topics;

impl<D> State<D> {
    /// The one way in. Whatever fails, the socket is closed, the dispatcher dropped, and nothing is
    /// left behind; `handle_close` is not called, for it was never added.
    pub(crate) fn admit(
        &mut self,
        socket: Socket,
        dispatcher: D,
        type_name: TypeName,
        life: Life,
    ) -> io::Result<AnyId> {
        if self.refusing {
            return Err(io::Error::other("the reactor is shutting down"));
        }
        let Socket {
            mut io,
            blocking,
            mut address,
            unread,
            unsent,
            connecting: _,
        } = socket;
        if blocking {
            io.set_nonblocking()?;
        }
        if address == Address::None {
            address = io.address();
        }
        let id = self.slots.vacant_id()?;
        let connecting = life == Life::Connecting;
        let layered = io.as_layered();
        layered.map_or(Ok(()), |layered| Layered::check(layered.below()))?;
        let has_layer = layered.is_some();
        // Its handshake comes first: until then it is not established.
        let life = if has_layer { Life::Connecting } else { life };
        self.poller.register(&mut io, id, connecting)?;
        let kind = io.kind();
        let socket = (io, address);
        let mut slot = Slot::new(Some(dispatcher), type_name, socket, life, self.config.marks);
        slot.touched = self.now;
        slot.is_outgoing = connecting;
        if slot.io.can_recv() {
            slot.readiness.set(Flag::WantRead);
        }
        if !slot.io.can_send() {
            slot.readiness.set(Flag::NoOutbox);
        }
        if connecting {
            slot.readiness.set(Flag::WatchesRoom);
        }
        if life == Life::Open {
            // Taken for granted until a write says otherwise: it spares waiting for the first event.
            slot.readiness.set(Flag::Writable);
        }
        slot.put_back(&unread);
        let has_unsent = !unsent.is_empty();
        if has_unsent {
            // It was accepted elsewhere, and takes nothing off what may be queued here.
            let cap = &mut slot.outbox.marks.cap;
            *cap = cap.saturating_add(saturated(unsent.len()));
            slot.output_moved = self.now;
            self.chunks.append(&mut slot.outbox, &unsent);
        }
        self.slots.insert(id, slot);
        if has_unsent {
            self.mark_dirty(id);
            flow::review(self, id);
        }
        if !unread.is_empty() {
            self.requeue(id);
        }
        self.connections += usize::from(kind == Kind::Stream);
        self.services += usize::from(kind == Kind::Service);
        self.counters.added += 1;
        observing::added(self, id);
        deadlines::arm_idle(self, id);
        if has_layer && !connecting {
            deadlines::arm_handshake(self, id);
            self.slots.slot_mut(id).readiness.set(Flag::Writable);
            self.requeue(id);
        }
        let what = match life {
            Life::Connecting => "connecting",
            Life::Listening => "listening",
            _ => "added",
        };
        log::debug!(target: topics::CONNECTION, "{}: {what}", self.label(id));
        Ok(id)
    }

    /// The address of a slot's own socket.
    pub(crate) fn local_addr(&self, id: AnyId) -> io::Result<std::net::SocketAddr> {
        let slot = self.slots.slot(id);
        if let (Kind::Listener, Some(address)) = (slot.io.kind(), slot.address.inet()) {
            return Ok(address);
        }
        if slot.io.is_closed() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let local = slot
            .io
            .socket()
            .map(|socket| socket.local_addr())
            .transpose()?;
        local
            .and_then(|address| address.as_socket())
            .ok_or_else(|| {
                let text = format!("{}: its socket has no internet address", self.label(id));
                io::Error::new(io::ErrorKind::Unsupported, text)
            })
    }
}

fn saturated(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
