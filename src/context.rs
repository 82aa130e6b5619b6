//! What a callback may do: the verbs on its own socket, on others', and on the reactor.

use std::any::Any;
use std::fmt;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mio::event::Source;

use crate::close::End;
use crate::core::Core;
use crate::dispatcher::Dispatcher;
use crate::errors::{About, Class, classify, copy_of, is_interrupted, is_would_block};
use crate::flush::LARGE_BYTES;
use crate::handle::Handle;
use crate::options::SocketOptions;
use crate::outbox::invalid;
use crate::readiness::Flag;
use crate::slots::{AnyId, Id, Life};
use crate::socket::{Io, Kind, Socket, unsupported};
use crate::timers::{Action, TimerId};

/// What a callback gets: a borrow of everything in the reactor but the dispatcher that is running.
///
/// The verbs without an id act on the dispatcher's own socket; [`Context::at`] gives the same verbs on
/// another one. There is deliberately no way to `run` from here: no callback runs inside another.
///
/// A context cannot leave its callback or its thread:
///
/// ```compile_fail
/// fn send_away(cx: &mut slabloop::Context<'_>) {
///     std::thread::scope(|scope| { scope.spawn(|| cx.close()); });
/// }
/// ```
///
/// and it takes addresses, not names, because looking up a name blocks the loop:
///
/// ```compile_fail
/// # use slabloop::{Context, Dispatcher};
/// # struct Client; impl Dispatcher for Client {}
/// fn dial(cx: &mut Context<'_>) { cx.connect("example.org:80", Client).unwrap(); }
/// ```
///
/// ```compile_fail
/// fn nest(cx: &mut slabloop::Context<'_>) { cx.run().unwrap(); }
/// ```
pub struct Context<'a> {
    core: &'a mut Core,
    id: AnyId,
}

impl<'a> Context<'a> {
    #[inline]
    pub(crate) fn new(core: &'a mut Core, id: AnyId) -> Context<'a> {
        Context { core, id }
    }
}

impl Context<'_> {
    /// This dispatcher's id. `D` is its type; under a wrong one the id answers `None` to
    /// [`with`](Context::with).
    #[must_use]
    pub fn id<D: Dispatcher>(&self) -> Id<D> {
        Id::new(self.id)
    }

    /// This dispatcher's id without the type.
    #[must_use]
    pub fn any_id(&self) -> AnyId {
        self.id
    }

    /// How log lines name this dispatcher: type, id and peer, as in `Echo 7.3 (127.0.0.1:40513)`.
    #[must_use]
    pub fn label(&self) -> impl fmt::Display + '_ {
        self.core.label(self.id)
    }

    /// The peer's address; for a listener and a datagram socket their own. `None` for Unix sockets,
    /// pipes and foreign sources, and for a peer that was gone before it could be asked. No system call.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.core.slots.slot(self.id).socket.address.inet()
    }

    /// As [`Context::peer`], for Unix sockets that have a path.
    #[must_use]
    pub fn peer_path(&self) -> Option<&Path> {
        self.core.slots.slot(self.id).socket.address.path()
    }

    /// The socket's own address.
    ///
    /// # Errors
    ///
    /// `Unsupported` where there is none (Unix sockets, pipes, foreign sources), `NotConnected` in
    /// `handle_close`.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.core.local_addr(self.id)
    }

    /// Bytes accepted for sending that the kernel has not taken yet.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.core.slots.slot(self.id).outbox.len()
    }

    /// Most bytes that may be queued on this connection.
    #[must_use]
    pub fn hard_cap(&self) -> usize {
        self.core.slots.slot(self.id).outbox.marks.cap as usize
    }

    /// Whether there is room for a producer's next piece: the outbox is below its low mark, and sending
    /// is still possible.
    #[must_use]
    pub fn wants_output(&self) -> bool {
        let slot = self.core.slots.slot(self.id);
        slot.outbox.is_below_low() && slot.can_queue(1)
    }

    /// Whether a `send` would be taken, but for the hard cap.
    pub(crate) fn can_send(&self) -> bool {
        self.core.slots.slot(self.id).can_queue(0)
    }

    /// The low and the high mark.
    pub(crate) fn marks(&self) -> (usize, usize) {
        let marks = self.core.slots.slot(self.id).outbox.marks;
        (marks.low as usize, marks.high as usize)
    }

    /// How much may be sent without holding those who feed this one.
    pub(crate) fn room_below_high(&self) -> usize {
        self.marks().1.saturating_sub(self.queued())
    }

    /// For a layer that queues output above the outbox: whether that is so much that whoever feeds this
    /// one is to be held.
    pub(crate) fn layer_is_full(&mut self, full: bool) {
        self.core.layer_is_full(self.id, full);
    }

    /// Reads what there is, up to the length of `buffer`, without waiting. Calls nothing.
    ///
    /// `Ok(0)` is the end of the stream, and nothing else is; the reactor has noticed it and will call
    /// [`handle_eof`](Dispatcher::handle_eof) after this callback. (On a datagram socket it is an empty
    /// datagram.)
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is nothing now; passing it on with `?` is right. `InvalidInput` for an
    /// empty buffer, which would look like the end. `NotConnected` after `close` or `abort`. Otherwise
    /// what the kernel says; the connection ends after this callback.
    #[inline]
    pub fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let core = &mut *self.core;
        let slot = core.slots.slot_mut(self.id);
        if buffer.is_empty() || !slot.readiness.may_recv() {
            return self.recv_refused(buffer);
        }
        let Io::Stream(stream) = &mut slot.socket.io else {
            return self.recv_other(buffer);
        };
        match stream.read(buffer) {
            Ok(received) if received > 0 => {
                if received < buffer.len() {
                    slot.readiness.read_short();
                }
                slot.touched = core.now;
                core.counters.bytes_in += received as u64;
                Ok(received)
            }
            outcome => self.recv_stopped(outcome),
        }
    }

    /// Reads a datagram socket, or a stream that is no socket.
    #[inline(never)]
    fn recv_other(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let core = &mut *self.core;
        let slot = core.slots.slot_mut(self.id);
        if slot.socket.kind() == Kind::Datagram {
            return self.recv_datagram(buffer);
        }
        match slot.socket.recv(buffer) {
            Ok(received) if received > 0 => {
                if received < buffer.len() {
                    slot.readiness.read_short();
                }
                slot.touched = core.now;
                core.counters.bytes_in += received as u64;
                Ok(received)
            }
            outcome => self.recv_stopped(outcome),
        }
    }

    /// Why there is nothing to read without asking the kernel.
    #[cold]
    fn recv_refused(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let slot = self.core.slots.slot(self.id);
        if buffer.is_empty() {
            return Err(invalid(
                "recv into an empty buffer: it would look like the end".to_owned(),
            ));
        }
        match slot.life() {
            Life::Connecting => return Err(io::ErrorKind::WouldBlock.into()),
            Life::Listening => return Err(unsupported("recv", "a listener")),
            Life::Open => {}
            Life::Flushing | Life::Draining | Life::Ended => {
                return Err(self.refusal(io::ErrorKind::NotConnected, "recv after close"));
            }
        }
        if slot.readiness.has(Flag::EofSeen) {
            return Ok(0);
        }
        if slot.readiness.has(Flag::Broken) {
            let error = slot
                .broken_by
                .as_ref()
                .map_or(io::ErrorKind::NotConnected.into(), copy_of);
            return Err(About::wrap(self.id, "recv", error));
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// The kernel gave no bytes: nothing now, the end, or an error.
    #[cold]
    fn recv_stopped(&mut self, outcome: io::Result<usize>) -> io::Result<usize> {
        let slot = self.core.slots.slot_mut(self.id);
        let error = match outcome {
            Ok(received) => {
                if !slot.readiness.has(Flag::WriteBroken) {
                    slot.readiness.set(Flag::EofSeen);
                    if self.core.running.id != self.id {
                        // Read by somebody else: its own callback follows in the next dispatch.
                        self.core.requeue(self.id);
                    }
                    return Ok(received);
                }
                // After a failed write a zero is no end of stream: the kernel tells an error once.
                slot.broken_by
                    .as_ref()
                    .map_or(io::ErrorKind::BrokenPipe.into(), copy_of)
            }
            Err(error) if is_interrupted(&error) => return Err(error),
            Err(error) => match (classify(&error), slot.socket.kind()) {
                (Class::NotNow, _) => {
                    slot.readiness.cant_read();
                    if !slot.readiness.has(Flag::WriteBroken) {
                        return Err(error);
                    }
                    // What the kernel still had has been delivered; now the failed write takes effect.
                    slot.broken_by
                        .as_ref()
                        .map_or(io::ErrorKind::BrokenPipe.into(), copy_of)
                }
                (_, Kind::Stream) => error,
                (Class::Disconnect | Class::Fault, _) => return Err(error),
            },
        };
        self.core.break_socket(self.id, &error);
        if self.core.running.id == self.id {
            return Err(error);
        }
        self.core.mark_dirty(self.id);
        Err(About::wrap(self.id, "recv", error))
    }

    /// Reads and throws away, for default callbacks.
    pub(crate) fn discard(&mut self) -> io::Result<usize> {
        if let Io::Foreign(_) = self.core.slots.slot(self.id).socket.io {
            // Only its dispatcher knows how to read it; asked again and again it would spin.
            self.pause_reading();
            return Ok(0);
        }
        self.recv(&mut [0; 16 * 1024])
    }

    /// Sends `bytes`, all or none. Calls nothing: they are copied to the outbox, which is written once
    /// at the end of the turn, so many small sends cost one system call. (Of a large payload, with nothing
    /// queued before it, the kernel is given what it takes at once.) They leave in the order of the
    /// sends. On a connection that does not stand yet they wait for it. An empty slice is a no-op on a
    /// stream.
    ///
    /// On a connected datagram socket it is one datagram, and leaves at once or not at all.
    ///
    /// # Errors
    ///
    /// `QuotaExceeded` if the outbox would go over its hard cap: nothing of `bytes` is sent, and this
    /// connection ends with `handle_error` and `handle_close`. `NotConnected` after `close` or `abort`,
    /// `BrokenPipe` after [`shutdown_write`](Context::shutdown_write) or a failed write. `WouldBlock` on
    /// a datagram socket whose buffer is full. `Unsupported` on listeners and foreign sources.
    #[inline]
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let core = &mut *self.core;
        let slot = core.slots.slot_mut(self.id);
        let plain = slot.readiness.sends_plainly() && slot.outbox.stays_below_high(bytes.len());
        if !plain || bytes.is_empty() || bytes.len() >= LARGE_BYTES {
            return self.send_other(bytes);
        }
        if slot.outbox.is_empty() {
            slot.output_moved = core.now;
        }
        core.buffers.append(&mut slot.outbox, bytes);
        if slot.readiness.raise(Flag::Dirty) {
            core.dirty.push(self.id);
        }
        Ok(())
    }

    /// Sends what is large, or where the kernel is known to be full, or the high mark is near or exceeded.
    #[inline(never)]
    fn send_other(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let core = &mut *self.core;
        if !core.slots.slot(self.id).can_queue(bytes.len()) {
            return self.send_unusual(bytes);
        }
        if bytes.len() >= LARGE_BYTES {
            bytes = &bytes[core.write_at_once(self.id, bytes)..];
        }
        let slot = core.slots.slot_mut(self.id);
        if slot.outbox.is_empty() {
            slot.output_moved = core.now;
        }
        core.buffers.append(&mut slot.outbox, bytes);
        if slot.can_flush() && slot.readiness.raise(Flag::Dirty) {
            core.dirty.push(self.id);
        }
        if slot.outbox.is_over_high() {
            core.review_congestion(self.id);
        }
        Ok(())
    }

    /// Sends on anything but a stream with room, or says why not.
    #[cold]
    fn send_unusual(&mut self, bytes: &[u8]) -> io::Result<()> {
        let slot = self.core.slots.slot_mut(self.id);
        match slot.life() {
            Life::Connecting | Life::Open => {}
            Life::Listening => return Err(unsupported("send", "a listener")),
            Life::Flushing | Life::Draining | Life::Ended => {
                return Err(self.refusal(io::ErrorKind::NotConnected, "send after close"));
            }
        }
        if slot.socket.kind() == Kind::Datagram {
            let sent = slot.socket.send(bytes);
            return self.datagram_sent(sent);
        }
        if !slot.socket.can_send() {
            return slot.socket.send(bytes).map(|_| ());
        }
        if slot.readiness.is_done_sending() {
            return Err(self.refusal(
                io::ErrorKind::BrokenPipe,
                "send on a connection shut for writing",
            ));
        }
        let queued = slot.outbox.len();
        Err(self.over_the_cap(queued, bytes.len()))
    }

    /// More is queued than the hard cap allows: the connection ends, and here is the error that says
    /// so, once for the caller and once for `handle_error`.
    #[cold]
    pub(crate) fn over_the_cap(&mut self, queued: usize, more: usize) -> io::Error {
        let cap = self.hard_cap();
        let text = format!(
            "{}: outbox over its hard cap: {queued} bytes queued, {more} more, cap {cap}",
            self.core.label(self.id),
        );
        let error = About::error(io::ErrorKind::QuotaExceeded, self.id, text.clone());
        self.core.counters.over_cap += 1;
        let kept = About::error(io::ErrorKind::QuotaExceeded, self.id, text);
        let slot = self.core.slots.slot_mut(self.id);
        slot.broken_by.get_or_insert(kept);
        slot.readiness.set(Flag::Broken);
        self.core.mark_dirty(self.id);
        error
    }

    /// Sends `bytes` to each of `to`; how many took them. Each gets a copy in its outbox, and one write at
    /// the end of the turn however many messages it got. Those that are gone are passed over. One that
    /// would go over its hard cap gets none of it and is closed, by `handle_error` with an error that
    /// names it; the others do not notice.
    ///
    /// The dispatcher whose callback is running, because of whose input this is sent, is not read while
    /// a receiver that still takes bytes is over its high mark. One that takes none holds it up for
    /// [a while](crate::Builder::broadcast_patience) only.
    pub fn broadcast<I>(&mut self, to: I, bytes: &[u8]) -> usize
    where
        I: IntoIterator,
        I::Item: Into<AnyId>,
    {
        let mut reached = 0;
        for id in to {
            let id = id.into();
            // A refusal has been dealt with: the receiver is on its way out, and it is told.
            if self
                .at(id)
                .is_some_and(|mut receiver| receiver.send(bytes).is_ok())
            {
                reached += 1;
                if self.core.slots.slot(id).readiness.has(Flag::Congested) {
                    self.core.hold_broadcaster(id);
                }
            }
        }
        reached
    }

    /// An error of the reactor's own about this dispatcher.
    pub(crate) fn refusal(&self, kind: io::ErrorKind, what: &str) -> io::Error {
        About::error(
            kind,
            self.id,
            format!("{}: {what}", self.core.label(self.id)),
        )
    }

    /// Sends one datagram to `to`, at once or not at all.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if the socket's buffer is full, in which case the datagram was not sent; otherwise
    /// what the kernel says. `Unsupported` if this is no UDP socket.
    pub fn send_to(&mut self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        let sent = match &self.core.slots.slot(self.id).socket.io {
            Io::Udp(socket) => socket.send_to(bytes, to),
            other => return Err(self.not_for("send_to", other)),
        };
        self.datagram_sent(sent)
    }

    /// As [`Context::send_to`], on a Unix datagram socket.
    ///
    /// # Errors
    ///
    /// As [`Context::send_to`], and `InvalidInput` for a path that is too long.
    pub fn send_to_path(&mut self, bytes: &[u8], to: impl AsRef<Path>) -> io::Result<()> {
        let sent = match &self.core.slots.slot(self.id).socket.io {
            Io::UnixDatagram(socket) => socket.send_to(bytes, to),
            other => return Err(self.not_for("send_to_path", other)),
        };
        self.datagram_sent(sent)
    }

    fn datagram_sent(&mut self, sent: io::Result<usize>) -> io::Result<()> {
        let slot = self.core.slots.slot_mut(self.id);
        match sent {
            Ok(bytes) => {
                slot.touched = self.core.now;
                self.core.counters.bytes_out += bytes as u64;
                Ok(())
            }
            Err(error) => {
                if is_would_block(&error) {
                    slot.readiness.cant_write();
                }
                Err(error)
            }
        }
    }

    /// Receives one datagram and its sender.
    ///
    /// A datagram longer than `buffer` is cut; [`Context::truncated`] tells.
    ///
    /// # Errors
    ///
    /// As [`Context::recv`]; `Unsupported` if this is no UDP socket.
    pub fn recv_from(&mut self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.take_datagram(buffer, |io, scratch| match io {
            Io::Udp(socket) => socket.recv_from(scratch),
            _ => Err(unsupported("recv_from", "anything but a UDP socket")),
        })
    }

    /// As [`Context::recv_from`], on a Unix datagram socket; the sender may have no path.
    ///
    /// # Errors
    ///
    /// As [`Context::recv`]; `Unsupported` if this is no Unix datagram socket.
    pub fn recv_from_path(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Option<PathBuf>)> {
        self.take_datagram(buffer, |io, scratch| match io {
            Io::UnixDatagram(socket) => {
                let (length, from) = socket.recv_from(scratch)?;
                Ok((length, from.as_pathname().map(Path::to_owned)))
            }
            _ => Err(unsupported(
                "recv_from_path",
                "anything but a Unix datagram socket",
            )),
        })
    }

    fn recv_datagram(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (length, ()) =
            self.take_datagram(buffer, |io, scratch| Ok((io.recv_other(scratch)?, ())))?;
        Ok(length)
    }

    /// The kernel cuts a datagram that does not fit, without a word. So it lands whole in a buffer of
    /// the reactor's, and is cut, and known to be cut, on the way out.
    fn take_datagram<A>(
        &mut self,
        buffer: &mut [u8],
        receive: impl FnOnce(&mut Io, &mut [u8]) -> io::Result<(usize, A)>,
    ) -> io::Result<(usize, A)> {
        /// More than UDP carries, and more than a Unix datagram socket takes unless told otherwise.
        const LONGEST: usize = 256 * 1024;
        let core = &mut *self.core;
        let slot = core.slots.slot_mut(self.id);
        let open = slot.life() == Life::Open;
        if buffer.is_empty() || !open || !slot.readiness.has(Flag::Readable) {
            return Err(match self.recv_refused(buffer) {
                Err(error) => error,
                Ok(_) => io::ErrorKind::WouldBlock.into(),
            });
        }
        core.scratch.resize(LONGEST, 0);
        match receive(&mut slot.socket.io, &mut core.scratch) {
            Ok((received, from)) => {
                let length = received.min(buffer.len());
                buffer[..length].copy_from_slice(&core.scratch[..length]);
                core.truncated = received > buffer.len() || received == LONGEST;
                slot.touched = core.now;
                core.counters.bytes_in += received as u64;
                Ok((length, from))
            }
            Err(error) => {
                // Anything else concerns one datagram; the socket stays, and so does what else waits.
                if is_would_block(&error) {
                    slot.readiness.cant_read();
                }
                Err(error)
            }
        }
    }

    /// Whether the datagram last received, on any socket, was longer than the buffer given for it.
    #[must_use]
    pub fn truncated(&self) -> bool {
        self.core.truncated
    }

    fn not_for(&self, operation: &str, io: &Io) -> io::Error {
        match io {
            Io::Closed => self.refusal(io::ErrorKind::NotConnected, operation),
            other => unsupported(operation, &format!("{other:?}")),
        }
    }

    /// Puts an urgent (out-of-band) byte in its place among the others, where `recv` delivers it. Off
    /// by default: then the byte is dropped, and only [`handle_priority`](Dispatcher::handle_priority)
    /// can tell that there was one.
    ///
    /// # Errors
    ///
    /// What the kernel says; `Unsupported` on anything but a stream socket.
    pub fn urgent_inline(&mut self, on: bool) -> io::Result<()> {
        let slot = self.core.slots.slot(self.id);
        match slot.socket.as_ref() {
            Some(socket) if slot.socket.kind() == Kind::Stream => socket.set_out_of_band_inline(on),
            _ => Err(self.not_for("urgent_inline", &slot.socket.io)),
        }
    }

    /// Reads a [foreign](Socket::foreign) source. The closure reads once, or until there is nothing
    /// left, and then says `WouldBlock`: until it does, `handle_read` is called again, every turn.
    ///
    /// # Errors
    ///
    /// What the closure returns. `Unsupported` if the source is not of type `S`; `WouldBlock` if there
    /// has been no event since the closure last said so; `NotConnected` after `close` or `abort`. In
    /// these three cases the closure does not run.
    pub fn read_with<S: Source + Any, R>(
        &mut self,
        read: impl FnOnce(&mut S) -> io::Result<R>,
    ) -> io::Result<R> {
        self.foreign(Flag::Readable, read)
    }

    /// Writes a [foreign](Socket::foreign) source, as [`Context::read_with`] reads it.
    ///
    /// # Errors
    ///
    /// As [`Context::read_with`].
    pub fn write_with<S: Source + Any, R>(
        &mut self,
        write: impl FnOnce(&mut S) -> io::Result<R>,
    ) -> io::Result<R> {
        self.foreign(Flag::Writable, write)
    }

    fn foreign<S: Source + Any, R>(
        &mut self,
        direction: Flag,
        operate: impl FnOnce(&mut S) -> io::Result<R>,
    ) -> io::Result<R> {
        let slot = self.core.slots.slot_mut(self.id);
        if slot.life() == Life::Ended {
            return Err(self.refusal(io::ErrorKind::NotConnected, "read_with or write_with"));
        }
        let kind = slot.socket.kind();
        let Some(source) = slot.socket.as_foreign::<S>() else {
            let wanted = std::any::type_name::<S>();
            let on = match kind {
                Kind::Foreign => "a foreign source of another type",
                Kind::Stream | Kind::Listener | Kind::Datagram => "anything but a foreign source",
            };
            return Err(unsupported(
                &format!("read_with or write_with as {wanted}"),
                on,
            ));
        };
        if !slot.readiness.has(direction) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let result = operate(source);
        if result.as_ref().is_err_and(is_would_block) {
            slot.readiness.clear(direction);
        }
        result
    }

    /// Closes in good order: nothing more is read, what is queued still leaves, then the write side is
    /// shut, what the peer still sends is thrown away until its end of stream or the
    /// [deadline](crate::Builder::close_timeout), and `handle_close` runs. (Closing at once with unread
    /// input makes the kernel throw away replies that it had accepted.)
    ///
    /// No callback but `handle_close` follows; if the deadline passes with output still queued, one
    /// `handle_error` with `TimedOut` comes before it. Closing again does nothing.
    pub fn close(&mut self) {
        self.core.close(self.id);
    }

    /// Closes now: what is queued is thrown away, and the peer of a TCP connection sees a reset.
    /// `handle_close` follows at the end of the turn. After [`close`](Context::close) it cuts that short.
    pub fn abort(&mut self) {
        self.core.abort(self.id);
    }

    /// As [`close`](Context::close), but what is queued leaves first and then the peer sees a reset
    /// instead of the end of the stream: for passing on that something broke elsewhere. What the kernel
    /// has taken and the peer has not read by then is lost with it.
    pub fn abort_when_sent(&mut self) {
        self.core.abort_when_sent(self.id);
    }

    /// Whether `close`, `abort` or a failure has begun to end this one: no callback but `handle_close`
    /// follows.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        let slot = self.core.slots.slot(self.id);
        slot.life() > Life::Open || slot.readiness.has(Flag::CloseAsked)
    }

    /// How it ended, in [`handle_close`](Dispatcher::handle_close); `None` before.
    #[must_use]
    pub fn how_it_ended(&self) -> Option<End> {
        self.core.slots.slot(self.id).end
    }

    /// Shuts the write side once everything queued has left; the peer sees the end of the stream.
    /// Reading goes on. When the peer's end has come as well, the connection closes by itself.
    pub fn shutdown_write(&mut self) {
        self.core.shutdown_write(self.id);
    }

    /// Logs a fault as the default [`handle_error`](Dispatcher::handle_error) does: at level error, once
    /// a second at most, naming this dispatcher.
    pub fn log_fault(&mut self, error: &io::Error) {
        let now = self.core.now;
        if let Some(held_back) = self.core.log_limits.fault.pass(now) {
            let label = self.core.label(self.id).to_string();
            // Errors of the reactor's own begin with it.
            match error.to_string() {
                text if text.starts_with(&label) => log::error!("{text}{held_back}"),
                text => log::error!("{label}: {text}{held_back}"),
            }
        }
    }

    pub(crate) fn close_after_fault(&mut self) {
        if self.core.slots.slot(self.id).socket.kind() == Kind::Stream {
            self.close();
        }
    }

    /// Whether `handle_read` is called: not until [`resume_reading`](Context::resume_reading). Nothing
    /// is lost meanwhile; what arrives waits in the kernel, whose window fills up. A reset still ends
    /// the connection, the end of the stream waits.
    pub fn pause_reading(&mut self) {
        self.core
            .slots
            .slot_mut(self.id)
            .readiness
            .clear(Flag::WantRead);
        self.core.requeue(self.id);
    }

    /// Undoes [`pause_reading`](Context::pause_reading). What arrived meanwhile is delivered from the
    /// next turn on.
    pub fn resume_reading(&mut self) {
        let slot = self.core.slots.slot_mut(self.id);
        if slot.life() <= Life::Open && slot.socket.can_recv() {
            slot.readiness.set(Flag::WantRead);
        }
        self.core.requeue(self.id);
    }

    /// Whether input is being read: not paused, and not held by the flow control. For layers that hold
    /// input back and hand it out piece by piece.
    #[must_use]
    pub fn is_reading(&self) -> bool {
        let readiness = self.core.slots.slot(self.id).readiness;
        readiness.has(Flag::WantRead) && !readiness.has(Flag::Held)
    }

    /// Says whether a layer above the socket holds input that it has not handed out. While it does,
    /// `handle_read` is called although the socket may have nothing, and `handle_eof` waits.
    pub fn has_more_input(&mut self, more: bool) {
        let slot = self.core.slots.slot_mut(self.id);
        if more && slot.life() == Life::Open {
            slot.readiness.set(Flag::More);
        } else {
            slot.readiness.clear(Flag::More);
        }
        self.core.requeue(self.id);
    }

    /// Asks for [`handle_write`](Dispatcher::handle_write) whenever the socket takes more and the
    /// outbox is below its low mark. For producers of endless or large output; a reply needs only
    /// `send`.
    pub fn start_writing(&mut self) {
        let slot = self.core.slots.slot_mut(self.id);
        if slot.life() <= Life::Open && slot.life() != Life::Listening {
            slot.readiness.set(Flag::WantWrite);
        }
        self.core.requeue(self.id);
    }

    /// Undoes [`start_writing`](Context::start_writing).
    pub fn stop_writing(&mut self) {
        self.core
            .slots
            .slot_mut(self.id)
            .readiness
            .clear(Flag::WantWrite);
    }

    /// Asks for [`handle_priority`](Dispatcher::handle_priority) when urgent data comes. Linux and
    /// Android; elsewhere nothing follows.
    pub fn watch_priority(&mut self) {
        let slot = self.core.slots.slot_mut(self.id);
        if slot.life() <= Life::Open {
            slot.readiness.set(Flag::WantPriority);
        }
        self.core.requeue(self.id);
    }

    /// Says which connection this one's input is written to: while that one has more than its high
    /// mark queued, this one is not read, and is read again below the low mark. Without a word from
    /// you a dispatcher feeds itself, which is right for whoever answers on the same connection; each
    /// half of a proxy feeds the other. The sink's end releases all who feed it. An id that names
    /// nobody means: feeds nobody, is never held.
    pub fn feeds(&mut self, sink: impl Into<AnyId>) {
        self.core.feeds(self.id, sink.into());
    }

    /// Feeds nobody: input is read whatever is queued anywhere. The hard cap still holds.
    pub fn feeds_nobody(&mut self) {
        self.core.feeds(self.id, AnyId::NOBODY);
    }

    /// This dispatcher's own low mark, high mark and hard cap, in bytes; see
    /// [`Builder::high_mark`](crate::Builder::high_mark).
    ///
    /// # Errors
    ///
    /// `InvalidInput` unless 0 < low <= high <= cap <= 4 GiB and the cap is not below what is queued.
    pub fn set_marks(&mut self, low: usize, high: usize, cap: usize) -> io::Result<()> {
        self.core.set_marks(self.id, low, high, cap)
    }

    /// Reaches another dispatcher's socket: the same verbs, on that one. `None` if it is gone.
    ///
    /// What goes wrong there is told to its owner. An error that you pass on with `?` does your own
    /// dispatcher no harm.
    #[must_use]
    #[inline]
    pub fn at(&mut self, id: impl Into<AnyId>) -> Option<Context<'_>> {
        let id = id.into();
        let slot = self.core.slots.get(id)?;
        if slot.life() == Life::Ended {
            return None;
        }
        Some(Context {
            core: &mut *self.core,
            id,
        })
    }

    /// Runs a closure on another dispatcher, whose type the id knows, with a context that is that
    /// dispatcher's. `None`, and the closure does not run, if it is gone, or is itself running: it
    /// called this callback's `with`, or is this callback's own.
    ///
    /// This is how state is shared without `Rc<RefCell<_>>`: a chat room is the listener, its members
    /// hold the room's id.
    pub fn with<D: Dispatcher, R>(
        &mut self,
        id: Id<D>,
        body: impl FnOnce(&mut D, &mut Context<'_>) -> R,
    ) -> Option<R> {
        self.core.with(id, body)
    }

    /// As [`Reactor::add`](crate::Reactor::add). The newcomer's first callback comes in a later turn.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn add<D: Dispatcher>(
        &mut self,
        socket: impl Into<Socket>,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        self.core.add(socket.into(), dispatcher)
    }

    /// As [`Reactor::listen`](crate::Reactor::listen), but takes an address only.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn listen<D: Dispatcher>(
        &mut self,
        address: SocketAddr,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        self.listen_with(address, &SocketOptions::default(), dispatcher)
    }

    /// As [`Reactor::listen_with`](crate::Reactor::listen_with), but takes an address only.
    ///
    /// # Errors
    ///
    /// As [`Reactor::listen`](crate::Reactor::listen).
    pub fn listen_with<D: Dispatcher>(
        &mut self,
        address: SocketAddr,
        options: &SocketOptions,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        self.core.listen(address, options, dispatcher)
    }

    /// As [`Reactor::connect`](crate::Reactor::connect), but takes an address only.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn connect<D: Dispatcher>(
        &mut self,
        address: SocketAddr,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        self.connect_with(address, &SocketOptions::default(), dispatcher)
    }

    /// As [`Reactor::connect_with`](crate::Reactor::connect_with), but takes an address only.
    ///
    /// # Errors
    ///
    /// As [`Reactor::connect`](crate::Reactor::connect).
    pub fn connect_with<D: Dispatcher>(
        &mut self,
        address: SocketAddr,
        options: &SocketOptions,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        self.core.connect(address, options, dispatcher)
    }

    /// As [`Reactor::connect_unix`](crate::Reactor::connect_unix).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn connect_unix<D: Dispatcher>(
        &mut self,
        path: impl AsRef<Path>,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        self.core
            .connect_unix(path.as_ref(), &SocketOptions::default(), dispatcher)
    }

    /// Calls [`handle_timer`](Dispatcher::handle_timer) once, when `after` has passed, never before.
    /// The timer dies with this dispatcher. Any duration is good; `Duration::MAX` means never.
    pub fn set_timer(&mut self, after: Duration) -> TimerId {
        self.core.set_timer(self.id, after, None, Action::Callback)
    }

    /// Calls [`handle_timer`](Dispatcher::handle_timer) every `period`, on a fixed grid that begins
    /// now: a late call delays none of the others. A call that missed several periods comes once. With
    /// a period of zero it comes once a turn, and the loop never sleeps.
    pub fn set_interval(&mut self, period: Duration) -> TimerId {
        self.core
            .set_timer(self.id, period, Some(period), Action::Callback)
    }

    /// Cancels a timer, in whatever state; false if it has fired or is gone already. It will not fire
    /// any more, even if it is due in this very turn.
    pub fn cancel_timer(&mut self, timer: TimerId) -> bool {
        self.core.cancel_timer(timer)
    }

    /// Ends the connection, by `handle_error` with `TimedOut` and `handle_close`, when no byte has moved
    /// in either direction for this long; `None` turns it off. Traffic costs it one store.
    pub fn set_idle_timeout(&mut self, limit: impl Into<Option<Duration>>) {
        self.core.set_idle_timeout(self.id, limit.into());
    }

    /// Has [`run`](crate::Reactor::run) return after this turn, which is finished in good order.
    pub fn stop(&mut self) {
        self.core.stop = true;
    }

    /// Ends every dispatcher, this one included; each gets its `handle_close` at the end of the turn.
    pub fn close_all(&mut self) {
        self.core.end_all();
    }

    /// A handle by which other threads reach this reactor.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::new(&self.core.shared)
    }

    /// How many dispatchers there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.core.slots.len()
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.describe(self.id, f)
    }
}
