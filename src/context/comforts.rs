//! More ways to read and to send, made of `recv` and `send`: with a lent buffer, as far as there is room, and
//! as a `Read` and a `Write`.

use std::io::{self, Read, Write};

use super::Context;
use crate::slot::life::Life;
use crate::slot::readiness::Flag;
use crate::world::endpoint::Kind;

/// # More ways to read and to send
impl Context<'_> {
    /// Reads like [`recv`](Context::recv), but asks the kernel even if no event has reported input, so that an end or a
    /// reset is detected before the loop has received its event. It costs one system call. Use it on a connection
    /// that has been idle and is to be used now; in `handle_read` it has no advantage.
    ///
    /// # Errors
    ///
    /// As [`recv`](Context::recv).
    pub fn recv_now(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let slot = self.core.state.slots.slot_mut(self.id);
        if slot.life() == Life::Open {
            slot.readiness.set(Flag::Readable);
        }
        let received = self.recv(buffer);
        // What is left may be more than was asked for, and its event may have come before.
        self.core.state.requeue(self.id);
        received
    }

    /// Reads the available input, up to 16 KiB, into a buffer of the reactor's and passes it to `body`, with this
    /// context. The dispatcher needs no buffer of its own, and no buffer has to be cleared.
    ///
    /// At the end of the stream `body` does not run, and `Ok` is returned;
    /// [`handle_eof`](crate::Dispatcher::handle_eof) follows. Otherwise `bytes` is not empty (except on a datagram
    /// socket, where it is one datagram).
    ///
    /// ```
    /// use slabloop::{Context, Dispatcher};
    /// use std::io;
    ///
    /// struct Echo;
    /// impl Dispatcher for Echo {
    ///     fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///         cx.recv_with(|bytes, cx| cx.send(bytes))
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`recv`](Context::recv), and any error that `body` returns.
    pub fn recv_with(
        &mut self,
        body: impl FnOnce(&[u8], &mut Context<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        self.recv_up_to(RECV_WITH_BYTES, body)
    }

    /// Reads like [`recv_with`](Context::recv_with), but up to `limit` bytes instead of 16 KiB.
    ///
    /// It is for programs that move much data without looking at it, such as a proxy. Each connection is read once a
    /// turn, so a large message passes in pieces of this size, each with its own system calls, and other connections
    /// are served in between: a larger limit costs less CPU time and makes the others wait longer. 128 KiB is a
    /// good choice; the example `proxy` took 40 % less time for messages of 1 MiB than with 64 KiB, and with 256 KiB a
    /// tenth less again. If the bytes are sent on, up to `limit` bytes may be queued beyond the high mark: keep the
    /// limit well below the hard cap.
    ///
    /// All connections share one buffer. It grows to the largest limit that was asked for, and does not shrink.
    ///
    /// ```
    /// use slabloop::{AnyId, Context, Dispatcher};
    /// use std::io;
    ///
    /// /// Passes on what it receives. (`cx.feeds(to)` was called before, for backpressure.)
    /// struct Leg {
    ///     to: AnyId,
    /// }
    ///
    /// impl Dispatcher for Leg {
    ///     fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///         cx.recv_up_to(128 * 1024, |bytes, cx| match cx.at(self.to) {
    ///             Some(mut to) => to.send(bytes),
    ///             None => Ok(()),
    ///         })
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`recv_with`](Context::recv_with); `InvalidInput` for a `limit` of 0.
    pub fn recv_up_to(
        &mut self,
        limit: usize,
        body: impl FnOnce(&[u8], &mut Context<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        self.with_scratch(limit, |cx, buffer| {
            let received = cx.recv(buffer)?;
            if received == 0 && cx.is_a_stream() {
                return Ok(());
            }
            body(&buffer[..received], cx)
        })
    }

    fn is_a_stream(&self) -> bool {
        self.core.state.slots.slot(self.id).io.kind() == Kind::Stream
    }

    /// Asks for one [`handle_sent`](crate::Dispatcher::handle_sent) when the kernel has taken everything that is
    /// queued; if nothing is queued, in this turn's flush. It is not called if the connection closes or fails before.
    ///
    /// ```
    /// # use slabloop::{Context, Dispatcher};
    /// # use std::io;
    /// struct Journal { unwritten: Vec<Vec<u8>> }
    ///
    /// impl Journal {
    ///     fn write_next(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///         let Some(entry) = self.unwritten.pop() else { return Ok(()) };
    ///         cx.send(&entry)?;
    ///         cx.notify_when_sent()
    ///     }
    /// }
    ///
    /// impl Dispatcher for Journal {
    ///     fn handle_sent(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///         self.write_next(cx)
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// `NotConnected` after `close`; `Unsupported` on anything without an outbox: a listener, a datagram socket, a
    /// foreign source.
    pub fn notify_when_sent(&mut self) -> io::Result<()> {
        let state = &mut self.core.state;
        let slot = state.slots.slot_mut(self.id);
        if !slot.io.can_send() {
            return Err(self.not_for("notify_when_sent"));
        }
        if !slot.readiness.is_live() {
            return Err(self.refusal(io::ErrorKind::NotConnected, "notify_when_sent after close"));
        }
        slot.readiness.set(Flag::WantSent);
        state.mark_dirty(self.id);
        Ok(())
    }

    /// Sends as much of `bytes` as there is room for below the high mark, and returns how much that was. So it never
    /// causes backpressure on the sources that feed this connection. It is for writers that can wait: when there is no
    /// room, ask for [`handle_write`](crate::Dispatcher::handle_write) with
    /// [`start_writing`](Context::start_writing).
    ///
    /// ```
    /// # use slabloop::{Context, Dispatcher};
    /// # use std::io;
    /// struct Page { body: Vec<u8>, sent: usize }
    ///
    /// impl Dispatcher for Page {
    ///     fn handle_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///         self.sent += cx.try_send(&self.body[self.sent..])?; // `WouldBlock` waits for the next call.
    ///         if self.sent == self.body.len() {
    ///             cx.close();
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is no room; otherwise as [`send`](Context::send), but never `QuotaExceeded`.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.room_below_high();
        if room == 0 && self.can_send() && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = bytes.len().min(room);
        self.send(&bytes[..count])?;
        Ok(count)
    }

    /// This connection as a [`Read`] and a [`Write`], for libraries that need one: reading is
    /// [`recv`](Context::recv), writing is [`try_send`](Context::try_send), and both return `WouldBlock` when there is
    /// no input or no room. Flushing does nothing; the reactor sends what is queued at the end of the turn.
    ///
    /// ```
    /// use slabloop::{Context, Dispatcher};
    /// use std::io::{self, Write};
    ///
    /// struct Clock;
    /// impl Dispatcher for Clock {
    ///     fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///         cx.recv(&mut [0; 64])?;
    ///         writeln!(cx.stream(), "{:?}", std::time::SystemTime::now())
    ///     }
    /// }
    /// ```
    pub fn stream(&mut self) -> Stream<'_> {
        Stream(Context::new(self.core, self.id))
    }
}

/// A connection as a [`Read`] and a [`Write`]; see [`Context::stream`].
#[derive(Debug)]
pub struct Stream<'a>(Context<'a>);

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.0.recv(buffer)
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_send(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How much `recv_with` reads at a time.
const RECV_WITH_BYTES: usize = 16 * 1024;
