//! Twelve bytes over HTTP on raw epoll: the floor for the comparison with nginx.
//!
//! See `slabloop_peers::http` for how little HTTP that is. All answers to one read go out in one
//! write.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;

use slabloop_peers::cli::{self, Result};
use slabloop_peers::http::{RESPONSE, Requests};
use slabloop_peers::serve;
use slabloop_peers::sys::{Epoll, Event, Interest};
use slabloop_peers::table::Table;

const LISTENER: usize = usize::MAX;
/// Room for some dozens of pipelined requests.
const READ_BYTES: usize = 4096;

struct Connection {
    stream: TcpStream,
    requests: Requests,
    /// Answers that the socket has not taken yet.
    pending: Vec<u8>,
}

fn main() -> ExitCode {
    cli::run(serve)
}

fn serve() -> Result<()> {
    let listener = serve::listen(serve::echo_address()?)?;
    let mut epoll = Epoll::new(1_024)?;
    epoll.add(&listener, Interest::Read, LISTENER)?;
    serve::announce(listener.local_addr())?;

    let mut connections: Table<Connection> = Table::default();
    let mut batch = Vec::new();
    loop {
        batch.clear();
        batch.extend_from_slice(epoll.wait(None)?);
        for event in &batch {
            if event.key() == LISTENER {
                accept(&listener, &epoll, &mut connections)?;
            } else if let Some(connection) = connections.get_mut(event.key())
                && connection.answer(*event).is_err()
            {
                connections.remove(event.key());
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    epoll: &Epoll,
    connections: &mut Table<Connection>,
) -> io::Result<()> {
    serve::accept_all(listener, |stream| {
        let connection = Connection {
            stream,
            requests: Requests::default(),
            pending: Vec::new(),
        };
        let key = connections.insert(connection);
        if let Some(connection) = connections.get_mut(key) {
            epoll.add(&connection.stream, Interest::Stream, key)?;
        }
        Ok(())
    })
}

impl Connection {
    /// Reads until there is no more and answers; an error, the end of stream included, ends the
    /// connection.
    fn answer(&mut self, event: Event) -> io::Result<()> {
        let mut chunk = [0; READ_BYTES];
        loop {
            self.flush()?;
            if !self.pending.is_empty() {
                return Ok(());
            }
            let n = match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            match self.requests.feed(&chunk[..n]) {
                0 => {}
                // The usual case, without a copy.
                1 => self.send(RESPONSE)?,
                count => self.send(&RESPONSE.repeat(count))?,
            }
            // A short read means empty, unless the end of stream came with the same event.
            if n < chunk.len() && !event.is_closed() {
                return Ok(());
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = match self.stream.write(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            outcome => outcome?,
        };
        self.pending.extend_from_slice(&bytes[written..]);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            match self.stream.write(&self.pending) {
                Ok(written) => drop(self.pending.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
