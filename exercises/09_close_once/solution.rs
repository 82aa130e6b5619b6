use std::io::{self, ErrorKind, Read, Write};

/// A connected socket that does not block. Dropping it closes it.
pub trait Socket: Read + Write {
    /// Says the end of the stream. Reading goes on.
    fn shutdown_write(&mut self) -> io::Result<()>;
}

/// How much is read in one turn, in bytes.
const PIECE: usize = 16;

/// How far a connection has come. It only moves forward.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Open,
    /// It is to close, and output is still leaving.
    Flushing,
    /// The end of the stream has been said; what still comes is thrown away.
    Draining,
    Ended,
}

/// One connection of a server.
pub struct Connection<S> {
    socket: Option<S>,
    life: Life,
    /// The peer's end of stream has been read.
    peer_is_done: bool,
    outbox: Vec<u8>,
    handle_close: Box<dyn FnMut()>,
}

impl<S: Socket> Connection<S> {
    /// `handle_close` is to be called once, when the socket has been closed, whatever the reason was.
    pub fn new(socket: S, handle_close: impl FnMut() + 'static) -> Connection<S> {
        Connection {
            socket: Some(socket),
            life: Life::Open,
            peer_is_done: false,
            outbox: Vec::new(),
            handle_close: Box::new(handle_close),
        }
    }

    /// Queues bytes. After `close` or `abort` they are ignored.
    pub fn send(&mut self, bytes: &[u8]) {
        if self.life == Life::Open {
            self.outbox.extend_from_slice(bytes);
        }
    }

    /// Closes gracefully: what is queued leaves, the peer receives all of it and then the end of the stream.
    pub fn close(&mut self) {
        if self.life == Life::Open {
            self.life = Life::Flushing;
            self.go_on();
        }
    }

    /// Closes at once. What is queued is thrown away.
    pub fn abort(&mut self) {
        self.end();
    }

    /// The close timeout has passed: whoever is closing still is closed now. An open connection is not concerned.
    pub fn close_timeout(&mut self) {
        if self.life != Life::Open {
            self.end();
        }
    }

    /// The socket is ready, or may be: reads a piece and writes what the kernel takes. At the end of the peer's
    /// stream the connection closes gracefully, after a failure at once.
    pub fn turn(&mut self) {
        let Some(socket) = &mut self.socket else {
            return;
        };
        if !self.peer_is_done {
            match socket.read(&mut [0; PIECE]) {
                Ok(0) => self.peer_is_done = true,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return self.end(),
            }
        }
        if self.peer_is_done && self.life == Life::Open {
            self.life = Life::Flushing;
        }
        self.go_on();
    }

    /// Writes, and takes the steps towards the end that can be taken.
    fn go_on(&mut self) {
        let Some(socket) = &mut self.socket else {
            return;
        };
        if write_some(socket, &mut self.outbox).is_err() {
            return self.end();
        }
        if self.life == Life::Flushing && self.outbox.is_empty() {
            if socket.shutdown_write().is_err() {
                return self.end();
            }
            self.life = Life::Draining;
        }
        if self.life == Life::Draining && self.peer_is_done {
            self.end();
        }
    }

    /// The one way into `Ended`, and so the one place that calls `handle_close`.
    fn end(&mut self) {
        if self.life == Life::Ended {
            return;
        }
        self.life = Life::Ended;
        self.outbox.clear();
        self.socket = None;
        (self.handle_close)();
    }
}

/// Writes what the kernel takes.
fn write_some(socket: &mut impl Socket, outbox: &mut Vec<u8>) -> io::Result<()> {
    while !outbox.is_empty() {
        match socket.write(outbox) {
            Ok(count) => drop(outbox.drain(..count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
