use std::io::{self, ErrorKind, Read, Write};

/// A connected socket that does not block. Dropping it closes it.
pub trait Socket: Read + Write {
    /// Says the end of the stream. Reading goes on.
    fn shutdown_write(&mut self) -> io::Result<()>;
}

/// How much is read in one turn, in bytes.
const PIECE: usize = 16;

/// One connection of a server.
pub struct Connection<S> {
    socket: Option<S>,
    outbox: Vec<u8>,
    handle_close: Box<dyn FnMut()>,
}

impl<S: Socket> Connection<S> {
    /// `handle_close` is to be called once, when the socket has been closed, whatever the reason was.
    pub fn new(socket: S, handle_close: impl FnMut() + 'static) -> Connection<S> {
        Connection {
            socket: Some(socket),
            outbox: Vec::new(),
            handle_close: Box::new(handle_close),
        }
    }

    /// Queues bytes. After `close` or `abort` they are ignored.
    pub fn send(&mut self, bytes: &[u8]) {
        self.outbox.extend_from_slice(bytes);
    }

    /// Closes gracefully: what is queued leaves, the peer receives all of it and then the end of the stream.
    pub fn close(&mut self) {
        if let Some(socket) = &mut self.socket {
            let _ = write_some(socket, &mut self.outbox);
            let _ = socket.shutdown_write();
        }
        self.abort();
    }

    /// Closes at once. What is queued is thrown away.
    pub fn abort(&mut self) {
        self.socket = None;
        (self.handle_close)();
    }

    /// The close timeout has passed: whoever is closing still is closed now. An open connection is not concerned.
    pub fn close_timeout(&mut self) {}

    /// The socket is ready, or may be: reads a piece and writes what the kernel takes. At the end of the peer's
    /// stream the connection closes gracefully, after a failure at once.
    pub fn turn(&mut self) {
        let Some(socket) = &mut self.socket else {
            return;
        };
        let read = socket.read(&mut [0; PIECE]);
        let written = write_some(socket, &mut self.outbox);
        match (read, written) {
            (Ok(0), Ok(())) => self.close(),
            (Err(error), _) if error.kind() != ErrorKind::WouldBlock => self.abort(),
            (_, Err(_)) => self.abort(),
            _ => {}
        }
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
